//! Bounded queues to subscribers. Who is too slow loses events, and is told how many; nobody waits for him.
//!
//! Invariants:
//! 1. A queue holds no more than its capacity. What comes when it is full is lost, and counted: what was there stays,
//!    in order.
//! 2. What waits in the queue of a cache's subscriber is on that cache's ledger.
//! 3. The lock is held for a push or a pop, by nobody who runs a program's code meanwhile; wakers of futures are that,
//!    too.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::Release};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::slab::{Account, Arena};
use crate::waiters::{Waiters, wake_all};

/// Who has channels to subscribers, and is told that one has gone.
pub(crate) trait Publisher: Send + Sync + std::fmt::Debug {
    fn prune(&self);
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Channel<T> {
    queue: Mutex<Queue<T>>,
    arrived: Condvar,
    capacity: usize,
    lost: AtomicU64,
    /// The subscriber has gone.
    gone: AtomicBool,
    /// Whose ledger it is on, if anybody's.
    arena: Weak<Arena>,
    /// What an event takes while it waits, in bytes.
    weight: fn(&T) -> u64,
}

#[derive(Debug)]
struct Queue<T> {
    waiting: VecDeque<T>,
    /// Futures that wait.
    waiters: Waiters,
    /// Nothing will come any more.
    ended: bool,
}

impl<T> Channel<T> {
    pub(crate) fn new(capacity: usize, arena: Weak<Arena>, weight: fn(&T) -> u64) -> Channel<T> {
        Channel {
            queue: Mutex::new(Queue { waiting: VecDeque::new(), waiters: Waiters::default(), ended: false }),
            arrived: Condvar::new(),
            capacity: capacity.max(1),
            lost: AtomicU64::new(0),
            gone: AtomicBool::new(false),
            arena,
            weight,
        }
    }

    /// Invariant 2.
    fn charge(&self, weight: u64) {
        if let Some(arena) = self.arena.upgrade() {
            arena.ledger.force(Account::Side, weight);
        }
    }

    fn release(&self, weight: u64) {
        if let Some(arena) = self.arena.upgrade() {
            arena.ledger.release(Account::Side, weight);
        }
    }

    pub(crate) fn push(&self, event: T) {
        if self.is_gone() {
            return;
        }
        let mut queue = self.queue.lock();
        if queue.ended {
            // The subscriber has gone since: nobody would take it off the ledger.
            return;
        }
        if queue.waiting.len() >= self.capacity {
            self.lost.fetch_add(1, Relaxed);
            return;
        }
        self.charge((self.weight)(&event));
        queue.waiting.push_back(event);
        let wakers = queue.waiters.take_all();
        drop(queue);
        self.arrived.notify_one();
        // All of them: one that is called may be dropped before it looks. A panic of theirs is not the cache's affair.
        drop(wake_all(wakers));
    }

    /// Nothing will come any more.
    pub(crate) fn end(&self) {
        let wakers = {
            let mut queue = self.queue.lock();
            queue.ended = true;
            queue.waiters.take_all()
        };
        self.arrived.notify_all();
        drop(wake_all(wakers));
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Relaxed)
    }

    fn pop(&self, queue: &mut Queue<T>) -> Option<T> {
        let event = queue.waiting.pop_front()?;
        self.release((self.weight)(&event));
        Some(event)
    }

    /// Waits until `deadline`, or for ever.
    fn wait(&self, deadline: Option<Instant>) -> Option<T> {
        let mut queue = self.queue.lock();
        loop {
            if let Some(event) = self.pop(&mut queue) {
                return Some(event);
            }
            if queue.ended {
                return None;
            }
            match deadline {
                None => self.arrived.wait(&mut queue),
                Some(at) if self.arrived.wait_until(&mut queue, at).timed_out() => return self.pop(&mut queue),
                Some(_) => {}
            }
        }
    }

    fn empty(&self) {
        self.gone.store(true, Release);
        let mut queue = self.queue.lock();
        queue.ended = true;
        while self.pop(&mut queue).is_some() {}
    }
}

/// A bounded queue of events: of what happens to keys ([`Cache::subscribe`](crate::Cache::subscribe)), or to the engine
/// ([`EventLog::subscribe`](crate::EventLog::subscribe)). Dropping it ends the subscription.
///
/// Events come in the order in which they happened to a key. Who is too slow loses those that come while the queue is
/// full, and [`lost`](Self::lost) counts them; the cache never waits. It may be shared between threads, each of which
/// then gets part of the events.
///
/// # Examples
/// ```
/// use larder::{Cache, KeyEvents};
/// let cache = Cache::new(1 << 20)?;
/// let events = cache.subscribe(KeyEvents::ALL, 2);
/// for value in [b"1", b"2", b"3"] {
///     cache.set(b"k", value)?;
/// }
/// assert_eq!((events.len(), events.lost()), (2, 1));
/// drop(cache);
/// assert_eq!(events.iter().count(), 2, "what has come is there still, and then it ends");
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug)]
pub struct Subscription<T> {
    channel: Arc<Channel<T>>,
    publisher: Weak<dyn Publisher>,
}

impl<T> Subscription<T> {
    pub(crate) fn new(channel: Arc<Channel<T>>, publisher: Weak<dyn Publisher>) -> Subscription<T> {
        Subscription { channel, publisher }
    }

    /// The next event, if one waits.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, KeyEvents};
    /// let events = Cache::new(1 << 20)?.subscribe(KeyEvents::ALL, 10);
    /// assert!(events.try_recv().is_none());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn try_recv(&self) -> Option<T> {
        self.channel.pop(&mut self.channel.queue.lock())
    }

    /// The next event, for which it waits; None when the source has gone and nothing is left.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, KeyEvents};
    /// let cache = Cache::new(1 << 20)?;
    /// let events = cache.subscribe(KeyEvents::ALL, 10);
    /// let waiting = std::thread::spawn(move || events.recv().map(|event| event.name()));
    /// cache.set(b"k", b"v")?;
    /// assert_eq!(waiting.join().unwrap(), Some("set"));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn recv(&self) -> Option<T> {
        self.channel.wait(None)
    }

    /// The next event, for which it waits so long; None when none came, or the source has gone and nothing is left
    /// ([`is_ended`](Self::is_ended) tells which).
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, KeyEvents};
    /// use std::time::Duration;
    /// let cache = Cache::new(1 << 20)?;
    /// let events = cache.subscribe(KeyEvents::ALL, 10);
    /// assert!(events.recv_timeout(Duration::from_millis(1)).is_none() && !events.is_ended());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn recv_timeout(&self, timeout: Duration) -> Option<T> {
        // A time beyond what the system can tell is for ever.
        self.channel.wait(Instant::now().checked_add(timeout))
    }

    /// The next event, as a future, under any runtime; None when the source has gone and nothing is left. Dropped
    /// before, it takes no event. Who waits for one of several things (`select!`) loses nothing.
    ///
    /// # Examples
    /// ```
    /// # pollster::block_on(async {
    /// use larder::{Cache, KeyEvents};
    /// let cache = Cache::new(1 << 20)?;
    /// let events = cache.subscribe(KeyEvents::ALL, 10);
    /// cache.set(b"k", b"v")?;
    /// assert_eq!(events.recv_async().await.map(|event| event.name()), Some("set"));
    /// drop(cache);
    /// assert!(events.recv_async().await.is_none());
    /// # Ok::<(), larder::Error>(())
    /// # }).unwrap();
    /// ```
    #[cfg(feature = "async")]
    #[cfg_attr(docsrs, doc(cfg(feature = "async")))]
    pub fn recv_async(&self) -> Receiving<'_, T> {
        Receiving { channel: &self.channel, number: 0 }
    }

    /// Events as they come; it waits for each, and ends when the source has gone.
    ///
    /// # Examples
    /// See [`Subscription`].
    pub fn iter(&self) -> SubscriptionIter<'_, T> {
        SubscriptionIter { subscription: self }
    }

    /// How many events were lost because the queue was full.
    ///
    /// # Examples
    /// See [`Subscription`].
    pub fn lost(&self) -> u64 {
        self.channel.lost.load(Relaxed)
    }

    /// How many events wait.
    ///
    /// # Examples
    /// See [`Subscription`].
    pub fn len(&self) -> usize {
        self.channel.queue.lock().waiting.len()
    }

    /// Whether none waits.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, KeyEvents};
    /// assert!(Cache::new(1 << 20)?.subscribe(KeyEvents::ALL, 10).is_empty());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many can wait.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, KeyEvents};
    /// assert_eq!(Cache::new(1 << 20)?.subscribe(KeyEvents::ALL, 10).capacity(), 10);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn capacity(&self) -> usize {
        self.channel.capacity
    }

    /// Whether the source has gone: what waits is the last.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, KeyEvents};
    /// let cache = Cache::new(1 << 20)?;
    /// let events = cache.subscribe(KeyEvents::ALL, 10);
    /// drop(cache);
    /// assert!(events.is_ended());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn is_ended(&self) -> bool {
        self.channel.queue.lock().ended
    }
}

/// The future of [`Subscription::recv_async`].
///
/// # Examples
/// See [`Subscription::recv_async`].
#[cfg(feature = "async")]
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
#[derive(Debug)]
#[must_use = "futures do nothing unless they are polled"]
pub struct Receiving<'a, T> {
    channel: &'a Channel<T>,
    /// In the list of those who wait; 0 before it does.
    number: usize,
}

#[cfg(feature = "async")]
impl<T> Future for Receiving<'_, T> {
    type Output = Option<T>;

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Option<T>> {
        use std::task::Poll;
        // Cloning a waker and dropping one is the program's code.
        let waker = cx.waker().clone();
        let mut queue = self.channel.queue.lock();
        let event = self.channel.pop(&mut queue);
        if event.is_some() || queue.ended {
            return Poll::Ready(event);
        }
        let (unused, _) = queue.waiters.keep(&mut self.number, waker);
        drop(queue);
        drop(unused);
        Poll::Pending
    }
}

#[cfg(feature = "async")]
impl<T> Drop for Receiving<'_, T> {
    fn drop(&mut self) {
        if self.number != 0 {
            let gone = self.channel.queue.lock().waiters.leave(self.number);
            drop(gone);
        }
    }
}

impl<T> Drop for Subscription<T> {
    fn drop(&mut self) {
        self.channel.empty();
        if let Some(publisher) = self.publisher.upgrade() {
            publisher.prune();
        }
    }
}

/// Events as they come; see [`Subscription::iter`].
///
/// # Examples
/// ```
/// use larder::{Cache, KeyEvents};
/// let cache = Cache::new(1 << 20)?;
/// let events = cache.subscribe(KeyEvents::ALL, 10);
/// cache.set(b"k", b"v")?;
/// assert_eq!(events.iter().next().map(|event| event.name()), Some("set"));
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug)]
pub struct SubscriptionIter<'a, T> {
    subscription: &'a Subscription<T>,
}

impl<T> Iterator for SubscriptionIter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.subscription.recv()
    }
}

impl<'a, T> IntoIterator for &'a Subscription<T> {
    type Item = T;
    type IntoIter = SubscriptionIter<'a, T>;

    fn into_iter(self) -> SubscriptionIter<'a, T> {
        self.iter()
    }
}
