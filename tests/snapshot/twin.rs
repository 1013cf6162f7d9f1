//! Random operations, drawn from a seed, with the steps of a snapshot in between, and a clock driven by hand. The cache
//! that is restored holds exactly what the other held at the cut, as a plain map remembers it, or, where items are
//! evicted, as a walk over the cache finds it at the cut.

use super::{Rng, State, finish, manual, one_thread, state_of};
use larder::snapshot::{SnapshotOptions, SnapshotRun};
use larder::{Cache, EvictionPolicy, Kind, ManualClock, SetOptions};
use std::collections::BTreeMap;
use std::time::Duration;

const NAMESPACES: u8 = 3;

/// What the map remembers of an item: all of it, and the tags.
#[derive(Debug, Clone)]
struct Item {
    value: Vec<u8>,
    flags: u32,
    kind: Kind,
    deadline: Option<u64>,
    tags: Vec<u8>,
}

type Twin = BTreeMap<(u8, Vec<u8>), Item>;

struct Case {
    rng: Rng,
    clock: ManualClock,
    cache: Cache,
    twin: Twin,
    /// Whether items are evicted, so that the map cannot know.
    evicts: bool,
    keys: u64,
    longest: u64,
    /// The snapshot under way, and what has come of it.
    run: Option<(SnapshotRun, Vec<u8>)>,
}

impl Case {
    fn new(seed: u64, policy: EvictionPolicy, evicts: bool) -> Case {
        let mut rng = Rng(seed);
        let clock = ManualClock::new(1_000_000);
        let (memory, keys, longest) = match (evicts, rng.below(3)) {
            (true, 0) => (128 << 10, 400, 900),
            (true, _) => (1 << 20, 3_000, 900),
            (false, 0) => (8 << 20, 60, 12_000),
            (false, 1) => (8 << 20, 4_000, 40),
            (false, _) => (8 << 20, 500, 700),
        };
        let shards = if evicts { 1 } else { 1 << rng.below(3) };
        let builder = manual(memory, &clock).policy(policy).page_size(1 << 10 << rng.below(2)).shards(shards);
        let cache = builder.tokens(rng.one_in(2)).build().unwrap();
        Case { rng, clock, cache, twin: Twin::new(), evicts, keys, longest, run: None }
    }

    fn now(&self) -> u64 {
        self.cache.now_ms()
    }

    fn key(&mut self) -> (u8, Vec<u8>) {
        let number = self.rng.below(self.keys);
        let namespace = if number.is_multiple_of(5) { (number % u64::from(NAMESPACES)) as u8 } else { 0 };
        (namespace, format!("key {number}").into_bytes())
    }

    fn value(&mut self) -> Vec<u8> {
        let len = self.rng.below(self.longest);
        vec![self.rng.next() as u8; len as usize]
    }

    fn set(&mut self) {
        let ((namespace, key), value) = (self.key(), self.value());
        let mut options = SetOptions::new();
        let mut item = Item { value, flags: 0, kind: Kind::String, deadline: None, tags: Vec::new() };
        if self.rng.one_in(3) {
            let ttl = 1 + self.rng.below(5_000);
            options = options.ttl(Duration::from_millis(ttl));
            item.deadline = Some(self.now() + ttl);
        }
        if self.rng.one_in(4) {
            item.flags = self.rng.next() as u32;
            options = options.flags(item.flags);
        }
        if self.rng.one_in(6) {
            item.kind = Kind::SortedSet;
            options = options.kind(item.kind);
        }
        if self.rng.one_in(3) {
            item.tags = (0..1 + self.rng.below(3)).map(|_| self.rng.below(6) as u8).collect();
            options = options.tags(item.tags.iter().map(|tag| [*tag]));
        }
        self.cache.namespace(namespace).set_with(&key, &item.value, &options).unwrap();
        self.twin.insert((namespace, key), item);
    }

    /// Takes what waits in the buffer, so that no write is held up.
    fn make_way(&mut self) {
        if let Some((run, out)) = &mut self.run {
            while run.progress().buffer_waiting * 4 >= run.progress().buffer_bytes {
                run.step(out).unwrap();
            }
        }
    }

    fn step(&mut self) {
        self.make_way();
        match self.rng.below(100) {
            0..50 => self.set(),
            50..62 => {
                let (namespace, key) = self.key();
                self.cache.namespace(namespace).remove(&key);
                self.twin.remove(&(namespace, key));
            }
            62..70 => {
                let (namespace, key) = self.key();
                let ttl = 1 + self.rng.below(5_000);
                let end = self.now() + ttl;
                self.cache.namespace(namespace).touch(&key, Duration::from_millis(ttl)).unwrap();
                let now = self.now();
                if let Some(item) = self.twin.get_mut(&(namespace, key)).filter(|item| !item.is_over(now)) {
                    item.deadline = Some(end);
                }
            }
            70..73 => {
                let (namespace, key) = self.key();
                self.cache.namespace(namespace).persist(&key);
                let now = self.now();
                if let Some(item) = self.twin.get_mut(&(namespace, key)).filter(|item| !item.is_over(now)) {
                    item.deadline = None;
                }
            }
            73..79 => {
                let (namespace, key) = self.key();
                self.cache.namespace(namespace).append(&key, b"more").unwrap();
                let now = self.now();
                if let Some(item) = self.twin.get_mut(&(namespace, key)).filter(|item| !item.is_over(now)) {
                    item.value.extend_from_slice(b"more");
                }
            }
            79..88 => self.clock.advance(Duration::from_millis(self.rng.below(300))),
            88..93 => {
                self.cache.run_maintenance(Duration::from_millis(50));
            }
            93..95 => {
                let tag = self.rng.below(6) as u8;
                let namespace = self.rng.below(2) as u8;
                self.cache.namespace(namespace).invalidate_tag([tag]);
                self.twin.retain(|(of, _), item| *of != namespace || !item.tags.contains(&tag));
            }
            95 => {
                let namespace = self.rng.below(NAMESPACES.into()) as u8;
                self.cache.namespace(namespace).clear();
                self.twin.retain(|(of, _), _| *of != namespace);
            }
            96 => {
                let prefix = format!("key {}", self.rng.below(10));
                let mut gone = self.cache.invalidate_prefix(prefix.as_bytes());
                while gone.step() {
                    self.make_way();
                }
                self.twin.retain(|(of, key), _| *of != 0 || !key.starts_with(prefix.as_bytes()));
            }
            97 => {
                let classes = self.cache.classes().len() as u64;
                let (from, to) = (self.rng.below(classes) as usize, self.rng.below(classes) as usize);
                if from != to && self.evicts {
                    let _ = self.cache.reassign_page(from, to);
                }
            }
            _ => {
                let (namespace, key) = self.key();
                let _ = self.cache.namespace(namespace).get(&key);
            }
        }
    }

    /// What is there now: as the map has it, or as a walk finds it.
    fn expected(&self) -> (State, Twin) {
        let walked = state_of(&self.cache, NAMESPACES);
        let now = self.now();
        let mut twin = self.twin.clone();
        twin.retain(|key, item| !item.is_over(now) && (!self.evicts || walked.contains_key(key)));
        for (key, seen) in &walked {
            let item = &twin[key];
            assert_eq!((&seen.value, seen.flags, seen.kind), (&item.value, item.flags, item.kind));
            assert_eq!(seen.left, item.deadline.map(|end| Duration::from_millis(end - now)));
        }
        assert_eq!(walked.len(), twin.len(), "the map and the cache");
        (walked, twin)
    }
}

impl Item {
    fn is_over(&self, now: u64) -> bool {
        self.deadline.is_some_and(|end| end <= now)
    }
}

/// Compares a restored cache with what was there at the cut, whose deadlines have come nearer by `later`.
fn compare(restored: &Cache, mut expected: State, mut twin: Twin, later: Duration) {
    expected.retain(|_, seen| seen.left.is_none_or(|left| left > later));
    expected.values_mut().for_each(|seen| seen.left = seen.left.map(|left| left - later));
    let found = state_of(restored, NAMESPACES);
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    assert!(found == expected, "an item differs");
    restored.check_invariants();
    // The tags came too.
    twin.retain(|key, _| expected.contains_key(key));
    for tag in 0..6u8 {
        restored.invalidate_tag([tag]);
        twin.retain(|(namespace, _), item| *namespace != 0 || !item.tags.contains(&tag));
        let left = state_of(restored, NAMESPACES);
        assert_eq!(left.keys().collect::<Vec<_>>(), twin.keys().collect::<Vec<_>>(), "without tag {tag}");
    }
}

fn play(seed: u64, policy: EvictionPolicy, evicts: bool) {
    let mut case = Case::new(seed, policy, evicts);
    for round in 0..3 {
        for _ in 0..case.rng.below(2_500) {
            case.step();
        }
        let options = SnapshotOptions::new().writers_wait(Duration::ZERO);
        let run = case.cache.begin_snapshot(&options).unwrap();
        // Some had to leave for the buffer, before the cut.
        let (state, twin) = case.expected();
        let begun = case.now();
        case.run = Some((run, Vec::new()));
        for _ in 0..case.rng.below(700) {
            case.step();
            let steps = case.rng.below(6);
            if let Some((run, out)) = &mut case.run {
                for _ in 0..steps {
                    run.step(out).unwrap();
                }
            }
        }
        case.cache.check_invariants();
        let (run, out) = case.run.take().unwrap();
        let storage = finish(run, out);
        case.cache.check_invariants();
        let others = [EvictionPolicy::Default, EvictionPolicy::AllkeysLfu, policy, EvictionPolicy::NoEviction];
        let builder = manual(16 << 20, &case.clock).seed(seed + 99).policy(others[(round + seed as usize) % 4]);
        let restored = builder.shards(1 << case.rng.below(3)).build().unwrap();
        restored.set(b"key 1", b"goes").unwrap();
        let threads = 1 + case.rng.below(2) as usize;
        restored.restore_from(&storage, "s", &one_thread().threads(threads)).unwrap();
        compare(&restored, state, twin, Duration::from_millis(case.now() - begun));
    }
}

/// How many seeds: more by `LARDER_SNAPSHOT_SEEDS`.
fn seeds(usual: u64) -> u64 {
    std::env::var("LARDER_SNAPSHOT_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

#[test]
fn what_is_restored_is_what_was_there_at_the_cut() {
    for seed in 0..seeds(24) {
        play(seed, EvictionPolicy::ALL[seed as usize % EvictionPolicy::ALL.len()], false);
    }
}

#[test]
fn also_while_items_are_evicted() {
    let evicting: Vec<EvictionPolicy> =
        EvictionPolicy::ALL.into_iter().filter(|p| !p.is_volatile() && *p != EvictionPolicy::NoEviction).collect();
    for seed in 0..seeds(24) {
        play(seed, evicting[seed as usize % evicting.len()], true);
    }
}

#[test]
fn a_tag_that_was_invalidated_before_and_after_the_cut() {
    let cache = manual(1 << 20, &ManualClock::new(1_000_000)).build().unwrap();
    let tagged = SetOptions::new().tags([b"t"]);
    cache.set_with(b"gone before", b"v", &tagged).unwrap();
    cache.invalidate_tag(b"t");
    cache.set_with(b"there", b"v", &tagged).unwrap();
    let run = cache.begin_snapshot(&SnapshotOptions::new()).unwrap();
    cache.invalidate_tag(b"t");
    cache.set_with(b"later", b"v", &tagged).unwrap();
    let storage = finish(run, Vec::new());
    let restored = Cache::new(1 << 20).unwrap();
    restored.restore_from(&storage, "s", &one_thread()).unwrap();
    let keys: Vec<Vec<u8>> = state_of(&restored, 1).into_keys().map(|(_, key)| key).collect();
    assert_eq!(keys, [b"there"]);
}

#[test]
fn a_time_to_idle_goes_on_from_the_last_use() {
    let clock = ManualClock::new(1_000_000);
    let cache = manual(1 << 20, &clock).build().unwrap();
    let idle = SetOptions::new().time_to_idle(Duration::from_secs(10));
    cache.set_with(b"used", b"v", &idle).unwrap();
    cache.set_with(b"idle", b"v", &idle).unwrap();
    clock.advance(Duration::from_secs(6));
    assert!(cache.get(b"used").unwrap().is_some());
    let storage = finish(cache.begin_snapshot(&SnapshotOptions::new()).unwrap(), Vec::new());
    cache.restore_from(&storage, "s", &one_thread()).unwrap();
    clock.advance(Duration::from_secs(5));
    assert!(cache.contains(b"used") && !cache.contains(b"idle"));
}
