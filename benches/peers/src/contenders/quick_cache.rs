//! quick_cache's `sync::Cache`, built with `OptionsBuilder` as its documentation shows: number of shards (four a core),
//! hot and ghost shares and hasher (foldhash) are its defaults. Values are `Arc<[u8]>`, as it recommends where cloning
//! is expensive; borrowed keys are looked up without a copy (`Equivalent`).

use std::sync::Arc;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use crate::contender::{Capacity, Contender, Refusal, sum};

/// One an entry, or the bytes of key and value.
#[derive(Debug, Clone)]
struct Weight {
    is_bytes: bool,
}

impl Weighter<Box<[u8]>, Arc<[u8]>> for Weight {
    fn weight(&self, key: &Box<[u8]>, value: &Arc<[u8]>) -> u64 {
        if self.is_bytes { (key.len() + value.len()) as u64 } else { 1 }
    }
}

pub(crate) struct QuickCache(Cache<Box<[u8]>, Arc<[u8]>, Weight>);

impl<const N: usize> Contender<N> for QuickCache {
    fn build(capacity: &Capacity) -> Result<Self, Refusal> {
        let options = OptionsBuilder::new()
            .estimated_items_capacity(capacity.items() as usize)
            .weight_capacity(capacity.limit())
            .build()
            .map_err(|error| error.to_string())?;
        let weight = Weight { is_bytes: capacity.is_bytes() };
        let (hasher, lifecycle) = (DefaultHashBuilder::default(), DefaultLifecycle::default());
        Ok(QuickCache(Cache::with_options(options, weight, hasher, lifecycle)))
    }

    #[inline]
    fn get(&self, key: &[u8; N]) -> Option<u64> {
        self.0.get(&key[..]).map(|value| sum(&value))
    }

    #[inline]
    fn set(&self, key: &[u8; N], value: &[u8]) -> bool {
        self.0.insert(Box::from(&key[..]), Arc::from(value));
        true
    }

    fn len(&self) -> Option<u64> {
        Some(self.0.len() as u64)
    }
}
