//! Memory: one arena of pages, cut into chunks of one class each, an item a chunk. The mechanism; no choices are made
//! here.
//!
//! | file | what |
//! |---|---|
//! | `os` | reserved address space, committed and given back; cheap clocks |
//! | `ledger` | what every byte is charged to |
//! | `arena` | the pages of the whole cache and who has which |
//! | `class` | chunk sizes |
//! | `page` | one shard's pages: allocate, free, find a sparse one |
//! | `item` | the bytes of one item |
//! | `fill` | values written from outside, piece by piece |
//! | `tagset` | the hashes of an item's tags |
//! | `locator` | where an item is, in 40 bits, and the word in an index slot |

mod arena;
mod class;
mod fill;
mod item;
mod ledger;
mod locator;
mod os;
mod page;
mod tagset;

pub(crate) use arena::{Arena, PageId, Prepaid, Stretch};
pub(crate) use class::{ClassId, Classes};
pub(crate) use fill::Filling;
pub(crate) use item::{Attributes, GENERATIONS, ItemRef, MAX_MARKS};
pub use item::{Kind, MAX_KEY_LEN, MAX_VALUE_LEN};
pub(crate) use ledger::{Account, Ledger};
pub(crate) use locator::{Locator, MAX_ARENA, Slot};
#[cfg(not(loom))]
pub(crate) use os::Region;
#[cfg(test)]
pub(crate) use os::faults;
pub(crate) use os::{coarse_monotonic_ms, file_space, free_space, os_pages, prefetch, process_user, thread_cpu_ns};
pub(crate) use page::{ClassState, Contents, Freed, KeptUnit, Slab, UnitId};
pub(crate) use tagset::{MAX_TAGS, TagSet};
