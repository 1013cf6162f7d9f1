//! Everything that can be done to a cache, by chance; then the log is replayed into another cache, of another shape,
//! and a follower is fed from a backlog: all three are the same.

use std::sync::Arc;
use std::time::Duration;

use larder::oplog::{AppendOptions, Backlog, Decoder, Fsync, ReplicationLog};
use larder::storage::{Memory, Storage};
use larder::{Arithmetic, Cache, EvictionPolicy, Kind, ManualClock, SetOptions};

use super::support::{Chance, NAMESPACES, builder, contents, copy_of, options};

const KINDS: [Kind; 3] = [Kind::String, Kind::Hash, Kind::SortedSet];

fn set_options(chance: &mut Chance, now_ms: u64) -> SetOptions {
    let mut options = SetOptions::new();
    match chance.below(6) {
        0 => options = options.ttl(Duration::from_millis(1 + chance.below(3000))),
        1 => options = options.deadline_ms(now_ms + chance.below(2000)),
        2 => options = options.keep_ttl(),
        // Beyond what a small header holds.
        3 => options = options.deadline_ms(now_ms + 100_000_000_000),
        _ => {}
    }
    if chance.one_in(3) {
        options = options.flags(chance.below(1 << 32) as u32);
    }
    if chance.one_in(4) {
        options = options.want_token();
    }
    if chance.one_in(3) {
        options = options.tag(format!("tag{}", chance.below(4))).tag("all");
    }
    if chance.one_in(8) {
        options = options.if_absent();
    }
    options.kind(KINDS[chance.below(3) as usize])
}

/// Does something to the cache.
fn act(cache: &Cache, clock: &ManualClock, chance: &mut Chance, keys: u64) {
    let cache = &cache.namespace(chance.below(NAMESPACES.into()) as u8);
    let key = format!("key{}", chance.below(keys)).into_bytes();
    let key = &key[..];
    let long = if chance.one_in(30) { 12_000 } else { 120 };
    let value = vec![b'a' + chance.below(26) as u8; chance.below(long) as usize];
    match chance.below(25) {
        0..7 => drop(cache.set_with(key, &value, &set_options(chance, cache.now_ms()))),
        7 => drop(cache.set(key, b"17")),
        8 => drop(cache.increment(key, 3)),
        9 => drop(cache.arithmetic(key, &Arithmetic::signed(-4))),
        10 => drop(cache.append(key, b"more")),
        11 => drop(cache.prepend(key, b"less")),
        12 => drop(cache.remove(key)),
        13 => drop(cache.take(key)),
        14 => drop(cache.touch(key, Duration::from_millis(chance.below(4000)))),
        15 => drop(cache.persist(key)),
        16 => drop(cache.touch_until(key, cache.now_ms() + 200_000_000_000)),
        17 => {
            if let Ok(Some((_, token))) = cache.get_with_token(key) {
                drop(cache.compare_and_swap(key, &value, token));
            }
        }
        18 => {
            let keys: Vec<_> = (0..4).map(|i| format!("key{}", (chance.below(keys) + i * keys) % (4 * keys))).collect();
            let removes = chance.below(4) as usize;
            drop(cache.update(&keys, |update| {
                (0..4).for_each(|i| if i == removes { update.remove(i) } else { update.set(i, &value) });
            }));
        }
        19 => {
            if let Ok(mut reservation) = cache.reserve(key, value.len(), &set_options(chance, cache.now_ms()))
                && reservation.write(&value).is_ok()
                && !chance.one_in(4)
            {
                drop(reservation.publish());
            }
        }
        20 => match chance.below(12) {
            0 => cache.clear(),
            1 => cache.clear_after(Duration::from_millis(chance.below(1500))),
            2 => drop(cache.invalidate_prefix(b"key1").run()),
            3 => drop(cache.retain(|key, _, _| key.len() % 2 == 0)),
            4 => cache.clear_all(),
            _ => cache.invalidate_tag(format!("tag{}", chance.below(5))),
        },
        21 => clock.advance(Duration::from_millis(chance.below(800))),
        22 => drop(cache.run_maintenance(Duration::from_millis(20))),
        23 => drop(cache.get(key)),
        _ => drop(cache.contains(key)),
    }
}

/// A follower that is fed from a backlog.
struct Following {
    cache: Cache,
    next: u64,
}

impl Following {
    fn catch_up(&mut self, backlog: &Backlog) {
        let mut records = Vec::new();
        loop {
            let next = backlog.read(self.next, &mut records, 64 << 10).unwrap();
            let mut decoder = Decoder::new(self.next);
            decoder.push(&records);
            while let Some(record) = decoder.next().unwrap() {
                self.cache.apply(&record).unwrap();
            }
            assert_eq!(decoder.next_sequence(), next);
            records.clear();
            if next == self.next {
                return;
            }
            self.next = next;
        }
    }
}

fn run(seed: u64, memory: u64, keys: u64, policy: EvictionPolicy) {
    let mut chance = Chance(seed);
    let clock = ManualClock::new(1_700_000_000_000);
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    let backlog = Arc::new(Backlog::new(16 << 20));
    let cache = builder(&clock).max_memory(memory).policy(policy).append_only(options(&storage, Fsync::No));
    let cache = cache.backlog(backlog.clone()).build().unwrap();
    let other_shape = || builder(&clock).max_memory(64 << 20).shards(1).page_size(16 << 10).seed(99);
    let mut following = Following { cache: other_shape().follower(true).build().unwrap(), next: 1 };
    for group in 0..12 {
        for _ in 0..chance.below(120) {
            act(&cache, &clock, &mut chance, keys);
        }
        if chance.one_in(3) {
            cache.rewrite_log().unwrap();
        }
        cache.sync_log().unwrap();
        // Clearings that are due are done by whoever comes first.
        let _ = cache.len();
        cache.sync_log().unwrap();
        let expected = contents(&cache);
        // Looking may have removed what has ended.
        cache.sync_log().unwrap();
        let copy = AppendOptions::new(copy_of(&*storage)).rewrite(0, 0);
        let again = other_shape().append_only(copy).build().unwrap();
        let recovery = again.recovery().unwrap();
        assert_eq!((recovery.evicted, &recovery.cut), (0, &None), "seed {seed}, group {group}");
        assert_eq!(contents(&again), expected, "replayed: seed {seed}, group {group}");
        following.catch_up(&backlog);
        assert_eq!(contents(&following.cache), expected, "followed: seed {seed}, group {group}");
        assert_eq!(following.next, cache.log_status().last + 1);
    }
    following.cache.check_invariants();
    cache.check_invariants();
    // What follows is the same also when it becomes a primary.
    following.cache.set_follower(false);
    assert_eq!(contents(&following.cache), contents(&cache), "promoted: seed {seed}");
    following.cache.set(b"new", b"value").unwrap();
}

#[test]
fn a_replayed_log_is_the_cache() {
    for seed in 0..12 {
        run(seed, 8 << 20, 60, EvictionPolicy::Default);
    }
}

#[test]
fn evictions_are_replayed_too() {
    for (seed, policy) in [EvictionPolicy::Default, EvictionPolicy::AllkeysLru, EvictionPolicy::VolatileTtl]
        .into_iter()
        .cycle()
        .enumerate()
        .take(9)
    {
        run(100 + seed as u64, 128 << 10, 2000, policy);
    }
}

/// More of the same, for when there is time: `cargo test --release --test oplog -- --ignored`.
#[test]
#[ignore = "takes a minute"]
fn a_replayed_log_is_the_cache_for_many_seeds() {
    for seed in 1000..1300 {
        run(seed, 8 << 20, 60, EvictionPolicy::Default);
        run(seed, 128 << 10, 2000, EvictionPolicy::Default);
    }
}

#[test]
fn idle_items_come_back_as_if_just_used() {
    let clock = ManualClock::new(1_700_000_000_000);
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    let cache = builder(&clock).append_only(options(&storage, Fsync::No)).build().unwrap();
    cache.set_with(b"k", b"v", &SetOptions::new().time_to_idle(Duration::from_secs(10))).unwrap();
    clock.advance(Duration::from_secs(9));
    drop(cache);
    let cache = builder(&clock).append_only(options(&storage, Fsync::No)).build().unwrap();
    clock.advance(Duration::from_secs(9));
    assert_eq!(cache.metadata(b"k").unwrap().time_to_idle, Some(Duration::from_secs(10)));
    clock.advance(Duration::from_secs(10));
    assert!(!cache.contains(b"k"));
}

#[test]
fn tokens_do_not_come_twice() {
    let clock = ManualClock::new(1_700_000_000_000);
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    let build = || builder(&clock).append_only(options(&storage, Fsync::No)).build().unwrap();
    let mut seen = std::collections::HashSet::new();
    for life in 0..4 {
        let cache = build();
        for i in 0..50u8 {
            let outcome = cache.set_with(&[i], b"v", &SetOptions::new().want_token()).unwrap();
            assert!(seen.insert(outcome.token.unwrap().as_u64()), "in life {life}");
        }
        if life == 2 {
            cache.clear();
            cache.rewrite_log().unwrap();
        }
    }
}

#[test]
fn planned_clears_survive_and_are_done_once() {
    let clock = ManualClock::new(1_700_000_000_000);
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    let build = || builder(&clock).append_only(options(&storage, Fsync::No)).build().unwrap();
    let cache = build();
    cache.set(b"k", b"v").unwrap();
    cache.clear_after(Duration::from_secs(5));
    drop(cache);
    let cache = build();
    cache.rewrite_log().unwrap();
    drop(cache);
    let cache = build();
    assert!(cache.contains(b"k"));
    clock.advance(Duration::from_secs(5));
    assert!(!cache.contains(b"k"));
    cache.set(b"k", b"w").unwrap();
    drop(cache);
    assert!(build().contains(b"k"));
}

#[test]
fn a_cache_that_became_smaller_forgets_for_good() {
    let clock = ManualClock::new(1_700_000_000_000);
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    let build = |memory| builder(&clock).max_memory(memory).append_only(options(&storage, Fsync::No)).build().unwrap();
    let cache = build(4 << 20);
    for i in 0..2000u32 {
        cache.set(&i.to_le_bytes(), &[1; 800]).unwrap();
    }
    drop(cache);
    let cache = build(512 << 10);
    assert!(cache.recovery().unwrap().evicted > 1000);
    let left = contents(&cache);
    assert!(!left.is_empty());
    drop(cache);
    assert_eq!(contents(&build(4 << 20)), left, "what was evicted does not come back");
}

#[test]
fn a_filled_cache_is_written_when_a_log_is_switched_on() {
    let clock = ManualClock::new(1_700_000_000_000);
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    let cache = builder(&clock).build().unwrap();
    (0..100u8).for_each(|i| cache.set(&[i], &[i; 50]).unwrap());
    cache.start_append_only(options(&storage, Fsync::No)).unwrap();
    cache.set(b"later", b"v").unwrap();
    assert!(cache.start_append_only(options(&storage, Fsync::No)).is_err());
    let expected = contents(&cache);
    assert!(cache.stop_append_only().unwrap());
    cache.set(b"unlogged", b"v").unwrap();
    drop(cache);
    let cache = builder(&clock).append_only(options(&storage, Fsync::No)).build().unwrap();
    assert_eq!(contents(&cache), expected);
    drop(cache);
    // Another cache does not take the log over unless it is told to.
    let cache = builder(&clock).build().unwrap();
    cache.set(b"other", b"v").unwrap();
    let error = cache.start_append_only(options(&storage, Fsync::No)).unwrap_err();
    assert_eq!(error.kind(), larder::ErrorKind::AlreadyExists);
    cache.start_append_only(options(&storage, Fsync::No).overwrite(true)).unwrap();
    let expected = contents(&cache);
    drop(cache);
    let cache = builder(&clock).append_only(options(&storage, Fsync::No)).build().unwrap();
    assert_eq!(contents(&cache), expected);
}

#[test]
fn maintenance_rewrites_a_log_that_has_grown() {
    let clock = ManualClock::new(1_700_000_000_000);
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    let options = options(&storage, Fsync::No).rewrite(100, 64 << 10);
    let cache = builder(&clock).append_only(options).build().unwrap();
    let mut largest = 0;
    for i in 0..5000u32 {
        cache.set(&[(i % 50) as u8], &[i as u8; 100]).unwrap();
        if i % 20 == 0 {
            clock.advance(Duration::from_millis(50));
            cache.run_maintenance(Duration::from_millis(1));
        }
        largest = largest.max(cache.append_file().unwrap().bytes());
    }
    assert!((64 << 10..100 << 10).contains(&largest), "{largest}");
    assert!(storage.list().unwrap().len() <= 5, "{:?}", storage.list());
    let expected = contents(&cache);
    drop(cache);
    let cache = builder(&clock).append_only(super::support::options(&storage, Fsync::No)).build().unwrap();
    assert_eq!(contents(&cache), expected);
    assert!(cache.recovery().unwrap().base_records >= 50);
}
