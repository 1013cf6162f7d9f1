//! A small model of a cache: the cache's own policy over a sample of its keys, in a memory that is smaller in the same
//! proportion, or would be if the cache had another size.
//!
//! Paper: Waldspurger et al., "Cache Modeling and Optimization using Miniature Simulations", ATC'17. Ours is that a
//! miniature follows a cache in use, which is told what became of each request: a program stores a value where the
//! cache missed, and this is not where the miniature misses.
//!
//! 1. Where the cache hits and the miniature misses, the program would have stored what the cache has: the miniature
//!    does so by itself.
//! 2. Where the cache misses and the miniature hits, the program will store what, in a cache like the miniature, it
//!    would not have had to: the next value stored under this key is taken for that, and changes nothing but the size.
//! 3. Items end when the cache's would. Those that have are dropped before anything else makes room.

use super::items::{Handle, Items, Life};
use super::simulator::Simulator;
use super::{EvictionPolicy, Objective, Policy, Shared, Store, mix};

/// What a miniature has to know of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Incoming {
    /// What it costs its policy.
    pub(crate) size: u32,
    pub(crate) namespace: u8,
    /// In milliseconds; 0 for none.
    pub(crate) deadline: u64,
    pub(crate) idle_ms: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Miniature {
    simulator: Simulator,
    kind: EvictionPolicy,
}

impl Miniature {
    /// An empty one without any memory: see [`set_capacity`](Self::set_capacity).
    pub(crate) fn new(kind: EvictionPolicy, objective: Objective, seed: u64) -> Miniature {
        let items = Items::with_lives(kind.is_volatile());
        Miniature { simulator: Simulator::on(items, kind, objective, seed), kind }
    }

    /// A read, and what the cache found. Whether it is a hit here.
    pub(crate) fn read(&mut self, key_hash: u64, now: u64, found: Option<&Incoming>) -> bool {
        let hash = mix(key_hash);
        if let Some(slot) = self.live(hash, now) {
            self.simulator.hit(slot);
            let Life { deadline, idle_ms, .. } = self.simulator.items.life(slot);
            let life = found.map_or((deadline, idle_ms), |found| (found.deadline, found.idle_ms));
            self.simulator.items.set_life(slot, Life::new(life.0, life.1, now));
            self.simulator.items.entry_mut(slot).awaits_fill = found.is_none();
            return true;
        }
        if let Some(found) = found {
            self.insert(hash, now, found);
        }
        false
    }

    /// A value was stored, or would have been if there had been room.
    pub(crate) fn store(&mut self, key_hash: u64, now: u64, item: &Incoming) {
        let hash = mix(key_hash);
        let Some(slot) = self.live(hash, now) else {
            self.insert(hash, now, item);
            return;
        };
        let Simulator { policy, shared, items, .. } = &mut self.simulator;
        let entry = items.entry_mut(slot);
        let (before, is_fill) = (entry.size, std::mem::take(&mut entry.awaits_fill));
        if !is_fill || before != item.size {
            let bits = policy.overwritten(shared, hash, entry.bits.get(), before, item.size);
            entry.bits.set(bits);
            items.resize(slot, item.size);
        }
        if !is_fill {
            items.set_life(slot, Life::new(item.deadline, item.idle_ms, now));
        }
        self.shrink(now);
    }

    /// An item got another deadline, which was a use.
    pub(crate) fn touch(&mut self, key_hash: u64, now: u64, deadline: u64) {
        if let Some(slot) = self.live(mix(key_hash), now) {
            self.simulator.hit(slot);
            let idle_ms = self.simulator.items.life(slot).idle_ms;
            self.simulator.items.set_life(slot, Life::new(deadline, idle_ms, now));
        }
    }

    /// A key was removed.
    pub(crate) fn remove(&mut self, key_hash: u64) {
        if let Some(slot) = self.simulator.items.slot(mix(key_hash)) {
            self.drop_item(self.simulator.items.handle(slot));
        }
    }

    /// A namespace was cleared.
    pub(crate) fn clear(&mut self, namespace: u8) {
        self.keep(|_, of| of != namespace);
    }

    /// Forgets the items of keys that are not part of the sample any more.
    pub(crate) fn keep_hashes(&mut self, wanted: impl Fn(u64) -> bool) {
        self.keep(|hash, _| wanted(hash));
        self.simulator.items.compact();
    }

    fn keep(&mut self, wanted: impl Fn(u64, u8) -> bool) {
        let items = self.simulator.items.all();
        let gone: Vec<Handle> = items
            .filter(|(_, entry, hash)| !wanted(unmix(*hash), entry.namespace))
            .map(|(handle, ..)| handle)
            .collect();
        gone.into_iter().for_each(|handle| self.drop_item(handle));
    }

    /// The sum that the items' sizes may reach. What is above it leaves when the next item comes.
    pub(crate) fn set_capacity(&mut self, capacity: u64) {
        self.simulator.items.capacity = capacity;
    }

    /// Goes over to another policy, which knows nothing of the past.
    pub(crate) fn set_policy(&mut self, kind: EvictionPolicy, objective: Objective, seed: u64) {
        let Simulator { policy, shared, items, .. } = &mut self.simulator;
        *policy = Policy::new(kind, objective, seed);
        *shared = Shared::new(kind, objective);
        items.volatile_only = kind.is_volatile();
        for (_, entry, hash) in items.all() {
            entry.bits.set(policy.adopt(shared, hash, entry.size));
        }
        self.kind = kind;
    }

    /// The sizes of some of the items, spread over all of them.
    pub(crate) fn sizes(&self, most: usize) -> impl Iterator<Item = u32> {
        let step = (self.items() as usize).div_ceil(most).max(1);
        self.simulator.items.all().step_by(step).map(|(_, entry, _)| entry.size)
    }

    pub(crate) fn items(&self) -> u64 {
        self.simulator.items()
    }

    /// Sum of their sizes.
    pub(crate) fn used(&self) -> u64 {
        self.simulator.used()
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.simulator.items.capacity()
    }

    pub(crate) fn evictions(&self) -> u64 {
        self.simulator.evictions()
    }

    /// Whether any item ever had an end; then an item takes more memory.
    pub(crate) fn has_ends(&self) -> bool {
        self.simulator.items.has_ends()
    }

    /// Heap bytes held.
    #[cfg(test)]
    pub(crate) fn memory(&self) -> u64 {
        self.simulator.items.memory() + self.simulator.policy_memory()
    }

    /// The slot of an item whose time is not over.
    fn live(&mut self, hash: u64, now: u64) -> Option<u32> {
        let slot = self.simulator.items.slot(hash)?;
        let end = self.simulator.items.life(slot).end;
        if end != 0 && end <= now {
            self.drop_item(self.simulator.items.handle(slot));
            return None;
        }
        Some(slot)
    }

    fn insert(&mut self, hash: u64, now: u64, item: &Incoming) {
        while self.simulator.items.used() + u64::from(item.size) > self.simulator.items.capacity
            && let Some(over) = self.simulator.items.over(now)
        {
            self.drop_item(over);
        }
        if let Some(slot) = self.simulator.insert(hash, item.size) {
            self.simulator.items.entry_mut(slot).namespace = item.namespace;
            self.simulator.items.set_life(slot, Life::new(item.deadline, item.idle_ms, now));
        }
    }

    /// Makes room for an item that has become larger.
    fn shrink(&mut self, now: u64) {
        while self.simulator.items.used() > self.simulator.items.capacity {
            if let Some(over) = self.simulator.items.over(now) {
                self.drop_item(over);
            } else if !self.simulator.evict(None) {
                return;
            }
        }
    }

    /// An item leaves that was not evicted.
    fn drop_item(&mut self, handle: Handle) {
        let Simulator { policy, shared, items, .. } = &mut self.simulator;
        let size = items.entry(handle.slot).size;
        if let Some((_, bits)) = items.remove(handle) {
            policy.removed(shared, bits, size);
        }
    }
}

/// The reverse of [`mix`].
fn unmix(mut x: u64) -> u64 {
    x = (x ^ x >> 31 ^ x >> 62).wrapping_mul(0x3196_42b2_d24d_8ec3);
    x = (x ^ x >> 27 ^ x >> 54).wrapping_mul(0x96de_1b17_3f11_9089);
    x ^ x >> 30 ^ x >> 60
}

#[cfg(test)]
mod tests {
    use super::*;

    fn miniature(kind: EvictionPolicy, capacity: u64) -> Miniature {
        let mut miniature = Miniature::new(kind, Objective::Hits, 1);
        miniature.set_capacity(capacity);
        miniature
    }

    fn unit() -> Incoming {
        Incoming { size: 1, ..Incoming::default() }
    }

    #[test]
    fn mixing_can_be_undone() {
        for x in [0, 1, 2, 0x1234_5678_9abc_def0, u64::MAX] {
            assert_eq!(unmix(mix(x)), x);
        }
    }

    #[test]
    fn a_fill_is_not_a_write_where_there_was_no_miss() {
        let mut miniature = miniature(EvictionPolicy::Default, 10);
        let short = Incoming { deadline: 100, ..unit() };
        miniature.store(1, 1, &short);
        assert!(miniature.read(1, 2, None), "the cache missed, this did not");
        miniature.store(1, 2, &Incoming { deadline: 500, ..unit() });
        assert!(!miniature.read(1, 100, None), "the fill has not changed its deadline");
        assert!(!miniature.read(2, 3, Some(&unit())), "the cache hit, this did not");
        assert!(miniature.read(2, 3, Some(&unit())), "and then took what the cache had");
    }

    #[test]
    fn what_has_ended_leaves_first() {
        let mut miniature = miniature(EvictionPolicy::AllkeysLru, 3);
        miniature.store(1, 1, &Incoming { idle_ms: 10, ..unit() });
        miniature.store(2, 1, &Incoming { deadline: 5, ..unit() });
        miniature.store(3, 1, &unit());
        assert!(miniature.read(1, 9, None), "used in time");
        miniature.store(4, 10, &unit());
        assert_eq!((miniature.items(), miniature.evictions()), (3, 0));
        assert!(miniature.read(1, 18, None) && !miniature.read(2, 18, None) && miniature.read(3, 18, None));
        assert!(!miniature.read(1, 28, None));
    }

    #[test]
    fn volatile_policies_see_only_items_with_an_end() {
        let mut miniature = miniature(EvictionPolicy::VolatileLru, 3);
        miniature.store(1, 1, &Incoming { deadline: 1000, ..unit() });
        (2..9).for_each(|key| miniature.store(key, 2, &unit()));
        assert_eq!(miniature.items(), 3, "one could leave, no other");
        assert!(!miniature.read(1, 3, None) && miniature.read(2, 3, None));
        miniature.touch(2, 4, 2000);
        miniature.store(9, 5, &unit());
        assert!(!miniature.read(2, 5, None) && miniature.read(9, 5, None));
    }

    #[test]
    fn samples_and_namespaces_leave_together() {
        let mut miniature = miniature(EvictionPolicy::S3Fifo, 100);
        (0..50).for_each(|key| miniature.store(key, 1, &unit()));
        (50..80).for_each(|key| miniature.store(key, 1, &Incoming { namespace: 1, ..unit() }));
        miniature.keep_hashes(|hash| hash >= 10);
        assert_eq!(miniature.items(), 70);
        miniature.clear(0);
        assert_eq!((miniature.items(), miniature.used()), (30, 30));
        miniature.set_policy(EvictionPolicy::Default, Objective::Hits, 2);
        miniature.remove(60);
        assert!(miniature.read(61, 5, None) && !miniature.read(60, 5, None));
        (100..500).for_each(|key| miniature.store(key, 1, &unit()));
        assert_eq!(miniature.items(), 100);
        miniature.simulator.policy.check(&miniature.simulator.shared, &miniature.simulator.items);
    }
}
