//! `default` and `volatile-default`: the two-region value policy.
//!
//! Papers: a combination of GreedyDual-Size-Frequency (Cherkasova 1998: worth = clock + uses / size), ARC (Megiddo and
//! Modha, FAST'03: two regions whose shares follow the hits among items that left), and the sampled victims of Redis.
//! Ours is that frequency is remembered by the ghost, that the second use promotes at once unless it belongs to one
//! burst with the first (LRU-K's correlated references, O'Neil 1993), and the newcomer rule.
//!
//! 1. An item is worth `stamp + gain`: the stamp is its region's clock at its last use, the gain is [`QUANTA`] x uses
//!    x mean size / size for [`Objective::Hits`], [`QUANTA`] x uses for [`Objective::Bytes`]. A region's clock is the
//!    highest worth that left it, which ages what stays. One quantum of the clock is 1 / [`QUANTA`] of a use at the
//!    mean size.
//! 2. Newcomers enter probation, up to a share of the memory; a second use, if not in one burst with the first, moves
//!    them to protected. When probation is over its share its least worthy item leaves, else the least worthy of
//!    protected.
//! 3. Who leaves is remembered with its uses. Coming back, it enters protected with one use more. Coming back from
//!    probation it also raises probation's share, from protected it lowers it: by [`STEP`] of its size, more when its
//!    region's part of the ghost is the smaller one.
//! 4. When the working set changes, items that were used last before the change leave first, those of probation before
//!    those of protected, in the order of their last use; how it is noticed is in [`Shift`].
//! 5. A newcomer larger than probation's share must be worth more than protected's victim; else it is turned away.
//!
//! State: 1 bit region, 6 bits uses, 15 bits stamp. A hit: three loads of one cache line and a few comparisons; a
//! compare-and-swap while an item of protected has fewer than [`COUNTED_SINGLY`] uses, or when the clock moved by a
//! quantum since its last; two counters change when an item is promoted, which happens once. How the numbers were found
//! is in `docs/policies.md`.

use super::ghost::Ghost;
use super::sample::{Draw, Pool};
use super::shift::Shift;
use super::{Arrival, Bits, Candidate, Objective, Shared, Store, Verdict};

pub(crate) const PROBATION: usize = 0;
pub(crate) const PROTECTED: usize = 1;

const REGION_SHIFT: u32 = 21;
const USES_SHIFT: u32 = 15;
const USES_MAX: u32 = 63;
const STAMP: u32 = (1 << USES_SHIFT) - 1;
/// Uses up to which each hit counts.
const COUNTED_SINGLY: u32 = 16;

/// Clock quanta that one use of an item of mean size is worth.
const QUANTA: f64 = 16.0;
/// Fractions of a quantum that ranks and clocks are kept in; stamps hold whole quanta.
const FRACTION_BITS: u32 = 8;
/// Items smaller than the mean by more are taken for this small: it bounds the gain to half of a stamp's range.
const SMALLEST: f64 = 1.0 / 16.0;
const _: () = assert!(QUANTA as u32 * USES_MAX * 16 < 1 << (USES_SHIFT - 1));

/// Probation's share of the memory at first, and its bounds.
const SHARE: f64 = 0.1;
const SHARE_MIN: f64 = 0.01;
const SHARE_MAX: f64 = 0.95;
const STEP: f64 = 0.1;
/// Bytes of items the ghost remembers, as a multiple of the capacity, and the entries provided for each cached item.
const GHOST_BUDGET: f64 = 2.0;
const GHOST_SLOTS: f64 = 1.5;
/// Draws in vain after which an item of probation is taken to be nowhere, whatever its counter says.
const DRY_DRAWS: u32 = 64;

#[derive(Debug)]
pub(crate) struct Value<H> {
    volatile: bool,
    scale: Scale,
    draw: Draw,
    pools: [Pool<H>; 2],
    ghost: Option<Ghost>,
    share: f64,
    /// The victim named last: its eviction moves the clock; others (expired pages, say) do not.
    pending: Option<(Bits, u64)>,
    /// Its region: probably that of the next one too.
    last: usize,
    dry: u32,
    shift: Shift<H>,
    /// What the last looks showed, older ones counting less.
    shown: Shown,
}

/// Bytes of eligible items that looks for victims showed; only kept by a volatile policy.
#[derive(Debug, Clone, Copy, Default)]
struct Shown {
    probation: f64,
    all: f64,
}

/// What is left of them with the next look.
const SHOWN_FADE: f64 = 63.0 / 64.0;

fn region(bits: Bits) -> usize {
    (bits >> REGION_SHIFT & 1) as usize
}

fn uses(bits: Bits) -> u32 {
    bits >> USES_SHIFT & USES_MAX
}

fn pack(region: usize, uses: u32, stamp: u32) -> Bits {
    (region as u32) << REGION_SHIFT | uses << USES_SHIFT | stamp
}

/// The region whose bytes an item counts towards.
#[inline]
pub(crate) fn region_of(bits: Bits) -> usize {
    region(bits)
}

/// The bits after a hit, given the published clocks.
///
/// In probation, a use in the same quantum of the clock as the arrival belongs to one burst (LRU-K's correlated
/// reference period) and does not count. While the clock is at zero nothing has left yet, and every second use
/// promotes. In protected, up to [`COUNTED_SINGLY`] uses count one by one; beyond, one use a quantum: an item in
/// constant use is not written at every hit on its way to saturation.
#[inline]
pub(crate) fn used(bits: Bits, probation_clock: u32, protected_clock: u32) -> Bits {
    let (stamp, uses) = (bits & STAMP, uses(bits));
    let counts = if region(bits) == PROBATION {
        stamp != probation_clock || probation_clock == 0
    } else {
        stamp != protected_clock || uses < COUNTED_SINGLY
    };
    if counts { pack(PROTECTED, (uses + 1).min(USES_MAX), protected_clock) } else { bits }
}

/// What an item's uses add to its stamp.
#[derive(Debug)]
struct Gains {
    objective: Objective,
    /// Running mean size of the items, 0 until the first victim.
    mean: f64,
    /// What a use of the largest items adds.
    least: u64,
}

impl Gains {
    fn new(objective: Objective) -> Self {
        Gains { objective, mean: 0.0, least: 0 }
    }

    fn follow(&mut self, mean: f64, largest: u32) {
        self.mean = mean;
        self.least = self.of(1, largest);
    }

    /// In fractions of a quantum.
    #[inline(always)]
    fn of(&self, uses: u32, size: u32) -> u64 {
        let relative = match self.objective {
            Objective::Hits if self.mean > 0.0 => self.mean / f64::from(size).max(self.mean * SMALLEST),
            _ => 1.0,
        };
        (f64::from(uses) * relative * QUANTA * f64::from(1u32 << FRACTION_BITS)) as u64
    }
}

/// What worth is measured with.
#[derive(Debug)]
struct Scale {
    gains: Gains,
    /// A region's clock, in fractions of a quantum. Begins high enough that no age leads below zero.
    clock: [u64; 2],
    /// Items of a region with a stamp below this (in quanta) are worth no more than their stamp; 0 for usual.
    stale_before: [u64; 2],
}

impl Scale {
    /// An item's worth, in fractions of a quantum.
    #[inline(always)]
    fn rank<H>(&self, candidate: &Candidate<H>) -> u64 {
        let used = self.used(candidate.bits);
        if used < self.stale_before[region(candidate.bits)] {
            return used << FRACTION_BITS;
        }
        (used << FRACTION_BITS) + self.gains.of(uses(candidate.bits), candidate.size)
    }

    /// Where its region's clock was when an item was used last, in quanta.
    fn used(&self, bits: Bits) -> u64 {
        let now = self.clock[region(bits)] >> FRACTION_BITS;
        now - (now.wrapping_sub(u64::from(bits)) & u64::from(STAMP))
    }

    fn stamp(&self, region: usize) -> u32 {
        (self.clock[region] >> FRACTION_BITS) as u32 & STAMP
    }

    /// The bits of an item of protected such that its next use changes them: one that is in constant use gets a stamp a
    /// quantum older.
    fn watched(&self, bits: Bits) -> Bits {
        let now = self.stamp(PROTECTED);
        let changes = used(bits, 0, now) != bits;
        if changes { bits } else { pack(PROTECTED, uses(bits), now.wrapping_sub(1) & STAMP) }
    }
}

impl<H: Copy + PartialEq> Value<H> {
    pub(crate) fn new(volatile: bool, objective: Objective, seed: u64) -> Self {
        Value {
            volatile,
            scale: Scale {
                gains: Gains::new(objective),
                clock: [u64::from(STAMP + 1) << FRACTION_BITS; 2],
                stale_before: [0; 2],
            },
            draw: Draw::new(seed),
            pools: [Pool::new(), Pool::new()],
            ghost: None,
            share: SHARE,
            pending: None,
            last: PROBATION,
            dry: 0,
            shift: Shift::new(seed),
            shown: Shown::default(),
        }
    }

    pub(crate) fn arriving(&mut self, hash: u64, size: u32, capacity: u64) -> Option<(usize, u32)> {
        self.shift.arrives(size, capacity);
        let ghost = self.ghost.as_mut()?;
        let (from, uses, ago) = ghost.take(hash)?;
        self.shift.returns(from, ago, capacity);
        let own = ghost.window(from).max(1) as f64;
        let other = ghost.window(1 - from).max(1) as f64;
        let step = STEP * f64::from(size) / capacity.max(1) as f64 * (other / own).max(1.0);
        self.share = if from == PROBATION { self.share + step } else { self.share - step };
        self.share = self.share.clamp(SHARE_MIN, SHARE_MAX);
        Some((from, (uses + 1).min(USES_MAX)))
    }

    /// Sees whether the working set changes.
    fn tick<S: Store<Handle = H>>(&mut self, shared: &Shared, store: &S) {
        let (clock, before) = (self.scale.clock.map(|clock| clock >> FRACTION_BITS), self.scale.stale_before);
        if self.shift.tick(store, clock, shared.take_promoted()) {
            for region in [PROBATION, PROTECTED] {
                self.scale.clock[region] += 1 << FRACTION_BITS;
                shared.publish(region, self.scale.stamp(region));
            }
        }
        self.scale.stale_before = self.shift.stale_before();
        if before != self.scale.stale_before {
            // They were ranked in another way.
            self.pools = [Pool::new(), Pool::new()];
        }
    }

    pub(crate) fn victim<S: Store<Handle = H>>(
        &mut self,
        shared: &Shared,
        store: &S,
        arrival: Option<&Arrival>,
    ) -> Verdict<H> {
        if self.scale.gains.mean == 0.0 {
            self.scale.gains.follow(mean_size(store), store.largest());
        }
        self.prefetch_next(store);
        if self.shift.is_due() {
            self.tick(shared, store);
        }
        self.look(store);
        if self.shift.wants_more() {
            self.look_at_protected(store);
        }
        let newcomer = arrival.filter(|arrival| arrival.from.is_none());
        let coming = newcomer.map_or(0, |newcomer| u64::from(newcomer.size));
        // Judged anew for each that leaves: those that come later are worth more. (Judged once, misses on web_adaptsize
        // at 2.9 MiB were .7355, not .7293.)
        if let Some(newcomer) = newcomer.filter(|_| coming as f64 > (self.share * store.capacity() as f64).max(1.0))
            && self.is_worth_less(store, newcomer)
        {
            return Verdict::TurnAway;
        }
        let first = self.region_to_shrink(shared, store, coming);
        // The second round is for pools that held nothing but items that are gone.
        for _ in 0..2 {
            for region in [first, 1 - first] {
                if let Some((candidate, rank)) = self.least(store, region) {
                    self.last = region;
                    self.pending = store.is_measure().then_some((candidate.bits, rank));
                    return Verdict::Evict(candidate);
                }
                self.found_none(shared, region);
            }
            self.look_until_found(store);
        }
        Verdict::None
    }

    /// The one with stale items; else probation when it is over its share.
    ///
    /// The counters know nothing of deadlines: a volatile policy goes by the eligible items that were seen.
    fn region_to_shrink<S: Store<Handle = H>>(&mut self, shared: &Shared, store: &S, coming: u64) -> usize {
        let (probation, protected, limit) = if self.volatile {
            let Shown { probation, all } = self.shown;
            (probation, all - probation, self.share * all)
        } else {
            let bytes = |region| shared.bytes(region) as f64;
            (bytes(PROBATION), bytes(PROTECTED), self.share * store.capacity() as f64 - coming as f64)
        };
        let is_over = probation > 0.0 && (probation > limit || protected <= 0.0);
        let usual = if is_over { PROBATION } else { PROTECTED };
        [PROBATION, PROTECTED].into_iter().find(|&region| self.is_stale(store, region)).unwrap_or(usual)
    }

    /// Whether a region's victim was used last before the working set changed; the victim stays known.
    fn is_stale<S: Store<Handle = H>>(&mut self, store: &S, region: usize) -> bool {
        let before = self.scale.stale_before[region];
        if before == 0 {
            return false;
        }
        let Some((victim, worth)) = self.least(store, region) else {
            return false;
        };
        self.pools[region].offer(victim, worth);
        worth >> FRACTION_BITS < before
    }

    /// Fetches where the next victims will be remembered, while the draw is looked at.
    fn prefetch_next<S: Store<Handle = H>>(&self, store: &S) {
        let next = self.pools[self.last].next();
        if let Some(hash) = next.and_then(|next| store.hash(next)) {
            self.prefetch(hash);
        }
    }

    /// Says that a hash will be looked up, or remembered, in the ghost.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        if let Some(ghost) = &self.ghost {
            ghost.prefetch(hash);
        }
    }

    /// One draw, which feeds both pools.
    fn look<S: Store<Handle = H>>(&mut self, store: &S) {
        let Value { draw, pools, scale, volatile, .. } = self;
        // Taken for one of the largest, an item ranks no higher than it does. If that is above the bar, it needs no
        // closer look: nearly all items end here.
        let clock = scale.clock.map(|clock| clock >> FRACTION_BITS);
        let least_gain = if scale.stale_before == [0; 2] { scale.gains.least as i64 } else { 0 };
        let lead = [0, 1].map(|region| match pools[region].bar() {
            u64::MAX => i64::MIN,
            _ if *volatile => i64::MIN,
            bar => (clock[region] << FRACTION_BITS) as i64 - bar as i64,
        });
        let age = |bits: Bits| (clock[region(bits)] as u32).wrapping_sub(bits) & STAMP;
        let wanted = |bits: Bits| {
            i64::from(age(bits) << FRACTION_BITS) - i64::from(uses(bits)) * least_gain > lead[region(bits)]
        };
        let mut bytes = [0u64; 2];
        draw.look(store, wanted, |candidate| {
            let region = region(candidate.bits);
            bytes[region] += u64::from(candidate.size);
            pools[region].offer(candidate, scale.rank(&candidate));
        });
        if *volatile {
            let shown = &mut self.shown;
            shown.probation = shown.probation * SHOWN_FADE + bytes[PROBATION] as f64;
            shown.all = shown.all * SHOWN_FADE + (bytes[PROBATION] + bytes[PROTECTED]) as f64;
        }
    }

    /// A look at protected, of which some items are watched.
    fn look_at_protected<S: Store<Handle = H>>(&mut self, store: &S) {
        let Value { draw, scale, shift, .. } = self;
        let is_protected = |bits| region(bits) == PROTECTED;
        draw.look(store, is_protected, |candidate| shift.see(&candidate, scale.used(candidate.bits)));
        shift.looked(|candidate| {
            let watched = scale.watched(candidate.bits);
            store.set_bits(candidate.handle, candidate.bits, watched);
            (watched, store.hash(candidate.handle))
        });
    }

    fn look_until_found<S: Store<Handle = H>>(&mut self, store: &S) {
        let Value { draw, pools, scale, .. } = self;
        draw.look_until(store, self.volatile, |candidate| {
            pools[region(candidate.bits)].offer(candidate, scale.rank(&candidate));
            true
        });
    }

    fn least<S: Store<Handle = H>>(&mut self, store: &S, wanted: usize) -> Option<(Candidate<H>, u64)> {
        let Value { pools, scale, volatile, .. } = self;
        let eligible = |candidate: &Candidate<H>| !*volatile || store.deadline(candidate.handle).is_some();
        pools[wanted].least(store, |candidate| {
            (region(candidate.bits) == wanted && eligible(candidate)).then(|| scale.rank(candidate))
        })
    }

    /// Whether protected's victim is worth more than a newcomer; the victim stays known.
    fn is_worth_less<S: Store<Handle = H>>(&mut self, store: &S, newcomer: &Arrival) -> bool {
        let Some((victim, worth)) = self.least(store, PROTECTED) else {
            return false;
        };
        self.pools[PROTECTED].offer(victim, worth);
        worth > self.scale.clock[PROTECTED] + self.scale.gains.of(1, newcomer.size)
    }

    /// A region whose counter says it has items, but where many draws found none, is taken to be empty: after a change
    /// of policy the counters can be off.
    fn found_none(&mut self, shared: &Shared, region: usize) {
        self.dry += 1;
        if self.dry >= DRY_DRAWS && !self.volatile {
            self.dry = 0;
            shared.forget(region);
        }
    }

    pub(crate) fn insert(&mut self, shared: &Shared, arrival: &Arrival) -> Bits {
        let region = if arrival.from.is_some() { PROTECTED } else { PROBATION };
        shared.enters(region, arrival.size);
        let age = arrival.age.unwrap_or_default();
        pack(region, arrival.uses.clamp(1, USES_MAX), self.scale.stamp(region).wrapping_sub(age) & STAMP)
    }

    pub(crate) fn evicted(&mut self, shared: &Shared, hash: u64, bits: Bits, size: u32) {
        let left = region(bits);
        shared.leaves(left, size);
        if let Some((_, rank)) = self.pending.take().filter(|pending| pending.0 == bits) {
            self.dry = 0;
            if rank > self.scale.clock[left] {
                self.scale.clock[left] = rank;
                shared.publish(left, self.scale.stamp(left));
            }
        }
        if let Some(ghost) = &mut self.ghost {
            ghost.push(hash, left, uses(bits), size);
        }
    }

    pub(crate) fn turned_away(&mut self, arrival: &Arrival) {
        if let Some(ghost) = &mut self.ghost {
            ghost.push(arrival.hash, PROBATION, 1, arrival.size);
        }
    }

    pub(crate) fn removed(&mut self, shared: &Shared, bits: Bits, size: u32) {
        shared.leaves(region(bits), size);
    }

    pub(crate) fn overwritten(&mut self, shared: &Shared, bits: Bits, old_size: u32, new_size: u32) -> Bits {
        let to = used(bits, self.scale.stamp(PROBATION), self.scale.stamp(PROTECTED));
        shared.leaves(region(bits), old_size);
        shared.enters(region(to), new_size);
        to
    }

    pub(crate) fn adopt(&mut self, shared: &Shared, size: u32) -> Bits {
        shared.enters(PROTECTED, size);
        pack(PROTECTED, 1, self.scale.stamp(PROTECTED))
    }

    /// Follows the mean size, and makes the ghost's table when `granted` bytes suffice. The bytes it wants granted.
    pub(crate) fn maintain<S: Store>(&mut self, store: &S, granted: u64) -> u64 {
        let mean = self.scale.gains.mean;
        if mean == 0.0 {
            return 0;
        }
        self.scale.gains.follow(mean + (mean_size(store) - mean) / 8.0, store.largest());
        // Who may not leave need not be remembered.
        let (items, all) = (store.eligible(), store.items().max(1));
        let budget = (u128::from(ghost_budget(store)) * u128::from(items) / u128::from(all)) as u64;
        Ghost::maintain(&mut self.ghost, items, budget, GHOST_SLOTS, granted)
    }

    #[cfg(feature = "snapshot")]
    pub(crate) fn rank(&self, bits: Bits) -> super::Rank {
        let of = region(bits);
        let clock = self.scale.clock[of] >> FRACTION_BITS;
        super::Rank::new(of == PROTECTED, uses(bits), super::rank::ticks_since(clock, bits, u64::from(STAMP)))
    }

    #[cfg(feature = "snapshot")]
    pub(crate) fn share(&self) -> f64 {
        self.share
    }

    #[cfg(feature = "snapshot")]
    pub(crate) fn set_share(&mut self, share: f64) {
        self.share = share.clamp(SHARE_MIN, SHARE_MAX);
    }

    pub(crate) fn memory(&self) -> u64 {
        self.ghost.as_ref().map_or(0, Ghost::memory) + self.shift.memory()
    }

    pub(crate) fn check<S: Store>(&self, shared: &Shared, store: &S) {
        self.pools.iter().for_each(Pool::check);
        self.shift.check();
        assert!((SHARE_MIN..=SHARE_MAX).contains(&self.share));
        assert_eq!(shared.bytes(PROBATION) + shared.bytes(PROTECTED), store.used());
    }
}

fn mean_size<S: Store>(store: &S) -> f64 {
    store.used() as f64 / store.items().max(1) as f64
}

fn ghost_budget<S: Store>(store: &S) -> u64 {
    (store.capacity() as f64 * GHOST_BUDGET) as u64
}
