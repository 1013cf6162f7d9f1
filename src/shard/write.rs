//! Under the shard's lock: find an item, store one, remove one. All that changes the table's contents ends here.
//!
//! Storing goes in two steps, so that several items can be made ready and then published together: *stage* allocates a
//! chunk and writes the item, *publish* puts it into the table and retires what was there.

use super::read::is_over;
use super::space::{For, Room, Shortage};
use super::{Cause, Locked, Tally};
use crate::error::Error;
use crate::index::Place;
use crate::policy::Arrival;
use crate::slab::{Attributes, Contents, ItemRef, Locator, Prepaid, Slot, TagSet, UnitId};

/// An item to be stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct New<'k> {
    pub(crate) hash: u64,
    pub(crate) key: &'k [u8],
    /// The value, in pieces.
    pub(crate) parts: &'k [&'k [u8]],
    /// Its length: that of the pieces together, or more when the rest is filled in later.
    pub(crate) vlen: usize,
    pub(crate) attributes: Attributes,
    /// Its tags: as many as the attributes say.
    pub(crate) tags: Option<&'k TagSet>,
    pub(crate) origin: Origin,
}

/// Where a new item's value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// From the program: nobody has read it yet.
    Given,
    /// It is made from the value that is there, and was read if that was.
    Changed,
    /// It is the value that is there, under another header: nobody needs to be told.
    Same,
}

impl New<'_> {
    pub(crate) fn item_len(&self) -> usize {
        self.attributes.item_len(self.key.len(), self.vlen)
    }
}

/// A live item and where it is. Good until the next thing that is done to the shard.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) place: Place,
    pub(crate) slot: Slot,
    pub(crate) locator: Locator,
}

/// Whether an item was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    Yes,
    /// The policy turned it away; there was no item of this key before.
    TurnedAway,
    /// The item that had to be there was evicted when room was made for the new one.
    Gone,
}

impl Locked<'_> {
    #[inline(always)]
    pub(crate) fn item(&self, locator: Locator) -> ItemRef<'_> {
        self.core.slab.item(&self.ctx.arena, locator)
    }

    pub(crate) fn hash_of(&self, locator: Locator) -> u64 {
        let item = self.item(locator);
        self.ctx.hasher.hash(item.namespace(), item.key())
    }

    /// The item of a key, live or not.
    #[inline]
    fn find_any(&self, hash: u64, namespace: u8, key: &[u8]) -> Option<Found> {
        let is_it = |slot: Slot| slot.locator().is_some_and(|locator| self.item(locator).is(namespace, key));
        let (place, slot) = self.shard.table.find(hash, is_it)?;
        Some(Found { place, slot, locator: slot.locator()? })
    }

    /// Why an item is not there any more, though it still is in the table.
    #[inline]
    pub(crate) fn end_of(&self, item: ItemRef<'_>) -> Option<Cause> {
        let is_cleared = item.generation() != self.ctx.namespaces.generation(item.namespace());
        if is_cleared || item.is_tagged() && self.ctx.tags.has_invalidated(item) {
            Some(Cause::Flushed)
        } else if is_over(item, self.now) {
            Some(Cause::Expired)
        } else {
            None
        }
    }

    /// The live item of a key. One whose time is over is removed on the way.
    #[inline]
    pub(crate) fn find(&mut self, hash: u64, namespace: u8, key: &[u8]) -> Option<Found> {
        let found = self.find_any(hash, namespace, key)?;
        if let Some(cause) = self.end_of(self.item(found.locator)) {
            self.remove(found, cause);
            return None;
        }
        Some(found)
    }

    /// The same for who only reads: where nothing may be removed by itself, what is over stays.
    #[inline]
    pub(crate) fn find_to_read(&mut self, hash: u64, namespace: u8, key: &[u8]) -> Option<Found> {
        if self.ctx.effects.may_remove() {
            return self.find(hash, namespace, key);
        }
        self.find_any(hash, namespace, key).filter(|found| self.end_of(self.item(found.locator)).is_none())
    }

    /// The same for effects that come from elsewhere: what is over is there until an effect says otherwise.
    pub(crate) fn find_even_ended(&mut self, hash: u64, namespace: u8, key: &[u8]) -> Option<Found> {
        let found = self.find_any(hash, namespace, key)?;
        if self.end_of(self.item(found.locator)) == Some(Cause::Flushed) {
            self.remove(found, Cause::Flushed);
            return None;
        }
        Some(found)
    }

    /// Why an item that is not there any more may be removed now.
    pub(super) fn may_go(&self, item: ItemRef<'_>) -> Option<Cause> {
        self.end_of(item).filter(|&cause| cause == Cause::Flushed || self.ctx.effects.may_remove())
    }

    /// The tally of a namespace, begun anew if the namespace was cleared since.
    pub(crate) fn tally(&mut self, namespace: u8) -> &mut Tally {
        let generation = self.ctx.namespaces.generation(namespace);
        let tallies = &mut self.core.tallies;
        if tallies.len() <= usize::from(namespace) {
            tallies.resize(usize::from(namespace) + 1, Tally::default());
        }
        let tally = &mut tallies[usize::from(namespace)];
        if tally.generation != generation {
            *tally = Tally { generation, ..Tally::default() };
        }
        tally
    }

    /// Counts an item that comes into the table (invariant 3 of `shard`).
    fn count_in(&mut self, locator: Locator) {
        let item = self.item(locator);
        let (namespace, generation, payload) = (item.namespace(), item.generation(), item.payload_len() as u64);
        let end = item.has_end().then(|| item.ends());
        let unit = self.core.slab.unit_of(&self.ctx.arena, locator);
        let chunk = u64::from(self.core.slab.unit(unit).chunk);
        self.core.items += 1;
        self.core.chunk_bytes += chunk;
        self.core.newest = Some(unit);
        let tally = self.tally(namespace);
        if tally.generation == generation {
            tally.items += 1;
            tally.payload += payload;
        }
        if let Some(end) = end {
            self.count_end(unit, end);
        }
    }

    pub(super) fn count_end(&mut self, unit: UnitId, end: u64) {
        self.core.volatile_items += 1;
        self.core.slab.unit_mut(unit).with_end += 1;
        self.core.deadlines.lower(unit, end);
    }

    fn uncount_end(&mut self, unit: UnitId) {
        self.core.volatile_items -= 1;
        let with_end = &mut self.core.slab.unit_mut(unit).with_end;
        *with_end -= 1;
        // A bound of nobody's would keep pages that have something to evict from being looked at.
        if *with_end == 0 {
            self.core.deadlines.set(unit, None);
        }
    }

    /// The reverse. The item is out of the table, its chunk not yet freed. Returns the bytes of its chunk.
    fn count_out(&mut self, locator: Locator) -> u32 {
        let item = self.item(locator);
        let (namespace, generation, payload) = (item.namespace(), item.generation(), item.payload_len() as u64);
        let has_end = item.has_end();
        let unit = self.core.slab.unit_of(&self.ctx.arena, locator);
        let chunk = self.core.slab.unit(unit).chunk;
        self.core.items -= 1;
        self.core.chunk_bytes -= u64::from(chunk);
        let tally = self.tally(namespace);
        if tally.generation == generation {
            tally.items -= 1;
            tally.payload -= payload;
        }
        if has_end {
            self.uncount_end(unit);
        }
        chunk
    }

    /// Whether the present policy keeps account of the item at this place: always, but while it is taking over from
    /// another.
    pub(super) fn is_adopted(&self, place: Place) -> bool {
        self.core.adopting.is_none_or(|bucket| place.bucket < bucket)
    }

    /// Takes an item out of the table, for a reason.
    pub(crate) fn remove(&mut self, found: Found, cause: Cause) {
        #[cfg(feature = "snapshot")]
        self.before_removal(found);
        let hash = if cause == Cause::Evicted { self.hash_of(found.locator) } else { 0 };
        let last = self.shard.table.remove(found.place);
        let size = self.count_out(found.locator);
        if self.is_adopted(found.place) {
            let core = &mut *self.core;
            match cause {
                Cause::Evicted => core.policy.evicted(&self.shard.shared, hash, last.bits(), size),
                _ => core.policy.removed(&self.shard.shared, last.bits(), size),
            }
        }
        let told = self.told_cause(found.locator, cause);
        self.note_removal(told, last);
        self.record_removed(found.locator, cause);
        self.leaves(found.locator, told);
        self.retire(found.locator, size);
    }

    /// What is counted and told of a removal: an item that had come to its end when it was cleared has expired. For
    /// the log it was cleared: the record of that says so already, and nobody is told while that is read. (When a tag
    /// was invalidated is not known.)
    fn told_cause(&self, locator: Locator, cause: Cause) -> Cause {
        let item = self.item(locator);
        if cause != Cause::Flushed || !is_over(item, self.now) || self.ctx.effects.is_replaying() {
            return cause;
        }
        match self.ctx.namespaces.left_at(item.namespace(), item.generation()) {
            Some(cleared) if !is_over(item, cleared) => Cause::Flushed,
            _ => Cause::Expired,
        }
    }

    fn note_removal(&mut self, cause: Cause, last: Slot) {
        let core = &mut *self.core;
        let counts = &mut core.counts;
        let unfetched = u64::from(!last.is_fetched());
        let class = last.locator().map(|locator| self.ctx.arena.class_of(locator).index());
        // Values of their own have no class.
        let class = class.and_then(|class| core.slab.classes.get_mut(class));
        match cause {
            Cause::Evicted => {
                counts.evictions += 1;
                counts.evicted_unfetched += unfetched;
                if let Some(class) = class {
                    class.evicted += 1;
                    class.evicted_unfetched += unfetched;
                }
            }
            Cause::Expired => {
                counts.expired += 1;
                counts.expired_unfetched += unfetched;
                if let Some(class) = class {
                    class.expired += 1;
                    class.expired_unfetched += unfetched;
                }
            }
            Cause::Flushed => counts.flushed += 1,
            Cause::Removed | Cause::Replaced => {}
        }
    }

    /// A chunk is out of the index: it is freed when no reader is inside.
    pub(super) fn retire(&mut self, locator: Locator, size: u32) {
        if self.core.limbo.push(locator, size) {
            self.settle_limbo();
        }
    }

    /// Allocates and writes an item that is not in the table yet.
    pub(crate) fn stage(&mut self, new: &New<'_>, who: For<'_>, prepaid: &mut Prepaid) -> Result<Room, Shortage> {
        let room = self.make_room_for(new.item_len(), who, prepaid)?;
        if let Room::At(locator) = room {
            let tags = new.tags.map_or(&[][..], TagSet::as_slice);
            let contents = Contents { key: new.key, parts: new.parts, vlen: new.vlen, tags };
            self.core.slab.write(&self.ctx.arena, locator, &new.attributes, &contents);
        }
        Ok(room)
    }

    /// What an item of this length costs its policy.
    pub(crate) fn size_for(&self, item_len: usize) -> u32 {
        match self.ctx.classes.of(item_len) {
            Some(class) => self.ctx.classes.chunk_size(class),
            None => item_len as u32,
        }
    }

    /// Says that an item of this hash may be announced soon.
    #[inline]
    pub(crate) fn prefetch_arrival(&self, hash: u64) {
        self.core.policy.prefetch(hash);
    }

    /// Tells the policy that an item of a key which is not stored is about to be.
    pub(crate) fn announce(&mut self, hash: u64, item_len: usize) -> Arrival {
        let (size, capacity) = (self.size_for(item_len), self.capacity());
        let core = &mut *self.core;
        core.policy.arriving(&self.shard.shared, hash, size, capacity)
    }

    /// Puts a staged item into the table, in place of what is there under its key.
    pub(crate) fn publish(&mut self, hash: u64, locator: Locator, arrival: Option<Arrival>) -> Result<(), Error> {
        let item = self.item(locator);
        let old = self.find_any(hash, item.namespace(), item.key());
        self.publish_at(hash, locator, old, arrival, Origin::Given)
    }

    /// Takes a new item that was just published out of the table again, as if it had never been there.
    pub(crate) fn unpublish(&mut self, hash: u64, locator: Locator) {
        if let Some((place, slot)) = self.shard.table.find_locator(hash, locator) {
            self.remove(Found { place, slot, locator }, Cause::Removed);
            self.core.counts.stored -= 1;
        }
    }

    /// The same when it is known what is there.
    fn publish_at(
        &mut self,
        hash: u64,
        locator: Locator,
        old: Option<Found>,
        arrival: Option<Arrival>,
        origin: Origin,
    ) -> Result<(), Error> {
        #[cfg(feature = "snapshot")]
        self.before_change(hash);
        let volatile = self.item(locator).has_end();
        if let Some(old) = old {
            let Some(cause) = self.end_of(self.item(old.locator)) else {
                self.publish_over(hash, old, locator, volatile, origin);
                return Ok(());
            };
            self.remove(old, cause);
        }
        let len = self.item(locator).item_len();
        let arrival = match arrival {
            Some(arrival) => arrival,
            None => self.announce(hash, len),
        };
        self.publish_new(hash, locator, arrival, volatile)
    }

    fn publish_over(&mut self, hash: u64, old: Found, locator: Locator, volatile: bool, origin: Origin) {
        let bits = old.slot.bits();
        let fetched = origin != Origin::Given && old.slot.is_fetched();
        let fresh = Slot::new(locator, bits, volatile, fetched);
        let last = self.shard.table.replace(old.place, fresh);
        let old_size = self.count_out(old.locator);
        self.count_in(locator);
        let new_size = self.core.slab.chunk_of(&self.ctx.arena, locator);
        if self.is_adopted(old.place) {
            let core = &mut *self.core;
            let better = core.policy.overwritten(&self.shard.shared, hash, last.bits(), old_size, new_size);
            // The policy's account is that of `better` now. If a reader has changed the slot meanwhile, it did so from
            // `bits`
            // and moved the account from there, so that is where it has to be.
            if better != bits && !self.shard.table.update(old.place, fresh, fresh.with_bits(better)) {
                self.shard.shared.applied(better, bits, new_size);
            }
        }
        if origin != Origin::Same {
            self.core.counts.stored += 1;
            self.leaves(old.locator, Cause::Replaced);
        }
        self.record_stored(locator);
        self.retire(old.locator, old_size);
    }

    fn publish_new(&mut self, hash: u64, locator: Locator, arrival: Arrival, volatile: bool) -> Result<(), Error> {
        // While a policy takes over, an item's place decides who accounts for it, and that is only known afterwards.
        let adopting = self.core.adopting.is_some();
        let core = &mut *self.core;
        let bits = if adopting { 0 } else { core.policy.insert(&self.shard.shared, arrival) };
        let slot = Slot::new(locator, bits, volatile, false);
        let mut attempt = 0;
        while !self.shard.table.insert(hash, slot, |from, to| self.overruled(from, to)) {
            attempt += 1;
            if !self.make_table_room(hash, attempt - 1) {
                if !adopting {
                    let core = &mut *self.core;
                    core.policy.removed(&self.shard.shared, bits, arrival.size);
                }
                self.retire_unpublished(locator);
                return Err(super::upkeep::index_is_full());
            }
        }
        self.count_in(locator);
        self.core.counts.stored += 1;
        self.record_stored(locator);
        if adopting {
            self.adopt_new(hash, locator, arrival);
        }
        Ok(())
    }

    /// Accounts for an item that came while a policy takes over, if it came to a place that was taken over.
    fn adopt_new(&mut self, hash: u64, locator: Locator, arrival: Arrival) {
        let Some((place, _)) = self.shard.table.find_locator(hash, locator) else { return };
        if self.is_adopted(place) {
            let core = &mut *self.core;
            let bits = core.policy.insert(&self.shard.shared, arrival);
            // A reader that was quicker has changed bits 0; its change, and its move of the account, gives way.
            let before = self.shard.table.rewrite(place, |slot| slot.with_bits(bits));
            self.shard.shared.applied(before.bits(), 0, arrival.size);
        }
    }

    /// An item moved while two readers changed its policy bits, one in the old slot and one in the new. The change from
    /// `from` to `to`, in the old one, is gone: what it moved in the policy's account moves back.
    pub(super) fn overruled(&self, from: Slot, to: Slot) {
        if let Some(locator) = to.locator() {
            let size = self.core.slab.chunk_of(&self.ctx.arena, locator);
            self.shard.shared.applied(to.bits(), from.bits(), size);
        }
    }

    /// Frees a chunk that was never published.
    pub(crate) fn retire_unpublished(&mut self, locator: Locator) {
        let size = self.core.slab.chunk_of(&self.ctx.arena, locator);
        self.retire(locator, size);
    }

    /// Stores an item: announce, stage, publish. `known` is what [`find`](Self::find) has just found under its key.
    /// `arrival` remembers the announcement over retries. With `over`, only over an item that is there: readers may
    /// have missed one that left in this very hold, so it is gone for the writer too.
    pub(crate) fn store(
        &mut self,
        new: &New<'_>,
        known: Option<Found>,
        over: bool,
        arrival: &mut Option<Arrival>,
        prepaid: &mut Prepaid,
    ) -> Result<Stored, Shortage> {
        if known.is_none() {
            self.check_table_room(1)?;
        }
        if known.is_none() && arrival.is_none() {
            *arrival = Some(self.announce(new.hash, new.item_len()));
        }
        let who = match arrival {
            Some(arrival) if known.is_none() => For::Newcomer(arrival),
            _ => For::Replacement,
        };
        match self.stage(new, who, prepaid)? {
            Room::TurnedAway => {
                if let Some(arrival) = arrival {
                    let core = &mut *self.core;
                    core.policy.turned_away(&self.shard.shared, arrival);
                    core.counts.turned_away += 1;
                }
                Ok(Stored::TurnedAway)
            }
            Room::At(locator) => {
                // Making room may have moved it, or made it leave. Then its slot, in one of the key's two buckets, is
                // free for the new one, so that this cannot fail for want of room in the index.
                let known = known.and_then(|known| self.find_again(known, new));
                if over && known.is_none() {
                    self.retire_unpublished(locator);
                    return Ok(Stored::Gone);
                }
                self.publish_at(new.hash, locator, known, arrival.take(), new.origin).map_err(Shortage::Memory)?;
                self.after_write();
                Ok(Stored::Yes)
            }
        }
    }

    /// What was found under a key before room was made for its new item.
    fn find_again(&mut self, known: Found, new: &New<'_>) -> Option<Found> {
        let namespace = new.attributes.namespace;
        let slot = self.shard.table.get(known.place);
        if slot.locator() == Some(known.locator) && self.item(known.locator).is(namespace, new.key) {
            return Some(Found { slot, ..known });
        }
        self.find(new.hash, namespace, new.key)
    }

    /// Changes when an item ends, in place. False if its header cannot hold that: it has to be stored anew.
    pub(crate) fn set_deadline(&mut self, found: Found, deadline: u64) -> bool {
        #[cfg(feature = "snapshot")]
        self.before_change_of(found);
        let item = self.item(found.locator);
        let had_end = item.has_end();
        if !item.set_deadline(deadline) {
            return false;
        }
        let (has_end, end) = (item.has_end(), item.ends());
        let unit = self.core.slab.unit_of(&self.ctx.arena, found.locator);
        match (had_end, has_end) {
            (false, true) => self.count_end(unit, end),
            (true, false) => self.uncount_end(unit),
            (true, true) => self.core.deadlines.lower(unit, end),
            (false, false) => {}
        }
        if had_end != has_end {
            self.shard.table.rewrite(found.place, |slot| slot.with_volatile(has_end));
        }
        self.record_deadline(found.locator, deadline);
        true
    }

    /// Tokens below this have been given, as far as this shard knows.
    pub(crate) fn token_floor(&self) -> u64 {
        self.core.next_token << self.ctx.shard_bits()
    }

    /// Sees to it that no token below `floor` is given again.
    pub(crate) fn raise_tokens(&mut self, floor: u64) {
        self.core.next_token = self.core.next_token.max((floor >> self.ctx.shard_bits()) + 1);
    }

    /// A check-and-set token that was never given before and never will be again.
    pub(crate) fn new_token(&mut self) -> u64 {
        let token = self.core.next_token << self.ctx.shard_bits() | self.core.id as u64;
        self.core.next_token += 1;
        token
    }
}
