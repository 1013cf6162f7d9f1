//! Groups: what can be done to them, and how a change reaches the caches that use them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use larder::params::{Applies, EngineVersion, Family, Outcome, ParameterGroups, Source, SyncState, Value};
use larder::{Cache, ErrorKind, RemovalCause};

use crate::{MEMCACHED, REDIS, node};

fn groups_with(name: &str, family: Family) -> ParameterGroups {
    let groups = ParameterGroups::new();
    groups.create(name, family, "for a test").unwrap();
    groups
}

#[test]
fn default_groups_are_there_and_never_change() {
    let groups = ParameterGroups::new();
    let names: Vec<String> = groups.list().into_iter().map(|group| group.name).collect();
    assert_eq!(names, ["default.memcached1.4", "default.redis2.6", "default.redis2.8"]);
    for refusal in [
        groups.modify("default.redis2.8", [("timeout", 1)]).unwrap_err(),
        groups.reset_all("DEFAULT.redis2.8").unwrap_err(),
        groups.delete("default.redis2.8").unwrap_err(),
        groups.create("default.mine", Family::Redis2_8, "").unwrap_err(),
    ] {
        assert_eq!(refusal.kind(), ErrorKind::NotAllowed, "{refusal}");
    }
    assert_eq!(groups.create("default.redis2.8", Family::Redis2_8, "").unwrap_err().kind(), ErrorKind::AlreadyExists);
}

#[test]
fn names_are_folded_and_checked() {
    let groups = groups_with("Web-Sessions", Family::Redis2_8);
    assert!(groups.list().iter().any(|group| group.name == "web-sessions" && !group.is_default));
    groups.modify("WEB-sessions", [("TIMEOUT", 5)]).unwrap();
    assert_eq!(groups.create("web-SESSIONS", Family::Redis2_6, "").unwrap_err().kind(), ErrorKind::AlreadyExists);
    for bad in ["", "1st", "-x", "two words", "n\u{e4}me", &"x".repeat(256)] {
        assert_eq!(groups.create(bad, Family::Redis2_8, "").unwrap_err().kind(), ErrorKind::InvalidConfig, "{bad:?}");
    }
    groups.create(&"x".repeat(255), Family::Redis2_8, "").unwrap();
    let error = groups.describe("web-sesions").unwrap_err();
    assert!(error.to_string().contains("did you mean web-sessions?"), "{error}");
}

#[test]
fn a_change_is_made_as_a_whole_or_not_at_all() {
    let groups = groups_with("mine", Family::Redis2_8);
    let changes = [("timeout", "60"), ("tmieout", "1"), ("repl-backlog-size", "1"), ("maxmemory", "1GiB")];
    let error = groups.modify("mine", changes).unwrap_err().to_string();
    for part in ["3 of 4", "did you mean timeout?", "16384 or more", "maxmemory is fixed"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(groups.describe("mine").unwrap().iter().all(|row| row.source == Source::System));
    let twice = groups.modify("mine", [("timeout", "1"), ("TIMEOUT", "2")]).unwrap_err();
    assert!(twice.to_string().contains("named twice"));
    let fixed = groups.modify("mine", [("maxclients", 5)]).unwrap_err();
    assert_eq!(fixed.kind(), ErrorKind::NotAllowed);
    assert!(groups.modify("mine", Vec::<(&str, Value)>::new()).unwrap().is_empty());
}

#[test]
fn copy_reset_and_describe() {
    let groups = groups_with("mine", Family::Redis2_8);
    groups.modify("mine", [("timeout", 60), ("slowlog-max-len", 5)]).unwrap();
    groups.copy("mine", "copy", "as mine").unwrap();
    groups.reset("mine", ["timeout"]).unwrap();
    let value = |group: &str, name: &str| {
        let row = groups.describe(group).unwrap().into_iter().find(|row| row.parameter.name == name).unwrap();
        (row.value.unwrap().as_integer().unwrap(), row.source)
    };
    assert_eq!((value("mine", "timeout"), value("copy", "timeout")), ((0, Source::System), (60, Source::User)));
    groups.reset_all("mine").unwrap();
    assert_eq!(value("mine", "slowlog-max-len"), (128, Source::System));
    assert_eq!(groups.reset("mine", ["tmieout"]).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(groups.copy("none", "other", "").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(groups.copy("mine", "copy", "").unwrap_err().kind(), ErrorKind::AlreadyExists);
    for row in ParameterGroups::describe_defaults(Family::Redis2_8) {
        assert_eq!(row.value, row.parameter.default_value());
        assert_eq!(row.is_modifiable, row.parameter.applies != Applies::Never);
    }
}

#[test]
fn a_group_in_use_is_not_deleted() {
    let groups = groups_with("mine", Family::Redis2_8);
    let cache = Cache::builder().max_memory(2 << 20).name("sessions").build().unwrap();
    groups.attach(&cache, "mine", REDIS, None).unwrap();
    assert!(groups.delete("mine").unwrap_err().to_string().contains("sessions"));
    assert!(groups.list().iter().any(|group| group.name == "mine" && group.caches == ["sessions"]));
    assert!(groups.detach(&cache));
    groups.delete("mine").unwrap();
    assert_eq!(groups.status(&cache).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn an_attachment_keeps_no_cache_alive() {
    let groups = groups_with("mine", Family::Redis2_8);
    let clock = Arc::new(());
    #[derive(Debug)]
    struct Counted(#[expect(dead_code, reason = "it is there to be dropped")] Arc<()>);
    impl larder::Clock for Counted {
        fn now_ms(&self) -> u64 {
            0
        }
    }
    let cache = Cache::builder().max_memory(2 << 20).clock(Counted(Arc::clone(&clock))).build().unwrap();
    groups.attach(&cache.namespace(3), "mine", REDIS, None).unwrap();
    assert!(groups.status(&cache.namespace(9)).is_ok(), "all handles are the same cache");
    drop(cache);
    assert_eq!(Arc::strong_count(&clock), 1, "the cache is gone");
    assert!(groups.modify("mine", [("timeout", 1)]).unwrap().is_empty());
    groups.delete("mine").unwrap();
}

#[test]
fn what_takes_effect_what_waits_and_what_cannot() {
    let groups = groups_with("mine", Family::Memcached1_4);
    let builder = groups.builder("mine", MEMCACHED, None).unwrap();
    let cache = builder.max_memory(4 << 20).build().unwrap();
    let status = groups.attach(&cache, "mine", MEMCACHED, None).unwrap();
    assert_eq!(status.state, SyncState::InSync, "{:?}", status.pending().collect::<Vec<_>>());
    assert_eq!(status.refused().count(), 0);

    let reached = groups.modify("mine", [("max_item_size", "2MiB"), ("maxconns_fast", "1")]).unwrap();
    assert_eq!((reached.len(), reached[0].state.to_string().as_str()), (1, "pending-reboot"));
    let pending: Vec<&str> = reached[0].pending().map(|one| one.parameter.name).collect();
    assert_eq!(pending, ["max_item_size", "maxconns_fast"]);
    let in_force = groups.in_force(&cache).unwrap();
    assert_eq!(in_force.bytes("max_item_size").unwrap(), 1 << 20);
    assert!(!in_force.flag("maxconns_fast").unwrap());

    // Back again is in sync again; what a restart applies is in sync after it.
    groups.reset_all("mine").unwrap();
    assert_eq!(groups.status(&cache).unwrap().state, SyncState::InSync);
    groups.modify("mine", [("max_item_size", "2MiB"), ("maxconns_fast", "1")]).unwrap();
    let again = groups.builder("mine", MEMCACHED, None).unwrap().max_memory(4 << 20).build().unwrap();
    drop(cache);
    assert_eq!(groups.attach(&again, "mine", MEMCACHED, None).unwrap().state, SyncState::InSync);
    again.set(b"k", &vec![0; 1500 << 10]).unwrap();
    assert!(groups.in_force(&again).unwrap().flag("maxconns_fast").unwrap());
}

#[test]
fn every_restart_parameter_is_in_sync_after_a_restart() {
    let groups = groups_with("mine", Family::Memcached1_4);
    let changes = [
        ("cas_disabled", "1"),
        ("chunk_size", "64"),
        ("chunk_size_growth_factor", "1.02"),
        ("error_on_memory_exhausted", "1"),
        ("max_item_size", "100000"),
        ("memcached_connections_overhead", "1"),
        ("slab_automove", "1"),
        ("slab_reassign", "1"),
    ];
    let first = groups.builder("mine", MEMCACHED, None).unwrap().max_memory(4 << 20).build().unwrap();
    groups.attach(&first, "mine", MEMCACHED, None).unwrap();
    let waiting = groups.modify("mine", changes).unwrap();
    let names: Vec<&str> = waiting[0].pending().map(|one| one.parameter.name).collect();
    let asked = changes.map(|(name, _)| name);
    assert!(asked.iter().all(|name| names.contains(name)) && names.len() == asked.len(), "{names:?}");
    let next = groups.builder("mine", MEMCACHED, None).unwrap().max_memory(4 << 20).build().unwrap();
    let status = groups.attach(&next, "mine", MEMCACHED, None).unwrap();
    assert_eq!((status.state, status.refused().count()), (SyncState::InSync, 0));
}

#[test]
fn a_change_reaches_every_cache_of_the_group_and_no_other() {
    let groups = groups_with("mine", Family::Redis2_8);
    let caches: Vec<Cache> = (0..3).map(|_| Cache::new(2 << 20).unwrap()).collect();
    for (cache, group) in caches.iter().zip(["mine", "mine", "default.redis2.8"]) {
        groups.attach(cache, group, REDIS, None).unwrap();
    }
    assert_eq!(groups.modify("mine", [("maxmemory-policy", "noeviction")]).unwrap().len(), 2);
    let policies: Vec<&str> = caches.iter().map(|cache| cache.policy().name()).collect();
    assert_eq!(policies, ["noeviction", "noeviction", "volatile-lru"]);
    groups.reset_all("mine").unwrap();
    assert!(caches.iter().all(|cache| cache.policy().name() == "volatile-lru"));
}

#[test]
fn what_a_cache_cannot_take_is_reported() {
    let groups = groups_with("mine", Family::Redis2_8);
    let cache = Cache::new(2 << 20).unwrap();
    groups.attach(&cache, "mine", REDIS, None).unwrap();
    let reached = groups.modify("mine", [("reserved-memory", "1GiB"), ("maxmemory-samples", "9")]).unwrap();
    let outcome = |name: &str| reached[0].of(name).unwrap().outcome.clone();
    assert!(matches!(outcome("reserved-memory"), Outcome::Refused(why) if why.contains("at most")));
    assert_eq!((outcome("maxmemory-samples"), cache.samples()), (Outcome::Applied, 9));
    assert!(groups.status(&cache).unwrap().refused().any(|one| one.parameter.name == "reserved-memory"));
    assert_eq!(groups.in_force(&cache).unwrap().bytes("reserved-memory").unwrap(), 0);
    // What a program does to the cache by itself is seen.
    groups.reset_all("mine").unwrap();
    cache.set_samples(77);
    let status = groups.status(&cache).unwrap();
    assert!(
        matches!(&status.of("maxmemory-samples").unwrap().outcome, Outcome::Refused(why) if why.contains("by itself"))
    );
}

#[test]
fn what_may_only_change_while_unused() {
    let groups = groups_with("mine", Family::Redis2_8);
    groups.modify("mine", [("databases", "4"), ("activerehashing", "no")]).unwrap();
    let cache = groups.builder("mine", REDIS, None).unwrap().max_memory(2 << 20).build().unwrap();
    assert_eq!(groups.attach(&cache, "mine", REDIS, None).unwrap().state, SyncState::InSync);
    for refusal in [
        groups.modify("mine", [("databases", "5")]).unwrap_err(),
        groups.reset("mine", ["activerehashing"]).unwrap_err(),
        groups.reset_all("mine").unwrap_err(),
        groups.attach(&cache, "default.redis2.8", REDIS, None).unwrap_err(),
    ] {
        assert_eq!(refusal.kind(), ErrorKind::NotAllowed, "{refusal}");
    }
    assert_eq!(groups.status(&cache).unwrap().group, "mine");
    let is_modifiable =
        || groups.describe("mine").unwrap().iter().any(|r| r.parameter.name == "databases" && r.is_modifiable);
    assert!(!is_modifiable());
    groups.modify("mine", [("databases", "4"), ("timeout", "9")]).unwrap();

    groups.copy("mine", "same", "").unwrap();
    groups.modify("same", [("maxmemory-policy", "allkeys-random")]).unwrap();
    assert_eq!(groups.attach(&cache, "same", REDIS, None).unwrap().group, "same");
    assert_eq!(cache.policy().name(), "allkeys-random");
    assert!(is_modifiable());
    groups.modify("mine", [("databases", "5")]).unwrap();
}

#[test]
fn versions_and_families_must_agree() {
    let groups = ParameterGroups::new();
    let cache = Cache::new(2 << 20).unwrap();
    let wrong = groups.attach(&cache, "default.redis2.8", MEMCACHED, None).unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::InvalidConfig);
    assert!(groups.attach(&cache, "default.redis2.8", REDIS, Some(node("cache.c1.medium"))).is_err());
    let old = groups.attach(&cache, "default.memcached1.4", EngineVersion::V1_4_5, None).unwrap();
    assert_eq!(old.of("slab_automove").unwrap().outcome, Outcome::NotInVersion);
    assert_eq!(groups.attach(&cache, "default.redis2.8", REDIS, None).unwrap_err().kind(), ErrorKind::NotAllowed);
    groups.detach(&cache);
    groups.attach(&cache, "default.redis2.6", EngineVersion::V2_6_13, None).unwrap();
    groups.attach(&cache, "default.redis2.8", REDIS, None).unwrap();
}

#[test]
fn front_ends_read_what_is_in_force() {
    let groups = groups_with("mine", Family::Redis2_8);
    let cache = Cache::new(2 << 20).unwrap();
    groups.attach(&cache, "mine", REDIS, Some(node("cache.t1.micro"))).unwrap();
    let before = groups.revision();
    let changes = [("timeout", "5min"), ("notify-keyspace-events", "KEA"), ("appendonly", "yes")];
    let reached = groups.modify("mine", changes).unwrap();
    assert!(groups.revision() > before);
    let values = groups.in_force(&cache).unwrap();
    assert_eq!(values.duration("timeout").unwrap(), Duration::from_secs(300));
    assert_eq!(values.text("notify-keyspace-events").unwrap(), "KEA");
    assert_eq!(values.bytes("client-output-buffer-limit-slave-hard-limit").unwrap(), 256 << 20);
    assert!(!values.flag("appendonly").unwrap(), "this node type has no append-only file");
    assert!(matches!(&reached[0].of("appendonly").unwrap().outcome, Outcome::Ignored(why) if why.contains("t1.micro")));
    assert_eq!(reached[0].of("timeout").unwrap().outcome, Outcome::FrontEnd);
    assert!(values.integer("appendonly").is_err() && values.text("timeout").is_err() && values.get("no").is_err());
    assert_eq!(values.integer("maxmemory").unwrap(), 2 << 20);
    let status = groups.status(&cache).unwrap();
    assert!(matches!(&status.of("maxmemory").unwrap().outcome, Outcome::Refused(why) if why.contains("142606336")));
}

#[test]
fn threads_share_groups() {
    let groups = groups_with("mine", Family::Redis2_8);
    let cache = Cache::new(2 << 20).unwrap();
    groups.attach(&cache, "mine", REDIS, None).unwrap();
    std::thread::scope(|scope| {
        for t in 0..4_u32 {
            let (groups, cache) = (groups.clone(), &cache);
            scope.spawn(move || {
                for i in 0..50 {
                    groups.modify("mine", [("maxmemory-samples", t * 50 + i + 1)]).unwrap();
                    groups.in_force(cache).unwrap();
                    let other = Cache::new(1 << 20).unwrap();
                    groups.attach(&other, "mine", REDIS, None).unwrap();
                    groups.list();
                }
            });
        }
    });
    // The last change is the one that has arrived.
    let values = groups.values("mine", REDIS, None).unwrap();
    assert_eq!(values.integer("maxmemory-samples").unwrap(), i64::from(cache.samples()));
    assert_eq!(groups.list().iter().map(|group| group.caches.len()).sum::<usize>(), 1);
}

/// What reaches a cache may evict, and so call a listener, which may use the groups: nothing is locked then.
#[test]
fn a_listener_may_change_the_group_that_evicts() {
    let groups = groups_with("mine", Family::Redis2_8);
    let cache = Cache::new(2 << 20).unwrap();
    let (theirs, calls) = (groups.clone(), Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&calls);
    let listening = cache.eviction_listener(move |removal| {
        // Once is enough to give the memory back; the change that is under way sees that it is not the last.
        if removal.cause == RemovalCause::Evicted && counted.fetch_add(1, SeqCst) == 0 {
            theirs.modify("mine", [("reserved-memory", "0")]).unwrap();
            theirs.create("other", Family::Redis2_8, "").unwrap();
            theirs.delete("other").unwrap();
        }
    });
    groups.modify("mine", [("maxmemory-policy", "allkeys-lru")]).unwrap();
    groups.attach(&cache, "mine", REDIS, None).unwrap();
    for i in 0..10_000_u32 {
        cache.set(&i.to_le_bytes(), &[7; 300]).unwrap();
    }
    calls.store(0, SeqCst);
    let reached = groups.modify("mine", [("reserved-memory", "1MiB")]).unwrap();
    assert!(calls.load(SeqCst) > 0, "it evicted");
    assert_eq!((cache.memory().reserved, reached[0].refused().count()), (0, 0), "as the later change says");
    assert_eq!(reached[0].of("reserved-memory").unwrap().value, Some(Value::from(0)));
    drop(listening);
    // The last handle may go while a change is under way.
    std::thread::scope(|scope| {
        scope.spawn(|| (1..200).for_each(|i| drop(groups.modify("mine", [("maxmemory-samples", i)]).unwrap())));
        scope.spawn(move || drop(cache));
    });
}
