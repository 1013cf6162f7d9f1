//! Choosing by looking at a few: draws index buckets and keeps the least worthy items seen in a small pool.
//!
//! Paper: the pool is Redis' (2016) "approximated LRU"; looking at whole buckets (five or six items for one
//! cache line), neighbours, is ours. One draw is [`DRAW`] buckets, about 28 items. Every policy ranks items by a
//! number that does not change while the item is not used (stamps and counters are turned into absolute ranks), so a
//! pool entry only has to be looked at again when it is about to be chosen; an item used meanwhile has a higher rank
//! then and goes back into the pool.
//!
//! 1. A pool holds an item at most once, at most [`POOL`] items, and only items that were eligible when seen.
//! 2. What [`Pool::least`] returns was revalidated in the same call, and is no longer in the pool.

use smallvec::SmallVec;

use super::{Bits, Candidate, Store, mix};

/// Buckets looked at for one victim.
pub(crate) const DRAW: u64 = 5;
/// Items that one draw shows, about: five buckets of five to six.
const DRAWN: u64 = 28;
/// No victim is worth more draws than these: they are made under the shard's lock.
const MOST_DRAWS: u64 = 64;
/// 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
/// Items remembered from one victim to the next.
pub(crate) const POOL: usize = 16;
/// With fewer, any item is welcome; with more, only one that is less worthy than another of them.
const POOL_LOW: usize = 8;
/// Buckets drawn in vain before the store is asked for what expires soonest.
const DRY_BUCKETS: u64 = 64;
/// Buckets drawn in vain before "there is no item" is believed of a store that says it holds some.
const EMPTY_BUCKETS: u64 = 2048;

/// Draws that show at least about so many items.
pub(crate) fn draws_for(samples: u32) -> u64 {
    u64::from(samples).div_ceil(DRAWN).clamp(1, MOST_DRAWS)
}

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

/// A hand that jumps around the buckets by the golden section of the table, so that at any time it has been everywhere
/// about as often (Weyl's sequence). Hashes decide which item is in which bucket, so a few neighbours are as good a
/// sample as any few, and cost one jump. It must not go from one end to the other: the items that leave would leave the
/// front of the table empty and the rest full, and a table so uneven can neither grow nor shrink.
#[derive(Debug)]
pub(crate) struct Draw {
    rng: Rng,
    hand: u64,
}

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let hand = rng.next();
        Draw { rng, hand }
    }

    /// Shows the items of the next buckets that are `wanted`.
    #[inline(always)]
    pub(crate) fn look<S: Store>(
        &mut self,
        store: &S,
        wanted: impl FnMut(Bits) -> bool,
        see: impl FnMut(Candidate<S::Handle>),
    ) {
        store.buckets(self.hand, DRAW, wanted, see);
        self.hand = self.hand.wrapping_add(GOLDEN);
        store.prefetch(self.hand, DRAW);
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
            self.look(store, |_| true, |candidate| found |= see(candidate));
            buckets += DRAW;
        }
        if !found {
            store.soonest(|candidate, _| found |= see(candidate));
        }
        while !found && !volatile && store.items() > 0 && buckets < EMPTY_BUCKETS {
            self.look(store, |_| true, |candidate| found |= see(candidate));
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
            let any = |_| true;
            store.buckets(self.rng.next(), 1, any, |candidate| {
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

/// The least worthy items seen so far, the least one last.
#[derive(Debug)]
pub(crate) struct Pool<H> {
    seen: SmallVec<[Seen<H>; POOL]>,
}

impl<H: Copy + PartialEq> Pool<H> {
    pub(crate) fn new() -> Self {
        Pool { seen: SmallVec::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// An item must rank below this to be remembered. While the pool is well filled that is its highest rank, so that
    /// most items are turned away by one comparison.
    #[inline]
    pub(crate) fn bar(&self) -> u64 {
        if self.seen.len() < POOL_LOW { u64::MAX } else { self.seen[0].rank }
    }

    /// The item that comes next, as far as is known.
    pub(crate) fn next(&self) -> Option<H> {
        self.seen.last().map(|seen| seen.candidate.handle)
    }

    /// Remembers an item if it is among the least worthy.
    #[inline(always)]
    pub(crate) fn offer(&mut self, candidate: Candidate<H>, rank: u64) {
        if rank < self.bar() {
            self.remember(candidate, rank);
        }
    }

    #[inline(never)]
    fn remember(&mut self, candidate: Candidate<H>, rank: u64) {
        if let Some(same) = self.seen.iter().position(|seen| seen.candidate.handle == candidate.handle) {
            self.seen.remove(same);
        } else if self.seen.len() == POOL {
            self.seen.remove(0);
        }
        self.put(Seen { candidate, rank });
    }

    fn put(&mut self, new: Seen<H>) {
        let place = self.seen.iter().rposition(|seen| seen.rank >= new.rank).map_or(0, |i| i + 1);
        self.seen.insert(place, new);
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
            let Some(last) = self.seen.pop() else { break };
            let now = store.get(last.candidate.handle).and_then(|now| rank(&now).map(|rank| (now, rank)));
            match now {
                None => {}
                Some((candidate, rank)) if rank > last.rank => self.put(Seen { candidate, rank }),
                Some(least) => {
                    found = Some(least);
                    break;
                }
            }
        }
        if let Some(next) = self.next() {
            store.prefetch_item(next);
        }
        found
    }

    pub(crate) fn check(&self) {
        assert!(self.seen.len() <= POOL);
        for (i, seen) in self.seen.iter().enumerate() {
            assert!(self.seen[..i].iter().all(|other| other.candidate.handle != seen.candidate.handle));
            assert!(i == 0 || seen.rank <= self.seen[i - 1].rank);
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

    /// The item of the lowest rank among those drawn and remembered. Ranks go by the bits alone.
    pub(crate) fn least<S: Store<Handle = H>>(
        &mut self,
        store: &S,
        volatile: bool,
        rank: impl Fn(Bits) -> u64,
    ) -> Option<Candidate<H>> {
        let Sampler { draw, pool } = self;
        for _ in 0..store.draws() {
            let bar = pool.bar();
            draw.look(store, |bits| rank(bits) < bar, |candidate| pool.offer(candidate, rank(candidate.bits)));
        }
        // An item may have lost its deadline since it was seen.
        let eligible = |candidate: &Candidate<H>| !volatile || store.deadline(candidate.handle).is_some();
        // The second round is for a pool whose items all went away while it was full.
        for _ in 0..2 {
            if pool.is_empty() {
                draw.look_until(store, volatile, |candidate| {
                    pool.offer(candidate, rank(candidate.bits));
                    true
                });
            }
            let now = |candidate: &Candidate<H>| eligible(candidate).then(|| rank(candidate.bits));
            if let Some((candidate, _)) = pool.least(store, now) {
                return Some(candidate);
            }
        }
        None
    }
}
