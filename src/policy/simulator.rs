//! The engine's own policy code judged alone: no slab, no index, no bytes, only who is in and who is not.
//!
//! Items are entries of a dense vector; "buckets" are five or six of them drawn at random, as many as an index bucket
//! at usual load shows. Everything else - the bits, the hit, the arrival, the victims - is the code that runs in the
//! shards.

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

use super::{Arrival, Bits, Candidate, EvictionPolicy, MAINTAIN_EVERY, Objective, Policy, Shared, Store, Verdict, mix};

/// Plays requests against an eviction policy, without storing anything.
///
/// Every item counts as having a deadline, which comes the sooner the earlier it was inserted: so the volatile policies
/// choose among all items, and `volatile-ttl` evicts in the order of insertion.
///
/// # Examples
/// ```
/// use larder::policy::Simulator;
/// use larder::{EvictionPolicy, Objective};
///
/// // A cache of 100 objects, whatever their size.
/// let mut simulator = Simulator::new(EvictionPolicy::Default, Objective::Hits, 100, 1);
/// let hits = (0..10_000u64).filter(|i| simulator.request(i % 50, 1)).count();
/// assert_eq!(hits, 10_000 - 50);
/// assert_eq!(simulator.items(), 50);
/// ```
#[derive(Debug)]
pub struct Simulator {
    policy: Policy<Handle>,
    shared: Shared,
    items: Items,
    evictions: u64,
    inserts: u64,
}

impl Simulator {
    /// A cache of `capacity` bytes, or objects, if every request has size 1. The same seed and the same requests give
    /// the same hits.
    pub fn new(policy: EvictionPolicy, objective: Objective, capacity: u64, seed: u64) -> Self {
        Simulator {
            policy: Policy::new(policy, objective, seed),
            shared: Shared::new(policy, objective),
            items: Items { capacity, ..Items::default() },
            evictions: 0,
            inserts: 0,
        }
    }

    /// Asks for a key, and tells whether it was there. If not it is inserted, with this size; an item larger than the
    /// capacity is not, nor one that the policy turns away. Sizes over 4 GiB count as 4 GiB.
    pub fn request(&mut self, key_hash: u64, size: u64) -> bool {
        let hash = mix(key_hash);
        if let Some(&slot) = self.items.slots.get(&hash) {
            let entry = &self.items.entries[slot as usize];
            let from = entry.bits.get();
            if let Some(to) = self.shared.hit(from) {
                entry.bits.set(to);
                self.shared.applied(from, to, entry.size);
            }
            return true;
        }
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        if u64::from(size) <= self.items.capacity {
            let arrival = self.policy.arriving(&self.shared, hash, size, self.items.capacity);
            if self.make_room(&arrival) {
                let bits = self.policy.insert(&self.shared, arrival);
                self.items.insert(hash, size, bits);
            }
            self.inserts += 1;
            if self.inserts.is_multiple_of(MAINTAIN_EVERY) {
                let wanted = self.policy.maintain(&self.shared, &self.items, 0);
                if wanted > 0 {
                    self.policy.maintain(&self.shared, &self.items, wanted);
                }
            }
        }
        false
    }

    fn make_room(&mut self, arrival: &Arrival) -> bool {
        while self.items.used + u64::from(arrival.size) > self.items.capacity {
            match self.policy.victim(&self.shared, &self.items, Some(arrival)) {
                Verdict::Evict(victim) => {
                    let Some((hash, bits)) = self.items.remove(victim.handle) else {
                        return false;
                    };
                    self.policy.evicted(&self.shared, hash, bits, victim.size);
                    self.evictions += 1;
                }
                Verdict::TurnAway => {
                    self.policy.turned_away(&self.shared, arrival);
                    return false;
                }
                Verdict::None => return false,
            }
        }
        true
    }

    /// Number of items in the cache.
    pub fn items(&self) -> u64 {
        self.items.order.len() as u64
    }

    /// Sum of their sizes.
    pub fn used(&self) -> u64 {
        self.items.used
    }

    /// Items evicted so far.
    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Heap bytes that the policy itself holds: its ghost, its queues, its pools.
    pub fn policy_memory(&self) -> u64 {
        self.policy.memory()
    }
}

/// Where an item is, and which of the items that were there one after the other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Handle {
    slot: u32,
    birth: u64,
}

#[derive(Debug, Clone)]
struct Entry {
    hash: u64,
    birth: u64,
    size: u32,
    bits: Cell<Bits>,
    /// Its index in `Items::order`; meaningless while the entry is free.
    place: u32,
}

/// The items: a store without memory.
#[derive(Debug, Default)]
pub(crate) struct Items {
    entries: Vec<Entry>,
    /// Entries in use, dense, so that any can be drawn.
    order: Vec<u32>,
    free: Vec<u32>,
    slots: HashMap<u64, u32, MixedHash>,
    capacity: u64,
    used: u64,
    /// Size of the largest item that ever was.
    largest: u32,
    births: u64,
}

impl Items {
    fn insert(&mut self, hash: u64, size: u32, bits: Bits) {
        self.births += 1;
        let place = self.order.len() as u32;
        let entry = Entry { hash, birth: self.births, size, bits: Cell::new(bits), place };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.entries[slot as usize] = entry;
                slot
            }
            None => {
                self.entries.push(entry);
                self.entries.len() as u32 - 1
            }
        };
        self.order.push(slot);
        self.slots.insert(hash, slot);
        self.used += u64::from(size);
        self.largest = self.largest.max(size);
    }

    fn remove(&mut self, handle: Handle) -> Option<(u64, Bits)> {
        self.get(handle)?;
        let entry = &mut self.entries[handle.slot as usize];
        let (hash, bits, size, place) = (entry.hash, entry.bits.get(), entry.size, entry.place as usize);
        entry.birth = 0;
        self.order.swap_remove(place);
        if let Some(&moved) = self.order.get(place) {
            self.entries[moved as usize].place = place as u32;
        }
        self.slots.remove(&hash);
        self.free.push(handle.slot);
        self.used -= u64::from(size);
        Some((hash, bits))
    }

    fn candidate(&self, slot: u32) -> Candidate<Handle> {
        let entry = &self.entries[slot as usize];
        Candidate { handle: Handle { slot, birth: entry.birth }, bits: entry.bits.get(), size: entry.size }
    }
}

impl Store for Items {
    type Handle = Handle;

    fn items(&self) -> u64 {
        self.order.len() as u64
    }

    fn used(&self) -> u64 {
        self.used
    }

    fn capacity(&self) -> u64 {
        self.capacity
    }

    fn largest(&self) -> u32 {
        self.largest
    }

    fn buckets(
        &self,
        at: u64,
        count: u64,
        mut wanted: impl FnMut(Bits) -> bool,
        mut each: impl FnMut(Candidate<Handle>),
    ) {
        for at in at..at.saturating_add(count) {
            let mut random = mix(at);
            for _ in 0..(5 + random % 2).min(self.order.len() as u64) {
                let place = (u128::from(random) * self.order.len() as u128) >> 64;
                let candidate = self.candidate(self.order[place as usize]);
                if wanted(candidate.bits) {
                    each(candidate);
                }
                random = mix(random.wrapping_add(0x9e37_79b9_7f4a_7c15));
            }
        }
    }

    fn get(&self, handle: Handle) -> Option<Candidate<Handle>> {
        let entry = self.entries.get(handle.slot as usize)?;
        (entry.birth == handle.birth).then(|| self.candidate(handle.slot))
    }

    fn find(&self, hash: u64, same: impl Fn(Bits) -> bool) -> Option<Candidate<Handle>> {
        let &slot = self.slots.get(&hash)?;
        let candidate = self.candidate(slot);
        same(candidate.bits).then_some(candidate)
    }

    fn set_bits(&self, handle: Handle, from: Bits, to: Bits) -> bool {
        let entry = &self.entries[handle.slot as usize];
        let unchanged = entry.birth == handle.birth && entry.bits.get() == from;
        if unchanged {
            entry.bits.set(to);
        }
        unchanged
    }

    fn deadline(&self, handle: Handle) -> Option<u64> {
        self.get(handle).map(|_| handle.birth)
    }

    fn soonest(&self, _each: impl FnMut(Candidate<Handle>, u64)) {}
}

/// The keys of the map are mixed hashes already.
#[derive(Debug, Clone, Copy, Default)]
struct MixedHash;

impl BuildHasher for MixedHash {
    type Hasher = Already;

    fn build_hasher(&self) -> Already {
        Already(0)
    }
}

#[derive(Debug)]
struct Already(u64);

impl Hasher for Already {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = mix(self.0 ^ u64::from(byte));
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
