//! `sieve`: one queue and a hand that walks it from the oldest item to the newest, and leaves used items where they
//! are.
//!
//! Paper: Zhang, Yang, Yue, Vigfusson, Rashmi, "SIEVE is simpler than LRU", NSDI'24. Changed: items in the middle of
//! the queue cannot be taken out of a ring, so the hand divides it into two: `ahead` of the hand, whose front is the
//! item under it and whose end takes the newcomers, and `behind` it, the items it has passed. When nothing is ahead,
//! the two change places at once: the hand is back at the oldest item. One victim costs at most [`LOOKS`] looks. Where
//! only items of one size may leave, each size has a hand of its own ([`Ring::pass`]), which goes round by itself, and
//! the items of other sizes stay where they are. State: 1 bit visited, 1 bit which ring, 20 bits of the position in it.
//! A hit: one compare-and-swap for the first use after the hand passed, then nothing.

use super::ring::Ring;
use super::sample::Draw;
use super::{Bits, Candidate, Store};

const VISITED: Bits = 1 << 21;
const RING: Bits = 1 << RING_SHIFT;
const RING_SHIFT: u32 = 20;
const SEQUENCE: Bits = RING - 1;
/// Looks for one victim, at about 100 ns each.
const LOOKS: usize = 512;

#[derive(Debug)]
pub(crate) struct Sieve {
    rings: [Ring; 2],
    /// Which of the rings is ahead of the hand.
    ahead: usize,
    /// The same for each size that has a hand of its own.
    ahead_of: Vec<(u32, usize)>,
    items: u64,
    draw: Draw,
    /// Popped and named as victim: goes back when the caller did not evict it.
    pending: Option<(u64, Bits)>,
}

/// The bits after a hit.
#[inline]
pub(crate) fn used(bits: Bits) -> Bits {
    bits | VISITED
}

pub(super) fn rank(bits: Bits) -> super::Rank {
    super::Rank::new(false, u32::from(bits & VISITED != 0), 0)
}

/// Whether `bits` are those of the item that this ring entry was pushed for.
fn entry_of(ring: usize, position: u64) -> impl Fn(Bits) -> bool {
    let wanted = place(ring, position);
    move |bits| bits & (RING | SEQUENCE) == wanted
}

fn place(ring: usize, position: u64) -> Bits {
    (ring as Bits) << RING_SHIFT | position as Bits & SEQUENCE
}

impl Sieve {
    pub(crate) fn new(seed: u64) -> Self {
        Sieve {
            rings: [Ring::new(), Ring::new()],
            ahead: 0,
            ahead_of: Vec::new(),
            items: 0,
            draw: Draw::new(seed),
            pending: None,
        }
    }

    pub(crate) fn victim<S: Store>(&mut self, store: &S) -> Option<Candidate<S::Handle>> {
        self.put_back(store);
        let only = store.only_size();
        for look in 0..LOOKS {
            let next = match only {
                None => self.next(),
                Some(size) => self.next_of(size),
            };
            let Some((ring, hash, position)) = next else {
                break;
            };
            let same = entry_of(ring, position);
            let Some(candidate) = store.find(hash, &same) else {
                continue;
            };
            if only.is_some() {
                self.rings[ring].take(position);
            }
            if candidate.bits & VISITED == 0 || look + 1 == LOOKS {
                self.pending = Some((hash, candidate.bits));
                return Some(candidate);
            }
            let behind = ring ^ 1;
            let to = place(behind, self.rings[behind].push(hash));
            if !store.set_bits(candidate.handle, candidate.bits, to) {
                // It is visited already, so no reader changes it; another try serves a store that fails at whim.
                if let Some(now) = store.find(hash, &same) {
                    store.set_bits(now.handle, now.bits, to);
                }
            }
        }
        self.draw.any(store, false)
    }

    /// Pops the entry under the hand: its ring, its hash and its position.
    fn next(&mut self) -> Option<(usize, u64, u64)> {
        self.turn();
        let ring = self.ahead;
        let (hash, position) = self.rings[ring].pop()?;
        // At once: what arrives now is newer than all, and waits for the hand to come round.
        self.turn();
        Some((ring, hash, position))
    }

    /// The same for the hand of one size, which passes over the entry.
    fn next_of(&mut self, size: u32) -> Option<(usize, u64, u64)> {
        let ahead = self.ahead_of(size);
        if let Some((hash, position)) = self.rings[ahead].pass(size) {
            return Some((ahead, hash, position));
        }
        let turned = ahead ^ 1;
        match self.ahead_of.iter_mut().find(|(of, _)| *of == size) {
            Some((_, ahead)) => *ahead = turned,
            None => self.ahead_of.push((size, turned)),
        }
        if let Some((hash, position)) = self.rings[turned].pass(size) {
            return Some((turned, hash, position));
        }
        // Behind the hands there may be items that have come to be of this size, and some that did not leave in time.
        self.rings.iter_mut().for_each(|ring| ring.rewind(size));
        None
    }

    /// The ring that is ahead of the hand for items of a size.
    fn ahead_of(&self, size: u32) -> usize {
        self.ahead_of.iter().find(|(of, _)| *of == size).map_or(self.ahead, |&(_, ahead)| ahead)
    }

    /// Past the newest item the hand is back at the oldest.
    fn turn(&mut self) {
        if self.rings[self.ahead].len() == 0 {
            self.ahead ^= 1;
        }
    }

    /// A victim that is still there goes to the end of what is ahead.
    fn put_back<S: Store>(&mut self, store: &S) {
        let Some((hash, bits)) = self.pending.take() else {
            return;
        };
        let same = entry_of(((bits & RING) >> RING_SHIFT) as usize, u64::from(bits & SEQUENCE));
        let Some(candidate) = store.find(hash, same) else {
            return;
        };
        let ahead = self.ahead_of(candidate.size);
        let to = candidate.bits & VISITED | place(ahead, self.rings[ahead].push(hash));
        store.set_bits(candidate.handle, candidate.bits, to);
    }

    pub(crate) fn insert(&mut self, hash: u64, size: u32) -> Bits {
        self.items += 1;
        let ahead = self.ahead_of(size);
        place(ahead, self.rings[ahead].push(hash))
    }

    pub(crate) fn overwritten(&mut self, hash: u64, bits: Bits, old_size: u32, new_size: u32) -> Bits {
        let ring = ((bits & RING) >> RING_SHIFT) as usize;
        if old_size != new_size && self.rings[ring].has_hand(new_size) {
            // That hand may have passed already.
            return VISITED | place(ring, self.rings[ring].push(hash));
        }
        used(bits)
    }

    pub(crate) fn evicted(&mut self) {
        self.pending = None;
        self.removed();
    }

    pub(crate) fn removed(&mut self) {
        self.items = self.items.saturating_sub(1);
    }

    pub(crate) fn maintain<S: Store>(&mut self, store: &S) {
        let rotten = self.rings[0].len() + self.rings[1].len();
        if rotten as u64 <= 2 * self.items + 4 * super::ring::BLOCK as u64 {
            return;
        }
        let longer = usize::from(self.rings[1].len() > self.rings[0].len());
        for ring in [longer, longer ^ 1] {
            self.rings[ring].scrub(|hash, position| store.find(hash, entry_of(ring, position)).is_some());
        }
    }

    pub(crate) fn memory(&self) -> u64 {
        self.rings[0].memory() + self.rings[1].memory() + (self.ahead_of.capacity() * size_of::<(u32, usize)>()) as u64
    }

    pub(crate) fn check<S: Store>(&self, store: &S) {
        self.rings[0].check();
        self.rings[1].check();
        assert_eq!(self.items, store.items());
        let entries = self.rings[0].len() + self.rings[1].len() + usize::from(self.pending.is_some());
        assert!(entries as u64 >= store.items());
    }
}
