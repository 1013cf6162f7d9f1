//! The limit is a limit: caches of 1 MiB to 2 GiB under ten million sets of mixed sizes.

use crate::Failure;
use crate::measure::{self, Baseline, Bound, Check, Measured, Scale};
use crate::rng::Rng;

/// Name, limit, and the least share of it that keys and values must come to.
pub(crate) const LIMITS: [(&str, u64, Option<f64>); 4] = [
    ("limit-1m", 1 << 20, None),
    ("limit-16m", 16 << 20, Some(0.72)),
    ("limit-256m", 256 << 20, Some(0.85)),
    ("limit-2g", 2 << 30, Some(0.85)),
];
pub(crate) const SHARE_GOAL: f64 = 0.90;
const SETS: u64 = 10_000_000;
pub(crate) const MEAN_VALUE: f64 = 400.0;
const VALUE_MAX: usize = 16_000;

/// Exponentially distributed value sizes, unique keys. The share is judged when the cache has been full.
pub(crate) fn mixed_sizes(scale: &Scale, limit: u64, share_least: Option<f64>) -> Result<Measured, Failure> {
    let noise = measure::noise(VALUE_MAX);
    let mut rng = Rng::new(2);
    let baseline = Baseline::take();
    let cache = measure::cache(limit)?;
    let mut refused = 0u64;
    for n in 0..scale.of(SETS) {
        refused += u64::from(cache.set(&measure::key(n), &noise[..mixed_length(&mut rng)]).is_err());
    }
    let mut measured = Measured::now(&cache, limit, Some(baseline)).with("refused", refused);
    if let Some(growth) = measured.rss_growth() {
        let most = limit as f64 * 1.02 + f64::from(2 << 20);
        measured = measured.check(Check::new("RSS growth, MiB", mib(growth as f64), Bound::AtMost(mib(most))));
    }
    let share = measured.payload_share();
    if let Some(least) = share_least.filter(|_| measured.evictions() > 0) {
        measured = measured.check(Check::new("payload share", share, Bound::AtLeast(least)).goal(SHARE_GOAL));
    }
    Ok(measured.check(Check::new("refused sets", refused as f64, Bound::None)))
}

/// A value's length.
pub(crate) fn mixed_length(rng: &mut Rng) -> usize {
    let exponential = -MEAN_VALUE * (1.0 - rng.fraction()).ln();
    (exponential as usize).clamp(1, VALUE_MAX)
}

fn mib(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}
