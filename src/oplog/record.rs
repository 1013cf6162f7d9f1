//! Records: numbered effects with a length and a checksum, one after the other.
//!
//! ```text
//! ┌────────────┬───────────────┬───────────────────┬────────┐
//! │ length (v) │ checksum (4)  │ sequence (v)      │ effect │     v: a number of varying length
//! └────────────┴───────────────┴───────────────────┴────────┘
//!  of the last two             └─────── length ───────────┘
//! ```
//! The checksum is the CRC-32C of the length's bytes, the sequence number and the effect. No input or output here:
//! bytes come from anywhere, in pieces of any size, and the decoder says when it needs more.

use super::effect::{Effect, Several};
use super::varint::{self, Count, Sink, Varint};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::crc32c;

/// The longest body of a record: more than all the values of an update can have.
const MAX_BODY: u64 = 1 << 40;

/// A numbered effect.
///
/// # Examples
/// See [`Decoder`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record<'a> {
    /// Its number: one more than that of the record before.
    pub sequence: u64,
    /// What happened.
    pub effect: Effect<'a>,
}

/// Adds a record to a buffer.
///
/// # Examples
/// See [`Decoder`].
pub fn encode(sequence: u64, effect: &Effect<'_>, to: &mut Vec<u8>) {
    let start = to.len();
    encode_unsealed(sequence, effect, to);
    seal(&mut to[start..]);
}

/// The same without its checksum, which [`seal`] puts in later: not under a lock.
pub(super) fn encode_unsealed(sequence: u64, effect: &Effect<'_>, to: &mut Vec<u8>) {
    let mut body = Count::default();
    body.put_varint(sequence);
    effect.encode(&mut body);
    to.reserve(body.0 as usize + 14);
    to.put_varint(body.0);
    to.put(&[0; 4]);
    to.put_varint(sequence);
    effect.encode(to);
}

/// Adds a record of several effects that are encoded already.
pub(super) fn encode_several_unsealed(sequence: u64, effects: &[u8], to: &mut Vec<u8>) {
    encode_unsealed(sequence, &Effect::Several(Several::of_encoded(effects)), to);
}

/// Puts the checksums into records that have none.
pub(super) fn seal(mut records: &mut [u8]) {
    while let Varint::Is(len, head) = varint::read(records) {
        let Some(end) = (head as u64 + 4).checked_add(len).and_then(|end| usize::try_from(end).ok()) else { return };
        let Some((record, rest)) = records.split_at_mut_checked(end) else { return };
        let checksum = crc32c(crc32c(0, &record[..head]), &record[head + 4..]);
        record[head..head + 4].copy_from_slice(&checksum.to_le_bytes());
        records = rest;
    }
}

/// What the first bytes of a stream are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decoded<'a> {
    /// A record, and how many bytes it took.
    Record(Record<'a>, usize),
    /// The bytes are the beginning of a record, which has so many more bytes at least.
    Incomplete(u64),
    /// The bytes are no record, for this reason.
    Damaged(&'static str),
}

/// Reads the first record of `bytes`. Whatever bytes they are, nothing is allocated, and a record that was changed is
/// not taken for another one.
///
/// # Examples
/// See [`Decoder`].
pub fn decode(bytes: &[u8]) -> Decoded<'_> {
    let (len, head) = match varint::read(bytes) {
        Varint::Is(len, head) => (len, head),
        Varint::Short => return Decoded::Incomplete(1),
        Varint::Bad => return Decoded::Damaged("the length is no number"),
    };
    if len == 0 || len > MAX_BODY {
        return Decoded::Damaged("the length is out of range");
    }
    let end = head as u64 + 4 + len;
    if (bytes.len() as u64) < end {
        return Decoded::Incomplete(end - bytes.len() as u64);
    }
    // It fits, for so many bytes are there.
    let end = end as usize;
    let (stored, body) = (&bytes[head..head + 4], &bytes[head + 4..end]);
    if crc32c(crc32c(0, &bytes[..head]), body).to_le_bytes() != stored {
        return Decoded::Damaged("the checksum is wrong");
    }
    let Varint::Is(sequence, at) = varint::read(body) else {
        return Decoded::Damaged("the sequence number is no number");
    };
    match Effect::decode(&body[at..]) {
        Some(effect) => Decoded::Record(Record { sequence, effect }, end),
        None => Decoded::Damaged("the effect is none that this version knows"),
    }
}

/// Reads records from a stream that arrives in pieces of any size, and holds that each follows the one before.
///
/// # Examples
/// ```
/// use larder::oplog::{Decoder, Effect, Item, encode};
/// let mut bytes = Vec::new();
/// encode(8, &Effect::Set(Item::new(0, b"k", b"v")), &mut bytes);
/// encode(9, &Effect::Time { unix_ms: 1 }, &mut bytes);
///
/// let mut decoder = Decoder::new(8);
/// let mut seen = Vec::new();
/// for piece in bytes.chunks(3) {
///     decoder.push(piece);
///     while let Some(record) = decoder.next()? {
///         seen.push(record.sequence);
///     }
/// }
/// assert_eq!(seen, [8, 9]);
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Bytes at the beginning of the buffer that were read.
    used: usize,
    /// Bytes of the stream before the buffer.
    before: u64,
    next: u64,
}

impl Decoder {
    /// A decoder of a stream whose first record has this number.
    ///
    /// # Examples
    /// See [`Decoder`].
    pub fn new(first: u64) -> Decoder {
        Decoder { buffer: Vec::new(), used: 0, before: 0, next: first }
    }

    /// Takes bytes that have arrived.
    ///
    /// # Examples
    /// See [`Decoder`].
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.used);
        self.before += self.used as u64;
        self.used = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next record, if all of it has arrived.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`], naming the offset in the stream. The rest of it cannot be read then.
    ///
    /// # Examples
    /// See [`Decoder`].
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Record<'_>>> {
        let offset = self.offset();
        let damaged = |what: String| Error::new(ErrorKind::Damaged, format!("damaged at byte {offset}: {what}"));
        match decode(&self.buffer[self.used..]) {
            Decoded::Record(record, _) if record.sequence != self.next => {
                Err(damaged(format!("record {} comes where {} should", record.sequence, self.next)))
            }
            Decoded::Record(record, len) => {
                self.used += len;
                self.next += 1;
                Ok(Some(record))
            }
            Decoded::Incomplete(_) => Ok(None),
            Decoded::Damaged(what) => Err(damaged(what.to_owned())),
        }
    }

    /// Bytes of the stream that were read as records.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::oplog::Decoder::new(1).offset(), 0);
    /// ```
    pub fn offset(&self) -> u64 {
        self.before + self.used as u64
    }

    /// The number that the next record has to have.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::oplog::Decoder::new(7).next_sequence(), 7);
    /// ```
    pub fn next_sequence(&self) -> u64 {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::super::effect::Item;
    use super::*;

    fn three() -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(300, &Effect::Set(Item::new(2, b"key", &[b'x'; 200])), &mut bytes);
        encode(301, &Effect::Clear { namespace: 2, due_ms: None }, &mut bytes);
        encode(302, &Effect::Time { unix_ms: 1 << 41 }, &mut bytes);
        bytes
    }

    #[test]
    fn any_split_is_read_alike() {
        let bytes = three();
        for step in 1..bytes.len() {
            let mut decoder = Decoder::new(300);
            let mut seen = 0;
            for piece in bytes.chunks(step) {
                decoder.push(piece);
                while let Some(record) = decoder.next().unwrap() {
                    assert_eq!(record.sequence, 300 + seen);
                    seen += 1;
                }
            }
            assert_eq!((seen, decoder.offset(), decoder.next_sequence()), (3, bytes.len() as u64, 303));
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let bytes = three();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bad = bytes.clone();
                bad[at] ^= 1 << bit;
                let mut decoder = Decoder::new(300);
                decoder.push(&bad);
                let mut whole = 0;
                let end = loop {
                    match decoder.next() {
                        Ok(Some(_)) => whole += 1,
                        end => break end.is_err(),
                    }
                };
                // A length that became larger waits for bytes that never come.
                assert!(whole < 3 && decoder.offset() <= at as u64, "byte {at}, bit {bit}: {end}");
            }
        }
    }

    #[test]
    fn a_gap_is_an_error() {
        let mut bytes = Vec::new();
        encode(5, &Effect::Time { unix_ms: 1 }, &mut bytes);
        let mut decoder = Decoder::new(4);
        decoder.push(&bytes);
        let error = decoder.next().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged);
        assert_eq!(error.to_string(), "damaged at byte 0: record 5 comes where 4 should");
    }
}
