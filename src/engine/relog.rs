//! Logs and the cache as a whole: bringing a log's contents back, and writing all that is in the cache for a log.
//!
//! A base is written from a walk over the live cache, a few buckets a step, while writes go on. It begins when the log
//! has taken all effects before a position P. What the walk then finds may be newer than P; but every effect from P on
//! is in the log's tail, and is done again over the base. Effects are absolute, so what comes of it is the same:
//!
//! 1. An item that nobody touches after P is found by the walk, for it is there throughout.
//! 2. One that is written, removed or cleared after P: its last effect is in the tail, and decides, whether the walk
//!    found it or not, and as whatever.
//! 3. What the walk found was done by effects that the log has taken before the base is finished, and has safe before
//!    the base counts. So the tail goes on to a moment after the walk's end, and base and tail are the cache then.
//! 4. Items that were gone at P are not found, for a removal is done before its number is drawn (under one lock).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use super::{Engine, Key, Visited};
use crate::error::{Error, ErrorKind, Result};
use crate::events::EngineEventKind;
use crate::oplog::{AppendFile, AppendOptions, BaseWriter, Effect, Record, Recovery, ReplicationLog, encode};
use crate::policy::{EvictionPolicy, Objective};
use crate::shard::{Cause, Read, TagBytes, item_of};
use crate::slab::{Account, MAX_TAGS};
use crate::trace::{event, span};

/// Buckets that the walk visits in one hold of a lock.
const STEP: u64 = 16;
/// Bytes of records that are gathered before they are written.
const PIECE: usize = 64 << 10;
/// When maintenance tries again to rewrite a log, after that has failed.
const RETRY_MS: u64 = 60_000;
/// Tokens that may have been given and not been logged before a crash.
const UNLOGGED_TOKENS: u64 = 1 << 32;

/// What an engine knows of logs, beside the recorder.
#[derive(Debug, Default)]
pub(super) struct Logging {
    rewrite: Mutex<Option<Rewrite>>,
    /// Evictions and expirations that were done because an effect said so.
    told: AtomicU64,
    /// Unix time before which maintenance does not begin another one.
    rewrite_after: AtomicU64,
    /// Tokens below this were given elsewhere.
    tokens: AtomicU64,
    /// The last time that came with an effect, Unix milliseconds.
    time: AtomicU64,
    /// By how many milliseconds a follower is behind.
    lag_ms: AtomicU64,
    rewrites: AtomicU64,
    rewrite_failures: AtomicU64,
    /// The policy that a follower will have when it is none any more.
    policy: Mutex<Option<(EvictionPolicy, Objective)>>,
}

impl Logging {
    pub(super) fn note_token(&self, floor: u64) {
        self.tokens.fetch_max(floor, Relaxed);
    }

    pub(super) fn note_removal(&self, cause: Cause) {
        self.told.fetch_add(u64::from(matches!(cause, Cause::Evicted | Cause::Expired)), Relaxed);
    }

    pub(super) fn note_time(&self, unix_ms: u64) {
        self.time.store(unix_ms, Relaxed);
    }
}

/// A base that is being written.
#[derive(Debug)]
pub(crate) struct Rewrite {
    writer: Box<dyn BaseWriter>,
    /// The next hash; None at the end.
    cursor: Option<u64>,
    /// Records so far.
    count: u64,
    buffer: Vec<u8>,
}

impl Rewrite {
    fn add(&mut self, effect: &Effect<'_>) {
        self.count += 1;
        encode(self.count, effect, &mut self.buffer);
    }

    fn flush(&mut self) -> Result<()> {
        self.writer.write(&self.buffer)?;
        self.buffer.clear();
        self.buffer.shrink_to(PIECE * 2);
        Ok(())
    }
}

impl Engine {
    /// Opens an append-only file and does what it says, in a cache that is new.
    pub(crate) fn recover(&self, options: AppendOptions) -> Result<(Arc<AppendFile>, Recovery)> {
        span!("log_recovery", self.ctx);
        let lost = || {
            self.shards().iter().map(|shard| {
                let counts = shard.lock(&self.ctx).core.counts;
                counts.evictions + counts.expired
            })
        };
        let overwrites = options.overwrites();
        let mut too_large = 0;
        self.ctx.effects.set_replaying(true);
        let opened = AppendFile::open(options, |record| match self.replay(record) {
            Err(e) if matches!(e.kind(), ErrorKind::ItemTooLarge | ErrorKind::OutOfMemory) => {
                too_large += 1;
                Ok(())
            }
            done => done,
        });
        // What the log itself has cleared is nobody's news.
        self.sweep_flushed();
        self.ctx.effects.set_replaying(false);
        let (log, mut recovery) = opened?;
        recovery.evicted = lost().sum::<u64>().saturating_sub(self.logging.told.load(Relaxed)) + too_large;
        self.raise_tokens();
        let log = Arc::new(log);
        self.ctx.effects.attach(Arc::clone(&log) as Arc<dyn ReplicationLog>)?;
        // What was not taken over is not in the cache and in the log: the log has to forget it, too, before anything
        // can be removed that is not there any more.
        if overwrites || recovery.evicted > 0 {
            self.write_base(&*log).inspect_err(|_| self.let_go(&log))?;
        }
        event!(
            INFO,
            self.ctx,
            records = recovery.base_records + recovery.records,
            bytes = recovery.bytes,
            "log recovered"
        );
        Ok((log, recovery))
    }

    /// The same in a cache that is in use, and has nothing: programs' writes are refused meanwhile. A log that is
    /// damaged leaves it as empty as it was.
    pub(crate) fn recover_in_use(&self, options: AppendOptions) -> Result<(Arc<AppendFile>, Recovery)> {
        self.ctx.effects.set_replaying(true);
        self.sweep_flushed();
        let items: u64 = self.shards().iter().map(|shard| shard.lock(&self.ctx).core.items).sum();
        if items > 0 || self.ctx.effects.next() > 1 {
            self.ctx.effects.set_replaying(false);
            return Err(Error::new(
                ErrorKind::AlreadyExists,
                "there is a log in this storage, and there are items in the cache: build the cache anew with the log, \
                 clear the cache first, or have the log overwritten",
            ));
        }
        let (log, recovery) = self.recover(options).inspect_err(|_| {
            // Half of a log is nothing, and was nobody's news.
            self.ctx.effects.set_replaying(true);
            (0..=u8::MAX).for_each(|namespace| self.clear_now(namespace));
            self.sweep_flushed();
            self.ctx.effects.set_replaying(false);
        })?;
        // A write that had passed the check before it was made may be in the cache alone.
        self.write_base(&*log).inspect_err(|_| self.let_go(&log))?;
        Ok((log, recovery))
    }

    /// A file that could not be brought to what the cache has is told nothing more: it stays as it was.
    fn let_go(&self, log: &Arc<AppendFile>) {
        let shared: Arc<dyn ReplicationLog> = Arc::<AppendFile>::clone(log);
        let _ = self.ctx.effects.detach(&shared, self.ctx.unix_now());
    }

    /// Does what a record of a log says; one that finds no room takes away what it would have replaced.
    fn replay(&self, record: Record<'_>) -> Result<()> {
        let done = self.apply(&record.effect);
        if let (Err(e), Effect::Set(item)) = (&done, &record.effect)
            && matches!(e.kind(), ErrorKind::ItemTooLarge | ErrorKind::OutOfMemory)
        {
            let (namespace, key) = (item.namespace, item.key);
            self.apply(&Effect::Delete { namespace, key, cause: Cause::Evicted })?;
        }
        done
    }

    /// No token that was given elsewhere is given again here.
    fn raise_tokens(&self) {
        let floor = self.logging.tokens.load(Relaxed);
        if floor > 0 {
            let floor = floor.saturating_add(UNLOGGED_TOKENS);
            self.shards().iter().for_each(|shard| shard.lock(&self.ctx).raise_tokens(floor));
        }
    }

    /// The last time that came with an effect.
    pub(crate) fn followed_time(&self) -> Option<u64> {
        Some(self.logging.time.load(Relaxed)).filter(|&ms| ms != 0)
    }

    /// By how many milliseconds a follower is behind, as far as it was told; 0 in a cache by itself.
    pub(crate) fn lag_ms(&self) -> u64 {
        self.logging.lag_ms.load(Relaxed)
    }

    #[cfg(feature = "replication")]
    pub(crate) fn set_lag_ms(&self, lag_ms: u64) {
        self.logging.lag_ms.store(lag_ms, Relaxed);
    }

    /// Makes the cache a follower, which evicts nothing and removes nothing by itself, or ends that.
    pub(crate) fn set_follower(&self, follower: bool) {
        let mut kept = self.logging.policy.lock();
        if follower {
            self.ctx.effects.set_follower(true);
            let policy = self.policy();
            kept.get_or_insert(policy);
            self.set_policy(EvictionPolicy::NoEviction, policy.1);
        } else {
            self.raise_tokens();
            if let Some((policy, objective)) = kept.take() {
                self.set_policy(policy, objective);
            }
            self.ctx.effects.set_follower(false);
        }
    }

    /// Gives the cache a log while it is in use. What is there already is written to it first, if it takes that.
    pub(crate) fn add_log(&self, log: Arc<dyn ReplicationLog>) -> Result<()> {
        self.ctx.effects.attach(Arc::clone(&log))?;
        let written = match self.write_base(&*log) {
            Err(e) if e.kind() == ErrorKind::NotAllowed => Ok(()),
            written => written,
        };
        if written.is_err() {
            // It would miss what was there before.
            let _ = self.ctx.effects.detach(&log, self.ctx.unix_now());
        }
        written
    }

    fn begin_rewrite(&self, log: &dyn ReplicationLog) -> Result<Rewrite> {
        let (_, writer) = self.ctx.effects.begin_base(log, self.ctx.unix_now())?;
        let mut rewrite = Rewrite { writer, cursor: Some(0), count: 0, buffer: Vec::new() };
        let given = self.shards().iter().map(|shard| shard.lock(&self.ctx).token_floor()).max().unwrap_or_default();
        let floor = given.max(self.logging.tokens.load(Relaxed));
        rewrite.add(&Effect::Tokens { floor });
        for (at, namespace) in self.planned_clears() {
            rewrite.add(&Effect::ClearAt { namespace, at_ms: self.ctx.to_unix(at) });
        }
        Ok(rewrite)
    }

    /// Writes what a few buckets hold. True at the end.
    fn rewrite_step(&self, rewrite: &mut Rewrite) -> Result<bool> {
        let Some(cursor) = rewrite.cursor else { return Ok(true) };
        let mut found = Vec::new();
        rewrite.cursor = self.walk_step(None, cursor, STEP, &mut found);
        for visited in found {
            self.rewrite_item(rewrite, &visited)?;
        }
        if rewrite.cursor.is_none() {
            rewrite.flush()?;
        }
        Ok(rewrite.cursor.is_none())
    }

    /// Writes an item as it is now, if it is still there: in place, without a lock, while this thread has a hazard
    /// slot.
    fn rewrite_item(&self, rewrite: &mut Rewrite, visited: &Visited) -> Result<()> {
        let key = self.key(visited.attributes.namespace, &visited.key);
        let mut room: TagBytes = [0; MAX_TAGS * 8];
        let session = self.ctx.sessions.current();
        match session.take_hazard() {
            Some(hazard) => {
                if let Some(pinned) = self.find(session, hazard, key, Read::Look) {
                    self.write_item(rewrite, &Effect::Set(item_of(&self.ctx, pinned.item(), &mut room)))?;
                }
            }
            None => {
                let number = rewrite.count + 1;
                rewrite.count += u64::from(self.copy_item(key, number, &mut room, &mut rewrite.buffer));
            }
        }
        if rewrite.buffer.len() >= PIECE { rewrite.flush() } else { Ok(()) }
    }

    fn write_item(&self, rewrite: &mut Rewrite, effect: &Effect<'_>) -> Result<()> {
        // On the ledger while it is more than the usual piece.
        let before = rewrite.buffer.capacity();
        rewrite.add(effect);
        let grown = rewrite.buffer.capacity().saturating_sub(before.max(PIECE * 2)) as u64;
        self.ctx.arena.ledger.force(Account::Side, grown);
        let flushed = if rewrite.buffer.len() >= PIECE { rewrite.flush() } else { Ok(()) };
        self.ctx.arena.ledger.release(Account::Side, grown);
        flushed
    }

    /// Lets a base count that is written.
    fn finish(&self, rewrite: Rewrite) -> Result<()> {
        self.ctx.settle_log()?;
        rewrite.writer.finish()
    }

    /// Writes a base, from beginning to end.
    pub(crate) fn write_base(&self, log: &dyn ReplicationLog) -> Result<()> {
        span!("log_rewrite", self.ctx);
        let written = self.begin_rewrite(log).and_then(|mut rewrite| {
            while !self.rewrite_step(&mut rewrite)? {}
            let count = rewrite.count;
            self.finish(rewrite)?;
            Ok(count)
        });
        match written {
            Ok(count) => self.tell_rewritten(count),
            // A log that keeps records only, or is being rewritten, has not failed.
            Err(ref error) if error.kind() == ErrorKind::NotAllowed => {}
            Err(_) => _ = self.logging.rewrite_failures.fetch_add(1, Relaxed),
        }
        self.ctx.effects.trace();
        written.map(drop)
    }

    /// The same for the first log that takes one.
    pub(crate) fn rewrite_log(&self) -> Result<()> {
        for log in self.ctx.effects.logs() {
            match self.write_base(&*log) {
                Err(e) if e.kind() == ErrorKind::NotAllowed && !log.wants_base() => {}
                done => return done,
            }
        }
        Err(Error::new(
            ErrorKind::NotAllowed,
            "there is no log that can be rewritten, or it is being rewritten already",
        ))
    }

    /// How often a log was rewritten, and how often that failed.
    pub(crate) fn rewrites(&self) -> (u64, u64) {
        (self.logging.rewrites.load(Relaxed), self.logging.rewrite_failures.load(Relaxed))
    }

    fn tell_rewritten(&self, count: u64) {
        self.logging.rewrites.fetch_add(1, Relaxed);
        let text = format!("The log was rewritten: {count} records");
        self.ctx.effects.tell(EngineEventKind::LogRewritten, &text, self.ctx.unix_now());
    }

    /// Whether maintenance has something to do for logs.
    pub(super) fn has_log_work(&self) -> bool {
        self.ctx.effects.is_on()
            && (self.ctx.effects.is_due(self.ctx.unix_now()) || self.is_rewriting() || self.wants_rewrite())
    }

    fn wants_rewrite(&self) -> bool {
        self.ctx.unix_now() >= self.logging.rewrite_after.load(Relaxed) && self.ctx.effects.wanting_base().is_some()
    }

    /// Looks after the logs, and rewrites one if it is time, until it was `enough` for now.
    pub(super) fn maintain_log(&self, enough: impl Fn() -> bool) {
        if !self.ctx.effects.is_on() {
            return;
        }
        self.ctx.effects.maintain(self.ctx.unix_now());
        if self.is_rewriting() || self.wants_rewrite() {
            span!("log_rewrite", self.ctx);
            self.carry_on_rewriting(enough);
            self.ctx.effects.trace();
        }
    }

    fn is_rewriting(&self) -> bool {
        self.logging.rewrite.try_lock().is_some_and(|rewrite| rewrite.is_some())
    }

    fn carry_on_rewriting(&self, enough: impl Fn() -> bool) {
        let Some(mut under_way) = self.logging.rewrite.try_lock() else { return };
        if under_way.is_none() && self.wants_rewrite() {
            let Some(log) = self.ctx.effects.wanting_base() else { return };
            match self.begin_rewrite(&*log) {
                Ok(rewrite) => *under_way = Some(rewrite),
                Err(error) => self.put_off_rewriting(&error),
            }
        }
        while let Some(rewrite) = under_way.as_mut() {
            let stepped = self.rewrite_step(rewrite);
            let done = match stepped {
                Ok(false) if enough() => return,
                Ok(false) => continue,
                Ok(true) => under_way.take().map(|rewrite| (rewrite.count, self.finish(rewrite))),
                Err(error) => {
                    *under_way = None;
                    Some((0, Err(error)))
                }
            };
            match done {
                Some((count, Ok(()))) => self.tell_rewritten(count),
                Some((_, Err(error))) => self.put_off_rewriting(&error),
                None => {}
            }
        }
    }

    fn put_off_rewriting(&self, error: &Error) {
        let now_ms = self.ctx.unix_now();
        self.logging.rewrite_failures.fetch_add(1, Relaxed);
        self.logging.rewrite_after.store(now_ms.saturating_add(RETRY_MS), Relaxed);
        self.ctx.effects.tell(EngineEventKind::LogRewriteFailed, &error.to_string(), now_ms);
    }

    /// Writes the time into the log.
    pub(crate) fn stamp_log(&self) -> Result<()> {
        self.ctx.check_log()?;
        if self.ctx.effects.is_on() {
            self.ctx.effects.record(&Effect::Time { unix_ms: self.ctx.unix_now() }, &mut None);
        }
        self.ctx.settle_log()
    }

    /// Encodes an item under its shard's lock.
    fn copy_item(&self, key: Key<'_>, number: u64, room: &mut TagBytes, to: &mut Vec<u8>) -> bool {
        let mut locked = self.shard(key.hash).lock(&self.ctx);
        let Some(found) = locked.find_to_read(key.hash, key.namespace, key.bytes) else { return false };
        encode(number, &Effect::Set(item_of(&self.ctx, locked.item(found.locator), room)), to);
        true
    }
}
