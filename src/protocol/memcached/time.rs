//! A clock that a test can move from outside: by the command `debugtime`.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use crate::clock::Clock;

/// A clock that runs as another one does, moved by a number of seconds, or stopped.
///
/// # Examples
/// ```
/// use larder::protocol::memcached::DebugClock;
/// use larder::{Clock, ManualClock};
/// let clock = DebugClock::new(ManualClock::new(5_000));
/// clock.move_by(2);
/// assert_eq!(clock.now_ms(), 7_000);
/// ```
#[derive(Debug, Clone)]
pub struct DebugClock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    below: Box<dyn Clock>,
    offset_ms: AtomicI64,
    /// The time at which it stands; 0 while it runs.
    paused_at: AtomicU64,
}

impl DebugClock {
    /// A clock that shows what `below` shows.
    ///
    /// # Examples
    /// See [`DebugClock`].
    pub fn new(below: impl Clock) -> DebugClock {
        DebugClock(Arc::new(Inner {
            below: Box::new(below),
            offset_ms: AtomicI64::new(0),
            paused_at: AtomicU64::new(0),
        }))
    }

    /// Moves it by so many seconds, back if they are negative.
    ///
    /// # Examples
    /// See [`DebugClock`].
    pub fn move_by(&self, seconds: i64) {
        self.0.offset_ms.fetch_add(seconds.saturating_mul(1000), Relaxed);
    }

    /// Stops it.
    ///
    /// # Examples
    /// ```
    /// use larder::protocol::memcached::DebugClock;
    /// use larder::{Clock, ManualClock};
    /// let below = ManualClock::new(1_000);
    /// let clock = DebugClock::new(below.clone());
    /// clock.pause();
    /// below.set(9_000);
    /// assert_eq!(clock.now_ms(), 1_000);
    /// clock.resume();
    /// assert_eq!(clock.now_ms(), 9_000);
    /// ```
    pub fn pause(&self) {
        self.0.paused_at.store(self.0.below.now_ms().max(1), Relaxed);
    }

    /// Lets it run on from what the clock below shows.
    ///
    /// # Examples
    /// See [`pause`](Self::pause).
    pub fn resume(&self) {
        self.0.paused_at.store(0, Relaxed);
    }
}

impl Clock for DebugClock {
    fn now_ms(&self) -> u64 {
        let base = match self.0.paused_at.load(Relaxed) {
            0 => self.0.below.now_ms(),
            at => at,
        };
        base.saturating_add_signed(self.0.offset_ms.load(Relaxed))
    }
}
