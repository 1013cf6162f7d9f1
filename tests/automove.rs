//! Slab pages that stay in their class, or move slowly: what is evicted then, and what maintenance moves.

use std::time::{Duration, Instant};

use larder::{Automove, Cache, CacheBuilder, EvictionPolicy, Maintenance, ManualClock};

fn builder(max_memory: u64, policy: EvictionPolicy) -> CacheBuilder {
    let builder = Cache::builder().max_memory(max_memory).page_size(4096).shards(1).seed(1).policy(policy);
    builder.maintenance(Maintenance::Manual)
}

/// Names of one length, so that values of one length are in one class.
fn name(kind: char, i: u32) -> Vec<u8> {
    format!("{kind}{i:05}").into_bytes()
}

/// Names from `0..count` that are there.
fn present(cache: &Cache, kind: char, count: u32) -> Vec<Vec<u8>> {
    (0..count).map(|i| name(kind, i)).filter(|name| cache.contains(name)).collect()
}

#[test]
fn a_class_keeps_its_order_while_another_evicts() {
    for policy in [EvictionPolicy::Sieve, EvictionPolicy::S3Fifo] {
        for automove in [Automove::Off, Automove::Slow] {
            let cache = builder(4 << 20, policy).automove(automove).build().unwrap();
            for i in 0..12_000 {
                cache.set(&name('a', i), &[1; 100]).unwrap();
            }
            for i in 0..12_000 {
                cache.set(&name('b', i), &[1; 400]).unwrap();
            }
            cache.check_invariants();
            let there = present(&cache, 'a', 12_000);
            let used: Vec<_> = there.iter().step_by(4).collect();
            for _ in 0..3 {
                assert!(used.iter().all(|name| cache.read(name, |_| ()).is_some()));
            }
            for i in 0..there.len() as u32 / 2 {
                cache.set(&name('c', i), &[1; 100]).unwrap();
            }
            cache.check_invariants();
            let left = used.iter().filter(|name| cache.contains(name)).count();
            assert!(
                left * 100 >= used.len() * 98,
                "{policy} {automove:?}: {left} of {} used ones are left",
                used.len()
            );
            let new = present(&cache, 'c', there.len() as u32 / 2).len();
            assert!(
                new * 100 >= there.len() / 2 * 95,
                "{policy} {automove:?}: {new} of {} new ones stay",
                there.len() / 2
            );
        }
    }
}

#[test]
fn rings_stay_short_while_one_class_evicts() {
    for policy in [EvictionPolicy::Sieve, EvictionPolicy::S3Fifo] {
        let cache = builder(2 << 20, policy).automove(Automove::Off).build().unwrap();
        for i in 0..6000 {
            cache.set(&name('a', i), &[1; 100]).unwrap();
        }
        let mut most = 0;
        for i in 0..60_000 {
            cache.set(&name('b', i), &[1; 400]).unwrap();
            // All of them are used, so that every one is passed over before it leaves.
            cache.read(&name('b', i / 2), |_| ());
            cache.read(&name('b', i), |_| ());
            if i % 1000 == 999 && i > 10_000 {
                most = most.max(cache.memory().side);
            }
        }
        cache.check_invariants();
        let bytes = most / cache.len().max(1);
        assert!(bytes <= 60, "{policy}: {most} bytes for {} items", cache.len());
    }
}

/// A cache whose class of small items can spare many pages.
fn sparse(builder: CacheBuilder) -> Cache {
    let cache = builder.automove(Automove::Slow).build().unwrap();
    for i in 0..20_000u32 {
        cache.set(&i.to_le_bytes(), &[i as u8; 100]).unwrap();
    }
    for i in (0..20_000u32).filter(|i| i % 4 == 0) {
        cache.remove(&i.to_le_bytes());
    }
    cache
}

/// Free chunks of the class that has most, in pages.
fn spare_pages(cache: &Cache) -> u64 {
    let spare = |class: &larder::ClassStats| class.free_chunks * class.chunk_size / 4096;
    cache.classes().iter().map(spare).max().unwrap_or(0)
}

#[test]
fn slow_maintenance_by_hand_moves_what_can_be_spared() {
    let cache = sparse(builder(16 << 20, EvictionPolicy::AllkeysLru).clock(ManualClock::new(1000)));
    assert!(spare_pages(&cache) > 100);
    let first = cache.run_maintenance(Duration::from_secs(10));
    assert!(!first.done && cache.stats().pages_moved > 0, "a few a call: {first:?}");
    assert!(spare_pages(&cache) > 50, "slowly");
    let calls = (1..1000).find(|_| cache.run_maintenance(Duration::from_secs(10)).done);
    assert!(calls.is_some() && spare_pages(&cache) <= 2, "{calls:?} calls, {} pages left", spare_pages(&cache));
    assert!((0..20_000u32).all(|i| cache.contains(&i.to_le_bytes()) == (i % 4 != 0)));
    cache.check_invariants();
}

#[test]
fn slow_maintenance_by_the_thread_moves_what_can_be_spared() {
    let cache = sparse(builder(16 << 20, EvictionPolicy::AllkeysLru).maintenance(Maintenance::default()));
    let start = Instant::now();
    while spare_pages(&cache) > 2 && start.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(spare_pages(&cache) <= 2, "{} pages left", spare_pages(&cache));
    cache.check_invariants();
}

#[test]
fn a_page_that_is_being_read_is_not_waited_for() {
    let cache = sparse(builder(16 << 20, EvictionPolicy::AllkeysLru).clock(ManualClock::new(1000)));
    while !cache.run_maintenance(Duration::from_secs(10)).done {}
    // Every page that is left has an item in use, or too few free chunks.
    for i in (0..20_000u32).filter(|i| i % 4 != 0 && i % 400 != 1) {
        cache.remove(&i.to_le_bytes());
    }
    let there: Vec<u32> = (0..20_000u32).filter(|i| cache.contains(&i.to_le_bytes())).collect();
    let guards: Vec<_> = there.iter().take(8).map(|i| cache.get(&i.to_le_bytes()).unwrap().unwrap()).collect();
    let calls = (1..1000).find(|_| cache.run_maintenance(Duration::from_secs(10)).done);
    assert!(calls.is_some(), "it ends although readers keep pages where they are");
    for (guard, i) in guards.iter().zip(&there) {
        assert!(guard.iter().all(|&byte| byte == *i as u8));
    }
    drop(guards);
    cache.check_invariants();
}

#[test]
fn a_class_of_one_page_evicts_from_it() {
    for policy in EvictionPolicy::ALL {
        if policy.is_volatile() || policy == EvictionPolicy::NoEviction {
            continue;
        }
        let cache = builder(4 << 20, policy).automove(Automove::Off).build().unwrap();
        for i in 0..30 {
            cache.set(&name('t', i), b"tiny").unwrap();
        }
        for i in 0..6000 {
            cache.set(&name('a', i), &[1; 900]).unwrap();
        }
        let (large, evictions) = (present(&cache, 'a', 6000).len(), cache.stats().evictions);
        for i in 0..2000 {
            cache.set(&name('u', i), b"tiny").unwrap();
        }
        assert!(present(&cache, 'u', 2000).len() >= 30, "{policy}");
        assert!(cache.stats().evictions > evictions, "{policy}");
        // A few may leave for what the policy remembers.
        let left = present(&cache, 'a', 6000).len();
        assert!(left * 100 >= large * 99, "{policy}: {left} of {large} in the other class");
        cache.check_invariants();
    }
}
