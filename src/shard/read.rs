//! The read path: hash, bucket, item. No lock, no allocation, no shared counter.
//!
//! A hit writes to the index slot only if the policy wants other bits than the slot has; the policies see to it that
//! items used often have the bits they should have already.

use super::{Context, Shard};
use crate::index::{Counter, Held, Key, Pinned, Search, Session};
use crate::slab::{ClassId, ItemRef, Locator};

/// What a read is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    /// A use: tells the policy, keeps an item with an idle time from ending.
    Use,
    /// A look: changes nothing.
    Look,
}

impl Shard {
    /// The live item of a key, pinned in place. The session must have a hazard slot free; with none, nothing is found
    /// here and the caller reads under the lock.
    #[inline(always)]
    pub(crate) fn read<'a>(
        &'a self,
        ctx: &'a Context,
        session: &'a Session,
        hazard: usize,
        key: Key<'_>,
        read: Read,
    ) -> Option<Pinned<'a>> {
        match Pinned::find(&self.table, &ctx.arena, session, hazard, key) {
            Search::Found(pinned) => {
                let item = pinned.item();
                if item.generation() != ctx.namespaces.generation(key.namespace) {
                    session.count(Counter::FlushedOnRead);
                    return None;
                }
                let end = item.ended();
                if end != 0 && !self.is_there(ctx, session, &pinned, end, read) {
                    if pinned.is_current() {
                        return None;
                    }
                    // It was replaced since it was pinned, perhaps by one that lives on.
                    drop(pinned);
                    return self.again(ctx, session, key, read);
                }
                if read == Read::Use {
                    self.tell_policy(ctx, &pinned);
                    if item.idle().is_some() && !pinned.is_current() {
                        // The item moved while its last use was noted, perhaps in the old copy only. Its hazard slot
                        // goes first: there may be no other.
                        drop(pinned);
                        return self.again(ctx, session, key, read);
                    }
                }
                Some(pinned)
            }
            Search::Missing => None,
            Search::Unsure => self.again(ctx, session, key, read),
        }
    }

    /// Whether an item with an end or with tags has not come to it; notes the use if it has an idle time.
    #[inline]
    fn is_there(&self, ctx: &Context, session: &Session, pinned: &Pinned<'_>, end: u64, read: Read) -> bool {
        let now = ctx.now();
        if end <= now {
            session.count(Counter::ExpiredOnRead);
            return false;
        }
        let item = pinned.item();
        if item.is_tagged() && untagged(ctx, item).is_some_and(|gone| gone || !pinned.is_current()) {
            return false;
        }
        if read == Read::Use {
            pinned.item().used_at(now);
        }
        true
    }

    #[inline(always)]
    fn tell_policy(&self, ctx: &Context, pinned: &Pinned<'_>) {
        let slot = pinned.slot();
        match self.shared.hit(slot.bits()) {
            Some(bits) => {
                if pinned.update(slot.with_bits(bits).with_fetched())
                    && let Some(locator) = slot.locator()
                {
                    self.shared.applied(slot.bits(), bits, size_of(ctx, locator, pinned.item()));
                }
            }
            None if !slot.is_fetched() => {
                pinned.update(slot.with_fetched());
            }
            None => {}
        }
    }

    /// The same under the lock: for when items kept moving under a search without it.
    #[inline(always)]
    fn again<'a>(&'a self, ctx: &'a Context, session: &'a Session, key: Key<'_>, read: Read) -> Option<Pinned<'a>> {
        let held = self.read_locked(ctx, session, key.again(), read)?;
        Some(Pinned::of_held(held, &ctx.arena))
    }

    #[cold]
    #[inline(never)]
    fn read_locked<'a>(&'a self, ctx: &'a Context, session: &'a Session, key: Key<'_>, read: Read) -> Option<Held<'a>> {
        let hazard = session.take_hazard()?;
        let mut locked = self.lock(ctx);
        let Some(found) = locked.find_to_read(key.hash, key.namespace, key.bytes) else {
            session.drop_hazard(hazard);
            drop(locked);
            ctx.relieve_log();
            return None;
        };
        let pinned = Pinned::hold(&ctx.arena, &self.table, found.place, found.slot, session, hazard)?;
        if read == Read::Use {
            pinned.item().used_at(locked.now);
            self.tell_policy(ctx, &pinned);
        }
        pinned.into_held()
    }
}

/// Whether a tag of an item was invalidated since it was stored; None if nothing at all was. Where none of its own was,
/// that only counts if the index still leads to the item (`events::tags`, invariant 3). Given no pin: one whose address
/// is taken would be in memory for every hit.
#[cold]
#[inline(never)]
fn untagged(ctx: &Context, item: ItemRef<'_>) -> Option<bool> {
    ctx.tags.is_newer_than(item).then(|| ctx.tags.has_invalidated(item))
}

/// Whether an item's time is over.
#[inline(always)]
pub(super) fn is_over(item: ItemRef<'_>, now: u64) -> bool {
    let end = item.ends();
    end != 0 && end <= now
}

/// What an item costs its policy: the bytes of its chunk.
fn size_of(ctx: &Context, locator: Locator, item: ItemRef<'_>) -> u32 {
    match ctx.arena.class_of(locator) {
        ClassId::SPAN | ClassId::NONE => item.item_len() as u32,
        class => ctx.classes.chunk_size(class),
    }
}
