//! The built-in workload: requests that look like those of a busy key-value cache, drawn from a seed.
//!
//! The shape follows what was published about production caches:
//! - B. Atikoglu et al., "Workload analysis of a large-scale key-value store", SIGMETRICS 2012 (memcached at Facebook):
//!   value sizes of pool ETC (generalised Pareto, scale 214.5, shape 0.348), its key lengths (generalised extreme
//!   value, 30.8, 8.2, 0.078), many more reads than writes, a daily wave.
//! - Z. Cao et al., "Characterizing, modeling, and benchmarking RocksDB key-value workloads at Facebook", FAST 2020:
//!   generalised-Pareto value sizes again, a daily wave again.
//! - J. Yang et al., "A large scale analysis of hundreds of in-memory cache clusters at Twitter", OSDI 2020: Zipf
//!   popularity, small objects, a time to live on most of them.
//!
//! The rest was chosen for this workload: the exponent 0.95, the lifetimes and shares below, a second, heavier tail of
//! values up to 64 KiB, the drift of popularity, and scans (long runs of keys that come once).
//!
//! A key is a function of its popularity rank and of how often that rank has changed hands; size and lifetime are
//! functions of the key, so that an object is the same whenever it comes back.

use crate::rng::{Rng, fraction, mix};
use crate::trace::{Op, Request};
use crate::zipf::Zipf;

/// Popularity ranks; with the drift some more keys than that are in play.
const RANKS: u64 = 4_000_000;
const ALPHA: f64 = 0.95;
/// A rank gets a new key after about this many requests (half to one and a half times), each rank at its own time.
const DRIFT_REQUESTS: u64 = 6_000_000;
/// Share of all requests that belong to scans, share while one is going on, and its length in keys.
pub(crate) const SCAN_SHARE: f64 = 0.03;
const SCAN_INTENSITY: f64 = 0.3;
const SCAN_KEYS: (u64, u64) = (1_000, 20_000);
const SET_SHARE: f64 = 0.04;
const DELETE_SHARE: f64 = 0.005;
/// Mean requests a second of trace time, and how far the daily wave goes up and down.
const RATE_PER_S: f64 = 25.0;
const WAVE: f64 = 0.5;
const DAY_MS: f64 = 86_400_000.0;

const MINUTE: u32 = 60;
const HOUR: u32 = 3_600;
/// Lifetimes in seconds (0: for ever) and the share of keys up to and including each.
const TTL_CLASSES: [(f64, u32); 6] =
    [(0.10, 5 * MINUTE), (0.30, HOUR), (0.45, 12 * HOUR), (0.65, 24 * HOUR), (0.75, 7 * 24 * HOUR), (1.0, 0)];

const VALUE_MAX: f64 = 65_536.0;
/// Share of keys whose values come from the heavy tail.
const LARGE_SHARE: f64 = 0.02;

/// An endless stream of requests; the same seed gives the same ones.
#[derive(Debug, Clone)]
pub(crate) struct Workload {
    rng: Rng,
    zipf: Zipf,
    salt: u64,
    requests: u64,
    time_ms: f64,
    /// The scan going on: its next key, and how many are left.
    scan_key: u64,
    scan_left: u64,
}

impl Workload {
    pub(crate) fn new(seed: u64) -> Self {
        let zipf = Zipf::new(RANKS, ALPHA);
        Workload { rng: Rng::new(seed), zipf, salt: mix(!seed), requests: 0, time_ms: 0.0, scan_key: 0, scan_left: 0 }
    }

    fn advance_time(&mut self) {
        let wave = 1.0 + WAVE * (std::f64::consts::TAU * self.time_ms / DAY_MS).sin();
        self.time_ms += 1000.0 / (RATE_PER_S * wave);
        self.requests += 1;
    }

    /// The next key of the scan going on, if this request is one of its; begins a new scan now and then.
    fn scan(&mut self) -> Option<u64> {
        if self.scan_left == 0 {
            let mean_keys = (SCAN_KEYS.0 + SCAN_KEYS.1) as f64 / 2.0;
            if self.rng.fraction() >= SCAN_SHARE / mean_keys {
                return None;
            }
            self.scan_left = SCAN_KEYS.0 + self.rng.below(SCAN_KEYS.1 - SCAN_KEYS.0 + 1);
            self.scan_key = self.rng.next();
        } else if self.rng.fraction() >= SCAN_INTENSITY {
            return None;
        }
        self.scan_left -= 1;
        self.scan_key = self.scan_key.wrapping_add(1);
        Some(self.scan_key)
    }

    /// The key that has a popularity rank now.
    fn popular(&mut self) -> u64 {
        let rank = self.zipf.draw(&mut self.rng);
        let own = mix(self.salt ^ rank);
        let period = DRIFT_REQUESTS / 2 + (own % DRIFT_REQUESTS);
        let owner = (self.requests + (own >> 20)) / period;
        mix(own ^ mix(owner))
    }
}

impl Iterator for Workload {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        self.advance_time();
        let (key, op) = match self.scan() {
            Some(key) => (key, Op::Get),
            None => {
                let key = self.popular();
                let draw = self.rng.fraction();
                let op = match draw {
                    _ if draw < DELETE_SHARE => Op::Delete,
                    _ if draw < DELETE_SHARE + SET_SHARE => Op::Set,
                    _ => Op::Get,
                };
                (key, op)
            }
        };
        let key_size = key_size(key);
        let size = u32::from(key_size) + value_size(key);
        Some(Request { time_ms: self.time_ms as u64, key, size, ttl_s: ttl_s(key), key_size, op })
    }
}

/// A number from 0 to 1 that belongs to a key; `of` tells its uses apart.
fn trait_of(key: u64, of: u64) -> f64 {
    fraction(mix(key ^ mix(of)))
}

fn key_size(key: u64) -> u16 {
    let u = trait_of(key, 1).max(1e-9);
    let length = 30.8 + 8.2 / 0.078 * ((-u.ln()).powf(-0.078) - 1.0);
    length.clamp(16.0, 100.0) as u16
}

fn value_size(key: u64) -> u32 {
    let (scale, shape) = if trait_of(key, 2) < LARGE_SHARE { (2_000.0, 0.7) } else { (214.476, 0.348_238) };
    let u = 1.0 - trait_of(key, 3);
    let value: f64 = 40.0 + scale / shape * (u.powf(-shape) - 1.0);
    value.min(VALUE_MAX) as u32
}

fn ttl_s(key: u64) -> u32 {
    let u = trait_of(key, 4);
    TTL_CLASSES.iter().find(|(up_to, _)| u < *up_to).map_or(0, |&(_, ttl_s)| ttl_s)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    const N: usize = 300_000;

    #[test]
    fn a_seed_gives_the_same_requests_and_another_others() {
        let first: Vec<Request> = Workload::new(1).take(N).collect();
        assert!(Workload::new(1).take(N).eq(first.iter().copied()));
        let same = Workload::new(2).take(N).zip(&first).filter(|(a, b)| a.key == b.key).count();
        assert!(same < 100, "{same}");
    }

    #[test]
    fn an_object_stays_the_same() {
        let mut seen: HashMap<u64, Request> = HashMap::new();
        for request in Workload::new(3).take(N) {
            let first = *seen.entry(request.key).or_insert(request);
            assert_eq!(
                (first.size, first.ttl_s, first.key_size),
                (request.size, request.ttl_s, request.key_size),
                "{request:?}"
            );
        }
        let share = seen.len() as f64 / N as f64;
        assert!((0.2..0.7).contains(&share), "unique keys: {share}");
    }

    #[test]
    fn the_mixture_is_as_described() {
        let requests: Vec<Request> = Workload::new(4).take(N).collect();
        let share = |test: &dyn Fn(&Request) -> bool| requests.iter().filter(|r| test(r)).count() as f64 / N as f64;
        assert!((0.93..0.97).contains(&share(&|r| r.op == Op::Get)));
        assert!((0.003..0.007).contains(&share(&|r| r.op == Op::Delete)));
        let value = |r: &Request| r.size - u32::from(r.key_size);
        assert!(share(&|r| (50..=500).contains(&value(r))) > 0.65);
        assert!(share(&|r| value(r) > 4_000) > 0.001);
        assert!(requests.iter().all(|r| value(r) >= 40 && value(r) <= 65_536 && (16..=100).contains(&r.key_size)));
        assert!((0.15..0.35).contains(&share(&|r| r.ttl_s == 0)));
        assert!(requests.is_sorted_by_key(|r| r.time_ms));
    }

    #[test]
    fn scans_come_and_popular_keys_change() {
        let mut workload = Workload::new(5);
        let mut scanned = 0usize;
        for _ in 0..2_000_000 {
            let left = workload.scan_left;
            workload.next();
            scanned += usize::from(workload.scan_left != left && left != 0);
        }
        let share = scanned as f64 / 2e6;
        assert!((0.005..0.08).contains(&share), "{share}");
        let most_popular = |from: &Workload| {
            let mut seen: HashMap<u64, u32> = HashMap::new();
            from.clone().take(50_000).for_each(|r| *seen.entry(r.key).or_default() += 1);
            let mut keys: Vec<_> = seen.into_iter().map(|(key, n)| (n, key)).collect();
            keys.sort_unstable();
            keys.iter().rev().take(100).map(|&(_, key)| key).collect::<Vec<_>>()
        };
        let before = most_popular(&workload);
        workload.requests += 2 * DRIFT_REQUESTS;
        let after = most_popular(&workload);
        let kept = after.iter().filter(|key| before.contains(key)).count();
        assert!(kept < 10, "{kept} of 100 still popular");
    }
}
