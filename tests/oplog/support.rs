//! Small caches on storages of all kinds, and what is in them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use larder::oplog::{AppendOptions, Fsync};
use larder::storage::{Memory, Storage};
use larder::{Cache, CacheBuilder, Kind, Maintenance, ManualClock};

/// Namespaces that the tests use.
pub(crate) const NAMESPACES: u8 = 3;

/// All that is known of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) value: Vec<u8>,
    pub(crate) deadline_ms: Option<u64>,
    pub(crate) flags: u32,
    pub(crate) token: Option<u64>,
    pub(crate) kind: Kind,
    pub(crate) tags: usize,
}

/// Everything in a cache.
pub(crate) type Contents = BTreeMap<(u8, Vec<u8>), Known>;

pub(crate) fn contents(cache: &Cache) -> Contents {
    let mut all = Contents::new();
    for namespace in 0..NAMESPACES {
        for entry in cache.namespace(namespace).iter() {
            let metadata = entry.metadata;
            let known = Known {
                value: entry.value.expect("a value").to_vec(),
                deadline_ms: metadata.deadline_ms,
                flags: metadata.flags,
                token: metadata.token.map(larder::Token::as_u64),
                kind: metadata.kind,
                tags: metadata.tags,
            };
            all.insert((namespace, entry.key.to_vec()), known);
        }
    }
    all
}

pub(crate) fn builder(clock: &ManualClock) -> CacheBuilder {
    let builder = Cache::builder().max_memory(512 << 10).page_size(4096).shards(2).seed(7).clock(clock.clone());
    builder.maintenance(Maintenance::Manual).expiry_lag(Duration::ZERO)
}

pub(crate) fn options(storage: &Arc<dyn Storage>, fsync: Fsync) -> AppendOptions {
    AppendOptions::shared(Arc::clone(storage)).fsync(fsync).rewrite(0, 0).seed(3)
}

/// The same files once more, which nobody has open.
pub(crate) fn copy_of(storage: &dyn Storage) -> Memory {
    let copy = Memory::new();
    for name in storage.list().unwrap() {
        copy.create(&name).unwrap().write_all_at(&storage.read(&name).unwrap(), 0).unwrap();
    }
    copy
}

/// Chance by a seed.
#[derive(Debug)]
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % n
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}
