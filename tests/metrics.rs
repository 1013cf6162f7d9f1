//! The metrics that operators of managed caches know: each is there under its view's names, with the right kind and
//! unit, and moves when it should.

use std::time::Duration;

use larder::{Cache, EvictionPolicy, Maintenance, ManualClock, MetricKind, SetOptions, Token, View};
use larder::{MetricKind::Counter, MetricKind::Derived, MetricKind::Gauge};

const MEMCACHED: [(&str, MetricKind, &str); 27] = [
    ("BytesUsedForCacheItems", Gauge, "Bytes"),
    ("CasBadval", Counter, "Count"),
    ("CasHits", Counter, "Count"),
    ("CasMisses", Counter, "Count"),
    ("CmdFlush", Counter, "Count"),
    ("CmdGet", Counter, "Count"),
    ("CmdSet", Counter, "Count"),
    ("CurrItems", Gauge, "Count"),
    ("DecrHits", Counter, "Count"),
    ("DecrMisses", Counter, "Count"),
    ("DeleteHits", Counter, "Count"),
    ("DeleteMisses", Counter, "Count"),
    ("Evictions", Counter, "Count"),
    ("GetHits", Counter, "Count"),
    ("GetMisses", Counter, "Count"),
    ("IncrHits", Counter, "Count"),
    ("IncrMisses", Counter, "Count"),
    ("Reclaimed", Counter, "Count"),
    ("BytesUsedForHash", Gauge, "Bytes"),
    ("CmdTouch", Counter, "Count"),
    ("EvictedUnfetched", Counter, "Count"),
    ("ExpiredUnfetched", Counter, "Count"),
    ("SlabsMoved", Counter, "Count"),
    ("TouchHits", Counter, "Count"),
    ("TouchMisses", Counter, "Count"),
    ("NewItems", Derived, "Count"),
    ("UnusedMemory", Derived, "Bytes"),
];

const REDIS: [(&str, MetricKind, &str); 7] = [
    ("CurrItems", Gauge, "Count"),
    ("Evictions", Counter, "Count"),
    ("Reclaimed", Counter, "Count"),
    ("BytesUsedForCache", Gauge, "Bytes"),
    ("CacheHits", Counter, "Count"),
    ("CacheMisses", Counter, "Count"),
    ("ReplicationLag", Gauge, "Seconds"),
];

fn small() -> (Cache, ManualClock) {
    let clock = ManualClock::new(1_700_000_000_000);
    let builder = Cache::builder().max_memory(256 << 10).page_size(1024).shards(1).seed(1).clock(clock.clone());
    let cache = builder.policy(EvictionPolicy::AllkeysLru).maintenance(Maintenance::Manual).build().unwrap();
    (cache, clock)
}

fn value(cache: &Cache, view: View, name: &str) -> u64 {
    cache.metrics(view).iter().find(|metric| metric.name == name).unwrap_or_else(|| panic!("no {name}")).value
}

/// Does something and says by how much each of these metrics grew.
fn growth<const N: usize>(cache: &Cache, names: [&str; N], act: impl FnOnce()) -> [u64; N] {
    let before = names.map(|name| value(cache, View::Memcached, name));
    act();
    let after = names.map(|name| value(cache, View::Memcached, name));
    std::array::from_fn(|i| after[i].checked_sub(before[i]).unwrap_or_else(|| panic!("{} has sunk", names[i])))
}

#[test]
fn each_is_there_with_its_kind_and_unit() {
    let (cache, _) = small();
    for (view, expected) in [(View::Memcached, &MEMCACHED[..]), (View::Redis, &REDIS[..])] {
        let metrics = cache.metrics(view);
        for &(name, kind, unit) in expected {
            let found: Vec<_> = metrics.iter().filter(|metric| metric.name == name).collect();
            assert_eq!(found.len(), 1, "{view:?} {name}");
            assert_eq!((found[0].kind, found[0].unit), (kind, unit), "{view:?} {name}");
        }
        assert_eq!(metrics.len(), expected.len(), "{view:?} reports more than is known of it");
    }
}

#[test]
fn gets_and_sets() {
    let (cache, _) = small();
    let grown = growth(&cache, ["CmdGet", "GetHits", "GetMisses", "CmdSet", "NewItems", "CurrItems"], || {
        cache.set(b"a", b"1").unwrap();
        cache.set(b"a", b"2").unwrap();
        cache.add(b"a", b"3").unwrap();
        cache.read(b"a", |_| ()).unwrap();
        drop(cache.get(b"b").unwrap());
        cache.get_many(&["a", "b", "c"], |_, _| ());
        // Neither use nor count.
        drop(cache.peek(b"a").unwrap());
        cache.contains(b"a");
    });
    assert_eq!(grown, [5, 2, 3, 3, 2, 1]);
    assert_eq!([value(&cache, View::Redis, "CacheHits"), value(&cache, View::Redis, "CacheMisses")], [2, 3]);
}

#[test]
fn one_call_is_one_get() {
    let (cache, _) = small();
    cache.set(b"a", b"1").unwrap();
    let grown = growth(&cache, ["CmdGet", "GetHits"], || {
        let (_, token) = cache.get_with_token(b"a").unwrap().unwrap();
        assert_eq!(cache.metadata(b"a").unwrap().token, Some(token));
    });
    assert_eq!(grown, [1, 1]);
    // A ninth guard is a copy, and may have to make room first.
    let guards: Vec<_> = (0..20).map(|_| cache.get(b"a").unwrap().unwrap()).collect();
    assert_eq!(value(&cache, View::Memcached, "GetHits"), 21);
    drop(guards);
}

#[test]
fn numbers_removals_touches_and_tokens() {
    let (cache, _) = small();
    cache.set(b"n", b"5").unwrap();
    let grown = growth(&cache, ["IncrHits", "IncrMisses", "DecrHits", "DecrMisses"], || {
        cache.increment(b"n", 1).unwrap();
        cache.increment(b"absent", 1).unwrap();
        cache.decrement(b"n", 1).unwrap();
        cache.decrement(b"n", 1).unwrap();
        cache.decrement(b"absent", 1).unwrap();
    });
    assert_eq!(grown, [1, 1, 2, 1]);
    let grown = growth(&cache, ["CasHits", "CasBadval", "CasMisses"], || {
        let (_, token) = cache.get_with_token(b"n").unwrap().unwrap();
        cache.compare_and_swap(b"n", b"1", token).unwrap();
        cache.compare_and_swap(b"n", b"2", token).unwrap();
        cache.compare_and_swap(b"absent", b"2", Token::from_u64(1)).unwrap();
    });
    assert_eq!(grown, [1, 1, 1]);
    let grown =
        growth(&cache, ["CmdTouch", "TouchHits", "TouchMisses", "DeleteHits", "DeleteMisses", "CmdFlush"], || {
            cache.touch(b"n", Duration::from_secs(9)).unwrap();
            cache.touch(b"absent", Duration::from_secs(9)).unwrap();
            cache.remove(b"n");
            cache.remove(b"n");
            cache.clear();
        });
    assert_eq!(grown, [2, 1, 1, 1, 1, 1]);
}

#[test]
fn eviction_expiry_pages_and_memory() {
    let (cache, clock) = small();
    let names = ["Evictions", "EvictedUnfetched", "BytesUsedForHash", "BytesUsedForCacheItems", "NewItems"];
    let grown = growth(&cache, names, || {
        for i in 0..6000u32 {
            cache.set(&i.to_le_bytes(), &[1; 60]).unwrap();
        }
    });
    assert!(grown[0] > 1000 && grown[1] == grown[0] && grown[2] > 0 && grown[3] > 100 << 10, "{grown:?}");
    assert_eq!(grown[4], 6000);
    assert_eq!(value(&cache, View::Redis, "Evictions"), grown[0]);
    assert_eq!(value(&cache, View::Redis, "BytesUsedForCache"), cache.memory().used);
    let grown = growth(&cache, ["SlabsMoved"], || {
        for i in 0..300u32 {
            cache.set(&i.to_be_bytes(), &[2; 200]).unwrap();
        }
        let class = cache.classes().iter().position(|class| class.pages > 2).unwrap();
        assert!(cache.reassign_page(class, class + 1).unwrap());
    });
    assert!(grown[0] > 0);

    cache.clear();
    let unused = value(&cache, View::Memcached, "UnusedMemory");
    let grown = growth(&cache, ["ExpiredUnfetched", "Evictions"], || {
        for i in 0..100u32 {
            let options = SetOptions::new().ttl(Duration::from_secs(1));
            cache.set_with(&i.to_le_bytes(), &[1; 60], &options).unwrap();
        }
        cache.read(&7u32.to_le_bytes(), |_| ()).unwrap();
        clock.advance(Duration::from_secs(3));
        cache.run_maintenance(Duration::from_secs(5));
    });
    assert_eq!(grown, [99, 0]);
    assert_eq!(value(&cache, View::Redis, "Reclaimed"), 100);
    assert!(value(&cache, View::Memcached, "UnusedMemory") > unused, "what was cleared is swept as well");

    // What has ended and is removed because its room is needed was reclaimed.
    let grown = growth(&cache, ["Reclaimed", "Evictions"], || {
        for i in 0..500u32 {
            let options = SetOptions::new().ttl(Duration::from_secs(1));
            cache.set_with(&i.to_le_bytes(), &[1; 60], &options).unwrap();
        }
        clock.advance(Duration::from_secs(3));
        for i in 10_000..16_000u32 {
            cache.set(&i.to_le_bytes(), &[1; 60]).unwrap();
        }
    });
    assert!(grown[0] > 0, "{grown:?}");
}
