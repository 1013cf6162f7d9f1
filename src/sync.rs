//! The atomics and fences of everything lock-free, from `std` or, under `--cfg loom`, from loom.
//!
//! The modules that readers enter without a lock (`index`) take them from here only, so that the loom models in
//! `index::models` check the code that ships.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU64, Ordering, fence};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};

pub(crate) use crossbeam_utils::CachePadded;
