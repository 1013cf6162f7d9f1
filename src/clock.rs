//! Where the time comes from. The engine never asks the system itself: it asks the [`Clock`] it was built with, so that
//! a test can drive it by hand and a trace can be played at its own pace.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A source of the current time in milliseconds since the Unix epoch.
///
/// It is asked on the read path of items that have a deadline, so it should cost no more than a few nanoseconds. It
/// need not be strictly monotonic: a step back only delays expiry by as much. It is also asked while a shard's lock is
/// held, so it must not use the cache, and should not panic.
///
/// # Examples
/// ```
/// use larder::Clock;
/// #[derive(Debug)]
/// struct Frozen;
/// impl Clock for Frozen {
///     fn now_ms(&self) -> u64 { 1_700_000_000_000 }
/// }
/// assert_eq!(Frozen.now_ms(), 1_700_000_000_000);
/// ```
pub trait Clock: Send + Sync + std::fmt::Debug + 'static {
    /// Milliseconds since the Unix epoch.
    ///
    /// # Examples
    /// See [`Clock`].
    fn now_ms(&self) -> u64;
}

/// The default clock: wall-clock time read once when it is made, carried on by the system's monotonic clock, so that
/// setting the machine's time does not expire anything. Where the system has a coarse clock (Linux), that one is read:
/// about 5 ns, in steps of 1 to 4 ms.
///
/// # Examples
/// ```
/// use larder::{Clock, SystemClock};
/// let clock = SystemClock::new();
/// assert!(clock.now_ms() > 1_600_000_000_000);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    wall_minus_monotonic_ms: u64,
}

impl SystemClock {
    /// A clock that shows the system's time as it is now, and goes on from there.
    ///
    /// # Examples
    /// ```
    /// let clock = larder::SystemClock::new();
    /// ```
    pub fn new() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        SystemClock { wall_minus_monotonic_ms: wall.saturating_sub(crate::slab::coarse_monotonic_ms()) }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[inline]
    fn now_ms(&self) -> u64 {
        self.wall_minus_monotonic_ms + crate::slab::coarse_monotonic_ms()
    }
}

/// A clock that stands still until it is told to move. Clones share the time.
///
/// # Examples
/// ```
/// use larder::{Cache, ManualClock, SetOptions};
/// use std::time::Duration;
/// let clock = ManualClock::new(1_000);
/// let cache = Cache::builder().max_memory(1 << 20).clock(clock.clone()).build()?;
/// cache.set_with(b"k", b"v", &SetOptions::new().ttl(Duration::from_millis(5)))?;
/// assert!(cache.contains(b"k"));
/// clock.advance(Duration::from_millis(5));
/// assert!(!cache.contains(b"k"));
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// A clock that shows `start_ms` milliseconds since the Unix epoch.
    ///
    /// # Examples
    /// ```
    /// use larder::{Clock, ManualClock};
    /// assert_eq!(ManualClock::new(7).now_ms(), 7);
    /// ```
    pub fn new(start_ms: u64) -> Self {
        ManualClock(Arc::new(AtomicU64::new(start_ms)))
    }

    /// Moves the time to `ms`. Backwards is allowed; nothing that expired comes back by it for good.
    ///
    /// # Examples
    /// ```
    /// use larder::{Clock, ManualClock};
    /// let clock = ManualClock::new(7);
    /// clock.set(9);
    /// assert_eq!(clock.now_ms(), 9);
    /// ```
    pub fn set(&self, ms: u64) {
        self.0.store(ms, Ordering::Release);
    }

    /// Moves the time forward.
    ///
    /// # Examples
    /// ```
    /// use larder::{Clock, ManualClock};
    /// let clock = ManualClock::new(7);
    /// clock.advance(std::time::Duration::from_millis(2));
    /// assert_eq!(clock.now_ms(), 9);
    /// ```
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Ordering::AcqRel);
    }
}

impl Clock for ManualClock {
    #[inline]
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}
