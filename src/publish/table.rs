//! The figures that are published under larder's own names: what each is called, what it means, where it comes from.

use crate::loading::LoadStats;
use crate::oplog::LogStatus;
#[cfg(feature = "snapshot")]
use crate::snapshot::SnapshotStats;
use crate::stats::{ClassStats, MemoryReport, ShardStats, Stats};

/// What the figures of the whole cache are read from.
#[derive(Debug)]
pub(super) struct Measure {
    pub(super) stats: Stats,
    pub(super) memory: MemoryReport,
    pub(super) loads: LoadStats,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
}

/// The unit in which a figure is read; times are published in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    Count,
    Bytes,
    Seconds,
    Millis,
    Nanos,
}

impl Scale {
    pub(super) fn factor(self) -> f64 {
        match self {
            Scale::Count | Scale::Bytes | Scale::Seconds => 1.0,
            Scale::Millis => 1e-3,
            Scale::Nanos => 1e-9,
        }
    }
}

/// One figure, read from an `M`.
#[derive(Debug)]
pub(super) struct Figure<M> {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) scale: Scale,
    pub(super) help: &'static str,
    pub(super) read: fn(&M) -> u64,
}

const fn figure<M>(name: &'static str, kind: Kind, scale: Scale, help: &'static str, read: fn(&M) -> u64) -> Figure<M> {
    Figure { name, kind, scale, help, read }
}

const fn total<M>(name: &'static str, help: &'static str, read: fn(&M) -> u64) -> Figure<M> {
    figure(name, Kind::Counter, Scale::Count, help, read)
}

const fn bytes<M>(name: &'static str, help: &'static str, read: fn(&M) -> u64) -> Figure<M> {
    figure(name, Kind::Gauge, Scale::Bytes, help, read)
}

const fn count<M>(name: &'static str, help: &'static str, read: fn(&M) -> u64) -> Figure<M> {
    figure(name, Kind::Gauge, Scale::Count, help, read)
}

/// Of the whole cache.
pub(super) const GLOBAL: [Figure<Measure>; 58] = [
    total("larder_gets_total", "Reads that count.", |m| m.stats.gets),
    total("larder_get_hits_total", "Reads that found a value.", |m| m.stats.hits),
    total("larder_get_misses_total", "Reads that found none.", |m| m.stats.misses),
    total("larder_sets_total", "Calls that store.", |m| m.stats.sets),
    total("larder_touch_hits_total", "Touches that found a value.", |m| m.stats.touch_hits),
    total("larder_touch_misses_total", "Touches that found none.", |m| m.stats.touch_misses),
    total("larder_delete_hits_total", "Removals that found a value.", |m| m.stats.delete_hits),
    total("larder_delete_misses_total", "Removals that found none.", |m| m.stats.delete_misses),
    total("larder_incr_hits_total", "Upward steps of a number that was there.", |m| m.stats.incr_hits),
    total("larder_incr_misses_total", "Upward steps of one that was not.", |m| m.stats.incr_misses),
    total("larder_decr_hits_total", "Downward steps of a number that was there.", |m| m.stats.decr_hits),
    total("larder_decr_misses_total", "Downward steps of one that was not.", |m| m.stats.decr_misses),
    total("larder_cas_hits_total", "Check-and-sets whose token matched.", |m| m.stats.cas_hits),
    total("larder_cas_misses_total", "Check-and-sets without a value.", |m| m.stats.cas_misses),
    total("larder_cas_badval_total", "Check-and-sets with a stale token.", |m| m.stats.cas_badval),
    total("larder_flushes_total", "Clears, of any namespace.", |m| m.stats.flushes),
    total("larder_stored_items_total", "Items stored, also over others.", |m| m.stats.stored),
    total("larder_evictions_total", "Live items removed to make room.", |m| m.stats.evictions),
    total("larder_evicted_unfetched_total", "Evicted items that were never read.", |m| m.stats.evicted_unfetched),
    total("larder_expired_total", "Items removed because they had ended.", |m| m.stats.expired),
    total("larder_expired_unfetched_total", "Expired items that were never read.", |m| m.stats.expired_unfetched),
    total("larder_reclaimed_total", "Expired items removed to make room.", |m| m.stats.reclaimed),
    total("larder_flushed_items_total", "Items of cleared namespaces that were swept.", |m| m.stats.flushed_items),
    total("larder_turned_away_total", "New items that the policy turned away.", |m| m.stats.turned_away),
    total("larder_pages_moved_total", "Slab pages emptied to go to another class.", |m| m.stats.pages_moved),
    total("larder_expired_on_read_total", "Reads that found an item which had ended.", |m| m.stats.expired_on_read),
    total("larder_copied_guards_total", "Guards handed out as copies.", |m| m.stats.copied_guards),
    total("larder_maintenance_runs_total", "Runs of maintenance.", |m| m.stats.maintenance_runs),
    figure(
        "larder_maintenance_cpu_seconds",
        Kind::Counter,
        Scale::Nanos,
        "CPU time that maintenance took since the start.",
        |m| m.stats.maintenance_cpu_ns,
    ),
    total("larder_listener_panics_total", "Panics of eviction listeners.", |m| m.stats.listener_panics),
    total("larder_notices_lost_total", "Removals that a listener was not told of.", |m| m.stats.notices_lost),
    total("larder_loads_total", "Loaders begun by load-through.", |m| m.loads.loads),
    total("larder_load_failures_total", "Loaders that failed, panicked or were cancelled.", |m| m.loads.failures),
    total("larder_load_waits_total", "Callers that waited for another's loader.", |m| m.loads.waits),
    total("larder_load_refreshes_total", "Loaders begun ahead of a value's end.", |m| m.loads.refreshes),
    total("larder_loads_not_stored_total", "Loaded values that were not stored.", |m| m.loads.not_stored),
    total("larder_loads_overtaken_total", "Loads overtaken by a write or removal.", |m| m.loads.overtaken),
    total("larder_loads_unshared_total", "Loads that nobody could wait for.", |m| m.loads.unshared),
    total("larder_known_absent_total", "Calls answered by a remembered absence.", |m| m.loads.known_absent),
    count("larder_loads_in_flight", "Loaders running, that others can wait for.", |m| m.loads.in_flight),
    bytes("larder_loads_in_flight_bytes", "What loads in flight take.", |m| m.loads.in_flight_bytes),
    bytes("larder_absence_bytes", "What remembered absences take.", |m| m.loads.absence_bytes),
    total("larder_commit_failures_total", "How often the system refused memory.", |m| m.stats.commit_failures),
    figure(
        "larder_expiry_lag_seconds",
        Kind::Gauge,
        Scale::Millis,
        "How long the item that has been over for longest has waited to be swept.",
        |m| m.stats.expiry_lag_ms,
    ),
    figure(
        "larder_longest_lock_hold_seconds",
        Kind::Gauge,
        Scale::Nanos,
        "The longest hold of a shard's lock by anything but a plain write.",
        |m| m.stats.longest_lock_hold_ns,
    ),
    count("larder_sessions", "Threads that use the cache: the most there were at once.", |m| m.stats.sessions),
    count("larder_items", "Items that were not cleared.", |m| m.memory.items),
    bytes("larder_memory_limit_bytes", "What may be used.", |m| m.memory.limit),
    bytes("larder_memory_reserved_bytes", "What of the limit items may not use.", |m| m.memory.reserved),
    bytes("larder_memory_used_bytes", "Everything on the ledger.", |m| m.memory.used),
    bytes("larder_memory_slab_bytes", "Slab pages and memory of large values.", |m| m.memory.slab),
    bytes("larder_memory_index_bytes", "The index.", |m| m.memory.index),
    bytes("larder_memory_side_bytes", "Policy state, page tables, sessions, copies.", |m| m.memory.side),
    bytes("larder_memory_pooled_bytes", "Slab pages that hold nothing.", |m| m.memory.pooled),
    bytes("larder_chunk_bytes", "Chunks in which items are.", |m| m.memory.chunk_bytes),
    bytes("larder_payload_bytes", "Keys and values of the items.", |m| m.memory.payload_bytes),
    count("larder_waiting_for_readers", "Removed items whose memory waits.", |m| m.memory.waiting_for_readers),
    bytes("larder_overhead_per_item_bytes", "What an item costs beyond its key and value.", |m| {
        m.memory.overhead_per_item().round() as u64
    }),
];

/// Of the log.
pub(super) const LOG: [Figure<LogStatus>; 13] = [
    count("larder_log_on", "1 if there is a log.", |l| l.is_on.into()),
    count("larder_log_stalled", "1 while the log takes nothing, or if it has failed.", |l| l.trouble.is_some().into()),
    count("larder_log_failed", "1 if the log has failed for good.", |l| l.has_failed.into()),
    total("larder_log_effects_total", "Effects of writes that were numbered.", |l| l.last),
    bytes("larder_log_pending_bytes", "Effects that a log has not taken yet.", |l| l.pending_bytes),
    bytes("larder_log_file_bytes", "The append-only file.", |l| l.file_bytes),
    bytes("larder_log_unsynced_bytes", "What of it would not outlast a crash of the machine.", |l| l.unsynced_bytes),
    total("larder_log_syncs_total", "How often it was brought to the disk.", |l| l.syncs),
    total("larder_log_rewrites_total", "How often it was rewritten.", |l| l.rewrites),
    total("larder_log_rewrite_failures_total", "How often that failed.", |l| l.rewrite_failures),
    count("larder_log_rewriting", "1 while it is being rewritten.", |l| l.is_rewriting.into()),
    total("larder_log_taken_total", "Effects that all logs have taken.", |l| l.taken),
    bytes("larder_backlog_bytes", "Records in the backlogs.", |l| l.backlog_bytes),
];

/// Of the snapshots.
#[cfg(feature = "snapshot")]
pub(super) const SNAPSHOTS: [Figure<SnapshotStats>; 10] = [
    total("larder_snapshots_total", "Snapshots completed.", |s| s.completed),
    total("larder_snapshot_failures_total", "Snapshots that failed.", |s| s.failed),
    count("larder_snapshot_saving", "1 while one is under way.", |s| s.is_saving.into()),
    count("larder_snapshot_last_failed", "1 if the last one failed.", |s| s.last_error.is_some().into()),
    figure(
        "larder_snapshot_last_timestamp_seconds",
        Kind::Gauge,
        Scale::Millis,
        "When the last one was completed, in Unix time; 0 for never.",
        |s| millis_since(s.last_taken),
    ),
    bytes("larder_snapshot_last_bytes", "The file of the last completed one.", |s| s.last_bytes),
    count("larder_snapshot_last_items", "Items of the last completed one.", |s| s.last_items),
    figure(
        "larder_snapshot_last_duration_seconds",
        Kind::Gauge,
        Scale::Nanos,
        "How long the last completed one took.",
        |s| u64::try_from(s.last_duration.as_nanos()).unwrap_or(u64::MAX),
    ),
    total("larder_restores_total", "Restores completed.", |s| s.restored),
    total("larder_restore_failures_total", "Restores that failed.", |s| s.restore_failed),
];

/// Unix milliseconds; 0 for None.
#[cfg(feature = "snapshot")]
fn millis_since(time: Option<std::time::SystemTime>) -> u64 {
    let since = time.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok()).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Of a slab class.
pub(super) const CLASSES: [Figure<ClassStats>; 4] = [
    count("larder_class_pages", "Pages of a class.", |c| c.pages),
    count("larder_class_used_chunks", "Chunks of a class with an item.", |c| c.used_chunks),
    count("larder_class_free_chunks", "Chunks of a class without one.", |c| c.free_chunks),
    bytes("larder_class_used_bytes", "Bytes of a class's chunks with an item.", |c| c.used_chunks * c.chunk_size),
];

/// Of a shard.
pub(super) const SHARDS: [Figure<ShardStats>; 8] = [
    count("larder_shard_items", "Items of a shard.", |s| s.items),
    bytes("larder_shard_chunk_bytes", "Bytes of their chunks.", |s| s.chunk_bytes),
    bytes("larder_shard_owned_bytes", "Bytes of the pages that a shard owns.", |s| s.owned_bytes),
    count("larder_shard_buckets", "Buckets of a shard's table.", |s| s.buckets),
    count("larder_shard_spans", "Items of a shard that are larger than any class.", |s| s.spans),
    total("larder_shard_evictions_total", "Items that a shard evicted.", |s| s.evictions),
    total("larder_shard_expired_total", "Items of a shard that had ended and were removed.", |s| s.expired),
    figure(
        "larder_shard_longest_lock_hold_seconds",
        Kind::Gauge,
        Scale::Nanos,
        "The longest hold of a shard's lock by anything but a plain write.",
        |s| s.longest_lock_hold_ns,
    ),
];
