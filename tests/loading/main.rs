//! Load-through: one loader a key, shared errors, loaders that panic or are cancelled, writes during a load, refreshes
//! ahead, absences. `threads` for threads, `futures` for futures, `races` for both against writers, `memory` for what
//! loads take, `chaos` for everything at once.

mod chaos;
#[cfg(feature = "async")]
mod futures;
mod memory;
mod races;
mod threads;

use std::sync::mpsc;
use std::time::Duration;

use larder::{Cache, CacheBuilder, Maintenance, ManualClock};

fn builder() -> CacheBuilder {
    Cache::builder().max_memory(4 << 20).seed(1).maintenance(Maintenance::Manual)
}

fn cache() -> Cache {
    builder().build().unwrap()
}

fn with_clock() -> (Cache, ManualClock) {
    let clock = ManualClock::new(1_000_000);
    (builder().clock(clock.clone()).build().unwrap(), clock)
}

const SECOND: Duration = Duration::from_secs(1);

/// A gate for one loader: says when it has begun, and lets it go on.
struct Gate {
    begun: mpsc::Sender<()>,
    go_on: mpsc::Receiver<()>,
}

/// The test's end of a gate.
struct Keeper {
    begun: mpsc::Receiver<()>,
    go_on: mpsc::Sender<()>,
}

fn gate() -> (Gate, Keeper) {
    let ((begun, has_begun), (may_go, go_on)) = (mpsc::channel(), mpsc::channel());
    (Gate { begun, go_on }, Keeper { begun: has_begun, go_on: may_go })
}

impl Gate {
    fn pass(&self) {
        self.begun.send(()).unwrap();
        self.go_on.recv_timeout(10 * SECOND).unwrap();
    }
}

impl Keeper {
    fn wait(&self) {
        self.begun.recv_timeout(10 * SECOND).unwrap();
    }

    fn open(&self) {
        self.go_on.send(()).unwrap();
    }
}

/// Waits until so many callers wait for others' loaders.
fn until_waiting(cache: &Cache, callers: u64) {
    for _ in 0..10_000 {
        if cache.load_stats().waits >= callers {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("{:?}", cache.load_stats());
}
