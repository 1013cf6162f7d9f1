//! Listeners: every item that leaves is told once, with the right cause, in order, without a lock, whoever panics.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use larder::{Cache, CacheBuilder, EvictionPolicy, Maintenance, ManualClock, RemovalCause, SetOptions};

type Told = (u8, Vec<u8>, Vec<u8>, RemovalCause);

/// A listener's notes.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<Told>>>);

impl Notes {
    fn take(&self) -> Vec<Told> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    fn listen(&self, builder: CacheBuilder) -> Cache {
        let notes = Arc::clone(&self.0);
        let note = move |r: &larder::Removal<'_>| {
            notes.lock().unwrap().push((r.namespace, r.key.to_vec(), r.value.to_vec(), r.cause));
        };
        builder.eviction_listener(note).build().unwrap()
    }
}

fn small() -> (CacheBuilder, ManualClock) {
    let clock = ManualClock::new(1_700_000_000_000);
    let builder = Cache::builder().max_memory(256 << 10).page_size(1024).shards(2).seed(1).clock(clock.clone());
    (builder.maintenance(Maintenance::Manual).expiry_lag(Duration::ZERO), clock)
}

fn told(key: &[u8], value: &[u8], cause: RemovalCause) -> Told {
    (0, key.to_vec(), value.to_vec(), cause)
}

#[test]
fn each_cause_is_named() {
    let (builder, clock) = small();
    let notes = Notes::default();
    let cache = notes.listen(builder);
    cache.set(b"k", b"1").unwrap();
    assert!(notes.take().is_empty(), "nothing has left");
    cache.set(b"k", b"2").unwrap();
    cache.append(b"k", b"3").unwrap();
    cache.remove(b"k");
    cache.remove(b"k");
    let expected = [(b"1", RemovalCause::Replaced), (b"2", RemovalCause::Replaced)];
    let mut expected: Vec<Told> = expected.iter().map(|&(value, cause)| told(b"k", value, cause)).collect();
    expected.push(told(b"k", b"23", RemovalCause::Removed));
    assert_eq!(notes.take(), expected);
    // Over, and come across by a write; over, and swept.
    for key in [b"a", b"b"] {
        cache.set_with(key, b"v", &SetOptions::new().ttl(Duration::from_millis(5))).unwrap();
    }
    clock.advance(Duration::from_millis(5));
    assert!(cache.get(b"a").unwrap().is_none());
    assert!(notes.take().is_empty(), "a read that takes no lock removes nothing");
    cache.set(b"a", b"w").unwrap();
    assert_eq!(notes.take(), [told(b"a", b"v", RemovalCause::Expired)]);
    cache.run_maintenance(Duration::from_secs(1));
    assert_eq!(notes.take(), [told(b"b", b"v", RemovalCause::Expired)]);
    // Cleared, in another namespace.
    let other = cache.namespace(7);
    other.set(b"k", b"v").unwrap();
    other.clear();
    assert!(notes.take().is_empty(), "a clear is one store");
    cache.run_maintenance(Duration::from_secs(1));
    assert_eq!(notes.take(), [(7, b"k".to_vec(), b"v".to_vec(), RemovalCause::Flushed)]);
    cache.set_with(b"t", b"v", &SetOptions::new().tag("tag")).unwrap();
    cache.invalidate_tag("tag");
    cache.set(b"t", b"w").unwrap();
    assert_eq!(notes.take(), [told(b"t", b"v", RemovalCause::Flushed)]);
    // The rest of what removes.
    assert_eq!(cache.invalidate_prefix(b"t").run(), 1);
    assert_eq!(cache.retain(|_, _, _| false), 1);
    cache.update(&[b"x"], |update| update.set(0, b"1")).unwrap();
    cache.update(&[b"x"], |update| update.set(0, b"2")).unwrap();
    cache.update(&[b"x"], |update| update.remove(0)).unwrap();
    let causes: Vec<_> = notes.take().into_iter().map(|(_, key, value, cause)| (key[0], value[0], cause)).collect();
    let removed = RemovalCause::Removed;
    let replaced = RemovalCause::Replaced;
    assert_eq!(causes, [(b't', b'w', removed), (b'a', b'w', removed), (b'x', b'1', replaced), (b'x', b'2', removed)]);
}

#[test]
fn what_had_ended_when_it_was_cleared_has_expired() {
    for with_log in [false, true] {
        let (builder, clock) = small();
        let notes = Notes::default();
        let cache = notes.listen(if with_log {
            builder.append_only(larder::oplog::AppendOptions::new(larder::storage::Memory::new()))
        } else {
            builder
        });
        let put = |key: &[u8], ms| {
            cache.set_with(key, b"v", &SetOptions::new().ttl(Duration::from_millis(ms)).tag("t")).unwrap();
        };
        let sweep = || {
            cache.run_maintenance(Duration::from_secs(1));
            let mut told = notes.take();
            told.sort_by(|a, b| a.1.cmp(&b.1));
            told
        };
        // One is over before the clear, one is over only when it is swept.
        put(b"before", 5);
        put(b"after", 50);
        clock.advance(Duration::from_millis(10));
        cache.clear();
        clock.advance(Duration::from_millis(100));
        let (expired, flushed) = (RemovalCause::Expired, RemovalCause::Flushed);
        assert_eq!(sweep(), [told(b"after", b"v", flushed), told(b"before", b"v", expired)]);
        // The same when a write comes across them.
        put(b"before", 5);
        put(b"after", 50);
        clock.advance(Duration::from_millis(10));
        cache.clear();
        for key in [&b"before"[..], b"after"] {
            cache.set(key, b"w").unwrap();
        }
        assert_eq!(notes.take(), [told(b"before", b"v", expired), told(b"after", b"v", flushed)]);
        put(b"over", 5);
        clock.advance(Duration::from_millis(10));
        cache.invalidate_tag("t");
        assert_eq!(sweep(), [told(b"over", b"v", expired)]);
        let stats = cache.stats();
        assert_eq!((stats.expired, stats.flushed_items), (3, 2));
        cache.check_invariants();
    }
}

#[test]
fn a_change_of_form_is_not_told() {
    let (builder, _) = small();
    let notes = Notes::default();
    let cache = notes.listen(builder);
    cache.set(b"k", b"v").unwrap();
    drop(cache.get_with_token(b"k").unwrap());
    cache.touch(b"k", Duration::from_secs(5 * 365 * 86_400)).unwrap();
    assert!(notes.take().is_empty());
}

#[test]
fn what_was_stored_is_there_or_was_told() {
    for policy in [EvictionPolicy::Default, EvictionPolicy::AllkeysLru, EvictionPolicy::S3Fifo] {
        let (builder, _) = small();
        let notes = Notes::default();
        let cache = notes.listen(builder.policy(policy));
        let mut stored: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
        for i in 0..6000u32 {
            let (key, value) = ((i % 4001).to_le_bytes(), vec![i as u8; 20 + (i as usize * 37) % 400]);
            if cache.set_with(&key, &value, &SetOptions::new()).unwrap().stored {
                // Only after what was there was told. It may itself have left again within the call.
                let mut told = notes.take();
                let again = |(_, k, v, cause): &Told| k[..] == key && *v == value && *cause == RemovalCause::Evicted;
                let gone = told.iter().position(again).map(|at| told.remove(at));
                settle(&mut stored, told);
                if gone.is_none() {
                    stored.insert(key.to_vec(), value);
                }
            }
        }
        cache.set_max_memory(128 << 10).unwrap();
        cache.set(b"large", &[1; 60_000]).unwrap();
        settle(&mut stored, notes.take());
        assert!(cache.stats().evictions > 1000, "{policy}");
        stored.remove(&b"large"[..]);
        cache.remove(b"large");
        let there: HashMap<Vec<u8>, Vec<u8>> =
            cache.iter().map(|entry| (entry.key.into_vec(), entry.value.unwrap().into_vec())).collect();
        assert_eq!(there, stored, "{policy}");
        cache.check_invariants();
    }
}

fn settle(stored: &mut HashMap<Vec<u8>, Vec<u8>>, notes: Vec<Told>) {
    for (_, key, value, cause) in notes {
        assert!(matches!(cause, RemovalCause::Evicted | RemovalCause::Replaced), "{cause:?}");
        assert_eq!(stored.remove(&key), Some(value), "{key:?} was told, and was not there");
    }
}

#[test]
fn the_limit_holds_with_a_listener() {
    let (builder, _) = small();
    let notes = Notes::default();
    let cache = notes.listen(builder);
    for i in 0..3000u32 {
        cache.set(&i.to_le_bytes(), &[1; 300]).unwrap();
        let memory = cache.memory();
        assert!(memory.used <= memory.limit + (16 << 10), "{i}: {memory:?}");
    }
    cache.set_max_memory(96 << 10).unwrap();
    let memory = cache.memory();
    assert!(memory.used <= memory.limit + (16 << 10) && memory.items > 0, "{memory:?}");
}

#[test]
fn calls_of_a_key_come_in_order() {
    const KEYS: u64 = 16;
    const ROUNDS: u64 = 4000;
    let seen: Arc<Vec<Mutex<Vec<u64>>>> = Arc::new((0..KEYS).map(|_| Mutex::new(Vec::new())).collect());
    let theirs = Arc::clone(&seen);
    let read = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
    let cache = Cache::builder()
        .max_memory(4 << 20)
        .shards(2)
        .eviction_listener(move |r| theirs[read(r.key) as usize].lock().unwrap().push(read(r.value)))
        .build()
        .unwrap();
    // Several threads count the same keys up, each under the key's own lock: so the order of values is that of numbers.
    let next: Vec<Mutex<u64>> = (0..KEYS).map(|_| Mutex::new(0)).collect();
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (cache, next) = (cache.clone(), &next);
            scope.spawn(move || {
                for i in 0..ROUNDS {
                    let key = (i * 7 + thread) % KEYS;
                    let mut number = next[key as usize].lock().unwrap();
                    cache.set(&key.to_le_bytes(), &number.to_le_bytes()).unwrap();
                    if i % 13 == 0 {
                        cache.remove(&key.to_le_bytes());
                    }
                    *number += 1;
                }
            });
        }
    });
    for key in 0..KEYS {
        cache.remove(&key.to_le_bytes());
    }
    for (key, values) in seen.iter().enumerate() {
        let values = values.lock().unwrap();
        let stored = *next[key].lock().unwrap();
        assert!(values.iter().copied().eq(0..stored), "key {key}: every value once, in order");
    }
}

#[test]
fn a_panic_is_counted_and_harms_nobody() {
    let (builder, _) = small();
    let calls = Arc::new(AtomicU64::new(0));
    let theirs = Arc::clone(&calls);
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let cache = builder
        .eviction_listener(move |removal| {
            theirs.fetch_add(1, SeqCst);
            assert!(removal.key[0] % 2 == 1, "even");
        })
        .build()
        .unwrap();
    for i in 0..100u8 {
        cache.set(&[i], b"v").unwrap();
    }
    for i in 0..100u8 {
        assert!(cache.remove(&[i]));
    }
    std::panic::set_hook(hook);
    assert_eq!((calls.load(SeqCst), cache.stats().listener_panics), (100, 50));
    cache.check_invariants();
}

#[test]
fn a_listener_may_use_the_cache() {
    let slot: Arc<OnceLock<Cache>> = Arc::default();
    let (mine, depth, calls) = (Arc::clone(&slot), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (inside, counted) = (Arc::clone(&depth), Arc::clone(&calls));
    let (builder, _) = small();
    let cache = builder
        .eviction_listener(move |removal| {
            assert_eq!(inside.fetch_add(1, SeqCst), 0, "calls are not nested");
            let cache = mine.get().unwrap();
            counted.fetch_add(1, SeqCst);
            // Everything that takes locks, on other keys and on this one.
            let left = removal.value.first().copied().unwrap_or(0);
            if left > 0 {
                cache.set(removal.key, &[left - 1]).unwrap();
                cache.set(&[removal.key, b"'"].concat(), &[left - 1]).unwrap();
                cache.remove(removal.key);
            }
            if removal.key != b"log" {
                cache.update(&[b"log"], |update| update.set(0, b"")).unwrap();
            }
            assert!(cache.len() < 1000);
            cache.clear_after(Duration::from_secs(1));
            cache.set_policy(EvictionPolicy::AllkeysLru, larder::Objective::Hits);
            cache.run_maintenance(Duration::from_millis(1));
            inside.fetch_sub(1, SeqCst);
        })
        .build()
        .unwrap();
    slot.set(cache.clone()).unwrap();
    for i in 0..50u8 {
        cache.set(&[i], &[3]).unwrap();
        cache.remove(&[i]);
    }
    assert!(calls.load(SeqCst) > 150);
    assert_eq!((depth.load(SeqCst), cache.stats().listener_panics), (0, 0));
    cache.check_invariants();
}

#[test]
fn a_listener_that_never_ends_by_itself_is_left_to_the_next() {
    let slot: Arc<OnceLock<Cache>> = Arc::default();
    let (mine, calls) = (Arc::clone(&slot), Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&calls);
    let (builder, _) = small();
    let cache = builder
        .eviction_listener(move |removal| {
            counted.fetch_add(1, SeqCst);
            // Two for one: without a bound this would go on until memory is gone.
            let cache = mine.get().unwrap();
            for key in [b"one", b"two"] {
                cache.set(key, removal.value).unwrap();
            }
        })
        .build()
        .unwrap();
    slot.set(cache.clone()).unwrap();
    cache.set(b"k", &[1; 10_000]).unwrap();
    cache.remove(b"k");
    cache.set(b"one", &[1; 10_000]).unwrap();
    let memory = cache.memory();
    assert!(memory.used < 16 << 20, "{memory:?}");
    assert!(calls.load(SeqCst) > 50);
    cache.check_invariants();
}

#[test]
fn what_a_listener_removes_takes_a_bounded_share_of_a_small_cache() {
    let slot: Arc<OnceLock<Cache>> = Arc::default();
    let (mine, peak) = (Arc::clone(&slot), Arc::new(AtomicU64::new(0)));
    let highest = Arc::clone(&peak);
    let cache = Cache::builder()
        .max_memory(1 << 20)
        .shards(4)
        .seed(1)
        .maintenance(Maintenance::Manual)
        .eviction_listener(move |removal| {
            if removal.key == b"start" {
                let cache = mine.get().unwrap();
                // What is removed here can only be told when this call has returned.
                for i in 0..2000u32 {
                    cache.set(&i.to_le_bytes(), &[1; 2000]).unwrap();
                    let memory = cache.memory();
                    highest.fetch_max(memory.used.saturating_sub(memory.limit), SeqCst);
                }
            }
        })
        .build()
        .unwrap();
    slot.set(cache.clone()).unwrap();
    cache.set(b"start", b"v").unwrap();
    cache.remove(b"start");
    let (stats, over) = (cache.stats(), peak.load(SeqCst));
    assert!(stats.notices_lost > 500, "more was removed than may wait: {stats:?}");
    assert!(over <= 32 << 10, "{over} bytes over the limit");
    cache.check_invariants();
}

#[test]
fn a_slow_listener_slows_writers_and_takes_no_more_memory() {
    let slow = Arc::new(AtomicBool::new(true));
    let (most, theirs, told) = (Arc::new(AtomicU64::new(0)), Arc::clone(&slow), Arc::new(AtomicU64::new(0)));
    let (slot, counted): (Arc<OnceLock<Cache>>, _) = (Arc::default(), Arc::clone(&told));
    let (mine, peak) = (Arc::clone(&slot), Arc::clone(&most));
    let cache = Cache::builder()
        .max_memory(8 << 20)
        .shards(1)
        .eviction_listener(move |_| {
            counted.fetch_add(1, SeqCst);
            if theirs.load(SeqCst) {
                peak.fetch_max(mine.get().unwrap().memory().side, SeqCst);
                std::thread::sleep(Duration::from_millis(1));
            }
        })
        .build()
        .unwrap();
    slot.set(cache.clone()).unwrap();
    let before = cache.memory().side;
    std::thread::scope(|scope| {
        for thread in 0..3u8 {
            let cache = cache.clone();
            scope.spawn(move || {
                for _ in 0..200 {
                    cache.set(&[thread], &[1; 10_000]).unwrap();
                }
            });
        }
    });
    slow.store(false, SeqCst);
    cache.run_maintenance(Duration::from_secs(1));
    assert_eq!(told.load(SeqCst), 3 * 199);
    let most = most.load(SeqCst) - before;
    assert!(most > 10_000 && most < 2 << 20, "{most} bytes waited");
    assert!(cache.memory().side < before + (64 << 10), "and are off the ledger again");
}

#[test]
fn caches_whose_listeners_use_each_other_do_not_wait_for_each_other() {
    let slots: Arc<[OnceLock<Cache>; 2]> = Arc::default();
    for i in 0..2 {
        let theirs = Arc::clone(&slots);
        let build = Cache::builder().max_memory(8 << 20).shards(1).eviction_listener(move |removal| {
            let left = removal.value[0];
            if left > 0 {
                let mut value = removal.value.to_vec();
                value[0] = left - 1;
                theirs[1 - i].get().unwrap().set(removal.key, &value).unwrap();
            }
        });
        slots[i].set(build.build().unwrap()).unwrap();
    }
    std::thread::scope(|scope| {
        for thread in 0..4usize {
            let cache = slots[thread % 2].get().unwrap().clone();
            scope.spawn(move || {
                let mut value = vec![1; 20_000];
                for i in 0..300u32 {
                    value[0] = (i % 4) as u8;
                    cache.set(&[thread as u8 / 2], &value).unwrap();
                }
            });
        }
    });
    slots.iter().for_each(|slot| slot.get().unwrap().check_invariants());
}
