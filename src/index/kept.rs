//! A table as a warm restart keeps it: its sizes and its buckets' words, and the way back, which trusts none of them.
//!
//! A bucket is kept as it is in memory, eight words, but for what its slots hold beside the locator: 23 bits of rank in
//! place of the policy's bits, and whether the item was fetched. Which policy comes next is then of no importance, and
//! there is no policy state that could be wrong.
//!
//! ```text
//!  63       62         61             40 39          0
//! ┌────────┬──────────┬─────────────────┬─────────────┐
//! │ rank 23│ fetched  │ rank, low 22    │ locator     │
//! └────────┴──────────┴─────────────────┴─────────────┘
//! ```

use super::bucket::{SLOTS, WORDS};
use super::hash::{distance, tag};
use super::table::{MIN_BUCKETS, Place, SPILL, Table};
use crate::error::Result;
use crate::policy::{POLICY_BITS, Rank};
use crate::slab::{Locator, Slot};
use crate::sync::Ordering;

/// Bytes of a bucket.
pub(crate) const BUCKET_BYTES: usize = WORDS * 8;

/// The numbers from which homes are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sizes {
    pub(crate) small: u64,
    pub(crate) big: u64,
    pub(crate) pointer: u64,
}

impl Sizes {
    /// Buckets of such a table, second places included.
    pub(crate) fn buckets(&self) -> u64 {
        self.big.saturating_add(SPILL)
    }
}

/// The rank in 23 bits: that of a snapshot with its age cut short.
fn short_code(rank: Rank) -> u32 {
    let age = u32::from(rank.age).min((1 << 14) - 1);
    u32::from(rank.protected) << 22 | u32::from(rank.uses) << 14 | age
}

fn rank_of(code: u32) -> Rank {
    Rank { protected: code >> 22 & 1 == 1, uses: (code >> 14) as u8, age: (code & ((1 << 14) - 1)) as u16 }
}

/// What a kept slot says of its item's rank.
pub(crate) fn kept_rank(slot: Slot) -> Rank {
    rank_of(slot.bits() | u32::from(slot.is_volatile()) << POLICY_BITS)
}

fn kept_slot(slot: Slot, rank: Rank) -> Slot {
    let code = short_code(rank);
    slot.with_bits(code & ((1 << POLICY_BITS) - 1)).with_volatile(code >> POLICY_BITS == 1)
}

impl Table {
    /// Its sizes as they are.
    pub(crate) fn kept_sizes(&self) -> Sizes {
        let g = &*self.geometry;
        Sizes {
            small: g.small.load(Ordering::Acquire),
            big: g.big.load(Ordering::Acquire),
            pointer: g.pointer.load(Ordering::Acquire),
        }
    }

    /// A bucket's words with ranks in place of policy bits. Under the lock, with no reader at work.
    pub(crate) fn kept_bucket(&self, at: u64, rank: impl Fn(Slot) -> Rank) -> [u64; WORDS] {
        let words = self.bucket(at).0;
        let mut kept: [u64; WORDS] = std::array::from_fn(|i| words[i].load(Ordering::Acquire));
        for word in &mut kept[1..] {
            let slot = Slot(*word);
            if slot.locator().is_some() {
                *word = kept_slot(slot, rank(slot)).0;
            }
        }
        kept
    }

    /// An empty table of these sizes; None if there can be no such table.
    pub(crate) fn kept(least: u64, max_buckets: u64, shard_bits: u32, sizes: Sizes) -> Result<Option<Table>> {
        let table = Table::with_least(least, max_buckets, shard_bits)?;
        let Sizes { small, big, pointer } = sizes;
        if small < MIN_BUCKETS || small > big || big > table.max_buckets() || pointer > small {
            return Ok(None);
        }
        table.geometry.small.store(small, Ordering::Release);
        table.geometry.big.store(big, Ordering::Release);
        table.geometry.pointer.store(pointer, Ordering::Release);
        Ok(Some(table))
    }

    /// Puts kept words into a bucket of a table that nobody else knows yet. How many slots are filled; None if the
    /// words are not those of a bucket.
    pub(crate) fn put_bucket(&self, at: u64, words: &[u64; WORDS]) -> Option<u64> {
        let tags = words[0];
        let mut filled = 0;
        for (i, &word) in words[1..].iter().enumerate() {
            let (has_tag, is_second) = ((tags >> (8 * i)) as u8 != 0, tags >> (56 + i) & 1 == 1);
            let is_filled = Slot(word).locator().is_some();
            if has_tag != is_filled || (!is_filled && (word != 0 || is_second)) {
                return None;
            }
            filled += u64::from(is_filled);
        }
        if tags >> (56 + SLOTS) != 0 {
            return None;
        }
        let bucket = self.bucket(at);
        bucket.0.iter().zip(words).for_each(|(to, &word)| to.store(word, Ordering::Release));
        Some(filled)
    }

    /// Where the item at this locator, with a key of this hash, is: only in a bucket where it may be, under the right
    /// tag, and marked rightly as at home or not.
    pub(crate) fn find_exactly(&self, hash: u64, locator: Locator) -> Option<(Place, Slot)> {
        let (home, other) = self.places(hash);
        let (place, slot) = self.find_locator(hash, locator)?;
        let right = (tag(hash), place.bucket == other && other == home + distance(tag(hash)));
        (self.bucket(place.bucket).tag(place.slot) == right).then_some((place, slot))
    }

    /// Overwrites a slot of a table that nobody else knows yet.
    pub(crate) fn put_slot(&self, place: Place, slot: Slot) {
        self.word(place).store(slot.0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_fit_beside_locator_and_use() {
        let locator = Locator::from_offset(8 * 12345);
        for (protected, uses, age) in [(false, 0, 0), (true, 255, 16_383), (true, 3, 77), (false, 255, 1)] {
            let rank = Rank { protected, uses, age };
            let kept = kept_slot(Slot::new(locator, 5, true, true), rank);
            assert_eq!((kept.locator(), kept_rank(kept), kept.is_fetched()), (Some(locator), rank, true));
        }
        assert_eq!(rank_of(short_code(Rank { protected: true, uses: 1, age: 32_767 })).age, 16_383);
    }

    #[test]
    fn what_is_no_bucket_is_refused() {
        let table = Table::kept(8, 64, 0, Sizes { small: 8, big: 8, pointer: 0 }).unwrap().unwrap();
        let mut words = [0; WORDS];
        assert_eq!(table.put_bucket(0, &words), Some(0));
        (words[0], words[3]) = (0x0000_0000_0077_0000, 99);
        assert_eq!(table.put_bucket(0, &words), Some(1));
        for (word, value) in [(0, 0), (3, 0), (4, 99), (0, 0x8000_0000_0077_0000), (0, 0x0200_0000_0077_0000)] {
            let mut bad = words;
            bad[word] = value;
            assert_eq!(table.put_bucket(0, &bad), None, "{word} {value:#x}");
        }
        for (small, big, pointer) in [(7, 8, 0), (9, 8, 0), (8, 65, 0), (8, 9, 9)] {
            assert!(Table::kept(8, 64, 0, Sizes { small, big, pointer }).unwrap().is_none());
        }
    }
}
