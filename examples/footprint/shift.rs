//! Sizes that change: values of 100 bytes, then 1,000, then 20,000, then 100 again. A cache that keeps its memory cut
//! up for the old size serves the new one badly.
//!
//! ```text
//!              shift            one turnover               as many requests again
//!   old ─────────┼────────── warm-up ───────────┼────────── window: hit ratio ───────────┤
//!   fresh        ├────────── warm-up ───────────┼────────── window: hit ratio ───────────┤   (the same requests)
//! ```
//! The warm-up ends when the fresh cache has been given, in misses, as many bytes as its limit is.

use larder::Cache;
use serde_json::{Value, json};

use crate::Failure;
use crate::limits::{self, SHARE_GOAL};
use crate::measure::{self, Bound, Check, KEY_BYTES, Measured, Scale};
use crate::rng::Rng;
use crate::zipf::Zipf;

/// Name, limit, and the least share of it that keys and values must come to when sizes are mixed again.
pub(crate) const LIMITS: [(&str, u64, f64); 2] = [("shift-16m", 16 << 20, 0.72), ("shift-256m", 256 << 20, 0.85)];
/// Mixed sizes are set for so many times the limit.
const MIXED_TURNOVERS: u64 = 2;
const LEAST_LIMIT: u64 = 16 << 20;
const SIZES: [usize; 4] = [100, 1_000, 20_000, 100];
const ALPHA: f64 = 0.9;
/// The objects of a phase, all together, are this many times the limit.
const FOOTPRINTS: u64 = 4;
/// A window is at least so long: fewer requests say little.
const WINDOW_REQUESTS_MIN: u64 = 20_000;
const POINTS_MOST: f64 = 2.0;

/// The requests of one phase: objects of one size, or of mixed sizes with this mean; keys no other phase has.
struct Phase {
    zipf: Zipf,
    rng: Rng,
    first_key: u64,
    value_size: usize,
    is_mixed: bool,
}

/// What a stretch of requests came to.
#[derive(Debug, Default, Clone, Copy)]
struct Stretch {
    requests: u64,
    hits: u64,
    bytes_set: u64,
}

impl Phase {
    fn new(number: usize, limit: u64, value_size: usize) -> Self {
        let objects = FOOTPRINTS * limit / (KEY_BYTES + value_size) as u64;
        let rng = Rng::new(number as u64 + 10);
        Phase {
            zipf: Zipf::new(objects, ALPHA),
            rng,
            first_key: (number as u64 + 1) << 48,
            value_size,
            is_mixed: false,
        }
    }

    /// The length of an object's value.
    fn length(&self, object: u64) -> usize {
        if self.is_mixed { limits::mixed_length(&mut Rng::new(object)) } else { self.value_size }
    }

    /// Gets, and sets on a miss, for as long as `more` says so.
    fn play(&mut self, cache: &Cache, noise: &[u8], more: impl Fn(&Stretch) -> bool) -> Stretch {
        let mut stretch = Stretch::default();
        while more(&stretch) {
            let object = self.first_key + self.zipf.draw(&mut self.rng);
            let key = measure::key(object);
            stretch.requests += 1;
            if cache.read(&key, |_| ()).is_some() {
                stretch.hits += 1;
                continue;
            }
            let value = &noise[..self.length(object)];
            // A refused set counts a little all the same: otherwise a cache that refuses everything would be waited for
            // without end.
            let is_stored = cache.set(&key, value).is_ok();
            stretch.bytes_set += if is_stored { (KEY_BYTES + value.len()) as u64 } else { 1 };
        }
        stretch
    }
}

impl Stretch {
    fn hit_ratio(&self) -> f64 {
        self.hits as f64 / self.requests.max(1) as f64
    }
}

/// Plays all phases; the worst difference to a fresh cache is what is judged.
pub(crate) fn sizes_change(scale: &Scale, limit: u64, share_least: f64) -> Result<Measured, Failure> {
    let full_limit = limit;
    let limit = scale.of(limit).max(LEAST_LIMIT);
    // A smaller cache keeps what smaller ones have to.
    let share_least = if limit < full_limit { LIMITS[0].2 } else { share_least };
    let noise = measure::noise(20_000);
    let cache = measure::cache(limit)?;
    Phase::new(0, limit, SIZES[0]).play(&cache, &noise, |stretch| stretch.bytes_set < 2 * limit);
    let (mut worst, mut phases, mut fresh_share) = (f64::NEG_INFINITY, Vec::new(), 0.0);
    for (number, &value_size) in SIZES.iter().enumerate().skip(1) {
        let fresh = measure::cache(limit)?;
        let mut requests = Phase::new(number, limit, value_size);
        let warm_up = requests.play(&fresh, &noise, |stretch| stretch.bytes_set < limit).requests;
        let window = warm_up.max(WINDOW_REQUESTS_MIN);
        let best = requests.play(&fresh, &noise, |stretch| stretch.requests < window).hit_ratio();

        let mut requests = Phase::new(number, limit, value_size);
        requests.play(&cache, &noise, |stretch| stretch.requests < warm_up);
        let shifted = requests.play(&cache, &noise, |stretch| stretch.requests < window).hit_ratio();
        let points = (best - shifted) * 100.0;
        worst = worst.max(points);
        fresh_share = Measured::now(&fresh, limit, None).payload_share();
        phases.push(phase_json(value_size, window, best, shifted));
    }
    let measured = Measured::now(&cache, limit, None);
    let share = measured.payload_share();
    let mixed = share_of_mixed_sizes(&cache, &noise, limit);
    Ok(measured
        .check(Check::new("worst loss, points", worst, Bound::AtMost(POINTS_MOST)))
        .check(Check::new("payload share", share, Bound::None))
        .check(Check::new("share of a fresh one", fresh_share, Bound::None))
        .check(Check::new("share, sizes mixed after", mixed, Bound::AtLeast(share_least)).goal(SHARE_GOAL))
        .with("fresh_payload_share", fresh_share)
        .with("phases", phases))
}

/// The share of the limit that keys and values come to after requests for objects of sizes as mixed as in
/// [`limits`](crate::limits).
fn share_of_mixed_sizes(cache: &Cache, noise: &[u8], limit: u64) -> f64 {
    let mut requests = Phase::new(SIZES.len(), limit, limits::MEAN_VALUE as usize);
    requests.is_mixed = true;
    requests.play(cache, noise, |stretch| stretch.bytes_set < MIXED_TURNOVERS * limit);
    Measured::now(cache, limit, None).payload_share()
}

fn phase_json(value_size: usize, requests: u64, fresh: f64, shifted: f64) -> Value {
    json!({
        "value_size": value_size,
        "requests": requests,
        "hit_ratio": shifted,
        "fresh_hit_ratio": fresh,
        "loss_points": (fresh - shifted) * 100.0,
    })
}
