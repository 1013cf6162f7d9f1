//! Loads that would wait for themselves: found and refused, instead of hanging.
//!
//! ```text
//!  thread 1: runs the loader of A, in it wants B ─┐    a thread that waits within a loader writes down that its
//!  thread 2: runs the loader of B, in it wants A ─┘    loaders wait for that flight; whoever closes a ring is told
//! ```
//! Invariants:
//! 1. `RUNNING` lists the flights whose loaders are on this thread's stack, outermost first.
//! 2. An entry of `WAITS` leads from a flight whose loader is blocked to the flight it is blocked on. There is never a
//!    ring in it. A flight's address is its name: both ends are alive while the entry is there.
//!
//! What is not seen: a loader that waits for another thread or task which wants the same key. That waits for ever, as
//! it would with any lock.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::engine::{Flight, Landing};
use crate::error::{Error, ErrorKind, Result};

thread_local! {
    static RUNNING: RefCell<Vec<Arc<Flight>>> = const { RefCell::new(Vec::new()) };
}

static WAITS: Mutex<BTreeMap<usize, usize>> = Mutex::new(BTreeMap::new());

fn name(flight: &Arc<Flight>) -> usize {
    Arc::as_ptr(flight).addr()
}

/// While it lives, this thread runs the loader of a flight.
pub(super) struct Entered;

pub(super) fn enter(flight: &Arc<Flight>) -> Entered {
    RUNNING.with_borrow_mut(|running| running.push(Arc::clone(flight)));
    Entered
}

impl Drop for Entered {
    fn drop(&mut self) {
        let left = RUNNING.with_borrow_mut(Vec::pop);
        drop(left);
    }
}

fn refusal() -> Error {
    Error::new(
        ErrorKind::RecursiveLoad,
        "the loader of a key waits for a load of the same key, directly or through other keys' loaders: \
         let it load what it needs without the cache, or under other keys",
    )
}

/// An error if this thread is within the loader of the flight.
#[cfg(feature = "async")]
pub(super) fn check(flight: &Arc<Flight>) -> Result<()> {
    let is_within = RUNNING.with_borrow(|running| running.iter().any(|other| Arc::ptr_eq(other, flight)));
    if is_within { Err(refusal()) } else { Ok(()) }
}

/// An error if the flight is an unshared one, and this thread is within a loader of the same key: that one is in no
/// table, so nothing else would stop a loader that wants itself.
pub(super) fn check_unshared(flight: &Flight) -> Result<()> {
    let is_within = || RUNNING.with_borrow(|running| running.iter().any(|other| other.is_like(flight)));
    if !flight.is_shared() && is_within() { Err(refusal()) } else { Ok(()) }
}

/// Waits for a flight to land; an error if that would never happen.
pub(super) fn wait(flight: &Arc<Flight>) -> Result<Landing> {
    let running: Vec<usize> = RUNNING.with_borrow(|running| running.iter().map(name).collect());
    if running.is_empty() {
        return Ok(flight.wait());
    }
    {
        let mut waits = WAITS.lock();
        let mut next = Some(name(flight));
        while let Some(at) = next {
            if running.contains(&at) {
                return Err(refusal());
            }
            next = waits.get(&at).copied();
        }
        waits.extend(running.iter().map(|&blocked| (blocked, name(flight))));
    }
    let landing = flight.wait();
    let mut waits = WAITS.lock();
    for blocked in &running {
        waits.remove(blocked);
    }
    Ok(landing)
}
