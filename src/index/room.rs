//! Room in a full neighbourhood: a chain of moves, each item to its other place, found breadth first.
//!
//! Tags and state bits alone say where an item's other place is, so nothing but bucket lines within a few dozen places
//! is read. In simulations of 300,000 buckets at a load of .90 no search looked at more than 256 buckets; one in ten
//! million does, so there are more to be had (`docs/index.md`).
//!
//! Invariants:
//! 1. A chain is carried out from its free end: each move goes into a slot that is free, so no item is ever missing.
//! 2. A bucket appears at most once in the search, so a chain never crosses itself.

use smallvec::SmallVec;

use super::bucket::SLOTS;
use super::hash::distance;
use super::table::{Place, Table};
use crate::slab::Slot;

/// Buckets looked at before giving up.
const LOOKS: usize = 2048;
/// Buckets in the window around the home within which chains are sought, in words of a bitmap.
const WINDOW_WORDS: usize = 128;

/// Which buckets of a window were looked at.
struct Seen {
    base: u64,
    bits: [u64; WINDOW_WORDS],
}

impl Seen {
    fn around(home: u64) -> Seen {
        Seen { base: home.saturating_sub(WINDOW_WORDS as u64 * 32), bits: [0; WINDOW_WORDS] }
    }

    /// Marks a bucket; false if it was marked already, or is outside the window.
    fn mark(&mut self, bucket: u64) -> bool {
        let Some(at) = bucket.checked_sub(self.base) else { return false };
        let Some(word) = self.bits.get_mut(at as usize / 64) else { return false };
        let fresh = *word >> (at % 64) & 1 == 0;
        *word |= 1 << (at % 64);
        fresh
    }
}

struct Step {
    bucket: u64,
    /// The step whose item would move here, and which of its slots.
    from: usize,
    slot: usize,
}

impl Table {
    /// Frees a slot in one of two full buckets, without moving what is at the `frozen` places; returns which one. Runs
    /// while
    /// `moves` is odd.
    #[cold]
    pub(super) fn make_room(
        &self,
        home: u64,
        other: u64,
        frozen: &[Place],
        overruled: &mut impl FnMut(Slot, Slot),
    ) -> Option<u64> {
        let mut steps: SmallVec<[Step; 64]> = SmallVec::new();
        let mut seen = Seen::around(home);
        for bucket in [home, other] {
            seen.mark(bucket);
            steps.push(Step { bucket, from: usize::MAX, slot: 0 });
        }
        let mut next = 0;
        while next < steps.len() {
            let at = steps[next].bucket;
            for slot in 0..SLOTS {
                let Some(to) = self.other_place(at, slot) else { continue };
                if frozen.contains(&Place { bucket: at, slot }) || !seen.mark(to) {
                    continue;
                }
                steps.push(Step { bucket: to, from: next, slot });
                if self.bucket(to).free() > 0 {
                    return Some(self.carry_out(&steps, overruled));
                }
                if steps.len() == LOOKS {
                    return None;
                }
            }
            next += 1;
        }
        None
    }

    /// The place of an item that it is not in.
    fn other_place(&self, at: u64, slot: usize) -> Option<u64> {
        let bucket = self.bucket(at);
        match bucket.tag(slot) {
            (0, _) => None,
            (tag, false) => Some(at + distance(tag)),
            (_, true) => bucket.home_of(at, slot),
        }
    }

    /// Moves the items of the chain that ends at the last step; returns the bucket at its start, which has room then.
    fn carry_out(&self, steps: &[Step], overruled: &mut impl FnMut(Slot, Slot)) -> u64 {
        let mut step = &steps[steps.len() - 1];
        while step.from != usize::MAX {
            let source = &steps[step.from];
            let (tag, second) = self.bucket(source.bucket).tag(step.slot);
            let from = Place { bucket: source.bucket, slot: step.slot };
            if let Some(slot) = self.bucket(step.bucket).first_free() {
                self.move_slot(from, Place { bucket: step.bucket, slot }, tag, !second, overruled);
            }
            step = source;
        }
        step.bucket
    }
}
