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
//! 2. Pooled pages and pooled spans are committed and charged; pages in free runs are neither.
//! 3. Page 0 is never given out, so that no item has locator 0.
//! 4. A span's pages are neighbours; only the operating-system pages that its item reaches into are committed and
//!    charged.
//! 5. The mapping lives as long as the arena, so reading any byte of it is always possible (`slab::os`, invariant 1).
#![allow(unsafe_code)]

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use super::class::ClassId;
use super::item::ItemRef;
use super::ledger::{Account, Ledger};
use super::locator::{Locator, MAX_ARENA};
use super::os::{OS_PAGE, Region, os_pages, prefetch};
use crate::error::{Error, ErrorKind, Result};

/// The number of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PageId(pub(crate) u32);

/// Ledger bytes of one page's entries in the page table.
const TABLE_ENTRY: u64 = 5;
/// Spans in the pool at most, and the part of the limit that they may hold.
const MOST_POOLED_SPANS: usize = 32;
const POOLED_SPANS_SHARE: u64 = 64;

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
    /// Ledger bytes of spans that no eviction can free: being filled, or out of the index and still read.
    held_spans: AtomicU64,
}

#[derive(Debug, Default)]
struct Free {
    /// First page that was never given out.
    fresh: u32,
    /// Committed pages of no class.
    pool: Vec<PageId>,
    /// Committed spans of no item, the oldest first: a span's memory costs more to get than to fill.
    spans: VecDeque<PooledSpan>,
    /// Bytes of them.
    span_bytes: u64,
    /// The fewest pooled pages and spans there were since the pool was last looked at: nobody has needed so many.
    idle: Pieces,
    /// What was found idle then and was not given back yet.
    surplus: Pieces,
    /// Uncommitted stretches that were spans or pages once: start to length.
    runs: BTreeMap<u32, u32>,
}

/// Memory for large items that was found while no shard was locked.
#[derive(Debug, Default)]
pub(crate) struct Prepaid {
    /// Charged, and nobody's yet.
    pub(crate) bytes: u64,
    /// A committed span that is too large to be committed under a lock, and the length it is for. Charged beside
    /// `bytes`.
    span: Option<(PageId, usize)>,
    /// Spans of any size are committed where they are needed.
    pub(crate) at_once: bool,
}

impl Prepaid {
    /// For who needs several spans at once, and would lose the first for the second.
    pub(crate) fn at_once() -> Prepaid {
        Prepaid { at_once: true, ..Prepaid::default() }
    }

    /// The span that was taken for an item of `len` bytes.
    pub(crate) fn take_span(&mut self, len: usize) -> Option<PageId> {
        self.span.take_if(|(_, of)| *of == len).map(|(page, _)| page)
    }
}

/// Neighbouring pages that belong to one unit, and the bytes of them that are committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) page: PageId,
    pub(crate) pages: u32,
    pub(crate) bytes: usize,
}

#[derive(Debug, Clone, Copy)]
struct PooledSpan {
    page: PageId,
    /// The length it was made for.
    len: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Pieces {
    pages: usize,
    spans: usize,
}

/// Counts one less; false if there was none.
fn take_one(count: &mut usize) -> bool {
    let some = *count > 0;
    *count -= usize::from(some);
    some
}

impl Free {
    fn take_pooled(&mut self) -> Option<PageId> {
        let page = self.pool.pop();
        self.idle.pages = self.idle.pages.min(self.pool.len());
        page
    }

    fn take_pooled_span(&mut self, at: usize, bytes: impl FnOnce(usize) -> usize) -> Option<PooledSpan> {
        let span = self.spans.remove(at)?;
        self.span_bytes -= bytes(span.len) as u64;
        self.idle.spans = self.idle.spans.min(self.spans.len());
        Some(span)
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
    #[cfg(test)]
    pub(crate) fn new(
        ledger: Ledger,
        address_space: usize,
        page_size: usize,
        huge_pages: bool,
        lock_memory: bool,
    ) -> Result<Arena> {
        Arena::over(None, ledger, address_space, page_size, huge_pages, lock_memory)
    }

    /// The same, of the bytes of a file if there is one.
    pub(crate) fn over(
        file: Option<File>,
        ledger: Ledger,
        address_space: usize,
        page_size: usize,
        huge_pages: bool,
        lock_memory: bool,
    ) -> Result<Arena> {
        let page_count = (address_space.min(MAX_ARENA) / page_size).min(u32::MAX as usize) as u32;
        let len = page_count as usize * page_size;
        let arena = Arena {
            memory: match file {
                Some(file) => Region::over(file, len, huge_pages, lock_memory)?,
                None => Region::reserve(len, huge_pages, lock_memory)?,
            },
            class_table: Region::reserve(page_count as usize, false, false)?,
            unit_table: Region::reserve(page_count as usize * 4, false, false)?,
            page_size,
            page_shift: page_size.trailing_zeros(),
            page_count,
            free: Mutex::new(Free { fresh: 1, ..Free::default() }),
            ledger,
            commit_failures: AtomicU64::new(0),
            held_spans: AtomicU64::new(0),
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

    /// Bytes that large values could have if everything that may leave did: not those of copies, and of spans that no
    /// eviction can free.
    pub(crate) fn obtainable(&self) -> u64 {
        self.ledger.room().saturating_sub(self.ledger.of(Account::Side) + self.held_spans.load(Relaxed))
    }

    /// More spans that no eviction can free, or fewer: the bytes of some of them as they were and are.
    pub(crate) fn hold_spans(&self, before: u64, now: u64) {
        self.held_spans.fetch_add(now.wrapping_sub(before), Relaxed);
    }

    /// Committed pages and spans that belong to nobody at the moment.
    pub(crate) fn pooled_bytes(&self) -> u64 {
        let free = self.free.lock();
        free.pool.len() as u64 * self.page_size as u64 + free.span_bytes
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

    pub(crate) fn page_count(&self) -> u32 {
        self.page_count
    }

    /// Takes over pages and spans that hold items already (sorted by page), in an arena of which nothing was given out
    /// yet. All else is given back to the system; nothing is charged. Says what is wrong with them, if anything is.
    pub(crate) fn adopt(&self, held: &[Stretch]) -> std::result::Result<(), String> {
        let mut free = Free { fresh: 1, ..Free::default() };
        for stretch in held {
            let (page, end) = (stretch.page.0, u64::from(stretch.page.0) + u64::from(stretch.pages));
            if page < free.fresh || stretch.pages == 0 || end > u64::from(self.page_count) {
                return Err(format!("page {page} is named twice, or outside of the memory"));
            }
            if page > free.fresh {
                free.runs.insert(free.fresh, page - free.fresh);
            }
            free.fresh = end as u32;
        }
        let mut at = OS_PAGE.max(self.page_size);
        let mut whole: Option<(usize, usize)> = None;
        for stretch in held {
            let start = self.page_start(stretch.page);
            self.memory.give_back(at, start.saturating_sub(at));
            at = start + stretch.bytes;
            // Neighbours are allocated at once.
            whole = match whole {
                Some((from, to)) if to == start => Some((from, at)),
                Some((from, to)) => {
                    self.memory.keep(from, to - from).map_err(|e| e.to_string())?;
                    Some((start, at))
                }
                None => Some((start, at)),
            };
        }
        if let Some((from, to)) = whole {
            self.memory.keep(from, to - from).map_err(|e| e.to_string())?;
        }
        self.memory.give_back(at, self.memory.len().saturating_sub(at));
        *self.free.lock() = free;
        Ok(())
    }

    /// Takes back an adopted page or span in which there are no items. It is not charged yet.
    pub(super) fn disown(&self, stretch: Stretch) {
        for i in 0..stretch.pages {
            self.set_owner(PageId(stretch.page.0 + i), ClassId::NONE, 0);
        }
        self.memory.give_back(self.page_start(stretch.page), stretch.bytes);
        self.free.lock().put_run(stretch.page, stretch.pages);
    }

    /// Nothing is given out, and everything but the first page goes back to the system.
    pub(crate) fn forget(&self) {
        let start = OS_PAGE.max(self.page_size);
        self.memory.give_back(start, self.memory.len().saturating_sub(start));
        *self.free.lock() = Free { fresh: 1, ..Free::default() };
    }

    /// Bytes of memory behind a stretch of a class's page, or of a span for an item of `len` bytes.
    pub(crate) fn stretch(&self, page: PageId, span: Option<usize>) -> Stretch {
        match span {
            None => Stretch { page, pages: 1, bytes: self.page_size },
            Some(len) => Stretch { page, pages: len.div_ceil(self.page_size) as u32, bytes: self.span_bytes(len) },
        }
    }

    /// Ledger bytes of a page.
    pub(crate) fn page_charge(&self) -> u64 {
        self.page_size as u64 + TABLE_ENTRY
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
        while !self.ledger.charge(Account::Slab, self.page_size as u64 + TABLE_ENTRY) {
            if !self.give_back_span() {
                return Ok(None);
            }
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

    /// Gives pooled spans, then pages, back to the system until `bytes` more can be charged or the pool is empty; at
    /// most 64 pages.
    pub(crate) fn trim_pool(&self, bytes: u64) {
        for _ in 0..MOST_POOLED_SPANS + 64 {
            if self.ledger.used() + bytes <= self.ledger.room() || !(self.give_back_span() || self.give_back_page()) {
                return;
            }
        }
    }

    /// Begins a new period of watching the pool; returns how many pages and spans nobody has needed in the one that
    /// ends.
    pub(crate) fn watch_pool(&self) -> usize {
        let mut free = self.free.lock();
        free.surplus = free.idle;
        free.idle = Pieces { pages: free.pool.len(), spans: free.spans.len() };
        free.surplus.pages + free.surplus.spans
    }

    /// Gives one of the pieces that [`watch_pool`](Arena::watch_pool) found back to the system; false if there is none
    /// left.
    pub(crate) fn give_back_pooled(&self) -> bool {
        let page = take_one(&mut self.free.lock().surplus.pages);
        if page && self.give_back_page() {
            return true;
        }
        let span = take_one(&mut self.free.lock().surplus.spans);
        span && self.give_back_span()
    }

    /// Gives a pooled page back to the system; false if there is none.
    fn give_back_page(&self) -> bool {
        let page = self.free.lock().take_pooled();
        if let Some(page) = page {
            self.decommit_page(page);
        }
        page.is_some()
    }

    /// Gives the oldest pooled span back to the system; false if there is none.
    fn give_back_span(&self) -> bool {
        let span = self.free.lock().take_pooled_span(0, |len| self.span_bytes(len));
        if let Some(PooledSpan { page, len }) = span {
            self.decommit_span(page, len);
        }
        span.is_some()
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

    /// Commits a span for an item of `len` bytes, out of what was paid for.
    pub(crate) fn prepare_span(&self, prepaid: &mut Prepaid, len: usize) -> Result<()> {
        let page = self.take_span(len)?;
        prepaid.bytes = prepaid.bytes.saturating_sub(self.span_charge(len));
        self.settle_span(prepaid.span.replace((page, len)));
        Ok(())
    }

    /// Takes back what was not needed.
    pub(crate) fn settle(&self, prepaid: Prepaid) {
        self.ledger.release(Account::Slab, prepaid.bytes);
        self.settle_span(prepaid.span);
    }

    fn settle_span(&self, span: Option<(PageId, usize)>) {
        if let Some((page, len)) = span {
            self.release_span(page, len);
        }
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
        self.own_span(page, n);
        Ok(page)
    }

    /// A pooled span that is large enough for an item of `len` bytes, cut to its size; its charge goes to the caller.
    pub(crate) fn take_pooled_span(&self, len: usize) -> Option<PageId> {
        let wanted = self.span_bytes(len);
        let span = {
            let mut free = self.free.lock();
            let enough = free.spans.iter().enumerate().filter(|(_, span)| self.span_bytes(span.len) >= wanted);
            let (at, _) = enough.min_by_key(|(_, span)| self.span_bytes(span.len))?;
            free.take_pooled_span(at, |len| self.span_bytes(len))?
        };
        let (n, had) = (len.div_ceil(self.page_size) as u32, span.len.div_ceil(self.page_size) as u32);
        self.memory.give_back(self.page_start(span.page) + wanted, self.span_bytes(span.len) - wanted);
        self.ledger.release(Account::Slab, self.span_charge(span.len) - self.span_charge(len));
        if had > n {
            self.free.lock().put_run(PageId(span.page.0 + n), had - n);
        }
        self.own_span(span.page, n);
        Some(span.page)
    }

    fn own_span(&self, page: PageId, n: u32) {
        for i in 0..n {
            self.set_owner(PageId(page.0 + i), ClassId::SPAN, 0);
        }
    }

    /// Takes back a span without an item. It stays committed for the next taker unless the ledger is over its limit or
    /// there are many already.
    pub(crate) fn release_span(&self, page: PageId, len: usize) {
        for i in 0..len.div_ceil(self.page_size) as u32 {
            self.set_owner(PageId(page.0 + i), ClassId::NONE, 0);
        }
        let most = self.ledger.room() / POOLED_SPANS_SHARE;
        let bytes = self.span_bytes(len) as u64;
        if self.ledger.excess() > 0 || bytes > most {
            return self.decommit_span(page, len);
        }
        let is_full = {
            let mut free = self.free.lock();
            free.spans.push_back(PooledSpan { page, len });
            free.span_bytes += bytes;
            free.spans.len() > MOST_POOLED_SPANS || free.span_bytes > most
        };
        if is_full {
            self.give_back_span();
        }
    }

    fn decommit_span(&self, page: PageId, len: usize) {
        self.memory.give_back(self.page_start(page), self.span_bytes(len));
        self.ledger.release(Account::Slab, self.span_charge(len));
        self.free.lock().put_run(page, len.div_ceil(self.page_size) as u32);
    }

    /// What is said where nothing that may leave would make room.
    pub(crate) fn held_by_readers(&self) -> Error {
        Error::new(
            ErrorKind::OutOfMemory,
            format!(
                "no room: {} of {} bytes are in use, and readers or reservations hold what could be freed",
                self.ledger.used(),
                self.ledger.room()
            ),
        )
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
        arena.trim_pool(1 << 20);
        let free = arena.free.lock();
        assert_eq!((arena.ledger.used(), free.fresh, free.runs.len()), (0, 1, 0));
    }

    #[test]
    fn a_pooled_span_is_cut_to_the_size_of_the_next_item() {
        let arena = arena(1 << 20);
        assert!(arena.ledger.charge(Account::Slab, arena.span_charge(12_288)));
        let page = arena.take_span(12_288).unwrap();
        arena.release_span(page, 12_288);
        assert_eq!(arena.pooled_bytes(), 12_288);
        assert_eq!(arena.take_pooled_span(12_289), None);
        assert_eq!(arena.take_pooled_span(5000), Some(page));
        assert_eq!((arena.pooled_bytes(), arena.ledger.used()), (0, arena.span_charge(5000)));
        arena.release_span(page, 5000);
        // Two looks at the pool without anybody needing the span, and it goes.
        assert_eq!((arena.watch_pool(), arena.give_back_pooled()), (0, false));
        assert_eq!((arena.watch_pool(), arena.give_back_pooled()), (1, true));
        assert_eq!((arena.ledger.used(), arena.free.lock().fresh), (0, 1));
    }

    #[test]
    fn a_page_takes_the_room_of_pooled_spans() {
        let arena = arena(256 << 10);
        assert!(arena.ledger.charge(Account::Slab, arena.span_charge(4096)));
        let span = arena.take_span(4096).unwrap();
        let pages: Vec<_> = std::iter::from_fn(|| arena.take_page().unwrap()).collect();
        arena.release_span(span, 4096);
        assert_eq!(arena.pooled_bytes(), 4096);
        assert!(arena.take_page().unwrap().is_some());
        assert_eq!((arena.pooled_bytes(), pages.len()), (0, 62));
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
