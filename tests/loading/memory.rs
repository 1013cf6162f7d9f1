//! Loads in flight take memory: on the ledger, bounded, and given back.

use larder::{Cache, ErrorKind, Load, LoadOptions};

use super::{SECOND, builder, cache};

/// Loads a key within the loader of another, `depth` deep, and looks at the cache in the innermost.
fn nested(cache: &Cache, depth: u32, look: &mut dyn FnMut(&Cache)) -> Vec<u8> {
    let load = || {
        match depth {
            0 => look(cache),
            _ => drop(nested(cache, depth - 1, look)),
        }
        depth.to_le_bytes().to_vec()
    };
    cache.get_with(&depth.to_le_bytes(), load).unwrap().to_vec()
}

#[test]
fn loads_in_flight_are_on_the_ledger() {
    let cache = cache();
    nested(&cache, 50, &mut |_| ());
    cache.clear();
    let (before, key) = (cache.memory().used, [7u8; 60_000]);
    let mut within = 0;
    cache
        .get_with(&key, || {
            within = cache.memory().used - before;
            assert_eq!(cache.load_stats().in_flight_bytes, within);
            b"v".to_vec()
        })
        .unwrap();
    assert!((60_000..61_000).contains(&within), "{within}");
    cache.clear();
    nested(&cache, 50, &mut |cache| {
        let stats = cache.load_stats();
        assert_eq!((stats.in_flight, stats.unshared), (51, 0));
        assert!(stats.in_flight_bytes > 51 * 200 && cache.memory().used >= before + stats.in_flight_bytes);
    });
    assert_eq!((cache.load_stats().in_flight, cache.load_stats().in_flight_bytes), (0, 0));
    cache.check_invariants();
}

#[test]
fn beyond_their_room_loads_run_alone() {
    let cache = builder().max_memory(64 << 10).page_size(1024).build().unwrap();
    let mut shared = 0;
    let ends_soon = LoadOptions::new().ttl(SECOND).refresh_ahead(2 * SECOND);
    let old = |load: Load<Vec<u8>>| cache.load(b"old", &ends_soon, || Ok::<_, ()>(load)).unwrap().unwrap().to_vec();
    assert_eq!(old(Load::Value(b"1".to_vec())), b"1");
    assert_eq!(old(Load::Value(b"2".to_vec())), b"2", "ahead of its end");
    nested(&cache, 100, &mut |cache| {
        shared = cache.load_stats().in_flight;
        assert!((30..100).contains(&shared), "{:?}", cache.load_stats());
        // Alone: returned, not stored, and nobody is refused who wants the same.
        let twice = cache.get_with(b"alone", || b"1".to_vec()).unwrap();
        assert!(twice.is_fresh() && !cache.contains(b"alone"));
        assert_eq!(&*cache.get_with(b"alone", || b"2".to_vec()).unwrap(), b"2");
        assert_eq!(old(Load::Value(b"3".to_vec())), b"2", "nothing is loaded ahead");
        let recursive = || {
            let error = cache.get_with(b"itself", Vec::new).map(drop).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::RecursiveLoad);
            b"v".to_vec()
        };
        assert_eq!(&*cache.get_with(b"itself", recursive).unwrap(), b"v");
    });
    let stats = cache.load_stats();
    assert_eq!((stats.in_flight, stats.in_flight_bytes, stats.overtaken, stats.not_stored), (0, 0, 0, 0));
    assert_eq!(stats.unshared, 101 - shared + 3, "{stats:?}");
    // Depths are counted down: the outermost joined first.
    assert!(cache.contains(&100u32.to_le_bytes()) && !cache.contains(&0u32.to_le_bytes()));
    assert!(cache.get_with(b"later", || b"v".to_vec()).is_ok() && cache.contains(b"later"), "there is room again");
    cache.check_invariants();
}

#[cfg(feature = "async")]
#[test]
fn futures_that_wait_are_on_the_ledger() {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    let cache = cache();
    let (send, receive) = tokio::sync::oneshot::channel::<Vec<u8>>();
    let mut context = Context::from_waker(Waker::noop());
    let mut leader = pin!(cache.get_with_async(b"k", async { receive.await.unwrap() }));
    assert!(leader.as_mut().poll(&mut context).is_pending());
    let alone = cache.load_stats().in_flight_bytes;
    let mut waiters: Vec<_> = (0..100).map(|_| Box::pin(cache.get_with_async(b"k", async { vec![1] }))).collect();
    assert!(waiters.iter_mut().all(|waiter| waiter.as_mut().poll(&mut context).is_pending()));
    let waited_for = cache.load_stats().in_flight_bytes;
    assert!(waited_for - alone >= 100 * size_of::<Waker>() as u64, "{alone} {waited_for}");
    send.send(vec![7; 100_000]).unwrap();
    assert!(leader.as_mut().poll(&mut context).is_ready());
    assert_eq!(cache.load_stats().in_flight_bytes, waited_for, "what was loaded is the callers'");
    assert!(waiters.pop().unwrap().as_mut().poll(&mut context).is_ready());
    drop(waiters);
    assert_eq!(cache.load_stats().in_flight_bytes, 0);
    cache.check_invariants();
}
