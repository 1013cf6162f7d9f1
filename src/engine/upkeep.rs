//! What is done beside the operations: clearing, changing limits and policy, and maintenance in bounded steps.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::{Engine, Geometry};
use crate::error::{Error, ErrorKind, Result};
use crate::oplog::Effect;
use crate::policy::{EvictionPolicy, Objective};
use crate::shard::Locked;
use crate::slab::{Account, ClassId, thread_cpu_ns};
use crate::trace::{event, span};

/// Figures of maintenance.
#[derive(Debug, Default)]
pub(super) struct UpkeepState {
    pub(super) runs: AtomicU64,
    /// Bytes of sessions that are on the ledger.
    sessions_charged: AtomicU64,
    /// When the pool was last looked at, and the idle pages found then that were not given back yet.
    pool_watched_at: AtomicU64,
    pool_idle: AtomicU64,
    pub(super) cpu_ns: AtomicU64,
    /// When maintenance tries again to get within the limit, after nothing was left that could leave.
    pub(super) shrink_after: AtomicU64,
}

/// A pooled page that nobody has needed for so long goes back to the system.
const POOL_PERIOD_MS: u64 = 5_000;
/// Maintenance tries so long after it could not get within the limit once more.
const SHRINK_RETRY_MS: u64 = 5_000;
/// Pages that one call moves between classes at most.
const MOVES: u32 = 16;
/// Buckets that a policy which takes over is shown in one hold of a lock.
const ADOPT_STEP: u64 = 128;

impl Engine {
    /// Clears a namespace: one store, but that the sixteenth clear in a row waits for a sweep of what the first has
    /// left.
    pub(crate) fn clear(&self, namespace: u8) {
        if self.ctx.effects.is_follower() {
            return;
        }
        self.clear_now(namespace);
        // It is so here, whatever the log says.
        let _ = self.ctx.settle_log();
    }

    /// The same, whoever wants it.
    pub(super) fn clear_now(&self, namespace: u8) {
        while !self.try_clear(namespace, None) {
            self.sweep_fully();
        }
        event!(DEBUG, self.ctx, namespace, "namespace cleared");
    }

    /// The same, unless a sweep has to come first. False then. `due` is the internal time for which it was planned, if
    /// it was.
    fn try_clear(&self, namespace: u8, due: Option<u64>) -> bool {
        // Before the generation moves on: see the invariants of `loads`.
        self.overtake_loads(namespace);
        let done = self.move_on(namespace, 0, due) || {
            let swept = self.shards.iter().map(|s| s.lock(&self.ctx).swept_for()).min().unwrap_or_default();
            self.move_on(namespace, swept, due)
        };
        self.flush_count.fetch_add(u64::from(done), Relaxed);
        if done {
            self.with_estimate(|estimate| estimate.clear(namespace));
        }
        done
    }

    /// Lets a namespace go on to its next generation, if what `swept` clears have left was swept up. With a log, all
    /// locks are held, so that everything that is stored has its place before or after it in the log as it has in the
    /// cache.
    fn move_on(&self, namespace: u8, swept: u64, due: Option<u64>) -> bool {
        let namespaces = &self.ctx.namespaces;
        if !self.ctx.effects.is_on() {
            return namespaces.clear(namespace, self.ctx.now(), || swept);
        }
        let _locks = self.lock_every_shard();
        let done = namespaces.clear(namespace, self.ctx.now(), || swept);
        if done {
            let due_ms = due.map(|at| self.ctx.to_unix(at));
            self.ctx.effects.record(&Effect::Clear { namespace, due_ms }, &mut None);
        }
        done
    }

    /// The locks of all shards, in order.
    pub(super) fn lock_every_shard(&self) -> Vec<Locked<'_>> {
        self.shards.iter().map(|shard| shard.lock(&self.ctx)).collect()
    }

    fn sweep_fully(&self) {
        for shard in &self.shards {
            while shard.sweep_once(&self.ctx) {}
        }
    }

    /// Removes all that was cleared, or whose tags were invalidated.
    pub(super) fn sweep_flushed(&self) {
        self.sweep_fully();
        let untagged = self.ctx.tags.sequence();
        for shard in &self.shards {
            while shard.sweep_tags_once(&self.ctx, untagged) {}
        }
    }

    /// Clears every namespace.
    pub(crate) fn clear_all(&self) {
        for namespace in 0..=255 {
            if namespace == 0 || self.len(namespace) > 0 {
                self.clear(namespace);
            }
        }
    }

    /// Clears a namespace when the clock has come to an internal time.
    pub(crate) fn clear_at(&self, namespace: u8, at: u64) {
        if self.ctx.effects.is_follower() {
            return;
        }
        self.plan_clear(namespace, at);
        // It is planned here, whatever the log says.
        let _ = self.ctx.settle_log();
    }

    /// Plans that clearing, whoever wants it.
    pub(super) fn plan_clear(&self, namespace: u8, at: u64) {
        event!(DEBUG, self.ctx, namespace, at_unix_ms = self.ctx.to_unix(at), "clear put off");
        let mut flushes = self.flushes.lock();
        let due = flushes.entry(at).or_default();
        if !due.contains(&namespace) {
            due.push(namespace);
            if self.ctx.effects.is_on() {
                let at_ms = self.ctx.to_unix(at);
                self.ctx.effects.record(&Effect::ClearAt { namespace, at_ms }, &mut None);
            }
        }
        self.ctx.set_flush_at(flushes.keys().next().copied().unwrap_or(u64::MAX));
    }

    /// Does what `clear_at` was told, as far as it is due.
    #[cold]
    pub(crate) fn run_flushes(&self) {
        if !self.ctx.effects.may_remove() {
            // The primary does it, and says so; or the log, when it is taken up again.
            return;
        }
        // Swept and told without the lock: listeners and subscribers may use the cache.
        loop {
            let (cleared, all_done) = self.try_flushes();
            for _namespace in cleared {
                event!(DEBUG, self.ctx, namespace = _namespace, "namespace cleared");
            }
            if all_done {
                return;
            }
            self.sweep_fully();
        }
    }

    /// The same, until a sweep has to come before one of them (`false`), and what was cleared.
    fn try_flushes(&self) -> (Vec<u8>, bool) {
        let mut flushes = self.flushes.lock();
        let later = flushes.split_off(&self.ctx.now().saturating_add(1));
        let mut due = std::mem::replace(&mut *flushes, later);
        let mut cleared = Vec::new();
        // Cleared before the next one's time is announced, so that nobody reads on in between.
        for (&at, namespaces) in &mut due {
            namespaces.retain(|&namespace| {
                let done = self.try_clear(namespace, Some(at));
                cleared.extend(done.then_some(namespace));
                !done
            });
        }
        due.retain(|_, namespaces| !namespaces.is_empty());
        let all_done = due.is_empty();
        flushes.append(&mut due);
        self.ctx.set_flush_at(flushes.keys().next().copied().unwrap_or(u64::MAX));
        (cleared, all_done)
    }

    /// Clearings that are planned: internal times and namespaces.
    pub(super) fn planned_clears(&self) -> Vec<(u64, u8)> {
        let flushes = self.flushes.lock();
        flushes.iter().flat_map(|(&at, namespaces)| namespaces.iter().map(move |&namespace| (at, namespace))).collect()
    }

    /// Tells the logs of planned clearings once more, for who follows from a snapshot: they are not in it. Under the
    /// lock, so that none of them is told of after it was done.
    #[cfg(feature = "replication")]
    pub(crate) fn repeat_plans(&self) {
        let flushes = self.flushes.lock();
        for (&at, namespaces) in &*flushes {
            let at_ms = self.ctx.to_unix(at);
            namespaces.iter().for_each(|&namespace| {
                self.ctx.effects.record(&Effect::ClearAt { namespace, at_ms }, &mut None);
            });
        }
    }

    /// Plans no clearing any more.
    #[cfg(feature = "replication")]
    pub(crate) fn forget_plans(&self) {
        let mut flushes = self.flushes.lock();
        flushes.clear();
        self.ctx.set_flush_at(u64::MAX);
    }

    /// A planned clearing was done elsewhere.
    pub(super) fn unplan_clear(&self, namespace: u8, at: u64) {
        let mut flushes = self.flushes.lock();
        if let Some(namespaces) = flushes.get_mut(&at) {
            namespaces.retain(|&other| other != namespace);
            if namespaces.is_empty() {
                flushes.remove(&at);
            }
        }
        self.ctx.set_flush_at(flushes.keys().next().copied().unwrap_or(u64::MAX));
    }

    /// Live items of a namespace (those that have ended and were not yet swept included).
    pub(crate) fn len(&self, namespace: u8) -> u64 {
        self.before();
        self.shards.iter().map(|s| s.lock(&self.ctx).tally(namespace).items).sum()
    }

    /// Changes the limit. Items leave at once as far as needed and allowed, a page at a time; memory above it goes back
    /// to the system.
    pub(crate) fn set_max_memory(&self, limit: u64) -> Result<()> {
        let (ledger, least) = (&self.ctx.arena.ledger, (self.shards.len() * self.ctx.arena.page_size() * 4) as u64);
        let least = least.max(64 << 10) + ledger.reserved() + self.curve_bytes();
        let most = self.ctx.arena.address_space() as u64 / 4;
        let most = most.max(ledger.limit());
        if !(least..=most).contains(&limit) {
            return Err(Error::new(
                ErrorKind::InvalidConfig,
                format!(
                    "max_memory cannot become {limit} bytes: from {least} to {most} are possible (see address_space)"
                ),
            ));
        }
        span!("set_max_memory", self.ctx, from = ledger.limit(), to = limit);
        ledger.set_limit(limit);
        let least_buckets = Geometry::least_buckets(limit, self.built.initial_items, self.shards.len());
        for shard in &self.shards {
            let locked = shard.lock(&self.ctx);
            locked.shard.table.set_least(least_buckets);
        }
        self.shrink_to_limit(|| false);
        self.measure_estimate();
        Ok(())
    }

    /// Changes what is kept out of the items' reach.
    pub(crate) fn set_reserved_memory(&self, reserved: u64) -> Result<()> {
        let (ledger, most) = (&self.ctx.arena.ledger, self.most_reserved());
        if reserved > most {
            return Err(Error::new(
                ErrorKind::InvalidConfig,
                format!("reserved_memory cannot become {reserved} bytes: at most {most} with this max_memory"),
            ));
        }
        span!("set_reserved_memory", self.ctx, from = ledger.reserved(), to = reserved);
        ledger.set_reserved(reserved);
        self.shrink_to_limit(|| false);
        self.measure_estimate();
        Ok(())
    }

    /// The most that can be kept out of the items' reach.
    fn most_reserved(&self) -> u64 {
        let least = ((self.shards.len() * self.ctx.arena.page_size() * 4) as u64).max(64 << 10);
        self.ctx.arena.ledger.limit().saturating_sub(least + self.curve_bytes())
    }

    /// Changes one charge of memory of the program's own. Items leave for it with the next writes and maintenance.
    pub(crate) fn recharge(&self, before: u64, after: u64) -> Result<()> {
        let (ledger, most) = (&self.ctx.arena.ledger, self.most_reserved());
        if ledger.recharge_outside(before, after, most) {
            return Ok(());
        }
        let charged = ledger.outside();
        Err(Error::new(
            ErrorKind::OutOfMemory,
            format!(
                "{after} bytes cannot be charged in place of {before}: {charged} bytes are charged for memory of the \
                 program, and with this max_memory they can be {most}"
            ),
        ))
    }

    /// Gives memory back, a page a hold, until the ledger is within its room, nothing more can go, or it was `enough`
    /// for now.
    pub(super) fn shrink_to_limit(&self, enough: impl Fn() -> bool) {
        let ledger = &self.ctx.arena.ledger;
        let mut stuck = 0;
        while ledger.excess() > 0 && stuck < 3 {
            let before = ledger.used();
            for shard in &self.shards {
                // Evictions do not free a page each time: some rounds a shard before it is called stuck. A table that
                // shrinks gives its memory back at the end, which surely comes.
                let mut rounds = 0;
                while rounds < 256 {
                    if ledger.excess() == 0 || enough() {
                        return;
                    }
                    let used = ledger.used();
                    let mut locked = shard.lock(&self.ctx);
                    let progress = locked.give_back();
                    rounds += u32::from(!locked.is_shrinking());
                    drop(locked);
                    if progress != crate::shard::Progress::Made || ledger.used() < used {
                        break;
                    }
                }
            }
            stuck = if ledger.used() < before { 0 } else { stuck + 1 };
        }
        let after = if ledger.excess() > 0 { self.ctx.now().saturating_add(SHRINK_RETRY_MS) } else { 0 };
        self.upkeep.shrink_after.store(after, Relaxed);
    }

    /// Whether more is in use than there is room, and it has not just been found that nothing can be done about it.
    fn is_over(&self) -> bool {
        self.ctx.arena.ledger.excess() > 0 && self.ctx.now() >= self.upkeep.shrink_after.load(Relaxed)
    }

    /// Changes the policy. Stored items stay; the new policy starts without knowing how they were used.
    pub(crate) fn set_policy(&self, policy: EvictionPolicy, objective: Objective) {
        span!("set_policy", self.ctx, to = policy.name());
        let changing = self.policy_change.lock();
        if std::mem::replace(&mut *self.policy.lock(), (policy, objective)) == (policy, objective) {
            return;
        }
        for shard in &self.shards {
            shard.lock(&self.ctx).change_policy(policy, objective);
            while !shard.lock(&self.ctx).adopt_step(policy, ADOPT_STEP) {}
        }
        drop(changing);
        // What the old policy might not give up, the new one may.
        self.shrink_to_limit(|| false);
        self.with_estimate(|estimate| estimate.set_policy(policy, objective));
    }

    /// Moves a page from one class to another, or to the class that asks next. False if there was none to move.
    pub(crate) fn reassign(&self, from: usize, to: usize) -> Result<bool> {
        if !self.ctx.settings.reassign {
            return Err(Error::new(
                ErrorKind::NotAllowed,
                "moving slab pages by hand is off in this cache: build it with slab_reassign(true)",
            ));
        }
        let classes = self.ctx.classes.len();
        if from >= classes || to >= classes || from == to {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!(
                    "cannot move a page from class {from} to class {to}: give two different ones of 0 to {}",
                    classes - 1
                ),
            ));
        }
        let (from, to) = (ClassId(from as u8), ClassId(to as u8));
        let most = self.shards.iter().max_by_key(|s| s.lock(&self.ctx).core.slab.classes[from.index()].pages);
        Ok(most.is_some_and(|shard| shard.lock(&self.ctx).reassign(from, to)))
    }

    /// Whether maintenance has something to do.
    pub(crate) fn needs_upkeep(&self) -> bool {
        self.is_over() || self.has_work()
    }

    /// Whether there is something to do that maintenance is sure to get done.
    fn has_work(&self) -> bool {
        self.watch_pool()
            || self.ctx.hub.has_pending()
            || (self.ctx.flush_due() && self.ctx.effects.may_remove())
            || self.has_log_work()
            || self.shards.iter().any(|s| s.needs_upkeep(&self.ctx))
    }

    /// Looks at the pool from time to time. True if pages that nobody needs are to be given back.
    fn watch_pool(&self) -> bool {
        let now = self.ctx.now();
        if now.saturating_sub(self.upkeep.pool_watched_at.load(Relaxed)) >= POOL_PERIOD_MS {
            self.upkeep.pool_watched_at.store(now, Relaxed);
            self.upkeep.pool_idle.store(self.ctx.arena.watch_pool() as u64, Relaxed);
        }
        self.upkeep.pool_idle.load(Relaxed) > 0
    }

    /// Works for up to `budget` of CPU time, a step at a time, or until there is nothing left to do. Returns the time
    /// used and whether all is done.
    pub(crate) fn maintain(&self, budget: Duration) -> (Duration, bool) {
        let (start, cpu) = (Instant::now(), thread_cpu_ns());
        let used = || match thread_cpu_ns() - cpu {
            0 => start.elapsed(),
            ns => Duration::from_nanos(ns),
        };
        span!("maintenance", self.ctx);
        self.before();
        self.ctx.hub.tell_all();
        self.maintain_log(|| used() >= budget);
        if self.is_over() {
            self.shrink_to_limit(|| used() >= budget);
        }
        let (mut done, mut moves) = (false, MOVES);
        // What a sweep removes may have to be saved first: not while a snapshot is behind.
        while !done && used() < budget && !self.is_behind() {
            done = true;
            for shard in &self.shards {
                done &= !shard.upkeep_once(&self.ctx);
                if used() >= budget {
                    break;
                }
            }
            // Pages move when nothing more urgent is left.
            if done {
                for shard in &self.shards {
                    if moves > 0 && used() < budget && shard.lock(&self.ctx).move_step() {
                        moves -= 1;
                        done = false;
                    }
                }
            }
        }
        while self.watch_pool() && used() < budget {
            let gave = self.ctx.arena.give_back_pooled();
            let left = |idle: u64| if gave { idle.checked_sub(1) } else { Some(0) };
            // Somebody else who does maintenance may have given the last one back.
            let _ = self.upkeep.pool_idle.fetch_update(Relaxed, Relaxed, left);
        }
        for shard in &self.shards {
            shard.lock(&self.ctx).settle_ledger();
        }
        self.drop_old_tags();
        self.settle_sessions();
        self.measure_estimate();
        self.upkeep.runs.fetch_add(1, Relaxed);
        let used = used();
        self.upkeep.cpu_ns.fetch_add(used.as_nanos() as u64, Relaxed);
        event!(TRACE, self.ctx, cpu_us = used.as_micros() as u64, done, "maintenance run");
        // Memory above the limit that nobody may give up is not waited for.
        (used, done && !self.needs_upkeep())
    }

    /// Lets the ledger know what the threads' sessions take: a few hundred bytes each, and they never become fewer.
    pub(super) fn settle_sessions(&self) {
        let now = self.ctx.sessions.memory();
        let before = self.upkeep.sessions_charged.fetch_max(now, Relaxed);
        self.ctx.arena.ledger.force(Account::Side, now.saturating_sub(before));
    }

    /// Checks every invariant that can be checked while nobody else is at work; panics where one does not hold. For
    /// tests.
    pub(crate) fn check(&self) {
        for shard in &self.shards {
            shard.lock(&self.ctx).check();
        }
        let ledger = &self.ctx.arena.ledger;
        let owned: u64 = self.shards.iter().map(|s| s.owned_bytes()).sum();
        assert!(ledger.of(Account::Slab) >= owned + self.ctx.arena.pooled_bytes());
    }
}
