//! Storing: what `set` and its kin, `ms`, and the binary protocol's updates have in common.
//!
//! A value of up to [`SMALL`] bytes is stored from the input once all of it is there. A larger one gets memory in the
//! cache as soon as its length is known, and is read straight into it; what is to be appended has to wait in a buffer,
//! since the place it goes to is not known before.

use super::counters::Count;
use super::server::Shared;
use crate::api::{Reservation, SetOptions};
use crate::engine::{Change, Condition, Expiry, Piece, Rewrite, SetSpec};
use crate::error::{Error, ErrorKind};
use crate::slab::Attributes;

/// Longer values do not wait in the input.
pub(super) const SMALL: usize = 4096;
/// What memcached counts for an item beside key and value.
const OVERHEAD: u64 = 50;

/// The value is out of date, and somebody should bring a new one.
pub(super) const STALE: u8 = 1;
/// Somebody was told to bring a new one.
pub(super) const WON: u8 = 2;
/// The key came, and is shown, in base64.
pub(super) const BINARY_KEY: u8 = 4;

/// A time to idle that never comes: the item knows its last use.
const TRACKED_MS: u64 = 100 * 365 * 86_400_000;

/// What is done with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Set,
    Add,
    Replace,
    /// Over a value with the request's token.
    Cas,
    Append,
    Prepend,
}

/// A value to be stored.
#[derive(Debug, Clone)]
pub(super) struct Store {
    pub(super) mode: Mode,
    pub(super) flags: u32,
    pub(super) expiry: Expiry,
    /// The token that must be there: of `Cas`, and of `Append` and `Prepend` if it is not 0.
    pub(super) token: u64,
    /// `Cas`: a later token will do, the value is stale then.
    pub(super) or_stale: bool,
    /// The token that the value gets.
    pub(super) new_token: Option<u64>,
    /// `Append` and `Prepend`: what is not there becomes the value.
    pub(super) vivify: bool,
    pub(super) marks: u8,
    /// The reply has the token.
    pub(super) want_token: bool,
    /// What was there goes if this fails for lack of room.
    pub(super) drop_on_failure: bool,
}

impl Store {
    pub(super) fn new(mode: Mode, flags: u32, expiry: Expiry) -> Store {
        Store {
            mode,
            flags,
            expiry,
            token: 0,
            or_stale: false,
            new_token: None,
            vivify: false,
            marks: 0,
            want_token: false,
            drop_on_failure: mode == Mode::Set,
        }
    }

    pub(super) fn is_extension(&self) -> bool {
        matches!(self.mode, Mode::Append | Mode::Prepend)
    }
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    /// The value's token (0 without one) and length.
    Yes {
        token: u64,
        len: usize,
    },
    No,
    Exists,
    NotFound,
    TooLarge,
    NoMemory,
}

impl Stored {
    pub(super) fn failed(error: &Error) -> Stored {
        match error.kind() {
            ErrorKind::ItemTooLarge | ErrorKind::KeyTooLong => Stored::TooLarge,
            _ => Stored::NoMemory,
        }
    }
}

impl Shared {
    /// Whether an item is too large for this service.
    pub(super) fn is_too_large(&self, key_len: usize, value_len: usize) -> bool {
        (key_len + value_len) as u64 + OVERHEAD > self.config.item_size_max
            || value_len > self.cache.settings().max_item_size
    }

    pub(super) fn spec(&self, store: &Store) -> SetSpec {
        let condition = match store.mode {
            Mode::Add => Condition::Absent,
            Mode::Replace => Condition::Present,
            Mode::Cas if store.or_stale => Condition::TokenOrOlder(store.token),
            Mode::Cas => Condition::Token(store.token),
            Mode::Set | Mode::Append | Mode::Prepend => Condition::Always,
        };
        SetSpec {
            expiry: store.expiry,
            idle_ms: self.config.track_access.then_some(TRACKED_MS),
            condition,
            client_flags: store.flags,
            want_token: store.want_token && self.has_tokens,
            marks: store.marks,
            stale_marks: STALE,
            token: store.new_token.filter(|_| self.has_tokens),
            ..SetSpec::default()
        }
    }

    /// Without tokens, no value has the one that is asked for.
    fn without_tokens(&self, key: &[u8]) -> Stored {
        if self.cache.contains(key) { Stored::Exists } else { Stored::NotFound }
    }

    /// Stores a value that is there as a whole.
    pub(super) fn store(&self, key: &[u8], store: &Store, value: &[u8]) -> Stored {
        let done = match store.mode {
            Mode::Append | Mode::Prepend => self.extend(key, store, value),
            Mode::Cas if !self.has_tokens => return self.without_tokens(key),
            _ => {
                let spec = self.spec(store);
                let outcome = self.cache.engine().set(self.cache.key(key), &[value], &spec);
                outcome.map(|outcome| Self::outcome(store, outcome.stored, outcome.existed, outcome.token, value.len()))
            }
        };
        done.unwrap_or_else(|error| self.failed(key, store, &error))
    }

    fn outcome(store: &Store, stored: bool, existed: bool, token: Option<u64>, len: usize) -> Stored {
        match (store.mode, existed) {
            _ if stored => Stored::Yes { token: token.unwrap_or(0), len },
            (Mode::Cas, true) => Stored::Exists,
            (Mode::Cas, false) => Stored::NotFound,
            // The policy turned it away: as if it had been evicted at once.
            (Mode::Set, _) | (Mode::Add, false) => Stored::Yes { token: token.unwrap_or(0), len },
            _ => Stored::No,
        }
    }

    fn extend(&self, key: &[u8], store: &Store, value: &[u8]) -> crate::Result<Stored> {
        loop {
            let extended = self.cache.engine().rewrite(
                self.cache.key(key),
                Change::Value(if store.mode == Mode::Prepend { "prepend" } else { "append" }),
                |before, old, locked| {
                    if store.token != 0 && before.token != Some(store.token) {
                        return Rewrite::Leave(Stored::Exists);
                    }
                    let wants = before.token.is_some() || store.want_token || store.new_token.is_some();
                    let token =
                        (wants && self.has_tokens).then(|| store.new_token.unwrap_or_else(|| locked.new_token()));
                    let len = old.len() + value.len();
                    if self.is_too_large(key.len(), len) {
                        return Rewrite::Leave(Stored::No);
                    }
                    let (old, new) = (Piece::Old, Piece::Given(value));
                    let pieces = if store.mode == Mode::Prepend { vec![new, old] } else { vec![old, new] };
                    let attributes = Attributes { token, marks: before.marks & BINARY_KEY, ..before };
                    Rewrite::Store(attributes, pieces, Stored::Yes { token: token.unwrap_or(0), len })
                },
            )?;
            if let Some(extended) = extended {
                return Ok(extended);
            }
            if !store.vivify {
                return Ok(Stored::No);
            }
            let spec = SetSpec { condition: Condition::Absent, ..self.spec(store) };
            let made = self.cache.engine().set(self.cache.key(key), &[value], &spec)?;
            if !made.existed {
                return Ok(Stored::Yes { token: made.token.unwrap_or(0), len: value.len() });
            }
            // Somebody else has made it meanwhile.
        }
    }

    /// Takes memory for a value that is yet to come.
    pub(super) fn reserve(&self, key: &[u8], store: &Store, len: usize) -> Result<Reservation, Stored> {
        // Without tokens a check-and-set fails in the end; until then its value has to be put somewhere.
        let store_as = if self.has_tokens { store.clone() } else { Store { mode: Mode::Set, ..store.clone() } };
        let options = SetOptions { spec: self.spec(&store_as) };
        self.cache.reserve(key, len, &options).map_err(|error| self.failed(key, store, &error))
    }

    /// Stores a value that has come.
    pub(super) fn publish(&self, key: &[u8], store: &Store, reservation: Reservation, len: usize) -> Stored {
        if store.mode == Mode::Cas && !self.has_tokens {
            return self.without_tokens(key);
        }
        match reservation.publish() {
            Ok(outcome) => {
                let token = outcome.token.map(|token| token.as_u64());
                Self::outcome(store, outcome.stored, outcome.existed, token, len)
            }
            Err(error) => self.failed(key, store, &error),
        }
    }

    /// What was to be replaced is not right any more.
    pub(super) fn failed(&self, key: &[u8], store: &Store, error: &Error) -> Stored {
        self.drop_old(key, store);
        match Stored::failed(error) {
            Stored::TooLarge if store.is_extension() => Stored::No,
            failed => failed,
        }
    }

    pub(super) fn drop_old(&self, key: &[u8], store: &Store) {
        if store.drop_on_failure {
            self.cache.engine().drop_item(self.cache.key(key), |_, _| true, |_| ());
        }
    }
}

/// What is counted of a request that stores, once its value was there.
pub(super) fn counted(store: &Store, stored: Stored) -> Option<Count> {
    match (store.mode, stored) {
        (_, Stored::TooLarge) => Some(Count::TooLarge),
        (_, Stored::NoMemory) => Some(Count::NoMemory),
        (Mode::Cas, Stored::Yes { .. }) => Some(Count::CasHits),
        (Mode::Cas, Stored::Exists) => Some(Count::CasBadval),
        (Mode::Cas, Stored::NotFound) => Some(Count::CasMisses),
        _ => None,
    }
}
