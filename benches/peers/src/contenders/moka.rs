//! moka's `sync::Cache`, built with `Cache::builder` as its documentation shows: `max_capacity`, a `weigher` where
//! bytes are counted, its default policy (TinyLFU) and hasher (SipHash-1-3). Values are `Arc<[u8]>`, as it recommends
//! where cloning is expensive. It has no thread of its own: callers do its housekeeping now and then. `settle` is
//! `run_pending_tasks`.
//!
//! [`MokaExpiry`] is the same with `expire_after` and an `Expiry` that finds the time to live beside the value, the way
//! the documentation's example of an expiration by entry does it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::sync::Cache;

use crate::contender::{Capacity, Contender, Refusal, TTL, sum};

pub(crate) struct Moka(Cache<Box<[u8]>, Arc<[u8]>>);

impl<const N: usize> Contender<N> for Moka {
    fn build(capacity: &Capacity) -> Result<Self, Refusal> {
        let mut builder = Cache::builder().max_capacity(capacity.limit());
        if capacity.is_bytes() {
            builder = builder.weigher(weight);
        }
        Ok(Moka(builder.build()))
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

    fn settle(&self) {
        self.0.run_pending_tasks();
    }

    fn len(&self) -> Option<u64> {
        Some(self.0.entry_count())
    }
}

#[expect(clippy::borrowed_box, reason = "moka wants a function of key and value, as they are")]
fn weight(key: &Box<[u8]>, value: &Arc<[u8]>) -> u32 {
    (key.len() + value.len()) as u32
}

/// A value and how long it lives.
type Timed = (Duration, Arc<[u8]>);

/// Takes the time to live from beside the value.
struct ByEntry;

impl Expiry<Box<[u8]>, Timed> for ByEntry {
    fn expire_after_create(&self, _key: &Box<[u8]>, value: &Timed, _created_at: Instant) -> Option<Duration> {
        Some(value.0)
    }

    fn expire_after_update(
        &self,
        _key: &Box<[u8]>,
        value: &Timed,
        _updated_at: Instant,
        _duration_until_expiry: Option<Duration>,
    ) -> Option<Duration> {
        Some(value.0)
    }
}

pub(crate) struct MokaExpiry(Cache<Box<[u8]>, Timed>);

impl<const N: usize> Contender<N> for MokaExpiry {
    const TTL: bool = true;

    fn build(capacity: &Capacity) -> Result<Self, Refusal> {
        Ok(MokaExpiry(Cache::builder().max_capacity(capacity.items()).expire_after(ByEntry).build()))
    }

    #[inline]
    fn get(&self, key: &[u8; N]) -> Option<u64> {
        self.0.get(&key[..]).map(|(_, value)| sum(&value))
    }

    #[inline]
    fn set(&self, key: &[u8; N], value: &[u8]) -> bool {
        Contender::set_ttl(self, key, value, TTL)
    }

    #[inline]
    fn set_ttl(&self, key: &[u8; N], value: &[u8], ttl: Duration) -> bool {
        self.0.insert(Box::from(&key[..]), (ttl, Arc::from(value)));
        true
    }

    fn settle(&self) {
        self.0.run_pending_tasks();
    }

    fn len(&self) -> Option<u64> {
        Some(self.0.entry_count())
    }
}
