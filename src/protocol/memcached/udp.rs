//! The header in front of each UDP datagram: which request it belongs to, and which part of it it is.
//!
//! ```text
//! 0         2         4         6         8
//! ┌─────────┬─────────┬─────────┬─────────┐
//! │ request │ number  │ count   │ 0       │  16 bits each, most significant byte first
//! └─────────┴─────────┴─────────┴─────────┘
//! ```
//! Requests must fit one datagram; replies may take several.

/// Bytes of the header.
pub const HEADER: usize = 8;
/// The largest datagram that is sent, header included: what passes an Ethernet in one piece.
pub const MAX_DATAGRAM: usize = 1400;

/// The header of a datagram.
///
/// # Examples
/// ```
/// use larder::protocol::memcached::udp::Frame;
/// let frame = Frame { request: 7, number: 0, count: 1 };
/// let mut datagram = frame.encode().to_vec();
/// datagram.extend_from_slice(b"version\r\n");
/// assert_eq!(Frame::decode(&datagram), Some((frame, &b"version\r\n"[..])));
/// assert_eq!(Frame::decode(b"short"), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Which request: the client's number.
    pub request: u16,
    /// Which datagram of the message, from 0.
    pub number: u16,
    /// How many datagrams the message has.
    pub count: u16,
}

impl Frame {
    /// The header of a datagram, and what follows it. None if it is too short to have one.
    ///
    /// # Examples
    /// See [`Frame`].
    pub fn decode(datagram: &[u8]) -> Option<(Frame, &[u8])> {
        let (header, rest) = datagram.split_first_chunk::<HEADER>()?;
        let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        Some((Frame { request: word(0), number: word(2), count: word(4) }, rest))
    }

    /// The header's bytes.
    ///
    /// # Examples
    /// See [`Frame`].
    pub fn encode(self) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        header[0..2].copy_from_slice(&self.request.to_be_bytes());
        header[2..4].copy_from_slice(&self.number.to_be_bytes());
        header[4..6].copy_from_slice(&self.count.to_be_bytes());
        header
    }
}

/// Cuts a reply into datagrams and gives each to `send`. A reply of more than 65,535 datagrams is not sent at all.
///
/// # Examples
/// ```
/// use larder::protocol::memcached::udp;
/// let mut sent = 0;
/// udp::encode(1, &[b'x'; 3000], |datagram| sent += datagram.len() - udp::HEADER);
/// assert_eq!(sent, 3000);
/// ```
pub fn encode(request: u16, reply: &[u8], mut send: impl FnMut(&[u8])) {
    let Ok(count) = u16::try_from(reply.len().div_ceil(MAX_DATAGRAM - HEADER)) else { return };
    let mut datagram = Vec::with_capacity(MAX_DATAGRAM.min(reply.len() + HEADER));
    for (number, part) in (0..count).zip(reply.chunks(MAX_DATAGRAM - HEADER)) {
        datagram.clear();
        datagram.extend_from_slice(&Frame { request, number, count }.encode());
        datagram.extend_from_slice(part);
        send(&datagram);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_comes_together_again() {
        for len in [0, 1, MAX_DATAGRAM - HEADER, MAX_DATAGRAM - HEADER + 1, 10_000] {
            let reply: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let (mut joined, mut count) = (Vec::new(), 0);
            encode(0xfffe, &reply, |datagram| {
                let (frame, part) = Frame::decode(datagram).expect("a header");
                assert!(datagram.len() <= MAX_DATAGRAM && frame.request == 0xfffe && frame.number == count);
                assert_eq!(usize::from(frame.count), len.div_ceil(MAX_DATAGRAM - HEADER));
                joined.extend_from_slice(part);
                count += 1;
            });
            assert_eq!(joined, reply);
        }
    }
}
