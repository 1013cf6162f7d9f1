//! The operations that store, change and remove.

use std::time::Duration;

use larder::{CasOutcome, Error, ErrorKind, SetOptions, SetOutcome, Token};

use crate::ops::{Condition, Expiry, Key, Op, Options, Pick, TAGS, Value};
use crate::run::{MAX_ITEM, Run};
use crate::twin::{Item, TokenIs};

/// What a plain `set` does.
pub(crate) const PLAIN: Options = Options {
    expiry: Expiry::Default,
    idle_ms: None,
    condition: Condition::Always,
    flags: 0,
    kind: larder::Kind::String,
    want_old: false,
    want_token: false,
    tags: 0,
};

impl Run<'_> {
    /// The token that an operation on a key names.
    fn pick(&self, key: Key, pick: Pick) -> Token {
        let known = self.twin.items.get(&key).and_then(|item| match item.token {
            TokenIs::Known(token) => Some(token),
            _ => None,
        });
        let history = &self.twin.history;
        match (pick, known) {
            (Pick::Current, Some(token)) => token,
            (Pick::Other(i), _) if !history.is_empty() => history[i % history.len()],
            // Far beyond any that is given out.
            _ => Token::from_u64(u64::MAX - 1),
        }
    }

    /// Whether the value that the twin has of a key is the one that this token names.
    fn names(&self, key: Key, token: Token) -> bool {
        self.twin.items.get(&key).is_some_and(|item| item.token == TokenIs::Known(token))
    }

    /// The options in the cache's words.
    pub(crate) fn options(&self, key: Key, options: &Options) -> SetOptions {
        let mut set = SetOptions::new().flags(options.flags).kind(options.kind);
        set = match options.expiry {
            Expiry::Default => set,
            Expiry::Never => set.never(),
            Expiry::In(ms) => set.ttl(Duration::from_millis(ms)),
            Expiry::At(offset) => set.deadline_ms(self.twin.now.saturating_add_signed(offset)),
            Expiry::Keep => set.keep_ttl(),
        };
        if let Some(ms) = options.idle_ms {
            set = set.time_to_idle(Duration::from_millis(ms));
        }
        set = match options.condition {
            Condition::Always => set,
            Condition::Absent => set.if_absent(),
            Condition::Present => set.if_present(),
            Condition::Token(pick) => set.if_token(self.pick(key, pick)),
        };
        if options.want_old {
            set = set.want_old();
        }
        set = set.tags(TAGS.iter().enumerate().filter(|(i, _)| options.tags >> i & 1 == 1).map(|(_, tag)| tag));
        if options.want_token { set.want_token() } else { set }
    }

    pub(crate) fn store(&mut self, op: &Op) {
        match *op {
            Op::Set(key, value) => {
                let turned_away = self.cache(0).stats().turned_away;
                let result = self.cache(key.space).set(&key.bytes(), &value.bytes());
                if self.cache(0).stats().turned_away > turned_away {
                    // Only a new key is turned away: nothing is there.
                    assert!(result.is_ok());
                    self.noticed += 1;
                    self.observe(key, false);
                    return;
                }
                self.after_set(key, value, result);
            }
            Op::SetWith(key, value, options) => {
                let set = self.options(key, &options);
                let condition = self.condition(key, &options);
                let result = self.cache(key.space).set_with(&key.bytes(), &value.bytes(), &set);
                self.after_set_with(key, value.bytes(), &options, condition, result);
            }
            Op::Add(key, value) => {
                let turned_away = self.cache(0).stats().turned_away;
                match self.cache(key.space).add(&key.bytes(), &value.bytes()) {
                    Ok(stored) => {
                        let turned_away = self.cache(0).stats().turned_away > turned_away;
                        self.noticed += u64::from(turned_away);
                        self.observe(key, !stored && !turned_away);
                        if stored {
                            let item = self.twin.make(value.bytes(), &PLAIN, None);
                            self.put(key, item);
                        }
                    }
                    Err(error) => self.check_refusal(&error, value.bytes().len()),
                }
            }
            Op::Replace(key, value) => match self.cache(key.space).replace(&key.bytes(), &value.bytes()) {
                Ok(stored) => {
                    if self.observe(key, stored) {
                        self.stored(key, value.bytes(), &PLAIN);
                    }
                }
                Err(error) => self.check_refusal(&error, value.bytes().len()),
            },
            Op::Swap(key, value, pick, options) => self.swap(key, value, pick, &options),
            Op::RemoveIf(key, pick) => {
                let token = self.pick(key, pick);
                let names = self.names(key, token);
                let removed = self.cache(key.space).remove_if(&key.bytes(), token);
                assert!(names || !removed, "{key:?} was removed for a token that is not its own");
                if removed {
                    self.twin.items.remove(&key);
                } else if names {
                    self.observe(key, false);
                }
            }
            Op::Burst { space, first, count, len, ttl_ms } => {
                let options = Options { expiry: ttl_ms.map_or(Expiry::Default, Expiry::In), ..PLAIN };
                for number in first..first + count {
                    let key = Key { space, number: number % crate::ops::KEYS };
                    let value = Value::Bytes { len: len + number % 7, salt: number as u8 };
                    let set = self.options(key, &options);
                    let result = self.cache(space).set_with(&key.bytes(), &value.bytes(), &set);
                    self.after_set_with(key, value.bytes(), &options, None, result);
                }
            }
            _ => unreachable!("{op:?} stores nothing"),
        }
    }

    /// Whether the condition of these options holds for a key that is there; None if there is no condition on that.
    fn condition(&self, key: Key, options: &Options) -> Option<bool> {
        match options.condition {
            Condition::Token(pick) => Some(self.names(key, self.pick(key, pick))),
            _ => None,
        }
    }

    fn after_set(&mut self, key: Key, value: Value, result: larder::Result<()>) {
        match result {
            // It may have been turned away all the same: then it is missed later.
            Ok(()) => {
                self.stored(key, value.bytes(), &PLAIN);
                if self.unnoticed() > 0 {
                    self.may_have_been_away(key);
                }
            }
            Err(error) => self.check_refusal(&error, value.bytes().len()),
        }
    }

    /// `set` does not say whether it has stored over what the twin has, or whether that was gone.
    fn may_have_been_away(&mut self, key: Key) {
        if let Some(item) = self.twin.items.get_mut(&key)
            && !self.twin.tokens
            && item.token == TokenIs::Unseen
        {
            item.token = TokenIs::Unsure;
        }
        if let Some(scan) = &mut self.scan {
            scan.throughout.retain(|other| *other != key);
        }
    }

    /// A value was stored, over what the twin has.
    fn stored(&mut self, key: Key, value: Vec<u8>, options: &Options) {
        let old = self.twin.items.get(&key).cloned();
        let item = self.twin.make(value, options, old.as_ref());
        self.put(key, item);
    }

    pub(crate) fn after_set_with(
        &mut self,
        key: Key,
        value: Vec<u8>,
        options: &Options,
        names: Option<bool>,
        result: larder::Result<SetOutcome>,
    ) {
        let outcome = match result {
            Ok(outcome) => outcome,
            Err(error) => return self.check_refusal(&error, value.len()),
        };
        let existed = self.observe(key, outcome.existed);
        let old = self.twin.items.get(&key).cloned();
        assert_eq!(outcome.old, old.as_ref().filter(|_| options.want_old).map(|old| old.value.clone()), "{key:?}");
        let holds = match options.condition {
            Condition::Always => true,
            Condition::Absent => !existed,
            Condition::Present => existed,
            Condition::Token(_) => existed && names == Some(true),
        };
        if !outcome.stored {
            assert!(outcome.token.is_none());
            if holds {
                assert!(!existed, "only a new key is turned away, and {key:?} was there");
                assert!(self.unnoticed() > 0, "{key:?} was not stored, and not turned away");
                self.noticed += 1;
            }
            return;
        }
        assert!(holds, "{key:?} was stored against its condition");
        let item = self.twin.make(value, options, old.as_ref());
        self.twin.items.insert(key, item);
        self.twin.learn(key, outcome.token);
        self.twin.settle();
    }

    fn swap(&mut self, key: Key, value: Value, pick: Pick, options: &Options) {
        let token = self.pick(key, pick);
        let names = self.names(key, token);
        let set = self.options(key, options);
        match self.cache(key.space).compare_and_swap_with(&key.bytes(), &value.bytes(), token, &set) {
            Ok(CasOutcome::Stored(new)) => {
                assert!(self.observe(key, true) && names, "{key:?} was swapped for a token that is not its own");
                let old = self.twin.items.get(&key).cloned();
                let item = self.twin.make(value.bytes(), &Options { want_token: true, ..*options }, old.as_ref());
                self.twin.items.insert(key, item);
                self.twin.learn(key, Some(new));
                self.twin.settle();
            }
            Ok(CasOutcome::Changed) => {
                self.observe(key, true);
                assert!(!names, "{key:?} was not swapped for its own token");
            }
            Ok(CasOutcome::Missing) => {
                self.observe(key, false);
            }
            Ok(outcome) => panic!("unexpected: {outcome:?}"),
            Err(error) => self.check_refusal(&error, value.bytes().len()),
        }
    }

    pub(crate) fn change(&mut self, op: &Op) {
        match *op {
            Op::Append(key, value) | Op::Prepend(key, value) => {
                self.extend(key, value.bytes(), matches!(op, Op::Prepend(..)))
            }
            Op::Touch(key, ttl_ms) => {
                let result = self.cache(key.space).touch(&key.bytes(), Duration::from_millis(ttl_ms));
                self.after_touch(key, self.twin.now + ttl_ms, result);
            }
            Op::TouchUntil(key, offset) => {
                let at = self.twin.now.saturating_add_signed(offset);
                let result = self.cache(key.space).touch_until(&key.bytes(), at);
                self.after_touch(key, self.twin.at(offset), result);
            }
            Op::Persist(key) => {
                let persisted = self.cache(key.space).persist(&key.bytes());
                let there = self.twin.items.get(&key);
                match there.map(|item| item.deadline != 0) {
                    // No says that it is gone, or lives for ever already.
                    Some(true) => {
                        if self.observe(key, persisted) {
                            self.twin.items.get_mut(&key).expect("it was observed").deadline = 0;
                        }
                    }
                    _ => assert!(!persisted, "{key:?} had no deadline to lose"),
                }
            }
            Op::Remove(key) => {
                let removed = self.cache(key.space).remove(&key.bytes());
                self.observe(key, removed);
                self.twin.items.remove(&key);
            }
            Op::Take(key) => {
                let value = self.cache(key.space).take(&key.bytes());
                self.observe_value(key, value.as_deref());
                self.twin.items.remove(&key);
            }
            _ => self.count(op),
        }
    }

    fn after_touch(&mut self, key: Key, deadline: u64, result: larder::Result<bool>) {
        match result {
            Ok(touched) => {
                if self.observe(key, touched) {
                    self.twin.used(key);
                    self.twin.items.get_mut(&key).expect("it was observed").deadline = deadline;
                    self.twin.settle();
                }
            }
            Err(error) => {
                let len = self.twin.items.get(&key).expect("only what is there is touched").value.len();
                self.check_refusal(&error, len);
                self.twin.used(key);
            }
        }
    }

    fn extend(&mut self, key: Key, bytes: Vec<u8>, in_front: bool) {
        let cache = self.cache(key.space);
        let name = key.bytes();
        let result = if in_front { cache.prepend(&name, &bytes) } else { cache.append(&name, &bytes) };
        let old = self.twin.items.get(&key).cloned();
        match result {
            Ok(done) => {
                if let (true, Some(old)) = (self.observe(key, done), old) {
                    let parts = if in_front { [bytes, old.value.clone()] } else { [old.value.clone(), bytes] };
                    let item = self.twin.changed(&old, parts.concat());
                    self.put(key, item);
                }
            }
            Err(error) => self.after_refused_change(key, &error, old, bytes.len()),
        }
    }

    /// A change of what is there was refused: whether that may be. It is as it was.
    pub(crate) fn after_refused_change(&mut self, key: Key, error: &Error, old: Option<Item>, added: usize) {
        let Some(old) = old else { panic!("{key:?} is not there, and cannot be changed: {error}") };
        let len = old.value.len() + added;
        if error.kind() == ErrorKind::ItemTooLarge && len > MAX_ITEM {
            return;
        }
        self.check_refusal(error, len);
    }
}
