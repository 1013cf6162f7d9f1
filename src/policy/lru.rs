//! `allkeys-lru` and `volatile-lru`: the least recently used of a sample.
//!
//! Paper: none; Redis' approximated LRU (sample and pool) with a logical clock. Changed: the clock counts insertions,
//! not time and not hits, so that no counter is shared between readers; it ticks once every 1/4096 of the items, so
//! that an item in use all the time is written at most 4096 times while the whole cache is replaced. State: 22 bits,
//! the clock at the last use. A hit: one load and a comparison; one compare-and-swap when the clock moved.

use super::sample::Sampler;
use super::{Arrival, Bits, Candidate, POLICY_BITS, Shared, Store};

const STAMP: u64 = (1 << POLICY_BITS) - 1;
/// Ticks of the clock while as many items arrive as the cache holds.
const TICKS: u64 = 4096;

#[derive(Debug)]
pub(crate) struct Lru<H> {
    sampler: Sampler<H>,
    volatile: bool,
    /// Ticks so far; an item holds the low 22 bits. Begins high enough that no age leads below zero.
    clock: u64,
    since_tick: u64,
    quantum: u64,
}

impl<H: Copy + PartialEq> Lru<H> {
    pub(crate) fn new(volatile: bool, seed: u64) -> Self {
        Lru { sampler: Sampler::new(seed), volatile, clock: STAMP + 1, since_tick: 0, quantum: 1 }
    }

    pub(crate) fn victim<S: Store<Handle = H>>(&mut self, store: &S) -> Option<Candidate<H>> {
        let clock = self.clock;
        self.sampler.least(store, self.volatile, |bits| clock - age(clock, bits))
    }

    pub(crate) fn insert(&mut self, shared: &Shared, arrival: &Arrival) -> Bits {
        if let Some(age) = arrival.age {
            // It comes from a snapshot: time stands still, so that those that come first do not look older.
            return (self.clock.wrapping_sub(u64::from(age)) & STAMP) as Bits;
        }
        self.since_tick += 1;
        if self.since_tick >= self.quantum {
            self.since_tick = 0;
            self.clock += 1;
            shared.publish(0, self.stamp());
        }
        self.stamp()
    }

    pub(crate) fn stamp(&self) -> Bits {
        (self.clock & STAMP) as Bits
    }

    pub(crate) fn rank(&self, bits: Bits) -> super::Rank {
        super::Rank::new(false, 0, super::rank::ticks_since(self.clock, bits, STAMP))
    }

    pub(crate) fn maintain<S: Store>(&mut self, store: &S) {
        self.quantum = (store.items() / TICKS).max(1);
    }
}

/// Ticks since the item was used. Right for as long as 22 bits last: a thousand times the cache's contents.
fn age(clock: u64, bits: Bits) -> u64 {
    clock.wrapping_sub(u64::from(bits)) & STAMP
}
