//! Machines that crash, on a disk that loses and tears what was not synced: what comes back is what the cache was at
//! some moment, and no earlier one than was promised.

use std::sync::Arc;
use std::time::Duration;

use larder::oplog::Fsync;
use larder::storage::{CallKind, SimulatedDisk, Storage};
use larder::{Cache, ManualClock, SetOptions};

use super::support::{Chance, Contents, builder, contents, options};

/// What the cache was after each operation, when that was, and whether it was acknowledged.
struct History {
    moments: Vec<(u64, bool, Contents)>,
}

impl History {
    fn note(&mut self, clock: &ManualClock, acknowledged: bool, cache: &Cache) {
        self.moments.push((larder::Clock::now_ms(clock), acknowledged, contents(cache)));
    }

    /// The last moment that must not be lost.
    fn promised(&self, fsync: Fsync, now_ms: u64) -> usize {
        let is_safe = |at: u64| match fsync {
            Fsync::Always => true,
            Fsync::EverySecond => at + 2000 <= now_ms,
            _ => false,
        };
        self.moments.iter().rposition(|&(at, acknowledged, _)| acknowledged && is_safe(at)).unwrap_or(0)
    }

    #[track_caller]
    fn check(&self, recovered: &Contents, promised: usize, what: &str) {
        let found = self.moments[promised..].iter().any(|(_, _, moment)| moment == recovered);
        assert!(found, "{what}: what came back was never there since moment {promised} of {}", self.moments.len());
    }
}

/// Does something, and says whether it was acknowledged.
pub(crate) fn act(cache: &Cache, chance: &mut Chance) -> bool {
    let key = [b'k', chance.below(12) as u8];
    let value = vec![chance.below(256) as u8; chance.below(300) as usize];
    match chance.below(16) {
        0..9 => cache.set(&key, &value).is_ok(),
        9 => cache.set_with(&key, &value, &SetOptions::new().tag("t").flags(9)).is_ok(),
        10 => {
            cache.remove(&key);
            cache.sync_log().is_ok()
        }
        11 => {
            let keys = [[b'k', 1], [b'k', 5], [b'k', 9]];
            cache.update(&keys, |update| (0..3).for_each(|i| update.set(i, &value))).is_ok()
        }
        12 => cache.append(&key, b"+").is_ok(),
        13 if chance.one_in(3) => {
            cache.clear();
            cache.sync_log().is_ok()
        }
        14 => {
            cache.invalidate_tag("t");
            cache.sync_log().is_ok()
        }
        _ => cache.set(&[b'k', 99], &value).is_ok(),
    }
}

fn lives(seed: u64, fsync: Fsync) {
    let mut chance = Chance(seed);
    let disk = SimulatedDisk::new(seed);
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let clock = ManualClock::new(1_700_000_000_000);
    let mut before: Option<(History, usize)> = None;
    for life in 0..4 {
        let rewrite = if chance.one_in(2) { (100, 2000) } else { (0, 0) };
        let log = options(&storage, fsync).rewrite(rewrite.0, rewrite.1);
        let cache = builder(&clock).append_only(log).build();
        let cache = cache.unwrap_or_else(|e| panic!("seed {seed}, life {life}: {e}"));
        let recovered = contents(&cache);
        if let Some((history, promised)) = &before {
            history.check(&recovered, *promised, &format!("seed {seed}, life {life}"));
        }
        let mut history = History { moments: Vec::new() };
        history.note(&clock, true, &cache);
        for _ in 0..chance.below(40) {
            if fsync == Fsync::EverySecond {
                clock.advance(Duration::from_millis(chance.below(300)));
            }
            if chance.one_in(2) {
                cache.run_maintenance(Duration::from_micros(chance.below(2000)));
            }
            let acknowledged = act(&cache, &mut chance);
            assert!(acknowledged, "nothing is wrong with the disk");
            history.note(&clock, acknowledged, &cache);
        }
        let promised = history.promised(fsync, larder::Clock::now_ms(&clock));
        disk.crash();
        drop(cache);
        before = Some((history, promised));
    }
}

const ALL: [Fsync; 3] = [Fsync::Always, Fsync::EverySecond, Fsync::No];

#[test]
fn what_was_promised_outlasts_crashes() {
    // 8012: a base was named before the records were safe whose effects it shows.
    for seed in (0..100).chain([8012]) {
        ALL.into_iter().for_each(|fsync| lives(seed, fsync));
    }
}

/// `cargo test --release --test oplog -- --ignored`
#[test]
#[ignore = "takes some minutes"]
fn what_was_promised_outlasts_crashes_for_many_seeds() {
    for seed in 0..10_000 {
        lives(seed, ALL[seed as usize % 3]);
    }
}

#[test]
fn a_sync_comes_before_each_acknowledgement() {
    let disk = SimulatedDisk::new(1);
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let clock = ManualClock::new(1_700_000_000_000);
    let cache = builder(&clock).append_only(options(&storage, Fsync::Always)).build().unwrap();
    for i in 0..20u8 {
        let before = disk.trace().len();
        cache.set(&[i], b"v").unwrap();
        let trace = disk.trace();
        let of_log = trace[before..].iter().filter(|call| call.name.ends_with(".log")).collect::<Vec<_>>();
        assert_eq!(of_log.last().map(|call| call.kind), Some(CallKind::Sync), "{of_log:?}");
        assert!(of_log.iter().any(|call| call.kind == CallKind::Write));
    }
    // A read costs no call.
    let before = disk.calls();
    assert!(cache.contains(&[3]) && cache.get(&[3]).unwrap().is_some());
    assert_eq!(disk.calls(), before);
}

/// Runs a workload with one fault at a call, crashes, and looks at what comes back. False if there was no such call.
fn with_fault(call: u64, fault: larder::storage::Fault, for_good: bool, fsync: Fsync) -> bool {
    let what = format!("call {call}, {fault:?}, for good: {for_good}, {fsync:?}");
    let mut chance = Chance(5);
    let disk = SimulatedDisk::new(call);
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let clock = ManualClock::new(1_700_000_000_000);
    disk.fail_at(call, fault, for_good);
    let log = options(&storage, fsync).rewrite(100, 1500);
    let mut history = History { moments: vec![(0, true, Contents::new())] };
    if let Ok(cache) = builder(&clock).append_only(log).build() {
        for i in 0..40 {
            clock.advance(Duration::from_millis(200));
            cache.run_maintenance(Duration::from_millis(5));
            let acknowledged = act(&cache, &mut chance);
            let now = contents(&cache);
            history.note(&clock, acknowledged, &cache);
            assert_eq!(contents(&cache), now, "{what}: reads go on");
            if i == 30 {
                let _ = cache.rewrite_log();
            }
            let status = cache.log_status();
            assert!(acknowledged || status.trouble.is_some() || status.taken == status.last, "{what}: {status:?}");
        }
        // Under `everysec` what waits may still be lost when the sync fails: then nothing was promised.
        let failed = cache.log_status().has_failed;
        let promised =
            if failed && fsync != Fsync::Always { 0 } else { history.promised(fsync, larder::Clock::now_ms(&clock)) };
        disk.crash();
        drop(cache);
        let again = builder(&clock).append_only(options(&storage, fsync)).build();
        let again = again.unwrap_or_else(|e| panic!("{what}: {e}"));
        history.check(&contents(&again), promised, &what);
    }
    disk.calls() > call
}

#[test]
fn a_fault_at_any_call_breaks_no_promise() {
    use larder::storage::Fault::{Io, NoSpace, Short};
    for (fault, for_good) in [(Short, false), (Short, true), (NoSpace, false), (NoSpace, true), (Io, false), (Io, true)]
    {
        for fsync in [Fsync::Always, Fsync::EverySecond] {
            for call in 0.. {
                if !with_fault(call, fault, for_good, fsync) {
                    assert!(call > 50, "the workload makes calls");
                    break;
                }
            }
        }
    }
}
