//! Restoring into caches of other limits, policies and options.

use super::{manual, one_thread, state_of};
use larder::snapshot::{RestoreOptions, SnapshotOptions};
use larder::storage::Memory;
use larder::{Cache, CasOutcome, EngineEventKind, ErrorKind, EventFilter, EvictionPolicy, ManualClock, SetOptions};
use std::time::Duration;

fn key(i: u32) -> [u8; 4] {
    i.to_le_bytes()
}

#[test]
fn what_does_not_fit_is_an_error_with_both_sizes_unless_it_may_be_evicted() {
    let (large, storage) = (Cache::new(8 << 20).unwrap(), Memory::new());
    for i in 0..10_000 {
        large.set(&key(i), &[1; 300]).unwrap();
    }
    large.snapshot_to(&storage, "s", &SnapshotOptions::new()).unwrap();
    for policy in [EvictionPolicy::Default, EvictionPolicy::NoEviction, EvictionPolicy::VolatileLru] {
        // Far too small, and almost large enough.
        for limit in [1 << 20, 2_900_000] {
            let small = Cache::builder().max_memory(limit).policy(policy).build().unwrap();
            let error = small.restore_from(&storage, "s", &RestoreOptions::new()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::RestoreFailed, "{error}");
            assert!(error.to_string().contains("10000 items") && error.to_string().contains(&limit.to_string()));
            assert!(small.is_empty());
            let last = small.event_log().query(&EventFilter::new()).last().unwrap().kind;
            assert_eq!(last, EngineEventKind::CacheClusterRestoreFailed);
            let restored = small.restore_from(&storage, "s", &RestoreOptions::new().evict(true)).unwrap();
            assert_eq!(restored.stored + restored.left_out, 10_000);
            assert!(small.len() > limit / 340 / 2 && small.memory().used <= small.memory().limit, "{policy}");
            small.check_invariants();
        }
    }
}

#[test]
fn what_was_in_use_is_what_stays() {
    let storage = Memory::new();
    for policy in [EvictionPolicy::Default, EvictionPolicy::AllkeysLru, EvictionPolicy::AllkeysLfu] {
        let clock = ManualClock::new(1);
        let large = manual(4 << 20, &clock).policy(policy).shards(1).build().unwrap();
        for i in 0..40_000 {
            large.set(&key(i), &[1; 100]).unwrap();
            if i % 4 == 0 {
                // A tenth of the last ones is in use all the time.
                for hot in 0..10 {
                    large.get(&key(hot * 100)).unwrap();
                }
            }
        }
        let hot: Vec<u32> = (0..10).map(|i| i * 100).filter(|&i| large.contains(&key(i))).collect();
        assert!(hot.len() > 6, "{policy}: {hot:?}");
        large.snapshot_to(&storage, "s", &SnapshotOptions::new()).unwrap();
        let small = manual(1 << 20, &clock).policy(policy).seed(9).shards(1).build().unwrap();
        small.restore_from(&storage, "s", &one_thread().evict(true)).unwrap();
        let kept = hot.iter().filter(|&&i| small.contains(&key(i))).count();
        assert!(small.len() < large.len() / 2 && kept + 2 >= hot.len(), "{policy}: {kept} of {}", hot.len());
    }
}

#[test]
fn what_is_over_stays_out_and_what_was_written_since_stays() {
    let clock = ManualClock::new(1_000_000);
    let (cache, storage) = (manual(1 << 20, &clock).build().unwrap(), Memory::new());
    cache.set_with(b"short", b"v", &SetOptions::new().ttl(Duration::from_secs(1))).unwrap();
    cache.set_with(b"long", b"v", &SetOptions::new().ttl(Duration::from_secs(9))).unwrap();
    cache.snapshot_to(&storage, "s", &SnapshotOptions::new()).unwrap();
    clock.advance(Duration::from_secs(5));
    let restored = cache.restore_from(&storage, "s", &one_thread()).unwrap();
    assert_eq!((restored.stored, restored.expired, restored.overtaken), (1, 1, 0));
    assert_eq!(cache.metadata(b"long").unwrap().ttl_left, Some(Duration::from_secs(4)));
    // Another clock, in another cache: the deadlines are the wall's.
    let later = manual(1 << 20, &ManualClock::new(1_008_000)).build().unwrap();
    later.restore_from(&storage, "s", &one_thread()).unwrap();
    assert_eq!(later.metadata(b"long").unwrap().ttl_left, Some(Duration::from_secs(1)));
}

#[test]
fn tokens_are_kept_and_never_given_twice() {
    let (cache, storage) = (Cache::builder().max_memory(1 << 20).tokens(true).build().unwrap(), Memory::new());
    cache.set(b"k", b"1").unwrap();
    cache.snapshot_to(&storage, "s", &SnapshotOptions::new()).unwrap();
    let token = |cache: &Cache| cache.metadata(b"k").unwrap().token.unwrap();
    let old = token(&cache);
    let mut given = vec![old];
    for _ in 0..100 {
        cache.set(b"k", b"2").unwrap();
        given.push(token(&cache));
    }
    let restored = Cache::builder().max_memory(256 << 20).shards(16).tokens(true).build().unwrap();
    restored.restore_from(&storage, "s", &one_thread()).unwrap();
    assert_eq!(token(&restored), old);
    assert_eq!(restored.compare_and_swap(b"k", b"x", given[7]).unwrap(), CasOutcome::Changed);
    assert!(matches!(restored.compare_and_swap(b"k", b"x", old).unwrap(), CasOutcome::Stored(_)));
    for _ in 0..100 {
        restored.set(b"k", b"3").unwrap();
        assert!(!given.contains(&token(&restored)));
    }
    let without = Cache::builder().max_memory(1 << 20).check_and_set(false).build().unwrap();
    without.restore_from(&storage, "s", &one_thread()).unwrap();
    assert_eq!(without.metadata(b"k").unwrap().token, None);
}

#[test]
fn values_of_all_sizes_come_back() {
    let builder = || Cache::builder().max_memory(32 << 20).max_item_size(8 << 20).shards(2);
    let (cache, storage) = (builder().build().unwrap(), Memory::new());
    let mut len = 0;
    for i in 0..60u32 {
        let value: Vec<u8> = (0..len).map(|at: usize| (at as u32 ^ i) as u8).collect();
        cache.set(&key(i), &value).unwrap();
        len = (len * 5 / 4 + 7).min(500_000);
    }
    cache.set(&[3; 60_000], b"long key").unwrap();
    let info = cache.snapshot_to(&storage, "s", &SnapshotOptions::new()).unwrap();
    assert!(info.file_bytes > info.payload_bytes && info.file_bytes < info.payload_bytes + 20_000);
    for (builder, threads) in [
        (builder(), 1),
        (builder().max_memory(256 << 20).page_size(4 << 20).shards(1), 3),
        (builder().page_size(2048), 2),
    ] {
        let restored = builder.build().unwrap();
        restored.restore_from(&storage, "s", &RestoreOptions::new().threads(threads)).unwrap();
        assert!(state_of(&restored, 1) == state_of(&cache, 1));
        restored.check_invariants();
        restored.clear();
        for _ in 0..100 {
            restored.run_maintenance(Duration::from_millis(50));
        }
        let memory = restored.memory();
        assert!(memory.items == 0 && memory.slab - memory.pooled < 5 << 20, "nothing is held for good: {memory:?}");
    }
}

#[test]
fn a_new_cache_is_set_up_as_the_old_one_was() {
    let storage = Memory::new();
    let builder = Cache::builder().max_memory(3 << 20).policy(EvictionPolicy::Sieve).name("sessions").namespaces(16);
    let cache = builder.time_to_live(Duration::from_secs(600)).max_item_size(5_000).tokens(true).build().unwrap();
    cache.set(b"k", b"v").unwrap();
    cache.snapshot_to(&storage, "s", &SnapshotOptions::new()).unwrap();
    let again = Cache::from_snapshot(&storage, "s", &one_thread(), |builder| builder).unwrap();
    assert_eq!((again.name(), again.policy(), again.namespaces()), ("sessions", EvictionPolicy::Sieve, 16));
    assert_eq!((again.memory().limit, again.len()), (3 << 20, 1));
    assert!(again.set(b"large", &[0; 5_001]).is_err());
    again.set(b"new", b"v").unwrap();
    let metadata = again.metadata(b"new").unwrap();
    assert!(metadata.ttl_left.is_some() && metadata.token.is_some());
}
