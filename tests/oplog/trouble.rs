//! Disks that are full or fail, logs that refuse, followers: writes are refused with a clear error, reads go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use larder::oplog::{Batch, Decoder, Fsync, Positions, ReplicationLog};
use larder::storage::{Fault, SimulatedDisk, Storage};
use larder::{Cache, EngineEventKind, Error, ErrorKind, EventFilter, ManualClock, SetOptions};

use super::support::{builder, contents, options};

fn kinds(cache: &Cache) -> Vec<EngineEventKind> {
    cache.event_log().query(&EventFilter::new()).into_iter().map(|event| event.kind).skip(1).collect()
}

#[test]
fn a_full_disk_is_an_error_and_an_event_and_passes() {
    let disk = SimulatedDisk::new(1);
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let clock = ManualClock::new(1_700_000_000_000);
    let cache = builder(&clock).append_only(options(&storage, Fsync::Always)).build().unwrap();
    cache.set_with(b"k", b"1", &SetOptions::new().ttl(Duration::from_secs(1))).unwrap();
    cache.set(b"l", b"1").unwrap();
    disk.set_full(true);
    let error = cache.set(b"k", b"2").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage);
    assert!(error.to_string().contains("the disk is full"), "{error}");
    assert!(std::error::Error::source(&error).is_some());
    let before = cache.log_status().last;
    for i in 0..100u8 {
        assert!(cache.set(&[i], b"2").is_err() && !cache.contains(&[i]), "refused before it is done");
    }
    assert!(!cache.persist(b"l") && !cache.remove(b"l"), "not acknowledged");
    clock.advance(Duration::from_secs(2));
    cache.run_maintenance(Duration::from_millis(5));
    assert!(cache.log_status().last <= before + 1, "what waits stays small");
    assert_eq!(cache.log_status().trouble.as_deref().map(|t| t.contains("full")), Some(true));
    assert_eq!(cache.get(b"k").unwrap().as_deref(), Some(&b"2"[..]), "reads go on");
    disk.set_full(false);
    cache.set(b"k", b"3").unwrap();
    assert_eq!(cache.log_status().trouble, None);
    assert_eq!(kinds(&cache), [EngineEventKind::LogStalled, EngineEventKind::LogResumed]);
    let expected = contents(&cache);
    disk.crash();
    drop(cache);
    let cache = builder(&clock).append_only(options(&storage, Fsync::Always)).build().unwrap();
    assert_eq!(contents(&cache), expected);
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged() {
    let disk = SimulatedDisk::new(1);
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let clock = ManualClock::new(1_700_000_000_000);
    let cache = builder(&clock).append_only(options(&storage, Fsync::Always)).build().unwrap();
    cache.set(b"k", b"1").unwrap();
    // A write of the mark, a write of the record, a sync.
    disk.fail_at(disk.calls() + 2, Fault::Io, false);
    let error = cache.set(b"k", b"2").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LogFailed);
    for _ in 0..3 {
        let error = cache.set(b"k", b"3").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LogFailed);
        assert!(error.to_string().contains("writes are refused"), "{error}");
    }
    assert!(cache.get(b"k").unwrap().is_some() && cache.log_status().has_failed);
    assert_eq!(cache.sync_log().unwrap_err().kind(), ErrorKind::LogFailed);
    assert_eq!(cache.update(&[b"k"], |update| update.set(0, b"4")).unwrap_err().kind(), ErrorKind::LogFailed);
    assert_eq!(kinds(&cache), [EngineEventKind::LogFailed]);
    disk.crash();
    drop(cache);
    let cache = builder(&clock).append_only(options(&storage, Fsync::Always)).build().unwrap();
    assert_eq!(cache.get(b"k").unwrap().as_deref(), Some(&b"1"[..]));
}

/// Takes batches while it is told to.
#[derive(Debug, Default)]
struct Moody {
    refuses: AtomicBool,
    seen: parking_lot::Mutex<Vec<(u64, u64)>>,
}

impl ReplicationLog for Moody {
    fn append(&self, batch: &Batch<'_>) -> Result<(), Error> {
        if self.refuses.load(SeqCst) {
            // Whatever error: one of another cache's, here.
            return Err(Cache::new(0).unwrap_err());
        }
        self.seen.lock().push((batch.first, batch.last));
        Ok(())
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
fn several_logs_are_told_the_same_whatever_one_of_them_refuses() {
    let (first, second) = (Arc::new(Moody::default()), Arc::new(Moody::default()));
    let builder = builder(&ManualClock::new(5));
    let cache = builder.replication_log(first.clone()).replication_log(second.clone()).build().unwrap();
    cache.set(b"a", b"1").unwrap();
    second.refuses.store(true, SeqCst);
    assert!(cache.set(b"b", b"1").is_err());
    assert!(cache.set(b"c", b"1").is_err());
    second.refuses.store(false, SeqCst);
    cache.set(b"d", b"1").unwrap();
    assert_eq!(*first.seen.lock(), [(1, 1), (2, 2), (3, 3)]);
    assert_eq!(*second.seen.lock(), [(1, 1), (2, 2), (3, 3)]);
    assert!(cache.contains(b"b") && !cache.contains(b"c"));
}

#[test]
fn a_follower_is_changed_by_its_primary_alone() {
    let clock = ManualClock::new(1_700_000_000_000);
    let cache = builder(&clock).follower(true).build().unwrap();
    assert_eq!(cache.set(b"k", b"v").unwrap_err().kind(), ErrorKind::NotAllowed);
    assert_eq!(cache.update(&[b"k"], |update| update.set(0, b"v")).unwrap_err().kind(), ErrorKind::NotAllowed);
    assert_eq!(cache.touch(b"k", Duration::from_secs(1)).unwrap_err().kind(), ErrorKind::NotAllowed);
    let mut bytes = Vec::new();
    let mut item = larder::oplog::Item::new(0, b"k", b"v");
    item.deadline_ms = Some(1_700_000_001_000);
    larder::oplog::encode(1, &larder::oplog::Effect::Set(item), &mut bytes);
    let larder::oplog::Decoded::Record(record, _) = larder::oplog::decode(&bytes) else { panic!("a record") };
    cache.apply(&record).unwrap();
    assert!(cache.contains(b"k") && !cache.remove(b"k"));
    cache.clear();
    assert!(cache.contains(b"k"));
    clock.advance(Duration::from_secs(5));
    cache.run_maintenance(Duration::from_millis(5));
    assert!(!cache.contains(b"k"), "what has ended is not shown");
    assert!(cache.get(b"k").unwrap().is_none());
    assert_eq!(cache.len(), 1, "and not removed");
    cache.set_follower(false);
    cache.run_maintenance(Duration::from_millis(5));
    assert_eq!(cache.len(), 0);
    assert_eq!(cache.apply(&record).unwrap_err().kind(), ErrorKind::NotAllowed);
}

#[test]
fn a_replay_is_told_to_the_event_log_and_to_no_listener() {
    let disk = SimulatedDisk::new(1);
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let clock = ManualClock::new(1_700_000_000_000);
    let cache = builder(&clock).append_only(options(&storage, Fsync::No)).build().unwrap();
    (0..10u8).for_each(|i| cache.set(&[i % 3], &[i]).unwrap());
    cache.remove(&[0]);
    cache.clear();
    cache.set(b"last", b"v").unwrap();
    drop(cache);
    let told = Arc::new(AtomicBool::new(false));
    let theirs = Arc::clone(&told);
    let again = builder(&clock).eviction_listener(move |_| theirs.store(true, SeqCst));
    let cache = again.append_only(options(&storage, Fsync::No)).build().unwrap();
    assert_eq!(kinds(&cache), [EngineEventKind::LogReplayed]);
    let events = cache.event_log().query(&EventFilter::new().kind(EngineEventKind::LogReplayed));
    assert!(events[0].text.contains("13 since"), "{}", events[0].text);
    cache.run_maintenance(Duration::from_millis(5));
    assert!(!told.load(SeqCst));
    cache.remove(b"last");
    assert!(told.load(SeqCst));
}

#[test]
fn what_waits_for_logs_is_on_the_ledger() {
    let log = Arc::new(Moody::default());
    let cache = builder(&ManualClock::new(5)).replication_log(log.clone()).build().unwrap();
    cache.set(b"a", b"1").unwrap();
    let before = cache.memory().used;
    log.refuses.store(true, SeqCst);
    assert!(cache.set(b"large", &[1; 40_000]).is_err());
    let waiting = cache.memory().used;
    log.refuses.store(false, SeqCst);
    cache.remove(b"large");
    cache.sync_log().unwrap();
    cache.run_maintenance(Duration::from_millis(5));
    assert!(waiting >= before + 80_000, "{before} {waiting}");
    assert!(cache.memory().used < before + 140_000, "{before} {}", cache.memory().used);
    cache.check_invariants();
}

#[test]
fn a_close_brings_the_file_to_the_disk_or_says_that_it_could_not() {
    for fsync in [Fsync::No, Fsync::EverySecond] {
        let disk = SimulatedDisk::new(1);
        let storage: Arc<dyn Storage> = Arc::new(disk.clone());
        let clock = ManualClock::new(1_700_000_000_000);
        let cache = builder(&clock).append_only(options(&storage, fsync)).build().unwrap();
        cache.set(b"k", b"1").unwrap();
        cache.close().unwrap();
        disk.crash();
        let cache = builder(&clock).append_only(options(&storage, fsync)).build().unwrap();
        assert!(cache.contains(b"k"), "{fsync:?}");
        cache.set(b"k", b"2").unwrap();
        let events = cache.event_log().clone();
        disk.fail_at(disk.calls(), Fault::Io, true);
        assert_eq!(cache.close().unwrap_err().kind(), ErrorKind::LogFailed, "{fsync:?}");
        assert!(events.query(&EventFilter::new()).iter().any(|event| event.kind == EngineEventKind::LogFailed));
    }
}

/// A log that does in another cache what was done in its own.
#[derive(Debug)]
struct Onward(Cache);

impl ReplicationLog for Onward {
    fn append(&self, batch: &Batch<'_>) -> Result<(), Error> {
        let mut records = Decoder::new(batch.first);
        records.push(batch.records);
        while let Some(record) = records.next()? {
            self.0.apply(&record)?;
        }
        Ok(())
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
fn a_log_that_writes_to_another_cache_has_it_as_safe_as_that_cache_promises() {
    let disk = SimulatedDisk::new(1);
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let clock = ManualClock::new(1_700_000_000_000);
    let theirs = builder(&clock).append_only(options(&storage, Fsync::Always)).follower(true).build().unwrap();
    let cache = builder(&clock).replication_log(Arc::new(Onward(theirs.clone()))).build().unwrap();
    cache.set(b"k", b"v").unwrap();
    let status = theirs.log_status();
    assert_eq!((status.last, status.taken, status.pending_bytes, status.unsynced_bytes), (1, 1, 0, 0));
    disk.crash();
    drop((cache, theirs));
    let theirs = builder(&clock).append_only(options(&storage, Fsync::Always)).build().unwrap();
    assert!(theirs.contains(b"k"));
}
