//! scc's `HashCache`, built with `with_capacity_and_hasher`. Its default hasher is SipHash-1-3; it is given foldhash,
//! as quick_cache, lru and the map have, because hashing would be half of its time. It is 32-way associative: entries
//! are evicted before the cache is full, so a share of its gets misses even with room for twice the entries (the column
//! `hits` says how many). A hit is shown to a closure, in place (`read_sync`).

use foldhash::fast::RandomState;
use scc::HashCache;

use crate::contender::{Capacity, Contender, Refusal, no_byte_bound, sum};

pub(crate) struct Scc(HashCache<Box<[u8]>, Box<[u8]>, RandomState>);

impl<const N: usize> Contender<N> for Scc {
    fn build(capacity: &Capacity) -> Result<Self, Refusal> {
        if capacity.is_bytes() {
            return Err(no_byte_bound());
        }
        let items = capacity.items() as usize;
        Ok(Scc(HashCache::with_capacity_and_hasher(0, items, RandomState::default())))
    }

    #[inline]
    fn get(&self, key: &[u8; N]) -> Option<u64> {
        self.0.read_sync(&key[..], |_, value| sum(value))
    }

    #[inline]
    fn set(&self, key: &[u8; N], value: &[u8]) -> bool {
        match self.0.entry_sync(Box::from(&key[..])) {
            scc::hash_cache::Entry::Occupied(mut entry) => drop(entry.put(Box::from(value))),
            scc::hash_cache::Entry::Vacant(entry) => drop(entry.put_entry(Box::from(value))),
        }
        true
    }

    fn len(&self) -> Option<u64> {
        Some(self.0.len() as u64)
    }
}
