//! Loads against writers: what was loaded before a write or a removal is neither stored nor seen after it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;

use larder::{Cache, SetOptions};

use super::{cache, gate, until_waiting};

#[test]
fn what_is_removed_while_it_is_loaded_does_not_come_back() {
    type Change = fn(&Cache);
    let changes: [(&str, Change, Option<&[u8]>); 12] = [
        ("remove", |cache| _ = cache.remove(b"k"), None),
        ("take", |cache| drop(cache.take(b"k")), None),
        ("clear", |cache| cache.clear(), None),
        ("clear_all", |cache| cache.clear_all(), None),
        ("invalidate_prefix", |cache| _ = cache.invalidate_prefix(b"k").run(), None),
        ("invalidate_if", |cache| _ = cache.invalidate_if(|_, value, _| value == b"old").run(), None),
        ("retain", |cache| _ = cache.retain(|_, value, _| value != b"old"), None),
        ("update", |cache| cache.update(&[b"k"], |update| update.remove(0)).unwrap(), None),
        ("set", |cache| cache.set(b"k", b"new").unwrap(), Some(b"new")),
        ("set and remove", |cache| assert!(cache.add(b"k", b"new").unwrap() && cache.remove(b"k")), None),
        ("count", |cache| _ = cache.arithmetic(b"k", &larder::Arithmetic::signed(5)).unwrap(), Some(b"5")),
        ("reserve", |cache| drop(cache.reserve(b"k", 0, &SetOptions::new()).unwrap().publish()), Some(b"")),
    ];
    for (name, change, after) in changes {
        let cache = cache();
        let (gate, keeper) = gate();
        thread::scope(|scope| {
            let load = move || {
                gate.pass();
                b"old".to_vec()
            };
            let leader = scope.spawn(|| cache.get_with(b"k", load).unwrap().to_vec());
            keeper.wait();
            let waiter = scope.spawn(|| cache.get_with(b"k", || b"?".to_vec()).unwrap().to_vec());
            until_waiting(&cache, 1);
            change(&cache);
            // Whoever comes now does not get what was read before the change.
            let later = cache.get_with(b"k", || b"later".to_vec()).unwrap().to_vec();
            assert_eq!(later, after.unwrap_or(b"later"), "{name}");
            keeper.open();
            assert_eq!(leader.join().unwrap(), b"old", "{name}");
            assert_eq!(waiter.join().unwrap(), b"old", "{name}: it came before the change");
        });
        assert_eq!(cache.read(b"k", |v| v.to_vec()).as_deref(), Some(after.unwrap_or(b"later")), "{name}");
        assert_eq!((cache.load_stats().overtaken, cache.load_stats().in_flight), (1, 0), "{name}");
    }
}

#[test]
fn what_does_not_change_a_key_does_not_overtake_its_load() {
    let cache = cache();
    let value = cache.get_with(b"k", || {
        assert!(!cache.replace(b"k", b"x").unwrap() && !cache.append(b"k", b"x").unwrap());
        assert!(!cache.touch(b"k", super::SECOND).unwrap());
        cache.set(b"other", b"x").unwrap();
        cache.namespace(1).clear();
        cache.namespace(1).remove(b"k");
        b"v".to_vec()
    });
    assert_eq!(&*value.unwrap(), b"v");
    assert!(cache.contains(b"k"));
    assert_eq!(cache.load_stats().overtaken, 0);
}

/// A source of truth, and threads that change it and invalidate, and others that read through: nobody may read, after
/// an invalidation is over, what was true before it.
#[test]
fn nothing_stale_is_ever_read() {
    for clear in [false, true] {
        let cache = cache();
        // Truth has the number of the last change; `valid` the last one whose invalidation is over.
        let (truth, valid, stop) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !stop.load(Relaxed) {
                        let least = valid.load(std::sync::atomic::Ordering::Acquire);
                        let load = || truth.load(Relaxed).to_le_bytes().to_vec();
                        let read = cache.get_with(b"k", load).unwrap();
                        let read = u64::from_le_bytes((*read).try_into().unwrap());
                        assert!(read >= least, "{read} was read after {least}");
                    }
                });
            }
            for i in 1..=3000 {
                truth.store(i, Relaxed);
                if clear {
                    cache.clear();
                } else {
                    cache.remove(b"k");
                }
                valid.store(i, std::sync::atomic::Ordering::Release);
            }
            stop.store(true, Relaxed);
        });
        cache.check_invariants();
    }
}
