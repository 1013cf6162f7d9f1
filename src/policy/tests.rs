//! All policies under random use, against a plain store; and what each one promises about its victims.

use std::cell::Cell;

use super::sample::Rng;
use super::*;

/// Items in a vector, with deadlines for some. A bucket is five places that begin at a multiple of five.
#[derive(Debug, Default)]
struct Shelf {
    places: Vec<Option<Item>>,
    used: u64,
    capacity: u64,
    volatile: bool,
    births: u64,
}

#[derive(Debug, Clone)]
struct Item {
    hash: u64,
    size: u32,
    bits: Cell<Bits>,
    deadline: Option<u64>,
    birth: u64,
}

type Place = (usize, u64);

impl Shelf {
    fn new(capacity: u64, volatile: bool) -> Self {
        Shelf { capacity, volatile, ..Shelf::default() }
    }

    fn put(&mut self, hash: u64, size: u32, bits: Bits, deadline: Option<u64>) {
        self.births += 1;
        self.used += u64::from(size);
        let item = Item { hash, size, bits: Cell::new(bits), deadline, birth: self.births };
        match self.places.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(item),
            None => self.places.push(Some(item)),
        }
    }

    fn position(&self, hash: u64) -> Option<usize> {
        self.places.iter().position(|place| place.as_ref().is_some_and(|item| item.hash == hash))
    }

    fn item(&self, hash: u64) -> Option<&Item> {
        self.places[self.position(hash)?].as_ref()
    }

    fn take(&mut self, place: usize) -> Item {
        let item = self.places[place].take().unwrap();
        self.used -= u64::from(item.size);
        item
    }

    fn candidate(&self, place: usize) -> Option<Candidate<Place>> {
        let item = self.places.get(place)?.as_ref()?;
        Some(Candidate { handle: (place, item.birth), bits: item.bits.get(), size: item.size })
    }

    fn eligible(&self) -> impl Iterator<Item = &Item> {
        self.places.iter().flatten().filter(|item| item.deadline.is_some() || !self.volatile)
    }
}

impl Store for Shelf {
    type Handle = Place;

    fn items(&self) -> u64 {
        self.places.iter().flatten().count() as u64
    }

    fn used(&self) -> u64 {
        self.used
    }

    fn capacity(&self) -> u64 {
        self.capacity
    }

    fn largest(&self) -> u32 {
        self.places.iter().flatten().map(|item| item.size).max().unwrap_or(1)
    }

    fn buckets(
        &self,
        at: u64,
        count: u64,
        mut wanted: impl FnMut(Bits) -> bool,
        mut each: impl FnMut(Candidate<Place>),
    ) {
        let buckets = self.places.len().div_ceil(5).max(1);
        let shown = |place: &usize| {
            self.places.get(*place).and_then(Option::as_ref).is_some_and(|i| i.deadline.is_some() || !self.volatile)
        };
        for at in (0..count).map(|i| at.wrapping_add(i)) {
            let bucket = (mix(at) % buckets as u64) as usize;
            let shown = (5 * bucket..5 * bucket + 5).filter(shown).filter_map(|place| self.candidate(place));
            shown.filter(|candidate| wanted(candidate.bits)).for_each(&mut each);
        }
    }

    fn get(&self, handle: Place) -> Option<Candidate<Place>> {
        self.candidate(handle.0).filter(|candidate| candidate.handle == handle)
    }

    fn find(&self, hash: u64, same: impl Fn(Bits) -> bool) -> Option<Candidate<Place>> {
        self.candidate(self.position(hash)?).filter(|candidate| same(candidate.bits))
    }

    fn set_bits(&self, handle: Place, from: Bits, to: Bits) -> bool {
        assert!(to < 1 << POLICY_BITS);
        let same = self.get(handle).is_some_and(|candidate| candidate.bits == from);
        if let (true, Some(item)) = (same, &self.places[handle.0]) {
            item.bits.set(to);
        }
        same
    }

    fn deadline(&self, handle: Place) -> Option<u64> {
        self.get(handle).and_then(|_| self.places[handle.0].as_ref()?.deadline)
    }

    fn soonest(&self, mut each: impl FnMut(Candidate<Place>, u64)) {
        let first = (0..self.places.len())
            .filter_map(|place| Some((self.places[place].as_ref()?.deadline?, place)))
            .min()
            .and_then(|(deadline, place)| Some((self.candidate(place)?, deadline)));
        if let Some((candidate, deadline)) = first {
            each(candidate, deadline);
        }
    }
}

/// A shard in small: the order of calls that the engine makes.
struct Rig {
    shelf: Shelf,
    shared: Shared,
    policy: Policy<Place>,
    inserts: u64,
    turned_away: u64,
}

impl Rig {
    fn new(policy: EvictionPolicy, capacity: u64, seed: u64) -> Self {
        Rig {
            shelf: Shelf::new(capacity, policy.is_volatile()),
            shared: Shared::new(policy, Objective::Hits),
            policy: Policy::new(policy, Objective::Hits, seed),
            inserts: 0,
            turned_away: 0,
        }
    }

    fn hit(&self, hash: u64) -> bool {
        let Some(item) = self.shelf.item(hash) else {
            return false;
        };
        let from = item.bits.get();
        if let Some(to) = self.shared.hit(from) {
            assert!(to < 1 << POLICY_BITS && to != from);
            item.bits.set(to);
            self.shared.applied(from, to, item.size);
        }
        true
    }

    /// Stores a new item; the hashes that left for it, or `None` when it was not stored.
    fn set(&mut self, hash: u64, size: u32, deadline: Option<u64>) -> Option<Vec<u64>> {
        let arrival = self.policy.arriving(&self.shared, hash, size, self.shelf.capacity);
        let mut left = vec![];
        while self.shelf.used + u64::from(size) > self.shelf.capacity {
            match self.policy.victim(&self.shared, &self.shelf, Some(&arrival)) {
                Verdict::Evict(victim) => left.push(self.evict(victim)),
                Verdict::TurnAway => {
                    self.policy.turned_away(&self.shared, &arrival);
                    self.turned_away += 1;
                    return None;
                }
                Verdict::None => return None,
            }
        }
        let bits = self.policy.insert(&self.shared, arrival);
        assert!(bits < 1 << POLICY_BITS);
        self.shelf.put(hash, size, bits, deadline);
        self.inserts += 1;
        if self.inserts.is_multiple_of(MAINTAIN_EVERY) {
            self.maintain();
        }
        Some(left)
    }

    fn maintain(&mut self) {
        let wanted = self.policy.maintain(&self.shared, &self.shelf, 0);
        if wanted > 0 {
            let before = self.policy.memory();
            assert_eq!(self.policy.maintain(&self.shared, &self.shelf, wanted), 0);
            assert!(self.policy.memory() <= before + wanted, "no more than was granted");
        }
    }

    fn evict(&mut self, victim: Candidate<Place>) -> u64 {
        assert_eq!(self.shelf.get(victim.handle).map(|now| now.size), Some(victim.size), "the victim is there");
        let item = self.shelf.take(victim.handle.0);
        assert!(item.deadline.is_some() || !self.shelf.volatile, "the victim is eligible");
        self.policy.evicted(&self.shared, item.hash, item.bits.get(), item.size);
        item.hash
    }

    fn remove(&mut self, hash: u64) {
        if let Some(place) = self.shelf.position(hash) {
            let item = self.shelf.take(place);
            self.policy.removed(&self.shared, item.bits.get(), item.size);
        }
    }

    fn overwrite(&mut self, hash: u64, size: u32) {
        let Some(place) = self.shelf.position(hash) else { return };
        let old = self.shelf.take(place);
        let bits = self.policy.overwritten(&self.shared, hash, old.bits.get(), old.size, size);
        self.shelf.used += u64::from(size);
        self.shelf.places[place] = Some(Item { size, bits: Cell::new(bits), birth: u64::MAX - old.birth, ..old });
    }

    fn check(&self) {
        self.policy.check(&self.shared, &self.shelf);
    }
}

#[test]
fn every_policy_survives_random_use() {
    for policy in EvictionPolicy::ALL {
        for seed in 0..3 {
            let mut rig = Rig::new(policy, 4000, seed);
            let mut rng = Rng::new(seed);
            for step in 0..6_000u64 {
                let hash = mix(rng.next() % 400 % (1 + rng.next() % 400));
                match rng.next() % 10 {
                    0 => rig.remove(hash),
                    1 if rig.shelf.used < 3900 => rig.overwrite(hash, 10 + (rng.next() % 80) as u32),
                    2 => {
                        // Named, but it stays: it must be possible to name it again.
                        rig.policy.victim(&rig.shared, &rig.shelf, None);
                    }
                    _ if !rig.hit(hash) => {
                        let deadline = (rng.next().is_multiple_of(3)).then_some(step);
                        let size = if rng.next().is_multiple_of(50) { 900 } else { 10 + (rng.next() % 80) as u32 };
                        let turned_away = rig.turned_away;
                        let stored = rig.set(hash, size, deadline);
                        let was_none = stored.is_none() && rig.turned_away == turned_away;
                        let refusable = policy == EvictionPolicy::NoEviction
                            || policy.is_volatile()
                            || size == 900 && policy == EvictionPolicy::S3Fifo
                            // Larger than the least share of 4000 bytes that probation can have, 40.
                            || size > 40 && policy == EvictionPolicy::Default && rig.turned_away > turned_away;
                        assert!(stored.is_some() || refusable, "{policy} refused {size} bytes");
                        if was_none && policy.is_volatile() && size < 900 {
                            assert_eq!(rig.shelf.eligible().count(), 0, "{policy} found nobody");
                        }
                    }
                    _ => {}
                }
                if step % 100 == 0 {
                    rig.check();
                }
            }
        }
    }
}

#[test]
fn the_same_seed_chooses_the_same_victims() {
    for policy in EvictionPolicy::ALL {
        let play = |seed| {
            let mut rig = Rig::new(policy, 100, seed);
            (0..1000u64).map(|i| rig.set(mix(i), 1, Some(i))).collect::<Vec<_>>()
        };
        assert_eq!(play(5), play(5), "{policy}");
    }
}

#[test]
fn an_item_that_is_hit_all_the_time_is_not_written() {
    for policy in EvictionPolicy::ALL {
        let mut rig = Rig::new(policy, 100, 1);
        rig.set(1, 1, Some(1));
        let mut writes = 0;
        for _ in 0..1000 {
            let item = rig.shelf.item(1).unwrap();
            if let Some(to) = rig.shared.hit(item.bits.get()) {
                item.bits.set(to);
                writes += 1;
            }
        }
        assert!(writes <= 20, "{policy}: {writes}");
    }
}

#[test]
fn lru_evicts_the_oldest_and_outlives_its_clock() {
    let mut rig = Rig::new(EvictionPolicy::AllkeysLru, 100, 3);
    for i in 0..100 {
        rig.set(i, 1, None);
    }
    let mut ranks = vec![];
    // More insertions than 22 bits count, though most of them are removed at once.
    for i in 100..(1 << POLICY_BITS) + 50_000u64 {
        if i % 1000 < 100 {
            let victim = rig.set(i, 1, None).unwrap();
            ranks.extend(victim.iter().map(|hash| i - hash));
        } else {
            let arrival = rig.policy.arriving(&rig.shared, i, 1, 100);
            rig.policy.insert(&rig.shared, arrival);
        }
    }
    // A hundred items are inserted a thousand, and the oldest of them is 1000 or 1001 insertions old.
    let young = ranks.iter().skip(200).filter(|&&age| age < 500).count();
    assert!(young * 50 < ranks.len(), "{young} of {} victims were young", ranks.len());
}

#[test]
fn lfu_keeps_what_is_used_often() {
    let mut rig = Rig::new(EvictionPolicy::AllkeysLfu, 100, 3);
    for i in 0..5000u64 {
        for hot in 0..30 {
            if !rig.hit(hot) {
                rig.set(hot, 1, None);
            }
        }
        rig.set(1000 + i, 1, None);
    }
    assert!((0..30).filter(|&hot| rig.hit(hot)).count() >= 28);
}

#[test]
fn random_is_uniform() {
    let mut rig = Rig::new(EvictionPolicy::AllkeysRandom, 100, 9);
    (0..100).for_each(|i| drop(rig.set(i, 1, None)));
    // Sparse buckets must not make their items likelier.
    (0..100).filter(|i| i % 10 < 4).for_each(|i| rig.remove(i));
    let mut named = [0u32; 100];
    for _ in 0..60_000 {
        let Verdict::Evict(victim) = rig.policy.victim(&rig.shared, &rig.shelf, None) else { panic!("no victim") };
        named[rig.shelf.places[victim.handle.0].as_ref().unwrap().hash as usize] += 1;
    }
    let present: Vec<u32> = (0..100).filter(|i| i % 10 >= 4).map(|i| named[i]).collect();
    assert!(present.iter().all(|count| (800..1200).contains(count)), "{present:?}");
}

#[test]
fn ttl_evicts_what_expires_first() {
    let mut rig = Rig::new(EvictionPolicy::VolatileTtl, 100, 2);
    let mut rng = Rng::new(1);
    let mut late = 0;
    for i in 0..2000u64 {
        let deadline = (i % 2 == 0).then(|| i * 10 + rng.next() % 2000);
        if rig.shelf.used == 100 && rig.shelf.eligible().count() > 0 {
            let mut deadlines: Vec<u64> = rig.shelf.eligible().filter_map(|item| item.deadline).collect();
            deadlines.sort();
            let Verdict::Evict(victim) = rig.policy.victim(&rig.shared, &rig.shelf, None) else { panic!("no victim") };
            let deadline = rig.shelf.deadline(victim.handle).unwrap();
            late += deadlines.iter().position(|&other| other == deadline).unwrap();
            rig.evict(victim);
        }
        if rig.set(i, 1, deadline).is_none() {
            // Full of items without a deadline.
            rig.remove(i - 99);
        }
    }
    assert!(late < 200, "on 1000 victims, {late} items expired sooner");
}

#[test]
fn volatile_policies_find_the_one_item_that_may_leave() {
    for policy in EvictionPolicy::ALL.into_iter().filter(|policy| policy.is_volatile()) {
        let mut rig = Rig::new(policy, 3000, 4);
        (0..3000).for_each(|i| drop(rig.set(i, 1, (i == 1234).then_some(7))));
        assert_eq!(rig.set(5000, 1, None), Some(vec![1234]), "{policy}");
        assert_eq!(rig.set(5001, 1, None), None, "{policy}");
    }
}

#[test]
fn a_cache_of_another_policy_is_taken_over() {
    for policy in EvictionPolicy::ALL {
        for from in [EvictionPolicy::AllkeysLru, EvictionPolicy::S3Fifo, EvictionPolicy::Default] {
            let mut rig = Rig::new(from, 200, 6);
            (0..500u64).for_each(|i| drop(rig.set(mix(i), 1, Some(i))));
            rig.shelf.volatile = policy.is_volatile();
            rig.shared.reset(policy, Objective::Bytes);
            rig.policy = Policy::new(policy, Objective::Bytes, 1);
            for place in rig.shelf.places.iter().flatten() {
                place.bits.set(rig.policy.adopt(&rig.shared, place.hash, place.size));
            }
            rig.check();
            if policy != EvictionPolicy::NoEviction {
                (500..1000u64).for_each(|i| drop(rig.set(mix(i), 1, Some(i)).unwrap()));
                rig.check();
            }
        }
    }
}

#[test]
fn items_that_were_never_adopted_can_leave() {
    for policy in [EvictionPolicy::S3Fifo, EvictionPolicy::Sieve, EvictionPolicy::Default, EvictionPolicy::AllkeysLfu] {
        let mut rig = Rig::new(EvictionPolicy::AllkeysLru, 200, 6);
        (0..500u64).for_each(|i| drop(rig.set(mix(i), 1, None)));
        rig.shared.reset(policy, Objective::Hits);
        rig.policy = Policy::new(policy, Objective::Hits, 1);
        (500..2000u64).for_each(|i| drop(rig.set(mix(i), 1, None).unwrap()));
        assert_eq!(rig.shelf.used, 200);
    }
}

#[test]
fn default_turns_away_only_what_is_worth_less() {
    let mut rig = Rig::new(EvictionPolicy::Default, 1000, 1);
    (0..100u64).for_each(|i| drop(rig.set(mix(i), 10, None)));
    assert!((0..100u64).all(|i| rig.hit(mix(i))));
    assert_eq!(rig.set(6666, 500, None), None, "all of protected is worth more");
    // From now on there is a ghost, as room has been needed.
    rig.maintain();
    assert_eq!(rig.set(7777, 500, None), None, "all of protected is still worth more");
    assert_eq!(rig.shelf.items(), 100);
    assert!(rig.set(7777, 500, None).is_some(), "who comes back is let in");
}

#[test]
fn items_without_a_deadline_do_not_count_towards_probation() {
    let mut rig = Rig::new(EvictionPolicy::VolatileDefault, 1000, 1);
    (0..800).for_each(|i| drop(rig.set(i, 1, None)));
    (800..1000).for_each(|i| drop(rig.set(i, 1, Some(i))));
    assert!((800..1000).all(|i| rig.hit(i)));
    (1000..3000).for_each(|i| drop(rig.set(i, 1, Some(i)).unwrap()));
    let probation = rig.shelf.eligible().filter(|item| value::region_of(item.bits.get()) == value::PROBATION).count();
    // A tenth, and what was let in until the looks showed it.
    assert!((10..80).contains(&probation), "{probation} of 200 items that may leave are in probation");
}

#[test]
fn ghosts_cost_at_most_seven_bytes_an_item() {
    let mut simulator = Simulator::new(EvictionPolicy::Default, Objective::Hits, 100_000, 1);
    let mut rng = Rng::new(1);
    for _ in 0..400_000 {
        simulator.request(rng.next() % (1 + rng.next() % 1_000_000), 1);
    }
    assert_eq!(simulator.items(), 100_000);
    assert!(simulator.policy_memory() <= 7 * 100_000, "{}", simulator.policy_memory());
}

#[test]
fn queues_are_bounded_when_items_are_deleted() {
    for policy in [EvictionPolicy::S3Fifo, EvictionPolicy::Sieve] {
        let mut rig = Rig::new(policy, 10_000, 1);
        for i in 0..60_000u64 {
            rig.set(i, 10, None);
            if i >= 300 && i % 5 != 0 {
                rig.remove(i - 300);
            }
        }
        rig.check();
        assert!(rig.policy.memory() < 40_000, "{policy}: {} bytes", rig.policy.memory());
    }
}
