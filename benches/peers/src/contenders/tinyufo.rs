//! TinyUFO, built with `TinyUfo::new(total_weight_limit, estimated_size)`, its faster form: a weight of 1 an entry, or
//! the bytes of key and value where these are counted (its weights are `u16`: values of more than 65,515 bytes weigh
//! that). It keeps a hash of the key, not the key, so keys are passed in place without a box. Values are `Arc<[u8]>`: a
//! hit is a clone.

use std::sync::Arc;

use tinyufo::TinyUfo;

use crate::contender::{Capacity, Contender, Refusal, sum};

pub(crate) struct Tinyufo<const N: usize> {
    cache: TinyUfo<[u8; N], Arc<[u8]>>,
    is_bytes: bool,
}

impl<const N: usize> Contender<N> for Tinyufo<N> {
    fn build(capacity: &Capacity) -> Result<Self, Refusal> {
        let cache = TinyUfo::new(capacity.limit() as usize, capacity.items() as usize);
        Ok(Tinyufo { cache, is_bytes: capacity.is_bytes() })
    }

    #[inline]
    fn get(&self, key: &[u8; N]) -> Option<u64> {
        self.cache.get(key).map(|value| sum(&value))
    }

    #[inline]
    fn set(&self, key: &[u8; N], value: &[u8]) -> bool {
        let weight = if self.is_bytes { u16::try_from(N + value.len()).unwrap_or(u16::MAX) } else { 1 };
        self.cache.put(*key, Arc::from(value), weight);
        true
    }

    fn len(&self) -> Option<u64> {
        None
    }
}
