//! Frames: what carries messages over a link that may lose, repeat, reorder or change bytes, and notices when it did.
//!
//! ```text
//! ┌────────┬──────────┬──────┬─────────┬──────────┬────────┬──────┬─────────┐
//! │ length │ checksum │ kind │ version │ reserved │ number │ link │ payload │   little-endian;
//! │   4    │    4     │  1   │    1    │    2     │   4    │  8   │ length  │   checksum: CRC-32C of all but itself
//! └────────┴──────────┴──────┴─────────┴──────────┴────────┴──────┴─────────┘
//! ```
//! Invariants:
//! 1. Frames of one direction of a link are numbered from 0, without gaps: one that is lost, repeated or out of turn is
//!    an error, and the link is given up.
//! 2. `link` is the number that the replica chose for this connection: a frame of an earlier one is an error.
//! 3. The buffer holds less than one frame, besides what was pushed at once: at most [`MAX_PAYLOAD`] and the head.

use crate::error::{Error, ErrorKind, Result};
use crate::storage::crc32c;

use super::message::Message;

/// The version of the protocol that this build speaks.
pub const PROTOCOL_VERSION: u8 = 1;
/// Bytes before a frame's payload.
pub(super) const HEAD: usize = 24;
/// The longest payload.
pub(super) const MAX_PAYLOAD: usize = 1 << 20;

fn checksum(frame: &[u8]) -> u32 {
    crc32c(crc32c(0, &frame[..4]), &frame[8..])
}

/// Turns messages into the bytes of one direction of a link.
///
/// # Examples
/// ```
/// use larder::replication::{FrameDecoder, FrameEncoder, Message};
/// let mut bytes = Vec::new();
/// FrameEncoder::new(7).put(&Message::Ping { position: 1, unix_ms: 5 }, &mut bytes);
/// let mut decoder = FrameDecoder::new(Some(7));
/// decoder.push(&bytes);
/// assert_eq!(decoder.next()?, Some(Message::Ping { position: 1, unix_ms: 5 }));
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug)]
pub struct FrameEncoder {
    link: u64,
    number: u32,
}

impl FrameEncoder {
    /// An encoder for a link of this number.
    ///
    /// # Examples
    /// See [`FrameEncoder`].
    pub fn new(link: u64) -> FrameEncoder {
        FrameEncoder { link, number: 0 }
    }

    /// Appends the message's frame. Payloads are bounded by whoever makes the message: a megabyte at most.
    ///
    /// # Examples
    /// See [`FrameEncoder`].
    pub fn put(&mut self, message: &Message<'_>, to: &mut Vec<u8>) {
        let start = to.len();
        to.extend_from_slice(&[0; 8]);
        to.extend_from_slice(&[message.kind(), PROTOCOL_VERSION, 0, 0]);
        to.extend_from_slice(&self.number.to_le_bytes());
        to.extend_from_slice(&self.link.to_le_bytes());
        message.encode(to);
        let len = to.len() - start - HEAD;
        debug_assert!(len <= MAX_PAYLOAD);
        to[start..start + 4].copy_from_slice(&(len as u32).to_le_bytes());
        let checksum = checksum(&to[start..]);
        to[start + 4..start + 8].copy_from_slice(&checksum.to_le_bytes());
        self.number = self.number.wrapping_add(1);
    }
}

/// Reads frames from bytes that come in pieces of any size.
///
/// # Examples
/// See [`FrameEncoder`].
#[derive(Debug)]
pub struct FrameDecoder {
    buffer: Vec<u8>,
    used: usize,
    number: u32,
    link: Option<u64>,
    /// The longest payload.
    most: usize,
}

impl FrameDecoder {
    /// A decoder for a link of this number, or, with None, of that which the first frame has.
    ///
    /// # Examples
    /// See [`FrameEncoder`].
    pub fn new(link: Option<u64>) -> FrameDecoder {
        Self::limited(link, MAX_PAYLOAD)
    }

    /// The same where no payload is longer than `most` bytes.
    pub(super) fn limited(link: Option<u64>, most: usize) -> FrameDecoder {
        FrameDecoder { buffer: Vec::new(), used: 0, number: 0, link, most }
    }

    /// The link's number, once it is known.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::replication::FrameDecoder::new(Some(3)).link(), Some(3));
    /// ```
    pub fn link(&self) -> Option<u64> {
        self.link
    }

    /// Takes bytes that have arrived.
    ///
    /// # Examples
    /// See [`FrameEncoder`].
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.used);
        self.used = 0;
        if self.buffer.capacity() > MAX_PAYLOAD && self.buffer.len() + bytes.len() < 64 << 10 {
            self.buffer.shrink_to(64 << 10);
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes that the buffer takes.
    pub(super) fn memory(&self) -> u64 {
        self.buffer.capacity() as u64
    }

    /// The next message, if all of it has arrived.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] if the link has lost, repeated, reordered or changed something, or speaks another version
    /// or no version of this protocol. The link is of no use any more then.
    ///
    /// # Examples
    /// See [`FrameEncoder`].
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Message<'_>>> {
        let bytes = &self.buffer[self.used..];
        let Some(head) = bytes.first_chunk::<HEAD>() else { return Ok(None) };
        let four = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let len = four(0) as usize;
        if len > self.most {
            return Err(damaged(format!("a frame of {len} bytes; the most is {}", self.most)));
        }
        let Some(frame) = bytes.get(..HEAD + len) else { return Ok(None) };
        if checksum(frame) != four(4) {
            return Err(damaged("the checksum of a frame is wrong".to_owned()));
        }
        if head[9] != PROTOCOL_VERSION {
            let theirs = head[9];
            return Err(damaged(format!("the other side speaks version {theirs}, this one {PROTOCOL_VERSION}")));
        }
        if head[10..12] != [0, 0] {
            return Err(damaged("a frame's reserved bytes are set".to_owned()));
        }
        let number = four(12);
        if number != self.number {
            return Err(damaged(format!("frame {number} comes where {} should", self.number)));
        }
        let mut link = [0; 8];
        link.copy_from_slice(&head[16..24]);
        let link = u64::from_le_bytes(link);
        if *self.link.get_or_insert(link) != link {
            return Err(damaged("a frame of another link".to_owned()));
        }
        let (kind, start) = (head[8], self.used + HEAD);
        self.number = self.number.wrapping_add(1);
        self.used += HEAD + len;
        match Message::decode(kind, &self.buffer[start..start + len]) {
            Some(message) => Ok(Some(message)),
            None => Err(damaged(format!("a message of kind {kind} that this version does not know"))),
        }
    }
}

fn damaged(what: String) -> Error {
    Error::new(ErrorKind::Damaged, format!("the replication link is damaged: {what}"))
}
