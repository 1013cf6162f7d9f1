//! foyer's in-memory cache (`foyer-memory`), built with `CacheBuilder` as its documentation shows: eight shards and
//! hasher (XxHash64) are its defaults. Its default policy is LRU; S3-FIFO, which it also offers, was faster and had
//! more hits in all that was measured before, so it takes part with that. `foyer-lfu`, only among the hit ratios, is
//! its w-TinyLFU. Values are `Box<[u8]>`: a hit is a handle on the entry.

use foyer_memory::{Cache, CacheBuilder, CacheProperties, EvictionConfig, LfuConfig, S3FifoConfig};

use crate::contender::{Capacity, Contender, Refusal, sum};

type Inner = Cache<Box<[u8]>, Box<[u8]>>;

fn build(capacity: &Capacity, eviction: impl Into<EvictionConfig>) -> Inner {
    let mut builder = CacheBuilder::new(capacity.limit() as usize).with_eviction_config(eviction);
    if capacity.is_bytes() {
        builder = builder.with_weighter(weight);
    }
    builder.build::<CacheProperties>()
}

#[expect(clippy::borrowed_box, reason = "foyer wants a function of key and value, as they are")]
fn weight(key: &Box<[u8]>, value: &Box<[u8]>) -> usize {
    key.len() + value.len()
}

#[inline]
fn get(cache: &Inner, key: &[u8]) -> Option<u64> {
    cache.get(key).map(|entry| sum(entry.value()))
}

#[inline]
fn set(cache: &Inner, key: &[u8], value: &[u8]) -> bool {
    cache.insert(Box::from(key), Box::from(value));
    true
}

pub(crate) struct Foyer(Inner);

impl<const N: usize> Contender<N> for Foyer {
    fn build(capacity: &Capacity) -> Result<Self, Refusal> {
        Ok(Foyer(build(capacity, S3FifoConfig::default())))
    }

    #[inline]
    fn get(&self, key: &[u8; N]) -> Option<u64> {
        get(&self.0, key)
    }

    #[inline]
    fn set(&self, key: &[u8; N], value: &[u8]) -> bool {
        set(&self.0, key, value)
    }

    fn len(&self) -> Option<u64> {
        Some(self.0.entries() as u64)
    }
}

pub(crate) struct FoyerLfu(Inner);

impl<const N: usize> Contender<N> for FoyerLfu {
    fn build(capacity: &Capacity) -> Result<Self, Refusal> {
        Ok(FoyerLfu(build(capacity, LfuConfig::default())))
    }

    #[inline]
    fn get(&self, key: &[u8; N]) -> Option<u64> {
        get(&self.0, key)
    }

    #[inline]
    fn set(&self, key: &[u8; N], value: &[u8]) -> bool {
        set(&self.0, key, value)
    }

    fn len(&self) -> Option<u64> {
        Some(self.0.entries() as u64)
    }
}
