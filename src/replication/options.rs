//! Settings of primary and replica, with the defaults of the redis view's parameters.

use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::snapshot::SnapshotOptions;
use crate::storage::Storage;

/// The most replicas that a primary has.
const MOST_REPLICAS: usize = 5;

/// Settings of a primary.
///
/// # Examples
/// ```
/// use larder::replication::PrimaryOptions;
/// let options = PrimaryOptions::new().max_replicas(2).min_replicas(1, 10_000).backlog(16 << 20, 0);
/// ```
#[derive(Debug, Clone)]
pub struct PrimaryOptions {
    pub(super) max_replicas: usize,
    pub(super) backlog_bytes: u64,
    pub(super) backlog_ttl_ms: u64,
    pub(super) timeout_ms: u64,
    pub(super) min_replicas: usize,
    pub(super) max_lag_ms: u64,
    pub(super) may_empty: bool,
    pub(super) seed: Option<u64>,
    pub(super) snapshot: SnapshotOptions,
}

impl Default for PrimaryOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl PrimaryOptions {
    /// Five replicas, a backlog of 1 MiB kept for an hour, a time-out of a minute, and no least number of replicas.
    ///
    /// # Examples
    /// See [`PrimaryOptions`].
    pub fn new() -> PrimaryOptions {
        PrimaryOptions {
            max_replicas: MOST_REPLICAS,
            backlog_bytes: 1 << 20,
            backlog_ttl_ms: 3_600_000,
            timeout_ms: 60_000,
            min_replicas: 0,
            max_lag_ms: 10_000,
            may_empty: false,
            seed: None,
            snapshot: SnapshotOptions::new(),
        }
    }

    /// How many replicas may follow, five at most. Default: five.
    ///
    /// # Examples
    /// See [`PrimaryOptions`].
    #[must_use]
    pub fn max_replicas(mut self, count: usize) -> Self {
        self.max_replicas = count.min(MOST_REPLICAS);
        self
    }

    /// How many bytes of records are kept for replicas that come back (`repl-backlog-size`), and for how many
    /// milliseconds after the last one has left (`repl-backlog-ttl`; 0: for ever). It has to hold what is written while
    /// a replica takes a snapshot in, too: otherwise that sync is in vain. On the cache's ledger.
    ///
    /// # Examples
    /// See [`PrimaryOptions`].
    #[must_use]
    pub fn backlog(mut self, bytes: u64, ttl_ms: u64) -> Self {
        (self.backlog_bytes, self.backlog_ttl_ms) = (bytes, ttl_ms);
        self
    }

    /// After how many milliseconds without a byte from a replica its link is given up (`repl-timeout`). Restoring a
    /// snapshot has to take less. Default: a minute.
    ///
    /// # Examples
    /// ```
    /// let options = larder::replication::PrimaryOptions::new().timeout_ms(5_000);
    /// ```
    #[must_use]
    pub fn timeout_ms(mut self, timeout_ms: u64) -> Self {
        self.timeout_ms = timeout_ms.max(1);
        self
    }

    /// Writes are refused while fewer than `count` replicas are good (`min-slaves-to-write`): in sync, and heard of
    /// in the last `max_lag_ms` milliseconds (`min-slaves-max-lag`). With 0 for either, never. Default: never.
    ///
    /// # Examples
    /// See [`PrimaryOptions`].
    #[must_use]
    pub fn min_replicas(mut self, count: usize, max_lag_ms: u64) -> Self {
        (self.min_replicas, self.max_lag_ms) = (count, max_lag_ms);
        self
    }

    /// Whether replicas give up their data for those of a primary whose history began empty, as after a restart.
    /// Default: no; they keep what they have until one is promoted, or [told](super::Replica::accept_empty).
    ///
    /// # Examples
    /// ```
    /// let options = larder::replication::PrimaryOptions::new().may_empty_replicas(true);
    /// ```
    #[must_use]
    pub fn may_empty_replicas(mut self, yes: bool) -> Self {
        self.may_empty = yes;
        self
    }

    /// Where history numbers come from; for tests that repeat themselves. Two primaries of one group, also the same one
    /// after a restart, must not have the same seed. Default: the system's randomness.
    ///
    /// # Examples
    /// ```
    /// let options = larder::replication::PrimaryOptions::new().seed(7);
    /// ```
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Whether the settings contradict each other.
    pub(super) fn check(&self) -> Result<()> {
        let (least, most) = (self.min_replicas, self.max_replicas);
        if least <= most {
            return Ok(());
        }
        let text =
            format!("writes are to need {least} replicas where {most} may follow: raise max_replicas (5 at most)");
        Err(Error::new(ErrorKind::InvalidConfig, text))
    }

    /// How snapshots for replicas are taken: compressed or not, and how long
    /// [writers wait](SnapshotOptions::writers_wait) for them. A thread that writes and drives the primary as well
    /// waits for itself then; where there is none but that, nobody should wait.
    ///
    /// # Examples
    /// ```
    /// use larder::replication::PrimaryOptions;
    /// use larder::snapshot::SnapshotOptions;
    /// use std::time::Duration;
    /// let options = PrimaryOptions::new().snapshot(SnapshotOptions::new().writers_wait(Duration::ZERO));
    /// ```
    #[must_use]
    pub fn snapshot(mut self, options: SnapshotOptions) -> Self {
        self.snapshot = options;
        self
    }
}

/// What a replica's reads are answered with while it is not in sync.
///
/// # Examples
/// See [`ReplicaOptions::stale_reads`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
#[non_exhaustive]
pub enum StaleReads {
    /// With the data that it has (`slave-serve-stale-data yes`).
    #[default]
    Serve,
    /// With an error.
    Refuse,
}

/// Settings of a replica.
///
/// # Examples
/// ```
/// use larder::replication::{ReplicaOptions, StaleReads};
/// let options = ReplicaOptions::new("replica-1").stale_reads(StaleReads::Refuse).timeout_ms(10_000);
/// ```
#[derive(Debug, Clone)]
pub struct ReplicaOptions {
    pub(super) name: String,
    pub(super) timeout_ms: u64,
    pub(super) stale: StaleReads,
    pub(super) storage: Option<Arc<dyn Storage>>,
    pub(super) accept_empty: bool,
    pub(super) external: bool,
    pub(super) backlog_bytes: u64,
    pub(super) seed: Option<u64>,
}

impl ReplicaOptions {
    /// A replica of this name, which is cut after 255 bytes: serves old data while it is not in sync, keeps a backlog
    /// of 1 MiB, and has a time-out of a minute. A second link of the same name takes the place of the first.
    ///
    /// # Examples
    /// See [`ReplicaOptions`].
    pub fn new(name: impl Into<String>) -> ReplicaOptions {
        let mut name: String = name.into();
        name.truncate(name.floor_char_boundary(255));
        ReplicaOptions {
            name,
            timeout_ms: 60_000,
            stale: StaleReads::Serve,
            storage: None,
            accept_empty: false,
            external: false,
            backlog_bytes: 1 << 20,
            seed: None,
        }
    }

    /// After how many milliseconds without a byte from the primary the link is given up (`repl-timeout`).
    ///
    /// # Examples
    /// See [`ReplicaOptions`].
    #[must_use]
    pub fn timeout_ms(mut self, timeout_ms: u64) -> Self {
        self.timeout_ms = timeout_ms.max(1);
        self
    }

    /// What [readers](super::ReplicaReader) get while the link is down or a sync is under way. Default: the data that
    /// are there. While a snapshot is being put in place, it is an error in any case.
    ///
    /// # Examples
    /// See [`ReplicaOptions`].
    #[must_use]
    pub fn stale_reads(mut self, stale: StaleReads) -> Self {
        self.stale = stale;
        self
    }

    /// Where a snapshot is kept until it is whole: a folder, say. Default: in memory, on the cache's ledger, where it
    /// has to fit beside the data that are there.
    ///
    /// # Examples
    /// ```
    /// use larder::replication::ReplicaOptions;
    /// use larder::storage::Memory;
    /// use std::sync::Arc;
    /// let options = ReplicaOptions::new("r").staging(Arc::new(Memory::new()));
    /// ```
    #[must_use]
    pub fn staging(mut self, storage: Arc<dyn Storage>) -> Self {
        self.storage = Some(storage);
        self
    }

    /// Whether data are given up for those of a primary that came back empty. Default: no.
    ///
    /// # Examples
    /// ```
    /// let options = larder::replication::ReplicaOptions::new("r").accept_empty(true);
    /// ```
    #[must_use]
    pub fn accept_empty(mut self, yes: bool) -> Self {
        self.accept_empty = yes;
        self
    }

    /// Whether it is somebody else's: it follows, and [`least_behind`](super::least_behind) never chooses it to take
    /// the primary's place. Default: no.
    ///
    /// # Examples
    /// ```
    /// let options = larder::replication::ReplicaOptions::new("r").external(true);
    /// ```
    #[must_use]
    pub fn external(mut self, yes: bool) -> Self {
        self.external = yes;
        self
    }

    /// How many bytes of records are kept here, for the other replicas, should this one be promoted. On the ledger.
    ///
    /// # Examples
    /// ```
    /// let options = larder::replication::ReplicaOptions::new("r").backlog(4 << 20);
    /// ```
    #[must_use]
    pub fn backlog(mut self, bytes: u64) -> Self {
        self.backlog_bytes = bytes;
        self
    }

    /// Where numbers of links come from; for tests that repeat themselves. Default: the system's randomness.
    ///
    /// # Examples
    /// ```
    /// let options = larder::replication::ReplicaOptions::new("r").seed(7);
    /// ```
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }
}
