//! Records of the effect log: no bytes make the decoder panic or take memory without end, pieces of any size come to
//! the same, and whatever is read is written back as it was. And the files of a log: whatever bytes they have, opening
//! them ends with the records that were written or with an error.
//!
//! The first byte chooses: a stream of records, a record made from the bytes, or a file with bytes changed.
#![no_main]

use larder::oplog::{AppendFile, AppendOptions, Batch, Decoder, Effect, Item, ReplicationLog, Several, Tags, encode};
use larder::storage::{Memory, Storage};
use larder::{ErrorKind, RemovalCause};
use libfuzzer_sys::fuzz_target;

/// Reads a stream in pieces; what was read, written again, and where it ended.
fn read(bytes: &[u8], first: u64, piece: usize) -> (Vec<u8>, bool) {
    let (mut decoder, mut again) = (Decoder::new(first), Vec::new());
    for piece in bytes.chunks(piece.max(1)) {
        decoder.push(piece);
        loop {
            match decoder.next() {
                Ok(Some(record)) => encode(record.sequence, &record.effect, &mut again),
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

fn streams(bytes: &[u8]) {
    let Some((&piece, bytes)) = bytes.split_first() else { return };
    let whole = read(bytes, 1, usize::MAX);
    assert_eq!(read(bytes, 1, usize::from(piece)), whole);
    assert!(bytes.starts_with(&whole.0), "there is one way to write a record");
}

fn effects(bytes: &[u8]) {
    let [choice, namespace, rest @ ..] = bytes else { return };
    let (namespace, half) = (*namespace, rest.len() / 2);
    let (key, value) = rest.split_at(half);
    let number = rest.iter().take(8).fold(0u64, |sum, &b| sum << 8 | u64::from(b));
    let mut item = Item::new(namespace, key, value);
    item.flags = number as u32;
    item.deadline_ms = (choice & 8 != 0).then_some(number >> 1);
    item.marks = choice & 15;
    item.token = (choice & 16 != 0).then_some(number);
    item.tags = Tags::new(&value[..value.len().min(64) / 8 * 8]).unwrap_or_default();
    let effect = match choice % 8 {
        0 | 1 => Effect::Set(item),
        2 => Effect::Delete { namespace, key, cause: RemovalCause::Evicted },
        3 => Effect::Deadline { namespace, key, deadline_ms: item.deadline_ms },
        4 => Effect::Clear { namespace, due_ms: item.deadline_ms },
        5 => Effect::ClearAt { namespace, at_ms: number },
        6 => Effect::InvalidateTag { tag: number },
        _ => Effect::Tokens { floor: number },
    };
    let mut inner = Vec::new();
    Several::add(&mut inner, &effect);
    Several::add(&mut inner, &effect);
    let mut stream = Vec::new();
    encode(1, &effect, &mut stream);
    if let Some(several) = Several::new(&inner) {
        encode(2, &Effect::Several(several), &mut stream);
    }
    assert_eq!(read(&stream, 1, 7), (stream.clone(), false));
}

fn files(bytes: &[u8]) {
    let [which, at, with @ ..] = bytes else { return };
    let storage = Memory::new();
    let mut written = Vec::new();
    {
        let options = AppendOptions::new(storage.clone()).seed(1);
        let Ok((log, _)) = AppendFile::open(options, |_| Ok(())) else { panic!("an empty storage") };
        for number in 1..=6u64 {
            let mut record = Vec::new();
            encode(number, &Effect::Set(Item::new(0, &number.to_le_bytes(), with)), &mut record);
            log.append(&Batch::new(number, number, &record, 0)).expect("memory");
            written.push(record);
            if number == 3 {
                let mut base = log.begin_base(4).expect("memory");
                let mut records = Vec::new();
                encode(1, &Effect::Set(Item::new(0, b"base", b"")), &mut records);
                base.write(&records).expect("memory");
                base.finish().expect("memory");
            }
        }
    }
    let names = storage.list().expect("memory");
    let file = storage.open(&names[usize::from(*which) % names.len()]).expect("a file");
    let len = file.len().expect("memory");
    file.write_all_at(with, u64::from(*at) * len / 256).expect("memory");
    drop(file);
    let mut seen = Vec::new();
    let options = AppendOptions::new(storage).seed(1);
    let opened = AppendFile::open(options, |record| {
        let mut again = Vec::new();
        encode(record.sequence, &record.effect, &mut again);
        seen.push(again);
        Ok(())
    });
    if let Err(error) = opened {
        assert!(matches!(error.kind(), ErrorKind::Damaged | ErrorKind::Storage), "{error}");
    }
    let since = seen.get(1..).unwrap_or_default();
    // (What is written over a file may be the records of another one of these, or a whole record of its own with the
    // right checksum, and those are no lies.)
    let is_given = |record: &Vec<u8>| with.windows(record.len()).any(|part| part == record);
    assert!(since.iter().all(|record| written.contains(record) || is_given(record)), "{since:x?}");
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&choice, rest)) = bytes.split_first() else { return };
    match choice % 3 {
        0 => streams(rest),
        1 => effects(rest),
        _ => files(rest),
    }
});
