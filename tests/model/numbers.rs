//! Counting, several keys at once, and values that arrive slowly.

use std::collections::BTreeSet;
use std::time::Duration;

use larder::{Arithmetic, ErrorKind};

use crate::ops::{Condition, Counting, Effect, Expiry, Key, Op, Options, Value};
use crate::run::{Pending, Run};
use crate::writes::PLAIN;

/// Reservations that are open at once at most.
const MOST_PENDING: usize = 3;

/// What counting comes to: the new number and text, or that it fails.
fn counted(text: &[u8], counting: &Counting) -> Result<(i128, Vec<u8>), ErrorKind> {
    let text = std::str::from_utf8(text).map_err(|_| ErrorKind::NotANumber)?;
    if counting.signed {
        let now: i64 = text.parse().map_err(|_| ErrorKind::NotANumber)?;
        if now.to_string() != text {
            return Err(ErrorKind::NotANumber);
        }
        let next = now.checked_add(signed_step(counting)).ok_or(ErrorKind::NumberOverflow)?;
        return Ok((next.into(), next.to_string().into_bytes()));
    }
    let digits = text.trim_end_matches([' ', '\t', '\n', '\r', '\x0c']);
    let plain = !digits.is_empty() && digits.len() <= 20 && digits.bytes().all(|b| b.is_ascii_digit());
    let now: u64 = digits.parse().ok().filter(|_| plain).ok_or(ErrorKind::NotANumber)?;
    if counting.down {
        let next = now.saturating_sub(counting.by);
        return Ok((next.into(), format!("{next:<width$}", width = text.len()).into_bytes()));
    }
    let next = now.wrapping_add(counting.by);
    Ok((next.into(), next.to_string().into_bytes()))
}

fn signed_step(counting: &Counting) -> i64 {
    let by = (counting.by >> 1) as i64;
    if counting.down { -by } else { by }
}

impl Run<'_> {
    pub(crate) fn count(&mut self, op: &Op) {
        let plain = |by, down| Counting { signed: false, down, by, initial: None, ttl_ms: None };
        match *op {
            Op::Increment(key, by) => {
                let result = self.cache(key.space).increment(&key.bytes(), by);
                self.after_count(key, &plain(by, false), result.map(|n| n.map(i128::from)));
            }
            Op::Decrement(key, by) => {
                let result = self.cache(key.space).decrement(&key.bytes(), by);
                self.after_count(key, &plain(by, true), result.map(|n| n.map(i128::from)));
            }
            Op::Count(key, counting) => {
                let mut arithmetic = match (counting.signed, counting.down) {
                    (true, _) => Arithmetic::signed(signed_step(&counting)),
                    (false, false) => Arithmetic::unsigned_up(counting.by),
                    (false, true) => Arithmetic::unsigned_down(counting.by),
                };
                if let Some(initial) = counting.initial {
                    arithmetic = arithmetic.initial(initial);
                }
                if let Some(ms) = counting.ttl_ms {
                    arithmetic = arithmetic.ttl(Duration::from_millis(ms));
                }
                let result = self.cache(key.space).arithmetic(&key.bytes(), &arithmetic);
                self.after_count(key, &counting, result);
            }
            _ => unreachable!("{op:?} does not count"),
        }
    }

    fn after_count(&mut self, key: Key, counting: &Counting, result: larder::Result<Option<i128>>) {
        let mut too_large = false;
        let initial = if counting.signed {
            let initial = counting.initial.map_or(0, |n| i64::try_from(n).unwrap_or(i64::MAX));
            let first = initial.checked_add(signed_step(counting));
            too_large = first.is_none();
            first.map(i128::from)
        } else {
            counting.initial.map(i128::from)
        };
        let old = self.twin.items.get(&key).cloned();
        let expected = old.as_ref().map(|old| counted(&old.value, counting));
        match (result, expected) {
            (Err(error), Some(Err(kind))) if error.kind() == kind => {}
            // Nothing is there, and what it would start with does not fit.
            (Err(error), _) if too_large && error.kind() == ErrorKind::NumberOverflow => {
                self.observe(key, false);
            }
            (Err(error), _) => self.check_refusal(&error, 20),
            (Ok(Some(number)), Some(Ok((expected, text)))) if number == expected => {
                let item = self.twin.changed(&old.expect("there is something to count from"), text);
                self.put(key, item);
            }
            // It was not there: made from what it starts with, or left alone.
            (Ok(number), _) => {
                self.observe(key, false);
                assert_eq!(number, initial, "{key:?}");
                if let Some(first) = number {
                    let expiry = counting.ttl_ms.map_or(Expiry::Default, Expiry::In);
                    let item = self.twin.make(first.to_string().into_bytes(), &Options { expiry, ..PLAIN }, None);
                    self.put(key, item);
                }
            }
        }
    }

    pub(crate) fn update(&mut self, effects: &[(Key, Effect)]) {
        // All in one namespace: that of the first.
        let Some(&(Key { space, .. }, _)) = effects.first() else {
            return self.cache(0).update(&[] as &[&[u8]], |_| ()).expect("an update of nothing");
        };
        let keys: Vec<Key> = effects.iter().map(|&(key, _)| Key { space, ..key }).collect();
        let bytes: Vec<Vec<u8>> = keys.iter().map(|key| key.bytes()).collect();
        let options: Vec<_> = keys.iter().zip(effects).map(|(&key, (_, effect))| self.stored_as(key, effect)).collect();
        let mut seen = Vec::new();
        let result = self.cache(space).update(&bytes, |update| {
            seen = (0..bytes.len()).map(|i| update.get(i).map(|v| (v.to_vec(), update.metadata(i)))).collect();
            assert!(update.get(bytes.len()).is_none());
            for (i, (_, effect)) in effects.iter().enumerate() {
                match effect {
                    Effect::Leave => {}
                    Effect::Store(value, _) => {
                        update.set_with(i, &value.bytes(), &options[i]);
                        assert_eq!(update.get(i), Some(&value.bytes()[..]));
                    }
                    Effect::Remove => {
                        update.remove(i);
                        assert_eq!(update.get(i), None);
                    }
                }
            }
        });
        if keys.iter().collect::<BTreeSet<_>>().len() < keys.len() {
            return assert_eq!(result.unwrap_err().kind(), ErrorKind::DuplicateKey);
        }
        for (&key, seen) in keys.iter().zip(&seen) {
            self.observe_value(key, seen.as_ref().map(|(value, _)| &value[..]));
            if let Some((_, metadata)) = seen {
                self.twin.check_metadata(key, &metadata.expect("what has a value has metadata"));
            }
        }
        match result {
            Ok(()) => self.apply_effects(&keys, effects),
            Err(error) => {
                let len = |effect: &Effect| if let Effect::Store(value, _) = effect { value.bytes().len() } else { 0 };
                self.check_refusal(&error, effects.iter().map(|(_, effect)| len(effect)).sum());
            }
        }
    }

    fn stored_as(&self, key: Key, effect: &Effect) -> larder::SetOptions {
        match effect {
            Effect::Store(_, options) => self.options(key, options),
            _ => larder::SetOptions::new(),
        }
    }

    fn apply_effects(&mut self, keys: &[Key], effects: &[(Key, Effect)]) {
        for (&key, (_, effect)) in keys.iter().zip(effects) {
            match effect {
                Effect::Leave => {}
                Effect::Store(value, options) => {
                    let old = self.twin.items.get(&key).cloned();
                    let item = self.twin.make(value.bytes(), options, old.as_ref());
                    self.twin.items.insert(key, item);
                }
                Effect::Remove => drop(self.twin.items.remove(&key)),
            }
        }
        self.twin.settle();
    }

    pub(crate) fn reservation(&mut self, op: &Op) {
        match *op {
            Op::Reserve(key, value, options) => self.reserve(key, value, options),
            Op::Write(which, len) if !self.pending.is_empty() => {
                let which = which % self.pending.len();
                let pending = &mut self.pending[which];
                let end = (pending.written + len).min(pending.value.len());
                pending.reservation.write(&pending.value[pending.written..end]).expect("there is room for it");
                pending.written = end;
                assert_eq!(pending.reservation.missing(), pending.value.len() - end);
                let too_much = vec![0; pending.reservation.missing() + 1];
                assert_eq!(pending.reservation.write(&too_much).unwrap_err().kind(), ErrorKind::ItemTooLarge);
            }
            Op::Publish(which) if !self.pending.is_empty() => {
                let pending = self.pending.swap_remove(which % self.pending.len());
                self.publish(pending);
            }
            Op::Abandon(which) if !self.pending.is_empty() => {
                self.pending.swap_remove(which % self.pending.len());
            }
            _ => {}
        }
    }

    fn reserve(&mut self, key: Key, value: Value, mut options: Options) {
        if self.pending.len() == MOST_PENDING {
            return;
        }
        // The token that is meant is looked up now and would be another one by the time of publication.
        if matches!(options.condition, Condition::Token(_)) {
            options.condition = Condition::Always;
        }
        // The point in time is fixed now as well.
        if let Expiry::At(_) = options.expiry {
            options.expiry = Expiry::Never;
        }
        let value = value.bytes();
        let set = self.options(key, &options);
        match self.cache(key.space).reserve(&key.bytes(), value.len(), &set) {
            Ok(reservation) => self.pending.push(Pending { reservation, key, value, written: 0, options }),
            Err(error) => self.check_refusal(&error, value.len()),
        }
    }

    /// Half of the reservations are published as they are, the others are filled first.
    fn publish(&mut self, mut pending: Pending) {
        if pending.key.number.is_multiple_of(2) {
            pending.reservation.write(&pending.value[pending.written..]).expect("there is room for it");
            pending.written = pending.value.len();
        }
        let Pending { reservation, key, value, written, options } = pending;
        let result = reservation.publish();
        if written < value.len() {
            return assert_eq!(result.unwrap_err().kind(), ErrorKind::ItemTooLarge);
        }
        self.after_set_with(key, value, &options, None, result);
    }
}
