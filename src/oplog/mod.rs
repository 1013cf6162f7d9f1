//! The effect log: what writes did to a cache, numbered in one order, for whoever keeps it or follows it.
//!
//! Every write that changes a cache is an [`Effect`]: these bytes under this key until then, this key is gone, this
//! namespace was cleared. Evictions and expirations are effects too, so whoever applies all of them in order has the
//! same cache, and need not decide anything by itself. An effect gets its number under the lock of its key's shard; the
//! numbers are one order for the whole cache, and agree with the order of each key's writes. An update of several keys
//! is one record.
//!
//! ```text
//!  write, under its shard's lock        after the lock was given back
//!  ─────────────────────────────        ─────────────────────────────────────────────
//!  item visible, effect numbered ─► queue ─► one thread at a time: log.append(batch)
//!                                            then, each writer:    log.commit(number)
//! ```
//! | file | what |
//! |---|---|
//! | `effect` `record` `varint` | effects as bytes, and back; no input or output |
//! | `recorder` | numbers effects, and brings them to the logs in order |
//! | `backlog` | the last records, in memory |
//! | `append` | the append-only file |
//!
//! # Logs of your own
//! Kafka, NATS, a Raft group: whatever keeps bytes in order can be a [`ReplicationLog`].
//! ```
//! use larder::oplog::{Batch, Positions, ReplicationLog};
//! use larder::{Cache, Error, ErrorKind};
//! use std::sync::{Arc, Mutex};
//!
//! /// Keeps everything.
//! #[derive(Debug, Default)]
//! struct Everything(Mutex<(u64, Vec<u8>)>);
//!
//! impl ReplicationLog for Everything {
//!     fn append(&self, batch: &Batch<'_>) -> Result<(), Error> {
//!         let mut kept = self.0.lock().unwrap();
//!         kept.0 = batch.last + 1;
//!         kept.1.extend_from_slice(batch.records);
//!         Ok(())
//!     }
//!     fn read(&self, _from: u64, into: &mut Vec<u8>, _most: usize) -> Result<u64, Error> {
//!         let kept = self.0.lock().unwrap();
//!         into.extend_from_slice(&kept.1);
//!         Ok(kept.0)
//!     }
//!     fn trim(&self, _before: u64) -> Result<(), Error> {
//!         Ok(())
//!     }
//!     fn positions(&self) -> Positions {
//!         Positions::new(1, self.0.lock().unwrap().0.max(1))
//!     }
//! }
//!
//! let log = Arc::new(Everything::default());
//! let cache = Cache::builder().replication_log(log.clone()).build()?;
//! cache.set(b"k", b"v")?;
//! assert_eq!(log.positions().next, 2);
//! # Ok::<(), Error>(())
//! ```

mod append;
mod backlog;
mod effect;
mod record;
mod recorder;
mod varint;

use std::fmt::Debug;

use crate::error::{Error, ErrorKind, Result};

pub use append::{AppendFile, AppendOptions, Cut, Fsync, Recovery};
pub use backlog::Backlog;
pub use effect::{Effect, Item, Several, Tags};
pub use record::{Decoded, Decoder, Record, decode, encode};
pub use recorder::LogStatus;
pub(crate) use recorder::{Grouped, Recorder};

/// Records that go to a log together, in order and without gaps.
///
/// # Examples
/// See [the module](self).
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Batch<'a> {
    /// Number of the first record.
    pub first: u64,
    /// Number of the last.
    pub last: u64,
    /// The records, as [`encode`] writes them.
    pub records: &'a [u8],
    /// The time on the cache's clock, in milliseconds since the Unix epoch.
    pub now_ms: u64,
}

impl<'a> Batch<'a> {
    /// A batch, for those who test a log.
    ///
    /// # Examples
    /// ```
    /// use larder::oplog::{Backlog, Batch, Effect, ReplicationLog, encode};
    /// let mut records = Vec::new();
    /// encode(1, &Effect::Time { unix_ms: 5 }, &mut records);
    /// let backlog = Backlog::new(1 << 20);
    /// backlog.append(&Batch::new(1, 1, &records, 5))?;
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn new(first: u64, last: u64, records: &'a [u8], now_ms: u64) -> Batch<'a> {
        Batch { first, last, records, now_ms }
    }
}

/// What a log has.
///
/// # Examples
/// ```
/// use larder::oplog::Positions;
/// let positions = Positions::new(5, 9).durable(7);
/// assert_eq!((positions.oldest, positions.next, positions.durable), (5, 9, 7));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Positions {
    /// Number of the oldest record that can be read; `next` if there is none.
    pub oldest: u64,
    /// The number after that of the last record; 0 for a log that takes whatever comes first.
    pub next: u64,
    /// The number after that of the last record that outlasts a crash.
    pub durable: u64,
}

impl Positions {
    /// A log that has the records from `oldest` up to, but not, `next`, and none that outlasts a crash.
    ///
    /// # Examples
    /// See [`Positions`].
    pub fn new(oldest: u64, next: u64) -> Positions {
        Positions { oldest, next, durable: 0 }
    }

    /// The same with records up to, but not, `durable` that outlast a crash.
    ///
    /// # Examples
    /// See [`Positions`].
    pub fn durable(self, durable: u64) -> Positions {
        Positions { durable, ..self }
    }
}

/// Keeps, or passes on, what happened to a cache.
///
/// It is called by the cache's writers and by its maintenance, never under a lock of the cache, and may block: writers
/// wait for it then. It must not write to the cache whose log it is, and should not panic. It may write to other
/// caches, as long as their logs do not lead back to this one; what those promise of a write holds for it too.
///
/// An error of [`append`](Self::append) or [`commit`](Self::commit) is the writer's, whose write is not acknowledged
/// then (it may be there all the same). Of the kind [`ErrorKind::LogFailed`] it is final: from then on the cache
/// refuses writes. After any other error the cache refuses writes too, and offers the same records again with the next
/// one, until they are taken.
///
/// # Examples
/// See [the module](self).
pub trait ReplicationLog: Send + Sync + Debug {
    /// Takes the next records. One thread at a time calls this; numbers follow one another without gaps, and after an
    /// error the next batch begins at the same number.
    ///
    /// # Errors
    /// If none of them was taken.
    fn append(&self, batch: &Batch<'_>) -> Result<()>;

    /// Returns when the record of this number is as safe as this log promises; a writer waits here before its write
    /// is acknowledged. Called by several threads at a time.
    ///
    /// # Errors
    /// If it is not, and will not be.
    fn commit(&self, through: u64) -> Result<()> {
        let _ = through;
        Ok(())
    }

    /// Appends records to `into`, from the one with the number `from` on, whole ones, about `most` bytes of them and
    /// at least one if there is one. Returns the number to go on from: `from` itself if there is nothing newer yet.
    ///
    /// # Errors
    /// [`ErrorKind::Gone`] if the record was dropped; the message names the oldest.
    fn read(&self, from: u64, into: &mut Vec<u8>, most: usize) -> Result<u64>;

    /// Nobody will ask for records before this number any more. A log may drop them, at once, later, or never.
    ///
    /// # Errors
    /// Whatever goes wrong.
    fn trim(&self, before: u64) -> Result<()>;

    /// What it has.
    fn positions(&self) -> Positions;

    /// Called by maintenance, a few times a second, for what has to be done in time.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    fn maintain(&self, now_ms: u64) -> Result<()> {
        let _ = now_ms;
        Ok(())
    }

    /// Whether it would like to have all that is in the cache now, in place of its older records.
    fn wants_base(&self) -> bool {
        false
    }

    /// Begins to take all that is in the cache: what is written here stands for all records before `position`. Called
    /// when those have been appended, and before the one of this number is.
    ///
    /// # Errors
    /// [`ErrorKind::NotAllowed`] from logs that do not do that; whatever else goes wrong.
    fn begin_base(&self, position: u64) -> Result<Box<dyn BaseWriter>> {
        let _ = position;
        Err(Error::new(ErrorKind::NotAllowed, "this log keeps records only; there is nothing to rewrite"))
    }
}

/// Takes all that is in a cache, for a log. Dropped before it is finished, it leaves the log as it was.
///
/// # Examples
/// See [`ReplicationLog::begin_base`].
pub trait BaseWriter: Send + Debug {
    /// Takes records, which are numbered from 1 here.
    ///
    /// # Errors
    /// Whatever goes wrong. Nothing more is written then.
    fn write(&mut self, records: &[u8]) -> Result<()>;

    /// All is written: from now on it stands for the records before the position at which it was begun. It shows what
    /// some of the records from there on did, too. Those were appended before this is called, and have to be as safe as
    /// the base before the base counts: without them it would be the cache at no moment.
    ///
    /// # Errors
    /// Whatever goes wrong. The log is as it was then.
    fn finish(self: Box<Self>) -> Result<()>;
}
