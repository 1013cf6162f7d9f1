//! Every kind of damage to the two files: refused with a reason, or without consequence; never a panic or a wrong read.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;

use larder::{Cache, ColdReason, ManualClock, SetOptions, Start, WarmRestart};

use super::{Folder, builder, is_warm, reason};

/// A folder with a closed cache in it, as bytes: `state`, and the beginning of `items` that holds anything.
struct Closed {
    folder: Folder,
    clock: ManualClock,
    state: Vec<u8>,
    items: Vec<u8>,
    items_len: u64,
}

const ITEMS: u32 = 40;

impl Closed {
    fn new(checksums: bool) -> Closed {
        let (folder, clock) = (Folder::new(), ManualClock::new(1_000_000));
        let warm = WarmRestart::new(&folder.0).checksums(checksums);
        let cache = builder(&folder, &clock).page_size(1024).warm_restart(warm).build().unwrap();
        for i in 0..ITEMS {
            let options = SetOptions::new().tags([&b"t"[..]]).flags(i).want_token();
            let options = if i % 3 == 0 { SetOptions::new() } else { options };
            cache.namespace((i % 2) as u8).set_with(&i.to_le_bytes(), &value(i), &options).unwrap();
        }
        for i in (0..ITEMS).step_by(7) {
            cache.namespace((i % 2) as u8).remove(&i.to_le_bytes());
        }
        cache.close().unwrap();
        let state = fs::read(folder.0.join("state")).unwrap();
        let file = fs::File::open(folder.0.join("items")).unwrap();
        let mut items = vec![0; 64 << 10];
        file.read_exact_at(&mut items, 0).unwrap();
        while items.last() == Some(&0) {
            items.pop();
        }
        Closed { folder, clock, state, items, items_len: file.metadata().unwrap().len() }
    }

    /// The files as they were, but for what `change` does to them.
    fn put(&self, change: impl FnOnce(&mut Vec<u8>, &mut Vec<u8>)) {
        let (mut state, mut items) = (self.state.clone(), self.items.clone());
        change(&mut state, &mut items);
        fs::write(self.folder.0.join("state"), &state).unwrap();
        let path = self.folder.0.join("items");
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(path).unwrap();
        file.write_all_at(&items, 0).unwrap();
        file.set_len(self.items_len).unwrap();
    }

    fn open(&self) -> Cache {
        builder(&self.folder, &self.clock).page_size(1024).build().unwrap()
    }

    /// Opens the cache and looks at everything. Whether it began warm.
    fn check(&self, values_may_differ: bool) -> bool {
        let cache = self.open();
        cache.check_invariants();
        for i in 0..ITEMS {
            let handle = cache.namespace((i % 2) as u8);
            if let Some(found) = handle.peek(&i.to_le_bytes()).unwrap() {
                assert!(is_warm(&cache) && (values_may_differ || *found == *value(i)));
            }
        }
        for i in 0..60u32 {
            cache.set(&i.to_be_bytes(), &[1; 200]).unwrap();
        }
        cache.invalidate_tag(b"t");
        cache.clear_all();
        let _ = cache.run_maintenance(std::time::Duration::from_secs(1));
        cache.check_invariants();
        is_warm(&cache)
    }
}

fn value(i: u32) -> Vec<u8> {
    vec![i as u8; if i == 5 { 3000 } else { 20 + i as usize * 5 }]
}

#[test]
fn every_flipped_byte_of_state_is_found() {
    let closed = Closed::new(false);
    closed.put(|_, _| {});
    assert!(closed.check(false), "untouched, it is warm");
    for at in (0..closed.state.len()).step_by(17).chain(0..150) {
        closed.put(|state, _| state[at] ^= 1 << (at % 8));
        assert!(!closed.check(false), "byte {at} of {}", closed.state.len());
    }
    for len in (0..closed.state.len()).step_by(197) {
        closed.put(|state, _| state.truncate(len));
        assert!(!closed.check(false), "cut at {len}");
    }
    closed.put(|state, _| state.push(0));
    assert!(!closed.check(false));
}

#[test]
fn flipped_bytes_of_items_do_no_harm_and_with_sums_are_found() {
    for checksums in [false, true] {
        let closed = Closed::new(checksums);
        let step = (closed.items.len() / 400) | 1;
        for at in (0..closed.items.len()).step_by(step) {
            closed.put(|_, items| items[at] ^= 1 << (at / step % 8));
            closed.check(!checksums);
        }
        for i in (0..ITEMS).filter(|i| i % 7 != 0) {
            let key_and_value = [&i.to_le_bytes()[..], &value(i)].concat();
            let mut places = closed.items.windows(key_and_value.len());
            let key = places.position(|bytes| bytes == key_and_value).expect("the item is there");
            closed.put(|_, items| items[key + i as usize % 4] ^= 1);
            assert!(!closed.check(false), "keys are verified: {i}");
            closed.put(|_, items| items[key + 4] ^= 1);
            assert_eq!(closed.check(true), !checksums, "values have sums, or are not looked at: {i}");
        }
        if checksums {
            // What is in no page, or in none that was ever written, is nobody's.
            closed.put(|_, items| {
                let at = items.len() - 1;
                items[at] ^= 1;
            });
            assert!(!closed.check(false), "the last byte of an item");
        }
    }
}

/// The same sum as in the files, so that what lies behind the sums is reached too.
fn seal(state: &mut [u8]) {
    let len = u64::from_le_bytes(state[16..24].try_into().unwrap()) as usize;
    let sum = rapidhash::v3::rapidhash_v3_inline::<true, false, false>(
        &state[..len - 8],
        &rapidhash::v3::RapidSecrets::seed_cpp(0x6c61_7264),
    );
    state[len - 8..len].copy_from_slice(&sum.to_le_bytes());
}

#[test]
fn a_header_with_a_right_sum_is_not_trusted_either() {
    let closed = Closed::new(false);
    let len = u64::from_le_bytes(closed.state[16..24].try_into().unwrap()) as usize;
    for at in 24..len - 8 {
        closed.put(|state, _| {
            state[at] ^= [1, 0x80][at / 8 % 2];
            seal(state);
        });
        // Some numbers may have any value: the start, say. Values are never others.
        closed.check(false);
    }
}

#[test]
fn files_that_are_gone_short_or_of_another_run_are_refused() {
    let closed = Closed::new(false);
    closed.put(|_, _| {});
    fs::remove_file(closed.folder.0.join("items")).unwrap();
    assert_eq!(reason(&closed.open()), ColdReason::Damaged);
    closed.put(|_, _| {});
    fs::remove_file(closed.folder.0.join("state")).unwrap();
    assert_eq!(reason(&closed.open()), ColdReason::NotClosed);
    for len in [0, 16, 1024, 8192, closed.items_len - 1, closed.items_len + 4096] {
        closed.put(|_, _| {});
        let items = OpenOptions::new().write(true).open(closed.folder.0.join("items")).unwrap();
        items.set_len(len).unwrap();
        assert_eq!(reason(&closed.open()), ColdReason::Damaged, "{len}");
    }
    // Items of one run with the state of another.
    let other = Closed::new(false);
    closed.put(|_, items| items.clone_from(&other.items));
    assert_eq!(reason(&closed.open()), ColdReason::Damaged);
    closed.put(|state, _| state[8] ^= 3);
    assert_eq!(reason(&closed.open()), ColdReason::Format);
    closed.put(|state, _| state[12..16].reverse());
    assert_eq!(reason(&closed.open()), ColdReason::Format);
    closed.put(|_, _| {});
    let cache = closed.open();
    assert!(matches!(cache.start(), Some(Start::Warm(warm)) if warm.items == u64::from(ITEMS - 6)));
}
