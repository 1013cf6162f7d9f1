//! What a program can get wrong, and what can run out: every refusal says why, loses nothing, and leaves the cache
//! usable.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};

use larder::{
    Arithmetic, Cache, CacheBuilder, Cursor, ErrorKind, EvictionPolicy, Guard, Maintenance, SetOptions, Token,
};

/// What is charged whether there is room or not: a thread's session and the shards' own tables.
const SLACK: u64 = 32 << 10;

fn small(policy: EvictionPolicy) -> Cache {
    let builder = Cache::builder().max_memory(256 << 10).page_size(1024).shards(2).seed(1).policy(policy);
    builder.maintenance(Maintenance::Manual).build().unwrap()
}

#[track_caller]
fn within_limit(cache: &Cache) {
    let memory = cache.memory();
    assert!(memory.used <= memory.limit + SLACK, "{memory:?}");
}

#[test]
fn each_setting_out_of_range_is_named_with_its_range() {
    type Set = fn(CacheBuilder) -> CacheBuilder;
    let bad: [(&str, &str, Set); 26] = [
        ("max_memory", "65536", |b| b.max_memory(0)),
        ("max_memory", "65536", |b| b.max_memory(65_535)),
        ("max_memory", "4 TiB", |b| b.max_memory(u64::MAX)),
        ("reserved_memory", "at most", |b| b.max_memory(1 << 20).reserved_memory(1 << 20)),
        ("reserved_memory", "at most", |b| b.reserved_memory(u64::MAX)),
        ("max_item_size", "536870912", |b| b.max_item_size(0)),
        ("max_item_size", "536870912", |b| b.max_item_size(usize::MAX)),
        ("chunk_size", "from 16", |b| b.chunk_size(0)),
        ("chunk_size", "from 16", |b| b.chunk_size(15)),
        ("chunk_size", "from 16", |b| b.chunk_size(1 << 30)),
        ("chunk_size", "from 16", |b| b.chunk_size(usize::MAX)),
        ("chunk_size_growth_factor", "above 1", |b| b.chunk_size_growth_factor(1.0)),
        ("chunk_size_growth_factor", "above 1", |b| b.chunk_size_growth_factor(-2.0)),
        ("chunk_size_growth_factor", "above 1", |b| b.chunk_size_growth_factor(f64::NAN)),
        ("chunk_size_growth_factor", "above 1", |b| b.chunk_size_growth_factor(f64::INFINITY)),
        ("page_size", "1 KiB to 4 MiB", |b| b.page_size(0)),
        ("page_size", "1 KiB to 4 MiB", |b| b.page_size(1025)),
        ("page_size", "1 KiB to 4 MiB", |b| b.page_size(8 << 20)),
        ("shards", "1 to 1024", |b| b.shards(0)),
        ("shards", "1 to 1024", |b| b.shards(3)),
        ("shards", "1 to 1024", |b| b.shards(2048)),
        ("shards", "max_memory", |b| b.max_memory(64 << 10).shards(1024)),
        ("address_space", "must be from", |b| b.address_space(1)),
        ("time_to_live", "0", |b| b.time_to_live(std::time::Duration::ZERO)),
        ("time_to_idle", "0", |b| b.time_to_idle(std::time::Duration::ZERO)),
        ("expiry_cpu_share", "at most 1", |b| b.expiry_cpu_share(1.5)),
    ];
    for (setting, range, set) in bad {
        let error = set(Cache::builder()).build().expect_err(setting);
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{text}");
        assert!(text.contains(setting) && text.contains(range), "{setting} {range}: {text}");
    }
    // Hardly growing classes are too many for their numbers, or end up widened to few.
    match Cache::builder().page_size(4 << 20).max_memory(1 << 30).chunk_size_growth_factor(1.0001).build() {
        Ok(cache) => cache.set(b"k", b"v").unwrap(),
        Err(error) => assert!(error.to_string().contains("slab classes"), "{error}"),
    }
}

#[test]
fn limits_that_cannot_be_set_later_change_nothing() {
    let cache = small(EvictionPolicy::Default);
    cache.set(b"k", b"v").unwrap();
    for bad in [0, 1, 65_535, u64::MAX] {
        assert_eq!(cache.set_max_memory(bad).unwrap_err().kind(), ErrorKind::InvalidConfig);
    }
    for bad in [256 << 10, u64::MAX] {
        assert_eq!(cache.set_reserved_memory(bad).unwrap_err().kind(), ErrorKind::InvalidConfig);
    }
    assert_eq!((cache.memory().limit, cache.memory().reserved), (256 << 10, 0));
    assert!(cache.contains(b"k"));
    for (from, to) in [(0, 0), (usize::MAX, 0), (0, usize::MAX), (256, 0)] {
        assert_eq!(cache.reassign_page(from, to).unwrap_err().kind(), ErrorKind::NotFound);
    }
}

#[test]
fn keys_and_values_that_are_too_long() {
    let cache = Cache::builder().max_memory(4 << 20).max_item_size(100_000).build().unwrap();
    let longest = vec![7; 65_536];
    cache.set(&longest, b"v").unwrap();
    assert!(cache.contains(&longest));
    let key = vec![7; 65_537];
    let options = SetOptions::new();
    let refused = [
        cache.set(&key, b"v").unwrap_err(),
        cache.add(&key, b"v").unwrap_err(),
        cache.append(&key, b"v").unwrap_err(),
        cache.increment(&key, 1).unwrap_err(),
        cache.compare_and_swap(&key, b"v", Token::from_u64(1)).unwrap_err(),
        cache.update(&[&key], |update| update.set(0, b"v")).unwrap_err(),
        cache.reserve(&key, 1, &options).unwrap_err(),
    ];
    for error in refused {
        assert_eq!(error.kind(), ErrorKind::KeyTooLong);
        assert!(error.to_string().contains("65537") && error.to_string().contains("65536"), "{error}");
    }
    // To look for one is no error: there is none.
    assert!(cache.get(&key).unwrap().is_none() && !cache.contains(&key) && !cache.remove(&key));
    assert!(!cache.touch(&key, std::time::Duration::from_secs(1)).unwrap() && !cache.persist(&key));

    cache.set(b"k", b"old").unwrap();
    let value = vec![1; 100_001];
    let refused = [
        cache.set(b"k", &value).unwrap_err(),
        cache.append(b"k", &value[3..]).unwrap_err(),
        cache.update(&[b"k"], |update| update.set(0, &value)).unwrap_err(),
        cache.reserve(b"k", 100_001, &options).unwrap_err(),
        cache.reserve(b"k", usize::MAX, &options).unwrap_err(),
    ];
    for error in refused {
        assert_eq!(error.kind(), ErrorKind::ItemTooLarge, "{error}");
        assert!(error.to_string().contains("max_item_size"), "{error}");
    }
    assert_eq!(cache.get(b"k").unwrap().as_deref(), Some(&b"old"[..]));
    cache.set(b"k", &value[1..]).unwrap();
    assert_eq!(cache.metadata(b"k").map(|m| m.size), Some(100_000));
    cache.check_invariants();
}

#[test]
fn a_value_that_could_never_fit() {
    let cache = small(EvictionPolicy::AllkeysLru);
    for i in 0..200u32 {
        cache.set(&i.to_le_bytes(), &[1; 100]).unwrap();
    }
    let error = cache.set(b"large", &vec![1; 256 << 10]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ItemTooLarge, "{error}");
    assert_eq!((cache.len(), cache.stats().evictions), (200, 0), "nothing leaves for what cannot come in");
}

#[test]
fn many_guards_on_one_thread() {
    for policy in [EvictionPolicy::NoEviction, EvictionPolicy::AllkeysLru] {
        let cache = small(policy);
        let names: Vec<[u8; 4]> = (0..400u32).map(u32::to_le_bytes).collect();
        for (i, name) in names.iter().enumerate() {
            cache.set(name, &[i as u8; 200]).unwrap();
        }
        let mut guards = Vec::new();
        let mut refused = 0;
        for _ in 0..10 {
            for (i, name) in names.iter().enumerate() {
                match cache.get(name) {
                    Ok(Some(guard)) => guards.push((i as u8, guard)),
                    Ok(None) => assert_ne!(policy, EvictionPolicy::NoEviction, "a lost item"),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::TooManyGuards, "{error}");
                        refused += 1;
                    }
                }
                within_limit(&cache);
            }
        }
        // Where items may be evicted they make room for the copies, until there are none.
        assert!(
            guards.len() > 8 && (refused > 0 || cache.is_empty()),
            "{policy}: {} guards, {refused} refused",
            guards.len()
        );
        assert_eq!(cache.stats().copied_guards, guards.len() as u64 - 8);
        // Reading with a closure works all the same, and so do other threads.
        if policy == EvictionPolicy::NoEviction {
            assert_eq!(cache.read(&names[3], |value| value[0]), Some(3));
            let from_another = std::thread::scope(|scope| {
                scope.spawn(|| names.iter().filter(|name| cache.get(*name).unwrap().is_some()).count()).join().unwrap()
            });
            assert_eq!(from_another, 400);
            assert_eq!(cache.len(), 400);
        }
        for (i, guard) in guards {
            assert!(guard.iter().all(|&byte| byte == i));
        }
        cache.set(b"again", b"v").unwrap();
        cache.check_invariants();
    }
}

#[test]
fn guards_that_are_never_dropped() {
    let cache = small(EvictionPolicy::AllkeysLru);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for i in 0..300u32 {
                cache.set(&i.to_le_bytes(), &[1; 100]).unwrap();
                if let Ok(guard) = cache.get(&i.to_le_bytes()) {
                    std::mem::forget(guard);
                }
                within_limit(&cache);
            }
        });
    });
    // Leaked guards of threads that are gone share sessions: eight to each.
    for i in 300..400u32 {
        let leak = || {
            cache.set(&i.to_le_bytes(), &[1; 100]).unwrap();
            std::mem::forget(cache.get(&i.to_le_bytes()));
        };
        // Joined by hand: that waits for the thread's destructors too, the scope does not.
        std::thread::scope(|scope| scope.spawn(leak).join().unwrap());
    }
    let sessions = cache.stats().sessions;
    assert!(sessions <= 2 + 100 / 8 + 1, "{sessions} sessions");
    for i in 0..20_000u32 {
        cache.set(&i.to_le_bytes(), &[2; 100]).unwrap();
        assert_eq!(cache.read(&i.to_le_bytes(), |value| value[0]), Some(2));
    }
    within_limit(&cache);
    cache.check_invariants();
    assert!(cache.memory().waiting_for_readers <= 100 + 8 + 64, "{:?}", cache.memory());
}

/// A guard in a thread-local value that is destroyed after the thread has given its session up.
struct Late {
    guard: Option<Guard<'static>>,
    ending: Option<(Sender<()>, Receiver<()>)>,
}

impl Drop for Late {
    fn drop(&mut self) {
        let (Some(guard), Some((ended, go_on))) = (self.guard.take(), self.ending.take()) else { return };
        ended.send(()).unwrap();
        go_on.recv().unwrap();
        assert!(guard.iter().all(|&byte| byte == 7), "it reads on while another thread has the session");
        drop(guard);
        ended.send(()).unwrap();
    }
}

thread_local! {
    static LATE: RefCell<Late> = const { RefCell::new(Late { guard: None, ending: None }) };
}

#[test]
fn a_guard_that_outlives_its_threads_session() {
    let cache: &'static Cache = Box::leak(Box::new(small(EvictionPolicy::AllkeysLru)));
    std::thread::spawn(|| cache.set(b"held", &[7; 100]).unwrap()).join().unwrap();
    let ((ended, is_ended), (go_on, may_go_on)) = (channel(), channel());
    let holder = std::thread::spawn(move || {
        // Before the thread's first use of the cache: so it is destroyed after what that sets up.
        LATE.with_borrow_mut(|late| late.ending = Some((ended, may_go_on)));
        LATE.with_borrow_mut(|late| late.guard = cache.get(b"held").unwrap());
    });
    is_ended.recv().unwrap();
    let second = std::thread::spawn(move || {
        for i in 0..20_000u32 {
            cache.set(&i.to_le_bytes(), &[2; 100]).unwrap();
            let guard = cache.get(&i.to_le_bytes()).unwrap().unwrap();
            assert!(guard.iter().all(|&byte| byte == 2));
        }
        assert_eq!(cache.stats().sessions, 1, "it has the session that the guard is in");
        let held: Vec<_> = (19_990..20_000u32).map(|i| cache.get(&i.to_le_bytes()).unwrap().unwrap()).collect();
        go_on.send(()).unwrap();
        is_ended.recv().unwrap();
        for i in 0..20_000u32 {
            cache.set(&i.to_le_bytes(), &[3; 100]).unwrap();
            assert!(cache.get(&i.to_le_bytes()).unwrap().unwrap().iter().all(|&byte| byte == 3));
        }
        assert!(held.iter().all(|guard| guard.iter().all(|&byte| byte == 2)));
    });
    second.join().unwrap();
    holder.join().unwrap();
    cache.check_invariants();
}

/// Fills a cache that refuses until it refuses; returns how many items there are.
fn fill(cache: &Cache, len: usize) -> u32 {
    for i in 0u32.. {
        if let Err(error) = cache.set(&i.to_le_bytes(), &vec![i as u8; len]) {
            assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{error}");
            assert!(error.to_string().contains("max_memory"), "{error}");
            return i;
        }
    }
    unreachable!("it never refuses")
}

#[test]
fn a_full_cache_that_may_not_evict() {
    replace_in_a_full_cache(EvictionPolicy::NoEviction);
    for policy in EvictionPolicy::ALL {
        if policy.is_volatile() && policy != EvictionPolicy::VolatileDefault {
            replace_in_a_full_cache(policy);
        }
    }
}

#[test]

fn a_full_cache_of_the_volatile_default_policy() {
    replace_in_a_full_cache(EvictionPolicy::VolatileDefault);
}

fn replace_in_a_full_cache(policy: EvictionPolicy) {
    let cache = small(policy);
    cache.set(b"counter", b"1000").unwrap();
    let items = fill(&cache, 100);
    assert!(items > 1000, "{policy}: only {items} items");
    for i in 0..items {
        // Over again with as much, many times.
        cache.set(&i.to_le_bytes(), &[i as u8 ^ 1; 100]).unwrap_or_else(|e| panic!("{policy}: item {i}: {e}"));
        assert_eq!(cache.increment(b"counter", 1).unwrap(), Some(u64::from(1001 + i)));
    }
    for i in 0..items {
        assert_eq!(cache.read(&i.to_le_bytes(), |value| value == [i as u8 ^ 1; 100]), Some(true), "{policy}: {i}");
    }
    assert_eq!((cache.len(), cache.stats().evictions), (u64::from(items) + 1, 0));
    within_limit(&cache);
    // Several at once: all or nothing.
    let big = vec![9; 20_000];
    let error = cache.update(&[&0u32.to_le_bytes()[..], b"new"], |update| {
        update.set(0, b"changed");
        update.set(1, &big);
    });
    assert_eq!(error.unwrap_err().kind(), ErrorKind::OutOfMemory);
    assert_eq!(cache.read(&0u32.to_le_bytes(), <[u8]>::len), Some(100));
    assert!(!cache.contains(b"new"));
    // Room made by hand is room.
    for i in 0..200u32 {
        assert!(cache.remove(&i.to_le_bytes()));
    }
    cache.set(b"new", &[1; 100]).unwrap();
    cache.check_invariants();
}

#[test]
fn volatile_policies_evict_what_has_an_end() {
    for policy in EvictionPolicy::ALL.into_iter().filter(|policy| policy.is_volatile()) {
        let cache = small(policy);
        for i in 0..300u32 {
            cache.set(&i.to_le_bytes(), &[1; 100]).unwrap();
        }
        let options = SetOptions::new().ttl(std::time::Duration::from_secs(1000));
        for i in 300..6000u32 {
            cache.set_with(&i.to_le_bytes(), &[1; 100], &options).unwrap_or_else(|e| panic!("{policy}: item {i}: {e}"));
        }
        assert!(cache.stats().evictions > 1000);
        for i in 0..300u32 {
            assert!(cache.contains(&i.to_le_bytes()), "{policy} has evicted what has no end");
        }
        cache.check_invariants();
    }
}

#[test]
fn any_number_is_a_cursor() {
    let cache = small(EvictionPolicy::Default);
    for i in 0..100u32 {
        cache.set(&i.to_le_bytes(), b"v").unwrap();
    }
    for raw in [1, 12_345, u64::MAX / 2, u64::MAX - 1, u64::MAX] {
        let (mut next, mut steps) = (Some(Cursor::from_u64(raw)), 0);
        while let Some(cursor) = next {
            let (entries, after) = cache.scan(cursor, 0);
            assert!(entries.len() <= 100);
            next = after;
            steps += 1;
            assert!(steps < 10_000, "a scan from {raw} does not end");
        }
    }
    let (entries, _) = cache.scan(Cursor::START, usize::MAX);
    assert!(entries.len() <= 100);
}

#[test]
fn namespaces_never_meet() {
    let cache = small(EvictionPolicy::Default);
    for namespace in 0..=255u8 {
        cache.namespace(namespace).set(b"k", &[namespace]).unwrap();
    }
    assert!(cache.namespace(77).remove(b"k"));
    cache.namespace(88).clear();
    for namespace in 0..=255u8 {
        let there = cache.namespace(namespace);
        let expected = (namespace != 77 && namespace != 88).then(|| vec![namespace]);
        assert_eq!(there.read(b"k", <[u8]>::to_vec), expected);
        assert_eq!((there.len(), there.iter().count()), (expected.is_some().into(), expected.is_some().into()));
    }
}

#[test]
fn reservations_used_wrongly() {
    let cache = small(EvictionPolicy::AllkeysLru);
    cache.set(b"k", b"old").unwrap();
    let options = SetOptions::new();
    let mut reservation = cache.reserve(b"k", 4, &options).unwrap();
    reservation.write(b"ab").unwrap();
    assert_eq!(reservation.write(b"cde").unwrap_err().kind(), ErrorKind::ItemTooLarge);
    assert_eq!(reservation.missing(), 2, "none of what was too much is taken");
    assert_eq!(reservation.publish().unwrap_err().kind(), ErrorKind::ItemTooLarge);
    assert_eq!(cache.read(b"k", <[u8]>::to_vec).as_deref(), Some(&b"old"[..]));
    // Abandoned, leaked, and cleared meanwhile.
    drop(cache.reserve(b"k", 4, &options).unwrap());
    let cleared = cache.reserve(b"", 0, &options).unwrap();
    std::mem::forget(cache.reserve(b"leaked", 500, &options).unwrap());
    cache.clear();
    assert!(cleared.publish().unwrap().stored);
    assert_eq!((cache.len(), cache.read(b"", <[u8]>::len)), (1, Some(0)));
    // Reservations hold their memory and no more than there is.
    let held: Vec<_> = (0..).map_while(|i: u32| cache.reserve(&i.to_le_bytes(), 3000, &options).ok()).collect();
    assert!(held.len() > 20 && held.len() < 100, "{}", held.len());
    within_limit(&cache);
    drop(held);
    cache.set(b"k", &[1; 3000]).unwrap();
    cache.check_invariants();
}

#[test]
fn arithmetic_on_what_is_no_number() {
    let cache = small(EvictionPolicy::Default);
    for text in ["", "x", "-1", "1.5", " 1", "18446744073709551616", "0x10"] {
        cache.set(b"k", text.as_bytes()).unwrap();
        assert_eq!(cache.increment(b"k", 1).unwrap_err().kind(), ErrorKind::NotANumber, "{text:?}");
        assert_eq!(cache.read(b"k", <[u8]>::to_vec).unwrap(), text.as_bytes());
    }
    for (text, by) in [("9223372036854775807", 1), ("-9223372036854775808", -1), ("1", i64::MAX)] {
        cache.set(b"k", text.as_bytes()).unwrap();
        let error = cache.arithmetic(b"k", &Arithmetic::signed(by)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NumberOverflow);
        assert_eq!(cache.read(b"k", <[u8]>::to_vec).unwrap(), text.as_bytes());
    }
    let too_far = Arithmetic::signed(1).initial(u64::MAX);
    assert_eq!(cache.arithmetic(b"absent", &too_far).unwrap_err().kind(), ErrorKind::NumberOverflow);
    assert!(!cache.contains(b"absent"));
    cache.set(b"k", b"18446744073709551615").unwrap();
    assert_eq!(cache.increment(b"k", 2).unwrap(), Some(1), "around the end, as memcached does");
}

#[test]
fn closures_that_panic() {
    let cache = small(EvictionPolicy::Default);
    for i in 0..50u32 {
        cache.set(&i.to_le_bytes(), &[1; 50]).unwrap();
    }
    let key = 7u32.to_le_bytes();
    let quietly = |f: &mut dyn FnMut()| assert!(catch_unwind(AssertUnwindSafe(f)).is_err());
    for _ in 0..20 {
        quietly(&mut || {
            let _ = cache.read(&key, |_| -> () { panic!("in read") });
        });
        quietly(&mut || cache.get_many(&[key], |_, _| panic!("in get_many")));
        quietly(&mut || {
            let _ = cache.retain(|_, _, _| panic!("in retain"));
        });
        let update = |update: &mut larder::Update<'_>| {
            update.set(0, b"half");
            panic!("in update")
        };
        quietly(&mut || cache.update(&[&key], update).unwrap());
    }
    assert_eq!((cache.len(), cache.read(&key, |value| value.len())), (50, Some(50)));
    // No guard was left behind: all eight can still be had in place.
    let guards: Vec<_> = (0..8).map(|_| cache.get(&key).unwrap().unwrap()).collect();
    assert_eq!(cache.stats().copied_guards, 0);
    drop(guards);
    cache.check_invariants();
}

#[test]
fn closures_that_use_the_cache() {
    let cache = small(EvictionPolicy::AllkeysLru);
    for i in 0..100u32 {
        cache.set(&i.to_le_bytes(), &[1; 50]).unwrap();
    }
    let key = 7u32.to_le_bytes();
    // What is being read is removed and its memory used, and the closure still sees what it was given.
    let use_it = |n: u32| {
        cache.remove(&key);
        for i in 0..3000u32 {
            cache.set(&(i + n).to_be_bytes(), &[n as u8; 50]).unwrap();
        }
        cache.run_maintenance(std::time::Duration::from_millis(5));
    };
    let read = cache.read(&key, |value| {
        use_it(1 << 16);
        value == [1; 50]
    });
    assert_eq!(read, Some(true));
    cache.set(&key, &[1; 50]).unwrap();
    cache.get_many(&[key, key], |i, value| {
        use_it(1 << 17);
        assert_eq!(value.is_some(), i == 0, "the second look comes after the removal");
    });
    cache.set(&key, &[1; 50]).unwrap();
    cache
        .update(&[&key], |update| {
            if update.get(0).is_some() {
                use_it(1 << 18);
            }
            update.set(0, b"decided");
        })
        .unwrap();
    assert_eq!(cache.read(&key, <[u8]>::to_vec).as_deref(), Some(&b"decided"[..]));
    cache.retain(|name, value, _| {
        let value = value.to_vec();
        cache.set(name, &value).unwrap();
        cache.contains(b"x");
        false
    });
    assert!(!cache.is_empty(), "what was changed after it was judged stays");
    cache.check_invariants();
}

#[test]
fn one_key_twice_in_an_update() {
    let cache = small(EvictionPolicy::Default);
    let error = cache.update(&["a", "b", "a"], |update| update.set(0, b"v")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DuplicateKey);
    assert!(cache.is_empty());
    let nothing = cache.update(&["a"], |update| {
        update.set(9, b"v");
        update.remove(9);
        (update.get(9).is_none(), update.metadata(9).is_none())
    });
    assert_eq!(nothing.unwrap(), (true, true));
    assert!(cache.is_empty());
}
