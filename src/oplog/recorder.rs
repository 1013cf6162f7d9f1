//! Numbers effects under their shards' locks, and brings them to the logs afterwards, in order.
//!
//! ```text
//!  shard's lock held              no lock of the cache held
//!  ─────────────────              ──────────────────────────────────────────────────
//!  record: number drawn  ─► queue ─► ship: batch sealed, each log.append ─► commit
//!          bytes added       (its own      (one thread at a time; who comes
//!                             short lock)   meanwhile waits, and often finds
//!                                           that his were shipped too)
//! ```
//! Invariants:
//! 1. Numbers are drawn, and bytes queued, under the queue's lock, which is taken under the shard's: so the queue is in
//!    the order of numbers, and that agrees with the order of each key's writes.
//! 2. `shipping` is taken by nobody who holds a shard's lock or the queue's. Logs are called under it and under no
//!    other lock of this cache. A thread that is inside a call of one of this cache's logs never takes it again
//!    (`INSIDE`); another cache's logs are no reason not to bring this one's effects to its own.
//! 3. A batch is kept until every log has taken it. While one has not, writes are refused before they begin, and
//!    nothing is removed by itself: so what waits is bounded by what was under way. It is on the ledger.
//! 4. Without a log all of this costs a load of `mode` a removal and a store, and a hit nothing.

use std::cell::Cell;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};

use super::record::{encode_several_unsealed, encode_unsealed, seal};
use super::{BaseWriter, Batch, Effect, ReplicationLog, Several};
use crate::error::{Error, ErrorKind, Result};
use crate::events::{EngineEvent, EngineEventKind, EventLog, EventSource};
use crate::slab::{Account, Arena};

/// There are logs.
const LOGGING: u8 = 1;
/// A log did not take a batch, but may take it yet.
const STALLED: u8 = 1 << 1;
/// A log has failed for good.
const FAILED: u8 = 1 << 2;
/// The cache takes effects from a primary, and nothing from programs.
const FOLLOWER: u8 = 1 << 3;
/// A log is being replayed.
const REPLAYING: u8 = 1 << 4;
/// Fewer replicas follow than writes need.
#[cfg(feature = "replication")]
const TOO_FEW: u8 = 1 << 5;
#[cfg(not(feature = "replication"))]
const TOO_FEW: u8 = 0;

/// Bytes that queue and batch keep for the next ones.
const KEPT: usize = 64 << 10;
/// Bytes from which on readers, who remove what has ended, see to the queue too.
const RELIEF: usize = 1 << 20;
/// Milliseconds between two looks of maintenance at the logs.
const LOOK_MS: u64 = 200;

/// Effects of one operation that become one record.
pub(crate) type Grouped = Option<Vec<u8>>;

/// How many caches' logs may write to one another, each to the next: further ones leave it to maintenance to bring what
/// they did to their logs.
const NESTED: usize = 4;

thread_local! {
    /// The recorders inside calls of whose logs this thread is, outermost first; then zeros. Several, where a log
    /// writes to another cache, which has logs of its own.
    static INSIDE: Cell<[usize; NESTED]> = const { Cell::new([0; NESTED]) };
}

/// Marks this thread as being inside a log's call, whatever comes of that.
struct InCall {
    before: [usize; NESTED],
}

impl InCall {
    fn begin(recorder: &Recorder) -> InCall {
        let before = INSIDE.get();
        let mut inside = before;
        if let Some(free) = inside.iter_mut().find(|at| **at == 0) {
            *free = recorder.address();
        }
        INSIDE.set(inside);
        InCall { before }
    }
}

impl Drop for InCall {
    fn drop(&mut self) {
        INSIDE.set(self.before);
    }
}

/// A log, and how far it is.
#[derive(Debug)]
struct Taker {
    log: Arc<dyn ReplicationLog>,
    /// Bytes of the batch that it has taken.
    taken: usize,
    /// Number of the first record that it has not.
    next: u64,
}

#[derive(Debug, Default)]
struct Shipping {
    batch: Vec<u8>,
    takers: Vec<Taker>,
}

/// How a cache's logs are doing.
///
/// # Examples
/// ```
/// let cache = larder::Cache::new(1 << 20)?;
/// let status = cache.log_status();
/// assert!(!status.is_on && status.trouble.is_none());
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LogStatus {
    /// Whether there is a log.
    pub is_on: bool,
    /// Number of the last effect; 0 if there was none.
    pub last: u64,
    /// Number of the last one that all logs have taken.
    pub taken: u64,
    /// What is wrong, if something is: writes are refused then.
    pub trouble: Option<String>,
    /// Whether that is final: the cache has to be built anew before it can be written to.
    pub has_failed: bool,
    /// Bytes of effects that no log has been offered yet, or that one has not taken.
    pub pending_bytes: u64,
    /// Bytes of the append-only file, or files; 0 without one.
    pub file_bytes: u64,
    /// Those of them that would not outlast a crash of the machine.
    pub unsynced_bytes: u64,
    /// How often the append-only file was brought to the disk, since it was opened.
    pub syncs: u64,
    /// How often a log was rewritten.
    pub rewrites: u64,
    /// How often that failed.
    pub rewrite_failures: u64,
    /// Whether the append-only file is being rewritten.
    pub is_rewriting: bool,
    /// Bytes of the builder's backlogs.
    pub backlog_bytes: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Recorder {
    mode: AtomicU8,
    /// Number of the last effect.
    last: AtomicU64,
    /// Of the last that all logs have taken.
    shipped: AtomicU64,
    queue: Mutex<Vec<u8>>,
    shipping: Mutex<Shipping>,
    logs: RwLock<Vec<Arc<dyn ReplicationLog>>>,
    trouble: Mutex<Option<(ErrorKind, String)>>,
    events: OnceLock<(EventLog, Box<str>)>,
    looked_at: AtomicU64,
    /// Bytes of the batch that is with the logs.
    sealed: AtomicU64,
    /// What `tracing` subscribers are to be told, when no lock is held.
    #[cfg(feature = "tracing")]
    untold: Untold,
    arena: Arc<Arena>,
}

/// Events for `tracing` subscribers, whose code must not run under the recorder's locks.
#[cfg(feature = "tracing")]
#[derive(Debug, Default)]
struct Untold {
    has_any: std::sync::atomic::AtomicBool,
    list: Mutex<Vec<(EngineEventKind, String)>>,
}

impl Recorder {
    pub(crate) fn new(arena: Arc<Arena>, follower: bool) -> Recorder {
        Recorder {
            mode: AtomicU8::new(if follower { FOLLOWER } else { 0 }),
            last: AtomicU64::new(0),
            shipped: AtomicU64::new(0),
            queue: Mutex::default(),
            shipping: Mutex::default(),
            logs: RwLock::default(),
            trouble: Mutex::default(),
            events: OnceLock::new(),
            looked_at: AtomicU64::new(0),
            sealed: AtomicU64::new(0),
            #[cfg(feature = "tracing")]
            untold: Untold::default(),
            arena,
        }
    }

    /// Where troubles are told.
    pub(crate) fn set_events(&self, events: EventLog, name: &str) {
        let _ = self.events.set((events, name.into()));
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Whether this thread is inside a call of one of the logs, or of too many others.
    fn is_inside(&self) -> bool {
        let inside = INSIDE.get();
        inside[NESTED - 1] != 0 || inside.contains(&self.address())
    }

    #[inline(always)]
    fn has(&self, bits: u8) -> bool {
        self.mode.load(Relaxed) & bits != 0
    }

    fn set(&self, bit: u8, on: bool) -> bool {
        let before = if on { self.mode.fetch_or(bit, Relaxed) } else { self.mode.fetch_and(!bit, Relaxed) };
        (before & bit != 0) != on
    }

    /// Whether effects are to be recorded.
    #[inline(always)]
    pub(crate) fn is_on(&self) -> bool {
        self.has(LOGGING)
    }

    /// Whether what has ended may be removed without having been asked for.
    #[inline(always)]
    pub(crate) fn may_remove(&self) -> bool {
        !self.has(FOLLOWER | REPLAYING | STALLED)
    }

    pub(crate) fn is_follower(&self) -> bool {
        self.has(FOLLOWER)
    }

    pub(crate) fn set_follower(&self, follower: bool) {
        self.set(FOLLOWER, follower);
    }

    /// Whether a log is being replayed: nobody is told of anything.
    pub(crate) fn is_replaying(&self) -> bool {
        self.has(REPLAYING)
    }

    /// Refuses writes because too few replicas follow, or ends that.
    #[cfg(feature = "replication")]
    pub(crate) fn set_too_few_replicas(&self, too_few: bool) {
        self.set(TOO_FEW, too_few);
    }

    pub(crate) fn set_replaying(&self, replaying: bool) {
        self.set(REPLAYING, replaying);
    }

    /// The number that the next effect gets. Where all shards' locks are held, all effects before it are in the cache,
    /// and none from it on.
    pub(crate) fn next(&self) -> u64 {
        self.last.load(Acquire) + 1
    }

    /// Numbers an effect, and queues it. Under its shard's lock. With a group, it becomes part of that.
    #[cold]
    #[inline(never)]
    pub(crate) fn record(&self, effect: &Effect<'_>, grouped: &mut Grouped) {
        match grouped {
            Some(group) => Several::add(group, effect),
            None => self.push(|number, queue| encode_unsealed(number, effect, queue)),
        }
    }

    /// The same for effects that happened as one.
    pub(crate) fn record_group(&self, group: &[u8]) {
        if !group.is_empty() {
            self.push(|number, queue| encode_several_unsealed(number, group, queue));
        }
    }

    fn push(&self, encode: impl FnOnce(u64, &mut Vec<u8>)) {
        if self.has(FAILED) {
            return;
        }
        let mut queue = self.queue.lock();
        let number = self.last.load(Relaxed) + 1;
        let before = queue.capacity();
        encode(number, &mut queue);
        self.last.store(number, Release);
        self.recharge(before, queue.capacity());
    }

    fn recharge(&self, before: usize, after: usize) {
        let ledger = &self.arena.ledger;
        if after > before {
            ledger.force(Account::Side, (after - before) as u64);
        } else {
            ledger.release(Account::Side, (before - after) as u64);
        }
    }

    /// Says whether a program may write. Before an operation, without any lock.
    #[inline(always)]
    pub(crate) fn check(&self, now_ms: impl Fn() -> u64) -> Result<()> {
        if self.has(STALLED | FAILED | FOLLOWER | TOO_FEW | REPLAYING) { self.check_slowly(now_ms()) } else { Ok(()) }
    }

    #[cold]
    fn check_slowly(&self, now_ms: u64) -> Result<()> {
        if self.is_follower() {
            return Err(Error::new(
                ErrorKind::NotAllowed,
                "this cache is a follower: it is changed by its primary's effects alone, until it is promoted",
            ));
        }
        if self.has(FAILED) {
            return Err(self.why());
        }
        if self.has(TOO_FEW) {
            let text = "fewer replicas follow, or were heard of lately, than writes need (min-slaves-to-write)";
            return Err(Error::new(ErrorKind::TooFewReplicas, text));
        }
        if self.is_replaying() {
            return Err(Error::new(
                ErrorKind::NotAllowed,
                "this cache is taking over what is in its log: writes are refused until that is done",
            ));
        }
        self.ship(now_ms)
    }

    /// What is wrong.
    fn why(&self) -> Error {
        match &*self.trouble.lock() {
            Some((kind, text)) => Error::new(*kind, format!("{text}; writes are refused")),
            None => Error::new(ErrorKind::LogFailed, "the log has failed; writes are refused"),
        }
    }

    /// After an operation, without any lock: brings what it did to the logs, and waits until they have it safe.
    #[cold]
    #[inline(never)]
    pub(crate) fn settle(&self, now_ms: u64) -> Result<()> {
        let settled = self.settle_untold(now_ms);
        self.trace();
        settled
    }

    fn settle_untold(&self, now_ms: u64) -> Result<()> {
        if self.is_inside() {
            return Ok(());
        }
        let through = self.last.load(Acquire);
        if self.has(FAILED) {
            return Err(self.why());
        }
        if self.shipped.load(Acquire) < through {
            self.ship(now_ms)?;
        }
        let logs = self.logs.read();
        let in_call = InCall::begin(self);
        let committed = logs.iter().try_for_each(|log| log.commit(through));
        drop((in_call, logs));
        committed.map_err(|error| self.complain(error, now_ms))
    }

    /// After a read that may have removed what has ended.
    pub(crate) fn relieve(&self, now_ms: impl Fn() -> u64) {
        if self.is_on() && self.queue.lock().len() > RELIEF && !self.is_inside() && self.may_remove() {
            // The next writer is told what is wrong.
            let _ = self.ship(now_ms());
        }
    }

    /// Brings all that waits to the logs.
    fn ship(&self, now_ms: u64) -> Result<()> {
        if self.is_inside() {
            return Ok(());
        }
        let shipped = self.ship_locked(&mut self.shipping.lock(), now_ms);
        self.trace();
        shipped
    }

    fn ship_locked(&self, shipping: &mut Shipping, now_ms: u64) -> Result<()> {
        let Shipping { batch, takers } = shipping;
        let (sealed, last) = (batch.len(), {
            let mut queue = self.queue.lock();
            if batch.is_empty() {
                std::mem::swap(batch, &mut queue);
            } else {
                let before = batch.capacity();
                batch.append(&mut queue);
                self.recharge(before, batch.capacity());
            }
            self.last.load(Relaxed)
        });
        seal(&mut batch[sealed..]);
        self.sealed.store(batch.len() as u64, Relaxed);
        if !batch.is_empty() {
            let in_call = InCall::begin(self);
            let taken = takers.iter_mut().try_for_each(|taker| taker.offer(batch, last, now_ms));
            drop(in_call);
            taken.map_err(|error| self.complain(error, now_ms))?;
            batch.clear();
            self.sealed.store(0, Relaxed);
            takers.iter_mut().for_each(|taker| taker.taken = 0);
            if batch.capacity() > KEPT {
                let before = batch.capacity();
                batch.shrink_to(KEPT);
                self.recharge(before, batch.capacity());
            }
        }
        self.shipped.store(last, Release);
        if self.set(STALLED, false) {
            *self.trouble.lock() = None;
            self.tell(EngineEventKind::LogResumed, EngineEventKind::LogResumed.text(), now_ms);
        }
        Ok(())
    }

    /// Remembers what is wrong, and tells of it when it is new.
    fn complain(&self, error: Error, now_ms: u64) -> Error {
        let is_final = error.kind() == ErrorKind::LogFailed;
        let is_new = self.set(if is_final { FAILED } else { STALLED }, true);
        let text = error.to_string();
        *self.trouble.lock() = Some((error.kind(), text.clone()));
        if is_new {
            let kind = if is_final { EngineEventKind::LogFailed } else { EngineEventKind::LogStalled };
            self.tell(kind, &text, now_ms);
        }
        error
    }

    /// Tells of something that happened to the log.
    pub(crate) fn tell(&self, kind: EngineEventKind, text: &str, now_ms: u64) {
        if let Some((events, name)) = self.events.get() {
            events.emit(EngineEvent::new(now_ms, &**name, EventSource::CacheCluster, kind, text));
        }
        #[cfg(feature = "tracing")]
        {
            self.untold.list.lock().push((kind, text.to_owned()));
            self.untold.has_any.store(true, Release);
        }
    }

    /// Tells `tracing` subscribers what there is to tell. Not to be called under any lock.
    #[cfg(feature = "tracing")]
    pub(crate) fn trace(&self) {
        use tracing::{Level, event};
        if !self.untold.has_any.load(Relaxed) || self.is_inside() {
            return;
        }
        self.untold.has_any.store(false, Relaxed);
        let list = std::mem::take(&mut *self.untold.list.lock());
        let cache = self.events.get().map_or("", |(_, name)| &**name);
        for (kind, text) in list {
            let text = text.as_str();
            match kind {
                EngineEventKind::LogFailed => event!(target: "larder", Level::ERROR, cache, error = text, "log failed"),
                EngineEventKind::LogStalled => {
                    event!(target: "larder", Level::WARN, cache, error = text, "log stalled")
                }
                EngineEventKind::LogRewriteFailed => {
                    event!(target: "larder", Level::WARN, cache, error = text, "log rewrite failed");
                }
                EngineEventKind::LogResumed => event!(target: "larder", Level::INFO, cache, "log resumed"),
                EngineEventKind::LogRewritten => event!(target: "larder", Level::INFO, cache, text, "log rewritten"),
                _ => event!(target: "larder", Level::INFO, cache, text, "log"),
            }
        }
    }

    #[cfg(not(feature = "tracing"))]
    #[inline(always)]
    pub(crate) fn trace(&self) {}

    /// Adds a log. From now on effects are recorded.
    pub(crate) fn attach(&self, log: Arc<dyn ReplicationLog>) -> Result<()> {
        // Under no lock, for the log may be the program's, and take its time. Nobody but this cache adds to it.
        let theirs = log.positions().next;
        let mut shipping = self.shipping.lock();
        // First, for who reads it may wait for a disk; and nobody who has a shard's lock may wait for that.
        let mut logs = self.logs.write();
        let queue = self.queue.lock();
        let ours = self.last.load(Relaxed) + 1;
        if theirs != 0 && theirs != ours {
            if ours != 1 || !shipping.takers.is_empty() {
                return Err(Error::new(
                    ErrorKind::InvalidConfig,
                    format!("a log that goes on at number {theirs} was given to a cache that goes on at {ours}"),
                ));
            }
            self.last.store(theirs - 1, Release);
            self.shipped.store(theirs - 1, Release);
        }
        let next = self.shipped.load(Relaxed) + 1;
        shipping.takers.push(Taker { log: Arc::clone(&log), taken: 0, next });
        logs.push(log);
        self.set(LOGGING, true);
        drop(queue);
        Ok(())
    }

    /// Takes all logs away, whether they have everything or not.
    pub(crate) fn detach_all(&self, now_ms: u64) {
        let logs = self.logs.read().clone();
        for log in &logs {
            // Who waited for it was told.
            let _ = self.detach(log, now_ms);
        }
    }

    /// Adds a log that was kept elsewhere, of the effects that made this cache what it is, and goes on with its
    /// numbers, at `next`. False if there are logs already, which have numbers of their own.
    #[cfg(feature = "replication")]
    pub(crate) fn adopt(&self, log: Arc<dyn ReplicationLog>, next: u64) -> bool {
        let mut shipping = self.shipping.lock();
        let mut logs = self.logs.write();
        let _queue = self.queue.lock();
        if self.is_on() || !shipping.takers.is_empty() || next == 0 {
            return false;
        }
        self.last.store(next - 1, Release);
        self.shipped.store(next - 1, Release);
        shipping.takers.push(Taker { log: Arc::clone(&log), taken: 0, next });
        logs.push(log);
        self.set(LOGGING, true);
        true
    }

    /// Takes a log away.
    pub(crate) fn detach(&self, log: &Arc<dyn ReplicationLog>, now_ms: u64) -> Result<()> {
        let mut shipping = self.shipping.lock();
        let shipped = self.ship_locked(&mut shipping, now_ms);
        shipping.takers.retain(|taker| !Arc::ptr_eq(&taker.log, log));
        let mut logs = self.logs.write();
        logs.retain(|other| !Arc::ptr_eq(other, log));
        if logs.is_empty() {
            // Whatever was wrong is nobody's concern any more.
            self.mode.fetch_and(!(LOGGING | STALLED | FAILED), Relaxed);
            *self.trouble.lock() = None;
            let mut queue = self.queue.lock();
            for waiting in [&mut *queue, &mut shipping.batch] {
                let before = waiting.capacity();
                *waiting = Vec::new();
                self.recharge(before, 0);
            }
            self.shipped.store(self.last.load(Relaxed), Release);
            self.sealed.store(0, Relaxed);
        }
        drop((logs, shipping));
        self.trace();
        shipped
    }

    /// Begins a base of a log, at the number that comes next when all before it were taken.
    pub(crate) fn begin_base(&self, log: &dyn ReplicationLog, now_ms: u64) -> Result<(u64, Box<dyn BaseWriter>)> {
        let begun = {
            let mut shipping = self.shipping.lock();
            self.ship_locked(&mut shipping, now_ms).and_then(|()| {
                let position = self.shipped.load(Acquire) + 1;
                let _in_call = InCall::begin(self);
                Ok((position, log.begin_base(position)?))
            })
        };
        self.trace();
        begun
    }

    /// The first log that would like to have all that is in the cache.
    pub(crate) fn wanting_base(&self) -> Option<Arc<dyn ReplicationLog>> {
        self.logs.read().iter().find(|log| log.wants_base()).cloned()
    }

    /// All logs.
    pub(crate) fn logs(&self) -> Vec<Arc<dyn ReplicationLog>> {
        self.logs.read().clone()
    }

    /// Whether maintenance should look at the logs.
    pub(crate) fn is_due(&self, now_ms: u64) -> bool {
        self.is_on()
            && !self.has(FAILED)
            && (now_ms.saturating_sub(self.looked_at.load(Relaxed)) >= LOOK_MS
                || now_ms < self.looked_at.load(Relaxed)
                || (!self.has(STALLED) && self.shipped.load(Acquire) < self.last.load(Acquire)))
    }

    /// What maintenance does.
    pub(crate) fn maintain(&self, now_ms: u64) {
        if !self.is_due(now_ms) || self.is_inside() {
            return;
        }
        self.looked_at.store(now_ms, Relaxed);
        // Where nothing more is taken, what was taken has to be safe in time all the same.
        let _ = self.ship(now_ms);
        let in_call = InCall::begin(self);
        let maintained = self.logs.read().iter().try_for_each(|log| log.maintain(now_ms));
        drop(in_call);
        if let Err(error) = maintained {
            self.complain(error, now_ms);
        }
        self.trace();
    }

    pub(crate) fn status(&self) -> LogStatus {
        LogStatus {
            is_on: self.is_on(),
            last: self.next() - 1,
            taken: self.shipped.load(Acquire),
            trouble: self.trouble.lock().as_ref().map(|(_, text)| text.clone()),
            has_failed: self.has(FAILED),
            pending_bytes: self.queue.lock().len() as u64 + self.sealed.load(Relaxed),
            ..LogStatus::default()
        }
    }
}

impl Taker {
    /// Offers what it has not taken yet.
    fn offer(&mut self, batch: &[u8], last: u64, now_ms: u64) -> Result<()> {
        let records = batch.get(self.taken..).unwrap_or_default();
        if !records.is_empty() {
            self.log.append(&Batch { first: self.next, last, records, now_ms })?;
            self.taken = batch.len();
            self.next = last + 1;
        }
        Ok(())
    }
}
