//! Sequences of operations on a cache of toy size, checked against a plain map ([`twin`]).
//!
//! ```text
//!  bytes ─► Setup (policy, shards, limit) + [Op, Op, ...] ─► cache ─┐
//!                                                       └──► twin ──┴─► same answers?
//! ```
//! Pages of 1 KiB and a limit of 64 to 128 KiB, so that a few dozen bytes of input reach eviction, page moves, growth
//! and shrinking. Time and maintenance are the input's: nothing happens that it does not say.
#![no_main]

mod twin;

use std::time::Duration;

use arbitrary::Arbitrary;
use larder::{
    Automove, Cache, CasOutcome, Cursor, EvictionPolicy, Guard, Maintenance, ManualClock, Objective, SetOptions,
};
use libfuzzer_sys::fuzz_target;
use twin::{Answer, Key, Twin, key_bytes, value_bytes};

/// Operations between two checks of every invariant.
const CHECK_EVERY: usize = 64;
/// Guards held at once; past eight they are copies.
const GUARDS_MAX: usize = 12;
const MAX_ITEM: usize = 20_000;

#[derive(Debug, Arbitrary)]
struct Setup {
    policy: u8,
    shards: u8,
    limit_kib: u8,
    seed: u8,
}

/// A lifetime.
#[derive(Debug, Clone, Copy, Arbitrary)]
enum Life {
    Default,
    Ttl(u8),
    Deadline(u16),
    Keep,
    Never,
}

/// What must hold for a value to be stored.
#[derive(Debug, Clone, Copy, Arbitrary)]
enum If {
    Always,
    Absent,
    Present,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
struct Value {
    fill: u8,
    len: u16,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Op {
    Set { key: Key, value: Value, life: Life, flags: u8, condition: If, tags: u8 },
    Fill { from: Key, count: u8, value: Value },
    Get(Key),
    Peek(Key),
    Hold(Key),
    LetGo(u8),
    GetMany(Key, u8),
    Metadata(Key),
    Remove(Key),
    Take(Key),
    Append { key: Key, value: Value, before: bool },
    SetNumber { key: Key, number: u32 },
    Count { key: Key, by: u16, down: bool },
    Swap { key: Key, value: Value, meddle: bool },
    Touch { key: Key, ttl: u8 },
    Persist(Key),
    Reserve { key: Key, value: Value, publish: bool },
    Update { from: Key, to: Key },
    Scan { other: bool, count: u8 },
    Retain { other: bool, bit: u8 },
    Clear { other: bool },
    Tag { other: bool, tag: u8 },
    Prefix { other: bool, first: u8 },
    ClearAll,
    Advance(u16),
    Maintain,
    Limit(u8),
    Policy(u8, bool),
    Automove(u8),
    Reassign(u8, u8),
    Check,
}

fn policy(n: u8) -> EvictionPolicy {
    EvictionPolicy::ALL[usize::from(n) % EvictionPolicy::ALL.len()]
}

fn limit(kib: u8) -> u64 {
    (64 + u64::from(kib) % 65) << 10
}

/// A cache, its twin, and the guards that are held.
struct Run<'a> {
    /// Two namespaces of one cache.
    spaces: &'a [Cache; 2],
    clock: ManualClock,
    twin: Twin,
    guards: Vec<(Guard<'a>, Vec<u8>)>,
}

impl<'a> Run<'a> {
    fn space(&self, key: Key) -> &'a Cache {
        &self.spaces[usize::from(key.other)]
    }

    /// Items that have left without being asked to.
    fn lost(&self) -> u64 {
        let stats = self.spaces[0].stats();
        stats.evictions + stats.turned_away
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Set { .. } | Op::Fill { .. } | Op::SetNumber { .. } | Op::Reserve { .. } => self.store(op),
            Op::Append { .. } | Op::Count { .. } | Op::Swap { .. } | Op::Update { .. } => self.change(op),
            Op::Get(_) | Op::Peek(_) | Op::Hold(_) | Op::LetGo(_) | Op::GetMany(..) | Op::Metadata(_) => self.look(op),
            Op::Remove(_) | Op::Take(_) | Op::Touch { .. } | Op::Persist(_) => self.act(op),
            Op::Scan { .. } | Op::Retain { .. } | Op::Clear { .. } | Op::ClearAll => self.all(op),
            Op::Tag { .. } | Op::Prefix { .. } => self.all(op),
            Op::Advance(_)
            | Op::Maintain
            | Op::Limit(_)
            | Op::Policy(..)
            | Op::Automove(_)
            | Op::Reassign(..)
            | Op::Check => self.tend(op),
        }
        let lost = self.lost();
        self.twin.after_step(lost);
    }

    fn set(&mut self, key: Key, value: &[u8], life: Life, flags: u8, condition: If, tags: u8) {
        let now = self.twin.now_ms;
        let options = SetOptions::new().flags(flags.into());
        // Up to 8 tags.
        let options = options.tags((0..8).filter(|bit| tags >> bit & 1 == 1).map(|bit| [bit]));
        let (options, deadline) = match life {
            Life::Default => (options, None),
            Life::Ttl(ms) => (options.ttl(Duration::from_millis(ms.into())), Some(now + u64::from(ms))),
            Life::Deadline(ms) => (options.deadline_ms(now + u64::from(ms)), Some(now + u64::from(ms))),
            Life::Keep => (options.keep_ttl(), None),
            Life::Never => (options.never(), None),
        };
        let options = match condition {
            If::Always => options,
            If::Absent => options.if_absent(),
            If::Present => options.if_present(),
        };
        let Ok(outcome) = self.space(key).set_with(&key_bytes(key), value, &options) else { return };
        let lost = self.lost();
        self.twin.presence(key, outcome.existed, lost);
        if !outcome.stored {
            let refused = match condition {
                If::Always => false,
                If::Absent => outcome.existed,
                If::Present => !outcome.existed,
            };
            assert!(refused || lost > self.twin.lost, "not stored, and nobody says why: {key:?}");
            return;
        }
        let deadline = if let Life::Keep = life { self.twin.deadline(key) } else { deadline };
        self.twin.put(key, value.to_vec(), deadline, flags.into());
        self.twin.with(key, |item| item.tags = tags);
    }

    fn store(&mut self, op: Op) {
        match op {
            Op::Set { key, value, life, flags, condition, tags } => {
                self.set(key, &value_bytes(value.fill, value.len), life, flags, condition, tags);
            }
            Op::Fill { from, count, value } => {
                for i in 0..u16::from(count % 64) {
                    let key = Key { number: from.number.wrapping_add(i), ..from };
                    let bytes = value_bytes(value.fill.wrapping_add(i as u8), value.len % 512);
                    self.set(key, &bytes, Life::Default, 0, If::Always, 0);
                    let lost = self.lost();
                    self.twin.after_step(lost);
                }
            }
            Op::SetNumber { key, number } => {
                self.set(key, number.to_string().as_bytes(), Life::Default, 0, If::Always, 0);
            }
            Op::Reserve { key, value, publish } => {
                let bytes = value_bytes(value.fill, value.len);
                let reserved = self.space(key).reserve(&key_bytes(key), bytes.len(), &SetOptions::new());
                let Ok(mut reservation) = reserved else { return };
                let (first, second) = bytes.split_at(bytes.len() / 3);
                assert!(reservation.write(first).is_ok() && reservation.write(second).is_ok());
                assert!(reservation.write(b"x").is_err() && reservation.missing() == 0);
                if publish && reservation.publish().is_ok_and(|outcome| outcome.stored) {
                    self.twin.put(key, bytes, None, 0);
                }
            }
            _ => {}
        }
    }

    fn change(&mut self, op: Op) {
        match op {
            Op::Append { key, value, before } => {
                let bytes = value_bytes(value.fill, value.len % 2048);
                let (cache, name) = (self.space(key), key_bytes(key));
                let done = if before { cache.prepend(&name, &bytes) } else { cache.append(&name, &bytes) };
                let Ok(done) = done else { return };
                self.twin.presence(key, done, self.lost());
                self.twin.with(key, |item| {
                    let parts: [&[u8]; 2] = if before { [&bytes, &item.value] } else { [&item.value, &bytes] };
                    item.value = parts.concat();
                });
            }
            Op::Count { key, by, down } => self.count(key, by.into(), down),
            Op::Swap { key, value, meddle } => self.swap(key, value, meddle),
            Op::Update { from, to } => {
                let names = [key_bytes(from), key_bytes(to)];
                let moved = self.space(from).update(&names, |update| {
                    let value = update.get(0)?.to_vec();
                    update.set(1, &value);
                    update.remove(0);
                    Some(value)
                });
                let to = Key { other: from.other, ..to };
                match moved {
                    Ok(Some(value)) => {
                        self.twin.answer(from, Answer::Value(&value), self.lost());
                        self.twin.remove(from);
                        self.twin.put(to, value, None, 0);
                    }
                    Ok(None) => self.twin.presence(from, false, self.lost()),
                    Err(_) => {}
                }
            }
            _ => {}
        }
    }

    fn count(&mut self, key: Key, by: u64, down: bool) {
        let (cache, name) = (self.space(key), key_bytes(key));
        let before = self.twin.value(key).map(|value| String::from_utf8_lossy(value).parse::<u64>());
        let result = if down { cache.decrement(&name, by) } else { cache.increment(&name, by) };
        match result {
            Ok(None) => self.twin.presence(key, false, self.lost()),
            Ok(Some(number)) => {
                let Some(Ok(old)) = before else { panic!("counted to {number} from {before:?}") };
                assert_eq!(number, if down { old.saturating_sub(by) } else { old.wrapping_add(by) });
                let stored = cache.peek(&name).ok().flatten().map(|value| value.to_vec());
                if let Some(stored) = stored {
                    assert_eq!(String::from_utf8_lossy(&stored).trim_end().parse(), Ok(number));
                    self.twin.with(key, |item| item.value = stored);
                } else {
                    self.twin.presence(key, false, self.lost());
                }
            }
            Err(_) => {}
        }
    }

    fn swap(&mut self, key: Key, value: Value, meddle: bool) {
        let (cache, name) = (self.space(key), key_bytes(key));
        let Ok(Some((guard, token))) = cache.get_with_token(&name) else { return };
        self.twin.answer(key, Answer::Value(&guard), self.lost());
        drop(guard);
        if meddle {
            self.set(key, b"meddled", Life::Default, 0, If::Always, 0);
        }
        let bytes = value_bytes(value.fill, value.len);
        match cache.compare_and_swap(&name, &bytes, token) {
            Ok(CasOutcome::Stored(_)) => {
                let changed = meddle && self.twin.value(key).is_some_and(|value| value == b"meddled");
                assert!(!changed, "an old token was taken");
                self.twin.put(key, bytes, None, 0);
            }
            Ok(CasOutcome::Missing) => self.twin.presence(key, false, self.lost()),
            Ok(_) => assert!(meddle, "a fresh token was refused"),
            Err(_) => {}
        }
    }

    fn look(&mut self, op: Op) {
        match op {
            Op::Get(key) | Op::Peek(key) => {
                let (cache, name) = (self.space(key), key_bytes(key));
                let guard = if matches!(op, Op::Get(_)) { cache.get(&name) } else { cache.peek(&name) };
                let Ok(guard) = guard else { return };
                self.twin.answer(key, guard.as_deref().map_or(Answer::Missing, Answer::Value), self.lost());
            }
            Op::Hold(key) => {
                let Ok(Some(guard)) = self.space(key).get(&key_bytes(key)) else { return };
                self.twin.answer(key, Answer::Value(&guard), self.lost());
                if self.guards.len() < GUARDS_MAX {
                    let bytes = guard.to_vec();
                    self.guards.push((guard, bytes));
                }
            }
            Op::LetGo(n) if !self.guards.is_empty() => {
                let (guard, bytes) = self.guards.swap_remove(usize::from(n) % self.guards.len());
                assert_eq!(&*guard, &bytes[..], "bytes changed under a guard");
            }
            Op::GetMany(from, count) => {
                let keys: Vec<Key> =
                    (0..u16::from(count % 32)).map(|i| Key { number: from.number.wrapping_add(i), ..from }).collect();
                let names: Vec<Vec<u8>> = keys.iter().map(|&key| key_bytes(key)).collect();
                let mut found = Vec::new();
                self.space(from).get_many(&names, |i, value| found.push((keys[i], value.map(<[u8]>::to_vec))));
                assert_eq!(found.len(), keys.len());
                for (key, value) in found {
                    self.twin.answer(key, value.as_deref().map_or(Answer::Missing, Answer::Value), self.lost());
                }
            }
            Op::Metadata(key) => match self.space(key).metadata(&key_bytes(key)) {
                Some(m) => self.twin.answer(key, Answer::About(m.size, m.deadline_ms, m.flags), self.lost()),
                None => self.twin.presence(key, false, self.lost()),
            },
            _ => {}
        }
    }

    fn act(&mut self, op: Op) {
        match op {
            Op::Remove(key) => {
                let removed = self.space(key).remove(&key_bytes(key));
                self.twin.presence(key, removed, self.lost());
                self.twin.remove(key);
            }
            Op::Take(key) => {
                let taken = self.space(key).take(&key_bytes(key));
                self.twin.answer(key, taken.as_deref().map_or(Answer::Missing, Answer::Value), self.lost());
                self.twin.remove(key);
            }
            Op::Touch { key, ttl } => {
                let touched = self.space(key).touch(&key_bytes(key), Duration::from_millis(ttl.into()));
                let Ok(touched) = touched else { return };
                self.twin.presence(key, touched, self.lost());
                let deadline = Some(self.twin.now_ms + u64::from(ttl));
                self.twin.with(key, |item| item.deadline = deadline);
            }
            Op::Persist(key) => {
                if self.space(key).persist(&key_bytes(key)) {
                    self.twin.presence(key, true, self.lost());
                    assert!(self.twin.deadline(key).is_some(), "nothing to persist");
                } else if self.twin.deadline(key).is_some() {
                    self.twin.presence(key, false, self.lost());
                }
                self.twin.with(key, |item| item.deadline = None);
            }
            _ => {}
        }
    }

    fn all(&mut self, op: Op) {
        match op {
            Op::Scan { other, count } => {
                let (cache, mut names) = (&self.spaces[usize::from(other)], Vec::new());
                let mut cursor = Some(Cursor::START);
                while let Some(from) = cursor {
                    let (entries, next) = cache.scan(from, 1 + usize::from(count % 16));
                    names.extend(entries.into_iter().map(|entry| entry.key.to_vec()));
                    cursor = next;
                }
                self.twin.scanned(other, &names);
            }
            Op::Retain { other, bit } => {
                let keep = |value: &[u8]| value.first().is_none_or(|first| first >> (bit % 8) & 1 == 0);
                self.spaces[usize::from(other)].retain(|_, value, _| keep(value));
                self.twin.retain(other, keep);
            }
            Op::Clear { other } => {
                self.spaces[usize::from(other)].clear();
                self.twin.retain(other, |_| false);
            }
            Op::Tag { other, tag } => {
                self.spaces[usize::from(other)].invalidate_tag([tag % 8]);
                self.twin.invalidate(other, |_, item| item.tags >> (tag % 8) & 1 == 1);
            }
            Op::Prefix { other, first } => {
                self.spaces[usize::from(other)].invalidate_prefix(&[first]).run();
                self.twin.invalidate(other, |name, _| name[0] == first);
            }
            Op::ClearAll => {
                self.spaces[0].clear_all();
                self.twin.retain(false, |_| false);
                self.twin.retain(true, |_| false);
            }
            _ => {}
        }
    }

    fn tend(&mut self, op: Op) {
        let cache = &self.spaces[0];
        match op {
            Op::Advance(ms) => {
                self.clock.advance(Duration::from_millis(ms.into()));
                self.twin.now_ms += u64::from(ms);
            }
            Op::Maintain => drop(cache.run_maintenance(Duration::from_millis(1))),
            // A limit that cannot be had changes nothing.
            Op::Limit(kib) => drop(cache.set_max_memory(limit(kib))),
            Op::Policy(n, bytes) => {
                cache.set_policy(policy(n), if bytes { Objective::Bytes } else { Objective::Hits });
            }
            Op::Automove(n) => {
                cache.set_automove([Automove::Off, Automove::Slow, Automove::Always][usize::from(n % 3)])
            }
            Op::Reassign(from, to) => drop(cache.reassign_page(from.into(), to.into())),
            Op::Check => cache.check_invariants(),
            _ => {}
        }
    }
}

fuzz_target!(|input: (Setup, Vec<Op>)| {
    let (setup, ops) = input;
    let clock = ManualClock::new(1_000_000);
    let built = Cache::builder()
        .max_memory(limit(setup.limit_kib))
        .address_space(8 << 20)
        .page_size(1024)
        .chunk_size(32)
        .max_item_size(MAX_ITEM)
        .shards(1 << (setup.shards % 3))
        .policy(policy(setup.policy))
        .seed(setup.seed.into())
        .clock(clock.clone())
        .maintenance(Maintenance::Manual)
        .build();
    let Ok(cache) = built else { panic!("settings that are allowed were refused: {:?}", built.err()) };
    let spaces = [cache.namespace(0), cache.namespace(1)];
    let mut run = Run { spaces: &spaces, clock, twin: Twin::new(1_000_000), guards: Vec::new() };
    for (i, op) in ops.into_iter().enumerate() {
        run.step(op);
        if i % CHECK_EVERY == 0 {
            cache.check_invariants();
        }
    }
    for (guard, bytes) in &run.guards {
        assert_eq!(&**guard, &bytes[..], "bytes changed under a guard");
    }
    cache.check_invariants();
});
