//! What has ended, or was cleared: found page by page, removed in bounded steps.
//!
//! A page is swept when its bound of deadlines is reached, and all pages are swept once after a clear, or after tags
//! were invalidated. Clears are rare and empty much: their sweep helps writes that need room. Invalidations of tags may
//! be many and concern a few items each: their sweep is maintenance's, once in `expiry_lag_ms` at most. A sweep reads
//! the headers of a page's items in order; for those that are over it finds their slots, all bucket lines asked for at
//! once.

use smallvec::SmallVec;

use super::{Context, Found, Locked, Shard};
use crate::slab::prefetch;
use crate::slab::{Locator, UnitId};
use crate::trace::note;

/// A sweep of all pages that is under way.
#[derive(Debug, Clone, Copy)]
struct Pass {
    /// The clears that it deals with.
    clears: u64,
    /// The tag invalidations that it deals with.
    untagged: u64,
    /// The next unit.
    unit: u32,
}

/// How far the sweeps after clears and tag invalidations have come.
#[derive(Debug, Default)]
pub(crate) struct FlushPass {
    under_way: Option<Pass>,
    /// The clears that all finished passes have dealt with.
    done: u64,
    /// The tag invalidations.
    untagged: u64,
    /// When the last pass began.
    begun_at: Option<u64>,
}

impl FlushPass {
    /// With nothing left of the tag invalidations up to a number.
    pub(super) fn after_tags(untagged: u64) -> FlushPass {
        FlushPass { untagged, ..FlushPass::default() }
    }
}

/// Items removed in one step.
const STEP: usize = 128;

impl Shard {
    /// Sweeps one step, in one hold of the lock. False if there is nothing to sweep.
    pub(crate) fn sweep_once(&self, ctx: &Context) -> bool {
        let mut locked = self.lock(ctx);
        if !locked.has_sweeping() {
            return false;
        }
        locked.sweep_step(ctx.settings.expiry_lag_ms);
        true
    }

    /// Sweeps one step or, with nothing to sweep, takes the table a step to its right size. False if there is nothing
    /// to do.
    pub(crate) fn upkeep_once(&self, ctx: &Context) -> bool {
        if self.sweep_once(ctx) {
            return true;
        }
        let mut locked = self.lock(ctx);
        let busy = locked.has_background_sizing();
        if busy {
            locked.size_table();
        }
        busy
    }

    /// Sweeps one step for the tag invalidations up to a number. False if that is done.
    pub(crate) fn sweep_tags_once(&self, ctx: &Context, up_to: u64) -> bool {
        let mut locked = self.lock(ctx);
        let busy = locked.core.flush.untagged < up_to;
        if busy {
            locked.busy();
            locked.flush_step();
        }
        busy
    }

    /// Whether there is anything to do.
    pub(crate) fn needs_upkeep(&self, ctx: &Context) -> bool {
        let locked = self.lock(ctx);
        locked.has_sweeping() || locked.has_background_sizing() || locked.has_move()
    }
}

impl Locked<'_> {
    /// Clears that this shard has been swept for.
    pub(crate) fn swept_for(&self) -> u64 {
        self.core.flush.done
    }

    /// Tag invalidations that this shard has been swept for.
    pub(crate) fn untagged_for(&self) -> u64 {
        self.core.flush.untagged
    }

    /// Whether there is anything to sweep now.
    pub(crate) fn has_sweeping(&self) -> bool {
        let lag_ms = self.ctx.settings.expiry_lag_ms;
        self.core.flush.done < self.clears || self.has_untagged(lag_ms) || self.next_due(lag_ms).is_some()
    }

    /// Whether to sweep for tag invalidations now.
    fn has_untagged(&self, lag_ms: u64) -> bool {
        let flush = &self.core.flush;
        flush.untagged < self.untagged
            && (flush.under_way.is_some() || flush.begun_at.is_none_or(|at| at.saturating_add(lag_ms) <= self.now))
    }

    /// The page to sweep next because something in it ended `lag_ms` ago. With a lag, a page whose items end one after
    /// the other is swept once a lag, not once an item.
    fn next_due(&self, lag_ms: u64) -> Option<UnitId> {
        let (unit, bound) = self.core.deadlines.first()?;
        (bound.saturating_add(lag_ms) <= self.now && self.ctx.effects.may_remove()).then_some(unit)
    }

    /// Sweeps before anything live is evicted. True if it made room.
    pub(super) fn sweep_for_room(&mut self) -> bool {
        for _ in 0..8 {
            if self.next_due(0).is_none() && self.core.flush.done >= self.clears {
                return false;
            }
            let expired = self.core.counts.expired;
            let removed = self.sweep_step(0);
            self.core.counts.reclaimed += self.core.counts.expired - expired;
            if removed > 0 {
                self.settle_limbo();
                return true;
            }
        }
        false
    }

    /// One step: part of a page at most. Returns the items removed.
    fn sweep_step(&mut self, lag_ms: u64) -> usize {
        self.busy();
        if let Some(unit) = self.next_due(lag_ms) {
            return self.sweep_unit(unit).0;
        }
        self.flush_step()
    }

    fn flush_step(&mut self) -> usize {
        let (clears, untagged, flush) = (self.clears, self.untagged, &mut self.core.flush);
        if flush.under_way.is_none() && (flush.done < clears || flush.untagged < untagged) {
            flush.under_way = Some(Pass { clears, untagged, unit: 0 });
            flush.begun_at = Some(self.now);
        }
        let Some(pass) = flush.under_way else { return 0 };
        if pass.unit >= self.core.slab.unit_count() {
            let flush = &mut self.core.flush;
            flush.under_way = None;
            flush.done = pass.clears;
            flush.untagged = pass.untagged;
            return 0;
        }
        let (removed, finished) = self.sweep_unit(UnitId(pass.unit));
        if finished {
            self.core.flush.under_way = Some(Pass { unit: pass.unit + 1, ..pass });
        }
        removed
    }

    /// Removes up to [`STEP`] items of a unit that are over. Returns how many, and whether that was all.
    fn sweep_unit(&mut self, unit: UnitId) -> (usize, bool) {
        if !self.core.slab.exists(unit) {
            self.core.deadlines.set(unit, None);
            return (0, true);
        }
        let mut bound = u64::MAX;
        let mut removed = 0;
        let mut chunks = self.core.slab.chunks(&self.ctx.arena, unit);
        let mut finished = false;
        while !finished && removed == 0 {
            let mut over: SmallVec<[(Locator, u64); STEP]> = SmallVec::new();
            finished = true;
            for locator in chunks.by_ref() {
                let item = self.item(locator);
                if item.is_free() {
                    continue;
                }
                if self.may_go(item).is_some() {
                    let hash = self.hash_of(locator);
                    prefetch(self.shard.table.address(hash));
                    over.push((locator, hash));
                    if over.len() == STEP {
                        finished = false;
                        break;
                    }
                } else if item.has_end() {
                    bound = bound.min(item.ends());
                }
            }
            // None of them may be in the table: they wait for readers, or were never published. Then it goes on.
            for &(locator, hash) in &over {
                if let Some((place, slot)) = self.shard.table.find_locator(hash, locator)
                    && let Some(cause) = self.may_go(self.item(locator))
                {
                    self.remove(Found { place, slot, locator }, cause);
                    removed += 1;
                }
            }
        }
        if finished && self.core.slab.exists(unit) {
            self.core.deadlines.set(unit, (bound != u64::MAX).then_some(bound));
        }
        self.settle_limbo();
        if removed > 0 {
            note!(self, Swept { removed });
        }
        (removed, finished)
    }
}
