//! Counts by key prefix, for `stats detail`: off until a client asks for it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use parking_lot::Mutex;

/// Prefixes that are counted at most: further ones are not.
const MOST: usize = 10_000;

/// What was asked of the keys with a prefix.
#[derive(Debug, Default, Clone, Copy)]
struct Asked {
    gets: u64,
    hits: u64,
    sets: u64,
    deletes: u64,
}

/// Counts by prefix.
#[derive(Debug)]
pub(super) struct Prefixes {
    on: AtomicBool,
    delimiter: u8,
    asked: Mutex<BTreeMap<Box<[u8]>, Asked>>,
}

impl Prefixes {
    pub(super) fn new(delimiter: u8, on: bool) -> Prefixes {
        Prefixes { on: AtomicBool::new(on), delimiter, asked: Mutex::default() }
    }

    #[inline]
    pub(super) fn is_on(&self) -> bool {
        self.on.load(Relaxed)
    }

    pub(super) fn switch(&self, on: bool) {
        self.on.store(on, Relaxed);
    }

    pub(super) fn reset(&self) {
        self.asked.lock().clear();
    }

    #[cold]
    fn note(&self, key: &[u8], note: impl FnOnce(&mut Asked)) {
        // A key without a delimiter is its own prefix.
        let prefix = key.split(|&byte| byte == self.delimiter).next().unwrap_or(key);
        let mut asked = self.asked.lock();
        if asked.len() < MOST || asked.contains_key(prefix) {
            note(asked.entry(prefix.into()).or_default());
        }
    }

    #[inline]
    pub(super) fn get(&self, key: &[u8], hit: bool) {
        if self.is_on() {
            self.note(key, |asked| {
                asked.gets += 1;
                asked.hits += u64::from(hit);
            });
        }
    }

    #[inline]
    pub(super) fn set(&self, key: &[u8]) {
        if self.is_on() {
            self.note(key, |asked| asked.sets += 1);
        }
    }

    #[inline]
    pub(super) fn delete(&self, key: &[u8]) {
        if self.is_on() {
            self.note(key, |asked| asked.deletes += 1);
        }
    }

    /// All of them, as the text protocol shows them.
    pub(super) fn dump(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for (prefix, asked) in self.asked.lock().iter() {
            let Asked { gets, hits, sets, deletes } = asked;
            text.extend_from_slice(b"PREFIX ");
            text.extend_from_slice(prefix);
            text.extend_from_slice(format!(" get {gets} hit {hits} set {sets} del {deletes}\r\n").as_bytes());
        }
        text.extend_from_slice(b"END\r\n");
        text
    }
}
