//! Items out of a snapshot: stored with everything they had, rank included, unless a newer value is there.

use smallvec::SmallVec;

use super::{Engine, Key};
use crate::error::Result;
use crate::policy::Arrival;
use crate::shard::{For, Locked, New, Origin, Room, Shortage, Stored};
use crate::slab::{Attributes, Filling, Prepaid};
use crate::snapshot::decode::TOGETHER;
use crate::snapshot::record::Record;

/// What became of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Landed {
    Stored,
    /// Its time is over.
    Expired,
    /// Its key has a value already, written since.
    Newer,
    /// The policy did not take it.
    TurnedAway,
}

/// A large item on its way in.
#[derive(Debug)]
pub(crate) struct LargeLanding {
    filling: Filling,
    arrival: Arrival,
    attributes: Attributes,
    hash: u64,
    key: Box<[u8]>,
    fetched: bool,
}

impl LargeLanding {
    /// The next bytes of the value; false if that are too many.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> bool {
        self.filling.push(bytes) == bytes.len()
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.filling.filled() == self.filling.len()
    }
}

/// Tokens are given from so many above the highest of a snapshot on: its source may have given some since.
const TOKENS_APART: u64 = 1 << 40;

impl Engine {
    /// What an item has beside key, value and tags.
    fn landing_attributes(&self, record: &Record<'_>) -> Attributes {
        let ctx = &self.ctx;
        let (idle_ms, used) = record.idle.unwrap_or_default();
        Attributes {
            kind: record.kind,
            namespace: record.namespace,
            generation: ctx.namespaces.generation(record.namespace),
            deadline: record.deadline_ms.map_or(0, |ms| ctx.since_start(ms)),
            client_flags: record.client_flags,
            token: record.token.filter(|_| ctx.settings.check_and_set),
            idle_ms,
            last_use: if idle_ms > 0 { ctx.since_start(used) } else { 0 },
            tags: record.tags.len(),
            sequence: if record.tags.len() > 0 { ctx.tags.sequence() } else { 0 },
            marks: record.marks,
        }
    }

    /// A follower leaves nothing out by its own clock: its primary tells what has ended.
    fn is_past(&self, record: &Record<'_>) -> bool {
        if self.ctx.effects.is_follower() {
            return false;
        }
        record.end_ms().is_some_and(|end| end <= self.ctx.to_unix(self.ctx.now()))
    }

    /// Stores items of a snapshot whose values are all there, and tells what became of each. Those of one shard are
    /// stored in one hold of its lock; their places in the index are on their way before.
    pub(crate) fn land(
        &self,
        records: &[Record<'_>],
        mut done: impl FnMut(Result<Landed>) -> Result<()>,
    ) -> Result<()> {
        let keys: SmallVec<[Key<'_>; TOGETHER]> =
            records.iter().map(|record| self.key(record.namespace, record.key)).collect();
        if self.ctx.effects.is_on() || self.ctx.effects.is_follower() {
            // Logs are asked before each write, and settled after it.
            return keys.iter().zip(records).try_for_each(|(&key, record)| done(self.land_one(record, key, None)));
        }
        let mut order: SmallVec<[(usize, usize); TOGETHER]> =
            keys.iter().map(|key| self.ctx.hasher.shard(key.hash)).zip(0..).collect();
        order.sort_unstable();
        keys.iter().for_each(|key| self.shard(key.hash).prefetch(key.hash));
        let mut groups: SmallVec<[&[(usize, usize)]; TOGETHER]> = order.chunk_by(|(a, _), (b, _)| a == b).collect();
        // First those whose locks nobody has, so that threads seldom wait for each other.
        for must_wait in [false, true] {
            let mut held_up = SmallVec::new();
            for group in groups {
                let shard = &self.shards()[group[0].0];
                self.before_write();
                let Some(locked) = shard.try_lock(&self.ctx).or_else(|| must_wait.then(|| shard.lock(&self.ctx)))
                else {
                    held_up.push(group);
                    continue;
                };
                self.land_in_shard(locked, group.iter().map(|&(_, at)| (&records[at], keys[at])), &mut done)?;
            }
            groups = held_up;
        }
        Ok(())
    }

    fn land_in_shard<'r>(
        &self,
        locked: Locked<'_>,
        mut items: impl Iterator<Item = (&'r Record<'r>, Key<'r>)>,
        done: &mut impl FnMut(Result<Landed>) -> Result<()>,
    ) -> Result<()> {
        let shard = locked.shard;
        let (mut locked, mut prepaid) = (Some(locked), Prepaid::default());
        let stored = items.try_for_each(|(record, key)| {
            if self.is_past(record) {
                return done(Ok(Landed::Expired));
            }
            if let Err(error) = self.check_value(record.key.len(), record.value_len, 0) {
                return done(Err(error));
            }
            let mut arrival = None;
            let hold = locked.get_or_insert_with(|| shard.lock(&self.ctx));
            match self.land_locked(hold, record, key, &mut arrival, &mut prepaid) {
                Ok(landed) => done(Ok(landed)),
                // Memory has to be found elsewhere, without the lock.
                Err(_) => {
                    locked = None;
                    done(self.land_one(record, key, arrival))
                }
            }
        });
        drop(locked);
        self.ctx.arena.settle(prepaid);
        stored
    }

    fn land_one(&self, record: &Record<'_>, key: Key<'_>, mut arrival: Option<Arrival>) -> Result<Landed> {
        if self.is_past(record) {
            return Ok(Landed::Expired);
        }
        self.before_write();
        self.check_value(record.key.len(), record.value_len, 0)?;
        self.write_restored(key.hash, |locked, prepaid| self.land_locked(locked, record, key, &mut arrival, prepaid))
    }

    fn land_locked(
        &self,
        locked: &mut Locked<'_>,
        record: &Record<'_>,
        key: Key<'_>,
        arrival: &mut Option<Arrival>,
        prepaid: &mut Prepaid,
    ) -> std::result::Result<Landed, Shortage> {
        if locked.find(key.hash, key.namespace, key.bytes).is_some() {
            return Ok(Landed::Newer);
        }
        let parts: [&[u8]; 1] = [record.value];
        let attributes = self.landing_attributes(record);
        let tags = Some(&record.tags).filter(|tags| tags.len() > 0);
        let (vlen, origin) = (record.value_len, Origin::Given);
        let new = New { hash: key.hash, key: key.bytes, parts: &parts, vlen, attributes, tags, origin };
        if arrival.is_none() {
            *arrival = Some(locked.announce(key.hash, new.item_len()).ranked(record.rank));
        }
        Ok(match locked.store(&new, None, false, arrival, prepaid)? {
            Stored::Yes => {
                if record.fetched {
                    Self::mark_fetched(locked, key);
                }
                Landed::Stored
            }
            Stored::TurnedAway | Stored::Gone => Landed::TurnedAway,
        })
    }

    /// A write of what a snapshot has: a program's, or, in a follower, one that its primary's snapshot makes.
    fn write_restored<R>(
        &self,
        hash: u64,
        op: impl FnMut(&mut Locked<'_>, &mut Prepaid) -> std::result::Result<R, Shortage>,
    ) -> Result<R> {
        if !self.ctx.effects.is_follower() {
            return self.write(hash, op);
        }
        let done = self.write_unlogged(hash, op)?;
        self.ctx.settle_log()?;
        Ok(done)
    }

    fn mark_fetched(locked: &mut Locked<'_>, key: Key<'_>) {
        // Not as a reader would: that would remove it, if its time is over by this clock.
        if let Some(found) = locked.find_even_ended(key.hash, key.namespace, key.bytes) {
            locked.shard.table.rewrite(found.place, |slot| slot.with_fetched());
        }
    }

    /// Takes memory for a large item, whose value comes in pieces.
    pub(crate) fn begin_landing(&self, record: &Record<'_>) -> Result<std::result::Result<LargeLanding, Landed>> {
        if self.is_past(record) {
            return Ok(Err(Landed::Expired));
        }
        self.before_write();
        let key = self.key(record.namespace, record.key);
        self.check_value(record.key.len(), record.value_len, 0)?;
        let mut known = None;
        self.write_restored(key.hash, |locked, prepaid| {
            if locked.find(key.hash, key.namespace, key.bytes).is_some() {
                return Ok(Err(Landed::Newer));
            }
            locked.check_table_room(1)?;
            let attributes = self.landing_attributes(record);
            let tags = Some(&record.tags).filter(|tags| tags.len() > 0);
            let (vlen, origin) = (record.value_len, Origin::Given);
            let new = New { hash: key.hash, key: key.bytes, parts: &[], vlen, attributes, tags, origin };
            let arrival = *known.get_or_insert_with(|| locked.announce(key.hash, new.item_len()).ranked(record.rank));
            let locator = match locked.stage(&new, For::Newcomer(&arrival), prepaid)? {
                Room::At(locator) => locator,
                Room::TurnedAway => return Ok(Err(Landed::TurnedAway)),
            };
            let filling = Filling::new(&mut locked.core.slab, &self.ctx.arena, locator);
            let (hash, key) = (key.hash, key.bytes.into());
            Ok(Ok(LargeLanding { filling, arrival, attributes, hash, key, fetched: record.fetched }))
        })
    }

    /// Publishes a large item whose value has come, or gives its memory back.
    pub(crate) fn end_landing(&self, landing: LargeLanding) -> Result<Landed> {
        self.before_write();
        let is_whole = landing.is_whole();
        let LargeLanding { filling, arrival, mut attributes, hash, key, fetched } = landing;
        let key = Key { namespace: attributes.namespace, bytes: &key, hash };
        let mut locked = self.shard(hash).lock(&self.ctx);
        let locator = filling.finish(&mut locked.core.slab, &self.ctx.arena);
        let is_newer = locked.find(hash, key.namespace, key.bytes).is_some();
        // Not the one of when it came, if its namespace was cleared since.
        attributes.generation = self.ctx.namespaces.generation(key.namespace);
        if is_newer || !is_whole || !locked.core.slab.rewrite_header(&self.ctx.arena, locator, &attributes) {
            locked.retire_unpublished(locator);
            return Ok(Landed::Newer);
        }
        locked.publish(hash, locator, Some(arrival))?;
        if fetched {
            Self::mark_fetched(&mut locked, key);
        }
        locked.after_write();
        Ok(Landed::Stored)
    }

    /// Clears all namespaces, whoever decides about them otherwise.
    pub(crate) fn empty(&self) {
        for namespace in 0..=255 {
            if namespace == 0 || self.len(namespace) > 0 {
                self.clear_now(namespace);
            }
        }
    }

    /// Makes ready for so many items, as far as there are none yet.
    pub(crate) fn expect_items(&self, items: u64) {
        let each = items.div_ceil(self.shards().len() as u64);
        for shard in self.shards() {
            shard.lock(&self.ctx).expect_items(each);
        }
    }

    /// Ends that.
    pub(crate) fn expect_no_more(&self) {
        self.shards().iter().for_each(|shard| shard.lock(&self.ctx).expect_no_more());
    }

    /// What the policy of another cache had learnt, and the tokens it had given.
    pub(crate) fn inherit(&self, share: Option<f64>, highest_token: u64) {
        for shard in self.shards() {
            let mut locked = shard.lock(&self.ctx);
            if let Some(share) = share {
                locked.core.policy.set_share(share);
            }
            if highest_token > 0 {
                locked.skip_tokens(highest_token.saturating_add(TOKENS_APART));
            }
        }
    }
}
