//! Choosing by looking at a few: draws random index buckets and keeps the least worthy items seen in a small pool.
//!
//! Paper: the pool is Redis' (2016) "approximated LRU"; looking a whole bucket at a time (five or six items for one
//! cache line) is ours. One draw is [`DRAW`] buckets, about 28 items. Every policy ranks items by a number that does
//! not change while the item is not used (stamps and counters are turned into absolute ranks), so a pool entry only has
//! to be looked at again when it is about to be chosen; an item used meanwhile has a higher rank then and goes back
//! into the pool.
//!
//! 1. A pool holds an item at most once, at most [`POOL`] items, and only items that were eligible when seen.
//! 2. What [`Pool::least`] returns was revalidated in the same call, and is no longer in the pool.

use super::{Candidate, Store, mix};

/// Buckets looked at for one victim.
pub(crate) const DRAW: usize = 5;
/// Items remembered from one victim to the next.
pub(crate) const POOL: usize = 16;
/// Buckets drawn in vain before the store is asked for what expires soonest.
const DRY_BUCKETS: usize = 64;
/// Buckets drawn in vain before "there is no item" is believed of a store that says it holds some.
const EMPTY_BUCKETS: usize = 2048;

/// A seeded source of random numbers (splitmix64).
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Rng(mix(seed ^ 0x6c61_7264_6572))
    }

    #[inline]
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }
}

/// The buckets to look at next. They are known one draw ahead so that the store can fetch them meanwhile.
#[derive(Debug)]
pub(crate) struct Draw {
    rng: Rng,
    ahead: [u64; DRAW],
}

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let ahead = std::array::from_fn(|_| rng.next());
        Draw { rng, ahead }
    }

    /// Shows the items of the buckets drawn, and draws the next ones.
    pub(crate) fn look<S: Store>(&mut self, store: &S, mut see: impl FnMut(Candidate<S::Handle>)) {
        for r in &mut self.ahead {
            store.bucket(*r, &mut see);
            *r = self.rng.next();
            store.prefetch(*r);
        }
    }

    /// Draws until `see` has said `true` of an item. Falls back on the items that expire soonest, and only gives up
    /// when there are none either: false.
    pub(crate) fn look_until<S: Store>(
        &mut self,
        store: &S,
        volatile: bool,
        mut see: impl FnMut(Candidate<S::Handle>) -> bool,
    ) -> bool {
        let mut found = false;
        let mut buckets = 0;
        while !found && buckets < DRY_BUCKETS {
            self.look(store, |candidate| found |= see(candidate));
            buckets += DRAW;
        }
        if !found {
            store.soonest(|candidate, _| found |= see(candidate));
        }
        while !found && !volatile && store.items() > 0 && buckets < EMPTY_BUCKETS {
            self.look(store, |candidate| found |= see(candidate));
            buckets += DRAW;
        }
        found
    }

    /// One eligible item, each with the same probability while buckets have at most seven.
    pub(crate) fn any<S: Store>(&mut self, store: &S, volatile: bool) -> Option<Candidate<S::Handle>> {
        let mut last = None;
        for _ in 0..DRY_BUCKETS {
            // A random place of seven, empty or not: a bucket's items do not gain by its being sparse.
            let place = self.rng.next() % 7;
            let mut shown = 0;
            let mut chosen = None;
            store.bucket(self.rng.next(), |candidate| {
                if shown == place {
                    chosen = Some(candidate);
                }
                shown += 1;
                last = Some(candidate);
            });
            if chosen.is_some() {
                return chosen;
            }
        }
        if last.is_none() {
            self.look_until(store, volatile, |candidate| {
                last = Some(candidate);
                true
            });
        }
        last
    }
}

#[derive(Debug, Clone, Copy)]
struct Seen<H> {
    candidate: Candidate<H>,
    rank: u64,
}

/// The least worthy items seen so far.
#[derive(Debug)]
pub(crate) struct Pool<H> {
    seen: Vec<Seen<H>>,
    /// The highest rank in a full pool, so that most items are turned away by one comparison.
    bar: u64,
}

impl<H: Copy + PartialEq> Pool<H> {
    pub(crate) fn new() -> Self {
        Pool { seen: Vec::with_capacity(POOL), bar: u64::MAX }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    pub(crate) fn memory(&self) -> u64 {
        (self.seen.capacity() * size_of::<Seen<H>>()) as u64
    }

    /// Remembers an item if it is among the least worthy.
    pub(crate) fn offer(&mut self, candidate: Candidate<H>, rank: u64) {
        if rank >= self.bar {
            return;
        }
        if let Some(same) = self.seen.iter_mut().find(|seen| seen.candidate.handle == candidate.handle) {
            *same = Seen { candidate, rank };
        } else if self.seen.len() < POOL {
            self.seen.push(Seen { candidate, rank });
        } else if let Some(worst) = self.seen.iter_mut().max_by_key(|seen| seen.rank) {
            *worst = Seen { candidate, rank };
        }
        self.set_bar();
    }

    fn set_bar(&mut self) {
        self.bar = match self.seen.iter().map(|seen| seen.rank).max() {
            Some(highest) if self.seen.len() == POOL => highest,
            _ => u64::MAX,
        };
    }

    /// Takes out the least worthy item that is still there. `rank` gives an item's rank as it is now, or `None` when
    /// it is no longer one for this pool.
    pub(crate) fn least<S: Store<Handle = H>>(
        &mut self,
        store: &S,
        rank: impl Fn(&Candidate<H>) -> Option<u64>,
    ) -> Option<(Candidate<H>, u64)> {
        let mut found = None;
        // Each round takes an item out or raises its rank to the true one, so that it is not asked again before it is
        // chosen; the limit covers readers who use items while we look.
        for _ in 0..4 * POOL {
            let Some(i) = (0..self.seen.len()).min_by_key(|&i| self.seen[i].rank) else {
                break;
            };
            let now = store.get(self.seen[i].candidate.handle).and_then(|now| rank(&now).map(|rank| (now, rank)));
            match now {
                None => {
                    self.seen.swap_remove(i);
                }
                Some((candidate, rank)) if rank > self.seen[i].rank => self.seen[i] = Seen { candidate, rank },
                Some((candidate, rank)) => {
                    self.seen.swap_remove(i);
                    found = Some((candidate, rank));
                    break;
                }
            }
        }
        self.set_bar();
        found
    }

    #[cfg(test)]
    pub(crate) fn check(&self) {
        assert!(self.seen.len() <= POOL);
        for (i, seen) in self.seen.iter().enumerate() {
            assert!(self.seen[..i].iter().all(|other| other.candidate.handle != seen.candidate.handle));
            assert!(self.bar == u64::MAX || seen.rank <= self.bar);
        }
    }
}

/// Draw and pool together: all that a policy with one order needs.
#[derive(Debug)]
pub(crate) struct Sampler<H> {
    draw: Draw,
    pub(crate) pool: Pool<H>,
}

impl<H: Copy + PartialEq> Sampler<H> {
    pub(crate) fn new(seed: u64) -> Self {
        Sampler { draw: Draw::new(seed), pool: Pool::new() }
    }

    pub(crate) fn memory(&self) -> u64 {
        self.pool.memory()
    }

    /// The item of the lowest rank among those drawn and remembered.
    pub(crate) fn least<S: Store<Handle = H>>(
        &mut self,
        store: &S,
        volatile: bool,
        rank: impl Fn(&Candidate<H>) -> u64,
    ) -> Option<Candidate<H>> {
        let Sampler { draw, pool } = self;
        draw.look(store, |candidate| pool.offer(candidate, rank(&candidate)));
        // An item may have lost its deadline since it was seen.
        let eligible = |candidate: &Candidate<H>| !volatile || store.deadline(candidate.handle).is_some();
        // The second round is for a pool whose items all went away while it was full.
        for _ in 0..2 {
            if pool.is_empty() {
                draw.look_until(store, volatile, |candidate| {
                    pool.offer(candidate, rank(&candidate));
                    true
                });
            }
            if let Some((candidate, _)) = pool.least(store, |candidate| eligible(candidate).then(|| rank(candidate))) {
                return Some(candidate);
            }
        }
        None
    }
}
