//! Snapshot files of arbitrary bytes: read as a stream and restored from, they are refused, or they are snapshots.
//!
//! ```text
//!  bytes ─► checksums put right, by the first byte ─► SnapshotReader ─┐
//!                                                  └─► restore_from ─┴─► same verdict?
//! ```
//! A fuzzer finds no checksum by chance, so half of the inputs are given the right ones for their blocks: then what lies
//! behind the checksums is reached too.
#![no_main]

use larder::snapshot::{RestoreOptions, SnapshotReader};
use larder::storage::{Memory, Storage};
use larder::{Cache, ErrorKind, Maintenance, ManualClock};
use libfuzzer_sys::fuzz_target;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

const HEADER: usize = 64;
const HEAD: usize = 24;
const FOOTER: usize = 64;

fn number(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize
}

fn sum(offset: usize, parts: [&[u8]; 2]) -> [u8; 8] {
    let mut sum = Xxh3::with_seed(offset as u64);
    parts.iter().for_each(|part| sum.update(part));
    sum.digest().to_le_bytes()
}

/// Gives header, blocks and footer the checksums that they should have.
fn put_right(bytes: &mut [u8]) {
    if bytes.len() < HEADER + FOOTER {
        return;
    }
    let header = xxh3_64(&bytes[..HEADER - 8]).to_le_bytes();
    bytes[HEADER - 8..HEADER].copy_from_slice(&header);
    let end = bytes.len() - FOOTER;
    let mut at = HEADER;
    while at + HEAD <= end {
        let stored = number(bytes, at + 8).min(end - at - HEAD);
        let right = sum(at, [&bytes[at..at + 16], &bytes[at + HEAD..at + HEAD + stored]]);
        bytes[at + 16..at + HEAD].copy_from_slice(&right);
        at += HEAD + stored;
    }
    let right = sum(end, [&bytes[end..end + FOOTER - 8], &[]]);
    bytes[end + FOOTER - 8..].copy_from_slice(&right);
}

fn stream(bytes: &[u8]) -> Result<usize, larder::Error> {
    let (mut reader, mut items) = (SnapshotReader::new(), 0);
    for piece in bytes.chunks(100) {
        reader.push(piece)?;
        while reader.next_item().is_some() {
            items += 1;
        }
    }
    reader.finish()?;
    Ok(items)
}

fuzz_target!(|input: &[u8]| {
    let Some((&how, rest)) = input.split_first() else { return };
    let mut bytes = rest.to_vec();
    if how % 2 == 0 {
        put_right(&mut bytes);
    }
    let storage = Memory::new();
    storage.create("s").and_then(|file| file.write_all_at(&bytes, 0)).expect("memory");
    let builder = Cache::builder().max_memory(1 << 20).seed(1).clock(ManualClock::new(1));
    let cache = builder.maintenance(Maintenance::Manual).build().expect("a cache");
    cache.set(b"mark", b"v").expect("room");
    let restored = cache.restore_from(&storage, "s", &RestoreOptions::new().threads(1).evict(true));
    match (stream(&bytes), restored) {
        (Ok(items), Ok(restored)) => {
            let all = restored.stored + restored.expired + restored.overtaken + restored.left_out;
            assert_eq!(all, items as u64);
        }
        (Err(error), Err(refused)) => {
            assert_eq!((error.kind(), refused.kind()), (ErrorKind::Damaged, ErrorKind::Damaged));
            assert!(cache.contains(b"mark"), "refused before anything was changed");
        }
        (Err(error), Ok(_)) => panic!("restored what a reader refuses: {error}"),
        (Ok(_), Err(error)) => panic!("refused what a reader takes: {error}"),
    }
    cache.check_invariants();
});
