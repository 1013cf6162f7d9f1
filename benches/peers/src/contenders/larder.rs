//! larder, as `Cache::new` gives it: the default policy, statistics, random seed, the maintenance thread. Reads are the
//! public `get` (a guard on the bytes in place), in batches `get_many`; every item has a time to live.
//!
//! Its limit is in bytes of memory, everything included. Where the others are given a number of entries, it is given
//! what so many take by the formula in `docs/memory.md`; the cases print how many it then holds.

use std::time::Duration;

use larder::{Cache, SetOptions};

use crate::contender::{Capacity, Contender, Refusal, TTL, sum};

pub(crate) struct Larder(Cache);

impl<const N: usize> Contender<N> for Larder {
    const TTL: bool = true;

    fn build(capacity: &Capacity) -> Result<Self, Refusal> {
        let limit = match *capacity {
            Capacity::Entries { items, key_bytes, value_bytes } => bytes_for(items, key_bytes, value_bytes),
            Capacity::Bytes { limit, .. } => limit,
        };
        Cache::new(limit).map(Larder).map_err(|error| error.to_string())
    }

    #[inline]
    fn get(&self, key: &[u8; N]) -> Option<u64> {
        self.0.get(key).ok().flatten().map(|value| sum(&value))
    }

    #[inline]
    fn set(&self, key: &[u8; N], value: &[u8]) -> bool {
        self.0.set_with(key, value, &SetOptions::new().ttl(TTL)).is_ok_and(|outcome| outcome.stored)
    }

    #[inline]
    fn set_ttl(&self, key: &[u8; N], value: &[u8], ttl: Duration) -> bool {
        self.0.set_with(key, value, &SetOptions::new().ttl(ttl)).is_ok_and(|outcome| outcome.stored)
    }

    #[inline]
    fn get_many(&self, keys: &[[u8; N]]) -> (u64, u64) {
        let (mut hits, mut total) = (0, 0u64);
        self.0.get_many(keys, |_, value| {
            if let Some(value) = value {
                hits += 1;
                total = total.wrapping_add(sum(value));
            }
        });
        (hits, total)
    }

    fn len(&self) -> Option<u64> {
        Some(self.0.len())
    }
}

/// What `items` entries take: header, key and value in a chunk, index and the policy's memory, and some 400 KiB that do
/// not depend on them. Items of more than half a page take whole pages of the system's.
fn bytes_for(items: u64, key_bytes: usize, value_bytes: usize) -> u64 {
    const INDEX_AND_GHOST: f64 = 13.9;
    let header = if key_bytes > 63 || value_bytes > 1023 { 16 } else { 8 };
    let item = (header + key_bytes + value_bytes).next_multiple_of(8);
    let chunk = if item <= 2048 { item as f64 * 1.02 } else { item.next_multiple_of(4096) as f64 };
    (items as f64 * (chunk + INDEX_AND_GHOST)) as u64 + (400 << 10)
}
