//! What cannot be tested from outside: the system refuses memory, which takes a fault put in by hand; and where in the
//! table items leave.

use crate::slab::faults;
use crate::{Cache, ErrorKind, EvictionPolicy, Maintenance};

/// Lets commits succeed again, also when a test fails.
struct Refusing;

impl Refusing {
    fn from_now_on() -> Refusing {
        faults::fail_after_commits(0);
        Refusing
    }
}

impl Drop for Refusing {
    fn drop(&mut self) {
        faults::fail_after_commits(u64::MAX);
    }
}

fn small(policy: EvictionPolicy) -> Cache {
    let builder = Cache::builder().max_memory(512 << 10).page_size(4096).shards(1).policy(policy).seed(1);
    builder.maintenance(Maintenance::Manual).build().unwrap()
}

#[test]
fn in_an_empty_cache_a_write_fails() {
    for policy in [EvictionPolicy::AllkeysLru, EvictionPolicy::Default, EvictionPolicy::NoEviction] {
        let cache = small(policy);
        {
            let _refusing = Refusing::from_now_on();
            let error = cache.set(b"k", &[1; 100]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Os, "{policy}: {error}");
            let error = cache.set(b"k", &[1; 10_000]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Os, "{policy}, memory of its own: {error}");
            assert!(cache.is_empty() && cache.stats().commit_failures >= 2);
        }
        cache.set(b"k", &[1; 100]).unwrap();
        cache.set(b"large", &[1; 10_000]).unwrap();
        assert_eq!((cache.len(), cache.stats().evictions), (2, 0));
        cache.check_invariants();
    }
}

#[test]
fn in_a_filled_cache_something_leaves_instead() {
    let cache = small(EvictionPolicy::AllkeysLru);
    for i in 0..500u32 {
        cache.set(&i.to_le_bytes(), &[i as u8; 100]).unwrap();
    }
    assert_eq!((cache.len(), cache.stats().evictions), (500, 0));
    {
        let _refusing = Refusing::from_now_on();
        for i in 500..1500u32 {
            cache.set(&i.to_le_bytes(), &[i as u8; 100]).unwrap();
            assert_eq!(cache.read(&i.to_le_bytes(), |value| value == [i as u8; 100]), Some(true));
        }
        let (len, stats) = (cache.len(), cache.stats());
        assert_eq!(len + stats.evictions, 1500, "what is not there was evicted");
        assert!(len >= 450 && stats.evictions > 0, "{len} items are left of 500");
        cache.check_invariants();
    }
    for i in 0..2000u32 {
        cache.set(&i.to_le_bytes(), &[i as u8; 100]).unwrap();
    }
    assert!(cache.len() > 1000, "there is room again");
    cache.check_invariants();
}

#[test]
fn where_nothing_may_leave_nothing_is_lost() {
    let cache = small(EvictionPolicy::NoEviction);
    for i in 0..500u32 {
        cache.set(&i.to_le_bytes(), &[i as u8; 100]).unwrap();
    }
    {
        let _refusing = Refusing::from_now_on();
        let refused = (500..1000u32).filter(|i| cache.set(&i.to_le_bytes(), &[1; 100]).is_err()).count() as u64;
        assert!(refused > 400);
        assert_eq!(cache.len(), 1000 - refused);
        for i in 0..500u32 {
            assert_eq!(cache.read(&i.to_le_bytes(), |value| value == [i as u8; 100]), Some(true));
        }
    }
    cache.set(b"again", &[1; 100]).unwrap();
    cache.check_invariants();
}

/// A table must thin out evenly: one that is empty in front and full behind can neither grow nor shrink.
#[test]
fn items_leave_from_everywhere() {
    for policy in EvictionPolicy::ALL.into_iter().filter(|p| !p.is_volatile() && *p != EvictionPolicy::NoEviction) {
        let builder = Cache::builder().max_memory(4 << 20).shards(1).policy(policy).seed(1);
        let cache = builder.maintenance(Maintenance::Manual).build().unwrap();
        for i in 0..30_000u32 {
            cache.set(&i.to_le_bytes(), &[1; 100]).unwrap();
        }
        let before = cache.len();
        cache.set_max_memory(2 << 20).unwrap();
        assert!(cache.len() <= before / 3 * 2, "{policy}: {} of {before} items are left", cache.len());
        let mut parts = [0u64; 32];
        for entry in &cache {
            parts[(cache.engine().key(0, &entry.key).hash >> 59) as usize] += 1;
        }
        let mean = cache.len() / 32;
        let (least, most) = (parts.iter().min().unwrap(), parts.iter().max().unwrap());
        assert!(*least * 2 > mean && *most < mean * 2, "{policy}: from {least} to {most} items, {mean} on average");
        cache.check_invariants();
    }
}
