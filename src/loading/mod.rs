//! Load-through: a value is returned, or else loaded, stored and returned, with one loader a key at a time.
//!
//! | file | what |
//! |---|---|
//! | `options` | how to load; what loaders answer; what callers get |
//! | `core` | the steps of a call, for threads and futures, whatever the bytes mean |
//! | `bytes` `bytes_async` | the methods of `Cache`; those of `TypedCache` are in `typed/` |
//! | `future` | running and waiting without a runtime |
//! | `recursion` | loads that would wait for themselves |
//!
//! The table of loads in flight, and how it keeps stale values out, is in `engine/loads.rs`.

mod bytes;
#[cfg(feature = "async")]
mod bytes_async;
mod core;
#[cfg(feature = "async")]
mod future;
mod options;
mod recursion;

pub(crate) use self::bytes::present;
pub(crate) use self::core::{Call, Form};
pub use options::{Load, LoadError, LoadOptions, LoadStats, Loaded};
