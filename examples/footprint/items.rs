//! Bytes an item: many small items in a cache that is large enough, one that grows, and one that has been full for
//! long.

use std::time::Duration;

use larder::{Cache, SetOptions};
use serde_json::json;

use crate::Failure;
use crate::measure::{self, Baseline, Bound, Check, Measured, Scale, TTL_S};

/// Value sizes from 90 to 110 bytes.
pub(crate) const VALUE_SIZES: [usize; 11] = [90, 92, 94, 96, 98, 100, 102, 104, 106, 108, 110];
pub(crate) const OVERHEAD_LIMIT: f64 = 28.0;
pub(crate) const OVERHEAD_GOAL: f64 = 24.0;
const ITEMS: u64 = 1_000_000;
const ROOMY: u64 = 256 << 20;

const TURNOVER_LIMIT: u64 = 128 << 20;
const TURNOVERS: u64 = 3;

/// Sets keys with values of one size after another, all with a time to live.
struct Filler {
    noise: Vec<u8>,
    options: SetOptions,
    next: u64,
}

impl Filler {
    fn new() -> Self {
        let options = SetOptions::new().ttl(Duration::from_secs(TTL_S));
        Filler { noise: measure::noise(256), options, next: 0 }
    }

    fn set(&mut self, cache: &Cache, value_size: usize) -> Result<(), Failure> {
        let value = &self.noise[..value_size];
        let set = cache.set_with(&measure::key(self.next), value, &self.options);
        self.next += 1;
        set.map(drop).map_err(|error| format!("set {} failed: {error}", self.next))
    }
}

fn nothing_evicted(measured: &Measured) -> Check {
    Check::new("evictions", measured.evictions() as f64, Bound::AtMost(0.0))
}

/// A million items of one value size. The limit on the overhead is for the average over all sizes.
pub(crate) fn of_size(scale: &Scale, value_size: usize) -> Result<Measured, Failure> {
    let mut filler = Filler::new();
    let baseline = Baseline::take();
    let cache = measure::cache(ROOMY)?;
    for _ in 0..scale.of(ITEMS) {
        filler.set(&cache, value_size)?;
    }
    let measured = Measured::now(&cache, ROOMY, Some(baseline));
    let overhead = measured.overhead_per_item();
    let evicted = nothing_evicted(&measured);
    Ok(measured.check(Check::new("overhead", overhead, Bound::None)).check(evicted))
}

/// One cache that grows from one million items to two: the overhead every 50,000 items, and the worst of them.
pub(crate) fn index_growth(scale: &Scale) -> Result<Measured, Failure> {
    let mut filler = Filler::new();
    let baseline = Baseline::take();
    let limit = 2 * ROOMY;
    let cache = measure::cache(limit)?;
    let (first, step) = (scale.of(ITEMS), scale.of(ITEMS) / 20);
    let mut steps = Vec::new();
    for target in (0..=20).map(|i| first + i * step) {
        while filler.next < target {
            filler.set(&cache, 100)?;
        }
        steps.push((target, Measured::now(&cache, limit, None).overhead_per_item()));
    }
    let worst = steps.iter().fold((0, 0.0f64), |worst, &step| if step.1 > worst.1 { step } else { worst });
    let measured = Measured::now(&cache, limit, Some(baseline));
    let evicted = nothing_evicted(&measured);
    Ok(measured
        .check(Check::new("worst overhead", worst.1, Bound::AtMost(OVERHEAD_LIMIT)).goal(OVERHEAD_GOAL))
        .check(evicted)
        .with("worst_overhead", worst.1)
        .with("worst_at_items", worst.0)
        .with("steps", json!(steps)))
}

/// A full cache whose items, of 90 to 110 bytes, have all been replaced three times.
pub(crate) fn turnover(_: &Scale) -> Result<Measured, Failure> {
    let mut filler = Filler::new();
    let baseline = Baseline::take();
    let cache = measure::cache(TURNOVER_LIMIT)?;
    let size = |n: u64| 90 + (n % 21) as usize;
    while cache.stats().evictions == 0 {
        for _ in 0..1000 {
            filler.set(&cache, size(filler.next))?;
        }
    }
    let full = cache.len();
    while filler.next < full * (TURNOVERS + 1) {
        filler.set(&cache, size(filler.next))?;
    }
    let measured = Measured::now(&cache, TURNOVER_LIMIT, Some(baseline));
    let overhead = measured.overhead_per_item();
    Ok(measured.check(Check::new("overhead", overhead, Bound::AtMost(36.0)).goal(30.0)))
}
