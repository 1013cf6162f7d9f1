//! The arena: all pages of a cache in one reserved stretch of address space, and who has which.
//!
//! ```text
//!  page 0     page 1     page 2     page 3 ...
//! ┌──────────┬──────────┬──────────┬──────────────────────┬─ ─ ─ ─ ─ ─ ─ ─
//! │ not used │ class 5  │ pooled   │ span of a large item │ never touched
//! └──────────┴──────────┴──────────┴──────────────────────┴─ ─ ─ ─ ─ ─ ─ ─
//!  page table, beside the arena: class (1 byte) and unit (4 bytes) of each page
//! ```
//! A *unit* is the number under which the owning shard keeps a page's or span's state (`slab::page`).
//!
//! Invariants:
//! 1. A page belongs to the pool, to the free runs, or to one shard. Only the owner writes into it or its table entry.
//! 2. Pooled pages are committed and charged; pages in free runs are neither.
//! 3. Page 0 is never given out, so that no item has locator 0.
//! 4. A span's pages are neighbours; only the operating-system pages that its item reaches into are committed and
//!    charged.
//! 5. The mapping lives as long as the arena, so reading any byte of it is always possible (`slab::os`, invariant 1).
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use super::class::ClassId;
use super::item::ItemRef;
use super::ledger::{Account, Ledger};
use super::locator::{Locator, MAX_ARENA};
use super::os::{Region, os_pages, prefetch};
use crate::error::{Error, ErrorKind, Result};

/// The number of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PageId(pub(crate) u32);

/// Ledger bytes of one page's entries in the page table.
const TABLE_ENTRY: u64 = 5;

/// See the module.
#[derive(Debug)]
pub(crate) struct Arena {
    memory: Region,
    class_table: Region,
    unit_table: Region,
    page_size: usize,
    page_shift: u32,
    page_count: u32,
    free: Mutex<Free>,
    pub(crate) ledger: Ledger,
    commit_failures: AtomicU64,
}

#[derive(Debug)]
struct Free {
    /// First page that was never given out.
    fresh: u32,
    /// Committed pages of no class.
    pool: Vec<PageId>,
    /// The fewest pooled pages there were since the pool was last looked at: nobody has needed so many.
    idle: usize,
    /// Uncommitted stretches that were spans or pages once: start to length.
    runs: BTreeMap<u32, u32>,
}

impl Free {
    fn take_pooled(&mut self) -> Option<PageId> {
        let page = self.pool.pop();
        self.idle = self.idle.min(self.pool.len());
        page
    }

    /// Takes `n` neighbouring uncommitted pages: from a run if one is long enough, else fresh.
    fn take_run(&mut self, n: u32, page_count: u32) -> Option<PageId> {
        let found = self.runs.iter().find(|&(_, &len)| len >= n).map(|(&start, &len)| (start, len));
        if let Some((start, len)) = found {
            self.runs.remove(&start);
            if len > n {
                self.runs.insert(start + n, len - n);
            }
            return Some(PageId(start));
        }
        let end = self.fresh.checked_add(n).filter(|&end| end <= page_count)?;
        let start = self.fresh;
        self.fresh = end;
        Some(PageId(start))
    }

    /// Puts a stretch back, joined with its neighbours.
    fn put_run(&mut self, start: PageId, n: u32) {
        let (mut start, mut len) = (start.0, n);
        if let Some((&before, &l)) = self.runs.range(..start).next_back()
            && before + l == start
        {
            self.runs.remove(&before);
            start = before;
            len += l;
        }
        if let Some(l) = self.runs.remove(&(start + len)) {
            len += l;
        }
        if start + len == self.fresh {
            self.fresh = start;
        } else {
            self.runs.insert(start, len);
        }
    }
}

impl Arena {
    /// Reserves `address_space` bytes, to be cut into pages of `page_size` (a power of two).
    pub(crate) fn new(
        ledger: Ledger,
        address_space: usize,
        page_size: usize,
        huge_pages: bool,
        lock_memory: bool,
    ) -> Result<Arena> {
        let page_count = (address_space.min(MAX_ARENA) / page_size).min(u32::MAX as usize) as u32;
        let arena = Arena {
            memory: Region::reserve(page_count as usize * page_size, huge_pages, lock_memory)?,
            class_table: Region::reserve(page_count as usize, false, false)?,
            unit_table: Region::reserve(page_count as usize * 4, false, false)?,
            page_size,
            page_shift: page_size.trailing_zeros(),
            page_count,
            free: Mutex::new(Free { fresh: 1, pool: Vec::new(), idle: 0, runs: BTreeMap::new() }),
            ledger,
            commit_failures: AtomicU64::new(0),
        };
        Ok(arena)
    }

    pub(crate) fn page_size(&self) -> usize {
        self.page_size
    }

    /// Bytes of address space that items can have at most.
    pub(crate) fn address_space(&self) -> usize {
        self.memory.len()
    }

    /// How often the system refused to commit memory.
    pub(crate) fn commit_failures(&self) -> u64 {
        self.commit_failures.load(Relaxed)
    }

    /// Committed pages that belong to nobody at the moment.
    pub(crate) fn pooled_bytes(&self) -> u64 {
        self.free.lock().pool.len() as u64 * self.page_size as u64
    }

    #[inline(always)]
    pub(super) fn base_of(&self, locator: Locator) -> *mut u8 {
        debug_assert!(locator.offset() < self.memory.len());
        // SAFETY: locators are made from offsets inside the arena, by this module and `slab::page` only.
        unsafe { self.memory.base().add(locator.offset()) }
    }

    /// Where an item starts, for a prefetch.
    #[inline(always)]
    pub(crate) fn address(&self, locator: Locator) -> *const u8 {
        self.base_of(locator)
    }

    /// The item at `locator`.
    ///
    /// # Safety
    /// For the lifetime of the result, the locator names a published item that is protected from reuse: by a hazard
    /// slot that was announced before the index slot was seen to hold the locator, or by the lock of the shard that
    /// owns it.
    #[inline(always)]
    pub(crate) unsafe fn item(&self, locator: Locator) -> ItemRef<'_> {
        // SAFETY: passed on to the caller; chunks start at multiples of 8.
        unsafe { ItemRef::at(self.base_of(locator)) }
    }

    #[inline(always)]
    fn class_entry(&self, page: PageId) -> &AtomicU8 {
        debug_assert!(page.0 < self.page_count);
        // SAFETY: the table has a byte a page, is zero at first, and is only used through atomics.
        unsafe { &*self.class_table.base().add(page.0 as usize).cast::<AtomicU8>() }
    }

    #[inline(always)]
    fn unit_entry(&self, page: PageId) -> &AtomicU32 {
        debug_assert!(page.0 < self.page_count);
        // SAFETY: the table has four bytes a page, is zero at first, and is only used through atomics.
        unsafe { &*self.unit_table.base().cast::<AtomicU32>().add(page.0 as usize) }
    }

    /// Asks for the first lines of an item, or of a chunk to be written: header, key, start of the value.
    #[inline(always)]
    pub(crate) fn prefetch(&self, locator: Locator) {
        let at = self.address(locator);
        prefetch(at);
        prefetch(at.wrapping_add(64));
    }

    #[inline(always)]
    pub(crate) fn page_of(&self, locator: Locator) -> PageId {
        PageId((locator.offset() >> self.page_shift) as u32)
    }

    pub(crate) fn page_start(&self, page: PageId) -> usize {
        (page.0 as usize) << self.page_shift
    }

    #[inline(always)]
    pub(crate) fn class_of(&self, locator: Locator) -> ClassId {
        ClassId(self.class_entry(self.page_of(locator)).load(Relaxed))
    }

    #[inline(always)]
    pub(super) fn unit_of(&self, locator: Locator) -> u32 {
        self.unit_entry(self.page_of(locator)).load(Relaxed)
    }

    pub(super) fn set_owner(&self, page: PageId, class: ClassId, unit: u32) {
        self.class_entry(page).store(class.0, Relaxed);
        self.unit_entry(page).store(unit, Relaxed);
    }

    /// A committed page, from the pool or new. None if the ledger has no room for one.
    pub(crate) fn take_page(&self) -> Result<Option<PageId>> {
        if let Some(page) = self.free.lock().take_pooled() {
            return Ok(Some(page));
        }
        if !self.ledger.charge(Account::Slab, self.page_size as u64 + TABLE_ENTRY) {
            return Ok(None);
        }
        self.commit_page().map(Some)
    }

    /// A committed page although the ledger has no room: one page over it at most, for what must not fail and gives as
    /// much back at once.
    pub(crate) fn take_page_over(&self) -> Result<Option<PageId>> {
        if self.ledger.excess() > self.page_size as u64 {
            return Ok(None);
        }
        self.ledger.force(Account::Slab, self.page_size as u64 + TABLE_ENTRY);
        self.commit_page().map(Some)
    }

    /// A page of fresh memory, charged already; the charge is taken back on an error.
    fn commit_page(&self) -> Result<PageId> {
        let page = self.free.lock().take_run(1, self.page_count);
        let committed = page.ok_or_else(|| self.no_address_space()).and_then(|page| {
            self.memory.commit(self.page_start(page), self.page_size).map(|()| page).inspect_err(|_| {
                self.memory.give_back(self.page_start(page), self.page_size);
                self.commit_failures.fetch_add(1, Relaxed);
                self.free.lock().put_run(page, 1);
            })
        });
        committed.inspect_err(|_| self.ledger.release(Account::Slab, self.page_size as u64 + TABLE_ENTRY))
    }

    /// Takes back a page without items. It stays committed for the next taker unless the ledger is over its limit.
    pub(crate) fn release_page(&self, page: PageId) {
        self.set_owner(page, ClassId::NONE, 0);
        if self.ledger.excess() > 0 {
            self.decommit_page(page);
        } else {
            self.free.lock().pool.push(page);
        }
    }

    fn decommit_page(&self, page: PageId) {
        self.memory.give_back(self.page_start(page), self.page_size);
        self.ledger.release(Account::Slab, self.page_size as u64 + TABLE_ENTRY);
        self.free.lock().put_run(page, 1);
    }

    /// Gives pooled pages back to the system until `bytes` more can be charged or the pool is empty; at most 64 of
    /// them.
    pub(crate) fn trim_pool(&self, bytes: u64) {
        for _ in 0..64 {
            if self.ledger.used() + bytes <= self.ledger.room() {
                return;
            }
            let Some(page) = self.free.lock().take_pooled() else { return };
            self.decommit_page(page);
        }
    }

    /// Begins a new period of watching the pool; returns how many pages nobody has needed in the one that ends.
    pub(crate) fn watch_pool(&self) -> usize {
        let mut free = self.free.lock();
        let idle = free.idle;
        free.idle = free.pool.len();
        idle
    }

    /// Gives one pooled page back to the system; false if there is none.
    pub(crate) fn give_back_pooled(&self) -> bool {
        let page = self.free.lock().take_pooled();
        if let Some(page) = page {
            self.decommit_page(page);
        }
        page.is_some()
    }

    /// Ledger bytes of a span for an item of `len` bytes.
    pub(crate) fn span_charge(&self, len: usize) -> u64 {
        self.span_bytes(len) as u64 + len.div_ceil(self.page_size) as u64 * TABLE_ENTRY
    }

    /// Bytes of memory behind a span: whole operating-system pages, but never more than its pages (which tests make
    /// smaller).
    fn span_bytes(&self, len: usize) -> usize {
        os_pages(len).min(len.next_multiple_of(self.page_size))
    }

    /// Fresh address space for one item of `len` bytes, committed. Its charge was made by the caller, and stays with
    /// it on an error.
    pub(crate) fn take_span(&self, len: usize) -> Result<PageId> {
        let n = len.div_ceil(self.page_size) as u32;
        let page = self.free.lock().take_run(n, self.page_count).ok_or_else(|| self.no_address_space())?;
        self.memory.commit(self.page_start(page), len).inspect_err(|_| {
            self.memory.give_back(self.page_start(page), self.span_bytes(len));
            self.commit_failures.fetch_add(1, Relaxed);
            self.free.lock().put_run(page, n);
        })?;
        for i in 0..n {
            self.set_owner(PageId(page.0 + i), ClassId::SPAN, 0);
        }
        Ok(page)
    }

    /// Gives a span back, memory and charge.
    pub(crate) fn release_span(&self, page: PageId, len: usize) {
        let n = len.div_ceil(self.page_size) as u32;
        for i in 0..n {
            self.set_owner(PageId(page.0 + i), ClassId::NONE, 0);
        }
        self.memory.give_back(self.page_start(page), self.span_bytes(len));
        self.ledger.release(Account::Slab, self.span_charge(len));
        self.free.lock().put_run(page, n);
    }

    fn no_address_space(&self) -> Error {
        Error::new(
            ErrorKind::OutOfMemory,
            format!("the {} bytes of reserved address space are used up; build the cache with more", self.memory.len()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arena(limit: u64) -> Arena {
        Arena::new(Ledger::new(limit, 0), 1 << 20, 4096, false, false).unwrap()
    }

    #[test]
    fn pages_come_until_the_ledger_is_full_and_pool_when_released() {
        let arena = arena(3 * (4096 + TABLE_ENTRY));
        let pages: Vec<_> = std::iter::from_fn(|| arena.take_page().unwrap()).collect();
        assert_eq!(pages.len(), 3);
        assert!(pages.iter().all(|p| p.0 > 0));
        arena.release_page(pages[1]);
        assert_eq!(arena.pooled_bytes(), 4096);
        assert_eq!(arena.take_page().unwrap(), Some(pages[1]));
        arena.release_page(pages[1]);
        arena.trim_pool(4096);
        assert_eq!(arena.pooled_bytes(), 0);
        assert!(arena.ledger.charge(Account::Index, 4096));
    }

    #[test]
    fn spans_are_contiguous_and_join_again() {
        let arena = arena(1 << 20);
        let mut spans = Vec::new();
        for len in [5000, 12_288, 4097] {
            assert!(arena.ledger.charge(Account::Slab, arena.span_charge(len)));
            spans.push((arena.take_span(len).unwrap(), len));
        }
        assert_eq!(spans[1].0.0, spans[0].0.0 + 2);
        for (page, len) in spans {
            arena.release_span(page, len);
        }
        let free = arena.free.lock();
        assert_eq!((arena.ledger.used(), free.fresh, free.runs.len()), (0, 1, 0));
    }

    #[test]
    fn a_refused_commit_changes_nothing() {
        let arena = arena(1 << 20);
        super::super::os::faults::fail_after_commits(0);
        assert_eq!(arena.take_page().unwrap_err().kind(), ErrorKind::Os);
        super::super::os::faults::fail_after_commits(u64::MAX);
        assert_eq!((arena.ledger.used(), arena.commit_failures()), (0, 1));
        assert!(arena.take_page().unwrap().is_some());
    }
}
