//! Load-through for futures, under tokio and under nothing but a waker.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use larder::typed::Plain;
use larder::{Cache, ErrorKind, Load, LoadOptions, TypedCache};
use tokio::sync::oneshot;

use super::{SECOND, cache, gate, until_waiting, with_clock};

/// Counts how often it is woken.
#[derive(Default)]
struct Count(AtomicU32);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

fn poll<F: Future>(future: std::pin::Pin<&mut F>, count: &Arc<Count>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(&Waker::from(Arc::clone(count))))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_and_one_loader() {
    let (cache, calls) = (cache(), Arc::new(AtomicU32::new(0)));
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let (cache, calls) = (cache.clone(), Arc::clone(&calls));
            tokio::spawn(async move {
                let load = async {
                    calls.fetch_add(1, SeqCst);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    b"v".to_vec()
                };
                cache.get_with_async(b"k", load).await.unwrap()
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(&*task.await.unwrap(), b"v");
    }
    assert_eq!(calls.load(SeqCst), 1);
}

#[tokio::test]
async fn errors_are_shared_and_absences_remembered() {
    let cache = TypedCache::<u64, String, Plain>::new(cache());
    let cache = cache.load_options(LoadOptions::new().negative_ttl(60 * SECOND));
    let fail = || async {
        tokio::task::yield_now().await;
        Err::<String, _>(Box::new(404))
    };
    let (a, b) = tokio::join!(cache.try_get_with_async(&1, fail()), cache.try_get_with_async(&1, fail()));
    let (a, b) = (a.unwrap_err(), b.unwrap_err());
    assert!(std::ptr::eq(a.loader().unwrap(), b.loader().unwrap()));
    assert_eq!(cache.optionally_get_with_async(&2, async { None }).await.unwrap(), None);
    assert_eq!(cache.optionally_get_with_async(&2, async { unreachable!() }).await.unwrap(), None);
    assert_eq!(cache.get_with_async(&2, async { "two".to_owned() }).await.unwrap(), "two");
}

#[test]
fn a_cancelled_loader_wakes_the_next_who_runs_its_own() {
    let cache = cache();
    let wakes: [Arc<Count>; 3] = Default::default();
    let mut waiters: Vec<_> = (1..3u8)
        .map(|i| {
            Box::pin({
                let cache = cache.clone();
                async move { cache.get_with_async(b"k", async move { vec![i] }).await }
            })
        })
        .collect();
    {
        let mut leader = pin!(cache.get_with_async(b"k", pending::<Vec<u8>>()));
        assert!(poll(leader.as_mut(), &wakes[0]).is_pending());
        for (waiter, count) in waiters.iter_mut().zip(&wakes[1..]) {
            assert!(poll(waiter.as_mut(), count).is_pending());
            assert!(poll(waiter.as_mut(), count).is_pending());
        }
        assert_eq!(cache.load_stats().in_flight, 1);
        // The leader is dropped here.
    }
    assert_eq!(wakes.each_ref().map(|count| count.0.load(SeqCst)), [0, 1, 1]);
    let Poll::Ready(value) = poll(waiters[1].as_mut(), &wakes[2]) else { panic!("it takes over") };
    assert_eq!(&*value.unwrap(), [2]);
    let Poll::Ready(value) = poll(waiters[0].as_mut(), &wakes[1]) else { panic!("it is there") };
    assert_eq!(&*value.unwrap(), [2]);
    assert_eq!((cache.load_stats().failures, cache.load_stats().in_flight), (1, 0));
}

#[test]
fn those_who_stop_waiting_are_forgotten() {
    let cache = cache();
    let (send, receive) = oneshot::channel::<Vec<u8>>();
    let (first, second) = (Arc::new(Count::default()), Arc::new(Count::default()));
    let mut leader = pin!(cache.get_with_async(b"k", async { receive.await.unwrap() }));
    assert!(poll(leader.as_mut(), &first).is_pending());
    {
        let mut waiter = pin!(cache.get_with_async(b"k", async { vec![2] }));
        assert!(poll(waiter.as_mut(), &second).is_pending());
    }
    assert_eq!(Arc::strong_count(&second), 1, "its waker is gone with it");
    send.send(vec![1]).unwrap();
    assert_eq!(first.0.load(SeqCst), 1);
    assert!(matches!(poll(leader.as_mut(), &first), Poll::Ready(Ok(value)) if *value == [1]));
    assert_eq!(second.0.load(SeqCst), 0);
}

/// A runtime's waker that is broken.
struct Broken;

impl Wake for Broken {
    fn wake(self: Arc<Self>) {
        panic!("as the test wants it");
    }
}

#[test]
fn a_waker_that_panics_keeps_nobody_else_waiting() {
    let cache = cache();
    let (send, receive) = oneshot::channel::<Vec<u8>>();
    let (first, other) = (Arc::new(Count::default()), Arc::new(Count::default()));
    let mut leader = pin!(cache.get_with_async(b"k", async { receive.await.unwrap() }));
    assert!(poll(leader.as_mut(), &first).is_pending());
    let mut broken = pin!(cache.get_with_async(b"k", async { vec![2] }));
    assert!(broken.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::new(Broken)))).is_pending());
    let mut waiter = pin!(cache.get_with_async(b"k", async { vec![3] }));
    assert!(poll(waiter.as_mut(), &other).is_pending());
    send.send(vec![1]).unwrap();
    let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| poll(leader.as_mut(), &first)));
    assert!(polled.is_err(), "the panic is its caller's");
    assert_eq!(other.0.load(SeqCst), 1);
    assert!(matches!(poll(waiter.as_mut(), &other), Poll::Ready(Ok(value)) if *value == [1]));
    assert_eq!(&*cache.get(b"k").unwrap().unwrap(), [1], "it is stored");
    assert_eq!(cache.load_stats().in_flight, 0);
}

#[test]
fn a_future_waits_for_a_thread_and_a_thread_for_a_future() {
    let cache = cache();
    let (gate, keeper) = gate();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let load = move || {
                gate.pass();
                b"thread".to_vec()
            };
            cache.get_with(b"k", load).unwrap();
        });
        keeper.wait();
        let future =
            scope.spawn(|| pollster::block_on(cache.get_with_async(b"k", async { unreachable!() as Vec<u8> })));
        until_waiting(&cache, 1);
        keeper.open();
        assert_eq!(&*future.join().unwrap().unwrap(), b"thread");
    });
    let (send, receive) = oneshot::channel::<Vec<u8>>();
    std::thread::scope(|scope| {
        let mut leader = Box::pin(cache.get_with_async(b"other", async { receive.await.unwrap() }));
        assert!(poll(leader.as_mut(), &Arc::default()).is_pending());
        let thread = scope.spawn(|| cache.get_with(b"other", || -> Vec<u8> { unreachable!() }).unwrap().to_vec());
        until_waiting(&cache, 2);
        send.send(b"future".to_vec()).unwrap();
        pollster::block_on(leader).unwrap();
        assert_eq!(thread.join().unwrap(), b"future");
    });
}

#[tokio::test]
async fn recursion_is_refused() {
    let cache = cache();
    let load = async {
        tokio::task::yield_now().await;
        let inner = cache.get_with_async(b"k", async { b"inner".to_vec() }).await;
        assert_eq!(inner.unwrap_err().kind(), ErrorKind::RecursiveLoad);
        let inner = cache.get_with(b"k", || b"inner".to_vec()).map(|value| value.to_vec());
        assert_eq!(inner.unwrap_err().kind(), ErrorKind::RecursiveLoad);
        b"outer".to_vec()
    };
    assert_eq!(&*cache.get_with_async(b"k", load).await.unwrap(), b"outer");
}

#[test]
fn a_loader_that_panics_harms_nobody() {
    let cache = cache();
    let count = Arc::new(Count::default());
    let (send, receive) = oneshot::channel::<()>();
    let mut leader = Box::pin(cache.get_with_async(b"k", async {
        receive.await.unwrap();
        panic!("as the test wants it") as Vec<u8>
    }));
    assert!(poll(leader.as_mut(), &count).is_pending());
    let mut waiter = Box::pin(cache.get_with_async(b"k", async { b"v".to_vec() }));
    assert!(poll(waiter.as_mut(), &count).is_pending());
    send.send(()).unwrap();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| poll(leader.as_mut(), &count).is_ready()));
    assert!(result.is_err());
    drop(leader);
    assert!(matches!(poll(waiter.as_mut(), &count), Poll::Ready(Ok(value)) if *value == *b"v"));
}

#[test]
fn refreshes_ahead() {
    let (cache, clock) = with_clock();
    let options = LoadOptions::new().ttl(10 * SECOND).refresh_ahead(3 * SECOND);
    let value = |n: u8| async move { Ok::<_, Infallible>(Load::Value(vec![n])) };
    pollster::block_on(cache.load_async(b"k", &options, value(1))).unwrap();
    clock.advance(8 * SECOND);
    let (send, receive) = oneshot::channel::<()>();
    let mut refresher = Box::pin(cache.load_async(b"k", &options, async {
        receive.await.unwrap();
        value(2).await
    }));
    assert!(poll(refresher.as_mut(), &Arc::default()).is_pending());
    assert_eq!(pollster::block_on(cache.load_async(b"k", &options, value(3))).unwrap().as_deref(), Some(&[1][..]));
    send.send(()).unwrap();
    assert_eq!(pollster::block_on(refresher).unwrap().as_deref(), Some(&[2][..]));
    assert_eq!(cache.read(b"k", |v| v.to_vec()), Some(vec![2]));
}

/// Futures can be spawned: they are `Send` if loaders, keys and values are.
#[test]
fn futures_are_send() {
    fn is_send<T: Send>(_: &T) {}
    let bytes: Cache = cache();
    let typed = TypedCache::<String, String, Plain>::new(bytes.clone());
    is_send(&bytes.get_with_async(b"k", async { Vec::new() }));
    is_send(&bytes.load_async(b"k", &LoadOptions::new(), async { Ok::<Load<Vec<u8>>, String>(Load::Absent) }));
    is_send(&typed.get_with_async("k", async { String::new() }));
    is_send(&typed.load_async("k", &LoadOptions::new(), async { Err::<Load<String>, _>(String::new()) }));
}
