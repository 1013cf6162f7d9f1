//! The whole engine beside its own policy code alone: with slab classes, pages, shards and an index around it, a policy
//! chooses as well as it does in a simulator that has as much room as keys and values really got.
//!
//! `LARDER_TRACES` names the folder of the traces; without it nothing is done. One test plays a part, for every build;
//! `cargo test --release --test engine_fidelity -- --ignored --nocapture` plays everything and prints it.

mod oracle;

use std::path::PathBuf;

use larder::policy::Simulator;
use larder::{Cache, EvictionPolicy, Maintenance, ManualClock, Objective};
use oracle::Trace;

/// What the engine may miss more often than the policy alone.
const BEHIND: f64 = 0.01;
/// Smaller caches are not built.
const LIMIT_LEAST: u64 = 1 << 20;
/// A key's bytes, counted in the traced size.
const KEY: u64 = 8;
const VALUE_MAX: usize = 64 << 20;
/// The size of objects of which the trace tells none.
const SIZE: u64 = 120;
/// Between two looks at the payload.
const LOOK_EVERY: u64 = 500;

const POLICIES: [EvictionPolicy; 4] =
    [EvictionPolicy::Default, EvictionPolicy::AllkeysLru, EvictionPolicy::S3Fifo, EvictionPolicy::Sieve];

/// The engine's request miss ratio, and the mean payload while it was full.
fn play_engine(trace: &Trace, policy: EvictionPolicy, limit: u64) -> (f64, u64) {
    let builder = Cache::builder().max_memory(limit).policy(policy).seed(1);
    let cache = builder
        .clock(ManualClock::new(1_000_000))
        .maintenance(Maintenance::Manual)
        .max_item_size(VALUE_MAX + KEY as usize)
        .build()
        .unwrap();
    let value = vec![0; VALUE_MAX];
    let (mut requests, mut looks, mut payloads) = (0u64, 0u64, 0u64);
    let (misses, _) = trace.miss_ratios(true, |key, size| {
        requests += 1;
        if requests.is_multiple_of(LOOK_EVERY) {
            let memory = cache.memory();
            if cache.stats().evictions > 0 {
                (looks, payloads) = (looks + 1, payloads + memory.payload_bytes);
            }
        }
        let key = key.to_le_bytes();
        let hit = cache.read(&key, |_| ()).is_some();
        if !hit {
            // Too large for the whole cache: it stays a miss, as it does in the simulator.
            let _ = cache.set(&key, &value[..size.saturating_sub(KEY).min(VALUE_MAX as u64) as usize]);
        }
        hit
    });
    (misses, payloads.checked_div(looks).unwrap_or(limit))
}

fn play(traces: &[&str], shares: &[f64]) {
    let Some(folder) = std::env::var_os("LARDER_TRACES").map(PathBuf::from) else {
        println!("skipped: LARDER_TRACES not set");
        return;
    };
    let mut worse = vec![];
    for name in traces {
        let mut trace = Trace::read(&folder.join(name).with_extension("csv.zst")).unwrap();
        if trace.bytes <= trace.keys {
            trace.requests.iter_mut().for_each(|request| request.1 = SIZE);
            trace.bytes = trace.keys * SIZE;
        }
        for share in shares {
            let limit = (trace.bytes as f64 * share) as u64;
            if limit < LIMIT_LEAST {
                continue;
            }
            for policy in POLICIES {
                let (engine, payload) = play_engine(&trace, policy, limit);
                let mut alone = Simulator::new(policy, Objective::Hits, payload, 1);
                let (alone, _) = trace.miss_ratios(true, |key, size| alone.request(key, size.max(KEY)));
                let line = format!(
                    "{name} {:.1} MiB, {policy}: engine {engine:.4}, policy alone with its {:.1} MiB {alone:.4}",
                    limit as f64 / f64::from(1 << 20),
                    payload as f64 / f64::from(1 << 20)
                );
                println!("{line}");
                if engine > alone + BEHIND {
                    worse.push(line);
                }
            }
        }
    }
    assert!(worse.is_empty(), "{worse:#?}");
}

#[test]
fn engine_chooses_as_well_as_the_policy_alone() {
    play(&["web_adaptsize"], &[0.01, 0.1]);
}

#[test]
#[ignore = "plays all traces: a minute when optimised"]
fn on_every_trace() {
    play(&["kv_twitter52_head", "web_adaptsize", "db_arc_oltp", "block_cp_w106", "scan_arc_p3"], &[0.01, 0.1]);
}
