//! What readers see of a shard's policy: which one it is, its published clocks, and the bytes of its regions.
//!
//! Atomics only. The first cache line is read by every hit and written when a clock moves by a quantum; the counters
//! are on another line, written when an item comes, goes or is promoted. Everything is relaxed: a clock that is a
//! little old makes a stamp a little old, and no memory is reached through these values.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};

use crossbeam_utils::CachePadded;

use super::{Bits, EvictionPolicy, Objective, lfu, s3fifo, sieve, value};

/// What a hit has to do.
const NOTHING: u8 = 0;
const LRU: u8 = 1;
const LFU: u8 = 2;
const S3_FIFO: u8 = 3;
const SIEVE: u8 = 4;
const VALUE: u8 = 5;

#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Shared {
    family: AtomicU8,
    clocks: [AtomicU32; 2],
    counters: CachePadded<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    /// Bytes that came to the two regions of the value policy, less those that left them: written under the lock.
    bytes: [AtomicU64; 2],
    /// Bytes that readers have moved from one region to the other. The sums may pass below zero for a moment, while an
    /// item is promoted and evicted at the same time, and are read as signed numbers.
    moved: [AtomicU64; 2],
    /// Items so moved.
    promoted: AtomicU64,
}

fn family(policy: EvictionPolicy) -> u8 {
    match policy {
        EvictionPolicy::VolatileLru | EvictionPolicy::AllkeysLru => LRU,
        EvictionPolicy::VolatileLfu | EvictionPolicy::AllkeysLfu => LFU,
        EvictionPolicy::S3Fifo => S3_FIFO,
        EvictionPolicy::Sieve => SIEVE,
        EvictionPolicy::Default | EvictionPolicy::VolatileDefault => VALUE,
        EvictionPolicy::VolatileRandom
        | EvictionPolicy::AllkeysRandom
        | EvictionPolicy::VolatileTtl
        | EvictionPolicy::NoEviction => NOTHING,
    }
}

impl Shared {
    pub(crate) fn new(policy: EvictionPolicy, _objective: Objective) -> Self {
        Shared {
            family: AtomicU8::new(family(policy)),
            clocks: [AtomicU32::new(0), AtomicU32::new(0)],
            counters: CachePadded::default(),
        }
    }

    /// The policy was changed: begins anew. Called under the shard lock, together with a new [`Policy`](super::Policy).
    pub(crate) fn reset(&self, policy: EvictionPolicy, _objective: Objective) {
        self.clocks.iter().for_each(|clock| clock.store(0, Relaxed));
        (0..2).for_each(|region| self.forget(region));
        self.counters.promoted.store(0, Relaxed);
        self.family.store(family(policy), Relaxed);
    }

    /// Lets hits count for the policy from now on; [`reset`](Self::reset) with `noeviction` kept them from it.
    pub(crate) fn start(&self, policy: EvictionPolicy) {
        self.family.store(family(policy), Relaxed);
    }

    /// An item was used. What its bits become, or `None` when they stay as they are: nothing is to be written then,
    /// which is the usual case for an item that is used often.
    #[inline]
    pub(crate) fn hit(&self, bits: Bits) -> Option<Bits> {
        let clock = |i: usize| self.clocks[i].load(Relaxed);
        let to = match self.family.load(Relaxed) {
            VALUE => value::used(bits, clock(value::PROBATION), clock(value::PROTECTED)),
            LRU => clock(0),
            LFU => lfu::used(bits, clock(0), clock(1)),
            S3_FIFO => s3fifo::used(bits),
            SIEVE => sieve::used(bits),
            _ => bits,
        };
        (to != bits).then_some(to)
    }

    /// What [`hit`](Self::hit) asked for was done: moves the item's size from one region to the other if it was
    /// promoted.
    #[inline]
    pub(crate) fn applied(&self, from: Bits, to: Bits, size: u32) {
        let (left, entered) = (value::region_of(from), value::region_of(to));
        if left != entered && self.family.load(Relaxed) == VALUE {
            self.counters.moved[left].fetch_sub(u64::from(size), Relaxed);
            self.counters.moved[entered].fetch_add(u64::from(size), Relaxed);
            self.counters.promoted.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn publish(&self, clock: usize, stamp: u32) {
        if self.clocks[clock].load(Relaxed) != stamp {
            self.clocks[clock].store(stamp, Relaxed);
        }
    }

    /// Items promoted since it was asked last.
    pub(super) fn take_promoted(&self) -> u64 {
        self.counters.promoted.swap(0, Relaxed)
    }

    pub(super) fn bytes(&self, region: usize) -> u64 {
        let Counters { bytes, moved, .. } = &*self.counters;
        (bytes[region].load(Relaxed).wrapping_add(moved[region].load(Relaxed)) as i64).max(0) as u64
    }

    /// An item came to a region. Under the lock, like the next two.
    pub(super) fn enters(&self, region: usize, size: u32) {
        let bytes = &self.counters.bytes[region];
        bytes.store(bytes.load(Relaxed).wrapping_add(u64::from(size)), Relaxed);
    }

    pub(super) fn leaves(&self, region: usize, size: u32) {
        let bytes = &self.counters.bytes[region];
        bytes.store(bytes.load(Relaxed).wrapping_sub(u64::from(size)), Relaxed);
    }

    pub(super) fn forget(&self, region: usize) {
        let bytes = &self.counters.bytes[region];
        bytes.store(self.counters.moved[region].load(Relaxed).wrapping_neg(), Relaxed);
    }
}
