//! One shard's pages: which chunks are free, which page a new item goes to, which page is worth giving away.
//!
//! ```text
//!  a page of one class
//! ┌──────┬──────┬──────┬──────┬──────┬──────┬───────────────┬────┐
//! │ item │ free │ item │ free │ item │ item │ never cut yet │tail│
//! └──────┴──┬───┴──────┴──▲───┴──────┴──────┴───────────────┴────┘
//!   first ──┴── next ─────┘                 ▲ cut
//! ```
//!
//! Invariants:
//! 1. `used` counts the chunks of a unit that are not free: published, being written, or waiting for readers.
//! 2. A page is in its class's list of partial pages exactly when it has a free chunk and is not detached.
//! 3. Freeing a unit's last chunk gives its page back; only a page just cut has none in use.
//! 4. Each unit is in the list of its class at the place that it knows, spans in a list of their own.
//! 5. Locators are made here, from pages that this shard owns, and nowhere else (`arena`, invariant 1).
//! 6. Everything here is called with the shard's lock held (`&mut Slab`, or `&Slab` for reading).
#![allow(unsafe_code)]

use super::arena::{Arena, PageId, Stretch};
use super::class::{ClassId, Classes};
use super::item::{self, Attributes, ItemRef};
use super::locator::Locator;
use super::os::prefetch;

/// The number of a page or span within its shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct UnitId(pub(crate) u32);

const NIL: u32 = u32::MAX;
/// Chunks of a unit that is taken over for which memory is asked for at once.
const WINDOW: u32 = 16;

/// What an item is made of beside its attributes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Contents<'a> {
    pub(crate) key: &'a [u8],
    /// The value, in pieces.
    pub(crate) parts: &'a [&'a [u8]],
    /// Its length: that of the pieces together, or more when the rest is filled in later.
    pub(crate) vlen: usize,
    pub(crate) tags: &'a [u64],
}

/// State of one page or span.
#[derive(Debug, Clone)]
pub(crate) struct Unit {
    page: PageId,
    pub(crate) class: ClassId,
    /// Bytes of a chunk; of a span, the item's length.
    pub(crate) chunk: u32,
    /// Chunks in all.
    pub(crate) total: u32,
    /// Chunks from here on were never cut.
    cut: u32,
    /// First free chunk plus one.
    first_free: u32,
    /// Invariant 1.
    pub(crate) used: u32,
    /// Items with a deadline or an idle time.
    pub(crate) with_end: u32,
    /// Chunks being filled from outside: the page cannot move.
    pub(crate) pinned: u32,
    next: u32,
    prev: u32,
    /// Its place in the list of its class.
    place: u32,
    listed: bool,
    detached: bool,
    exists: bool,
}

impl Unit {
    /// A unit of `total` chunks, of which the first `used` are cut and in use.
    fn new(page: PageId, class: ClassId, chunk: u32, total: u32, used: u32) -> Unit {
        Unit {
            page,
            class,
            chunk,
            total,
            cut: used,
            first_free: 0,
            used,
            with_end: 0,
            pinned: 0,
            next: NIL,
            prev: NIL,
            place: 0,
            listed: false,
            detached: false,
            exists: true,
        }
    }

    fn free_chunks(&self) -> u32 {
        self.total - self.used
    }
}

/// What a warm restart keeps of a page or span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeptUnit {
    pub(crate) page: PageId,
    pub(crate) class: ClassId,
    /// Chunks that were ever cut; of a span, the item's length.
    pub(crate) size: u32,
}

impl KeptUnit {
    /// The pages and bytes that it has in an arena; None if there can be no such unit.
    pub(crate) fn stretch(&self, arena: &Arena, classes: &Classes) -> Option<Stretch> {
        let is_span = self.class == ClassId::SPAN;
        let possible = if is_span {
            self.size as usize >= 16 && (self.size as usize) < arena.address_space()
        } else {
            self.class.index() < classes.len() && (1..=classes.chunks_per_page(self.class)).contains(&self.size)
        };
        possible.then(|| arena.stretch(self.page, is_span.then_some(self.size as usize)))
    }
}

/// What a class has in this shard.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClassState {
    first_partial: u32,
    pub(crate) pages: u32,
    pub(crate) used: u32,
    /// Free chunks in pages that are not detached.
    pub(crate) free: u32,
    /// What left it, and why.
    pub(crate) evicted: u64,
    pub(crate) evicted_unfetched: u64,
    pub(crate) expired: u64,
    pub(crate) expired_unfetched: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Slab {
    units: Vec<Unit>,
    spare_units: Vec<u32>,
    pub(crate) classes: Vec<ClassState>,
    /// The units of each class, in no order; behind the classes, the spans.
    of_class: Vec<Vec<UnitId>>,
    /// Bytes of pages and spans that this shard owns.
    pub(crate) owned_bytes: u64,
    /// Spans it owns, and their bytes.
    pub(crate) spans: u32,
    pub(crate) span_bytes: u64,
}

/// What freeing a chunk led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freed {
    Chunk,
    /// The chunk was its unit's last, and the unit is gone.
    Unit(UnitId),
}

impl Slab {
    pub(crate) fn new(classes: &Classes) -> Slab {
        Slab {
            units: Vec::new(),
            spare_units: Vec::new(),
            classes: vec![ClassState { first_partial: NIL, ..ClassState::default() }; classes.len()],
            of_class: vec![Vec::new(); classes.len() + 1],
            owned_bytes: 0,
            spans: 0,
            span_bytes: 0,
        }
    }

    /// Heap bytes, for the ledger.
    pub(crate) fn memory(&self) -> u64 {
        (self.units.capacity() * size_of::<Unit>()
            + self.spare_units.capacity() * 4
            + self.classes.capacity() * size_of::<ClassState>()
            + self.of_class.capacity() * size_of::<Vec<UnitId>>()
            + self.of_class.iter().map(|units| units.capacity() * 4).sum::<usize>()) as u64
    }

    pub(crate) fn unit(&self, unit: UnitId) -> &Unit {
        &self.units[unit.0 as usize]
    }

    pub(crate) fn unit_mut(&mut self, unit: UnitId) -> &mut Unit {
        &mut self.units[unit.0 as usize]
    }

    /// Upper bound of unit numbers.
    pub(crate) fn unit_count(&self) -> u32 {
        self.units.len() as u32
    }

    pub(crate) fn exists(&self, unit: UnitId) -> bool {
        self.units.get(unit.0 as usize).is_some_and(|u| u.exists)
    }

    /// The unit that a locator of this shard is in.
    #[inline]
    pub(crate) fn unit_of(&self, arena: &Arena, locator: Locator) -> UnitId {
        UnitId(arena.unit_of(locator))
    }

    /// Bytes that the chunk at this locator takes.
    #[inline]
    pub(crate) fn chunk_of(&self, arena: &Arena, locator: Locator) -> u32 {
        self.unit(self.unit_of(arena, locator)).chunk
    }

    /// Ledger bytes of the span at this locator; 0 for a chunk.
    pub(crate) fn span_charge(&self, arena: &Arena, locator: Locator) -> u64 {
        let unit = self.unit(self.unit_of(arena, locator));
        if unit.class == ClassId::SPAN { arena.span_charge(unit.chunk as usize) } else { 0 }
    }

    /// The item, or free chunk, at a locator of this shard.
    #[inline(always)]
    pub(crate) fn item<'a>(&'a self, arena: &'a Arena, locator: Locator) -> ItemRef<'a> {
        // SAFETY: the shard's lock is held (invariant 6) and `&self` borrowed: no chunk is written or freed meanwhile.
        // Invariant 5: the locator was made by this slab, and slots and lists drop locators before their chunks are
        // freed.
        unsafe { arena.item(locator) }
    }

    /// Which list a class's units are in.
    fn list_of(&self, class: ClassId) -> usize {
        class.index().min(self.classes.len())
    }

    /// The units of a class, or all spans.
    pub(crate) fn units_of(&self, class: ClassId) -> &[UnitId] {
        &self.of_class[self.list_of(class)]
    }

    /// All units.
    pub(crate) fn all_units(&self) -> impl Iterator<Item = UnitId> {
        self.of_class.iter().flatten().copied()
    }

    /// Every cut chunk of a unit, free ones too.
    pub(crate) fn chunks(&self, arena: &Arena, unit: UnitId) -> impl Iterator<Item = Locator> + use<> {
        let u = self.unit(unit);
        let (start, chunk) = (arena.page_start(u.page), u.chunk as usize);
        (0..u.cut as usize).map(move |i| Locator::from_offset(start + i * chunk))
    }

    /// The same from a chunk near `r`, a fraction of 2^32, on, and round.
    pub(crate) fn chunks_from(&self, arena: &Arena, unit: UnitId, r: u32) -> impl Iterator<Item = Locator> + use<> {
        let u = self.unit(unit);
        let (start, chunk, cut) = (arena.page_start(u.page), u.chunk as usize, u.cut as usize);
        let first = ((u64::from(r) * u64::from(u.cut)) >> 32) as usize;
        (first..cut).chain(0..first).map(move |i| Locator::from_offset(start + i * chunk))
    }

    /// The locators `[start, end)` between which a unit's items lie.
    pub(crate) fn range(&self, arena: &Arena, unit: UnitId) -> (u64, u64) {
        let u = self.unit(unit);
        let start = arena.page_start(u.page);
        let end = start + (u.chunk as usize * u.total as usize).next_multiple_of(8);
        (start as u64 / 8, end as u64 / 8)
    }

    /// A free chunk of a class, if one of its pages has any.
    pub(crate) fn alloc(&mut self, arena: &Arena, class: ClassId) -> Option<Locator> {
        let head = self.classes[class.index()].first_partial;
        if head == NIL {
            return None;
        }
        let u = &mut self.units[head as usize];
        let start = arena.page_start(u.page);
        let index = if u.first_free != 0 { u.first_free - 1 } else { u.cut };
        let locator = Locator::from_offset(start + index as usize * u.chunk as usize);
        if u.first_free != 0 {
            // SAFETY: the chunk is on the free list of a page that this shard owns, under its lock.
            u.first_free = unsafe { item::read_free(arena.base_of(locator)) };
        } else {
            u.cut += 1;
        }
        u.used += 1;
        // The one that will probably be asked for next.
        if u.first_free != 0 {
            arena.prefetch(Locator::from_offset(start + (u.first_free - 1) as usize * u.chunk as usize));
        }
        if u.used == u.total {
            self.unlink(head);
        }
        let state = &mut self.classes[class.index()];
        state.used += 1;
        state.free -= 1;
        Some(locator)
    }

    /// What a warm restart has to know of each unit that holds anything.
    pub(crate) fn kept_units(&self) -> impl Iterator<Item = KeptUnit> {
        self.units.iter().filter(|u| u.exists && u.used > 0).map(|u| {
            let size = if u.class == ClassId::SPAN { u.chunk } else { u.cut };
            KeptUnit { page: u.page, class: u.class, size }
        })
    }

    /// The bytes of a unit, as far as they were ever written.
    pub(crate) fn unit_bytes<'a>(&'a self, arena: &'a Arena, classes: &Classes, kept: &KeptUnit) -> &'a [u8] {
        let chunk = if kept.class == ClassId::SPAN { 1 } else { classes.chunk_size(kept.class) as usize };
        let start = Locator::from_offset(arena.page_start(kept.page));
        // SAFETY: inside the unit, which this slab has, or takes over: nobody else writes into it (invariant 6), and no
        // reader is at work when a cache is closed or opened.
        unsafe { std::slice::from_raw_parts(arena.base_of(start), chunk * kept.size as usize) }
    }

    /// Takes over a page or span that holds items already. `is_held` says of each item that seems to be in it whether
    /// it is; the other chunks are free. `soon` is shown each of them some time before. A unit without items goes back
    /// to the arena. An error of its own, or what is wrong with the unit.
    ///
    /// The caller has seen to it that the unit's pages are nobody else's, committed, and of a class that there is.
    pub(crate) fn adopt(
        &mut self,
        arena: &Arena,
        classes: &Classes,
        kept: &KeptUnit,
        mut soon: impl FnMut(ItemRef<'_>),
        mut is_held: impl FnMut(UnitId, Locator, ItemRef<'_>) -> Result<bool, String>,
    ) -> Result<(), String> {
        let &KeptUnit { page, class, size } = kept;
        let is_span = class == ClassId::SPAN;
        let (chunk, total) =
            if is_span { (size, 1) } else { (classes.chunk_size(class), classes.chunks_per_page(class)) };
        let cut = if is_span { 1 } else { size };
        let id = self.new_unit(Unit::new(page, class, chunk, total, cut));
        arena.set_owner(page, class, id);
        let stretch = arena.stretch(page, is_span.then_some(size as usize));
        for i in 1..stretch.pages {
            arena.set_owner(PageId(page.0 + i), class, 0);
        }
        let start = arena.page_start(page);
        let locator_of = |index: u32| Locator::from_offset(start + index as usize * chunk as usize);
        // SAFETY: the chunk lies inside the unit, which is this shard's alone (the caller's word), and committed.
        let item_of = |at| unsafe { ItemRef::checked(arena.base_of(at), chunk as usize) };
        let (mut used, mut first_free, mut end) = (0, 0, cut);
        while end > 0 {
            let first = end.saturating_sub(WINDOW);
            // What will be looked at is asked for a window before.
            (first.saturating_sub(WINDOW)..first).for_each(|index| prefetch(arena.address(locator_of(index))));
            (first..end).filter_map(|index| item_of(locator_of(index))).for_each(&mut soon);
            for index in (first..end).rev() {
                let locator = locator_of(index);
                let is_used = match item_of(locator) {
                    Some(item) => is_held(UnitId(id), locator, item)?,
                    None => false,
                };
                if is_used {
                    used += 1;
                } else {
                    // SAFETY: the chunk is this shard's, and nothing leads to it; no reference to it is left.
                    unsafe { item::write_free(arena.base_of(locator), first_free) };
                    first_free = index + 1;
                }
            }
            end = first;
        }
        if used == 0 {
            // What a reader held to the last, or nobody ever published: no item, and so no page.
            self.forget_unit(id);
            arena.disown(stretch);
            return Ok(());
        }
        let unit = &mut self.units[id as usize];
        (unit.used, unit.first_free) = (used, first_free);
        if is_span {
            let charge = arena.span_charge(size as usize);
            self.owned_bytes += charge;
            self.span_bytes += charge;
            self.spans += 1;
            return Ok(());
        }
        self.owned_bytes += arena.page_size() as u64;
        let state = &mut self.classes[class.index()];
        state.pages += 1;
        state.used += used;
        state.free += total - used;
        if used < total {
            self.link(id);
        }
        Ok(())
    }

    fn new_unit(&mut self, mut unit: Unit) -> u32 {
        let list = self.list_of(unit.class);
        unit.place = self.of_class[list].len() as u32;
        let id = match self.spare_units.pop() {
            Some(id) => {
                self.units[id as usize] = unit;
                id
            }
            None => {
                self.units.push(unit);
                self.units.len() as u32 - 1
            }
        };
        self.of_class[list].push(UnitId(id));
        id
    }

    /// A unit's number is free again.
    fn forget_unit(&mut self, id: u32) {
        let unit = &mut self.units[id as usize];
        unit.exists = false;
        let (class, place) = (unit.class, unit.place);
        self.spare_units.push(id);
        let list = self.list_of(class);
        let units = &mut self.of_class[list];
        units.swap_remove(place as usize);
        if let Some(&moved) = units.get(place as usize) {
            self.units[moved.0 as usize].place = place;
        }
        // A class that had many pages once may have none for ever after.
        if units.is_empty() {
            *units = Vec::new();
        }
    }

    /// Cuts a page for a class. Every chunk of it is free.
    pub(crate) fn add_page(&mut self, arena: &Arena, classes: &Classes, class: ClassId, page: PageId) {
        let total = classes.chunks_per_page(class);
        let id = self.new_unit(Unit::new(page, class, classes.chunk_size(class), total, 0));
        arena.set_owner(page, class, id);
        self.owned_bytes += arena.page_size() as u64;
        let state = &mut self.classes[class.index()];
        state.pages += 1;
        state.free += total;
        self.link(id);
    }

    /// Takes over a span for one item of `len` bytes.
    pub(crate) fn add_span(&mut self, arena: &Arena, page: PageId, len: usize) -> Locator {
        let id = self.new_unit(Unit::new(page, ClassId::SPAN, len as u32, 1, 1));
        arena.set_owner(page, ClassId::SPAN, id);
        self.owned_bytes += arena.span_charge(len);
        self.span_bytes += arena.span_charge(len);
        self.spans += 1;
        Locator::from_offset(arena.page_start(page))
    }

    /// Frees a chunk that no reader can be inside any more.
    pub(crate) fn free(&mut self, arena: &Arena, locator: Locator) -> Freed {
        let id = arena.unit_of(locator);
        let u = &mut self.units[id as usize];
        debug_assert!(u.exists && u.used > 0);
        let (page, class, len) = (u.page, u.class, u.chunk as usize);
        u.used -= 1;
        if class == ClassId::SPAN {
            self.forget_unit(id);
            let charge = arena.span_charge(len);
            self.owned_bytes -= charge;
            self.span_bytes -= charge;
            self.spans -= 1;
            arena.release_span(page, len);
            return Freed::Unit(UnitId(id));
        }
        let state = &mut self.classes[class.index()];
        state.used -= 1;
        if !u.detached {
            state.free += 1;
        }
        if u.used == 0 {
            self.drop_page(arena, id);
            return Freed::Unit(UnitId(id));
        }
        let index = (locator.offset() - arena.page_start(page)) / len;
        // SAFETY: the chunk is this shard's, under its lock, and no reader is inside (the caller's word).
        unsafe { item::write_free(arena.base_of(locator), u.first_free) };
        u.first_free = index as u32 + 1;
        if !u.listed && !u.detached {
            self.link(id);
        }
        Freed::Chunk
    }

    /// Gives an empty page back to the arena.
    fn drop_page(&mut self, arena: &Arena, id: u32) {
        if self.units[id as usize].listed {
            self.unlink(id);
        }
        let u = &self.units[id as usize];
        let state = &mut self.classes[u.class.index()];
        state.pages -= 1;
        if !u.detached {
            state.free -= u.total;
        }
        self.owned_bytes -= arena.page_size() as u64;
        arena.release_page(u.page);
        self.forget_unit(id);
    }

    /// Takes a page out of the list that new items come from, while it is being emptied.
    pub(crate) fn detach(&mut self, unit: UnitId) {
        let id = unit.0;
        if self.units[id as usize].listed {
            self.unlink(id);
        }
        let u = &mut self.units[id as usize];
        if !u.detached {
            u.detached = true;
            self.classes[u.class.index()].free -= u.total - u.used;
        }
    }

    /// Puts a page back that could not be emptied.
    pub(crate) fn reattach(&mut self, unit: UnitId) {
        let u = &mut self.units[unit.0 as usize];
        if u.exists && u.detached {
            u.detached = false;
            let free = u.free_chunks();
            self.classes[u.class.index()].free += free;
            if free > 0 {
                self.link(unit.0);
            }
        }
    }

    fn link(&mut self, id: u32) {
        let class = self.units[id as usize].class.index();
        let head = self.classes[class].first_partial;
        let u = &mut self.units[id as usize];
        u.listed = true;
        u.prev = NIL;
        u.next = head;
        if head != NIL {
            self.units[head as usize].prev = id;
        }
        self.classes[class].first_partial = id;
    }

    fn unlink(&mut self, id: u32) {
        let u = &mut self.units[id as usize];
        let (class, prev, next) = (u.class.index(), u.prev, u.next);
        u.listed = false;
        if prev == NIL {
            self.classes[class].first_partial = next;
        } else {
            self.units[prev as usize].next = next;
        }
        if next != NIL {
            self.units[next as usize].prev = prev;
        }
    }

    /// The page of a class with the fewest used chunks, of at most 64 looked at, none of them pinned or refused by
    /// `ok`.
    pub(crate) fn sparsest(&self, class: ClassId, mut ok: impl FnMut(UnitId) -> bool) -> Option<UnitId> {
        let mut best: Option<(u32, u32)> = None;
        let mut id = self.classes[class.index()].first_partial;
        for _ in 0..64 {
            if id == NIL {
                break;
            }
            let u = &self.units[id as usize];
            if u.pinned == 0 && best.is_none_or(|(used, _)| u.used < used) && ok(UnitId(id)) {
                best = Some((u.used, id));
            }
            id = u.next;
        }
        best.map(|(_, id)| UnitId(id))
    }

    /// Writes a header and key into a chunk from [`alloc`](Slab::alloc) or [`add_span`](Slab::add_span), and the value
    /// if it is there already; else what the chunk held before stays in its place until it is filled (`slab::fill`).
    pub(crate) fn write(&mut self, arena: &Arena, locator: Locator, attributes: &Attributes, contents: &Contents<'_>) {
        let &Contents { key, parts, vlen, tags } = contents;
        debug_assert!(attributes.item_len(key.len(), vlen) <= self.chunk_of(arena, locator) as usize);
        // SAFETY: the chunk was allocated, is not published, and is large enough (asserted; sizes and classes are
        // computed from the same item_len): it is ours alone.
        unsafe {
            let mut at = attributes.write(arena.base_of(locator), key, vlen);
            let mut left = vlen;
            for part in parts {
                let n = part.len().min(left);
                std::ptr::copy_nonoverlapping(part.as_ptr(), at, n);
                at = at.add(n);
                left -= n;
            }
            attributes.write_tail(at.add(left), tags);
        }
    }

    /// Copies the item at `from` into the fresh chunk at `to` of the same class. A use that a reader notes in the old
    /// copy from now on has to be carried over by the caller.
    pub(crate) fn copy_item(&mut self, arena: &Arena, from: Locator, to: Locator) {
        // SAFETY: as in `item`: `from` is published and its shard's lock held. `to` is another chunk, so writing it
        // below leaves the borrowed bytes alone.
        let item = unsafe { arena.item(from) };
        let (value, tags) = ([item.value()], item.tags());
        let contents = Contents { key: item.key(), parts: &value, vlen: item.value_len(), tags: tags.as_slice() };
        self.write(arena, to, &item.attributes(), &contents);
    }

    /// Gives an unpublished item other attributes, if its header has the room that they need. False if not.
    pub(crate) fn rewrite_header(&mut self, arena: &Arena, locator: Locator, attributes: &Attributes) -> bool {
        // SAFETY: the item is unpublished and this shard's, under its lock: nobody else reaches its header.
        unsafe { attributes.rewrite(arena.base_of(locator)) }
    }

    /// Bytes of an unpublished item's value, to fill from outside the lock.
    pub(super) fn value_place(&self, arena: &Arena, locator: Locator) -> (*mut u8, usize) {
        let item = self.item(arena, locator);
        let (header_and_key, vlen) = (item.value_offset(), item.value_len());
        // SAFETY: inside the item.
        (unsafe { arena.base_of(locator).add(header_and_key) }, vlen)
    }

    /// Checks the numbered invariants; for tests.
    pub(crate) fn check(&self, arena: &Arena) {
        let mut listed = 0;
        for (c, state) in self.classes.iter().enumerate() {
            let mine = || self.units.iter().filter(|u| u.exists && u.class.index() == c);
            assert_eq!(state.pages as usize, mine().count(), "pages of class {c}");
            assert_eq!(state.used, mine().map(|u| u.used).sum::<u32>(), "used chunks of class {c}");
            let free = mine().filter(|u| !u.detached).map(|u| u.total - u.used).sum::<u32>();
            assert_eq!(state.free, free, "free chunks of class {c}");
            let mut id = state.first_partial;
            while id != NIL {
                let u = &self.units[id as usize];
                assert!(u.exists && u.listed && !u.detached && u.used < u.total && u.class.index() == c);
                listed += 1;
                id = u.next;
            }
        }
        assert_eq!(listed, self.units.iter().filter(|u| u.exists && u.listed).count());
        assert_eq!(self.all_units().count(), self.units.iter().filter(|u| u.exists).count());
        for (id, u) in self.units.iter().enumerate().filter(|(_, u)| u.exists) {
            assert_eq!(self.units_of(u.class)[u.place as usize], UnitId(id as u32), "{u:?}");
            assert!(u.used <= u.total && u.cut <= u.total, "unit {id}: {u:?}");
            assert_eq!(u.listed, u.used < u.total && !u.detached && u.class != ClassId::SPAN);
            let first = Locator::from_offset(arena.page_start(u.page));
            assert_eq!((arena.class_of(first), arena.unit_of(first)), (u.class, id as u32));
            let free = self.chunks(arena, UnitId(id as u32)).filter(|&l| self.item(arena, l).is_free()).count();
            assert!(free as u32 <= u.cut - u.used.min(u.cut), "free chunks of unit {id}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ledger::Ledger;
    use super::*;

    #[test]
    fn the_units_of_a_class_are_at_hand() {
        let arena = Arena::new(Ledger::new(1 << 20, 0), 1 << 20, 4096, false, false).unwrap();
        let classes = Classes::new(64, 1.25, 4096).unwrap();
        let mut slab = Slab::new(&classes);
        let (few, many) = (ClassId(1), ClassId(3));
        let add = |slab: &mut Slab, class| {
            let page = arena.take_page().unwrap().unwrap();
            slab.add_page(&arena, &classes, class, page);
            slab.alloc(&arena, class).unwrap()
        };
        let first: Vec<Locator> = (0..50).map(|_| add(&mut slab, many)).collect();
        let alone = add(&mut slab, few);
        assert_eq!((slab.units_of(few).len(), slab.units_of(many).len()), (1, 50));
        assert_eq!(slab.units_of(few), [slab.unit_of(&arena, alone)]);
        let span = arena.take_span(10_000).unwrap();
        let span = slab.add_span(&arena, span, 10_000);
        assert_eq!(slab.units_of(ClassId::SPAN), [slab.unit_of(&arena, span)]);
        slab.check(&arena);
        let memory = slab.memory();
        for &locator in first.iter().step_by(2).chain([&span]) {
            assert!(matches!(slab.free(&arena, locator), Freed::Unit(_)));
            slab.check(&arena);
        }
        assert!(slab.units_of(ClassId::SPAN).is_empty());
        let left: Vec<UnitId> = first.iter().skip(1).step_by(2).map(|&l| slab.unit_of(&arena, l)).collect();
        assert!(slab.units_of(many).len() == 25 && left.iter().all(|unit| slab.units_of(many).contains(unit)));
        assert!(slab.memory() <= memory + 200, "numbers of units that are gone wait for the next");
        assert_eq!(slab.all_units().count(), 26);
    }

    #[test]
    fn chunks_are_shown_from_any_of_them_on() {
        let arena = Arena::new(Ledger::new(1 << 20, 0), 1 << 20, 4096, false, false).unwrap();
        let classes = Classes::new(64, 1.25, 4096).unwrap();
        let mut slab = Slab::new(&classes);
        let page = arena.take_page().unwrap().unwrap();
        slab.add_page(&arena, &classes, ClassId(0), page);
        let unit = slab.units_of(ClassId(0))[0];
        assert_eq!(slab.chunks_from(&arena, unit, 7).count(), 0);
        let cut: Vec<Locator> = (0..10).map(|_| slab.alloc(&arena, ClassId(0)).unwrap()).collect();
        for r in [0, 1 << 30, u32::MAX / 2, u32::MAX] {
            let mut shown: Vec<Locator> = slab.chunks_from(&arena, unit, r).collect();
            let first = ((u64::from(r) * 10) >> 32) as usize;
            assert_eq!(shown[0], cut[first]);
            shown.sort_unstable_by_key(|locator| locator.raw());
            assert_eq!(shown, cut);
        }
    }
}
