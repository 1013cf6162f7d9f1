//! Typed caches: against a map, with values that do not decode, keys in borrowed form, several types on one memory.

use std::collections::HashMap;

use larder::typed::{Codec, CodecError, Computed, KeyCodec, Op, Plain};
use larder::{Cache, ErrorKind, Maintenance, ManualClock, SetOptions, TypedCache};
use std::time::Duration;

fn cache() -> Cache {
    Cache::builder().max_memory(8 << 20).seed(1).maintenance(Maintenance::Manual).build().unwrap()
}

/// A codec that refuses what is odd, and panics at 13.
#[derive(Debug, Default)]
struct Even;

impl Codec<u32> for Even {
    fn encode<'a>(&self, value: &'a u32, buffer: &'a mut Vec<u8>) -> Result<&'a [u8], CodecError> {
        assert_ne!(*value, 13, "as the test wants it");
        if value % 2 == 1 {
            return Err(format!("{value} is odd").into());
        }
        Plain.encode(value, buffer)
    }

    fn decode(&self, bytes: &[u8]) -> Result<u32, CodecError> {
        Plain.decode(bytes)
    }
}

fn xorshift(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// One random operation on the cache and on a map.
fn step(cache: &TypedCache<String, Vec<u8>, Plain>, map: &mut HashMap<String, Vec<u8>>, random: &mut u64) {
    let key = format!("key {}", xorshift(random) % 50);
    let value = vec![xorshift(random) as u8; (xorshift(random) % 300) as usize];
    match xorshift(random) % 14 {
        0 | 1 => {
            cache.insert(&key, &value).unwrap();
            map.insert(key, value);
        }
        2 => {
            let stored = cache.insert_with(&key, &value, &SetOptions::new().if_absent()).unwrap().stored;
            assert_eq!(stored, !map.contains_key(&key));
            map.entry(key).or_insert(value);
        }
        3 => assert_eq!(cache.remove(&key), map.remove(&key).is_some()),
        4 => assert_eq!(cache.take(&key[..]).unwrap(), map.remove(&key)),
        5 => assert_eq!(cache.get(&key).unwrap(), map.get(&key).cloned()),
        6 => assert_eq!(cache.read(&key, |v| v.len()).unwrap(), map.get(&key).map(Vec::len)),
        7 => assert_eq!(cache.contains_key(&key[..]), map.contains_key(&key)),
        8 => assert_eq!(cache.get_with(&key, || value.clone()).unwrap(), *map.entry(key).or_insert(value)),
        9 => {
            let found = cache.optionally_get_with(&key, || None).unwrap();
            assert_eq!(found.as_ref(), map.get(&key));
        }
        10 => {
            let doubled = |old: Option<Vec<u8>>| match old {
                Some(old) if old.len() > 400 => Op::Remove,
                Some(old) => Op::Put([&old[..], &old].concat()),
                None => Op::Nop,
            };
            cache.entry(&key).unwrap().and_compute_with(doubled).unwrap();
            match doubled(map.get(&key).cloned()) {
                Op::Put(new) => drop(map.insert(key, new)),
                Op::Remove => drop(map.remove(&key)),
                _ => {}
            }
        }
        11 => {
            let odd = |key: &String| key.len() % 2 == 1;
            if value.len() < 20 {
                let before = map.len();
                map.retain(|key, _| odd(key));
                assert_eq!(cache.retain(|key, _| odd(key)).unwrap(), (before - map.len()) as u64);
            }
        }
        12 if value.len() < 5 => {
            cache.invalidate_all();
            map.clear();
        }
        _ => {
            let keys = [key, format!("key {}", xorshift(random) % 50)];
            let found = cache.get_many(&keys).unwrap();
            assert_eq!(found, keys.map(|key| map.get(&key).cloned()));
        }
    }
}

#[test]
fn it_is_a_map() {
    let cache = TypedCache::<String, Vec<u8>, Plain>::new(cache());
    let (mut map, mut random) = (HashMap::new(), 7);
    for i in 0..20_000 {
        step(&cache, &mut map, &mut random);
        if i % 500 == 0 {
            assert_eq!(cache.len(), map.len() as u64);
            let all: HashMap<String, Vec<u8>> = cache.iter().collect::<larder::Result<_>>().unwrap();
            assert_eq!(all, map);
        }
    }
    cache.cache().check_invariants();
}

#[test]
fn several_types_share_one_memory() {
    let cache = cache();
    let numbers: TypedCache<u64, f64, Plain> = TypedCache::new(cache.namespace(1));
    let names: TypedCache<u64, String, Plain> = TypedCache::new(cache.namespace(2));
    for i in 0..100 {
        numbers.insert(&i, &(i as f64)).unwrap();
        names.insert(&i, &i.to_string()).unwrap();
    }
    assert_eq!((numbers.len(), names.len(), cache.len()), (100, 100, 0));
    numbers.invalidate_all();
    assert!(numbers.is_empty() && names.get(&7).unwrap().as_deref() == Some("7"));
    fn is_send_and_sync<T: Send + Sync>(_: &T) {}
    is_send_and_sync(&names);
    let clone = names.clone();
    std::thread::spawn(move || clone.remove(&7)).join().unwrap();
    assert!(!names.contains_key(&7));
}

#[test]
fn values_that_do_not_decode() {
    let cache = cache();
    let strict: TypedCache<String, u32, Plain> = TypedCache::new(cache.clone());
    let lenient = strict.clone().undecodable_as_miss(true);
    cache.set(b"key", b"five!").unwrap();
    strict.insert("good", &1).unwrap();
    let error = strict.get("key").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
    let message = error.to_string();
    for part in ["u32", "key length 3", "value length 5", "4 bytes were expected, 5 found"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(std::error::Error::source(&error).is_some());
    assert_eq!(strict.read("key", |n| n).unwrap_err().kind(), ErrorKind::Decode);
    assert_eq!(strict.get_with("key", || 1).unwrap_err().kind(), ErrorKind::Decode);
    assert_eq!(strict.get_ref("key").unwrap().unwrap().view().unwrap_err().kind(), ErrorKind::Decode);
    assert_eq!(strict.get_ref("key").unwrap().unwrap().decode().unwrap_err().kind(), ErrorKind::Decode);
    let entry = strict.entry("key").unwrap();
    assert_eq!(entry.and_upsert_with(|_| 1).unwrap_err().kind(), ErrorKind::Decode);
    assert_eq!(strict.iter().filter(Result::is_err).count(), 1);
    assert_eq!(strict.iter().filter(Result::is_ok).count(), 1);
    assert_eq!(strict.retain(|_, _| true).unwrap_err().kind(), ErrorKind::Decode);
    assert_eq!(cache.len(), 2, "nothing was done to it");

    assert_eq!(lenient.get("key").unwrap(), None);
    assert_eq!(lenient.read("key", |n| n).unwrap(), None);
    assert_eq!(lenient.get_many(["key", "good"]).unwrap(), [None, Some(1)]);
    assert_eq!(lenient.iter().count(), 1);
    assert_eq!(lenient.get_with("key", || 2).unwrap(), 2);
    assert_eq!(strict.get("key").unwrap(), Some(2));
    cache.set(b"key", b"five!").unwrap();
    assert_eq!(lenient.optionally_get_with("key", || None).unwrap(), None);
    assert!(!cache.contains(b"key"), "the loader has found that there is none");
    cache.set(b"key", b"five!").unwrap();
    assert_eq!(lenient.entry("key").unwrap().and_upsert_with(|n| n.unwrap_or(3)).unwrap(), 3);
    cache.set(b"key", b"five!").unwrap();
    assert_eq!(lenient.retain(|_, _| true).unwrap(), 1);
    cache.set(b"key", b"five!").unwrap();
    assert_eq!(strict.take("key").unwrap_err().kind(), ErrorKind::Decode);
    assert!(!cache.contains(b"key"));
    // Keys of another type.
    let numbered: TypedCache<u64, u32, Plain> = TypedCache::new(cache.clone());
    assert_eq!(numbered.iter().next().unwrap().unwrap_err().kind(), ErrorKind::Decode);
    assert_eq!(numbered.undecodable_as_miss(true).iter().count(), 0);
}

#[test]
fn values_that_do_not_encode() {
    let cache = TypedCache::<String, u32, Even, Plain>::new(cache());
    cache.insert("k", &2).unwrap();
    let error = cache.insert("k", &3).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Encode);
    assert!(error.to_string().contains("3 is odd") && error.to_string().contains("u32"), "{error}");
    assert_eq!(cache.get_with("new", || 5).unwrap_err().kind(), ErrorKind::Encode);
    let put = cache.entry("k").unwrap().and_compute_with(|_| Op::Put(7));
    assert_eq!(put.unwrap_err().kind(), ErrorKind::Encode);
    let burst = std::panic::AssertUnwindSafe(|| cache.get_with("new", || 13));
    assert!(std::panic::catch_unwind(burst).is_err());
    assert_eq!((cache.get("k").unwrap(), cache.len()), (Some(2), 1));
    assert_eq!(cache.get_with("new", || 4).unwrap(), 4, "neither stands in the way");
}

/// Keys that only some strings are.
#[derive(Debug, Default)]
struct Short;

impl KeyCodec<String, str> for Short {
    fn encode_key<'a>(&self, key: &'a str, _: &'a mut Vec<u8>) -> Result<&'a [u8], CodecError> {
        if key.len() < 5 { Ok(key.as_bytes()) } else { Err("too long".into()) }
    }
}

#[test]
fn keys_that_do_not_encode() {
    let cache = TypedCache::<String, u32, Plain, Short>::new(cache());
    cache.insert("key", &1).unwrap();
    for error in [cache.insert("too long", &1).unwrap_err(), cache.get("too long").unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Encode);
        assert!(error.to_string().contains("key"), "{error}");
    }
    assert!(!cache.contains_key("too long") && !cache.remove("too long") && cache.metadata("too long").is_none());
}

#[test]
fn times_to_live() {
    let clock = ManualClock::new(0);
    let bytes = Cache::builder().max_memory(1 << 20).clock(clock.clone()).maintenance(Maintenance::Manual).build();
    let second = Duration::from_secs(1);
    let cache = TypedCache::<String, u32, Plain>::new(bytes.unwrap()).time_to_live(2 * second);
    cache.insert("handle's", &1).unwrap();
    cache.insert_with("own", &1, &SetOptions::new().ttl(second)).unwrap();
    cache.insert_with("cache's", &1, &SetOptions::new()).unwrap();
    let keep = |n: Option<u32>| Op::PutWith(n.unwrap_or(0) + 1, SetOptions::new().keep_ttl());
    assert_eq!(cache.entry("own").unwrap().and_compute_with(keep).unwrap(), Computed::ReplacedWith(2));
    clock.advance(second);
    assert!(!cache.contains_key("own") && cache.contains_key("handle's"));
    clock.advance(second);
    assert!(!cache.contains_key("handle's") && cache.contains_key("cache's"));
}

#[test]
fn entries_lose_no_change() {
    let cache = TypedCache::<String, u64, Plain>::new(cache());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    cache.entry("n").unwrap().and_upsert_with(|n| n.unwrap_or(0) + 1).unwrap();
                }
            });
        }
    });
    assert_eq!(cache.get("n").unwrap(), Some(2000));
    // The closure may use the cache; what it changes itself makes it be asked again.
    let mut asked = 0;
    let computed = cache.entry("n").unwrap().and_compute_with(|n| {
        asked += 1;
        if asked == 1 {
            cache.insert("n", &1).unwrap();
        }
        n.filter(|n| *n == 1).map_or(Op::Nop, |_| Op::Remove)
    });
    assert_eq!((computed.unwrap(), asked), (Computed::Removed, 2));
    cache.insert("n", &1).unwrap();
    assert_eq!(cache.entry("n").unwrap().and_compute_with(|_| Op::Nop).unwrap(), Computed::Unchanged);
    assert_eq!(cache.entry("n").unwrap().and_compute_with(|_| Op::Remove).unwrap(), Computed::Removed);
    assert_eq!(cache.entry("n").unwrap().and_compute_with(|_| Op::Remove).unwrap(), Computed::StillNone);
}

#[test]
fn guards_hold_what_they_read() {
    let cache = TypedCache::<u64, String, Plain>::new(cache());
    cache.insert(&1, &"old".to_owned()).unwrap();
    let guard = cache.get_ref(&1).unwrap().unwrap();
    cache.insert(&1, &"new".to_owned()).unwrap();
    assert_eq!((guard.view().unwrap(), guard.decode().unwrap()), ("old", "old".to_owned()));
    assert_eq!(guard.as_bytes(), b"old");
    assert!(cache.get_ref(&2).unwrap().is_none());
}

#[cfg(feature = "serde")]
mod by_serde {
    use super::*;
    use serde::{Deserialize, Serialize};

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    enum Shape {
        Point,
        Circle { x: f32, r: f32 },
        Named(String, Option<Box<Shape>>),
    }

    #[test]
    fn any_type_that_serde_knows() {
        let cache: TypedCache<(u32, String), Shape> = TypedCache::new(cache());
        let shapes =
            [Shape::Point, Shape::Circle { x: 1.5, r: 2.0 }, Shape::Named("a".into(), Some(Box::new(Shape::Point)))];
        for (i, shape) in (0..).zip(&shapes) {
            cache.insert(&(i, "x".to_owned()), shape).unwrap();
        }
        for (i, shape) in (0..).zip(shapes) {
            assert_eq!(cache.get(&(i, "x".to_owned())).unwrap(), Some(shape));
        }
        let error = cache.get_with(&(9, String::new()), || Shape::Point).map(drop);
        assert!(error.is_ok());
    }

    #[test]
    fn strings_are_the_same_by_either_codec() {
        let bytes = cache();
        let plain: TypedCache<String, String, Plain> = TypedCache::new(bytes.clone());
        let serde: TypedCache<String, String> = TypedCache::new(bytes.clone());
        serde.insert("key", &"value".to_owned()).unwrap();
        assert_eq!(plain.get("key").unwrap().as_deref(), Some("value"));
        assert_eq!(bytes.read(b"key", |v| v.to_vec()), Some(b"value".to_vec()));
        assert_eq!(serde.read("key", str::len).unwrap(), Some(5));
        assert_eq!(serde.iter().next().unwrap().unwrap(), ("key".to_owned(), "value".to_owned()));
    }

    #[test]
    fn a_type_that_has_changed() {
        #[derive(Serialize, Deserialize, Debug)]
        struct New {
            a: u32,
            b: String,
        }
        let bytes = cache();
        TypedCache::<u8, u32>::new(bytes.clone()).insert(&1, &5).unwrap();
        let new: TypedCache<u8, New> = TypedCache::new(bytes);
        assert_eq!(new.get(&1).unwrap_err().kind(), ErrorKind::Decode);
        let lenient = new.clone().undecodable_as_miss(true);
        let loaded = lenient.get_with(&1, || New { a: 5, b: "b".into() }).unwrap();
        assert_eq!((loaded.a, &loaded.b[..]), (5, "b"));
        assert_eq!(new.get(&1).unwrap().unwrap().b, "b");
    }
}
