//! `watch`: a connection that is told what others do, a line for each thing.
//!
//! Nothing is written down while nobody watches. Each watcher has a queue of a bounded number of bytes, and so have all
//! together, by the cache's limit; what does not fit is left out, and how much that was is told when there is room
//! again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;

use super::connection::{Connection, ConnectionInfo, State, Step, Transport};
use super::dump::escaped;
use super::store::{Mode, Store, Stored};
use crate::api::Cache;
use crate::events::{Listening, Removal, RemovalCause};
use crate::protocol::Output;

/// What is watched: a bit each.
pub(super) const FETCHERS: u8 = 1;
pub(super) const MUTATIONS: u8 = 2;
pub(super) const EVICTIONS: u8 = 4;
pub(super) const CONNECTIONS: u8 = 8;
pub(super) const DELETIONS: u8 = 16;

/// Bytes that wait for a watcher, at most, unless the builder says otherwise.
pub(super) const QUEUE: usize = 256 << 10;

/// Bytes that wait for all watchers together, at most: a share of the cache's limit, and no less than for one.
const ALL_SHARE: u64 = 64;
/// Bytes that are handed over at once, at most.
const PART: usize = 16 << 10;

/// Everybody who watches a service.
#[derive(Debug, Clone, Default)]
pub(super) struct Watchers(Arc<All>);

#[derive(Debug, Default)]
struct All {
    /// What anybody watches.
    wanted: AtomicU8,
    watching: Mutex<Vec<Arc<Watcher>>>,
    /// Bytes that wait in all queues, and the most that may.
    waiting: AtomicUsize,
    most: AtomicUsize,
    line: AtomicU64,
    /// Of what leaves the cache, while somebody watches evictions.
    listening: Mutex<Option<Listening>>,
    /// When a client asked for something last: the time of what the cache tells by itself.
    now_ms: AtomicU64,
    written: AtomicU64,
    skipped: AtomicU64,
    sent: AtomicU64,
}

/// One who watches.
#[derive(Debug)]
pub(super) struct Watcher {
    wants: u8,
    queue: Mutex<Queue>,
    longest: usize,
}

#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    skipped: u64,
}

/// One who watches, until it is dropped.
#[derive(Debug)]
pub(super) struct Watch {
    all: Watchers,
    cache: Cache,
    watcher: Arc<Watcher>,
}

impl Watch {
    /// Bytes of lines that wait.
    pub(super) fn memory(&self) -> usize {
        self.watcher.queue.lock().bytes.capacity()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watching = self.all.0.watching.lock();
        watching.retain(|other| !Arc::ptr_eq(other, &self.watcher));
        // Nobody adds to it any more: that takes the lock that is held.
        self.all.0.waiting.fetch_sub(self.watcher.queue.lock().bytes.len(), Relaxed);
        self.all.0.wanted.store(watching.iter().fold(0, |sum, other| sum | other.wants), Relaxed);
        drop(watching);
        self.all.wake(&self.cache);
    }
}

impl Watchers {
    /// An item has left.
    fn removed(&self, removal: &Removal<'_>) {
        if self.wants(EVICTIONS) && removal.cause == RemovalCause::Evicted {
            let (key, size) = (escaped(removal.key), removal.value.len());
            let what = format!("type=eviction key={key} fetch=no ttl=-1 la=0 clsid=0 size={size}");
            self.tell(EVICTIONS, self.0.now_ms.load(Relaxed), &what);
        }
    }

    #[inline]
    pub(super) fn wants(&self, kind: u8) -> bool {
        self.0.wanted.load(Relaxed) & kind != 0
    }

    /// Listens to what leaves while somebody watches evictions.
    fn wake(&self, cache: &Cache) {
        let mut listening = self.0.listening.lock();
        if !self.wants(EVICTIONS) {
            *listening = None;
        } else if listening.is_none() {
            let watchers = self.clone();
            *listening = Some(cache.eviction_listener(move |removal| watchers.removed(removal)));
        }
    }

    fn watch(&self, cache: &Cache, wants: u8, longest: usize) -> Watch {
        let watcher = Arc::new(Watcher { wants, queue: Mutex::default(), longest });
        let share = usize::try_from(cache.memory().limit / ALL_SHARE).unwrap_or(usize::MAX);
        let mut watching = self.0.watching.lock();
        self.0.most.store(share.max(longest), Relaxed);
        watching.push(Arc::clone(&watcher));
        self.0.wanted.fetch_or(wants, Relaxed);
        drop(watching);
        self.wake(cache);
        Watch { all: self.clone(), cache: cache.clone(), watcher }
    }

    /// Writes a line for everybody who watches things of this kind.
    #[cold]
    fn tell(&self, kind: u8, now_ms: u64, what: &str) {
        let number = self.0.line.fetch_add(1, Relaxed);
        let line = format!("ts={}.{:06} gid={number} {what}\n", now_ms / 1000, now_ms % 1000 * 1000);
        self.0.written.fetch_add(1, Relaxed);
        for watcher in self.0.watching.lock().iter().filter(|watcher| watcher.wants & kind != 0) {
            let mut queue = watcher.queue.lock();
            let waiting = self.0.waiting.load(Relaxed) + line.len();
            if queue.bytes.len() + line.len() > watcher.longest || waiting > self.0.most.load(Relaxed) {
                queue.skipped += 1;
                self.0.skipped.fetch_add(1, Relaxed);
                continue;
            }
            let before = queue.bytes.len();
            if queue.skipped > 0 {
                let skipped = std::mem::take(&mut queue.skipped);
                queue.bytes.extend_from_slice(format!("skipped={skipped}\n").as_bytes());
            }
            queue.bytes.extend_from_slice(line.as_bytes());
            self.0.waiting.fetch_add(queue.bytes.len() - before, Relaxed);
        }
    }

    /// It is now so late.
    #[inline]
    pub(super) fn at(&self, now_ms: u64) {
        if self.wants(EVICTIONS) {
            self.0.now_ms.store(now_ms, Relaxed);
        }
    }

    /// How many watch, and how many lines were written, left out, and sent.
    pub(super) fn figures(&self) -> [u64; 4] {
        let count = self.0.watching.lock().len() as u64;
        [count, self.0.written.load(Relaxed), self.0.skipped.load(Relaxed), self.0.sent.load(Relaxed)]
    }
}

/// What a connection is called in lines.
fn origin(info: &ConnectionInfo) -> String {
    let transport = match info.transport {
        Transport::Tcp | Transport::Tls => "tcp",
        Transport::Unix => "local",
        Transport::Udp => "udp",
    };
    let (ip, port) = info.peer.map_or(("-".to_owned(), 0), |peer| (peer.ip().to_string(), peer.port()));
    format!("rip={ip} rport={port} transport={transport}")
}

impl Connection {
    fn tell(&self, kind: u8, what: &str) {
        self.shared().watchers.tell(kind, self.shared().cache.now_ms(), what);
    }

    /// `watch`: from now on this connection is told what happens.
    pub(super) fn watch(&mut self, kinds: &[&[u8]], output: &mut Output) {
        if !self.shared().config.watch {
            return output.put(b"CLIENT_ERROR watch commands not allowed\r\n");
        }
        let mut wants = if kinds.is_empty() { FETCHERS } else { 0 };
        for kind in kinds {
            wants |= match *kind {
                b"fetchers" => FETCHERS,
                b"mutations" => MUTATIONS,
                b"evictions" => EVICTIONS,
                b"connevents" => CONNECTIONS,
                b"deletions" => DELETIONS,
                _ => return output.put(b"ERROR\r\n"),
            };
        }
        let watch = self.shared().watchers.watch(&self.shared().cache, wants, self.shared().config.watch_queue);
        self.state = State::Watch(watch);
        output.put(b"OK\r\n");
    }

    pub(super) fn watch_step(rest: &[u8]) -> Step {
        Step::Took(rest.len())
    }

    /// Whether this connection is told what others do: then call [`poll`](Self::poll) now and then.
    ///
    /// # Examples
    /// ```
    /// use larder::protocol::memcached::{ConnectionInfo, Server, Transport};
    /// use larder::protocol::{Limits, Output};
    /// let server = Server::builder(larder::Cache::new(1 << 20)?).build();
    /// let mut watcher = server.connect(ConnectionInfo::new(1, Transport::Tcp));
    /// let mut output = Output::new();
    /// watcher.receive(b"watch fetchers\r\n", &mut output, &Limits::default());
    /// assert!(watcher.is_watching());
    /// let mut other = server.connect(ConnectionInfo::new(2, Transport::Tcp));
    /// other.receive(b"get k\r\n", &mut Output::new(), &Limits::default());
    /// watcher.poll(&mut output);
    /// let lines = String::from_utf8(output.to_vec()).unwrap();
    /// assert!(lines.starts_with("OK\r\nts=") && lines.contains("type=item_get key=k status=not_found"));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn is_watching(&self) -> bool {
        matches!(self.state, State::Watch(_))
    }

    /// Puts what there is to tell since the last call, or the first 16 KiB of it: call it until it puts nothing, or
    /// what it has put is not taken.
    ///
    /// # Examples
    /// See [`is_watching`](Self::is_watching).
    pub fn poll(&mut self, output: &mut Output) {
        if let State::Watch(watch) = &self.state {
            let mut queue = watch.watcher.queue.lock();
            let part = queue.bytes.len().min(PART);
            let rest = queue.bytes.split_off(part);
            let bytes = std::mem::replace(&mut queue.bytes, rest);
            watch.all.0.waiting.fetch_sub(bytes.len(), Relaxed);
            drop(queue);
            watch.all.0.sent.fetch_add(bytes.len() as u64, Relaxed);
            output.put(&bytes);
        }
    }

    /// Why the connection is about to be dropped, for those who watch: `normal`, `error`, `idle_timeout`.
    ///
    /// # Examples
    /// ```
    /// use larder::protocol::memcached::{ConnectionInfo, Server, Transport};
    /// let server = Server::builder(larder::Cache::new(1 << 20)?).build();
    /// server.connect(ConnectionInfo::new(1, Transport::Tcp)).closing("idle_timeout");
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn closing(&mut self, reason: &'static str) {
        if self.ending == "normal" {
            self.ending = reason;
        }
    }

    pub(super) fn tell_opened(&self, info: &ConnectionInfo) {
        if self.shared().watchers.wants(CONNECTIONS) {
            self.tell(CONNECTIONS, &format!("type=conn_new {} cfd={}", origin(info), info.id));
        }
    }

    pub(super) fn tell_closed(&self) {
        if self.shared().watchers.wants(CONNECTIONS) {
            let (origin, reason, id) = (origin(&self.info), self.ending, self.info.id);
            self.tell(CONNECTIONS, &format!("type=conn_close {origin} reason={reason} cfd={id}"));
        }
    }

    /// Tells of a key that was asked for; the value's length if it was found.
    #[inline]
    pub(super) fn tell_fetched(&self, key: &[u8], found: Option<usize>) {
        if self.shared().watchers.wants(FETCHERS) {
            let (status, size) = (if found.is_some() { "found" } else { "not_found" }, found.unwrap_or(0));
            let class = found.map_or(0, |len| self.shared().class_of(key.len() + len));
            let (key, id) = (escaped(key), self.info.id);
            self.tell(FETCHERS, &format!("type=item_get key={key} status={status} clsid={class} cfd={id} size={size}"));
        }
    }

    /// Tells of a key that is looked for because it is about to be stored.
    #[inline]
    pub(super) fn tell_looked(&self, key: &[u8]) {
        if self.shared().watchers.wants(FETCHERS) {
            self.tell_fetched(key, self.shared().cache.metadata(key).map(|metadata| metadata.size));
        }
    }

    #[inline]
    pub(super) fn tell_stored(&self, key: &[u8], store: &Store, stored: Stored, len: usize) {
        if self.shared().watchers.wants(MUTATIONS) {
            let status = match stored {
                Stored::Yes { .. } => "stored",
                Stored::No => "not_stored",
                Stored::Exists => "exists",
                Stored::NotFound => "not_found",
                Stored::TooLarge => "too_large",
                Stored::NoMemory => "no_memory",
            };
            let command = match store.mode {
                Mode::Set => "set",
                Mode::Add => "add",
                Mode::Replace => "replace",
                Mode::Cas => "cas",
                Mode::Append => "append",
                Mode::Prepend => "prepend",
            };
            let (class, id) = (self.shared().class_of(key.len() + len), self.info.id);
            let key = escaped(key);
            let what = format!("key={key} status={status} cmd={command} ttl=0 clsid={class} cfd={id} size={len}");
            self.tell(MUTATIONS, &format!("type=item_store {what}"));
        }
    }

    /// The length of a value that is about to be deleted, if anybody wants to know.
    #[inline]
    pub(super) fn before_delete(&self, key: &[u8]) -> Option<usize> {
        let wants = self.shared().watchers.wants(DELETIONS);
        if wants { self.shared().cache.metadata(key).map(|metadata| metadata.size) } else { None }
    }

    pub(super) fn tell_deleted(&self, key: &[u8], command: &str, len: Option<usize>) {
        if let Some(len) = len {
            let (class, key) = (self.shared().class_of(key.len() + len), escaped(key));
            self.tell(DELETIONS, &format!("type=deleted key={key} cmd={command} clsid={class} size={len}"));
        }
    }
}
