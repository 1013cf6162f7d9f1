//! A queue of key hashes without pointers in the items: the order behind S3-FIFO and SIEVE.
//!
//! ```text
//!  front                                                              back
//!  block: base 512, 256 hashes │ base 1024, scrubbed: 31 hashes + offsets │ base 1536, filling ... next = 1701
//! ```
//! An entry's position is `base + index` (`base + offset` in a scrubbed block). The item keeps the low bits of the
//! position of its entry; an entry without such an item is stale (deleted, replaced, moved to the other ring) and is
//! dropped when it is popped. Scrubbing removes stale entries from the middle, a block at a time; positions never
//! change.
//!
//! 1. Positions rise from front to back and are never given out twice.
//! 2. No block is empty but the last one; only the last one is appended to, and it is never scrubbed.
//! 3. `len` is the number of entries, live and stale.
//!
//! Blocks hold 256 entries: checking one takes as many index look-ups, which is what one maintenance step may cost.

use std::collections::VecDeque;

pub(crate) const BLOCK: usize = 256;

#[derive(Debug)]
struct Block {
    base: u64,
    hashes: Vec<u64>,
    /// Empty while entry `i` is at `base + i`.
    offsets: Vec<u16>,
    /// Entries before this one are popped.
    head: usize,
}

impl Block {
    fn position(&self, i: usize) -> u64 {
        self.base + if self.offsets.is_empty() { i as u64 } else { u64::from(self.offsets[i]) }
    }

    fn last_position(&self) -> u64 {
        self.position(self.hashes.len() - 1)
    }

    fn left(&self) -> usize {
        self.hashes.len() - self.head
    }

    /// Keeps the entries that `live` knows.
    fn scrub(&mut self, live: impl Fn(u64, u64) -> bool) {
        let kept: Vec<(u64, u16)> = (self.head..self.hashes.len())
            .map(|i| (self.hashes[i], self.position(i)))
            .filter(|&(hash, position)| live(hash, position))
            .map(|(hash, position)| (hash, (position - self.base) as u16))
            .collect();
        self.head = 0;
        self.hashes = kept.iter().map(|entry| entry.0).collect();
        self.offsets = kept.iter().map(|entry| entry.1).collect();
    }

    /// Whether the entries of `next` fit behind these, in number and in the range of the offsets.
    fn takes(&self, next: &Block) -> bool {
        !self.offsets.is_empty()
            && !next.offsets.is_empty()
            && self.left() + next.left() <= BLOCK
            && next.last_position() - self.base <= u64::from(u16::MAX)
    }

    fn append(&mut self, next: &Block) {
        let shift = (next.base - self.base) as u16;
        self.hashes.drain(..self.head);
        self.offsets.drain(..self.head);
        self.head = 0;
        self.hashes.extend_from_slice(&next.hashes[next.head..]);
        self.offsets.extend(next.offsets[next.head..].iter().map(|offset| offset + shift));
    }

    fn memory(&self) -> u64 {
        (size_of::<Block>() + self.hashes.capacity() * 8 + self.offsets.capacity() * 2) as u64
    }
}

/// A first-in first-out queue of key hashes, each with the position it was pushed at.
#[derive(Debug)]
pub(crate) struct Ring {
    blocks: VecDeque<Block>,
    len: usize,
    next: u64,
    /// The block to scrub next, counted from the front.
    cursor: usize,
    heap: u64,
}

impl Ring {
    pub(crate) fn new() -> Self {
        Ring { blocks: VecDeque::new(), len: 0, next: 0, cursor: 0, heap: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn memory(&self) -> u64 {
        self.heap + (self.blocks.capacity() * size_of::<Block>()) as u64
    }

    /// Appends an entry and returns its position.
    pub(crate) fn push(&mut self, hash: u64) -> u64 {
        let position = self.next;
        let room = |last: &Block| last.offsets.is_empty() && last.hashes.len() < BLOCK;
        if !self.blocks.back().is_some_and(room) {
            let block = Block { base: position, hashes: Vec::with_capacity(BLOCK), offsets: Vec::new(), head: 0 };
            self.heap += block.memory();
            self.blocks.push_back(block);
        }
        if let Some(last) = self.blocks.back_mut() {
            last.hashes.push(hash);
        }
        self.next += 1;
        self.len += 1;
        position
    }

    /// Takes the entry at the front: its hash and its position.
    pub(crate) fn pop(&mut self) -> Option<(u64, u64)> {
        let front = self.blocks.front_mut()?;
        let (i, hash) = (front.head, *front.hashes.get(front.head)?);
        let position = front.position(i);
        front.head += 1;
        self.len -= 1;
        if front.left() == 0 {
            self.remove(0);
        }
        Some((hash, position))
    }

    /// Whether stale entries may outnumber live ones, given how many are live.
    pub(crate) fn is_rotten(&self, live: u64) -> bool {
        self.len as u64 > 2 * live + 2 * BLOCK as u64
    }

    /// Removes the stale entries of one block.
    pub(crate) fn scrub(&mut self, live: impl Fn(u64, u64) -> bool) {
        if self.cursor + 1 >= self.blocks.len() {
            self.cursor = 0;
        }
        if self.blocks.len() < 2 {
            return;
        }
        let i = self.cursor;
        let block = &mut self.blocks[i];
        let (before, heap) = (block.left(), block.memory());
        block.scrub(live);
        self.len -= before - block.left();
        self.heap = self.heap - heap + block.memory();
        if block.left() == 0 {
            self.remove(i);
        } else if i > 0 && self.blocks[i - 1].takes(&self.blocks[i]) {
            if let Some(block) = self.blocks.remove(i) {
                let into = &mut self.blocks[i - 1];
                self.heap -= into.memory() + block.memory();
                into.append(&block);
                self.heap += into.memory();
            }
        } else {
            self.cursor += 1;
        }
    }

    fn remove(&mut self, i: usize) {
        if let Some(block) = self.blocks.remove(i) {
            self.heap -= block.memory();
        }
        if i < self.cursor {
            self.cursor -= 1;
        }
    }

    #[cfg(test)]
    pub(crate) fn check(&self) {
        assert_eq!(self.len, self.blocks.iter().map(Block::left).sum::<usize>());
        assert_eq!(self.heap, self.blocks.iter().map(Block::memory).sum::<u64>());
        let positions: Vec<u64> =
            self.blocks.iter().flat_map(|b| (b.head..b.hashes.len()).map(|i| b.position(i))).collect();
        assert!(positions.is_sorted_by(|a, b| a < b));
        assert!(positions.last().is_none_or(|&last| last < self.next));
        assert!(self.blocks.iter().all(|block| block.left() > 0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::sample::Rng;
    use std::collections::{HashSet, VecDeque};

    #[test]
    fn follows_a_model_under_random_use() {
        for seed in 0..20 {
            let mut rng = Rng::new(seed);
            let (mut ring, mut model) = (Ring::new(), VecDeque::new());
            let mut dead = HashSet::new();
            for _ in 0..20_000 {
                match rng.next() % 16 {
                    0..8 => {
                        let hash = rng.next();
                        model.push_back((hash, ring.push(hash)));
                    }
                    8..10 => {
                        // Stale entries may be gone already: skip them on both sides.
                        let live = |e: &Option<(u64, u64)>| e.is_none_or(|(_, p)| !dead.contains(&p));
                        let got = std::iter::repeat_with(|| ring.pop()).find(live).flatten();
                        let want = std::iter::repeat_with(|| model.pop_front()).find(live).flatten();
                        assert_eq!(got, want);
                    }
                    10..15 if !model.is_empty() => {
                        dead.insert(model[rng.next() as usize % model.len()].1);
                    }
                    _ => {
                        let live = model.iter().filter(|entry| !dead.contains(&entry.1)).count();
                        if ring.is_rotten(live as u64) {
                            ring.scrub(|_, position| !dead.contains(&position));
                        }
                    }
                }
            }
            ring.check();
        }
    }

    #[test]
    fn scrubbing_bounds_the_length() {
        let mut ring = Ring::new();
        let mut live = VecDeque::new();
        for i in 0..400_000u64 {
            live.push_back(ring.push(i));
            // Nothing is ever popped: the oldest live entry is deleted from the outside.
            if live.len() > 1000 {
                live.pop_front();
            }
            if i % 64 == 0 && ring.is_rotten(live.len() as u64) {
                let oldest = live[0];
                ring.scrub(|_, position| position >= oldest);
            }
            assert!(ring.len() <= 2 * 1000 + 4 * BLOCK, "{} entries", ring.len());
        }
        ring.check();
        assert!(ring.memory() < 50_000, "{} bytes", ring.memory());
    }
}
