//! `allkeys-lfu` and `volatile-lfu`: the least frequently used of a sample, old uses counting less.
//!
//! Paper: none; Redis' LFU (2016), after Morris' counter (CACM 1978). Changed: decay runs by insertions, not by
//! minutes, and costs nothing: instead of lowering counters, an item's rank is `last use + counter x DECAY`, which
//! orders items as lowering each counter by one every `DECAY` ticks would. A hit decides at random whether to count, by
//! a hash of the item's bits and of a noise word that moves with the clock: readers share nothing that is written.
//! State: 8 bits of counter, 14 of clock. A hit: two loads and a hash; a compare-and-swap when it counted or the clock
//! moved.

use super::sample::Sampler;
use super::{Arrival, Bits, Candidate, Shared, Store, mix};

const STAMP_BITS: u32 = 14;
const STAMP: u64 = (1 << STAMP_BITS) - 1;
const COUNTER_MAX: u32 = 255;
/// New items start here, so that they have a while to be used again.
const START: u32 = 5;
/// The counter grows with probability 1 / (1 + GROWTH x (counter - START)).
const GROWTH: u32 = 1;
/// Ticks after which a counter is worth one less.
const DECAY: u64 = 16;
/// Ticks of the stamp's clock, and moves of the noise, while as many items arrive as the cache holds.
const TICKS: u64 = 16;
const NOISE_TICKS: u64 = 4096;

#[derive(Debug)]
pub(crate) struct Lfu<H> {
    sampler: Sampler<H>,
    volatile: bool,
    clock: u64,
    noise: u32,
    since_tick: u64,
    since_noise: u64,
    quantum: u64,
    noise_quantum: u64,
}

impl<H: Copy + PartialEq> Lfu<H> {
    pub(crate) fn new(volatile: bool, seed: u64) -> Self {
        Lfu {
            sampler: Sampler::new(seed),
            volatile,
            clock: STAMP + 1,
            noise: 0,
            since_tick: 0,
            since_noise: 0,
            quantum: 1,
            noise_quantum: 1,
        }
    }

    pub(crate) fn victim<S: Store<Handle = H>>(&mut self, store: &S) -> Option<Candidate<H>> {
        let clock = self.clock;
        self.sampler.least(store, self.volatile, |bits| rank(clock, bits))
    }

    pub(crate) fn insert(&mut self, shared: &Shared, arrival: &Arrival) -> Bits {
        if let Some(age) = arrival.age {
            // It comes from a snapshot: time stands still, so that those that come first do not look older.
            let stamp = self.clock.wrapping_sub(u64::from(age).min(STAMP)) & STAMP;
            return pack(arrival.uses.min(COUNTER_MAX), stamp as u32);
        }
        self.since_tick += 1;
        self.since_noise += 1;
        if self.since_tick >= self.quantum {
            self.since_tick = 0;
            self.clock += 1;
            shared.publish(0, (self.clock & STAMP) as u32);
        }
        if self.since_noise >= self.noise_quantum {
            self.since_noise = 0;
            self.noise = self.noise.wrapping_add(1);
            shared.publish(1, self.noise);
        }
        self.start()
    }

    /// The bits of an item whose history is not known.
    pub(crate) fn start(&self) -> Bits {
        pack(START, (self.clock & STAMP) as u32)
    }

    pub(crate) fn rank(&self, bits: Bits) -> super::Rank {
        super::Rank::new(false, bits >> STAMP_BITS, super::rank::ticks_since(self.clock, bits, STAMP))
    }

    pub(crate) fn maintain<S: Store>(&mut self, store: &S) {
        self.quantum = (store.items() / TICKS).max(1);
        self.noise_quantum = (store.items() / NOISE_TICKS).max(1);
    }
}

fn pack(counter: u32, stamp: u32) -> Bits {
    counter << STAMP_BITS | stamp
}

fn rank(clock: u64, bits: Bits) -> u64 {
    let age = clock.wrapping_sub(u64::from(bits)) & STAMP;
    clock - age + u64::from(bits >> STAMP_BITS) * DECAY
}

/// The bits after a hit: decayed, perhaps counted, stamped.
#[inline]
pub(crate) fn used(bits: Bits, clock: u32, noise: u32) -> Bits {
    let age = u64::from(clock).wrapping_sub(u64::from(bits)) & STAMP;
    let counter = (bits >> STAMP_BITS).saturating_sub((age / DECAY) as u32);
    let odds = 1 + counter.saturating_sub(START) * GROWTH;
    let draw = mix(u64::from(bits) << 32 | u64::from(noise));
    let counted = counter < COUNTER_MAX && ((draw >> 32) * u64::from(odds)) >> 32 == 0;
    // A part of a period that is not over yet is not forgotten: the stamp moves by whole periods unless the item
    // counted.
    let stamp = if counted { u64::from(clock) } else { u64::from(bits).wrapping_add(age / DECAY * DECAY) & STAMP };
    pack(counter + u32::from(counted), stamp as u32)
}
