//! Time: what has ended is never returned, its memory comes back unasked, and clearing takes no time whatever there is.

use std::time::{Duration, Instant};

use larder::{Cache, CacheBuilder, EvictionPolicy, Maintenance, ManualClock, SetOptions};

const START_MS: u64 = 1_700_000_000_000;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn builder() -> (CacheBuilder, ManualClock) {
    let clock = ManualClock::new(START_MS);
    let builder = Cache::builder().max_memory(256 << 10).page_size(1024).shards(2).seed(1).clock(clock.clone());
    (builder.maintenance(Maintenance::Manual), clock)
}

fn small() -> (Cache, ManualClock) {
    let (builder, clock) = builder();
    (builder.build().unwrap(), clock)
}

/// In every way to look for it, the key is there, or is not.
#[track_caller]
fn check(cache: &Cache, key: &[u8], there: bool) {
    assert_eq!(cache.contains(key), there);
    assert_eq!(cache.metadata(key).is_some(), there);
    assert_eq!(cache.peek(key).unwrap().is_some(), there);
    assert_eq!(cache.iter().any(|entry| &*entry.key == key), there);
    assert_eq!(cache.update(&[key], |update| update.get(0).is_some()).unwrap(), there);
    let mut found = false;
    cache.get_many(&[key], |_, value| found = value.is_some());
    assert_eq!(found, there);
}

#[test]
fn a_ttl_ends_on_the_millisecond() {
    let (cache, clock) = small();
    cache.set_with(b"k", b"v", &SetOptions::new().ttl(ms(100))).unwrap();
    assert_eq!(cache.metadata(b"k").unwrap().ttl_left, Some(ms(100)));
    clock.advance(ms(99));
    check(&cache, b"k", true);
    clock.advance(ms(1));
    check(&cache, b"k", false);
    assert_eq!((cache.remove(b"k"), cache.take(b"k"), cache.persist(b"k")), (false, None, false));
    // Rounded up, and nothing at all is over at once.
    cache.set_with(b"k", b"v", &SetOptions::new().ttl(Duration::from_micros(1))).unwrap();
    check(&cache, b"k", true);
    cache.set_with(b"k", b"v", &SetOptions::new().ttl(Duration::ZERO)).unwrap();
    check(&cache, b"k", false);
    // Times beyond all bounds are for ever in practice.
    cache.set_with(b"k", b"v", &SetOptions::new().ttl(Duration::MAX)).unwrap();
    clock.advance(ms(u64::MAX / 8));
    check(&cache, b"k", true);
}

#[test]
fn a_deadline_is_a_point_in_time() {
    let (cache, clock) = small();
    cache.set_with(b"k", b"v", &SetOptions::new().deadline_ms(START_MS + 50)).unwrap();
    assert_eq!(cache.metadata(b"k").unwrap().deadline_ms, Some(START_MS + 50));
    clock.advance(ms(49));
    check(&cache, b"k", true);
    assert!(cache.touch_until(b"k", START_MS + 60).unwrap());
    clock.advance(ms(10));
    check(&cache, b"k", true);
    clock.advance(ms(1));
    check(&cache, b"k", false);
    cache.set_with(b"past", b"v", &SetOptions::new().deadline_ms(START_MS)).unwrap();
    cache.set_with(b"long past", b"v", &SetOptions::new().deadline_ms(1)).unwrap();
    check(&cache, b"past", false);
    check(&cache, b"long past", false);
}

#[test]
fn time_to_idle_starts_again_with_each_use() {
    let (cache, clock) = small();
    cache.set_with(b"k", b"v", &SetOptions::new().time_to_idle(ms(100))).unwrap();
    for _ in 0..5 {
        clock.advance(ms(99));
        assert!(cache.read(b"k", |_| ()).is_some());
    }
    // A look is no use.
    clock.advance(ms(60));
    check(&cache, b"k", true);
    assert!(cache.get(b"k").unwrap().is_some());
    clock.advance(ms(99));
    assert!(cache.contains(b"k"));
    clock.advance(ms(1));
    check(&cache, b"k", false);
    // The earlier of idle time and deadline counts.
    cache.set_with(b"k", b"v", &SetOptions::new().time_to_idle(ms(100)).ttl(ms(150))).unwrap();
    clock.advance(ms(90));
    assert!(cache.read(b"k", |_| ()).is_some());
    clock.advance(ms(60));
    check(&cache, b"k", false);
}

#[test]
fn persist_touch_and_keep_ttl() {
    let (cache, clock) = small();
    cache.set_with(b"k", b"v", &SetOptions::new().ttl(ms(100))).unwrap();
    cache.set_with(b"k", b"w", &SetOptions::new().keep_ttl()).unwrap();
    assert_eq!(cache.metadata(b"k").unwrap().ttl_left, Some(ms(100)));
    cache.append(b"k", b"x").unwrap();
    assert_eq!(cache.metadata(b"k").unwrap().ttl_left, Some(ms(100)), "changing a value keeps its time");
    assert!(cache.touch(b"k", ms(300)).unwrap());
    clock.advance(ms(299));
    check(&cache, b"k", true);
    assert!(cache.persist(b"k") && !cache.persist(b"k"));
    clock.advance(ms(1_000_000));
    check(&cache, b"k", true);
    let guard = cache.get_and_touch(b"k", ms(10)).unwrap().unwrap();
    assert_eq!((&*guard, guard.ttl_left()), (&b"wx"[..], Some(ms(10))));
    drop(guard);
    cache.set(b"k", b"v").unwrap();
    assert_eq!(cache.metadata(b"k").unwrap().ttl_left, None, "a plain set forgets the time");
    // Further than a short header reaches, and back.
    assert!(cache.touch(b"k", ms(5 * 365 * 86_400_000)).unwrap());
    assert_eq!(cache.metadata(b"k").unwrap().ttl_left, Some(ms(5 * 365 * 86_400_000)));
    assert!(cache.touch(b"k", ms(5)).unwrap());
    clock.advance(ms(5));
    check(&cache, b"k", false);
    assert!(!cache.touch(b"k", ms(5)).unwrap());
    cache.check_invariants();
}

#[test]
fn defaults_of_the_cache() {
    let (builder, clock) = builder();
    let cache = builder.time_to_live(ms(100)).build().unwrap();
    cache.set(b"default", b"v").unwrap();
    cache.set_with(b"own", b"v", &SetOptions::new().ttl(ms(200))).unwrap();
    cache.set_with(b"never", b"v", &SetOptions::new().never()).unwrap();
    assert_eq!(cache.increment(b"absent", 1).unwrap(), None);
    clock.advance(ms(100));
    check(&cache, b"default", false);
    check(&cache, b"own", true);
    clock.advance(ms(100));
    check(&cache, b"own", false);
    check(&cache, b"never", true);
}

#[test]
fn memory_comes_back_by_maintenance_alone() {
    let (cache, clock) = small();
    let empty = cache.memory();
    for i in 0..1000u32 {
        let options = SetOptions::new().ttl(ms(1000 + u64::from(i % 100)));
        cache.set_with(&i.to_le_bytes(), &[1; 80], &options).unwrap();
    }
    let full = cache.memory();
    assert_eq!(full.items, 1000);
    clock.advance(ms(500));
    cache.run_maintenance(Duration::from_secs(1));
    assert_eq!(cache.memory().items, 1000, "nothing has ended");
    clock.advance(ms(3000));
    assert!(cache.stats().expiry_lag_ms > 0);
    while !cache.run_maintenance(Duration::from_secs(1)).done {}
    let (stats, memory) = (cache.stats(), cache.memory());
    assert_eq!((memory.items, memory.chunk_bytes, memory.payload_bytes), (0, 0, 0));
    assert_eq!((stats.expired, stats.expired_unfetched, stats.evictions, stats.expiry_lag_ms), (1000, 1000, 0, 0));
    // Every page is empty; those that are left wait in the pool.
    assert!(memory.slab - memory.pooled <= empty.slab - empty.pooled + (16 << 10), "{memory:?}, {empty:?} at first");
    cache.check_invariants();
}

#[test]
fn memory_comes_back_by_the_thread() {
    let cache = Cache::builder().max_memory(8 << 20).expiry_lag(ms(50)).expiry_cpu_share(1.0).build().unwrap();
    for i in 0..20_000u32 {
        cache.set_with(&i.to_le_bytes(), &[1; 80], &SetOptions::new().ttl(ms(300))).unwrap();
    }
    cache.set(b"stays", b"v").unwrap();
    let patience = Instant::now() + Duration::from_secs(20);
    while cache.memory().items > 1 && Instant::now() < patience {
        std::thread::sleep(ms(50));
    }
    let memory = cache.memory();
    assert_eq!((memory.items, memory.payload_bytes), (1, 6));
    assert_eq!(cache.stats().expired, 20_000);
}

#[test]
fn many_clears_in_a_row() {
    let (cache, _) = small();
    let other = cache.namespace(5);
    other.set(b"other", b"v").unwrap();
    for round in 0..40u32 {
        for i in 0..20 {
            cache.set(&(round % 3 * 20 + i).to_le_bytes(), &round.to_le_bytes()).unwrap();
        }
        assert_eq!(cache.len(), 20);
        cache.clear();
        assert_eq!((cache.len(), cache.iter().count(), cache.memory().items), (0, 0, 1), "after clear {round}");
        for i in 0..60u32 {
            assert!(!cache.contains(&i.to_le_bytes()), "key {i} is back after clear {round}");
        }
    }
    assert!(other.contains(b"other"));
    while !cache.run_maintenance(Duration::from_secs(1)).done {}
    let stats = cache.stats();
    assert_eq!((stats.flushes, stats.flushed_items, stats.evictions, stats.expired), (40, 800, 0, 0));
    cache.check_invariants();
}

#[test]
fn a_clear_to_come() {
    let (cache, clock) = small();
    let other = cache.namespace(1);
    cache.set(b"before", b"v").unwrap();
    other.set(b"other", b"v").unwrap();
    cache.clear_after(ms(100));
    other.clear_after(ms(200));
    cache.set(b"after", b"v").unwrap();
    clock.advance(ms(99));
    assert_eq!((cache.len(), other.len()), (2, 1));
    clock.advance(ms(1));
    check(&cache, b"before", false);
    check(&cache, b"after", false);
    cache.set(b"after", b"v").unwrap();
    clock.advance(ms(100));
    check(&cache, b"after", true);
    check(&other, b"other", false);
}

#[test]
fn what_is_read_or_needed_is_counted_as_that() {
    let (builder, clock) = builder();
    let cache = builder.shards(1).policy(EvictionPolicy::AllkeysLru).build().unwrap();
    for i in 0..500u32 {
        cache.set_with(&i.to_le_bytes(), &[1; 80], &SetOptions::new().ttl(ms(100))).unwrap();
    }
    for i in 0..50u32 {
        assert!(cache.read(&i.to_le_bytes(), |_| ()).is_some());
    }
    clock.advance(ms(5000));
    assert!(cache.get(&1u32.to_le_bytes()).unwrap().is_none());
    assert_eq!(cache.stats().expired_on_read, 1);
    // Room for these comes from what has ended, before anything live leaves.
    for i in 10_000..14_000u32 {
        cache.set(&i.to_le_bytes(), &[1; 80]).unwrap();
        assert!(cache.stats().evictions == 0 || cache.stats().expired == 500);
    }
    let stats = cache.stats();
    assert_eq!((stats.expired, stats.expired_unfetched), (500, 450));
    assert!(stats.reclaimed > 0 && stats.reclaimed <= 500, "{stats:?}");
    assert!(stats.evictions > 0 && stats.evicted_unfetched == stats.evictions, "{stats:?}");
}
