//! A storage that fails at any of its calls, once or for good, and crashes: what has the snapshot's name is always a
//! whole one, the old or the new; a restore that fails leaves the cache as it was, or empty.

use super::{manual, one_thread, state_of};
use larder::snapshot::{RestoreOptions, SnapshotOptions};
use larder::storage::{Fault, SimulatedDisk};
use larder::{Cache, EngineEventKind, ErrorKind, EventFilter, ManualClock};

const FAULTS: [Fault; 3] = [Fault::Io, Fault::NoSpace, Fault::Short];

fn cache_of(value: &[u8]) -> Cache {
    let cache = manual(1 << 20, &ManualClock::new(1)).build().unwrap();
    for i in 0..300u32 {
        cache.set(&i.to_le_bytes(), value).unwrap();
    }
    cache
}

fn value_in(disk: &SimulatedDisk) -> Vec<u8> {
    let restored = Cache::new(4 << 20).unwrap();
    restored.restore_from(disk, "s", &one_thread()).expect("a whole snapshot");
    assert_eq!(restored.len(), 300);
    let state = state_of(&restored, 1);
    let first = state.values().next().unwrap().value.clone();
    assert!(state.values().all(|seen| seen.value == first));
    first
}

#[test]
fn what_has_the_name_is_always_whole() {
    let (old, new) = (cache_of(b"old"), cache_of(&[7; 900]));
    let options = SnapshotOptions::new();
    for fault in FAULTS {
        for for_good in [false, true] {
            for at in 0.. {
                let disk = SimulatedDisk::new(at);
                old.snapshot_to(&disk, "s", &options).unwrap();
                let before = disk.calls();
                disk.fail_at(before + at, fault, for_good);
                let taken = new.snapshot_to(&disk, "s", &options);
                let was_reached = disk.calls() > before + at;
                if let Err(error) = &taken {
                    assert_eq!(error.kind(), ErrorKind::Storage, "{error}");
                    let last = new.event_log().query(&EventFilter::new()).last().map(|event| event.kind);
                    assert_eq!(last, Some(EngineEventKind::SnapshotFailed));
                }
                disk.crash();
                let after = value_in(&disk);
                assert!(after == b"old" || after == [7; 900]);
                if taken.is_ok() {
                    assert_eq!(after, [7; 900], "what was said to be stored is stored");
                }
                new.check_invariants();
                if !was_reached {
                    break;
                }
            }
        }
    }
}

#[test]
fn a_restore_that_fails_leaves_all_or_nothing() {
    let disk = SimulatedDisk::new(1);
    cache_of(&[7; 900]).snapshot_to(&disk, "s", &SnapshotOptions::new()).unwrap();
    for at in 0.. {
        let cache = Cache::new(4 << 20).unwrap();
        cache.set(b"mark", b"v").unwrap();
        let before = disk.calls();
        disk.fail_at(before + at, Fault::Io, true);
        let restored = cache.restore_from(&disk, "s", &RestoreOptions::new().threads(1));
        let was_reached = disk.calls() > before + at;
        disk.crash();
        match restored {
            Ok(restored) => assert_eq!((restored.stored, cache.len()), (300, 300)),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Storage);
                assert!(cache.is_empty() || cache.contains(b"mark") && cache.len() == 1, "{}", cache.len());
                cache.set(b"usable", b"v").unwrap();
            }
        }
        if !was_reached {
            break;
        }
    }
}
