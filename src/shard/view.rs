//! What a policy sees of a shard: its items, a bucket at a time, in the table's own memory.

use crate::expiry::Deadlines;
use crate::index::{KeyHasher, Place, Table};
use crate::policy::{Bits, Candidate, Store};
use crate::slab::{Arena, ClassId, ClassState, Classes, Locator, Slab, Slot, UnitId, prefetch};

/// A place in the table and the item that was seen there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handle {
    pub(crate) place: Place,
    pub(crate) locator: Locator,
}

/// See the module. Lives under the shard's lock.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) table: &'a Table,
    pub(crate) slab: &'a Slab,
    pub(crate) arena: &'a Arena,
    pub(crate) classes: &'a Classes,
    pub(crate) hasher: &'a KeyHasher,
    pub(crate) deadlines: &'a Deadlines,
    pub(crate) items: u64,
    pub(crate) used: u64,
    pub(crate) capacity: u64,
    pub(crate) volatile_only: bool,
    pub(crate) volatile_items: u64,
    /// See [`Store::is_measure`].
    pub(crate) is_measure: bool,
    /// Only items of this class.
    pub(crate) class: Option<ClassId>,
    /// Draws for a victim.
    pub(crate) draws: u64,
}

/// A class is common when one item in so many is of it.
const COMMON: u64 = 8;

impl View<'_> {
    #[inline(always)]
    fn size(&self, locator: Locator) -> u32 {
        // By the class: one byte a page of the arena, where a unit would be a line a page.
        match self.arena.class_of(locator) {
            ClassId::SPAN => self.slab.chunk_of(self.arena, locator),
            class => self.classes.chunk_size(class),
        }
    }

    #[inline(always)]
    fn candidate(&self, place: Place, slot: Slot) -> Option<Candidate<Handle>> {
        let locator = slot.locator()?;
        if self.volatile_only && !slot.is_volatile() {
            return None;
        }
        if self.class.is_some_and(|class| self.arena.class_of(locator) != class) {
            return None;
        }
        Some(Candidate { handle: Handle { place, locator }, bits: slot.bits(), size: self.size(locator) })
    }

    /// The item in a chunk, if it is published.
    fn in_chunk(&self, locator: Locator) -> Option<(Place, Slot)> {
        let item = self.slab.item(self.arena, locator);
        if item.is_free() {
            return None;
        }
        self.table.find_locator(self.hasher.hash(item.namespace(), item.key()), locator)
    }

    /// Whether a unit may have candidates.
    fn is_eligible(&self, unit: UnitId) -> bool {
        self.slab.exists(unit)
            && self.slab.unit(unit).with_end > 0
            && self.class.is_none_or(|class| self.slab.unit(unit).class == class)
    }

    /// Up to seven items of a random page of the class.
    fn page_of_class(
        &self,
        at: u64,
        class: ClassId,
        mut wanted: impl FnMut(Bits) -> bool,
        mut each: impl FnMut(Candidate<Handle>),
    ) {
        let (units, r) = (self.slab.units_of(class), crate::policy::mix(at));
        let chosen = (u64::from(r as u32) * units.len() as u64) >> 32;
        let Some(&unit) = units.get(chosen as usize) else { return };
        let items = self.slab.chunks_from(self.arena, unit, (r >> 32) as u32);
        for (place, slot) in items.filter_map(|locator| self.in_chunk(locator)).take(7) {
            if wanted(slot.bits())
                && let Some(candidate) = self.candidate(place, slot)
            {
                each(candidate);
            }
        }
    }

    /// Whether buckets show enough items of a class: a page's items, one by one, cost a look at each and at its bucket.
    fn is_common(&self, class: ClassId) -> bool {
        u64::from(self.slab.classes[class.index()].used) * COMMON >= self.items
    }

    /// Where so many neighbouring buckets begin that a fraction of 2^64 stands for. A table has more than 40.
    #[inline(always)]
    fn first_of(&self, r: u64, count: u64) -> u64 {
        let places = self.table.buckets() + 1 - count;
        ((u128::from(r) * u128::from(places)) >> 64) as u64
    }
}

impl Store for View<'_> {
    type Handle = Handle;

    fn items(&self) -> u64 {
        self.items
    }

    fn eligible(&self) -> u64 {
        if self.volatile_only { self.volatile_items } else { self.items }
    }

    fn is_measure(&self) -> bool {
        self.is_measure
    }

    fn used(&self) -> u64 {
        self.used
    }

    fn capacity(&self) -> u64 {
        self.capacity
    }

    fn largest(&self) -> u32 {
        let in_use = |&(_, state): &(usize, &ClassState)| state.used > 0;
        let largest = self.slab.classes.iter().enumerate().rev().find(in_use);
        let largest = largest.map_or(1, |(class, _)| self.classes.chunk_size(ClassId(class as u8)));
        // Of spans, only the sum is known.
        if self.slab.spans > 0 { self.slab.span_bytes.min(u64::from(u32::MAX)) as u32 } else { largest }
    }

    fn only_size(&self) -> Option<u32> {
        self.class.map(|class| self.classes.chunk_size(class))
    }

    #[inline(always)]
    fn buckets(
        &self,
        r: u64,
        count: u64,
        mut wanted: impl FnMut(Bits) -> bool,
        mut each: impl FnMut(Candidate<Handle>),
    ) {
        if let Some(class) = self.class.filter(|&class| !self.is_common(class)) {
            for i in 0..count {
                self.page_of_class(r.wrapping_add(i), class, &mut wanted, &mut each);
            }
            return;
        }
        let first = self.first_of(r, count);
        for at in first..first + count {
            let wanted = |slot: Slot| wanted(slot.bits());
            self.table.each_wanted(at, wanted, |place, slot| {
                if let Some(candidate) = self.candidate(place, slot) {
                    each(candidate);
                }
            });
        }
    }

    #[inline]
    fn draws(&self) -> u64 {
        self.draws
    }

    #[inline(always)]
    fn prefetch(&self, r: u64, count: u64) {
        let first = self.first_of(r, count);
        for at in first..first + count {
            prefetch(self.table.bucket_address(at));
        }
    }

    #[inline]
    fn prefetch_item(&self, handle: Handle) {
        prefetch(self.table.bucket_address(handle.place.bucket));
        self.arena.prefetch(handle.locator);
    }

    #[inline]
    fn hash(&self, handle: Handle) -> Option<u64> {
        let still = self.table.get(handle.place).locator() == Some(handle.locator);
        still.then(|| {
            let item = self.slab.item(self.arena, handle.locator);
            self.hasher.hash(item.namespace(), item.key())
        })
    }

    #[inline]
    fn get(&self, handle: Handle) -> Option<Candidate<Handle>> {
        let slot = self.table.get(handle.place);
        if slot.locator() != Some(handle.locator) {
            return None;
        }
        self.candidate(handle.place, slot)
    }

    fn find(&self, hash: u64, same: impl Fn(Bits) -> bool) -> Option<Candidate<Handle>> {
        let found = self.table.find(hash, |slot| same(slot.bits()) && (!self.volatile_only || slot.is_volatile()));
        let (place, slot) = found?;
        if let Some(locator) = slot.locator() {
            self.arena.prefetch(locator);
        }
        self.candidate(place, slot)
    }

    fn set_bits(&self, handle: Handle, from: Bits, to: Bits) -> bool {
        let slot = self.table.get(handle.place);
        slot.locator() == Some(handle.locator)
            && slot.bits() == from
            && self.table.update(handle.place, slot, slot.with_bits(to))
    }

    fn deadline(&self, handle: Handle) -> Option<u64> {
        let slot = self.table.get(handle.place);
        if slot.locator() != Some(handle.locator) || !slot.is_volatile() {
            return None;
        }
        Some(self.slab.item(self.arena, handle.locator).ends()).filter(|&end| end != 0)
    }

    fn soonest(&self, mut each: impl FnMut(Candidate<Handle>, u64)) {
        let mut show = |unit: UnitId| {
            let mut shown = false;
            for locator in self.slab.chunks(self.arena, unit) {
                let item = self.slab.item(self.arena, locator);
                if item.is_free() || !item.has_end() {
                    continue;
                }
                if let Some((place, slot)) = self.in_chunk(locator)
                    && let Some(candidate) = self.candidate(place, slot)
                {
                    each(candidate, item.ends());
                    shown = true;
                }
            }
            shown
        };
        let Some((first, _)) = self.deadlines.first() else { return };
        if self.is_eligible(first) && show(first) {
            return;
        }
        // What ends first is of another class, say. There is none only when no page has any.
        let _ = self.deadlines.ascending().skip(1).any(|(unit, _)| self.is_eligible(unit) && show(unit));
    }
}
