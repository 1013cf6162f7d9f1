//! The reading operations, guards that are held, and walks.

use std::collections::BTreeMap;
use std::time::Duration;

use larder::{Cursor, ErrorKind, Guard};

use crate::ops::{Key, Op};
use crate::run::{Run, Scan};
use crate::twin::TokenIs;

/// Guards that are held at once at most: more than a thread can hold in place.
const MOST_GUARDS: usize = 12;
/// Guards that a thread holds in place.
const IN_PLACE: usize = 8;

impl<'c> Run<'c> {
    pub(crate) fn read(&mut self, op: &Op) {
        match op {
            Op::Get(key) => {
                let Some(guard) = self.get(*key, |run, key| run.cache(key.space).get(&key.bytes())) else { return };
                self.count_get(*key, guard.is_some());
            }
            Op::Peek(key) => drop(self.get(*key, |run, key| run.cache(key.space).peek(&key.bytes()))),
            Op::Read(key) => {
                let value = self.cache(key.space).read(&key.bytes(), <[u8]>::to_vec);
                let found = self.observe_value(*key, value.as_deref());
                self.count_get(*key, found);
            }
            Op::GetInto(key) => {
                let mut buffer = b"before".to_vec();
                let len = self.cache(key.space).get_into(&key.bytes(), &mut buffer);
                assert_eq!(buffer.len(), 6 + len.unwrap_or(0));
                let found = self.observe_value(*key, len.map(|_| &buffer[6..]));
                self.count_get(*key, found);
            }
            Op::GetMany(space, numbers) => self.get_many(*space, numbers),
            Op::Contains(key) => {
                let found = self.cache(key.space).contains(&key.bytes());
                self.observe(*key, found);
            }
            Op::Metadata(key) => {
                let metadata = self.cache(key.space).metadata(&key.bytes());
                if self.observe(*key, metadata.is_some()) {
                    self.twin.check_metadata(*key, &metadata.expect("it is there"));
                }
            }
            Op::GetWithToken(key) => self.get_with_token(*key),
            Op::GetAndTouch(key, ttl_ms) => self.get_and_touch(*key, *ttl_ms),
            _ => unreachable!("{op:?} is no read"),
        }
    }

    /// Gets a guard and checks it. None if there was no room for a copy.
    fn get(
        &mut self,
        key: Key,
        get: impl FnOnce(&Self, Key) -> larder::Result<Option<Guard<'c>>>,
    ) -> Option<Option<Guard<'c>>> {
        match get(self, key) {
            Ok(guard) => {
                self.observe_value(key, guard.as_deref());
                if let Some(guard) = &guard {
                    self.twin.check_metadata(key, &guard.metadata());
                }
                Some(guard)
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::TooManyGuards, "{error}");
                assert!(self.guards.len() >= IN_PLACE, "too many guards, with {}", self.guards.len());
                None
            }
        }
    }

    fn get_many(&mut self, space: usize, numbers: &[u16]) {
        let keys: Vec<Key> = numbers.iter().map(|&number| Key { space, number }).collect();
        let bytes: Vec<Vec<u8>> = keys.iter().map(|key| key.bytes()).collect();
        let mut shown = Vec::new();
        self.cache(space).get_many(&bytes, |i, value| shown.push((i, value.map(<[u8]>::to_vec))));
        assert!(shown.iter().map(|(i, _)| *i).eq(0..keys.len()), "each position once, in order");
        for (i, value) in shown {
            let found = self.observe_value(keys[i], value.as_deref());
            self.count_get(keys[i], found);
        }
    }

    fn get_with_token(&mut self, key: Key) {
        match self.cache(key.space).get_with_token(&key.bytes()) {
            Ok(found) => {
                self.observe_value(key, found.as_ref().map(|(guard, _)| &**guard));
                self.count_get(key, found.is_some());
                let Some((guard, token)) = found else { return };
                if guard.token().is_none() {
                    // It left while it was given its token.
                    assert!(!self.cache(key.space).contains(&key.bytes()));
                    self.observe(key, false);
                    return;
                }
                assert_eq!(guard.token(), Some(token));
                if let Some(item) = self.twin.items.get_mut(&key)
                    && item.token == TokenIs::Absent
                {
                    item.token = TokenIs::Unseen;
                }
                self.twin.learn(key, Some(token));
                self.twin.check_metadata(key, &guard.metadata());
            }
            Err(error) if error.kind() == ErrorKind::TooManyGuards => assert!(self.guards.len() >= IN_PLACE),
            Err(error) => {
                // Found, but there was no room for the token.
                let len = self.twin.items.get(&key).expect("a token is only given to what is there").value.len();
                self.check_refusal(&error, len);
                self.count_get(key, true);
            }
        }
    }

    fn get_and_touch(&mut self, key: Key, ttl_ms: u64) {
        let deadline = self.twin.now + ttl_ms;
        let result = self.cache(key.space).get_and_touch(&key.bytes(), Duration::from_millis(ttl_ms));
        let guard = match result {
            Ok(guard) => guard,
            // Neither read nor touched.
            Err(error) if error.kind() == ErrorKind::TooManyGuards => {
                assert!(self.guards.len() >= IN_PLACE, "too many guards, with {}", self.guards.len());
                return;
            }
            Err(error) => {
                let len = self.twin.items.get(&key).expect("only what is there is touched").value.len();
                return self.check_refusal(&error, len);
            }
        };
        self.count_get(key, guard.is_some());
        // Also of what is gone now: it may have left after it was touched, with an end that it had not before.
        if let Some(item) = self.twin.items.get_mut(&key) {
            item.deadline = deadline;
        }
        if !self.observe(key, guard.is_some()) {
            return;
        }
        self.twin.used(key);
        if let Some(guard) = guard {
            self.observe_value(key, Some(&guard));
            self.twin.check_metadata(key, &guard.metadata());
        }
        self.twin.settle();
    }

    pub(crate) fn hold(&mut self, key: Key) {
        if self.guards.len() == MOST_GUARDS {
            self.release(0);
        }
        let Some(guard) = self.get(key, |run, key| run.cache(key.space).get(&key.bytes())) else { return };
        self.count_get(key, guard.is_some());
        if let Some(guard) = guard {
            let value = guard.to_vec();
            self.guards.push((guard, value));
        }
    }

    pub(crate) fn release(&mut self, which: usize) {
        if !self.guards.is_empty() {
            let (guard, value) = self.guards.swap_remove(which % self.guards.len());
            assert!(*guard == value[..], "the value under a guard has changed");
        }
    }

    pub(crate) fn walk(&mut self, op: &Op) {
        match *op {
            Op::Scan(space, count) => self.scan(space, count),
            Op::ScanStep(space, count) => self.scan_step(space, count),
            Op::Iter(space) => {
                let entries: Vec<_> = self.cache(space).iter().collect();
                let mut found = Vec::new();
                for entry in entries {
                    let key = self.key_of(space, &entry.key);
                    self.observe_value(key, entry.value.as_deref());
                    self.twin.check_metadata(key, &entry.metadata);
                    found.push(key);
                }
                self.check_walk(space, found);
            }
            Op::Retain(space, divisor) => self.retain(space, divisor),
            _ => unreachable!("{op:?} is no walk"),
        }
    }

    /// The key that has these bytes; it has to be there.
    fn key_of(&mut self, space: usize, bytes: &[u8]) -> Key {
        let known = self.twin.items.keys().find(|key| key.space == space && key.bytes() == bytes);
        *known.unwrap_or_else(|| panic!("a walk returns {bytes:?}, which should not be there"))
    }

    /// A walk with nothing else going on returns every key, once.
    fn check_walk(&mut self, space: usize, mut found: Vec<Key>) {
        let total = found.len();
        found.sort();
        found.dedup();
        assert_eq!(found.len(), total, "a walk has returned a key twice");
        let missed: Vec<Key> = self
            .twin
            .items
            .keys()
            .filter(|key| key.space == space && found.binary_search(key).is_err())
            .copied()
            .collect();
        for key in missed {
            self.observe(key, false);
        }
    }

    fn scan(&mut self, space: usize, count: usize) {
        let (mut next, mut found) = (Some(Cursor::START), Vec::new());
        while let Some(cursor) = next {
            let (entries, cursor) = self.cache(space).scan(Cursor::from_u64(cursor.as_u64()), count);
            for entry in entries {
                let key = self.key_of(space, &entry.key);
                assert!(entry.value.is_none());
                self.twin.check_metadata(key, &entry.metadata);
                found.push(key);
            }
            next = cursor;
        }
        self.check_walk(space, found);
    }

    fn scan_step(&mut self, space: usize, count: usize) {
        let mut scan = self.scan.take().unwrap_or_else(|| {
            let throughout = self.twin.items.keys().filter(|key| key.space == space).copied().collect();
            Scan { space, cursor: Cursor::START, throughout, returned: Vec::new() }
        });
        let (entries, next) = self.cache(scan.space).scan(scan.cursor, count);
        for entry in entries {
            let key = self.key_of(scan.space, &entry.key);
            self.twin.check_metadata(key, &entry.metadata);
            scan.returned.push(key);
        }
        match next {
            Some(cursor) => self.scan = Some(Scan { cursor, ..scan }),
            None => {
                let missed = scan.throughout.into_iter().filter(|key| !scan.returned.contains(key));
                for key in missed.collect::<Vec<_>>() {
                    let found = self.cache(key.space).contains(&key.bytes());
                    assert!(!found || self.unnoticed() > 0, "{key:?} was there throughout a scan, and not returned");
                    self.observe(key, found);
                }
            }
        }
    }

    fn retain(&mut self, space: usize, divisor: usize) {
        let mut shown = BTreeMap::new();
        let removed = self.cache(space).retain(|key, value, metadata| {
            let before = shown.insert(key.to_vec(), (value.to_vec(), *metadata));
            assert!(before.is_none(), "{key:?} was judged twice");
            value.len() % divisor != 0
        });
        let (mut judged, mut rejected) = (Vec::new(), 0);
        for (bytes, (value, metadata)) in shown {
            let key = self.key_of(space, &bytes);
            self.observe_value(key, Some(&value));
            self.twin.check_metadata(key, &metadata);
            judged.push(key);
            if value.len() % divisor == 0 {
                self.twin.items.remove(&key);
                rejected += 1;
            }
        }
        assert_eq!(removed, rejected, "retain removes what was rejected");
        self.check_walk(space, judged);
    }
}
