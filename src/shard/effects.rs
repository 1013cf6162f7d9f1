//! What a shard tells the effect log: each item that becomes visible, each that leaves, each deadline that changes.
//!
//! These are called where the table has just been changed, under the shard's lock, so an effect's number fits the order
//! of what happened to its key. What was cleared, or whose tag was invalidated, is not told item by item: that was an
//! effect of its own.

use super::{Cause, Context, Locked};
use crate::oplog::{Effect, Item, Tags};
use crate::slab::{ItemRef, Locator, MAX_TAGS};

/// Room for the tags of an item, as the log has them.
pub(crate) type TagBytes = [u8; MAX_TAGS * 8];

/// An item as the log has it.
pub(crate) fn item_of<'a>(ctx: &Context, item: ItemRef<'a>, room: &'a mut TagBytes) -> Item<'a> {
    let attributes = item.attributes();
    let mut tags = Tags::default();
    if item.is_tagged() {
        let set = item.tags();
        for (place, tag) in room.chunks_exact_mut(8).zip(set.as_slice()) {
            place.copy_from_slice(&tag.to_le_bytes());
        }
        tags = Tags::new(&room[..set.as_slice().len() * 8]).unwrap_or_default();
    }
    let mut shown = Item::new(attributes.namespace, item.key(), item.value());
    shown.kind = attributes.kind;
    shown.flags = attributes.client_flags;
    shown.deadline_ms = Some(attributes.deadline).filter(|&at| at != 0).map(|at| ctx.to_unix(at));
    shown.idle_ms = Some(attributes.idle_ms).filter(|&ms| ms != 0);
    shown.token = attributes.token;
    shown.tags = tags;
    shown.marks = attributes.marks;
    shown
}

impl Locked<'_> {
    /// An item has come into the table.
    #[inline]
    pub(super) fn record_stored(&mut self, locator: Locator) {
        if self.ctx.effects.is_on() {
            self.record(|locked, effects, grouped| {
                let mut room = [0; MAX_TAGS * 8];
                effects.record(&Effect::Set(item_of(locked.ctx, locked.item(locator), &mut room)), grouped);
            });
        }
    }

    /// An item has left it, and its chunk is not retired yet.
    #[inline]
    pub(super) fn record_removed(&mut self, locator: Locator, cause: Cause) {
        if self.ctx.effects.is_on() && cause != Cause::Flushed {
            self.record(|locked, effects, grouped| {
                let item = locked.item(locator);
                effects.record(&Effect::Delete { namespace: item.namespace(), key: item.key(), cause }, grouped);
            });
        }
    }

    /// An item has another deadline; 0 for none.
    #[inline]
    pub(super) fn record_deadline(&mut self, locator: Locator, deadline: u64) {
        if self.ctx.effects.is_on() {
            self.record(|locked, effects, grouped| {
                let item = locked.item(locator);
                let deadline_ms = Some(deadline).filter(|&at| at != 0).map(|at| locked.ctx.to_unix(at));
                effects
                    .record(&Effect::Deadline { namespace: item.namespace(), key: item.key(), deadline_ms }, grouped);
            });
        }
    }

    #[cold]
    fn record(&mut self, f: impl FnOnce(&Self, &crate::oplog::Recorder, &mut crate::oplog::Grouped)) {
        let mut grouped = self.grouped.take();
        f(self, &self.ctx.effects, &mut grouped);
        self.grouped = grouped;
    }
}
