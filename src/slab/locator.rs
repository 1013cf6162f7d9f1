//! Where an item is, in 40 bits; and the index slot that holds it. The only place that packs or unpacks either.
//!
//! ```text
//!  63 62 61                            40 39                                                0
//! ┌──┬──┬────────────────────────────────┬───────────────────────────────────────────────────┐
//! │V │F │ policy bits (22)               │ locator: byte offset in the arena / 8  (40)       │
//! └──┴──┴────────────────────────────────┴───────────────────────────────────────────────────┘
//!   V  the item has a deadline (volatile)        F  it was read since it was stored (fetched)
//! ```
//!
//! Invariants:
//! 1. Locator 0 is no item: the arena's first page is never used. An empty slot is the word 0.
//! 2. Items start at multiples of 8 bytes, so 40 bits reach 8 TiB.

use crate::policy::{Bits, POLICY_BITS};

const LOCATOR_BITS: u32 = 40;
const LOCATOR_MASK: u64 = (1 << LOCATOR_BITS) - 1;
const BITS_MASK: u64 = (1 << POLICY_BITS) - 1;
const FETCHED: u64 = 1 << (LOCATOR_BITS + POLICY_BITS);
const VOLATILE: u64 = FETCHED << 1;

const _: () = assert!(LOCATOR_BITS + POLICY_BITS + 2 == u64::BITS);

/// The largest arena that a locator reaches, in bytes.
pub(crate) const MAX_ARENA: usize = 8 << LOCATOR_BITS;

/// Where an item starts in the arena. Never the arena's first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Locator(u64);

impl Locator {
    /// The locator of the item at `offset`, which is a multiple of 8, above 0 and below [`MAX_ARENA`].
    #[inline(always)]
    pub(crate) fn from_offset(offset: usize) -> Locator {
        debug_assert!(offset > 0 && offset.is_multiple_of(8) && offset < MAX_ARENA, "item offset {offset:#x}");
        Locator(offset as u64 / 8)
    }

    #[inline(always)]
    pub(crate) fn offset(self) -> usize {
        (self.0 * 8) as usize
    }

    /// The locator as a number that is never 0: what a hazard slot announces.
    #[inline(always)]
    pub(crate) fn raw(self) -> u64 {
        self.0
    }
}

/// The word in an index slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot(pub(crate) u64);

impl Slot {
    pub(crate) const EMPTY: Slot = Slot(0);

    #[inline(always)]
    pub(crate) fn new(locator: Locator, bits: Bits, volatile: bool, fetched: bool) -> Slot {
        debug_assert!(u64::from(bits) <= BITS_MASK);
        let flags = if volatile { VOLATILE } else { 0 } | if fetched { FETCHED } else { 0 };
        Slot(locator.0 | (u64::from(bits) & BITS_MASK) << LOCATOR_BITS | flags)
    }

    /// None for an empty slot.
    #[inline(always)]
    pub(crate) fn locator(self) -> Option<Locator> {
        let raw = self.0 & LOCATOR_MASK;
        if raw == 0 { None } else { Some(Locator(raw)) }
    }

    #[inline(always)]
    pub(crate) fn bits(self) -> Bits {
        ((self.0 >> LOCATOR_BITS) & BITS_MASK) as Bits
    }

    #[inline(always)]
    pub(crate) fn is_volatile(self) -> bool {
        self.0 & VOLATILE != 0
    }

    #[inline(always)]
    pub(crate) fn is_fetched(self) -> bool {
        self.0 & FETCHED != 0
    }

    #[inline(always)]
    pub(crate) fn with_bits(self, bits: Bits) -> Slot {
        Slot(self.0 & !(BITS_MASK << LOCATOR_BITS) | (u64::from(bits) & BITS_MASK) << LOCATOR_BITS)
    }

    #[inline(always)]
    pub(crate) fn with_fetched(self) -> Slot {
        Slot(self.0 | FETCHED)
    }

    #[inline(always)]
    pub(crate) fn with_volatile(self, volatile: bool) -> Slot {
        Slot(if volatile { self.0 | VOLATILE } else { self.0 & !VOLATILE })
    }

    #[inline(always)]
    pub(crate) fn with_locator(self, locator: Locator) -> Slot {
        Slot(self.0 & !LOCATOR_MASK | locator.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_touch_each_other() {
        let locator = Locator::from_offset(MAX_ARENA - 8);
        let slot = Slot::new(locator, (1 << POLICY_BITS) - 1, true, false);
        assert_eq!((slot.locator(), slot.bits()), (Some(locator), (1 << POLICY_BITS) - 1));
        assert!(slot.is_volatile() && !slot.is_fetched());
        let slot = slot.with_bits(5).with_fetched().with_volatile(false).with_locator(Locator::from_offset(8));
        assert_eq!((slot.locator(), slot.bits()), (Some(Locator::from_offset(8)), 5));
        assert!(!slot.is_volatile() && slot.is_fetched());
        assert_eq!(Slot::EMPTY.locator(), None);
    }
}
