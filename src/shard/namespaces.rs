//! Generations: how a namespace is cleared in one store, whatever it holds.
//!
//! Each item carries the generation (0 to 15) that its namespace had when it was stored, and is there only while that
//! is the current one. Clearing moves on to the next. A generation is used again only after every shard has been swept
//! from end to end since it was left, so nothing of its former life is left to come back.
//!
//! Invariants:
//! 1. Writers read the generation under their shard's lock, no earlier than they publish the item. So what a clear has
//!    left behind in a shard is there when a sweep of that shard begins later.
//! 2. `retired` holds, for each generation left, the clear that left it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use parking_lot::Mutex;

use crate::slab::GENERATIONS;

/// A clear: its number, and the internal time at which it was done.
#[derive(Debug, Clone, Copy)]
struct Clear {
    number: u64,
    at: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Namespaces {
    generations: [AtomicU8; 256],
    /// Number of clears so far.
    clears: AtomicU64,
    retired: Mutex<HashMap<(u8, u8), Clear>>,
}

impl Namespaces {
    pub(crate) fn new() -> Namespaces {
        Namespaces {
            generations: [const { AtomicU8::new(0) }; 256],
            clears: AtomicU64::new(0),
            retired: Mutex::new(HashMap::new()),
        }
    }

    /// With these generations, and nothing left of any other.
    pub(crate) fn with(generations: &[u8; 256]) -> Namespaces {
        let all = Namespaces::new();
        for (of, &generation) in all.generations.iter().zip(generations) {
            of.store(generation % GENERATIONS, Relaxed);
        }
        all
    }

    #[inline(always)]
    pub(crate) fn generation(&self, namespace: u8) -> u8 {
        self.generations[usize::from(namespace)].load(Acquire)
    }

    /// The generations of all namespaces as they were at one moment.
    #[cfg(feature = "snapshot")]
    pub(crate) fn all(&self) -> [u8; 256] {
        loop {
            let clears = self.clears();
            let generations = std::array::from_fn(|namespace| self.generation(namespace as u8));
            // A clear counts itself after it is done. If none did meanwhile, at most the one that is under way was seen
            // here, and that one may be taken for done.
            if self.clears() == clears {
                return generations;
            }
        }
    }

    /// Number of clears so far: what a sweep that begins now will have dealt with.
    pub(crate) fn clears(&self) -> u64 {
        self.clears.load(Acquire)
    }

    /// When a namespace left a generation, if it has left it.
    pub(crate) fn left_at(&self, namespace: u8, generation: u8) -> Option<u64> {
        self.retired.lock().get(&(namespace, generation)).map(|clear| clear.at)
    }

    /// Clears a namespace, if its next generation is free to use: `swept`, which is only asked if it was used before,
    /// says up to which clear every shard has been swept. Otherwise a sweep has to come first.
    pub(crate) fn clear(&self, namespace: u8, at: u64, swept: impl FnOnce() -> u64) -> bool {
        let mut retired = self.retired.lock();
        let now = self.generation(namespace);
        let next = (now + 1) % GENERATIONS;
        if retired.get(&(namespace, next)).is_some_and(|clear| clear.number > swept()) {
            return false;
        }
        let number = self.clears.load(Relaxed) + 1;
        retired.insert((namespace, now), Clear { number, at });
        retired.remove(&(namespace, next));
        self.generations[usize::from(namespace)].store(next, Release);
        self.clears.store(number, Release);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_comes_back_only_after_a_sweep() {
        let namespaces = Namespaces::new();
        for _ in 1..GENERATIONS {
            assert!(namespaces.clear(3, 7, || 0));
        }
        assert!(!namespaces.clear(3, 7, || 0), "the first generation was left by clear 1");
        assert!(namespaces.clear(4, 9, || 0));
        assert!(namespaces.clear(3, 7, || 1));
        assert_eq!((namespaces.generation(3), namespaces.generation(4), namespaces.generation(0)), (0, 1, 0));
        assert!(!namespaces.clear(3, 7, || 1));
        assert_eq!(
            [namespaces.left_at(3, 1), namespaces.left_at(4, 0), namespaces.left_at(3, 0)],
            [Some(7), Some(9), None]
        );
    }
}
