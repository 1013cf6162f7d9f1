//! One bucket: a cache line.
//!
//! ```text
//! word 0   ┌───────┬──────┬──────┬──────┬──────┬──────┬──────┬──────┐
//!          │ state │ tag6 │ tag5 │ tag4 │ tag3 │ tag2 │ tag1 │ tag0 │
//!          └───────┴──────┴──────┴──────┴──────┴──────┴──────┴──────┘
//! word 1-7   slot 0 ... slot 6: locator and policy bits (`slab::locator`)
//! state      bit i: the item in slot i is in its second place, not at home
//! ```
//!
//! Invariants:
//! 1. Tag 0 is an empty slot, whose word is 0. A slot is filled before its tag is set, and emptied after its tag is
//!    cleared, so a reader that follows a tag finds a whole slot, an empty one, or one that holds another item: it
//!    compares keys.
//! 2. Only the holder of the shard's lock fills, empties and moves. Readers change policy bits by compare-and-swap of
//!    the whole slot, so whoever takes a slot by `swap` has everybody's last word.

use super::hash::distance;
use crate::slab::Slot;
use crate::sync::{AtomicU64, Ordering};

/// Slots in a bucket.
pub(crate) const SLOTS: usize = 7;
/// Words in a bucket.
pub(crate) const WORDS: usize = 8;

const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS_OF_TAGS: u64 = 0x0080_8080_8080_8080;
const STATE_SHIFT: u32 = 56;

/// A view of one bucket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket<'a>(pub(super) &'a [AtomicU64; WORDS]);

/// The slots of a bucket that may hold something, as a set of bit positions `8 * slot + 7`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Matches(u64);

impl Iterator for Matches {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let slot = self.0.trailing_zeros() as usize / 8;
        self.0 &= self.0 - 1;
        Some(slot)
    }
}

impl<'a> Bucket<'a> {
    #[inline(always)]
    pub(super) fn slot(self, i: usize) -> &'a AtomicU64 {
        &self.0[1 + (i & 7).min(SLOTS - 1)]
    }

    /// Slots whose tag is `tag`; all seven are compared at once. Now and then one more than there are.
    #[inline(always)]
    pub(super) fn matching(self, tag: u8) -> Matches {
        let differ = self.0[0].load(Ordering::Acquire) ^ (u64::from(tag) * LOW_BITS);
        Matches(differ.wrapping_sub(LOW_BITS) & !differ & HIGH_BITS_OF_TAGS)
    }

    /// Number of empty slots.
    #[inline(always)]
    pub(super) fn free(self) -> u32 {
        let tags = self.0[0].load(Ordering::Relaxed);
        // A tag byte is zero exactly when neither its low seven bits nor its top bit are set.
        let set = ((tags & !HIGH_BITS_OF_TAGS & !(0xff << STATE_SHIFT)) + 0x007f_7f7f_7f7f_7f7f) | tags;
        SLOTS as u32 - (set & HIGH_BITS_OF_TAGS).count_ones()
    }

    pub(super) fn first_free(self) -> Option<usize> {
        let tags = self.0[0].load(Ordering::Relaxed);
        (0..SLOTS).find(|i| (tags >> (8 * i)) as u8 == 0)
    }

    /// Tag of a slot, 0 if it is empty, and whether its item is in its second place.
    #[inline(always)]
    pub(super) fn tag(self, i: usize) -> (u8, bool) {
        let word = self.0[0].load(Ordering::Relaxed);
        ((word >> (8 * i)) as u8, word >> (STATE_SHIFT as usize + i) & 1 == 1)
    }

    /// The home bucket of the item in slot `i` of bucket number `at`.
    #[inline(always)]
    pub(super) fn home_of(self, at: u64, i: usize) -> Option<u64> {
        match self.tag(i) {
            (0, _) => None,
            (_, false) => Some(at),
            (tag, true) => at.checked_sub(distance(tag)),
        }
    }

    fn set_tag(self, i: usize, tag: u8, second: bool) {
        let word = self.0[0].load(Ordering::Relaxed);
        let word = word & !(0xff << (8 * i)) & !(1 << (STATE_SHIFT as usize + i));
        let word = word | u64::from(tag) << (8 * i) | u64::from(second) << (STATE_SHIFT as usize + i);
        self.0[0].store(word, Ordering::Release);
    }

    /// Fills an empty slot.
    pub(super) fn fill(self, i: usize, slot: Slot, tag: u8, second: bool) {
        self.slot(i).store(slot.0, Ordering::Release);
        self.set_tag(i, tag, second);
    }

    /// Empties a slot and returns what it held last.
    pub(super) fn empty(self, i: usize) -> Slot {
        self.set_tag(i, 0, false);
        // SeqCst: what it held may be freed next, so this must be ordered against readers' announcements (`hazard`).
        Slot(self.slot(i).swap(0, Ordering::SeqCst))
    }

    /// Says that an item which stays where it is has another home now.
    pub(super) fn set_second(self, i: usize, second: bool) {
        let (tag, _) = self.tag(i);
        self.set_tag(i, tag, second);
    }
}
