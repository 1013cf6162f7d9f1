//! All shards together: which one a key belongs to, and what takes more than one of them.
//!
//! | file | what |
//! |---|---|
//! | `geometry` | shard count, page size and address space from the limit |
//! | `ops` | the operations on one key |
//! | `numbers` | counters kept as text |
//! | `update` | several keys changed as one |
//! | `reserve` | values that arrive slowly |
//! | `walk` | scans by cursor |
//! | `loads` `flight` `absences` | values on their way into the cache; keys known to have none |
//! | `invalidate` | tags, and keys by their beginning |
//! | `apply` | effects that come from a log or a primary |
//! | `relog` | all that is in the cache, for a log; replay; what concerns logs |
//! | `kept` | what a warm restart keeps, and the way back |
//! | `upkeep` | clearing, limits, maintenance |
//! | `saving` `restoring` | snapshots: the cut and the walk; items on their way back in (feature `snapshot`) |
//! | `sample` | what the miss-ratio curve is told |
//! | `report` | what memory is used for, what was counted |

mod absences;
mod apply;
mod flight;
mod geometry;
mod invalidate;
mod kept;
mod loads;
mod numbers;
mod ops;
mod relog;
mod report;
mod reserve;
#[cfg(feature = "snapshot")]
mod restoring;
mod sample;
#[cfg(feature = "snapshot")]
mod saving;
#[cfg(test)]
mod tests;
mod update;
mod upkeep;
mod walk;

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::clock::Clock;
use crate::curve::{Estimate, FACTORS, Shape};
use crate::error::{Error, ErrorKind, Result};
use crate::events::{Hub, Listener};
pub(crate) use crate::index::Key;
use crate::policy::{EvictionPolicy, Objective};
use crate::shard::{Automove, Context, Locked, Progress, Settings, Shard, Shortage};
use crate::slab::{Account, Arena, Classes, Ledger, MAX_KEY_LEN, Prepaid};
use crate::trace::event;

pub(crate) use flight::{Flight, Landing};
pub(crate) use geometry::Geometry;
pub(crate) use kept::Kept;
pub(crate) use loads::{Joined, Leader, LoadCounter, Loads};
pub(crate) use numbers::Arithmetic;
#[cfg(feature = "memcached")]
pub(crate) use ops::{Change, Piece, Rewrite};
pub(crate) use ops::{Condition, Expiry, Outcome, Reading, SetSpec, Swap};
pub(crate) use report::{ClassReport, ShardReport};
pub(crate) use reserve::Reserved;
#[cfg(feature = "snapshot")]
pub(crate) use restoring::{Landed, LargeLanding};
#[cfg(feature = "snapshot")]
pub(crate) use saving::Walk;
pub(crate) use update::{Effect, Seen};
pub(crate) use walk::Visited;

/// How often other shards are asked for a page for one write, by a shard that has nothing of its own to evict: each
/// time a few of their items leave, and pages may hold some thousands.
const MOST_ROUNDS: u64 = 1024;

/// What an engine is built from; checked by [`Engine::new`].
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) max_memory: u64,
    pub(crate) reserved_memory: u64,
    pub(crate) policy: EvictionPolicy,
    pub(crate) objective: Objective,
    pub(crate) settings: Settings,
    pub(crate) chunk_size: usize,
    pub(crate) growth_factor: f64,
    pub(crate) page_size: Option<usize>,
    pub(crate) shards: Option<usize>,
    pub(crate) address_space: Option<usize>,
    pub(crate) huge_pages: bool,
    pub(crate) lock_memory: bool,
    /// What the miss-ratio curve may take; 0 for none.
    pub(crate) curve_bytes: u64,
    pub(crate) automove: Automove,
    /// Items that are looked at for a victim, at least.
    pub(crate) samples: u32,
    /// Items that the index has room for from the start.
    pub(crate) initial_items: u64,
    /// How many threads will write, if that was said.
    pub(crate) threads: Option<usize>,
    pub(crate) clock: Box<dyn Clock>,
    pub(crate) listener: Option<Listener>,
    /// The file whose bytes are the item memory; anonymous memory without.
    pub(crate) backing: Option<File>,
}

/// What an engine was built with and cannot change, as far as it is not in its [`Settings`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Built {
    /// Sizes that a shard's table begins with, and can have.
    pub(crate) buckets: (u64, u64),
    pub(crate) chunk_size: usize,
    pub(crate) growth_factor: f64,
    pub(crate) initial_items: u64,
    pub(crate) threads: Option<usize>,
    pub(crate) huge_pages: bool,
    pub(crate) lock_memory: bool,
}

/// How long an operation waits for memory to be found: as long as some is.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    pub(crate) rounds: u64,
    least_used: Option<u64>,
    /// Rounds since less was used than ever before.
    fruitless: u32,
}

impl Patience {
    /// A round has freed nothing anywhere. Readers may let go of something any moment, so some more are worth trying.
    fn is_tired(&mut self) -> bool {
        std::thread::yield_now();
        self.fruitless += 1;
        self.fruitless > 256
    }

    fn is_over(&mut self, used: u64) -> bool {
        if self.least_used.is_none_or(|least| used < least) {
            self.least_used = Some(used);
            self.fruitless = 0;
        }
        self.fruitless += 1;
        // Rounds that evict items do not all free a page.
        self.fruitless > 1024
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) ctx: Context,
    pub(crate) built: Built,
    shards: Box<[Shard]>,
    policy: Mutex<(EvictionPolicy, Objective)>,
    /// Held while the policy is being changed, so that changes come one after the other.
    policy_change: Mutex<()>,
    /// Namespaces to clear, by the internal time at which.
    flushes: Mutex<BTreeMap<u64, Vec<u8>>>,
    flush_count: AtomicU64,
    upkeep: upkeep::UpkeepState,
    pub(crate) loads: Loads,
    logging: relog::Logging,
    estimate: Option<Box<Estimate>>,
    /// Keys whose sample number is below this are in the curve's sample: none without a curve.
    sampled_below: AtomicU64,
    #[cfg(feature = "snapshot")]
    saver: saving::Saver,
}

impl Engine {
    pub(crate) fn new(config: Config) -> Result<Engine> {
        let geometry = Geometry::choose(&config)?;
        let classes = Classes::new(config.chunk_size, config.growth_factor, geometry.page_size)?;
        let (arena, address_space) = Self::reserve_arena(&config, &geometry)?;
        let (policy, objective) = (config.policy, config.objective);
        let max_buckets = Geometry::max_buckets(address_space, config.chunk_size, geometry.shards);
        let least_buckets = Geometry::least_buckets(config.max_memory, config.initial_items, geometry.shards);
        let built = Built {
            buckets: (least_buckets, max_buckets),
            chunk_size: config.chunk_size,
            growth_factor: config.growth_factor,
            initial_items: config.initial_items,
            threads: config.threads,
            huge_pages: config.huge_pages,
            lock_memory: config.lock_memory,
        };
        let shapes = Self::shapes(&config, &classes);
        let (curve_bytes, seed) = (config.curve_bytes, config.settings.seed);
        let arena = Arc::new(arena);
        let hub = Hub::new(geometry.shards, config.listener, Arc::clone(&arena));
        let ctx = Context::new(
            arena,
            classes,
            config.settings,
            config.clock,
            geometry.shards,
            (config.automove, config.samples),
            hub,
        );
        let shards: Result<Vec<Shard>> = (0..geometry.shards)
            .map(|id| Shard::new(&ctx, id, (least_buckets, max_buckets), policy, objective))
            .collect();
        let loads = Loads::new(Arc::clone(&ctx.arena));
        let mut engine = Engine {
            ctx,
            built,
            shards: shards?.into_boxed_slice(),
            policy: Mutex::new((policy, objective)),
            policy_change: Mutex::new(()),
            flushes: Mutex::new(BTreeMap::new()),
            flush_count: AtomicU64::new(0),
            upkeep: upkeep::UpkeepState::default(),
            loads,
            logging: relog::Logging::default(),
            estimate: None,
            sampled_below: AtomicU64::new(0),
            #[cfg(feature = "snapshot")]
            saver: saving::Saver::default(),
        };
        engine.ctx.arena.ledger.force(Account::Side, size_of::<Engine>() as u64 + curve_bytes);
        if curve_bytes > 0 {
            let fixed = engine.ctx.arena.ledger.used();
            engine.estimate = Some(Box::new(Estimate::new(curve_bytes, fixed, shapes, (policy, objective), seed)));
            engine.measure_estimate();
        }
        Ok(engine)
    }

    /// What caches of the curve's sizes would be made of.
    fn shapes(config: &Config, classes: &Classes) -> [Shape; FACTORS.len()] {
        FACTORS.map(|factor| {
            let own = config.max_memory.saturating_sub(config.curve_bytes);
            let Geometry { page_size, shards, .. } = Geometry::of_size(config, (own as f64 * factor) as u64);
            // Where chunks are too large for the pages of a smaller cache, there is no smaller cache.
            let made = Classes::new(config.chunk_size, config.growth_factor, page_size);
            Shape { classes: made.unwrap_or_else(|_| classes.clone()), page_size, shards }
        })
    }

    /// Reserves the address space asked for; if it was not asked for, less where the system does not give so much.
    fn reserve_arena(config: &Config, geometry: &Geometry) -> Result<(Arena, usize)> {
        let mut space = geometry.address_space;
        loop {
            let ledger = Ledger::new(config.max_memory, config.reserved_memory);
            let file = config.backing.as_ref().map(File::try_clone).transpose();
            let file = file.map_err(|e| Error::os("cannot keep the file behind the memory open", e))?;
            match Arena::over(file, ledger, space, geometry.page_size, config.huge_pages, config.lock_memory) {
                Ok(arena) => return Ok((arena, space)),
                Err(e) if config.address_space.is_some() || space / 2 < geometry.least_space => return Err(e),
                Err(_) => space /= 2,
            }
        }
    }

    #[inline(always)]
    pub(crate) fn key<'k>(&self, namespace: u8, bytes: &'k [u8]) -> Key<'k> {
        Key { namespace, bytes, hash: self.ctx.hasher.hash(namespace, bytes) }
    }

    #[inline(always)]
    pub(crate) fn shard(&self, hash: u64) -> &Shard {
        &self.shards[self.ctx.hasher.shard(hash)]
    }

    pub(crate) fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// What a key longer than allowed is told.
    pub(crate) fn check_key(key: &[u8]) -> Result<()> {
        if key.len() > MAX_KEY_LEN {
            return Err(Error::new(
                ErrorKind::KeyTooLong,
                format!("the key has {} bytes; at most {MAX_KEY_LEN} are allowed", key.len()),
            ));
        }
        Ok(())
    }

    /// What a value larger than allowed, or than could ever fit, is told. `beside`: bytes that it needs room beside.
    pub(crate) fn check_value(&self, key_len: usize, value_len: usize, beside: u64) -> Result<()> {
        let most = self.ctx.settings.max_item_size;
        if value_len > most {
            return Err(Error::new(
                ErrorKind::ItemTooLarge,
                format!("the value has {value_len} bytes; max_item_size is {most}"),
            ));
        }
        // Whatever fits a page has room once another page is emptied.
        if self.ctx.classes.of(key_len + value_len + 64).is_some() {
            return Ok(());
        }
        let needed = self.ctx.arena.span_charge(key_len + value_len + 64);
        let (kind, room) = match self.room_for_spans() {
            (_, now) if needed + beside <= now => return Ok(()),
            (ever, now) if needed <= ever => (ErrorKind::OutOfMemory, now.saturating_sub(beside)),
            (ever, _) => (ErrorKind::ItemTooLarge, ever),
        };
        let room = room.saturating_sub(needed - value_len as u64);
        Err(Error::new(kind, format!("the value has {value_len} bytes; there is room for one of {room} at most")))
    }

    /// The most that could ever be had for large values by evicting everything else, and that could be had now: beside
    /// copies, values being filled, and values that readers hold.
    pub(crate) fn room_for_spans(&self) -> (u64, u64) {
        let (arena, tables) = (&self.ctx.arena, self.shards.len() as u64 * 4096);
        (arena.ledger.room().saturating_sub(tables), arena.obtainable().saturating_sub(tables))
    }

    /// A program's write: refused where there may be none, and acknowledged when the log has it.
    pub(crate) fn write<R>(
        &self,
        hash: u64,
        op: impl FnMut(&mut Locked<'_>, &mut Prepaid) -> std::result::Result<R, Shortage>,
    ) -> Result<R> {
        self.ctx.check_log()?;
        let done = self.write_unlogged(hash, op)?;
        self.ctx.settle_log()?;
        Ok(done)
    }

    /// Does something under a key's shard's lock, again and again while memory for it has to be found elsewhere first.
    fn write_unlogged<R>(
        &self,
        hash: u64,
        mut op: impl FnMut(&mut Locked<'_>, &mut Prepaid) -> std::result::Result<R, Shortage>,
    ) -> Result<R> {
        self.before_write();
        let shard = self.shard(hash);
        shard.prefetch(hash);
        let mut prepaid = Prepaid::default();
        let mut patience = Patience::default();
        let result = loop {
            let mut locked = shard.lock(&self.ctx);
            locked.asked = patience.rounds > 4;
            locked.asked_in_vain = patience.rounds > MOST_ROUNDS;
            locked.tries = patience.rounds;
            match op(&mut locked, &mut prepaid) {
                Ok(done) => break Ok(done),
                Err(shortage) => {
                    drop(locked);
                    if let Err(e) = self.collect(shortage, shard, &mut patience, &mut prepaid) {
                        event!(DEBUG, self.ctx, error = %e, "no memory for a write");
                        break Err(e);
                    }
                }
            }
        };
        self.ctx.arena.settle(prepaid);
        result
    }

    /// Before a lock is taken to write: see the method of this name for snapshots.
    #[cfg(not(feature = "snapshot"))]
    #[inline(always)]
    pub(crate) fn before_write(&self) {}

    #[cfg(not(feature = "snapshot"))]
    fn is_behind(&self) -> bool {
        false
    }

    /// Finds memory that a shard lacks. An error when there is none, or when many rounds have not freed any.
    pub(crate) fn collect(
        &self,
        shortage: Shortage,
        home: &Shard,
        patience: &mut Patience,
        prepaid: &mut Prepaid,
    ) -> Result<()> {
        let arena = &self.ctx.arena;
        patience.rounds += 1;
        match shortage {
            Shortage::Memory(e) => Err(e),
            Shortage::Span(len) => arena.prepare_span(prepaid, len),
            Shortage::Notices => Ok(()),
            Shortage::Page => {
                let kind = self.policy().0;
                let may_refuse = kind.is_volatile() || kind == EvictionPolicy::NoEviction;
                let progress = (may_refuse && self.ask_for_spare(home)) || self.ask_others(home);
                if !progress && patience.is_tired() {
                    return Err(arena.held_by_readers());
                }
                Ok(())
            }
            Shortage::Bytes(bytes) => {
                arena.trim_pool(bytes);
                let missing = bytes.saturating_sub(prepaid.bytes);
                if arena.ledger.charge(Account::Slab, missing) {
                    prepaid.bytes += missing;
                    return Ok(());
                }
                // Nothing is evicted in vain.
                if bytes > self.room_for_spans().1 || patience.is_over(arena.ledger.used()) {
                    return Err(Error::new(
                        ErrorKind::OutOfMemory,
                        format!(
                            "no room for {bytes} bytes: {} of {} are in use and cannot be freed",
                            arena.ledger.used(),
                            arena.ledger.room()
                        ),
                    ));
                }
                // The home shard makes room each time the operation is tried. The others help when they have more, or
                // when that leads nowhere.
                let is_poor = home.owned_bytes() < self.ctx.fair_share() / 8 * 7;
                if self.shards.len() > 1 && (is_poor || patience.rounds.is_multiple_of(8)) {
                    self.ask_others(home);
                }
                Ok(())
            }
        }
    }

    /// Lets the shard that owns most make some space, unless that is `home`. Whether it made some.
    fn ask_others(&self, home: &Shard) -> bool {
        let richest = self.shards.iter().max_by_key(|shard| shard.owned_bytes());
        let other = richest.filter(|shard| !std::ptr::eq(*shard, home));
        other.is_some_and(|shard| shard.lock(&self.ctx).make_space(None, None) == Progress::Made)
    }

    /// Lets the shard that has a page to spare give it up: the last one to replace an item has it.
    fn ask_for_spare(&self, home: &Shard) -> bool {
        self.shards.iter().filter(|shard| !std::ptr::eq(*shard, home)).any(|shard| {
            let mut locked = shard.lock(&self.ctx);
            locked.settle_limbo();
            locked.move_page(None)
        })
    }

    pub(crate) fn policy(&self) -> (EvictionPolicy, Objective) {
        *self.policy.lock()
    }

    pub(crate) fn flush_count(&self) -> u64 {
        self.flush_count.load(Relaxed)
    }
}
