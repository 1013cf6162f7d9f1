//! Files that were changed: what was synced is refused if it is damaged, what was not is cut off, and nothing is ever
//! read that was not written.

use std::sync::Arc;

use larder::oplog::{AppendFile, AppendOptions, Effect, Fsync};
use larder::storage::{Memory, Storage};
use larder::{Cache, ErrorKind, ManualClock, SetOptions};

use super::support::{Contents, builder, contents, copy_of, options};

/// A small log with a base, closed; and what the cache was after each operation since the base.
fn small_log() -> (Memory, Vec<Contents>) {
    let storage = Memory::new();
    let shared: Arc<dyn Storage> = Arc::new(storage.clone());
    let clock = ManualClock::new(1_700_000_000_000);
    let cache = builder(&clock).append_only(options(&shared, Fsync::Always)).build().unwrap();
    cache.set(b"old", b"1").unwrap();
    cache.set_with(b"tagged", b"2", &SetOptions::new().tag("t").flags(5)).unwrap();
    cache.rewrite_log().unwrap();
    let mut moments = vec![contents(&cache)];
    let steps: [fn(&Cache); 4] = [
        |cache| cache.set(b"new", b"some value").unwrap(),
        |cache| cache.update(&[b"a", b"b"], |update| (0..2).for_each(|i| update.set(i, b"both"))).unwrap(),
        |cache| assert!(cache.remove(b"old")),
        |cache| cache.set(b"last", b"one").unwrap(),
    ];
    for step in steps {
        step(&cache);
        moments.push(contents(&cache));
    }
    drop(cache);
    (copy_of(&storage), moments)
}

fn open(storage: &Memory) -> larder::Result<Cache> {
    let storage: Arc<dyn Storage> = Arc::new(storage.clone());
    builder(&ManualClock::new(1_700_000_000_000)).append_only(options(&storage, Fsync::No)).build()
}

fn file_ending(storage: &Memory, ending: &str) -> String {
    storage.list().unwrap().into_iter().find(|name| name.ends_with(ending)).unwrap()
}

#[test]
fn every_flipped_bit_is_refused_or_cut_off() {
    let (storage, moments) = small_log();
    assert_eq!(&contents(&open(&copy_of(&storage)).unwrap()), moments.last().unwrap());
    for name in ["larder.manifest".to_owned(), file_ending(&storage, ".base"), file_ending(&storage, ".log")] {
        let bytes = storage.read(&name).unwrap();
        for at in 0..bytes.len() {
            for bit in [0, 3, 7] {
                let copy = copy_of(&storage);
                copy.create(&name).unwrap().write_all_at(&bytes, 0).unwrap();
                copy.open(&name).unwrap().write_all_at(&[bytes[at] ^ 1 << bit], at as u64).unwrap();
                match open(&copy) {
                    Err(e) => {
                        assert_eq!(e.kind(), ErrorKind::Damaged, "{name}, byte {at}: {e}");
                        assert!(e.to_string().contains(&name), "{e}");
                    }
                    Ok(cache) => {
                        let cut = cache.recovery().unwrap().cut.unwrap_or_else(|| panic!("{name}, byte {at}: read"));
                        // The end mark itself: nothing behind it says that it was ever whole.
                        assert!(cut.file == name && cut.bytes <= 17 && at as u64 >= cut.offset, "{cut:?}");
                        assert_eq!(&contents(&cache), moments.last().unwrap());
                    }
                }
            }
        }
    }
}

#[test]
fn every_truncation_is_refused_or_cut_off() {
    let (storage, moments) = small_log();
    for ending in [".manifest", ".base", ".log"] {
        let name = file_ending(&storage, ending);
        let bytes = storage.read(&name).unwrap();
        for len in 0..bytes.len() {
            let copy = copy_of(&storage);
            copy.open(&name).unwrap().truncate(len as u64).unwrap();
            match open(&copy) {
                Err(e) => assert_eq!(e.kind(), ErrorKind::Damaged, "{name} cut to {len}: {e}"),
                Ok(cache) => {
                    assert!(ending == ".log" && len >= 32, "{name} cut to {len}");
                    let now = contents(&cache);
                    assert!(moments.contains(&now), "{name} cut to {len}");
                    let kept = cache.append_file().unwrap().bytes();
                    drop(cache);
                    // What was cut off stays off, and writing goes on.
                    let cache = open(&copy).unwrap();
                    assert_eq!((cache.recovery().unwrap().cut, contents(&cache)), (None, now));
                    assert!(cache.append_file().unwrap().bytes() >= kept);
                    cache.set(b"after", b"that").unwrap();
                    let now = contents(&cache);
                    drop(cache);
                    assert_eq!(contents(&open(&copy).unwrap()), now);
                }
            }
        }
    }
}

#[test]
fn a_torn_end_is_reported_with_its_place() {
    let (storage, _) = small_log();
    let name = file_ending(&storage, ".log");
    let len = storage.read(&name).unwrap().len() as u64;
    storage.open(&name).unwrap().write_all_at(&[9; 100], len).unwrap();
    let cache = open(&storage).unwrap();
    let cut = cache.recovery().unwrap().cut.unwrap();
    assert_eq!((cut.file, cut.offset, cut.bytes), (name, len, 100));
}

#[test]
fn files_that_are_missing_are_named() {
    let (storage, _) = small_log();
    for ending in [".base", ".log", ".manifest"] {
        let copy = copy_of(&storage);
        copy.remove(&file_ending(&storage, ending)).unwrap();
        let error = open(&copy).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged);
        assert!(error.to_string().contains(&file_ending(&storage, ending)), "{error}");
    }
}

#[test]
fn a_log_is_one_cache_s() {
    let (storage, _) = small_log();
    let first = open(&storage).unwrap();
    assert_eq!(open(&storage).unwrap_err().kind(), ErrorKind::AlreadyExists);
    drop(first);
    open(&storage).unwrap();
}

/// The files in `tests/formats/log-1` were written by the first version of this format, and are read by all.
#[test]
fn the_first_version_s_files_are_read() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats/log-1");
    if std::env::var_os("LARDER_WRITE_FIXTURES").is_some() {
        let (storage, _) = small_log();
        std::fs::create_dir_all(&folder).unwrap();
        for name in storage.list().unwrap().iter().filter(|name| *name != "larder.lock") {
            std::fs::write(folder.join(name), storage.read(name).unwrap()).unwrap();
        }
    }
    let storage = Memory::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let entry = entry.unwrap();
        let bytes = std::fs::read(entry.path()).unwrap();
        storage.create(entry.file_name().to_str().unwrap()).unwrap().write_all_at(&bytes, 0).unwrap();
    }
    let mut seen = Vec::new();
    let each = |record: larder::oplog::Record<'_>| {
        let what = match record.effect {
            Effect::Set(item) => format!("set {}", String::from_utf8_lossy(item.key)),
            Effect::Delete { key, .. } => format!("delete {}", String::from_utf8_lossy(key)),
            Effect::Several(several) => format!("several {}", several.iter().count()),
            Effect::Tokens { .. } => "tokens".to_owned(),
            other => format!("{other:?}"),
        };
        seen.push(format!("{} {what}", record.sequence));
        Ok(())
    };
    let (log, recovery) = AppendFile::open(AppendOptions::new(storage.clone()), each).unwrap();
    drop(log);
    assert_eq!((recovery.base_records, recovery.records, recovery.cut), (3, 4, None));
    seen[1..3].sort_unstable_by_key(|line| line[2..].to_owned());
    assert_eq!(seen[0], "1 tokens");
    assert_eq!((&seen[1][2..], &seen[2][2..]), ("set old", "set tagged"));
    assert_eq!(seen[3..], ["3 set new", "4 several 2", "5 delete old", "6 set last"]);
    let cache = open(&storage).unwrap();
    assert_eq!(cache.get(b"new").unwrap().as_deref(), Some(&b"some value"[..]));
    assert_eq!(cache.metadata(b"tagged").map(|m| (m.flags, m.tags)), Some((5, 1)));
    cache.invalidate_tag("t");
    assert!(!cache.contains(b"tagged"), "tags keep their hashes");
}
