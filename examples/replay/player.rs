//! Plays a trace against a real cache, on one thread or several.
//!
//! ```text
//!  stream ─► batch ─► dealt by key ─► lane 0 ─► thread 0 ─┐
//!                                └──► lane 1 ─► thread 1 ─┴─► next batch        (only this part is timed)
//! ```
//! 1. All requests for a key are in one lane, in the trace's order.
//! 2. Everything a lane needs is there before memory is measured and the cache is built; playing allocates nothing.
//! 3. Lane 0 alone moves the clock, forward. With one lane the cache's maintenance is called between requests, at fixed
//!    places, so that the outcome depends on nothing but trace and seed.

use std::hint::black_box;
use std::time::{Duration, Instant};

use larder::{Cache, Maintenance, ManualClock, SetOptions};

use crate::histogram::Histogram;
use crate::report::Outcome;
use crate::rng::Rng;
use crate::source::{self, BATCH_REQUESTS};
use crate::trace::{KEY_SIZE_MAX, Op, Request};
use crate::{Failure, Job, process};

/// The clock's value at a trace's first request: some day in 2023, in milliseconds.
const START_MS: u64 = 1_700_000_000_000;
/// One request in this many is timed.
const TIMED_ONE_IN: u64 = 16;
/// Requests between two calls of the cache's maintenance.
const MAINTENANCE_EVERY: u64 = 4096;
/// More time than a call of the maintenance takes: what it does must not depend on how fast the machine is.
const MAINTENANCE_BUDGET: Duration = Duration::from_secs(1);

/// What a lane counted.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    pub(crate) requests: u64,
    pub(crate) gets: u64,
    pub(crate) hits: u64,
    pub(crate) get_bytes: u64,
    pub(crate) hit_bytes: u64,
    /// Calls of the cache: gets, sets and removes.
    pub(crate) operations: u64,
    pub(crate) refused: u64,
    pub(crate) latency: Histogram,
}

impl Tally {
    pub(crate) fn new() -> Self {
        let latency = Histogram::new();
        Tally { requests: 0, gets: 0, hits: 0, get_bytes: 0, hit_bytes: 0, operations: 0, refused: 0, latency }
    }

    pub(crate) fn count_get(&mut self, bytes: u64, hit: bool) {
        self.gets += 1;
        self.get_bytes += bytes;
        if hit {
            self.hits += 1;
            self.hit_bytes += bytes;
        }
    }

    pub(crate) fn hit_ratio(&self) -> f64 {
        self.hits as f64 / self.gets.max(1) as f64
    }

    fn merge(&mut self, other: &Tally) {
        self.requests += other.requests;
        self.gets += other.gets;
        self.hits += other.hits;
        self.get_bytes += other.get_bytes;
        self.hit_bytes += other.hit_bytes;
        self.operations += other.operations;
        self.refused += other.refused;
        self.latency.merge(&other.latency);
    }
}

/// One thread's requests and what it needs to play them.
struct Lane {
    requests: Vec<Request>,
    key: Vec<u8>,
    tally: Tally,
    rng: Rng,
    /// The time of the trace's first request, once there was one.
    trace_start_ms: Option<u64>,
    /// Present in the lane that moves the clock, with the value it was given last.
    clock: Option<(ManualClock, u64)>,
    /// Whether this lane calls the cache's maintenance.
    maintains: bool,
    value_size: u32,
}

/// Builds the cache that a job asks for.
pub(crate) fn build(job: &Job<'_>) -> Result<(Cache, ManualClock), Failure> {
    let clock = ManualClock::new(START_MS);
    let maintenance = if job.args.threads == 1 { Maintenance::Manual } else { Maintenance::Thread };
    let mut builder = Cache::builder()
        .max_memory(job.capacity)
        .policy(job.policy)
        .objective(job.args.objective)
        .seed(job.args.seed)
        .clock(clock.clone())
        .maintenance(maintenance);
    if let Some(shards) = job.args.shards {
        builder = builder.shards(shards);
    }
    match builder.build() {
        Ok(cache) => Ok((cache, clock)),
        Err(error) => Err(format!("cannot build a cache of {} bytes: {error}", job.capacity)),
    }
}

/// Plays the whole trace. `progress` is told the share that is done and the hit ratio so far.
pub(crate) fn play(job: &Job<'_>, progress: impl Fn(f64, f64)) -> Result<Outcome, Failure> {
    let mut stream = job.source.open(job.args)?;
    let mut batch = Vec::with_capacity(BATCH_REQUESTS);
    stream.fill(&mut batch)?;
    let mut values = Vec::new();
    grow_values(&mut values, &batch, job);
    let mut lanes: Vec<Lane> = (0..job.args.threads).map(|i| Lane::new(job, i)).collect();
    deal(&batch, &mut lanes);

    let resident_before = process::memory_bytes("VmRSS");
    let (cache, clock) = build(job)?;
    if let Some(first) = lanes.first_mut() {
        first.clock = Some((clock, START_MS));
    }
    let mut elapsed = Duration::ZERO;
    while !batch.is_empty() {
        let start = Instant::now();
        play_batch(&cache, &mut lanes, &values);
        elapsed += start.elapsed();
        let (hits, gets) = lanes.iter().fold((0, 0), |(h, g), lane| (h + lane.tally.hits, g + lane.tally.gets));
        progress(stream.fraction(), hits as f64 / gets.max(1) as f64);
        stream.fill(&mut batch)?;
        grow_values(&mut values, &batch, job);
        deal(&batch, &mut lanes);
    }
    let resident_after = process::memory_bytes("VmRSS");
    let mut tally = Tally::new();
    lanes.iter().for_each(|lane| tally.merge(&lane.tally));
    let rss_growth = resident_before.zip(resident_after).map(|(before, after)| after as i64 - before as i64);
    Ok(Outcome::of_cache(job, &cache, &tally, elapsed, rss_growth))
}

/// Makes the noise that values are cut from as long as the longest value of a batch; doubles, so seldom after the
/// first.
fn grow_values(values: &mut Vec<u8>, batch: &[Request], job: &Job<'_>) {
    let longest = batch.iter().map(|r| source::stored_lengths(r, job.args.value_size).1).max().unwrap_or(0);
    if longest > values.len() {
        values.resize(longest.next_power_of_two(), 0);
        Rng::new(job.args.seed).fill(values);
    }
}

fn deal(batch: &[Request], lanes: &mut [Lane]) {
    let first_ms = batch.first().map(|request| request.time_ms);
    for lane in lanes.iter_mut() {
        lane.requests.clear();
        lane.trace_start_ms = lane.trace_start_ms.or(first_ms);
    }
    let count = lanes.len();
    for request in batch {
        if let Some(lane) = lanes.get_mut(source::lane_of(request.key, count)) {
            lane.requests.push(*request);
        }
    }
}

fn play_batch(cache: &Cache, lanes: &mut [Lane], values: &[u8]) {
    match lanes {
        [lane] => lane.play(cache, values),
        lanes => std::thread::scope(|scope| {
            for lane in lanes {
                scope.spawn(|| lane.play(cache, values));
            }
        }),
    }
}

impl Lane {
    fn new(job: &Job<'_>, index: usize) -> Self {
        Lane {
            requests: Vec::with_capacity(BATCH_REQUESTS / job.args.threads + 1024),
            key: vec![0; usize::from(KEY_SIZE_MAX)],
            tally: Tally::new(),
            rng: Rng::new(job.args.seed ^ index as u64),
            trace_start_ms: None,
            clock: None,
            maintains: job.args.threads == 1,
            value_size: job.args.value_size,
        }
    }

    fn play(&mut self, cache: &Cache, values: &[u8]) {
        let requests = std::mem::take(&mut self.requests);
        for request in &requests {
            self.tally.requests += 1;
            self.move_clock(request.time_ms);
            if self.maintains && self.tally.requests.is_multiple_of(MAINTENANCE_EVERY) {
                cache.run_maintenance(MAINTENANCE_BUDGET);
            }
            if self.rng.next().is_multiple_of(TIMED_ONE_IN) {
                let start = Instant::now();
                self.request(cache, request, values);
                self.tally.latency.record(start.elapsed().as_nanos() as u64);
            } else {
                self.request(cache, request, values);
            }
        }
        self.requests = requests;
    }

    fn move_clock(&mut self, time_ms: u64) {
        let Some((clock, set_to)) = &mut self.clock else { return };
        let now = START_MS + time_ms.saturating_sub(self.trace_start_ms.unwrap_or(time_ms));
        if now > *set_to {
            clock.set(now);
            *set_to = now;
        }
    }

    #[inline]
    fn request(&mut self, cache: &Cache, request: &Request, values: &[u8]) {
        let (key_length, value_length) = source::stored_lengths(request, self.value_size);
        // The rest of the key is zero from the start.
        self.key[..8].copy_from_slice(&request.key.to_le_bytes());
        let key = &self.key[..key_length];
        let value = &values[..value_length];
        self.tally.operations += 1;
        let refused = match request.op {
            Op::Get => {
                let hit = cache.read(key, |bytes| bytes.first().map(|&byte| black_box(byte))).is_some();
                self.tally.count_get((key_length + value_length) as u64, hit);
                self.tally.operations += u64::from(!hit);
                !hit && !store(cache, key, value, request.ttl_s)
            }
            Op::Set => !store(cache, key, value, request.ttl_s),
            Op::Delete => {
                cache.remove(key);
                false
            }
        };
        self.tally.refused += u64::from(refused);
    }
}

/// False when the cache refused it.
#[inline]
fn store(cache: &Cache, key: &[u8], value: &[u8], ttl_s: u32) -> bool {
    if ttl_s == 0 {
        return cache.set(key, value).is_ok();
    }
    let options = SetOptions::new().ttl(Duration::from_secs(u64::from(ttl_s)));
    cache.set_with(key, value, &options).is_ok()
}
