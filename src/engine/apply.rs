//! Effects that come from a log, or from a primary: done as they are, with nothing decided here.
//!
//! 1. Lock the shards of all keys of a record, in order.
//! 2. Stage all its values. If memory for one lacks, free the staged, unlock, find memory, go back to 1.
//! 3. Do the effects in order, all under the locks: a record happens as one, as it did where it comes from.
//!
//! What has ended by this cache's clock is treated as there: it goes when its effect comes. Times are those of the
//! effects; a value with a time to idle counts as used now.

use smallvec::SmallVec;

use super::update::Locks;
use super::{Engine, Key, Patience};
use crate::error::{Error, ErrorKind, Result};
use crate::events::KeyEventClass;
use crate::oplog::{Effect, Item, Several};
use crate::shard::{Cause, For, Locked, New, Origin, Room, Shortage, item_of};
use crate::slab::{Attributes, Locator, MAX_MARKS, MAX_TAGS, Prepaid, TagSet};

impl Engine {
    /// Does an effect.
    pub(crate) fn apply(&self, effect: &Effect<'_>) -> Result<()> {
        match *effect {
            Effect::Set(_) | Effect::Delete { .. } | Effect::Deadline { .. } => self.apply_as_one(&[*effect]),
            Effect::Several(several) => {
                let effects: Vec<Effect<'_>> = several.iter().collect();
                self.apply_as_one(&effects)
            }
            Effect::Clear { namespace, due_ms } => {
                if let Some(due_ms) = due_ms {
                    self.unplan_clear(namespace, self.ctx.since_start(due_ms));
                }
                self.clear_now(namespace);
                Ok(())
            }
            Effect::ClearAt { namespace, at_ms } => {
                self.plan_clear(namespace, self.ctx.since_start(at_ms));
                Ok(())
            }
            Effect::InvalidateTag { tag } => {
                // Of whichever namespace: its number is part of the hash.
                self.invalidate_hash(0, tag);
                Ok(())
            }
            Effect::Time { unix_ms } => {
                self.logging.note_time(unix_ms);
                Ok(())
            }
            Effect::Tokens { floor } => {
                self.logging.note_token(floor);
                Ok(())
            }
        }
    }

    /// The key that an effect is about.
    fn key_of<'k>(&self, effect: &Effect<'k>) -> Option<Key<'k>> {
        match *effect {
            Effect::Set(Item { namespace, key, .. })
            | Effect::Delete { namespace, key, .. }
            | Effect::Deadline { namespace, key, .. } => Some(self.key(namespace, key)),
            _ => None,
        }
    }

    fn apply_as_one(&self, effects: &[Effect<'_>]) -> Result<()> {
        // Those without a key are never part of several.
        let keyed: SmallVec<[(Key<'_>, &Effect<'_>); 4]> =
            effects.iter().filter_map(|effect| self.key_of(effect).map(|key| (key, effect))).collect();
        let keys: SmallVec<[Key<'_>; 4]> = keyed.iter().map(|&(key, _)| key).collect();
        for effect in effects {
            if let Effect::Set(item) = effect {
                self.check_room(item)?;
                self.logging.note_token(item.token.map_or(0, |token| token.saturating_add(1)));
            }
        }
        let mut anew = Vec::new();
        let mut prepaid = Prepaid::at_once();
        let mut patience = Patience::default();
        let result = loop {
            let _later = self.ctx.hub.hold_back();
            let mut locks = self.lock_all(&keys);
            for (_, locked) in &mut locks.0 {
                locked.asked = patience.rounds > 4;
                locked.asked_in_vain = patience.rounds > super::MOST_ROUNDS;
                locked.tries = patience.rounds;
            }
            let mut staged: SmallVec<[Option<Locator>; 4]> = SmallVec::new();
            let shortage = self.stage_items(&keyed, &mut locks, &mut staged, &mut prepaid);
            let Some((hash, shortage)) = shortage else {
                if keyed.len() > 1 {
                    locks.gather();
                }
                let done = self.perform(&keyed, &mut locks, &staged, &mut anew);
                locks.record(&self.ctx.effects);
                break done;
            };
            for (&(key, _), locator) in keyed.iter().zip(staged) {
                if let Some(locator) = locator {
                    self.locked(&mut locks, key).retire_unpublished(locator);
                }
            }
            drop(locks);
            if let Err(error) = self.collect(shortage, self.shard(hash), &mut patience, &mut prepaid) {
                break Err(error);
            }
        };
        self.ctx.arena.settle(prepaid);
        result?;
        match Several::new(&anew) {
            Some(several) if !anew.is_empty() => self.apply_as_one(&several.iter().collect::<Vec<_>>()),
            _ => Ok(()),
        }
    }

    /// Refuses a value that cannot fit. (Whatever the limit of its length is here: it was stored elsewhere.)
    fn check_room(&self, item: &Item<'_>) -> Result<()> {
        let len = item.key.len() + item.value.len() + 256;
        if self.ctx.classes.of(len).is_some() {
            return Ok(());
        }
        let (needed, most) = (self.ctx.arena.span_charge(len), self.room_for_spans().0);
        if needed <= most {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::ItemTooLarge,
            format!("a value of {} bytes is to be taken over; there is room for {most} at most", item.value.len()),
        ))
    }

    fn attributes_of(&self, locked: &Locked<'_>, item: &Item<'_>, tags: u8) -> Attributes {
        Attributes {
            kind: item.kind,
            namespace: item.namespace,
            generation: self.ctx.namespaces.generation(item.namespace),
            deadline: item.deadline_ms.map_or(0, |ms| self.ctx.since_start(ms)),
            client_flags: item.flags,
            token: item.token.filter(|_| self.ctx.settings.check_and_set),
            idle_ms: item.idle_ms.unwrap_or(0),
            last_use: locked.now,
            tags,
            sequence: if tags > 0 { self.ctx.tags.sequence() } else { 0 },
            marks: item.marks & MAX_MARKS,
        }
    }

    /// Stages the values of a record. The hash of one for which there is no room, and why, if so.
    fn stage_items(
        &self,
        keyed: &[(Key<'_>, &Effect<'_>)],
        locks: &mut Locks<'_>,
        staged: &mut SmallVec<[Option<Locator>; 4]>,
        prepaid: &mut Prepaid,
    ) -> Option<(u64, Shortage)> {
        for (n, &(key, effect)) in keyed.iter().enumerate() {
            let Effect::Set(item) = effect else {
                staged.push(None);
                continue;
            };
            let locked = self.locked(locks, key);
            let is_there = locked.find_even_ended(key.hash, key.namespace, key.bytes).is_some();
            if !is_there && let Err(shortage) = locked.check_table_room(n as u64 + 1) {
                return Some((key.hash, shortage));
            }
            let tags: Option<TagSet> = Some(item.tags.iter().collect()).filter(|tags: &TagSet| tags.len() > 0);
            let attributes = self.attributes_of(locked, item, tags.as_ref().map_or(0, TagSet::len));
            let (parts, vlen, origin) = ([item.value], item.value.len(), Origin::Given);
            let new =
                New { hash: key.hash, key: key.bytes, parts: &parts, vlen, attributes, tags: tags.as_ref(), origin };
            let who = if is_there { For::Replacement } else { For::NewKey };
            match locked.stage(&new, who, prepaid) {
                Ok(Room::At(locator)) => staged.push(Some(locator)),
                Ok(Room::TurnedAway) => return Some((key.hash, Shortage::Memory(locked.out_of_memory()))),
                Err(shortage) => return Some((key.hash, shortage)),
            }
        }
        None
    }

    /// Does the effects of a record, whose values are staged. What has to be stored once more, because its header
    /// cannot hold a far deadline, is added to `anew`.
    fn perform(
        &self,
        keyed: &[(Key<'_>, &Effect<'_>)],
        locks: &mut Locks<'_>,
        staged: &[Option<Locator>],
        anew: &mut Vec<u8>,
    ) -> Result<()> {
        let mut outcome = Ok(());
        let tells = !self.ctx.effects.is_replaying();
        for (&(key, effect), &locator) in keyed.iter().zip(staged) {
            self.loads.overtake(key);
            let locked = self.locked(locks, key);
            match *effect {
                Effect::Set(item) => {
                    if let Some(locator) = locator {
                        // One that has ended here has not where this comes from, or it would have been said.
                        if let Some(found) = locked.find_even_ended(key.hash, key.namespace, key.bytes)
                            && locked.is_gone(found.locator)
                        {
                            locked.remove(found, Cause::Replaced);
                        }
                        let published = locked.publish(key.hash, locator, None);
                        outcome = outcome.and(published);
                    }
                    if tells {
                        locked.happened(KeyEventClass::of(item.kind), "set", key.namespace, key.bytes);
                    }
                }
                Effect::Delete { cause, .. } => {
                    if let Some(found) = locked.find_even_ended(key.hash, key.namespace, key.bytes) {
                        locked.remove(found, cause);
                        self.logging.note_removal(cause);
                    }
                }
                Effect::Deadline { deadline_ms, .. } => {
                    let deadline = deadline_ms.map_or(0, |ms| self.ctx.since_start(ms));
                    let found = locked.find_even_ended(key.hash, key.namespace, key.bytes);
                    let Some(found) = found else { continue };
                    if !locked.set_deadline(found, deadline) {
                        let mut room = [0; MAX_TAGS * 8];
                        let mut item = item_of(locked.ctx, locked.item(found.locator), &mut room);
                        item.deadline_ms = deadline_ms;
                        Several::add(anew, &Effect::Set(item));
                    } else if tells {
                        locked.happened(KeyEventClass::Generic, "expire", key.namespace, key.bytes);
                    }
                }
                _ => {}
            }
            locked.after_write();
        }
        outcome
    }
}
