//! `sieve`: one queue and a hand that walks it from the oldest item to the newest, and leaves used items where they
//! are.
//!
//! Paper: Zhang, Yang, Yue, Vigfusson, Rashmi, "SIEVE is simpler than LRU", NSDI'24. Changed: items in the middle of
//! the queue cannot be taken out of a ring, so the hand divides it into two: `ahead` of the hand, whose front is the
//! item under it and whose end takes the newcomers, and `behind` it, the items it has passed. When nothing is ahead,
//! the two change places at once: the hand is back at the oldest item. One victim costs at most [`LOOKS`] looks. State:
//! 1 bit visited, 1 bit which ring, 20 bits of the position in it. A hit: one compare-and-swap for the first use after
//! the hand passed, then nothing.

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
        Sieve { rings: [Ring::new(), Ring::new()], ahead: 0, items: 0, draw: Draw::new(seed), pending: None }
    }

    pub(crate) fn victim<S: Store>(&mut self, store: &S) -> Option<Candidate<S::Handle>> {
        self.put_back(store);
        for look in 0..LOOKS {
            self.turn();
            let ring = self.ahead;
            let Some((hash, position)) = self.rings[ring].pop() else {
                break;
            };
            // At once: what arrives now is newer than all, and waits for the hand to come round.
            self.turn();
            let same = entry_of(ring, position);
            let Some(candidate) = store.find(hash, &same) else {
                continue;
            };
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
        let to = candidate.bits & VISITED | place(self.ahead, self.rings[self.ahead].push(hash));
        store.set_bits(candidate.handle, candidate.bits, to);
    }

    pub(crate) fn insert(&mut self, hash: u64) -> Bits {
        self.items += 1;
        place(self.ahead, self.rings[self.ahead].push(hash))
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
        self.rings[0].memory() + self.rings[1].memory()
    }

    #[cfg(test)]
    pub(crate) fn check<S: Store>(&self, store: &S) {
        self.rings[0].check();
        self.rings[1].check();
        assert_eq!(self.items, store.items());
        let entries = self.rings[0].len() + self.rings[1].len() + usize::from(self.pending.is_some());
        assert!(entries as u64 >= store.items());
    }
}
