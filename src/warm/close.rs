//! A cache into `state`: sections first, the header last, then the name.

use std::os::unix::fs::FileExt;

use super::home::{Home, storage};
use super::state::{Header, Layout, ShardEntry, Sum, encode_unit, sum};
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};

/// Buckets that are brought at once: a block of a section's sum.
pub(super) const BUCKETS_AT_ONCE: u64 = 1024;
/// Units that are.
pub(super) const UNITS_AT_ONCE: usize = 1024;

impl Engine {
    pub(super) fn layout(&self) -> Layout {
        let arena = &self.ctx.arena;
        Layout::of(arena.page_size(), arena.page_count(), self.shards().len(), &self.ctx.classes)
    }
}

impl Home {
    /// Keeps what the engine holds for the next one. `&mut`: nobody else is at work on it, and nobody will be. The
    /// folder is free for the next one afterwards, whatever comes of it.
    pub(crate) fn close(self, engine: &mut Engine) -> Result<()> {
        let done = self.write_state(engine);
        if done.is_err() {
            // It may be the room that is lacking.
            let _ = std::fs::remove_file(self.state_path());
        }
        self.unlock();
        done
    }

    fn write_state(&self, engine: &mut Engine) -> Result<()> {
        if engine.ctx.effects.is_follower() {
            let text = "a follower keeps nothing: what it holds is its primary's, from which it takes it anew";
            return Err(Error::new(ErrorKind::NotAllowed, text));
        }
        let kept = engine.keep();
        self.check_items(engine.ctx.arena.address_space() as u64)?;
        let mut header = Header {
            run: self.run,
            layout: engine.layout(),
            checksums: self.checksums,
            kept,
            shards: vec![ShardEntry::default(); engine.shards().len()],
        };
        let state = self.begin_state()?;
        let path = self.state_path();
        let mut at = header.encode().len() as u64;
        let mut write = |bytes: &[u8]| {
            state.write_all_at(bytes, at).map_err(|e| storage("write", &path, e))?;
            at += bytes.len() as u64;
            Ok::<(), Error>(())
        };
        let mut buffer = Vec::new();
        for (shard, entry) in engine.shards().iter().zip(&mut header.shards) {
            let ctx = &engine.ctx;
            let (kept, units) = shard.keep(ctx);
            let (mut units_sum, mut table_sum) = (Sum::default(), Sum::default());
            for some in units.chunks(UNITS_AT_ONCE) {
                buffer.clear();
                for unit in some {
                    let bytes_sum = if self.checksums { shard.with_unit(ctx, unit, sum) } else { 0 };
                    encode_unit(unit, bytes_sum, &mut buffer);
                }
                units_sum.add(&buffer);
                write(&buffer)?;
            }
            for first in (0..kept.sizes.buckets()).step_by(BUCKETS_AT_ONCE as usize) {
                buffer.clear();
                shard.keep_buckets(ctx, first, BUCKETS_AT_ONCE, &mut buffer);
                table_sum.add(&buffer);
                write(&buffer)?;
            }
            *entry = ShardEntry { kept, units_sum: units_sum.0, table_sum: table_sum.0 };
        }
        state.write_all_at(&header.encode(), 0).map_err(|e| storage("write", &path, e))?;
        self.sync_items()?;
        self.end_state(&state)
    }
}
