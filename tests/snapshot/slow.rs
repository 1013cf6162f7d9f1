//! A sink that is slower than those who write: they wait, for a bounded time, or the snapshot gives up; memory stays
//! bounded, and is given back.

use super::{finish, manual, one_thread};
use larder::snapshot::SnapshotOptions;
use larder::{Cache, ErrorKind, EvictionPolicy, ManualClock};
use std::time::{Duration, Instant};

fn filled(policy: EvictionPolicy) -> Cache {
    let cache = manual(2 << 20, &ManualClock::new(1)).policy(policy).build().unwrap();
    for i in 0..8_000u32 {
        cache.set(&i.to_le_bytes(), &[1; 100]).unwrap();
    }
    cache
}

#[test]
fn the_snapshot_gives_up_where_nobody_takes_what_is_saved() {
    for policy in [EvictionPolicy::Default, EvictionPolicy::NoEviction] {
        let cache = filled(policy);
        let before = cache.memory().side;
        for wait in [Duration::ZERO, Duration::from_millis(30)] {
            let mut run = cache.begin_snapshot(&SnapshotOptions::new().writers_wait(wait)).unwrap();
            let (begun, mut longest) = (Instant::now(), Duration::ZERO);
            for i in 0..8_000u32 {
                let at = Instant::now();
                cache.set(&i.to_le_bytes(), &[2; 100]).unwrap();
                longest = longest.max(at.elapsed());
            }
            assert!(longest >= wait && begun.elapsed() < Duration::from_secs(20));
            assert!(run.progress().buffer_most <= run.progress().buffer_bytes);
            let error = run.step(&mut Vec::new()).and_then(|_| run.step(&mut Vec::new())).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::SnapshotFailed, "{error}");
            drop(run);
            assert!(cache.memory().side <= before + 4096, "the buffer's memory is given back");
            cache.check_invariants();
        }
        // And another one can be taken.
        let storage = finish(cache.begin_snapshot(&SnapshotOptions::new()).unwrap(), Vec::new());
        let restored = Cache::new(8 << 20).unwrap();
        assert_eq!(restored.restore_from(&storage, "s", &one_thread()).unwrap().stored, cache.len());
    }
}

#[test]
fn writers_wait_for_a_slow_sink_and_the_snapshot_is_whole() {
    let cache = filled(EvictionPolicy::Default);
    let count = cache.len();
    let run = cache.begin_snapshot(&SnapshotOptions::new().writers_wait(Duration::from_secs(20))).unwrap();
    let mut run = std::thread::scope(|scope| {
        let slow = scope.spawn(move || {
            let (mut run, mut out, mut total) = (run, Vec::new(), Vec::new());
            while run.step(&mut out).unwrap() {
                if out.len() > 10_000 {
                    std::thread::sleep(Duration::from_millis(1));
                    total.append(&mut out);
                }
            }
            total.append(&mut out);
            (run, total)
        });
        for round in 2..6 {
            for i in 0..8_000u32 {
                cache.set(&i.to_le_bytes(), &[round; 100]).unwrap();
            }
        }
        slow.join().unwrap()
    });
    assert!(!run.0.step(&mut run.1).unwrap());
    assert_eq!(run.0.progress().items, count);
    assert!(run.0.progress().buffer_most <= run.0.progress().buffer_bytes);
    let mut reader = larder::snapshot::SnapshotReader::new();
    reader.push(&run.1).unwrap();
    reader.finish().unwrap();
    assert!(std::iter::from_fn(|| reader.next_item()).all(|item| *item.value == [1; 100]));
}

#[test]
fn one_at_a_time_and_a_dropped_one_holds_nothing() {
    let cache = Cache::builder().max_memory(8 << 20).build().unwrap();
    for i in 0..10u8 {
        cache.set(&[i], &[i; 200_000]).unwrap();
    }
    let used = cache.memory().used;
    let mut run = cache.begin_snapshot(&SnapshotOptions::new()).unwrap();
    assert_eq!(cache.begin_snapshot(&SnapshotOptions::new()).unwrap_err().kind(), ErrorKind::NotAllowed);
    // In the middle of a large value, with others kept for it.
    let mut out = Vec::new();
    while out.len() < 100_000 {
        run.step(&mut out).unwrap();
        if run.progress().buffer_waiting == 0 {
            cache.set(&[out.len() as u8 % 10], &[7; 200_000]).unwrap();
        }
    }
    drop(run);
    cache.check_invariants();
    assert!(cache.memory().used <= used + (1 << 20));
    assert!(cache.begin_snapshot(&SnapshotOptions::new()).is_ok());
}
