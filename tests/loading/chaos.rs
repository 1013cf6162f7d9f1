//! Loaders that fail, panic, find nothing, want other keys or are given up, many at once: never two of a key at a time,
//! nobody waits for ever, nothing is left behind.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use larder::{Cache, Load, LoadError, LoadOptions, ManualClock};

use super::with_clock;

const KEYS: usize = 6;

/// What all threads share.
struct Chaos {
    cache: Cache,
    clock: ManualClock,
    /// Loaders of a key that run.
    running: [AtomicU32; KEYS],
    loads: AtomicU64,
}

/// One run of a loader.
struct Running<'a>(&'a AtomicU32);

impl<'a> Running<'a> {
    fn of(running: &'a AtomicU32) -> Running<'a> {
        assert_eq!(running.fetch_add(1, SeqCst), 0, "two loaders of a key at a time");
        Running(running)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

fn next(random: &mut u64) -> u64 {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    *random
}

impl Chaos {
    fn new() -> Arc<Chaos> {
        let (cache, clock) = with_clock();
        Arc::new(Chaos { cache, clock, running: Default::default(), loads: AtomicU64::new(0) })
    }

    fn options() -> LoadOptions {
        let ms = Duration::from_millis;
        LoadOptions::new().ttl(ms(5)).refresh_ahead(ms(2)).negative_ttl(ms(3))
    }

    /// What a loader of a key answers, after a while; it may want a key after it, and so may that.
    fn load(&self, key: usize, random: &mut u64) -> Result<Load<Vec<u8>>, u8> {
        let _running = Running::of(&self.running[key]);
        self.loads.fetch_add(1, SeqCst);
        if next(random).is_multiple_of(4) {
            std::thread::sleep(Duration::from_micros(next(random) % 500));
        }
        if key + 1 < KEYS && next(random).is_multiple_of(4) {
            let _ = self.get(key + 1, random);
        }
        match next(random) % 10 {
            0 => panic!("as the test wants it"),
            1 => Err(key as u8),
            2 => Ok(Load::Absent),
            3 => Ok(Load::AbsentFor(Duration::from_millis(1))),
            _ => Ok(Load::Value(vec![key as u8; 10 + key])),
        }
    }

    fn get(&self, key: usize, random: &mut u64) -> Result<(), u8> {
        let (bytes, mut own) = (key.to_le_bytes(), next(random) | 1);
        match self.cache.load(&bytes, &Chaos::options(), || self.load(key, &mut own)) {
            Ok(found) => assert!(found.is_none_or(|value| *value == vec![key as u8; 10 + key])),
            Err(LoadError::Loader(error)) => assert_eq!(*error, key as u8),
            Err(error) => panic!("{error:?}"),
        }
        Ok(())
    }

    /// Nothing runs any more, and nothing is kept of what ran.
    fn check(&self) {
        let stats = self.cache.load_stats();
        assert!(self.running.iter().all(|running| running.load(SeqCst) == 0));
        assert_eq!((stats.in_flight, stats.in_flight_bytes, stats.unshared), (0, 0, 0), "{stats:?}");
        assert_eq!(stats.loads, self.loads.load(SeqCst));
        self.cache.check_invariants();
    }
}

#[test]
fn threads() {
    let (chaos, hook) = (Chaos::new(), std::panic::take_hook());
    // Only what is not wanted is shown.
    std::panic::set_hook(Box::new(move |info| {
        if info.payload_as_str() != Some("as the test wants it") {
            hook(info);
        }
    }));
    std::thread::scope(|scope| {
        for thread in 1..=24u64 {
            let chaos = Arc::clone(&chaos);
            scope.spawn(move || {
                let mut random = thread.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                for _ in 0..300 {
                    let key = (next(&mut random) % KEYS as u64) as usize;
                    // A panic is of this thread's own loader.
                    let _ = catch_unwind(AssertUnwindSafe(|| chaos.get(key, &mut random)));
                    if next(&mut random).is_multiple_of(8) {
                        chaos.clock.advance(Duration::from_millis(1));
                    }
                }
            });
        }
    });
    chaos.check();
}

/// Tasks, some of which are given up in the middle, beside threads.
#[cfg(feature = "async")]
#[test]
fn tasks_and_threads() {
    let chaos = Chaos::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let task = |mut random: u64| {
        let chaos = Arc::clone(&chaos);
        async move {
            for _ in 0..150 {
                let key = (next(&mut random) % KEYS as u64) as usize;
                let mut own = next(&mut random);
                let (bytes, options) = (key.to_le_bytes(), Chaos::options());
                let load = async {
                    let _running = Running::of(&chaos.running[key]);
                    chaos.loads.fetch_add(1, SeqCst);
                    tokio::time::sleep(Duration::from_micros(next(&mut own) % 2000)).await;
                    if next(&mut own).is_multiple_of(5) { Err(key as u8) } else { Ok(Load::Value(vec![key as u8])) }
                };
                let patience = Duration::from_micros(next(&mut random) % 3000);
                match tokio::time::timeout(patience, chaos.cache.load_async(&bytes, &options, load)).await {
                    Err(_given_up) => {}
                    Ok(Ok(found)) => assert!(found.is_some_and(|value| *value == [key as u8])),
                    Ok(Err(LoadError::Loader(error))) => assert_eq!(*error, key as u8),
                    Ok(Err(error)) => panic!("{error:?}"),
                }
                if next(&mut random).is_multiple_of(4) {
                    chaos.clock.advance(Duration::from_millis(1));
                }
            }
        }
    };
    let tasks: Vec<_> = (1..=12u64).map(|i| runtime.spawn(task(i.wrapping_mul(0x9e37_79b9_7f4a_7c15)))).collect();
    std::thread::scope(|scope| {
        for thread in 1..=4usize {
            let chaos = Arc::clone(&chaos);
            scope.spawn(move || {
                for i in 0..100 {
                    let key = (i + thread) % KEYS;
                    let load = || {
                        let _running = Running::of(&chaos.running[key]);
                        chaos.loads.fetch_add(1, SeqCst);
                        Ok::<_, u8>(Load::Value(vec![key as u8]))
                    };
                    let found = chaos.cache.load(&key.to_le_bytes(), &Chaos::options(), load);
                    assert!(matches!(found, Ok(Some(_)) | Err(LoadError::Loader(_))));
                }
            });
        }
    });
    for task in tasks {
        runtime.block_on(task).unwrap();
    }
    chaos.check();
}
