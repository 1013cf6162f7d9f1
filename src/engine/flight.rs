//! One run of a loader for one key: who waits for it, and what it came to. The table of flights is `loads`.
//!
//! Invariants:
//! 1. A flight has landed once and for all when `landing` is there. Whoever asks for it before leaves a waker, or
//!    waits on `landed`; whoever asks later gets it at once.
//! 2. `charged` is what the ledger and `InFlight` were told that the flight takes; dropping it takes that back. What
//!    was loaded is not part of it: that is the callers'.
//! 3. No code of the user runs under a flight's lock: wakers are cloned, called and dropped outside. One that panics
//!    keeps none of the others from being called.

use std::any::Any;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::task::Waker;

use parking_lot::{Condvar, Mutex};

use crate::index::Key;
use crate::slab::{Account, Arena};
use crate::waiters::{Waiters, wake_all};

/// The share of the cache's limit that flights may take ...
const SHARE: u64 = 16;
/// ... and what they may take in a cache however small.
const LEAST_ROOM: u64 = 16 << 10;
/// Bytes that a flight takes beside itself and its key: counts, allocations, its place in the table.
const OVERHEAD: u64 = 128;

/// What all flights of a cache take.
#[derive(Debug)]
pub(crate) struct InFlight {
    bytes: AtomicU64,
    arena: Arc<Arena>,
}

impl InFlight {
    pub(super) fn new(arena: Arc<Arena>) -> InFlight {
        InFlight { bytes: AtomicU64::new(0), arena }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Adds bytes; whether there was room for them.
    fn add(&self, bytes: u64) -> bool {
        let room = (self.arena.ledger.limit() / SHARE).max(LEAST_ROOM);
        self.arena.ledger.force(Account::Side, bytes);
        self.bytes.fetch_add(bytes, Relaxed) + bytes <= room
    }

    fn take_off(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Relaxed);
        self.arena.ledger.release(Account::Side, bytes);
    }
}

/// What a flight came to.
#[derive(Debug, Clone)]
pub(crate) enum Landing {
    Value(Arc<[u8]>),
    /// The loader has found that there is no value.
    Absent,
    Failed(Arc<dyn Any + Send + Sync>),
    /// The loader has panicked, was cancelled, or was not needed: whoever waits looks again.
    Again,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Flight {
    hash: u64,
    namespace: u8,
    key: Box<[u8]>,
    /// Whether it is, or was, in the table.
    is_shared: bool,
    overtaken: AtomicBool,
    state: Mutex<State>,
    landed: Condvar,
    /// Of the cache that it is of; also tells caches apart.
    in_flight: Arc<InFlight>,
}

#[derive(Debug, Default)]
struct State {
    landing: Option<Landing>,
    /// Futures that wait.
    waiters: Waiters,
    charged: u64,
}

impl Flight {
    /// A flight of a key, for the table if there is room for it.
    pub(super) fn new(key: Key<'_>, in_flight: &Arc<InFlight>) -> Arc<Flight> {
        let charged = size_of::<Flight>() as u64 + key.bytes.len() as u64 + OVERHEAD;
        let is_shared = in_flight.add(charged);
        Arc::new(Flight {
            hash: key.hash,
            namespace: key.namespace,
            key: key.bytes.into(),
            is_shared,
            overtaken: AtomicBool::new(!is_shared),
            state: Mutex::new(State { charged, ..State::default() }),
            landed: Condvar::new(),
            in_flight: Arc::clone(in_flight),
        })
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn is_of(&self, key: Key<'_>) -> bool {
        self.namespace == key.namespace && *self.key == *key.bytes
    }

    pub(super) fn is_in(&self, namespace: u8) -> bool {
        self.namespace == namespace
    }

    /// Whether both load the same key of the same cache.
    pub(crate) fn is_like(&self, other: &Flight) -> bool {
        Arc::ptr_eq(&self.in_flight, &other.in_flight) && self.namespace == other.namespace && self.key == other.key
    }

    /// Whether others can wait for it, and its value may be stored.
    pub(crate) fn is_shared(&self) -> bool {
        self.is_shared
    }

    pub(crate) fn is_overtaken(&self) -> bool {
        self.overtaken.load(Acquire)
    }

    pub(super) fn overtake(&self) {
        self.overtaken.store(true, Release);
    }

    /// Waits for the flight to land.
    pub(crate) fn wait(&self) -> Landing {
        let mut state = self.state.lock();
        loop {
            if let Some(landing) = &state.landing {
                return landing.clone();
            }
            self.landed.wait(&mut state);
        }
    }

    /// What the flight came to; or else the waker is called when it lands. `number` is the caller's, 0 at first.
    #[cfg_attr(not(feature = "async"), allow(dead_code, reason = "only futures poll"))]
    pub(crate) fn poll(&self, number: &mut usize, waker: &Waker) -> Option<Landing> {
        // Cloning a waker and dropping one is the program's code.
        let mut unused = Some(waker.clone());
        let mut state = self.state.lock();
        if state.landing.is_none()
            && let Some(waker) = unused.take()
        {
            let (old, grown) = state.waiters.keep(number, waker);
            self.in_flight.add(grown);
            state.charged += grown;
            unused = old;
        }
        let landing = state.landing.clone();
        drop(state);
        drop(unused);
        landing
    }

    /// Whoever waited under this number does so no more.
    #[cfg_attr(not(feature = "async"), allow(dead_code, reason = "only futures poll"))]
    pub(crate) fn leave(&self, number: usize) {
        let gone = self.state.lock().waiters.leave(number);
        drop(gone);
    }

    /// Ends it and tells all who wait. It is in no table any more.
    pub(super) fn land(&self, landing: Landing) {
        let wakers = {
            let mut state = self.state.lock();
            state.landing = Some(landing);
            state.waiters.take_all()
        };
        self.landed.notify_all();
        if let Some(payload) = wake_all(wakers).filter(|_| !std::thread::panicking()) {
            resume_unwind(payload);
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.in_flight.take_off(self.state.get_mut().charged);
    }
}
