//! Who is called when items leave: the cache's listener, given to its builder, and those of namespaces, which come and
//! go while the cache runs.
//!
//! Invariants:
//! 1. A listener of a namespace is not called any more once its [`Listening`] has gone, but for a call that is under
//!    way.
//! 2. A program's closure is called, and dropped, under no lock but the baton of the shard that is being told.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::sync::{Arc, Weak};

use super::channel::Publisher;
use super::removal::Removal;

/// A program's closure; false if it could not make anything of what it was shown.
pub(crate) struct Listener(Box<dyn Fn(&Removal<'_>) -> bool + Send + Sync>);

impl Listener {
    pub(crate) fn new(f: impl Fn(&Removal<'_>) + Send + Sync + 'static) -> Listener {
        Listener::that_may_pass(move |removal| {
            f(removal);
            true
        })
    }

    pub(crate) fn that_may_pass(f: impl Fn(&Removal<'_>) -> bool + Send + Sync + 'static) -> Listener {
        Listener(Box::new(f))
    }

    /// Calls it; None if it panicked: panics end here.
    pub(super) fn call(&self, removal: &Removal<'_>) -> Option<bool> {
        let payload = match catch_unwind(AssertUnwindSafe(|| (self.0)(removal))) {
            Ok(told) => return Some(told),
            Err(payload) => payload,
        };
        // Dropping what it panicked with is its code too.
        if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(another);
        }
        None
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Listener")
    }
}

/// The listener of a namespace.
#[derive(Debug)]
pub(crate) struct Local {
    pub(super) namespace: u8,
    pub(super) listener: Listener,
    gone: AtomicBool,
    passed: AtomicU64,
}

impl Local {
    pub(super) fn new(namespace: u8, listener: Listener) -> Local {
        Local { namespace, listener, gone: AtomicBool::new(false), passed: AtomicU64::new(0) }
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Acquire)
    }

    /// Shows it a removal of its namespace; false if it panicked.
    pub(super) fn call(&self, removal: &Removal<'_>) -> bool {
        let told = self.listener.call(removal);
        if told == Some(false) {
            self.passed.fetch_add(1, Relaxed);
        }
        told.is_some()
    }
}

/// A listener of one namespace, from [`Cache::eviction_listener`](crate::Cache::eviction_listener) or
/// [`TypedCache::eviction_listener`](crate::TypedCache::eviction_listener). Dropping it ends the listening: no call
/// begins after that, though one may be under way on another thread.
///
/// # Examples
/// ```
/// use larder::Cache;
/// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
/// static LEFT: AtomicU64 = AtomicU64::new(0);
/// let cache = Cache::new(1 << 20)?;
/// let listening = cache.eviction_listener(|_| _ = LEFT.fetch_add(1, Relaxed));
/// cache.set(b"k", b"v")?;
/// cache.remove(b"k");
/// drop(listening);
/// cache.set(b"k", b"v")?;
/// cache.remove(b"k");
/// assert_eq!(LEFT.load(Relaxed), 1);
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping it ends the listening: keep it, or call `keep` to listen for as long as the cache lives"]
pub struct Listening {
    local: Arc<Local>,
    hub: Weak<dyn Publisher>,
    is_kept: bool,
}

impl Listening {
    pub(super) fn new(local: Arc<Local>, hub: Weak<dyn Publisher>) -> Listening {
        Listening { local, hub, is_kept: false }
    }

    /// Listens for as long as the cache lives. (A closure that owns a handle of the same cache would keep it alive for
    /// ever.)
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.eviction_listener(|removal| println!("{:?} has left", removal.key)).keep();
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn keep(mut self) {
        self.is_kept = true;
    }

    /// The namespace whose items it is told of.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?.namespace(7);
    /// assert_eq!(cache.eviction_listener(|_| ()).namespace(), 7);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn namespace(&self) -> u8 {
        self.local.namespace
    }

    /// How many items have left of which a typed cache's listener was not told, because key or value did not decode.
    ///
    /// # Examples
    /// See [`TypedCache::eviction_listener`](crate::TypedCache::eviction_listener).
    pub fn undecodable(&self) -> u64 {
        self.local.passed.load(Relaxed)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        self.local.gone.store(true, Release);
        if let Some(hub) = self.hub.upgrade() {
            hub.prune();
        }
    }
}
