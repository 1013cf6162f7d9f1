//! The last engine events, and who is told of new ones.
//!
//! Invariants:
//! 1. The log holds no more than its capacity; the oldest go first.
//! 2. Switched off, it keeps its events and goes on keeping them, and keeps its subscribers: they are only not told.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::channel::{Channel, Publisher, Subscription};
use super::engine::{EngineEvent, EngineEventKind, EventSource};

/// A bounded log of engine events. A handle: clones are the same log. Every cache has one of its own, unless several
/// are given one together ([`CacheBuilder::event_log`](crate::CacheBuilder::event_log)), which then outlives them.
///
/// # Examples
/// ```
/// use larder::{Cache, EngineEventKind, EventFilter, EventLog};
/// let log = EventLog::new(100);
/// let cache = Cache::builder().name("sessions").event_log(log.clone()).build()?;
/// drop(cache);
/// let kinds: Vec<_> = log.query(&EventFilter::new()).into_iter().map(|event| event.kind).collect();
/// assert_eq!(
///     kinds,
///     [EngineEventKind::CacheClusterProvisioningComplete, EngineEventKind::DeleteCacheClusterComplete]
/// );
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct EventLog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kept: Mutex<VecDeque<EngineEvent>>,
    capacity: usize,
    subscribers: Mutex<Vec<Arc<Channel<EngineEvent>>>>,
    is_on: AtomicBool,
}

/// Events that a log of a cache's own keeps.
const KEPT: usize = 256;

impl Default for EventLog {
    fn default() -> Self {
        EventLog::new(KEPT)
    }
}

impl EventLog {
    /// A log that keeps the last `capacity` events, at least one. Each takes some 150 bytes, which are on no cache's
    /// ledger.
    ///
    /// # Examples
    /// ```
    /// let log = larder::EventLog::new(1000);
    /// ```
    pub fn new(capacity: usize) -> EventLog {
        EventLog(Arc::new(Inner {
            kept: Mutex::new(VecDeque::new()),
            capacity: capacity.max(1),
            subscribers: Mutex::new(Vec::new()),
            is_on: AtomicBool::new(true),
        }))
    }

    /// Adds an event, and tells the subscribers.
    ///
    /// # Examples
    /// ```
    /// use larder::{EngineEvent, EventFilter, EventLog};
    /// let log = EventLog::new(10);
    /// log.emit(EngineEvent::recovering(5, "sessions", "0001"));
    /// assert_eq!(log.query(&EventFilter::new()).len(), 1);
    /// ```
    pub fn emit(&self, event: EngineEvent) {
        // Told under the log's own lock, so that everybody is told in one order.
        let mut kept = self.0.kept.lock();
        if self.is_on() {
            self.0.subscribers.lock().iter().for_each(|channel| channel.push(event.clone()));
        }
        if kept.len() >= self.0.capacity {
            kept.pop_front();
        }
        kept.push_back(event);
    }

    /// The events that are kept and that the filter lets through, oldest first.
    ///
    /// # Examples
    /// See [`EventFilter`].
    pub fn query(&self, filter: &EventFilter) -> Vec<EngineEvent> {
        self.0.kept.lock().iter().filter(|event| filter.admits(event)).cloned().collect()
    }

    /// A queue of the events to come, of which `capacity` can wait.
    ///
    /// # Examples
    /// ```
    /// use larder::{EngineEvent, EventLog};
    /// let log = EventLog::new(10);
    /// let events = log.subscribe(10);
    /// log.emit(EngineEvent::recovered(5, "sessions", "0001"));
    /// assert_eq!(events.try_recv().unwrap().date_ms, 5);
    /// ```
    pub fn subscribe(&self, capacity: usize) -> Subscription<EngineEvent> {
        let channel = Arc::new(Channel::new(capacity, Weak::new(), EngineEvent::weight));
        self.0.subscribers.lock().push(Arc::clone(&channel));
        let publisher: Weak<Inner> = Arc::downgrade(&self.0);
        Subscription::new(channel, publisher)
    }

    /// Switches the telling of subscribers off, or on again. Nothing else changes: subscriptions stay, and events are
    /// kept. What happens meanwhile they are not told of later.
    ///
    /// # Examples
    /// ```
    /// use larder::{EngineEvent, EventFilter, EventLog};
    /// let log = EventLog::new(10);
    /// let events = log.subscribe(10);
    /// log.switch(false);
    /// log.emit(EngineEvent::recovering(5, "sessions", "0001"));
    /// log.switch(true);
    /// log.emit(EngineEvent::recovered(6, "sessions", "0001"));
    /// assert_eq!(events.try_recv().unwrap().date_ms, 6);
    /// assert_eq!(log.query(&EventFilter::new()).len(), 2);
    /// ```
    pub fn switch(&self, on: bool) {
        self.0.is_on.store(on, Relaxed);
    }

    /// Whether subscribers are told.
    ///
    /// # Examples
    /// ```
    /// assert!(larder::EventLog::new(10).is_on());
    /// ```
    pub fn is_on(&self) -> bool {
        self.0.is_on.load(Relaxed)
    }
}

impl Publisher for Inner {
    fn prune(&self) {
        self.subscribers.lock().retain(|channel| !channel.is_gone());
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.subscribers.get_mut().iter().for_each(|channel| channel.end());
    }
}

/// Which engine events are asked for; at first all.
///
/// # Examples
/// ```
/// use larder::{EngineEvent, EventFilter, EventLog, EventSource};
/// use std::time::Duration;
/// let log = EventLog::new(10);
/// log.emit(EngineEvent::recovering(1_000, "sessions", "0001"));
/// log.emit(EngineEvent::failover_completed(61_000, "group", "a", "b"));
/// let filter = EventFilter::new().within(Duration::from_secs(60), 61_500);
/// assert_eq!(log.query(&filter).len(), 1);
/// assert_eq!(log.query(&filter.source(EventSource::CacheCluster)).len(), 0);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct EventFilter {
    since_ms: u64,
    until_ms: Option<u64>,
    source: Option<EventSource>,
    source_name: Option<String>,
    kind: Option<EngineEventKind>,
}

impl EventFilter {
    /// All events.
    ///
    /// # Examples
    /// See [`EventFilter`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Those of the last while before `now_ms` (milliseconds since the Unix epoch).
    ///
    /// # Examples
    /// See [`EventFilter`].
    pub fn within(self, duration: Duration, now_ms: u64) -> Self {
        let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        self.between(now_ms.saturating_sub(ms), now_ms)
    }

    /// Those from one time to another, both included, in milliseconds since the Unix epoch.
    ///
    /// # Examples
    /// ```
    /// use larder::{EngineEvent, EventFilter, EventLog};
    /// let log = EventLog::new(10);
    /// log.emit(EngineEvent::recovering(1_000, "sessions", "0001"));
    /// assert_eq!(log.query(&EventFilter::new().between(0, 999)).len(), 0);
    /// ```
    pub fn between(mut self, since_ms: u64, until_ms: u64) -> Self {
        self.since_ms = since_ms;
        self.until_ms = Some(until_ms);
        self
    }

    /// Those of one type of source.
    ///
    /// # Examples
    /// See [`EventFilter`].
    pub fn source(mut self, source: EventSource) -> Self {
        self.source = Some(source);
        self
    }

    /// Those of the source of this name.
    ///
    /// # Examples
    /// ```
    /// let filter = larder::EventFilter::new().source_name("sessions");
    /// ```
    pub fn source_name(mut self, name: impl Into<String>) -> Self {
        self.source_name = Some(name.into());
        self
    }

    /// Those of one kind.
    ///
    /// # Examples
    /// ```
    /// use larder::{EngineEventKind, EventFilter};
    /// let filter = EventFilter::new().kind(EngineEventKind::SnapshotFailed);
    /// ```
    pub fn kind(mut self, kind: EngineEventKind) -> Self {
        self.kind = Some(kind);
        self
    }

    fn admits(&self, event: &EngineEvent) -> bool {
        event.date_ms >= self.since_ms
            && self.until_ms.is_none_or(|until| event.date_ms <= until)
            && self.source.is_none_or(|source| event.source == source)
            && self.source_name.as_ref().is_none_or(|name| event.source_name == *name)
            && self.kind.is_none_or(|kind| event.kind == kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first() {
        let log = EventLog::new(3);
        (0..10).for_each(|date| log.emit(EngineEvent::recovering(date, "cache", "1")));
        let dates: Vec<u64> = log.query(&EventFilter::new()).iter().map(|event| event.date_ms).collect();
        assert_eq!(dates, [7, 8, 9]);
        assert_eq!(log.query(&EventFilter::new().between(8, 8)).len(), 1);
        assert_eq!(log.query(&EventFilter::new().kind(EngineEventKind::FailoverComplete)).len(), 0);
        assert_eq!(log.query(&EventFilter::new().source_name("cache")).len(), 3);
        assert_eq!(log.query(&EventFilter::new().source_name("other")).len(), 0);
    }

    #[test]
    fn subscribers_come_and_go() {
        let log = EventLog::new(3);
        let (one, two) = (log.subscribe(1), log.subscribe(5));
        (0..4).for_each(|date| log.emit(EngineEvent::recovering(date, "cache", "1")));
        assert_eq!((one.len(), one.lost(), two.len(), two.lost()), (1, 3, 4, 0));
        drop(two);
        assert_eq!(log.0.subscribers.lock().len(), 1);
        drop(log);
        assert_eq!((one.recv().map(|event| event.date_ms), one.recv()), (Some(0), None));
    }
}
