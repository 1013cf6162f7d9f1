//! Walking over all items by cursor.
//!
//! A cursor is a hash: all smaller ones have been visited. Shards and buckets are in the order of hashes, whatever the
//! tables' sizes, so a walk visits every key that is there throughout at least once (in fact once, unless a key is
//! removed and stored again), though the tables grow and shrink meanwhile.

use super::Engine;
use crate::slab::Attributes;

/// An item that a walk came by.
#[derive(Debug, Clone)]
pub(crate) struct Visited {
    pub(crate) key: Box<[u8]>,
    pub(crate) value_len: usize,
    pub(crate) attributes: Attributes,
}

/// Buckets visited in one hold of a lock.
const STEP: u64 = 32;

impl Engine {
    /// Visits the items of a namespace from a cursor on, until `count` were found or a few steps were taken. Returns
    /// the next cursor, None at the end.
    pub(crate) fn walk(&self, namespace: u8, mut cursor: u64, count: usize, found: &mut Vec<Visited>) -> Option<u64> {
        self.before();
        // Whoever wants none gets on all the same.
        let (before, count) = (found.len(), count.max(1));
        for _ in 0..64 {
            // Some five items a bucket.
            let wanted = count.max(1).saturating_sub(found.len() - before);
            if wanted == 0 {
                break;
            }
            cursor = self.walk_step(Some(namespace), cursor, (wanted as u64 / 5 + 1).min(STEP), found)?;
        }
        Some(cursor)
    }

    /// The last hash of a step of so many buckets that begins at `cursor`, which is in this shard. Under its lock.
    pub(super) fn last_of_step(&self, shard: usize, cursor: u64, buckets: u64) -> u64 {
        let last_of_shard = match shard + 1 {
            next if next < self.shards.len() => self.ctx.hasher.first_of(next) - 1,
            _ => u64::MAX,
        };
        let stride = self.shards[shard].table.hashes_per_bucket().saturating_mul(buckets);
        cursor.saturating_add(stride - 1).min(last_of_shard)
    }

    /// Visits a few buckets under one hold, for the items of one namespace or of all.
    pub(super) fn walk_step(
        &self,
        namespace: Option<u8>,
        cursor: u64,
        buckets: u64,
        found: &mut Vec<Visited>,
    ) -> Option<u64> {
        let id = self.ctx.hasher.shard(cursor);
        let shard = &self.shards[id];
        let locked = shard.lock(&self.ctx);
        let last = self.last_of_step(id, cursor, buckets);
        shard.table.each_in_range(cursor, last, |_, slot| {
            let Some(locator) = slot.locator() else { return };
            let item = locked.item(locator);
            let hash = self.ctx.hasher.hash(item.namespace(), item.key());
            let is_other = namespace.is_some_and(|namespace| item.namespace() != namespace);
            if is_other || !(cursor..=last).contains(&hash) || locked.is_gone(locator) {
                return;
            }
            found.push(Visited { key: item.key().into(), value_len: item.value_len(), attributes: item.attributes() });
        });
        last.checked_add(1)
    }
}
