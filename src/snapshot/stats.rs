//! How a cache's snapshots went: figures for reports and exporters.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::api::Cache;

/// How the snapshots of a cache went that were saved into files. See [`Cache::snapshot_stats`].
///
/// # Examples
/// ```
/// use larder::{Cache, snapshot::SnapshotOptions, storage::Memory};
/// let cache = Cache::new(1 << 20)?;
/// cache.set(b"k", b"v")?;
/// cache.snapshot_to(&Memory::new(), "backup", &SnapshotOptions::new())?;
/// let stats = cache.snapshot_stats();
/// assert_eq!((stats.completed, stats.failed, stats.last_items), (1, 0, 1));
/// assert!(stats.last_taken.is_some() && stats.last_bytes > 0 && !stats.is_saving);
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SnapshotStats {
    /// Snapshots that were completed.
    pub completed: u64,
    /// Those that failed, or were given up.
    pub failed: u64,
    /// Whether one is under way.
    pub is_saving: bool,
    /// When the last completed one was completed, by the cache's clock.
    pub last_taken: Option<SystemTime>,
    /// Items of the last completed one.
    pub last_items: u64,
    /// Bytes of its file.
    pub last_bytes: u64,
    /// How long it took, from its beginning until its file was safe.
    pub last_duration: Duration,
    /// Why the last one failed; None if it did not.
    pub last_error: Option<String>,
    /// Restores that were completed.
    pub restored: u64,
    /// Restores that failed.
    pub restore_failed: u64,
}

impl SnapshotStats {
    pub(super) fn note_completed(&mut self, now_ms: u64, items: u64, bytes: u64, took: Duration) {
        self.completed += 1;
        self.last_taken = Some(UNIX_EPOCH + Duration::from_millis(now_ms));
        (self.last_items, self.last_bytes, self.last_duration) = (items, bytes, took);
        self.last_error = None;
    }

    pub(super) fn note_failed(&mut self, why: String) {
        self.failed += 1;
        self.last_error = Some(why);
    }
}

impl Cache {
    /// How the snapshots of this cache went, and whether one is under way. (Those that a program takes
    /// [step by step](Cache::begin_snapshot) are its own business: they show while they are under way.)
    ///
    /// # Examples
    /// See [`SnapshotStats`].
    pub fn snapshot_stats(&self) -> SnapshotStats {
        let saver = self.engine().saver();
        SnapshotStats { is_saving: saver.buffer.is_on(), ..saver.stats.lock().clone() }
    }
}
