//! Values that were announced and have not come: how much memory they may hold together.
//!
//! Memory for a large value is taken when its length is known. Clients that announce values and never send them must
//! not hold the cache's memory by that, so all of a service's unfinished values together may hold a share of it. When a
//! new one would be beyond the share, the oldest ones that wait for their clients are given up: their clients are told
//! that there was no memory when they next send something.
//!
//! ```text
//!  announce ─► held by its connection ──park──► waits here ──claim──► held again ─► stored
//!                     │                             └─ given up, when others need room
//!                     └─ counts, and cannot be taken away, while its connection has its turn
//! ```
//! Invariants:
//! 1. `bytes` is the sum of the lengths of all [`Held`] values that were not given up.
//! 2. A place is in `waiting` or in its `Held`, or was given up; never in two of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use super::value::Place;

/// What part of the cache's memory unfinished values may hold: one in so many bytes.
const SHARE: u64 = 4;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Unfinished {
    bytes: AtomicU64,
    tickets: AtomicU64,
    /// Places whose connections wait for more, by age, and how much each counts.
    waiting: Mutex<BTreeMap<u64, (Place, u64)>>,
}

impl Unfinished {
    /// A value of `len` bytes is announced, of a cache that may use `room` bytes: gives up older ones if they hold too
    /// much with it. A single one is always allowed. O(log n), and O(1) while there is room.
    pub(super) fn announce(self: &Arc<Self>, len: usize, room: u64) -> Held {
        let len = len as u64;
        if self.bytes.fetch_add(len, Relaxed) + len > room / SHARE {
            self.give_up(room / SHARE);
        }
        Held {
            all: Arc::clone(self),
            ticket: self.tickets.fetch_add(1, Relaxed),
            len,
            place: None,
            is_parked: false,
            is_given_up: false,
        }
    }

    #[cold]
    fn give_up(&self, most: u64) {
        let mut given_up = Vec::new();
        {
            let mut waiting = self.waiting.lock();
            while self.bytes.load(Relaxed) > most {
                let Some((_, (place, len))) = waiting.pop_first() else { break };
                self.bytes.fetch_sub(len, Relaxed);
                given_up.push(place);
            }
        }
        // Their memory goes back to the cache, which takes its own locks.
        drop(given_up);
    }
}

/// An unfinished value's right to its place, kept by its connection.
#[derive(Debug)]
pub(super) struct Held {
    all: Arc<Unfinished>,
    ticket: u64,
    len: u64,
    place: Option<Place>,
    /// It waits, or was given up since it did.
    is_parked: bool,
    /// It counts no more.
    is_given_up: bool,
}

impl Held {
    /// Puts the place in.
    pub(super) fn with(mut self, place: Place) -> Held {
        self.place = Some(place);
        self
    }

    /// The connection waits for its client: from now on the place may be given up.
    pub(super) fn park(&mut self) {
        if let Some(place) = self.place.take() {
            self.is_parked = true;
            self.all.waiting.lock().insert(self.ticket, (place, self.len));
        }
    }

    /// The place, to be filled; it is the connection's until it is parked. None if it was given up.
    pub(super) fn claim(&mut self) -> Option<&mut Place> {
        if std::mem::take(&mut self.is_parked) {
            self.place = self.all.waiting.lock().remove(&self.ticket).map(|(place, _)| place);
            self.is_given_up = self.place.is_none();
        }
        self.place.as_mut()
    }

    /// The place, now that all has come.
    pub(super) fn finish(mut self) -> Option<Place> {
        self.claim();
        self.place.take()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.claim();
        if !self.is_given_up {
            self.all.bytes.fetch_sub(self.len, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cache;

    fn parked(all: &Arc<Unfinished>, len: usize) -> Held {
        let charge = Cache::new(1 << 20).unwrap().charge(0).unwrap();
        let mut held = all.announce(len, 400).with(Place::Buffer { bytes: Vec::new(), _charge: charge });
        held.park();
        held
    }

    #[test]
    fn the_oldest_ones_that_wait_are_given_up() {
        let all = Arc::new(Unfinished::default());
        let [mut first, mut second, mut third] = [40, 40, 20].map(|len| parked(&all, len));
        assert_eq!(all.bytes.load(Relaxed), 100);
        assert!(first.claim().is_some(), "its connection has its turn");
        let mut fourth = parked(&all, 10);
        assert_eq!(all.bytes.load(Relaxed), 70);
        assert!(first.claim().is_some() && second.claim().is_none() && third.claim().is_some());
        assert!(fourth.claim().is_some());
        third.park();
        drop(third);
        assert_eq!(all.bytes.load(Relaxed), 50);
        assert!(fourth.finish().is_some() && first.finish().is_some() && second.finish().is_none());
        assert_eq!(all.bytes.load(Relaxed), 0);
    }

    #[test]
    fn one_by_itself_may_be_as_large_as_it_likes() {
        let all = Arc::new(Unfinished::default());
        let mut large = parked(&all, 1000);
        assert!(large.claim().is_some());
        large.park();
        let small = parked(&all, 1);
        assert!(large.claim().is_none());
        drop((small, large));
        drop(all.announce(10, 400));
        assert_eq!(all.bytes.load(Relaxed), 0);
    }
}
