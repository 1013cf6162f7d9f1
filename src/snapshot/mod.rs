//! Snapshots: what a cache held at one moment, taken while it is in use, without a fork and without a pause.
//!
//! ```text
//!  shards ──► buffer ──► encode ──► bytes ──► storage        saving: `Cache::snapshot_to`, or step by step
//!  (saving)   bounded    format
//!  shards ◄── decode ◄── sections, several at once ◄── storage       restoring: `Cache::restore_from`
//! ```
//! [`Cache::snapshot_to`](crate::Cache::snapshot_to) saves, [`Cache::restore_from`](crate::Cache::restore_from) and
//! [`Cache::from_snapshot`](crate::Cache::from_snapshot) bring back, and a [`Catalog`] keeps many: by hand, daily, and
//! a last one on closing. `docs/snapshots.md` says how a snapshot comes to be of one moment, and what it costs;
//! `docs/snapshot-format.md` has the file byte by byte.
//!
//! | file | what |
//! |---|---|
//! | `format` `record` `describe` | the bytes: frame, items, description |
//! | `encode` `decode` `compress` | bytes out and in, without input or output |
//! | `buffer` | between those who save and the one who writes; `shard/saving.rs` fills it |
//! | `save` | taking a snapshot |
//! | `restore` | filling a cache from one |
//! | `reader` | looking into one |
//! | `catalog` `daily` | many of them: names, limits, a window a day, retention |
//! | `behind` | writing a piece while the next is made |
//! | `stats` | how they went |
//! | `driver` | who takes the automatic ones, and the last one |
//! | `damage` | what is wrong with a file, and where |

mod behind;
pub(crate) mod buffer;
mod catalog;
mod compress;
mod daily;
mod damage;
pub(crate) mod decode;
mod describe;
pub(crate) mod driver;
mod encode;
mod format;
mod reader;
pub(crate) mod record;
mod restore;
mod save;
mod stats;

pub use catalog::{Catalog, CatalogOptions, CatalogWork, SnapshotKind, SnapshotState, StoredSnapshot};
pub use daily::Window;
pub use describe::Description;
pub use format::Compression;
pub use reader::{SnapshotItem, SnapshotReader};
pub use restore::{RestoreOptions, RestoreProgress, Restored};
pub use save::{SnapshotInfo, SnapshotOptions, SnapshotProgress, SnapshotRun};
pub use stats::SnapshotStats;
