//! The miss-ratio curve against replay: what it says of half, twice and four times the memory, and what caches of those
//! sizes do with the same requests.
//!
//! `LARDER_TRACES` names the folder of the traces; without it only the generated workloads are played. One test plays a
//! part of the traces, for every build; `cargo test --release --test miss_ratio_curve -- --ignored --nocapture` plays
//! everything and prints the table of `docs/miss-ratio-curve.md`.

#[path = "oracle/mod.rs"]
mod oracle;

use std::path::PathBuf;
use std::time::Duration;

use larder::policy::Simulator;
use larder::{
    Cache, CacheBuilder, ErrorKind, EvictionPolicy, Maintenance, ManualClock, MissRatioCurve, Objective, SetOptions,
};
use oracle::Trace;

/// Bytes of a value where the trace has no sizes.
const VALUE: u64 = 1000;
/// The least memory that a cache can have.
const LEAST: u64 = 64 << 10;

/// A request: what is asked for, and what is stored if it is not there. Sizes are of key and value together.
#[derive(Clone, Copy)]
struct Request {
    key: u64,
    size: u64,
    ttl_s: u64,
    op: Op,
}

#[derive(Clone, Copy, PartialEq)]
enum Op {
    Get,
    Set,
    Remove,
}

fn builder(memory: u64, policy: EvictionPolicy, clock: &ManualClock) -> CacheBuilder {
    Cache::builder()
        .max_memory(memory)
        .policy(policy)
        .max_item_size(64 << 20)
        .seed(7)
        .shards(1)
        .clock(clock.clone())
        .maintenance(Maintenance::Manual)
}

/// Plays requests, a millisecond each; what is missed is stored.
fn play(cache: &Cache, clock: &ManualClock, requests: &[Request]) {
    let noise = vec![0; requests.iter().map(|r| r.size).max().unwrap_or_default() as usize];
    for (i, request) in requests.iter().enumerate() {
        clock.advance(Duration::from_millis(1));
        if i % 4096 == 0 {
            cache.run_maintenance(Duration::from_secs(1));
        }
        let key = request.key.to_le_bytes();
        let value = &noise[..request.size.saturating_sub(8) as usize];
        let hit = request.op == Op::Get && cache.read(&key, |_| ()).is_some();
        match request.op {
            Op::Get if hit => {}
            Op::Remove => {
                cache.remove(&key);
            }
            _ if request.ttl_s > 0 => {
                let options = SetOptions::new().ttl(Duration::from_secs(request.ttl_s));
                let _ = cache.set_with(&key, value, &options);
            }
            _ => {
                let _ = cache.set(&key, value);
            }
        }
    }
}

/// What a cache of this size misses.
fn replay(memory: u64, policy: EvictionPolicy, requests: &[Request]) -> f64 {
    let clock = ManualClock::new(1_000_000);
    let cache = builder(memory, policy, &clock).build().unwrap();
    play(&cache, &clock, requests);
    1.0 - cache.stats().hit_ratio().unwrap()
}

/// The curve of a cache with so much memory beside that of the curve.
fn estimate(memory: u64, budget: u64, policy: EvictionPolicy, requests: &[Request]) -> MissRatioCurve {
    let clock = ManualClock::new(1_000_000);
    let cache = builder(memory + budget, policy, &clock).miss_ratio_curve(budget).build().unwrap();
    play(&cache, &clock, requests);
    cache.check_invariants();
    cache.miss_ratio_curve().unwrap()
}

/// One row: the largest error, in points, of the sizes that can be built.
fn row(name: &str, memory: u64, budget: u64, policy: EvictionPolicy, requests: &[Request]) -> f64 {
    let curve = estimate(memory, budget, policy, requests);
    let mut worst: f64 = 0.0;
    let mut cells = String::new();
    for point in curve.points() {
        let bytes = (memory as f64 * point.factor) as u64;
        if bytes < LEAST {
            cells += " - |";
            continue;
        }
        let truth = replay(bytes, policy, requests);
        let error = (point.miss_ratio - truth) * 100.0;
        if point.factor != 1.0 {
            worst = worst.max(error.abs());
        }
        cells += &format!(" {:.4} / {truth:.4} ({error:+.2}) |", point.miss_ratio);
    }
    let rate = curve.points().iter().map(|point| point.sampling_rate).fold(1.0, f64::min);
    println!("| {name} | {} | {rate:.4} |{cells}", memory >> 10);
    worst
}

/// A trace as requests, and the bytes of all its objects as they are stored.
fn load(name: &str, sized: bool) -> Option<(Vec<Request>, u64)> {
    let Some(folder) = std::env::var_os("LARDER_TRACES").map(PathBuf::from) else {
        println!("{name} skipped: LARDER_TRACES not set");
        return None;
    };
    let trace = Trace::read(&folder.join(name).with_extension("csv.zst")).unwrap();
    let size = |traced: u64| if sized { traced.max(8) } else { 8 + VALUE };
    let requests: Vec<Request> =
        trace.requests.iter().map(|&(key, s)| Request { key, size: size(s), ttl_s: 0, op: Op::Get }).collect();
    let footprint = if sized { trace.bytes.max(8 * trace.keys) } else { trace.keys * (8 + VALUE) };
    Some((requests, footprint))
}

const TRACES: [(&str, bool); 7] = [
    ("kv_twitter52_head", true),
    ("kv_twitter52_head", false),
    ("web_adaptsize", true),
    ("web_adaptsize", false),
    ("db_arc_oltp", false),
    ("block_cp_w106", false),
    ("scan_arc_p3", false),
];

#[test]
#[ignore = "plays all traces five times: minutes, when optimised"]
fn every_cell() {
    let budget = std::env::var("LARDER_CURVE_KIB").ok().and_then(|kib| kib.parse().ok()).unwrap_or(4096) << 10;
    let only = std::env::var("LARDER_ONLY").unwrap_or_default();
    let mut missed = Vec::new();
    for (name, sized) in TRACES.into_iter().filter(|(name, _)| name.contains(&only)) {
        let Some((requests, footprint)) = load(name, sized) else { return };
        for percent in [0.1, 1.0, 10.0] {
            let memory = (footprint as f64 * percent / 100.0) as u64;
            if memory < LEAST {
                println!("| {name} {percent} % | {} | cannot be built |", memory >> 10);
                continue;
            }
            let name = format!("{name}{} {percent} %", if sized { " sized" } else { "" });
            let worst = row(&name, memory, budget, EvictionPolicy::Default, &requests);
            if worst > 2.0 {
                missed.push(format!("{name}: {worst:.2}"));
            }
        }
    }
    println!("off by more than two points: {missed:?}");
}

#[test]
fn a_part_of_the_traces() {
    for (name, sized, percent) in [
        ("kv_twitter52_head", true, 1.0),
        ("db_arc_oltp", false, 1.0),
        ("block_cp_w106", false, 0.1),
        ("web_adaptsize", false, 10.0),
    ] {
        let Some((mut requests, footprint)) = load(name, sized) else { return };
        requests.truncate(200_000);
        let memory = (footprint as f64 * percent / 100.0) as u64;
        let worst = row(name, memory, 4 << 20, EvictionPolicy::Default, &requests);
        assert!(worst <= 2.0, "{name}: {worst:.2} points");
    }
}

/// Zipf's law with exponent 0.9, from a linear congruential generator (Knuth's MMIX).
fn draw(state: &mut u64, keys: u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    let uniform = (*state >> 11) as f64 / (1u64 << 53) as f64;
    let rank = (1.0 + uniform * ((keys as f64).powf(0.1) - 1.0)).powf(10.0);
    (rank as u64).min(keys) - 1
}

/// Items of 40 to 1,000 bytes, of which some end, are written anew, or are removed.
fn mixture(count: usize) -> Vec<Request> {
    let mut state = 5;
    let request = |_| {
        let key = draw(&mut state, 20_000);
        let (size, op) = (40 + key * 7919 % 960, state >> 33);
        let ttl_s = if key.is_multiple_of(3) { 20 } else { 0 };
        let op = match op % 100 {
            0 => Op::Remove,
            1..=5 => Op::Set,
            _ => Op::Get,
        };
        Request { key, size, ttl_s, op }
    };
    (0..count).map(request).collect()
}

#[test]
fn ends_writes_and_removals_are_followed() {
    let requests = mixture(120_000);
    for policy in [EvictionPolicy::Default, EvictionPolicy::AllkeysLru, EvictionPolicy::S3Fifo] {
        let worst = row(&format!("mixture {policy}"), 2 << 20, 4 << 20, policy, &requests);
        assert!(worst <= 2.0, "{policy}: {worst:.2} points");
    }
}

#[test]
fn a_small_sample_has_to_do() {
    let requests = mixture(120_000);
    let worst = row("mixture, 256 KiB", 2 << 20, 256 << 10, EvictionPolicy::Default, &requests);
    assert!(worst <= 3.0, "{worst:.2} points");
}

#[test]
fn values_of_one_size_leave_nobody_without_memory() {
    // All items are alike: no single victim ever frees a page, and the policy's memory of who left must come from
    // somewhere all the same. The simulator needs no pages.
    let mut state = 3;
    let keys: Vec<u64> = (0..150_000).map(|_| draw(&mut state, 20_000)).collect();
    let requests: Vec<Request> =
        keys.iter().map(|&key| Request { key, size: 8 + VALUE, ttl_s: 0, op: Op::Get }).collect();
    for memory in [1800 << 10, 2500 << 10] {
        let clock = ManualClock::new(1_000_000);
        let cache = builder(memory, EvictionPolicy::Default, &clock).build().unwrap();
        play(&cache, &clock, &requests);
        let misses = 1.0 - cache.stats().hit_ratio().unwrap();
        let capacity = cache.memory().chunk_bytes;
        let mut simulator = Simulator::new(EvictionPolicy::Default, Objective::Hits, capacity, 7);
        let hits = keys.iter().filter(|&&key| simulator.request(key, 1024)).count();
        let simulated = 1.0 - hits as f64 / keys.len() as f64;
        println!("{memory}: {misses:.4}, simulated {simulated:.4}");
        assert!((misses - simulated).abs() < 0.01, "{memory}: {misses:.4}, simulated {simulated:.4}");
    }
}

#[test]
fn the_curve_follows_changes_of_limit_and_policy() {
    let (requests, clock) = (mixture(60_000), ManualClock::new(1_000_000));
    let budget = 1 << 20;
    let cache =
        builder((8 << 20) + budget, EvictionPolicy::AllkeysLru, &clock).miss_ratio_curve(budget).build().unwrap();
    play(&cache, &clock, &requests);
    assert_eq!(cache.miss_ratio_curve().unwrap().memory(), 8 << 20);
    // A sixteenth: the miniatures have too few items, and are begun anew.
    cache.set_max_memory((512 << 10) + budget).unwrap();
    cache.set_policy(EvictionPolicy::Default, Objective::Hits);
    play(&cache, &clock, &requests);
    let before = cache.miss_ratio_curve().unwrap();
    play(&cache, &clock, &requests);
    let curve = cache.miss_ratio_curve().unwrap().since(&before);
    assert_eq!((curve.reads(), curve.memory()), (before.reads() / 2, 512 << 10));
    let ratios: Vec<f64> = curve.points().iter().map(|point| point.miss_ratio).collect();
    println!("{ratios:?}");
    assert!(ratios.len() == 4 && ratios.is_sorted_by(|a, b| a > b), "{ratios:?}");
    cache.clear();
    play(&cache, &clock, &requests[..1000]);
    cache.check_invariants();
    let error = cache.set_max_memory(budget).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
}

#[test]
fn the_same_requests_give_the_same_curve() {
    let requests = mixture(30_000);
    let curve = || estimate(1 << 20, 256 << 10, EvictionPolicy::Default, &requests);
    assert_eq!(curve(), curve());
}

#[test]
fn without_room_for_it_there_is_no_curve() {
    assert_eq!(Cache::new(1 << 20).unwrap().miss_ratio_curve(), None);
    for (memory, curve) in [(1 << 20, 1 << 10), (1 << 20, 1 << 20), (128 << 10, 100 << 10)] {
        let error = Cache::builder().max_memory(memory).miss_ratio_curve(curve).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.to_string().contains("miss_ratio_curve"), "{error}");
    }
    let cache = Cache::builder().max_memory(2 << 20).miss_ratio_curve(1 << 20).build().unwrap();
    assert!(cache.memory().side >= 1 << 20, "it is on the ledger from the start");
    assert_eq!(cache.miss_ratio_curve().unwrap().points(), []);
}
