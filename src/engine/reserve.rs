//! Values that arrive slowly: reserved, filled piece by piece without a lock, then published or abandoned.

use super::{Condition, Engine, Key, Outcome, SetSpec};
use crate::error::{Error, ErrorKind, Result};
use crate::policy::Arrival;
use crate::shard::{For, Found, New, Origin, Room};
use crate::slab::Filling;

/// A chunk that nobody sees yet.
#[derive(Debug)]
pub(crate) struct Reserved {
    /// None once it was published or abandoned.
    filling: Option<Filling>,
    arrival: Arrival,
    hash: u64,
    namespace: u8,
    key: Box<[u8]>,
    spec: SetSpec,
}

impl Reserved {
    /// Appends bytes to the value; more than were reserved are an error, and none are taken.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<()> {
        let missing = self.missing();
        if bytes.len() > missing {
            return Err(Error::new(
                ErrorKind::ItemTooLarge,
                format!("{} bytes were given to a reservation that has room for {missing} more", bytes.len()),
            ));
        }
        if let Some(filling) = &mut self.filling {
            filling.push(bytes);
        }
        Ok(())
    }

    /// The place of the bytes still to come.
    #[cfg_attr(not(feature = "memcached"), allow(dead_code))]
    pub(crate) fn rest(&mut self) -> &mut [u8] {
        self.filling.as_mut().map_or(&mut [], |filling| filling.rest())
    }

    /// Takes note of bytes written there.
    #[cfg_attr(not(feature = "memcached"), allow(dead_code))]
    pub(crate) fn advance(&mut self, n: usize) {
        if let Some(filling) = &mut self.filling {
            filling.advance(n);
        }
    }

    /// Bytes still to come.
    pub(crate) fn missing(&self) -> usize {
        self.filling.as_ref().map_or(0, |f| f.len() - f.filled())
    }
}

impl Engine {
    /// Memory for a value of `vlen` bytes, on the ledger from now on.
    pub(crate) fn reserve(&self, key: Key<'_>, vlen: usize, spec: &SetSpec) -> Result<Reserved> {
        self.check_spec(spec)?;
        Self::check_key(key.bytes)?;
        self.check_value(key.bytes.len(), vlen, 0)?;
        let mut place = None;
        let tags = Self::tags_of(spec, key.namespace, &mut place)?;
        self.before();
        let mut known = None;
        let (filling, arrival) = self.write(key.hash, |locked, prepaid| {
            locked.check_table_room(1)?;
            let attributes = self.attributes(locked, key, spec, None);
            let origin = Origin::Given;
            let new = New { hash: key.hash, key: key.bytes, parts: &[], vlen, attributes, tags, origin };
            let arrival = *known.get_or_insert_with(|| locked.announce(key.hash, new.item_len()));
            let locator = match locked.stage(&new, For::Newcomer(&arrival), prepaid)? {
                Room::At(locator) => locator,
                // Memory is being asked for before the value is known: it is given, whatever the policy makes of it
                // later.
                Room::TurnedAway => match locked.stage(&new, For::NewKey, prepaid)? {
                    Room::At(locator) => locator,
                    Room::TurnedAway => return Err(locked.out_of_memory().into()),
                },
            };
            Ok((Filling::new(&mut locked.core.slab, &self.ctx.arena, locator), arrival))
        })?;
        let (hash, namespace) = (key.hash, key.namespace);
        Ok(Reserved { filling: Some(filling), arrival, hash, namespace, key: key.bytes.into(), spec: *spec })
    }

    /// Publishes a reserved value, under its options' conditions as they are now.
    pub(crate) fn publish(&self, reserved: &mut Reserved) -> Result<Outcome> {
        let missing = reserved.missing();
        if missing > 0 {
            return Err(Error::new(
                ErrorKind::ItemTooLarge,
                format!(
                    "the reservation is {missing} bytes larger than what has arrived; reserve the value's exact length"
                ),
            ));
        }
        let Some(filling) = &reserved.filling else { return Ok(Outcome::default()) };
        self.before();
        self.before_write();
        self.ctx.check_log()?;
        let key = Key { namespace: reserved.namespace, bytes: &reserved.key, hash: reserved.hash };
        let mut locked = self.shard(key.hash).lock(&self.ctx);
        let (mut outcome, found, go_on) = Self::judge(&mut locked, key, &reserved.spec);
        if !go_on {
            drop(locked);
            self.abandon(reserved);
            return Ok(outcome);
        }
        self.loads.overtake(key);
        let before = found.map(|f| locked.item(f.locator).attributes());
        let wanted = self.attributes(&mut locked, key, &reserved.spec, before);
        if !locked.core.slab.rewrite_header(&self.ctx.arena, filling.locator(), &wanted) {
            // What is there has a token, an idle time or a far deadline to keep, for which the reserved header has no
            // room.
            drop(locked);
            let outcome = self.set(key, &[filling.bytes()], &reserved.spec);
            self.abandon(reserved);
            return outcome;
        }
        let Some(filling) = reserved.filling.take() else { return Ok(Outcome::default()) };
        let locator = filling.finish(&mut locked.core.slab, &self.ctx.arena);
        locked.publish(key.hash, locator, Some(reserved.arrival))?;
        Self::tell_stored(&mut locked, key, &reserved.spec);
        locked.after_write();
        outcome.token = wanted.token;
        outcome.stored = true;
        drop(locked);
        if self.is_sampled(key.hash) {
            self.sample_change(key);
        }
        self.ctx.settle_log()?;
        self.ctx.sessions.current().count(crate::index::Counter::Sets);
        Ok(outcome)
    }

    /// Frees a reserved value that is not wanted any more.
    pub(crate) fn abandon(&self, reserved: &mut Reserved) {
        if let Some(filling) = reserved.filling.take() {
            let mut locked = self.shard(reserved.hash).lock(&self.ctx);
            let locator = filling.finish(&mut locked.core.slab, &self.ctx.arena);
            locked.retire_unpublished(locator);
        }
    }

    /// What is there of a key, and whether the options' condition allows to store over it.
    pub(super) fn judge(
        locked: &mut crate::shard::Locked<'_>,
        key: Key<'_>,
        spec: &SetSpec,
    ) -> (Outcome, Option<Found>, bool) {
        let found = locked.find(key.hash, key.namespace, key.bytes);
        let old = found.filter(|_| spec.want_old).map(|f| locked.item(f.locator).value().to_vec());
        let go_on = match spec.condition {
            Condition::Always => true,
            Condition::Absent => found.is_none(),
            Condition::Present => found.is_some(),
            Condition::Token(token) => found.is_some_and(|f| locked.item(f.locator).token() == Some(token)),
            Condition::TokenOrOlder(token) => found.is_some_and(|f| {
                // A value without a token came later than all tokens that were given.
                let now = locked.item(f.locator).token().unwrap_or_else(|| locked.new_token());
                token != 0 && token <= now
            }),
        };
        (Outcome { existed: found.is_some(), old, ..Outcome::default() }, found, go_on)
    }
}
