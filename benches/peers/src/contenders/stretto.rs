//! stretto's `Cache`, built with `Cache::builder(num_counters, max_cost)` as its documentation shows: ten counters an
//! entry, a cost of 1 an entry; where bytes are counted the cost is the bytes of key and value, and the entry's own
//! bookkeeping is counted too (`set_ignore_internal_cost(false)`, which its README recommends then).
//!
//! A set goes through a buffer to a thread of stretto's own, which decides whether to keep the value; when the buffer
//! is full the set is dropped, and `insert` says so. `settle` is `wait`. It keeps a hash of the key, not the key, so
//! keys are passed in place without a box. In the cases `mixed` and `evict` it takes no part: see `cases`.

use std::time::Duration;

use stretto::Cache;

use crate::contender::{Capacity, Contender, Refusal, sum};

pub(crate) struct Stretto<const N: usize> {
    cache: Cache<[u8; N], Box<[u8]>>,
    is_bytes: bool,
}

impl<const N: usize> Stretto<N> {
    #[inline]
    fn cost(&self, value: &[u8]) -> i64 {
        if self.is_bytes { (N + value.len()) as i64 } else { 1 }
    }
}

impl<const N: usize> Contender<N> for Stretto<N> {
    const TTL: bool = true;

    fn build(capacity: &Capacity) -> Result<Self, Refusal> {
        let counters = capacity.items() as usize * 10;
        let cache = Cache::builder(counters, capacity.limit() as i64)
            .set_ignore_internal_cost(!capacity.is_bytes())
            .finalize()
            .map_err(|error| error.to_string())?;
        Ok(Stretto { cache, is_bytes: capacity.is_bytes() })
    }

    #[inline]
    fn get(&self, key: &[u8; N]) -> Option<u64> {
        self.cache.get(key).map(|value| sum(value.value()))
    }

    #[inline]
    fn set(&self, key: &[u8; N], value: &[u8]) -> bool {
        self.cache.try_insert(*key, Box::from(value), self.cost(value)).unwrap_or(false)
    }

    #[inline]
    fn set_ttl(&self, key: &[u8; N], value: &[u8], ttl: Duration) -> bool {
        self.cache.try_insert_with_ttl(*key, Box::from(value), self.cost(value), ttl).unwrap_or(false)
    }

    fn settle(&self) {
        // What could go wrong is that stretto's thread has ended; then there is nothing to wait for.
        let _ = self.cache.wait();
    }

    fn len(&self) -> Option<u64> {
        Some(self.cache.len() as u64)
    }
}
