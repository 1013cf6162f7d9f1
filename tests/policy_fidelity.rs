//! The engine's policies against exact versions of the same algorithms, and the default policy against the miss ratios
//! published for the traces. `LARDER_TRACES` names the folder of the traces; without it there is nothing to do.

mod oracle;

use std::path::PathBuf;

use larder::policy::Simulator;
use larder::{EvictionPolicy, Objective};
use oracle::{Lru, Oracle, S3Fifo, Sieve, Trace};

#[test]
#[ignore]
fn cells() {
    let folder = PathBuf::from(std::env::var("LARDER_TRACES").unwrap());
    for name in ["kv_twitter52_head", "block_cp_w106", "db_arc_oltp", "web_adaptsize", "scan_arc_p3"] {
        let trace = Trace::read(&folder.join(format!("{name}.csv.zst"))).unwrap();
        for sized in [false, true] {
            if sized && trace.bytes == trace.keys { continue; }
            for share in [0.001, 0.01, 0.1] {
                let capacity = ((if sized { trace.bytes } else { trace.keys }) as f64 * share).round() as u64;
                if capacity < 45 { continue; }
                let mut line = format!("{name} {share} {sized}");
                for (policy, mut exact) in [(EvictionPolicy::AllkeysLru, Box::new(Lru::new(capacity)) as Box<dyn Oracle>), (EvictionPolicy::S3Fifo, Box::new(S3Fifo::new(capacity))), (EvictionPolicy::Sieve, Box::new(Sieve::new(capacity)))] {
                    let mut s = Simulator::new(policy, Objective::Hits, capacity, 1);
                    let a = trace.miss_ratios(sized, |k, z| s.request(k, z)).0;
                    let b = trace.miss_ratios(sized, |k, z| exact.request(k, z)).0;
                    line += &format!("  {policy} {a:.4} exact {b:.4} diff {:+.4}", a - b);
                }
                println!("{line}");
            }
        }
    }
}
