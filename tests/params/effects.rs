//! Every parameter of the engine drives it: one test each.

use std::time::Duration;

use larder::params::{EngineVersion, Family, ParameterGroups, ParameterValues, Value};
use larder::{Automove, Cache, ErrorKind, EvictionPolicy, SetOptions};

use crate::{MEMCACHED, REDIS, cache_with, node};

fn fill(cache: &Cache, items: u32, len: usize) {
    for i in 0..items {
        cache.set(format!("key:{i}").as_bytes(), &vec![b'x'; len]).expect("room, or somebody who leaves");
    }
}

/// A cache attached to a group of its own.
fn grouped(version: EngineVersion) -> (ParameterGroups, Cache) {
    let groups = ParameterGroups::new();
    groups.create("mine", version.family(), "").unwrap();
    let builder = groups.builder("mine", version, None).unwrap();
    let cache = builder.max_memory(4 << 20).seed(7).maintenance(larder::Maintenance::Manual).build().unwrap();
    groups.attach(&cache, "mine", version, None).unwrap();
    (groups, cache)
}

#[test]
fn maxmemory() {
    assert_eq!(cache_with(REDIS, &[("maxmemory", "3MiB")]).memory().limit, 3 << 20);
    let cache = node("cache.t2.micro").builder(Family::Redis2_8).unwrap().build().unwrap();
    assert_eq!(cache.memory().limit, 581_959_680);
}

#[test]
fn maxmemory_policy() {
    assert_eq!(cache_with(REDIS, &[]).policy(), EvictionPolicy::VolatileLru);
    let (groups, cache) = grouped(REDIS);
    for name in ["allkeys-lru", "volatile-random", "allkeys-random", "volatile-ttl", "volatile-lru", "noeviction"] {
        groups.modify("mine", [("maxmemory-policy", name)]).unwrap();
        assert_eq!(cache.policy().name(), name);
    }
    let mut stored = 0;
    while cache.set(format!("{stored}").as_bytes(), &[0; 4000]).is_ok() {
        stored += 1;
    }
    assert!(stored > 100 && cache.contains(b"0"));
    groups.modify("mine", [("maxmemory-policy", "allkeys-lru")]).unwrap();
    cache.set(b"one more", &[0; 4000]).unwrap();
}

/// Items stored first that are there still after as many again were stored: an exact LRU has none.
fn mistakes(samples: &str) -> usize {
    let cache = cache_with(REDIS, &[("maxmemory-policy", "allkeys-lru"), ("maxmemory-samples", samples)]);
    fill(&cache, 60_000, 100);
    let there: Vec<u32> = (0..60_000).filter(|i| cache.contains(format!("key:{i}").as_bytes())).collect();
    let oldest_of_exact = 60_000 - there.len() as u32;
    there.iter().filter(|&&i| i < oldest_of_exact).count()
}

#[test]
fn maxmemory_samples() {
    let (groups, cache) = grouped(REDIS);
    assert_eq!(cache.samples(), 3);
    groups.modify("mine", [("maxmemory-samples", 300)]).unwrap();
    assert_eq!(cache.samples(), 300);
    let (few, many) = (mistakes("3"), mistakes("300"));
    assert!(many < few, "{many} mistakes with 300 samples, {few} with 3");
}

#[test]
fn reserved_memory() {
    let (groups, cache) = grouped(REDIS);
    groups.modify("mine", [("maxmemory-policy", "allkeys-lru")]).unwrap();
    fill(&cache, 20_000, 200);
    assert!(cache.memory().used > 3 << 20);
    groups.modify("mine", [("reserved-memory", "2MiB")]).unwrap();
    let memory = cache.memory();
    assert_eq!(memory.reserved, 2 << 20);
    // Small things, such as the threads' sessions, are charged when they are looked at.
    assert!(memory.used <= (2 << 20) + 4096 && memory.items > 0, "{memory:?}");
}

#[test]
fn max_cache_memory_and_memcached_connections_overhead() {
    let cache = cache_with(MEMCACHED, &[("max_cache_memory", "9"), ("memcached_connections_overhead", "2")]);
    assert_eq!((cache.memory().limit, cache.memory().reserved), (9 << 20, 2 << 20));
    fill(&cache, 20_000, 1000);
    assert!(cache.memory().used <= 7 << 20);
    let micro = node("cache.t1.micro");
    let cache = micro.builder(Family::Memcached1_4).unwrap().build().unwrap();
    assert_eq!((cache.memory().limit, cache.memory().reserved), (213 << 20, 13 << 20));
    let values = ParameterValues::new(Family::Memcached1_4).node(micro).unwrap();
    assert_eq!(values.integer("memcached_connections_overhead").unwrap(), 100, "13 is the default group's");
}

#[test]
fn chunk_size() {
    let least = |text: &str| cache_with(MEMCACHED, &[("chunk_size", text)]).classes()[0].chunk_size;
    assert!((56..64).contains(&least("48")) && (72..80).contains(&least("64")), "{} {}", least("48"), least("64"));
    let large = cache_with(MEMCACHED, &[("chunk_size", "60000")]);
    assert!(large.classes()[0].chunk_size >= 60_008, "pages become as large as it takes");
    large.set(b"k", &[0; 59_000]).unwrap();
}

#[test]
fn chunk_size_growth_factor() {
    let classes = |text: &str| cache_with(MEMCACHED, &[("chunk_size_growth_factor", text)]).classes().len();
    assert!(classes("1.02") > classes("1.25") && classes("1.25") > classes("2"));
    for chunk_size in ["48", "64", "1000", "2040", "2041", "16000", "40000", "1048576"] {
        for factor in ["1.0000001", "1.02", "3", "1e300"] {
            let memory =
                [("max_cache_memory", "256"), ("chunk_size", chunk_size), ("chunk_size_growth_factor", factor)];
            cache_with(MEMCACHED, &memory).set(b"k", b"v").unwrap();
        }
    }
}

#[test]
fn max_item_size() {
    let cache = cache_with(MEMCACHED, &[("max_item_size", "2000")]);
    cache.set(b"k", &[0; 2000]).unwrap();
    assert_eq!(cache.set(b"k", &[0; 2001]).unwrap_err().kind(), ErrorKind::ItemTooLarge);
}

#[test]
fn error_on_memory_exhausted() {
    let evicting = cache_with(MEMCACHED, &[]);
    assert_eq!(evicting.policy(), EvictionPolicy::AllkeysLru);
    fill(&evicting, 5_000, 2000);
    let refusing = cache_with(MEMCACHED, &[("error_on_memory_exhausted", "1")]);
    let stored = (0..5_000_u32).take_while(|i| refusing.set(&i.to_le_bytes(), &[0; 2000]).is_ok()).count() as u32;
    assert!((100..5_000).contains(&stored));
    assert!((0..stored).all(|i| refusing.contains(&i.to_le_bytes())), "nothing stored was lost");
}

#[test]
fn large_memory_pages() {
    let groups = ParameterGroups::new();
    for (text, is_on) in [("0", false), ("1", true)] {
        let cache = cache_with(MEMCACHED, &[("large_memory_pages", text)]);
        fill(&cache, 100, 100);
        let status = groups.attach(&cache, "default.memcached1.4", MEMCACHED, None).unwrap();
        assert_eq!(status.of("large_memory_pages").unwrap().in_force, Some(Value::from(is_on)));
    }
}

#[test]
fn lock_down_paged_memory() {
    let cache = cache_with(MEMCACHED, &[("lock_down_paged_memory", "1")]);
    let groups = ParameterGroups::new();
    let status = groups.attach(&cache, "default.memcached1.4", MEMCACHED, None).unwrap();
    assert_eq!(status.of("lock_down_paged_memory").unwrap().in_force, Some(Value::from(true)));
    match cache.set(b"k", b"v") {
        Ok(()) if cfg!(target_os = "linux") => {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let locked = status.lines().find(|line| line.starts_with("VmLck:")).unwrap();
            assert!(!locked.contains(" 0 kB"), "{locked}");
        }
        Ok(()) => {}
        Err(e) => assert_eq!(e.kind(), ErrorKind::Os, "the system does not let this process lock memory"),
    }
}

#[test]
fn slab_automove() {
    for (text, automove) in [("0", Automove::Off), ("1", Automove::Slow), ("2", Automove::Always)] {
        assert_eq!(cache_with(MEMCACHED, &[("slab_automove", text)]).automove(), automove);
    }
}

#[test]
fn slab_reassign() {
    let refusal = cache_with(MEMCACHED, &[]).reassign_page(0, 1).unwrap_err();
    assert_eq!(refusal.kind(), ErrorKind::NotAllowed);
    assert!(!cache_with(MEMCACHED, &[("slab_reassign", "1")]).reassign_page(0, 1).unwrap());
}

#[test]
fn cas_disabled() {
    let (with, without) = (cache_with(MEMCACHED, &[]), cache_with(MEMCACHED, &[("cas_disabled", "1")]));
    let chunk_bytes = |cache: &Cache| {
        // 48 and 56 bytes, header and key included, which chunks of both sizes hold.
        cache.set(b"keys", &[b'x'; 36]).unwrap();
        let long = cache.set_with(b"keys", &[b'x'; 500], &SetOptions::new().want_token()).unwrap();
        (long.token.is_some(), cache.metadata(b"keys").unwrap().token.is_some())
    };
    assert_eq!((chunk_bytes(&with), chunk_bytes(&without)), ((true, true), (false, false)));
    let (_, token) = with.get_with_token(b"keys").unwrap().unwrap();
    assert!(matches!(with.compare_and_swap(b"keys", b"new", token).unwrap(), larder::CasOutcome::Stored(_)));
    for refused in [
        without.compare_and_swap(b"keys", b"new", token).unwrap_err(),
        without.get_with_token(b"keys").unwrap_err(),
        without.set_with(b"keys", b"new", &SetOptions::new().if_token(token)).unwrap_err(),
        without.reserve(b"keys", 3, &SetOptions::new().if_token(token)).unwrap_err(),
    ] {
        assert_eq!(refused.kind(), ErrorKind::NotAllowed);
    }
    assert!(!without.remove_if(b"keys", token));
    without.set(b"keys", b"as before").unwrap();

    // Fine classes, so that 8 bytes show: the longest value of a chunk is 8 bytes shorter with a token.
    let most = |cas: &str| {
        let set = [("cas_disabled", cas), ("chunk_size", "48"), ("chunk_size_growth_factor", "1.02")];
        let cache = cache_with(MEMCACHED, &set);
        let used = |cache: &Cache| cache.classes().iter().position(|class| class.used_chunks > 0);
        let first = |len: &usize| {
            cache.clear();
            cache.run_maintenance(Duration::from_secs(1));
            cache.set(b"k", &vec![0; *len]).unwrap();
            used(&cache) == Some(0)
        };
        (0..100).take_while(first).last().unwrap()
    };
    assert_eq!(most("1"), most("0") + 8);
}

#[test]
fn hashpower_init() {
    let index = |text: &str| {
        let cache = cache_with(
            MEMCACHED,
            &[("hashpower_init", text), ("max_cache_memory", "32"), ("memcached_connections_overhead", "0")],
        );
        let before = cache.memory().index;
        fill(&cache, 1000, 10);
        cache.run_maintenance(Duration::from_secs(1));
        assert_eq!(cache.memory().index, before, "it need not grow for 1000 items, and does not shrink");
        before
    };
    let (small, large) = (index("12"), index("16"));
    assert!(large > 60_000 * 8 && large > small * 8, "{small} {large}");
    assert!(index("32") <= 5 << 20, "an eighth of the limit at most");
    let cache = cache_with(
        MEMCACHED,
        &[("hashpower_init", "20"), ("max_cache_memory", "32"), ("memcached_connections_overhead", "0")],
    );
    cache.set_max_memory(2 << 20).unwrap();
    cache.run_maintenance(Duration::from_secs(5));
    assert!(cache.memory().used <= 2 << 20, "a lower limit takes it along: {:?}", cache.memory());
}

#[test]
fn activerehashing() {
    let after_all_is_gone = |text: &str| {
        let cache = cache_with(REDIS, &[("activerehashing", text)]);
        fill(&cache, 10_000, 10);
        let grown = cache.memory().index;
        cache.clear();
        cache.run_maintenance(Duration::from_secs(5));
        (grown, cache.memory().index)
    };
    let (grown, left) = after_all_is_gone("yes");
    assert!(left * 4 < grown, "{grown} {left}");
    let (grown, left) = after_all_is_gone("no");
    assert!(left * 2 > grown, "{grown} {left}");
}

#[test]
fn databases() {
    let cache = cache_with(REDIS, &[]);
    assert_eq!(cache.namespaces(), 16);
    assert!(cache.try_namespace(15).is_ok());
    assert_eq!(cache.try_namespace(16).unwrap_err().kind(), ErrorKind::NotFound);
    let cache = cache_with(REDIS, &[("databases", "256")]);
    cache.try_namespace(255).unwrap().set(b"k", b"v").unwrap();
    assert!(cache.try_namespace(256).is_err() && cache.try_namespace(u64::MAX).is_err());
}

#[test]
fn num_threads() {
    for (threads, shards) in [("1", 4), ("2", 8), ("8", 16)] {
        let cache = cache_with(MEMCACHED, &[("num_threads", threads), ("max_cache_memory", "1024")]);
        assert_eq!(cache.shards().len(), shards, "{threads} threads");
    }
}
