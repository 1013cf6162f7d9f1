//! Who wants to know what happens, and telling it: in order, without any lock of the cache, by the thread that caused
//! it.
//!
//! ```text
//!  thread that removes          shard's teller                      listener, channels
//!  ───────────────────          ──────────────                      ──────────────────
//!  shard's lock taken
//!  bytes copied        ───────► queue (its own small lock)
//!  shard's lock given back
//!  baton taken, if free         queue ⇄ batch, batch told in order ──────► called, pushed
//!  baton given back             queue empty? else once more
//! ```
//! Whoever finds the baton taken goes on: who has it looks at the queue again after giving it back, and tells what has
//! come meanwhile. Only when [`BOUND`] bytes wait does he stand in line, so a slow listener slows its cache's writers
//! down and uses no more memory.
//!
//! Invariants:
//! 1. Notices of a key are queued under its shard's lock, and batches are told by who holds the shard's baton, so a
//!    key's notices are told in the order in which they happened.
//! 2. No program's code runs under a lock of the cache. Of the hub's own only the baton is held, which no thread waits
//!    for that is telling already (3).
//! 3. What a listener does to its own cache is queued, and told by the same thread when the call has returned: calls
//!    are never nested. `TELLING` names the hubs that this thread is telling for.
//! 4. What waits is on the ledger. Without a listener and subscribers all of this costs one load of `wants` a removal
//!    and a store.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst, fence};
use std::sync::{Arc, Weak};

use crossbeam_utils::CachePadded;
use parking_lot::{Mutex, RwLock};

use super::channel::{Channel, Publisher, Subscription};
use super::keyspace::{KeyEvent, KeyEventClass, KeyEvents};
use super::listeners::{Listener, Listening, Local};
use super::notices::{Notices, Told, What};
use super::removal::{Removal, RemovalCause};
use crate::slab::{Account, Arena, Ledger};

/// Bytes of a shard's notices from which on its writers stand in line to tell, at most ...
const BOUND: u64 = 256 << 10;
/// ... and bytes from which on what a listener itself removes is not told any more: it cannot stand in line for itself.
const NESTED_BOUND: u64 = 4 << 20;
/// The parts of the cache's limit that all its shards together let wait in the first case and in the second (vectors
/// that have just grown take twice that, and what is being told as much again) ...
const SHARE: u64 = 64;
const NESTED_SHARE: u64 = 256;
/// ... but each so much, however small the cache.
const LEAST_BOUND: u64 = 1 << 10;
/// Batches that one operation tells: a listener that removes whenever it is told does not keep it for ever.
const ROUNDS: usize = 64;
/// Bit of `wants` beside those of the classes.
const LISTENER: u32 = 1 << 31;

#[derive(Debug)]
struct Subscriber {
    channel: Arc<Channel<KeyEvent>>,
    events: KeyEvents,
    /// Of one namespace only.
    namespace: Option<u8>,
}

/// Who is told.
#[derive(Debug, Default)]
struct Audience {
    subscribers: Vec<Subscriber>,
    /// Of single namespaces.
    listeners: Vec<Arc<Local>>,
}

/// What is to be told of one shard.
#[derive(Debug, Default)]
struct Teller {
    queue: Mutex<Notices>,
    /// Bytes in the queue.
    pending: AtomicU64,
    /// With the batch that is being told.
    baton: Mutex<Notices>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Hub {
    id: u64,
    /// Bits of the classes that any subscriber wants, and [`LISTENER`].
    wants: AtomicU32,
    /// A bit for each namespace that has a listener of its own.
    heard: [AtomicU64; 4],
    listener: Option<Listener>,
    audience: RwLock<Arc<Audience>>,
    tellers: Box<[CachePadded<Teller>]>,
    panics: AtomicU64,
    lost: AtomicU64,
    arena: Arc<Arena>,
}

thread_local! {
    static TELLING: RefCell<Vec<Telling>> = const { RefCell::new(Vec::new()) };
}

/// A hub that this thread is telling for, or for which it holds back.
#[derive(Debug)]
struct Telling {
    hub: u64,
    /// Listeners are being called, rather than notices held back.
    calls: bool,
    /// More was queued since this was looked at.
    more: bool,
}

/// None in a thread that is past its destructors: it queues, and leaves the telling to others.
fn telling<R>(f: impl FnOnce(&mut Vec<Telling>) -> R) -> Option<R> {
    TELLING.try_with(|all| f(&mut all.borrow_mut())).ok()
}

fn begin(hub: u64, calls: bool) {
    telling(|all| all.push(Telling { hub, calls, more: false }));
}

fn end(hub: u64) {
    telling(|all| all.retain(|one| one.hub != hub));
}

/// Whether a listener of any hub is being called by this thread.
fn is_in_a_call() -> bool {
    telling(|all| all.iter().any(|one| one.calls)).unwrap_or_default()
}

impl Hub {
    pub(crate) fn new(shards: usize, listener: Option<Listener>, arena: Arc<Arena>) -> Arc<Hub> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let wants = if listener.is_some() { LISTENER } else { 0 };
        let tellers: Box<[CachePadded<Teller>]> = (0..shards).map(|_| CachePadded::default()).collect();
        arena.ledger.force(Account::Side, (size_of::<Hub>() + size_of_val(&*tellers)) as u64);
        Arc::new(Hub {
            id: NEXT.fetch_add(1, Relaxed),
            wants: AtomicU32::new(wants),
            heard: [const { AtomicU64::new(0) }; 4],
            listener,
            audience: RwLock::default(),
            tellers,
            panics: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            arena,
        })
    }

    fn ledger(&self) -> &Ledger {
        &self.arena.ledger
    }

    /// The bytes that may wait in a shard: its part of the share of the limit, and at most so many.
    fn bound(&self, share: u64, most: u64) -> u64 {
        (self.ledger().limit() / share / self.tellers.len() as u64).clamp(LEAST_BOUND, most)
    }

    /// Whether anybody wants to know of anything.
    #[inline(always)]
    pub(crate) fn is_on(&self) -> bool {
        self.wants.load(Relaxed) != 0
    }

    /// Whether anybody wants to know of events of a class.
    #[inline(always)]
    pub(crate) fn wants(&self, class: KeyEventClass) -> bool {
        self.wants.load(Relaxed) & class.bit() != 0
    }

    /// An item has left. Under its shard's lock; true if it is to be told.
    #[cold]
    #[inline(never)]
    pub(crate) fn removed(&self, shard: usize, cause: RemovalCause, namespace: u8, key: &[u8], value: &[u8]) -> bool {
        let (wants, what) = (self.wants.load(Relaxed), What::Removed(cause));
        let listens = wants & LISTENER != 0 && (self.listener.is_some() || self.is_heard(namespace));
        if !listens && what.event().is_none_or(|(class, _)| wants & class.bit() == 0) {
            return false;
        }
        self.push(shard, Told { what, namespace, key, value: listens.then_some(value) })
    }

    /// Whether a namespace has a listener of its own.
    fn is_heard(&self, namespace: u8) -> bool {
        self.heard[usize::from(namespace / 64)].load(Relaxed) & (1 << (namespace % 64)) != 0
    }

    /// Something has happened to a key. Under its shard's lock; true if it is to be told.
    #[cold]
    #[inline(never)]
    pub(crate) fn happened(
        &self,
        shard: usize,
        class: KeyEventClass,
        name: &'static str,
        namespace: u8,
        key: &[u8],
    ) -> bool {
        self.push(shard, Told { what: What::Happened(class, name), namespace, key, value: None })
    }

    fn push(&self, shard: usize, told: Told<'_>) -> bool {
        let teller = &self.tellers[shard];
        let pending = teller.pending.load(Relaxed);
        // One is always told, however large: what it takes is no more than what has just left the cache.
        if pending > 0 && pending + told.bytes() > self.bound(NESTED_SHARE, NESTED_BOUND) && is_in_a_call() {
            self.lost.fetch_add(1, Relaxed);
            return false;
        }
        let mut queue = teller.queue.lock();
        let bytes = queue.push(told, self.ledger());
        teller.pending.fetch_add(bytes, SeqCst);
        true
    }

    /// Whether this thread is telling for this hub; marks that there is more.
    fn is_telling(&self) -> bool {
        let mark = |one: &mut Telling| one.more = true;
        telling(|all| all.iter_mut().find(|one| one.hub == self.id).map(mark).is_some()).unwrap_or(true)
    }

    /// Tells what this thread has queued of a shard whose lock it has given back. Does nothing while this thread is
    /// telling already, or holds back: then it is told afterwards.
    #[cold]
    #[inline(never)]
    pub(crate) fn tell(&self, shard: usize) {
        if std::thread::panicking() || self.is_telling() {
            return;
        }
        let mut turn = Turn::begin(self);
        turn.tell(shard);
        turn.end();
    }

    /// Tells everything that waits.
    pub(crate) fn tell_all(&self) {
        if self.has_pending() && !std::thread::panicking() && !self.is_telling() {
            let mut turn = Turn::begin(self);
            (0..self.tellers.len()).for_each(|shard| turn.tell(shard));
            turn.end();
        }
    }

    /// Until the result is dropped, what this thread queues is not told, because it holds locks.
    pub(crate) fn hold_back(&self) -> HeldBack<'_> {
        let outermost = self.is_on() && !self.is_telling();
        if outermost {
            begin(self.id, false);
        }
        HeldBack { hub: outermost.then_some(self) }
    }

    /// Whether there is anything to tell, or to forget if whom it was for has gone.
    pub(crate) fn has_pending(&self) -> bool {
        self.tellers.iter().any(|teller| teller.pending.load(Relaxed) > 0)
    }

    /// Tells batches of a shard until none is left, or `rounds` are used up.
    fn tell_shard(&self, shard: usize, rounds: &mut usize) {
        let teller = &self.tellers[shard];
        // A thread that is inside another cache's listener stands in no line: those in it might wait for each other.
        let may_wait = telling(|all| all.len() == 1).unwrap_or_default();
        while *rounds > 0 {
            let pending = teller.pending.load(SeqCst);
            if pending == 0 {
                return;
            }
            let baton = if may_wait && pending > self.bound(SHARE, BOUND) {
                Some(teller.baton.lock())
            } else {
                teller.baton.try_lock()
            };
            // Who has it sees to the rest: its look at `pending` after giving the baton back comes after what was added
            // here, because this look at the baton came before.
            let Some(mut batch) = baton else { return };
            *rounds -= 1;
            {
                let mut queue = teller.queue.lock();
                std::mem::swap(&mut *queue, &mut *batch);
                teller.pending.store(0, SeqCst);
            }
            self.deliver(&batch);
            batch.clear(self.ledger());
            drop(batch);
            fence(SeqCst);
        }
    }

    fn deliver(&self, batch: &Notices) {
        if batch.is_empty() {
            return;
        }
        let audience = Arc::clone(&self.audience.read());
        for told in batch.iter() {
            self.call_listeners(&audience, told);
            let Some((class, name)) = told.what.event() else { continue };
            let mut shared: Option<Arc<[u8]>> = None;
            let wanting = |s: &&Subscriber| s.events.has(class) && s.namespace.is_none_or(|n| n == told.namespace);
            for subscriber in audience.subscribers.iter().filter(wanting) {
                let key = Arc::clone(shared.get_or_insert_with(|| told.key.into()));
                subscriber.channel.push(KeyEvent::new(key, name, told.namespace, class, subscriber.events));
            }
        }
    }

    /// The cache's listener, then those of the namespace in the order in which they came.
    fn call_listeners(&self, audience: &Audience, told: Told<'_>) {
        let (What::Removed(cause), Some(value)) = (told.what, told.value) else { return };
        let removal = Removal { namespace: told.namespace, key: told.key, value, cause };
        let mut panics = self.listener.iter().filter(|listener| listener.call(&removal).is_none()).count();
        let locals = audience.listeners.iter().filter(|local| local.namespace == told.namespace && !local.is_gone());
        panics += locals.filter(|local| !local.call(&removal)).count();
        if panics > 0 {
            self.panics.fetch_add(panics as u64, Relaxed);
        }
    }

    pub(crate) fn subscribe(
        self: &Arc<Self>,
        events: KeyEvents,
        namespace: Option<u8>,
        capacity: usize,
    ) -> Subscription<KeyEvent> {
        let channel = Arc::new(Channel::new(capacity, Arc::downgrade(&self.arena), KeyEvent::weight));
        let subscriber = Subscriber { channel: Arc::clone(&channel), events, namespace };
        self.change_audience(|audience| audience.subscribers.push(subscriber));
        let hub: Weak<Hub> = Arc::downgrade(self);
        Subscription::new(channel, hub)
    }

    pub(crate) fn listen(self: &Arc<Self>, namespace: u8, listener: Listener) -> Listening {
        let local = Arc::new(Local::new(namespace, listener));
        self.change_audience(|audience| audience.listeners.push(Arc::clone(&local)));
        let hub: Weak<Hub> = Arc::downgrade(self);
        Listening::new(local, hub)
    }

    /// Replaces the audience by a changed copy, without those who have gone.
    fn change_audience(&self, change: impl FnOnce(&mut Audience)) {
        let mut audience = self.audience.write();
        let subscribers = audience.subscribers.iter().filter(|s| !s.channel.is_gone()).map(Subscriber::again).collect();
        let listeners = audience.listeners.iter().filter(|local| !local.is_gone()).cloned().collect();
        let mut changed = Audience { subscribers, listeners };
        change(&mut changed);
        let listens = self.listener.is_some() || !changed.listeners.is_empty();
        let wants = changed.subscribers.iter().fold(0, |wants, s| wants | s.events.wants());
        for (i, heard) in self.heard.iter().enumerate() {
            let of = changed.listeners.iter().filter(|local| usize::from(local.namespace / 64) == i);
            heard.store(of.fold(0, |bits, local| bits | 1 << (local.namespace % 64)), Relaxed);
        }
        self.wants.store(wants | if listens { LISTENER } else { 0 }, Relaxed);
        let old = std::mem::replace(&mut *audience, Arc::new(changed));
        drop(audience);
        // With it closures of the program's may go.
        drop(old);
    }

    /// How often listeners have panicked.
    pub(crate) fn panics(&self) -> u64 {
        self.panics.load(Relaxed)
    }

    /// Notices of what a listener itself removed that were not told, because too many waited.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }
}

impl Subscriber {
    fn again(&self) -> Subscriber {
        Subscriber { channel: Arc::clone(&self.channel), events: self.events, namespace: self.namespace }
    }
}

impl Publisher for Hub {
    fn prune(&self) {
        self.change_audience(|_| ());
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.audience.get_mut().subscribers.iter().for_each(|subscriber| subscriber.channel.end());
    }
}

/// A thread's turn at telling.
struct Turn<'a> {
    hub: &'a Hub,
    /// Batches that it may still tell.
    rounds: usize,
}

impl<'a> Turn<'a> {
    fn begin(hub: &'a Hub) -> Turn<'a> {
        begin(hub.id, true);
        Turn { hub, rounds: ROUNDS }
    }

    fn tell(&mut self, shard: usize) {
        self.hub.tell_shard(shard, &mut self.rounds);
    }

    /// Whether this thread has queued more since this was asked last.
    fn has_more(&self) -> bool {
        let take = |one: &mut Telling| std::mem::take(&mut one.more);
        telling(|all| all.iter_mut().find(|one| one.hub == self.hub.id).is_some_and(take)).unwrap_or_default()
    }

    /// Tells what listeners have removed meanwhile, of whichever shard, for a while; the rest is for the next.
    fn end(mut self) {
        while self.rounds > 0 && self.has_more() {
            (0..self.hub.tellers.len()).for_each(|shard| self.tell(shard));
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        end(self.hub.id);
    }
}

/// See [`Hub::hold_back`].
#[derive(Debug)]
pub(crate) struct HeldBack<'a> {
    /// None if there is nothing to do in the end.
    hub: Option<&'a Hub>,
}

impl Drop for HeldBack<'_> {
    fn drop(&mut self) {
        if let Some(hub) = self.hub {
            end(hub.id);
            hub.tell_all();
        }
    }
}
