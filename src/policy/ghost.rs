//! Who left lately: a table of fingerprints with the order of a queue, but no queue.
//!
//! ```text
//!  bucket, 64 bytes, 21 entries of 24 bits:  lanes 0..21, 16 bits each    lanes 21..32: 21 bytes
//!                                            fingerprint 13 │ uses 3      age stamp 6 │ region 1 │ uses 1
//! ```
//! Each region has a clock: the bytes that have left it so far. An entry's stamp is that clock in units of 1/32 of the
//! byte budget, modulo 64, and the entry counts while it is inside its region's window, the last `clock - tail` bytes.
//! When the windows together exceed the budget, the larger one loses at its tail. This is what two first-in first-out
//! queues with a common limit in bytes would remember, to within a unit.
//!
//! 1. `clock - tail` of both regions add up to at most the budget.
//! 2. An entry is removed (overwritten, or by the scrubber) before its stamp is 64 units old and would look new again.
//!    Should the scrubber be late, old items are remembered that should not be: a worse choice, nothing else.
//! 3. Uses of zero mean an empty place.
//!
//! The table has room for a fixed number of entries for each cached item. When the number of items has moved too far, a
//! new table takes over; the old one is looked up until the budget has been pushed once, then freed. Tables are made by
//! `maintain` only, and only in memory that was granted; until then the table at hand has to do.

use super::mix;

const LANES: usize = 32;
const ENTRIES: usize = 21;
/// Units in the budget; a stamp has twice as many values, so that there is time to scrub.
const UNITS: u64 = 32;
const STAMP: u64 = 2 * UNITS - 1;
const FINGERPRINT: u16 = (1 << 13) - 1;
/// Uses that the four bits stand for.
const USES: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 22, 29, 38, 50, 63];
/// The last of them that is not more than an item's uses.
const LEVELS: [u8; 64] = {
    let mut levels = [0; 64];
    let (mut uses, mut level) = (0, 0);
    while uses < levels.len() {
        if level + 1 < USES.len() && USES[level + 1] as usize <= uses {
            level += 1;
        }
        levels[uses] = level as u8;
        uses += 1;
    }
    levels
};
/// Buckets scrubbed with one push, at most; what is left is done by `maintain`.
const SCRUB_PUSH: u64 = 2;
const SCRUB_MAINTAIN: u64 = 128;

#[derive(Debug)]
pub(crate) struct Ghost {
    table: Table,
    old: Option<Old>,
    /// Bytes that have left a region.
    clock: [u64; 2],
    /// Of these, the ones forgotten.
    tail: [u64; 2],
    budget: u64,
    slots_per_item: f64,
    /// What the table was made for.
    made_for: (u64, u64),
    /// Buckets still to be scrubbed, times the budget.
    debt: u64,
    cursor: usize,
}

#[derive(Debug)]
struct Old {
    table: Table,
    /// Freed when both clocks together reach this.
    until: u64,
}

#[derive(Debug)]
struct Table {
    lanes: Vec<u16>,
    /// First lane on a cache line's boundary.
    start: usize,
    buckets: usize,
    /// Bytes in one unit of a stamp.
    unit: u64,
}

/// One entry, unpacked.
#[derive(Debug, Clone, Copy)]
struct Entry {
    region: usize,
    uses: usize,
    stamp: u64,
}

/// Where a hash lives: bucket and fingerprint. Mixed again because a shard's hashes have bits in common.
fn place(hash: u64, buckets: usize) -> (usize, u16) {
    let mixed = mix(hash);
    let bucket = (u128::from(mixed) * buckets as u128) >> 64;
    (bucket as usize, mixed as u16 & FINGERPRINT)
}

impl Table {
    fn new(entries: u64, budget: u64) -> Self {
        let buckets = (entries as usize).div_ceil(ENTRIES).max(1);
        let lanes = vec![0u16; (buckets + 1) * LANES];
        let start = lanes.as_ptr().align_offset(64).min(LANES);
        Table { lanes, start, buckets, unit: (budget / UNITS).max(1) }
    }

    #[inline]
    fn prefetch(&self, hash: u64) {
        crate::slab::prefetch(&raw const self.lanes[self.start + place(hash, self.buckets).0 * LANES]);
    }

    fn bucket(&mut self, bucket: usize) -> &mut [u16] {
        let at = self.start + bucket * LANES;
        &mut self.lanes[at..at + LANES]
    }
}

fn read(bucket: &[u16], i: usize) -> Option<Entry> {
    let byte = bucket[ENTRIES + i / 2] >> (8 * (i & 1)) & 0xff;
    let uses = usize::from(bucket[i] >> 13 | (byte & 1) << 3);
    (uses > 0).then(|| Entry { region: usize::from(byte >> 1 & 1), uses, stamp: u64::from(byte >> 2) })
}

fn write(bucket: &mut [u16], i: usize, fingerprint: u16, entry: Entry) {
    let uses = entry.uses as u16;
    bucket[i] = fingerprint | (uses & 7) << 13;
    let byte = (entry.stamp as u16) << 2 | (entry.region as u16) << 1 | uses >> 3;
    let (lane, shift) = (ENTRIES + i / 2, 8 * (i & 1));
    bucket[lane] = bucket[lane] & !(0xff << shift) | byte << shift;
}

fn clear(bucket: &mut [u16], i: usize) {
    write(bucket, i, 0, Entry { region: 0, uses: 0, stamp: 0 });
}

/// The regions' clocks and windows in a table's units, from which follows what is left of an entry's time.
#[derive(Debug, Clone, Copy)]
struct Times {
    now: [u8; 2],
    window: [u8; 2],
}

impl Times {
    fn new(clock: &[u64; 2], tail: &[u64; 2], unit: u64) -> Self {
        let now = clock.map(|clock| ((clock / unit) & STAMP) as u8);
        // A window is at most the budget, but a table outlives changes of that.
        let window = [0, 1].map(|region| ((clock[region] - tail[region]) / unit).min(STAMP) as u8);
        Times { now, window }
    }

    fn age(&self, entry: Entry) -> u64 {
        u64::from(self.now[entry.region]).wrapping_sub(entry.stamp) & STAMP
    }

    /// Whether an entry still counts.
    fn counts(&self, entry: Entry) -> bool {
        self.age(entry) <= u64::from(self.window[entry.region])
    }

    /// The place in a bucket that is empty, or else the one whose entry will be forgotten first.
    fn first_to_go(&self, bucket: &[u16]) -> usize {
        if let Some(empty) = (0..ENTRIES).find(|&i| bucket[i] >> 13 == 0 && read(bucket, i).is_none()) {
            return empty;
        }
        // What is left of eight entries' times at once, in units and 64 too many, so that no byte borrows from the next.
        const ONES: u64 = 0x0101_0101_0101_0101;
        let mut left = [0u8; ENTRIES.next_multiple_of(8)];
        for (left, lanes) in left.chunks_exact_mut(8).zip(bucket[ENTRIES..].chunks(4)) {
            let bytes = lanes.iter().rev().fold(0, |bytes, &lane| bytes << 16 | u64::from(lane));
            let second = ((bytes >> 1) & ONES) * 0xff;
            let select = |of: [u8; 2]| ((u64::from(of[0]) * ONES) & !second) | ((u64::from(of[1]) * ONES) & second);
            let stamps = (bytes >> 2) & (STAMP * ONES);
            let ages = (select(self.now) + (STAMP + 1) * ONES - stamps) & (STAMP * ONES);
            left.copy_from_slice(&(select(self.window) + (STAMP + 1) * ONES - ages).to_le_bytes());
        }
        (0..ENTRIES).min_by_key(|&i| left[i]).unwrap_or(0)
    }
}

impl Ghost {
    /// A memory of `budget` bytes of items, with a table of `slots_per_item` places for each of `items`.
    pub(crate) fn new(items: u64, budget: u64, slots_per_item: f64) -> Self {
        let budget = budget.max(1);
        Ghost {
            table: Table::new(entries(items, slots_per_item), budget),
            old: None,
            clock: [0; 2],
            tail: [0; 2],
            budget,
            slots_per_item,
            made_for: (items, budget),
            debt: 0,
            cursor: 0,
        }
    }

    /// The bytes a region's window spans.
    pub(crate) fn window(&self, region: usize) -> u64 {
        self.clock[region] - self.tail[region]
    }

    /// Bytes that have left a region.
    pub(crate) fn left(&self, region: usize) -> u64 {
        self.clock[region]
    }

    pub(crate) fn memory(&self) -> u64 {
        let lanes = self.table.lanes.capacity() + self.old.as_ref().map_or(0, |old| old.table.lanes.capacity());
        (lanes * 2) as u64
    }

    /// Asks for the cache line that a hash's entry is in, or will be.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        self.table.prefetch(hash);
        if let Some(old) = &self.old {
            old.table.prefetch(hash);
        }
    }

    /// Forgets an item and tells what was known: its region, its uses, and the bytes that its region has lost since.
    pub(crate) fn take(&mut self, hash: u64) -> Option<(usize, u32, u64)> {
        let old = self.old.as_mut().map(|old| &mut old.table);
        for table in [Some(&mut self.table), old].into_iter().flatten() {
            let (unit, times) = (table.unit, Times::new(&self.clock, &self.tail, table.unit));
            let (bucket, fingerprint) = place(hash, table.buckets);
            let bucket = table.bucket(bucket);
            // Nearly always nothing is like it, which all at once tell faster than one after the other.
            if bucket[..ENTRIES].iter().fold(true, |none, lane| none & (lane & FINGERPRINT != fingerprint)) {
                continue;
            }
            for i in 0..ENTRIES {
                if bucket[i] & FINGERPRINT != fingerprint {
                    continue;
                }
                if let Some(entry) = read(bucket, i) {
                    clear(bucket, i);
                    if times.counts(entry) {
                        return Some((entry.region, u32::from(USES[entry.uses]), times.age(entry) * unit));
                    }
                }
            }
        }
        None
    }

    /// Remembers an item that left a region.
    pub(crate) fn push(&mut self, hash: u64, region: usize, uses: u32, size: u32) {
        let size = u64::from(size).min(self.budget);
        self.clock[region] += size;
        self.forget();
        let unit = self.table.unit;
        let uses = LEVELS[uses.clamp(1, 63) as usize];
        let entry = Entry { region, uses: usize::from(uses), stamp: (self.clock[region] / unit) & STAMP };
        let (bucket, fingerprint) = place(hash, self.table.buckets);
        let times = Times::new(&self.clock, &self.tail, unit);
        let bucket = self.table.bucket(bucket);
        let i = times.first_to_go(bucket);
        write(bucket, i, fingerprint, entry);
        // The whole table is to be scrubbed while half the budget is pushed.
        let buckets = self.table.buckets as u64;
        let most = self.budget.saturating_mul(buckets);
        self.debt = self.debt.saturating_add(size.saturating_mul(2 * buckets)).min(most);
        self.scrub(SCRUB_PUSH);
        if self.old.as_ref().is_some_and(|old| self.clock[0] + self.clock[1] > old.until) {
            self.old = None;
        }
    }

    /// Shrinks the windows, the larger one first, until they fit the budget.
    fn forget(&mut self) {
        let windows = [self.window(0), self.window(1)];
        let excess = (windows[0] + windows[1]).saturating_sub(self.budget);
        if excess == 0 {
            return;
        }
        let larger = usize::from(windows[1] > windows[0]);
        let difference = windows[larger] - windows[1 - larger];
        let first = excess.min(difference);
        let rest = excess - first;
        self.tail[larger] += first + rest.div_ceil(2);
        self.tail[1 - larger] += rest / 2;
    }

    fn scrub(&mut self, most: u64) {
        for _ in 0..most {
            if self.debt < self.budget {
                return;
            }
            self.debt -= self.budget;
            self.cursor = (self.cursor + 1) % self.table.buckets;
            let times = Times::new(&self.clock, &self.tail, self.table.unit);
            let bucket = self.table.bucket(self.cursor);
            for i in 0..ENTRIES {
                if read(bucket, i).is_some_and(|entry| !times.counts(entry)) {
                    clear(bucket, i);
                }
            }
        }
    }

    /// A bounded step: makes the ghost if there is none, scrubs, follows the budget, and makes a new table when the
    /// cache has changed too much. A table is made when its bytes are at most `granted`; else nothing is, and they are
    /// returned.
    pub(crate) fn maintain(
        ghost: &mut Option<Ghost>,
        items: u64,
        budget: u64,
        slots_per_item: f64,
        granted: u64,
    ) -> u64 {
        let wanted = table_bytes(entries(items, slots_per_item));
        let Some(ghost) = ghost else {
            if wanted > granted {
                return wanted;
            }
            *ghost = Some(Ghost::new(items, budget, slots_per_item));
            return 0;
        };
        ghost.scrub(SCRUB_MAINTAIN);
        ghost.budget = budget.max(1);
        ghost.forget();
        if !ghost.is_off(items) {
            return 0;
        }
        if wanted > granted {
            return wanted;
        }
        ghost.renew(items);
        0
    }

    /// Whether the cache is no longer what the table was made for.
    fn is_off(&self, items: u64) -> bool {
        let (made_items, made_budget) = self.made_for;
        let off = |now: u64, then: u64| now > then + then / 2 || now < then / 4 * 3;
        self.old.is_none() && items > 0 && (off(items, made_items) || off(self.budget, made_budget))
    }

    fn renew(&mut self, items: u64) {
        let table = Table::new(entries(items, self.slots_per_item), self.budget);
        let table = std::mem::replace(&mut self.table, table);
        self.old = Some(Old { table, until: self.clock[0] + self.clock[1] + self.budget });
        self.made_for = (items, self.budget);
        (self.debt, self.cursor) = (0, 0);
    }
}

/// Bytes of a table with room for so many entries; one bucket more than needed, to begin on a cache line.
fn table_bytes(entries: u64) -> u64 {
    (entries.div_ceil(ENTRIES as u64).max(1) + 1) * (2 * LANES as u64)
}

fn entries(items: u64, slots_per_item: f64) -> u64 {
    (items.max(32) as f64 * slots_per_item) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::sample::Rng;

    #[test]
    fn entries_survive_packing() {
        let mut bucket = [0u16; LANES];
        let entry = |i: usize| Entry { region: i % 2, uses: 1 + i % 15, stamp: (i * 3) as u64 & STAMP };
        for i in 0..ENTRIES {
            write(&mut bucket, i, (i * 391) as u16 & FINGERPRINT, entry(i));
        }
        for i in 0..ENTRIES {
            let (got, want) = (read(&bucket, i).unwrap(), entry(i));
            assert_eq!((got.region, got.uses, got.stamp), (want.region, want.uses, want.stamp));
            assert_eq!(bucket[i] & FINGERPRINT, (i * 391) as u16 & FINGERPRINT);
        }
    }

    #[test]
    fn remembers_as_a_queue_of_bytes_would() {
        let mut rng = Rng::new(7);
        let mut ghost = Ghost::new(1000, 64_000, 3.0);
        let mut pushed: [Vec<(u64, u32)>; 2] = [vec![], vec![]];
        for _ in 0..20_000 {
            let (hash, region, size) =
                (rng.next(), usize::from(rng.next().is_multiple_of(3)), 1 + (rng.next() % 128) as u32);
            ghost.push(hash, region, 5, size);
            pushed[region].push((hash, size));
        }
        assert!(ghost.window(0) + ghost.window(1) <= 64_000);
        for (region, pushed) in pushed.iter().enumerate() {
            let (window, mut newer) = (ghost.window(region), 0);
            let (mut wrong, mut asked) = (0, 0);
            for &(hash, size) in pushed.iter().rev() {
                newer += u64::from(size);
                let sure = newer < window - 4_000 || newer > window + 4_000;
                let want = (newer < window).then_some((region, 5));
                asked += usize::from(sure);
                wrong += usize::from(sure && ghost.take(hash).map(|known| (known.0, known.1)) != want);
            }
            assert!(wrong * 100 < asked, "{wrong} of {asked} wrong in region {region}");
        }
    }

    #[test]
    fn follows_the_number_of_items() {
        let mut made = None;
        let maintain =
            |ghost: &mut Option<Ghost>, items, granted| Ghost::maintain(ghost, items, items * 100, 2.0, granted);
        let wanted = maintain(&mut made, 1000, 0);
        assert!(made.is_none(), "nothing is made without a grant");
        assert_eq!(maintain(&mut made, 1000, wanted), 0);
        let before = made.as_ref().unwrap().memory();
        assert_eq!(before, wanted);
        made.as_mut().unwrap().push(1, 0, 1, 50);
        let wanted = maintain(&mut made, 4000, 0);
        assert_eq!(made.as_ref().unwrap().memory(), before, "the old table has to do");
        assert_eq!(maintain(&mut made, 4000, wanted), 0);
        let mut ghost = made.unwrap();
        assert_eq!(ghost.memory(), before + wanted);
        assert_eq!(ghost.take(1).map(|known| (known.0, known.1)), Some((0, 1)), "the old table is looked up");
        for i in 0..10_000 {
            ghost.push(100 + i, 1, 2, 50);
        }
        assert!(ghost.memory() < 5 * before, "the old table is freed");
    }
}
