//! Random names and values never panic, and whatever is accepted can be read back and built from.

use larder::params::{CacheConfig, Family, NodeType, ParameterGroups, ParameterValues, Value};
use proptest::prelude::*;

use crate::{MEMCACHED, REDIS};

fn families() -> impl Strategy<Value = Family> {
    prop::sample::select(Family::ALL.to_vec())
}

fn values() -> impl Strategy<Value = Value> {
    let numbers = vec!["-1", "0", "1", "48", "1.02", "16384", "64MiB", "30s", "1e400", "nan", "yes", "KEA", "everysec"];
    prop_oneof![
        any::<i64>().prop_map(Value::from),
        (-3_i64..70_000).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        prop::sample::select(numbers).prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ]
}

/// A parameter's name, perhaps with a letter changed, or anything.
fn names() -> impl Strategy<Value = String> {
    let known: Vec<&'static str> = [Family::Memcached1_4, Family::Redis2_8]
        .iter()
        .flat_map(|family| family.parameters().map(|parameter| parameter.name))
        .collect();
    let misspelt = (prop::sample::select(known.clone()), any::<prop::sample::Index>(), any::<char>());
    prop_oneof![
        3 => prop::sample::select(known).prop_map(str::to_owned),
        1 => misspelt.prop_map(|(name, at, letter)| {
            let mut letters: Vec<char> = name.chars().collect();
            let at = at.index(letters.len());
            letters[at] = letter;
            letters.into_iter().collect()
        }),
        1 => ".{0,20}".prop_map(|name: String| name),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_is_accepted_is_read_back(family in families(), name in names(), value in values()) {
        let groups = ParameterGroups::new();
        groups.create("mine", family, "").unwrap();
        if let Ok(parameter) = family.parameter(&name)
            && let Ok(checked) = parameter.check(&value)
        {
            prop_assert_eq!(checked.value_type(), parameter.value_type);
            prop_assert_eq!(parameter.check(&checked).unwrap(), checked.clone());
            prop_assert_eq!(parameter.parse(&checked.to_string()).unwrap(), checked);
        }
        let before = groups.describe("mine").unwrap();
        match groups.modify("mine", [(name.as_str(), value.clone())]) {
            Ok(_) => {
                let expected = family.parameter(&name).unwrap().check(&value).unwrap();
                prop_assert_eq!(groups.values("mine", family.latest(), None).unwrap().get(&name).unwrap(), expected);
                prop_assert!(groups.builder("mine", family.latest(), None).is_ok());
            }
            Err(e) => {
                prop_assert!(!e.to_string().is_empty());
                prop_assert_eq!(groups.describe("mine").unwrap(), before);
            }
        }
        let _ = groups.create(&name, family, "");
        let _ = groups.delete(&name);
        let _ = NodeType::find(&name);
    }

    #[test]
    fn settings_from_any_text_are_refused_or_make_a_builder(name in names(), text in ".{0,12}", value in values()) {
        for pair in [(name.clone(), text.clone()), (name.clone(), value.to_string()), ("max_memory".into(), text.clone())] {
            for family in ["redis2.8", "memcached1.4"] {
                if let Ok(config) = CacheConfig::from_pairs([("family".to_owned(), family.to_owned()), pair.clone()]) {
                    prop_assert!(config.builder().is_ok());
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Any values that go together make a cache that works, or an error that says why not.
    #[test]
    fn any_values_make_a_cache_or_an_error(is_redis: bool, set in prop::collection::vec((names(), values()), 0..12)) {
        let version = if is_redis { REDIS } else { MEMCACHED };
        let mut chosen = ParameterValues::new(version.family());
        for (name, value) in set {
            // Not the memory itself, nor its lock, which would take it from whoever runs the tests.
            if !["maxmemory", "max_cache_memory", "lock_down_paged_memory"].contains(&name.as_str()) {
                let _ = chosen.set(&name, value);
            }
        }
        match chosen.builder().max_memory(2 << 20).build() {
            Ok(cache) => {
                let _ = cache.set(b"key", b"value");
                let groups = ParameterGroups::new();
                let group = format!("default.{}", version.family());
                groups.attach(&cache, &group, version, None).unwrap();
                groups.in_force(&cache).unwrap();
                cache.check_invariants();
            }
            Err(e) => prop_assert_eq!(e.kind(), larder::ErrorKind::InvalidConfig),
        }
    }
}
