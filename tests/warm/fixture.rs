//! The files in `tests/formats/warm-1` were left by the first version of the format, and are taken up by all: a change
//! of the layout of items, buckets, pages or hashes is another version. Of a machine with the lowest byte first.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use larder::{Cache, Kind, Maintenance, ManualClock, SetOptions, WarmRestart};

use super::{Folder, is_warm};

const START: u64 = 1_700_000_000_000;
/// As long as `items` was; what is not in the kept file was a hole.
const ADDRESS_SPACE: usize = 2 << 20;

/// Nothing of the layout is left to defaults, which may change.
fn build(folder: &Path, clock: &ManualClock) -> Cache {
    let cache = Cache::builder().max_memory(512 << 10).shards(1).page_size(4096).address_space(ADDRESS_SPACE);
    let cache = cache.chunk_size(32).chunk_size_growth_factor(1.25).seed(7).clock(clock.clone());
    cache.maintenance(Maintenance::Manual).warm_restart(WarmRestart::new(folder).checksums(true)).build().unwrap()
}

fn fill(cache: &Cache) {
    cache.set(b"plain", b"value").unwrap();
    let ttl = SetOptions::new().ttl(Duration::from_secs(3600)).flags(7).kind(Kind::Hash);
    cache.set_with(b"hash", b"fields", &ttl).unwrap();
    let idle = SetOptions::new().time_to_idle(Duration::from_secs(60)).tags([b"a", b"b"]).want_token();
    cache.namespace(5).set_with(b"idle", &[9; 300], &idle).unwrap();
    cache.set(b"", b"").unwrap();
    cache.set(&[0xff; 500], &[3; 20_000]).unwrap();
    cache.namespace(6).set(b"cleared", b"").unwrap();
    cache.namespace(6).clear();
    cache.namespace(6).set(b"since", b"then").unwrap();
}

#[cfg(target_endian = "little")]
fn write(kept: &Path) {
    let folder = Folder::new();
    let cache = build(&folder.0, &ManualClock::new(START));
    fill(&cache);
    cache.close().unwrap();
    fs::create_dir_all(kept).unwrap();
    fs::write(kept.join("state"), fs::read(folder.0.join("state")).unwrap()).unwrap();
    let mut items = fs::read(folder.0.join("items")).unwrap();
    items.truncate(items.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1));
    fs::write(kept.join("items"), items).unwrap();
}

#[cfg(target_endian = "little")]
#[test]
fn the_first_version_s_files_are_taken_up() {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats/warm-1");
    if std::env::var_os("LARDER_WRITE_FORMATS").is_some() {
        write(&kept);
    }
    let folder = Folder::new();
    fs::create_dir_all(&folder.0).unwrap();
    fs::copy(kept.join("state"), folder.0.join("state")).unwrap();
    let items = OpenOptions::new().write(true).create_new(true).open(folder.0.join("items")).unwrap();
    items.write_all_at(&fs::read(kept.join("items")).unwrap(), 0).unwrap();
    items.set_len(ADDRESS_SPACE as u64).unwrap();
    drop(items);
    let clock = ManualClock::new(START + 50_000);
    let cache = build(&folder.0, &clock);
    assert!(is_warm(&cache), "{:?}", cache.start());
    cache.check_invariants();
    assert_eq!((cache.len(), cache.namespace(5).len(), cache.namespace(6).len()), (4, 1, 1));
    assert_eq!(cache.get(b"plain").unwrap().as_deref(), Some(&b"value"[..]));
    let hash = cache.metadata(b"hash").unwrap();
    assert_eq!((hash.flags, hash.kind, hash.ttl_left), (7, Kind::Hash, Some(Duration::from_secs(3550))));
    assert_eq!(cache.get(&[0xff; 500]).unwrap().as_deref(), Some(&[3; 20_000][..]));
    assert_eq!(cache.get(b"").unwrap().as_deref(), Some(&b""[..]));
    assert!(cache.namespace(6).contains(b"since"));
    assert_eq!(cache.namespace(5).metadata(b"idle").map(|idle| idle.tags), Some(2));
    cache.namespace(5).invalidate_tag(b"b");
    assert!(!cache.namespace(5).contains(b"idle"));
}
