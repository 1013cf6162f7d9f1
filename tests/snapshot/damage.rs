//! A file with any byte changed, or cut at any length, is refused with the offset, before anything is changed. The
//! format is kept: `tests/formats/snapshot-1.bin` was written by the first version, and is read for ever.

use super::{manual, one_thread, small_snapshot, state_of};
use larder::snapshot::{Compression, SnapshotOptions, SnapshotReader};
use larder::storage::{Memory, Storage};
use larder::{Cache, ErrorKind, Kind, ManualClock, SetOptions};
use std::time::Duration;

/// Reads a file as a stream: how many items it has.
fn read(bytes: &[u8]) -> larder::Result<usize> {
    let mut reader = SnapshotReader::new();
    reader.push(bytes)?;
    reader.finish()?;
    Ok(std::iter::from_fn(|| reader.next_item()).count())
}

/// Both ways of reading refuse it, and the cache stays as it is.
fn is_refused(cache: &Cache, bytes: &[u8], what: &str) {
    let storage = Memory::new();
    storage.create("s").unwrap().write_all_at(bytes, 0).unwrap();
    for error in [read(bytes).unwrap_err(), cache.restore_from(&storage, "s", &one_thread()).unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Damaged, "{what}: {error}");
        let text = error.to_string();
        let offset: usize = text.split("at byte ").nth(1).unwrap().split(':').next().unwrap().parse().unwrap();
        assert!(offset <= bytes.len(), "{what}: {text}");
    }
    assert!(cache.contains(b"mark") && cache.len() == 1, "{what}");
}

fn marked() -> Cache {
    let cache = Cache::new(1 << 20).unwrap();
    cache.set(b"mark", b"v").unwrap();
    cache
}

#[test]
fn every_changed_byte_and_every_cut_is_refused() {
    let cache = marked();
    let whole = small_snapshot().1.read("s").unwrap();
    assert_eq!(read(&whole).unwrap(), 20);
    for at in 0..whole.len() {
        for change in [1 << (at % 8), 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= change;
            is_refused(&cache, &bytes, &format!("byte {at} ^ {change:#x}"));
        }
        is_refused(&cache, &whole[..at], &format!("cut at {at}"));
    }
    let longer = [&whole[..], &[0]].concat();
    is_refused(&cache, &longer, "longer");
}

#[test]
fn blocks_cannot_change_places() {
    // Two blocks of the same length, each right by itself.
    let cache = manual(1 << 20, &ManualClock::new(1)).max_item_size(1 << 20).build().unwrap();
    cache.set(b"a", &[1; 600_000]).unwrap();
    let storage = Memory::new();
    cache.snapshot_to(&storage, "s", &SnapshotOptions::new()).unwrap();
    let whole = storage.read("s").unwrap();
    let block = (256 << 10) + 24;
    let first = whole.windows(24).position(|head| head[0] == 4 && head[4..8] == (256_u32 << 10).to_le_bytes()).unwrap();
    let mut bytes = whole.clone();
    bytes[first..first + block].copy_from_slice(&whole[first + block..first + 2 * block]);
    is_refused(&marked(), &bytes, "a block twice");
}

#[test]
fn a_newer_version_is_refused_by_its_number() {
    let mut bytes = small_snapshot().1.read("s").unwrap();
    bytes[8] = 9;
    let sum = xxhash_rust::xxh3::xxh3_64(&bytes[..56]);
    bytes[56..64].copy_from_slice(&sum.to_le_bytes());
    let error = read(&bytes).unwrap_err();
    assert!(error.to_string().contains("version 9"), "{error}");
}

#[test]
fn compressed_files_are_smaller_and_hold_the_same() {
    for compression in [Compression::Lz4, Compression::Zstd] {
        let (cache, plain) = small_snapshot();
        let compressed = SnapshotOptions::new().compression(compression);
        if !compression.is_supported() {
            assert_eq!(cache.begin_snapshot(&compressed).unwrap_err().kind(), ErrorKind::NotAllowed);
            continue;
        }
        let storage = Memory::new();
        let info = cache.snapshot_to(&storage, "s", &compressed).unwrap();
        assert_eq!((info.compression, info.items), (compression, 20));
        let (small, whole) = (storage.read("s").unwrap(), plain.read("s").unwrap());
        assert!(small.len() < whole.len());
        let restored = Cache::new(1 << 20).unwrap();
        restored.restore_from(&storage, "s", &one_thread()).unwrap();
        assert_eq!(state_of(&restored, 1), state_of(&cache, 1));
        for at in 0..small.len() {
            let mut bytes = small.clone();
            bytes[at] ^= 1 << (at % 8);
            assert_eq!(read(&bytes).unwrap_err().kind(), ErrorKind::Damaged);
        }
    }
}

/// What the kept file has.
fn filled() -> Cache {
    let cache = manual(1 << 20, &ManualClock::new(1_700_000_000_000)).name("fixture").build().unwrap();
    cache.set(b"plain", b"value").unwrap();
    let ttl = SetOptions::new().ttl(Duration::from_secs(3600)).flags(7).kind(Kind::Hash);
    cache.set_with(b"hash", b"fields", &ttl).unwrap();
    let idle = SetOptions::new().time_to_idle(Duration::from_secs(60)).tags([b"a", b"b"]).want_token();
    cache.namespace(5).set_with(b"idle", &[9; 300], &idle).unwrap();
    cache.set(b"", b"").unwrap();
    cache.set(&[0xff; 5_000], &[3; 20_000]).unwrap();
    cache
}

#[test]
fn the_kept_file_is_read() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/formats/snapshot-1.bin");
    if std::env::var_os("LARDER_WRITE_FORMATS").is_some() {
        let storage = Memory::new();
        filled().snapshot_to(&storage, "s", &SnapshotOptions::new().label("kept", "yes")).unwrap();
        std::fs::write(path, storage.read("s").unwrap()).unwrap();
    }
    let bytes = std::fs::read(path).unwrap();
    let storage = Memory::new();
    storage.create("s").unwrap().write_all_at(&bytes, 0).unwrap();
    let info = Cache::describe_snapshot(&storage, "s").unwrap();
    assert_eq!((info.items, info.description.source(), info.description.label("kept")), (5, "fixture", Some("yes")));
    assert_eq!(info.description.cache_config().unwrap().max_memory, Some(1 << 20));
    let restored = manual(1 << 20, &ManualClock::new(1_700_000_000_000)).build().unwrap();
    restored.restore_from(&storage, "s", &one_thread()).unwrap();
    assert_eq!(state_of(&restored, 6), state_of(&filled(), 6));
    assert_eq!(read(&bytes).unwrap(), 5);
}
