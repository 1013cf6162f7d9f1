//! The items of a simulated cache: a store without memory behind it, only who is in and who is not.
//!
//! Items are entries of a dense vector; "buckets" are five or six of them drawn at random, as many as an index bucket
//! at usual load shows.
//!
//! 1. `slots` leads from a hash to its entry; `order` holds the entries in use, each with its place in it.
//! 2. `used` is the sum of the sizes of the entries in use.
//! 3. With lives kept, an item with an end is in `due` at its end or earlier; what else is in there is stale.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::{BuildHasher, Hasher};

use super::{Bits, Candidate, Store, mix};

/// Where an item is, and which of the items that were there one after the other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Handle {
    pub(super) slot: u32,
    birth: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    hash: u64,
    /// 0 while the entry is free.
    birth: u64,
    pub(super) size: u32,
    pub(super) bits: Cell<Bits>,
    /// Its index in `Items::order`; meaningless while the entry is free.
    place: u32,
    /// For a miniature: whose key it is, and whether the next value stored comes from a miss that it did not have.
    pub(super) namespace: u8,
    pub(super) awaits_fill: bool,
}

/// When an item ends, in milliseconds; 0 for never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Life {
    pub(super) deadline: u64,
    pub(super) idle_ms: u64,
    /// The earlier of the deadline and the end of its idling.
    pub(super) end: u64,
}

impl Life {
    /// A life that was last used now.
    pub(super) fn new(deadline: u64, idle_ms: u64, now: u64) -> Life {
        let idle_end = if idle_ms == 0 { 0 } else { now.saturating_add(idle_ms) };
        let end = match (deadline, idle_end) {
            (0, end) | (end, 0) => end,
            (a, b) => a.min(b),
        };
        Life { deadline, idle_ms, end }
    }
}

/// When items end. Takes no memory until the first one does.
#[derive(Debug, Default)]
struct Lives {
    /// By slot; shorter than the entries while none of the later ones has an end.
    of: Vec<Life>,
    /// End, slot and birth of items, the earliest first.
    due: BinaryHeap<Reverse<(u64, u32, u64)>>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Items {
    entries: Vec<Entry>,
    /// Entries in use, dense, so that any can be drawn.
    order: Vec<u32>,
    free: Vec<u32>,
    slots: HashMap<u64, u32, MixedHash>,
    pub(super) capacity: u64,
    used: u64,
    /// Size of the largest item that ever was.
    largest: u32,
    births: u64,
    /// Without, every item counts as having a deadline, the earlier inserted the sooner.
    lives: Option<Lives>,
    /// Only items with an end are shown.
    pub(super) volatile_only: bool,
}

impl Items {
    pub(super) fn new(capacity: u64) -> Items {
        Items { capacity, ..Items::default() }
    }

    /// Items whose ends are kept.
    pub(super) fn with_lives(volatile_only: bool) -> Items {
        Items { lives: Some(Lives::default()), volatile_only, ..Items::default() }
    }

    pub(super) fn slot(&self, hash: u64) -> Option<u32> {
        self.slots.get(&hash).copied()
    }

    pub(super) fn entry(&self, slot: u32) -> &Entry {
        &self.entries[slot as usize]
    }

    pub(super) fn entry_mut(&mut self, slot: u32) -> &mut Entry {
        &mut self.entries[slot as usize]
    }

    pub(super) fn insert(&mut self, hash: u64, size: u32, bits: Bits) -> u32 {
        self.births += 1;
        let place = self.order.len() as u32;
        let bits = Cell::new(bits);
        let entry = Entry { hash, birth: self.births, size, bits, place, namespace: 0, awaits_fill: false };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.entries[slot as usize] = entry;
                slot
            }
            None => {
                grow(&mut self.entries);
                self.entries.push(entry);
                self.entries.len() as u32 - 1
            }
        };
        grow(&mut self.order);
        self.order.push(slot);
        self.slots.insert(hash, slot);
        self.used += u64::from(size);
        self.largest = self.largest.max(size);
        slot
    }

    pub(super) fn remove(&mut self, handle: Handle) -> Option<(u64, Bits)> {
        let entry = self.entries.get_mut(handle.slot as usize).filter(|entry| entry.birth == handle.birth)?;
        let (hash, bits, size, place) = (entry.hash, entry.bits.get(), entry.size, entry.place as usize);
        entry.birth = 0;
        self.order.swap_remove(place);
        if let Some(&moved) = self.order.get(place) {
            self.entries[moved as usize].place = place as u32;
        }
        self.slots.remove(&hash);
        grow(&mut self.free);
        self.free.push(handle.slot);
        self.used -= u64::from(size);
        if let Some(life) = self.lives.as_mut().and_then(|lives| lives.of.get_mut(handle.slot as usize)) {
            *life = Life::default();
        }
        Some((hash, bits))
    }

    /// Gives an item another size.
    pub(super) fn resize(&mut self, slot: u32, size: u32) {
        let before = std::mem::replace(&mut self.entries[slot as usize].size, size);
        self.used = self.used - u64::from(before) + u64::from(size);
        self.largest = self.largest.max(size);
    }

    /// The item in a slot.
    pub(super) fn handle(&self, slot: u32) -> Handle {
        Handle { slot, birth: self.entries[slot as usize].birth }
    }

    /// All items and their hashes, in the order in which they are kept.
    pub(super) fn all(&self) -> impl Iterator<Item = (Handle, &Entry, u64)> {
        self.order.iter().map(|&slot| (self.handle(slot), self.entry(slot), self.entry(slot).hash))
    }

    pub(super) fn life(&self, slot: u32) -> Life {
        let of = self.lives.as_ref().and_then(|lives| lives.of.get(slot as usize));
        of.copied().unwrap_or_default()
    }

    pub(super) fn set_life(&mut self, slot: u32, life: Life) {
        let (before, birth, most) = (self.life(slot), self.entries[slot as usize].birth, 2 * self.order.len() + 64);
        let Some(lives) = &mut self.lives else { return };
        if life == before {
            return;
        }
        if lives.of.len() <= slot as usize {
            lives.of.reserve_exact(self.entries.len() - lives.of.len() + lives.of.len() / 8);
            lives.of.resize(self.entries.len(), Life::default());
        }
        lives.of[slot as usize] = life;
        // An item that ends later than it was to is put back when it turns up.
        if life.end != 0 && (before.end == 0 || life.end < before.end) {
            if lives.due.len() == lives.due.capacity() {
                lives.due.reserve_exact(lives.due.len() / 8 + 16);
            }
            lives.due.push(Reverse((life.end, slot, birth)));
        }
        if lives.due.len() > most {
            let entries = &self.entries;
            lives.due.retain(|&Reverse((_, slot, birth))| entries[slot as usize].birth == birth);
        }
    }

    /// An item whose time is over.
    pub(super) fn over(&mut self, now: u64) -> Option<Handle> {
        loop {
            let lives = self.lives.as_mut()?;
            let &Reverse((end, slot, birth)) = lives.due.peek()?;
            if end > now {
                return None;
            }
            lives.due.pop();
            if self.entries[slot as usize].birth != birth {
                continue;
            }
            match lives.of[slot as usize].end {
                0 => {}
                later if later > now => lives.due.push(Reverse((later, slot, birth))),
                _ => return Some(Handle { slot, birth }),
            }
        }
    }

    /// Gives back the memory of what is not used. Handles from before lead to nothing afterwards.
    pub(super) fn compact(&mut self) {
        let kept: Vec<Entry> = self.order.iter().map(|&slot| self.entries[slot as usize].clone()).collect();
        let lives: Vec<Life> = self.order.iter().map(|&slot| self.life(slot)).collect();
        self.free = Vec::new();
        self.order = (0..kept.len() as u32).collect();
        self.entries = kept;
        self.slots.clear();
        self.slots.shrink_to(self.order.len());
        let mut due = Vec::new();
        for (slot, entry) in (0..).zip(&mut self.entries) {
            self.births += 1;
            (entry.birth, entry.place) = (self.births, slot);
            self.slots.insert(entry.hash, slot);
            let end = lives[slot as usize].end;
            if end != 0 {
                grow(&mut due);
                due.push(Reverse((end, slot, entry.birth)));
            }
        }
        if let Some(kept) = self.lives.as_mut().filter(|kept| !kept.of.is_empty()) {
            *kept = Lives { of: lives, due: due.into() };
        }
    }

    /// Whether any item ever had an end.
    pub(super) fn has_ends(&self) -> bool {
        self.lives.as_ref().is_some_and(|lives| !lives.of.is_empty())
    }

    /// Heap bytes held.
    #[cfg(test)]
    pub(super) fn memory(&self) -> u64 {
        let lives = self.lives.as_ref().map_or(0, |lives| {
            lives.of.capacity() * size_of::<Life>() + lives.due.capacity() * size_of::<(u64, u32, u64)>()
        });
        // The standard library's table has a power of two of buckets, seven of eight in use, and a byte beside each.
        let buckets = (self.slots.capacity() * 8 / 7).next_power_of_two();
        let vectors = self.entries.capacity() * size_of::<Entry>()
            + (self.order.capacity() + self.free.capacity()) * size_of::<u32>();
        (vectors + buckets * (size_of::<(u64, u32)>() + 1) + lives) as u64
    }

    fn candidate(&self, slot: u32) -> Candidate<Handle> {
        let entry = &self.entries[slot as usize];
        Candidate { handle: Handle { slot, birth: entry.birth }, bits: entry.bits.get(), size: entry.size }
    }

    fn is_shown(&self, slot: u32) -> bool {
        !self.volatile_only || self.life(slot).end != 0
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
        for at in (0..count).map(|i| at.wrapping_add(i)) {
            let mut random = mix(at);
            for _ in 0..(5 + random % 2).min(self.order.len() as u64) {
                let place = (u128::from(random) * self.order.len() as u128) >> 64;
                let candidate = self.candidate(self.order[place as usize]);
                if wanted(candidate.bits) && self.is_shown(candidate.handle.slot) {
                    each(candidate);
                }
                random = mix(random.wrapping_add(0x9e37_79b9_7f4a_7c15));
            }
        }
    }

    fn get(&self, handle: Handle) -> Option<Candidate<Handle>> {
        let entry = self.entries.get(handle.slot as usize)?;
        (entry.birth == handle.birth && self.is_shown(handle.slot)).then(|| self.candidate(handle.slot))
    }

    fn find(&self, hash: u64, same: impl Fn(Bits) -> bool) -> Option<Candidate<Handle>> {
        let &slot = self.slots.get(&hash)?;
        let candidate = self.candidate(slot);
        (same(candidate.bits) && self.is_shown(slot)).then_some(candidate)
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
        self.get(handle)?;
        match &self.lives {
            None => Some(handle.birth),
            Some(_) => Some(self.life(handle.slot).end).filter(|&end| end != 0),
        }
    }

    fn soonest(&self, mut each: impl FnMut(Candidate<Handle>, u64)) {
        // The first few of a heap are not the earliest few, but early ones.
        let due = self.lives.iter().flat_map(|lives| lives.due.iter().take(7));
        for &Reverse((_, slot, birth)) in due {
            let handle = Handle { slot, birth };
            if let (Some(candidate), Some(end)) = (self.get(handle), self.deadline(handle)) {
                each(candidate, end);
            }
        }
    }
}

/// Makes room for one more where there is none: by an eighth, since what is unused counts as well.
fn grow<T>(vector: &mut Vec<T>) {
    if vector.len() == vector.capacity() {
        vector.reserve_exact(vector.len() / 8 + 16);
    }
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
