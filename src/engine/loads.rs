//! Values on their way into the cache, one loader a key; and keys that are known to have no value.
//!
//! ```text
//!  miss ──► join ──► nobody loads it: Leader ──► loader runs (no lock) ──► store or not ──► land: tell all who wait
//!                └─► somebody does:   wait on the Flight ◄──────────────────────────────────┘
//! ```
//! A [`Flight`] is one run of a loader for one key. Whoever comes while it is in the table waits for it. It leaves the
//! table when it lands, or when something is written to its key, or the key is removed or its namespace cleared: it is
//! then *overtaken*. An overtaken flight still tells those who wait already, but stores nothing, and whoever comes
//! later begins a new one. So what was loaded before an invalidation is neither stored nor seen by anyone who comes
//! after it.
//!
//! Flights take memory, as does everything, and may take a sixteenth of the limit. A load that would go beyond that
//! runs *unshared*: its flight is in no table and counts as overtaken from the beginning, so nobody waits for it, and
//! its value goes to its caller only. Waiting for room instead could wait for ever: a loader may need another load.
//!
//! Invariants:
//! 1. A flight is in its stripe's table from `join` until it lands or is overtaken. `active` is at least the number of
//!    flights and absences of the stripe.
//! 2. A leader takes and releases its key's shard lock after it has joined and before its loader runs
//!    (`Engine::join_load`). Writers look at `active` under that lock. So a writer either sees the flight, or its
//!    whole write comes before the loader begins.
//! 3. What was loaded is stored under the shard's lock, and only if the flight is not overtaken. A write or removal
//!    overtakes under the same lock: either it finds the loaded value and deals with it, or the value is not stored.
//! 4. A clear overtakes before it moves the generation on, and a leader looks whether it was overtaken after it has
//!    read the generation: a value of the new generation is of a flight that began after the clear.
//! 5. `in_flight` has the bytes of all flights that are alive, shared or not, in the table or overtaken. Only unshared
//!    ones and the wakers of those who wait may lift it above its room. All of it is on
//!    the ledger.
//! 6. No code of the user runs under a stripe's lock or a flight's: wakers are called, and outcomes dropped, outside.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;

use super::absences::Absences;
use super::flight::{Flight, InFlight, Landing};
use super::{Engine, SetSpec};
use crate::error::Result;
use crate::index::Key;
use crate::shard::Cause;
use crate::slab::{Account, Arena, Ledger};

/// Parts of the table, each with a lock of its own.
const STRIPES: usize = 16;
/// The share of the cache's memory that absences may take.
const ABSENCES_SHARE: u64 = 32;
/// Places for flights that a stripe without any keeps.
const MOST_KEPT: usize = 32;

/// What somebody is who wants a key loaded.
pub(crate) enum Joined<'e> {
    Lead(Leader<'e>),
    Wait(Arc<Flight>),
}

/// Whoever runs the loader. Dropped without having landed, it lets those who wait look again.
#[derive(Debug)]
pub(crate) struct Leader<'e> {
    engine: &'e Engine,
    flight: Arc<Flight>,
    has_begun: bool,
    has_landed: bool,
}

impl Leader<'_> {
    pub(crate) fn flight(&self) -> &Arc<Flight> {
        &self.flight
    }

    /// The loader is about to run.
    pub(crate) fn begin(&mut self, is_refresh: bool) {
        self.has_begun = true;
        self.engine.loads.count(LoadCounter::Loads);
        if !self.flight.is_shared() {
            self.engine.loads.count(LoadCounter::Unshared);
        }
        if is_refresh {
            self.engine.loads.count(LoadCounter::Refreshes);
        }
    }

    /// Ends the flight: whoever comes from now on does not join it, whoever waits is told.
    pub(crate) fn land(mut self, landing: Landing) {
        self.end(landing);
    }

    fn end(&mut self, landing: Landing) {
        self.has_landed = true;
        if self.has_begun && matches!(landing, Landing::Failed(_) | Landing::Again) {
            self.engine.loads.count(LoadCounter::Failures);
        }
        self.engine.loads.take_out(&self.flight);
        self.flight.land(landing);
    }
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        if !self.has_landed {
            self.end(Landing::Again);
        }
    }
}

/// What is counted of loads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LoadCounter {
    Loads,
    Failures,
    Waits,
    Refreshes,
    NotStored,
    Overtaken,
    KnownAbsent,
    Unshared,
}

#[derive(Debug, Default)]
struct Stripe {
    /// Flights and absences: what a writer has to look at this stripe for.
    active: AtomicUsize,
    /// None until something is loaded.
    held: Mutex<Option<Box<Held>>>,
}

#[derive(Debug, Default)]
struct Held {
    /// By hash.
    flights: HashMap<u64, SmallVec<[Arc<Flight>; 1]>>,
    flight_count: usize,
    absences: Absences,
    /// Bytes that the ledger knows of: this, and the absences.
    charged: u64,
}

impl Held {
    /// Takes the flight out that `which` names.
    fn take(&mut self, hash: u64, which: impl Fn(&Arc<Flight>) -> bool) -> Option<Arc<Flight>> {
        let flights = self.flights.get_mut(&hash)?;
        let found = flights.iter().position(which).map(|at| flights.remove(at))?;
        if flights.is_empty() {
            self.flights.remove(&hash);
            // After many at once the map gives its memory back.
            if self.flights.is_empty() && self.flights.capacity() > MOST_KEPT {
                self.flights = HashMap::new();
            }
        }
        self.flight_count -= 1;
        Some(found)
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Loads {
    stripes: [Stripe; STRIPES],
    counters: [AtomicU64; 8],
    in_flight: Arc<InFlight>,
    /// For its ledger, on which the absences are.
    arena: Arc<Arena>,
}

impl Loads {
    pub(super) fn new(arena: Arc<Arena>) -> Loads {
        let in_flight = Arc::new(InFlight::new(Arc::clone(&arena)));
        Loads { stripes: Default::default(), counters: Default::default(), in_flight, arena }
    }

    #[inline(always)]
    fn stripe(&self, hash: u64) -> &Stripe {
        &self.stripes[hash as usize % STRIPES]
    }

    pub(crate) fn count(&self, counter: LoadCounter) {
        self.counters[counter as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn counted(&self, counter: LoadCounter) -> u64 {
        self.counters[counter as usize].load(Relaxed)
    }

    /// Something is written to a key or it is removed: what is being loaded for it is not stored, and it is no longer
    /// known to have no value. Under the shard's lock. One load if nothing is loaded.
    #[inline(always)]
    pub(crate) fn overtake(&self, key: Key<'_>) {
        if self.stripe(key.hash).active.load(Relaxed) != 0 {
            self.overtake_in_stripe(key.again());
        }
    }

    #[cold]
    #[inline(never)]
    fn overtake_in_stripe(&self, key: Key<'_>) {
        let stripe = self.stripe(key.hash);
        let mut locked = stripe.held.lock();
        let held = locked.get_or_insert_default();
        if let Some(flight) = held.take(key.hash, |flight| flight.is_of(key)) {
            flight.overtake();
            self.count(LoadCounter::Overtaken);
        }
        held.absences.forget(key);
        stripe.settle(locked, &self.arena.ledger);
    }

    /// Whether a value may be stored: what a load has brought only if the load is not overtaken. Under the shard's
    /// lock.
    #[inline(always)]
    pub(super) fn may_store(&self, key: Key<'_>, flight: Option<&Flight>) -> bool {
        let Some(flight) = flight else {
            self.overtake(key);
            return true;
        };
        if flight.is_overtaken() {
            return false;
        }
        let stripe = self.stripe(key.hash);
        let mut locked = stripe.held.lock();
        locked.get_or_insert_default().absences.forget(key);
        stripe.settle(locked, &self.arena.ledger);
        true
    }

    fn take_out(&self, flight: &Arc<Flight>) {
        let stripe = self.stripe(flight.hash());
        let mut locked = stripe.held.lock();
        let taken = locked.get_or_insert_default().take(flight.hash(), |other| Arc::ptr_eq(other, flight));
        stripe.settle(locked, &self.arena.ledger);
        drop(taken);
    }

    /// What all flights that are alive take, in bytes.
    pub(crate) fn in_flight_bytes(&self) -> u64 {
        self.in_flight.bytes()
    }

    /// Absences remembered at present, and their bytes; flights at present.
    pub(crate) fn at_present(&self) -> (u64, u64, u64) {
        self.stripes.iter().fold((0, 0, 0), |(absences, bytes, flights), stripe| match &*stripe.held.lock() {
            None => (absences, bytes, flights),
            Some(held) => (
                absences + held.absences.len() as u64,
                bytes + held.absences.bytes(),
                flights + held.flight_count as u64,
            ),
        })
    }
}

impl Stripe {
    /// Brings the count and the ledger up to date, and lets go of the lock.
    fn settle(&self, mut locked: MutexGuard<'_, Option<Box<Held>>>, ledger: &Ledger) {
        let Some(held) = locked.as_deref_mut() else { return };
        self.active.store(held.flight_count + held.absences.len(), Relaxed);
        let bytes = size_of::<Held>() as u64 + held.absences.bytes();
        if bytes > held.charged {
            ledger.force(Account::Side, bytes - held.charged);
        } else {
            ledger.release(Account::Side, held.charged - bytes);
        }
        held.charged = bytes;
    }
}

impl Engine {
    /// Joins the load of a key, or begins one.
    pub(crate) fn join_load(&self, key: Key<'_>) -> Joined<'_> {
        let stripe = self.loads.stripe(key.hash);
        let mut locked = stripe.held.lock();
        let held = locked.get_or_insert_default();
        let found = held.flights.get(&key.hash).and_then(|flights| flights.iter().find(|flight| flight.is_of(key)));
        if let Some(flight) = found {
            return Joined::Wait(Arc::clone(flight));
        }
        let flight = Flight::new(key, &self.loads.in_flight);
        if flight.is_shared() {
            held.flights.entry(key.hash).or_default().push(Arc::clone(&flight));
            held.flight_count += 1;
        }
        stripe.settle(locked, &self.loads.arena.ledger);
        // See invariant 2.
        drop(self.shard(key.hash).lock(&self.ctx));
        Joined::Lead(Leader { engine: self, flight, has_begun: false, has_landed: false })
    }

    /// Stores what a load has brought. False if it was overtaken or turned away.
    pub(crate) fn store_loaded(&self, key: Key<'_>, value: &[u8], spec: &SetSpec, leader: &Leader<'_>) -> Result<bool> {
        self.store(key, &[value], spec, Some(leader.flight())).map(|outcome| outcome.stored)
    }

    /// A load has found that a key has no value: what is there of it goes, and that is remembered for so long (not at
    /// all for 0). Nothing happens if the load was overtaken.
    pub(crate) fn note_absence(&self, key: Key<'_>, for_ms: u64, leader: &Leader<'_>) {
        self.before();
        if self.ctx.effects.is_follower() {
            return;
        }
        let mut locked = self.shard(key.hash).lock(&self.ctx);
        if leader.flight().is_overtaken() {
            return;
        }
        if let Some(found) = locked.find(key.hash, key.namespace, key.bytes) {
            locked.remove(found, Cause::Removed);
            locked.after_write();
        }
        let room = self.ctx.arena.ledger.limit() / ABSENCES_SHARE / STRIPES as u64;
        let until = locked.now.saturating_add(for_ms);
        let stripe = self.loads.stripe(key.hash);
        let mut held = stripe.held.lock();
        // A clear overtakes without the shard's lock, but under this one.
        if for_ms > 0 && !leader.flight().is_overtaken() {
            held.get_or_insert_default().absences.remember(key, until, room);
        }
        stripe.settle(held, &self.loads.arena.ledger);
        drop(locked);
        // The absence is known here, whatever the log says of what went.
        let _ = self.ctx.settle_log();
    }

    /// Whether a load has lately found that a key has no value.
    pub(crate) fn is_known_absent(&self, key: Key<'_>) -> bool {
        let stripe = self.loads.stripe(key.hash);
        stripe.active.load(Relaxed) != 0
            && stripe.held.lock().as_ref().is_some_and(|held| held.absences.knows(key, self.ctx.now()))
    }

    /// A namespace is about to be cleared, or items of it to be invalidated that may be on their way.
    pub(crate) fn overtake_loads(&self, namespace: u8) {
        for stripe in &self.loads.stripes {
            let mut locked = stripe.held.lock();
            let Some(held) = locked.as_deref_mut() else { continue };
            for flight in held.flights.values().flatten().filter(|flight| flight.is_in(namespace)) {
                flight.overtake();
                self.loads.count(LoadCounter::Overtaken);
            }
            held.flights.retain(|_, flights| {
                flights.retain(|flight| !flight.is_in(namespace));
                !flights.is_empty()
            });
            held.flight_count = held.flights.values().map(SmallVec::len).sum();
            held.absences.forget_all(namespace);
            stripe.settle(locked, &self.loads.arena.ledger);
        }
    }
}
