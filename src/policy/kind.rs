//! The names: which policy a cache follows ([`EvictionPolicy`]) and what the default policy counts ([`Objective`]).

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind};

/// Which item leaves when room is needed.
///
/// The `volatile-` policies choose only among items that have a deadline; when there are none, a write that needs room
/// is refused, as under `noeviction`. All others choose among all items.
///
/// # Examples
/// ```
/// use larder::EvictionPolicy;
/// let policy: EvictionPolicy = "volatile-lru".parse()?;
/// assert_eq!(policy, EvictionPolicy::VolatileLru);
/// assert!(policy.is_volatile());
/// assert_eq!(EvictionPolicy::default().to_string(), "default");
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum EvictionPolicy {
    /// Least recently used, among items with a deadline.
    VolatileLru,
    /// Least recently used.
    AllkeysLru,
    /// Least frequently used with decay, among items with a deadline.
    VolatileLfu,
    /// Least frequently used with decay.
    AllkeysLfu,
    /// Any, among items with a deadline.
    VolatileRandom,
    /// Any.
    AllkeysRandom,
    /// The one whose deadline comes first.
    VolatileTtl,
    /// None: a write that needs room is refused.
    NoEviction,
    /// S3-FIFO (Yang et al., SOSP'23).
    S3Fifo,
    /// SIEVE (Zhang et al., NSDI'24).
    Sieve,
    /// The two-region value policy: best for most loads, and the one that looks at sizes.
    #[default]
    Default,
    /// The two-region value policy, among items with a deadline.
    VolatileDefault,
}

impl EvictionPolicy {
    /// Every policy, in the order of the documentation.
    pub const ALL: [EvictionPolicy; 12] = [
        EvictionPolicy::VolatileLru,
        EvictionPolicy::AllkeysLru,
        EvictionPolicy::VolatileLfu,
        EvictionPolicy::AllkeysLfu,
        EvictionPolicy::VolatileRandom,
        EvictionPolicy::AllkeysRandom,
        EvictionPolicy::VolatileTtl,
        EvictionPolicy::NoEviction,
        EvictionPolicy::S3Fifo,
        EvictionPolicy::Sieve,
        EvictionPolicy::Default,
        EvictionPolicy::VolatileDefault,
    ];

    /// The name that [`FromStr`] reads: the word Redis uses where Redis has the policy.
    ///
    /// # Examples
    /// ```
    /// use larder::EvictionPolicy;
    /// assert_eq!(EvictionPolicy::AllkeysLru.name(), "allkeys-lru");
    /// assert!(EvictionPolicy::ALL.iter().all(|policy| policy.name().parse().ok() == Some(*policy)));
    /// ```
    pub const fn name(self) -> &'static str {
        match self {
            EvictionPolicy::VolatileLru => "volatile-lru",
            EvictionPolicy::AllkeysLru => "allkeys-lru",
            EvictionPolicy::VolatileLfu => "volatile-lfu",
            EvictionPolicy::AllkeysLfu => "allkeys-lfu",
            EvictionPolicy::VolatileRandom => "volatile-random",
            EvictionPolicy::AllkeysRandom => "allkeys-random",
            EvictionPolicy::VolatileTtl => "volatile-ttl",
            EvictionPolicy::NoEviction => "noeviction",
            EvictionPolicy::S3Fifo => "s3-fifo",
            EvictionPolicy::Sieve => "sieve",
            EvictionPolicy::Default => "default",
            EvictionPolicy::VolatileDefault => "volatile-default",
        }
    }

    /// Whether only items with a deadline may be evicted.
    ///
    /// # Examples
    /// ```
    /// use larder::EvictionPolicy;
    /// assert!(EvictionPolicy::VolatileTtl.is_volatile() && !EvictionPolicy::NoEviction.is_volatile());
    /// ```
    pub const fn is_volatile(self) -> bool {
        matches!(
            self,
            EvictionPolicy::VolatileLru
                | EvictionPolicy::VolatileLfu
                | EvictionPolicy::VolatileRandom
                | EvictionPolicy::VolatileTtl
                | EvictionPolicy::VolatileDefault
        )
    }
}

impl fmt::Display for EvictionPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for EvictionPolicy {
    type Err = Error;

    /// Reads a policy's name, in upper or lower case.
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|policy| policy.name().eq_ignore_ascii_case(text)).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            let shown: String = text.chars().take(40).collect();
            Error::new(ErrorKind::InvalidConfig, format!("unknown eviction policy {shown:?}: expected one of {names}"))
        })
    }
}

/// What the default policy maximises. The other policies do not look at sizes.
///
/// # Examples
/// ```
/// use larder::{Cache, Objective};
/// let cache = Cache::builder().objective(Objective::Bytes).build()?;
/// assert_eq!(cache.objective(), Objective::Bytes);
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Objective {
    /// Requests answered: of two items used equally often, the larger leaves first.
    #[default]
    Hits,
    /// Bytes answered: of two items used equally often, the one not used for longer leaves first, whatever its size.
    Bytes,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for policy in EvictionPolicy::ALL {
            assert_eq!(policy.name().parse::<EvictionPolicy>().unwrap(), policy);
            assert_eq!(policy.name().to_uppercase().parse::<EvictionPolicy>().unwrap(), policy);
            assert_eq!(policy.is_volatile(), policy.name().starts_with("volatile"));
        }
        assert_eq!("lru".parse::<EvictionPolicy>().unwrap_err().kind(), ErrorKind::InvalidConfig);
    }
}
