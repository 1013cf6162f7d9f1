//! Keys that a loader has found to have no value, remembered for a while.
//!
//! These are no items: reads, counts and walks of the cache know nothing of them. Only load-through that can deal with
//! an absence asks. They are few and their bytes are bounded (see [`Loads`](super::Loads)); the oldest leave first.
//!
//! Invariants:
//! 1. `bytes` is the sum of `cost` over `known`.
//! 2. Every absence in `known` has one entry with its number in `order`; entries without are passed over.

use std::collections::{HashMap, VecDeque};

use crate::index::Key;

/// Bytes that an absence takes beside its key: its place in the map and in the queue, and the allocation.
const OVERHEAD: u64 = 128;
/// Places that are kept when no absence is remembered.
const MOST_KEPT: usize = 32;

/// One key without a value.
#[derive(Debug)]
struct Absence {
    namespace: u8,
    key: Box<[u8]>,
    /// Internal time at which it ends.
    until: u64,
    number: u64,
}

impl Absence {
    fn cost(&self) -> u64 {
        self.key.len() as u64 + OVERHEAD
    }

    fn is_of(&self, key: Key<'_>) -> bool {
        self.namespace == key.namespace && *self.key == *key.bytes
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Absences {
    /// By hash. Of two keys with the same hash only the later is remembered.
    known: HashMap<u64, Absence>,
    /// Hashes and numbers, in the order in which they came.
    order: VecDeque<(u64, u64)>,
    bytes: u64,
    last_number: u64,
}

impl Absences {
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether a key is known to have no value.
    pub(super) fn knows(&self, key: Key<'_>, now: u64) -> bool {
        self.known.get(&key.hash).is_some_and(|absence| absence.is_of(key) && now < absence.until)
    }

    /// Remembers a key, and forgets the oldest ones for it while more than `room` bytes are used.
    pub(super) fn remember(&mut self, key: Key<'_>, until: u64, room: u64) {
        self.last_number += 1;
        let number = self.last_number;
        let absence = Absence { namespace: key.namespace, key: key.bytes.into(), until, number };
        self.bytes += absence.cost();
        if let Some(old) = self.known.insert(key.hash, absence) {
            self.bytes -= old.cost();
        }
        self.order.push_back((key.hash, number));
        while self.bytes > room {
            let Some((hash, number)) = self.order.pop_front() else { break };
            if self.known.get(&hash).is_some_and(|absence| absence.number == number) {
                self.drop_hash(hash);
            }
        }
        if self.order.len() > 2 * self.known.len() + 16 {
            let known = &self.known;
            self.order.retain(|(hash, number)| known.get(hash).is_some_and(|absence| absence.number == *number));
        }
    }

    /// Forgets a key, which has a value now, or may have.
    pub(super) fn forget(&mut self, key: Key<'_>) {
        if self.known.get(&key.hash).is_some_and(|absence| absence.is_of(key)) {
            self.drop_hash(key.hash);
        }
    }

    /// Forgets all keys of a namespace.
    pub(super) fn forget_all(&mut self, namespace: u8) {
        self.known.retain(|_, absence| absence.namespace != namespace);
        self.bytes = self.known.values().map(Absence::cost).sum();
        self.give_back();
    }

    fn drop_hash(&mut self, hash: u64) {
        if let Some(absence) = self.known.remove(&hash) {
            self.bytes -= absence.cost();
            self.give_back();
        }
    }

    /// After many at once, the map and the queue give their memory back.
    fn give_back(&mut self) {
        if self.known.is_empty() && self.known.capacity().max(self.order.capacity()) > MOST_KEPT {
            self.known = HashMap::new();
            self.order = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(hash: u64, bytes: &[u8]) -> Key<'_> {
        Key { namespace: 3, bytes, hash }
    }

    #[test]
    fn the_oldest_leave_and_bytes_are_counted() {
        let mut absences = Absences::default();
        for i in 0..1000u64 {
            absences.remember(key(i % 300, &i.to_le_bytes()), 10, 10 * (OVERHEAD + 8));
            assert!(absences.len() <= 10 && absences.order.len() <= 2 * absences.len() + 16);
            assert_eq!(absences.bytes(), absences.known.values().map(Absence::cost).sum::<u64>());
        }
        assert!(absences.knows(key(99, &999u64.to_le_bytes()), 9));
        assert!(!absences.knows(key(99, &999u64.to_le_bytes()), 10), "its time is over");
        assert!(!absences.knows(key(99, b"another key of the same hash"), 9));
        assert!(!absences.knows(key(89, &989u64.to_le_bytes()), 9), "ten came after it");
        absences.forget(key(99, &999u64.to_le_bytes()));
        assert_eq!(absences.len(), 9);
        absences.forget_all(2);
        assert_eq!(absences.len(), 9);
        absences.forget_all(3);
        assert_eq!((absences.len(), absences.bytes()), (0, 0));
        assert!(absences.known.capacity().max(absences.order.capacity()) <= MOST_KEPT);
    }
}
