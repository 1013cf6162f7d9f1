//! Catalogs: names, limits, states, daily windows, retention.

use super::{manual, one_thread};
use larder::snapshot::{Catalog, CatalogOptions, SnapshotKind, SnapshotState};
use larder::storage::{Fault, Memory, SimulatedDisk, Storage};
use larder::{Cache, EngineEventKind, ErrorKind, EventFilter, ManualClock};
use std::sync::Arc;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

fn named(name: &str, clock: &ManualClock) -> Cache {
    let cache = manual(1 << 20, clock).name(name).build().unwrap();
    cache.set(b"k", name.as_bytes()).unwrap();
    cache
}

fn names(catalog: &Catalog) -> Vec<String> {
    catalog.list(None).unwrap().into_iter().map(|snapshot| snapshot.name).collect()
}

#[test]
fn by_hand() {
    let clock = ManualClock::new(1_000_000_000_000);
    let (storage, cache) = (Memory::new(), named("a", &clock));
    let catalog = Catalog::open(Arc::new(storage.clone()), CatalogOptions::new()).unwrap();
    let one = catalog.create(&cache, "one").unwrap();
    assert_eq!((one.kind, one.state.clone()), (SnapshotKind::Manual, SnapshotState::Available));
    assert_eq!(one, catalog.describe("one").unwrap());
    assert_eq!(catalog.create(&cache, "one").unwrap_err().kind(), ErrorKind::AlreadyExists);
    for bad in ["", "automatic.x", ".x", "a/b", &"x".repeat(151)] {
        assert_eq!(catalog.create(&cache, bad).unwrap_err().kind(), ErrorKind::InvalidConfig, "{bad}");
    }
    catalog.copy("one", "two").unwrap();
    assert_eq!(catalog.copy("three", "four").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(catalog.copy("one", "two").unwrap_err().kind(), ErrorKind::AlreadyExists);
    catalog.delete("one").unwrap();
    assert_eq!(catalog.delete("one").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(names(&catalog), ["two"]);
    // Another catalog of the same storage finds them.
    drop(catalog);
    let catalog = Catalog::open(Arc::new(storage), CatalogOptions::new()).unwrap();
    let other = named("b", &clock);
    catalog.restore(&other, "two", &one_thread()).unwrap();
    assert_eq!(other.read(b"k", |v| v.to_vec()), Some(b"a".to_vec()));
    assert_eq!(catalog.restore(&other, "one", &one_thread()).unwrap_err().kind(), ErrorKind::NotFound);
    catalog.close(cache, "final").unwrap();
    assert_eq!(names(&catalog), ["final", "two"]);
}

#[test]
fn so_many_a_day() {
    let clock = ManualClock::new(1_000_000_000_000);
    let (cache, other) = (named("a", &clock), named("b", &clock));
    let catalog = Catalog::open(Arc::new(Memory::new()), CatalogOptions::new()).unwrap();
    for i in 0..20 {
        catalog.create(&cache, &format!("s{i}")).unwrap();
        clock.advance(HOUR / 2);
    }
    assert_eq!(catalog.create(&cache, "more").unwrap_err().kind(), ErrorKind::NotAllowed);
    catalog.delete("s5").unwrap();
    assert_eq!(catalog.create(&cache, "more").unwrap_err().kind(), ErrorKind::NotAllowed, "a deleted one counts");
    catalog.create(&other, "of another cache").unwrap_err();
    catalog.create(&other, "of-another-cache").unwrap();
    clock.advance(HOUR * 14);
    catalog.create(&cache, "more").unwrap();
    assert_eq!(catalog.create(&cache, "still-more").unwrap_err().kind(), ErrorKind::NotAllowed);
    clock.advance(HOUR / 2);
    catalog.create(&cache, "still-more").unwrap();
}

#[test]
fn daily_ones_come_in_their_window_and_go_in_time() {
    let options = || CatalogOptions::new().retention_days(2).window("22:30-00:30".parse().unwrap());
    // 2001-09-09 01:46:40
    let clock = ManualClock::new(1_000_000_000_000);
    let cache = named("web", &clock);
    let catalog = Catalog::open(Arc::new(Memory::new()), options()).unwrap();
    let mut taken = Vec::new();
    for _ in 0..24 * 2 * 5 {
        let work = catalog.run(&cache, Duration::from_secs(10)).unwrap();
        assert!(!work.is_busy);
        taken.extend(work.completed);
        clock.advance(HOUR / 2);
    }
    let days: Vec<String> = (9..14).map(|day| format!("automatic.web-2001-09-{day:02}-22-46")).collect();
    assert_eq!(taken, days);
    assert_eq!(names(&catalog), days[3..]);
    catalog.copy(&days[4], "kept").unwrap();
    assert_eq!(catalog.list(Some(SnapshotKind::Automatic)).unwrap().len(), 2);
    clock.advance(HOUR * 24 * 10);
    catalog.run(&cache, Duration::from_secs(10)).unwrap();
    assert_eq!(names(&catalog).iter().filter(|name| !name.starts_with("automatic.web-2001-09-2")).count(), 1, "kept");
    assert_eq!(catalog.delete_automatic("we").unwrap(), 0);
    catalog.delete_automatic("web").unwrap();
    assert_eq!(names(&catalog), ["kept"]);
    assert_eq!(
        Catalog::open(Arc::new(Memory::new()), CatalogOptions::new().retention_days(36)).unwrap_err().kind(),
        ErrorKind::InvalidConfig
    );
}

#[test]
fn a_daily_one_is_taken_in_steps() {
    let options = CatalogOptions::new().retention_days(1).window("00:00-00:00".parse().unwrap());
    let clock = ManualClock::new(1_000_000_000_000);
    let cache = manual(8 << 20, &clock).build().unwrap();
    for i in 0..20_000u32 {
        cache.set(&i.to_le_bytes(), &[1; 200]).unwrap();
    }
    let count = cache.len();
    let catalog = Catalog::open(Arc::new(Memory::new()), options).unwrap();
    let (mut calls, mut completed) = (0, None);
    while completed.is_none() {
        let work = catalog.run(&cache, Duration::ZERO).unwrap();
        calls += 1;
        if work.is_busy {
            cache.remove(&(calls as u32).to_le_bytes());
            let listed = catalog.list(None).unwrap();
            assert_eq!(listed[0].state, SnapshotState::Creating);
            assert_eq!(catalog.delete(&listed[0].name).unwrap_err().kind(), ErrorKind::NotAllowed);
        }
        completed = work.completed;
    }
    assert!(calls > 10);
    let info = catalog.describe(&completed.unwrap()).unwrap().info.unwrap();
    assert_eq!(info.items, count);
}

#[test]
fn what_fails_is_listed_with_its_cause() {
    let options = || CatalogOptions::new().retention_days(1).window("00:00-00:00".parse().unwrap());
    let clock = ManualClock::new(1_000_000_000_000);
    let (cache, disk) = (named("a", &clock), SimulatedDisk::new(1));
    let catalog = Catalog::open(Arc::new(disk.clone()), options()).unwrap();
    // The write of the file, after listing and creating it.
    let mut at = 1;
    let error = loop {
        disk.fail_at(disk.calls() + at, Fault::Io, false);
        match catalog.create(&cache, "one") {
            Err(error) if names(&catalog).contains(&"one".to_owned()) => break error,
            Err(_) => at += 1,
            Ok(_) => panic!("no call failed"),
        }
    };
    assert_eq!(error.kind(), ErrorKind::Storage);
    let one = catalog.describe("one").unwrap();
    assert!(matches!(&one.state, SnapshotState::Failed(why) if why.contains("snapshot")), "{one:?}");
    assert_eq!(cache.event_log().query(&EventFilter::new()).last().unwrap().kind, EngineEventKind::SnapshotFailed);
    catalog.create(&cache, "one").unwrap();
    assert_eq!(catalog.describe("one").unwrap().state, SnapshotState::Available);
    catalog.delete("one").unwrap();
    // One that was being created when the program ended.
    disk.create("lost.snapshot.partial").unwrap().write_all_at(b"half", 0).unwrap();
    disk.create("bad.snapshot").unwrap().write_all_at(b"no snapshot", 0).unwrap();
    drop(catalog);
    let catalog = Catalog::open(Arc::new(disk.clone()), options()).unwrap();
    for name in ["lost", "bad"] {
        assert!(matches!(catalog.describe(name).unwrap().state, SnapshotState::Failed(_)), "{name}");
        catalog.delete(name).unwrap();
    }
    assert!(disk.list().unwrap().is_empty());
}

/// A catalog with a window from midnight on, kept for so many days, in a storage that is returned with it.
fn daily(days: u32) -> (Arc<Catalog>, Memory) {
    let storage = Memory::new();
    let options = CatalogOptions::new().retention_days(days).window("00:00-01:00".parse().unwrap());
    (Arc::new(Catalog::open(Arc::new(storage.clone()), options).unwrap()), storage)
}

#[test]
fn maintenance_takes_the_automatic_ones() {
    let (catalog, _) = daily(2);
    let clock = ManualClock::new(2_000 * 24 * 3_600_000 - 1);
    let cache = manual(1 << 20, &clock).name("a").snapshots(Arc::clone(&catalog)).build().unwrap();
    cache.set(b"k", b"v").unwrap();
    let events = cache.event_log().subscribe(100);
    let maintain = || while !cache.run_maintenance(Duration::from_millis(20)).done {};
    maintain();
    assert!(names(&catalog).is_empty(), "the window is not open");
    clock.advance(Duration::from_millis(1));
    maintain();
    assert!(names(&catalog).is_empty(), "it has just looked");
    clock.advance(Duration::from_secs(60));
    maintain();
    assert_eq!(names(&catalog), ["automatic.a-1975-06-24-00-01"]);
    let kinds: Vec<_> = std::iter::from_fn(|| events.try_recv()).map(|event| event.kind).collect();
    assert_eq!(kinds, [EngineEventKind::SnapshotComplete]);
    // One a window; the first goes when its two days are over.
    for hour in 1..=72 {
        clock.advance(HOUR);
        maintain();
        let most = 1 + usize::div_ceil(hour, 24);
        assert!(names(&catalog).len() <= most.min(3), "hour {hour}: {:?}", names(&catalog));
    }
    assert_eq!(names(&catalog), ["automatic.a-1975-06-26-00-01", "automatic.a-1975-06-27-00-01"]);
    assert_eq!(cache.snapshot_stats().completed, 4);
}

#[test]
fn a_storage_that_fails_is_told_of_once_and_tried_again() {
    let disk = SimulatedDisk::new(1);
    let options = CatalogOptions::new().retention_days(1).window("00:00-01:00".parse().unwrap());
    let catalog = Arc::new(Catalog::open(Arc::new(disk.clone()), options).unwrap());
    let clock = ManualClock::new(0);
    let cache = manual(1 << 20, &clock).name("a").snapshots(Arc::clone(&catalog)).build().unwrap();
    let events = cache.event_log().subscribe(100);
    let told = || std::iter::from_fn(|| events.try_recv()).map(|event| event.kind).collect::<Vec<_>>();
    disk.set_full(true);
    for _ in 0..5 {
        cache.run_maintenance(Duration::from_millis(20));
        clock.advance(Duration::from_secs(60));
    }
    assert_eq!(told(), [EngineEventKind::SnapshotFailed]);
    assert_eq!((cache.snapshot_stats().failed, cache.snapshot_stats().last_error.is_some()), (1, true));
    disk.set_full(false);
    clock.advance(24 * HOUR);
    cache.run_maintenance(Duration::from_secs(1));
    assert_eq!(told().last(), Some(&EngineEventKind::SnapshotComplete));
    assert_eq!(cache.snapshot_stats().last_error, None);
}

#[test]
fn a_thread_takes_them_and_the_last_handle_a_last_one() {
    let storage = Memory::new();
    let options = CatalogOptions::new().retention_days(1).window("00:00-00:00".parse().unwrap()).final_snapshot(true);
    let catalog = Arc::new(Catalog::open(Arc::new(storage), options).unwrap());
    let clock = ManualClock::new(86_400_000);
    let builder = Cache::builder().max_memory(1 << 20).clock(clock).name("a").snapshots(Arc::clone(&catalog));
    let cache = builder.build().unwrap();
    let events = cache.event_log().subscribe(100);
    assert_eq!(events.recv().map(|event| event.kind), Some(EngineEventKind::SnapshotComplete));
    cache.set(b"k", b"last").unwrap();
    let other = cache.namespace(1);
    drop(cache);
    assert_eq!(names(&catalog), ["automatic.a-1970-01-02-00-00"], "there is a handle yet");
    drop(other);
    assert_eq!(names(&catalog), ["automatic.a-1970-01-02-00-00", "final.a-1970-01-02-00-00"]);
    let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EngineEventKind::SnapshotComplete, EngineEventKind::DeleteCacheClusterComplete]);
    let again = catalog.restore_new("final.a-1970-01-02-00-00", &one_thread(), |builder| builder).unwrap();
    assert_eq!(again.read(b"k", |v| v.to_vec()), Some(b"last".to_vec()));
}

#[test]
fn what_is_under_way_when_a_cache_goes_is_given_up() {
    let (catalog, storage) = daily(1);
    let clock = ManualClock::new(0);
    let cache = manual(4 << 20, &clock).name("a").snapshots(Arc::clone(&catalog)).build().unwrap();
    for i in 0..10_000u32 {
        cache.set(&i.to_le_bytes(), &[1; 200]).unwrap();
    }
    assert!(!cache.run_maintenance(Duration::ZERO).done);
    assert!(cache.snapshot_stats().is_saving);
    drop(cache);
    let name = "automatic.a-1970-01-01-00-00";
    assert!(matches!(catalog.describe(name).unwrap().state, SnapshotState::Failed(why) if why.contains("closed")));
    assert!(storage.list().unwrap().iter().all(|file| !file.ends_with("partial")));
}

#[test]
fn two_closes_within_a_minute_leave_two_last_snapshots() {
    let catalog = Catalog::open(Arc::new(Memory::new()), CatalogOptions::new().final_snapshot(true)).unwrap();
    let (catalog, clock) = (Arc::new(catalog), ManualClock::new(86_400_000));
    for value in [b"1", b"2", b"3"] {
        let cache = manual(1 << 20, &clock).name("a").snapshots(Arc::clone(&catalog)).build().unwrap();
        cache.set(b"k", value).unwrap();
        cache.close().unwrap();
    }
    let [first, second, third] = ["", "-2", "-3"].map(|end| format!("final.a-1970-01-02-00-00{end}"));
    assert_eq!(names(&catalog), [&*first, &*second, &*third]);
    for (name, value) in [(first, b"1"), (second, b"2"), (third, b"3")] {
        let again = catalog.restore_new(&name, &one_thread(), |builder| builder).unwrap();
        assert_eq!(again.read(b"k", |v| v.to_vec()), Some(value.to_vec()), "{name}");
    }
}

#[test]
fn a_close_says_that_there_is_no_last_snapshot() {
    let disk = SimulatedDisk::new(1);
    let catalog = Catalog::open(Arc::new(disk.clone()), CatalogOptions::new().final_snapshot(true)).unwrap();
    let builder = manual(1 << 20, &ManualClock::new(0)).name("a").snapshots(Arc::new(catalog));
    let cache = builder.build().unwrap();
    let events = cache.event_log().subscribe(10);
    disk.set_full(true);
    let error = cache.close().unwrap_err();
    assert!(error.to_string().contains("no storage space"), "{error}");
    assert_eq!(events.recv().map(|event| event.kind), Some(EngineEventKind::SnapshotFailed));
}

#[test]
fn a_cache_whose_name_its_snapshots_could_not_have_is_not_built() {
    let clock = ManualClock::new(0);
    let build = |options: CatalogOptions, name: &str| {
        let catalog = Catalog::open(Arc::new(Memory::new()), options).unwrap();
        manual(1 << 20, &clock).name(name).snapshots(Arc::new(catalog)).build()
    };
    let (last, daily) = (CatalogOptions::new().final_snapshot(true), CatalogOptions::new().retention_days(1));
    for options in [last.clone(), daily] {
        for name in ["my cache", "a/b", &"n".repeat(130)] {
            let told = build(options.clone(), name).err().map(|e| (e.kind(), e.to_string()));
            let Some((ErrorKind::InvalidConfig, text)) = told else { panic!("{name:?}: {told:?}") };
            assert!(text.contains("name"), "{text}");
        }
    }
    assert!(build(CatalogOptions::new(), "my cache").is_ok(), "nothing has its name");
    let most = (1..150).rev().find(|&len| build(last.clone(), &"n".repeat(len)).is_ok());
    let refused = build(last, &"n".repeat(150)).unwrap_err().to_string();
    assert!(refused.contains(&format!("of {} at most", most.unwrap())), "{refused}");
}
