//! What cannot be tested from outside, because it takes a fault put in by hand or a look inside: the system refuses
//! memory, the limit is exceeded, the index has no room; where in the table items leave.

use std::time::Duration;

use crate::slab::faults;
use crate::{Cache, ErrorKind, EvictionPolicy, Maintenance, ManualClock, Objective, SetOptions};

/// Lets commits succeed again, also when a test fails.
struct Refusing;

impl Refusing {
    fn from_now_on() -> Refusing {
        faults::fail_after_commits(0);
        Refusing
    }
}

impl Drop for Refusing {
    fn drop(&mut self) {
        faults::fail_after_commits(u64::MAX);
    }
}

fn small(policy: EvictionPolicy) -> Cache {
    let builder = Cache::builder().max_memory(512 << 10).page_size(4096).shards(1).policy(policy).seed(1);
    builder.maintenance(Maintenance::Manual).build().unwrap()
}

#[test]
fn in_an_empty_cache_a_write_fails() {
    for policy in [EvictionPolicy::AllkeysLru, EvictionPolicy::Default, EvictionPolicy::NoEviction] {
        let cache = small(policy);
        {
            let _refusing = Refusing::from_now_on();
            let error = cache.set(b"k", &[1; 100]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Os, "{policy}: {error}");
            let error = cache.set(b"k", &[1; 10_000]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Os, "{policy}, memory of its own: {error}");
            assert!(cache.is_empty() && cache.stats().commit_failures >= 2);
        }
        cache.set(b"k", &[1; 100]).unwrap();
        cache.set(b"large", &[1; 10_000]).unwrap();
        assert_eq!((cache.len(), cache.stats().evictions), (2, 0));
        cache.check_invariants();
    }
}

#[test]
fn in_a_filled_cache_something_leaves_instead() {
    let cache = small(EvictionPolicy::AllkeysLru);
    for i in 0..500u32 {
        cache.set(&i.to_le_bytes(), &[i as u8; 100]).unwrap();
    }
    assert_eq!((cache.len(), cache.stats().evictions), (500, 0));
    {
        let _refusing = Refusing::from_now_on();
        for i in 500..1500u32 {
            cache.set(&i.to_le_bytes(), &[i as u8; 100]).unwrap();
            assert_eq!(cache.read(&i.to_le_bytes(), |value| value == [i as u8; 100]), Some(true));
        }
        let (len, stats) = (cache.len(), cache.stats());
        assert_eq!(len + stats.evictions, 1500, "what is not there was evicted");
        assert!(len >= 450 && stats.evictions > 0, "{len} items are left of 500");
        cache.check_invariants();
    }
    for i in 0..2000u32 {
        cache.set(&i.to_le_bytes(), &[i as u8; 100]).unwrap();
    }
    assert!(cache.len() > 1000, "there is room again");
    cache.check_invariants();
}

#[test]
fn where_nothing_may_leave_nothing_is_lost() {
    let cache = small(EvictionPolicy::NoEviction);
    for i in 0..500u32 {
        cache.set(&i.to_le_bytes(), &[i as u8; 100]).unwrap();
    }
    {
        let _refusing = Refusing::from_now_on();
        let refused = (500..1000u32).filter(|i| cache.set(&i.to_le_bytes(), &[1; 100]).is_err()).count() as u64;
        assert!(refused > 400);
        assert_eq!(cache.len(), 1000 - refused);
        for i in 0..500u32 {
            assert_eq!(cache.read(&i.to_le_bytes(), |value| value == [i as u8; 100]), Some(true));
        }
    }
    cache.set(b"again", &[1; 100]).unwrap();
    cache.check_invariants();
}

/// A table must thin out evenly: one that is empty in front and full behind can neither grow nor shrink.
#[test]
fn items_leave_from_everywhere() {
    for policy in EvictionPolicy::ALL.into_iter().filter(|p| !p.is_volatile() && *p != EvictionPolicy::NoEviction) {
        let builder = Cache::builder().max_memory(4 << 20).shards(1).policy(policy).seed(1);
        let cache = builder.maintenance(Maintenance::Manual).build().unwrap();
        for i in 0..30_000u32 {
            cache.set(&i.to_le_bytes(), &[1; 100]).unwrap();
        }
        let before = cache.len();
        cache.set_max_memory(2 << 20).unwrap();
        assert!(cache.len() <= before / 3 * 2, "{policy}: {} of {before} items are left", cache.len());
        let mut parts = [0u64; 32];
        for entry in &cache {
            parts[(cache.engine().key(0, &entry.key).hash >> 59) as usize] += 1;
        }
        let mean = cache.len() / 32;
        let (least, most) = (parts.iter().min().unwrap(), parts.iter().max().unwrap());
        assert!(*least * 2 > mean && *most < mean * 2, "{policy}: from {least} to {most} items, {mean} on average");
        cache.check_invariants();
    }
}

#[test]
fn getting_within_the_limit_keeps_to_the_budget() {
    let cache = small(EvictionPolicy::AllkeysLru);
    for i in 0..3000u32 {
        cache.set(&i.to_le_bytes(), &[i as u8; 100]).unwrap();
    }
    let (used, limit) = (cache.memory().used, 128 << 10);
    assert!(used > 2 * limit);
    cache.engine().ctx.arena.ledger.set_limit(limit);
    assert!(!cache.run_maintenance(Duration::ZERO).done);
    assert!(cache.memory().used >= used, "a budget of nothing was spent");
    assert!((0..100).any(|_| cache.run_maintenance(Duration::from_secs(1)).done));
    assert!(cache.memory().used <= limit);
    cache.check_invariants();
}

#[test]
fn maintenance_gives_up_for_a_while_where_nothing_may_leave() {
    let clock = ManualClock::new(1000);
    let builder = Cache::builder().max_memory(4 << 20).page_size(4096).shards(1).policy(EvictionPolicy::NoEviction);
    let cache = builder.seed(1).clock(clock.clone()).maintenance(Maintenance::Manual).build().unwrap();
    let stored = (0..50_000u32).filter(|i| cache.set(&i.to_le_bytes(), &[*i as u8; 100]).is_ok()).count() as u64;
    cache.set_max_memory(1 << 20).unwrap();
    assert!(cache.memory().used > 3 << 20 && cache.len() == stored, "what may not leave stays");
    assert_eq!(cache.set(b"new", b"v").unwrap_err().kind(), ErrorKind::OutOfMemory);
    let engine = cache.engine();
    assert!(!engine.needs_upkeep() && cache.run_maintenance(Duration::from_secs(1)).done, "not again at once");
    clock.advance(Duration::from_secs(6));
    assert!(engine.needs_upkeep());
    assert!(cache.run_maintenance(Duration::from_secs(1)).done && !engine.needs_upkeep());
    let removed = (0..50_000u32).filter(|i| cache.remove(&i.to_le_bytes())).count() as u64;
    assert_eq!(removed, stored);
    clock.advance(Duration::from_secs(6));
    while !cache.run_maintenance(Duration::from_secs(1)).done {}
    assert!(cache.memory().used <= 1 << 20, "{:?}", cache.memory());
    cache.set(b"new", b"v").unwrap();
    cache.check_invariants();
}

/// A cache without eviction whose index is growing and cannot get on with it: full where it has not grown yet.
fn stuck_while_growing() -> (Cache, u32) {
    let builder = Cache::builder().max_memory(8 << 20).page_size(4096).shards(1).policy(EvictionPolicy::NoEviction);
    let cache = builder.seed(1).maintenance(Maintenance::Manual).build().unwrap();
    let (engine, mut stored) = (cache.engine(), 0u32);
    while stored < 10_000 || !engine.shards[0].table.is_resizing() {
        cache.set(&stored.to_le_bytes(), b"v").unwrap();
        stored += 1;
    }
    // The table's size does not change while a policy takes over.
    engine.shards[0].lock(&engine.ctx).change_policy(EvictionPolicy::NoEviction, Objective::Hits);
    (cache, stored)
}

#[test]
fn an_update_without_room_in_the_index_changes_nothing() {
    let (cache, stored) = stuck_while_growing();
    let engine = cache.engine();
    let (mut refused, mut n) = (0, 0u32);
    while refused < 200 {
        n += 1;
        let keys: Vec<Vec<u8>> = (0..4u32).map(|i| [n.to_le_bytes(), i.to_le_bytes()].concat()).collect();
        let (old, gone) = ((n % stored).to_le_bytes().to_vec(), ((n + 5000) % stored).to_le_bytes().to_vec());
        let keys: Vec<Vec<u8>> = [gone.clone(), old.clone()].into_iter().chain(keys).collect();
        let before = (cache.len(), cache.stats().stored, cache.read(&old, <[u8]>::to_vec));
        let was_there = cache.contains(&gone);
        let updated = cache.update(&keys, |update| {
            update.remove(0);
            (1..6).for_each(|i| update.set(i, &n.to_le_bytes()));
        });
        let there = keys[2..].iter().filter(|key| cache.contains(key)).count();
        match updated {
            Ok(()) => assert_eq!(there, 4),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::OutOfMemory);
                assert_eq!(there, 0, "all or nothing, in round {n}");
                assert_eq!((cache.len(), cache.stats().stored, cache.read(&old, <[u8]>::to_vec)), before);
                assert_eq!(cache.contains(&gone), was_there);
                refused += 1;
            }
        }
    }
    while !engine.shards[0].lock(&engine.ctx).adopt_step(EvictionPolicy::NoEviction, 128) {}
    cache.check_invariants();
    cache.update(&[b"new", b"two"], |update| (0..2).for_each(|i| update.set(i, b"v"))).unwrap();
    cache.check_invariants();
}

#[test]
fn a_value_that_may_leave_for_its_own_successor_is_replaced() {
    for len in [8, 60, 120, 300, 700, 1500] {
        let cache = small(EvictionPolicy::VolatileLru);
        let full = (0..).find(|i: &u32| cache.set(&i.to_le_bytes(), b"v").is_err());
        assert!(full.is_some_and(|full| full > 5000));
        (0..1000u32).for_each(|i| assert!(cache.remove(&i.to_le_bytes())));
        let spec = SetOptions::new().ttl(Duration::from_secs(100));
        cache.set_with(b"only", b"v", &spec).unwrap();
        let mut n = 0;
        while cache.contains(b"only") && cache.set(format!("{n}").as_bytes(), b"v").is_ok() {
            n += 1;
        }
        // All is full, and nothing but this one may leave: it, or the room it had in the index, is the next one's.
        cache.remove(b"0");
        cache.remove(b"1");
        if cache.contains(b"only") || cache.set_with(b"only", b"v", &spec).is_ok() {
            let replaced = cache.set_with(b"only", &vec![2; len], &spec);
            assert!(replaced.is_ok(), "{len} bytes: {replaced:?}");
            assert_eq!(cache.read(b"only", |value| value.len()), Some(len));
        }
        cache.check_invariants();
    }
}
