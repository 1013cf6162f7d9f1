//! Smoke.
use larder::*;
use std::collections::HashMap;
fn small(policy: EvictionPolicy, shards: usize) -> (Cache, ManualClock) {
    let clock = ManualClock::new(1_000_000);
    let c = Cache::builder()
        .max_memory(256 << 10)
        .page_size(1024)
        .chunk_size(32)
        .shards(shards)
        .policy(policy)
        .seed(7)
        .clock(clock.clone())
        .maintenance(Maintenance::Manual)
        .max_item_size(20_000)
        .build()
        .unwrap();
    (c, clock)
}
#[test]
fn churn() {
    for policy in EvictionPolicy::ALL {
        for shards in [1, 4] {
            eprintln!("{policy} {shards}");
            let (cache, clock) = small(policy, shards);
            let mut model: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
            let mut x = 1u64;
            let mut oom = 0;
            for i in 0..30_000u64 {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                let key = format!("key{}", x % 3000).into_bytes();
                let len = match (x >> 20) % 20 {
                    0 => 3000,
                    1 => 900,
                    2..5 => 300,
                    n => n * 5,
                } as usize;
                let value = vec![x as u8; len];
                if (x >> 40) % 4 == 0 {
                    if let Some(v) = cache.get(&key).unwrap() {
                        assert_eq!(Some(&v[..]), model.get(&key).map(|v| &v[..]));
                    }
                } else if (x >> 40) % 16 == 1 {
                    cache.remove(&key);
                    model.remove(&key);
                } else {
                    let o = if x >> 60 > 5 {
                        SetOptions::new().ttl(std::time::Duration::from_millis(500 + (x >> 50) % 1000))
                    } else {
                        SetOptions::new()
                    };
                    match cache.set_with(&key, &value, &o) {
                        Ok(out) => {
                            if out.stored {
                                model.insert(key, value);
                            } else {
                                model.remove(&key);
                            }
                        }
                        Err(e) => {
                            assert_eq!(e.kind(), ErrorKind::OutOfMemory, "{e}");
                            oom += 1;
                        }
                    }
                }
                if i % 10 == 0 {
                    clock.advance(std::time::Duration::from_millis(3));
                }
                let m = cache.memory();
                assert!(m.used <= m.limit + 64 * 1024, "{m:?}");
                if i % 500 == 0 {
                    cache.check_invariants();
                }
            }
            eprintln!("  oom {oom} {:?}", cache.memory());
            eprintln!("  {:?}", cache.stats());
        }
    }
}
