//! Loom models of what readers and writers do to an index at the same time. They drive the shipped table, sessions and
//! protection of items; only a chunk's bytes are replaced, by a cell in which loom sees every race.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test --release --lib models
//! ```
//! Loom runs every interleaving with at most `LOOM_MAX_PREEMPTIONS` (3 unless set) preemptions, and every value that
//! the memory model lets a load return. It knows sequential consistency of fences only, so what relies on the one order
//! of all
//! `SeqCst` accesses is modelled with the fence that stands beside them (`Session::announce`, `Sessions::announced`).
//!
//! `docs/verification.md` has the table of weakenings that they were seen to catch, and of those that none catches.
#![allow(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use loom::cell::UnsafeCell;
use loom::thread;

use super::hash::{distance, home, tag};
use super::hazard::{Session, Sessions};
use super::reader::{change, protect};
use super::table::{Search, Table};
use crate::slab::{Locator, Slot};
use crate::sync::{AtomicU64, Ordering};

/// Home buckets of the smallest table, and of the next size.
const SMALL: u64 = 8;
const BIG: u64 = 9;

fn explore(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.max_branches = 100_000;
    let runs = Arc::new(AtomicI64::new(0));
    let counter = Arc::clone(&runs);
    builder.check(move || {
        counter.fetch_add(1, Relaxed);
        model();
    });
    println!("{} runs", runs.load(Relaxed));
}

/// A hash whose home is `small` among eight buckets and `big` among nine; `low` becomes its tag.
fn hash_at(small: u64, big: u64, low: u8) -> u64 {
    let hash = (0..72)
        .map(|i| (i * 2 + 1) << 57 | u64::from(low))
        .find(|&h| home(h, 0, SMALL) == small && home(h, 0, BIG) == big);
    hash.expect("a hash with these homes")
}

fn locator(n: u64) -> Locator {
    Locator::from_offset(n as usize * 8)
}

fn table() -> Table {
    Table::new(BIG, 0).expect("memory for a table")
}

fn put(table: &Table, hash: u64, n: u64) {
    assert!(table.insert(hash, Slot::new(locator(n), 0, false, false), |_, _| ()));
}

/// Searches for the item at locator `n`; a chunk that another item has is passed over, as one with another key would
/// be.
fn search(table: &Table, hash: u64, n: u64) -> Search<(&AtomicU64, Slot)> {
    table.search(hash, |word| {
        let slot = Slot(word.load(Ordering::Acquire));
        (slot.locator() == Some(locator(n))).then_some((word, slot))
    })
}

/// A policy's account of its items, that everyone who changes an item's bits corrects by the difference. Not loom's,
/// since only the sum counts, and only at the end.
#[derive(Default)]
struct Account(AtomicI64);

impl Account {
    fn changed(&self, from: Slot, to: Slot) {
        self.0.fetch_add(i64::from(to.bits()) - i64::from(from.bits()), Relaxed);
    }
}

/// A hit, as `shard::read` has it: the policy's bits are changed if the slot is as it was seen, and only then
/// accounted. Whether it was.
fn hit(table: &Table, account: &Account, hash: u64, n: u64, bits: u32) -> bool {
    let Search::Found((word, slot)) = search(table, hash, n) else { return false };
    let to = slot.with_bits(bits);
    let done = change(word, slot, to);
    if done {
        account.changed(slot, to);
    }
    done
}

/// A hit against a replacement and a removal: what the writer takes out has every accounted change in it, so that the
/// account ends at nothing.
///
/// Seen to catch: a slot emptied, replaced or changed by load and store instead of one access.
#[test]
fn every_change_of_a_slot_is_accounted_once() {
    explore(|| {
        let (table, account) = (Arc::new(table()), Arc::new(Account::default()));
        let hash = hash_at(3, 3, 7);
        put(&table, hash, 1);
        let readers = [(1, 4), (2, 9)].map(|(n, bits)| {
            let (table, account) = (Arc::clone(&table), Arc::clone(&account));
            thread::spawn(move || hit(&table, &account, hash, n, bits))
        });
        // As `publish_over` and `remove` of the shard.
        let (place, old) = table.find_locator(hash, locator(1)).expect("the item is in the table");
        let fresh = Slot::new(locator(2), old.bits(), false, false);
        let last = table.replace(place, fresh);
        account.changed(last, fresh);
        let last = table.remove(place);
        account.changed(last, Slot::EMPTY);
        for reader in readers {
            reader.join().expect("a reader");
        }
        assert_eq!(account.0.load(Relaxed), 0);
    });
}

/// Two hits against a move of their item, which is in two slots for a moment: the account is that of the bits that
/// stand.
///
/// Seen to catch: a late change of the original dropped, an overruled change not told.
#[test]
fn a_move_loses_no_change_and_no_account() {
    explore(|| {
        let (table, account) = (Arc::new(table()), Arc::new(Account::default()));
        let hash = hash_at(7, 8, 7);
        put(&table, hash, 1);
        table.begin_growth();
        let readers = [4, 9].map(|bits| {
            let (table, account) = (Arc::clone(&table), Arc::clone(&account));
            thread::spawn(move || hit(&table, &account, hash, 1, bits))
        });
        table.grow_step(1, |_| (), |_| hash, |from, to| account.changed(to, from));
        let hits = readers.map(|reader| reader.join().expect("a reader"));
        let (_, slot) = table.find_locator(hash, locator(1)).expect("the item is in the table");
        assert_eq!(account.0.load(Relaxed), i64::from(slot.bits()));
        assert_eq!(hits.contains(&true), slot.bits() != 0, "a change is lost");
    });
}

/// Chunks whose bytes are one number each. Loom fails when a chunk is written while it is read, or read without all
/// that was written before being visible.
struct Chunks([UnsafeCell<u64>; 3]);

// SAFETY: every access goes through loom's cell, which is there to find those that race.
unsafe impl Sync for Chunks {}

impl Chunks {
    fn new() -> Chunks {
        Chunks(std::array::from_fn(|_| UnsafeCell::new(0)))
    }

    fn write(&self, at: Locator, value: u64) {
        // SAFETY: loom checks that nobody else is inside.
        self.0[at.raw() as usize].with_mut(|bytes| unsafe { *bytes = value });
    }

    fn read(&self, at: Locator) -> u64 {
        // SAFETY: loom checks that nobody writes.
        self.0[at.raw() as usize].with(|bytes| unsafe { *bytes })
    }
}

struct Shard {
    table: Table,
    sessions: Sessions,
    chunks: Chunks,
}

impl Shard {
    /// With the item of `hash` in chunk 1, and one session.
    fn with_item(hash: u64) -> (Arc<Shard>, Arc<Session>) {
        let shard = Shard { table: table(), sessions: Sessions::new(), chunks: Chunks::new() };
        shard.chunks.write(locator(1), 1);
        put(&shard.table, hash, 1);
        let session = shard.sessions.add();
        (Arc::new(shard), session)
    }

    /// Reads as `Pinned` does; the bytes, if the item is there.
    fn read(&self, session: &Session, hash: u64) -> Option<u64> {
        let hazard = session.take_hazard()?;
        let found = self.table.search(hash, |word| {
            let (locator, _) = protect(word, session, hazard)?;
            Some(self.chunks.read(locator))
        });
        session.drop_hazard(hazard);
        match found {
            Search::Found(value) => Some(value),
            _ => None,
        }
    }

    fn is_announced(&self, at: Locator) -> bool {
        self.sessions.announced().binary_search(&at.raw()).is_ok()
    }
}

/// An item is replaced and its chunk used again at once if nobody announces it, under the same key: the reader sees
/// the first, the second or the third value, whole.
///
/// Seen to catch: a missing fence on either side, relaxed announcements, looks or swaps, no second look.
#[test]
fn a_chunk_is_not_reused_under_a_reader() {
    explore(|| {
        let hash = hash_at(3, 3, 7);
        let (shard, session) = Shard::with_item(hash);
        let reader = {
            let shard = Arc::clone(&shard);
            thread::spawn(move || {
                let value = shard.read(&session, hash).expect("a key that is always there");
                assert!((1..=3).contains(&value));
            })
        };
        let (place, _) = shard.table.find_locator(hash, locator(1)).expect("the item is in the table");
        shard.chunks.write(locator(2), 2);
        shard.table.replace(place, Slot::new(locator(2), 0, false, false));
        if !shard.is_announced(locator(1)) {
            shard.chunks.write(locator(1), 3);
            shard.table.replace(place, Slot::new(locator(1), 0, false, false));
        }
        reader.join().expect("the reader");
    });
}

/// An item is removed and its chunk used for another key.
#[test]
fn a_removed_item_is_not_overwritten_under_a_reader() {
    explore(|| {
        let hash = hash_at(3, 3, 7);
        let (shard, session) = Shard::with_item(hash);
        let reader = {
            let shard = Arc::clone(&shard);
            thread::spawn(move || {
                let value = shard.read(&session, hash);
                assert!(matches!(value, None | Some(1)), "{value:?}");
            })
        };
        let (place, _) = shard.table.find_locator(hash, locator(1)).expect("the item is in the table");
        shard.table.remove(place);
        if !shard.is_announced(locator(1)) {
            shard.chunks.write(locator(1), 9);
        }
        reader.join().expect("the reader");
    });
}

/// A slot is emptied and filled again, with an item of the same tag: a reader that has seen the tag before comes to
/// the new item through the slot alone, and finds its bytes whole.
///
/// Seen to catch: `fill` with a relaxed store of the slot.
#[test]
fn a_refilled_slot_leads_to_whole_bytes() {
    explore(|| {
        let hash = hash_at(3, 3, 7);
        let (shard, session) = Shard::with_item(hash);
        let reader = {
            let shard = Arc::clone(&shard);
            thread::spawn(move || assert!(matches!(shard.read(&session, hash), None | Some(1 | 2))))
        };
        let (place, _) = shard.table.find_locator(hash, locator(1)).expect("the item is in the table");
        shard.table.remove(place);
        shard.chunks.write(locator(2), 2);
        put(&shard.table, hash, 2);
        reader.join().expect("the reader");
    });
}

/// Two readers of one item, of which one takes its announcement back: the other's still counts.
#[test]
fn each_reader_protects_for_itself() {
    explore(|| {
        let hash = hash_at(3, 3, 7);
        let (shard, session) = Shard::with_item(hash);
        let sessions = [session, shard.sessions.add()];
        assert_eq!(shard.sessions.count(), 2);
        let readers = sessions.map(|session| {
            let shard = Arc::clone(&shard);
            thread::spawn(move || assert!(matches!(shard.read(&session, hash), None | Some(1))))
        });
        let (place, _) = shard.table.find_locator(hash, locator(1)).expect("the item is in the table");
        shard.table.remove(place);
        if !shard.is_announced(locator(1)) {
            shard.chunks.write(locator(1), 9);
        }
        for reader in readers {
            reader.join().expect("a reader");
        }
    });
}

/// A hash whose two places are others, both of them, in the next size: 7 and 11, then 8 and 12.
fn far_mover() -> u64 {
    let hash = hash_at(7, 8, 8);
    assert_eq!(distance(tag(hash)), 4);
    hash
}

/// Searches while `change` is made to a table with this item in it, and once it is through.
fn always_found(hash: u64, prepare: impl Fn(&Table), change: impl Fn(&Table)) {
    let table = Arc::new(table());
    prepare(&table);
    let reader = {
        let table = Arc::clone(&table);
        thread::spawn(move || {
            let found = search(&table, hash, 1);
            assert!(!matches!(found, Search::Missing), "an item that is there was not found");
        })
    };
    change(&table);
    reader.join().expect("the reader");
    assert!(matches!(search(&table, hash, 1), Search::Found(_)));
}

/// The table grows by a step that moves the item, and then to the end.
///
/// Seen to catch: a miss believed too early, `moves` relaxed or not odd, the original gone before its copy is there.
#[test]
fn an_item_is_found_while_its_table_grows() {
    let hash = far_mover();
    explore(move || {
        always_found(
            hash,
            |table| put(table, hash, 1),
            |table| {
                table.begin_growth();
                table.grow_step(1, |_| (), |_| hash, |_, _| ());
            },
        );
    });
}

/// The step back: the table shrinks to eight buckets, from nine that hold the item in the last.
#[test]
fn an_item_is_found_while_its_table_shrinks() {
    let hash = far_mover();
    explore(move || {
        always_found(
            hash,
            |table| {
                table.begin_growth();
                assert!(table.grow_step(SMALL, |_| (), |_| hash, |_, _| ()));
                put(table, hash, 1);
                assert!(table.begin_shrink(u64::MAX / 8));
                table.shrink_step(SMALL - 1, |_| (), |_| hash, |_, _| ());
            },
            |table| assert!(table.shrink_step(1, |_| (), |_| hash, |_, _| ())),
        );
    });
}

/// Both places of a new item are full: one that is there moves to its other place.
#[test]
fn an_item_is_found_while_it_makes_room() {
    // Tags of distances 4 and 1: only the item searched for has a place outside the two full buckets.
    let (hash, filler) = (hash_at(3, 3, 8), hash_at(3, 3, 7));
    explore(move || {
        always_found(
            hash,
            |table| {
                put(table, hash, 1);
                (2..=14).for_each(|n| put(table, filler, n));
            },
            |table| {
                put(table, filler, 15);
                let (place, _) = table.find_locator(hash, locator(1)).expect("the item is in the table");
                assert_eq!(place.bucket, 3 + distance(tag(hash)));
            },
        );
    });
}

/// A step that finds no room: the copies already made are taken back, and the account is that of the bits that stand.
#[test]
fn a_step_taken_back_loses_nothing() {
    // Items 1 and 2 would move from bucket 7 to 8 or 9. The others have distance 4, so that buckets 4 and 8 are
    // theirs, and 5 and 9: of these 28 slots one is free.
    let (hash, even, odd) = (hash_at(7, 8, 7), hash_at(4, 4, 8), hash_at(5, 5, 8));
    explore(move || {
        let (table, account) = (Arc::new(table()), Arc::new(Account::default()));
        put(&table, hash, 1);
        put(&table, hash, 2);
        (3..=16).for_each(|n| put(&table, even, n));
        (17..=29).for_each(|n| put(&table, odd, n));
        table.begin_growth();
        let readers = [4, 9].map(|bits| {
            let (table, account) = (Arc::clone(&table), Arc::clone(&account));
            thread::spawn(move || hit(&table, &account, hash, 1, bits))
        });
        assert!(!table.grow_step(1, |_| (), |_| hash, |from, to| account.changed(to, from)));
        let hits = readers.map(|reader| reader.join().expect("a reader"));
        let (place, slot) = table.find_locator(hash, locator(1)).expect("the item is in the table");
        assert_eq!((place.bucket, account.0.load(Relaxed)), (7, i64::from(slot.bits())));
        assert_eq!(hits.contains(&true), slot.bits() != 0, "a change is lost");
    });
}
