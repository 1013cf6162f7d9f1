//! A plain map that says what a cache may answer.
//!
//! What the map does not have, the cache must not have. What it has, the cache must have, byte for byte, unless
//! something was evicted or turned away since the item was last seen there: then the item is *unsure*, and may be a
//! miss.

use std::collections::{BTreeMap, HashSet};

use arbitrary::Arbitrary;

/// One of 1,024 keys of one of two namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Arbitrary)]
pub(crate) struct Key {
    pub(crate) number: u16,
    pub(crate) other: bool,
}

impl Key {
    fn id(self) -> (bool, u16) {
        (self.other, self.number % 1024)
    }
}

/// A key's bytes: 2 to 50 of them.
pub(crate) fn key_bytes(key: Key) -> Vec<u8> {
    let (_, number) = key.id();
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(2 + usize::from(number % 49), b'.');
    bytes
}

/// A value in which every byte's place can be told.
pub(crate) fn value_bytes(fill: u8, len: u16) -> Vec<u8> {
    // Mostly small ones; one in sixteen is up to sixteen pages long.
    let len = if len % 16 == 0 { len / 4 } else { len % 700 };
    (0..len).map(|i| fill.wrapping_add((i % 251) as u8)).collect()
}

/// What a cache says about a key.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer<'a> {
    Missing,
    Value(&'a [u8]),
    /// Size, deadline, flags.
    About(usize, Option<u64>, u32),
}

#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) value: Vec<u8>,
    pub(crate) deadline: Option<u64>,
    flags: u32,
    /// Bits of the tags that it has.
    pub(crate) tags: u8,
    unsure: bool,
}

#[derive(Debug)]
pub(crate) struct Twin {
    items: BTreeMap<(bool, u16), Item>,
    pub(crate) now_ms: u64,
    /// Items that the cache had evicted or turned away after the step before.
    pub(crate) lost: u64,
}

impl Twin {
    pub(crate) fn new(now_ms: u64) -> Twin {
        Twin { items: BTreeMap::new(), now_ms, lost: 0 }
    }

    fn live(&self, key: Key) -> Option<&Item> {
        self.items.get(&key.id()).filter(|item| item.deadline.is_none_or(|at| at > self.now_ms))
    }

    pub(crate) fn value(&self, key: Key) -> Option<&[u8]> {
        self.live(key).map(|item| &item.value[..])
    }

    pub(crate) fn deadline(&self, key: Key) -> Option<u64> {
        self.live(key).and_then(|item| item.deadline)
    }

    pub(crate) fn put(&mut self, key: Key, value: Vec<u8>, deadline: Option<u64>, flags: u32) {
        self.items.insert(key.id(), Item { value, deadline, flags, tags: 0, unsure: false });
    }

    pub(crate) fn remove(&mut self, key: Key) {
        self.items.remove(&key.id());
    }

    /// Changes an item that is there.
    pub(crate) fn with(&mut self, key: Key, change: impl FnOnce(&mut Item)) {
        if self.live(key).is_some()
            && let Some(item) = self.items.get_mut(&key.id())
        {
            change(item);
        }
    }

    /// The cache says whether it has a key. `lost` is its count by now.
    pub(crate) fn presence(&mut self, key: Key, found: bool, lost: u64) {
        match (self.live(key), found) {
            (None, true) => panic!("{key:?} is there and should not be"),
            (Some(item), false) => {
                assert!(item.unsure || lost > self.lost, "{key:?} is gone, and nothing was evicted");
                self.remove(key);
            }
            (Some(_), true) | (None, false) => {}
        }
    }

    /// The cache says what it has of a key.
    pub(crate) fn answer(&mut self, key: Key, answer: Answer<'_>, lost: u64) {
        self.presence(key, !matches!(answer, Answer::Missing), lost);
        let Some(item) = self.live(key) else { return };
        match answer {
            Answer::Missing => {}
            Answer::Value(value) => assert_eq!(value, &item.value[..], "value of {key:?}"),
            Answer::About(size, deadline, flags) => {
                assert_eq!((size, deadline, flags), (item.value.len(), item.deadline, item.flags), "about {key:?}");
            }
        }
    }

    /// A whole scan of a namespace returned these keys.
    pub(crate) fn scanned(&self, other: bool, names: &[Vec<u8>]) {
        let names: HashSet<&[u8]> = names.iter().map(|name| &name[..]).collect();
        let mut known = 0;
        for number in 0..1024 {
            let key = Key { number, other };
            let found = names.contains(&key_bytes(key)[..]);
            known += usize::from(found);
            match self.live(key) {
                None => assert!(!found, "a scan shows {key:?}"),
                Some(item) => assert!(found || item.unsure, "a scan does not show {key:?}"),
            }
        }
        assert_eq!(known, names.len(), "a scan shows keys that never were");
    }

    pub(crate) fn retain(&mut self, other: bool, keep: impl Fn(&[u8]) -> bool) {
        self.items.retain(|&(space, _), item| space != other || keep(&item.value));
    }

    /// Items of a namespace leave together: those for which this says so, by name and item.
    pub(crate) fn invalidate(&mut self, other: bool, goes: impl Fn(&[u8], &Item) -> bool) {
        let name = |number| key_bytes(Key { number, other });
        self.items.retain(|&(space, number), item| space != other || !goes(&name(number), item));
    }

    /// After each operation: if anything has left since the one before, it may be any.
    pub(crate) fn after_step(&mut self, lost: u64) {
        if lost != self.lost {
            self.items.values_mut().for_each(|item| item.unsure = true);
            self.lost = lost;
        }
    }
}
