//! Finding items: per shard a table of 64-byte buckets that readers search without a lock.
//!
//! | file | what |
//! |---|---|
//! | `hash` | key to 64 bits, and what each of the bits is for |
//! | `bucket` | seven tags in one word, seven slots |
//! | `words` | the reserved memory behind a table |
//! | `table` | where a bucket is while the table grows and shrinks; search, insert, remove |
//! | `room` | making room in a full bucket by moving items to their other place |
//! | `resize` | the table's steps from one size to the next |
//! | `hazard` | a thread's session with a cache: announced items, private counters |
//! | `kept` | a table as a warm restart keeps it |
//! | `reader` | a protected item: search, announce, look again |

mod bucket;
mod hash;
pub(crate) mod hazard;
mod kept;
#[cfg(all(test, loom))]
mod models;
mod reader;
mod resize;
mod room;
mod table;
mod words;

#[cfg(all(test, not(loom)))]
mod tests;

pub(crate) use hash::{Key, KeyHasher};
pub(crate) use hazard::{Counter, Session, Sessions};
pub(crate) use kept::{BUCKET_BYTES, Sizes, kept_rank};
#[cfg(feature = "snapshot")]
pub(crate) use reader::Kept;
pub(crate) use reader::{Held, Pinned};
pub(crate) use table::{Place, Search, Table};
