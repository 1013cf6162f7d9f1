//! Which tags were invalidated, and when: what makes `invalidate_tag` one store, however many items have the tag.
//!
//! Invalidations are numbered. An item with tags carries the number of the last one before it was stored; it has gone
//! when one of its tags was invalidated under a higher number. So a read of a tagged item looks its tags up here,
//! unless nothing was invalidated since it was stored, which one load tells. Items without tags never come here.
//!
//! ```text
//!  half 0                                   half 1
//! ┌──────────┬──────────┬──────────┬───┐   ┌──────────┬──────────┬───┐
//! │ tag, no. │    --    │ tag, no. │...│   │ tag, no. │    --    │...│    open addressing, at most 3/4 full
//! └──────────┴──────────┴──────────┴───┘   └──────────┴──────────┴───┘
//!  new ones go here                         these wait for the sweep of all items, and are dropped after it
//! ```
//! The table is bounded. When the half in use is full, the other one is emptied and used on; that may be done when
//! every shard was swept for the invalidations in it, because no item that they concern is left. If the sweep has not
//! come so far, the invalidation that needs the room sweeps.
//!
//! Why exact tags and not a table of numbers indexed by a few bits of a tag's hash, which would need no sweep: there,
//! each invalidation makes all the items miss that share the place, and a cache that logs out a thousand users a
//! second would soon lose everything. Why two halves: entries are never removed one by one, so a reader without a lock
//! never looks past one that is there.
//!
//! Invariants:
//! 1. An entry is there before its number can be seen in `sequence`, so who sees the number sees the entry.
//! 2. Within a half, an entry stays in its place until the half is emptied. Its number is written before its tag, and
//!    its tag is taken away before anything else is.
//! 3. A half is emptied only after every shard was swept for `newest` of it. A reader that held an item all the while
//!    would find nothing here of its invalidation; so one that finds nothing looks whether the index still leads to the
//!    item (`shard::read`). If it does, the sweep had not removed it, so the half had not been emptied, when it looked
//!    here.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use parking_lot::Mutex;

use crate::slab::{Account, ItemRef, Ledger};

/// An entry: a tag's hash, 0 for none, and the number of its last invalidation.
#[derive(Debug, Default)]
struct Entry {
    tag: AtomicU64,
    number: AtomicU64,
}

#[derive(Debug, Default, Clone, Copy)]
struct HalfState {
    used: usize,
    /// The highest number in it.
    newest: u64,
}

#[derive(Debug, Default)]
struct State {
    halves: [HalfState; 2],
    /// The half that new entries go to.
    active: usize,
    /// While a snapshot is under way: how it was when that began.
    #[cfg(feature = "snapshot")]
    before: Option<Before>,
}

/// What a snapshot has to know of the past: the numbers that tags had at its cut, of those that were invalidated both
/// before the cut and after. For all others, the table itself tells.
#[cfg(feature = "snapshot")]
#[derive(Debug)]
struct Before {
    cut: u64,
    numbers: std::collections::HashMap<u64, u64>,
}

/// Bytes charged for a tag that is remembered for a snapshot.
#[cfg(feature = "snapshot")]
const REMEMBERED: u64 = 48;

/// See the module.
#[derive(Debug)]
pub(crate) struct TagTable {
    /// Number of the last invalidation.
    sequence: AtomicU64,
    /// Made by the first invalidation.
    halves: OnceLock<[Box<[Entry]>; 2]>,
    state: Mutex<State>,
    /// Entries of a half: a power of two.
    slots: usize,
}

impl TagTable {
    /// A table for a cache of this limit: about a thousandth of it, once it is used.
    pub(crate) fn new(max_memory: u64) -> TagTable {
        let slots = (max_memory / 1024 / (2 * size_of::<Entry>() as u64)).clamp(32, 1 << 16) as usize;
        TagTable {
            sequence: AtomicU64::new(0),
            halves: OnceLock::new(),
            state: Mutex::new(State::default()),
            slots: slots.next_power_of_two(),
        }
    }

    /// Goes on from an earlier table's number, with nothing left that its invalidations concern.
    pub(crate) fn go_on_from(&self, number: u64) {
        self.sequence.store(number, Release);
    }

    /// The number of the last invalidation.
    #[inline]
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence.load(Acquire)
    }

    /// The number of a tag's last invalidation, as far as it is still known.
    fn last(half: &[Entry], tag: u64) -> u64 {
        'again: loop {
            let mut at = tag as usize;
            loop {
                let entry = &half[at & (half.len() - 1)];
                match entry.tag.load(Acquire) {
                    0 => return 0,
                    found if found == tag => {
                        let number = entry.number.load(Acquire);
                        // It may have been emptied and given to another tag in between.
                        if entry.tag.load(Relaxed) == tag {
                            return number;
                        }
                        continue 'again;
                    }
                    _ => at = at.wrapping_add(1),
                }
            }
        }
    }

    /// Whether anything was invalidated since a tagged item was stored.
    #[inline]
    pub(crate) fn is_newer_than(&self, item: ItemRef<'_>) -> bool {
        item.sequence() < self.sequence()
    }

    /// Whether one of an item's tags was invalidated since it was stored.
    pub(crate) fn has_invalidated(&self, item: ItemRef<'_>) -> bool {
        if !item.is_tagged() || !self.is_newer_than(item) {
            return false;
        }
        let (Some(halves), stored) = (self.halves.get(), item.sequence()) else { return false };
        item.tags().as_slice().iter().any(|&tag| halves.iter().any(|half| Self::last(half, tag) > stored))
    }

    /// Invalidates a tag. `swept` is the number up to which all shards were swept. An error if there is no room until
    /// they are swept up to the number in it.
    pub(crate) fn invalidate(&self, tag: u64, swept: u64, ledger: &Ledger) -> Result<(), u64> {
        let mut state = self.state.lock();
        let halves = self.halves.get_or_init(|| {
            ledger.force(Account::Side, (2 * self.slots * size_of::<Entry>()) as u64);
            let half = || (0..self.slots).map(|_| Entry::default()).collect();
            [half(), half()]
        });
        let number = self.sequence.load(Relaxed) + 1;
        let is_full = |state: &State| state.halves[state.active].used >= self.slots / 4 * 3;
        if is_full(&state) && Self::last(&halves[state.active], tag) == 0 {
            let other = 1 - state.active;
            if state.halves[other].used > 0 {
                if state.halves[other].newest > swept {
                    return Err(state.halves[other].newest);
                }
                Self::empty(&halves[other], &mut state.halves[other]);
            }
            state.active = other;
        }
        #[cfg(feature = "snapshot")]
        if let Some(before) = &mut state.before {
            let last = halves.iter().map(|half| Self::last(half, tag)).max().unwrap_or_default();
            if last != 0 && last <= before.cut && before.numbers.insert(tag, last).is_none() {
                ledger.force(Account::Side, REMEMBERED);
            }
        }
        let active = state.active;
        let mut at = tag as usize;
        loop {
            let entry = &halves[active][at & (self.slots - 1)];
            let found = entry.tag.load(Relaxed);
            if found == 0 || found == tag {
                entry.number.store(number, Release);
                entry.tag.store(tag, Release);
                state.halves[active].used += usize::from(found == 0);
                break;
            }
            at = at.wrapping_add(1);
        }
        state.halves[active].newest = number;
        self.sequence.store(number, Release);
        Ok(())
    }

    /// Begins to remember how it is now, for a snapshot. The number of the last invalidation.
    #[cfg(feature = "snapshot")]
    pub(crate) fn cut(&self) -> u64 {
        let mut state = self.state.lock();
        let cut = self.sequence.load(Relaxed);
        state.before = Some(Before { cut, numbers: std::collections::HashMap::new() });
        cut
    }

    /// Forgets what was remembered for a snapshot.
    #[cfg(feature = "snapshot")]
    pub(crate) fn forget_cut(&self, ledger: &Ledger) {
        if let Some(before) = self.state.lock().before.take() {
            ledger.release(Account::Side, before.numbers.len() as u64 * REMEMBERED);
        }
    }

    /// Whether one of an item's tags had been invalidated since it was stored when a snapshot's `cut` was made.
    #[cfg(feature = "snapshot")]
    pub(crate) fn had_invalidated(&self, item: ItemRef<'_>, cut: u64) -> bool {
        let stored = item.sequence();
        let (true, Some(halves)) = (stored < cut, self.halves.get()) else { return false };
        let state = self.state.lock();
        let at_cut = |tag: u64| {
            let last = halves.iter().map(|half| Self::last(half, tag)).max().unwrap_or_default();
            let before = || state.before.as_ref().and_then(|before| before.numbers.get(&tag)).copied();
            if last <= cut { last } else { before().unwrap_or_default() }
        };
        item.tags().as_slice().iter().any(|&tag| at_cut(tag) > stored)
    }

    /// Drops what concerns no item any more, because all shards were swept up to `swept`.
    pub(crate) fn drop_old(&self, swept: u64) {
        let Some(halves) = self.halves.get() else { return };
        let mut state = self.state.lock();
        for (half, of) in halves.iter().zip(&mut state.halves) {
            if of.used > 0 && of.newest <= swept {
                Self::empty(half, of);
            }
        }
    }

    fn empty(half: &[Entry], state: &mut HalfState) {
        half.iter().for_each(|entry| entry.tag.store(0, Release));
        *state = HalfState::default();
    }

    /// Entries that are there.
    pub(crate) fn len(&self) -> usize {
        self.state.lock().halves.iter().map(|half| half.used).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(table: &TagTable, tag: u64) -> u64 {
        table.halves.get().map_or(0, |halves| halves.iter().map(|half| TagTable::last(half, tag)).max().unwrap_or(0))
    }

    #[test]
    fn a_full_half_waits_for_the_sweep_of_the_other() {
        let (table, ledger) = (TagTable::new(0), Ledger::new(1 << 20, 0));
        assert_eq!((table.slots, ledger.used(), table.len()), (32, 0, 0));
        // Two halves of 24 entries each; tags that all want the same place.
        for i in 1..=48 {
            assert_eq!(table.invalidate(i * 32, 0, &ledger), Ok(()));
            assert_eq!((table.sequence(), last(&table, i * 32)), (i, i));
        }
        assert!(ledger.used() > 0);
        assert_eq!(table.invalidate(49 * 32, 23, &ledger), Err(24), "the first 24 are still needed");
        assert_eq!(table.invalidate(48 * 32, 0, &ledger), Ok(()), "what is there needs no room");
        assert_eq!(last(&table, 48 * 32), 49);
        assert_eq!(table.invalidate(49 * 32, 24, &ledger), Ok(()));
        assert_eq!((last(&table, 32), last(&table, 25 * 32), last(&table, 49 * 32)), (0, 25, 50));
        table.drop_old(49);
        assert_eq!((table.len(), last(&table, 25 * 32), last(&table, 49 * 32)), (1, 0, 50));
        table.drop_old(50);
        assert_eq!((table.len(), last(&table, 49 * 32), table.sequence()), (0, 0, 50));
    }

    #[test]
    fn a_tag_in_both_halves_counts_by_its_last_number() {
        let (table, ledger) = (TagTable::new(0), Ledger::new(1 << 20, 0));
        for i in 1..=24 {
            table.invalidate(i, 0, &ledger).unwrap();
        }
        table.invalidate(1000, 0, &ledger).unwrap();
        table.invalidate(1, 0, &ledger).unwrap();
        assert_eq!(last(&table, 1), 26);
    }
}
