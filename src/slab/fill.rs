//! A value that is written from outside, piece by piece, before anybody can see it.
//!
//! Invariants:
//! 1. The chunk is allocated, pinned (its page does not move) and unpublished for as long as its `Filling` exists: the
//!    bytes are this value's alone, so they are written without a lock.
//! 2. It is published only when every byte was written (`engine::reserve`), so that no item holds another's data.
#![allow(unsafe_code)]

use std::sync::Arc;

use super::arena::Arena;
use super::locator::Locator;
use super::page::Slab;

/// The unpublished value of a reserved item.
#[derive(Debug)]
pub(crate) struct Filling {
    locator: Locator,
    at: *mut u8,
    len: usize,
    filled: usize,
    /// Keeps the mapping alive.
    _arena: Arc<Arena>,
}

// SAFETY: invariant 1 - the bytes behind `at` belong to this value alone, whichever thread has it.
unsafe impl Send for Filling {}

impl Filling {
    /// Takes over the value of the item at `locator`, which is allocated and unpublished. Pins its unit.
    pub(crate) fn new(slab: &mut Slab, arena: &Arc<Arena>, locator: Locator) -> Filling {
        let (at, len) = slab.value_place(arena, locator);
        let unit = slab.unit_of(arena, locator);
        slab.unit_mut(unit).pinned += 1;
        arena.hold_spans(0, slab.span_charge(arena, locator));
        Filling { locator, at, len, filled: 0, _arena: Arc::clone(arena) }
    }

    /// Ends the filling: unpins the unit and hands the chunk back to be published or freed.
    pub(crate) fn finish(self, slab: &mut Slab, arena: &Arena) -> Locator {
        let unit = slab.unit_of(arena, self.locator);
        slab.unit_mut(unit).pinned -= 1;
        arena.hold_spans(slab.span_charge(arena, self.locator), 0);
        self.locator
    }

    pub(crate) fn locator(&self) -> Locator {
        self.locator
    }

    /// What was filled so far.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: these bytes were written by `push`; invariant 1 - nobody else writes them while this is borrowed.
        unsafe { std::slice::from_raw_parts(self.at, self.filled) }
    }

    /// The place of the bytes that are still to come, to be written by whoever reads them from outside. What is there
    /// now is of no meaning.
    #[cfg_attr(not(feature = "memcached"), allow(dead_code))]
    pub(crate) fn rest(&mut self) -> &mut [u8] {
        // SAFETY: `filled <= len`, all of it inside the chunk, which is committed memory and so is initialised;
        // invariant 1 - nobody else reads or writes it while this is borrowed.
        unsafe { std::slice::from_raw_parts_mut(self.at.add(self.filled), self.len - self.filled) }
    }

    /// Takes note of `n` bytes that were written to [`rest`](Self::rest), and are the value's.
    #[cfg_attr(not(feature = "memcached"), allow(dead_code))]
    pub(crate) fn advance(&mut self, n: usize) {
        self.filled += n.min(self.len - self.filled);
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn filled(&self) -> usize {
        self.filled
    }

    /// Appends as much of `bytes` as there is room for; says how much that was.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(self.len - self.filled);
        // SAFETY: `filled + n <= len`, and invariant 1.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.at.add(self.filled), n) };
        self.filled += n;
        n
    }
}
