//! Listeners of namespaces and of typed caches: causes, order, whose items, what does not decode, who panics, who comes
//! and goes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use larder::typed::{Op, Plain};
use larder::{Cache, CacheBuilder, Listening, Maintenance, ManualClock, RemovalCause, SetOptions, TypedCache};

type Ages = TypedCache<String, u32, Plain>;
type Notes = Arc<Mutex<Vec<(String, u32, RemovalCause)>>>;

fn builder() -> (CacheBuilder, ManualClock) {
    let clock = ManualClock::new(1_700_000_000_000);
    let builder = Cache::builder().max_memory(256 << 10).page_size(1024).shards(2).seed(1).clock(clock.clone());
    (builder.maintenance(Maintenance::Manual).expiry_lag(Duration::ZERO), clock)
}

fn noting(ages: &Ages) -> (Notes, Listening) {
    let notes = Notes::default();
    let theirs = Arc::clone(&notes);
    let listening = ages.eviction_listener(move |key, value, cause| theirs.lock().unwrap().push((key, value, cause)));
    (notes, listening)
}

fn take(notes: &Notes) -> Vec<(String, u32, RemovalCause)> {
    std::mem::take(&mut *notes.lock().unwrap())
}

#[test]
fn each_cause_comes_decoded_and_in_order() {
    let (builder, clock) = builder();
    let ages = Ages::new(builder.build().unwrap().namespace(3));
    let (notes, listening) = noting(&ages);
    assert_eq!(listening.namespace(), 3);
    ages.insert("ann", &1).unwrap();
    ages.insert("ann", &2).unwrap();
    ages.entry("ann").unwrap().and_upsert_with(|age| age.unwrap_or(0) + 1).unwrap();
    ages.entry("ann").unwrap().and_compute_with(|_| Op::Remove).unwrap();
    ages.get_with("ben", || 10).unwrap();
    assert_eq!(ages.take("ben").unwrap(), Some(10));
    let second = SetOptions::new().ttl(Duration::from_secs(1));
    ages.insert_with("cyd", &20, &second).unwrap();
    clock.advance(Duration::from_secs(1));
    ages.cache().run_maintenance(Duration::from_secs(1));
    ages.insert("dan", &30).unwrap();
    ages.invalidate_all();
    ages.cache().run_maintenance(Duration::from_secs(1));
    use RemovalCause::{Expired, Flushed, Removed, Replaced};
    let expected = [
        ("ann", 1, Replaced),
        ("ann", 2, Replaced),
        ("ann", 3, Removed),
        ("ben", 10, Removed),
        ("cyd", 20, Expired),
        ("dan", 30, Flushed),
    ];
    assert_eq!(take(&notes), expected.map(|(name, age, cause)| (name.to_owned(), age, cause)));
    assert_eq!(listening.undecodable(), 0);
}

#[test]
fn what_is_evicted_was_stored_and_is_gone() {
    let (builder, _) = builder();
    let ages = Ages::new(builder.build().unwrap());
    let (notes, _listening) = noting(&ages);
    let mut there = HashMap::new();
    for i in 0..20_000 {
        let key = format!("key {i}");
        if ages.insert_with(&key, &i, &SetOptions::new()).unwrap().stored {
            there.insert(key, i);
        }
        for (key, value, cause) in take(&notes) {
            assert_eq!(cause, RemovalCause::Evicted);
            assert_eq!(there.remove(&key), Some(value), "{key}");
        }
    }
    assert!(there.len() < 15_000 && there.len() as u64 == ages.len(), "{} {}", there.len(), ages.len());
    ages.cache().check_invariants();
}

#[test]
fn only_its_own_namespace_and_only_while_it_is_kept() {
    let told = Arc::new(AtomicU64::new(0));
    let theirs = Arc::clone(&told);
    let (builder, _) = builder();
    let cache = builder.eviction_listener(move |_| _ = theirs.fetch_add(1, SeqCst)).build().unwrap();
    let of = |namespace| Ages::new(cache.namespace(namespace));
    let churn = |ages: &Ages| {
        ages.insert("k", &1).unwrap();
        assert!(ages.remove("k"));
    };
    let (one, listening) = noting(&of(1));
    let (last, _listening) = noting(&of(255));
    [0, 1, 2, 255].iter().for_each(|&namespace| churn(&of(namespace)));
    assert_eq!((take(&one).len(), take(&last).len(), told.load(SeqCst)), (1, 1, 4));
    let (again, kept) = noting(&of(1));
    kept.keep();
    churn(&of(1));
    drop(listening);
    churn(&of(1));
    assert_eq!((take(&one).len(), take(&again).len(), told.load(SeqCst)), (1, 2, 6));
    assert_eq!(Arc::strong_count(&one), 1, "the closure went with its handle");
    drop((cache.clone(), of));
    drop(cache);
    assert_eq!(Arc::strong_count(&again), 1, "and the one that was kept, with the cache");
}

#[test]
fn what_does_not_decode_is_counted() {
    let (builder, _) = builder();
    let ages = Ages::new(builder.build().unwrap());
    let (notes, listening) = noting(&ages);
    let lenient = ages.clone().undecodable_as_miss(true);
    let (_, too) = noting(&lenient);
    for (key, value) in [(&b"ann"[..], &b"four"[..]), (b"ben", b"three"), (b"\xff\xfe", b"1234")] {
        ages.cache().set(key, value).unwrap();
        ages.cache().remove(key);
    }
    assert_eq!(take(&notes), [("ann".to_owned(), u32::from_le_bytes(*b"four"), RemovalCause::Removed)]);
    assert_eq!((listening.undecodable(), too.undecodable()), (2, 2));
}

#[test]
fn panics_end_at_the_call() {
    let (builder, _) = builder();
    let ages = Ages::new(builder.build().unwrap());
    let panicking = ages.eviction_listener(|_, age, _| assert!(age % 2 == 0, "as the test wants it"));
    let (notes, _listening) = noting(&ages);
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    for age in 0..10 {
        ages.insert("k", &age).unwrap();
    }
    std::panic::set_hook(hook);
    assert_eq!(take(&notes).iter().map(|note| note.1).collect::<Vec<_>>(), (0..9).collect::<Vec<_>>());
    assert_eq!((ages.cache().stats().listener_panics, panicking.undecodable()), (4, 0));
    ages.cache().check_invariants();
}

#[test]
fn a_listener_may_use_the_cache_and_end_itself() {
    let (builder, _) = builder();
    let ages = Ages::new(builder.build().unwrap());
    let own: Arc<OnceLock<Mutex<Option<Listening>>>> = Arc::default();
    let (theirs, again) = (Arc::clone(&own), ages.clone());
    let calls = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&calls);
    let listening = ages.eviction_listener(move |key, age, cause| {
        counted.fetch_add(1, SeqCst);
        // What is removed comes back, until it is ten; that replaces nothing, and is no call within this one.
        if cause == RemovalCause::Removed && age < 10 {
            again.insert(&key, &(age + 1)).unwrap();
            again.remove(&key);
        } else if let Some(own) = theirs.get() {
            drop(own.lock().unwrap().take());
        }
    });
    own.set(Mutex::new(Some(listening))).unwrap();
    ages.insert("k", &0).unwrap();
    ages.remove("k");
    assert_eq!(calls.load(SeqCst), 11);
    ages.insert("k", &20).unwrap();
    ages.remove("k");
    assert_eq!(calls.load(SeqCst), 11, "it has ended itself");
    drop(own);
    ages.cache().check_invariants();
}

#[test]
fn each_keys_calls_come_in_order_while_listeners_come_and_go() {
    let ages = Ages::new(Cache::builder().max_memory(4 << 20).shards(2).build().unwrap());
    let last: Arc<[AtomicU64; 8]> = Arc::default();
    let (theirs, told) = (Arc::clone(&last), Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&told);
    let _listening = ages.eviction_listener(move |key, age, _| {
        let before = theirs[key.parse::<usize>().unwrap()].swap(u64::from(age) + 1, SeqCst);
        assert!(before <= u64::from(age), "{key}: {age} after {before}");
        counted.fetch_add(1, SeqCst);
    });
    std::thread::scope(|scope| {
        for key in 0..8u32 {
            let ages = ages.clone();
            scope.spawn(move || {
                let key = key.to_string();
                (0..2000).for_each(|age| ages.insert(&key, &age).unwrap());
            });
        }
        for _ in 0..2 {
            scope.spawn(|| (0..200).for_each(|_| drop(ages.eviction_listener(|_, _, _| ()))));
        }
    });
    // The last notices may be told by maintenance or by another's turn, at the latest by this.
    ages.cache().run_maintenance(Duration::from_secs(1));
    for _ in 0..1000 {
        if told.load(SeqCst) == 8 * 1999 {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!((told.load(SeqCst), ages.cache().stats().listener_panics), (8 * 1999, 0));
    ages.cache().check_invariants();
}

#[test]
fn the_last_handle_may_go_with_a_listener_on_the_maintenance_thread() {
    let ages = Ages::new(Cache::builder().max_memory(1 << 20).expiry_lag(Duration::ZERO).build().unwrap());
    let (sender, told) = std::sync::mpsc::channel();
    let own: Arc<Mutex<Option<Listening>>> = Arc::default();
    let theirs = Arc::clone(&own);
    // The closure owns a handle, and is dropped with its own call, which maintenance makes.
    let (handle, this) = (ages.clone(), std::thread::current().id());
    *own.lock().unwrap() = Some(ages.eviction_listener(move |_, _, cause| {
        drop(theirs.lock().unwrap().take());
        sender.send((handle.len(), cause, std::thread::current().id() != this)).unwrap();
    }));
    ages.insert_with("k", &1, &SetOptions::new().ttl(Duration::from_millis(50))).unwrap();
    drop((ages, own));
    assert_eq!(told.recv_timeout(Duration::from_secs(20)).unwrap(), (0, RemovalCause::Expired, true));
    assert!(told.recv_timeout(Duration::from_secs(20)).is_err(), "the closure is gone");
}
