//! The parameters of the append-only file and the backlog drive them, in a new cache and in a running one; and nobody
//! loses a log by them.

use std::sync::Arc;

use larder::oplog::{AppendOptions, Backlog, Fsync, ReplicationLog};
use larder::params::{CacheConfig, Family, Outcome, ParameterGroups, ParameterValues, Value};
use larder::storage::{Memory, SimulatedDisk, Storage};
use larder::{Cache, CacheBuilder, ErrorKind, Maintenance};

use crate::{REDIS, node};

fn storage() -> Arc<dyn Storage> {
    Arc::new(Memory::new())
}

fn finish(builder: CacheBuilder) -> Cache {
    builder.max_memory(4 << 20).seed(7).maintenance(Maintenance::Manual).build().unwrap()
}

/// A cache attached to a group of its own, whose builder was finished by a closure.
fn grouped(set: &[(&str, &str)], more: impl FnOnce(CacheBuilder) -> CacheBuilder) -> (ParameterGroups, Cache) {
    let groups = ParameterGroups::new();
    groups.create("mine", Family::Redis2_8, "").unwrap();
    groups.modify("mine", set.iter().copied()).unwrap();
    let cache = finish(more(groups.builder("mine", REDIS, None).unwrap()));
    groups.attach(&cache, "mine", REDIS, None).unwrap();
    (groups, cache)
}

fn outcome(groups: &ParameterGroups, cache: &Cache, name: &str) -> (Option<Value>, Outcome) {
    let status = groups.status(cache).unwrap();
    let one = status.of(name).unwrap();
    (one.in_force.clone(), one.outcome.clone())
}

#[test]
fn appendonly_builds_begins_and_ends_the_file() {
    let place = storage();
    let (groups, cache) = grouped(&[("appendonly", "yes")], |builder| builder.log_storage(place.clone()));
    assert_eq!(outcome(&groups, &cache, "appendonly"), (Some(Value::from("yes")), Outcome::Applied));
    cache.set(b"first", b"v").unwrap();
    drop(cache);
    // The same group again: what was logged is there.
    let cache = finish(groups.builder("mine", REDIS, None).unwrap().log_storage(place.clone()));
    groups.attach(&cache, "mine", REDIS, None).unwrap();
    assert!(cache.contains(b"first") && cache.append_file().is_some());
    // Off: the file stays, and is not written to any more. On: it has what the cache has then.
    groups.modify("mine", [("appendonly", "no")]).unwrap();
    assert!(cache.append_file().is_none());
    cache.set(b"second", b"v").unwrap();
    cache.remove(b"first");
    groups.modify("mine", [("appendonly", "yes")]).unwrap();
    assert_eq!(outcome(&groups, &cache, "appendonly").1, Outcome::Applied);
    cache.set(b"third", b"v").unwrap();
    drop(cache);
    let cache = finish(groups.builder("mine", REDIS, None).unwrap().log_storage(place));
    let there = [b"first".as_slice(), b"second", b"third"].map(|key| cache.contains(key));
    assert_eq!(there, [false, true, true]);
}

#[test]
fn appendonly_without_a_place_is_refused() {
    let mut values = ParameterValues::new(Family::Redis2_8);
    values.set("appendonly", "yes").unwrap();
    let refusal = values.builder().max_memory(1 << 20).build().unwrap_err();
    assert_eq!(refusal.kind(), ErrorKind::InvalidConfig);
    assert!(refusal.to_string().contains("log_folder"), "{refusal}");
    // A file that the program gives is one.
    let options = AppendOptions::shared(storage());
    assert!(values.builder().max_memory(1 << 20).append_only(options).build().unwrap().append_file().is_some());

    let (groups, cache) = grouped(&[], |builder| builder);
    groups.modify("mine", [("appendonly", "yes")]).unwrap();
    let (in_force, outcome) = outcome(&groups, &cache, "appendonly");
    assert_eq!(in_force, Some(Value::from("no")));
    assert!(matches!(&outcome, Outcome::Refused(why) if why.contains("log_folder")), "{outcome:?}");
    // A node type without files: no file is asked for.
    let node = node("cache.t2.micro");
    groups.create("other", Family::Redis2_8, "").unwrap();
    groups.modify("other", [("appendonly", "yes")]).unwrap();
    let cache = finish(groups.builder("other", REDIS, Some(node)).unwrap());
    let status = groups.attach(&cache, "other", REDIS, Some(node)).unwrap();
    assert!(matches!(status.of("appendonly").unwrap().outcome, Outcome::Ignored(_)));
}

/// A log with one item, of an earlier life.
fn earlier_life() -> Arc<dyn Storage> {
    let place = storage();
    let cache = finish(Cache::builder().append_only(AppendOptions::shared(place.clone())));
    cache.set(b"old", b"value").unwrap();
    drop(cache);
    place
}

#[test]
fn a_log_of_an_earlier_life_is_recovered_or_left_alone() {
    // Switched on in a cache that has nothing: it is taken over.
    let place = earlier_life();
    let (groups, cache) = grouped(&[], |builder| builder.log_storage(place.clone()));
    groups.modify("mine", [("appendonly", "yes")]).unwrap();
    assert_eq!(outcome(&groups, &cache, "appendonly").1, Outcome::Applied);
    assert_eq!(cache.get(b"old").unwrap().as_deref(), Some(&b"value"[..]));
    assert_eq!(cache.recovery().unwrap().records, 1);
    cache.set(b"new", b"v").unwrap();
    drop(cache);
    let cache = finish(Cache::builder().append_only(AppendOptions::shared(place)));
    assert!(cache.contains(b"old") && cache.contains(b"new"));

    // In one that has something: refused, and the log is as it was.
    let place = earlier_life();
    let (groups, cache) = grouped(&[], |builder| builder.log_storage(place.clone()));
    cache.set(b"mine", b"v").unwrap();
    groups.modify("mine", [("appendonly", "yes")]).unwrap();
    let (_, refused) = outcome(&groups, &cache, "appendonly");
    assert!(matches!(&refused, Outcome::Refused(why) if why.contains("there is a log")), "{refused:?}");
    assert!(cache.append_file().is_none() && cache.contains(b"mine") && !cache.contains(b"old"));
    cache.set(b"mine", b"still to be written").unwrap();
    let mut values = ParameterValues::new(Family::Redis2_8);
    values.set("appendonly", "yes").unwrap();
    let refusal = values.configure_log(&cache, place.clone()).unwrap_err();
    assert_eq!(refusal.kind(), ErrorKind::AlreadyExists);
    assert!(finish(Cache::builder().append_only(AppendOptions::shared(place))).contains(b"old"));
}

#[test]
fn a_log_whose_new_base_fails_is_let_go() {
    let place = Arc::new(SimulatedDisk::new(7));
    let cache = finish(Cache::builder().append_only(AppendOptions::shared(place.clone())));
    (0..2_000u32).for_each(|i| cache.set(&i.to_le_bytes(), &[1; 1000]).unwrap());
    drop(cache);
    // Too small for all of it, so that the log has to be written anew; and there is no room for that.
    let cache = Cache::builder().max_memory(512 << 10).seed(7).maintenance(Maintenance::Manual).build().unwrap();
    let mut values = ParameterValues::new(Family::Redis2_8);
    values.set("appendonly", "yes").unwrap();
    place.set_full(true);
    let error = values.configure_log(&cache, place.clone()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage, "{error}");
    place.set_full(false);
    assert!(cache.append_file().is_none() && cache.is_empty());
    cache.set(b"new", b"not for this log").unwrap();
    drop(cache);
    let cache = finish(Cache::builder().append_only(AppendOptions::shared(place)));
    assert_eq!((cache.len(), cache.contains(b"new")), (2_000, false));
}

#[test]
fn a_damaged_log_is_not_taken_over() {
    let place = earlier_life();
    let name = place.list().unwrap().into_iter().find(|name| place.read(name).unwrap().len() > 40).unwrap();
    let mut bytes = place.read(&name).unwrap();
    bytes[12] ^= 1;
    place.replace(&name, &bytes).unwrap();
    let (groups, cache) = grouped(&[], |builder| builder.log_storage(place.clone()));
    groups.modify("mine", [("appendonly", "yes")]).unwrap();
    let (_, refused) = outcome(&groups, &cache, "appendonly");
    assert!(matches!(&refused, Outcome::Refused(why) if why.contains(&name)), "{refused:?}");
    assert!(cache.is_empty());
    cache.set(b"k", b"v").unwrap();
    assert_eq!(place.read(&name).unwrap(), bytes);
}

#[test]
fn appendfsync() {
    let place = storage();
    let set = [("appendonly", "yes"), ("appendfsync", "always")];
    let (groups, cache) = grouped(&set, |builder| builder.log_storage(place));
    let file = cache.append_file().unwrap();
    assert_eq!(file.fsync(), Fsync::Always);
    cache.set(b"k", b"v").unwrap();
    assert_eq!(file.positions().durable, file.positions().next);
    for (text, fsync) in [("no", Fsync::No), ("everysec", Fsync::EverySecond), ("no", Fsync::No)] {
        groups.modify("mine", [("appendfsync", text)]).unwrap();
        assert_eq!((file.fsync(), outcome(&groups, &cache, "appendfsync").1), (fsync, Outcome::Applied));
    }
    cache.set(b"k", b"w").unwrap();
    assert!(file.positions().durable < file.positions().next);
    // Kept for a file that comes later.
    groups.modify("mine", [("appendonly", "no")]).unwrap();
    groups.modify("mine", [("appendfsync", "always")]).unwrap();
    drop(file);
    groups.modify("mine", [("appendonly", "yes")]).unwrap();
    assert_eq!(cache.append_file().unwrap().fsync(), Fsync::Always);
}

#[test]
fn a_file_that_the_program_gave_is_the_programs() {
    let options = AppendOptions::shared(storage()).fsync(Fsync::Always);
    // The group says no file, and everysec, as groups do that nobody changed.
    let (groups, cache) = grouped(&[], |builder| builder.append_only(options));
    let file = cache.append_file().expect("it is not ended by that");
    assert_eq!(file.fsync(), Fsync::Always);
    for name in ["appendonly", "appendfsync"] {
        let (_, refused) = outcome(&groups, &cache, name);
        assert!(matches!(&refused, Outcome::Refused(why) if why.contains("program")), "{name}: {refused:?}");
    }
    assert_eq!(groups.in_force(&cache).unwrap().text("appendfsync").unwrap(), "always");
    cache.stop_append_only().unwrap();
    groups.modify("mine", [("timeout", "5")]).unwrap();
    assert_eq!(outcome(&groups, &cache, "appendonly").1, Outcome::Applied);
}

#[test]
fn repl_backlog_size() {
    let backlog = Arc::new(Backlog::new(1));
    let (groups, cache) = grouped(&[("repl-backlog-size", "64KiB")], |builder| builder.backlog(backlog.clone()));
    assert_eq!(backlog.limits(), (64 << 10, 3_600_000));
    let fill = || (0..300u32).for_each(|i| cache.set(&i.to_le_bytes(), &[1; 1000]).unwrap());
    fill();
    assert!((32 << 10..=64 << 10).contains(&backlog.bytes()), "{}", backlog.bytes());
    groups.modify("mine", [("repl-backlog-size", "128KiB")]).unwrap();
    fill();
    assert!((96 << 10..=128 << 10).contains(&backlog.bytes()), "{}", backlog.bytes());
    groups.modify("mine", [("repl-backlog-size", "16KiB")]).unwrap();
    assert!(backlog.bytes() <= 32 << 10);
    assert_eq!(outcome(&groups, &cache, "repl-backlog-size"), (Some(Value::from(16 << 10)), Outcome::Applied));
    let (groups, cache) = grouped(&[], |builder| builder);
    assert!(
        matches!(outcome(&groups, &cache, "repl-backlog-size").1, Outcome::Ignored(why) if why.contains("backlog"))
    );
}

#[test]
fn repl_backlog_ttl() {
    let backlog = Arc::new(Backlog::new(1));
    let (groups, cache) = grouped(&[("repl-backlog-ttl", "5s")], |builder| builder.backlog(backlog.clone()));
    let after = |ms: u64| {
        cache.set(b"k", b"v").unwrap();
        backlog.maintain(1_000_000).unwrap();
        backlog.maintain(1_000_000 + ms).unwrap();
        backlog.bytes()
    };
    assert!(after(4_999) > 0);
    assert_eq!(after(5_000), 0);
    groups.modify("mine", [("repl-backlog-ttl", 0)]).unwrap();
    assert!(after(1_000_000_000) > 0);
    assert_eq!(outcome(&groups, &cache, "repl-backlog-ttl"), (Some(Value::from(0)), Outcome::Applied));
    let (groups, cache) = grouped(&[], |builder| builder);
    assert!(matches!(outcome(&groups, &cache, "repl-backlog-ttl").1, Outcome::Ignored(_)));
}

#[test]
fn settings_say_where_and_when() {
    let folder = std::env::temp_dir().join(format!("larder-params-logs-{}", std::process::id()));
    let at = folder.to_str().unwrap();
    let pairs = [
        ("family", "redis2.8"),
        ("appendonly", "yes"),
        ("appendfsync", "no"),
        ("log_folder", at),
        ("log_rewrite_min_size", "1KiB"),
        ("log_rewrite_percentage", "50"),
    ];
    let config = CacheConfig::from_pairs(pairs).unwrap();
    let cache = finish(config.builder().unwrap());
    for i in 0..1000u32 {
        cache.set(b"k", &i.to_le_bytes()).unwrap();
    }
    let file = cache.append_file().unwrap();
    assert_eq!(file.fsync(), Fsync::No);
    assert!(file.wants_base(), "it has grown beyond 1 KiB");
    drop((file, cache));
    let cache = finish(config.builder().unwrap());
    assert_eq!(cache.get(b"k").unwrap().as_deref(), Some(&999u32.to_le_bytes()[..]));
    drop(cache);
    std::fs::remove_dir_all(&folder).unwrap();
    // The names that Redis has for it are none of these families'.
    for name in ["auto-aof-rewrite-percentage", "auto-aof-rewrite-min-size"] {
        let error = CacheConfig::from_pairs([("family", "redis2.8"), (name, "100")]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(error.to_string().contains("log_rewrite"), "{error}");
    }
}
