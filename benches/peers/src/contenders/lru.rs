//! lru's `LruCache` behind locks, which is what programs do with it: its documentation leaves sharing to the caller.
//! [`LruMutex`] is one behind one `parking_lot::Mutex`; [`Lru16`] is sixteen of a sixteenth, each behind its own, on
//! cache lines of their own, chosen by a second hash of the key. The hasher is lru's default, foldhash. Values are
//! `Box<[u8]>`, read in place under the lock.

use std::hash::BuildHasher;
use std::num::NonZeroUsize;

use crossbeam_utils::CachePadded;
use foldhash::fast::FixedState;
use lru::LruCache;
use parking_lot::Mutex;

use crate::contender::{Capacity, Contender, Refusal, no_byte_bound, sum};

type Locked = Mutex<LruCache<Box<[u8]>, Box<[u8]>>>;

fn locked(capacity: &Capacity, parts: u64) -> Result<Locked, Refusal> {
    let items = usize::try_from(capacity.items() / parts).ok().and_then(NonZeroUsize::new);
    match items {
        _ if capacity.is_bytes() => Err(no_byte_bound()),
        Some(items) => Ok(Mutex::new(LruCache::new(items))),
        None => Err("too small to be divided".to_owned()),
    }
}

#[inline]
fn get(cache: &Locked, key: &[u8]) -> Option<u64> {
    cache.lock().get(key).map(|value| sum(value))
}

/// Boxes are made, and the old ones dropped, outside of the lock.
#[inline]
fn set(cache: &Locked, key: &[u8], value: &[u8]) -> bool {
    let (key, value) = (Box::from(key), Box::from(value));
    let old = cache.lock().push(key, value);
    drop(old);
    true
}

pub(crate) struct LruMutex(Locked);

impl<const N: usize> Contender<N> for LruMutex {
    fn build(capacity: &Capacity) -> Result<Self, Refusal> {
        locked(capacity, 1).map(LruMutex)
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
        Some(self.0.lock().len() as u64)
    }
}

const PARTS: usize = 16;

pub(crate) struct Lru16(Vec<CachePadded<Locked>>);

impl Lru16 {
    #[inline]
    fn part(&self, key: &[u8]) -> &Locked {
        &self.0[FixedState::default().hash_one(key) as usize % PARTS]
    }
}

impl<const N: usize> Contender<N> for Lru16 {
    fn build(capacity: &Capacity) -> Result<Self, Refusal> {
        let parts: Result<_, _> = (0..PARTS).map(|_| locked(capacity, PARTS as u64).map(CachePadded::new)).collect();
        parts.map(Lru16)
    }

    #[inline]
    fn get(&self, key: &[u8; N]) -> Option<u64> {
        get(self.part(key), key)
    }

    #[inline]
    fn set(&self, key: &[u8; N], value: &[u8]) -> bool {
        set(self.part(key), key, value)
    }

    fn len(&self) -> Option<u64> {
        Some(self.0.iter().map(|part| part.lock().len() as u64).sum())
    }
}
