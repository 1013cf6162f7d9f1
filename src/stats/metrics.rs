//! The engine's metrics under the names that operators of managed memcached and Redis know.

use super::{MemoryReport, Stats};
use crate::api::Cache;

/// Whose names a metric has.
///
/// # Examples
/// ```
/// use larder::View;
/// let cache = larder::Cache::new(1 << 20)?;
/// assert!(cache.metrics(View::Redis).iter().any(|metric| metric.name == "CacheHits"));
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum View {
    /// The memcached engine's.
    Memcached,
    /// The Redis engine's.
    Redis,
}

/// How a metric behaves.
///
/// # Examples
/// ```
/// use larder::{MetricKind, View};
/// let cache = larder::Cache::new(1 << 20)?;
/// let gauges = cache.metrics(View::Redis).into_iter().filter(|metric| metric.kind == MetricKind::Gauge);
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// The growth of another figure since the last reading; here that figure itself, for whoever publishes to subtract.
    Derived,
}

/// One metric.
///
/// # Examples
/// ```
/// use larder::View;
/// for metric in larder::Cache::new(1 << 20)?.metrics(View::Memcached) {
///     println!("{} = {} {}", metric.name, metric.value, metric.unit);
/// }
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// How it behaves.
    pub kind: MetricKind,
    /// `Count`, `Bytes` or `Seconds`.
    pub unit: &'static str,
    /// Its value.
    pub value: u64,
}

const COUNT: &str = "Count";
const BYTES: &str = "Bytes";

fn counter(name: &'static str, value: u64) -> Metric {
    Metric { name, kind: MetricKind::Counter, unit: COUNT, value }
}

fn gauge(name: &'static str, unit: &'static str, value: u64) -> Metric {
    Metric { name, kind: MetricKind::Gauge, unit, value }
}

fn memcached(stats: &Stats, memory: &MemoryReport) -> Vec<Metric> {
    let room = memory.limit.saturating_sub(memory.reserved + memory.index + memory.side);
    vec![
        gauge("BytesUsedForCacheItems", BYTES, memory.chunk_bytes),
        counter("CasBadval", stats.cas_badval),
        counter("CasHits", stats.cas_hits),
        counter("CasMisses", stats.cas_misses),
        counter("CmdFlush", stats.flushes),
        counter("CmdGet", stats.gets),
        counter("CmdSet", stats.sets),
        gauge("CurrItems", COUNT, memory.items),
        counter("DecrHits", stats.decr_hits),
        counter("DecrMisses", stats.decr_misses),
        counter("DeleteHits", stats.delete_hits),
        counter("DeleteMisses", stats.delete_misses),
        counter("Evictions", stats.evictions),
        counter("GetHits", stats.hits),
        counter("GetMisses", stats.misses),
        counter("IncrHits", stats.incr_hits),
        counter("IncrMisses", stats.incr_misses),
        counter("Reclaimed", stats.reclaimed),
        gauge("BytesUsedForHash", BYTES, memory.index),
        counter("CmdTouch", stats.touch_hits + stats.touch_misses),
        counter("EvictedUnfetched", stats.evicted_unfetched),
        counter("ExpiredUnfetched", stats.expired_unfetched),
        counter("SlabsMoved", stats.pages_moved),
        counter("TouchHits", stats.touch_hits),
        counter("TouchMisses", stats.touch_misses),
        Metric { name: "NewItems", kind: MetricKind::Derived, unit: COUNT, value: stats.stored },
        Metric {
            name: "UnusedMemory",
            kind: MetricKind::Derived,
            unit: BYTES,
            value: room.saturating_sub(memory.chunk_bytes),
        },
    ]
}

fn redis(stats: &Stats, memory: &MemoryReport, lag_ms: u64) -> Vec<Metric> {
    vec![
        gauge("CurrItems", COUNT, memory.items),
        counter("Evictions", stats.evictions),
        counter("Reclaimed", stats.expired),
        gauge("BytesUsedForCache", BYTES, memory.used),
        counter("CacheHits", stats.hits),
        counter("CacheMisses", stats.misses),
        // A cache by itself is its own primary.
        gauge("ReplicationLag", "Seconds", lag_ms / 1000),
    ]
}

impl Cache {
    /// The engine's metrics, as one or the other kind of operator knows them.
    ///
    /// # Examples
    /// ```
    /// use larder::View;
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.set(b"k", b"v")?;
    /// let metrics = cache.metrics(View::Memcached);
    /// let sets = metrics.iter().find(|metric| metric.name == "CmdSet").unwrap();
    /// assert_eq!(sets.value, 1);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn metrics(&self, view: View) -> Vec<Metric> {
        let (stats, memory) = (self.stats(), self.memory());
        match view {
            View::Memcached => memcached(&stats, &memory),
            View::Redis => redis(&stats, &memory, self.engine().lag_ms()),
        }
    }
}
