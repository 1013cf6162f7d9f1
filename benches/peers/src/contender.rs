//! What is compared: one trait that every cache is put behind, and the form in which the cases meet it.
//!
//! ```text
//!  Larder ─┐                       ┌─ timing: loops written once, compiled for each contender
//!  Moka   ─┼─ Contender ─► Subject ┤
//!  ...    ─┘  (static)     (dyn)   └─ one dynamic call a measurement, never one an operation
//! ```
//! 1. All get the same keys and values: keys of a fixed length in place in an array, values cut from the same noise.
//! 2. A hit reads every byte of the value ([`sum`]), in place where the cache can lend it.
//! 3. A contender is set up as its own documentation says; the header of its file names what was followed.

use std::time::Duration;

use crate::timing::{Handle, Order, Owned, Shared, Tally};

/// Bytes of a key, in all cases but `overhead`.
pub(crate) const KEY_BYTES: usize = 20;

/// A key, `key:` and sixteen hexadecimal digits.
pub(crate) type Key = [u8; KEY_BYTES];

/// Long enough that nothing expires while a case runs.
pub(crate) const TTL: Duration = Duration::from_secs(3600);

/// How much a cache is to hold.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Capacity {
    /// So many entries, with values of about so many bytes. A cache that counts bytes is given what they take in it.
    Entries { items: u64, key_bytes: usize, value_bytes: usize },
    /// So many bytes of keys and values by the cache's own reckoning; about `items` entries fit.
    Bytes { limit: u64, items: u64 },
}

impl Capacity {
    /// Room for `items` entries with keys of the usual length.
    pub(crate) fn entries(items: u64, value_bytes: usize) -> Self {
        Capacity::Entries { items, key_bytes: KEY_BYTES, value_bytes }
    }

    /// About how many entries there will be.
    pub(crate) fn items(&self) -> u64 {
        let (Capacity::Entries { items, .. } | Capacity::Bytes { items, .. }) = *self;
        items.max(1)
    }

    /// The limit in the unit the cache counts in: weights of 1, or bytes.
    pub(crate) fn limit(&self) -> u64 {
        match *self {
            Capacity::Entries { items, .. } => items,
            Capacity::Bytes { limit, .. } => limit,
        }
    }

    pub(crate) fn is_bytes(&self) -> bool {
        matches!(self, Capacity::Bytes { .. })
    }
}

/// Why a contender cannot take part, in words for the table.
pub(crate) type Refusal = String;

/// The refusal of a cache that only counts entries.
pub(crate) fn no_byte_bound() -> Refusal {
    "no byte bound".to_owned()
}

/// A cache. `N` is the length of keys.
pub(crate) trait Contender<const N: usize = KEY_BYTES>: Send + Sync + Sized + 'static {
    /// Whether several threads may write.
    const SHARED_WRITES: bool = true;
    /// Whether each entry can have a time to live of its own ([`set_ttl`](Self::set_ttl)).
    const TTL: bool = false;
    /// Whether all memory is taken, and touched, when the cache is built.
    const TAKES_ALL_AT_ONCE: bool = false;

    fn build(capacity: &Capacity) -> Result<Self, Refusal>;

    /// What [`sum`] makes of the value.
    fn get(&self, key: &[u8; N]) -> Option<u64>;

    /// Stores a value. False if the cache says that it did not take it.
    fn set(&self, key: &[u8; N], value: &[u8]) -> bool;

    /// As [`set`](Self::set), by the only one who has the cache.
    #[inline]
    fn set_alone(&mut self, key: &[u8; N], value: &[u8]) -> bool {
        self.set(key, value)
    }

    /// Stores a value for a while.
    #[inline]
    fn set_ttl(&self, key: &[u8; N], value: &[u8], _ttl: Duration) -> bool {
        self.set(key, value)
    }

    /// Looks up many keys at once: hits, and the sum over their values. One by one where there is no such call.
    #[inline]
    fn get_many(&self, keys: &[[u8; N]]) -> (u64, u64) {
        let found = keys.iter().filter_map(|key| self.get(key));
        found.fold((0, 0), |(hits, total), sum| (hits + 1, total.wrapping_add(sum)))
    }

    /// Waits for what the cache does behind the caller's back after writes.
    fn settle(&self) {}

    /// Entries, if the cache knows.
    fn len(&self) -> Option<u64>;
}

/// A contender that is built, as the cases see it.
pub(crate) trait Subject: Send {
    /// One measurement; `None` if the contender cannot do this, or not with so many threads.
    fn measure(&mut self, order: &Order<'_>) -> Option<Vec<Tally>>;
    fn settle(&self);
    fn len(&self) -> Option<u64>;
}

impl<C: Contender> Subject for C {
    fn measure(&mut self, order: &Order<'_>) -> Option<Vec<Tally>> {
        if order.operation.needs_ttl() && !C::TTL {
            return None;
        }
        if let [feed] = order.feeds {
            return Some(vec![crate::timing::alone(&mut Owned(self), order, feed)]);
        }
        if order.operation.writes() && !C::SHARED_WRITES {
            return None;
        }
        let shared = &*self;
        Some(crate::timing::together(|| Shared(shared), order))
    }

    fn settle(&self) {
        Contender::settle(self);
    }

    fn len(&self) -> Option<u64> {
        Contender::len(self)
    }
}

impl<C: Contender> Handle for Owned<'_, C> {
    #[inline(always)]
    fn get(&mut self, key: &Key) -> Option<u64> {
        self.0.get(key)
    }

    #[inline(always)]
    fn set(&mut self, key: &Key, value: &[u8]) -> bool {
        self.0.set_alone(key, value)
    }

    #[inline(always)]
    fn set_ttl(&mut self, key: &Key, value: &[u8], ttl: Duration) -> bool {
        self.0.set_ttl(key, value, ttl)
    }

    #[inline(always)]
    fn get_many(&mut self, keys: &[Key]) -> (u64, u64) {
        self.0.get_many(keys)
    }
}

impl<C: Contender> Handle for Shared<'_, C> {
    #[inline(always)]
    fn get(&mut self, key: &Key) -> Option<u64> {
        self.0.get(key)
    }

    #[inline(always)]
    fn set(&mut self, key: &Key, value: &[u8]) -> bool {
        self.0.set(key, value)
    }

    #[inline(always)]
    fn set_ttl(&mut self, key: &Key, value: &[u8], ttl: Duration) -> bool {
        self.0.set_ttl(key, value, ttl)
    }

    #[inline(always)]
    fn get_many(&mut self, keys: &[Key]) -> (u64, u64) {
        self.0.get_many(keys)
    }
}

/// Reads every byte of a value: adds up its words, and what is left over. Byte by byte would take longer than most
/// gets, and keep the processor from looking ahead to the next one: what is to be measured is the cache.
#[inline(always)]
pub(crate) fn sum(value: &[u8]) -> u64 {
    let (words, rest) = value.as_chunks::<8>();
    let words = words.iter().fold(0u64, |total, word| total.wrapping_add(u64::from_ne_bytes(*word)));
    rest.iter().fold(words, |total, &byte| total.wrapping_add(u64::from(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_counts() {
        let value = [0u8; 27];
        assert_eq!(sum(&value), 0);
        for place in 0..value.len() {
            let mut other = value;
            other[place] = 1;
            assert_ne!(sum(&other), 0);
        }
    }
}
