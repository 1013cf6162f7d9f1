//! The table's way from one size to the next: in place, a few buckets a step, nobody waiting.
//!
//! Growing from `small` to `big` (an eighth more) goes from the top down: the items of the home just below the pointer
//! are put where the big size wants them, and the pointer moves past it. Shrinking is the same backwards, from the
//! bottom up.
//!
//! Invariants (beside those of `table`):
//! 1. When growing, buckets at and above the pointer's big home hold no item of the small size but second places, so a
//!    computed home below the pointer always belongs to the small size, one at or above it to the big size.
//! 2. A step that finds no room stops before it has changed anything that readers rely on; it can be tried again.

use smallvec::SmallVec;

use super::bucket::SLOTS;
use super::hash::{DISTANCES, distance, home, tag};
use super::table::{MIN_BUCKETS, Place, SPILL, Table};
use crate::slab::{Locator, Slot};
use crate::sync::Ordering;

/// The fewest buckets by which a table grows; one in the models, whose tables are as small as can be.
const LEAST_STEP: u64 = if cfg!(loom) { 1 } else { MIN_BUCKETS };

/// Items that are in the right place already, and whether that is their second.
type Staying = SmallVec<[(Place, bool); 16]>;

/// An item on its way: where it was, what the slot held, where the copy is.
struct Moved {
    hash: u64,
    from: Place,
    copied: Slot,
}

impl Table {
    fn sizes(&self) -> (u64, u64, u64) {
        let g = &*self.geometry;
        (g.small.load(Ordering::Relaxed), g.big.load(Ordering::Relaxed), g.pointer.load(Ordering::Relaxed))
    }

    /// Size above this one: an eighth more, but at least so many that a small table keeps up with what is stored.
    fn stretched(buckets: u64) -> u64 {
        buckets + (buckets / 8).max(LEAST_STEP)
    }

    /// Home buckets of the big size.
    pub(crate) fn homes(&self) -> u64 {
        self.sizes().1
    }

    /// Home buckets of the small size, which a shrink aims at; at rest that is the same.
    pub(crate) fn least_homes(&self) -> u64 {
        self.sizes().0
    }

    /// Bytes of memory that a table of the big size takes.
    pub(crate) fn bytes(&self) -> u64 {
        Self::bytes_of(self.sizes().1)
    }

    /// The same of a table of so many home buckets.
    pub(crate) fn bytes_of(homes: u64) -> u64 {
        (homes + SPILL) * 64
    }

    /// Bytes after the next growth, if there can be one.
    pub(crate) fn bytes_grown(&self) -> Option<u64> {
        let grown = Self::stretched(self.sizes().1);
        (grown <= self.max_buckets()).then_some(Self::bytes_of(grown))
    }

    /// Gives a table without items, at rest, another size at once; the memory for it is charged by the caller.
    #[cfg(feature = "snapshot")]
    pub(crate) fn set_size(&self, buckets: u64) {
        debug_assert!(!self.is_resizing() && buckets <= self.max_buckets());
        self.moving(|| {
            self.geometry.small.store(buckets, Ordering::Release);
            self.geometry.big.store(buckets, Ordering::Release);
        });
    }

    /// Begins to grow by an eighth; the memory for it is charged by the caller. The table must be at rest.
    pub(crate) fn begin_growth(&self) {
        let (small, big, _) = self.sizes();
        debug_assert_eq!(small, big);
        self.moving(|| {
            self.geometry.pointer.store(small, Ordering::Release);
            self.geometry.big.store(Self::stretched(big), Ordering::Release);
        });
    }

    /// Whether there is a smaller size.
    pub(crate) fn can_shrink(&self) -> bool {
        self.sizes().1 > self.least_buckets()
    }

    /// Begins to shrink to eight ninths, or to half if that is room for `items` with a good margin; not below the
    /// smallest size. The table must be at rest.
    pub(crate) fn begin_shrink(&self, items: u64) -> bool {
        let (small, big, _) = self.sizes();
        debug_assert_eq!(small, big);
        if !self.can_shrink() {
            return false;
        }
        let half = big / 2;
        let less = if items < half * 5 { half } else { big - big.div_ceil(9) };
        let less = less.max(self.least_buckets());
        self.moving(|| {
            // Pointer first: while it is 0, the big size counts for everybody, whatever `small` says.
            self.geometry.pointer.store(0, Ordering::Release);
            self.geometry.small.store(less, Ordering::Release);
        });
        true
    }

    /// Whether the table is on its way between two sizes. Which way is the caller's choice at every step: a growth
    /// that is no longer wanted is taken back by shrinking, and the other way round.
    pub(crate) fn is_resizing(&self) -> bool {
        let (small, big, _) = self.sizes();
        small != big
    }

    /// Takes up to `homes` steps of growth. `prefetch` is shown the items of the buckets to come; `hash_of` hashes one,
    /// `overruled` is for [`settle`](Self::settle).
    /// True when the growth is complete.
    pub(crate) fn grow_step(
        &self,
        homes: u64,
        prefetch: impl FnMut(Locator),
        mut hash_of: impl FnMut(Locator) -> u64,
        mut overruled: impl FnMut(Slot, Slot),
    ) -> bool {
        let (small, big, pointer) = self.sizes();
        if small == big {
            return true;
        }
        let to = pointer.saturating_sub(homes);
        self.prefetch_homes(to, pointer, prefetch);
        for at in (to..pointer).rev() {
            let mine = |hash| home(hash, self.shard_bits, small) == at;
            if !self.move_home(at, at, mine, big, at, &mut hash_of, &mut overruled) {
                return false;
            }
        }
        if to == 0 {
            self.moving(|| self.geometry.small.store(big, Ordering::Release));
        }
        to == 0
    }

    /// The first home that the small size does not count for yet, while the size changes.
    pub(crate) fn pointer(&self) -> u64 {
        self.sizes().2
    }

    /// Takes up to `homes` steps of shrinking; true when it is complete.
    pub(crate) fn shrink_step(
        &self,
        homes: u64,
        prefetch: impl FnMut(Locator),
        mut hash_of: impl FnMut(Locator) -> u64,
        mut overruled: impl FnMut(Slot, Slot),
    ) -> bool {
        let (small, big, pointer) = self.sizes();
        if small == big {
            return true;
        }
        let to = (pointer + homes).min(small);
        let scaled = |at: u64| (u128::from(at) * u128::from(big) / u128::from(small)) as u64;
        self.prefetch_homes(scaled(pointer), scaled(to) + 1, prefetch);
        for at in pointer..to {
            let (first, last) = (scaled(at), (scaled(at + 1) + 1).min(big - 1));
            let mine = |hash| home(hash, self.shard_bits, small) == at;
            if !self.move_home(first, last, mine, small, at + 1, &mut hash_of, &mut overruled) {
                return false;
            }
        }
        if to < small {
            return false;
        }
        self.moving(|| {
            self.geometry.big.store(small, Ordering::Release);
            self.geometry.pointer.store(0, Ordering::Release);
        });
        let (end, was) = ((small + SPILL) as usize * 8, (big + SPILL) as usize * 8);
        self.words.give_back(end, was);
        true
    }

    /// Shows the items whose computed home is from `from` up to `to`.
    fn prefetch_homes(&self, from: u64, to: u64, mut prefetch: impl FnMut(Locator)) {
        for at in from..(to + SPILL).min(self.buckets()) {
            let bucket = self.bucket(at);
            for i in (0..SLOTS).filter(|&i| bucket.home_of(at, i).is_some_and(|home| (from..to).contains(&home))) {
                if let Some(locator) = self.get(Place { bucket: at, slot: i }).locator() {
                    prefetch(locator);
                }
            }
        }
    }

    /// Moves every item whose computed home is in `[first, last]` and for which `mine` holds to its place in a table of
    /// `size`; then sets the pointer to `next`. False if there was no room for one of them (and nothing has changed).
    #[expect(clippy::too_many_arguments, reason = "what one step needs, of either direction")]
    fn move_home(
        &self,
        first: u64,
        last: u64,
        mine: impl Fn(u64) -> bool,
        size: u64,
        next: u64,
        hash_of: &mut impl FnMut(Locator) -> u64,
        overruled: &mut impl FnMut(Slot, Slot),
    ) -> bool {
        let (mut leaving, staying) = self.items_of_homes(first, last, &mine, size, hash_of);
        // Whoever found no room has the first choice next time: those before it may have taken what only it could use.
        for _ in 0..=leaving.len() {
            match self.moving(|| self.try_move(&leaving, &staying, size, next, overruled)) {
                Ok(()) => return true,
                Err(at) => leaving[..=at].rotate_right(1),
            }
        }
        false
    }

    /// The items that `move_home` moves, and those that are in the right place already, with whether it is their
    /// second.
    fn items_of_homes(
        &self,
        first: u64,
        last: u64,
        mine: impl Fn(u64) -> bool,
        size: u64,
        hash_of: &mut impl FnMut(Locator) -> u64,
    ) -> (SmallVec<[Moved; 16]>, Staying) {
        let (mut leaving, mut staying) = (SmallVec::new(), SmallVec::new());
        let homes = first..=last;
        let places =
            homes.clone().chain(homes.flat_map(|h| DISTANCES.map(|d| h + d)).filter(|at| !(first..=last).contains(at)));
        let mut places: SmallVec<[u64; 32]> = places.filter(|&at| at < self.buckets()).collect();
        places.sort_unstable();
        places.dedup();
        for at in places {
            let bucket = self.bucket(at);
            for i in 0..SLOTS {
                if !bucket.home_of(at, i).is_some_and(|home| (first..=last).contains(&home)) {
                    continue;
                }
                let place = Place { bucket: at, slot: i };
                let slot = self.get(place);
                let Some(locator) = slot.locator() else { continue };
                let hash = hash_of(locator);
                if !mine(hash) {
                    continue;
                }
                let new_home = home(hash, self.shard_bits, size);
                if at == new_home || at == new_home + distance(tag(hash)) {
                    staying.push((place, at != new_home));
                } else {
                    leaving.push(Moved { hash, from: place, copied: slot });
                }
            }
        }
        (leaving, staying)
    }

    /// Copies, moves the pointer, removes the originals. Without room for all, undoes the copies, and names the item
    /// that there was none for. Room is made without moving any item that this is about.
    fn try_move(
        &self,
        leaving: &[Moved],
        staying: &[(Place, bool)],
        size: u64,
        next: u64,
        overruled: &mut impl FnMut(Slot, Slot),
    ) -> Result<(), usize> {
        let mut copies: SmallVec<[Place; 16]> = SmallVec::new();
        let mut frozen: SmallVec<[Place; 32]> = leaving.iter().map(|item| item.from).collect();
        frozen.extend(staying.iter().map(|&(place, _)| place));
        for item in leaving {
            let copied = self.place_copy(item, size).or_else(|(home, other)| {
                self.make_room(home, other, &frozen, overruled).ok_or(())?;
                self.place_copy(item, size).map_err(|_| ())
            });
            let Ok(to) = copied else {
                // Originals are untouched, and readers found them all the time.
                for (to, item) in copies.iter().zip(leaving) {
                    self.settle(*to, item.copied, item.from, overruled);
                }
                return Err(copies.len());
            };
            copies.push(to);
            frozen.push(to);
        }
        self.geometry.pointer.store(next, Ordering::Release);
        for &(place, second) in staying {
            self.bucket(place.bucket).set_second(place.slot, second);
        }
        for (item, &to) in leaving.iter().zip(&copies) {
            self.settle(item.from, item.copied, to, overruled);
        }
        Ok(())
    }

    /// Copies an item to a free slot of one of its two places in a table of `size`; both are named if they are full. No
    /// other item is moved for it here: that could take away an original which is yet to be settled.
    fn place_copy(&self, item: &Moved, size: u64) -> Result<Place, (u64, u64)> {
        let new_home = home(item.hash, self.shard_bits, size);
        let new_other = new_home + distance(tag(item.hash));
        let (at_home, at_other) = (self.bucket(new_home).free(), self.bucket(new_other).free());
        let at = if at_home > 0 && (at_home + 2 >= at_other || at_other == 0) { new_home } else { new_other };
        let slot = self.bucket(at).first_free().ok_or((new_home, new_other))?;
        self.bucket(at).fill(slot, item.copied, tag(item.hash), at != new_home);
        Ok(Place { bucket: at, slot })
    }
}
