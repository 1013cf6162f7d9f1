//! Settings as data: every one reaches the builder, and files are read, checked and written.

use std::time::Duration;

use larder::params::{CacheConfig, Family, Value};
use larder::{Automove, ErrorKind, EvictionPolicy};

#[test]
fn every_setting_of_the_builder_is_one_of_a_config() {
    let source = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/api/builder.rs")).unwrap();
    let methods: Vec<&str> = source
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub fn ")?.split_once("(mut self").map(|(name, _)| name))
        .collect();
    assert!(methods.len() > 25, "{methods:?}");
    // These are no data; whether a cache follows another one is decided while it runs, and a folder is one cache's.
    let others = ["clock", "eviction_listener", "event_log", "replication_log", "backlog", "append_only"];
    let others = [&others[..], &["follower", "warm_restart"]].concat();
    for name in methods.into_iter().filter(|name| !others.contains(name)) {
        let error = CacheConfig::from_pairs([(name, "\u{1f}")]);
        let known = match &error {
            Ok(config) => config.name.is_some(),
            Err(e) => e.kind() == ErrorKind::InvalidConfig && e.to_string().starts_with(&format!("{name}: ")),
        };
        assert!(known, "{name}: {error:?}");
    }
}

#[test]
fn pairs_of_text_are_read() {
    let config = CacheConfig::from_pairs([
        ("name", "sessions"),
        ("max_memory", "8MiB"),
        ("reserved_memory", "1048576"),
        ("policy", "S3-FIFO"),
        ("time_to_live", "1.5h"),
        ("automove", "slow"),
        ("shards", "2"),
        ("check_and_set", "no"),
        ("chunk_size_growth_factor", "1.25"),
        ("seed", "18446744073709551615"),
        ("maintenance", "manual"),
    ])
    .unwrap();
    assert_eq!(config.time_to_live, Some(Duration::from_secs(5400)));
    assert_eq!((config.seed, config.automove), (Some(u64::MAX), Some(Automove::Slow)));
    let cache = config.builder().unwrap().build().unwrap();
    assert_eq!((cache.name(), cache.policy(), cache.shards().len()), ("sessions", EvictionPolicy::S3Fifo, 2));
    assert_eq!((cache.memory().limit, cache.memory().reserved), (8 << 20, 1 << 20));
    assert_eq!(cache.automove(), Automove::Slow);
}

#[test]
fn what_cannot_be_read_is_refused_with_its_name() {
    for (name, text, part) in [
        ("max_memory", "64MB", "1 MiB is 1,048,576"),
        ("max_memory", "lots", "64MiB"),
        ("time_to_live", "-1", "30s"),
        ("policy", "alkeys-lru", "did you mean allkeys-lru?"),
        ("automove", "allways", "did you mean always?"),
        ("huge_pages", "maybe", "true or false"),
        ("namespaces", "65536", "in range"),
        ("shards", "-2", "in range"),
        ("expiry_cpu_share", "some", "a number"),
        ("node_type", "cache.m1.smal", "did you mean cache.m1.small?"),
        ("family", "redis2.5", "did you mean redis2."),
        ("version", "2.8", "2.8.19"),
        ("maxmemory", "1", "of which family"),
        ("timeout", "1", "of which family"),
        ("max-memory", "1", "did you mean max_memory?"),
        ("parameters", "x", "a table"),
    ] {
        let error = CacheConfig::from_pairs([(name, text)]).unwrap_err().to_string();
        assert!(error.contains(part), "{name} = {text}: {error}");
    }
    let twice = CacheConfig::from_pairs([("shards", "1"), ("shards", "2")]).unwrap_err();
    assert!(twice.to_string().contains("twice"));
    for (one, two) in [("timeout", "timeout"), ("timeout", "TimeOut")] {
        let twice = CacheConfig::from_pairs([("family", "redis2.8"), (one, "1"), (two, "2")]).unwrap_err();
        assert_eq!(twice.to_string(), "timeout is given twice");
    }
}

#[test]
fn families_and_parameters_make_a_builder() {
    let pairs = [("version", "2.6.13"), ("timeout", "30s"), ("maxmemory", "4MiB"), ("maxmemory-samples", "50")];
    let config = CacheConfig::from_pairs(pairs).unwrap();
    let cache = config.builder().unwrap().build().unwrap();
    assert_eq!((cache.memory().limit, cache.samples(), cache.policy()), (4 << 20, 50, EvictionPolicy::VolatileLru));
    assert_eq!(config.parameter_values().unwrap().unwrap().integer("timeout").unwrap(), 30);
    assert_eq!(CacheConfig::from_pairs(config.to_pairs()).unwrap(), config);
    let error = CacheConfig::from_pairs([("version", "2.6.13"), ("repl-timeout", "30s")]).unwrap_err();
    assert!(error.to_string().contains("since redis 2.8.6"), "{error}");
    let error = CacheConfig::from_pairs([("version", "2.6.13"), ("family", "redis2.8")]).unwrap_err();
    assert!(error.to_string().contains("redis2.6"), "{error}");
    let mut config = CacheConfig::default();
    config.family = Some(Family::Redis2_8);
    config.parameters.insert("maxmemory-policy".into(), Value::from("noeviction"));
    config.policy = Some(EvictionPolicy::Sieve);
    config.max_memory = Some(4 << 20);
    assert_eq!(config.builder().unwrap().build().unwrap().policy(), EvictionPolicy::Sieve);
}

#[cfg(feature = "serde")]
mod files {
    use super::*;

    const TOML: &str = r#"
        name = "sessions"
        max_memory = "16MiB"
        max_item_size = 2_000_000
        time_to_live = "30s"
        time_to_idle = 90
        expiry_lag = 0.25
        expiry_cpu_share = 0.1
        policy = "sieve"
        objective = "bytes"
        tokens = true
        maintenance = "manual"
        family = "memcached1.4"
        node_type = "cache.m1.small"

        [parameters]
        chunk_size = 64
        chunk_size_growth_factor = 1.02
        slab_reassign = true
        memcached_connections_overhead = "1MiB"
    "#;

    #[test]
    fn toml_is_read_written_and_built_from() {
        let config: CacheConfig = toml::from_str(TOML).unwrap();
        assert_eq!((config.max_memory, config.max_item_size), (Some(16 << 20), Some(2_000_000)));
        assert_eq!(config.time_to_idle, Some(Duration::from_secs(90)));
        assert_eq!(config.expiry_lag, Some(Duration::from_millis(250)));
        assert_eq!(config.node_type.map(|node| node.name), Some("cache.m1.small"));
        let cache = config.builder().unwrap().build().unwrap();
        assert_eq!((cache.memory().limit, cache.memory().reserved), (16 << 20, 1 << 20));
        assert!(cache.reassign_page(0, 1).is_ok() && cache.classes()[0].chunk_size >= 72);

        let written = toml::to_string(&config).unwrap();
        assert!(written.contains("time_to_idle = \"90s\"") && written.contains("max_memory = \"16MiB\""), "{written}");
        assert_eq!(toml::from_str::<CacheConfig>(&written).unwrap(), config);
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<CacheConfig>(&json).unwrap(), config);
    }

    #[test]
    fn misspelt_names_are_told_the_nearest() {
        for (toml, part) in [
            ("max_memroy = 1", "did you mean max_memory?"),
            ("time-to-live = 1", "did you mean time_to_live?"),
            ("volume = 11", "no setting \"volume\""),
            ("family = \"redis2.8\"\n[parameters]\ntiemout = 1", "did you mean timeout?"),
            ("[parameters]\ntiemout = 1\n", "no setting \"tiemout\""),
            ("[parameters]\ntimeout = 1\n", "of which family"),
            ("policy = 7", "one of volatile-lru"),
            ("max_memory = true", "a size"),
            ("max_memory = -1", "a size"),
            ("shards = [1]", "a number, true or false, text"),
        ] {
            let error = toml::from_str::<CacheConfig>(toml).unwrap_err().to_string();
            assert!(error.contains(part), "{toml}: {error}");
        }
        // At the top, where none of them belongs.
        for (toml, part) in [
            ("timeout = 5", "timeout is a parameter: it goes into the table `parameters`"),
            ("maxmemory_policy = \"noeviction\"", "maxmemory-policy is a parameter"),
            ("maxmemory = 5", "did you mean max_memory?"),
            ("slowlog-max-lenn = 5", "did you mean the parameter slowlog-max-len?"),
        ] {
            let error = toml::from_str::<CacheConfig>(toml).unwrap_err().to_string();
            assert!(error.contains(part), "{toml}: {error}");
        }
        let twice = serde_json::from_str::<CacheConfig>(r#"{"shards": 1, "shards": 2}"#).unwrap_err();
        assert!(twice.to_string().contains("twice"));
    }

    #[test]
    fn errors_name_the_line() {
        let head = "name = \"a\"\nfamily = \"redis2.8\"\n";
        for (rest, line, named) in [
            ("max_memroy = 1\n", 3, "max_memroy"),
            ("\nmax_memory = true\nshards = 2\n", 4, "max_memory"),
            ("policy = \"lru-allkeys\"\nshards = 2", 3, "policy"),
            ("version = \"1.4.14\"\nshards = 2", 3, "version"),
            ("shards = 2\nnode_type = \"cache.m1.smal\"\ntokens = true", 4, "node_type"),
            ("shards = 2\n[parameters]\ndatabases = 16\ntiemout = 1\nslowlog-max-len = 5", 6, "tiemout"),
            ("[parameters]\ndatabases = 16\ntimeout = -1\nslowlog-max-len = 5", 5, "timeout"),
            ("[parameters]\ndatabases = 16\nmaxmemory-policy = 7\n", 5, "maxmemory-policy"),
            ("version = \"2.8.6\"\n[parameters]\nTimeout = 5\ntimeout = 5\n", 6, "timeout"),
        ] {
            let error = toml::from_str::<CacheConfig>(&format!("{head}{rest}")).unwrap_err().to_string();
            assert!(error.contains(&format!("line {line},")) && error.contains(named), "{rest}: {error}");
        }
        let json = "{\"family\": \"redis2.8\",\n\"parameters\": {\n\"timeout\": 5,\n\"databasse\": 5}}";
        let error = serde_json::from_str::<CacheConfig>(json).unwrap_err().to_string();
        assert!(error.contains("line 4") && error.contains("databasse"), "{error}");
    }

    #[test]
    fn what_is_null_is_not_set_and_large_seeds_survive() {
        let config: CacheConfig =
            serde_json::from_str(r#"{"max_memory": null, "seed": 18446744073709551615}"#).unwrap();
        assert_eq!((config.max_memory, config.seed), (None, Some(u64::MAX)));
        let toml = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<CacheConfig>(&toml).unwrap(), config);
        assert_eq!(toml::to_string(&CacheConfig::default()).unwrap(), "");
        let value: Value = serde_json::from_str("1.5").unwrap();
        assert_eq!((value, serde_json::from_str::<Value>("null").is_err()), (Value::from(1.5), true));
    }
}
