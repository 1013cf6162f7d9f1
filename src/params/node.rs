//! Node types: presets of memory and threads, and what each lacks.

use super::family::{Family, System};
use super::nearest::{hint, shown};
use super::settings::ParameterValues;
use crate::api::CacheBuilder;
use crate::error::{Error, ErrorKind, Result};

/// A kind of machine, by the name under which operators know it: what memory and how many threads a cache has there.
///
/// # Examples
/// ```
/// use larder::params::{Family, NodeType};
/// let node = NodeType::find("cache.m1.small")?;
/// assert_eq!(node.memcached_max_cache_memory, Some(1300));
/// let cache = node.builder(Family::Memcached1_4)?.build()?;
/// assert_eq!((cache.memory().limit, cache.memory().reserved), (1300 << 20, 100 << 20));
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeType {
    /// Its name.
    pub name: &'static str,
    /// `maxmemory` of a Redis node, in bytes; None if Redis does not run there.
    pub redis_maxmemory: Option<u64>,
    /// `max_cache_memory` of a memcached node, in MiB.
    pub memcached_max_cache_memory: Option<u32>,
    /// `num_threads` of a memcached node.
    pub memcached_num_threads: Option<u32>,
    /// Whether there is an append-only file.
    pub append_only_file: bool,
    /// Whether there are snapshots.
    pub snapshots: bool,
    /// Whether there is automatic failover.
    pub failover: bool,
}

/// `memcached_connections_overhead` of the smallest node type in the default group, in MiB.
pub(super) const SMALLEST: (&str, i64) = ("cache.t1.micro", 13);

impl NodeType {
    /// Every node type.
    ///
    /// # Examples
    /// ```
    /// use larder::params::NodeType;
    /// assert!(NodeType::ALL.iter().any(|node| node.name == "cache.r3.8xlarge" && node.snapshots));
    /// ```
    pub const ALL: &'static [NodeType] = &[
        node("cache.c1.medium", None, 1_000, 2),
        bare("cache.t1.micro", Some(142_606_336), 213, 1),
        bare("cache.t2.micro", Some(581_959_680), 555, 1),
        bare("cache.t2.small", Some(1_665_138_688), 1_588, 1),
        bare("cache.t2.medium", Some(3_461_349_376), 3_301, 2),
        node("cache.m1.small", Some(943_718_400), 1_300, 1),
        node("cache.m1.medium", Some(3_093_299_200), 3_350, 1),
        node("cache.m1.large", Some(7_025_459_200), 7_100, 2),
        node("cache.m1.xlarge", Some(14_889_779_200), 14_600, 4),
        node("cache.m2.xlarge", Some(17_091_788_800), 16_700, 2),
        node("cache.m2.2xlarge", Some(35_022_438_400), 33_800, 4),
        node("cache.m2.4xlarge", Some(70_883_737_600), 68_000, 8),
        node("cache.m3.medium", Some(2_988_441_600), 2_850, 1),
        node("cache.m3.large", Some(6_501_171_200), 6_200, 2),
        node("cache.m3.xlarge", Some(14_260_633_600), 13_600, 4),
        node("cache.m3.2xlarge", Some(29_989_273_600), 28_600, 8),
        node("cache.c1.xlarge", Some(6_501_171_200), 6_600, 8),
        node("cache.r3.large", Some(14_470_348_800), 13_800, 2),
        node("cache.r3.xlarge", Some(30_513_561_600), 29_100, 4),
        node("cache.r3.2xlarge", Some(62_495_129_600), 59_600, 8),
        node("cache.r3.4xlarge", Some(126_458_265_600), 120_600, 16),
        node("cache.r3.8xlarge", Some(254_384_537_600), 242_600, 32),
    ];

    /// The node type of this name, in capitals or not.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; the message says which name is nearest.
    ///
    /// # Examples
    /// ```
    /// use larder::params::NodeType;
    /// assert!(NodeType::find("cache.m3.larg").unwrap_err().to_string().contains("did you mean cache.m3.large?"));
    /// ```
    pub fn find(name: &str) -> Result<&'static NodeType> {
        Self::ALL.iter().find(|node| node.name.eq_ignore_ascii_case(name)).ok_or_else(|| {
            let near = hint(name, Self::ALL.iter().map(|node| node.name));
            Error::new(ErrorKind::NotFound, format!("there is no node type {:?}{near}", shown(name)))
        })
    }

    /// A builder with a family's defaults on this node type.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the node type is none of this system's.
    ///
    /// # Examples
    /// ```
    /// use larder::params::{Family, NodeType};
    /// let cache = NodeType::find("cache.t1.micro")?.builder(Family::Redis2_8)?.build()?;
    /// assert_eq!((cache.memory().limit, cache.policy().name()), (142_606_336, "volatile-lru"));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn builder(&'static self, family: Family) -> Result<CacheBuilder> {
        Ok(ParameterValues::of_default_group(family).node(self)?.builder())
    }

    /// Whether a system runs there.
    ///
    /// # Examples
    /// ```
    /// use larder::params::{NodeType, System};
    /// assert!(!NodeType::find("cache.c1.medium")?.runs(System::Redis));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn runs(&self, system: System) -> bool {
        match system {
            System::Memcached => self.memcached_max_cache_memory.is_some(),
            System::Redis => self.redis_maxmemory.is_some(),
        }
    }
}

/// A row: name, bytes for Redis, MiB for memcached, threads.
const fn node(name: &'static str, redis: Option<u64>, mebibytes: u32, threads: u32) -> NodeType {
    NodeType {
        name,
        redis_maxmemory: redis,
        memcached_max_cache_memory: Some(mebibytes),
        memcached_num_threads: Some(threads),
        append_only_file: true,
        snapshots: true,
        failover: true,
    }
}

/// A row of a type that keeps nothing: without append-only file, snapshots and failover.
const fn bare(name: &'static str, redis: Option<u64>, mebibytes: u32, threads: u32) -> NodeType {
    let all = node(name, redis, mebibytes, threads);
    NodeType { append_only_file: false, snapshots: false, failover: false, ..all }
}
