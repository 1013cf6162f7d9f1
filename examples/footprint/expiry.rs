//! Memory that comes back: a million of ten million items expire together; a namespace of ten million items is cleared.

use std::time::{Duration, Instant};

use larder::{Cache, ManualClock, SetOptions};

use crate::Failure;
use crate::measure::{self, Baseline, Bound, Check, KEY_BYTES, Measured, Scale};

const ITEMS: u64 = 10_000_000;
const LIMIT: u64 = 2 << 30;
const VALUE: usize = 100;
/// Every so many items, one has a time to live.
const EXPIRING_ONE_IN: u64 = 10;
const START_MS: u64 = 1_700_000_000_000;
const TTL: Duration = Duration::from_secs(3600);
/// Of the maintenance's time, the share that may be spent on one CPU; the seconds in which memory must be back.
const CPU_SHARE_MOST: f64 = 0.05;
const BACK_SECONDS_MOST: f64 = 60.0;
/// Memory counts as back when this much of it is.
const BACK: f64 = 0.95;
const POLL: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(180);

/// A million deadlines pass at the same moment, between items that stay.
pub(crate) fn many_at_once(scale: &Scale) -> Result<Measured, Failure> {
    let noise = measure::noise(VALUE);
    let clock = ManualClock::new(START_MS);
    let limit = scale.of(LIMIT);
    let baseline = Baseline::take();
    let cache = Cache::builder().max_memory(limit).clock(clock.clone()).build();
    let cache = cache.map_err(|error| format!("cannot build a cache of {limit} bytes: {error}"))?;
    let expiring = SetOptions::new().ttl(TTL);
    let items = scale.of(ITEMS);
    for n in 0..items {
        let key = measure::key(n);
        let set = match n.is_multiple_of(EXPIRING_ONE_IN) {
            true => cache.set_with(&key, &noise, &expiring).map(drop),
            false => cache.set(&key, &noise),
        };
        set.map_err(|error| format!("set {n} failed: {error}"))?;
    }
    let before = cache.memory();
    let cpu_before_ns = cache.stats().maintenance_cpu_ns;
    let bytes = (items / EXPIRING_ONE_IN) * (KEY_BYTES + VALUE) as u64;
    let enough = before.payload_bytes.saturating_sub((bytes as f64 * BACK) as u64);
    clock.advance(TTL + Duration::from_secs(1));
    let seconds = seconds_until(|| cache.memory().payload_bytes <= enough);
    let cpu_seconds = cache.stats().maintenance_cpu_ns.saturating_sub(cpu_before_ns) as f64 / 1e9;
    let cpu_share = cpu_seconds / seconds.max(1e-9);
    Ok(Measured::now(&cache, limit, Some(baseline))
        .check(Check::new("seconds to 95 % back", seconds, Bound::AtMost(BACK_SECONDS_MOST)))
        .check(Check::new("maintenance CPU share", cpu_share, Bound::AtMost(CPU_SHARE_MOST)))
        .with("seconds_to_95_percent", seconds)
        .with("maintenance_cpu_seconds", cpu_seconds)
        .with("maintenance_cpu_share", cpu_share))
}

/// Clearing a large namespace takes no longer than clearing a small one, and its memory follows.
pub(crate) fn clear(scale: &Scale) -> Result<Measured, Failure> {
    let noise = measure::noise(VALUE);
    let limit = scale.of(LIMIT);
    let baseline = Baseline::take();
    let cache = measure::cache(limit)?;
    let (large, small) = (cache.namespace(1), cache.namespace(2));
    let empty = cache.memory().used;
    fill(&large, &noise, scale.of(ITEMS))?;
    fill(&small, &noise, 10)?;
    let full = cache.memory().used;

    let small_us = micros_of(|| small.clear());
    let large_us = micros_of(|| large.clear());
    let left = large.len();
    let enough = empty + (full.saturating_sub(empty) as f64 * (1.0 - BACK)) as u64;
    let seconds = seconds_until(|| cache.memory().used <= enough);
    Ok(Measured::now(&cache, limit, Some(baseline))
        .check(Check::new("clear of ten items, us", small_us, Bound::None))
        .check(Check::new("clear of all the others, us", large_us, Bound::None))
        .check(Check::new("items left at once", left as f64, Bound::AtMost(0.0)))
        .check(Check::new("seconds to 95 % back", seconds, Bound::AtMost(BACK_SECONDS_MOST)))
        .with("memory_used_before", full)
        .with("clear_small_us", small_us)
        .with("clear_large_us", large_us)
        .with("seconds_to_95_percent", seconds))
}

fn fill(cache: &Cache, value: &[u8], items: u64) -> Result<(), Failure> {
    for n in 0..items {
        cache.set(&measure::key(n), value).map_err(|error| format!("set {n} failed: {error}"))?;
    }
    Ok(())
}

fn micros_of(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_nanos() as f64 / 1000.0
}

/// Seconds of wall time until `done`, looked at every ten milliseconds; gives up when [`PATIENCE`] is over.
fn seconds_until(done: impl Fn() -> bool) -> f64 {
    let start = Instant::now();
    while !done() && start.elapsed() <= PATIENCE {
        std::thread::sleep(POLL);
    }
    start.elapsed().as_secs_f64()
}
