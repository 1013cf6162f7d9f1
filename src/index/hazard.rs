//! A thread's session with a cache: the items it announces as being read, and its private counters.
//!
//! ```text
//!  reader                                   writer (holds the shard's lock)
//!  ──────────────────────────────           ───────────────────────────────────
//!  slot → locator                           slot.swap(other item, or nothing)
//!  announce locator          (SeqCst)  ╳                              (SeqCst)
//!  slot again: same locator? (SeqCst)       read all announcements    (SeqCst)
//!  yes: use the bytes                       not announced: reuse the chunk
//!  take the announcement back (Release)                               (Acquire)
//! ```
//! All four marked accesses are in one total order. If the reader's second look comes before the swap, its announcement
//! comes before the writer's reading of it, so the writer sees it and leaves the chunk alone. If it comes after, the
//! reader sees another word and does not touch the bytes. Taking back releases, reading acquires: what the reader did
//! with the bytes is over before they are written again. `index::models` models it and lists the weaker orderings it
//! catches.
//!
//! Invariants:
//! 1. A session is used by one thread at a time. It outlives the thread; the next new thread takes it over, unless all
//!    its hazard slots are in use.
//! 2. A hazard slot is in use while it holds something, and belongs to the guard that filled it: nobody else writes to
//!    it before that guard has emptied it. So a session may be taken over while a guard of the thread before is still
//!    alive, in a thread-local value that is destroyed later; the two threads use different slots. The guard's reads
//!    come before its release of the slot, and the next announcement there, a swap, carries that release on to the
//!    writer that acquires it. A leaked guard leaves its slot in use for good: its item stays pinned, and its session
//!    is one slot short.
//! 3. Counters are written by the session's thread only, so plain loads and stores count right.
#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::sync::atomic::AtomicU64 as StdAtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;
use smallvec::SmallVec;

use crate::slab::Locator;
use crate::sync::{AtomicU64, CachePadded};

/// Guards that one thread can hold in place at once; further ones are copies.
pub(crate) const HAZARDS: usize = 8;

/// What a session counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Counter {
    GetHits,
    GetMisses,
    Sets,
    TouchHits,
    TouchMisses,
    DeleteHits,
    DeleteMisses,
    IncrHits,
    IncrMisses,
    DecrHits,
    DecrMisses,
    CasHits,
    CasMisses,
    CasBadval,
    /// Reads that found an item whose time was over.
    ExpiredOnRead,
    /// Reads that found an item of a namespace that was cleared since.
    FlushedOnRead,
    /// Guards handed out as copies because the thread held eight.
    CopiedGuards,
}

const COUNTERS: usize = Counter::CopiedGuards as usize + 1;
/// Counters kept for each namespace beside the ones of the whole cache: hits and misses.
const PER_NAMESPACE: usize = 2;

/// See the module.
#[derive(Debug)]
pub(crate) struct Session {
    hazards: CachePadded<[AtomicU64; HAZARDS]>,
    owned: StdAtomicU64,
    counters: [StdAtomicU64; COUNTERS],
    namespaces: OnceLock<Box<[StdAtomicU64]>>,
}

impl Session {
    pub(crate) fn new() -> Session {
        Session {
            hazards: CachePadded::new(std::array::from_fn(|_| AtomicU64::new(0))),
            owned: StdAtomicU64::new(1),
            counters: [const { StdAtomicU64::new(0) }; COUNTERS],
            namespaces: OnceLock::new(),
        }
    }

    /// A hazard slot of this thread's that is not in use; it is once something was announced in it.
    #[inline(always)]
    pub(crate) fn take_hazard(&self) -> Option<usize> {
        (0..HAZARDS).find(|&i| self.hazards[i].load(Relaxed) == 0)
    }

    /// Takes the announcement back, if there is one, which frees the hazard slot.
    #[inline(always)]
    pub(crate) fn drop_hazard(&self, i: usize) {
        self.hazards[i & (HAZARDS - 1)].store(0, Release);
    }

    /// Announces an item. The slot must be looked at again afterwards.
    #[inline(always)]
    pub(crate) fn announce(&self, i: usize, locator: Locator) {
        let hazard = &self.hazards[i & (HAZARDS - 1)];
        #[cfg(not(loom))]
        hazard.swap(locator.raw(), SeqCst);
        // Loom knows sequential consistency of fences only.
        #[cfg(loom)]
        {
            hazard.store(locator.raw(), Release);
            crate::sync::fence(SeqCst);
        }
    }

    /// One more of something.
    #[inline(always)]
    pub(crate) fn count(&self, counter: Counter) {
        self.count_many(counter, 1);
    }

    #[inline(always)]
    pub(crate) fn count_many(&self, counter: Counter, n: u64) {
        let c = &self.counters[counter as usize];
        c.store(c.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// A hit or miss in a namespace other than 0 (that one is what is left of the whole).
    #[inline(always)]
    pub(crate) fn count_in(&self, namespace: u8, hit: bool) {
        if namespace != 0 {
            self.count_in_cold(namespace, hit);
        }
    }

    #[inline(never)]
    fn count_in_cold(&self, namespace: u8, hit: bool) {
        let all = self.namespaces.get_or_init(|| (0..256 * PER_NAMESPACE).map(|_| StdAtomicU64::new(0)).collect());
        let c = &all[usize::from(namespace) * PER_NAMESPACE + usize::from(hit)];
        c.store(c.load(Relaxed).wrapping_add(1), Relaxed);
    }

    fn memory(&self) -> u64 {
        let namespaces = self.namespaces.get().map_or(0, |n| n.len() * 8);
        (size_of::<Session>() + 16 + namespaces) as u64
    }
}

/// All sessions of one cache.
#[derive(Debug)]
pub(crate) struct Sessions {
    id: u64,
    all: RwLock<Vec<Arc<Session>>>,
    /// What a snapshot holds until it is written: as if a reader announced it.
    #[cfg(feature = "snapshot")]
    pins: parking_lot::Mutex<Vec<u64>>,
}

thread_local! {
    /// The session used last: its cache's id and where it is.
    static LAST: Cell<(u64, *const Session)> = const { Cell::new((0, std::ptr::null())) };
    static MINE: RefCell<Mine> = const { RefCell::new(Mine(Vec::new())) };
}

/// This thread's sessions, given up when it ends.
struct Mine(Vec<(u64, Arc<Session>)>);

impl Drop for Mine {
    fn drop(&mut self) {
        // First: from here on this thread announces nothing and counts nothing in these sessions.
        let _ = LAST.try_with(|last| last.set((0, std::ptr::null())));
        for (_, session) in &self.0 {
            // A guard may outlive this destructor, in another thread-local value: it keeps its slot (invariant 2).
            session.owned.store(0, Release);
        }
    }
}

impl Sessions {
    pub(crate) fn new() -> Sessions {
        static NEXT: StdAtomicU64 = StdAtomicU64::new(1);
        Sessions {
            id: NEXT.fetch_add(1, Relaxed),
            all: RwLock::new(Vec::new()),
            #[cfg(feature = "snapshot")]
            pins: parking_lot::Mutex::default(),
        }
    }

    /// The calling thread's session.
    #[inline(always)]
    pub(crate) fn current(&self) -> &Session {
        let (id, session) = LAST.get();
        if id == self.id {
            // SAFETY: `id` is this cache's alone and never given to another. The pointer was put there by `enter`
            // together with it, and comes from an `Arc` in `self.all`, from which none is removed while `self` lives.
            return unsafe { &*session };
        }
        self.enter()
    }

    #[cold]
    fn enter(&self) -> &Session {
        let session = MINE.try_with(|mine| {
            let Ok(mut mine) = mine.try_borrow_mut() else { return self.adopt() };
            if let Some((_, session)) = mine.0.iter().find(|(id, _)| *id == self.id) {
                return Arc::clone(session);
            }
            // Sessions of caches that are gone are held by nobody else.
            mine.0.retain(|(_, session)| Arc::strong_count(session) > 1);
            let session = self.adopt();
            mine.0.push((self.id, Arc::clone(&session)));
            session
        });
        // A thread that is past its destructors keeps the session for good.
        let session = session.unwrap_or_else(|_| self.adopt());
        let pointer = Arc::as_ptr(&session);
        LAST.set((self.id, pointer));
        // SAFETY: the session is in `self.all` (adopt put it there, or it was found there), which keeps it alive.
        unsafe { &*pointer }
    }

    /// A session that no thread has, or a new one.
    fn adopt(&self) -> Arc<Session> {
        let abandoned =
            |s: &&Arc<Session>| s.take_hazard().is_some() && s.owned.compare_exchange(0, 1, Acquire, Relaxed).is_ok();
        if let Some(session) = self.all.read().iter().find(abandoned) {
            return Arc::clone(session);
        }
        let session = Arc::new(Session::new());
        self.all.write().push(Arc::clone(&session));
        session
    }

    /// Adds a session by hand, for models that have no thread-local storage.
    #[cfg(all(test, loom))]
    pub(crate) fn add(&self) -> Arc<Session> {
        self.adopt()
    }

    /// Everything announced at the moment, sorted. The slots that led to the items in question must have been changed
    /// before.
    pub(crate) fn announced(&self) -> SmallVec<[u64; 32]> {
        crate::sync::fence(SeqCst);
        let mut found = SmallVec::new();
        for session in self.all.read().iter() {
            found.extend(session.hazards.iter().map(|h| h.load(SeqCst)).filter(|&raw| raw != 0));
        }
        #[cfg(feature = "snapshot")]
        found.extend(self.pins.lock().iter().copied());
        found.sort_unstable();
        found
    }

    /// Announces an item until it is [let go](Self::unpin). The lock of its shard is held, and the index leads to it:
    /// so whoever takes it out of the index later, under that lock, finds it announced.
    #[cfg(feature = "snapshot")]
    pub(super) fn pin(&self, locator: Locator) {
        self.pins.lock().push(locator.raw());
    }

    /// Takes back one announcement of [`pin`](Self::pin).
    #[cfg(feature = "snapshot")]
    pub(super) fn unpin(&self, locator: Locator) {
        let mut pins = self.pins.lock();
        if let Some(at) = pins.iter().position(|&raw| raw == locator.raw()) {
            pins.swap_remove(at);
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.all.read().len()
    }

    /// Sum of a counter over all threads, past ones too.
    pub(crate) fn sum(&self, counter: Counter) -> u64 {
        self.all.read().iter().map(|s| s.counters[counter as usize].load(Relaxed)).sum()
    }

    /// Hits and misses in a namespace.
    pub(crate) fn sum_in(&self, namespace: u8) -> (u64, u64) {
        let of = |namespace: usize, which: usize| {
            let one =
                |s: &Arc<Session>| s.namespaces.get().map_or(0, |n| n[namespace * PER_NAMESPACE + which].load(Relaxed));
            self.all.read().iter().map(one).sum::<u64>()
        };
        if namespace != 0 {
            return (of(namespace.into(), 1), of(namespace.into(), 0));
        }
        let elsewhere = |which| (1..256).map(|n| of(n, which)).sum::<u64>();
        (
            self.sum(Counter::GetHits).saturating_sub(elsewhere(1)),
            self.sum(Counter::GetMisses).saturating_sub(elsewhere(0)),
        )
    }

    /// Heap bytes, for the ledger.
    pub(crate) fn memory(&self) -> u64 {
        self.all.read().iter().map(|s| s.memory()).sum()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn hazards_run_out_and_come_back() {
        let sessions = Sessions::new();
        let session = sessions.current();
        let taken = std::iter::from_fn(|| {
            let i = session.take_hazard()?;
            session.announce(i, Locator::from_offset(800 + 8 * i));
            Some(i)
        });
        assert_eq!(taken.collect::<Vec<_>>(), (0..HAZARDS).collect::<Vec<_>>());
        assert_eq!(sessions.announced().as_slice(), [100, 101, 102, 103, 104, 105, 106, 107]);
        session.drop_hazard(3);
        assert_eq!(session.take_hazard(), Some(3));
        (0..HAZARDS).for_each(|i| session.drop_hazard(i));
        assert!(sessions.announced().is_empty());
    }

    #[test]
    fn a_new_thread_takes_over_what_an_ended_one_left() {
        let sessions = Sessions::new();
        for _ in 0..10 {
            std::thread::scope(|s| {
                // Joined by hand: that waits for the thread's destructors too, the scope does not.
                let _ = s.spawn(|| sessions.current().count(Counter::Sets)).join();
            });
        }
        assert_eq!((sessions.count(), sessions.sum(Counter::Sets)), (1, 10));
    }

    #[test]
    fn what_leaked_guards_leave_is_shared_by_those_who_come() {
        let sessions = Sessions::new();
        for i in 0..100 {
            std::thread::scope(|s| {
                let leak = || {
                    let session = sessions.current();
                    if let Some(slot) = session.take_hazard() {
                        session.announce(slot, Locator::from_offset(800 + 8 * i));
                    }
                };
                let _ = s.spawn(leak).join();
            });
        }
        assert_eq!(sessions.announced().as_slice(), (100..200).collect::<Vec<u64>>());
        assert_eq!(sessions.count(), 100_usize.div_ceil(HAZARDS));
    }

    #[test]
    fn each_cache_has_its_own() {
        let (a, b) = (Sessions::new(), Sessions::new());
        for _ in 0..3 {
            a.current().count(Counter::GetHits);
            b.current().count(Counter::GetMisses);
            b.current().count_in(9, false);
        }
        assert_eq!((a.sum(Counter::GetHits), a.sum(Counter::GetMisses)), (3, 0));
        assert_eq!((b.sum_in(9), b.sum_in(0)), ((0, 3), (0, 0)));
    }
}
