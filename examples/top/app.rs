//! The cache under load, what was seen of it lately, and what keys do to it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use larder::{Cache, Maintenance, ManualClock, MissRatioCurve, Objective, SetOptions, Stats};

use crate::Failure;
use crate::args::{Args, POLICIES};
use crate::load::{self, Load};
use crate::rng::Rng;
use crate::trace::{Op, Request};
use crate::units;

/// Samples that are kept: as many as a wide terminal has columns.
const HISTORY: usize = 240;
/// The clock's value at the first request, in milliseconds.
const START_MS: u64 = 1_700_000_000_000;
/// Requests between two calls of the cache's maintenance, and between two looks at the time.
const MAINTENANCE_EVERY: u64 = 4096;
const STEP: u64 = 256;

/// What happened between two pictures.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sample {
    pub(crate) hit_ratio: f64,
    pub(crate) requests_per_s: f64,
    pub(crate) evictions: u64,
    pub(crate) expired: u64,
    pub(crate) stored: u64,
    pub(crate) turned_away: u64,
    pub(crate) pages_moved: u64,
}

/// See the module.
pub(crate) struct App {
    cache: Cache,
    clock: ManualClock,
    load: Load,
    value_size: u32,
    values: Vec<u8>,
    key: Vec<u8>,
    curve_memory: u64,
    requests: u64,
    /// Time spent playing, and requests played, since the last sample.
    busy: Duration,
    played: u64,
    last: Stats,
    pub(crate) history: VecDeque<Sample>,
    /// The curve now, and readings from before, the newest last.
    curves: VecDeque<MissRatioCurve>,
    paused: bool,
    over: bool,
    message: String,
}

impl App {
    pub(crate) fn new(args: &Args) -> Result<App, Failure> {
        let clock = ManualClock::new(START_MS);
        let cache = Cache::builder()
            .max_memory(args.max_memory + args.curve_memory)
            .miss_ratio_curve(args.curve_memory)
            .policy(args.policy)
            .seed(args.seed)
            .name("top")
            .clock(clock.clone())
            .maintenance(Maintenance::Manual)
            .build()
            .map_err(|error| error.to_string())?;
        let mut values = vec![0; 1 << 20];
        Rng::new(args.seed).fill(&mut values);
        Ok(App {
            last: cache.stats(),
            cache,
            clock,
            load: Load::new(args.trace.clone(), args.seed)?,
            value_size: args.value_size,
            values,
            key: vec![0; 1 << 16],
            curve_memory: args.curve_memory,
            requests: 0,
            busy: Duration::ZERO,
            played: 0,
            history: VecDeque::new(),
            curves: VecDeque::new(),
            paused: false,
            over: false,
            message: String::new(),
        })
    }

    /// Plays for a while of real time, if not paused.
    pub(crate) fn play_until(&mut self, end: Instant) -> Result<(), Failure> {
        while !self.paused && Instant::now() < end {
            self.play(STEP)?;
        }
        Ok(())
    }

    /// Plays so many requests, if not paused.
    pub(crate) fn play(&mut self, requests: u64) -> Result<(), Failure> {
        if self.paused {
            return Ok(());
        }
        let start = Instant::now();
        for _ in 0..requests {
            let request = self.load.next()?;
            self.request(&request);
        }
        self.busy += start.elapsed();
        self.played += requests;
        Ok(())
    }

    fn request(&mut self, request: &Request) {
        self.requests += 1;
        self.clock.set(START_MS + request.time_ms);
        if self.requests.is_multiple_of(MAINTENANCE_EVERY) {
            self.cache.run_maintenance(Duration::from_millis(20));
        }
        let (key_len, value_len) = load::lengths(request, self.value_size);
        self.key[..8].copy_from_slice(&request.key.to_le_bytes());
        let key = &self.key[..key_len];
        // Values above the largest that the cache takes are refused anyway.
        let value = &self.values[..value_len.min(self.values.len())];
        match request.op {
            Op::Get if self.cache.read(key, |_| ()).is_some() => {}
            Op::Delete => {
                self.cache.remove(key);
            }
            Op::Get | Op::Set => {
                let ttl = Duration::from_secs(u64::from(request.ttl_s));
                let options = if ttl.is_zero() { SetOptions::new() } else { SetOptions::new().ttl(ttl) };
                // A refusal shows in the figures: the policy `noeviction` is there to be looked at.
                let _ = self.cache.set_with(key, value, &options);
            }
        }
    }

    /// Notes what has happened since the last time.
    pub(crate) fn sample(&mut self) {
        let stats = self.cache.stats();
        if self.played > 0 {
            let (before, reads) = (self.last, stats.gets - self.last.gets);
            self.history.push_back(Sample {
                hit_ratio: (stats.hits - before.hits) as f64 / reads.max(1) as f64,
                requests_per_s: self.played as f64 / self.busy.as_secs_f64().max(1e-9),
                evictions: stats.evictions - before.evictions,
                expired: stats.expired - before.expired,
                stored: stats.stored - before.stored,
                turned_away: stats.turned_away - before.turned_away,
                pages_moved: stats.pages_moved - before.pages_moved,
            });
            self.curves.extend(self.cache.miss_ratio_curve());
            self.history.drain(..self.history.len().saturating_sub(HISTORY));
            self.curves.drain(..self.curves.len().saturating_sub(HISTORY));
        }
        (self.last, self.busy, self.played) = (stats, Duration::ZERO, 0);
    }

    pub(crate) fn press(&mut self, key: KeyEvent) {
        if key.kind == KeyEventKind::Release {
            return;
        }
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => self.over = true,
            KeyCode::Char('q') | KeyCode::Esc => self.over = true,
            KeyCode::Char('p') | KeyCode::Char(' ') => self.paused = !self.paused,
            KeyCode::Char('+') | KeyCode::Char('=') => self.set_limit(self.limit() / 4 * 5),
            KeyCode::Char('-') => self.set_limit(self.limit() / 5 * 4),
            KeyCode::Char('c') => {
                self.cache.clear_all();
                self.message = "cleared".into();
            }
            KeyCode::Char(digit @ '1'..='9') => {
                let policy = POLICIES[digit as usize - '1' as usize];
                self.cache.set_policy(policy, Objective::Hits);
                self.message = format!("the policy is {policy} now");
                self.curves.clear();
            }
            _ => {}
        }
    }

    fn set_limit(&mut self, limit: u64) {
        self.message = match self.cache.set_max_memory(limit + self.curve_memory) {
            Ok(()) => format!("the limit is {} now", units::bytes(limit)),
            Err(error) => error.to_string(),
        };
        self.curves.clear();
    }

    pub(crate) fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The limit without what the curve takes.
    pub(crate) fn limit(&self) -> u64 {
        self.cache.memory().limit.saturating_sub(self.curve_memory)
    }

    pub(crate) fn curve_memory(&self) -> u64 {
        self.curve_memory
    }

    /// The curve of the time that the history shows.
    pub(crate) fn curve(&self) -> Option<MissRatioCurve> {
        let (first, last) = (self.curves.front()?, self.curves.back()?);
        Some(if self.curves.len() > 1 { last.since(first) } else { last.clone() })
    }

    pub(crate) fn source(&self) -> String {
        self.load.name()
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests
    }

    /// How far the clock has gone.
    pub(crate) fn time(&self) -> Duration {
        Duration::from_millis(larder::Clock::now_ms(&self.clock) - START_MS)
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }
}
