//! Key to hash. One 64-bit hash says everything about where an item goes:
//!
//! ```text
//!  63            64-s 63-s                                          8 7      0
//! ┌──────────────────┬───────────────────────────────────────────────┬────────┐
//! │ shard (s bits)   │ home bucket: these bits as a fraction of 1    │ tag    │
//! └──────────────────┴───────────────────────────────────────────────┴────────┘
//! ```
//! So the order of hashes is the order of shards and, within one, of home buckets, whatever the sizes of the tables: a
//! position in it is a cursor that survives growth.
//!
//! The function is rapidhash V3 with secrets from the cache's seed: the same in every build and on every machine, so
//! that a file that holds an index can be read elsewhere; seeded at random by default, so that nobody can aim at a
//! bucket.

use rapidhash::v3::{RapidSecrets, rapidhash_v3_inline};

/// A key on its way: with its namespace and hash.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key<'k> {
    pub(crate) namespace: u8,
    pub(crate) bytes: &'k [u8],
    pub(crate) hash: u64,
}

/// Hashes keys of one cache.
#[derive(Clone)]
pub(crate) struct KeyHasher {
    secrets: RapidSecrets,
    shard_bits: u32,
}

impl<'k> Key<'k> {
    /// Another of the same, for a call that is not inlined: the one at hand then need not be in memory for it.
    #[inline(always)]
    pub(crate) fn again(&self) -> Key<'k> {
        Key { namespace: self.namespace, bytes: self.bytes, hash: self.hash }
    }
}

/// Without the secrets: who knows them can aim at a bucket.
impl std::fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyHasher").field("shard_bits", &self.shard_bits).finish_non_exhaustive()
    }
}

impl KeyHasher {
    /// For `2^shard_bits` shards.
    pub(crate) fn new(seed: u64, shard_bits: u32) -> KeyHasher {
        KeyHasher { secrets: RapidSecrets::seed(seed), shard_bits }
    }

    /// The hash of a key in a namespace.
    #[inline(always)]
    pub(crate) fn hash(&self, namespace: u8, key: &[u8]) -> u64 {
        let h = rapidhash_v3_inline::<true, false, false>(key, &self.secrets);
        if namespace == 0 {
            return h;
        }
        let mixed = u128::from(h ^ u64::from(namespace)) * u128::from(0x9e37_79b9_7f4a_7c15_u64);
        (mixed as u64) ^ (mixed >> 64) as u64
    }

    #[inline(always)]
    pub(crate) fn shard(&self, hash: u64) -> usize {
        // Two shifts, because one by 64 is not defined.
        (hash >> 1 >> (63 - self.shard_bits)) as usize
    }

    /// Which of `regions` equal parts of its shard's hashes a hash is in.
    #[cfg(feature = "snapshot")]
    pub(crate) fn region(&self, hash: u64, regions: u64) -> u64 {
        home(hash, self.shard_bits, regions)
    }

    /// The first and the last hash of neighbouring regions of a shard.
    #[cfg(feature = "snapshot")]
    pub(crate) fn bounds(&self, shard: usize, (first, last): (u64, u64), regions: u64) -> (u64, u64) {
        // The least x such that x * regions / 2^64 is at least the region's number.
        let begin = |region: u64| (u128::from(region) << 64).div_ceil(u128::from(regions));
        let begins = begin(first) >> self.shard_bits;
        let ends = ((begin(last + 1) - 1) >> self.shard_bits) as u64;
        (self.first_of(shard) + begins as u64, self.first_of(shard) + ends)
    }

    /// The first hash of a shard.
    pub(crate) fn first_of(&self, shard: usize) -> u64 {
        if self.shard_bits == 0 { 0 } else { (shard as u64) << (64 - self.shard_bits) }
    }
}

/// The tag of a hash: never 0, which means an empty slot.
#[inline(always)]
pub(super) fn tag(hash: u64) -> u8 {
    let low = hash as u8;
    if low == 0 { 0x80 } else { low }
}

/// How far an item's other place can be from its home, in buckets: an optimal Golomb ruler of order 8.
///
/// No two pairs of marks are the same distance apart, so chains of moves spread over the neighbourhood instead of
/// coming back to where they were. With distances 1 to 7 instead, at a load of .85, one insert in 5,000 meets some
/// fifty buckets in a row that hold all they can between them, whatever is moved; with these none was seen to at .90
/// (`docs/index.md`).
pub(super) const DISTANCES: [u64; 7] = [1, 4, 9, 15, 22, 32, 34];

/// How far the other place of an item with this tag is from its home.
#[inline(always)]
pub(super) fn distance(tag: u8) -> u64 {
    DISTANCES[usize::from(tag % 7)]
}

/// The home bucket of a hash in a table of `buckets`, given how many top bits chose the shard.
#[inline(always)]
pub(super) fn home(hash: u64, shard_bits: u32, buckets: u64) -> u64 {
    ((u128::from(hash << shard_bits) * u128::from(buckets)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_function_is_pinned() {
        // Files depend on it: a change of these values is a change of format.
        let hasher = KeyHasher::new(42, 3);
        let hashes = [hasher.hash(0, b""), hasher.hash(0, b"larder"), hasher.hash(7, b"larder")];
        assert_eq!(hashes, PINNED);
    }

    const PINNED: [u64; 3] = [2099127172797383695, 2793841447550876283, 15196230148678304062];

    #[test]
    fn shards_and_homes_follow_the_hash_in_order() {
        let hasher = KeyHasher::new(1, 4);
        let mut hashes: Vec<u64> = (0..1000u32).map(|i| hasher.hash(0, &i.to_le_bytes())).collect();
        hashes.sort_unstable();
        let places: Vec<(usize, u64)> = hashes.iter().map(|&h| (hasher.shard(h), home(h, 4, 77))).collect();
        assert!(places.is_sorted());
        assert!(hashes.iter().all(|&h| hasher.first_of(hasher.shard(h)) <= h));
        assert_eq!(KeyHasher::new(1, 0).shard(u64::MAX), 0);
    }

    #[cfg(feature = "snapshot")]
    #[test]
    fn bounds_of_regions_hold_all_their_hashes() {
        for (shard_bits, regions) in [(0, 1), (0, 8), (4, 77), (10, 1_000_003)] {
            let hasher = KeyHasher::new(1, shard_bits);
            let hashes = (0..1000u32).map(|i| hasher.hash(0, &i.to_le_bytes())).chain([0, u64::MAX]);
            for hash in hashes {
                let (shard, region) = (hasher.shard(hash), hasher.region(hash, regions));
                let (first, last) = hasher.bounds(shard, (region, region), regions);
                assert!(region < regions && (first..=last).contains(&hash), "{hash:x}");
                assert_eq!((hasher.shard(first), hasher.shard(last)), (shard, shard));
            }
        }
    }

    #[test]
    fn namespaces_part_keys() {
        let hasher = KeyHasher::new(1, 0);
        let of: Vec<u64> = (0..=255).map(|n| hasher.hash(n, b"key")).collect();
        let distinct: std::collections::HashSet<_> = of.iter().collect();
        assert_eq!(distinct.len(), 256);
    }
}
