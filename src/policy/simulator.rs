//! The engine's own policy code judged alone: no slab, no index, no bytes, only who is in and who is not.
//!
//! What stands for the index and the slab is in `items`. Everything else - the bits, the hit, the arrival, the victims
//! - is the code that runs in the shards.

use super::items::{Handle, Items};
use super::{Arrival, EvictionPolicy, MAINTAIN_EVERY, Objective, Policy, Shared, Store, Verdict, mix};

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
    pub(super) policy: Policy<Handle>,
    pub(super) shared: Shared,
    pub(super) items: Items,
    evictions: u64,
    inserts: u64,
}

impl Simulator {
    /// A cache of `capacity` bytes, or objects, if every request has size 1. The same seed and the same requests give
    /// the same hits.
    ///
    /// # Examples
    /// ```
    /// use larder::policy::Simulator;
    /// use larder::{EvictionPolicy, Objective};
    /// let simulator = Simulator::new(EvictionPolicy::AllkeysLru, Objective::Hits, 1 << 20, 1);
    /// assert_eq!(simulator.items(), 0);
    /// ```
    pub fn new(policy: EvictionPolicy, objective: Objective, capacity: u64, seed: u64) -> Self {
        Simulator::on(Items::new(capacity), policy, objective, seed)
    }

    pub(super) fn on(items: Items, policy: EvictionPolicy, objective: Objective, seed: u64) -> Self {
        let (policy, shared) = (Policy::new(policy, objective, seed), Shared::new(policy, objective));
        Simulator { policy, shared, items, evictions: 0, inserts: 0 }
    }

    /// Asks for a key, and tells whether it was there. If not it is inserted, with this size; an item larger than the
    /// capacity is not, nor one that the policy turns away. Sizes over 4 GiB count as 4 GiB.
    ///
    /// # Examples
    /// ```
    /// use larder::policy::Simulator;
    /// use larder::{EvictionPolicy, Objective};
    /// let mut simulator = Simulator::new(EvictionPolicy::AllkeysLru, Objective::Hits, 1000, 1);
    /// assert!(!simulator.request(7, 100));
    /// assert!(simulator.request(7, 100));
    /// ```
    pub fn request(&mut self, key_hash: u64, size: u64) -> bool {
        let hash = mix(key_hash);
        if let Some(slot) = self.items.slot(hash) {
            self.hit(slot);
            return true;
        }
        self.insert(hash, u32::try_from(size).unwrap_or(u32::MAX));
        false
    }

    /// Tells the policy that an item was used.
    pub(super) fn hit(&self, slot: u32) {
        let entry = self.items.entry(slot);
        let from = entry.bits.get();
        if let Some(to) = self.shared.hit(from) {
            entry.bits.set(to);
            self.shared.applied(from, to, entry.size);
        }
    }

    /// Inserts an item that is not there, if it fits and is not turned away. Its slot.
    pub(super) fn insert(&mut self, hash: u64, size: u32) -> Option<u32> {
        if u64::from(size) > self.items.capacity {
            return None;
        }
        let arrival = self.policy.arriving(&self.shared, hash, size, self.items.capacity);
        let slot = self.make_room(&arrival).then(|| {
            let bits = self.policy.insert(&self.shared, arrival);
            self.items.insert(hash, size, bits)
        });
        self.inserts += 1;
        if self.inserts.is_multiple_of(MAINTAIN_EVERY) {
            let wanted = self.policy.maintain(&self.shared, &self.items, 0);
            if wanted > 0 {
                self.policy.maintain(&self.shared, &self.items, wanted);
            }
        }
        slot
    }

    fn make_room(&mut self, arrival: &Arrival) -> bool {
        while self.items.used() + u64::from(arrival.size) > self.items.capacity {
            if !self.evict(Some(arrival)) {
                return false;
            }
        }
        true
    }

    /// Evicts the policy's victim; false if there is none, or if the newcomer is turned away.
    pub(super) fn evict(&mut self, arrival: Option<&Arrival>) -> bool {
        match self.policy.victim(&self.shared, &self.items, arrival) {
            Verdict::Evict(victim) => {
                let Some((hash, bits)) = self.items.remove(victim.handle) else {
                    return false;
                };
                self.policy.evicted(&self.shared, hash, bits, victim.size);
                self.evictions += 1;
                true
            }
            Verdict::TurnAway => {
                if let Some(arrival) = arrival {
                    self.policy.turned_away(&self.shared, arrival);
                }
                false
            }
            Verdict::None => false,
        }
    }

    /// Number of items in the cache.
    ///
    /// # Examples
    /// ```
    /// use larder::policy::Simulator;
    /// use larder::{EvictionPolicy, Objective};
    /// let mut simulator = Simulator::new(EvictionPolicy::AllkeysLru, Objective::Hits, 1000, 1);
    /// simulator.request(7, 100);
    /// assert_eq!((simulator.items(), simulator.used()), (1, 100));
    /// ```
    pub fn items(&self) -> u64 {
        self.items.items()
    }

    /// Sum of their sizes.
    ///
    /// # Examples
    /// See [`items`](Self::items).
    pub fn used(&self) -> u64 {
        self.items.used()
    }

    /// Items evicted so far.
    ///
    /// # Examples
    /// ```
    /// use larder::policy::Simulator;
    /// use larder::{EvictionPolicy, Objective};
    /// let mut simulator = Simulator::new(EvictionPolicy::AllkeysLru, Objective::Hits, 10, 1);
    /// (0..25).for_each(|key| _ = simulator.request(key, 1));
    /// assert_eq!(simulator.evictions(), 15);
    /// ```
    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Heap bytes that the policy itself holds: its ghost, its queues, its pools.
    ///
    /// # Examples
    /// ```
    /// use larder::policy::Simulator;
    /// use larder::{EvictionPolicy, Objective};
    /// let mut simulator = Simulator::new(EvictionPolicy::Default, Objective::Hits, 100, 1);
    /// (0..1000).for_each(|key| _ = simulator.request(key, 1));
    /// println!("{} bytes remember what was evicted", simulator.policy_memory());
    /// ```
    pub fn policy_memory(&self) -> u64 {
        self.policy.memory()
    }
}
