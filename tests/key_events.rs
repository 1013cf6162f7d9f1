//! Key events by Redis's names, engine events by the service's, and queues that lose rather than wait.

use std::time::Duration;

use larder::{
    Arithmetic, Cache, EngineEventKind, EventFilter, EventLog, EventSource, KeyEvents, Kind, Maintenance, ManualClock,
    SetOptions, Subscription,
};

fn small() -> (Cache, ManualClock) {
    let clock = ManualClock::new(1_700_000_000_000);
    let builder = Cache::builder().max_memory(256 << 10).page_size(1024).shards(1).seed(1).clock(clock.clone());
    (builder.maintenance(Maintenance::Manual).expiry_lag(Duration::ZERO).build().unwrap(), clock)
}

fn names(events: &Subscription<larder::KeyEvent>) -> Vec<&'static str> {
    std::iter::from_fn(|| events.try_recv()).map(|event| event.name()).collect()
}

#[test]
fn operations_are_called_as_redis_calls_them() {
    let (cache, clock) = small();
    let events = cache.subscribe(KeyEvents::ALL, 100);
    let minute = SetOptions::new().ttl(Duration::from_secs(60));
    cache.set(b"k", b"v").unwrap();
    cache.set_with(b"k", b"v", &minute).unwrap();
    cache.set_with(b"k", b"v", &SetOptions::new().keep_ttl()).unwrap();
    assert_eq!(names(&events), ["set", "set", "expire", "set"]);
    assert!(!cache.add(b"k", b"v").unwrap() && cache.replace(b"k", b"1").unwrap());
    assert_eq!(names(&events), ["set"], "what is not stored is no event");
    cache.append(b"k", b"1").unwrap();
    cache.prepend(b"k", b"1").unwrap();
    cache.increment(b"k", 1).unwrap();
    cache.decrement(b"k", 1).unwrap();
    cache.arithmetic(b"n", &Arithmetic::signed(1)).unwrap();
    assert_eq!(names(&events), ["append", "prepend", "incrby", "incrby", "set"]);
    cache.touch(b"k", Duration::from_secs(5)).unwrap();
    cache.touch(b"k", Duration::from_secs(9 * 365 * 86_400)).unwrap();
    assert!(cache.persist(b"k") && !cache.persist(b"k"));
    assert_eq!(names(&events), ["expire", "expire", "persist"]);
    cache.remove(b"k");
    cache.remove(b"k");
    cache.take(b"n");
    assert_eq!(names(&events), ["del", "del"]);
    cache.update(&[b"from".as_slice(), b"to"], |update| update.set_with(0, b"v", &minute)).unwrap();
    cache
        .update(&[b"from".as_slice(), b"to"], |update| {
            update.set(1, b"v");
            update.remove(0);
        })
        .unwrap();
    assert_eq!(names(&events), ["set", "expire", "del", "set"]);
    let mut reservation = cache.reserve(b"slow", 1, &minute).unwrap();
    reservation.write(b"v").unwrap();
    assert!(names(&events).is_empty());
    reservation.publish().unwrap();
    assert_eq!(names(&events), ["set", "expire"]);
    clock.advance(Duration::from_secs(60));
    cache.run_maintenance(Duration::from_secs(1));
    assert_eq!(names(&events), ["expired"]);
    cache.set_with(b"t", b"v", &SetOptions::new().tag("t")).unwrap();
    cache.invalidate_tag("t");
    cache.clear();
    cache.run_maintenance(Duration::from_secs(1));
    assert_eq!(names(&events), ["set"], "clearing is no event of single keys");
}

#[test]
fn classes_and_namespaces_are_told_apart() {
    let (cache, _) = small();
    let by = |letters: &str| cache.subscribe(letters.parse().unwrap(), 10_000);
    let (generic, strings, hashes, evicted, nothing) = (by("Eg"), by("E$"), by("Eh"), by("Ee"), by("g$lshzxe"));
    let (other, all) = (cache.namespace(1).subscribe(KeyEvents::ALL, 10), cache.subscribe_all(KeyEvents::ALL, 10_000));
    cache.set_with(b"h", b"v", &SetOptions::new().kind(Kind::Hash)).unwrap();
    cache.set_with(b"h", b"v", &SetOptions::new().kind(Kind::Hash).event("hincrby")).unwrap();
    cache.append(b"h", b"v").unwrap();
    assert_eq!(names(&hashes), ["set", "hincrby", "append"]);
    cache.set(b"s", b"v").unwrap();
    cache.remove(b"s");
    assert_eq!((names(&generic), names(&strings)), (vec!["del"], vec!["set"]));
    cache.namespace(1).set(b"s", b"v").unwrap();
    assert_eq!(names(&other), ["set"]);
    assert_eq!(names(&all).len(), 6);
    for i in 0..5000u32 {
        cache.set(&i.to_le_bytes(), &[0; 100]).unwrap();
    }
    let (evictions, told) = (cache.stats().evictions, names(&evicted).len() as u64);
    assert!(evictions > 1000 && told <= evictions && told + 2 >= evictions, "{told} of {evictions}");
    assert!(nothing.is_empty() && nothing.lost() == 0);
    assert_eq!(names(&generic).len(), 0);
}

#[test]
fn a_full_queue_loses_and_an_ended_subscription_costs_nothing() {
    let (cache, _) = small();
    let before = cache.memory().side;
    let events = cache.subscribe(KeyEvents::ALL, 10);
    for i in 0..100u8 {
        cache.set(&[i; 200], b"v").unwrap();
    }
    assert_eq!((events.len(), events.lost(), events.capacity()), (10, 90, 10));
    assert!(cache.memory().side >= before + 2000, "what waits is on the ledger");
    assert_eq!(events.try_recv().unwrap().key(), [0; 200], "what came first is kept");
    drop(events);
    for i in 0..100u8 {
        cache.remove(&[i; 200]);
    }
    let after = cache.memory().side;
    let (quiet, _) = small();
    for i in 0..100u8 {
        quiet.set(&[i; 200], b"v").unwrap();
        quiet.remove(&[i; 200]);
    }
    assert!(after < quiet.memory().side + (64 << 10), "{after}");
}

#[test]
fn whoever_waits_is_woken_and_the_end_of_the_cache_is_the_end() {
    let (cache, _) = small();
    let events = cache.subscribe(KeyEvents::ALL, 100_000);
    let theirs = std::thread::spawn(move || events.iter().map(|event| event.key().to_vec()).collect::<Vec<_>>());
    for i in 0..1000u32 {
        cache.set(&i.to_le_bytes(), b"v").unwrap();
    }
    let expected: Vec<Vec<u8>> = (0..1000u32).map(|i| i.to_le_bytes().to_vec()).collect();
    drop(cache);
    assert_eq!(theirs.join().unwrap(), expected);
}

#[test]
fn events_of_a_key_come_in_order_from_many_threads() {
    let cache = Cache::builder().max_memory(4 << 20).shards(2).build().unwrap();
    let events = cache.subscribe("EA".parse().unwrap(), 1 << 20);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let cache = cache.clone();
            scope.spawn(move || {
                for i in 0..3000u32 {
                    let key = (i % 5).to_le_bytes();
                    if i % 2 == 0 {
                        cache.add(&key, b"v").unwrap();
                    } else {
                        cache.remove(&key);
                    }
                }
            });
        }
    });
    let mut there = [false; 5];
    for event in std::iter::from_fn(|| events.try_recv()) {
        let key = &mut there[event.key()[0] as usize];
        assert_eq!(*key, event.name() == "del", "set and del take turns");
        *key = !*key;
    }
    for (key, there) in there.iter().enumerate() {
        assert_eq!(cache.contains(&(key as u32).to_le_bytes()), *there);
    }
}

#[test]
fn the_life_of_a_cache_is_logged() {
    let (log, clock) = (EventLog::new(10), ManualClock::new(1_000));
    let built = |name: &str| Cache::builder().name(name).clock(clock.clone()).event_log(log.clone()).build().unwrap();
    let told = log.subscribe(10);
    let cache = built("a");
    clock.advance(Duration::from_secs(10));
    cache.emit(EngineEventKind::CacheClusterParametersChanged, "maxmemory-samples: 5");
    let handle = cache.clone();
    drop(cache);
    assert_eq!(told.len(), 2, "a handle is left");
    drop(handle);
    drop(built("b"));
    let kinds: Vec<_> = std::iter::from_fn(|| told.try_recv()).map(|e| (e.date_ms, e.source_name, e.kind)).collect();
    let (built, gone) =
        (EngineEventKind::CacheClusterProvisioningComplete, EngineEventKind::DeleteCacheClusterComplete);
    let changed = EngineEventKind::CacheClusterParametersChanged;
    let expected = [(1_000, "a", built), (11_000, "a", changed), (11_000, "a", gone)];
    let expected = expected.into_iter().chain([(11_000, "b", built), (11_000, "b", gone)]);
    assert_eq!(kinds, expected.map(|(date, name, kind)| (date, name.to_owned(), kind)).collect::<Vec<_>>());
    let filter = EventFilter::new().within(Duration::from_secs(5), 11_000).source(EventSource::CacheCluster);
    assert_eq!(log.query(&filter.clone().source_name("a")).len(), 2);
    assert_eq!(log.query(&filter.kind(gone)).len(), 2);
}

#[cfg(feature = "async")]
mod futures {
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::task::{Context, Poll, Wake, Waker};

    use super::*;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    #[test]
    fn a_future_waits_for_events() {
        let cache = Cache::new(1 << 20).unwrap();
        let events = cache.subscribe(KeyEvents::ALL, 10);
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&count));
        let mut context = Context::from_waker(&waker);
        let (mut first, mut given_up) = (pin!(events.recv_async()), Box::pin(events.recv_async()));
        assert!(first.as_mut().poll(&mut context).is_pending() && given_up.as_mut().poll(&mut context).is_pending());
        drop(given_up);
        assert!(first.as_mut().poll(&mut context).is_pending(), "still");
        cache.set(b"k", b"v").unwrap();
        assert_eq!(count.0.load(SeqCst), 1, "who has gone is not called");
        let Poll::Ready(Some(event)) = first.as_mut().poll(&mut context) else { panic!("there is an event") };
        assert_eq!(event.name(), "set");
        let mut last = pin!(events.recv_async());
        assert!(last.as_mut().poll(&mut context).is_pending());
        drop(cache);
        assert_eq!(count.0.load(SeqCst), 2);
        assert!(matches!(last.as_mut().poll(&mut context), Poll::Ready(None)));
    }

    #[test]
    fn many_tasks_share_the_events() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(3).enable_time().build().unwrap();
        let cache = Cache::new(4 << 20).unwrap();
        let events = Arc::new(cache.subscribe(KeyEvents::ALL, 10_000));
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let events = Arc::clone(&events);
                runtime.spawn(async move {
                    let mut seen = 0;
                    loop {
                        // Given up now and then: nothing may be lost by that.
                        let wait = tokio::time::timeout(Duration::from_micros(300), events.recv_async());
                        match wait.await {
                            Ok(Some(_)) => seen += 1,
                            Ok(None) => return seen,
                            Err(_) => {}
                        }
                    }
                })
            })
            .collect();
        for i in 0..3000u32 {
            cache.set(&i.to_le_bytes(), b"v").unwrap();
        }
        drop(cache);
        let seen: u32 = runtime.block_on(async {
            let mut sum = 0;
            for task in tasks {
                sum += task.await.unwrap();
            }
            sum
        });
        assert_eq!((seen, events.lost()), (3000, 0));
        // Under a plain executor.
        assert!(pollster::block_on(events.recv_async()).is_none());
    }
}
