//! Reads on a replica: its data, old data, or an error, as the replica is and was set up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Acquire, Ordering::Release};

use super::options::StaleReads;
use crate::api::Cache;
use crate::error::{Error, ErrorKind, Result};

/// What there is to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Serving {
    /// Nothing that is whole.
    Nothing,
    /// A snapshot is being put in place.
    Loading,
    /// Data that may be old.
    Old,
    /// It follows.
    InSync,
}

/// Read access to a replica's data, for any number of threads. Clones are the same.
///
/// # Examples
/// ```
/// use larder::{Cache, ErrorKind, replication::{Replica, ReplicaOptions}};
/// let replica = Replica::new(&Cache::builder().follower(true).build()?, ReplicaOptions::new("r"))?;
/// assert_eq!(replica.reader().cache().unwrap_err().kind(), ErrorKind::NotInSync);
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ReplicaReader {
    cache: Cache,
    serving: Arc<AtomicU8>,
    stale: StaleReads,
}

impl ReplicaReader {
    pub(super) fn new(cache: &Cache, stale: StaleReads, serving: Serving) -> ReplicaReader {
        ReplicaReader { cache: cache.clone(), serving: Arc::new(AtomicU8::new(serving as u8)), stale }
    }

    pub(super) fn set(&self, serving: Serving) {
        self.serving.store(serving as u8, Release);
    }

    pub(super) fn serving(&self) -> Serving {
        let all = [Serving::Nothing, Serving::Loading, Serving::Old, Serving::InSync];
        all[usize::from(self.serving.load(Acquire)).min(3)]
    }

    /// The cache, to read from. Ask each time: what it answers is true for now. (A read that began before a snapshot
    /// was put in place may miss.)
    ///
    /// # Errors
    /// [`ErrorKind::NotInSync`] if there is nothing yet, a snapshot is being put in place, or, with
    /// [`StaleReads::Refuse`], the data may be old.
    ///
    /// # Examples
    /// See [`ReplicaReader`].
    pub fn cache(&self) -> Result<&Cache> {
        let why = match self.serving() {
            Serving::InSync => return Ok(&self.cache),
            Serving::Old if self.stale == StaleReads::Serve => return Ok(&self.cache),
            Serving::Old => {
                "the link to the primary is down, or a sync is under way, and old data are not to be served"
            }
            Serving::Loading => "a snapshot of the primary is being put in place",
            Serving::Nothing => "this replica has not been in sync yet",
        };
        Err(Error::new(ErrorKind::NotInSync, why))
    }
}
