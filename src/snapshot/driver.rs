//! What drives a cache's automatic snapshots: a thread of the cache's own, or its maintenance by hand; and the last
//! snapshot, when the last handle of the cache goes.
//!
//! ```text
//!  Maintenance::Thread   thread "<name>-snapshots" ──► tick ──► Catalog::run, until nothing is under way
//!  Maintenance::Manual   Cache::run_maintenance    ──► tick ──► Catalog::run, for the budget
//!  last handle dropped   thread ended ──► what is under way given up ──► Catalog::close, if that is wanted
//! ```
//! Invariants:
//! 1. The thread has no handle of the cache, but one [aside](Aside) while it works: it keeps no cache alive, and
//!    whoever drops the last handle waits for it.
//! 2. Between two looks at a catalog that had nothing to do, [`LOOK_MS`] pass on the cache's clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::catalog::Catalog;
use crate::api::{Aside, Cache};
use crate::error::{Error, Result};

/// Milliseconds of the cache's clock between two looks: a window is an hour at least.
const LOOK_MS: u64 = 30_000;
/// How often the thread looks at the clock.
const TICK: Duration = Duration::from_millis(500);
/// What it does at a time while a snapshot is under way, so that it can be stopped in between.
const BUDGET: Duration = Duration::from_millis(50);

/// A cache's automatic snapshots.
#[derive(Debug)]
pub(crate) struct Driver {
    looks: Arc<Looks>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the thread and the cache share.
#[derive(Debug)]
struct Looks {
    catalog: Arc<Catalog>,
    /// When to look next, in Unix milliseconds.
    next: AtomicU64,
    /// What went wrong at the last look, not to tell it every time.
    trouble: Mutex<Option<String>>,
    stopped: Mutex<bool>,
    stop: Condvar,
}

impl Driver {
    pub(crate) fn new(catalog: Arc<Catalog>) -> Driver {
        let (next, trouble) = (AtomicU64::new(0), Mutex::default());
        let looks = Looks { catalog, next, trouble, stopped: Mutex::new(false), stop: Condvar::new() };
        Driver { looks: Arc::new(looks), thread: Mutex::default() }
    }

    /// Begins the thread.
    pub(crate) fn start(&self, cache: &Cache) -> Result<()> {
        let (looks, aside) = (Arc::clone(&self.looks), cache.aside());
        let thread = std::thread::Builder::new()
            .name(format!("{}-snapshots", cache.name()))
            .spawn(move || looks.run(&aside))
            .map_err(|e| {
                Error::os("cannot start the snapshots' thread; build with Maintenance::Manual to do without", e)
            })?;
        *self.thread.lock() = Some(thread);
        Ok(())
    }

    /// Whether it has a thread of its own.
    pub(crate) fn has_thread(&self) -> bool {
        self.thread.lock().is_some()
    }

    /// Does what is due for so long. Whether a snapshot is under way.
    pub(crate) fn tick(&self, cache: &Cache, budget: Duration) -> bool {
        self.looks.tick(cache, budget)
    }

    /// The last handle of the cache has gone; `cache` is one on the same engine, for what is left to be done.
    pub(crate) fn end(&self, cache: Cache) -> Result<()> {
        *self.looks.stopped.lock() = true;
        self.looks.stop.notify_all();
        // It may be that thread itself that had the last handle, by a listener: no need to wait then.
        let others = |thread: &JoinHandle<()>| thread.thread().id() != std::thread::current().id();
        // Not under the lock: what that thread calls may look whether there is one.
        let thread = self.thread.lock().take();
        if let Some(thread) = thread.filter(others) {
            // If it had panicked there would be nothing to be done about it here.
            let _ = thread.join();
        }
        self.looks.catalog.finish(cache)
    }
}

impl Looks {
    fn run(&self, aside: &Aside) {
        let mut stopped = self.stopped.lock();
        while !*stopped {
            let is_busy = MutexGuard::unlocked(&mut stopped, || Some(self.tick(&aside.handle()?, BUDGET)));
            match is_busy {
                Some(true) => {}
                Some(false) if *stopped => {}
                Some(false) => drop(self.stop.wait_for(&mut stopped, TICK)),
                None => return,
            }
        }
    }

    fn tick(&self, cache: &Cache, budget: Duration) -> bool {
        let (now, next) = (cache.now_ms(), self.next.load(Relaxed));
        // A clock that was set back is no reason to wait for it.
        if now < next && next - now <= LOOK_MS {
            return false;
        }
        let failed = cache.snapshot_stats().failed;
        let trouble = match self.catalog.run(cache, budget) {
            Ok(work) if work.is_busy => return true,
            Ok(_) => None,
            Err(error) => Some(error),
        };
        self.next.store(now + LOOK_MS, Relaxed);
        let text = trouble.as_ref().map(Error::to_string);
        let before = std::mem::replace(&mut *self.trouble.lock(), text.clone());
        // What is wrong with a snapshot was told already; what is wrong with the storage was not.
        if let Some(error) = trouble
            && before != text
            && cache.snapshot_stats().failed == failed
        {
            cache.tell_of_snapshot("automatic", Err(&error));
        }
        false
    }
}

impl crate::CacheBuilder {
    /// Has the automatic snapshots of a catalog taken, and its expired ones deleted, without the program's doing: by a
    /// small thread of the cache's own, or with [`Maintenance::Manual`](crate::Maintenance::Manual) by
    /// [`Cache::run_maintenance`]. Events tell of each. When the last handle goes, a snapshot that is under way is
    /// given up, and a [last one](super::CatalogOptions::final_snapshot) is taken, if the catalog's options say so:
    /// dropping that handle waits for it. Several caches may have the same catalog. Default: none.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, storage::Memory};
    /// use larder::snapshot::{Catalog, CatalogOptions};
    /// use std::sync::Arc;
    /// let options = CatalogOptions::new().retention_days(7).window("04:00-05:00".parse()?).final_snapshot(true);
    /// let catalog = Arc::new(Catalog::open(Arc::new(Memory::new()), options)?);
    /// let cache = Cache::builder().max_memory(1 << 20).name("sessions").snapshots(Arc::clone(&catalog)).build()?;
    /// cache.set(b"k", b"v")?;
    /// drop(cache);
    /// assert!(catalog.list(None)?.iter().any(|snapshot| snapshot.name.starts_with("final.sessions-")));
    /// # Ok::<(), larder::Error>(())
    /// ```
    #[cfg_attr(docsrs, doc(cfg(feature = "snapshot")))]
    pub fn snapshots(mut self, catalog: Arc<Catalog>) -> Self {
        self.set_catalog(catalog);
        self
    }
}
