//! What has to be done now and then, a little with every few writes: the table's size, the policy's upkeep, the ledger.

use super::Locked;
use super::space::{Progress, Shortage};
use crate::error::{Error, ErrorKind};
#[cfg(feature = "snapshot")]
use crate::index::Table;
use crate::policy::{EvictionPolicy, MAINTAIN_EVERY, Objective, Policy};
use crate::slab::{Account, Locator, Slot};
use crate::trace::note;

/// Writes between two looks at the table.
const TABLE_EVERY: u32 = 4;
/// Home buckets that one look moves, when the table is on its way to another size.
const HOMES: u64 = 32;
/// Steps towards another size that one item waits for, at most.
const RESIZE_STEPS: u64 = 64;
/// Items that are moved for a smaller table at once, where memory is waited for, and looks at the table, at most.
const ITEMS_SHRUNK: u64 = 1_500;
const STEPS_SHRUNK: u64 = 256;
/// Items that leave at once, at most, for one that finds no place in a full table.
const PLACES_MADE: u32 = 64;
/// The table grows at this many items a hundred slots.
const GROW_AT: u64 = 90;
/// At this many, an item may find no place.
const FULL_AT: u64 = 93;
/// What is expected fills it so far: shards have a little more or less than their share.
#[cfg(feature = "snapshot")]
const EXPECTED_AT: u64 = 86;
/// It shrinks below this many.
const SHRINK_AT: u64 = 68;

/// Home buckets in which so many items find room before the table grows.
pub(crate) fn homes_for(items: u64) -> u64 {
    u64::try_from((u128::from(items) * 100).div_ceil(u128::from(GROW_AT * 7))).unwrap_or(u64::MAX)
}

pub(super) fn index_is_full() -> Error {
    Error::new(
        ErrorKind::OutOfMemory,
        "no room in the index, and no memory to let it grow: raise max_memory, or choose a policy that evicts",
    )
}

impl Locked<'_> {
    /// Charges what a new shard is made of, ledger or no ledger.
    pub(super) fn charge_start(&mut self) {
        self.core.table_charged = self.shard.table.bytes();
        self.ctx.arena.ledger.force(Account::Index, self.core.table_charged);
        self.settle_ledger();
    }

    /// After every write.
    #[inline]
    pub(crate) fn after_write(&mut self) {
        self.core.writes_to_upkeep -= 1;
        if self.core.writes_to_upkeep.is_multiple_of(TABLE_EVERY) {
            self.upkeep();
        }
    }

    #[inline(never)]
    fn upkeep(&mut self) {
        self.size_table();
        if self.ctx.arena.ledger.excess() > 0 {
            self.give_back();
        }
        if self.core.policy_wants > self.core.policy_granted {
            self.core.policy_granted = self.save_up(Account::Side, self.core.policy_granted, self.core.policy_wants);
        }
        if self.core.writes_to_upkeep == 0 {
            self.core.writes_to_upkeep = MAINTAIN_EVERY as u32;
            self.maintain_policy();
            self.settle_ledger();
        }
    }

    /// The policy's own upkeep. What it would like to remember more with is saved up for it first.
    fn maintain_policy(&mut self) {
        let (granted, before) = (self.core.policy_granted, self.core.policy.memory());
        let wants = self.with_policy(None, |policy, shared, view| policy.maintain(shared, view, granted));
        self.core.policy_wants = wants;
        if self.core.policy.memory() > before || wants == 0 {
            // It has taken what it was granted, which is settled like everything else that it has; or it is content.
            self.ctx.arena.ledger.release(Account::Side, granted);
            self.core.policy_granted = 0;
        }
    }

    /// Lets the ledger know what this shard's own structures take.
    pub(crate) fn settle_ledger(&mut self) {
        let core = &*self.core;
        let now = (size_of::<super::Shard>() + core.tallies.capacity() * size_of::<super::Tally>()) as u64
            + core.slab.memory()
            + core.deadlines.memory()
            + core.limbo.memory()
            + core.policy.memory();
        let (ledger, before) = (&self.ctx.arena.ledger, core.side_charged);
        if now > before {
            ledger.force(Account::Side, now - before);
        } else {
            ledger.release(Account::Side, before - now);
        }
        self.core.side_charged = now;
    }

    /// Gives one page back when more is used than there is room.
    pub(crate) fn give_back(&mut self) -> Progress {
        self.ctx.arena.trim_pool(0);
        if self.ctx.arena.ledger.excess() == 0 {
            return Progress::Made;
        }
        // Items that leave make the table too large, and it would stay so: whoever waits for memory writes nothing.
        if self.shrink_table() {
            return Progress::Made;
        }
        self.make_space(None, None)
    }

    /// Whether the table is on its way to a smaller size.
    pub(crate) fn is_shrinking(&self) -> bool {
        self.shard.table.is_resizing() && !self.core.growing
    }

    /// Takes a table that is larger than its items need some steps on its way to a smaller size, as many as move a
    /// bounded number of items. False if it is none.
    fn shrink_table(&mut self) -> bool {
        if self.has_sizing() && !self.shard.table.is_resizing() {
            self.size_table();
        }
        if self.core.adopting.is_some() || !self.is_shrinking() {
            return false;
        }
        let items_a_step = HOMES * 7 * self.load() / 100;
        for _ in 0..(ITEMS_SHRUNK / items_a_step.max(1)).clamp(1, STEPS_SHRUNK) {
            let pointer = self.shard.table.pointer();
            self.size_table();
            // One that is full just there waits for an item to leave.
            if !self.is_shrinking() || self.shard.table.pointer() == pointer {
                return !self.is_shrinking();
            }
        }
        true
    }

    /// Makes a table without items as large as it will be with so many, if there is memory for it: it need not grow
    /// step by step while they come, which is half of the work of storing them.
    #[cfg(feature = "snapshot")]
    pub(crate) fn expect_items(&mut self, items: u64) {
        let table = &self.shard.table;
        if self.core.items > 0 || table.is_resizing() || self.core.adopting.is_some() {
            return;
        }
        let homes = (items.saturating_mul(100) / (EXPECTED_AT * 7)).min(table.max_buckets());
        let missing = Table::bytes_of(homes).saturating_sub(self.core.table_charged);
        if homes > table.homes() && self.ctx.arena.ledger.charge(Account::Index, missing) {
            self.core.table_charged += missing;
            table.set_size(homes);
            self.core.expecting = true;
        }
    }

    /// What was expected has come, or does not come any more.
    #[cfg(feature = "snapshot")]
    pub(crate) fn expect_no_more(&mut self) {
        self.core.expecting = false;
    }

    fn load(&self) -> u64 {
        self.load_of(self.shard.table.homes())
    }

    /// Items a hundred slots of a table of so many home buckets.
    fn load_of(&self, homes: u64) -> u64 {
        self.core.items * 100 / (homes * 7)
    }

    fn is_too_large(&self) -> bool {
        self.load() < SHRINK_AT && !self.core.expecting && self.shard.table.can_shrink()
    }

    /// Whether the table is on its way to another size, or should be on the way to a smaller one.
    fn has_sizing(&self) -> bool {
        self.core.adopting.is_none() && (self.shard.table.is_resizing() || self.is_too_large())
    }

    /// The same, as far as it is maintenance's business.
    pub(crate) fn has_background_sizing(&self) -> bool {
        self.ctx.settings.background_resizing && self.has_sizing()
    }

    /// Refuses `new` items while the table is so full that they might find no place, and cannot grow. So what is staged
    /// can be published.
    pub(crate) fn check_table_room(&mut self, new: u64) -> Result<(), Shortage> {
        let full = |this: &Self| (this.core.items + new) * 100 >= this.shard.table.buckets() * 7 * FULL_AT;
        if full(self) {
            if self.core.adopting.is_none() && !self.shard.table.is_resizing() {
                self.begin_growth();
            }
            if self.core.may_refuse() {
                // What is on its way may get there.
                for _ in 0..RESIZE_STEPS {
                    if !full(self) || self.core.adopting.is_some() || !self.shard.table.is_resizing() {
                        break;
                    }
                    self.core.growing = true;
                    self.resize_step(HOMES);
                }
                for _ in 0..PLACES_MADE {
                    if !full(self) || self.evict(None, None) != Progress::Made {
                        break;
                    }
                }
                if full(self) {
                    return Err(index_is_full().into());
                }
            }
        }
        Ok(())
    }

    /// Begins, carries on or ends a change of the table's size.
    pub(crate) fn size_table(&mut self) {
        if self.core.adopting.is_some() {
            // Buckets seen by the new policy must stay the ones that were.
            return;
        }
        let table = &self.shard.table;
        if table.is_resizing() {
            // A shrink is given up when so many items have come meanwhile that the small size would be full: those
            // that are there already find no room, and the rest would not either.
            if self.load_of(table.least_homes()) > GROW_AT {
                self.core.growing = true;
            }
            self.resize_step(HOMES);
        } else if self.load() >= GROW_AT {
            self.begin_growth();
        } else if self.is_too_large() && table.begin_shrink(self.core.items) {
            self.core.growing = false;
            note!(self, ResizeBegun { growing: false, homes: self.shard.table.homes() });
        }
    }

    fn begin_growth(&mut self) {
        let Some(bytes) = self.shard.table.bytes_grown() else { return };
        if self.charge_table(bytes) {
            self.core.growing = true;
            note!(self, ResizeBegun { growing: true, homes: self.shard.table.homes() });
            self.shard.table.begin_growth();
        }
    }

    /// Charges the table up to `bytes`; true when all of it is.
    fn charge_table(&mut self, bytes: u64) -> bool {
        self.core.table_charged = self.save_up(Account::Index, self.core.table_charged, bytes);
        self.core.table_charged >= bytes
    }

    /// Charges what is missing from `have` to `want`, as far as there is room; returns what is charged then. Where
    /// there is none, a page is given up for it: one a call, so that no write gives up more.
    fn save_up(&mut self, account: Account, have: u64, want: u64) -> u64 {
        let missing = want.saturating_sub(have);
        let ledger = &self.ctx.arena.ledger;
        if ledger.charge(account, missing) {
            return have + missing;
        }
        self.ctx.arena.trim_pool(missing);
        if ledger.charge(account, missing) {
            return have + missing;
        }
        self.make_space(None, None);
        self.ctx.arena.trim_pool(missing);
        // Single victims free no page where writes take their chunks at once, as they do while all items are alike: who
        // waits for memory would wait for ever. Not while the limit is exceeded by more than that page would make up
        // for.
        let (ledger, page) = (&self.ctx.arena.ledger, self.ctx.arena.page_size() as u64);
        if ledger.spare() == 0 && ledger.excess() < page && !self.core.may_refuse() {
            self.squeeze_page(None);
            self.ctx.arena.trim_pool(missing);
        }
        let ledger = &self.ctx.arena.ledger;
        let part = missing.min(ledger.spare());
        if part > 0 && ledger.charge(account, part) { have + part } else { have }
    }

    /// Moves some homes; settles the charge when the table is at rest again. True if it is.
    fn resize_step(&mut self, homes: u64) -> bool {
        self.busy();
        let (table, growing) = (&self.shard.table, self.core.growing);
        let fetch = |locator: Locator| self.ctx.arena.prefetch(locator);
        let hash = |locator: Locator| self.hash_of(locator);
        let overruled = |from: Slot, to: Slot| self.overruled(from, to);
        let done = if growing {
            table.grow_step(homes, fetch, hash, overruled)
        } else {
            table.shrink_step(homes, fetch, hash, overruled)
        };
        if done {
            let (bytes, charged) = (table.bytes(), self.core.table_charged);
            if charged > bytes {
                self.ctx.arena.ledger.release(Account::Index, charged - bytes);
                self.core.table_charged = bytes;
            }
            note!(self, ResizeEnded { homes: self.shard.table.homes() });
        }
        done
    }

    /// Room for an item whose two buckets are full and whose neighbourhood is too: more table, or one of the fourteen
    /// leaves. `attempt` counts from 0; false when there is no more to be tried.
    pub(super) fn make_table_room(&mut self, hash: u64, attempt: u64) -> bool {
        let may_resize = self.core.adopting.is_none();
        // Where nothing may leave, as often as there is memory for it.
        if may_resize && !self.shard.table.is_resizing() && (attempt == 0 || self.core.may_refuse()) {
            self.begin_growth();
        }
        // With some luck on to the hash's own home; no further than a bounded hold allows.
        if may_resize && self.shard.table.is_resizing() && attempt <= RESIZE_STEPS {
            self.core.growing = true;
            self.resize_step(HOMES);
            return true;
        }
        self.evict_neighbour(hash)
    }

    fn evict_neighbour(&mut self, hash: u64) -> bool {
        if self.core.may_refuse() {
            return false;
        }
        let skip = self.random() % 14;
        let mut chosen = None;
        let mut seen = 0;
        self.shard.table.each_near(hash, |place, slot| {
            if seen <= skip {
                chosen = slot.locator().map(|locator| super::Found { place, slot, locator });
            }
            seen += 1;
        });
        let Some(found) = chosen else { return false };
        let cause = self.end_of(self.item(found.locator)).unwrap_or(super::Cause::Evicted);
        self.remove(found, cause);
        true
    }

    /// Goes over to another policy. Items are shown to it by [`adopt_step`](Self::adopt_step), which is called until
    /// done.
    pub(crate) fn change_policy(&mut self, policy: EvictionPolicy, objective: Objective) {
        let seed = self.random();
        self.shard.shared.reset(EvictionPolicy::NoEviction, objective);
        self.core.policy = Policy::new(policy, objective, seed);
        self.core.kind = policy;
        self.core.adopting = Some(0);
    }

    /// Shows some buckets to a policy that has just taken over. True when it has seen them all.
    pub(crate) fn adopt_step(&mut self, policy: EvictionPolicy, buckets: u64) -> bool {
        let Some(first) = self.core.adopting else { return true };
        self.busy();
        let end = (first + buckets).min(self.shard.table.buckets());
        for bucket in first..end {
            let mut items: smallvec::SmallVec<[(crate::index::Place, Locator); 7]> = smallvec::SmallVec::new();
            self.shard.table.each_in_bucket(bucket, |place, slot| items.extend(slot.locator().map(|l| (place, l))));
            for (place, locator) in items {
                let (hash, size) = (self.hash_of(locator), self.core.slab.chunk_of(&self.ctx.arena, locator));
                let core = &mut *self.core;
                let bits = core.policy.adopt(&self.shard.shared, hash, size);
                self.shard.table.rewrite(place, |slot| slot.with_bits(bits));
            }
        }
        if end < self.shard.table.buckets() {
            self.core.adopting = Some(end);
            return false;
        }
        self.core.adopting = None;
        self.shard.shared.start(policy);
        true
    }
}
