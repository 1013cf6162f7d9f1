//! Many threads at once: the order in the log agrees with the order of each key's writes, and with the cache.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use larder::oplog::{AppendOptions, Fsync};
use larder::storage::{CallKind, Memory, SimulatedDisk, Storage};
use larder::{Cache, ManualClock, SetOptions};

use super::support::{Chance, builder, contents, copy_of, options};

fn work(cache: &Cache, seed: u64, times: u32) {
    let mut chance = Chance(seed);
    for _ in 0..times {
        let key = [b'k', chance.below(20) as u8];
        match chance.below(12) {
            0 => drop(cache.remove(&key)),
            1 => drop(cache.update(&[[b'k', 1], [b'k', 2]], |u| {
                let value = seed.to_le_bytes();
                u.set(0, &value);
                u.set(1, &value);
            })),
            2 => drop(cache.append(&key, b"x")),
            3 if chance.one_in(20) => cache.clear(),
            4 => cache.invalidate_tag("t"),
            5 | 6 => {
                drop(cache.set_with(&key, &chance.0.to_le_bytes(), &SetOptions::new().tag("t")));
            }
            _ => drop(cache.set(&key, &chance.0.to_le_bytes())),
        }
    }
}

#[test]
fn what_threads_did_is_replayed_as_it_was() {
    for seed in 0..6 {
        let clock = ManualClock::new(1_700_000_000_000);
        let storage: Arc<dyn Storage> = Arc::new(Memory::new());
        let cache = builder(&clock).shards(4).append_only(options(&storage, Fsync::No)).build().unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let cache = cache.clone();
                scope.spawn(move || work(&cache, seed * 10 + thread, 1500));
            }
            let cache = cache.clone();
            scope.spawn(move || (0..3).for_each(|_| cache.rewrite_log().unwrap()));
        });
        cache.sync_log().unwrap();
        let expected = contents(&cache);
        let copy = AppendOptions::new(copy_of(&*storage));
        let again = builder(&clock).shards(1).append_only(copy).build().unwrap();
        assert_eq!(contents(&again), expected, "seed {seed}");
    }
}

#[test]
fn a_clear_has_its_place_among_the_writes_of_other_threads() {
    let clock = ManualClock::new(1_700_000_000_000);
    for round in 0..30 {
        let storage: Arc<dyn Storage> = Arc::new(Memory::new());
        let cache = builder(&clock).shards(4).append_only(options(&storage, Fsync::No)).build().unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (cache, stop) = (&cache, &stop);
            scope.spawn(move || {
                for i in 0..200u32 {
                    if i % 2 == 0 { cache.clear() } else { cache.invalidate_tag("t") }
                }
                stop.store(true, SeqCst);
            });
            scope.spawn(move || {
                let options = SetOptions::new().tag("t");
                let mut i = round;
                while !stop.load(SeqCst) {
                    i += 1u32;
                    cache.set_with(&[i as u8 % 64], &i.to_le_bytes(), &options).unwrap();
                }
            });
        });
        let expected = contents(&cache);
        let copy = AppendOptions::new(copy_of(&*storage));
        let again = builder(&clock).append_only(copy).build().unwrap();
        assert_eq!(contents(&again), expected, "round {round}");
    }
}

#[test]
fn writers_that_come_together_share_a_sync() {
    let disk = SimulatedDisk::new(1);
    let storage: Arc<dyn Storage> = Arc::new(SlowSync(disk.clone()));
    let clock = ManualClock::new(1_700_000_000_000);
    let cache = builder(&clock).append_only(options(&storage, Fsync::Always)).build().unwrap();
    cache.set(b"first", b"v").unwrap();
    let before = disk.trace().len();
    std::thread::scope(|scope| {
        for thread in 0..8u8 {
            let cache = cache.clone();
            scope.spawn(move || (0..20u8).for_each(|i| cache.set(&[thread, i], b"v").unwrap()));
        }
    });
    let syncs = disk.trace()[before..].iter().filter(|call| call.kind == CallKind::Sync).count();
    assert!(syncs < 120, "{syncs} syncs for 160 writes");
    let expected = contents(&cache);
    disk.crash();
    drop(cache);
    let cache = builder(&clock).append_only(options(&storage, Fsync::Always)).build().unwrap();
    assert_eq!(contents(&cache), expected);
}

/// A storage whose syncs take a while.
#[derive(Debug)]
struct SlowSync(SimulatedDisk);

#[derive(Debug)]
struct SlowFile(Box<dyn larder::storage::StoredFile>);

impl Storage for SlowSync {
    fn create(&self, name: &str) -> std::io::Result<Box<dyn larder::storage::StoredFile>> {
        Ok(Box::new(SlowFile(self.0.create(name)?)))
    }
    fn open(&self, name: &str) -> std::io::Result<Box<dyn larder::storage::StoredFile>> {
        Ok(Box::new(SlowFile(self.0.open(name)?)))
    }
    fn rename(&self, from: &str, to: &str) -> std::io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove(&self, name: &str) -> std::io::Result<()> {
        self.0.remove(name)
    }
    fn list(&self) -> std::io::Result<Vec<String>> {
        self.0.list()
    }
    fn sync_dir(&self) -> std::io::Result<()> {
        self.0.sync_dir()
    }
}

impl larder::storage::StoredFile for SlowFile {
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        self.0.read_at(buffer, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> std::io::Result<usize> {
        self.0.write_at(bytes, offset)
    }
    fn truncate(&self, len: u64) -> std::io::Result<()> {
        self.0.truncate(len)
    }
    fn sync(&self) -> std::io::Result<()> {
        std::thread::sleep(Duration::from_millis(2));
        self.0.sync()
    }
    fn try_lock(&self) -> std::io::Result<bool> {
        self.0.try_lock()
    }
}
