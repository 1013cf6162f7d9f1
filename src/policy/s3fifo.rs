//! `s3-fifo`: a small queue that most newcomers do not outlive, a main queue, and a memory of who left the small one.
//!
//! Paper: Yang, Zhang, Qiu, Yue, Rashmi, "FIFO queues are all you need for cache eviction", SOSP'23. As there: small is
//! 10 % of the bytes, an item used twice in it moves to main, main is a CLOCK with two bits, the ghost remembers as
//! many bytes as main holds. Changed: the queues are rings of key hashes ([`Ring`]) with stale entries; the ghost is a
//! table of fingerprints ([`Ghost`]); and one victim costs at most [`LOOKS`] looks: then the item at hand leaves
//! whatever its counter. A newcomer larger than small's share is turned away when there is no free room, and not
//! remembered, as in the authors' simulator. Where only items of one size may leave, each size has a hand of its own in
//! either queue ([`Ring::pass`]), and the items of other sizes stay where they are. State: 1 bit queue, 2 bits of uses,
//! 19 bits of the position in the ring. A hit: one compare-and-swap until it was used three times, then nothing.

use super::ghost::Ghost;
use super::ring::Ring;
use super::sample::Draw;
use super::{Arrival, Bits, Candidate, Store, Verdict};

const MAIN: Bits = 1 << 21;
const USES: Bits = 3 << USES_SHIFT;
const USES_SHIFT: u32 = 19;
const SEQUENCE: Bits = (1 << USES_SHIFT) - 1;
/// Looks for one victim, at about 100 ns each.
const LOOKS: usize = 512;
/// Ghost entries provided for each item.
const GHOST_SLOTS: f64 = 1.0;

#[derive(Debug)]
pub(crate) struct S3Fifo {
    small: Queue,
    main: Queue,
    ghost: Option<Ghost>,
    /// Room has been needed, so there is something to remember.
    evicting: bool,
    draw: Draw,
    /// Popped and named as victim: goes back when the caller did not evict it.
    pending: Option<(u64, Bits)>,
}

#[derive(Debug)]
struct Queue {
    ring: Ring,
    items: u64,
    bytes: u64,
}

impl Queue {
    fn new() -> Self {
        Queue { ring: Ring::new(), items: 0, bytes: 0 }
    }

    fn enters(&mut self, size: u32) {
        self.items += 1;
        self.bytes += u64::from(size);
    }

    // Saturating: items from before a change of policy were never counted in.
    fn leaves(&mut self, size: u32) {
        self.items = self.items.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(u64::from(size));
    }
}

/// The bits after a hit.
#[inline]
pub(crate) fn used(bits: Bits) -> Bits {
    if bits & USES == USES { bits } else { bits + (1 << USES_SHIFT) }
}

/// The bits of an item that was used so often.
pub(super) fn with_uses(bits: Bits, uses: u32) -> Bits {
    bits & !USES | uses.min(3) << USES_SHIFT
}

pub(super) fn rank(bits: Bits) -> super::Rank {
    super::Rank::new(bits & MAIN != 0, (bits & USES) >> USES_SHIFT, 0)
}

/// Whether `bits` are those of the item that this ring entry was pushed for.
fn entry_of(queue: Bits, position: u64) -> impl Fn(Bits) -> bool {
    let wanted = queue | position as Bits & SEQUENCE;
    move |bits| bits & (MAIN | SEQUENCE) == wanted
}

impl S3Fifo {
    pub(crate) fn new(seed: u64) -> Self {
        S3Fifo {
            small: Queue::new(),
            main: Queue::new(),
            ghost: None,
            evicting: false,
            draw: Draw::new(seed),
            pending: None,
        }
    }

    fn queue(&mut self, bits: Bits) -> &mut Queue {
        if bits & MAIN != 0 { &mut self.main } else { &mut self.small }
    }

    /// Small's share of the memory.
    fn small_share(capacity: u64) -> u64 {
        (capacity / 10).max(1)
    }

    pub(crate) fn arriving(&mut self, hash: u64) -> bool {
        self.ghost.as_mut().is_some_and(|ghost| ghost.take(hash).is_some())
    }

    pub(crate) fn victim<S: Store>(&mut self, store: &S, arrival: Option<&Arrival>) -> Verdict<S::Handle> {
        self.put_back(store);
        let capacity = store.capacity();
        self.evicting = true;
        let small_share = Self::small_share(capacity);
        if arrival.is_some_and(|newcomer| newcomer.from.is_none() && u64::from(newcomer.size) > small_share) {
            return Verdict::TurnAway;
        }
        let only = store.only_size();
        for look in 0..LOOKS {
            let main_first = self.main.bytes > capacity.saturating_sub(small_share);
            let Some((queue, hash, position)) = self.next(main_first, only) else {
                break;
            };
            let same = entry_of(queue, position);
            let Some(candidate) = store.find(hash, &same) else {
                continue;
            };
            if only.is_some() {
                self.queue(queue).ring.take(position);
            }
            let uses = (candidate.bits & USES) >> USES_SHIFT;
            let stays = if queue == MAIN { uses > 0 } else { uses > 1 };
            if !stays || look + 1 == LOOKS {
                self.pending = Some((hash, candidate.bits));
                return Verdict::Evict(candidate);
            }
            self.move_to_main(store, hash, candidate, same);
        }
        match self.draw.any(store, false) {
            Some(candidate) => Verdict::Evict(candidate),
            None => Verdict::None,
        }
    }

    /// The entry to look at next, and its queue. It is popped; where only items of one size may leave, that size's hand
    /// passes over it.
    fn next(&mut self, main_first: bool, only: Option<u32>) -> Option<(Bits, u64, u64)> {
        let order = if main_first { [MAIN, 0] } else { [0, MAIN] };
        for id in order {
            let ring = &mut self.queue(id).ring;
            let next = match only {
                None => ring.pop(),
                Some(size) => ring.pass(size),
            };
            if let Some((hash, position)) = next {
                return Some((id, hash, position));
            }
        }
        // Behind the hands there may be items that have come to be of this size, and some that did not leave in time.
        if let Some(size) = only {
            self.small.ring.rewind(size);
            self.main.ring.rewind(size);
        }
        None
    }

    /// Moves an item whose entry was taken out to the end of main: from small with no uses, from main with one less.
    fn move_to_main<S: Store>(
        &mut self,
        store: &S,
        hash: u64,
        mut candidate: Candidate<S::Handle>,
        same: impl Fn(Bits) -> bool,
    ) {
        let position = self.main.ring.push(hash);
        // A reader may count a use in between; it cannot do so for long, as the counter is full after three.
        loop {
            let from = candidate.bits;
            let uses = if from & MAIN != 0 { ((from & USES) >> USES_SHIFT).saturating_sub(1) } else { 0 };
            let to = MAIN | uses << USES_SHIFT | position as Bits & SEQUENCE;
            if store.set_bits(candidate.handle, from, to) {
                break;
            }
            match store.find(hash, &same) {
                Some(now) => candidate = now,
                None => return,
            }
        }
        if candidate.bits & MAIN == 0 {
            self.small.leaves(candidate.size);
            self.main.enters(candidate.size);
        }
    }

    /// A victim that is still there gets a new entry, at the end of its queue.
    fn put_back<S: Store>(&mut self, store: &S) {
        let Some((hash, bits)) = self.pending.take() else {
            return;
        };
        let Some(candidate) = store.find(hash, entry_of(bits & MAIN, u64::from(bits & SEQUENCE))) else {
            return;
        };
        let position = self.queue(bits).ring.push(hash);
        let to = candidate.bits & !SEQUENCE | position as Bits & SEQUENCE;
        store.set_bits(candidate.handle, candidate.bits, to);
    }

    pub(crate) fn insert(&mut self, hash: u64, size: u32, remembered: bool) -> Bits {
        let queue = if remembered { MAIN } else { 0 };
        let into = self.queue(queue);
        into.enters(size);
        queue | into.ring.push(hash) as Bits & SEQUENCE
    }

    pub(crate) fn evicted(&mut self, hash: u64, bits: Bits, size: u32) {
        self.pending = None;
        self.queue(bits).leaves(size);
        if bits & MAIN == 0
            && let Some(ghost) = &mut self.ghost
        {
            ghost.push(hash, 0, 1, size);
        }
    }

    pub(crate) fn removed(&mut self, bits: Bits, size: u32) {
        self.queue(bits).leaves(size);
    }

    pub(crate) fn overwritten(&mut self, hash: u64, bits: Bits, old_size: u32, new_size: u32) -> Bits {
        let queue = self.queue(bits);
        queue.bytes = queue.bytes.saturating_sub(u64::from(old_size)) + u64::from(new_size);
        if old_size != new_size && queue.ring.has_hand(new_size) {
            // That hand may have passed already.
            return used(bits & !SEQUENCE | queue.ring.push(hash) as Bits & SEQUENCE);
        }
        used(bits)
    }

    /// Scrubs the rings, and makes the ghost's table when `granted` bytes suffice. The bytes it wants granted.
    pub(crate) fn maintain<S: Store>(&mut self, store: &S, granted: u64) -> u64 {
        for (queue, id) in [(&mut self.small, 0), (&mut self.main, MAIN)] {
            if queue.ring.is_rotten(queue.items) {
                queue.ring.scrub(|hash, position| store.find(hash, entry_of(id, position)).is_some());
            }
        }
        if !self.evicting {
            return 0;
        }
        let capacity = store.capacity();
        let budget = capacity - Self::small_share(capacity).min(capacity);
        Ghost::maintain(&mut self.ghost, store.items(), budget, GHOST_SLOTS, granted)
    }

    pub(crate) fn memory(&self) -> u64 {
        self.small.ring.memory() + self.main.ring.memory() + self.ghost.as_ref().map_or(0, Ghost::memory)
    }

    pub(crate) fn check<S: Store>(&self, store: &S) {
        self.small.ring.check();
        self.main.ring.check();
        assert_eq!(self.small.items + self.main.items, store.items());
        assert_eq!(self.small.bytes + self.main.bytes, store.used());
        let entries = self.small.ring.len() + self.main.ring.len() + usize::from(self.pending.is_some());
        assert!(entries as u64 >= store.items());
    }
}
