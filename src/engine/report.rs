//! What memory is used for, and what was counted: gathered from shards, sessions and ledger when asked for.

use std::sync::atomic::Ordering::Relaxed;

use super::Engine;
use crate::index::Counter;
use crate::shard::ShardCounts;
use crate::slab::{Account, ClassId};

/// Where the memory is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct MemoryUse {
    pub(crate) limit: u64,
    pub(crate) reserved: u64,
    pub(crate) outside: u64,
    pub(crate) used: u64,
    pub(crate) slab: u64,
    pub(crate) index: u64,
    pub(crate) side: u64,
    pub(crate) pooled: u64,
    pub(crate) items: u64,
    pub(crate) chunk_bytes: u64,
    pub(crate) payload: u64,
    pub(crate) in_limbo: u64,
}

/// Sums over shards and sessions.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct EngineCounts {
    pub(crate) shards: ShardCounts,
    pub(crate) maintenance_runs: u64,
    pub(crate) maintenance_cpu_ns: u64,
    pub(crate) oldest_due_ms: u64,
    pub(crate) sessions: u64,
    pub(crate) commit_failures: u64,
}

/// One slab class, over all shards.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ClassReport {
    pub(crate) chunk_size: u64,
    pub(crate) chunks_per_page: u64,
    pub(crate) pages: u64,
    pub(crate) used: u64,
    pub(crate) free: u64,
    pub(crate) evicted: u64,
    pub(crate) evicted_unfetched: u64,
    pub(crate) expired: u64,
    pub(crate) expired_unfetched: u64,
}

/// One shard.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ShardReport {
    pub(crate) items: u64,
    pub(crate) chunk_bytes: u64,
    pub(crate) owned_bytes: u64,
    pub(crate) buckets: u64,
    pub(crate) spans: u64,
    pub(crate) counts: ShardCounts,
}

impl Engine {
    pub(crate) fn memory(&self) -> MemoryUse {
        self.settle_sessions();
        let (ledger, arena) = (&self.ctx.arena.ledger, &self.ctx.arena);
        let mut sum = MemoryUse {
            limit: ledger.limit(),
            reserved: ledger.reserved(),
            outside: ledger.outside(),
            pooled: arena.pooled_bytes(),
            ..MemoryUse::default()
        };
        for shard in self.shards() {
            let mut locked = shard.lock(&self.ctx);
            locked.settle_ledger();
            for namespace in 0..locked.core.tallies.len() {
                let tally = *locked.tally(namespace as u8);
                sum.items += tally.items;
                sum.payload += tally.payload;
            }
            sum.chunk_bytes += locked.core.chunk_bytes;
            sum.in_limbo += locked.core.limbo.len() as u64;
        }
        sum.slab = ledger.of(Account::Slab);
        sum.index = ledger.of(Account::Index);
        sum.side = ledger.of(Account::Side);
        sum.used = sum.slab + sum.index + sum.side;
        sum
    }

    pub(crate) fn counts(&self) -> EngineCounts {
        let mut sum = EngineCounts {
            maintenance_runs: self.upkeep.runs.load(Relaxed),
            maintenance_cpu_ns: self.upkeep.cpu_ns.load(Relaxed),
            sessions: self.ctx.sessions.count() as u64,
            commit_failures: self.ctx.arena.commit_failures(),
            ..EngineCounts::default()
        };
        for shard in self.shards() {
            let locked = shard.lock(&self.ctx);
            sum.shards.add(&locked.core.counts);
            if let Some((_, bound)) = locked.core.deadlines.first() {
                sum.oldest_due_ms = sum.oldest_due_ms.max(locked.now.saturating_sub(bound));
            }
        }
        sum
    }

    pub(crate) fn sum(&self, counter: Counter) -> u64 {
        self.ctx.sessions.sum(counter)
    }

    pub(crate) fn classes(&self) -> Vec<ClassReport> {
        let classes = &self.ctx.classes;
        let ids = (0..classes.len()).map(|c| ClassId(c as u8));
        let mut all: Vec<ClassReport> = ids
            .map(|id| ClassReport {
                chunk_size: u64::from(classes.chunk_size(id)),
                chunks_per_page: u64::from(classes.chunks_per_page(id)),
                ..ClassReport::default()
            })
            .collect();
        for shard in self.shards() {
            let locked = shard.lock(&self.ctx);
            for (class, state) in all.iter_mut().zip(&locked.core.slab.classes) {
                class.pages += u64::from(state.pages);
                class.used += u64::from(state.used);
                class.free += u64::from(state.free);
                class.evicted += state.evicted;
                class.evicted_unfetched += state.evicted_unfetched;
                class.expired += state.expired;
                class.expired_unfetched += state.expired_unfetched;
            }
        }
        all
    }

    pub(crate) fn shard_reports(&self) -> Vec<ShardReport> {
        let report = |shard: &crate::shard::Shard| {
            let locked = shard.lock(&self.ctx);
            ShardReport {
                items: locked.core.items,
                chunk_bytes: locked.core.chunk_bytes,
                owned_bytes: locked.core.slab.owned_bytes,
                buckets: shard.table.homes(),
                spans: u64::from(locked.core.slab.spans),
                counts: locked.core.counts,
            }
        };
        self.shards().iter().map(report).collect()
    }
}
