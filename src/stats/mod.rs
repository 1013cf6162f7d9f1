//! Figures for people and programs: memory, counts, classes, shards, and the metrics by the names operators know.

mod metrics;

use crate::engine::Engine;
use crate::index::Counter;

pub use metrics::{Metric, MetricKind, View};

/// Where the memory of a cache is. All in bytes but `items`.
///
/// # Examples
/// ```
/// let memory = larder::Cache::new(1 << 20)?.memory();
/// assert_eq!(memory.used, memory.slab + memory.index + memory.side);
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryReport {
    /// What may be used.
    pub limit: u64,
    /// What of it items may not use.
    pub reserved: u64,
    /// What the program has charged for memory of its own ([`Cache::charge`](crate::Cache::charge)). It uses up what is
    /// reserved first; items may not use what it is more. Not part of `used`.
    pub outside: u64,
    /// Everything on the ledger.
    pub used: u64,
    /// Slab pages and memory of large values, pooled pages included.
    pub slab: u64,
    /// The index.
    pub index: u64,
    /// Everything else: policy state, page tables, sessions, copies handed out.
    pub side: u64,
    /// Slab pages that hold nothing and wait for a class to need one.
    pub pooled: u64,
    /// Items, of all namespaces, that were not cleared (those that have ended count until they are swept).
    pub items: u64,
    /// Bytes of the chunks in which items are, past generations included.
    pub chunk_bytes: u64,
    /// Bytes of the items' keys and values.
    pub payload_bytes: u64,
    /// Removed items whose memory waits for readers.
    pub waiting_for_readers: u64,
}

impl MemoryReport {
    pub(crate) fn of(engine: &Engine) -> MemoryReport {
        let m = engine.memory();
        MemoryReport {
            limit: m.limit,
            reserved: m.reserved,
            outside: m.outside,
            used: m.used,
            slab: m.slab,
            index: m.index,
            side: m.side,
            pooled: m.pooled,
            items: m.items,
            chunk_bytes: m.chunk_bytes,
            payload_bytes: m.payload,
            waiting_for_readers: m.in_limbo,
        }
    }

    /// Bytes an item costs beyond its key and value, everything counted. 0 without items.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// assert_eq!(cache.memory().overhead_per_item(), 0.0);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn overhead_per_item(&self) -> f64 {
        if self.items == 0 { 0.0 } else { self.used.saturating_sub(self.payload_bytes) as f64 / self.items as f64 }
    }
}

/// What a cache has counted since it was built.
///
/// # Examples
/// ```
/// let stats = larder::Cache::new(1 << 20)?.stats();
/// assert_eq!(stats.hit_ratio(), None);
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Reads that count: hits and misses.
    pub gets: u64,
    /// Reads that found a value.
    pub hits: u64,
    /// Reads that found none.
    pub misses: u64,
    /// Calls that store.
    pub sets: u64,
    /// Touches that found a value.
    pub touch_hits: u64,
    /// Touches that found none.
    pub touch_misses: u64,
    /// Removals that found a value.
    pub delete_hits: u64,
    /// Removals that found none.
    pub delete_misses: u64,
    /// Upward steps of a number that was there.
    pub incr_hits: u64,
    /// Upward steps of one that was not.
    pub incr_misses: u64,
    /// Downward steps of a number that was there.
    pub decr_hits: u64,
    /// Downward steps of one that was not.
    pub decr_misses: u64,
    /// Check-and-sets whose token matched.
    pub cas_hits: u64,
    /// Check-and-sets without a value.
    pub cas_misses: u64,
    /// Check-and-sets with a stale token.
    pub cas_badval: u64,
    /// Clears, of any namespace.
    pub flushes: u64,
    /// Items stored, also over others.
    pub stored: u64,
    /// Items, live, that were removed to make room.
    pub evictions: u64,
    /// Those of them that were never read.
    pub evicted_unfetched: u64,
    /// Items removed because they had ended.
    pub expired: u64,
    /// Those of them that were never read.
    pub expired_unfetched: u64,
    /// Those of them that were removed to make room.
    pub reclaimed: u64,
    /// Items of cleared namespaces, or with invalidated tags, that were swept.
    pub flushed_items: u64,
    /// New items that the policy turned away.
    pub turned_away: u64,
    /// Slab pages emptied to go to another class.
    pub pages_moved: u64,
    /// Reads that found an item which had ended.
    pub expired_on_read: u64,
    /// Reads that found an item of a namespace that was cleared since.
    pub flushed_on_read: u64,
    /// Guards handed out as copies.
    pub copied_guards: u64,
    /// Runs of maintenance.
    pub maintenance_runs: u64,
    /// CPU time they took, in nanoseconds.
    pub maintenance_cpu_ns: u64,
    /// How long the item that has been over for longest has waited to be swept, in milliseconds.
    pub expiry_lag_ms: u64,
    /// The longest that a shard's lock was held by anything but a plain write, in nanoseconds of wall time.
    pub longest_lock_hold_ns: u64,
    /// Threads that use, or used, the cache: the most there were at once.
    pub sessions: u64,
    /// How often the system refused memory.
    pub commit_failures: u64,
    /// Calls of the eviction listener that panicked.
    pub listener_panics: u64,
    /// Removals by the eviction listener itself that it was not told of, because too many waited.
    pub notices_lost: u64,
}

impl Stats {
    pub(crate) fn of(engine: &Engine) -> Stats {
        let (counts, sum) = (engine.counts(), |counter| engine.sum(counter));
        let shards = counts.shards;
        let (hits, misses) = (sum(Counter::GetHits), sum(Counter::GetMisses));
        Stats {
            gets: hits + misses,
            hits,
            misses,
            sets: sum(Counter::Sets),
            touch_hits: sum(Counter::TouchHits),
            touch_misses: sum(Counter::TouchMisses),
            delete_hits: sum(Counter::DeleteHits),
            delete_misses: sum(Counter::DeleteMisses),
            incr_hits: sum(Counter::IncrHits),
            incr_misses: sum(Counter::IncrMisses),
            decr_hits: sum(Counter::DecrHits),
            decr_misses: sum(Counter::DecrMisses),
            cas_hits: sum(Counter::CasHits),
            cas_misses: sum(Counter::CasMisses),
            cas_badval: sum(Counter::CasBadval),
            flushes: engine.flush_count(),
            stored: shards.stored,
            evictions: shards.evictions,
            evicted_unfetched: shards.evicted_unfetched,
            expired: shards.expired,
            expired_unfetched: shards.expired_unfetched,
            reclaimed: shards.reclaimed,
            flushed_items: shards.flushed,
            turned_away: shards.turned_away,
            pages_moved: shards.pages_moved,
            expired_on_read: sum(Counter::ExpiredOnRead),
            flushed_on_read: sum(Counter::FlushedOnRead),
            copied_guards: sum(Counter::CopiedGuards),
            maintenance_runs: counts.maintenance_runs,
            maintenance_cpu_ns: counts.maintenance_cpu_ns,
            expiry_lag_ms: counts.oldest_due_ms,
            longest_lock_hold_ns: shards.longest_hold_ns,
            sessions: counts.sessions,
            commit_failures: counts.commit_failures,
            listener_panics: engine.ctx.hub.panics(),
            notices_lost: engine.ctx.hub.lost(),
        }
    }

    /// Hits of all reads that count; None if there were none.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.get(b"absent")?;
    /// assert_eq!(cache.stats().hit_ratio(), Some(0.0));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn hit_ratio(&self) -> Option<f64> {
        (self.gets > 0).then(|| self.hits as f64 / self.gets as f64)
    }
}

/// A slab class, over all shards.
///
/// # Examples
/// ```
/// let cache = larder::Cache::new(1 << 20)?;
/// cache.set(b"k", b"v")?;
/// let used: u64 = cache.classes().iter().map(|class| class.used_chunks).sum();
/// assert_eq!(used, 1);
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClassStats {
    /// Bytes of a chunk.
    pub chunk_size: u64,
    /// Chunks in a page.
    pub chunks_per_page: u64,
    /// Pages of this class.
    pub pages: u64,
    /// Chunks with an item (or waiting for readers).
    pub used_chunks: u64,
    /// Chunks without one.
    pub free_chunks: u64,
    /// Items, live, that were removed to make room.
    pub evicted: u64,
    /// Those of them that were never read.
    pub evicted_unfetched: u64,
    /// Items removed because they had ended.
    pub expired: u64,
    /// Those of them that were never read.
    pub expired_unfetched: u64,
}

impl ClassStats {
    pub(crate) fn of(engine: &Engine) -> Vec<ClassStats> {
        let one = |c: crate::engine::ClassReport| ClassStats {
            chunk_size: c.chunk_size,
            chunks_per_page: c.chunks_per_page,
            pages: c.pages,
            used_chunks: c.used,
            free_chunks: c.free,
            evicted: c.evicted,
            evicted_unfetched: c.evicted_unfetched,
            expired: c.expired,
            expired_unfetched: c.expired_unfetched,
        };
        engine.classes().into_iter().map(one).collect()
    }
}

/// A shard.
///
/// # Examples
/// ```
/// let cache = larder::Cache::builder().shards(2).build()?;
/// assert_eq!(cache.shards().len(), 2);
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShardStats {
    /// Items, past generations included.
    pub items: u64,
    /// Bytes of their chunks.
    pub chunk_bytes: u64,
    /// Bytes of the pages that the shard owns.
    pub owned_bytes: u64,
    /// Buckets of its table.
    pub buckets: u64,
    /// Items with memory of their own, larger than any class.
    pub spans: u64,
    /// Items evicted.
    pub evictions: u64,
    /// Items that had ended and were removed.
    pub expired: u64,
    /// The longest hold of its lock by anything but a plain write, in nanoseconds.
    pub longest_lock_hold_ns: u64,
}

impl ShardStats {
    pub(crate) fn of(engine: &Engine) -> Vec<ShardStats> {
        let one = |s: crate::engine::ShardReport| ShardStats {
            items: s.items,
            chunk_bytes: s.chunk_bytes,
            owned_bytes: s.owned_bytes,
            buckets: s.buckets,
            spans: s.spans,
            evictions: s.counts.evictions,
            expired: s.counts.expired,
            longest_lock_hold_ns: s.counts.longest_hold_ns,
        };
        engine.shard_reports().into_iter().map(one).collect()
    }
}
