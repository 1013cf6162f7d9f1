//! What primary and replica say to each other: kinds of messages and their bytes (`docs/replication-protocol.md`).
//! Numbers are little-endian. Nothing is allocated in reading one.

/// "LARDERRP": the first bytes of a replica's greeting.
const MAGIC: &[u8; 8] = b"LARDERRP";
/// The longest name of a replica, and the longest text, in bytes.
pub(super) const MAX_TEXT: usize = 1024;

/// Why a primary, or a replica that was taken for one, turns a link down.
///
/// # Examples
/// ```
/// use larder::replication::Refusal;
/// assert_eq!(Refusal::IsReplica.text(), "this is a replica, and a replica has no replicas of its own");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// All places for replicas are taken.
    TooManyReplicas,
    /// It is a replica itself.
    IsReplica,
    /// The first message was no greeting, or came out of turn.
    OutOfTurn,
}

impl Refusal {
    fn of_code(code: u8) -> Option<Refusal> {
        [Refusal::TooManyReplicas, Refusal::IsReplica, Refusal::OutOfTurn].get(usize::from(code)).copied()
    }

    /// The reason in words.
    ///
    /// # Examples
    /// See [`Refusal`].
    pub fn text(self) -> &'static str {
        match self {
            Refusal::TooManyReplicas => "the primary has as many replicas as it may have",
            Refusal::IsReplica => "this is a replica, and a replica has no replicas of its own",
            Refusal::OutOfTurn => "that message was not expected now",
        }
    }
}

/// A message.
///
/// # Examples
/// See [`FrameEncoder`](super::FrameEncoder).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message<'a> {
    /// Replica: who it is, and what it has.
    Hello {
        /// The history that its data belong to; 0 if it has none.
        history: u128,
        /// Number of the first record that it has not applied.
        position: u64,
        /// Whether it never takes the primary's place by itself.
        is_external: bool,
        /// Its name, text of 255 bytes at most.
        name: &'a str,
    },
    /// Primary: how it goes on.
    Welcome {
        /// Whether all data have to be replaced; else records follow from `position` on.
        is_full: bool,
        /// Whether the origin was an empty cache.
        began_empty: bool,
        /// Whether replicas are to give up their data for it all the same.
        may_empty: bool,
        /// The primary's history.
        history: u128,
        /// The first of the histories that led to it: its own, unless the primary was a replica.
        origin: u128,
        /// Number of the next record: of the first that follows, or, before a full sync, of the primary's next.
        position: u64,
    },
    /// Replica: send the snapshot.
    Proceed,
    /// Primary: a snapshot follows that shows all effects before `position`.
    SyncBegin {
        /// Number of the first record after it.
        position: u64,
    },
    /// Primary: the next bytes of the snapshot.
    SyncBytes(&'a [u8]),
    /// Primary: that was all of it.
    SyncEnd {
        /// Bytes of the snapshot.
        len: u64,
        /// Their CRC-32C.
        checksum: u32,
    },
    /// Primary: the snapshot failed; what came of it is void. Another one may follow.
    SyncFailed(&'a str),
    /// Primary: the next bytes of the stream of records.
    Effects(&'a [u8]),
    /// Primary, once a second: where it is.
    Ping {
        /// Number of its next record.
        position: u64,
        /// Its time, in milliseconds since the Unix epoch.
        unix_ms: u64,
    },
    /// Replica, once a second and when it has applied something.
    Ack {
        /// Number of the first record that it has not applied; 0 while it does not follow.
        position: u64,
        /// The time in the last ping whose position it has reached; 0 for none.
        unix_ms: u64,
    },
    /// Either: the link is turned down.
    Refused(Refusal),
}

impl<'a> Message<'a> {
    pub(super) fn kind(&self) -> u8 {
        match self {
            Message::Hello { .. } => 1,
            Message::Welcome { .. } => 2,
            Message::Proceed => 3,
            Message::SyncBegin { .. } => 4,
            Message::SyncBytes(_) => 5,
            Message::SyncEnd { .. } => 6,
            Message::SyncFailed(_) => 7,
            Message::Effects(_) => 8,
            Message::Ping { .. } => 9,
            Message::Ack { .. } => 10,
            Message::Refused(_) => 11,
        }
    }

    pub(super) fn encode(&self, to: &mut Vec<u8>) {
        match *self {
            Message::Hello { history, position, is_external, name } => {
                to.extend_from_slice(MAGIC);
                to.extend_from_slice(&history.to_le_bytes());
                to.extend_from_slice(&position.to_le_bytes());
                to.push(u8::from(is_external));
                to.extend_from_slice(name.as_bytes());
            }
            Message::Welcome { is_full, began_empty, may_empty, history, origin, position } => {
                to.push(u8::from(is_full) | u8::from(began_empty) << 1 | u8::from(may_empty) << 2);
                to.extend_from_slice(&history.to_le_bytes());
                to.extend_from_slice(&origin.to_le_bytes());
                to.extend_from_slice(&position.to_le_bytes());
            }
            Message::Proceed => {}
            Message::SyncBegin { position } => to.extend_from_slice(&position.to_le_bytes()),
            Message::SyncBytes(bytes) | Message::Effects(bytes) => to.extend_from_slice(bytes),
            Message::SyncEnd { len, checksum } => {
                to.extend_from_slice(&len.to_le_bytes());
                to.extend_from_slice(&checksum.to_le_bytes());
            }
            Message::SyncFailed(text) => to.extend_from_slice(text.as_bytes()),
            Message::Ping { position, unix_ms } | Message::Ack { position, unix_ms } => {
                to.extend_from_slice(&position.to_le_bytes());
                to.extend_from_slice(&unix_ms.to_le_bytes());
            }
            Message::Refused(refusal) => to.push(refusal as u8),
        }
    }

    /// The message of this kind that these bytes are, all of them.
    pub(super) fn decode(kind: u8, bytes: &'a [u8]) -> Option<Message<'a>> {
        let mut fields = Fields(bytes);
        let message = match kind {
            1 => {
                if fields.take::<8>()? != *MAGIC {
                    return None;
                }
                let (history, position, [flags]) = (fields.history()?, fields.number()?, fields.take()?);
                if flags > 1 {
                    return None;
                }
                Message::Hello { history, position, is_external: flags != 0, name: fields.text(255)? }
            }
            2 => {
                let [flags] = fields.take::<1>()?;
                if flags > 7 {
                    return None;
                }
                let (is_full, began_empty, may_empty) = (flags & 1 != 0, flags & 2 != 0, flags & 4 != 0);
                let (history, origin, position) = (fields.history()?, fields.history()?, fields.number()?);
                Message::Welcome { is_full, began_empty, may_empty, history, origin, position }
            }
            3 => Message::Proceed,
            4 => Message::SyncBegin { position: fields.number()? },
            5 => Message::SyncBytes(fields.rest()),
            6 => Message::SyncEnd { len: fields.number()?, checksum: u32::from_le_bytes(fields.take()?) },
            7 => Message::SyncFailed(fields.text(MAX_TEXT)?),
            8 => Message::Effects(fields.rest()),
            9 => Message::Ping { position: fields.number()?, unix_ms: fields.number()? },
            10 => Message::Ack { position: fields.number()?, unix_ms: fields.number()? },
            11 => {
                let [code] = fields.take::<1>()?;
                Message::Refused(Refusal::of_code(code)?)
            }
            _ => return None,
        };
        fields.0.is_empty().then_some(message)
    }
}

/// What is left to be read of a message.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn number(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn history(&mut self) -> Option<u128> {
        self.take().map(u128::from_le_bytes)
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    fn text(&mut self, most: usize) -> Option<&'a str> {
        std::str::from_utf8(self.rest()).ok().filter(|text| text.len() <= most)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{FrameDecoder, FrameEncoder};
    use super::*;

    fn all() -> Vec<Message<'static>> {
        vec![
            Message::Hello { history: 1 << 100, position: 7, is_external: true, name: "replica-1" },
            Message::Welcome { is_full: true, began_empty: false, may_empty: true, history: 9, origin: 8, position: 3 },
            Message::Proceed,
            Message::SyncBegin { position: 4 },
            Message::SyncBytes(b"bytes"),
            Message::SyncEnd { len: 5, checksum: 6 },
            Message::SyncFailed("why"),
            Message::Effects(b"records"),
            Message::Ping { position: 1, unix_ms: 2 },
            Message::Ack { position: 3, unix_ms: 4 },
            Message::Refused(Refusal::IsReplica),
        ]
    }

    fn stream() -> Vec<u8> {
        let (mut encoder, mut bytes) = (FrameEncoder::new(77), Vec::new());
        all().iter().for_each(|message| encoder.put(message, &mut bytes));
        bytes
    }

    #[test]
    fn any_split_is_read_alike() {
        for step in 1..60 {
            let (mut decoder, mut seen) = (FrameDecoder::new(None), 0);
            for piece in stream().chunks(step) {
                decoder.push(piece);
                while let Some(message) = decoder.next().unwrap() {
                    assert_eq!(message, all()[seen]);
                    seen += 1;
                }
            }
            assert_eq!((seen, decoder.link()), (all().len(), Some(77)));
        }
    }

    #[test]
    fn every_flipped_bit_lost_byte_and_repeated_frame_is_noticed() {
        let bytes = stream();
        let count = |bytes: &[u8]| {
            let (mut decoder, mut seen) = (FrameDecoder::new(Some(77)), 0);
            decoder.push(bytes);
            while let Ok(Some(message)) = decoder.next() {
                assert_eq!(message, all()[seen]);
                seen += 1;
            }
            seen
        };
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bad = bytes.clone();
                bad[at] ^= 1 << bit;
                assert!(count(&bad) < all().len());
            }
            let mut less = bytes.clone();
            less.remove(at);
            assert!(count(&less) < all().len());
        }
        let first = 24 + 8 + 24 + 1 + 9;
        assert_eq!(count(&[&bytes[..first], &bytes].concat()), 1);
        assert_eq!(count(&bytes[first..]), 0);
        let mut other = Vec::new();
        FrameEncoder::new(78).put(&Message::Proceed, &mut other);
        assert_eq!(count(&other), 0);
    }
}
