//! The table itself: names, versions, defaults, bounds, and what misspelt names are told.

use larder::ErrorKind;
use larder::params::{
    Allowed, Applies, Drives, EngineVersion, Family, NodeType, Parameter, System, Unit, Value, ValueType,
};

fn all() -> impl Iterator<Item = &'static Parameter> {
    System::Memcached.parameters().iter().chain(System::Redis.parameters())
}

#[test]
fn names_are_unique_and_found() {
    let mut names: Vec<&str> = all().map(|parameter| parameter.name).collect();
    assert_eq!(names.len(), 58);
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 58);
    for family in Family::ALL {
        for parameter in family.parameters() {
            assert_eq!(family.parameter(parameter.name).unwrap(), parameter);
            assert_eq!(family.parameter(&parameter.name.to_uppercase()).unwrap(), parameter);
            assert_eq!(parameter.system(), family.system());
        }
    }
}

#[test]
fn versions_gate_parameters() {
    let count = |version: EngineVersion| version.family().parameters().filter(|p| version.has(p)).count();
    let counts = EngineVersion::ALL.map(count);
    assert_eq!(counts, [15, 21, 31, 37, 37, 37]);
    assert_eq!(Family::ALL.map(|family| family.parameters().count()), [21, 31, 37]);
    for version in EngineVersion::ALL {
        assert_eq!(version.name().parse::<EngineVersion>().unwrap(), version);
    }
    for family in Family::ALL {
        assert_eq!(family.name().to_uppercase().parse::<Family>().unwrap(), family);
        assert!(family.versions().any(|version| version == family.latest()));
    }
    assert!("2.8".parse::<EngineVersion>().unwrap_err().to_string().contains("2.8.19"));
    assert!("redis2.9".parse::<Family>().unwrap_err().to_string().contains("did you mean redis2."));
}

#[test]
fn defaults_are_allowed_or_depend_on_the_node_type() {
    let by_node: Vec<&str> = all().filter(|p| p.default_value().is_none()).map(|p| p.name).collect();
    assert_eq!(by_node, ["max_cache_memory", "num_threads", "maxmemory"]);
    for parameter in all() {
        if let Some(default) = parameter.default_value() {
            assert_eq!(parameter.check(&default).unwrap(), default, "{}", parameter.name);
            assert_eq!(parameter.parse(&default.to_string()).unwrap(), default, "{}", parameter.name);
        }
    }
}

#[test]
fn bounds_are_kept() {
    for parameter in all() {
        let (name, check) = (parameter.name, |value: Value| parameter.check(value));
        match parameter.allowed {
            Allowed::Integers { from, to } => {
                assert_eq!(parameter.value_type, ValueType::Integer);
                assert!(check(from.into()).is_ok() && check(to.into()).is_ok(), "{name}");
                assert!(check((from - 1).into()).is_err(), "{name}");
                assert!(to == i64::MAX || check((to + 1).into()).is_err(), "{name}");
                assert!(check(Value::from(1.5)).is_err() && parameter.parse("99999999999999999999").is_err(), "{name}");
            }
            Allowed::Above(bound) => {
                assert_eq!(parameter.value_type, ValueType::Float);
                assert!(check(bound.next_up().into()).is_ok() && check(bound.into()).is_err(), "{name}");
                assert!(check(f64::NAN.into()).is_err() && check(f64::INFINITY.into()).is_err(), "{name}");
                assert_eq!(check(2.into()).unwrap(), Value::from(2.0), "{name}");
            }
            Allowed::Flag => {
                assert_eq!(parameter.value_type, ValueType::Boolean);
                assert_eq!(check(true.into()).unwrap(), check(1.into()).unwrap(), "{name}");
                assert!(check(2.into()).is_err() && check((-1).into()).is_err() && parameter.parse("x").is_err());
            }
            Allowed::Choices(words) => {
                for word in words {
                    assert_eq!(parameter.parse(&word.to_uppercase()).unwrap(), Value::from(*word), "{name}");
                    assert!(parameter.parse(&format!("{word}x")).is_err(), "{name}");
                }
                assert!(parameter.parse("").is_err() && check(7.into()).is_err(), "{name}");
            }
            Allowed::Letters(letters) => {
                assert!(parameter.parse(letters).is_ok() && parameter.parse("").is_ok());
                for letter in (' '..='\u{ff}').filter(|letter| !letters.contains(*letter) && !letter.is_whitespace()) {
                    assert!(parameter.parse(&letter.to_string()).is_err(), "{name}: {letter:?}");
                }
            }
            _ => panic!("{name}: bounds of a kind that is not tested"),
        }
    }
}

#[test]
fn errors_say_what_was_refused_and_what_would_be_accepted() {
    let parameter = Family::Redis2_8.parameter("repl-backlog-size").unwrap();
    let error = parameter.check(16_383).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    let text = error.to_string();
    assert!(["repl-backlog-size", "16383", "integer", "16384 or more", "bytes"].iter().all(|part| text.contains(part)));
    assert!(parameter.parse(&"9".repeat(10_000)).unwrap_err().to_string().len() < 300, "long input is shown in part");
}

#[test]
fn units_are_read() {
    let parse = |family: Family, name: &str, text: &str| family.parameter(name).and_then(|p| p.parse(text));
    assert_eq!(parse(Family::Redis2_8, "maxmemory", "1GiB").unwrap(), Value::from(1_i64 << 30));
    assert_eq!(parse(Family::Memcached1_4, "max_cache_memory", "1GiB").unwrap(), Value::from(1024));
    assert!(parse(Family::Memcached1_4, "max_cache_memory", "1KiB").is_err(), "no whole number of MiB");
    assert_eq!(parse(Family::Redis2_8, "lua-time-limit", "2s").unwrap(), Value::from(2000));
    assert_eq!(parse(Family::Redis2_8, "slowlog-log-slower-than", "10ms").unwrap(), Value::from(10_000));
    assert!(parse(Family::Redis2_8, "databases", "16KiB").is_err(), "what is only counted has no unit");
    assert!(parse(Family::Redis2_8, "timeout", "1MiB").is_err());
}

#[test]
fn misspelt_names_are_told_the_nearest() {
    for (family, name, nearest) in [
        (Family::Redis2_8, "maxmemory_policy", "did you mean maxmemory-policy?"),
        (Family::Redis2_8, "max-memory", "did you mean maxmemory?"),
        (Family::Redis2_8, "database", "did you mean databases?"),
        (Family::Memcached1_4, "chunksize", "did you mean chunk_size?"),
        (Family::Memcached1_4, "slab-reasign", "did you mean slab_reassign?"),
        (Family::Memcached1_4, "maxmemory", "since redis 2.6.13"),
        (Family::Redis2_6, "notify-keyspace-events", "since redis 2.8.6"),
    ] {
        let error = family.parameter(name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains(nearest), "{error}");
    }
    let error = Family::Redis2_8.parameter("flux-capacitor").unwrap_err();
    assert!(!error.to_string().contains("did you mean"));
}

#[test]
fn who_acts_on_what() {
    let engine: Vec<&str> = all().filter(|p| matches!(p.drives, Drives::Engine(_))).map(|p| p.name).collect();
    assert_eq!(engine.len(), 23);
    let at_once: Vec<&str> = all()
        .filter(|p| matches!(p.drives, Drives::Engine(_)) && p.applies == Applies::AtOnce)
        .map(|p| p.name)
        .collect();
    let expected = [
        "appendonly",
        "appendfsync",
        "maxmemory-policy",
        "maxmemory-samples",
        "reserved-memory",
        "repl-backlog-size",
        "repl-backlog-ttl",
    ];
    assert_eq!(at_once, expected);
    let bound: Vec<&str> = all().filter(|p| p.applies == Applies::UnsetOnly).map(|p| p.name).collect();
    assert_eq!(bound, ["activerehashing", "databases"]);
    assert!(all().all(|p| p.meaning.ends_with('.') && !p.meaning.contains('\n') && p.meaning.is_ascii()));
    assert!(all().filter(|p| p.unit != Unit::Count).all(|p| p.value_type == ValueType::Integer));
}

#[test]
fn node_types_are_found_and_make_builders() {
    assert_eq!(NodeType::ALL.len(), 22);
    let keep_nothing = NodeType::ALL.iter().filter(|node| !node.append_only_file && !node.snapshots && !node.failover);
    assert_eq!(keep_nothing.count(), 4);
    for node in NodeType::ALL {
        assert_eq!(NodeType::find(&node.name.to_uppercase()).unwrap(), node);
        for family in Family::ALL {
            assert_eq!(node.builder(family).is_ok(), node.runs(family.system()), "{} {family}", node.name);
        }
    }
    let error = NodeType::find("cache.c1.medium").unwrap().builder(Family::Redis2_8).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(NodeType::find("cache.m3.lagre").unwrap_err().to_string().contains("did you mean cache.m3.large?"));
}
