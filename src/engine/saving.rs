//! A snapshot of all shards: the cut, the walk, and what holds writers up when it falls behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;

use super::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::shard::{Cut, Locked, Prepared, Progress};
use crate::slab::Account;
use crate::snapshot::SnapshotStats;
use crate::snapshot::buffer::{Buffer, Filled, Ready};

/// The buffer's part of the limit, and its bounds; less than the least only where that is a sixteenth of the limit.
const SHARE: u64 = 128;
const LEAST: u64 = 64 << 10;
const LEAST_SHARE: u64 = 16;
const MOST: u64 = 8 << 20;
/// The largest block, and the smallest.
const BLOCK: (u64, u64) = (2 << 10, 64 << 10);
/// Rounds of making room for the buffer.
const ROUNDS: u32 = 4096;

/// What a cache has for its snapshots.
#[derive(Debug, Default)]
pub(crate) struct Saver {
    pub(crate) buffer: Arc<Buffer>,
    /// How long a writer waits for room in the buffer; then the snapshot is given up.
    patience_ms: AtomicU64,
    pub(crate) stats: Mutex<SnapshotStats>,
}

/// Fixed at the cut.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CutReport {
    /// Unix time in milliseconds.
    pub(crate) taken_ms: u64,
    pub(crate) log_position: u64,
    pub(crate) highest_token: u64,
    /// The share of newcomers that the default policy has learnt.
    pub(crate) share: Option<f64>,
}

/// A snapshot under way. Dropping it gives it up.
#[derive(Debug)]
pub(crate) struct Walk {
    engine: Arc<Engine>,
    /// The shard that is being walked.
    shard: usize,
    /// Bytes charged for the shards' tables.
    tables: u64,
    pub(crate) cut: CutReport,
}

impl Engine {
    pub(crate) fn saver(&self) -> &Saver {
        &self.saver
    }

    /// Holds a writer up while a snapshot's buffer is full; costs one load when there is none. Called without any lock.
    #[inline(always)]
    pub(crate) fn before_write(&self) {
        if self.saver.buffer.is_crowded() {
            self.hold_up();
        }
    }

    /// Whether a snapshot has more to write than it should.
    pub(super) fn is_behind(&self) -> bool {
        self.saver.buffer.is_crowded()
    }

    #[cold]
    #[inline(never)]
    fn hold_up(&self) {
        let patience = Duration::from_millis(self.saver.patience_ms.load(Relaxed));
        if !self.saver.buffer.wait(patience) {
            let why = "its buffer is full: what is written to the cache has to be saved faster than the sink takes it";
            self.saver.buffer.fail(why, &self.ctx.sessions);
        }
    }

    /// Charges memory for the buffer, which items may have to leave for; less where nothing may.
    fn charge_buffer(&self) -> u64 {
        let ledger = &self.ctx.arena.ledger;
        let least = LEAST.min(ledger.limit() / LEAST_SHARE);
        let mut wanted = (ledger.limit() / SHARE).clamp(least, MOST);
        loop {
            for _ in 0..ROUNDS {
                if ledger.charge(Account::Side, wanted) {
                    return wanted;
                }
                self.ctx.arena.trim_pool(wanted);
                if ledger.charge(Account::Side, wanted) {
                    return wanted;
                }
                let made = |shard: &super::Shard| shard.lock(&self.ctx).make_space(None, None) == Progress::Made;
                if !self.shards().iter().fold(false, |any, shard| made(shard) | any) {
                    break;
                }
            }
            if wanted == least {
                // A cache that is full to the brim, of what may not leave, can be saved all the same.
                ledger.force(Account::Side, wanted);
                return wanted;
            }
            wanted = (wanted / 2).max(least);
        }
    }

    /// Makes the cut: from here on, whatever changes is saved first. An error while another snapshot is under way.
    pub(crate) fn begin_walk(self: &Arc<Self>, patience: Duration) -> Result<Walk> {
        let busy = || Error::new(ErrorKind::NotAllowed, "another snapshot of this cache is under way: one at a time");
        let buffer = &self.saver.buffer;
        if buffer.is_on() {
            return Err(busy());
        }
        self.before();
        let (ledger, shards) = (&self.ctx.arena.ledger, self.shards().len() as u64);
        let capacity = self.charge_buffer();
        let block = (capacity / (4 * shards)).clamp(BLOCK.0, BLOCK.1);
        if !buffer.open(capacity, block as usize) {
            ledger.release(Account::Side, capacity);
            return Err(busy());
        }
        self.saver.patience_ms.store(u64::try_from(patience.as_millis()).unwrap_or(u64::MAX), Relaxed);
        let prepared: Vec<Prepared> =
            self.shards().iter().map(|shard| Prepared::new(shard.table.homes(), capacity / 8, buffer)).collect();
        let tables = prepared.iter().map(Prepared::memory).sum();
        ledger.force(Account::Side, tables);
        let cut = self.make_cut(prepared);
        Ok(Walk { engine: Arc::clone(self), shard: 0, tables, cut })
    }

    /// The one moment at which all shards are locked.
    fn make_cut(&self, prepared: Vec<Prepared>) -> CutReport {
        let mut locks: Vec<Locked<'_>> = self.shards().iter().map(|shard| shard.lock(&self.ctx)).collect();
        let now = self.ctx.now();
        let cut = Arc::new(Cut { now, generations: self.ctx.namespaces.all(), untagged: self.ctx.tags.cut() });
        let report = CutReport {
            taken_ms: self.ctx.to_unix(now),
            log_position: self.log_position(),
            highest_token: locks.iter().map(|locked| locked.highest_token()).max().unwrap_or_default(),
            share: locks.first().and_then(|locked| locked.core.policy.share()),
        };
        for (locked, prepared) in locks.iter_mut().zip(prepared) {
            locked.begin_saving(prepared, &cut, &self.saver.buffer);
        }
        // All locks before anything is told of any of them.
        let notes: Vec<_> = locks.iter_mut().map(|locked| locked.notes.take()).collect();
        drop(locks);
        drop(notes);
        report
    }

    /// Where the log of effects is: what comes after it is not in a snapshot whose cut is now. 0 without a log. Called
    /// with all shards locked.
    fn log_position(&self) -> u64 {
        if self.ctx.effects.is_on() { self.ctx.effects.next() } else { 0 }
    }
}

impl Walk {
    /// The next thing to be written, if one waits.
    pub(crate) fn pop(&self) -> Option<(Ready, u64)> {
        self.engine.saver.buffer.pop()
    }

    /// Says that something of this weight was written.
    pub(crate) fn done(&self, ready: Ready, weight: u64) {
        let (buffer, ctx) = (&self.engine.saver.buffer, &self.engine.ctx);
        match ready {
            Ready::Block(block) => buffer.recycle(block),
            Ready::Large(large) => large.value.release(&ctx.sessions),
        }
        buffer.done(weight, &ctx.arena.ledger);
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    pub(crate) fn filled(&self) -> Filled {
        self.engine.saver.buffer.filled()
    }

    /// Saves the next regions. False when all shards are through: then what waits is all there is.
    pub(crate) fn step(&mut self) -> Result<bool> {
        if let Some(why) = self.engine.saver.buffer.failure() {
            return Err(Error::new(ErrorKind::SnapshotFailed, format!("the snapshot was given up: {why}")));
        }
        let Some(shard) = self.engine.shards().get(self.shard) else { return Ok(false) };
        if shard.save_step(&self.engine.ctx) {
            self.shard += 1;
            if self.shard == self.engine.shards().len() {
                self.engine.saver.buffer.end_saving();
            }
        }
        Ok(true)
    }

    /// How much was walked: from 0 to 1.
    pub(crate) fn fraction(&self) -> f64 {
        self.shard as f64 / self.engine.shards().len() as f64
    }
}

impl Drop for Walk {
    fn drop(&mut self) {
        let ctx = &self.engine.ctx;
        for shard in &self.engine.shards()[self.shard..] {
            shard.lock(ctx).stop_saving();
        }
        ctx.tags.forget_cut(&ctx.arena.ledger);
        ctx.arena.ledger.release(Account::Side, self.tables);
        self.engine.saver.buffer.close(&ctx.sessions, &ctx.arena.ledger);
        // What was held for it can be freed now.
        for shard in self.engine.shards() {
            shard.lock(ctx).settle_limbo();
        }
    }
}
