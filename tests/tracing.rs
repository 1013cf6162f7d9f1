//! What `tracing` subscribers are told, and that they are told it without a lock being held: the one here uses the
//! cache whenever it hears something.
#![cfg(feature = "tracing")]

use std::cell::Cell;
use std::fmt::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use larder::{Automove, Cache, EvictionPolicy, Maintenance, ManualClock, Objective, SetOptions};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber, span};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

thread_local! {
    static BUSY: Cell<bool> = const { Cell::new(false) };
}

/// Notes what it is told, and uses the cache meanwhile.
#[derive(Clone, Default)]
struct Listener {
    heard: Arc<Mutex<Vec<String>>>,
    cache: Arc<Mutex<Option<Cache>>>,
}

#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            write!(self.0, "{value:?} ").unwrap();
        } else {
            write!(self.0, "{}={value:?} ", field.name()).unwrap();
        }
    }
}

impl Listener {
    fn hear(&self, what: String) {
        if !what.starts_with("larder") {
            return;
        }
        self.heard.lock().unwrap().push(what);
        if BUSY.replace(true) {
            return;
        }
        let cache = self.cache.lock().unwrap().clone();
        if let Some(cache) = cache {
            cache.stats();
            let _ = cache.set(b"listener", b"x");
            let _ = cache.update(&[b"a", b"b"], |_| ());
            cache.get(b"listener").unwrap();
        }
        BUSY.set(false);
    }

    fn has(&self, what: &str) -> bool {
        self.heard.lock().unwrap().iter().any(|heard| heard.contains(what))
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Listener {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, _id: &span::Id, _ctx: Context<'_, S>) {
        let mut text = Text::default();
        attributes.record(&mut text);
        let metadata = attributes.metadata();
        self.hear(format!("{} {} begins {}", metadata.target(), metadata.name(), text.0));
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        let mut text = Text::default();
        event.record(&mut text);
        let inside = ctx.event_span(event).map_or("", |span| span.name());
        self.hear(format!("{} {} {}in [{inside}]", event.metadata().target(), event.metadata().level(), text.0));
    }
}

#[test]
fn all_that_is_done_beside_the_operations_is_told() {
    let listener = Listener::default();
    let clock = ManualClock::new(1_000_000);
    let builder = Cache::builder().max_memory(1 << 20).shards(2).seed(1).name("told").clock(clock.clone());
    let cache = builder.maintenance(Maintenance::Manual).build().unwrap();
    *listener.cache.lock().unwrap() = Some(cache.clone());
    tracing::subscriber::with_default(tracing_subscriber::registry().with(listener.clone()), || {
        let minute = SetOptions::new().ttl(Duration::from_secs(60));
        for i in 0..8000u32 {
            cache.set_with(&i.to_le_bytes(), &[0; 20], &minute).unwrap();
        }
        for i in 0..4000u32 {
            cache.set(&i.to_be_bytes(), &[0; 300]).unwrap();
        }
        clock.advance(Duration::from_secs(100));
        cache.run_maintenance(Duration::from_secs(1));
        cache.set_max_memory(512 << 10).unwrap();
        cache.set_reserved_memory(64 << 10).unwrap();
        cache.set_automove(Automove::Slow);
        cache.clear();
        cache.namespace(3).clear_after(Duration::from_secs(1));
        clock.advance(Duration::from_secs(2));
        // Now, and not by the listener: what a subscriber causes itself is not told to it.
        cache.contains(b"listener");
        cache.run_maintenance(Duration::from_secs(1));
        cache.set_policy(EvictionPolicy::NoEviction, Objective::Hits);
        let refused = (0..u32::MAX).find(|i| cache.set(&i.to_le_bytes(), &[0; 300]).is_err());
        assert!(refused.is_some());
    });
    let expected = [
        "DEBUG index resize begun cache=\"told\" shard=0 growing=true buckets=",
        "DEBUG index resize ended cache=\"told\" shard=0 buckets=",
        "DEBUG index resize begun cache=\"told\" shard=1 growing=false",
        "DEBUG slab page moved cache=\"told\" shard=",
        "maintenance begins cache=\"told\"",
        "TRACE page swept cache=\"told\" shard=0 removed=",
        "in [maintenance]",
        "TRACE maintenance run cache=\"told\" cpu_us=",
        "set_max_memory begins cache=\"told\" from=1048576 to=524288",
        "set_reserved_memory begins cache=\"told\" from=0 to=65536",
        "DEBUG automove set cache=\"told\" to=Slow",
        "DEBUG namespace cleared cache=\"told\" namespace=0",
        "DEBUG clear put off cache=\"told\" namespace=3 at_unix_ms=1101000",
        "DEBUG namespace cleared cache=\"told\" namespace=3",
        "set_policy begins cache=\"told\" to=\"noeviction\"",
        "DEBUG no memory for a write cache=\"told\" error=",
    ];
    let missing: Vec<&str> = expected.into_iter().filter(|what| !listener.has(what)).collect();
    let heard = listener.heard.lock().unwrap();
    let sample: Vec<&String> = heard.iter().filter(|line| !line.contains("swept")).take(40).collect();
    assert!(missing.is_empty(), "not told: {missing:#?}\ntold: {sample:#?}");
    let reads = heard.len();
    drop(heard);
    for _ in 0..1000 {
        cache.get(b"listener").unwrap();
    }
    assert_eq!(listener.heard.lock().unwrap().len(), reads, "reads tell nothing");
}

#[test]
fn what_becomes_of_logs_is_told() {
    use larder::oplog::{AppendOptions, Fsync};
    use larder::storage::{Fault, SimulatedDisk};

    let (listener, disk) = (Listener::default(), SimulatedDisk::new(1));
    let options = || AppendOptions::new(disk.clone()).fsync(Fsync::Always);
    let builder = || Cache::builder().max_memory(1 << 20).name("told").maintenance(Maintenance::Manual);
    tracing::subscriber::with_default(tracing_subscriber::registry().with(listener.clone()), || {
        let cache = builder().append_only(options().rewrite(1, 1000)).build().unwrap();
        *listener.cache.lock().unwrap() = Some(cache.clone());
        for i in 0..200u32 {
            cache.set(b"k", &i.to_le_bytes()).unwrap();
        }
        cache.run_maintenance(Duration::from_secs(1));
        cache.rewrite_log().unwrap();
        disk.set_full(true);
        cache.set(b"k", b"v").unwrap_err();
        disk.set_full(false);
        cache.set(b"k", b"v").unwrap();
        cache.stop_append_only().unwrap();
        *listener.cache.lock().unwrap() = None;
        drop(cache);
        let cache = builder().append_only(options()).build().unwrap();
        *listener.cache.lock().unwrap() = Some(cache.clone());
        disk.fail_at(disk.calls() + 2, Fault::Io, true);
        cache.set(b"k", b"w").unwrap_err();
        *listener.cache.lock().unwrap() = None;
    });
    let expected = [
        "log_recovery begins cache=\"told\"",
        "log_rewrite begins cache=\"told\"",
        "INFO log rewritten cache=\"told\" text=",
        "WARN log stalled cache=\"told\" error=",
        "INFO log resumed cache=\"told\"",
        "INFO log recovered cache=\"told\" records=",
        "ERROR log failed cache=\"told\" error=",
    ];
    let missing: Vec<&str> = expected.into_iter().filter(|what| !listener.has(what)).collect();
    assert!(missing.is_empty(), "not told: {missing:#?}\ntold: {:#?}", listener.heard.lock().unwrap());
}

#[cfg(feature = "snapshot")]
#[test]
fn what_becomes_of_snapshots_is_told() {
    use larder::snapshot::{RestoreOptions, SnapshotOptions};
    use larder::storage::{Memory, Storage};

    let (listener, storage) = (Listener::default(), Memory::new());
    let cache = Cache::builder().max_memory(1 << 20).name("told").maintenance(Maintenance::Manual).build().unwrap();
    *listener.cache.lock().unwrap() = Some(cache.clone());
    tracing::subscriber::with_default(tracing_subscriber::registry().with(listener.clone()), || {
        cache.set(b"k", b"v").unwrap();
        cache.snapshot_to(&storage, "one", &SnapshotOptions::new()).unwrap();
        cache.snapshot_to(&storage, "bad/name", &SnapshotOptions::new()).unwrap_err();
        cache.restore_from(&storage, "one", &RestoreOptions::new()).unwrap();
        storage.replace("one", b"no snapshot").unwrap();
        cache.restore_from(&storage, "one", &RestoreOptions::new()).unwrap_err();
    });
    *listener.cache.lock().unwrap() = None;
    let expected = [
        "snapshot begins cache=\"told\" name=\"one\"",
        "DEBUG snapshot begun cache=\"told\" log_position=0 in [snapshot]",
        "INFO snapshot completed cache=\"told\" name=\"one\" items=",
        "WARN snapshot failed cache=\"told\" name=\"bad/name\" error=",
        "restore begins cache=\"told\" name=\"one\"",
        "INFO restore completed cache=\"told\" name=\"one\" items=1",
        "WARN restore failed cache=\"told\" name=\"one\" error=",
    ];
    let missing: Vec<&str> = expected.into_iter().filter(|what| !listener.has(what)).collect();
    assert!(missing.is_empty(), "not told: {missing:#?}\ntold: {:#?}", listener.heard.lock().unwrap());
}
