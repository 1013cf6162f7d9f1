//! What happens to the engine as a whole, in the words of the managed service.

use std::fmt;

/// What an engine event is about.
///
/// # Examples
/// ```
/// assert_eq!(larder::EventSource::CacheCluster.to_string(), "cache-cluster");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventSource {
    /// A cache.
    CacheCluster,
    /// A named set of parameters.
    CacheParameterGroup,
    /// A list of those who may connect.
    CacheSecurityGroup,
    /// A list of networks.
    CacheSubnetGroup,
    /// A primary and its replicas.
    ReplicationGroup,
}

impl EventSource {
    fn name(self) -> &'static str {
        match self {
            EventSource::CacheCluster => "cache-cluster",
            EventSource::CacheParameterGroup => "cache-parameter-group",
            EventSource::CacheSecurityGroup => "cache-security-group",
            EventSource::CacheSubnetGroup => "cache-subnet-group",
            EventSource::ReplicationGroup => "replication-group",
        }
    }
}

impl fmt::Display for EventSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Declares the kinds with the service's names and what they usually say.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:expr, $text:literal;)*) => {
        /// What happened to the engine.
        ///
        /// # Examples
        /// ```
        /// use larder::EngineEventKind;
        /// assert_eq!(EngineEventKind::SnapshotComplete.name(), Some("ElastiCache:SnapshotComplete"));
        /// ```
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum EngineEventKind {
            $($(#[$doc])* $kind,)*
        }

        impl EngineEventKind {
            /// Every kind.
            ///
            /// # Examples
            /// ```
            /// use larder::EngineEventKind;
            /// assert!(EngineEventKind::ALL.contains(&EngineEventKind::CacheNodesRebooted));
            /// ```
            pub const ALL: &'static [EngineEventKind] = &[$(EngineEventKind::$kind),*];

            /// The name under which the service notifies of it; None where it only has a text.
            ///
            /// # Examples
            /// See [`EngineEventKind`].
            pub fn name(self) -> Option<&'static str> {
                match self { $(EngineEventKind::$kind => $name,)* }
            }

            /// A text for an event of which there is no more to say.
            ///
            /// # Examples
            /// ```
            /// use larder::EngineEventKind;
            /// assert!(!EngineEventKind::CacheNodesRebooted.text().is_empty());
            /// ```
            pub fn text(self) -> &'static str {
                match self { $(EngineEventKind::$kind => $text,)* }
            }
        }
    };
}

kinds! {
    /// A snapshot is there.
    SnapshotComplete = Some("ElastiCache:SnapshotComplete"), "Snapshot completed";
    /// A snapshot failed; the text has the cause.
    SnapshotFailed = Some("ElastiCache:SnapshotFailed"), "Snapshot failed";
    /// A cache could not be filled from a snapshot; the text has the cause.
    CacheClusterRestoreFailed = Some("ElastiCache:CacheClusterRestoreFailed"), "Restore from a snapshot failed";
    /// Parameters have changed.
    CacheClusterParametersChanged = Some("ElastiCache:CacheClusterParametersChanged"), "Parameters changed";
    /// A node was added.
    AddCacheNodeComplete = Some("ElastiCache:AddCacheNodeComplete"), "Cache node added";
    /// A node could not be added; the text has the cause.
    AddCacheNodeFailed = Some("ElastiCache:AddCacheNodeFailed"), "Cache node not added";
    /// A node was removed.
    RemoveCacheNodeComplete = Some("ElastiCache:RemoveCacheNodeComplete"), "Cache node removed";
    /// Nodes were restarted.
    CacheNodesRebooted = Some("ElastiCache:CacheNodesRebooted"), "Cache nodes restarted";
    /// A node was replaced.
    CacheNodeReplaceComplete = Some("ElastiCache:CacheNodeReplaceComplete"), "Cache node replaced";
    /// A node will be replaced.
    NodeReplacementScheduled = Some("ElastiCache:NodeReplacementScheduled"), "Replacement of a node scheduled";
    /// A node will be replaced at another time.
    NodeReplacementRescheduled = Some("ElastiCache:NodeReplacementRescheduled"), "Replacement of a node rescheduled";
    /// A node will not be replaced.
    NodeReplacementCanceled = Some("ElastiCache:NodeReplacementCanceled"), "Replacement of a node canceled";
    /// A cache is ready for use.
    CacheClusterProvisioningComplete = Some("ElastiCache:CacheClusterProvisioningComplete"), "Cache created";
    /// A cache could not be built; the text has the cause.
    CacheClusterProvisioningFailed = Some("ElastiCache:CacheClusterProvisioningFailed"), "Cache not created";
    /// Who may connect has changed.
    CacheClusterSecurityGroupModified = Some("ElastiCache:CacheClusterSecurityGroupModified"), "Access changed";
    /// A primary has its replicas.
    CreateReplicationGroupComplete = Some("ElastiCache:CreateReplicationGroupComplete"), "Replication group created";
    /// A group of primary and replicas could not be made; the text has the cause.
    CreateReplicationGroupFailed = Some("ElastiCache:CreateReplicationGroupFailed"), "Replication group not created";
    /// A cache has gone.
    DeleteCacheClusterComplete = Some("ElastiCache:DeleteCacheClusterComplete"), "Cache deleted";
    /// A replica took the primary's place ([`EngineEvent::failover_completed`]).
    FailoverComplete = None, "Failover completed.";
    /// Nodes are being recovered ([`EngineEvent::recovering`]).
    RecoveringCacheNodes = None, "Recovering cache nodes.";
    /// Nodes were recovered ([`EngineEvent::recovered`]).
    FinishedRecovery = None, "Finished recovery for cache nodes.";
    /// A log does not take what is written, as when the disk is full; writes are refused until it does. The text has
    /// the cause.
    LogStalled = None, "The log takes no writes";
    /// It takes them again.
    LogResumed = None, "The log takes writes again";
    /// A log has failed for good; writes are refused. The text has the cause.
    LogFailed = None, "The log has failed";
    /// The log was rewritten.
    LogRewritten = None, "The log was rewritten";
    /// The log could not be rewritten, and is as it was; the text has the cause.
    LogRewriteFailed = None, "The log could not be rewritten";
    /// A replica's link was given up by its primary; the text has the cause.
    ReplicaLost = None, "A replica was lost";
    /// A replica keeps its data though its primary came back empty.
    ReplicaKeepsData = None, "The primary came back empty; the replica keeps its data";
    /// A log was replayed; the text says what was found.
    LogReplayed = None, "The log was replayed";
    /// A cache has begun with what the last one held; the text has figures.
    WarmStart = None, "The cache has begun warm";
    /// A cache that might have begun warm has begun empty; the text has the reason.
    ColdStart = None, "The cache has begun empty";
    /// What a cache held could not be kept for the next start; the text has the cause.
    NotKept = None, "The items are not kept for the next start";
}

/// Something that happened to an engine.
///
/// # Examples
/// ```
/// use larder::{EngineEvent, EngineEventKind, EventSource};
/// let kind = EngineEventKind::CacheNodesRebooted;
/// let event = EngineEvent::new(1_700_000_000_000, "sessions", EventSource::CacheCluster, kind, "node 0001");
/// assert_eq!(event.text, "node 0001");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineEvent {
    /// When, in milliseconds since the Unix epoch.
    pub date_ms: u64,
    /// The name of what it happened to: of a cache, say.
    pub source_name: String,
    /// What that is.
    pub source: EventSource,
    /// What happened.
    pub kind: EngineEventKind,
    /// The same in words, with particulars.
    pub text: String,
}

impl EngineEvent {
    /// An event.
    ///
    /// # Examples
    /// See [`EngineEvent`].
    pub fn new(
        date_ms: u64,
        source_name: impl Into<String>,
        source: EventSource,
        kind: EngineEventKind,
        text: impl Into<String>,
    ) -> EngineEvent {
        EngineEvent { date_ms, source_name: source_name.into(), source, kind, text: text.into() }
    }

    /// A replica took the place of a primary.
    ///
    /// # Examples
    /// ```
    /// use larder::EngineEvent;
    /// let event = EngineEvent::failover_completed(0, "group", "a", "b");
    /// assert_eq!(event.text, "Failover from master node a to replica node b completed.");
    /// ```
    pub fn failover_completed(date_ms: u64, group: &str, master: &str, replica: &str) -> EngineEvent {
        let text = format!("Failover from master node {master} to replica node {replica} completed.");
        EngineEvent::new(date_ms, group, EventSource::ReplicationGroup, EngineEventKind::FailoverComplete, text)
    }

    /// Nodes are being recovered.
    ///
    /// # Examples
    /// ```
    /// use larder::EngineEvent;
    /// assert_eq!(EngineEvent::recovering(0, "cache", "0001").text, "Recovering cache nodes 0001.");
    /// ```
    pub fn recovering(date_ms: u64, source_name: &str, nodes: &str) -> EngineEvent {
        let text = format!("Recovering cache nodes {nodes}.");
        EngineEvent::new(date_ms, source_name, EventSource::CacheCluster, EngineEventKind::RecoveringCacheNodes, text)
    }

    /// Nodes were recovered.
    ///
    /// # Examples
    /// ```
    /// use larder::EngineEvent;
    /// assert_eq!(EngineEvent::recovered(0, "cache", "0001").text, "Finished recovery for cache nodes 0001.");
    /// ```
    pub fn recovered(date_ms: u64, source_name: &str, nodes: &str) -> EngineEvent {
        let text = format!("Finished recovery for cache nodes {nodes}.");
        EngineEvent::new(date_ms, source_name, EventSource::CacheCluster, EngineEventKind::FinishedRecovery, text)
    }

    /// What it takes while it waits, in bytes.
    pub(crate) fn weight(&self) -> u64 {
        (size_of::<EngineEvent>() + self.source_name.len() + self.text.len()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_begin_as_the_services_do() {
        for kind in EngineEventKind::ALL {
            if let Some(name) = kind.name() {
                assert_eq!(name.strip_prefix("ElastiCache:"), Some(format!("{kind:?}").as_str()));
            }
        }
        assert_eq!(EngineEventKind::ALL.iter().filter(|kind| kind.name().is_none()).count(), 14);
    }
}
