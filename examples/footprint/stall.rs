//! Nothing stops: a cache that grows from empty to ten million items and then evicts, every operation timed.
//!
//! Two clocks: wall time, in which the machine's other work counts too, and the thread's own CPU time, in which it does
//! not. A bound on the work of one operation is one on the latter.
//!
//! On a virtual machine even CPU time holds pauses that are the host's: a loop that does nothing shows them. So the
//! same sets are played [`RUNS`] times. What the cache does takes its time at the same sets in every run, and what the
//! host does does not: judged is the longest that the sets of one window (a thousand neighbours) took in every run.

use std::time::{Duration, Instant};

use larder::Cache;
use serde_json::{Value, json};

use crate::Failure;
use crate::histogram::Histogram;
use crate::measure::{self, Baseline, Bound, Check, Measured, Scale};
use crate::rng::Rng;

const ITEMS: u64 = 10_000_000;
const MORE_SETS: u64 = 5_000_000;
/// About 1.6 GiB: ten million items of 24 and 100 bytes fit.
const LIMIT: u64 = 1_717_986_918;
const SMALL_VALUE: usize = 100;
/// While the cache evicts, one set in this many has a value of any size up to `LARGE_MAX`.
const LARGE_ONE_IN: u64 = 1_000;
const LARGE_MAX: usize = 64 << 10;
const CPU_MOST_NS: u64 = 1_000_000;
const RUNS: usize = 3;
/// Sets in a window.
const WINDOW: usize = 1_000;
/// Windows in the JSON object.
const LISTED: usize = 20;

/// Latencies of one phase.
#[derive(Clone)]
struct Times {
    cpu: Histogram,
    wall: Histogram,
    over_a_millisecond: u64,
    /// The longest CPU time of each window's sets.
    windows: Vec<u64>,
}

impl Times {
    fn new() -> Self {
        Times { cpu: Histogram::new(), wall: Histogram::new(), over_a_millisecond: 0, windows: Vec::new() }
    }

    fn append(&mut self, later: &Times) {
        self.cpu.merge(&later.cpu);
        self.wall.merge(&later.wall);
        self.over_a_millisecond += later.over_a_millisecond;
        self.windows.extend(&later.windows);
    }

    fn json(&self) -> Value {
        let figures = |times: &Histogram| {
            json!({
                "p50": times.quantile(0.5), "p99": times.quantile(0.99), "p99.9": times.quantile(0.999),
                "p99.99": times.quantile(0.9999), "max": times.max(),
            })
        };
        json!({ "sets": self.wall.count(), "cpu_ns": figures(&self.cpu), "wall_ns": figures(&self.wall) })
    }
}

/// One run: sets until ten million items are in, then half as many again.
struct Run {
    cache: Cache,
    growing: Times,
    evicting: Times,
    items_grown_to: u64,
}

impl Run {
    fn play(scale: &Scale, limit: u64, noise: &[u8]) -> Result<Run, Failure> {
        let mut rng = Rng::new(3);
        let built = Cache::builder().max_memory(limit).seed(4).build();
        let cache = built.map_err(|error| format!("cannot build a cache of {limit} bytes: {error}"))?;
        let (items, more) = (scale.of(ITEMS), scale.of(MORE_SETS));
        let growing = timed_sets(&cache, 0..items, |_| &noise[..SMALL_VALUE])?;
        let items_grown_to = cache.len();
        let evicting = timed_sets(&cache, items..items + more, |n| {
            let is_large = n.is_multiple_of(LARGE_ONE_IN);
            let length = if is_large { rng.below(LARGE_MAX as u64) as usize } else { SMALL_VALUE };
            &noise[..length]
        })?;
        Ok(Run { cache, growing, evicting, items_grown_to })
    }

    fn whole(&self) -> Times {
        let mut whole = self.growing.clone();
        whole.append(&self.evicting);
        whole
    }
}

pub(crate) fn grow_and_evict(scale: &Scale) -> Result<Measured, Failure> {
    let noise = measure::noise(LARGE_MAX);
    let limit = scale.of(LIMIT);
    let idle = idle_steps(Duration::from_secs(10));
    let baseline = Baseline::take();
    let mut run = Run::play(scale, limit, &noise)?;
    let (mut whole, mut always) = (run.whole(), run.whole().windows);
    let mut lock_ns = run.cache.stats().longest_lock_hold_ns;
    for _ in 1..RUNS {
        // The memory of the one before is given back first.
        drop(run);
        run = Run::play(scale, limit, &noise)?;
        let this = run.whole();
        always.iter_mut().zip(&this.windows).for_each(|(least, &now)| *least = now.min(*least));
        whole.append(&this);
        lock_ns = lock_ns.min(run.cache.stats().longest_lock_hold_ns);
    }
    let mut longest: Vec<(u64, usize)> = always.into_iter().zip((0..).step_by(WINDOW)).collect();
    longest.sort_unstable_by(|a, b| b.cmp(a));
    let in_every_run = longest.first().map_or(0, |&(ns, _)| ns);
    let windows = |&(ns, first_set)| json!({ "first_set": first_set, "cpu_ns": ns });
    let longest: Vec<Value> = longest.iter().take(LISTED).map(windows).collect();
    let micros = |ns: u64| ns as f64 / 1000.0;
    Ok(Measured::now(&run.cache, limit, Some(baseline))
        .check(Check::new("CPU of a set, every run: max, us", micros(in_every_run), Bound::AtMost(micros(CPU_MOST_NS))))
        .check(Check::new("CPU of a set, any run: max, us", micros(whole.cpu.max()), Bound::None))
        .check(Check::new("sets with more than 1 ms", whole.over_a_millisecond as f64, Bound::None))
        .check(Check::new("10 s of doing nothing: max, us", micros(idle.max()), Bound::None))
        .check(Check::new("wall: p99.99, us", micros(whole.wall.quantile(0.9999)), Bound::None))
        .check(Check::new("wall: max, us", micros(whole.wall.max()), Bound::None))
        .check(Check::new("longest lock hold, least run, us", micros(lock_ns), Bound::None))
        .with("longest_windows", longest)
        .with("items_grown_to", run.items_grown_to)
        .with("growing", run.growing.json())
        .with("evicting", run.evicting.json())
        .with("longest_lock_hold_ns", lock_ns))
}

/// What this machine makes of a loop that does nothing but read the clock: on a virtual machine, some steps of it take
/// milliseconds of CPU time by its account. No set can be shown to take less than that.
fn idle_steps(how_long: Duration) -> Histogram {
    let mut steps = Histogram::new();
    let (start, mut cpu) = (Instant::now(), thread_cpu_ns());
    while start.elapsed() < how_long {
        let now = thread_cpu_ns();
        steps.record(now.saturating_sub(cpu));
        cpu = now;
    }
    steps
}

/// The clocks are read once between two operations: an operation's time includes one reading of each.
fn timed_sets<'a>(
    cache: &Cache,
    numbers: std::ops::Range<u64>,
    mut value: impl FnMut(u64) -> &'a [u8],
) -> Result<Times, Failure> {
    let mut times = Times::new();
    let (mut wall, mut cpu) = (Instant::now(), thread_cpu_ns());
    for (sets, n) in numbers.enumerate() {
        let (key, value) = (measure::key(n), value(n));
        cache.set(&key, value).map_err(|error| format!("set {n} of {} bytes failed: {error}", value.len()))?;
        let (wall_now, cpu_now) = (Instant::now(), thread_cpu_ns());
        times.wall.record(wall_now.duration_since(wall).as_nanos() as u64);
        let took = cpu_now.saturating_sub(cpu);
        times.cpu.record(took);
        times.over_a_millisecond += u64::from(took > CPU_MOST_NS);
        if sets.is_multiple_of(WINDOW) {
            times.windows.push(0);
        }
        if let Some(longest) = times.windows.last_mut() {
            *longest = took.max(*longest);
        }
        (wall, cpu) = (wall_now, cpu_now);
    }
    Ok(times)
}

/// CPU time this thread has had, in nanoseconds.
#[cfg(unix)]
fn thread_cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Without such a clock the figures are 0.
#[cfg(not(unix))]
fn thread_cpu_ns() -> u64 {
    0
}
