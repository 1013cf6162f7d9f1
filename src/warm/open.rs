//! From `state` and `items` back to a cache. Everything is verified before anything of it is used: the header and its
//! sum, the layout, every unit (inside the memory, of a class that there is, overlapping no other), the sums of the
//! sections, every bucket, and every chunk against the index (`shard::kept`).
//!
//! Shards are verified side by side, by as many threads as the machine has cores. Pages of `items` are mapped as they
//! are met: to have the system map all of them first made it a third slower (`docs/warm-restart.md`).

use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use parking_lot::Mutex;

use super::close::{BUCKETS_AT_ONCE, UNITS_AT_ONCE};
use super::home::{Found, Home};
use super::state::{Header, ShardEntry, Sum, UNIT_BYTES, decode_unit, sum};
use super::{ColdReason, ColdStart, Start, WarmStart};
use crate::engine::Engine;
use crate::error::Result;
use crate::index::BUCKET_BYTES;
use crate::shard::{Checked, Shard};
use crate::slab::{Account, KeptUnit, Stretch, os_pages};

/// The units of a shard, with the sums of their bytes where these are known.
type Units = Vec<(KeptUnit, Option<u64>)>;

/// Where a shard's sections are in `state`.
#[derive(Debug, Clone, Copy)]
struct Sections {
    units: u64,
    table: u64,
}

impl Home {
    /// Fills a new engine with what the last close left, or leaves it empty. `run` names the new run.
    pub(crate) fn fill(&mut self, engine: &mut Engine, run: u64) -> Result<Start> {
        let begun = Instant::now();
        self.forget_state()?;
        // The beginning of `items`. Before the limit is looked at.
        engine.ctx.arena.ledger.force(Account::Side, os_pages(1) as u64);
        let found = self.found.take();
        let outcome = match found {
            Some(Ok(found)) => self.thaw(engine, &found),
            Some(Err(cold)) => Err(cold),
            None => Err(ColdStart::new(ColdReason::New, "nothing was kept here before")),
        };
        if outcome.is_err() {
            engine.ctx.arena.forget();
        }
        self.begin_run(run)?;
        Ok(match outcome {
            Ok(()) => {
                let items = engine.shards().iter().map(Shard::items).sum();
                let bytes = engine.ctx.arena.ledger.of(Account::Slab);
                Start::Warm(WarmStart { items, bytes, took: begun.elapsed() })
            }
            Err(cold) => Start::Cold(cold),
        })
    }

    fn thaw(&self, engine: &mut Engine, found: &Found) -> std::result::Result<(), ColdStart> {
        let damaged = |what: String| ColdStart::new(ColdReason::Damaged, what);
        let header = &found.header;
        if let Some(what) = header.layout.differs(&engine.layout()) {
            return Err(ColdStart::new(ColdReason::Layout, what));
        }
        let len = engine.ctx.arena.address_space() as u64;
        if self.items_len != len {
            return Err(damaged(format!("items has {} bytes; it had {len}", self.items_len)));
        }
        let sections = sections(found).map_err(damaged)?;
        let (units, held) = read_units(engine, found, &sections).map_err(damaged)?;
        let thaw = |engine: &Engine| thaw_shards(engine, found, &sections, &units);
        engine.become_kept(&header.kept, &held, thaw).map_err(damaged)
    }
}

/// Where all sections are, in a file that has exactly their length.
fn sections(found: &Found) -> Checked<Vec<Sections>> {
    let Header { shards, .. } = &found.header;
    let len = found.state.metadata().map_err(|e| format!("state cannot be read: {e}"))?.len();
    let mut at = found.header_len;
    let mut sections = Vec::with_capacity(shards.len());
    for shard in shards {
        let table = at.saturating_add(shard.units_len());
        sections.push(Sections { units: at, table });
        at = table.saturating_add(shard.table_len());
    }
    if at == len { Ok(sections) } else { Err(format!("state has {len} bytes; it had {at}")) }
}

/// The units of all shards, and the stretches of memory that they have, in order.
fn read_units(engine: &Engine, found: &Found, sections: &[Sections]) -> Checked<(Vec<Units>, Vec<Stretch>)> {
    let (arena, classes) = (&engine.ctx.arena, &engine.ctx.classes);
    let (mut all, mut held) = (Vec::new(), Vec::new());
    for (id, (entry, at)) in found.header.shards.iter().zip(sections).enumerate() {
        let mut units = Units::new();
        let (mut seen, mut at, mut left) = (Sum::default(), at.units, entry.kept.units);
        let mut buffer = vec![0; UNITS_AT_ONCE * UNIT_BYTES];
        while left > 0 {
            let count = left.min(UNITS_AT_ONCE as u64);
            let bytes = &mut buffer[..count as usize * UNIT_BYTES];
            found.state.read_exact_at(bytes, at).map_err(|e| format!("state cannot be read: {e}"))?;
            seen.add(bytes);
            for unit in bytes.chunks_exact(UNIT_BYTES) {
                let (unit, sum) = decode_unit(unit).ok_or_else(|| format!("a unit of shard {id} is none"))?;
                let stretch = unit.stretch(arena, classes);
                held.push(stretch.ok_or_else(|| format!("page {} is of no class that there is", unit.page.0))?);
                units.push((unit, found.header.checksums.then_some(sum)));
            }
            at += bytes.len() as u64;
            left -= count;
        }
        if seen.0 != entry.units_sum {
            return Err(format!("the units of shard {id} are damaged: their sum is another"));
        }
        all.push(units);
    }
    held.sort_unstable_by_key(|stretch| stretch.page);
    Ok((all, held))
}

/// Verifies and makes all shards, side by side.
fn thaw_shards(engine: &Engine, found: &Found, sections: &[Sections], units: &[Units]) -> Checked<Vec<Shard>> {
    let shards = &found.header.shards;
    let made: Vec<Mutex<Option<Checked<Shard>>>> = shards.iter().map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let id = next.fetch_add(1, Relaxed);
            let Some(place) = made.get(id) else { return };
            let shard = thaw_shard(engine, found, id, &shards[id], sections[id], &units[id]);
            if shard.is_err() {
                // Nobody need begin another one.
                next.store(shards.len(), Relaxed);
            }
            *place.lock() = Some(shard);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get()).min(shards.len());
    std::thread::scope(|scope| {
        for _ in 1..threads {
            // Where no thread is to be had, this one does it all.
            let _ = std::thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
    let mut whole = Vec::with_capacity(shards.len());
    let mut missing = false;
    for shard in made.into_iter().map(Mutex::into_inner) {
        match shard {
            Some(shard) => whole.push(shard?),
            None => missing = true,
        }
    }
    if missing { Err("not all shards were verified".to_owned()) } else { Ok(whole) }
}

fn thaw_shard(
    engine: &Engine,
    found: &Found,
    id: usize,
    entry: &ShardEntry,
    sections: Sections,
    units: &Units,
) -> Checked<Shard> {
    let (mut at, mut seen, mut left) = (sections.table, Sum::default(), entry.table_len());
    let shard = engine.thaw_shard(id, &entry.kept, units, sum, |bytes| {
        debug_assert!(bytes.len() <= BUCKETS_AT_ONCE as usize * BUCKET_BYTES);
        found.state.read_exact_at(bytes, at).map_err(|e| format!("state cannot be read: {e}"))?;
        seen.add(bytes);
        at += bytes.len() as u64;
        left = left.saturating_sub(bytes.len() as u64);
        // Before any of the last bytes is looked at, so that a damaged index is called that.
        if left == 0 && seen.0 != entry.table_sum { Err("its sum is another".to_owned()) } else { Ok(()) }
    })?;
    Ok(shard)
}
