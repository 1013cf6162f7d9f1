//! Invalidating many items: by tag, in one store, and by the beginning of their keys, in bounded steps.

use smallvec::SmallVec;

use super::Engine;
use crate::oplog::Effect;
use crate::shard::{Cause, Found};
use crate::slab::{Locator, TagSet};

/// Buckets looked at in one hold of a lock.
const STEP: u64 = 32;

impl Engine {
    /// Invalidates a tag of a namespace: one store, but that a full table of tags waits for a sweep of all items.
    pub(crate) fn invalidate_tag(&self, namespace: u8, tag: &[u8]) {
        let tag = TagSet::hash_in(TagSet::hash(tag), namespace);
        self.before();
        if self.ctx.effects.is_follower() {
            return;
        }
        self.invalidate_hash(namespace, tag);
        // It is so here, whatever the log says.
        let _ = self.ctx.settle_log();
    }

    /// The same of a tag's hash.
    pub(super) fn invalidate_hash(&self, namespace: u8, tag: u64) {
        // What is being loaded may have the tag, and be older than this.
        self.overtake_loads(namespace);
        let mut swept = 0;
        while let Err(needed) = self.try_invalidate(tag, swept) {
            swept = self.untagged_for();
            if swept < needed {
                for shard in self.shards() {
                    while shard.sweep_tags_once(&self.ctx, needed) {}
                }
                swept = self.untagged_for();
            }
        }
    }

    /// Invalidates a tag unless a sweep has to come first. With a log, all locks are held, so that everything that is
    /// stored has its place before or after it in the log as it has in the cache.
    fn try_invalidate(&self, tag: u64, swept: u64) -> Result<(), u64> {
        let (tags, ledger) = (&self.ctx.tags, &self.ctx.arena.ledger);
        if !self.ctx.effects.is_on() {
            return tags.invalidate(tag, swept, ledger);
        }
        let _locks = self.lock_every_shard();
        tags.invalidate(tag, swept, ledger)?;
        self.ctx.effects.record(&Effect::InvalidateTag { tag }, &mut None);
        Ok(())
    }

    /// The tag invalidations that all shards were swept for.
    fn untagged_for(&self) -> u64 {
        self.shards().iter().map(|shard| shard.lock(&self.ctx).untagged_for()).min().unwrap_or_default()
    }

    /// Forgets invalidations that concern no item any more.
    pub(super) fn drop_old_tags(&self) {
        if self.ctx.tags.len() > 0 {
            self.ctx.tags.drop_old(self.untagged_for());
        }
    }

    /// The power of two up to which hashes are dealt with in one step, as large as the tables are now; below 64.
    pub(crate) fn step_bits(&self) -> u32 {
        let least = self.shards().iter().map(|shard| shard.table.hashes_per_bucket()).min().unwrap_or(1);
        least.saturating_mul(STEP).ilog2()
    }

    /// Removes the items of a namespace whose keys begin so, from a cursor on, in one hold of a lock. Adds their number
    /// to `removed`; returns the next cursor, None at the end.
    pub(crate) fn remove_prefix_step(
        &self,
        namespace: u8,
        prefix: &[u8],
        cursor: u64,
        removed: &mut u64,
    ) -> Option<u64> {
        self.before();
        self.before_write();
        if self.ctx.effects.is_follower() {
            return None;
        }
        if cursor == 0 {
            // Keys that are being loaded are not among the items yet.
            self.overtake_loads(namespace);
        }
        let id = self.ctx.hasher.shard(cursor);
        let shard = &self.shards()[id];
        let mut locked = shard.lock(&self.ctx);
        locked.busy();
        let last = self.last_of_step(id, cursor, STEP);
        let mut matching: SmallVec<[(Locator, u64); 64]> = SmallVec::new();
        shard.table.each_in_range(cursor, last, |_, slot| {
            let Some(locator) = slot.locator() else { return };
            let item = locked.item(locator);
            if item.namespace() != namespace || !item.key().starts_with(prefix) {
                return;
            }
            let hash = locked.hash_of(locator);
            if (cursor..=last).contains(&hash) {
                matching.push((locator, hash));
            }
        });
        for (locator, hash) in matching {
            if let Some((place, slot)) = shard.table.find_locator(hash, locator) {
                let end = locked.end_of(locked.item(locator));
                *removed += u64::from(end.is_none());
                locked.remove(Found { place, slot, locator }, end.unwrap_or(Cause::Removed));
            }
        }
        locked.after_write();
        drop(locked);
        // What was removed is gone, whatever the log says: the next write is told.
        let _ = self.ctx.settle_log();
        last.checked_add(1)
    }
}
