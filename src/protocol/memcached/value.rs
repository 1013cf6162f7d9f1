//! A value on its way: where its bytes go, and what is done when all are there.

use super::connection::{Connection, State, Step};
use super::counters::Count;
use super::store::{Store, Stored, counted};
use super::{binary, meta, text};
use crate::api::Reservation;
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
enum Place {
    Cache(Reservation),
    /// What is to be added to another value.
    Buffer(Vec<u8>),
}

/// A value on its way.
#[derive(Debug)]
pub(super) struct Value {
    key: Box<[u8]>,
    store: Store,
    len: usize,
    place: Place,
    reply: Reply,
}

impl Value {
    pub(super) fn missing(&self) -> usize {
        match &self.place {
            Place::Cache(reservation) => reservation.missing(),
            Place::Buffer(buffer) => self.len - buffer.len(),
        }
    }

    pub(super) fn rest(&mut self) -> Option<&mut [u8]> {
        match &mut self.place {
            Place::Cache(reservation) => Some(reservation.rest()),
            Place::Buffer(_) => None,
        }
    }

    pub(super) fn filled(&mut self, n: usize) {
        if let Place::Cache(reservation) = &mut self.place {
            reservation.advance(n);
        }
    }

    pub(super) fn memory(&self) -> usize {
        let buffer = if let Place::Buffer(buffer) = &self.place { buffer.capacity() } else { 0 };
        size_of::<Value>() + self.key.len() + buffer
    }

    /// Bytes that follow the value.
    fn end(&self) -> &'static [u8] {
        if matches!(self.reply, Reply::Binary(_)) { b"" } else { b"\r\n" }
    }

    fn take(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(self.missing());
        match &mut self.place {
            // Never more than are missing.
            Place::Cache(reservation) => drop(reservation.write(&bytes[..n])),
            Place::Buffer(buffer) => buffer.extend_from_slice(&bytes[..n]),
        }
        n
    }
}

impl Connection {
    /// A value of `len` bytes is on its way, too large to wait for in the input. What cannot be stored is thrown away,
    /// its end included.
    pub(super) fn expect(&mut self, key: &[u8], store: Store, len: usize, reply: Reply, output: &mut Output) {
        let place = match store.is_extension() {
            true => Ok(Place::Buffer(Vec::new())),
            false => self.shared().reserve(key, &store, len).map(Place::Cache),
        };
        match place {
            Ok(place) => self.state = State::Value(Box::new(Value { key: key.into(), store, len, place, reply })),
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
        if value.missing() > 0 {
            return if rest.is_empty() { Step::Starved } else { Step::Took(value.take(rest)) };
        }
        let end = value.end();
        if rest.len() < end.len() {
            return Step::Starved;
        }
        let is_ended = rest.starts_with(end);
        let State::Value(value) = std::mem::replace(&mut self.state, State::Command) else { return Step::Starved };
        let Value { key, store, len, place, reply } = *value;
        if !is_ended {
            drop(place);
            self.bad_chunk(&store, &reply, output);
            return Step::Took(end.len());
        }
        self.tell_looked(&key);
        let stored = match place {
            Place::Cache(reservation) => self.shared().publish(&key, &store, reservation, len),
            Place::Buffer(buffer) => self.shared().store(&key, &store, &buffer),
        };
        self.answer(&key, &store, stored, len, &reply, output);
        Step::Took(end.len())
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
            Reply::Meta(reply) => reply.put(key, store, stored, output),
            Reply::Binary(request) => request.stored(store, stored, output),
        }
    }

    pub(super) fn bad_chunk(&mut self, _store: &Store, reply: &Reply, output: &mut Output) {
        self.tally.one(Count::Sets);
        if !matches!(reply, Reply::Text { noreply: true }) {
            output.put(b"CLIENT_ERROR bad data chunk\r\n");
        }
    }
}
