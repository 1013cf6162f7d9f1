//! What the front-end knows of items beside their values outlasts the process: that they are stale, that somebody was
//! told to bring a new value, that their keys came in base64.

use std::path::Path;
use std::sync::Arc;

use larder::oplog::{AppendOptions, Fsync};
use larder::protocol::memcached::Server;
use larder::storage::{Memory, Storage};
use larder::{Cache, CacheBuilder};

use crate::client::{Client, Cut, cache};

/// Files that the first version wrote.
const FORMATS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/formats");

fn ask(cache: &Cache, request: &str) -> String {
    let server = Server::builder(cache.clone()).build();
    String::from_utf8(Client::new(&server).send(request.as_bytes(), Cut::WHOLE)).unwrap()
}

/// Items with each mark.
fn fill(cache: &Cache) {
    assert_eq!(ask(cache, "ms stale 3 T600\r\nold\r\nmd stale I T300\r\n"), "HD\r\nHD\r\n");
    assert_eq!(ask(cache, "ms won 3 T600\r\nold\r\nmd won I T300\r\nmg won\r\n"), "HD\r\nHD\r\nHD X W\r\n");
    assert_eq!(ask(cache, "mg made N60 v\r\n"), "VA 0 W\r\n\r\n");
    assert_eq!(ask(cache, "ms YmluYXJ5 3 b\r\nbin\r\n"), "HD\r\n");
}

/// Each mark is seen; this takes none away but that the stale item is won.
fn check(cache: &Cache) {
    assert_eq!(ask(cache, "mg made\r\n"), "HD Z\r\n", "somebody was told already");
    assert_eq!(ask(cache, "mg won v\r\n"), "VA 3 Z X\r\nold\r\n");
    assert_eq!(ask(cache, "mg binary k v\r\n"), "VA 3 kYmluYXJ5 b\r\nbin\r\n");
    assert_eq!(ask(cache, "mg stale v\r\nmg stale v\r\n"), "VA 3 X W\r\nold\r\nVA 3 Z X\r\nold\r\n");
}

fn with_log(storage: &Arc<dyn Storage>) -> CacheBuilder {
    let options = AppendOptions::shared(Arc::clone(storage)).fsync(Fsync::Always).rewrite(0, 0).seed(3);
    cache().0.append_only(options)
}

/// The files of a storage, put into a folder if they are to be written anew, or else read from it.
fn kept(folder: &Path, now: &Memory) -> Memory {
    if std::env::var_os("LARDER_WRITE_FORMATS").is_some() {
        std::fs::create_dir_all(folder).unwrap();
        for name in now.list().unwrap().iter().filter(|name| *name != "larder.lock") {
            std::fs::write(folder.join(name), now.read(name).unwrap()).unwrap();
        }
    }
    let storage = Memory::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let bytes = std::fs::read(entry.path()).unwrap();
        storage.create(entry.file_name().to_str().unwrap()).unwrap().write_all_at(&bytes, 0).unwrap();
    }
    storage
}

#[test]
fn marks_come_back_with_the_log() {
    let memory = Memory::new();
    let storage: Arc<dyn Storage> = Arc::new(memory.clone());
    let first = with_log(&storage).build().unwrap();
    fill(&first);
    drop(first);
    let old: Arc<dyn Storage> = Arc::new(kept(&Path::new(FORMATS).join("log-1-marks"), &memory));
    let second = with_log(&storage).build().unwrap();
    second.rewrite_log().unwrap();
    drop(second);
    for storage in [old, storage] {
        check(&with_log(&storage).build().unwrap());
    }
}

#[cfg(feature = "snapshot")]
#[test]
fn marks_come_back_with_a_snapshot() {
    use larder::snapshot::{RestoreOptions, SnapshotOptions};
    let before = cache().0.build().unwrap();
    fill(&before);
    let storage = Memory::new();
    before.snapshot_to(&storage, "marks.snapshot", &SnapshotOptions::new()).unwrap();
    for storage in [kept(&Path::new(FORMATS).join("snapshot-1-marks"), &storage), storage] {
        let after = cache().0.build().unwrap();
        after.restore_from(&storage, "marks.snapshot", &RestoreOptions::new().threads(1)).unwrap();
        check(&after);
    }
}
