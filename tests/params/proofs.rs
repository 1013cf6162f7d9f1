//! Every parameter has a test that proves what it does: those of the engine drive it, the others are kept, typed and
//! checked, for whoever has the connections.

use larder::params::{Allowed, Applies, Drives, Family, Outcome, Parameter, ParameterGroups, ParameterValues, System};
use larder::params::{Value, ValueType};
use larder::{Cache, ErrorKind, Maintenance};

use crate::{MEMCACHED, REDIS};

/// The tests of the engine's parameters: the parameter, the file, the function.
const DRIVEN: [(&str, &str, &str); 23] = [
    ("cas_disabled", EFFECTS, "cas_disabled"),
    ("chunk_size", EFFECTS, "chunk_size"),
    ("chunk_size_growth_factor", EFFECTS, "chunk_size_growth_factor"),
    ("error_on_memory_exhausted", EFFECTS, "error_on_memory_exhausted"),
    ("hashpower_init", EFFECTS, "hashpower_init"),
    ("large_memory_pages", EFFECTS, "large_memory_pages"),
    ("lock_down_paged_memory", EFFECTS, "lock_down_paged_memory"),
    ("max_cache_memory", EFFECTS, "max_cache_memory_and_memcached_connections_overhead"),
    ("max_item_size", EFFECTS, "max_item_size"),
    ("memcached_connections_overhead", EFFECTS, "max_cache_memory_and_memcached_connections_overhead"),
    ("num_threads", EFFECTS, "num_threads"),
    ("slab_automove", EFFECTS, "slab_automove"),
    ("slab_reassign", EFFECTS, "slab_reassign"),
    ("activerehashing", EFFECTS, "activerehashing"),
    ("appendfsync", LOGS, "appendfsync"),
    ("appendonly", LOGS, "appendonly_builds_begins_and_ends_the_file"),
    ("databases", EFFECTS, "databases"),
    ("maxmemory", EFFECTS, "maxmemory"),
    ("maxmemory-policy", EFFECTS, "maxmemory_policy"),
    ("maxmemory-samples", EFFECTS, "maxmemory_samples"),
    ("repl-backlog-size", LOGS, "repl_backlog_size"),
    ("repl-backlog-ttl", LOGS, "repl_backlog_ttl"),
    ("reserved-memory", EFFECTS, "reserved_memory"),
];

const EFFECTS: &str = include_str!("effects.rs");
const LOGS: &str = include_str!("logs.rs");

/// Those that are kept for a front-end, all of which the test below goes through.
const KEPT: [&str; 35] = [
    "backlog_queue_limit",
    "binding_protocol",
    "config_max",
    "config_size_max",
    "max_simultaneous_connections",
    "maxconns_fast",
    "maximize_core_file_limit",
    "requests_per_event",
    "client-output-buffer-limit-normal-hard-limit",
    "client-output-buffer-limit-normal-soft-limit",
    "client-output-buffer-limit-normal-soft-seconds",
    "client-output-buffer-limit-pubsub-hard-limit",
    "client-output-buffer-limit-pubsub-soft-limit",
    "client-output-buffer-limit-pubsub-soft-seconds",
    "client-output-buffer-limit-slave-hard-limit",
    "client-output-buffer-limit-slave-soft-limit",
    "client-output-buffer-limit-slave-soft-seconds",
    "hash-max-ziplist-entries",
    "hash-max-ziplist-value",
    "list-max-ziplist-entries",
    "list-max-ziplist-value",
    "lua-time-limit",
    "maxclients",
    "min-slaves-max-lag",
    "min-slaves-to-write",
    "notify-keyspace-events",
    "repl-timeout",
    "set-max-intset-entries",
    "slave-allow-chaining",
    "slowlog-log-slower-than",
    "slowlog-max-len",
    "tcp-keepalive",
    "timeout",
    "zset-max-ziplist-entries",
    "zset-max-ziplist-value",
];

fn all() -> impl Iterator<Item = &'static Parameter> {
    [System::Memcached, System::Redis].into_iter().flat_map(|system| system.parameters())
}

#[test]
fn every_parameter_has_a_test() {
    assert_eq!(all().count(), 58);
    for parameter in all() {
        let driven = DRIVEN.iter().find(|(name, ..)| *name == parameter.name);
        let is_engine = matches!(parameter.drives, Drives::Engine(_));
        assert_eq!((driven.is_some(), KEPT.contains(&parameter.name)), (is_engine, !is_engine), "{}", parameter.name);
        if let Some((name, file, test)) = driven {
            assert!(file.contains(&format!("#[test]\nfn {test}()")), "{name}: there is no test {test}");
            assert!(file.contains(&format!("\"{name}\"")) || *name == "maxmemory", "{name} is not in its file");
        }
    }
}

/// An allowed value that is not the default.
fn another(parameter: &Parameter) -> Value {
    let default = parameter.default_value();
    let texts: Vec<String> = match parameter.allowed {
        Allowed::Choices(choices) => choices.iter().map(|&choice| choice.to_owned()).collect(),
        Allowed::Letters(_) => vec!["KEx".to_owned()],
        _ => ["0", "1", "17", "1000", "65537"].map(str::to_owned).to_vec(),
    };
    let mut values = texts.iter().filter_map(|text| parameter.parse(text).ok());
    values.find(|value| Some(value) != default.as_ref()).unwrap_or_else(|| panic!("{} has one value", parameter.name))
}

/// A value as a front-end reads it, by its type.
fn read(values: &ParameterValues, parameter: &Parameter) -> Value {
    let name = parameter.name;
    match parameter.value_type {
        ValueType::Integer => Value::from(values.integer(name).unwrap()),
        ValueType::Float => Value::from(values.float(name).unwrap()),
        ValueType::Boolean => Value::from(values.flag(name).unwrap()),
        _ => Value::from(values.text(name).unwrap()),
    }
}

#[test]
fn what_is_kept_reaches_a_front_end_when_it_should() {
    for parameter in all().filter(|parameter| KEPT.contains(&parameter.name)) {
        let (version, family) = match parameter.system() {
            System::Memcached => (MEMCACHED, Family::Memcached1_4),
            _ => (REDIS, Family::Redis2_8),
        };
        let (name, value, default) = (parameter.name, another(parameter), parameter.default_value().unwrap());
        // Set before a cache is built, of whichever kind it is.
        let mut values = ParameterValues::new(family);
        values.set(name, &value).unwrap();
        assert_eq!(read(&values, parameter), value, "{name}");
        // Changed in a group while a cache uses it.
        let groups = ParameterGroups::new();
        groups.create("mine", family, "").unwrap();
        let cache = Cache::builder().max_memory(1 << 20).maintenance(Maintenance::Manual).build().unwrap();
        groups.attach(&cache, "mine", version, None).unwrap();
        let changed = groups.modify("mine", [(name, value.clone())]);
        let in_force = read(&groups.in_force(&cache).unwrap(), parameter);
        let outcome = groups.status(&cache).unwrap().of(name).unwrap().outcome.clone();
        match parameter.applies {
            Applies::AtOnce => assert_eq!((in_force, outcome), (value, Outcome::FrontEnd), "{name}"),
            Applies::Restart => assert_eq!((in_force, outcome), (default, Outcome::Pending), "{name}"),
            _ => {
                assert_eq!(changed.unwrap_err().kind(), ErrorKind::NotAllowed, "{name}");
                assert_eq!((in_force, outcome), (default, Outcome::FrontEnd), "{name}");
            }
        }
    }
}

#[test]
fn the_letters_of_key_events_are_those_of_subscriptions() {
    let mut values = ParameterValues::new(Family::Redis2_8);
    values.set("notify-keyspace-events", "KEx").unwrap();
    let events: larder::KeyEvents = values.text("notify-keyspace-events").unwrap().parse().unwrap();
    let clock = larder::ManualClock::new(1);
    let builder = Cache::builder().max_memory(1 << 20).clock(clock.clone()).maintenance(Maintenance::Manual);
    let cache = builder.expiry_lag(std::time::Duration::ZERO).build().unwrap();
    let told = cache.subscribe(events, 10);
    let second = std::time::Duration::from_secs(1);
    cache.set_with(b"k", b"v", &larder::SetOptions::new().ttl(second)).unwrap();
    clock.advance(second);
    cache.run_maintenance(second);
    assert_eq!(told.try_recv().map(|event| event.name()), Some("expired"));
    assert!(told.try_recv().is_none());
}
