//! The metrics that operators of managed memcached watch: each is told by `Server::metrics`, with its kind and unit, and
//! has its row in `stats`.

use larder::MetricKind::{self, Counter, Derived, Gauge};
use larder::protocol::memcached::{ProcessFacts, Server};

use crate::admin::stats;
use crate::client::{Client, Cut, cache};

/// Name, kind, unit, and the row of `stats` that it is read from.
const METRICS: &[(&str, MetricKind, &str, &str)] = &[
    ("BytesUsedForCacheItems", Gauge, "Bytes", "bytes"),
    ("BytesReadIntoMemcached", Counter, "Bytes", "bytes_read"),
    ("BytesWrittenOutFromMemcached", Counter, "Bytes", "bytes_written"),
    ("CasBadval", Counter, "Count", "cas_badval"),
    ("CasHits", Counter, "Count", "cas_hits"),
    ("CasMisses", Counter, "Count", "cas_misses"),
    ("CmdFlush", Counter, "Count", "cmd_flush"),
    ("CmdGet", Counter, "Count", "cmd_get"),
    ("CmdSet", Counter, "Count", "cmd_set"),
    ("CurrConnections", Gauge, "Count", "curr_connections"),
    ("CurrItems", Gauge, "Count", "curr_items"),
    ("DecrHits", Counter, "Count", "decr_hits"),
    ("DecrMisses", Counter, "Count", "decr_misses"),
    ("DeleteHits", Counter, "Count", "delete_hits"),
    ("DeleteMisses", Counter, "Count", "delete_misses"),
    ("Evictions", Counter, "Count", "evictions"),
    ("GetHits", Counter, "Count", "get_hits"),
    ("GetMisses", Counter, "Count", "get_misses"),
    ("IncrHits", Counter, "Count", "incr_hits"),
    ("IncrMisses", Counter, "Count", "incr_misses"),
    ("Reclaimed", Counter, "Count", "reclaimed"),
    ("BytesUsedForHash", Gauge, "Bytes", "hash_bytes"),
    ("CmdConfigGet", Counter, "Count", "cmd_config_get"),
    ("CmdConfigSet", Counter, "Count", "cmd_config_set"),
    ("CmdTouch", Counter, "Count", "cmd_touch"),
    ("CurrConfig", Gauge, "Count", "curr_config"),
    ("EvictedUnfetched", Counter, "Count", "evicted_unfetched"),
    ("ExpiredUnfetched", Counter, "Count", "expired_unfetched"),
    ("SlabsMoved", Counter, "Count", "slabs_moved"),
    ("TouchHits", Counter, "Count", "touch_hits"),
    ("TouchMisses", Counter, "Count", "touch_misses"),
    ("NewConnections", Derived, "Count", "total_connections"),
    ("NewItems", Derived, "Count", "total_items"),
    ("UnusedMemory", Derived, "Bytes", "limit_maxbytes"),
];

/// Further rows that tools read.
const OTHERS: &[&str] = &[
    "pid",
    "uptime",
    "time",
    "version",
    "rusage_user",
    "rusage_system",
    "threads",
    "idle_kicks",
    "rejected_connections",
    "accepting_conns",
    "get_expired",
    "get_flushed",
    "store_too_large",
    "store_no_memory",
];

#[test]
fn each_is_told_and_has_its_row() {
    let facts = ProcessFacts { pid: 77, ..ProcessFacts::default() };
    let cache = cache().0.slab_reassign(true).build().unwrap();
    let server = Server::builder(cache).process(move || facts).idle_timeout(9).build();
    let mut client = Client::new(&server);
    // Rows of auto discovery are there once it is used.
    client.send(b"config get cluster\r\n", Cut::WHOLE);
    let rows = stats(&mut Client::new(&server), "");
    let metrics = server.metrics();
    for &(name, kind, unit, row) in METRICS {
        let found: Vec<_> = metrics.iter().filter(|metric| metric.name == name).collect();
        assert_eq!(found.len(), 1, "{name}");
        assert_eq!((found[0].kind, found[0].unit), (kind, unit), "{name}");
        assert!(rows.get(row).is_some_and(|value| value.parse::<u64>().is_ok()), "{name}: {row}");
    }
    assert_eq!(metrics.len(), METRICS.len(), "more is told than is known of");
    for row in OTHERS {
        assert!(rows.contains_key(*row), "{row}");
    }
    assert_eq!(rows["pid"], "77");
}

#[test]
fn what_only_a_service_has_is_counted() {
    let server = Server::builder(cache().0.build().unwrap()).build();
    let mut client = Client::new(&server);
    client.connection.transferred(100, 50);
    client.send(b"config set cluster 0 1\r\nx\r\nconfig get cluster\r\nconfig get other\r\n", Cut::WHOLE);
    drop(Client::new(&server));
    let metrics = server.metrics();
    for (name, value) in [
        ("BytesReadIntoMemcached", 100),
        ("BytesWrittenOutFromMemcached", 50),
        ("CmdConfigGet", 2),
        ("CmdConfigSet", 1),
        ("CurrConfig", 1),
        ("CurrConnections", 1),
        ("NewConnections", 2),
    ] {
        let found = metrics.iter().find(|metric| metric.name == name).map(|metric| metric.value);
        assert_eq!(found, Some(value), "{name}");
    }
}
