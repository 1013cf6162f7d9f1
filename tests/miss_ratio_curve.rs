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

use larder::{Cache, CacheBuilder, EvictionPolicy, Maintenance, ManualClock, MissRatioCurve, SetOptions};
use oracle::Trace;

const FACTORS: [f64; 4] = [0.5, 1.0, 2.0, 4.0];
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
