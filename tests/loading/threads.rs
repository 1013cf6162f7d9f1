//! Load-through for threads.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use larder::typed::Plain;
use larder::{Cache, ErrorKind, EvictionPolicy, Load, LoadError, LoadOptions, SetOptions, TypedCache};

use super::{SECOND, builder, cache, gate, until_waiting, with_clock};

fn found(value: &[u8]) -> Result<Load<Vec<u8>>, Infallible> {
    Ok(Load::Value(value.to_vec()))
}

fn nothing() -> Result<Load<Vec<u8>>, Infallible> {
    Ok(Load::Absent)
}

#[test]
fn a_hundred_threads_and_one_loader() {
    let (cache, calls) = (cache(), AtomicU32::new(0));
    thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| {
                let value = cache.get_with(b"k", || {
                    calls.fetch_add(1, SeqCst);
                    thread::sleep(Duration::from_millis(30));
                    b"v".to_vec()
                });
                assert_eq!(&*value.unwrap(), b"v");
            });
        }
    });
    assert_eq!(calls.into_inner(), 1);
    let stats = cache.load_stats();
    assert_eq!((stats.loads, stats.failures, stats.in_flight), (1, 0, 0));
}

#[test]
fn keys_and_namespaces_load_beside_each_other() {
    let cache = cache();
    let (gate, keeper) = gate();
    thread::scope(|scope| {
        scope.spawn(|| {
            let wait = move || {
                gate.pass();
                b"1".to_vec()
            };
            cache.get_with(b"k", wait).unwrap();
        });
        keeper.wait();
        assert_eq!(&*cache.get_with(b"other", || b"2".to_vec()).unwrap(), b"2");
        assert_eq!(&*cache.namespace(1).get_with(b"k", || b"3".to_vec()).unwrap(), b"3");
        keeper.open();
    });
    assert_eq!(cache.read(b"k", |v| v.to_vec()), Some(b"1".to_vec()));
}

#[test]
fn those_who_wait_share_the_error_and_the_next_tries_again() {
    let cache = cache();
    let (gate, keeper) = gate();
    let fail = move || -> Result<Vec<u8>, String> {
        gate.pass();
        Err("the database is down".to_owned())
    };
    thread::scope(|scope| {
        let leader = scope.spawn(|| cache.try_get_with(b"k", fail).map(drop));
        keeper.wait();
        let waiter = |_| scope.spawn(|| cache.try_get_with::<Vec<u8>, String>(b"k", || unreachable!()).map(drop));
        let waiters: Vec<_> = (0..5).map(waiter).collect();
        until_waiting(&cache, 5);
        keeper.open();
        let errors: Vec<Arc<String>> = std::iter::once(leader)
            .chain(waiters)
            .map(|thread| match thread.join().unwrap() {
                Err(LoadError::Loader(error)) => error,
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(errors.iter().all(|error| Arc::ptr_eq(error, &errors[0])));
    });
    assert_eq!(cache.load_stats().failures, 1);
    assert!(!cache.contains(b"k"));
    assert_eq!(&*cache.try_get_with(b"k", || Ok::<_, String>(b"up".to_vec())).unwrap(), b"up");
}

#[test]
fn an_error_of_another_type_is_not_shared() {
    let cache = cache();
    let (gate, keeper) = gate();
    thread::scope(|scope| {
        scope.spawn(|| {
            let fail = move || -> Result<Vec<u8>, u8> {
                gate.pass();
                Err(1)
            };
            assert_eq!(cache.try_get_with(b"k", fail).unwrap_err().loader(), Some(&1));
        });
        keeper.wait();
        let waiter = scope.spawn(|| cache.try_get_with(b"k", || Err::<Vec<u8>, _>("mine")).map(drop));
        until_waiting(&cache, 1);
        keeper.open();
        assert_eq!(waiter.join().unwrap().unwrap_err().loader(), Some(&"mine"));
    });
}

#[test]
fn a_loader_that_panics_harms_nobody() {
    let cache = cache();
    let (gate, keeper) = gate();
    let calls = AtomicU32::new(0);
    let load = || {
        calls.fetch_add(1, SeqCst);
        b"v".to_vec()
    };
    let load = &load;
    thread::scope(|scope| {
        let leader = scope.spawn(|| {
            let burst = move || -> Vec<u8> {
                gate.pass();
                panic!("as the test wants it")
            };
            catch_unwind(AssertUnwindSafe(|| cache.get_with(b"k", burst).map(drop))).is_err()
        });
        keeper.wait();
        let waiters: Vec<_> = (0..5).map(|_| scope.spawn(|| cache.get_with(b"k", load).unwrap().to_vec())).collect();
        until_waiting(&cache, 5);
        keeper.open();
        assert!(leader.join().unwrap(), "the panic goes to its caller");
        assert!(waiters.into_iter().all(|waiter| waiter.join().unwrap() == b"v"));
        assert_eq!(calls.load(SeqCst), 1, "the next one took over, the others waited for it");
    });
    assert_eq!((cache.load_stats().failures, cache.load_stats().in_flight), (1, 0));
}

#[test]
fn recursion_is_refused() {
    let cache = cache();
    let mut inner = None;
    let outer = cache.get_with(b"k", || {
        inner = Some(cache.get_with(b"k", || b"inner".to_vec()).unwrap_err().kind());
        cache.get_with(b"other", || b"outer".to_vec()).unwrap().to_vec()
    });
    assert_eq!((&*outer.unwrap(), inner), (&b"outer"[..], Some(ErrorKind::RecursiveLoad)));
    // A key that was invalidated within its loader is another load.
    let outer = cache.get_with(b"new", || {
        cache.remove(b"new");
        cache.get_with(b"new", || b"later".to_vec()).unwrap().to_vec()
    });
    assert_eq!(&*outer.unwrap(), b"later");
}

#[test]
fn a_ring_of_loaders_is_refused_once() {
    let cache = cache();
    let barrier = std::sync::Barrier::new(3);
    let refused = AtomicU32::new(0);
    thread::scope(|scope| {
        for i in 0..3u8 {
            let (cache, barrier, refused) = (&cache, &barrier, &refused);
            scope.spawn(move || {
                cache
                    .get_with(&[i], || {
                        barrier.wait();
                        match cache.get_with(&[(i + 1) % 3], || vec![100]) {
                            Ok(value) => value.to_vec(),
                            Err(error) => {
                                assert_eq!(error.kind(), ErrorKind::RecursiveLoad);
                                refused.fetch_add(1, SeqCst);
                                vec![i]
                            }
                        }
                    })
                    .unwrap();
            });
        }
    });
    assert_eq!(refused.into_inner(), 1, "whoever closed the ring");
}

#[test]
fn what_cannot_be_stored_is_returned() {
    let cache = builder().max_item_size(100).policy(EvictionPolicy::NoEviction).build().unwrap();
    assert_eq!(cache.get_with(b"large", || vec![0; 101]).unwrap().len(), 101);
    assert!(!cache.contains(b"large"));
    assert_eq!(cache.get_with(&[0; 70_000], || vec![1]).unwrap().len(), 1, "a key too long");
    assert_eq!(cache.load_stats().not_stored, 2);
    for i in 0u32.. {
        if cache.set(&i.to_le_bytes(), &[0; 100]).is_err() {
            break;
        }
    }
    assert_eq!(cache.get_with(b"one more", || vec![7; 100]).unwrap().len(), 100, "no room");
    assert!(!cache.contains(b"one more"));
    assert_eq!(cache.load_stats().not_stored, 3);
}

#[test]
fn times_to_live() {
    let (cache, clock) = with_clock();
    cache.get_with_ttl(b"a", SECOND, || vec![1]).unwrap();
    cache.try_get_with_ttl(b"b", 2 * SECOND, || Ok::<_, Infallible>(vec![1])).unwrap();
    cache.optionally_get_with_ttl(b"c", 3 * SECOND, || Some(vec![1])).unwrap();
    let itself = || Ok::<_, Infallible>(Load::With(vec![1], SetOptions::new().ttl(4 * SECOND).flags(9)));
    cache.load(b"d", &LoadOptions::new().ttl(SECOND), itself).unwrap();
    assert_eq!(cache.metadata(b"d").unwrap().flags, 9);
    for left in (0..=4).rev() {
        let there = [&b"a"[..], b"b", b"c", b"d"].iter().filter(|key| cache.contains(key)).count();
        assert_eq!(there, left);
        clock.advance(SECOND);
    }
}

#[test]
fn values_are_refreshed_ahead_of_their_end() {
    let (cache, clock) = with_clock();
    let options = LoadOptions::new().ttl(10 * SECOND).refresh_ahead(3 * SECOND);
    cache.load(b"k", &options, || found(b"1")).unwrap();
    clock.advance(6 * SECOND);
    assert_eq!(&*cache.load(b"k", &options, || found(b"2")).unwrap().unwrap(), b"1", "not yet");
    clock.advance(SECOND);
    let (gate, keeper) = gate();
    thread::scope(|scope| {
        let refresher = scope.spawn(|| {
            let load = move || {
                gate.pass();
                found(b"3")
            };
            cache.load(b"k", &options, load).unwrap().unwrap().to_vec()
        });
        keeper.wait();
        for _ in 0..3 {
            let old = cache.load(b"k", &options, || found(b"not asked")).unwrap().unwrap();
            assert!(&*old == b"1" && !old.is_fresh(), "the others get the old value meanwhile");
        }
        keeper.open();
        assert_eq!(refresher.join().unwrap(), b"3");
    });
    assert_eq!(cache.metadata(b"k").unwrap().ttl_left, Some(10 * SECOND));
    assert_eq!((cache.load_stats().refreshes, cache.load_stats().loads), (1, 2));
}

#[test]
fn a_refresh_that_fails_leaves_the_old_value() {
    let (cache, clock) = with_clock();
    let options = LoadOptions::new().ttl(10 * SECOND).refresh_ahead(3 * SECOND);
    let load = |answer: Result<Load<Vec<u8>>, &'static str>| {
        cache.load(b"k", &options, || answer).map(|value| value.map(|value| value.to_vec()))
    };
    load(Ok(Load::Value(vec![1]))).unwrap();
    clock.advance(8 * SECOND);
    assert_eq!(load(Err("down")).unwrap(), Some(vec![1]));
    assert_eq!(load(Err("still down")).unwrap(), Some(vec![1]));
    assert_eq!(cache.load_stats().failures, 2);
    let panics = || -> Result<Load<Vec<u8>>, &'static str> { panic!("as the test wants it") };
    assert!(catch_unwind(AssertUnwindSafe(|| cache.load(b"k", &options, panics).map(drop))).is_err());
    assert!(cache.contains(b"k"));
    clock.advance(2 * SECOND);
    assert_eq!(load(Err("down")).unwrap_err().loader(), Some(&"down"), "it is over");
    // A refresh that finds nothing takes the value away.
    load(Ok(Load::Value(vec![2]))).unwrap();
    clock.advance(8 * SECOND);
    assert_eq!(load(Ok(Load::Absent)).unwrap(), None);
    assert!(!cache.contains(b"k"));
}

#[test]
fn a_write_during_a_refresh_wins() {
    let (cache, clock) = with_clock();
    let options = LoadOptions::new().ttl(10 * SECOND).refresh_ahead(3 * SECOND);
    cache.load(b"k", &options, || found(b"1")).unwrap();
    clock.advance(8 * SECOND);
    let refreshed = cache.load(b"k", &options, || {
        cache.append(b"k", b"+").unwrap();
        found(b"2")
    });
    assert_eq!(&*refreshed.unwrap().unwrap(), b"2");
    assert_eq!(cache.read(b"k", |v| v.to_vec()), Some(b"1+".to_vec()));
}

#[test]
fn absences_are_remembered_and_nothing_else_knows() {
    let (cache, clock) = with_clock();
    let options = LoadOptions::new().negative_ttl(10 * SECOND);
    assert!(cache.load(b"k", &options, nothing).unwrap().is_none());
    assert!(cache.load(b"k", &options, || found(b"not asked")).unwrap().is_none());
    assert!(cache.optionally_get_with(b"k", || Some(b"not asked".to_vec())).unwrap().is_none());
    assert_eq!(cache.load_stats().known_absent, 2);
    assert!(!cache.contains(b"k") && cache.get(b"k").unwrap().is_none() && cache.is_empty());
    assert_eq!(cache.iter().count(), 0);
    assert!(cache.namespace(1).load(b"k", &options, || found(b"asked")).unwrap().is_some());
    clock.advance(10 * SECOND);
    assert_eq!(&*cache.load(b"k", &options, || found(b"asked")).unwrap().unwrap(), b"asked");
    // The loader may say for how long; one that always has a value is asked in any case.
    let long = || Ok::<Load<Vec<u8>>, Infallible>(Load::AbsentFor(100 * SECOND));
    cache.load(b"long", &LoadOptions::new(), long).unwrap();
    clock.advance(99 * SECOND);
    assert!(cache.load(b"long", &options, || found(b"not asked")).unwrap().is_none());
    assert_eq!(&*cache.get_with(b"long", || b"must".to_vec()).unwrap(), b"must");
    assert!(cache.optionally_get_with(b"long", || None::<Vec<u8>>).unwrap().is_some());
}

#[test]
fn writes_end_absences() {
    let (cache, _) = with_clock();
    let options = LoadOptions::new().negative_ttl(1000 * SECOND);
    type Change = fn(&Cache);
    let changes: [(&str, Change); 6] = [
        ("set", |cache| _ = cache.set(b"k", b"x")),
        ("remove", |cache| _ = cache.remove(b"k")),
        ("update", |cache| cache.update(&[b"k"], |update| update.set(0, b"x")).unwrap()),
        ("reserve", |cache| drop(cache.reserve(b"k", 0, &SetOptions::new()).unwrap().publish())),
        ("clear", |cache| cache.clear()),
        ("clear_all", |cache| cache.clear_all()),
    ];
    for (name, change) in changes {
        cache.remove(b"k");
        assert!(cache.load(b"k", &options, nothing).unwrap().is_none());
        assert_eq!(cache.load_stats().absences, 1, "{name}");
        change(&cache);
        assert_eq!((cache.load_stats().absences, cache.load_stats().absence_bytes), (0, 0), "{name}");
        cache.remove(b"k");
        assert!(cache.load(b"k", &options, || found(b"asked")).unwrap().is_some(), "{name}");
    }
}

#[test]
fn absences_are_bounded_and_on_the_ledger() {
    let cache = cache();
    let options = LoadOptions::new().negative_ttl(1000 * SECOND);
    for i in 0..1000u32 {
        // The tables, which stay.
        cache.load(&i.to_le_bytes(), &LoadOptions::new(), nothing).unwrap();
    }
    let before = cache.memory().used;
    for i in 0..10_000u32 {
        cache.load(&i.to_le_bytes(), &options, nothing).unwrap();
    }
    let stats = cache.load_stats();
    assert!(stats.absence_bytes <= (4 << 20) / 32 && stats.absences > 900, "{stats:?}");
    assert_eq!(cache.memory().used - before, stats.absence_bytes);
    cache.clear();
    assert_eq!(cache.memory().used, before);
    cache.check_invariants();
}

#[test]
fn typed_loads() {
    let cache = TypedCache::<String, u64, Plain>::new(cache()).time_to_live(60 * SECOND);
    let (gate, keeper) = gate();
    thread::scope(|scope| {
        let leader = scope.spawn(|| {
            let load = move || {
                gate.pass();
                7
            };
            cache.get_with("k", load).unwrap()
        });
        keeper.wait();
        let waiter = scope.spawn(|| cache.get_with("k", || unreachable!()).unwrap());
        until_waiting(cache.cache(), 1);
        keeper.open();
        assert_eq!((leader.join().unwrap(), waiter.join().unwrap()), (7, 7));
    });
    assert!(cache.metadata("k").unwrap().ttl_left.is_some(), "as the handle says");
    assert_eq!(cache.entry("k").unwrap().or_insert(8).unwrap(), 7);
    assert_eq!(cache.try_get_with("x", || "x".parse()).unwrap_err().to_string(), {
        let error = "x".parse::<u64>().unwrap_err();
        format!("the loader has failed: {error}")
    });
    assert_eq!(cache.optionally_get_with("none", || None).unwrap(), None);
}
