//! Latencies, counted in bins: percentiles within 1.6 % of the true value, in a fixed 30 KB and without any allocation
//! when a value is recorded.
//!
//! ```text
//!  value   0 .. 127        one bin each
//!  value   2^e .. 2^(e+1)  64 bins of equal width, for each e >= 7
//! ```

const BITS: u32 = 6;
const PER_OCTAVE: u64 = 1 << BITS;
const BINS: usize = ((64 - BITS as usize) + 1) * PER_OCTAVE as usize;

/// Counts of values (nanoseconds here), and the exact largest one.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    bins: Box<[u64]>,
    count: u64,
    max: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Histogram { bins: vec![0; BINS].into_boxed_slice(), count: 0, max: 0 }
    }

    #[inline]
    pub(crate) fn record(&mut self, value: u64) {
        self.bins[bin(value)] += 1;
        self.count += 1;
        self.max = self.max.max(value);
    }

    pub(crate) fn merge(&mut self, other: &Histogram) {
        for (own, more) in self.bins.iter_mut().zip(other.bins.iter()) {
            *own += more;
        }
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn max(&self) -> u64 {
        self.max
    }

    /// The value that a share of `quantile` of all values does not exceed (upper end of its bin); 0 when nothing was
    /// recorded.
    pub(crate) fn quantile(&self, quantile: f64) -> u64 {
        let rank = ((self.count as f64 * quantile).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, &n) in self.bins.iter().enumerate() {
            seen += n;
            if seen >= rank {
                return upper_end(index).min(self.max);
            }
        }
        self.max
    }
}

#[inline]
fn bin(value: u64) -> usize {
    if value < 2 * PER_OCTAVE {
        return value as usize;
    }
    let exponent = value.ilog2() - BITS;
    (u64::from(exponent) * PER_OCTAVE + (value >> exponent)) as usize
}

/// The largest value that falls into a bin.
fn upper_end(index: usize) -> u64 {
    let index = index as u64;
    if index < 2 * PER_OCTAVE {
        return index;
    }
    let exponent = index / PER_OCTAVE - 1;
    let mantissa = index - exponent * PER_OCTAVE;
    (mantissa << exponent) + ((1 << exponent) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_in_order_and_narrow() {
        let mut last = 0;
        for value in (0..2000u64).chain((11..63).flat_map(|e| [(1 << e) - 1, 1 << e, (1 << e) + (1 << (e - 2))])) {
            let index = bin(value);
            assert!(index >= last && index < BINS);
            last = index;
            let upper = upper_end(index);
            assert!(upper >= value && (upper - value) as f64 <= value as f64 / 63.0, "{value} {upper}");
        }
        assert!(bin(u64::MAX) < BINS);
        assert_eq!(upper_end(bin(u64::MAX)), u64::MAX);
    }

    #[test]
    fn percentiles_of_a_ramp() {
        let (mut low, mut high) = (Histogram::new(), Histogram::new());
        assert_eq!(low.quantile(0.5), 0);
        (1..=50_000u64).for_each(|value| low.record(value));
        (50_001..=100_000u64).for_each(|value| high.record(value));
        low.merge(&high);
        assert_eq!((low.count(), low.max()), (100_000, 100_000));
        for quantile in [0.5, 0.9, 0.99, 0.999] {
            let (got, exact) = (low.quantile(quantile) as f64, quantile * 100_000.0);
            assert!(got >= exact && got <= exact * 1.017, "{quantile}: {got}");
        }
        assert_eq!(low.quantile(1.0), 100_000);
    }
}
