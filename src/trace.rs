//! What the engine does beside the operations, for `tracing` subscribers (feature `tracing`; without it all of this is
//! nothing).
//!
//! A subscriber is somebody else's code, and that never runs under a lock. What is done under a shard's lock is noted
//! down, and told when the lock has been given back: [`Notes`] is the last field of a [`Locked`](crate::shard::Locked),
//! after the guard.
//!
//! 1. Nothing on the path of a hit is told, nor plain writes.
//! 2. Notes are taken only while some subscriber wants the level `DEBUG`; those of sweeps only with `TRACE`.

#[cfg(feature = "tracing")]
use smallvec::SmallVec;

#[cfg(feature = "tracing")]
use crate::shard::Context;

/// An event, now: not to be used under a shard's lock.
#[cfg(feature = "tracing")]
macro_rules! event {
    ($level:ident, $ctx:expr, $($rest:tt)+) => {
        ::tracing::event!(target: "larder", ::tracing::Level::$level, cache = &*$ctx.settings.name, $($rest)+)
    };
}
#[cfg(not(feature = "tracing"))]
macro_rules! event {
    ($($rest:tt)+) => {};
}

/// A span that ends with the block it is in.
#[cfg(feature = "tracing")]
macro_rules! span {
    ($name:literal, $ctx:expr $(, $($rest:tt)+)?) => {
        let _span = ::tracing::span!(
            target: "larder", ::tracing::Level::DEBUG, $name, cache = &*$ctx.settings.name $(, $($rest)+)?
        )
        .entered();
    };
}
#[cfg(not(feature = "tracing"))]
macro_rules! span {
    ($($rest:tt)+) => {};
}

/// Takes a note of what is done under a shard's lock.
#[cfg(feature = "tracing")]
macro_rules! note {
    ($locked:expr, $note:ident $fields:tt) => {
        $locked.notes.add($crate::trace::Note::$note $fields)
    };
}
#[cfg(not(feature = "tracing"))]
macro_rules! note {
    ($($rest:tt)+) => {};
}

pub(crate) use {event, note, span};

/// Something that was done under a shard's lock.
#[cfg(feature = "tracing")]
#[derive(Debug, Clone, Copy)]
pub(crate) enum Note {
    /// A page of a class was emptied to go to another, its items copied.
    PageMoved { class: usize },
    /// The sparsest page was emptied because single victims have freed none.
    PageSqueezed {},
    /// The index begins to change its size; home buckets before.
    ResizeBegun { growing: bool, homes: u64 },
    /// It has its new size.
    ResizeEnded { homes: u64 },
    /// Items of a page that had ended, or were cleared, were removed.
    Swept { removed: usize },
    /// The system refused memory.
    MemoryRefused {},
}

/// Notes of one hold of a shard's lock, told when they are dropped.
#[cfg(feature = "tracing")]
pub(crate) struct Notes<'a> {
    ctx: &'a Context,
    shard: usize,
    list: SmallVec<[Note; 2]>,
}

/// Notes of one hold of a shard's lock: none in this build.
#[cfg(not(feature = "tracing"))]
#[derive(Debug)]
pub(crate) struct Notes<'a>(std::marker::PhantomData<&'a ()>);

#[cfg(not(feature = "tracing"))]
impl<'a> Notes<'a> {
    pub(crate) fn new(_ctx: &'a crate::shard::Context, _shard: usize) -> Notes<'a> {
        Notes(std::marker::PhantomData)
    }

    pub(crate) fn take(&mut self) -> Notes<'a> {
        Notes(std::marker::PhantomData)
    }
}

#[cfg(feature = "tracing")]
impl<'a> Notes<'a> {
    pub(crate) fn new(ctx: &'a Context, shard: usize) -> Notes<'a> {
        Notes { ctx, shard, list: SmallVec::new() }
    }

    /// The notes so far, to be told by somebody else.
    pub(crate) fn take(&mut self) -> Notes<'a> {
        Notes { list: std::mem::take(&mut self.list), ..*self }
    }

    pub(crate) fn add(&mut self, note: Note) {
        use tracing::level_filters::LevelFilter;
        let level = if matches!(note, Note::Swept { .. }) { LevelFilter::TRACE } else { LevelFilter::DEBUG };
        // One load; to ask the subscriber itself would be to call it.
        if LevelFilter::current() >= level {
            self.list.push(note);
        }
    }

    #[cold]
    fn tell(&self) {
        let (ctx, shard) = (self.ctx, self.shard);
        for note in &self.list {
            match *note {
                Note::PageMoved { class } => event!(DEBUG, ctx, shard, class, "slab page moved"),
                Note::PageSqueezed {} => event!(DEBUG, ctx, shard, "slab page squeezed out"),
                Note::ResizeBegun { growing, homes } => {
                    event!(DEBUG, ctx, shard, growing, buckets = homes, "index resize begun");
                }
                Note::ResizeEnded { homes } => event!(DEBUG, ctx, shard, buckets = homes, "index resize ended"),
                Note::Swept { removed } => event!(TRACE, ctx, shard, removed, "page swept"),
                Note::MemoryRefused {} => event!(DEBUG, ctx, shard, "memory refused by the system"),
            }
        }
    }
}

#[cfg(feature = "tracing")]
impl Drop for Notes<'_> {
    #[inline]
    fn drop(&mut self) {
        if !self.list.is_empty() {
            self.tell();
        }
    }
}

#[cfg(feature = "tracing")]
impl std::fmt::Debug for Notes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.list).finish()
    }
}
