//! Seeded pseudo-random numbers for workloads: the same seed gives the same requests on every machine.
//!
//! [`mix`] turns a number into an unrelated one (what a key's size or lifetime is drawn from); [`Rng`] is a stream of
//! numbers, splitmix64. Neither is meant to resist an adversary.

/// The finaliser of splitmix64: a bijection of 64-bit numbers in which every input bit reaches every output bit.
#[inline]
pub(crate) fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(GOLDEN);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number of 64 bits as a fraction, at least 0 and less than 1.
#[inline]
pub(crate) fn fraction(bits: u64) -> f64 {
    (bits >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

/// A stream of pseudo-random numbers.
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Rng(mix(seed))
    }

    #[inline]
    pub(crate) fn next(&mut self) -> u64 {
        let out = mix(self.0);
        self.0 = self.0.wrapping_add(GOLDEN);
        out
    }

    /// Uniform from 0 up to but without 1.
    #[inline]
    pub(crate) fn fraction(&mut self) -> f64 {
        fraction(self.next())
    }

    /// Uniform from 0 up to but without `bound` (0 when `bound` is 0).
    #[inline]
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// Fills `bytes` with noise that does not compress.
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for piece in bytes.chunks_mut(8) {
            let noise = self.next().to_le_bytes();
            piece.copy_from_slice(&noise[..piece.len()]);
        }
    }
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_same_stream_and_bounds_hold() {
        let (mut a, mut b, mut c) = (Rng::new(7), Rng::new(7), Rng::new(8));
        let mut seen = [0u32; 10];
        for _ in 0..10_000 {
            let x = a.next();
            assert_eq!(x, b.next());
            assert_ne!(x, c.next());
            let f = fraction(x);
            assert!((0.0..1.0).contains(&f));
            let below = a.below(10);
            assert_eq!(below, b.below(10));
            seen[below as usize] += 1;
        }
        assert!(seen.iter().all(|&n| (800..1200).contains(&n)), "{seen:?}");
        assert_eq!(a.below(0), 0);
    }
}
