//! The last records, in memory, for replicas that come back after a while.
//!
//! Invariants:
//! 1. `chunks` hold whole records, without gaps from `oldest` up to `next`.
//! 2. All chunks together have no more bytes than the limit, but for the newest one, which is always kept.

use std::collections::VecDeque;

use parking_lot::Mutex;

use super::record::{Decoded, decode};
use super::{Batch, Positions, ReplicationLog};
use crate::error::{Error, ErrorKind, Result};
use std::sync::Arc;

use crate::slab::{Account, Arena};

/// Bytes of a chunk from which on the next batch begins another one.
const CHUNK: usize = 16 << 10;
/// Bytes charged for a chunk beside its own.
const CHUNK_OVERHEAD: u64 = 64;

#[derive(Debug)]
struct Chunk {
    first: u64,
    records: Vec<u8>,
}

#[derive(Debug, Default)]
struct Kept {
    chunks: VecDeque<Chunk>,
    next: u64,
    bytes: u64,
    limit: u64,
    /// How long it is kept when nobody reads; 0 for ever.
    ttl_ms: u64,
    readers: u64,
    /// Since when nobody has read.
    idle_since: Option<u64>,
    /// Whose memory it is.
    arena: Option<Arc<Arena>>,
    charged: u64,
}

/// A bounded log in memory: what is older than its last bytes is dropped. It outlasts nothing.
///
/// Its memory is on the ledger of the cache that it was given to
/// ([`CacheBuilder::backlog`](crate::CacheBuilder::backlog)).
///
/// # Examples
/// ```
/// use larder::oplog::{Backlog, Decoder, ReplicationLog};
/// use larder::Cache;
/// use std::sync::Arc;
/// let backlog = Arc::new(Backlog::new(1 << 20));
/// let cache = Cache::builder().replication_log(backlog.clone()).build()?;
/// cache.set(b"k", b"v")?;
/// let mut records = Vec::new();
/// assert_eq!(backlog.read(1, &mut records, 1 << 20)?, 2);
/// let mut decoder = Decoder::new(1);
/// decoder.push(&records);
/// assert_eq!(decoder.next()?.map(|record| record.sequence), Some(1));
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug)]
pub struct Backlog(Mutex<Kept>);

impl Backlog {
    /// A backlog of so many bytes at most, or of one batch, if that is more.
    ///
    /// # Examples
    /// See [`Backlog`].
    pub fn new(bytes: u64) -> Backlog {
        Backlog(Mutex::new(Kept { limit: bytes, ..Kept::default() }))
    }

    /// Drops everything when nobody has been reading for `ttl_ms` milliseconds; 0, at first, for never.
    ///
    /// # Examples
    /// ```
    /// use larder::oplog::Backlog;
    /// let backlog = Backlog::new(1 << 20).time_to_live_ms(3_600_000);
    /// ```
    pub fn time_to_live_ms(self, ttl_ms: u64) -> Backlog {
        self.0.lock().ttl_ms = ttl_ms;
        self
    }

    /// Changes how many bytes it keeps, and how long when nobody reads, in milliseconds.
    ///
    /// # Examples
    /// ```
    /// use larder::oplog::Backlog;
    /// let backlog = Backlog::new(1 << 20);
    /// backlog.set_limits(16 << 10, 0);
    /// ```
    pub fn set_limits(&self, bytes: u64, ttl_ms: u64) {
        let mut kept = self.0.lock();
        kept.limit = bytes;
        kept.ttl_ms = ttl_ms;
        kept.fit();
    }

    /// How many bytes it keeps, and for how many milliseconds when nobody reads (0: for ever).
    ///
    /// # Examples
    /// ```
    /// use larder::oplog::Backlog;
    /// assert_eq!(Backlog::new(1 << 20).time_to_live_ms(5_000).limits(), (1 << 20, 5_000));
    /// ```
    pub fn limits(&self) -> (u64, u64) {
        let kept = self.0.lock();
        (kept.limit, kept.ttl_ms)
    }

    /// Notes that a replica follows: while one does, the time to live does not count. Each is to be taken off again by
    /// [`remove_reader`](Self::remove_reader).
    ///
    /// # Examples
    /// ```
    /// use larder::oplog::Backlog;
    /// let backlog = Backlog::new(1 << 20);
    /// backlog.add_reader();
    /// backlog.remove_reader();
    /// ```
    pub fn add_reader(&self) {
        let mut kept = self.0.lock();
        kept.readers += 1;
        kept.idle_since = None;
    }

    /// Notes that a replica has left.
    ///
    /// # Examples
    /// See [`add_reader`](Self::add_reader).
    pub fn remove_reader(&self) {
        let mut kept = self.0.lock();
        kept.readers = kept.readers.saturating_sub(1);
    }

    /// Bytes of the records that it has.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::oplog::Backlog::new(1 << 20).bytes(), 0);
    /// ```
    pub fn bytes(&self) -> u64 {
        self.0.lock().bytes
    }

    /// Puts its memory on a cache's ledger.
    pub(crate) fn charge_to(&self, arena: Arc<Arena>) {
        let mut kept = self.0.lock();
        if kept.arena.is_none() {
            kept.arena = Some(arena);
            kept.settle();
        }
    }
}

impl Kept {
    fn drop_oldest(&mut self) {
        if let Some(chunk) = self.chunks.pop_front() {
            self.bytes -= chunk.records.len() as u64;
        }
    }

    /// Drops what is too much (invariant 2).
    fn fit(&mut self) {
        while self.bytes > self.limit && self.chunks.len() > 1 {
            self.drop_oldest();
        }
        self.settle();
    }

    /// Lets the ledger know what it takes.
    fn settle(&mut self) {
        let Some(arena) = &self.arena else { return };
        let now = self.chunks.iter().map(|chunk| chunk.records.capacity() as u64 + CHUNK_OVERHEAD).sum::<u64>();
        if now > self.charged {
            arena.ledger.force(Account::Side, now - self.charged);
        } else {
            arena.ledger.release(Account::Side, self.charged - now);
        }
        self.charged = now;
    }

    fn oldest(&self) -> u64 {
        self.chunks.front().map_or(self.next, |chunk| chunk.first)
    }
}

impl Drop for Backlog {
    fn drop(&mut self) {
        let kept = self.0.get_mut();
        kept.chunks.clear();
        kept.settle();
    }
}

impl ReplicationLog for Backlog {
    fn append(&self, batch: &Batch<'_>) -> Result<()> {
        let mut kept = self.0.lock();
        if kept.next != batch.first {
            // A gap: what was before is of no use to anybody.
            kept.chunks.clear();
            kept.bytes = 0;
        }
        match kept.chunks.back_mut() {
            Some(chunk) if chunk.records.len() < CHUNK => chunk.records.extend_from_slice(batch.records),
            _ => kept.chunks.push_back(Chunk { first: batch.first, records: batch.records.to_vec() }),
        }
        kept.bytes += batch.records.len() as u64;
        kept.next = batch.last + 1;
        kept.fit();
        Ok(())
    }

    fn read(&self, from: u64, into: &mut Vec<u8>, most: usize) -> Result<u64> {
        let kept = self.0.lock();
        let (oldest, next) = (kept.oldest(), kept.next);
        if from < oldest || from > next.max(1) {
            return Err(Error::new(
                ErrorKind::Gone,
                format!("record {from} is not in the backlog: it has those from {oldest} up to, but not, {next}"),
            ));
        }
        let at = kept.chunks.partition_point(|chunk| chunk.first <= from).saturating_sub(1);
        let (mut number, start) = (from, into.len());
        for chunk in kept.chunks.range(at..) {
            let mut records = &chunk.records[..];
            while let Decoded::Record(record, len) = decode(records) {
                if record.sequence >= from {
                    if into.len() > start && into.len() - start + len > most {
                        return Ok(number);
                    }
                    into.extend_from_slice(&records[..len]);
                    number = record.sequence + 1;
                }
                records = &records[len..];
            }
        }
        Ok(number)
    }

    fn trim(&self, before: u64) -> Result<()> {
        let mut kept = self.0.lock();
        while kept.chunks.get(1).is_some_and(|second| second.first <= before)
            || (kept.next <= before && !kept.chunks.is_empty())
        {
            kept.drop_oldest();
        }
        kept.settle();
        Ok(())
    }

    fn positions(&self) -> Positions {
        let kept = self.0.lock();
        Positions::new(kept.oldest(), kept.next)
    }

    fn maintain(&self, now_ms: u64) -> Result<()> {
        let mut kept = self.0.lock();
        if kept.ttl_ms == 0 || kept.readers > 0 {
            kept.idle_since = None;
        } else if now_ms.saturating_sub(*kept.idle_since.get_or_insert(now_ms)) >= kept.ttl_ms {
            kept.chunks.clear();
            kept.bytes = 0;
            kept.settle();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Decoder, Effect, Item, encode};
    use super::*;

    fn append(backlog: &Backlog, first: u64, last: u64) {
        let mut records = Vec::new();
        for number in first..=last {
            encode(number, &Effect::Set(Item::new(0, &number.to_le_bytes(), &[7; 1000])), &mut records);
        }
        backlog.append(&Batch::new(first, last, &records, 0)).unwrap();
    }

    fn numbers(backlog: &Backlog, from: u64, most: usize) -> Vec<u64> {
        let mut records = Vec::new();
        let next = backlog.read(from, &mut records, most).unwrap();
        let mut decoder = Decoder::new(from);
        decoder.push(&records);
        let mut numbers = Vec::new();
        while let Some(record) = decoder.next().unwrap() {
            numbers.push(record.sequence);
        }
        assert_eq!((next, decoder.offset()), (from + numbers.len() as u64, records.len() as u64));
        numbers
    }

    #[test]
    fn it_keeps_the_last_bytes_and_names_the_oldest() {
        let backlog = Backlog::new(64 << 10);
        for batch in 0..100 {
            append(&backlog, batch * 3 + 1, batch * 3 + 3);
            assert!(backlog.bytes() <= 64 << 10);
        }
        let positions = backlog.positions();
        assert!(positions.oldest > 200 && positions.next == 301, "{positions:?}");
        let error = backlog.read(positions.oldest - 1, &mut Vec::new(), 10).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Gone);
        assert!(error.to_string().contains(&format!("from {}", positions.oldest)), "{error}");
        assert_eq!(backlog.read(302, &mut Vec::new(), 10).unwrap_err().kind(), ErrorKind::Gone);
        assert_eq!(numbers(&backlog, 301, 10), [0; 0]);
        assert_eq!(numbers(&backlog, 299, 1 << 20), [299, 300]);
        assert_eq!(numbers(&backlog, 290, 1), [290]);
        assert_eq!(numbers(&backlog, 290, 2_500), [290, 291]);
        backlog.trim(280).unwrap();
        assert!((260..=280).contains(&backlog.positions().oldest));
        backlog.trim(301).unwrap();
        assert_eq!((backlog.bytes(), backlog.positions()), (0, Positions::new(301, 301)));
    }

    #[test]
    fn it_is_dropped_when_nobody_reads_for_long() {
        let backlog = Backlog::new(64 << 10).time_to_live_ms(1000);
        append(&backlog, 1, 3);
        backlog.add_reader();
        backlog.maintain(0).unwrap();
        backlog.maintain(5000).unwrap();
        assert_eq!(backlog.positions().oldest, 1);
        backlog.remove_reader();
        backlog.maintain(6000).unwrap();
        backlog.maintain(6999).unwrap();
        assert_eq!(backlog.positions().oldest, 1);
        backlog.maintain(7000).unwrap();
        assert_eq!(backlog.positions(), Positions::new(4, 4));
        append(&backlog, 4, 4);
        assert_eq!(numbers(&backlog, 4, 9), [4]);
    }
}
