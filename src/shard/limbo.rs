//! Chunks that are out of the index but may still be read: they wait here until no reader announces them.
//!
//! Invariants:
//! 1. What is here is in no index slot, and was in none when it came.
//! 2. It holds at most a batch of chunks that nobody reads, and one chunk for each hazard slot in use: bounded in
//!    bytes by
//!    `BATCH_BYTES` and what readers hold.

use crate::slab::Locator;

/// Chunks that may wait before announcements are read.
const BATCH: usize = 32;
/// Bytes that may.
const BATCH_BYTES: u64 = 16 << 10;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Limbo {
    waiting: Vec<Locator>,
    bytes: u64,
    /// Chunks that were still being read when last looked at.
    held: usize,
    /// Ledger bytes of the spans among them.
    held_spans: u64,
}

impl Limbo {
    /// Adds a chunk; true if it is time to see what can be freed.
    pub(crate) fn push(&mut self, locator: Locator, bytes: u32) -> bool {
        self.waiting.push(locator);
        self.bytes += u64::from(bytes);
        self.waiting.len() - self.held >= BATCH || self.bytes >= BATCH_BYTES
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// What waits.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Locator> + '_ {
        self.waiting.iter().copied()
    }

    /// Notes the bytes of spans that are held; returns what they were.
    pub(crate) fn set_held_spans(&mut self, bytes: u64) -> u64 {
        std::mem::replace(&mut self.held_spans, bytes)
    }

    /// Takes out what nobody announces. `announced` is sorted, and was read after everything here left the index.
    pub(crate) fn take_free(&mut self, announced: &[u64], mut free: impl FnMut(Locator)) {
        self.waiting.retain(|&locator| {
            let held = announced.binary_search(&locator.raw()).is_ok();
            if !held {
                free(locator);
            }
            held
        });
        self.held = self.waiting.len();
        self.bytes = 0;
    }

    pub(crate) fn memory(&self) -> u64 {
        (self.waiting.capacity() * size_of::<Locator>()) as u64
    }
}
