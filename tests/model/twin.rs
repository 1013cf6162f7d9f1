//! The naive map that the cache is held against.
//!
//! 1. It holds everything that was stored and not removed, and nothing that it holds is wrong. Items whose end has
//!    come, or whose namespace was cleared, are dropped when time moves or the clear happens.
//! 2. It knows nothing of eviction. What the cache has lost is taken out when the loss is noticed, which is allowed
//!    only as often as the cache says that it evicted or turned away (`run`).

use std::collections::{BTreeMap, HashMap};

use larder::{Kind, Metadata, Token};

use crate::ops::{Expiry, Key, Options};

/// What is known of an item's check-and-set token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenIs {
    /// It has none.
    Absent,
    /// It has one that was not seen yet.
    Unseen,
    /// It may have one: what it was stored over may have been evicted before.
    Unsure,
    Known(Token),
}

#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) value: Vec<u8>,
    /// Unix milliseconds; 0 for none.
    pub(crate) deadline: u64,
    /// 0 for none.
    pub(crate) idle_ms: u64,
    pub(crate) last_use: u64,
    pub(crate) flags: u32,
    pub(crate) kind: Kind,
    pub(crate) token: TokenIs,
    /// Bits of the tags that it has.
    pub(crate) tags: u8,
    /// Names the stored value: no two have the same.
    pub(crate) version: u64,
}

impl Item {
    pub(crate) fn has_end(&self) -> bool {
        self.deadline != 0 || self.idle_ms != 0
    }

    fn is_over(&self, now: u64) -> bool {
        (self.deadline != 0 && self.deadline <= now) || (self.idle_ms != 0 && self.last_use + self.idle_ms <= now)
    }
}

#[derive(Debug)]
pub(crate) struct Twin {
    pub(crate) items: BTreeMap<Key, Item>,
    pub(crate) now: u64,
    start: u64,
    ttl_ms: u64,
    idle_ms: u64,
    pub(crate) tokens: bool,
    versions: u64,
    /// Every token seen, and the version that it names.
    seen: HashMap<Token, u64>,
    /// The same, in the order in which they were seen.
    pub(crate) history: Vec<Token>,
    /// Clears that are to come: when, and of which namespace.
    pub(crate) clears: Vec<(u64, usize)>,
}

impl Twin {
    pub(crate) fn new(start: u64, ttl_ms: Option<u64>, idle_ms: Option<u64>, tokens: bool) -> Twin {
        Twin {
            items: BTreeMap::new(),
            now: start,
            start,
            ttl_ms: ttl_ms.unwrap_or(0),
            idle_ms: idle_ms.unwrap_or(0),
            tokens,
            versions: 0,
            seen: HashMap::new(),
            history: Vec::new(),
            clears: Vec::new(),
        }
    }

    /// A version for a value that is about to be stored.
    pub(crate) fn new_version(&mut self) -> u64 {
        self.versions += 1;
        self.versions
    }

    /// Moves the time, and drops what has ended.
    pub(crate) fn advance(&mut self, ms: u64) {
        self.now += ms;
        self.settle();
    }

    /// Drops what has ended, and what is cleared by now.
    pub(crate) fn settle(&mut self) {
        let now = self.now;
        let due: Vec<usize> = self.clears.iter().filter(|&&(at, _)| at <= now).map(|&(_, space)| space).collect();
        self.clears.retain(|&(at, _)| at > now);
        self.items.retain(|key, item| !due.contains(&key.space) && !item.is_over(now));
    }

    pub(crate) fn clear(&mut self, space: usize) {
        self.items.retain(|key, _| key.space != space);
    }

    pub(crate) fn invalidate(&mut self, space: usize, tag: usize) {
        self.items.retain(|key, item| key.space != space || item.tags >> tag & 1 == 0);
    }

    /// Deadline of a point in time: what is before the cache's start counts as its start.
    pub(crate) fn at(&self, offset_ms: i64) -> u64 {
        self.now.saturating_add_signed(offset_ms).max(self.start)
    }

    /// The item that these options make of a value, given what is there now.
    pub(crate) fn make(&mut self, value: Vec<u8>, options: &Options, old: Option<&Item>) -> Item {
        let (deadline, kept_idle) = match options.expiry {
            Expiry::Default if self.ttl_ms > 0 => (self.now + self.ttl_ms, self.idle_ms),
            Expiry::Default => (0, self.idle_ms),
            Expiry::Never => (0, 0),
            Expiry::In(ms) => (self.now + ms, self.idle_ms),
            Expiry::At(offset) => (self.at(offset), self.idle_ms),
            Expiry::Keep => old.map_or((0, 0), |old| (old.deadline, old.idle_ms)),
        };
        let token = match old.map_or(TokenIs::Absent, |old| old.token) {
            _ if self.tokens || options.want_token => TokenIs::Unseen,
            TokenIs::Known(_) => TokenIs::Unseen,
            token => token,
        };
        Item {
            value,
            deadline,
            idle_ms: options.idle_ms.map_or(kept_idle, |ms| ms.max(1)),
            last_use: self.now,
            flags: options.flags,
            kind: options.kind,
            token,
            tags: options.tags,
            version: self.new_version(),
        }
    }

    /// The item that comes of changing what is there: everything is kept but the value, and the token, which is
    /// renewed.
    pub(crate) fn changed(&mut self, old: &Item, value: Vec<u8>) -> Item {
        let token = if let TokenIs::Known(_) = old.token { TokenIs::Unseen } else { old.token };
        Item { value, token, version: self.new_version(), ..old.clone() }
    }

    /// A use of a key.
    pub(crate) fn used(&mut self, key: Key) {
        let now = self.now;
        if let Some(item) = self.items.get_mut(&key) {
            item.last_use = now;
        }
    }

    /// Takes note of the token that a key's value has; panics if it cannot be that.
    pub(crate) fn learn(&mut self, key: Key, token: Option<Token>) {
        let Some(item) = self.items.get_mut(&key) else { return };
        match (item.token, token) {
            (TokenIs::Absent, None) => {}
            (TokenIs::Unsure, None) => item.token = TokenIs::Absent,
            (TokenIs::Known(known), Some(token)) => assert_eq!(known, token, "the token of {key:?} changed by itself"),
            (TokenIs::Unseen | TokenIs::Unsure, Some(token)) => {
                item.token = TokenIs::Known(token);
                let version = item.version;
                let before = self.seen.insert(token, version);
                assert!(before.is_none_or(|v| v == version), "{token:?} names two values: one of them of {key:?}");
                self.history.push(token);
            }
            (is, token) => panic!("{key:?} has the token {token:?}, and should be {is:?}"),
        }
    }

    /// Holds what the cache says of an item against what there should be.
    pub(crate) fn check_metadata(&mut self, key: Key, metadata: &Metadata) {
        let item = self.items.get(&key).unwrap_or_else(|| panic!("{key:?} should not be there: {metadata:?}"));
        assert_eq!(metadata.size, item.value.len(), "size of {key:?}");
        let deadline = Some(item.deadline).filter(|&d| d != 0);
        assert_eq!(metadata.deadline_ms, deadline, "deadline of {key:?} (now {})", self.now);
        assert_eq!(metadata.ttl_left.map(|t| t.as_millis() as u64), deadline.map(|d| d - self.now), "{key:?}");
        let idle = Some(item.idle_ms).filter(|&ms| ms != 0);
        assert_eq!(metadata.time_to_idle.map(|t| t.as_millis() as u64), idle, "time to idle of {key:?}");
        assert_eq!((metadata.flags, metadata.kind), (item.flags, item.kind), "flags and kind of {key:?}");
        assert_eq!(metadata.tags, item.tags.count_ones() as usize, "tags of {key:?}");
        self.learn(key, metadata.token);
    }
}
