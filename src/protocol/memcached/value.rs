//! A value on its way: where its bytes go, and what is done when all are there.

use super::connection::{Connection, State, Step};
use super::counters::Count;
use super::store::{Store, Stored, counted};
use super::unfinished::Held;
use super::{binary, meta, text};
use crate::api::{Charge, Reservation};
use crate::protocol::Output;

/// Who is told what came of it.
#[derive(Debug)]
pub(super) enum Reply {
    Text { noreply: bool },
    Meta(meta::SetReply),
    Binary(binary::Request),
}

/// Where the bytes go.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a value on its way is in a box already")]
pub(super) enum Place {
    Cache(Reservation),
    /// What is to be added to another value. It counts as the program's own memory.
    Buffer {
        bytes: Vec<u8>,
        _charge: Charge,
    },
}

/// A value on its way.
#[derive(Debug)]
pub(super) struct Value {
    key: Box<[u8]>,
    store: Store,
    len: usize,
    /// Bytes that are still to come.
    missing: usize,
    held: Held,
    reply: Reply,
}

impl Value {
    /// Where its next bytes go, if they can be read straight to there. Until it is parked, that is not taken away.
    pub(super) fn rest(&mut self) -> Option<&mut [u8]> {
        match self.held.claim()? {
            Place::Cache(reservation) => Some(reservation.rest()),
            Place::Buffer { .. } => None,
        }
    }

    pub(super) fn filled(&mut self, n: usize) {
        if n == 0 {
            self.park();
        } else if let Some(Place::Cache(reservation)) = self.held.claim() {
            reservation.advance(n);
            self.missing = reservation.missing();
        }
    }

    /// More has to come before anything can be done.
    pub(super) fn park(&mut self) {
        self.held.park();
    }

    pub(super) fn memory(&self) -> usize {
        size_of::<Value>() + self.key.len()
    }

    /// Bytes that follow the value.
    fn end(&self) -> &'static [u8] {
        if matches!(self.reply, Reply::Binary(_)) { b"" } else { b"\r\n" }
    }

    fn take(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(self.missing);
        match self.held.claim() {
            // Never more than are missing.
            Some(Place::Cache(reservation)) => drop(reservation.write(&bytes[..n])),
            Some(Place::Buffer { bytes: before, .. }) => before.extend_from_slice(&bytes[..n]),
            None => return 0,
        }
        self.missing -= n;
        n
    }
}

/// A buffer for `len` bytes, no larger than they are, so that it takes what it was charged.
fn buffer(len: usize, charge: Charge) -> Result<Place, Stored> {
    let mut bytes = Vec::new();
    match bytes.try_reserve_exact(len) {
        Ok(()) => Ok(Place::Buffer { bytes, _charge: charge }),
        Err(_) => Err(Stored::NoMemory),
    }
}

impl Connection {
    /// A value of `len` bytes is on its way, too large to wait for in the input. What cannot be stored is thrown away,
    /// its end included.
    pub(super) fn expect(&mut self, key: &[u8], store: Store, len: usize, reply: Reply, output: &mut Output) {
        let ledger = &self.shared().cache.engine().ctx.arena.ledger;
        let held = self.shared().unfinished.announce(len, ledger.limit().saturating_sub(ledger.reserved()));
        let place = match store.is_extension() {
            true => match self.shared().cache.charge(len as u64) {
                Ok(charge) => buffer(len, charge),
                Err(error) => Err(self.shared().failed(key, &store, &error)),
            },
            false => self.shared().reserve(key, &store, len).map(Place::Cache),
        };
        match place {
            Ok(place) => {
                let (key, held) = (key.into(), held.with(place));
                self.state = State::Value(Box::new(Value { key, store, len, missing: len, held, reply }));
            }
            Err(stored) => {
                self.refuse(len + if matches!(reply, Reply::Binary(_)) { 0 } else { 2 });
                self.answer(key, &store, stored, len, &reply, output);
            }
        }
    }

    /// So many bytes that come next are not wanted.
    pub(super) fn refuse(&mut self, bytes: usize) {
        if bytes > 0 {
            self.state = State::Swallow(bytes as u64);
        }
    }

    pub(super) fn value_step(&mut self, rest: &[u8], output: &mut Output) -> Step {
        let State::Value(value) = &mut self.state else { return Step::Starved };
        if value.held.claim().is_none() {
            return self.given_up(output);
        }
        if value.missing > 0 {
            return if rest.is_empty() { Step::Starved } else { Step::Took(value.take(rest)) };
        }
        let end = value.end();
        if rest.len() < end.len() {
            return Step::Starved;
        }
        let is_ended = rest.starts_with(end);
        let State::Value(value) = std::mem::replace(&mut self.state, State::Command) else { return Step::Starved };
        let Value { key, store, len, held, reply, .. } = *value;
        if !is_ended {
            drop(held);
            self.bad_chunk(&reply, output);
            return Step::Took(end.len());
        }
        self.tell_looked(&key);
        let stored = match held.finish() {
            Some(Place::Cache(reservation)) => self.shared().publish(&key, &store, reservation, len),
            Some(Place::Buffer { bytes, .. }) => self.shared().store(&key, &store, &bytes),
            None => Stored::NoMemory,
        };
        self.answer(&key, &store, stored, len, &reply, output);
        Step::Took(end.len())
    }

    /// The value under way lost its memory to others that were announced later: what is left of it is thrown away.
    #[cold]
    fn given_up(&mut self, output: &mut Output) -> Step {
        let State::Value(value) = std::mem::replace(&mut self.state, State::Command) else { return Step::Starved };
        self.refuse(value.missing + value.end().len());
        let Value { key, store, len, reply, .. } = *value;
        self.shared().drop_old(&key, &store);
        self.answer(&key, &store, Stored::NoMemory, len, &reply, output);
        Step::Took(0)
    }

    /// A value was there as a whole: stores it.
    pub(super) fn store(&mut self, key: &[u8], store: &Store, value: &[u8], reply: &Reply, output: &mut Output) {
        self.tell_looked(key);
        let stored = self.shared().store(key, store, value);
        self.answer(key, store, stored, value.len(), reply, output);
    }

    pub(super) fn answer(
        &mut self,
        key: &[u8],
        store: &Store,
        stored: Stored,
        len: usize,
        reply: &Reply,
        output: &mut Output,
    ) {
        if let Some(count) = counted(store, stored) {
            self.tally.one(count);
        }
        if !matches!(stored, Stored::TooLarge | Stored::NoMemory) {
            self.tally.one(Count::Sets);
        }
        self.tell_stored(key, store, stored, len);
        match reply {
            Reply::Text { noreply } => text::stored(stored, *noreply, output),
            Reply::Meta(reply) => reply.put(key, store, stored, len, output),
            Reply::Binary(request) => request.stored(store, stored, output),
        }
    }

    pub(super) fn bad_chunk(&mut self, reply: &Reply, output: &mut Output) {
        self.tally.one(Count::Sets);
        if !matches!(reply, Reply::Text { noreply: true }) {
            output.put(b"CLIENT_ERROR bad data chunk\r\n");
        }
    }
}
