//! Named parameters: the knobs of memcached and Redis, by the names that operators know, and what they do here.
//!
//! A [`Parameter`] has a type, a default, allowed values, and a time at which a change takes effect. A
//! [`ParameterValues`] is one value for each parameter of a version: it makes a [`CacheBuilder`](crate::CacheBuilder),
//! and a front-end reads from it what concerns connections, replicas or logs. [`ParameterGroups`] keeps named sets of
//! values that many caches share and that may be changed while they run. A [`NodeType`] is a preset of memory and
//! threads. [`CacheConfig`] is a cache's settings as plain data, for configuration files.
//!
//! ```
//! use larder::params::{EngineVersion, Family, ParameterGroups, SyncState};
//!
//! let groups = ParameterGroups::new();
//! groups.create("sessions", Family::Redis2_8, "web sessions")?;
//! groups.modify("sessions", [("maxmemory-policy", "allkeys-lru")])?;
//!
//! let cache = groups.builder("sessions", EngineVersion::V2_8_21, None)?.max_memory(4 << 20).build()?;
//! groups.attach(&cache, "sessions", EngineVersion::V2_8_21, None)?;
//! groups.modify("sessions", [("reserved-memory", "1MiB"), ("timeout", "5min")])?;      // reaches the cache at once
//! assert_eq!(cache.memory().reserved, 1 << 20);
//! assert_eq!(groups.status(&cache)?.state, SyncState::InSync);
//! assert_eq!(groups.in_force(&cache)?.duration("timeout")?.as_secs(), 300);
//! # Ok::<(), larder::Error>(())
//! ```
//!
//! `docs/parameters.md` lists every parameter.
//!
//! | file | what |
//! |---|---|
//! | `table` `memcached` `redis` | the parameters |
//! | `value` `units` | values, and how they are read from text |
//! | `family` | systems, families, versions: who has which parameter |
//! | `node` | node types |
//! | `settings` | the values for one cache |
//! | `effects` | what each parameter does to the engine |
//! | `log` | what they say about the append-only file and the backlog |
//! | `groups` `registry` | named sets of values |
//! | `attached` | the caches that use them: what took effect, what waits |
//! | `config` `fields` `serde` | a cache's settings as plain data |
//! | `nearest` | what a misspelt name was meant to be |

mod attached;
mod config;
mod effects;
mod family;
mod fields;
mod groups;
mod log;
mod memcached;
mod nearest;
mod node;
mod redis;
mod registry;
#[cfg(feature = "serde")]
mod serde;
mod settings;
mod table;
mod units;
mod value;

pub use attached::{Outcome, ParameterStatus, Status, SyncState};
pub use config::CacheConfig;
pub use family::{EngineVersion, Family, System};
pub use groups::ParameterGroups;
pub use node::NodeType;
pub use registry::{Described, GroupInfo, Source};
pub use settings::ParameterValues;
pub use table::{Applies, Drives, Parameter};
pub use value::{Allowed, Unit, Value, ValueType};
