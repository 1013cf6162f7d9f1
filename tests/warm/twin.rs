//! A cache that is closed and opened again and again beside a map that is not: neither may tell the difference.

use std::collections::HashMap;
use std::time::Duration;

use larder::{EvictionPolicy, ManualClock, SetOptions, WarmRestart};
use proptest::prelude::*;

use super::{Folder, builder, is_warm};

/// What the map knows of an item: value, and when it ends.
type Twin = HashMap<(u8, u16), (Vec<u8>, Option<u64>)>;

#[derive(Debug, Clone)]
enum Op {
    Set(u8, u16, usize, Option<u16>),
    Remove(u8, u16),
    Many(u16),
    RemoveMany(u16),
    Clear(u8),
    Wait(u16),
    Reopen(bool),
}

fn op() -> impl Strategy<Value = Op> {
    let len = prop_oneof![8 => 0usize..2000, 1 => 4000usize..60_000];
    prop_oneof![
        10 => (0u8..3, 0u16..300, len, prop::option::of(1u16..2000)).prop_map(|(n, k, l, t)| Op::Set(n, k, l, t)),
        4 => (0u8..3, 0u16..300).prop_map(|(n, k)| Op::Remove(n, k)),
        1 => (0u16..2000).prop_map(Op::Many),
        1 => (0u16..2000).prop_map(Op::RemoveMany),
        1 => (0u8..3).prop_map(Op::Clear),
        1 => (0u16..1500).prop_map(Op::Wait),
        3 => any::<bool>().prop_map(Op::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn a_cache_that_is_closed_and_opened_is_the_same(ops in prop::collection::vec(op(), 1..120)) {
        let (folder, clock) = (Folder::new(), ManualClock::new(1_000_000));
        let build = |checksums| {
            let warm = WarmRestart::new(&folder.0).checksums(checksums);
            let cache = builder(&folder, &clock).max_memory(16 << 20).policy(EvictionPolicy::NoEviction);
            cache.warm_restart(warm).build().unwrap()
        };
        let (mut cache, mut twin, mut now) = (build(false), Twin::new(), 0u64);
        for op in ops {
            match op {
                Op::Set(namespace, key, len, ttl) => {
                    let value = vec![key as u8; len];
                    let options = SetOptions::new();
                    let options = match ttl {
                        Some(ttl) => options.ttl(Duration::from_millis(ttl.into())),
                        None => options.never(),
                    };
                    cache.namespace(namespace).set_with(&key.to_le_bytes(), &value, &options).unwrap();
                    twin.insert((namespace, key), (value, ttl.map(|ttl| now + u64::from(ttl))));
                }
                Op::Remove(namespace, key) => {
                    let had = twin.remove(&(namespace, key)).is_some_and(|(_, end)| end.is_none_or(|end| end > now));
                    prop_assert_eq!(cache.namespace(namespace).remove(&key.to_le_bytes()), had);
                }
                Op::Many(count) => for key in 1000..1000 + count {
                    cache.set(&key.to_le_bytes(), b"one of many").unwrap();
                    twin.insert((0, key), (b"one of many".to_vec(), None));
                },
                Op::RemoveMany(count) => for key in 1000..1000 + count {
                    cache.remove(&key.to_le_bytes());
                    twin.remove(&(0, key));
                },
                Op::Clear(namespace) => {
                    cache.namespace(namespace).clear();
                    twin.retain(|key, _| key.0 != namespace);
                }
                Op::Wait(ms) => {
                    clock.advance(Duration::from_millis(ms.into()));
                    now += u64::from(ms);
                }
                Op::Reopen(checksums) => {
                    drop(cache);
                    cache = build(checksums);
                    prop_assert!(is_warm(&cache), "{:?}", cache.start());
                    cache.check_invariants();
                }
            }
            for ((namespace, key), (value, end)) in twin.iter().take(50) {
                let got = cache.namespace(*namespace).peek(&key.to_le_bytes()).unwrap().map(|value| value.to_vec());
                prop_assert_eq!(got.as_ref(), Some(value).filter(|_| end.is_none_or(|end| end > now)));
            }
        }
        drop(cache);
        let cache = build(false);
        for ((namespace, key), (value, end)) in &twin {
            let got = cache.namespace(*namespace).peek(&key.to_le_bytes()).unwrap().map(|value| value.to_vec());
            prop_assert_eq!(got.as_ref(), Some(value).filter(|_| end.is_none_or(|end| end > now)));
        }
        let live = twin.values().filter(|(_, end)| end.is_none_or(|end| end > now)).count() as u64;
        let _ = cache.run_maintenance(Duration::from_secs(1));
        let all: u64 = (0..3).map(|namespace| cache.namespace(namespace).iter().count() as u64).sum();
        prop_assert_eq!(all, live);
    }
}
