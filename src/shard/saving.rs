//! A snapshot of one shard: what has been saved of it, and the hook by which whoever is about to change an item saves
//! it first.
//!
//! ```text
//!  hashes of the shard   ├──────┼──────┼──────┼──────┼──────┼──────┤   regions: equal parts, some six items each
//!  saved                     1      1      0      1      0      0      a bit each
//!                                          ▲ the walk             ▲ saved by a writer, before its change
//! ```
//! A region is a range of *hashes*, not of buckets. So that an item moves - to its other bucket, to another bucket
//! while the table grows or shrinks, to another chunk - changes nothing: its key, hence its hash, hence its region
//! stay.
//!
//! Why each item of the cut is saved exactly once, and nothing that came later. The *cut* is the moment at which all
//! shards were locked. All that follows happens under this shard's lock, in some order. An item is *old* if it was in
//! the table at the cut, and *live at the cut* if it had not ended, was not cleared and not invalidated by then.
//!
//! 1. While a region is not saved, its items in the table are old ones, with the values and attributes they had at the
//!    cut. For an item can come to the table, or change there, only in `publish_at` and `set_deadline`, and both save
//!    the region first (`before_change`). What readers change without the lock - policy bits, last use - is not part
//!    of what a snapshot promises. Resizing and page moves copy items as they are.
//! 2. An old item that leaves the table does so in `remove` (or by being replaced, see 1), which saves it first, alone
//!    (`before_removal`), if its region is not saved yet. It is not in the table when the region is saved later.
//! 3. Saving a region shows each item in the table whose hash is in it, once: outside of a step of the table each item
//!    is in exactly one slot (`index::table`, invariant 1), and no hook runs inside of a step. By 1 these are the old
//!    items of the region that have not left. With 2, each old item of the region is shown exactly once, as it was at
//!    the cut. The bit is set under the same lock, and no region is saved twice.
//! 4. What is shown is saved if it was live at the cut: its generation is the one that its namespace had then (a
//!    generation is only used again when all that is left of its former life is swept, that is removed, see 2); its
//!    end, which by 1 is still the one it had, was not over; none of its tags had been invalidated (`events::tags`
//!    remembers what tags that are invalidated anew were before).
//! 5. The walk saves every region that is not. So at its end each item live at the cut was saved once, and nothing
//!    else.
//!
//! A write to several keys holds all its shards' locks at once, as the cut does: it is before or after it as a whole.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{Found, Locked, Shard};
use crate::index::Kept;
use crate::policy::Rank;
use crate::slab::{ClassId, Locator, Slot};
use crate::snapshot::buffer::{Block, Buffer, Large, Ready};
use crate::snapshot::record;

/// Regions that the walk saves in one hold of the lock, at most.
const STEP: u64 = 16;
/// Bytes of items that it copies in one hold at most, or those of one region. Less where the buffer is small.
const STEP_BYTES: u64 = 64 << 10;

/// The moment that a snapshot shows.
#[derive(Debug)]
pub(crate) struct Cut {
    /// Internal time.
    pub(crate) now: u64,
    pub(crate) generations: [u8; 256],
    /// The tag invalidations up to then.
    pub(crate) untagged: u64,
}

/// What was saved of one shard. See the module.
#[derive(Debug)]
pub(crate) struct Saving {
    cut: Arc<Cut>,
    buffer: Arc<Buffer>,
    regions: u64,
    saved: Box<[u64]>,
    /// All regions before this one are saved.
    next: u64,
    /// Bytes that the walk saves in one hold.
    step_bytes: u64,
    block: Block,
}

impl Saving {
    fn is_saved(&self, region: u64) -> bool {
        self.saved[(region / 64) as usize] >> (region % 64) & 1 == 1
    }

    fn mark(&mut self, region: u64) {
        self.saved[(region / 64) as usize] |= 1 << (region % 64);
    }
}

/// What a shard needs for a snapshot, made before its lock is taken.
#[derive(Debug)]
pub(crate) struct Prepared {
    regions: u64,
    step_bytes: u64,
    saved: Box<[u64]>,
    block: Block,
}

impl Prepared {
    /// For a shard with a table of so many home buckets: a region for each. The walk is to save about so many bytes at
    /// a time.
    pub(crate) fn new(regions: u64, step_bytes: u64, buffer: &Buffer) -> Prepared {
        let step_bytes = step_bytes.min(STEP_BYTES);
        Prepared { regions, step_bytes, saved: vec![0; regions.div_ceil(64) as usize].into(), block: buffer.block() }
    }

    /// Bytes of its table.
    pub(crate) fn memory(&self) -> u64 {
        self.saved.len() as u64 * 8
    }
}

impl Shard {
    /// Saves the next regions; true when all are saved.
    pub(crate) fn save_step(&self, ctx: &super::Context) -> bool {
        let mut locked = self.lock(ctx);
        locked.busy();
        locked.save_step()
    }
}

impl Locked<'_> {
    /// From now on, what changes is saved first.
    pub(crate) fn begin_saving(&mut self, prepared: Prepared, cut: &Arc<Cut>, buffer: &Arc<Buffer>) {
        let Prepared { regions, step_bytes, saved, block } = prepared;
        let (cut, buffer) = (Arc::clone(cut), Arc::clone(buffer));
        self.core.saving = Some(Box::new(Saving { cut, buffer, regions, saved, next: 0, step_bytes, block }));
    }

    /// The snapshot was given up.
    pub(crate) fn stop_saving(&mut self) {
        self.core.saving = None;
    }

    /// An item of this hash is about to be stored, or changed: everything of its region is saved first. Costs one
    /// branch while there is no snapshot.
    #[inline(always)]
    pub(super) fn before_change(&mut self, hash: u64) {
        if self.core.saving.is_some() {
            self.save_region_of(hash);
        }
    }

    /// The same for an item that is there.
    #[inline(always)]
    pub(super) fn before_change_of(&mut self, found: Found) {
        if self.core.saving.is_some() {
            self.save_region_of(self.hash_of(found.locator));
        }
    }

    /// An item is about to leave the table: it is saved first.
    #[inline(always)]
    pub(super) fn before_removal(&mut self, found: Found) {
        if self.core.saving.is_some() {
            self.save_leaving(found);
        }
    }

    #[cold]
    #[inline(never)]
    fn save_region_of(&mut self, hash: u64) {
        if let Some(mut saving) = self.core.saving.take() {
            let region = self.ctx.hasher.region(hash, saving.regions);
            if !saving.is_saved(region) {
                self.save_regions(&mut saving, region, region);
            }
            self.core.saving = Some(saving);
        }
    }

    #[cold]
    #[inline(never)]
    fn save_leaving(&mut self, found: Found) {
        if let Some(mut saving) = self.core.saving.take() {
            let region = self.ctx.hasher.region(self.hash_of(found.locator), saving.regions);
            if !saving.is_saved(region) {
                let slot = self.shard.table.get(found.place);
                self.save_item(&mut saving, found.locator, slot, found.place);
            }
            self.core.saving = Some(saving);
        }
    }

    /// Saves what is not saved yet of the regions from `first` to `last`.
    fn save_regions(&mut self, saving: &mut Saving, first: u64, last: u64) {
        let (from, to) = self.ctx.hasher.bounds(self.core.id, (first, last), saving.regions);
        let mut near: SmallVec<[(crate::index::Place, Slot, Locator); 128]> = SmallVec::new();
        self.shard.table.each_homed(from, to, |place, slot| {
            if let Some(locator) = slot.locator() {
                self.ctx.arena.prefetch(locator);
                near.push((place, slot, locator));
            }
        });
        for (place, slot, locator) in near {
            let region = self.ctx.hasher.region(self.hash_of(locator), saving.regions);
            if (first..=last).contains(&region) && !saving.is_saved(region) {
                self.save_item(saving, locator, slot, place);
            }
        }
        (first..=last).for_each(|region| saving.mark(region));
    }

    /// Saves one item, if it was live at the cut.
    fn save_item(&self, saving: &mut Saving, locator: Locator, slot: Slot, place: crate::index::Place) {
        let (ctx, item) = (self.ctx, self.item(locator));
        let cut = &*saving.cut;
        let is_over = super::read::is_over(item, cut.now);
        if item.generation() != cut.generations[usize::from(item.namespace())]
            || is_over
            || item.is_tagged() && ctx.tags.had_invalidated(item, cut.untagged)
        {
            return;
        }
        let rank = if self.is_adopted(place) { self.core.policy.rank(slot.bits()) } else { Rank::default() };
        let (len, sessions, ledger) = (item.item_len(), &ctx.sessions, &ctx.arena.ledger);
        let unix = |ms| ctx.to_unix(ms);
        let is_large = ctx.arena.class_of(locator) == ClassId::SPAN && len > ctx.arena.page_size();
        if is_large {
            let mut head =
                Block { items: 1, payload: item.payload_len() as u64, memory: len as u64, ..Block::default() };
            head.bytes.reserve_exact(record::MOST_BEFORE_KEY + item.key_len());
            record::encode_head(&mut head.bytes, item, rank, slot.is_fetched(), unix);
            let value = Kept::new(sessions, locator);
            let large = Large { head, value, value_len: item.value_len() };
            return saving.buffer.push(Ready::Large(large), sessions, ledger);
        }
        let most = record::MOST_BEFORE_KEY + item.payload_len();
        if saving.block.items > 0 && saving.block.bytes.len() + most > saving.block.bytes.capacity() {
            let full = std::mem::replace(&mut saving.block, saving.buffer.block());
            saving.buffer.push(Ready::Block(full), sessions, ledger);
        }
        let block = &mut saving.block;
        block.bytes.reserve_exact(most);
        record::encode_head(&mut block.bytes, item, rank, slot.is_fetched(), unix);
        block.bytes.extend_from_slice(item.value());
        block.items += 1;
        block.payload += item.payload_len() as u64;
        block.memory += len as u64;
    }

    /// The walk's part: some regions that are not saved yet. True when all are; the last block is on its way then.
    fn save_step(&mut self) -> bool {
        let Some(mut saving) = self.core.saving.take() else { return true };
        while saving.next < saving.regions && saving.is_saved(saving.next) {
            saving.next += 1;
        }
        if saving.next < saving.regions {
            let of_region = self.core.chunk_bytes / saving.regions + 1;
            let count = (saving.step_bytes / of_region).clamp(1, STEP);
            let (first, last) = (saving.next, (saving.next + count - 1).min(saving.regions - 1));
            self.save_regions(&mut saving, first, last);
            saving.next = last + 1;
            self.core.saving = Some(saving);
            return false;
        }
        let Saving { block, buffer, .. } = *saving;
        if block.items > 0 {
            buffer.push(Ready::Block(block), &self.ctx.sessions, &self.ctx.arena.ledger);
        } else {
            buffer.recycle(block);
        }
        true
    }
}

/// Check-and-set tokens over a restore: those of a restored cache begin beyond all that the old one had given.
impl Locked<'_> {
    /// The highest token that this shard has given; 0 for none.
    pub(crate) fn highest_token(&self) -> u64 {
        match self.core.next_token - 1 {
            0 => 0,
            last => last << self.ctx.shard_bits() | self.core.id as u64,
        }
    }

    /// Gives no token up to `last` from now on.
    pub(crate) fn skip_tokens(&mut self, last: u64) {
        self.core.next_token = self.core.next_token.max((last >> self.ctx.shard_bits()) + 1);
    }
}
