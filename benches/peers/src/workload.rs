//! Keys and values, and the order in which they are asked for. Everything is drawn from fixed seeds, before the clock
//! runs: two runs, and all contenders of one, see the same.
//!
//! A key is made of a number that is scattered over all 64-bit numbers, so that neither neighbours in popularity nor
//! neighbours in time look alike. In what order a population is stored has nothing to do with how popular its keys are:
//! no contender has its hot items side by side by accident.

use crate::contender::{KEY_BYTES, Key};
use crate::rng::{Rng, mix};
use crate::zipf::Zipf;

/// The exponent of all Zipf draws.
pub(crate) const ALPHA: f64 = 0.99;

/// The key of a number: `key:` and sixteen hexadecimal digits; longer keys have more colons.
#[inline]
pub(crate) fn key_of<const N: usize>(number: u64) -> [u8; N] {
    let mut key = [b':'; N];
    key[..3].copy_from_slice(b"key");
    for (pair, byte) in key[N - 16..].chunks_exact_mut(2).zip(number.to_be_bytes()) {
        pair.copy_from_slice(&HEX[usize::from(byte)]);
    }
    key
}

/// The two hexadecimal digits of each byte.
const HEX: [[u8; 2]; 256] = {
    let (mut table, digits, mut byte) = ([[0; 2]; 256], b"0123456789abcdef", 0);
    while byte < 256 {
        table[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    table
};

/// The key of the `index`th entry of a population.
#[inline]
pub(crate) fn member(index: u64) -> Key {
    key_of::<KEY_BYTES>(mix(index))
}

/// The keys of a whole population, in the order in which they are stored.
pub(crate) fn members(count: u64) -> Vec<Key> {
    (0..count).map(member).collect()
}

/// Bytes that values are cut from.
pub(crate) fn noise(bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    Rng::new(1).fill(&mut noise);
    noise
}

/// How popular the entries of a population are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Popularity {
    Uniform,
    Zipf,
}

/// Numbers of entries of a population of `count`, drawn by popularity; `stream` tells threads apart.
pub(crate) fn draws(popularity: Popularity, count: u64, stream: u64, number: usize) -> Vec<u32> {
    let mut rng = Rng::new(1000 + stream);
    match popularity {
        Popularity::Uniform => (0..number).map(|_| rng.below(count) as u32).collect(),
        Popularity::Zipf => {
            let (zipf, places) = (Zipf::new(count, ALPHA), shuffled(count));
            (0..number).map(|_| places[zipf.draw(&mut rng) as usize - 1]).collect()
        }
    }
}

/// The keys of drawn entries.
pub(crate) fn keys(draws: &[u32]) -> Vec<Key> {
    draws.iter().map(|&index| member(u64::from(index))).collect()
}

/// All numbers below `count` in a random order, the same for all threads: the most popular entry comes first.
fn shuffled(count: u64) -> Vec<u32> {
    let mut rng = Rng::new(2);
    let mut places: Vec<u32> = (0..count as u32).collect();
    for left in (1..places.len()).rev() {
        places.swap(left, rng.below(left as u64 + 1) as usize);
    }
    places
}

/// A key that was never used before and never will be again; `stream` tells threads apart.
#[inline]
pub(crate) fn unique(stream: u64, number: u64) -> Key {
    key_of::<KEY_BYTES>(mix(((stream + 1) << 48) | number))
}

/// The size of an item's value in the case `limit`: exponential with a mean of 400, from 1 to 16,000 bytes.
#[inline]
pub(crate) fn exponential_size(rng: &mut Rng) -> usize {
    const MEAN: f64 = 400.0;
    (-(1.0 - rng.fraction()).ln() * MEAN).clamp(1.0, 16_000.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_what_they_are_said_to_be() {
        assert_eq!(&key_of::<20>(0x0123_4567_89ab_cdef), b"key:0123456789abcdef");
        assert_eq!(&key_of::<24>(255), b"key:::::00000000000000ff");
    }

    #[test]
    fn keys_differ() {
        let mut all = members(10_000);
        all.extend((0..2).flat_map(|stream| (0..10_000).map(move |n| unique(stream, n))));
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn draws_are_of_the_population_and_repeat_themselves() {
        for popularity in [Popularity::Uniform, Popularity::Zipf] {
            let first = draws(popularity, 1000, 0, 10_000);
            assert_eq!(first, draws(popularity, 1000, 0, 10_000));
            assert_ne!(first, draws(popularity, 1000, 1, 10_000));
            assert!(first.iter().all(|&index| index < 1000));
            let mut seen = vec![0; 1000];
            first.iter().for_each(|&index| seen[index as usize] += 1);
            let most = seen.iter().max().copied().unwrap_or(0);
            assert_eq!(most > 500, popularity == Popularity::Zipf, "{most}");
        }
    }

    #[test]
    fn sizes_have_their_mean() {
        let mut rng = Rng::new(3);
        let total: usize = (0..100_000).map(|_| exponential_size(&mut rng)).sum();
        assert!((395..405).contains(&(total / 100_000)));
    }
}
