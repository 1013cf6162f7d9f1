//! Which replica takes the primary's place, and a handle that always points to the primary.

use std::sync::Arc;

use parking_lot::RwLock;

use super::primary::Primary;
use super::replica::ReplicaStatus;
use crate::api::Cache;
use crate::error::{Error, ErrorKind, Result};
use crate::events::{EngineEvent, EngineEventKind, EventLog, EventSource};

/// The replica that is the least behind, as its place in the slice: of those that have whole data, and of the history
/// that most of them have, the one with the highest position; the first of several. None if no one has data.
/// [External](super::ReplicaOptions::external) replicas are never chosen, and do not count.
///
/// Positions of different histories cannot be compared, so a replica of another history is never chosen before one of
/// the history that more have.
///
/// # Examples
/// ```
/// use larder::{Cache, replication::{Replica, ReplicaOptions, least_behind}};
/// let replica = Replica::new(&Cache::builder().follower(true).build()?, ReplicaOptions::new("r"))?;
/// assert_eq!(least_behind(&[replica.status(0)]), None);
/// # Ok::<(), larder::Error>(())
/// ```
pub fn least_behind(replicas: &[ReplicaStatus]) -> Option<usize> {
    let may = |replica: &ReplicaStatus| replica.history.is_some() && !replica.is_external;
    let share = |history| replicas.iter().filter(|other| may(other) && other.history == history).count();
    let have_data = replicas.iter().enumerate().filter(|(_, replica)| may(replica));
    have_data.max_by_key(|(at, replica)| (share(replica.history), replica.position, usize::MAX - at)).map(|(at, _)| at)
}

#[derive(Debug)]
struct Pointed {
    node: String,
    cache: Cache,
    automatic: bool,
}

/// Always the primary's cache, whoever that is: whoever promotes a replica [points](Self::point_to) it there. Clones
/// are the same.
///
/// # Examples
/// ```
/// use larder::{Cache, EventFilter, EventLog, replication::PrimaryHandle};
/// let (one, other) = (Cache::new(1 << 20)?, Cache::new(1 << 20)?);
/// let events = EventLog::new(100);
/// let handle = PrimaryHandle::new("group", "one", &one, events.clone());
/// let writer = handle.clone();
/// handle.point_to("other", &other)?;
/// writer.cache().set(b"k", b"v")?;
/// assert!(other.contains(b"k") && handle.node() == "other");
/// let last = events.query(&EventFilter::new()).pop().unwrap();
/// assert_eq!(last.text, "Failover from master node one to replica node other completed.");
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct PrimaryHandle {
    group: Arc<str>,
    events: EventLog,
    pointed: Arc<RwLock<Pointed>>,
}

impl PrimaryHandle {
    /// A handle on a group's primary, which is the node of this name. Tells that the group was created.
    ///
    /// # Examples
    /// See [`PrimaryHandle`].
    pub fn new(group: &str, node: &str, cache: &Cache, events: EventLog) -> PrimaryHandle {
        let text = format!("Replication group {group} created with primary {node}");
        let kind = EngineEventKind::CreateReplicationGroupComplete;
        events.emit(EngineEvent::new(cache.now_ms(), group, EventSource::ReplicationGroup, kind, text));
        let pointed = Pointed { node: node.to_owned(), cache: cache.clone(), automatic: false };
        PrimaryHandle { group: group.into(), events, pointed: Arc::new(RwLock::new(pointed)) }
    }

    /// The primary's cache now. Ask each time.
    ///
    /// # Examples
    /// See [`PrimaryHandle`].
    pub fn cache(&self) -> Cache {
        self.pointed.read().cache.clone()
    }

    /// The primary's name.
    ///
    /// # Examples
    /// See [`PrimaryHandle`].
    pub fn node(&self) -> String {
        self.pointed.read().node.clone()
    }

    /// Whether failover is automatic. It is the program that notices that a primary has gone, and promotes; this says
    /// whether it may, and who else may.
    ///
    /// # Examples
    /// See [`set_automatic`](Self::set_automatic).
    pub fn is_automatic(&self) -> bool {
        self.pointed.read().automatic
    }

    /// Makes failover automatic.
    ///
    /// # Errors
    /// [`ErrorKind::NotAllowed`] if no replica follows that may take the primary's place, or if the cache has an
    /// append-only file: a primary that comes back from its own log, and a replica that took its place, would be two.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, EventLog, replication::{Primary, PrimaryHandle, PrimaryOptions}};
    /// let cache = Cache::new(1 << 20)?;
    /// let primary = Primary::new(&cache, PrimaryOptions::new())?;
    /// let handle = PrimaryHandle::new("group", "one", &cache, EventLog::new(10));
    /// assert!(handle.set_automatic(&primary).is_err());
    /// assert!(!handle.is_automatic());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn set_automatic(&self, primary: &Primary) -> Result<()> {
        if primary.cache().append_file().is_some() {
            let text = "the append-only file and automatic failover exclude each other: stop the file first";
            return Err(Error::new(ErrorKind::NotAllowed, text));
        }
        if !primary.has_active_replica() {
            return Err(Error::new(
                ErrorKind::NotAllowed,
                "automatic failover needs a replica that follows, and is not external",
            ));
        }
        self.pointed.write().automatic = true;
        Ok(())
    }

    /// Makes failover manual again.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, EventLog, replication::PrimaryHandle};
    /// let handle = PrimaryHandle::new("group", "one", &Cache::new(1 << 20)?, EventLog::new(10));
    /// handle.set_manual();
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn set_manual(&self) {
        self.pointed.write().automatic = false;
    }

    /// Points to a replica that was promoted by hand, and tells of it.
    ///
    /// # Errors
    /// [`ErrorKind::NotAllowed`] while failover is automatic; see [`fail_over`](Self::fail_over).
    ///
    /// # Examples
    /// See [`PrimaryHandle`].
    pub fn point_to(&self, node: &str, cache: &Cache) -> Result<()> {
        if self.is_automatic() {
            let text = "failover is automatic: nobody is promoted by hand until it is manual again";
            return Err(Error::new(ErrorKind::NotAllowed, text));
        }
        self.fail_over(node, cache);
        Ok(())
    }

    /// The same for whoever does the failing over, automatic or not.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, EventLog, replication::PrimaryHandle};
    /// let handle = PrimaryHandle::new("group", "one", &Cache::new(1 << 20)?, EventLog::new(10));
    /// handle.fail_over("other", &Cache::new(1 << 20)?);
    /// assert_eq!(handle.node(), "other");
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn fail_over(&self, node: &str, cache: &Cache) {
        let mut pointed = self.pointed.write();
        let before = std::mem::replace(&mut pointed.node, node.to_owned());
        let former = std::mem::replace(&mut pointed.cache, cache.clone());
        drop(pointed);
        self.events.emit(EngineEvent::failover_completed(cache.now_ms(), &self.group, &before, node));
        // Not under the lock: if it is the last handle, that cache ends here, which takes its time and runs programs'
        // code.
        drop(former);
    }
}
