//! Tags and groups: what was invalidated never comes back, and nothing else goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use larder::{Arithmetic, Cache, CacheBuilder, ErrorKind, Maintenance, ManualClock, SetOptions};

fn builder() -> (CacheBuilder, ManualClock) {
    let clock = ManualClock::new(1_700_000_000_000);
    let builder = Cache::builder().max_memory(256 << 10).page_size(1024).shards(2).seed(1).clock(clock.clone());
    (builder.maintenance(Maintenance::Manual).expiry_lag(Duration::ZERO), clock)
}

fn small() -> Cache {
    builder().0.build().unwrap()
}

fn tags(tags: &[&str]) -> SetOptions {
    SetOptions::new().tags(tags)
}

/// In every way to look for it, the key is there, or is not.
#[track_caller]
fn check(cache: &Cache, key: &[u8], there: bool) {
    assert_eq!(cache.contains(key), there);
    assert_eq!(cache.metadata(key).is_some(), there);
    assert_eq!(cache.peek(key).unwrap().is_some(), there);
    assert_eq!(cache.get(key).unwrap().is_some(), there);
    assert_eq!(cache.iter().any(|entry| &*entry.key == key), there);
    let mut found = false;
    cache.get_many(&[key], |_, value| found = value.is_some());
    assert_eq!(found, there);
}

#[test]
fn a_tag_takes_its_items_along_and_no_others() {
    let cache = small();
    for i in 0..100u8 {
        let user = format!("user:{}", i % 10);
        cache.set_with(&[i], &[i; 50], &tags(&[&user, "all"])).unwrap();
        cache.namespace(3).set_with(&[i], &[i; 50], &tags(&[&user])).unwrap();
    }
    cache.set(b"plain", b"v").unwrap();
    cache.invalidate_tag("user:4");
    for i in 0..100u8 {
        check(&cache, &[i], i % 10 != 4);
        check(&cache.namespace(3), &[i], true);
    }
    cache.invalidate_tag("never used");
    cache.namespace(3).invalidate_tag("user:5");
    check(&cache, &[5], true);
    check(&cache.namespace(3), &[5], false);
    cache.invalidate_tag("all");
    (0..100u8).for_each(|i| check(&cache, &[i], false));
    check(&cache, b"plain", true);
    cache.run_maintenance(Duration::from_secs(1));
    assert_eq!((cache.len(), cache.namespace(3).len(), cache.stats().flushed_items), (1, 90, 110));
    cache.check_invariants();
}

#[test]
fn what_is_stored_after_an_invalidation_is_there() {
    let cache = small();
    for round in 0..2000u32 {
        cache.set_with(b"k", &round.to_le_bytes(), &tags(&["t"])).unwrap();
        check(&cache, b"k", true);
        cache.invalidate_tag("t");
        check(&cache, b"k", false);
        if round % 100 == 0 {
            cache.run_maintenance(Duration::from_secs(1));
            check(&cache, b"k", false);
        }
    }
    cache.check_invariants();
}

#[test]
fn operations_keep_tags_or_replace_them() {
    type Change = fn(&Cache);
    let keeping: [(&str, Change); 8] = [
        ("append", |c| assert!(c.append(b"k", b"1").unwrap())),
        ("prepend", |c| assert!(c.prepend(b"k", b"1").unwrap())),
        ("count", |c| assert_eq!(c.increment(b"k", 1).unwrap(), Some(8))),
        ("count in Redis's way", |c| assert_eq!(c.arithmetic(b"k", &Arithmetic::signed(-1)).unwrap(), Some(6))),
        ("touch", |c| assert!(c.touch(b"k", Duration::from_secs(5)).unwrap())),
        ("touch for years", |c| assert!(c.touch(b"k", Duration::from_secs(9 * 365 * 86_400)).unwrap())),
        ("token", |c| assert!(c.get_with_token(b"k").unwrap().is_some())),
        ("persist", |c| assert!(!c.persist(b"k"))),
    ];
    for (what, change) in keeping {
        let cache = small();
        cache.set_with(b"k", b"7", &tags(&["a", "b"])).unwrap();
        change(&cache);
        assert_eq!(cache.metadata(b"k").unwrap().tags, 2, "{what}");
        cache.invalidate_tag("b");
        check(&cache, b"k", false);
    }
    let cache = small();
    cache.set_with(b"k", b"7", &tags(&["a"])).unwrap();
    cache.set(b"k", b"8").unwrap();
    cache.invalidate_tag("a");
    check(&cache, b"k", true);
    // What is made of an old value is as old as it: it goes with a tag invalidated since, whatever was done to it.
    cache.set_with(b"k", b"7", &tags(&["a"])).unwrap();
    cache.invalidate_tag("a");
    assert!(!cache.append(b"k", b"x").unwrap() && !cache.touch(b"k", Duration::from_secs(1)).unwrap());
    assert_eq!((cache.increment(b"k", 1).unwrap(), cache.remove(b"k")), (None, false));
    assert!(cache.add(b"k", b"new").unwrap());
}

#[test]
fn reservations_and_updates_have_tags_too() {
    let cache = small();
    let mut reservation = cache.reserve(b"r", 3, &tags(&["t"])).unwrap();
    // Invalidated before it is published: it is a new value all the same.
    cache.invalidate_tag("t");
    reservation.write(b"abc").unwrap();
    assert!(reservation.publish().unwrap().stored);
    assert_eq!(cache.read(b"r", <[u8]>::to_vec), Some(b"abc".to_vec()));
    cache.update(&[b"u"], |update| update.set_with(0, b"v", &tags(&["t"]))).unwrap();
    check(&cache, b"u", true);
    cache.invalidate_tag("t");
    check(&cache, b"r", false);
    check(&cache, b"u", false);
    // Over a value with a token, for which the reserved header has no room.
    cache.set_with(b"r", b"v", &SetOptions::new().want_token()).unwrap();
    let mut reservation = cache.reserve(b"r", 3, &tags(&["t"])).unwrap();
    cache.invalidate_tag("t");
    reservation.write(b"abc").unwrap();
    reservation.publish().unwrap();
    assert_eq!((cache.read(b"r", <[u8]>::to_vec), cache.metadata(b"r").unwrap().tags), (Some(b"abc".to_vec()), 1));
    let many: Vec<String> = (0..17).map(|i| i.to_string()).collect();
    let error = cache.reserve(b"r", 3, &SetOptions::new().tags(&many)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooManyTags);
    let error = cache.update(&[b"r"], |update| update.set_with(0, b"v", &SetOptions::new().tags(&many))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooManyTags, "{error}");
    cache.set_with(b"sixteen", b"v", &SetOptions::new().tags(&many[..16])).unwrap();
    cache.invalidate_tag("15");
    check(&cache, b"sixteen", false);
}

#[test]
fn any_number_of_tags_can_be_invalidated() {
    let cache = small();
    // Far more tags than the table has places, without any maintenance.
    for i in 0..3000u32 {
        let tag = format!("tag {i}");
        cache.set_with(&i.to_le_bytes(), b"v", &tags(&[&tag])).unwrap();
        if i >= 10 {
            cache.invalidate_tag(format!("tag {}", i - 10));
        }
        for back in 0..20.min(i) {
            assert_eq!(cache.contains(&(i - back).to_le_bytes()), back < 10, "{i}: {back} back");
        }
    }
    assert!((0..2990u32).all(|i| !cache.contains(&i.to_le_bytes())));
    assert!(cache.memory().used < 256 << 10 && cache.stats().flushed_items > 2000);
    cache.check_invariants();
}

#[test]
fn sweeps_for_tags_come_once_a_lag_and_bring_all_memory_back() {
    let (builder, clock) = builder();
    let cache = builder.expiry_lag(Duration::from_secs(1)).build().unwrap();
    let fill = || {
        for i in 0..500u32 {
            cache.set_with(&i.to_le_bytes(), &[1; 100], &tags(&["t"])).unwrap();
        }
        cache.invalidate_tag("t");
    };
    fill();
    assert!(cache.run_maintenance(Duration::from_secs(1)).done);
    assert_eq!(cache.len(), 0);
    fill();
    assert!(cache.run_maintenance(Duration::from_secs(1)).done);
    assert_eq!(cache.len(), 500, "the next sweep waits for its time");
    clock.advance(Duration::from_secs(1));
    assert!(cache.run_maintenance(Duration::from_secs(1)).done);
    assert_eq!((cache.len(), cache.memory().chunk_bytes), (0, 0));
}

#[test]
fn room_is_made_of_what_was_invalidated() {
    let cache = small();
    for i in 0..5000u32 {
        cache.set_with(&i.to_le_bytes(), &[1; 100], &tags(&["t"])).unwrap();
    }
    cache.invalidate_tag("t");
    for i in 0..500u32 {
        cache.set(&i.to_le_bytes(), &[2; 100]).unwrap();
        assert_eq!(cache.read(&i.to_le_bytes(), |value| value[0]), Some(2));
    }
    cache.check_invariants();
}

/// Readers, a writer, and sweeps: whoever begins to read after an invalidation has returned sees nothing older.
#[test]
fn nothing_old_is_seen_by_whoever_begins_later() {
    let (builder, _) = builder();
    let cache = builder.build().unwrap();
    let (floor, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    std::thread::scope(|scope| {
        for reader in 0..2 {
            let (cache, floor, done) = (cache.clone(), Arc::clone(&floor), Arc::clone(&done));
            scope.spawn(move || {
                while !done.load(SeqCst) {
                    let least = floor.load(SeqCst);
                    let key = [reader];
                    if let Some(number) = cache.read(&key, |v| u64::from_le_bytes(v[..8].try_into().unwrap())) {
                        assert!(number >= least, "{number} is older than {least}");
                    }
                }
            });
        }
        let (sweeper, over) = (cache.clone(), Arc::clone(&done));
        scope.spawn(move || {
            while !over.load(SeqCst) {
                sweeper.run_maintenance(Duration::from_millis(1));
            }
        });
        for number in 0..20_000u64 {
            // Some other tags, so that halves of the table fill and are emptied while the readers look.
            let other = format!("{number}");
            for key in 0..2u8 {
                let value = number.to_le_bytes();
                cache.set_with(&[key], &value, &tags(&["t", &other])).unwrap();
            }
            cache.invalidate_tag(if number % 3 == 0 { "t" } else { &other });
            floor.store(number + 1, SeqCst);
        }
        done.store(true, SeqCst);
    });
    cache.check_invariants();
}

#[test]
fn prefixes_and_predicates_remove_in_steps() {
    let cache = small();
    for i in 0..600u32 {
        cache.set(format!("{}:{i}", ["user", "page", "use"][i as usize % 3]).as_bytes(), b"v").unwrap();
    }
    cache.namespace(1).set(b"user:x", b"v").unwrap();
    let before = cache.len();
    let mut invalidation = cache.invalidate_prefix(b"user:");
    let mut steps = 0;
    while invalidation.step() {
        steps += 1;
        // The cache goes on meanwhile.
        cache.set(format!("page:{}", 1000 + steps).as_bytes(), b"v").unwrap();
    }
    assert!(steps > 1 && !invalidation.step(), "{steps} steps");
    assert_eq!((invalidation.removed(), before), (200, 600));
    assert!(cache.iter().all(|entry| !entry.key.starts_with(b"user:")));
    assert!(cache.namespace(1).contains(b"user:x"));
    let pages = cache.invalidate_if(|key, _, _| key.starts_with(b"page")).run();
    assert_eq!((pages, cache.len()), (200 + steps, 200));
    assert_eq!(cache.invalidate_prefix(b"").run(), 200);
    assert!(cache.is_empty());
    cache.check_invariants();
}

#[test]
fn prefixes_are_removed_though_the_table_grows_and_shrinks() {
    let cache =
        Cache::builder().max_memory(4 << 20).shards(2).seed(1).maintenance(Maintenance::Manual).build().unwrap();
    let key = |i: u32, old: bool| format!("{}{i}", if old { "old" } else { "new" }).into_bytes();
    (0..2000).for_each(|i| cache.set(&key(i, true), b"v").unwrap());
    let mut invalidation = cache.invalidate_prefix(b"old");
    let mut i = 0;
    while invalidation.step() {
        for _ in 0..200 {
            i += 1;
            cache.set(&key(i, false), b"v").unwrap();
        }
    }
    let evictions = cache.stats().evictions;
    assert_eq!((invalidation.removed(), cache.len(), evictions), (2000, u64::from(i), 0));
    let mut invalidation = cache.invalidate_prefix(b"new");
    while invalidation.step() {
        cache.run_maintenance(Duration::from_millis(1));
    }
    assert!(cache.is_empty());
    cache.check_invariants();
}
