//! What a warm restart keeps of the engine beside its shards, and how shards that were kept take their places.

use std::sync::atomic::Ordering::Relaxed;

use super::Engine;
use crate::shard::{Checked, KeptShard, Making, Namespaces, Shard};
use crate::slab::{KeptUnit, Stretch};

/// What is kept of the engine as a whole.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Kept {
    pub(crate) seed: u64,
    /// What internal time 1 is in Unix milliseconds.
    pub(crate) start_ms: u64,
    /// The number of the last tag invalidation.
    pub(crate) tags: u64,
    pub(crate) generations: [u8; 256],
    /// Clearings that are planned: Unix milliseconds and namespaces.
    pub(crate) planned: Vec<(u64, u8)>,
}

impl Engine {
    /// Makes the cache ready to be kept: what was cleared, or whose tags were invalidated, is removed, and the policy
    /// knows all items. Then what is to be kept of the engine as a whole. Nobody else is at work.
    pub(crate) fn keep(&mut self) -> Kept {
        // Logs have been given what there was. One in trouble would have nothing removed any more.
        self.ctx.effects.detach_all(self.ctx.unix_now());
        self.sweep_flushed();
        let ctx = &self.ctx;
        Kept {
            seed: ctx.settings.seed,
            start_ms: ctx.start_ms(),
            tags: ctx.tags.sequence(),
            generations: std::array::from_fn(|namespace| ctx.namespaces.generation(namespace as u8)),
            planned: self.planned_clears().iter().map(|&(at, namespace)| (ctx.to_unix(at), namespace)).collect(),
        }
    }

    /// Becomes what was kept, with the shards that `shards` makes; or stays as it is, empty, and says what is wrong.
    /// To be called before anything else is done with the engine.
    pub(crate) fn become_kept(
        &mut self,
        kept: &Kept,
        held: &[Stretch],
        shards: impl FnOnce(&Engine) -> Checked<Vec<Shard>>,
    ) -> Checked<()> {
        let (seed, start_ms) = (self.ctx.settings.seed, self.ctx.start_ms());
        self.ctx.arena.adopt(held).inspect_err(|_| self.ctx.arena.forget())?;
        self.ctx.begin_as(kept.start_ms, kept.seed);
        self.ctx.namespaces = Namespaces::with(&kept.generations);
        self.ctx.tags.go_on_from(kept.tags);
        match shards(self) {
            Ok(shards) => {
                for (new, old) in shards.iter().zip(&self.shards) {
                    new.charge(&self.ctx, old);
                }
                self.shards = shards.into_boxed_slice();
            }
            Err(what) => {
                self.ctx.begin_as(start_ms, seed);
                self.ctx.namespaces = Namespaces::new();
                self.ctx.tags.go_on_from(0);
                self.ctx.arena.forget();
                return Err(what);
            }
        }
        for &(at, namespace) in &kept.planned {
            self.plan_clear(namespace, self.ctx.since_start(at));
        }
        // With a lower limit than it had.
        self.shrink_to_limit(|| false);
        self.upkeep.shrink_after.store(0, Relaxed);
        Ok(())
    }

    /// A shard with the items that another one had.
    pub(crate) fn thaw_shard(
        &self,
        id: usize,
        kept: &KeptShard,
        units: &[(KeptUnit, Option<u64>)],
        sum: fn(&[u8]) -> u64,
        table: impl FnMut(&mut [u8]) -> Checked<()>,
    ) -> Checked<Shard> {
        let making = Making { id, buckets: self.built.buckets, policy: self.policy() };
        Shard::thaw(&self.ctx, making, kept, units, sum, table)
    }
}
