//! Messages between primary and replica: no bytes make the decoder or either side panic, pieces of any size are read
//! alike, and what a stranger sends never changes what a replica holds.
//!
//! The first byte chooses: bytes for the decoder, or frames made from the bytes for both sides.
#![no_main]

use larder::replication::{
    FrameDecoder, FrameEncoder, Message, Primary, PrimaryOptions, Refusal, Replica, ReplicaOptions,
};
use larder::{Cache, ErrorKind, Maintenance, ManualClock};
use libfuzzer_sys::fuzz_target;

/// Reads a stream in pieces: how many messages, and whether it ended with an error.
fn read(bytes: &[u8], piece: usize) -> (Vec<u8>, bool) {
    let (mut decoder, mut again) = (FrameDecoder::new(Some(7)), Vec::new());
    let mut encoder = FrameEncoder::new(7);
    for piece in bytes.chunks(piece.max(1)) {
        decoder.push(piece);
        loop {
            match decoder.next() {
                Ok(Some(message)) => encoder.put(&message, &mut again),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Damaged);
                    return (again, true);
                }
            }
        }
    }
    (again, false)
}

fn cache(follower: bool) -> Cache {
    let builder = Cache::builder().max_memory(1 << 20).clock(ManualClock::new(1)).follower(follower);
    builder.maintenance(Maintenance::Manual).build().expect("a cache")
}

/// A message made from bytes.
fn message(bytes: &[u8]) -> Message<'_> {
    let (kind, rest) = bytes.split_first().map_or((0, bytes), |(kind, rest)| (*kind, rest));
    let number = rest.iter().take(8).fold(0u64, |sum, &b| sum << 8 | u64::from(b));
    match kind % 11 {
        0 => Message::Hello { history: number.into(), position: number, is_external: kind & 16 != 0, name: "r" },
        1 => Message::Welcome {
            is_full: kind & 16 != 0,
            began_empty: kind & 32 != 0,
            may_empty: kind & 64 != 0,
            history: number.into(),
            origin: number.into(),
            position: number,
        },
        2 => Message::Proceed,
        3 => Message::SyncBegin { position: number },
        4 => Message::SyncBytes(rest),
        5 => Message::SyncEnd { len: number, checksum: number as u32 },
        6 => Message::SyncFailed("failed"),
        7 => Message::Effects(rest),
        8 => Message::Ping { position: number, unix_ms: number },
        9 => Message::Ack { position: number, unix_ms: number },
        _ => Message::Refused(Refusal::OutOfTurn),
    }
}

fn sides(bytes: &[u8]) {
    let held = cache(false);
    held.set(b"k", b"v").expect("room");
    let mut primary = Primary::new(&held, PrimaryOptions::new().seed(1)).expect("a primary");
    let copy = cache(false);
    copy.set(b"k", b"v").expect("room");
    let mut replica = Replica::new(&copy, ReplicaOptions::new("r").seed(1)).expect("a replica");
    let link = primary.connect(0);
    replica.connect(0);
    let mut number = FrameDecoder::new(None);
    number.push(replica.output());
    let _ = number.next();
    let (mut up, mut down) = (FrameEncoder::new(9), FrameEncoder::new(number.link().expect("a greeting")));
    for (n, piece) in bytes.chunks(24).enumerate() {
        let now = n as u64 * 500;
        let mut sent = Vec::new();
        up.put(&message(piece), &mut sent);
        let _ = primary.receive(link, &sent, now);
        primary.poll(now);
        let taken = primary.output(link).len();
        primary.sent(link, taken);
        sent.clear();
        down.put(&message(piece), &mut sent);
        let _ = replica.receive(&sent, now);
        replica.poll(now);
        let taken = replica.output().len();
        replica.sent(taken);
    }
    assert_eq!(held.get(b"k").expect("memory").as_deref(), Some(&b"v"[..]));
    // No snapshot can have come whole.
    assert_eq!(copy.get(b"k").expect("memory").as_deref(), Some(&b"v"[..]));
}

fuzz_target!(|bytes: &[u8]| {
    let [choice, piece, rest @ ..] = bytes else { return };
    if choice % 2 == 0 {
        let whole = read(rest, usize::MAX);
        assert_eq!(read(rest, usize::from(*piece)), whole);
        assert!(rest.starts_with(&whole.0), "there is one way to write a message");
    } else {
        sides(rest);
    }
});
