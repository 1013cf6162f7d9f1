//! What a cache of another size would be made of, and so how many items it would hold.
//!
//! Chunk sizes follow from the page size, and the page size from the memory: an item of 1,025 bytes takes a chunk of
//! 1,360 from a page of 4 KiB, and one of 1,168 from a page of 8 KiB. Values that are too large for a page take whole
//! pages of the system's.

use super::Measured;
use crate::slab::{Classes, os_pages};

/// Bytes of index and policy an item, until the cache has more to go by.
const USUAL_SIDE: f64 = 16.0;

/// See the module.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) classes: Classes,
    pub(crate) page_size: usize,
    pub(crate) shards: usize,
}

impl Shape {
    /// What an item of this length is to the policy.
    pub(super) fn size(&self, item_len: u32) -> u32 {
        self.classes.of(item_len as usize).map_or(item_len, |class| self.classes.chunk_size(class))
    }

    /// What an item of this size, as the policy sees it, takes of the slab.
    pub(super) fn charge(&self, size: u32) -> u64 {
        match self.classes.of(size as usize) {
            Some(_) => u64::from(size),
            None => os_pages(size as usize).min((size as usize).next_multiple_of(self.page_size)) as u64,
        }
    }

    /// Bytes of the slab that no item takes, given how many those are in a cache of another shape: about half a page of
    /// each class of each shard.
    pub(super) fn slack(&self, other: &Shape, slack: u64) -> f64 {
        slack as f64 * (self.page_size * self.shards) as f64 / (other.page_size * other.shards) as f64
    }
}

/// Mean bytes of an item: as the policy sees it, and in the slab.
#[derive(Debug, Clone, Copy)]
pub(super) struct Means {
    pub(super) size: f64,
    pub(super) charge: f64,
}

/// The sum of sizes that the items of a cache may have, which has `bytes` for them and what belongs to them, `slack`
/// bytes of which are in chunks without an item.
pub(super) fn room(bytes: f64, slack: f64, means: Means, now: &Measured, fixed: u64) -> f64 {
    let side = if now.evictions > 0 && now.items > 0 {
        now.side.saturating_sub(fixed) as f64 / now.items as f64
    } else {
        USUAL_SIDE
    };
    let items = (bytes - slack.min(bytes / 2.0)).max(0.0) / (means.charge + side);
    items * means.size
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(page_size: usize) -> Shape {
        Shape { classes: Classes::new(32, 1.04, page_size).unwrap(), page_size, shards: 1 }
    }

    #[test]
    fn pages_decide_what_an_item_costs() {
        let (small, large) = (shape(4096), shape(8192));
        assert_eq!((small.size(1025), large.size(1025)), (1360, 1168));
        assert_eq!((small.size(3000), large.size(3000)), (3000, 4096), "the first has no chunks so large");
        assert_eq!((small.charge(3000), large.charge(4096), large.charge(9000)), (4096, 4096, 12_288));
        assert_eq!(large.slack(&small, 1000), 2000.0);
    }

    #[test]
    fn everything_that_belongs_to_an_item_takes_room() {
        let now = Measured { items: 100, evictions: 1, side: 3000, ..Measured::default() };
        let means = Means { size: 100.0, charge: 200.0 };
        assert_eq!(room(23_000.0, 1000.0, means, &now, 1000), 10_000.0);
        assert_eq!(room(0.0, 10.0, means, &now, 1000), 0.0);
    }
}
