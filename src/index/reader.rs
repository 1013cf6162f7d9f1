//! Reading without a lock: search the table, announce what is found, look again, and then use the bytes in place.
//!
//! Invariant: a [`Pinned`] item's locator stands in one of the session's hazard slots from before the second look at
//! the index slot until it is dropped, so its chunk is not reused (`hazard` has the argument).
#![allow(unsafe_code)]

use std::marker::PhantomData;

use super::hash::Key;
use super::hazard::Session;
use super::table::{Search, Table};
use crate::slab::{Arena, ItemRef, Locator, Slot};
use crate::sync::{AtomicU64, Ordering};

/// Announces the item that an index slot leads to, and looks again: once announced and seen, its bytes stay until the
/// announcement is taken back or replaced. With the slot as it was seen then; `None` for an empty one.
#[inline(always)]
pub(super) fn protect(word: &AtomicU64, session: &Session, hazard: usize) -> Option<(Locator, Slot)> {
    let mut slot = Slot(word.load(Ordering::Acquire));
    loop {
        let locator = slot.locator()?;
        session.announce(hazard, locator);
        slot = Slot(word.load(Ordering::SeqCst));
        if slot.locator() == Some(locator) {
            return Some((locator, slot));
        }
    }
}

/// Changes an index slot's policy bits if it is still as it was seen: then, and only then, the change is to be
/// accounted.
#[inline(always)]
pub(super) fn change(word: &AtomicU64, seen: Slot, to: Slot) -> bool {
    word.compare_exchange(seen.0, to.0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
}

/// A [`Pinned`] taken apart, its hazard slot still taken: what calls that are not inlined return. A whole one that may
/// come from two places goes through memory, which a hit would pay for as much as the rare call.
#[derive(Debug)]
pub(crate) struct Held<'a> {
    word: &'a AtomicU64,
    locator: Locator,
    slot: Slot,
    session: &'a Session,
    hazard: usize,
}

/// An item that stays where it is until this is dropped. Belongs to the thread that made it.
#[derive(Debug)]
pub(crate) struct Pinned<'a> {
    item: ItemRef<'a>,
    value: &'a [u8],
    word: &'a AtomicU64,
    slot: Slot,
    session: &'a Session,
    hazard: usize,
    _this_thread: PhantomData<*const ()>,
}

impl<'a> Pinned<'a> {
    /// Searches for a key. `hazard` is a slot that the caller has taken from the session; it passes to the result, and
    /// is dropped when there is none.
    #[inline(always)]
    pub(crate) fn find(
        table: &'a Table,
        arena: &'a Arena,
        session: &'a Session,
        hazard: usize,
        key: Key<'_>,
    ) -> Search<Pinned<'a>> {
        let found = table.search(key.hash, |word| {
            let (locator, slot) = protect(word, session, hazard)?;
            // SAFETY: protected; the announcement stands until `Pinned` is dropped (or is overwritten when the search
            // goes on to another slot, and this item is not used any more).
            let item = unsafe { arena.item(locator) };
            item.value_of(key.namespace, key.bytes).map(|value| (item, value, word, slot))
        });
        match found {
            Search::Found((item, value, word, slot)) => {
                Search::Found(Pinned { item, value, word, slot, session, hazard, _this_thread: PhantomData })
            }
            Search::Missing => {
                session.drop_hazard(hazard);
                Search::Missing
            }
            Search::Unsure => {
                session.drop_hazard(hazard);
                Search::Unsure
            }
        }
    }

    /// Pins an item that the caller has found under the shard's lock, which it still holds.
    pub(crate) fn hold(
        arena: &'a Arena,
        table: &'a Table,
        place: super::Place,
        slot: Slot,
        session: &'a Session,
        hazard: usize,
    ) -> Option<Pinned<'a>> {
        let Some(locator) = slot.locator() else {
            session.drop_hazard(hazard);
            return None;
        };
        session.announce(hazard, locator);
        // SAFETY: the lock is held, so the item cannot have been replaced before it was announced.
        let item = unsafe { arena.item(locator) };
        let word = table.word(place);
        Some(Pinned { item, value: item.value(), word, slot, session, hazard, _this_thread: PhantomData })
    }

    /// Takes a pin apart without giving up its hazard slot.
    pub(crate) fn into_held(self) -> Option<Held<'a>> {
        let Pinned { word, slot, session, hazard, .. } = self;
        let held = Held { word, locator: slot.locator()?, slot, session, hazard };
        std::mem::forget(self);
        Some(held)
    }

    /// The reverse. `arena` is the one it was pinned in.
    #[inline(always)]
    pub(crate) fn of_held(held: Held<'a>, arena: &'a Arena) -> Pinned<'a> {
        let Held { word, locator, slot, session, hazard } = held;
        // SAFETY: a `Held` is only made of a pin, and announces the item at its locator until this one is dropped.
        let item = unsafe { arena.item(locator) };
        Pinned { item, value: item.value(), word, slot, session, hazard, _this_thread: PhantomData }
    }

    /// The item; no longer than this pin lives.
    #[inline(always)]
    pub(crate) fn item(&self) -> ItemRef<'_> {
        self.item
    }

    /// The index slot as it was seen.
    #[inline(always)]
    pub(crate) fn slot(&self) -> Slot {
        self.slot
    }

    /// Whether the index still leads to this very item.
    pub(crate) fn is_current(&self) -> bool {
        Slot(self.word.load(Ordering::SeqCst)).locator() == self.slot.locator()
    }

    /// Changes the policy's bits if the slot is still as it was seen.
    #[inline(always)]
    pub(crate) fn update(&self, to: Slot) -> bool {
        change(self.word, self.slot, to)
    }

    /// The value, for as long as the pin lives.
    #[inline(always)]
    pub(crate) fn value(&self) -> &[u8] {
        self.value
    }
}

/// An item whose bytes a snapshot has yet to write. It stays where it is until this is [released](Self::release): a pin
/// that is merely dropped holds its item for good.
#[cfg(feature = "snapshot")]
#[derive(Debug)]
pub(crate) struct Kept {
    locator: Locator,
}

#[cfg(feature = "snapshot")]
impl Kept {
    /// Keeps an item that the caller has found in the index under its shard's lock, which it still holds.
    pub(crate) fn new(sessions: &super::Sessions, locator: Locator) -> Kept {
        sessions.pin(locator);
        Kept { locator }
    }

    /// Its value.
    pub(crate) fn value<'a>(&'a self, arena: &'a Arena) -> &'a [u8] {
        // SAFETY: pinned in `new`, when the index led to it, and until `release`, which takes this value away: its
        // chunk is not reused, and a published value's bytes do not change.
        unsafe { arena.item(self.locator) }.value()
    }

    /// Lets the item go.
    pub(crate) fn release(self, sessions: &super::Sessions) {
        sessions.unpin(self.locator);
    }
}

impl Drop for Pinned<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.session.drop_hazard(self.hazard);
    }
}
