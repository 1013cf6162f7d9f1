//! Threads write while a snapshot is taken. Updates over several keys keep sums; so does what is restored.

use super::{finish, one_thread};
use larder::snapshot::SnapshotOptions;
use larder::{Cache, EvictionPolicy};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

const ACCOUNTS: u64 = 600;
const EACH: u64 = 1000;

fn account(number: u64) -> Vec<u8> {
    format!("account {number}").into_bytes()
}

fn number(bytes: &[u8]) -> u64 {
    std::str::from_utf8(bytes).unwrap().trim_end().parse().unwrap()
}

/// As text, of changing length, so that items change their classes.
fn text(number: u64) -> Vec<u8> {
    let mut text = number.to_string().into_bytes();
    text.resize(text.len() + (number % 7) as usize * 60, b' ');
    text
}

/// Moves money between two accounts, again and again.
fn transfer(cache: &Cache, stop: &AtomicBool, seed: u64, done: &AtomicU64) {
    let mut rng = super::Rng(seed);
    while !stop.load(Relaxed) {
        let (from, to) = (rng.below(ACCOUNTS), rng.below(ACCOUNTS));
        if from == to {
            continue;
        }
        let (from, to) = (account(from), account(to));
        let result = cache.update(&[&from, &to], |update| {
            let has = number(update.get(0).unwrap());
            let amount = has / 3;
            let other = number(update.get(1).unwrap());
            update.set(0, &text(has - amount));
            update.set(1, &text(other + amount));
        });
        result.unwrap();
        done.fetch_add(1, Relaxed);
    }
}

/// Fills and empties the table, so that it grows and shrinks.
fn churn(cache: &Cache, stop: &AtomicBool) {
    let other = cache.namespace(1);
    while !stop.load(Relaxed) {
        for i in 0..4_000u32 {
            other.set(&i.to_le_bytes(), b"churn").unwrap();
        }
        for i in 0..4_000u32 {
            other.remove(&i.to_le_bytes());
        }
        cache.run_maintenance(Duration::from_millis(5));
    }
}

#[test]
fn sums_over_several_keys_are_kept() {
    let cache = Cache::builder().max_memory(16 << 20).policy(EvictionPolicy::NoEviction).shards(4).build().unwrap();
    for i in 0..ACCOUNTS {
        cache.set(&account(i), &text(EACH)).unwrap();
    }
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for seed in 0..2 {
            let (cache, stop, done) = (&cache, &stop, &done);
            scope.spawn(move || transfer(cache, stop, seed, done));
        }
        scope.spawn(|| churn(&cache, &stop));
        for round in 0..8 {
            let before = done.load(Relaxed);
            let mut run = cache.begin_snapshot(&SnapshotOptions::new()).unwrap();
            let mut out = Vec::new();
            // The writers get on while it is taken.
            while done.load(Relaxed) < before + 200 {
                run.step(&mut out).unwrap();
                std::thread::yield_now();
            }
            let storage = finish(run, out);
            let restored = Cache::new(32 << 20).unwrap();
            restored.restore_from(&storage, "s", &one_thread().threads(1 + round % 2)).unwrap();
            let of = |i: u64| restored.read(&account(i), number).expect("an account");
            assert_eq!((0..ACCOUNTS).map(of).sum::<u64>(), ACCOUNTS * EACH, "round {round}");
            assert_eq!(restored.len(), ACCOUNTS);
        }
        stop.store(true, Relaxed);
    });
    cache.check_invariants();
}

#[test]
fn large_values_are_saved_as_they_were_though_they_are_replaced() {
    let cache = Cache::builder().max_memory(16 << 20).max_item_size(1 << 20).build().unwrap();
    let value = |i: u32, generation: u8| vec![generation ^ i as u8; 100_000 + i as usize];
    for i in 0..20u32 {
        cache.set(&i.to_le_bytes(), &value(i, 0)).unwrap();
    }
    let used = cache.memory().used;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for generation in 1u32.. {
                for i in 0..20u32 {
                    cache.set(&i.to_le_bytes(), &value(i, generation as u8)).unwrap();
                }
                if stop.load(Relaxed) {
                    break;
                }
            }
        });
        let mut run = cache.begin_snapshot(&SnapshotOptions::new()).unwrap();
        let mut out = Vec::new();
        while run.step(&mut out).unwrap() {
            std::thread::sleep(Duration::from_micros(200));
        }
        stop.store(true, Relaxed);
        let progress = run.progress();
        assert_eq!(progress.items, 20);
        drop(run);
        let mut reader = larder::snapshot::SnapshotReader::new();
        reader.push(&out).unwrap();
        reader.finish().unwrap();
        let items: Vec<_> = std::iter::from_fn(|| reader.next_item()).collect();
        assert_eq!(items.len(), 20);
        for item in &items {
            // Of one generation each, and the snapshot is of one moment: the generations differ by one at most.
            assert!(item.value.iter().all(|&byte| byte == item.value[0]));
        }
        let generations: Vec<u8> = items.iter().map(|item| item.value[0] ^ item.key[0]).collect();
        let (least, most) = (generations.iter().min().unwrap(), generations.iter().max().unwrap());
        assert!(most.wrapping_sub(*least) <= 1 || *least == 0 && *most == 255, "{generations:?}");
    });
    cache.check_invariants();
    cache.run_maintenance(Duration::from_millis(100));
    assert!(cache.memory().used <= used + (2 << 20), "what was held is freed");
}
