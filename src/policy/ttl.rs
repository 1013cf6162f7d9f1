//! `volatile-ttl`: the item whose deadline comes first.
//!
//! Paper: none; Redis samples deadlines. Changed: the slab knows the earliest deadline of each page, so the page that
//! expires first is asked as well as a sample, and the pool remembers the earliest deadlines seen.
//! State: none. A hit costs nothing.

use super::sample::{Draw, Pool};
use super::{Candidate, Store};

#[derive(Debug)]
pub(crate) struct Ttl<H> {
    draw: Draw,
    pool: Pool<H>,
    /// Victims since the page that expires first was asked.
    since_page: u32,
}

/// A page is asked once in so many victims: it may show a thousand items.
const PAGE_EVERY: u32 = 8;

impl<H: Copy + PartialEq> Ttl<H> {
    pub(crate) fn new(seed: u64) -> Self {
        Ttl { draw: Draw::new(seed), pool: Pool::new(), since_page: PAGE_EVERY }
    }

    pub(crate) fn victim<S: Store<Handle = H>>(&mut self, store: &S) -> Option<Candidate<H>> {
        let Ttl { draw, pool, since_page } = self;
        for _ in 0..store.draws() {
            let offer = |candidate: Candidate<H>| {
                if let Some(deadline) = store.deadline(candidate.handle) {
                    pool.offer(candidate, deadline);
                }
            };
            draw.look(store, |_| true, offer);
        }
        *since_page += 1;
        for round in 0..2 {
            if *since_page > PAGE_EVERY || pool.is_empty() || round > 0 {
                *since_page = 0;
                store.soonest(|candidate, deadline| pool.offer(candidate, deadline));
            }
            if pool.is_empty() {
                draw.look_until(store, true, |candidate| match store.deadline(candidate.handle) {
                    Some(deadline) => {
                        pool.offer(candidate, deadline);
                        true
                    }
                    None => false,
                });
            }
            if let Some((candidate, _)) = pool.least(store, |candidate| store.deadline(candidate.handle)) {
                return Some(candidate);
            }
        }
        None
    }
}
