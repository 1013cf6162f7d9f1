//! What stands in the way of a close or of a build, and what comes of the items then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use larder::oplog::{Batch, Positions, ReplicationLog};
use larder::{Cache, Error, ErrorKind, ManualClock, Start};

use super::{Folder, builder, is_warm};

#[test]
fn a_build_that_fails_leaves_the_items() {
    let (folder, clock) = (Folder::new(), ManualClock::new(1));
    let cache = builder(&folder, &clock).build().unwrap();
    cache.set(b"k", b"v").unwrap();
    cache.close().unwrap();
    assert_eq!(builder(&folder, &clock).page_size(3).build().unwrap_err().kind(), ErrorKind::InvalidConfig);
    let behind = Arc::new(At(7));
    let cache = builder(&folder, &clock).replication_log(Arc::new(At(3))).replication_log(behind).build();
    assert_eq!(cache.unwrap_err().kind(), ErrorKind::InvalidConfig);
    let cache = builder(&folder, &clock).build().unwrap();
    assert!(is_warm(&cache) && cache.contains(b"k"), "{:?}", cache.start());
}

/// A log that is at a number.
#[derive(Debug)]
struct At(u64);

impl ReplicationLog for At {
    fn append(&self, _batch: &Batch<'_>) -> Result<(), Error> {
        Ok(())
    }

    fn read(&self, from: u64, _into: &mut Vec<u8>, _most: usize) -> Result<u64, Error> {
        Ok(from)
    }

    fn trim(&self, _before: u64) -> Result<(), Error> {
        Ok(())
    }

    fn positions(&self) -> Positions {
        Positions::new(self.0, self.0)
    }
}

/// A log that takes nothing while it is told not to.
#[derive(Debug, Default)]
struct Full(AtomicBool);

impl ReplicationLog for Full {
    fn append(&self, _batch: &Batch<'_>) -> Result<(), Error> {
        if self.0.load(SeqCst) { Err(Cache::new(0).unwrap_err()) } else { Ok(()) }
    }

    fn read(&self, from: u64, _into: &mut Vec<u8>, _most: usize) -> Result<u64, Error> {
        Ok(from)
    }

    fn trim(&self, _before: u64) -> Result<(), Error> {
        Ok(())
    }

    fn positions(&self) -> Positions {
        Positions::default()
    }
}

#[test]
fn a_log_in_trouble_is_told_of_and_the_items_are_kept() {
    let (folder, clock) = (Folder::new(), ManualClock::new(1));
    let log = Arc::new(Full::default());
    let cache = builder(&folder, &clock).replication_log(log.clone()).build().unwrap();
    cache.set(b"k", b"v").unwrap();
    cache.namespace(1).set(b"cleared", b"v").unwrap();
    cache.namespace(1).clear();
    log.0.store(true, SeqCst);
    assert!(cache.set(b"l", b"v").is_err());
    assert!(cache.close().is_err(), "the log has not everything");
    let cache = builder(&folder, &clock).build().unwrap();
    assert!(is_warm(&cache) && cache.contains(b"k"), "{:?}", cache.start());
    assert!(!cache.namespace(1).contains(b"cleared"));
    cache.check_invariants();
}

#[test]
fn what_leaked_guards_hold_is_not_kept_and_no_harm() {
    let (folder, clock) = (Folder::new(), ManualClock::new(1));
    let cache = builder(&folder, &clock).build().unwrap();
    for (key, len) in [(b"small", 10), (b"large", 200_000)] {
        cache.set(key, &vec![1; len]).unwrap();
        std::mem::forget(cache.get(key).unwrap());
        cache.set(key, &vec![2; len]).unwrap();
    }
    cache.close().unwrap();
    let cache = builder(&folder, &clock).build().unwrap();
    assert!(matches!(cache.start(), Some(Start::Warm(warm)) if warm.items == 2), "{:?}", cache.start());
    cache.check_invariants();
    assert_eq!(cache.get(b"large").unwrap().as_deref(), Some(&[2; 200_000][..]));
    assert!(cache.memory().slab < 300_000, "{:?}", cache.memory());
    for i in 0..2000u32 {
        cache.set(&i.to_le_bytes(), &[3; 400]).unwrap();
    }
    cache.check_invariants();
}

#[test]
fn files_of_others_are_not_touched() {
    let (folder, clock) = (Folder::new(), ManualClock::new(1));
    let cache = builder(&folder, &clock).build().unwrap();
    cache.set(b"k", b"v").unwrap();
    cache.close().unwrap();
    let (items, aside) = (folder.0.join("items"), folder.0.join("aside"));
    std::fs::rename(&items, &aside).unwrap();
    std::os::unix::fs::symlink(&aside, &items).unwrap();
    assert_eq!(builder(&folder, &clock).build().unwrap_err().kind(), ErrorKind::Storage);
    std::fs::rename(&aside, &items).unwrap();
    // Only root can give a file away.
    let own = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&items).unwrap());
    if std::os::unix::fs::chown(&items, Some(own + 1), None).is_ok() {
        assert_eq!(builder(&folder, &clock).build().unwrap_err().kind(), ErrorKind::NotAllowed);
        std::os::unix::fs::chown(&items, Some(own), None).unwrap();
    }
    let cache = builder(&folder, &clock).build().unwrap();
    assert!(is_warm(&cache) && cache.contains(b"k"), "{:?}", cache.start());
}

#[test]
fn memory_that_is_locked_is_locked_again() {
    let (folder, clock) = (Folder::new(), ManualClock::new(1));
    let build = || builder(&folder, &clock).lock_memory(true).build().unwrap();
    let cache = build();
    // Where little may be locked, nothing can be stored, and that is what is said.
    match cache.set(b"k", b"v") {
        Ok(_) => {}
        Err(e) if e.kind() == ErrorKind::Os => return,
        Err(e) => panic!("{e}"),
    }
    cache.close().unwrap();
    let cache = build();
    assert!(is_warm(&cache) && cache.contains(b"k"), "{:?}", cache.start());
    #[cfg(target_os = "linux")]
    {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:")).expect("it says");
        assert_ne!(locked.trim(), "0 kB");
    }
}

#[cfg(feature = "snapshot")]
#[test]
fn a_last_snapshot_and_what_is_kept_are_of_the_same_items() {
    use larder::snapshot::{Catalog, CatalogOptions, RestoreOptions};
    let (folder, clock) = (Folder::new(), ManualClock::new(86_400_000));
    let storage = Arc::new(larder::storage::Memory::new());
    let catalog = Arc::new(Catalog::open(storage, CatalogOptions::new().final_snapshot(true)).unwrap());
    let build = || {
        let builder = builder(&folder, &clock).name("a").maintenance(larder::Maintenance::Thread);
        builder.snapshots(Arc::clone(&catalog)).build().unwrap()
    };
    let cache = build();
    cache.set(b"k", b"v").unwrap();
    cache.close().unwrap();
    let cache = build();
    assert!(is_warm(&cache) && cache.contains(b"k"), "{:?}", cache.start());
    let name = "final.a-1970-01-02-00-00";
    let restored = catalog.restore_new(name, &RestoreOptions::new(), |builder| builder).unwrap();
    assert!(restored.contains(b"k") && restored.len() == 1);
}
