//! Between those who save items, under shards' locks, and the one who writes them out: a bounded buffer.
//!
//! ```text
//!  writers, walk ──► block of their shard ──► queue ──► whoever writes the snapshot
//!     (lock)              (lock)              (mutex)        (no lock)
//! ```
//! Nobody waits for room under a lock. A writer is held up before it takes one, while half of the buffer waits to be
//! written ([`Buffer::wait`]): what those who are under way may still add has the other half.
//!
//! Invariants:
//! 1. `waiting_bytes` is the sum of the entries' weights: the bytes of blocks, and those of large values kept in place.
//! 2. The capacity is on the ledger while a snapshot is under way; what exceeds it for a moment is added to it, and
//!    taken back as it is written.
//! 3. After `fail` nothing is queued any more: what comes is let go at once.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::index::{Kept, Sessions};
use crate::slab::{Account, Ledger};

/// Items, as they go into a file.
#[derive(Debug, Default)]
pub(crate) struct Block {
    pub(crate) bytes: Vec<u8>,
    pub(crate) items: u32,
    /// Bytes of keys and values, and of the items as they are in memory.
    pub(crate) payload: u64,
    pub(crate) memory: u64,
}

impl Block {
    fn clear(&mut self) {
        self.bytes.clear();
        (self.items, self.payload, self.memory) = (0, 0, 0);
    }
}

/// A large item: what comes before its value, and the value where it is.
#[derive(Debug)]
pub(crate) struct Large {
    pub(crate) head: Block,
    pub(crate) value: Kept,
    pub(crate) value_len: usize,
}

/// What waits to be written.
#[derive(Debug)]
pub(crate) enum Ready {
    Block(Block),
    Large(Large),
}

impl Ready {
    fn weight(&self) -> u64 {
        match self {
            Ready::Block(block) => block.bytes.capacity() as u64,
            Ready::Large(large) => (large.head.bytes.capacity() + large.value_len) as u64,
        }
    }
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Ready>,
    waiting_bytes: u64,
    spare: Vec<Vec<u8>>,
    /// What the buffer may hold, and what of it is on the ledger.
    capacity: u64,
    charged: u64,
    block_size: usize,
    is_on: bool,
    all_saved: bool,
    failed: Option<&'static str>,
    /// Who wait for room.
    held_up: usize,
    most: u64,
}

/// Figures of a buffer.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Filled {
    pub(crate) capacity: u64,
    /// What waits.
    pub(crate) waiting: u64,
    /// The most that ever waited.
    pub(crate) most: u64,
}

/// See the module. One for each cache, used by one snapshot at a time.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    /// Half of it waits to be written.
    is_crowded: AtomicBool,
    state: Mutex<State>,
    room: Condvar,
}

impl Buffer {
    /// Begins: `capacity` bytes were charged for it. False if a snapshot is under way already.
    pub(crate) fn open(&self, capacity: u64, block_size: usize) -> bool {
        let mut state = self.state.lock();
        let is_free = !state.is_on;
        if is_free {
            *state = State { capacity, charged: capacity, block_size, is_on: true, ..State::default() };
        }
        is_free
    }

    pub(crate) fn is_on(&self) -> bool {
        self.state.lock().is_on
    }

    /// Ends: nobody saves into it any more. What is left is let go, and the memory given back.
    pub(crate) fn close(&self, sessions: &Sessions, ledger: &Ledger) {
        let state = std::mem::take(&mut *self.state.lock());
        self.is_crowded.store(false, Release);
        self.room.notify_all();
        ledger.release(Account::Side, state.charged);
        state.waiting.into_iter().for_each(|ready| Self::let_go(ready, sessions));
    }

    fn let_go(ready: Ready, sessions: &Sessions) {
        if let Ready::Large(large) = ready {
            large.value.release(sessions);
        }
    }

    /// Gives up: the reason is told to whoever writes the snapshot.
    pub(crate) fn fail(&self, why: &'static str, sessions: &Sessions) {
        let mut state = self.state.lock();
        if state.is_on && state.failed.is_none() {
            state.failed = Some(why);
            state.waiting_bytes = 0;
            let waiting = std::mem::take(&mut state.waiting);
            self.is_crowded.store(false, Release);
            self.room.notify_all();
            drop(state);
            waiting.into_iter().for_each(|ready| Self::let_go(ready, sessions));
        }
    }

    pub(crate) fn failure(&self) -> Option<&'static str> {
        self.state.lock().failed
    }

    pub(crate) fn filled(&self) -> Filled {
        let state = self.state.lock();
        Filled { capacity: state.capacity, waiting: state.waiting_bytes, most: state.most }
    }

    /// An empty block.
    pub(crate) fn block(&self) -> Block {
        let mut state = self.state.lock();
        let size = state.block_size;
        let spare = state.spare.pop();
        drop(state);
        Block { bytes: spare.unwrap_or_else(|| Vec::with_capacity(size)), ..Block::default() }
    }

    /// Takes an empty block back.
    pub(crate) fn recycle(&self, mut block: Block) {
        block.clear();
        let mut state = self.state.lock();
        // One that had to grow for a single item is not kept.
        let of_size = block.bytes.capacity() <= state.block_size;
        let kept = (state.spare.len() + 1) as u64 * state.block_size as u64;
        if of_size && state.is_on && kept + state.waiting_bytes <= state.capacity / 2 {
            state.spare.push(block.bytes);
        }
    }

    /// Adds what was saved.
    pub(crate) fn push(&self, ready: Ready, sessions: &Sessions, ledger: &Ledger) {
        let mut state = self.state.lock();
        if state.failed.is_some() || !state.is_on {
            drop(state);
            return Self::let_go(ready, sessions);
        }
        state.waiting_bytes += ready.weight();
        state.most = state.most.max(state.waiting_bytes);
        state.waiting.push_back(ready);
        // A large value that is kept is on the ledger already, as an item.
        let copied: u64 = state.waiting.back().map_or(0, |ready| match ready {
            Ready::Block(block) => block.bytes.capacity() as u64,
            Ready::Large(large) => large.head.bytes.capacity() as u64,
        });
        if state.waiting_bytes > state.capacity && copied > 0 {
            // Invariant 2: more than the capacity, for as long as the snapshot lasts.
            state.charged += copied;
            ledger.force(Account::Side, copied);
        }
        if state.waiting_bytes >= state.capacity / 2 && !state.all_saved {
            self.is_crowded.store(true, Release);
        }
    }

    /// Takes the oldest entry. It counts as waiting until [`done`](Self::done).
    pub(crate) fn pop(&self) -> Option<(Ready, u64)> {
        let ready = self.state.lock().waiting.pop_front()?;
        let weight = ready.weight();
        Some((ready, weight))
    }

    /// An entry of this weight was written.
    pub(crate) fn done(&self, weight: u64, ledger: &Ledger) {
        let mut state = self.state.lock();
        state.waiting_bytes = state.waiting_bytes.saturating_sub(weight);
        if state.waiting_bytes < state.capacity / 2 {
            self.is_crowded.store(false, Release);
            if state.held_up > 0 {
                self.room.notify_all();
            }
            let over = state.charged.saturating_sub(state.capacity);
            state.charged -= over;
            ledger.release(Account::Side, over);
        }
    }

    /// Nothing more will be saved: nobody has to wait for what is still to be written.
    pub(crate) fn end_saving(&self) {
        let mut state = self.state.lock();
        state.all_saved = true;
        self.is_crowded.store(false, Release);
        self.room.notify_all();
    }

    /// Whether writers should wait.
    #[inline(always)]
    pub(crate) fn is_crowded(&self) -> bool {
        self.is_crowded.load(Relaxed)
    }

    /// Waits for room, for so long at most: false if none came. Called without any lock.
    #[cold]
    pub(crate) fn wait(&self, at_most: Duration) -> bool {
        let end = Instant::now() + at_most;
        let mut state = self.state.lock();
        state.held_up += 1;
        let mut timed_out = false;
        while self.is_crowded.load(Acquire) && !timed_out {
            timed_out = self.room.wait_until(&mut state, end).timed_out();
        }
        state.held_up = state.held_up.saturating_sub(1);
        !(timed_out && self.is_crowded.load(Acquire))
    }
}
