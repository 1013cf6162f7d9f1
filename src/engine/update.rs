//! Several keys changed as one.
//!
//! 1. Lock the keys' shards in order, copy what is there, unlock.
//! 2. Let the program decide, without any lock: it may take its time, call the cache, or panic.
//! 3. Lock the shards again. If anything that was seen has changed, go back to 1.
//! 4. Stage all new values. If memory for one lacks, free the staged, unlock, find memory, go back to 3.
//! 5. Publish and remove, all under the locks: new keys first, because a full index may have no room for one. If so,
//!    those before it are taken back, and nothing has happened.
//!
//! So every update happens at one moment, between all other writes to these keys. A retry means that another write got
//! through, so some thread always gets on.

use std::collections::BTreeSet;

use smallvec::SmallVec;

use super::{Engine, Key, Patience, SetSpec};
use crate::error::{Error, ErrorKind, Result};
use crate::oplog::Recorder;
use crate::shard::{Cause, For, Locked, New, Origin, Room, Shortage};
use crate::slab::{Attributes, Locator, Prepaid};
use crate::trace::{Notes, event};

/// What was there when an update began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) value: Vec<u8>,
    pub(crate) attributes: Attributes,
}

/// What an update makes of a key.
#[derive(Debug, Clone, Default)]
pub(crate) enum Effect {
    #[default]
    Leave,
    Store(Vec<u8>, Box<SetSpec>),
    Remove,
}

/// Locks of several shards, in order.
#[derive(Debug)]
pub(super) struct Locks<'a>(pub(super) SmallVec<[(usize, Locked<'a>); 4]>);

impl Locks<'_> {
    /// From now on, what happens under these locks becomes one record of the log.
    pub(super) fn gather(&mut self) {
        self.0.iter_mut().for_each(|(_, locked)| locked.grouped = locked.ctx.effects.is_on().then(Vec::new));
    }

    /// Makes that record. A key's effects are all of one shard, so they stay in order.
    pub(super) fn record(&mut self, effects: &Recorder) {
        let group: Vec<u8> = self.0.iter_mut().filter_map(|(_, locked)| locked.grouped.take()).flatten().collect();
        effects.record_group(&group);
    }
}

impl Drop for Locks<'_> {
    /// Gives back all locks before anything is told of any of them.
    fn drop(&mut self) {
        let notes: SmallVec<[Notes<'_>; 4]> = self.0.iter_mut().map(|(_, locked)| locked.notes.take()).collect();
        self.0.clear();
        drop(notes);
    }
}

impl Engine {
    /// See the module. `decide` is given what is there of each key, and may be called several times.
    pub(crate) fn update<R>(
        &self,
        keys: &[Key<'_>],
        mut decide: impl FnMut(&[Option<Seen>]) -> (Vec<Effect>, R),
    ) -> Result<R> {
        let distinct: BTreeSet<_> = keys.iter().map(|k| (k.namespace, k.bytes)).collect();
        if distinct.len() < keys.len() {
            return Err(Error::new(ErrorKind::DuplicateKey, "the same key was given twice to one update"));
        }
        keys.iter().try_for_each(|key| Self::check_key(key.bytes))?;
        self.before();
        self.ctx.check_log()?;
        loop {
            let seen = {
                let _later = self.ctx.hub.hold_back();
                let mut locks = self.lock_all(keys);
                keys.iter().map(|&key| Self::see(self.locked(&mut locks, key), key)).collect::<Vec<_>>()
            };
            let (effects, result) = decide(&seen);
            let mut beside = 0;
            for (key, effect) in keys.iter().zip(&effects) {
                if let Effect::Store(value, spec) = effect {
                    Self::tags_of(spec, key.namespace, &mut None)?;
                    self.check_value(key.bytes.len(), value.len(), beside)?;
                    // They are there all at once.
                    beside += (key.bytes.len() + value.len()) as u64;
                }
            }
            let most = self.room_for_spans().1;
            if beside > most {
                return Err(Error::new(
                    ErrorKind::OutOfMemory,
                    format!("the update's values have {beside} bytes in all; there is room for {most} at most"),
                ));
            }
            if self.try_update(keys, &seen, &effects)? {
                self.ctx.settle_log()?;
                for (&key, effect) in keys.iter().zip(&effects).filter(|(key, _)| self.is_sampled(key.hash)) {
                    match effect {
                        Effect::Leave => {}
                        Effect::Store(..) => self.sample_change(key),
                        Effect::Remove => self.sample_remove(key.hash),
                    }
                }
                return Ok(result);
            }
        }
    }

    pub(super) fn lock_all(&self, keys: &[Key<'_>]) -> Locks<'_> {
        let shards: BTreeSet<usize> = keys.iter().map(|key| self.ctx.hasher.shard(key.hash)).collect();
        Locks(shards.into_iter().map(|id| (id, self.shards[id].lock(&self.ctx))).collect())
    }

    pub(super) fn locked<'l, 'a>(&self, locks: &'l mut Locks<'a>, key: Key<'_>) -> &'l mut Locked<'a> {
        let id = self.ctx.hasher.shard(key.hash);
        // lock_all has locked every key's shard.
        let at = locks.0.iter().position(|(shard, _)| *shard == id).unwrap_or_default();
        &mut locks.0[at].1
    }

    fn see(locked: &mut Locked<'_>, key: Key<'_>) -> Option<Seen> {
        let found = locked.find(key.hash, key.namespace, key.bytes)?;
        let item = locked.item(found.locator);
        // Uses do not change what an item is.
        Some(Seen { value: item.value().to_vec(), attributes: Attributes { last_use: 0, ..item.attributes() } })
    }

    fn is_as_seen(locked: &mut Locked<'_>, key: Key<'_>, seen: Option<&Seen>) -> bool {
        match (locked.find(key.hash, key.namespace, key.bytes), seen) {
            (None, None) => true,
            (Some(found), Some(seen)) => {
                let item = locked.item(found.locator);
                item.value() == seen.value && Attributes { last_use: 0, ..item.attributes() } == seen.attributes
            }
            _ => false,
        }
    }

    /// Steps 3 to 5. False if something has changed meanwhile.
    fn try_update(&self, keys: &[Key<'_>], seen: &[Option<Seen>], effects: &[Effect]) -> Result<bool> {
        let mut prepaid = Prepaid::at_once();
        let mut patience = Patience::default();
        let result = loop {
            self.before_write();
            // Listeners are told when all the locks were given back.
            let _later = self.ctx.hub.hold_back();
            let mut locks = self.lock_all(keys);
            // A clear is no shard's business: what is staged before and after one would not be seen together.
            let generations: SmallVec<[u8; 16]> = self.generations(keys).collect();
            for (_, locked) in &mut locks.0 {
                locked.asked = patience.rounds > 4;
                locked.asked_in_vain = patience.rounds > super::MOST_ROUNDS;
            }
            let mut staged: SmallVec<[(usize, Locator); 4]> = SmallVec::new();
            let shortage = self.stage_all(keys, seen, effects, &mut locks, &mut staged, &mut prepaid);
            // Staging may have evicted what was seen.
            let unchanged = keys
                .iter()
                .zip(seen)
                .all(|(&key, seen)| Self::is_as_seen(self.locked(&mut locks, key), key, seen.as_ref()))
                && self.is_staged_as(keys, &generations, &mut locks, &staged);
            if shortage.is_none() && unchanged {
                locks.gather();
                let published = self.publish_all(keys, effects, &mut locks, &staged);
                locks.record(&self.ctx.effects);
                break published.map(|()| true);
            }
            for (i, locator) in staged {
                self.locked(&mut locks, keys[i]).retire_unpublished(locator);
            }
            drop(locks);
            match shortage {
                None => break Ok(false),
                Some((i, shortage)) => {
                    if let Err(error) = self.collect(shortage, self.shard(keys[i].hash), &mut patience, &mut prepaid) {
                        event!(DEBUG, self.ctx, error = %error, "no memory for an update");
                        break Err(error);
                    }
                }
            }
        };
        self.ctx.arena.settle(prepaid);
        result
    }

    /// The generations of the keys' namespaces now.
    fn generations(&self, keys: &[Key<'_>]) -> impl Iterator<Item = u8> {
        keys.iter().map(|key| self.ctx.namespaces.generation(key.namespace))
    }

    /// Whether no namespace was cleared since `generations` were read; everything staged is then of them.
    fn is_staged_as(
        &self,
        keys: &[Key<'_>],
        generations: &[u8],
        locks: &mut Locks<'_>,
        staged: &[(usize, Locator)],
    ) -> bool {
        let of = |&(i, locator): &(usize, Locator)| self.locked(locks, keys[i]).item(locator).generation();
        staged.iter().map(of).eq(staged.iter().map(|&(i, _)| generations[i]))
            && self.generations(keys).eq(generations.iter().copied())
    }

    fn stage_all(
        &self,
        keys: &[Key<'_>],
        seen: &[Option<Seen>],
        effects: &[Effect],
        locks: &mut Locks<'_>,
        staged: &mut SmallVec<[(usize, Locator); 4]>,
        prepaid: &mut Prepaid,
    ) -> Option<(usize, Shortage)> {
        // What this update's large values took so far: with a shortage it all is given back, and has to be had again.
        let mut spans = 0;
        let mut new_keys: SmallVec<[usize; 8]> = SmallVec::new();
        for (i, (&key, effect)) in keys.iter().zip(effects).enumerate() {
            let Effect::Store(value, spec) = effect else { continue };
            let locked = self.locked(locks, key);
            if seen[i].is_none() {
                let of_shard = new_keys.iter().filter(|&&shard| shard == locked.core.id).count() as u64 + 1;
                new_keys.push(locked.core.id);
                if let Err(shortage) = locked.check_table_room(of_shard) {
                    return Some((i, shortage));
                }
            }
            let attributes = self.attributes(locked, key, spec, seen[i].as_ref().map(|s| s.attributes));
            let mut place = None;
            let tags = match Self::tags_of(spec, key.namespace, &mut place) {
                Ok(tags) => tags,
                Err(error) => return Some((i, error.into())),
            };
            let parts: [&[u8]; 1] = [value];
            let new = New {
                hash: key.hash,
                key: key.bytes,
                parts: &parts,
                vlen: value.len(),
                attributes,
                tags,
                origin: Origin::Given,
            };
            let who = if seen[i].is_some() { For::Replacement } else { For::NewKey };
            match locked.stage(&new, who, prepaid) {
                Ok(Room::At(locator)) => {
                    staged.push((i, locator));
                    if self.ctx.classes.of(new.item_len()).is_none() {
                        spans += self.ctx.arena.span_charge(new.item_len());
                    }
                }
                Ok(Room::TurnedAway) => return Some((i, Shortage::Memory(locked.out_of_memory()))),
                Err(Shortage::Bytes(bytes)) => return Some((i, Shortage::Bytes(bytes + spans))),
                Err(shortage) => return Some((i, shortage)),
            }
        }
        None
    }

    fn publish_all(
        &self,
        keys: &[Key<'_>],
        effects: &[Effect],
        locks: &mut Locks<'_>,
        staged: &[(usize, Locator)],
    ) -> Result<()> {
        let (mut new, mut over): (SmallVec<[_; 4]>, SmallVec<[_; 4]>) = (SmallVec::new(), SmallVec::new());
        for &(i, locator) in staged {
            let is_there = self.locked(locks, keys[i]).find(keys[i].hash, keys[i].namespace, keys[i].bytes).is_some();
            if is_there { &mut over } else { &mut new }.push((i, locator));
        }
        for (n, &(i, locator)) in new.iter().enumerate() {
            if let Err(error) = self.locked(locks, keys[i]).publish(keys[i].hash, locator, None) {
                for &(i, locator) in &new[..n] {
                    self.locked(locks, keys[i]).unpublish(keys[i].hash, locator);
                }
                for &(i, locator) in new[n + 1..].iter().chain(&over) {
                    self.locked(locks, keys[i]).retire_unpublished(locator);
                }
                return Err(error);
            }
        }
        let session = self.ctx.sessions.current();
        for (&key, effect) in keys.iter().zip(effects) {
            if !matches!(effect, Effect::Leave) {
                self.loads.overtake(key);
            }
            if matches!(effect, Effect::Remove) {
                let locked = self.locked(locks, key);
                let found = locked.find(key.hash, key.namespace, key.bytes);
                session.count(if found.is_some() {
                    crate::index::Counter::DeleteHits
                } else {
                    crate::index::Counter::DeleteMisses
                });
                if let Some(found) = found {
                    locked.remove(found, Cause::Removed);
                }
            }
        }
        let mut outcome = Ok(());
        for (i, locator) in over {
            // Fails only if what it replaces has left for the new ones, and that only where others may leave for it.
            let published = self.locked(locks, keys[i]).publish(keys[i].hash, locator, None);
            outcome = outcome.and(published);
        }
        for &(i, _) in staged {
            let locked = self.locked(locks, keys[i]);
            if let (Ok(()), Effect::Store(_, spec)) = (&outcome, &effects[i]) {
                Self::tell_stored(locked, keys[i], spec);
            }
            locked.after_write();
            session.count(crate::index::Counter::Sets);
        }
        outcome
    }
}
