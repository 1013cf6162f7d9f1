//! An embeddable cache engine: byte strings in a fixed amount of memory.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod api;
mod clock;
mod engine;
mod error;
mod expiry;
mod index;
pub mod policy;
mod shard;
mod slab;
mod stats;
mod sync;

pub use api::{
    Arithmetic, Cache, CacheBuilder, CasOutcome, Cursor, Entry, Guard, Iter, Maintenance, Metadata, Reservation,
    SetOptions, SetOutcome, Token, Update, Upkeep,
};
pub use clock::{Clock, ManualClock, SystemClock};
pub use error::{Error, ErrorKind, Result};
pub use policy::{EvictionPolicy, Objective};
pub use shard::Automove;
pub use slab::{Kind, MAX_KEY_LEN, MAX_VALUE_LEN};
pub use stats::{ClassStats, MemoryReport, Metric, MetricKind, ShardStats, Stats, View};
