//! The miss-ratio curve: what a cache would miss if it had more memory, or less, estimated while it runs.
//!
//! ```text
//!                        ┌─► miniature at 0.5x ─┐
//!  reads, writes ─ one ──┼─► miniature at 1x   ─┤   hits there that were misses here, and misses there that were
//!  in so many keys       ├─► miniature at 2x   ─┼─► hits here: the difference between the two caches
//!  (by their hash)       └─► miniature at 4x   ─┘
//! ```
//! | file | what |
//! |---|---|
//! | `estimate` | the miniatures, what they are told, how large they are |
//! | `shape` | what a cache of another size would be made of |
//! | `mod` | what comes out |
//!
//! How near it is to the truth is in `docs/miss-ratio-curve.md`.

mod estimate;
mod shape;

pub(crate) use estimate::{Estimate, FACTORS, Measured, sample_number};
pub(crate) use shape::Shape;

/// What one size of the cache was found to do.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Difference {
    pub(crate) factor: f64,
    pub(crate) rate: f64,
    /// Reads of the cache while this was being counted.
    pub(crate) reads: u64,
    /// Hits more, less those fewer, than the cache itself has had.
    pub(crate) gained: f64,
}

/// What a cache would miss if it had another size: see [`Cache::miss_ratio_curve`](crate::Cache::miss_ratio_curve).
///
/// It counts from when the cache was built. What it was in the meantime between two readings is
/// [`since`](Self::since).
///
/// # Examples
/// ```
/// use larder::Cache;
/// let cache = Cache::builder().max_memory(2 << 20).miss_ratio_curve(1 << 20).build()?;
/// for i in 0..20_000u32 {
///     let key = (i % 9_000).to_le_bytes();
///     if cache.get(&key)?.is_none() {
///         cache.set(&key, &[0; 200])?;
///     }
/// }
/// let curve = cache.miss_ratio_curve().unwrap();
/// let (now, doubled) = (curve.miss_ratio_at(1.0).unwrap(), curve.miss_ratio_at(2.0).unwrap());
/// assert!(doubled < now, "all 9,000 values fit into 2 MiB, but not into 1 MiB");
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct MissRatioCurve {
    reads: u64,
    hits: u64,
    memory: u64,
    differences: Vec<Difference>,
}

/// One point of a [`MissRatioCurve`].
///
/// # Examples
/// ```
/// let cache = larder::Cache::builder().max_memory(2 << 20).miss_ratio_curve(1 << 20).build()?;
/// cache.get(b"absent")?;
/// let curve = cache.miss_ratio_curve().unwrap();
/// assert!(curve.points().iter().all(|point| point.miss_ratio == 1.0 && point.hit_ratio() == 0.0));
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct MissRatioPoint {
    /// The memory of the point as a multiple of the present.
    pub factor: f64,
    /// That memory, in bytes, without what the estimate itself takes.
    pub memory: u64,
    /// Misses of all reads that count, 0 to 1.
    pub miss_ratio: f64,
    /// Which share of the keys this point was learnt from, above 0 and up to 1.
    pub sampling_rate: f64,
}

impl MissRatioPoint {
    /// Hits of all reads that count, 0 to 1.
    ///
    /// # Examples
    /// See [`MissRatioPoint`].
    pub fn hit_ratio(&self) -> f64 {
        1.0 - self.miss_ratio
    }
}

impl MissRatioCurve {
    pub(crate) fn new(reads: u64, hits: u64, memory: u64, differences: Vec<Difference>) -> MissRatioCurve {
        MissRatioCurve { reads, hits, memory, differences }
    }

    /// Reads that the curve is made from.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::builder().max_memory(2 << 20).miss_ratio_curve(1 << 20).build()?;
    /// cache.get(b"absent")?;
    /// assert_eq!(cache.miss_ratio_curve().unwrap().reads(), 1);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn reads(&self) -> u64 {
        self.reads
    }

    /// The cache's memory at the time of the reading, in bytes, without what the estimate itself takes: what factor 1
    /// stands for.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::builder().max_memory(3 << 20).miss_ratio_curve(1 << 20).build()?;
    /// assert_eq!(cache.miss_ratio_curve().unwrap().memory(), 2 << 20);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn memory(&self) -> u64 {
        self.memory
    }

    /// The points, smallest memory first; none before the first read. The one with factor 1 is what was counted, the
    /// others are estimates. One is missing while what it was learnt from had to be thrown away (after the limit was
    /// lowered to a fraction) and is being learnt anew.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::builder().max_memory(2 << 20).miss_ratio_curve(1 << 20).build()?;
    /// cache.get(b"absent")?;
    /// let factors: Vec<f64> = cache.miss_ratio_curve().unwrap().points().iter().map(|p| p.factor).collect();
    /// assert_eq!(factors, [0.5, 1.0, 2.0, 4.0]);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn points(&self) -> Vec<MissRatioPoint> {
        let share = |d: &Difference| (d.reads > 0).then(|| d.gained / d.reads as f64);
        // What the miniature of the present size does otherwise than the cache, the others will do as well.
        let own = self.differences.iter().find(|d| d.factor == 1.0).and_then(share).unwrap_or(0.0);
        let point = |d: &Difference| {
            let hit_ratio = self.hits as f64 / self.reads as f64 + share(d)? - own;
            Some(MissRatioPoint {
                factor: d.factor,
                memory: (self.memory as f64 * d.factor) as u64,
                miss_ratio: if d.factor == 1.0 {
                    1.0 - self.hits as f64 / self.reads as f64
                } else {
                    (1.0 - hit_ratio).clamp(0.0, 1.0)
                },
                sampling_rate: d.rate,
            })
        };
        if self.reads == 0 { Vec::new() } else { self.differences.iter().filter_map(point).collect() }
    }

    /// The miss ratio at a multiple of the present memory; between two points by the logarithm of the memory. None
    /// outside of the points, and before the first read.
    ///
    /// # Examples
    /// See [`MissRatioCurve`].
    pub fn miss_ratio_at(&self, factor: f64) -> Option<f64> {
        let points = self.points();
        if let Some(exact) = points.iter().find(|point| point.factor == factor) {
            return Some(exact.miss_ratio);
        }
        let above = points.iter().position(|point| point.factor > factor)?;
        let (low, high) = (points.get(above.checked_sub(1)?)?, &points[above]);
        let part = (factor / low.factor).ln() / (high.factor / low.factor).ln();
        Some(low.miss_ratio + part * (high.miss_ratio - low.miss_ratio))
    }

    /// The curve of the time between an earlier reading of the same cache and this one.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::builder().max_memory(2 << 20).miss_ratio_curve(1 << 20).build()?;
    /// cache.get(b"k")?;
    /// let cold = cache.miss_ratio_curve().unwrap();
    /// cache.set(b"k", b"v")?;
    /// cache.get(b"k")?;
    /// let warm = cache.miss_ratio_curve().unwrap().since(&cold);
    /// assert_eq!((warm.reads(), warm.miss_ratio_at(1.0)), (1, Some(0.0)));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn since(&self, earlier: &MissRatioCurve) -> MissRatioCurve {
        let less = |now: &Difference| {
            let then = earlier.differences.iter().find(|d| d.factor == now.factor).copied().unwrap_or_default();
            Difference { reads: now.reads.saturating_sub(then.reads), gained: now.gained - then.gained, ..*now }
        };
        MissRatioCurve {
            reads: self.reads.saturating_sub(earlier.reads),
            hits: self.hits.saturating_sub(earlier.hits),
            memory: self.memory,
            differences: self.differences.iter().map(less).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(reads: u64, hits: u64, gained: [f64; 3]) -> MissRatioCurve {
        let of = |(factor, gained)| Difference { factor, rate: 0.5, reads, gained };
        MissRatioCurve::new(reads, hits, 1000, [0.5, 1.0, 2.0].into_iter().zip(gained).map(of).collect())
    }

    fn is_near(ratio: Option<f64>, wanted: f64) {
        assert!(ratio.is_some_and(|ratio| (ratio - wanted).abs() < 1e-9), "{ratio:?}, not {wanted}");
    }

    #[test]
    fn what_the_present_size_does_otherwise_is_taken_off() {
        let curve = curve(100, 50, [-20.0, 5.0, 15.0]);
        is_near(curve.miss_ratio_at(1.0), 0.5);
        is_near(curve.miss_ratio_at(0.5), 0.75);
        is_near(curve.miss_ratio_at(2.0), 0.4);
        is_near(curve.miss_ratio_at(2.0_f64.sqrt()), 0.45);
        assert_eq!(
            (curve.miss_ratio_at(0.4), curve.miss_ratio_at(2.1), curve.miss_ratio_at(f64::NAN)),
            (None, None, None)
        );
        assert_eq!(curve.points()[2].memory, 2000);
    }

    #[test]
    fn an_interval_is_the_difference_of_two_readings() {
        let between = curve(300, 150, [-40.0, 0.0, 30.0]).since(&curve(100, 20, [0.0, 0.0, 0.0]));
        is_near(between.miss_ratio_at(1.0), 0.35);
        is_near(between.miss_ratio_at(0.5), 0.55);
        assert_eq!(between.since(&between).points(), []);
    }
}
