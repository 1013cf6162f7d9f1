//! mini-moka's `sync::Cache`, built with `Cache::builder` as its documentation shows: `max_capacity`, a `weigher` where
//! bytes are counted, its default policy (TinyLFU) and hasher (SipHash-1-3). Values are `Arc<[u8]>`. It has no thread
//! of its own: callers do its housekeeping now and then. `settle` is `sync`.
//!
//! Its lookup wants what `Arc<K>` can lend, which a boxed slice in an `Arc` cannot; [`Held`] is a key that can.

use std::borrow::Borrow;
use std::sync::Arc;

use mini_moka::sync::{Cache, ConcurrentCacheExt};

use crate::contender::{Capacity, Contender, Refusal, sum};

/// A boxed key that lends its bytes through the `Arc` the cache puts it in.
#[derive(Hash, PartialEq, Eq)]
pub(crate) struct Held<const N: usize>(Box<Bytes<N>>);

/// The bytes of a key, a type of this crate so that `Arc<Held>` may lend it.
#[derive(Hash, PartialEq, Eq, Clone, Copy)]
struct Bytes<const N: usize>([u8; N]);

impl<const N: usize> Borrow<Bytes<N>> for Arc<Held<N>> {
    fn borrow(&self) -> &Bytes<N> {
        &self.0
    }
}

pub(crate) struct MiniMoka<const N: usize>(Cache<Held<N>, Arc<[u8]>>);

impl<const N: usize> Contender<N> for MiniMoka<N> {
    fn build(capacity: &Capacity) -> Result<Self, Refusal> {
        let mut builder = Cache::builder().max_capacity(capacity.limit());
        if capacity.is_bytes() {
            builder = builder.weigher(|_: &Held<N>, value: &Arc<[u8]>| (N + value.len()) as u32);
        }
        Ok(MiniMoka(builder.build()))
    }

    #[inline]
    fn get(&self, key: &[u8; N]) -> Option<u64> {
        self.0.get(&Bytes(*key)).map(|value| sum(&value))
    }

    #[inline]
    fn set(&self, key: &[u8; N], value: &[u8]) -> bool {
        self.0.insert(Held(Box::new(Bytes(*key))), Arc::from(value));
        true
    }

    fn settle(&self) {
        self.0.sync();
    }

    fn len(&self) -> Option<u64> {
        Some(self.0.entry_count())
    }
}
