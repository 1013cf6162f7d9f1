//! What a Prometheus exporter makes of a cache's figures.
#![cfg(feature = "metrics")]

use std::collections::BTreeMap;
use std::time::Duration;

use larder::{Cache, ErrorKind, Maintenance, ManualClock, MetricKind, MetricsPublisher, View};
use metrics_exporter_prometheus::PrometheusBuilder;

fn small() -> Cache {
    let builder = Cache::builder().max_memory(1 << 20).shards(2).seed(1).name("tested").clock(ManualClock::new(1));
    builder.maintenance(Maintenance::Manual).build().unwrap()
}

/// The samples of an exposition: metric with labels, and value.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let (metric, value) = line.rsplit_once(' ').unwrap();
            (metric.to_owned(), value.parse().unwrap())
        })
        .collect()
}

/// Publishes, and tells what an exporter shows.
fn rendered(publish: impl FnOnce()) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, publish);
    recorder.handle().render()
}

#[test]
fn everything_is_exported_in_prometheus_ways() {
    let cache = small();
    cache.set(b"k", &[1; 100]).unwrap();
    cache.get(b"k").unwrap();
    cache.get(b"absent").unwrap();
    let text = rendered(|| MetricsPublisher::new(&cache).cluster_id("shop").node_id("0001").publish());
    let samples = samples(&text);
    let labels = r#"cache="tested",CacheClusterId="shop",CacheNodeId="0001""#;
    let value = |name: &str| samples.get(&format!("{name}{{{labels}}}")).copied();
    assert_eq!(value("larder_get_hits_total"), Some(1.0), "{text}");
    assert_eq!(value("larder_get_misses_total"), Some(1.0));
    assert_eq!(value("larder_memory_limit_bytes"), Some(1_048_576.0));
    assert_eq!(value("larder_items"), Some(1.0));
    assert_eq!(value("larder_redis_cache_misses_total"), Some(1.0));
    assert_eq!(value("larder_memcached_new_items"), Some(1.0));
    assert!(value("larder_longest_lock_hold_seconds").is_some());
    let used: Vec<_> = samples.iter().filter(|(name, _)| name.starts_with("larder_class_used_chunks")).collect();
    assert_eq!(used.iter().map(|(_, count)| **count).sum::<f64>(), 1.0, "{used:?}");
    assert_eq!(samples.keys().filter(|name| name.starts_with("larder_shard_items{")).count(), 2);
    assert!(text.contains("# TYPE larder_get_hits_total counter\n") && text.contains("# TYPE larder_items gauge\n"));
    assert!(text.contains("# HELP larder_get_hits_total Reads that found a value.\n"));
}

/// Names: lower case, units and kinds at their end, each with one type and a help text.
#[test]
fn names_keep_to_the_conventions() {
    let cache = small();
    cache.set(b"k", b"v").unwrap();
    let text = rendered(|| cache.publish_metrics());
    let types: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|line| line.split_once(' ').unwrap())
        .collect();
    assert!(types.len() > 80, "{}", types.len());
    for (name, kind) in types {
        assert!(name.starts_with("larder_"), "{name}");
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
        assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help");
    }
}

#[test]
fn every_metric_of_both_views_is_there() {
    let cache = small();
    for i in 0..10_000u32 {
        cache.set(&i.to_le_bytes(), &[0; 200]).unwrap();
        cache.get(&(i / 2).to_le_bytes()).unwrap();
    }
    let samples = samples(&rendered(|| cache.publish_metrics()));
    for (view, prefix) in [(View::Memcached, "larder_memcached_"), (View::Redis, "larder_redis_")] {
        let published: Vec<f64> =
            samples.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, value)| *value).collect();
        let metrics = cache.metrics(view);
        assert_eq!(published.len(), metrics.len());
        for metric in metrics.iter().filter(|metric| metric.kind == MetricKind::Counter) {
            let mut snake = String::new();
            for c in metric.name.chars() {
                if c.is_ascii_uppercase() && !snake.is_empty() {
                    snake.push('_');
                }
                snake.push(c.to_ascii_lowercase());
            }
            let name = format!(r#"{prefix}{snake}_total{{cache="tested"}}"#);
            assert_eq!(samples.get(&name), Some(&(metric.value as f64)), "{name}");
        }
    }
}

#[test]
fn what_is_new_is_new_since_the_last_time() {
    let cache = small();
    let recorder = PrometheusBuilder::new().build_recorder();
    let mut publisher = MetricsPublisher::new(&cache).views(&[View::Memcached]).label("zone", "a").label("zone", "b");
    let mut new_items = || {
        metrics::with_local_recorder(&recorder, || publisher.publish());
        let samples = samples(&recorder.handle().render());
        assert!(!samples.keys().any(|name| name.starts_with("larder_redis")));
        let value = |name: &str| samples[&format!(r#"{name}{{cache="tested",zone="b"}}"#)];
        (value("larder_memcached_new_items"), value("larder_stored_items_total"))
    };
    cache.set(b"a", b"1").unwrap();
    cache.set(b"b", b"1").unwrap();
    assert_eq!(new_items(), (2.0, 2.0));
    assert_eq!(new_items(), (0.0, 2.0));
    cache.set(b"c", b"1").unwrap();
    assert_eq!(new_items(), (1.0, 3.0));
}

#[test]
fn the_curve_is_published_when_there_is_one() {
    let builder = Cache::builder().max_memory(2 << 20).miss_ratio_curve(1 << 20).name("curved");
    let cache = builder.maintenance(Maintenance::Manual).build().unwrap();
    cache.get(b"absent").unwrap();
    let samples = samples(&rendered(|| cache.publish_metrics()));
    for factor in ["0.5", "1", "2", "4"] {
        let name = format!(r#"larder_estimated_miss_ratio{{cache="curved",memory_factor="{factor}"}}"#);
        assert_eq!(samples.get(&name), Some(&1.0), "{samples:?}");
    }
}

#[test]
fn a_thread_publishes_until_it_is_dropped() {
    let cache = small();
    let error = MetricsPublisher::new(&cache).every(Duration::ZERO).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    // The only test that installs a recorder for all threads.
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).unwrap();
    let publishing = MetricsPublisher::new(&cache).label("who", "thread").every(Duration::from_secs(3600)).unwrap();
    cache.get(b"absent").unwrap();
    drop(publishing);
    let name = r#"larder_get_misses_total{cache="tested",who="thread"}"#;
    assert_eq!(samples(&handle.render()).get(name), Some(&1.0), "the last publication is at the end");
    let _forever = MetricsPublisher::new(&cache).every(Duration::MAX).unwrap();
}

#[test]
fn the_log_is_published() {
    use larder::oplog::{AppendOptions, Backlog, Fsync};
    use larder::storage::Memory;
    use std::sync::Arc;

    let options = AppendOptions::new(Memory::new()).fsync(Fsync::No);
    let builder = Cache::builder().max_memory(1 << 20).maintenance(larder::Maintenance::Manual);
    let cache = builder.append_only(options).backlog(Arc::new(Backlog::new(1 << 20))).build().unwrap();
    for i in 0..100u32 {
        cache.set(&i.to_le_bytes(), &[1; 100]).unwrap();
    }
    let text = rendered(|| cache.publish_metrics());
    let found = samples(&text);
    let of = |name: &str| found.iter().find(|(key, _)| key.starts_with(name)).map(|(_, value)| *value);
    assert_eq!(
        (of("larder_log_on"), of("larder_log_stalled"), of("larder_log_failed")),
        (Some(1.0), Some(0.0), Some(0.0))
    );
    assert_eq!((of("larder_log_effects_total"), of("larder_log_pending_bytes")), (Some(100.0), Some(0.0)));
    assert!(of("larder_log_file_bytes") > Some(10_000.0) && of("larder_log_unsynced_bytes") > Some(10_000.0), "{text}");
    assert!(of("larder_backlog_bytes") > Some(10_000.0));
    let file = cache.append_file().unwrap();
    file.set_fsync(Fsync::Always);
    cache.set(b"k", b"v").unwrap();
    cache.rewrite_log().unwrap();
    let found = samples(&rendered(|| cache.publish_metrics()));
    let of = |name: &str| found.iter().find(|(key, _)| key.starts_with(name)).map(|(_, value)| *value);
    assert_eq!((of("larder_log_unsynced_bytes"), of("larder_log_rewrites_total")), (Some(0.0), Some(1.0)));
    assert!(of("larder_log_syncs_total") >= Some(1.0));
}

#[cfg(feature = "snapshot")]
#[test]
fn snapshots_are_published() {
    use larder::snapshot::{RestoreOptions, SnapshotOptions};
    use larder::storage::{Fault, SimulatedDisk};

    let clock = larder::ManualClock::new(5_000_000);
    let cache = Cache::builder().max_memory(1 << 20).clock(clock).build().unwrap();
    let figures = || {
        let found = samples(&rendered(|| cache.publish_metrics()));
        move |name: &str| found.iter().find(|(key, _)| key.starts_with(name)).map(|(_, value)| *value)
    };
    assert_eq!(figures()("larder_snapshot_last_timestamp_seconds"), Some(0.0));
    cache.set(b"k", b"v").unwrap();
    let disk = SimulatedDisk::new(1);
    let info = cache.snapshot_to(&disk, "s", &SnapshotOptions::new()).unwrap();
    cache.restore_from(&disk, "s", &RestoreOptions::new()).unwrap();
    let of = figures();
    assert_eq!((of("larder_snapshots_total"), of("larder_snapshot_failures_total")), (Some(1.0), Some(0.0)));
    assert_eq!((of("larder_snapshot_last_items"), of("larder_snapshot_saving")), (Some(1.0), Some(0.0)));
    assert_eq!(of("larder_snapshot_last_bytes"), Some(info.file_bytes as f64));
    assert_eq!(of("larder_snapshot_last_timestamp_seconds"), Some(5000.0));
    assert!(of("larder_snapshot_last_duration_seconds") > Some(0.0));
    assert_eq!((of("larder_restores_total"), of("larder_restore_failures_total")), (Some(1.0), Some(0.0)));
    disk.fail_at(disk.calls() + 1, Fault::Io, true);
    cache.snapshot_to(&disk, "t", &SnapshotOptions::new()).unwrap_err();
    cache.restore_from(&disk, "s", &RestoreOptions::new()).unwrap_err();
    let of = figures();
    assert_eq!((of("larder_snapshot_failures_total"), of("larder_snapshot_last_failed")), (Some(1.0), Some(1.0)));
    assert_eq!(of("larder_restore_failures_total"), Some(1.0));
}
