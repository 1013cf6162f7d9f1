//! What is to be told of one shard, in the order in which it happened: notices, and the bytes that they speak of.
//!
//! ```text
//!  list    ┌─────────────┬─────────────┬───────────┐
//!          │ evicted 3+5 │ replaced 2+9│ set 2     │     lengths of key and value
//!          └─────────────┴─────────────┴───────────┘
//!  bytes   kkkvvvvv       kkvvvvvvvvv   kk
//! ```
//! The bytes are copies, made under the shard's lock. Pinning the chunks instead would cost no copy, but room that is
//! made would not be there until the listener has been told of it, and a write that evicts would evict on. A copy
//! costs as much as the writing of the value that it is made room for.
//!
//! Invariant: `charged` is what the ledger was told that the two vectors take.

use super::keyspace::KeyEventClass;
use super::removal::RemovalCause;
use crate::slab::{Account, Ledger};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Removed(RemovalCause),
    Happened(KeyEventClass, &'static str),
}

impl What {
    /// The key event that it is; replacing is none by itself, and clearing, as in Redis, none for each key.
    pub(crate) fn event(self) -> Option<(KeyEventClass, &'static str)> {
        match self {
            What::Happened(class, name) => Some((class, name)),
            What::Removed(RemovalCause::Removed) => Some((KeyEventClass::Generic, "del")),
            What::Removed(RemovalCause::Expired) => Some((KeyEventClass::Expired, "expired")),
            What::Removed(RemovalCause::Evicted) => Some((KeyEventClass::Evicted, "evicted")),
            What::Removed(RemovalCause::Replaced | RemovalCause::Flushed) => None,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Notice {
    what: What,
    namespace: u8,
    has_value: bool,
    key: u32,
    value: u32,
}

/// A notice with its bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told<'a> {
    pub(crate) what: What,
    pub(crate) namespace: u8,
    pub(crate) key: &'a [u8],
    /// None if nobody listened to the namespace when it was queued: a listener that has come since is not told.
    pub(crate) value: Option<&'a [u8]>,
}

impl Told<'_> {
    /// The bytes that it takes while it waits.
    pub(crate) fn bytes(&self) -> u64 {
        (size_of::<Notice>() + self.key.len() + self.value.map_or(0, <[u8]>::len)) as u64
    }
}

/// Bytes of each vector that an empty queue keeps for the next notices: a shard has two queues, and the smallest caches
/// are of 64 KiB.
const KEPT: usize = 512;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    list: Vec<Notice>,
    bytes: Vec<u8>,
    charged: u64,
}

impl Notices {
    /// Adds one; returns the bytes that it takes.
    pub(crate) fn push(&mut self, told: Told<'_>, ledger: &Ledger) -> u64 {
        let (taken, bytes) = (told.bytes(), told.value.unwrap_or_default());
        let (key, value) = (told.key.len() as u32, bytes.len() as u32);
        let has_value = told.value.is_some();
        self.list.push(Notice { what: told.what, namespace: told.namespace, has_value, key, value });
        self.bytes.extend_from_slice(told.key);
        self.bytes.extend_from_slice(bytes);
        self.settle(ledger);
        taken
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Told<'_>> {
        let mut rest = &self.bytes[..];
        self.list.iter().map(move |notice| {
            let (key, after) = rest.split_at(notice.key as usize);
            let (value, after) = after.split_at(notice.value as usize);
            rest = after;
            let value = notice.has_value.then_some(value);
            Told { what: notice.what, namespace: notice.namespace, key, value }
        })
    }

    /// Forgets all of them.
    pub(crate) fn clear(&mut self, ledger: &Ledger) {
        self.list.clear();
        self.bytes.clear();
        self.list.shrink_to(KEPT / size_of::<Notice>());
        self.bytes.shrink_to(KEPT);
        self.settle(ledger);
    }

    fn settle(&mut self, ledger: &Ledger) {
        let now = (self.list.capacity() * size_of::<Notice>() + self.bytes.capacity()) as u64;
        if now > self.charged {
            ledger.force(Account::Side, now - self.charged);
        } else if now < self.charged {
            ledger.release(Account::Side, self.charged - now);
        }
        self.charged = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_come_out_as_they_went_in() {
        let (ledger, mut notices) = (Ledger::new(1 << 30, 0), Notices::default());
        let of = |i: usize| (vec![i as u8; i % 7], vec![!i as u8; i * 37 % 300]);
        for i in 0..1000 {
            let (key, value) = of(i);
            let what = What::Removed(RemovalCause::ALL[i % 5]);
            notices
                .push(Told { what, namespace: i as u8, key: &key, value: (i % 3 > 0).then_some(&value[..]) }, &ledger);
        }
        assert!(ledger.used() > 100_000);
        assert_eq!(notices.iter().count(), 1000);
        for (i, told) in notices.iter().enumerate() {
            let (key, value) = of(i);
            let value = (i % 3 > 0).then_some(&value[..]);
            assert_eq!((told.key, told.value, told.namespace), (&key[..], value, i as u8));
            assert_eq!(told.what, What::Removed(RemovalCause::ALL[i % 5]));
        }
        notices.clear(&ledger);
        assert!(notices.is_empty() && ledger.used() <= 3 * KEPT as u64);
    }
}
