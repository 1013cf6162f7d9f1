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
//! Where only items of one size may leave, the others' entries must neither be dropped nor lose their turn. So nothing
//! is popped then: each size asked for has a *hand*, which passes over the ring from the front and goes on from where
//! it was, and the entry of an item that leaves or moves is taken out from the middle.
//!
//! 1. Positions rise from front to back and are never given out twice.
//! 2. No block is empty. Only the last one is appended to, while nothing was taken out of its middle, and it is never
//!    scrubbed.
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

    /// The first entry left at `position` or behind it.
    fn find(&self, position: u64) -> usize {
        let offset = position.saturating_sub(self.base);
        if self.offsets.is_empty() {
            return self.head.max(usize::try_from(offset).unwrap_or(usize::MAX));
        }
        self.head + self.offsets[self.head..].partition_point(|&o| u64::from(o) < offset)
    }

    /// Takes an entry out of the middle.
    fn take(&mut self, i: usize) {
        if self.offsets.is_empty() {
            self.offsets = (0..self.hashes.len() as u16).collect();
        }
        self.hashes.drain(..self.head);
        self.offsets.drain(..self.head);
        self.hashes.remove(i - self.head);
        self.offsets.remove(i - self.head);
        self.head = 0;
        if self.hashes.len() * 2 <= self.hashes.capacity() {
            self.hashes.shrink_to_fit();
            self.offsets.shrink_to_fit();
        }
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
    /// For each size asked for: the position from where on entries were not passed yet.
    hands: Vec<(u32, u64)>,
}

impl Ring {
    pub(crate) fn new() -> Self {
        Ring { blocks: VecDeque::new(), len: 0, next: 0, cursor: 0, heap: 0, hands: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn memory(&self) -> u64 {
        self.heap
            + (self.blocks.capacity() * size_of::<Block>() + self.hands.capacity() * size_of::<(u32, u64)>()) as u64
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

    /// Passes the hand of a size over the next entry, which stays: its hash and its position. None at the end.
    pub(crate) fn pass(&mut self, size: u32) -> Option<(u64, u64)> {
        let known = self.hands.iter().position(|&(of, _)| of == size);
        let hand = known.unwrap_or_else(|| {
            self.hands.push((size, 0));
            self.hands.len() - 1
        });
        let at = self.hands[hand].1;
        let block = self.blocks.get(self.blocks.partition_point(|block| block.last_position() < at))?;
        let i = block.find(at);
        let (hash, position) = (*block.hashes.get(i)?, block.position(i));
        self.hands[hand].1 = position + 1;
        Some((hash, position))
    }

    /// Puts the hand of a size back to the front.
    pub(crate) fn rewind(&mut self, size: u32) {
        self.hands.iter_mut().filter(|hand| hand.0 == size).for_each(|hand| hand.1 = 0);
    }

    /// Whether a size has a hand here, which may have passed any entry.
    pub(crate) fn has_hand(&self, size: u32) -> bool {
        self.hands.iter().any(|hand| hand.0 == size)
    }

    /// Takes out the entry at a position, if there is one.
    pub(crate) fn take(&mut self, position: u64) {
        let at = self.blocks.partition_point(|block| block.last_position() < position);
        let Some(block) = self.blocks.get_mut(at) else { return };
        let i = block.find(position);
        if i >= block.hashes.len() || block.position(i) != position {
            return;
        }
        self.len -= 1;
        if block.left() == 1 {
            self.remove(at);
        } else if i == block.head {
            block.head += 1;
        } else {
            let heap = block.memory();
            block.take(i);
            self.heap = self.heap - heap + block.memory();
            self.join(at);
        }
    }

    /// Appends a block to the one before it, if it fits. True if so.
    fn join(&mut self, i: usize) -> bool {
        if i == 0 || !self.blocks[i - 1].takes(&self.blocks[i]) {
            return false;
        }
        let Some(block) = self.blocks.remove(i) else { return false };
        let into = &mut self.blocks[i - 1];
        self.heap -= into.memory() + block.memory();
        into.append(&block);
        self.heap += into.memory();
        if i < self.cursor {
            self.cursor -= 1;
        }
        true
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
        } else if !self.join(i) {
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
    fn hands_follow_a_model_under_random_use() {
        for seed in 0..20 {
            let mut rng = Rng::new(seed);
            // An entry's size is its hash modulo 3; each size has a hand, and its entries leave in order.
            let (mut ring, mut model) = (Ring::new(), [const { VecDeque::new() }; 3]);
            for step in 0..20_000 {
                match rng.next() % 16 {
                    0..8 => {
                        let hash = rng.next();
                        model[hash as usize % 3].push_back((hash, ring.push(hash)));
                    }
                    8..14 => {
                        // Mostly the same size leaves for a while.
                        let size = step / 4000 % 3;
                        let mine = |e: &Option<(u64, u64)>| e.is_none_or(|(hash, _)| hash % 3 == size);
                        let found = std::iter::repeat_with(|| ring.pass(size as u32)).find(mine).flatten();
                        assert_eq!(found, model[size as usize].pop_front());
                        if let Some((_, position)) = found {
                            ring.take(position);
                            ring.take(position);
                        }
                    }
                    14 => {
                        let front = model.iter().enumerate().filter_map(|(i, m)| Some((m.front()?.1, i))).min();
                        let want = front.and_then(|(_, i)| model[i].pop_front());
                        assert_eq!(ring.pop(), want);
                    }
                    _ => ring.scrub(|hash, position| model[hash as usize % 3].contains(&(hash, position))),
                }
                assert_eq!(ring.len(), model.iter().map(VecDeque::len).sum::<usize>());
            }
            ring.check();
            for (size, model) in model.iter().enumerate() {
                ring.rewind(size as u32);
                let passed = std::iter::from_fn(|| ring.pass(size as u32)).filter(|e| e.0 as usize % 3 == size);
                assert_eq!(passed.collect::<VecDeque<_>>(), *model);
            }
        }
    }

    #[test]
    fn entries_that_stay_alone_take_little_memory() {
        let mut ring = Ring::new();
        for i in 0..200_000u64 {
            ring.push(i);
        }
        while let Some((hash, position)) = ring.pass(1) {
            if !hash.is_multiple_of(100) {
                ring.take(position);
            }
        }
        ring.check();
        assert_eq!(ring.len(), 2000);
        // The queue of blocks itself stays as long as it was.
        assert!(ring.memory() < 2000 * 20 + 1024 * size_of::<Block>() as u64, "{} bytes", ring.memory());
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
