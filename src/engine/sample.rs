//! What the miss-ratio curve is told: the reads and writes of the keys in its sample. For all others, and for all keys
//! when there is no curve, an operation compares its hash with a bound and that is all.

use std::sync::atomic::Ordering::Relaxed;

use super::{Engine, Key};
use crate::curve::{Estimate, Measured, MissRatioCurve, sample_number};
use crate::index::Counter;
use crate::policy::Incoming;
use crate::slab::{Attributes, ItemRef};

impl Engine {
    /// Whether the curve wants to know what happens to a key.
    #[inline(always)]
    pub(super) fn is_sampled(&self, hash: u64) -> bool {
        sample_number(hash) < self.sampled_below.load(Relaxed)
    }

    fn bound(&self, below: u64) {
        if self.sampled_below.load(Relaxed) != below {
            self.sampled_below.store(below, Relaxed);
        }
    }

    fn incoming(item_len: usize, attributes: &Attributes) -> Incoming {
        Incoming {
            size: item_len as u32,
            namespace: attributes.namespace,
            deadline: attributes.deadline,
            idle_ms: attributes.idle_ms,
        }
    }

    /// A read that counts, and the item it found.
    #[cold]
    #[inline(never)]
    pub(super) fn sample_read(&self, hash: u64, found: Option<ItemRef<'_>>) {
        let found = found.map(|item| Self::incoming(item.item_len(), &item.attributes()));
        self.sample_found(hash, found.as_ref());
    }

    /// The same of an item that was copied.
    #[cold]
    #[inline(never)]
    pub(super) fn sample_copy(&self, hash: u64, item_len: usize, attributes: &Attributes) {
        self.sample_found(hash, Some(&Self::incoming(item_len, attributes)));
    }

    fn sample_found(&self, hash: u64, found: Option<&Incoming>) {
        if let Some(estimate) = &self.estimate {
            self.bound(estimate.read(hash, self.ctx.now(), found));
        }
    }

    /// A value that was stored, or that there was no room for.
    #[cold]
    #[inline(never)]
    pub(super) fn sample_store(&self, hash: u64, item_len: usize, attributes: &Attributes) {
        self.sample_incoming(hash, &Self::incoming(item_len, attributes));
    }

    fn sample_incoming(&self, hash: u64, incoming: &Incoming) {
        let Some(estimate) = &self.estimate else { return };
        let (below, due) = estimate.store(hash, self.ctx.now(), incoming);
        self.bound(below);
        if due {
            self.measure_estimate();
        }
    }

    /// A value that was changed: whatever is there now.
    #[cold]
    #[inline(never)]
    pub(super) fn sample_change(&self, key: Key<'_>) {
        let incoming = self.inspect(key, |item| Self::incoming(item.item_len(), &item.attributes()));
        if let Some(incoming) = incoming {
            self.sample_incoming(key.hash, &incoming);
        }
    }

    /// A deadline that was changed, if it was there to be.
    #[cold]
    #[inline(never)]
    pub(super) fn sample_touch(&self, hash: u64, deadline: u64) {
        if let Some(estimate) = &self.estimate {
            estimate.touch(hash, self.ctx.now(), deadline);
        }
    }

    #[cold]
    #[inline(never)]
    pub(super) fn sample_remove(&self, hash: u64) {
        if let Some(estimate) = &self.estimate {
            estimate.remove(hash);
        }
    }

    fn measured(&self) -> Measured {
        let (memory, counts) = (self.memory(), self.counts());
        let hits = self.sum(Counter::GetHits);
        Measured {
            limit: memory.limit,
            reserved: memory.reserved,
            side: memory.index + memory.side,
            slab: memory.slab - memory.pooled.min(memory.slab),
            items: memory.items,
            chunk_bytes: memory.chunk_bytes,
            evictions: counts.shards.evictions,
            reads: hits + self.sum(Counter::GetMisses),
            hits,
        }
    }

    /// Lets the curve know what the cache is like now. Takes each shard's lock for a moment.
    pub(super) fn measure_estimate(&self) {
        if let Some(estimate) = &self.estimate {
            self.bound(estimate.measure(&self.measured()));
        }
    }

    /// Does something to the curve, if there is one.
    pub(super) fn with_estimate(&self, f: impl FnOnce(&Estimate)) {
        if let Some(estimate) = &self.estimate {
            f(estimate);
        }
    }

    /// What the curve takes of the limit.
    pub(super) fn curve_bytes(&self) -> u64 {
        self.estimate.as_ref().map_or(0, |estimate| estimate.budget())
    }

    pub(crate) fn miss_ratio_curve(&self) -> Option<MissRatioCurve> {
        self.measure_estimate();
        self.estimate.as_ref().map(|estimate| estimate.curve(&self.measured()))
    }
}
