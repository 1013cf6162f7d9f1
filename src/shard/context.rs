//! What all shards of a cache share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};

use super::Namespaces;
use crate::clock::Clock;
use crate::error::Result;
use crate::events::{Hub, TagTable};
use crate::index::{KeyHasher, Sessions};
use crate::oplog::Recorder;
use crate::slab::{Account, Arena, Classes};

/// When slab pages move from one class to another.
///
/// # Examples
/// ```
/// use larder::{Automove, Cache};
/// let cache = Cache::builder().max_memory(1 << 20).automove(Automove::Off).build()?;
/// assert_eq!(cache.automove(), Automove::Off);
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
#[non_exhaustive]
pub enum Automove {
    /// Never by themselves: items are evicted within their class. (A class without any page still gets one.)
    Off,
    /// Slowly, by maintenance: a few pages a run, from classes that have two pages' worth of free chunks. A write
    /// evicts within its class.
    Slow,
    /// Whenever a write needs room and another class has a page's worth to spare.
    #[default]
    Always,
}

impl Automove {
    fn from_code(code: u8) -> Automove {
        match code {
            0 => Automove::Off,
            1 => Automove::Slow,
            _ => Automove::Always,
        }
    }
}

/// Settings that do not change after the start.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) max_item_size: usize,
    pub(crate) ttl_ms: u64,
    pub(crate) idle_ms: u64,
    pub(crate) tokens: bool,
    /// Whether items can have tokens at all.
    pub(crate) check_and_set: bool,
    pub(crate) seed: u64,
    pub(crate) expiry_lag_ms: u64,
    /// Whether pages may be moved between classes by hand.
    pub(crate) reassign: bool,
    /// Whether maintenance takes tables to their right size, or writers alone do.
    pub(crate) background_resizing: bool,
    /// Namespaces that [`Cache::try_namespace`](crate::Cache::try_namespace) hands out.
    pub(crate) namespaces: u16,
    /// Whether it begins as a follower.
    pub(crate) follower: bool,
    /// The cache's name, for events.
    #[cfg(feature = "tracing")]
    pub(crate) name: Box<str>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) arena: Arc<Arena>,
    pub(crate) classes: Classes,
    pub(crate) hasher: KeyHasher,
    pub(crate) sessions: Sessions,
    pub(crate) namespaces: Namespaces,
    pub(crate) settings: Settings,
    /// Who is told what happens.
    pub(crate) hub: Arc<Hub>,
    pub(crate) tags: TagTable,
    /// What the effect log is told.
    pub(crate) effects: Recorder,
    clock: Box<dyn Clock>,
    /// The clock's time when the cache was built, which is internal time 1: now is never 0.
    start_ms: u64,
    shards: usize,
    automove: AtomicU8,
    /// Items that are looked at for a victim, at least.
    samples: AtomicU32,
    /// When a delayed flush is due: `u64::MAX` for never.
    flush_at: AtomicU64,
}

impl Context {
    pub(crate) fn new(
        arena: Arc<Arena>,
        classes: Classes,
        settings: Settings,
        clock: Box<dyn Clock>,
        shards: usize,
        (automove, samples): (Automove, u32),
        hub: Arc<Hub>,
    ) -> Context {
        Context {
            tags: TagTable::new(arena.ledger.limit()),
            effects: Recorder::new(Arc::clone(&arena), settings.follower),
            hub,
            arena,
            classes,
            hasher: KeyHasher::new(settings.seed, shards.trailing_zeros()),
            sessions: Sessions::new(),
            namespaces: Namespaces::new(),
            settings,
            start_ms: clock.now_ms(),
            clock,
            shards,
            automove: AtomicU8::new(automove as u8),
            samples: AtomicU32::new(samples),
            flush_at: AtomicU64::new(u64::MAX),
        }
    }

    /// The clock's time when the cache was built, or first built, which is internal time 1.
    pub(crate) fn start_ms(&self) -> u64 {
        self.start_ms
    }

    /// Another start and another seed, for items of an earlier cache.
    pub(crate) fn begin_as(&mut self, start_ms: u64, seed: u64) {
        self.start_ms = start_ms;
        self.settings.seed = seed;
        self.hasher = KeyHasher::new(seed, self.shard_bits());
    }

    /// Milliseconds since the cache's start, which is 1.
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        self.clock.now_ms().saturating_sub(self.start_ms).saturating_add(1)
    }

    /// Internal time of a Unix time in milliseconds; what is past becomes 1, the earliest deadline there is.
    pub(crate) fn since_start(&self, unix_ms: u64) -> u64 {
        unix_ms.saturating_add(1).saturating_sub(self.start_ms).max(1)
    }

    /// Unix time in milliseconds of an internal time.
    pub(crate) fn to_unix(&self, ms: u64) -> u64 {
        self.start_ms.saturating_add(ms).saturating_sub(1)
    }

    /// The time in Unix milliseconds.
    pub(crate) fn unix_now(&self) -> u64 {
        self.to_unix(self.now())
    }

    /// Whether a program may write now, as far as the log is concerned. Not under a lock.
    #[inline(always)]
    pub(crate) fn check_log(&self) -> Result<()> {
        self.effects.check(|| self.unix_now())
    }

    /// After a write, and not under a lock: returns when the log has it, as safe as it promises.
    #[inline(always)]
    pub(crate) fn settle_log(&self) -> Result<()> {
        if self.effects.is_on() { self.effects.settle(self.unix_now()) } else { Ok(()) }
    }

    /// After a read under the lock.
    pub(crate) fn relieve_log(&self) {
        self.effects.relieve(|| self.unix_now());
    }

    pub(crate) fn shard_count(&self) -> usize {
        self.shards
    }

    pub(crate) fn shard_bits(&self) -> u32 {
        self.shards.trailing_zeros()
    }

    pub(crate) fn automove(&self) -> Automove {
        Automove::from_code(self.automove.load(Relaxed))
    }

    pub(crate) fn set_automove(&self, automove: Automove) {
        self.automove.store(automove as u8, Relaxed);
    }

    pub(crate) fn samples(&self) -> u32 {
        self.samples.load(Relaxed)
    }

    pub(crate) fn set_samples(&self, samples: u32) {
        self.samples.store(samples, Relaxed);
    }

    /// What each shard would own if all owned the same.
    pub(crate) fn fair_share(&self) -> u64 {
        self.arena.ledger.of(Account::Slab) / self.shards as u64
    }

    /// Whether a delayed flush is due; internal time.
    #[inline]
    pub(crate) fn flush_due(&self) -> bool {
        let at = self.flush_at.load(Relaxed);
        at != u64::MAX && at <= self.now()
    }

    pub(crate) fn set_flush_at(&self, at: u64) {
        self.flush_at.store(at, Relaxed);
    }
}
