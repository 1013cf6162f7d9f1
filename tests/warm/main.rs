//! Warm restart: what comes back is what was there; whatever is wrong with the files, a cache comes back all the same,
//! empty, and says why.

mod closing;
mod damage;
mod fixture;
mod twin;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use larder::{
    Cache, CacheBuilder, ColdReason, EngineEventKind, ErrorKind, EvictionPolicy, Maintenance, ManualClock, SetOptions,
    Start, WarmRestart,
};

/// A folder of its own, gone when dropped. In memory where there is such a file system.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("larder-warm-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let shm = PathBuf::from("/dev/shm");
        let parent = if shm.is_dir() { shm } else { std::env::temp_dir() };
        Folder(parent.join(name))
    }

    fn on_disk() -> Folder {
        Folder(std::env::temp_dir().join(Folder::new().0.file_name().expect("a name")))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn builder(folder: &Folder, clock: &ManualClock) -> CacheBuilder {
    let builder = Cache::builder().max_memory(1 << 20).clock(clock.clone()).maintenance(Maintenance::Manual);
    builder.shards(2).seed(7).warm_restart(WarmRestart::new(&folder.0))
}

fn is_warm(cache: &Cache) -> bool {
    matches!(cache.start(), Some(Start::Warm(_)))
}

fn reason(cache: &Cache) -> ColdReason {
    match cache.start() {
        Some(Start::Cold(cold)) => cold.reason,
        other => panic!("not a cold start: {other:?}"),
    }
}

#[test]
fn everything_about_an_item_comes_back() {
    let (folder, clock) = (Folder::new(), ManualClock::new(1_000_000));
    let cache = builder(&folder, &clock).build().unwrap();
    assert_eq!(reason(&cache), ColdReason::New);
    let hour = Duration::from_secs(3600);
    cache.set_with(b"ttl", b"1", &SetOptions::new().ttl(hour).flags(7)).unwrap();
    cache.set_with(b"idle", b"2", &SetOptions::new().time_to_idle(hour)).unwrap();
    cache.set_with(b"tagged", b"3", &SetOptions::new().tags([b"old"])).unwrap();
    cache.invalidate_tag(b"old");
    cache.set_with(b"tagged2", b"4", &SetOptions::new().tags([b"new", b"old"])).unwrap();
    cache.set_with(b"short", b"5", &SetOptions::new().ttl(Duration::from_secs(10))).unwrap();
    let large = vec![9; 100_000];
    cache.set(b"large", &large).unwrap();
    let token = cache.get_with_token(b"large").unwrap().unwrap().1;
    let other = cache.namespace(3);
    other.set(b"ttl", b"other").unwrap();
    cache.namespace(4).set(b"gone", b"x").unwrap();
    cache.namespace(4).clear();
    cache.namespace(4).set(b"kept", b"y").unwrap();
    cache.namespace(5).set(b"later", b"z").unwrap();
    cache.namespace(5).clear_after(Duration::from_secs(100));
    drop(other);
    cache.close().unwrap();

    clock.advance(Duration::from_secs(60));
    let cache = builder(&folder, &clock).build().unwrap();
    assert!(is_warm(&cache), "{:?}", cache.start());
    cache.check_invariants();
    let ttl = cache.metadata(b"ttl").unwrap();
    assert_eq!((ttl.flags, ttl.ttl_left), (7, Some(hour - Duration::from_secs(60))));
    assert!(!cache.contains(b"short"), "its time went by while nobody was there");
    assert!(cache.contains(b"idle") && !cache.contains(b"tagged"));
    assert_eq!(cache.get(b"large").unwrap().as_deref(), Some(&large[..]));
    assert_eq!(cache.get_with_token(b"large").unwrap().unwrap().1, token);
    cache.set(b"large", b"new").unwrap();
    assert_ne!(cache.get_with_token(b"large").unwrap().unwrap().1, token);
    assert_eq!(cache.namespace(3).get(b"ttl").unwrap().as_deref(), Some(&b"other"[..]));
    assert_eq!((cache.namespace(4).len(), cache.namespace(4).contains(b"kept")), (1, true));
    assert!(cache.contains(b"tagged2"));
    cache.invalidate_tag(b"new");
    assert!(!cache.contains(b"tagged2"), "tags go on where they were");
    assert!(cache.namespace(5).contains(b"later"));
    clock.advance(Duration::from_secs(50));
    assert!(!cache.namespace(5).contains(b"later"), "a planned clearing comes back");
    clock.advance(hour);
    assert!(!cache.contains(b"ttl") && !cache.contains(b"idle"));
}

#[test]
fn every_policy_goes_on_and_any_other_takes_over() {
    let folder = Folder::new();
    let clock = ManualClock::new(1_000_000);
    let fill = |cache: &Cache, from: u32| {
        for i in from..from + 6000 {
            let options = SetOptions::new().ttl(Duration::from_secs(u64::from(1000 + i % 100)));
            // What does not evict says so.
            let _ = cache.set_with(&i.to_le_bytes(), &[i as u8; 300], &options);
            cache.read(&(i / 2).to_le_bytes(), |value| assert_eq!(value[0], (i / 2) as u8));
        }
    };
    for (i, &policy) in EvictionPolicy::ALL.iter().chain(&EvictionPolicy::ALL).enumerate() {
        let cache = builder(&folder, &clock).policy(policy).build().unwrap();
        assert_eq!(is_warm(&cache), i > 0, "{policy}: {:?}", cache.start());
        cache.check_invariants();
        fill(&cache, i as u32 * 1000);
        cache.check_invariants();
        assert!(cache.len() > 1000);
    }
}

#[test]
fn one_cache_at_a_time() {
    let (folder, clock) = (Folder::new(), ManualClock::new(1));
    let cache = builder(&folder, &clock).build().unwrap();
    assert_eq!(builder(&folder, &clock).build().unwrap_err().kind(), ErrorKind::NotAllowed);
    cache.set(b"k", b"v").unwrap();
    let other = cache.clone();
    assert_eq!(cache.close().unwrap_err().kind(), ErrorKind::NotAllowed);
    other.set(b"l", b"w").unwrap();
    drop(other);
    let cache = builder(&folder, &clock).build().unwrap();
    assert_eq!((is_warm(&cache), cache.len()), (true, 2));
}

#[test]
fn a_follower_keeps_nothing_and_a_log_is_enough() {
    let (folder, clock) = (Folder::new(), ManualClock::new(1));
    let kind = builder(&folder, &clock).follower(true).build().unwrap_err().kind();
    assert_eq!(kind, ErrorKind::InvalidConfig);
    let log = larder::oplog::AppendOptions::new(larder::storage::Memory::new());
    assert_eq!(builder(&folder, &clock).append_only(log).build().unwrap_err().kind(), ErrorKind::InvalidConfig);
    let cache = builder(&folder, &clock).build().unwrap();
    // Nor later: the next start would be refused.
    let log = larder::oplog::AppendOptions::new(larder::storage::Memory::new());
    assert_eq!(cache.start_append_only(log).unwrap_err().kind(), ErrorKind::NotAllowed);
    assert!(cache.append_file().is_none());
    cache.set_follower(true);
    assert_eq!(cache.close().unwrap_err().kind(), ErrorKind::NotAllowed);
    assert_eq!(reason(&builder(&folder, &clock).build().unwrap()), ColdReason::NotClosed);
}

#[test]
fn other_settings_are_refused_and_a_lower_limit_is_not() {
    let (folder, clock) = (Folder::new(), ManualClock::new(1));
    let fill = |cache: Cache| {
        for i in 0..2000u32 {
            cache.set(&i.to_le_bytes(), &[7; 300]).unwrap();
        }
        cache.close().unwrap();
    };
    type Change = fn(CacheBuilder) -> CacheBuilder;
    let others: [Change; 4] =
        [|b| b.page_size(2048), |b| b.shards(1), |b| b.chunk_size(64), |b| b.address_space(2 << 30)];
    for other in others {
        fill(builder(&folder, &clock).build().unwrap());
        let cache = other(builder(&folder, &clock)).build().unwrap();
        assert_eq!((reason(&cache), cache.len()), (ColdReason::Layout, 0), "{:?}", cache.start());
        cache.check_invariants();
        fill(cache);
        std::fs::remove_dir_all(&folder.0).unwrap();
    }
    fill(builder(&folder, &clock).build().unwrap());
    let lower = builder(&folder, &clock).max_memory(512 << 10).page_size(4096).address_space(1 << 30).build().unwrap();
    assert!(is_warm(&lower), "{:?}", lower.start());
    // What little is charged after the items have left is given back by the next write, or here.
    let _ = lower.run_maintenance(Duration::from_secs(1));
    assert!(lower.memory().used <= 512 << 10 && lower.len() > 500, "{:?}", lower.memory());
    lower.check_invariants();
}

#[test]
fn how_it_begins_and_ends_is_told() {
    let (folder, clock) = (Folder::on_disk(), ManualClock::new(1));
    let log = larder::EventLog::default();
    let build = || builder(&folder, &clock).event_log(log.clone()).build().unwrap();
    build().close().unwrap();
    drop(build());
    let cache = build();
    std::fs::remove_file(folder.0.join("items")).unwrap();
    assert_eq!(cache.close().unwrap_err().kind(), ErrorKind::Storage);
    assert_eq!(reason(&build()), ColdReason::New);
    let kinds: Vec<EngineEventKind> = log.query(&larder::EventFilter::new()).iter().map(|e| e.kind).collect();
    let count = |kind| kinds.iter().filter(|&&k| k == kind).count();
    use EngineEventKind::{ColdStart, NotKept, WarmStart};
    assert_eq!((count(ColdStart), count(WarmStart), count(NotKept)), (2, 2, 1));
}

/// Run by `a_killed_process_starts_cold` as a process of its own.
#[test]
#[ignore = "only as another process"]
fn victim() {
    let Ok(folder) = std::env::var("LARDER_WARM_VICTIM") else { return };
    let cache = Cache::builder().max_memory(1 << 20).shards(2).warm_restart(WarmRestart::new(folder)).build().unwrap();
    assert!(is_warm(&cache));
    println!("ready");
    for i in 0u64.. {
        cache.set(&i.to_le_bytes(), &[1; 100]).unwrap();
    }
}

#[test]
fn a_killed_process_starts_cold() {
    use std::io::{BufRead, BufReader};
    let (folder, clock) = (Folder::new(), ManualClock::new(1_700_000_000_000));
    let cache = builder(&folder, &clock).build().unwrap();
    cache.set(b"k", b"v").unwrap();
    cache.close().unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "victim", "--ignored", "--nocapture"])
        .env("LARDER_WARM_VICTIM", &folder.0)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("ready")));
    std::thread::sleep(Duration::from_millis(30));
    child.kill().unwrap();
    child.wait().unwrap();
    let cache = builder(&folder, &clock).build().unwrap();
    assert_eq!((reason(&cache), cache.len()), (ColdReason::NotClosed, 0));
    cache.check_invariants();
}
