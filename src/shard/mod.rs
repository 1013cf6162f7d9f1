//! One shard: a table, the pages behind it, a policy, and the lock under which they change.
//!
//! | file | what |
//! |---|---|
//! | `context` | what all shards share |
//! | `namespaces` | generations: clearing in one store |
//! | `read` | the read path: no lock |
//! | `write` | under the lock: find, stage, publish, remove |
//! | `effects` | what the effect log is told |
//! | `space` | making room: evict, move pages, give memory back |
//! | `sweep` | what has ended or was cleared, page by page |
//! | `upkeep` | table size, policy upkeep, ledger |
//! | `view` | what the policy sees |
//! | `limbo` | chunks that wait for readers |
//! | `kept` | what a warm restart keeps of a shard, and the way back |
//! | `saving` | what a snapshot has of a shard; the hook before a change (feature `snapshot`) |
//!
//! Invariants:
//! 1. A key's hash names its shard; all that happens to the key happens under that shard's lock, reads excepted.
//! 2. Lock order: shards by number, then the arena's free list. Nothing else is locked under a shard's lock but the
//!    list of sessions, the stripes of loads in flight, queues of notices and of effects, a snapshot's buffer and the
//!    tags' table. No code of the user runs under it but the clock; what listeners are to be told is queued, and told
//!    when the lock was given back (`Drop for Locked`).
//! 3. An item in the table is counted: in `items`, its chunk in `chunk_bytes`, in the policy, and, if it has an end,
//!    in its unit's `with_end` and `volatile_items`, with its unit's deadline at or before its end. If its generation
//!    is current it is counted in its namespace too.

mod context;
mod effects;
mod kept;
mod limbo;
mod namespaces;
mod read;
#[cfg(feature = "snapshot")]
mod saving;
mod space;
mod sweep;
mod upkeep;
mod view;
mod write;

use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};

use crate::error::Result;
use crate::events::KeyEventClass;
use crate::expiry::Deadlines;
use crate::index::Table;
use crate::oplog::Grouped;
use crate::policy::{EvictionPolicy, Objective, Policy, Shared};
use crate::slab::{Locator, Slab, UnitId, prefetch};
use crate::trace::Notes;

pub(crate) use crate::events::RemovalCause as Cause;
pub use context::Automove;
pub(crate) use context::{Context, Settings};
pub(crate) use effects::{TagBytes, item_of};
pub(crate) use kept::{Checked, KeptShard, Making};
pub(crate) use limbo::Limbo;
pub(crate) use namespaces::Namespaces;
pub(crate) use read::Read;
#[cfg(feature = "snapshot")]
pub(crate) use saving::{Cut, Prepared};
pub(crate) use space::{For, Progress, Room, Shortage};
pub(crate) use upkeep::homes_for;
pub(crate) use view::Handle;
pub(crate) use write::{Found, New, Origin, Stored};

/// See the module.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) table: Table,
    pub(crate) shared: Shared,
    core: Mutex<Core>,
}

/// Live items of one namespace in one shard.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) generation: u8,
    pub(crate) items: u64,
    pub(crate) payload: u64,
}

/// What one shard has counted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ShardCounts {
    pub(crate) stored: u64,
    pub(crate) evictions: u64,
    pub(crate) evicted_unfetched: u64,
    pub(crate) expired: u64,
    pub(crate) expired_unfetched: u64,
    pub(crate) reclaimed: u64,
    pub(crate) flushed: u64,
    pub(crate) turned_away: u64,
    pub(crate) pages_moved: u64,
    pub(crate) longest_hold_ns: u64,
}

impl ShardCounts {
    /// Adds another shard's counts.
    pub(crate) fn add(&mut self, other: &ShardCounts) {
        self.stored += other.stored;
        self.evictions += other.evictions;
        self.evicted_unfetched += other.evicted_unfetched;
        self.expired += other.expired;
        self.expired_unfetched += other.expired_unfetched;
        self.reclaimed += other.reclaimed;
        self.flushed += other.flushed;
        self.turned_away += other.turned_away;
        self.pages_moved += other.pages_moved;
        self.longest_hold_ns = self.longest_hold_ns.max(other.longest_hold_ns);
    }
}

/// What the lock protects.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) id: usize,
    pub(crate) slab: Slab,
    pub(crate) policy: Policy<Handle>,
    /// Which policy it is.
    pub(crate) kind: EvictionPolicy,
    pub(crate) deadlines: Deadlines,
    pub(crate) limbo: Limbo,
    /// Items in the table, those of past generations too.
    pub(crate) items: u64,
    /// Bytes of their chunks.
    pub(crate) chunk_bytes: u64,
    /// Those with a deadline or idle time.
    pub(crate) volatile_items: u64,
    /// Victims of one class are asked for, to free a page of it.
    pub(crate) gathering: bool,
    pub(crate) tallies: Vec<Tally>,
    pub(crate) counts: ShardCounts,
    /// Which way a resize of the table goes, while there is one.
    growing: bool,
    /// Items are on their way that the table is large enough for: it does not shrink.
    expecting: bool,
    /// Bytes charged for the table.
    table_charged: u64,
    /// Bytes that the policy would like to have, and those saved up for it so far.
    policy_wants: u64,
    policy_granted: u64,
    /// Bytes charged for everything else here.
    side_charged: u64,
    writes_to_upkeep: u32,
    next_token: u64,
    /// When maintenance may move pages again, after it could not.
    moves_after: u64,
    flush: sweep::FlushPass,
    /// The next bucket whose items the present policy has not seen yet, after a change of policy.
    adopting: Option<u64>,
    /// State of the random choices that are not the policy's.
    random: u64,
    /// Where the item that was stored last is, or was.
    newest: Option<UnitId>,
    /// What a snapshot that is under way has of this shard.
    #[cfg(feature = "snapshot")]
    saving: Option<Box<saving::Saving>>,
}

impl Core {
    /// Whether the policy may find that nothing can leave.
    pub(crate) fn may_refuse(&self) -> bool {
        self.kind.is_volatile() || self.kind == EvictionPolicy::NoEviction
    }
}

impl Shard {
    pub(crate) fn new(
        ctx: &Context,
        id: usize,
        (least_buckets, max_buckets): (u64, u64),
        policy: EvictionPolicy,
        objective: Objective,
    ) -> Result<Shard> {
        let table = Table::with_least(least_buckets, max_buckets, ctx.shard_bits())?;
        let shard = Shard::bare(ctx, id, table, (policy, objective));
        shard.lock(ctx).charge_start();
        Ok(shard)
    }

    /// A shard that is not on the ledger yet.
    fn bare(ctx: &Context, id: usize, table: Table, (policy, objective): (EvictionPolicy, Objective)) -> Shard {
        let seed = ctx.settings.seed ^ (id as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let core = Core {
            id,
            slab: Slab::new(&ctx.classes),
            policy: Policy::new(policy, objective, seed),
            kind: policy,
            deadlines: Deadlines::default(),
            limbo: Limbo::default(),
            items: 0,
            chunk_bytes: 0,
            volatile_items: 0,
            gathering: false,
            tallies: Vec::new(),
            counts: ShardCounts::default(),
            growing: true,
            expecting: false,
            table_charged: 0,
            policy_wants: 0,
            policy_granted: 0,
            side_charged: 0,
            writes_to_upkeep: 1,
            next_token: 1,
            moves_after: 0,
            flush: sweep::FlushPass::default(),
            adopting: None,
            random: seed | 1,
            newest: None,
            #[cfg(feature = "snapshot")]
            saving: None,
        };
        Shard { table, shared: Shared::new(policy, objective), core: Mutex::new(core) }
    }

    /// Asks for the lines that a write of this hash will look at.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        let (home, other) = self.table.addresses(hash);
        prefetch(home);
        prefetch(other);
    }

    /// Takes the lock.
    #[inline]
    pub(crate) fn lock<'a>(&'a self, ctx: &'a Context) -> Locked<'a> {
        self.locked(self.core.lock(), ctx)
    }

    /// The same, if nobody has it.
    #[cfg(feature = "snapshot")]
    pub(crate) fn try_lock<'a>(&'a self, ctx: &'a Context) -> Option<Locked<'a>> {
        self.core.try_lock().map(|core| self.locked(core, ctx))
    }

    #[inline]
    fn locked<'a>(&'a self, core: MutexGuard<'a, Core>, ctx: &'a Context) -> Locked<'a> {
        let id = core.id;
        Locked {
            core,
            shard: self,
            ctx,
            now: ctx.now(),
            clears: ctx.namespaces.clears(),
            untagged: ctx.tags.sequence(),
            has_news: false,
            asked: false,
            asked_in_vain: false,
            tries: 0,
            busy_since: None,
            grouped: None,
            notes: Notes::new(ctx, id),
        }
    }

    /// Bytes of pages that this shard owns.
    pub(crate) fn owned_bytes(&self) -> u64 {
        self.core.lock().slab.owned_bytes
    }
}

/// A shard whose lock is held.
#[derive(Debug)]
pub(crate) struct Locked<'a> {
    pub(crate) core: MutexGuard<'a, Core>,
    pub(crate) shard: &'a Shard,
    pub(crate) ctx: &'a Context,
    /// Milliseconds since the cache's start, read once a hold.
    pub(crate) now: u64,
    /// Clears so far, read before anything else in this hold: a sweep begun in it deals with these and no later ones,
    /// because an item stored in it may have the generation that a later one leaves.
    clears: u64,
    /// The same of tag invalidations.
    untagged: u64,
    /// Something was queued for listeners or subscribers.
    has_news: bool,
    /// Other shards were asked for a page already.
    pub(crate) asked: bool,
    /// They were asked so often that there is no point in asking again.
    pub(crate) asked_in_vain: bool,
    /// How often what is being done was tried before, and lacked memory.
    pub(crate) tries: u64,
    /// Since when something is being done that may take longer than a plain write.
    busy_since: Option<Instant>,
    /// Effects that become one record, while an operation gathers them.
    pub(crate) grouped: Grouped,
    /// Last, so that the lock is given back before they are told.
    pub(crate) notes: Notes<'a>,
}

impl Locked<'_> {
    /// Notes that this hold may be a long one, so that it is measured. Plain writes, which are all alike, are not:
    /// reading a clock twice would cost more than some of them.
    pub(crate) fn busy(&mut self) {
        if self.busy_since.is_none() {
            self.busy_since = Some(Instant::now());
        }
    }
}

impl Locked<'_> {
    /// Tells the policy of a use that was found under the lock.
    pub(crate) fn note_use(&mut self, found: Found) {
        self.item(found.locator).used_at(self.now);
        let slot = self.shard.table.get(found.place);
        let bits = self.shard.shared.hit(slot.bits()).unwrap_or(slot.bits());
        if slot.locator() == Some(found.locator)
            && self.shard.table.update(found.place, slot, slot.with_bits(bits).with_fetched())
            && bits != slot.bits()
        {
            let size = self.core.slab.chunk_of(&self.ctx.arena, found.locator);
            self.shard.shared.applied(slot.bits(), bits, size);
        }
    }

    /// Says that something has happened to a key, whose item this shard has or had.
    #[inline]
    pub(crate) fn happened(&mut self, class: KeyEventClass, name: &'static str, namespace: u8, key: &[u8]) {
        if self.ctx.hub.wants(class) {
            self.has_news |= self.ctx.hub.happened(self.core.id, class, name, namespace, key);
        }
    }

    /// Says that an item is leaving. Before its chunk is retired.
    #[inline]
    fn leaves(&mut self, locator: Locator, cause: Cause) {
        if self.ctx.hub.is_on() && !self.ctx.effects.is_replaying() {
            let (hub, item) = (&self.ctx.hub, self.item(locator));
            let news = hub.removed(self.core.id, cause, item.namespace(), item.key(), item.value());
            self.has_news |= news;
        }
    }

    /// Whether an item in the table is over or cleared.
    pub(crate) fn is_gone(&self, locator: Locator) -> bool {
        self.end_of(self.item(locator)).is_some()
    }

    /// Checks the invariants of this shard and everything below it; for tests. Nobody else may be at work.
    pub(crate) fn check(&mut self) {
        self.core.slab.check(&self.ctx.arena);
        self.shard.table.check(self.core.items, |slot| slot.locator().map_or(0, |locator| self.hash_of(locator)));
        let (mut items, mut bytes, mut volatile) = (0, 0, 0);
        let mut tallies = vec![Tally::default(); 256];
        let mut with_end = std::collections::HashMap::new();
        for bucket in 0..self.shard.table.buckets() {
            self.shard.table.each_in_bucket(bucket, |_, slot| {
                let Some(locator) = slot.locator() else { return };
                let (item, unit) = (self.item(locator), self.core.slab.unit_of(&self.ctx.arena, locator));
                items += 1;
                bytes += u64::from(self.core.slab.unit(unit).chunk);
                assert_eq!(slot.is_volatile(), item.has_end());
                if item.has_end() {
                    volatile += 1;
                    *with_end.entry(unit).or_insert(0) += 1;
                    assert!(self.core.deadlines.get(unit).is_some(), "an item with an end in a page without a bound");
                }
                if item.generation() == self.ctx.namespaces.generation(item.namespace()) {
                    tallies[usize::from(item.namespace())].items += 1;
                    tallies[usize::from(item.namespace())].payload += item.payload_len() as u64;
                }
            });
        }
        assert_eq!((self.core.items, self.core.chunk_bytes, self.core.volatile_items), (items, bytes, volatile));
        // A policy that takes over does not know all items yet.
        if self.core.adopting.is_none() {
            self.with_policy(None, |policy, shared, view| policy.check(shared, view));
        }
        for (namespace, counted) in tallies.iter().enumerate().take(self.core.tallies.len()) {
            let tally = *self.tally(namespace as u8);
            assert_eq!((tally.items, tally.payload), (counted.items, counted.payload), "namespace {namespace}");
        }
        for unit in (0..self.core.slab.unit_count()).map(crate::slab::UnitId).filter(|&u| self.core.slab.exists(u)) {
            let counted = with_end.get(&unit).copied().unwrap_or(0);
            assert_eq!(self.core.slab.unit(unit).with_end, counted, "items with an end in {unit:?}");
        }
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        if let Some(since) = self.busy_since {
            let held = since.elapsed().as_nanos() as u64;
            self.core.counts.longest_hold_ns = self.core.counts.longest_hold_ns.max(held);
        }
        if let Some(group) = self.grouped.take() {
            self.ctx.effects.record_group(&group);
        }
        if self.has_news {
            let (hub, id) = (&self.ctx.hub, self.core.id);
            MutexGuard::unlocked(&mut self.core, || hub.tell(id));
        }
    }
}
