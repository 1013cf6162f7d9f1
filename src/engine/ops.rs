//! The operations on one key.

use super::{Engine, Flight, Key};
use crate::error::{Error, ErrorKind, Result};
use crate::events::KeyEventClass;
use crate::index::{Counter, Held, Pinned, Session};
use crate::shard::{Cause, Found, Locked, New, Origin, Read, Stored};
use crate::slab::{Account, Attributes, ItemRef, Kind, MAX_TAGS, TagSet};

/// When a new value ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Expiry {
    /// As the cache says.
    #[default]
    Default,
    Never,
    /// Milliseconds from now.
    In(u64),
    /// Unix time in milliseconds.
    At(u64),
    /// As the value that is there.
    Keep,
}

/// When a value is stored at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Condition {
    #[default]
    Always,
    Absent,
    Present,
    /// Only over a value with this token.
    Token(u64),
    /// The same, or over a value with a later token: then the new value keeps the old one's deadline, and its marks and
    /// those of [`SetSpec::stale_marks`].
    #[cfg_attr(not(feature = "memcached"), allow(dead_code))]
    TokenOrOlder(u64),
}

/// How a value is to be stored.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SetSpec {
    pub(crate) expiry: Expiry,
    pub(crate) idle_ms: Option<u64>,
    pub(crate) condition: Condition,
    pub(crate) client_flags: u32,
    pub(crate) kind: Kind,
    pub(crate) want_old: bool,
    pub(crate) want_token: bool,
    /// What key events call it, if not `set`.
    pub(crate) event: Option<&'static str>,
    /// Hashes that know of no namespace.
    pub(crate) tags: Option<TagSet>,
    /// What a front-end keeps with the item.
    pub(crate) marks: u8,
    /// Marks of a value that is stored though it is older than the one that is there.
    pub(crate) stale_marks: u8,
    /// The token that the value gets instead of a new one.
    pub(crate) token: Option<u64>,
}

/// What storing a value came to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    pub(crate) stored: bool,
    pub(crate) existed: bool,
    pub(crate) old: Option<Vec<u8>>,
    pub(crate) token: Option<u64>,
}

/// What a check-and-set came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Swap {
    Stored(u64),
    Changed,
    Missing,
}

/// A value that was copied because this thread had no hazard slot left; on the ledger while it lives.
#[derive(Debug)]
pub(crate) struct Copied<'a> {
    pub(crate) value: Box<[u8]>,
    pub(crate) attributes: Attributes,
    engine: &'a Engine,
    charged: u64,
}

impl Drop for Copied<'_> {
    fn drop(&mut self) {
        self.engine.ctx.arena.ledger.release(Account::Side, self.charged);
    }
}

/// A value that was found.
#[derive(Debug)]
pub(crate) enum Reading<'a> {
    Pinned(Pinned<'a>),
    /// In a box: what is returned by calls that are not inlined has to be small, or the pinned ones would go through
    /// memory too.
    Copied(Box<Copied<'a>>),
}

/// What came of a copy that was to be made of something changed first.
enum Touched<'a> {
    Yes(Box<Copied<'a>>),
    /// It could not be changed.
    No,
    Missing,
}

/// Bytes charged for a copy beside the value's own.
const COPY_OVERHEAD: u64 = 64;

impl Engine {
    /// Runs due flushes; costs one load when there is none.
    #[inline(always)]
    pub(crate) fn before(&self) {
        if self.ctx.flush_due() {
            self.run_flushes();
        }
    }

    /// A read that counts as a use (or is a mere look), the value in place.
    #[inline(always)]
    pub(crate) fn find<'a>(
        &'a self,
        session: &'a Session,
        hazard: usize,
        key: Key<'_>,
        read: Read,
    ) -> Option<Pinned<'a>> {
        self.before();
        // First, so that nothing has to be kept for it while the item is looked for.
        if read == Read::Use && self.is_sampled(key.hash) {
            return self.find_sampled(session, hazard, key.again()).map(|held| Pinned::of_held(held, &self.ctx.arena));
        }
        self.find_plainly(session, hazard, key, read)
    }

    #[inline(always)]
    fn find_plainly<'a>(&'a self, session: &'a Session, hazard: usize, key: Key<'_>, read: Read) -> Option<Pinned<'a>> {
        let shard = self.shard(key.hash);
        let found = shard.read(&self.ctx, session, hazard, key, read);
        if read == Read::Use {
            session.count(if found.is_some() { Counter::GetHits } else { Counter::GetMisses });
            session.count_in(key.namespace, found.is_some());
        }
        found
    }

    /// The same use of a key that the miss-ratio curve wants to know about.
    #[cold]
    #[inline(never)]
    fn find_sampled<'a>(&'a self, session: &'a Session, hazard: usize, key: Key<'_>) -> Option<Held<'a>> {
        let found = self.find_plainly(session, hazard, key.again(), Read::Use);
        self.sample_read(key.hash, found.as_ref().map(|pinned| pinned.item()));
        found.and_then(Pinned::into_held)
    }

    /// The value of a key, in place while the thread has a hazard slot, else copied.
    #[inline(always)]
    pub(crate) fn get<'a>(&'a self, key: Key<'_>, read: Read) -> Result<Option<Reading<'a>>> {
        let session = self.ctx.sessions.current();
        match session.take_hazard() {
            Some(hazard) => Ok(self.find(session, hazard, key, read).map(Reading::Pinned)),
            None => Ok(self.copy(key.again(), read, true)?.map(Reading::Copied)),
        }
    }

    /// A copy of a value, made under the lock. `limited`: an error rather than more memory than the limit.
    #[cold]
    #[inline(never)]
    pub(crate) fn copy(&self, key: Key<'_>, read: Read, limited: bool) -> Result<Option<Box<Copied<'_>>>> {
        Ok(match self.copy_touched(key, read, limited, |_, _| true)? {
            Touched::Yes(copied) => Some(copied),
            Touched::No | Touched::Missing => None,
        })
    }

    /// The same of what `touch` has changed, under the same lock.
    fn copy_touched(
        &self,
        key: Key<'_>,
        read: Read,
        limited: bool,
        mut touch: impl FnMut(&mut Locked<'_>, Found) -> bool,
    ) -> Result<Touched<'_>> {
        self.before();
        let ledger = &self.ctx.arena.ledger;
        for _ in 0..64 {
            let mut locked = self.shard(key.hash).lock(&self.ctx);
            let found = locked.find_to_read(key.hash, key.namespace, key.bytes);
            let session = self.ctx.sessions.current();
            let Some(found) = found else {
                if read == Read::Use {
                    session.count(Counter::GetMisses);
                    session.count_in(key.namespace, false);
                    if self.is_sampled(key.hash) {
                        drop(locked);
                        self.sample_read(key.hash, None);
                    }
                }
                return Ok(Touched::Missing);
            };
            let charged = locked.item(found.locator).value_len() as u64 + COPY_OVERHEAD;
            if !limited {
                ledger.force(Account::Side, charged);
            } else if !ledger.charge(Account::Side, charged) {
                // Evicts for the copy, but not what is to be copied: if it leaves all the same, this was a miss.
                locked.make_space(None, None);
                self.ctx.arena.trim_pool(charged);
                continue;
            }
            if !touch(&mut locked, found) {
                ledger.release(Account::Side, charged);
                return Ok(Touched::No);
            }
            if read == Read::Use {
                locked.note_use(found);
                session.count(Counter::GetHits);
                session.count_in(key.namespace, true);
            }
            session.count(Counter::CopiedGuards);
            let item = locked.item(found.locator);
            let (value, attributes, item_len) = (item.value().into(), item.attributes(), item.item_len());
            drop(locked);
            if read == Read::Use && self.is_sampled(key.hash) {
                self.sample_copy(key.hash, item_len, &attributes);
            }
            return Ok(Touched::Yes(Box::new(Copied { value, attributes, engine: self, charged })));
        }
        Err(Error::new(
            ErrorKind::TooManyGuards,
            "this thread holds eight guards, and there is no memory for copies: drop guards, or read with a closure",
        ))
    }

    /// Shows a value to a closure.
    #[inline]
    pub(crate) fn read<R>(&self, key: Key<'_>, read: Read, f: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let session = self.ctx.sessions.current();
        match session.take_hazard() {
            Some(hazard) => self.find(session, hazard, key, read).map(|pinned| f(pinned.value())),
            // Cannot fail without a limit.
            None => self.copy(key.again(), read, false).ok().flatten().map(|copied| f(&copied.value)),
        }
    }

    /// Shows an item's attributes and lengths to a closure; changes nothing.
    pub(crate) fn inspect<R>(&self, key: Key<'_>, f: impl FnOnce(ItemRef<'_>) -> R) -> Option<R> {
        self.before();
        let mut locked = self.shard(key.hash).lock(&self.ctx);
        let seen = locked.find_to_read(key.hash, key.namespace, key.bytes).map(|found| f(locked.item(found.locator)));
        drop(locked);
        self.ctx.relieve_log();
        seen
    }

    /// The attributes that a new value gets.
    pub(super) fn attributes(
        &self,
        locked: &mut Locked<'_>,
        key: Key<'_>,
        spec: &SetSpec,
        old: Option<Attributes>,
    ) -> Attributes {
        let (settings, now) = (&self.ctx.settings, locked.now);
        let is_older = |old: &Attributes| matches!(spec.condition, Condition::TokenOrOlder(t) if old.token != Some(t));
        let (expiry, marks) = match old.filter(is_older) {
            Some(old) => (Expiry::Keep, spec.stale_marks | old.marks),
            None => (spec.expiry, spec.marks),
        };
        let (deadline, kept_idle) = match expiry {
            Expiry::Keep => old.map_or((0, 0), |old| (old.deadline, old.idle_ms)),
            Expiry::Never => (0, 0),
            expiry => (self.deadline(now, expiry), settings.idle_ms),
        };
        let asked =
            settings.tokens || spec.want_token || spec.token.is_some() || old.is_some_and(|old| old.token.is_some());
        let wants_token = asked && settings.check_and_set;
        Attributes {
            kind: spec.kind,
            namespace: key.namespace,
            generation: self.ctx.namespaces.generation(key.namespace),
            deadline,
            client_flags: spec.client_flags,
            marks,
            token: wants_token.then(|| spec.token.unwrap_or_else(|| locked.new_token())),
            idle_ms: spec.idle_ms.unwrap_or(kept_idle),
            last_use: now,
            tags: spec.tags.map_or(0, |tags| tags.len()),
            sequence: if spec.tags.is_some() { self.ctx.tags.sequence() } else { 0 },
        }
    }

    /// The tags that a value gets in a namespace, put into `place`. An error if there are too many.
    #[inline(always)]
    pub(super) fn tags_of<'t>(
        spec: &SetSpec,
        namespace: u8,
        place: &'t mut Option<TagSet>,
    ) -> Result<Option<&'t TagSet>> {
        match &spec.tags {
            None => Ok(None),
            Some(tags) => Self::put_tags(tags, namespace, place).map(Some),
        }
    }

    #[cold]
    fn put_tags<'t>(tags: &TagSet, namespace: u8, place: &'t mut Option<TagSet>) -> Result<&'t TagSet> {
        if tags.is_too_long() {
            return Err(Error::new(
                ErrorKind::TooManyTags,
                format!("more than {MAX_TAGS} tags were given; an item can have {MAX_TAGS}"),
            ));
        }
        Ok(place.insert(tags.in_namespace(namespace)))
    }

    /// Tells that a value was stored as `spec` says.
    #[inline(always)]
    pub(super) fn tell_stored(locked: &mut Locked<'_>, key: Key<'_>, spec: &SetSpec) {
        if locked.ctx.hub.is_on() {
            Self::tell_watchers(locked, key, spec);
        }
    }

    #[cold]
    #[inline(never)]
    fn tell_watchers(locked: &mut Locked<'_>, key: Key<'_>, spec: &SetSpec) {
        locked.happened(KeyEventClass::of(spec.kind), spec.event.unwrap_or("set"), key.namespace, key.bytes);
        if matches!(spec.expiry, Expiry::In(_) | Expiry::At(_)) {
            locked.happened(KeyEventClass::Generic, "expire", key.namespace, key.bytes);
        }
    }

    /// What whoever needs a token is told where items have none.
    fn check_tokens(&self) -> Result<()> {
        if self.ctx.settings.check_and_set {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::NotAllowed,
            "check-and-set is off in this cache, its items have no tokens: build it with check_and_set(true)",
        ))
    }

    /// Refuses options that no value can meet here.
    pub(super) fn check_spec(&self, spec: &SetSpec) -> Result<()> {
        if matches!(spec.condition, Condition::Token(_) | Condition::TokenOrOlder(_)) {
            self.check_tokens()
        } else {
            Ok(())
        }
    }

    /// Stores a value given in pieces.
    pub(crate) fn set(&self, key: Key<'_>, parts: &[&[u8]], spec: &SetSpec) -> Result<Outcome> {
        self.store(key, parts, spec, None)
    }

    /// The same; what a load has brought is stored only if nothing was written or removed since the load began.
    pub(super) fn store(
        &self,
        key: Key<'_>,
        parts: &[&[u8]],
        spec: &SetSpec,
        flight: Option<&Flight>,
    ) -> Result<Outcome> {
        let vlen = parts.iter().map(|p| p.len()).sum();
        self.check_spec(spec)?;
        Self::check_key(key.bytes)?;
        self.check_value(key.bytes.len(), vlen, 0)?;
        self.before();
        let mut place = None;
        let tags = Self::tags_of(spec, key.namespace, &mut place)?;
        let (mut arrival, mut sampled) = (None, None);
        let outcome = self.write(key.hash, |locked, prepaid| {
            locked.prefetch_arrival(key.hash);
            let (mut outcome, found, go_on) = Self::judge(locked, key, spec);
            if !go_on {
                return Ok(outcome);
            }
            let before = found.map(|f| locked.item(f.locator).attributes());
            let attributes = self.attributes(locked, key, spec, before);
            // After the generation was read: see the invariants of `loads`.
            if !self.loads.may_store(key, flight) {
                return Ok(outcome);
            }
            let (key_bytes, origin) = (key.bytes, Origin::Given);
            let new = New { hash: key.hash, key: key_bytes, parts, vlen, attributes, tags, origin };
            if self.is_sampled(key.hash) {
                sampled = Some((new.item_len(), attributes));
            }
            let over = matches!(spec.condition, Condition::Present | Condition::Token(_) | Condition::TokenOrOlder(_));
            match locked.store(&new, found, over, &mut arrival, prepaid)? {
                Stored::Yes => {
                    outcome.stored = true;
                    Self::tell_stored(locked, key, spec);
                }
                Stored::TurnedAway => {}
                Stored::Gone => outcome = Outcome::default(),
            }
            outcome.token = attributes.token;
            Ok(outcome)
        });
        if let Some((item_len, attributes)) = sampled {
            self.sample_store(key.hash, item_len, &attributes);
        }
        let outcome = outcome?;
        self.ctx.sessions.current().count(Counter::Sets);
        Ok(outcome)
    }

    /// Stores a value over one that has a certain token.
    pub(crate) fn compare_and_swap(&self, key: Key<'_>, value: &[u8], token: u64, spec: &SetSpec) -> Result<Swap> {
        let spec = SetSpec { condition: Condition::Token(token), want_token: true, ..*spec };
        let outcome = self.set(key, &[value], &spec)?;
        let session = self.ctx.sessions.current();
        let swap = match (outcome.existed, outcome.stored, outcome.token) {
            (true, true, Some(token)) => Swap::Stored(token),
            (true, _, _) => Swap::Changed,
            (false, _, _) => Swap::Missing,
        };
        session.count(match swap {
            Swap::Stored(_) => Counter::CasHits,
            Swap::Changed => Counter::CasBadval,
            Swap::Missing => Counter::CasMisses,
        });
        Ok(swap)
    }

    /// Sees to it that an item has a check-and-set token, and returns it.
    pub(crate) fn token(&self, key: Key<'_>) -> Result<Option<u64>> {
        self.check_tokens()?;
        self.rewrite(key, Change::Form, |attributes, _, locked| {
            if attributes.token.is_some() {
                return Rewrite::Leave(attributes.token);
            }
            let token = locked.new_token();
            Rewrite::Store(Attributes { token: Some(token), ..attributes }, vec![Piece::Old], Some(token))
        })
        .map(Option::flatten)
    }

    /// A token that no item has or will have.
    #[cold]
    pub(crate) fn spent_token(&self, key: Key<'_>) -> u64 {
        self.shard(key.hash).lock(&self.ctx).new_token()
    }

    /// Stores an item anew that is made from what is there. Nothing happens, and None is returned, if nothing is there.
    /// `change` is what is told of it.
    ///
    /// Tags are kept, with the number of the invalidation that the old value came after: what is made of an old value
    /// is as old.
    pub(crate) fn rewrite<'p, R>(
        &self,
        key: Key<'_>,
        change: Change,
        mut make: impl FnMut(Attributes, &[u8], &mut Locked<'_>) -> Rewrite<'p, R>,
    ) -> Result<Option<R>> {
        self.before();
        Self::check_key(key.bytes)?;
        let session = self.ctx.sessions.current();
        let shard = self.shard(key.hash);
        let result = self.write(key.hash, |locked, prepaid| {
            let Some(found) = locked.find(key.hash, key.namespace, key.bytes) else { return Ok(Ok(None)) };
            // Making room may evict what is being rewritten, so its bytes are held: in place if possible, else copied.
            let held = session.take_hazard().and_then(|hazard| {
                Pinned::hold(&self.ctx.arena, &shard.table, found.place, found.slot, session, hazard)
            });
            let copy = if held.is_none() { Some(locked.item(found.locator).value().to_vec()) } else { None };
            let value = held.as_ref().map(|h| h.value()).or(copy.as_deref()).unwrap_or_default();
            let item = locked.item(found.locator);
            let (before, tags) = (item.attributes(), item.is_tagged().then(|| item.tags()));
            let (attributes, pieces, result) = match make(before, value, locked) {
                Rewrite::Leave(result) => return Ok(Ok(Some(result))),
                Rewrite::Refuse(error) => return Ok(Err(error)),
                Rewrite::Store(attributes, pieces, result) => (attributes, pieces, result),
            };
            let same = matches!(pieces[..], [Piece::Old]);
            if !same {
                self.loads.overtake(key);
            }
            let origin = if same { Origin::Same } else { Origin::Changed };
            let parts: Vec<&[u8]> = pieces.iter().map(|piece| piece.bytes(value)).collect();
            let vlen = parts.iter().map(|p| p.len()).sum();
            // What is there is held, in place or in a copy, until the new one is written.
            let held = if self.ctx.classes.of(value.len()).is_some() { 0 } else { value.len() as u64 };
            if let Err(error) = self.check_value(key.bytes.len(), vlen, held) {
                return Ok(Err(error));
            }
            let (key_bytes, tags) = (key.bytes, tags.as_ref());
            let new = New { hash: key.hash, key: key_bytes, parts: &parts, vlen, attributes, tags, origin };
            match locked.store(&new, Some(found), true, &mut None, prepaid)? {
                Stored::Gone => Ok(Ok(None)),
                _ => {
                    match change {
                        Change::Form => {}
                        Change::Deadline => {
                            locked.happened(KeyEventClass::Generic, "expire", key.namespace, key.bytes);
                        }
                        Change::Value(name) => {
                            locked.happened(KeyEventClass::of(before.kind), name, key.namespace, key.bytes);
                        }
                    }
                    Ok(Ok(Some(result)))
                }
            }
        });
        if self.is_sampled(key.hash) && matches!(result, Ok(Ok(Some(_)))) {
            self.sample_change(key);
        }
        result?
    }

    /// Adds bytes after, or before, a value; keeps everything else. False if there is none.
    pub(crate) fn extend(&self, key: Key<'_>, bytes: &[u8], in_front: bool) -> Result<bool> {
        let change = Change::Value(if in_front { "prepend" } else { "append" });
        let done = self.rewrite(key, change, |before, _, locked| {
            let (own, added) = (Piece::Old, Piece::Given(bytes));
            let pieces = if in_front { vec![added, own] } else { vec![own, added] };
            let attributes = Attributes { token: before.token.map(|_| locked.new_token()), ..before };
            Rewrite::Store(attributes, pieces, ())
        })?;
        self.ctx.sessions.current().count(Counter::Sets);
        Ok(done.is_some())
    }

    /// Replaces a number kept as text by the result of `step`, which is given the present text. None if there is none.
    pub(super) fn step<R>(
        &self,
        key: Key<'_>,
        mut step: impl FnMut(&[u8]) -> Result<(Vec<u8>, R)>,
    ) -> Result<Option<R>> {
        self.rewrite(key, Change::Value("incrby"), |before, value, locked| match step(value) {
            Err(error) => Rewrite::Refuse(error),
            Ok((text, result)) => {
                let attributes = Attributes { token: before.token.map(|_| locked.new_token()), ..before };
                Rewrite::Store(attributes, vec![Piece::Other(text)], result)
            }
        })
    }

    /// Gives a value another deadline. False if there is no value.
    pub(crate) fn touch(&self, key: Key<'_>, expiry: Expiry) -> Result<bool> {
        self.before();
        self.before_write();
        self.ctx.check_log()?;
        let now_done = {
            let mut locked = self.shard(key.hash).lock(&self.ctx);
            let deadline = self.deadline(locked.now, expiry);
            let found = locked.find(key.hash, key.namespace, key.bytes);
            found.map(|found| {
                locked.note_use(found);
                Self::set_deadline(&mut locked, found, key, deadline)
            })
        };
        let touched = match now_done {
            None => false,
            Some(true) => true,
            Some(false) => self.store_anew(key, expiry)?,
        };
        self.ctx.settle_log()?;
        self.ctx.sessions.current().count(if touched { Counter::TouchHits } else { Counter::TouchMisses });
        if self.is_sampled(key.hash) {
            self.sample_touch(key.hash, self.deadline(self.ctx.now(), expiry));
        }
        Ok(touched)
    }

    /// Changes when an item ends, in place, and tells of it. False if its header cannot hold that.
    fn set_deadline(locked: &mut Locked<'_>, found: Found, key: Key<'_>, deadline: u64) -> bool {
        let is_set = locked.set_deadline(found, deadline);
        if is_set {
            locked.happened(KeyEventClass::Generic, "expire", key.namespace, key.bytes);
        }
        is_set
    }

    /// Reads a value and changes when it ends, in one hold of the lock.
    pub(crate) fn get_and_touch(&self, key: Key<'_>, expiry: Expiry) -> Result<Option<Reading<'_>>> {
        self.before();
        self.before_write();
        self.ctx.check_log()?;
        let (shard, session) = (self.shard(key.hash), self.ctx.sessions.current());
        let count = |hit: bool| {
            session.count(if hit { Counter::TouchHits } else { Counter::TouchMisses });
            session.count(if hit { Counter::GetHits } else { Counter::GetMisses });
            session.count_in(key.namespace, hit);
        };
        loop {
            let Some(hazard) = session.take_hazard() else {
                let touch = |locked: &mut Locked<'_>, found| {
                    let deadline = self.deadline(locked.now, expiry);
                    Self::set_deadline(locked, found, key, deadline)
                };
                let touched = match self.copy_touched(key, Read::Use, true, touch)? {
                    Touched::Yes(copied) => Some(copied),
                    Touched::Missing => None,
                    Touched::No => {
                        self.store_anew(key, expiry)?;
                        continue;
                    }
                };
                session.count(if touched.is_some() { Counter::TouchHits } else { Counter::TouchMisses });
                self.ctx.settle_log()?;
                return Ok(touched.map(Reading::Copied));
            };
            let mut locked = shard.lock(&self.ctx);
            let Some(found) = locked.find(key.hash, key.namespace, key.bytes) else {
                count(false);
                drop(locked);
                if self.is_sampled(key.hash) {
                    self.sample_read(key.hash, None);
                    self.sample_touch(key.hash, self.deadline(self.ctx.now(), expiry));
                }
                return Ok(None);
            };
            let deadline = self.deadline(locked.now, expiry);
            if Self::set_deadline(&mut locked, found, key, deadline) {
                locked.note_use(found);
                count(true);
                let found = Pinned::hold(&self.ctx.arena, &shard.table, found.place, found.slot, session, hazard);
                drop(locked);
                if self.is_sampled(key.hash) {
                    self.sample_read(key.hash, found.as_ref().map(|pinned| pinned.item()));
                }
                self.ctx.settle_log()?;
                return Ok(found.map(Reading::Pinned));
            }
            drop(locked);
            self.store_anew(key, expiry)?;
        }
    }

    /// For an item whose small header cannot hold a deadline years away: stores it anew with a large one.
    fn store_anew(&self, key: Key<'_>, expiry: Expiry) -> Result<bool> {
        let stored = self.rewrite(key, Change::Deadline, |before, _, locked| {
            let deadline = self.deadline(locked.now, expiry);
            Rewrite::Store(Attributes { deadline, ..before }, vec![Piece::Old], ())
        })?;
        Ok(stored.is_some())
    }

    /// When what is stored or touched now ends; 0 for never.
    pub(crate) fn deadline(&self, now: u64, expiry: Expiry) -> u64 {
        match expiry {
            Expiry::Never | Expiry::Keep => 0,
            Expiry::Default if self.ctx.settings.ttl_ms == 0 => 0,
            Expiry::Default => now.saturating_add(self.ctx.settings.ttl_ms),
            Expiry::In(ms) => now.saturating_add(ms).max(1),
            Expiry::At(unix_ms) => self.ctx.since_start(unix_ms),
        }
    }

    /// Takes a value's deadline away. False if there is no value, or it has none, or the log does not take it.
    pub(crate) fn persist(&self, key: Key<'_>) -> bool {
        self.before();
        self.before_write();
        if self.ctx.check_log().is_err() {
            return false;
        }
        let mut locked = self.shard(key.hash).lock(&self.ctx);
        let Some(found) = locked.find(key.hash, key.namespace, key.bytes) else { return false };
        let done = locked.item(found.locator).deadline() != 0 && locked.set_deadline(found, 0);
        if done {
            locked.happened(KeyEventClass::Generic, "persist", key.namespace, key.bytes);
        }
        drop(locked);
        if self.is_sampled(key.hash) {
            self.sample_touch(key.hash, 0);
        }
        done && self.ctx.settle_log().is_ok()
    }

    /// Tells subscribers of something that happened to a key.
    pub(crate) fn notify(&self, key: Key<'_>, class: KeyEventClass, name: &'static str) -> Result<()> {
        Self::check_key(key.bytes)?;
        if self.ctx.hub.wants(class) {
            self.shard(key.hash).lock(&self.ctx).happened(class, name, key.namespace, key.bytes);
        }
        Ok(())
    }

    /// Removes a key. `only` says whether the item found is to be removed; `look` is shown it first.
    pub(crate) fn remove<R>(
        &self,
        key: Key<'_>,
        only: impl FnOnce(Found, ItemRef<'_>) -> bool,
        look: impl FnOnce(ItemRef<'_>) -> R,
    ) -> Option<R> {
        let seen = self.drop_item(key, only, look);
        let session = self.ctx.sessions.current();
        session.count(if seen.is_some() { Counter::DeleteHits } else { Counter::DeleteMisses });
        seen
    }

    /// The same for what nobody asked to be removed by its key: it counts as no deletion.
    pub(crate) fn drop_item<R>(
        &self,
        key: Key<'_>,
        only: impl FnOnce(Found, ItemRef<'_>) -> bool,
        look: impl FnOnce(ItemRef<'_>) -> R,
    ) -> Option<R> {
        self.before();
        self.before_write();
        if self.ctx.effects.is_follower() {
            return None;
        }
        let mut locked = self.shard(key.hash).lock(&self.ctx);
        let found = locked.find(key.hash, key.namespace, key.bytes);
        if found.is_some_and(|found| !only(found, locked.item(found.locator))) {
            return None;
        }
        // Also if nothing is there: what is being loaded may be what is to go.
        self.loads.overtake(key);
        let seen = found.map(|found| {
            let seen = look(locked.item(found.locator));
            locked.remove(found, Cause::Removed);
            locked.after_write();
            seen
        });
        drop(locked);
        if self.is_sampled(key.hash) {
            self.sample_remove(key.hash);
        }
        // What the log does not have is not acknowledged, though it is gone.
        seen.filter(|_| self.ctx.settle_log().is_ok())
    }
}

/// A piece of a new value.
pub(crate) enum Piece<'p> {
    /// The old value.
    Old,
    Given(&'p [u8]),
    Other(Vec<u8>),
}

impl Piece<'_> {
    fn bytes<'a>(&'a self, old: &'a [u8]) -> &'a [u8] {
        match self {
            Piece::Old => old,
            Piece::Given(bytes) => bytes,
            Piece::Other(bytes) => bytes,
        }
    }
}

/// What changes of an item that is stored anew: what is told of it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Change {
    /// Nothing that anybody needs to know.
    Form,
    Deadline,
    /// The value; the name of the key event.
    Value(&'static str),
}

/// What becomes of an item.
pub(crate) enum Rewrite<'p, R> {
    Leave(R),
    Refuse(Error),
    Store(Attributes, Vec<Piece<'p>>, R),
}
