//! Snapshots of a cache in use, and what becomes of them.
//!
//! | file | what |
//! |---|---|
//! | `twin` | random operations with a snapshot's steps in between: what comes back is what was there at the cut |
//! | `threads` | threads write while a snapshot is taken: it shows one moment |
//! | `damage` | every byte of a file changed, every length cut; the format kept |
//! | `storage` | a storage that fails at every call |
//! | `restore` | other limits, policies, options |
//! | `catalog` | many snapshots |
//! | `slow` | a sink that is slower than the writers |

mod catalog;
mod damage;
mod restore;
mod slow;
mod storage;
mod threads;
mod twin;

use larder::snapshot::{RestoreOptions, SnapshotOptions, SnapshotRun};
use larder::storage::{Memory, Storage};
use larder::{Cache, Kind, Maintenance, ManualClock};
use std::collections::BTreeMap;
use std::time::Duration;

/// A generator of numbers: splitmix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// All that can be seen of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    value: Vec<u8>,
    flags: u32,
    kind: Kind,
    /// Until its deadline.
    left: Option<Duration>,
    token: Option<u64>,
}

type State = BTreeMap<(u8, Vec<u8>), Seen>;

/// All items of some namespaces.
fn state_of(cache: &Cache, namespaces: u8) -> State {
    let mut state = State::new();
    for namespace in 0..namespaces {
        for entry in cache.namespace(namespace).iter() {
            let seen = Seen {
                value: entry.value.expect("a value").to_vec(),
                flags: entry.metadata.flags,
                kind: entry.metadata.kind,
                left: entry.metadata.ttl_left,
                token: entry.metadata.token.map(|token| token.as_u64()),
            };
            assert!(state.insert((namespace, entry.key.to_vec()), seen).is_none(), "a key twice");
        }
    }
    state
}

/// The rest of a run, as a file of a storage.
fn finish(mut run: SnapshotRun, mut bytes: Vec<u8>) -> Memory {
    while run.step(&mut bytes).expect("a step") {}
    let storage = Memory::new();
    storage.create("s").unwrap().write_all_at(&bytes, 0).unwrap();
    storage
}

fn manual(max_memory: u64, clock: &ManualClock) -> larder::CacheBuilder {
    Cache::builder().max_memory(max_memory).clock(clock.clone()).seed(1).maintenance(Maintenance::Manual)
}

/// A cache with some items, and its snapshot.
fn small_snapshot() -> (Cache, Memory) {
    let cache = manual(1 << 20, &ManualClock::new(1_000_000)).build().unwrap();
    for i in 0..20u8 {
        cache.set(&[i], &vec![i; usize::from(i) * 3]).unwrap();
    }
    let storage = Memory::new();
    cache.snapshot_to(&storage, "s", &SnapshotOptions::new()).unwrap();
    (cache, storage)
}

fn one_thread() -> RestoreOptions {
    RestoreOptions::new().threads(1)
}
