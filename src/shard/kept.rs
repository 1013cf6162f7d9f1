//! A shard as a warm restart keeps it, and the way back.
//!
//! Kept are the units of its pages and the table. Everything else is counted anew from the items themselves: each chunk
//! of each page is looked at, and is an item's only if its header makes sense and the table leads from its key to it.
//! As many must be found so as the table has slots filled; so every slot is accounted for, and each once.

use super::{Context, Shard, sweep};
use crate::index::{BUCKET_BYTES, Sizes, Table, kept_rank};
use crate::policy::{Arrival, EvictionPolicy, Objective};
use crate::slab::{Account, ItemRef, KeptUnit, Slot};

/// What is kept of a shard beside its units and buckets.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct KeptShard {
    pub(crate) sizes: Sizes,
    pub(crate) units: u64,
    pub(crate) items: u64,
    pub(crate) next_token: u64,
    /// The share that the default policy has learnt for newcomers; none of another policy.
    pub(crate) share: Option<f64>,
}

/// What a shard is made with that it does not find in the context.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Making {
    pub(crate) id: usize,
    /// The size that the table begins with, and the largest.
    pub(crate) buckets: (u64, u64),
    pub(crate) policy: (EvictionPolicy, Objective),
}

/// A shard has given fewer tokens than this.
const MOST_TOKENS: u64 = 1 << 52;

/// A step of the way back: what is wrong, if anything is.
pub(crate) type Checked<T> = std::result::Result<T, String>;

impl Shard {
    /// What is to be kept of it, and its units. Nobody may be at work on the cache.
    pub(crate) fn keep(&self, ctx: &Context) -> (KeptShard, Vec<KeptUnit>) {
        let mut locked = self.lock(ctx);
        locked.settle_limbo();
        let core = &*locked.core;
        let units: Vec<KeptUnit> = core.slab.kept_units().collect();
        let kept = KeptShard {
            sizes: self.table.kept_sizes(),
            units: units.len() as u64,
            items: core.items,
            next_token: core.next_token,
            share: core.policy.share(),
        };
        (kept, units)
    }

    /// The bytes of a unit.
    pub(crate) fn with_unit<R>(&self, ctx: &Context, unit: &KeptUnit, read: impl FnOnce(&[u8]) -> R) -> R {
        let locked = self.lock(ctx);
        read(locked.core.slab.unit_bytes(&ctx.arena, &ctx.classes, unit))
    }

    /// Appends the bytes of some buckets, from `first` on, as far as there are so many.
    pub(crate) fn keep_buckets(&self, ctx: &Context, first: u64, count: u64, to: &mut Vec<u8>) {
        let locked = self.lock(ctx);
        for at in first..(first + count).min(self.table.buckets()) {
            let words = self.table.kept_bucket(at, |slot| locked.core.policy.rank(slot.bits()));
            words.iter().for_each(|word| to.extend_from_slice(&word.to_le_bytes()));
        }
    }

    /// A shard that holds what another one did. `table` brings the next bytes of its buckets, `units` are its units,
    /// whose pages are nobody else's and committed, with what their bytes must add up to where that is known. Nothing
    /// is charged until the shard is [taken into use](Shard::charge).
    pub(crate) fn thaw(
        ctx: &Context,
        making: Making,
        kept: &KeptShard,
        units: &[(KeptUnit, Option<u64>)],
        sum: fn(&[u8]) -> u64,
        mut table: impl FnMut(&mut [u8]) -> Checked<()>,
    ) -> Checked<Shard> {
        let (least, most) = making.buckets;
        let made = Table::kept(least, most, ctx.shard_bits(), kept.sizes).map_err(|e| e.to_string())?;
        let made = made.ok_or_else(|| format!("the index of shard {} has impossible sizes", making.id))?;
        let filled =
            read_table(&made, &mut table).map_err(|what| format!("the index of shard {}: {what}", making.id))?;
        if filled != kept.items {
            return Err(format!("the index of shard {} has {filled} items, not {}", making.id, kept.items));
        }
        let shard = Shard::bare(ctx, making.id, made, making.policy);
        shard.take_units(ctx, kept, units, sum)?;
        Ok(shard)
    }

    fn take_units(
        &self,
        ctx: &Context,
        kept: &KeptShard,
        units: &[(KeptUnit, Option<u64>)],
        sum: fn(&[u8]) -> u64,
    ) -> Checked<()> {
        let mut locked = self.lock(ctx);
        let highest = kept.next_token;
        if highest == 0 || highest >= MOST_TOKENS || kept.share.is_some_and(|share| !share.is_finite()) {
            return Err(format!("shard {} has an impossible token or share", locked.core.id));
        }
        locked.core.next_token = highest;
        locked.core.flush = sweep::FlushPass::after_tags(ctx.tags.sequence());
        if let Some(share) = kept.share {
            locked.core.policy.set_share(share);
        }
        for (unit, expected) in units {
            let bytes = locked.core.slab.unit_bytes(&ctx.arena, &ctx.classes, unit);
            if expected.is_some_and(|expected| sum(bytes) != expected) {
                return Err(format!("the items in page {} are not as they were written", unit.page.0));
            }
            locked.take_unit(unit)?;
        }
        if locked.core.items != kept.items {
            let (found, items) = (locked.core.items, kept.items);
            return Err(format!("the index of shard {} has {items} items; {found} are there", locked.core.id));
        }
        Ok(())
    }

    /// On the ledger from now on, as `old` was until now.
    pub(crate) fn charge(&self, ctx: &Context, old: &Shard) {
        let ledger = &ctx.arena.ledger;
        {
            let old = old.lock(ctx);
            ledger.release(Account::Index, old.core.table_charged);
            ledger.release(Account::Side, old.core.side_charged);
        }
        let mut locked = self.lock(ctx);
        let pages: u64 = locked.core.slab.classes.iter().map(|class| u64::from(class.pages)).sum();
        ledger.force(Account::Slab, pages * ctx.arena.page_charge() + locked.core.slab.span_bytes);
        locked.charge_start();
    }

    /// Items in the table.
    pub(crate) fn items(&self) -> u64 {
        self.core.lock().items
    }
}

impl super::Locked<'_> {
    /// Takes over a page or span with the items that the table knows in it.
    fn take_unit(&mut self, unit: &KeptUnit) -> Checked<()> {
        let (ctx, shard) = (self.ctx, self.shard);
        let core = &mut *self.core;
        let (policy, tallies, deadlines) = (&mut core.policy, &mut core.tallies, &mut core.deadlines);
        let (mut items, mut bytes, mut with_end, mut owner) = (0, 0, 0, None);
        let chunk = match ctx.classes.len() {
            classes if unit.class.index() < classes => ctx.classes.chunk_size(unit.class),
            _ => unit.size,
        };
        let (shard_id, next_token) = (core.id, &mut core.next_token);
        let soon = |item: ItemRef<'_>| shard.prefetch(ctx.hasher.hash(item.namespace(), item.key()));
        core.slab.adopt(&ctx.arena, &ctx.classes, unit, soon, |id, locator, item| {
            owner = Some(id);
            let namespace = item.namespace();
            let hash = ctx.hasher.hash(namespace, item.key());
            if ctx.hasher.shard(hash) != shard_id {
                return Ok(false);
            }
            let Some((place, slot)) = shard.table.find_exactly(hash, locator) else { return Ok(false) };
            let generation = ctx.namespaces.generation(namespace);
            let token = item.token().map_or(0, |token| token >> ctx.shard_bits());
            if item.generation() != generation || item.sequence() > ctx.tags.sequence() || token >= MOST_TOKENS {
                return Err(format!("an item in page {} is of another time", unit.page.0));
            }
            *next_token = (*next_token).max(token + 1);
            let bits = policy.insert(&shard.shared, Arrival::again(hash, chunk, kept_rank(slot)));
            shard.table.put_slot(place, Slot::new(locator, bits, item.has_end(), slot.is_fetched()));
            if tallies.len() <= usize::from(namespace) {
                tallies.resize(usize::from(namespace) + 1, super::Tally::default());
            }
            let tally = &mut tallies[usize::from(namespace)];
            tally.generation = generation;
            tally.items += 1;
            tally.payload += item.payload_len() as u64;
            items += 1;
            bytes += u64::from(chunk);
            if item.has_end() {
                with_end += 1;
                deadlines.lower(id, item.ends());
            }
            Ok(true)
        })?;
        core.items += items;
        core.chunk_bytes += bytes;
        core.volatile_items += u64::from(with_end);
        if let Some(id) = owner {
            core.slab.unit_mut(id).with_end = with_end;
        }
        Ok(())
    }
}

/// Fills a table from its kept bytes. How many slots are filled.
fn read_table(table: &Table, next: &mut impl FnMut(&mut [u8]) -> Checked<()>) -> Checked<u64> {
    const AT_ONCE: u64 = 1024;
    let mut buffer = vec![0; AT_ONCE as usize * BUCKET_BYTES];
    let (mut filled, mut at) = (0, 0);
    while at < table.buckets() {
        let count = AT_ONCE.min(table.buckets() - at);
        let bytes = &mut buffer[..count as usize * BUCKET_BYTES];
        next(bytes)?;
        for (i, bucket) in bytes.chunks_exact(BUCKET_BYTES).enumerate() {
            let mut words = [0; 8];
            for (word, eight) in words.iter_mut().zip(bucket.chunks_exact(8)) {
                *word = u64::from_le_bytes(eight.try_into().unwrap_or_default());
            }
            let at = at + i as u64;
            filled += table.put_bucket(at, &words).ok_or_else(|| format!("bucket {at} is damaged"))?;
        }
        at += count;
    }
    Ok(filled)
}
