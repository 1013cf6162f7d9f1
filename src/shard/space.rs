//! Making room. In the order tried: a free chunk of the class, a page of the arena's, what has ended, a page that
//! another class can spare, and last the policy's victims.
//!
//! A page can be spared when its class has at least a page's worth of free chunks: the live items of its sparsest page
//! are then copied into those, and the page is given away. One write empties at most one page at a time.
//!
//! Where nothing may be evicted, a new key may not take the last spare page (free in the arena, or that a class can
//! spare): it keeps replacing and counting possible. Replacing an item within its class needs one chunk for a moment;
//! the spare page gives it, and is spare again afterwards, because the old chunk made up for the one taken.

use super::view::View;
use super::{Automove, Cause, Found, Locked};
use crate::error::{Error, ErrorKind};
use crate::policy::{Arrival, EvictionPolicy, Verdict, draws_for};
use crate::slab::{Account, ClassId, Freed, Locator, PageId, Prepaid, UnitId};
use crate::trace::note;

/// Why there is no room.
#[derive(Debug)]
pub(crate) enum Shortage {
    /// Other shards own more than their share: one of them should give a page.
    Page,
    /// This many bytes have to be charged by the caller, who gets them from any shard.
    Bytes(u64),
    /// A span for an item of this length, which was paid for, has to be committed by the caller: that takes too long
    /// under a lock.
    Span(usize),
    /// What has left waits, in notices, to be told to listeners, which takes the room that it made: they are told when
    /// the lock is given back.
    Notices,
    /// There is none to be had.
    Memory(Error),
}

impl From<Error> for Shortage {
    fn from(error: Error) -> Shortage {
        Shortage::Memory(error)
    }
}

/// What room is made for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum For<'a> {
    /// A key that is not stored; the policy may turn it away.
    Newcomer(&'a Arrival),
    /// A key that is not stored, and has to be.
    NewKey,
    /// Another item of a key that is stored: it may have the spare page, for what it replaces makes up for it.
    Replacement,
}

impl<'a> For<'a> {
    fn arrival(self) -> Option<&'a Arrival> {
        if let For::Newcomer(arrival) = self { Some(arrival) } else { None }
    }

    fn is_replacement(self) -> bool {
        matches!(self, For::Replacement)
    }
}

/// Where an item can go.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Room {
    At(Locator),
    TurnedAway,
}

/// What a round of making space did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    Made,
    TurnedAway,
    /// Nothing can be done.
    Stuck,
}

/// Single victims for one item before a page is squeezed out, so that no write evicts hundreds of items in vain.
const SINGLE_VICTIMS: u64 = 64;
/// Spans up to this many bytes are committed under the shard's lock: some 50 us.
const COMMIT_INSIDE: u64 = 256 << 10;
/// Pages' worth of free chunks from which on maintenance moves pages, so that what comes and goes finds room in its
/// class.
const SLOW_SPARE: u32 = 2;
/// Maintenance leaves a shard's pages where they are for so long after one could not be emptied.
const MOVE_RETRY_MS: u64 = 1000;
/// Victims of one round at most.
const BATCH: u64 = 8;
/// Victims of one class, at most, for a page of it. Where a page holds more items, they leave whoever they are.
const VICTIMS_OF_CLASS: u32 = 128;
/// Classes that are tried, as some have but one page.
const CLASSES: u32 = 4;

impl Locked<'_> {
    /// What the items of this shard may take: what they do take, and its part of what is free. Idle chunks of its pages
    /// do not count: they are of sizes that nobody asks for.
    pub(crate) fn capacity(&self) -> u64 {
        self.core.chunk_bytes + self.ctx.arena.ledger.spare() / self.ctx.shard_count() as u64
    }

    /// Whether there is little left for all shards.
    fn is_arena_full(&self) -> bool {
        let ledger = &self.ctx.arena.ledger;
        ledger.spare() < ledger.room() / 16
    }

    /// Runs something of the policy's on a view of this shard.
    pub(super) fn with_policy<R>(
        &mut self,
        class: Option<ClassId>,
        f: impl FnOnce(&mut crate::policy::Policy<super::Handle>, &crate::policy::Shared, &View<'_>) -> R,
    ) -> R {
        let volatile_only = self.core.kind.is_volatile();
        let capacity = self.capacity();
        let core = &mut *self.core;
        let view = View {
            table: &self.shard.table,
            slab: &core.slab,
            arena: &self.ctx.arena,
            classes: &self.ctx.classes,
            hasher: &self.ctx.hasher,
            deadlines: &core.deadlines,
            items: core.items,
            used: core.chunk_bytes,
            capacity,
            volatile_only,
            class,
            draws: draws_for(self.ctx.samples()),
            volatile_items: core.volatile_items,
            is_measure: !core.gathering,
        };
        f(&mut core.policy, &self.shard.shared, &view)
    }

    /// A chunk or span for an item of `len` bytes.
    pub(super) fn make_room_for(&mut self, len: usize, who: For<'_>, prepaid: &mut Prepaid) -> Result<Room, Shortage> {
        match self.ctx.classes.of(len) {
            Some(class) => self.alloc(class, who),
            None => self.alloc_span(len, who, prepaid),
        }
    }

    fn alloc(&mut self, class: ClassId, who: For<'_>) -> Result<Room, Shortage> {
        if self.may_take(class, who)
            && let Some(locator) = self.core.slab.alloc(&self.ctx.arena, class)
        {
            return Ok(Room::At(locator));
        }
        self.alloc_slowly(class, who)
    }

    fn alloc_slowly(&mut self, class: ClassId, who: For<'_>) -> Result<Room, Shortage> {
        let mut refused = None;
        for round in 0.. {
            if !self.core.limbo.is_empty() {
                self.settle_limbo();
            }
            if self.may_take(class, who) {
                if let Some(locator) = self.core.slab.alloc(&self.ctx.arena, class) {
                    return Ok(Room::At(locator));
                }
                // What leaves here makes up for it, once more than a round is not needed.
                let page = if round == 0 && self.is_rich() { Ok(None) } else { self.ctx.arena.take_page() };
                match page {
                    Ok(Some(page)) => {
                        if let Some(locator) = self.alloc_in(class, page) {
                            return Ok(Room::At(locator));
                        }
                    }
                    Ok(None) => {}
                    Err(e) => {
                        note!(self, MemoryRefused {});
                        refused = Some(e);
                    }
                }
            }
            if self.is_poor() {
                return Err(Shortage::Page);
            }
            if round > 0 && self.has_news && self.ctx.arena.ledger.excess() > 0 {
                return Err(Shortage::Notices);
            }
            let squeeze = self.are_enough(round);
            // Without a page that can be squeezed, for readers' sake, single victims have to do.
            let squeezed = if squeeze { self.squeeze_page(who.arrival()) } else { Progress::Stuck };
            let progress = match squeezed {
                Progress::Stuck => self.make_space(Some(class), who.arrival()),
                done => done,
            };
            match progress {
                Progress::Made => {}
                Progress::TurnedAway => return Ok(Room::TurnedAway),
                // Nothing here can leave, but elsewhere it can.
                Progress::Stuck if self.may_ask_on(who) && refused.is_none() => return Err(Shortage::Page),
                Progress::Stuck => break,
            }
        }
        // What is there can be replaced even if something else has eaten the spare page: what it replaces makes up for
        // it.
        if who.is_replacement()
            && let Ok(Some(page)) = self.ctx.arena.take_page_over()
            && let Some(locator) = self.alloc_in(class, page)
        {
            return Ok(Room::At(locator));
        }
        Err(Shortage::Memory(refused.unwrap_or_else(|| self.out_of_memory())))
    }

    /// Cuts a page for a class, and takes a chunk of it.
    fn alloc_in(&mut self, class: ClassId, page: PageId) -> Option<Locator> {
        self.core.slab.add_page(&self.ctx.arena, &self.ctx.classes, class, page);
        self.core.slab.alloc(&self.ctx.arena, class)
    }

    fn alloc_span(&mut self, len: usize, who: For<'_>, prepaid: &mut Prepaid) -> Result<Room, Shortage> {
        self.busy();
        let span = self.find_span(len, who, prepaid)?;
        Ok(span.map_or(Room::TurnedAway, |page| Room::At(self.core.slab.add_span(&self.ctx.arena, page, len))))
    }

    /// Memory for an item of `len` bytes by itself; None if the policy turns the newcomer away.
    fn find_span(&mut self, len: usize, who: For<'_>, prepaid: &mut Prepaid) -> Result<Option<PageId>, Shortage> {
        let arena = &self.ctx.arena;
        let charge = arena.span_charge(len);
        if let Some(page) = prepaid.take_span(len).or_else(|| arena.take_pooled_span(len)) {
            return Ok(Some(page));
        }
        if prepaid.bytes >= charge {
            prepaid.bytes -= charge;
        } else if !arena.ledger.charge(Account::Slab, charge) {
            // Who leaves for a large item is for its own shard's policy to say, newcomer in hand; a round at a time,
            // until that has taken long.
            let long = self.are_enough(self.tries);
            match if long { self.squeeze_page(who.arrival()) } else { Progress::Stuck } {
                Progress::Made => return Err(Shortage::Bytes(charge)),
                Progress::TurnedAway => return Ok(None),
                Progress::Stuck => {}
            }
            // Nothing is evicted in vain: what readers are inside of stays whatever leaves the index.
            if !self.can_have(charge) {
                return Err(Shortage::Memory(arena.held_by_readers()));
            }
            if self.make_space(None, who.arrival()) == Progress::TurnedAway {
                return Ok(None);
            }
            // Often what has left was as large.
            return self.ctx.arena.take_pooled_span(len).map(Some).ok_or(Shortage::Bytes(charge));
        }
        if charge > COMMIT_INSIDE && !prepaid.at_once {
            prepaid.bytes += charge;
            return Err(Shortage::Span(len));
        }
        arena.take_span(len).map(Some).map_err(|e| {
            self.ctx.arena.ledger.release(Account::Slab, charge);
            note!(self, MemoryRefused {});
            Shortage::Memory(e)
        })
    }

    /// Whether a chunk of this class may be taken: see the module about the spare page.
    #[inline]
    fn may_take(&self, class: ClassId, who: For<'_>) -> bool {
        if who.is_replacement() || !self.core.may_refuse() {
            return true;
        }
        let (arena, classes) = (&self.ctx.arena, &self.ctx.classes);
        let page = arena.page_size() as u64;
        let needs_page = self.core.slab.classes[class.index()].free == 0;
        let pages_left = arena.ledger.spare() / (page + 64) + arena.pooled_bytes() / page;
        if pages_left > u64::from(needs_page) {
            return true;
        }
        let spares = |(id, state): (usize, &crate::slab::ClassState)| {
            let taken = u32::from(id == class.index());
            state.free >= classes.chunks_per_page(ClassId(id as u8)) + taken
        };
        !needs_page && self.core.slab.classes.iter().enumerate().any(spares)
    }

    /// Whether this shard owns clearly less than its share while the arena is empty.
    fn is_poor(&self) -> bool {
        self.ctx.shard_count() > 1 && !self.asked && self.core.slab.owned_bytes < self.ctx.fair_share() / 8 * 7
    }

    /// Whether it owns clearly more while there is little left. It then makes do with what it has: a shard whose policy
    /// lets go of old items sooner than others would lose its memory to them otherwise.
    fn is_rich(&self) -> bool {
        let (ctx, owned) = (self.ctx, self.core.slab.owned_bytes);
        let is_large = ctx.shard_count() > 1 && owned > ctx.fair_share() / 8 * 9;
        is_large && !self.core.may_refuse() && self.is_arena_full()
    }

    /// Whether other shards can still be asked for a page: for anything if their items may be evicted, else for the
    /// spare page that lets what is there be replaced.
    fn may_ask_on(&self, who: For<'_>) -> bool {
        let in_vain = if self.core.may_refuse() { self.asked || !who.is_replacement() } else { self.asked_in_vain };
        self.ctx.shard_count() > 1 && !in_vain
    }

    /// Whether evicting everything could make room for so many bytes, as far as this shard knows.
    fn can_have(&self, bytes: u64) -> bool {
        let (arena, slab) = (&self.ctx.arena, &self.core.slab);
        let announced = self.ctx.sessions.announced();
        let read = |raw: &u64| {
            let locator = Locator::from_offset(*raw as usize * 8);
            let unit = slab.unit_of(arena, locator);
            let is_mine = slab.exists(unit) && slab.range(arena, unit).0 == *raw;
            let in_limbo = || self.core.limbo.iter().any(|waiting| waiting == locator);
            if is_mine && !in_limbo() { slab.span_charge(arena, locator) } else { 0 }
        };
        bytes + announced.iter().map(read).sum::<u64>() <= arena.obtainable()
    }

    pub(crate) fn out_of_memory(&self) -> Error {
        let ledger = &self.ctx.arena.ledger;
        Error::new(
            ErrorKind::OutOfMemory,
            format!(
                "no room: {} of {} bytes are in use and the eviction policy may not free any; raise max_memory, give \
                 items a deadline, or choose a policy that evicts",
                ledger.used(),
                ledger.room()
            ),
        )
    }

    /// Frees what no reader is inside of.
    pub(crate) fn settle_limbo(&mut self) -> bool {
        let announced = self.ctx.sessions.announced();
        let before = self.core.limbo.len();
        let core = &mut *self.core;
        core.limbo.take_free(&announced, |locator| {
            if let Freed::Unit(unit) = core.slab.free(&self.ctx.arena, locator) {
                core.deadlines.set(unit, None);
            }
        });
        // Usually nothing is left.
        let spans = core.limbo.iter().map(|locator| core.slab.span_charge(&self.ctx.arena, locator)).sum();
        let spans_before = core.limbo.set_held_spans(spans);
        if spans_before != spans {
            self.ctx.arena.hold_spans(spans_before, spans);
        }
        self.core.limbo.len() < before
    }

    /// One round of making space: for a class, or for the arena. `arrival` is the newcomer it is for, if it is for one.
    pub(crate) fn make_space(&mut self, class: Option<ClassId>, arrival: Option<&Arrival>) -> Progress {
        if self.sweep_for_room() {
            return Progress::Made;
        }
        let has_page = class.is_some_and(|c| self.core.slab.classes[c.index()].pages > 0);
        let within = class.filter(|_| has_page && self.ctx.automove() != Automove::Always);
        if within.is_none() && self.move_page(class) {
            return Progress::Made;
        }
        self.evict_some(within, arrival)
    }

    /// Victims of one round: fewer where they would be a visible part of all.
    fn batch(&self) -> u64 {
        (self.core.items / 512).clamp(1, BATCH)
    }

    /// Whether so many rounds of single victims are enough: a page is squeezed out then.
    fn are_enough(&self, rounds: u64) -> bool {
        rounds * self.batch() >= SINGLE_VICTIMS && !self.core.may_refuse()
    }

    /// Evicts a few items.
    fn evict_some(&mut self, within: Option<ClassId>, arrival: Option<&Arrival>) -> Progress {
        let batch = self.batch();
        if within.is_none() && batch > 1 {
            self.busy();
        }
        let (mut left, before) = (0, self.core.chunk_bytes);
        for _ in 0..batch {
            // Of large items, one after the other is enough.
            if before.saturating_sub(self.core.chunk_bytes) >= self.ctx.arena.page_size() as u64 {
                break;
            }
            match self.evict(within, arrival) {
                Progress::Made => left += 1,
                Progress::TurnedAway if left == 0 => return Progress::TurnedAway,
                _ => break,
            }
        }
        self.settle_limbo();
        if left > 0 { Progress::Made } else { Progress::Stuck }
    }

    /// Evicts the policy's victim.
    pub(super) fn evict(&mut self, within: Option<ClassId>, arrival: Option<&Arrival>) -> Progress {
        self.evict_one(within, arrival).map_or_else(|why| why, |_| Progress::Made)
    }

    /// The same; which class a chunk has come free of, or why there is none.
    fn evict_one(&mut self, within: Option<ClassId>, arrival: Option<&Arrival>) -> Result<ClassId, Progress> {
        let kind = self.core.kind;
        if kind == EvictionPolicy::NoEviction || (kind.is_volatile() && self.core.volatile_items == 0) {
            return Err(Progress::Stuck);
        }
        for _ in 0..4 {
            match self.with_policy(within, |policy, shared, view| policy.victim(shared, view, arrival)) {
                Verdict::TurnAway => return Err(Progress::TurnedAway),
                Verdict::None => return Err(Progress::Stuck),
                Verdict::Evict(candidate) => {
                    let (place, locator) = (candidate.handle.place, candidate.handle.locator);
                    let slot = self.shard.table.get(place);
                    if slot.locator() == Some(locator) {
                        let cause = self.end_of(self.item(locator)).unwrap_or(Cause::Evicted);
                        let class = self.ctx.arena.class_of(locator);
                        self.core.counts.reclaimed += u64::from(cause == Cause::Expired);
                        self.remove(Found { place, slot, locator }, cause);
                        return Ok(class);
                    }
                }
            }
        }
        Err(Progress::Stuck)
    }

    /// Whether no reader is inside a unit. `announced` is sorted.
    fn is_unread(&self, unit: UnitId, announced: &[u64]) -> bool {
        let (start, end) = self.core.slab.range(&self.ctx.arena, unit);
        let i = announced.partition_point(|&raw| raw < start);
        announced.get(i).is_none_or(|&raw| raw >= end)
    }

    /// The class that can best spare a page: other than `to`, with so many pages' worth of free chunks.
    fn sparing_class(&self, to: Option<ClassId>, pages: u32) -> Option<ClassId> {
        // Free chunks of all classes together, and some more.
        let free = self.core.slab.owned_bytes.saturating_sub(self.core.chunk_bytes);
        if free < self.ctx.arena.page_size() as u64 {
            return None;
        }
        let classes = &self.ctx.classes;
        let spare = |(id, state): (usize, &crate::slab::ClassState)| {
            let class = ClassId(id as u8);
            let can = state.free >= classes.chunks_per_page(class) * pages && Some(class) != to;
            can.then(|| (u64::from(state.free) * u64::from(classes.chunk_size(class)), class))
        };
        let best = self.core.slab.classes.iter().enumerate().filter_map(spare).max_by_key(|&(bytes, _)| bytes);
        best.map(|(_, class)| class)
    }

    /// Empties a page of the class that can best spare one, other than `to`, and gives it to the arena.
    pub(crate) fn move_page(&mut self, to: Option<ClassId>) -> bool {
        self.sparing_class(to, 1).is_some_and(|class| self.move_page_of(class))
    }

    /// Whether maintenance is to move a page: under [`Automove::Slow`], from a class that keeps a page's worth of free
    /// chunks even so, and not soon after one could not be emptied because it was being read.
    pub(crate) fn has_move(&self) -> bool {
        self.ctx.automove() == Automove::Slow
            && self.now >= self.core.moves_after
            && self.sparing_class(None, SLOW_SPARE).is_some()
    }

    /// Moves such a page. False if there is none, or if it could not be emptied.
    pub(crate) fn move_step(&mut self) -> bool {
        if !self.has_move() {
            return false;
        }
        let moved = self.sparing_class(None, SLOW_SPARE).is_some_and(|class| self.move_page_of(class));
        if !moved {
            self.core.moves_after = self.now + MOVE_RETRY_MS;
        }
        moved
    }

    fn move_page_of(&mut self, class: ClassId) -> bool {
        self.busy();
        let announced = self.ctx.sessions.announced();
        let unread = |unit| self.is_unread(unit, &announced);
        let Some(unit) = self.core.slab.sparsest(class, unread) else { return false };
        let moved = self.empty_page(unit);
        self.core.counts.pages_moved += u64::from(moved);
        if moved {
            note!(self, PageMoved { class: class.index() });
        }
        moved
    }

    /// Gives a page of one class to another, copying its items within their class or evicting them.
    pub(crate) fn reassign(&mut self, from: ClassId, to: ClassId) -> bool {
        let announced = self.ctx.sessions.announced();
        let unread = |unit| self.is_unread(unit, &announced);
        let sparsest = self.core.slab.sparsest(from, unread);
        let slab = &self.core.slab;
        let any = || slab.units_of(from).iter().copied().find(|&unit| slab.unit(unit).pinned == 0 && unread(unit));
        let Some(unit) = sparsest.or_else(any) else { return false };
        self.busy();
        if !self.empty_page(unit) && (self.core.may_refuse() || !self.evict_page(unit)) {
            return false;
        }
        self.core.counts.pages_moved += 1;
        note!(self, PageMoved { class: from.index() });
        if let Ok(Some(page)) = self.ctx.arena.take_page() {
            self.core.slab.add_page(&self.ctx.arena, &self.ctx.classes, to, page);
        }
        true
    }

    /// The items of a page with their hashes. Their places in the index and in the policy's memory, scattered as they
    /// are, are on their way then.
    fn items_of(&self, unit: UnitId) -> Vec<(Locator, u64)> {
        let chunks = self.core.slab.chunks(&self.ctx.arena, unit).filter(|&chunk| !self.item(chunk).is_free());
        let with_hash = chunks.map(|locator| {
            let hash = self.hash_of(locator);
            self.shard.prefetch(hash);
            self.core.policy.prefetch(hash);
            (locator, hash)
        });
        with_hash.collect()
    }

    /// Copies a page's live items to other pages of its class, until nothing is left in it.
    fn empty_page(&mut self, unit: UnitId) -> bool {
        let class = self.core.slab.unit(unit).class;
        self.core.slab.detach(unit);
        for (from, hash) in self.items_of(unit) {
            // Removing what is over may free the last of it, and then the page is somebody else's.
            if !self.core.slab.exists(unit) {
                break;
            }
            // Not in the table: it waits for readers.
            let Some((place, slot)) = self.shard.table.find_locator(hash, from) else { continue };
            if let Some(cause) = self.may_go(self.item(from)) {
                self.remove(Found { place, slot, locator: from }, cause);
                continue;
            }
            let Some(to) = self.core.slab.alloc(&self.ctx.arena, class) else { break };
            self.relocate(Found { place, slot, locator: from }, to);
        }
        self.settle_limbo();
        let gone = !self.core.slab.exists(unit);
        self.core.slab.reattach(unit);
        gone
    }

    /// Copies an item into a fresh chunk of its class and lets the table lead there.
    fn relocate(&mut self, found: Found, to: Locator) {
        let (from, arena) = (found.locator, &self.ctx.arena);
        self.core.slab.copy_item(arena, from, to);
        self.shard.table.rewrite(found.place, |slot| slot.with_locator(to));
        // A use noted in the old copy since it was made; a reader that notes one later sees that the item has moved.
        if let Some((last_use, _)) = self.item(from).idle() {
            self.item(to).used_at(last_use);
        }
        let item = self.item(to);
        let end = item.has_end().then(|| item.ends());
        let (old_unit, new_unit) = (self.core.slab.unit_of(arena, from), self.core.slab.unit_of(arena, to));
        if let Some(end) = end {
            self.core.slab.unit_mut(old_unit).with_end -= 1;
            self.core.slab.unit_mut(new_unit).with_end += 1;
            self.core.deadlines.lower(new_unit, end);
        }
        let size = self.core.slab.unit(old_unit).chunk;
        self.core.limbo.push(from, size);
    }

    /// Frees a page: the way out when single victims, scattered over many classes, free none.
    ///
    /// The class is that of the policy's next victim. It gives up more victims, the policy's as well, until what is
    /// left in its sparsest page has room in its other pages. Where that cannot be, the page with the fewest live bytes
    /// of all is emptied, and what finds no room in its class is evicted.
    pub(super) fn squeeze_page(&mut self, arrival: Option<&Arrival>) -> Progress {
        self.busy();
        for _ in 0..CLASSES {
            match self.evict_one(None, arrival) {
                Err(Progress::TurnedAway) => return Progress::TurnedAway,
                Err(_) => break,
                Ok(ClassId::SPAN) => {
                    self.settle_limbo();
                    return Progress::Made;
                }
                Ok(class) if !self.can_gather(class) => break,
                Ok(class) if self.gather(class) && self.move_page_of(class) => return Progress::Made,
                Ok(_) => {}
            }
        }
        self.squeeze_sparsest()
    }

    /// Whether a page of this class holds few enough items for `gather`.
    fn can_gather(&self, class: ClassId) -> bool {
        let free = self.core.slab.classes[class.index()].free;
        self.ctx.classes.chunks_per_page(class) <= free + VICTIMS_OF_CLASS
    }

    /// Evicts items of a class until its free chunks are a page's worth; false if they do not come to that.
    fn gather(&mut self, class: ClassId) -> bool {
        let per_page = self.ctx.classes.chunks_per_page(class);
        if self.core.slab.classes[class.index()].pages < 2 {
            return false;
        }
        self.core.gathering = true;
        for _ in 0..VICTIMS_OF_CLASS {
            self.settle_limbo();
            let is_enough = self.core.slab.classes[class.index()].free >= per_page;
            if is_enough || self.evict(Some(class), None) != Progress::Made {
                break;
            }
        }
        self.core.gathering = false;
        self.settle_limbo();
        self.core.slab.classes[class.index()].free >= per_page
    }

    /// Empties the page with the fewest live bytes. Not the page of the newest item: it would be gone as soon as it is
    /// stored.
    fn squeeze_sparsest(&mut self) -> Progress {
        let announced = self.ctx.sessions.announced();
        let slab = &self.core.slab;
        let newest = self.core.newest;
        let unread = |unit| Some(unit) != newest && self.is_unread(unit, &announced);
        let sparsest = (0..slab.classes.len()).filter_map(|class| slab.sparsest(ClassId(class as u8), unread));
        let live = |unit: &UnitId| slab.unit(*unit).used * slab.unit(*unit).chunk;
        let any = || slab.all_units().find(|&unit| slab.unit(unit).pinned == 0 && unread(unit));
        let Some(unit) = sparsest.min_by_key(live).or_else(any) else { return Progress::Stuck };
        let is_page = self.core.slab.unit(unit).class != ClassId::SPAN;
        note!(self, PageSqueezed {});
        if is_page && self.empty_page(unit) || self.evict_page(unit) { Progress::Made } else { Progress::Stuck }
    }

    /// Evicts all items of a page; true if that freed it.
    fn evict_page(&mut self, unit: UnitId) -> bool {
        for (locator, hash) in self.items_of(unit) {
            if self.core.slab.exists(unit)
                && !self.item(locator).is_free()
                && let Some((place, slot)) = self.shard.table.find_locator(hash, locator)
            {
                let cause = self.end_of(self.item(locator)).unwrap_or(Cause::Evicted);
                self.remove(Found { place, slot, locator }, cause);
            }
        }
        self.settle_limbo();
        !self.core.slab.exists(unit)
    }

    pub(super) fn random(&mut self) -> u64 {
        self.core.random = self.core.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        crate::policy::mix(self.core.random)
    }
}
