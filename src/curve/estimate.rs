//! The miniatures of a cache at several sizes: what they are told, how large they are, which keys they know.
//!
//! 1. A miniature knows the keys whose sample number - the hash turned by half its bits, so that neither shard nor tag
//!    depends on it - is below its bound. The largest bound is the engine's, which asks nothing of other keys.
//! 2. It holds at most so many items that all miniatures together stay within the budget, which is on the ledger from
//!    the start. When there is one more, the bound is lowered by an eighth, and its memory with it.
//! 3. What is counted is weighted by the share of the keys that were known at the time.
//! 4. The mutex is the last to be taken: nothing else is locked under it, and no code of the user runs.
//!
//! How much an item costs a cache of another size is worked out in `shape`, and put right by what it costs this one.

use parking_lot::Mutex;

use super::shape::{Means, Shape, room};
use super::{Difference, MissRatioCurve};
use crate::policy::{EvictionPolicy, Incoming, Miniature, Objective};

/// The sizes, as multiples of the present one.
pub(crate) const FACTORS: [f64; 4] = [0.5, 1.0, 2.0, 4.0];
/// What is left of the sample when it has become too large.
const LOWERED: f64 = 7.0 / 8.0;
/// Heap bytes of a miniature's item, the hash table not counted, without ends and with (`policy::items`).
const ITEM_BYTES: u64 = 64;
/// What a policy takes however few items there are.
const LEAST_BYTES: u64 = 8 << 10;
const ENDING_ITEM_BYTES: u64 = 144;
const BUCKET_BYTES: u64 = 17;
/// Fewer items than one in so many of what it may hold: a full miniature is begun anew with more keys.
const SPARSE: u64 = 8;
/// Where the present size is among them.
const PRESENT: usize = 1;
const _: () = assert!(FACTORS[PRESENT] == 1.0);
/// Items looked at to learn what a miniature's cost.
const LOOKED_AT: usize = 1024;

/// What the cache is like at the moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Measured {
    pub(crate) limit: u64,
    pub(crate) reserved: u64,
    /// Index, policy and all else beside the slab.
    pub(crate) side: u64,
    /// Pages that hold something.
    pub(crate) slab: u64,
    pub(crate) items: u64,
    pub(crate) chunk_bytes: u64,
    pub(crate) evictions: u64,
    pub(crate) reads: u64,
    pub(crate) hits: u64,
}

/// One size.
#[derive(Debug)]
struct Model {
    factor: f64,
    shape: Shape,
    miniature: Miniature,
    rate: f64,
    /// Sample numbers below this are known.
    below: u64,
    /// What the sizes of all items of such a cache may add up to.
    room: f64,
    gained: f64,
    /// Reads of the cache that went by uncounted, and how many there had been when counting stopped, if it has.
    skipped: u64,
    stopped_at: Option<u64>,
    /// Reads seen since.
    seen: u64,
}

#[derive(Debug)]
struct State {
    models: [Model; 4],
    policy: (EvictionPolicy, Objective),
    seed: u64,
    stores: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Estimate {
    budget: u64,
    /// Bytes that the cache took before there was anything in it, the budget included.
    fixed: u64,
    state: Mutex<State>,
}

/// Where a hash is in the order in which keys are left out of the sample.
#[inline(always)]
pub(crate) fn sample_number(hash: u64) -> u64 {
    hash.rotate_left(32)
}

/// The most items such that they and a hash table for them take no more than `bytes`.
fn most_items(bytes: u64, has_ends: bool) -> u64 {
    let bytes = bytes.saturating_sub(LEAST_BYTES);
    let each = if has_ends { ENDING_ITEM_BYTES } else { ITEM_BYTES };
    let with_table = |bits: u32| ((1u64 << bits) / 8 * 7).min(bytes.saturating_sub(BUCKET_BYTES << bits) / each);
    (4..40).map(with_table).max().unwrap_or_default().max(16)
}

impl Model {
    fn new(factor: f64, shape: Shape, policy: (EvictionPolicy, Objective), seed: u64) -> Model {
        Model {
            factor,
            shape,
            miniature: Miniature::new(policy.0, policy.1, seed),
            rate: 1.0,
            below: u64::MAX,
            room: 0.0,
            gained: 0.0,
            skipped: 0,
            stopped_at: None,
            seen: 0,
        }
    }

    fn set_rate(&mut self, rate: f64) {
        self.rate = rate;
        // Rounds to the largest number for 1.
        self.below = (rate * 2.0_f64.powi(64)) as u64;
        self.miniature.set_capacity((self.room * rate) as u64);
    }

    /// Leaves keys out of the sample until the rest is few enough (invariant 2).
    fn thin_out(&mut self, bytes: u64) {
        while self.miniature.items() > most_items(bytes, self.miniature.has_ends()) {
            self.set_rate(self.rate * LOWERED);
            let below = self.below;
            self.miniature.keep_hashes(|hash| sample_number(hash) < below);
        }
    }

    /// The item as it would be in a cache of this size.
    fn made(&self, item: &Incoming) -> Incoming {
        Incoming { size: self.shape.size(item.size), ..*item }
    }

    fn read(&mut self, hash: u64, now: u64, found: Option<&Incoming>) {
        let made = found.map(|item| self.made(item));
        let hit = self.miniature.read(hash, now, made.as_ref());
        self.seen += 1;
        if self.stopped_at.is_none() && hit != found.is_some() {
            self.gained += if hit { 1.0 / self.rate } else { -1.0 / self.rate };
        }
    }

    fn store(&mut self, hash: u64, now: u64, item: &Incoming) {
        let made = self.made(item);
        self.miniature.store(hash, now, &made);
    }

    /// What items cost a cache of this size; without any, what those of the cache do.
    fn means(&self, now: &Measured) -> Means {
        let (mut sizes, mut charges, mut items) = (0, 0, 0);
        for size in self.miniature.sizes(LOOKED_AT) {
            sizes += u64::from(size);
            charges += self.shape.charge(size);
            items += 1;
        }
        if items == 0 {
            let mean = if now.items > 0 { now.chunk_bytes as f64 / now.items as f64 } else { 128.0 };
            return Means { size: mean, charge: mean };
        }
        Means { size: sizes as f64 / items as f64, charge: charges as f64 / items as f64 }
    }

    /// What the items of a cache of this size may come to. `slack` bytes of its slab would be in no item.
    fn measure(&mut self, now: &Measured, slack: f64, fixed: u64, budget: u64) {
        let limit = self.factor * now.limit.saturating_sub(budget) as f64;
        let bytes = limit - (now.reserved + fixed.saturating_sub(budget)) as f64;
        self.room = room(bytes.max(0.0), slack, self.means(now), now, fixed);
        self.miniature.set_capacity((self.room * self.rate) as u64);
    }

    /// Begins anew with more keys if there are too few to learn from; counts again when the new ones are settled.
    fn refresh(&mut self, now: &Measured, bytes: u64, policy: (EvictionPolicy, Objective), seed: u64) {
        let (items, most) = (self.miniature.items(), most_items(bytes, self.miniature.has_ends()));
        let is_full = self.miniature.used() > self.miniature.capacity() / 10 * 8;
        if self.rate < 1.0 && is_full && items < most / SPARSE {
            let more = most as f64 / 2.0 / items.max(1) as f64;
            self.miniature = Miniature::new(policy.0, policy.1, seed);
            self.set_rate((self.rate * more).min(1.0));
            self.stopped_at.get_or_insert(now.reads);
            self.seen = 0;
        }
        // It is settled when something had to leave; where all fits that never is, and some reads an item must do.
        let is_settled = self.miniature.evictions() > 0 || self.seen > 16 * most;
        if let Some(stopped) = self.stopped_at.take_if(|_| is_settled) {
            self.skipped += now.reads.saturating_sub(stopped);
        }
    }

    fn difference(&self, now: &Measured) -> Difference {
        let missed = self.skipped + self.stopped_at.map_or(0, |stopped| now.reads.saturating_sub(stopped));
        Difference {
            factor: self.factor,
            rate: self.rate,
            reads: now.reads.saturating_sub(missed),
            gained: self.gained,
        }
    }
}

impl State {
    /// Does something to every miniature that knows a key; returns the largest bound.
    fn each(&mut self, hash: u64, bytes: u64, mut f: impl FnMut(&mut Model)) -> u64 {
        for model in self.models.iter_mut().filter(|model| sample_number(hash) < model.below) {
            f(model);
            model.thin_out(bytes);
        }
        self.below()
    }

    fn below(&self) -> u64 {
        self.models.iter().map(|model| model.below).max().unwrap_or_default()
    }
}

impl Estimate {
    /// An estimate within `budget` bytes, of a cache that has taken `fixed` bytes, those included.
    pub(crate) fn new(
        budget: u64,
        fixed: u64,
        shapes: [Shape; FACTORS.len()],
        policy: (EvictionPolicy, Objective),
        seed: u64,
    ) -> Estimate {
        let mut factors = FACTORS.into_iter();
        let models = shapes.map(|shape| Model::new(factors.next().unwrap_or(1.0), shape, policy, seed));
        Estimate { budget, fixed, state: Mutex::new(State { models, policy, seed, stores: 0 }) }
    }

    pub(crate) fn budget(&self) -> u64 {
        self.budget
    }

    /// Bytes that each size may take.
    fn bytes(&self) -> u64 {
        self.budget.saturating_sub(size_of::<Estimate>() as u64) / FACTORS.len() as u64
    }

    /// A read, and what was found. Returns the engine's bound.
    pub(crate) fn read(&self, hash: u64, now: u64, found: Option<&Incoming>) -> u64 {
        self.state.lock().each(hash, self.bytes(), |model| model.read(hash, now, found))
    }

    /// A value was stored, or would have been. Returns the engine's bound and whether it is time to
    /// [`measure`](Self::measure).
    pub(crate) fn store(&self, hash: u64, now: u64, item: &Incoming) -> (u64, bool) {
        let mut state = self.state.lock();
        let below = state.each(hash, self.bytes(), |model| model.store(hash, now, item));
        state.stores += 1;
        let due = state.stores.is_multiple_of(256) || state.stores.is_power_of_two();
        (below, due)
    }

    pub(crate) fn touch(&self, hash: u64, now: u64, deadline: u64) {
        self.state.lock().each(hash, self.bytes(), |model| model.miniature.touch(hash, now, deadline));
    }

    pub(crate) fn remove(&self, hash: u64) {
        self.state.lock().each(hash, self.bytes(), |model| model.miniature.remove(hash));
    }

    pub(crate) fn clear(&self, namespace: u8) {
        self.state.lock().models.iter_mut().for_each(|model| model.miniature.clear(namespace));
    }

    pub(crate) fn set_policy(&self, policy: EvictionPolicy, objective: Objective) {
        let mut state = self.state.lock();
        state.policy = (policy, objective);
        let seed = state.seed;
        state.models.iter_mut().for_each(|model| model.miniature.set_policy(policy, objective, seed));
    }

    /// Looks what the cache is like now, and gives each miniature the memory that follows. Returns the engine's bound.
    pub(crate) fn measure(&self, now: &Measured) -> u64 {
        let bytes = self.bytes();
        let mut state = self.state.lock();
        let (policy, seed) = (state.policy, state.seed);
        let present = &state.models[PRESENT];
        let Means { size, charge } = present.means(now);
        let slack = now.slab.saturating_sub((now.chunk_bytes as f64 * charge / size) as u64);
        let slacks = state.models.each_ref().map(|model| model.shape.slack(&present.shape, slack));
        for (model, slack) in state.models.iter_mut().zip(slacks) {
            model.measure(now, slack, self.fixed, self.budget);
            model.refresh(now, bytes, policy, seed);
        }
        state.below()
    }

    pub(crate) fn curve(&self, now: &Measured) -> MissRatioCurve {
        let differences = self.state.lock().models.iter().map(|model| model.difference(now)).collect();
        MissRatioCurve::new(now.reads, now.hits, now.limit.saturating_sub(self.budget), differences)
    }

    /// Bytes really held, for tests.
    #[cfg(test)]
    pub(crate) fn memory(&self) -> u64 {
        self.state.lock().models.iter().map(|model| model.miniature.memory()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::Classes;

    fn shape() -> Shape {
        Shape { classes: Classes::new(32, 1.04, 8192).unwrap(), page_size: 8192, shards: 1 }
    }

    fn estimate(budget: u64, kind: EvictionPolicy) -> Estimate {
        Estimate::new(budget, budget, FACTORS.map(|_| shape()), (kind, Objective::Hits), 1)
    }

    /// What a cache of so many bytes is like that is full of items of 100 bytes.
    fn full(limit: u64) -> Measured {
        let items = limit / 128;
        Measured {
            limit,
            slab: items * 104,
            chunk_bytes: items * 104,
            side: items * 16,
            items,
            evictions: 1,
            ..Measured::default()
        }
    }

    #[test]
    fn memory_stays_within_the_budget() {
        for kind in [EvictionPolicy::Default, EvictionPolicy::S3Fifo, EvictionPolicy::Sieve, EvictionPolicy::AllkeysLru]
        {
            for (budget, ends) in [(256 << 10, false), (256 << 10, true), (1 << 20, false), (1 << 20, true)] {
                let estimate = estimate(budget, kind);
                estimate.measure(&full((64 << 20) + budget));
                let mut most = 0;
                for i in 0..400_000u64 {
                    let hash = crate::policy::mix(i);
                    let deadline = if ends { 1_000_000 + i % 1000 } else { 0 };
                    let item = Incoming { size: 100, deadline, ..Incoming::default() };
                    estimate.store(hash, i, &item);
                    if i.is_multiple_of(5000) {
                        most = most.max(estimate.memory());
                    }
                }
                println!("{kind} {budget} ends {ends}: {most}");
                assert!(most <= budget, "{kind}: {most} of {budget}");
                assert!(most >= budget / 4, "{kind}: {most} of {budget}");
            }
        }
    }

    #[test]
    fn only_keys_below_the_bound_are_known() {
        let estimate = estimate(256 << 10, EvictionPolicy::Default);
        estimate.measure(&full(256 << 20));
        let item = Incoming { size: 100, ..Incoming::default() };
        let below = (0..100_000u64).map(|i| estimate.store(crate::policy::mix(i), 1, &item).0).last().unwrap();
        assert!(below < u64::MAX / 10, "one key in more than ten");
        for model in &estimate.state.lock().models {
            let share = model.miniature.items() as f64 / 100_000.0;
            assert!((share / model.rate - 1.0).abs() < 0.2, "{share} of the keys, not {}", model.rate);
        }
    }
}
