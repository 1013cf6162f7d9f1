//! The thread that looks after a cache: some of its time now and then, and no more than its share of a core.

use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::expiry::CpuShare;

/// The thread, until it is dropped.
#[derive(Debug)]
pub(super) struct Upkeeper {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

/// How long the maintenance thread sleeps between looks.
const TICK: Duration = Duration::from_millis(100);

/// The part of its share of a core that maintenance aims at: a step that takes longer than it was given, at the end of
/// a stretch of work, stays within the share then.
const AIM: f64 = 0.97;

impl Upkeeper {
    pub(super) fn start(engine: &Arc<Engine>, share: f64, name: &str) -> Result<Upkeeper> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let (theirs, engine) = (Arc::clone(&stop), Arc::downgrade(engine));
        let thread = std::thread::Builder::new()
            .name(format!("{name}-upkeep"))
            .stack_size(256 << 10)
            .spawn(move || Self::run(&theirs, &engine, CpuShare::new(share * AIM)))
            .map_err(|e| {
                Error::os("cannot start the maintenance thread; build with Maintenance::Manual to do without", e)
            })?;
        Ok(Upkeeper { stop, thread: Some(thread) })
    }

    fn run(stop: &(Mutex<bool>, Condvar), engine: &Weak<Engine>, mut share: CpuShare) {
        let (mut last, mut was_idle) = (Instant::now(), true);
        let mut stopped = stop.0.lock();
        while !*stopped {
            stop.1.wait_for(&mut stopped, TICK);
            share.earn(last.elapsed());
            last = Instant::now();
            let Some(engine) = engine.upgrade() else { return };
            if was_idle {
                share.idle();
            }
            was_idle = !engine.needs_upkeep();
            if !*stopped && !was_idle {
                let (used, _) = parking_lot::MutexGuard::unlocked(&mut stopped, || engine.maintain(share.credit()));
                share.spend(used);
            }
        }
    }
}

impl Drop for Upkeeper {
    fn drop(&mut self) {
        *self.stop.0.lock() = true;
        self.stop.1.notify_all();
        // The last handle may be dropped by that thread itself, with a listener that owned it: no need to wait then.
        let others = |thread: &JoinHandle<()>| thread.thread().id() != std::thread::current().id();
        if let Some(thread) = self.thread.take().filter(others) {
            // It ends by itself; if it had panicked there would be nothing to be done about it here.
            let _ = thread.join();
        }
    }
}
