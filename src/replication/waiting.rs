//! Writers that wait until replicas have what they wrote.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::api::Cache;

/// Up to which positions the replicas that follow have applied everything.
#[derive(Debug, Default)]
pub(super) struct Progress {
    known: Mutex<Known>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Known {
    positions: Vec<u64>,
    has_ended: bool,
}

impl Known {
    fn count(&self, position: u64) -> usize {
        self.positions.iter().filter(|&&has| has >= position).count()
    }
}

impl Progress {
    pub(super) fn tell(&self, positions: impl Iterator<Item = u64>) {
        let mut known = self.known.lock();
        known.positions.clear();
        known.positions.extend(positions);
        self.changed.notify_all();
    }

    /// There is no primary any more: nobody needs to wait.
    pub(super) fn end(&self) {
        let mut known = self.known.lock();
        known.positions.clear();
        known.has_ended = true;
        self.changed.notify_all();
    }
}

/// Waits for replicas, in any thread but the one that drives the [`Primary`](super::Primary), which would wait for
/// itself. Clones are the same.
///
/// # Examples
/// ```
/// use larder::{Cache, replication::{Primary, PrimaryOptions}};
/// use std::time::Duration;
/// let cache = Cache::new(1 << 20)?;
/// let primary = Primary::new(&cache, PrimaryOptions::new())?;
/// let writer = primary.replica_wait();
/// cache.set(b"k", b"v")?;
/// assert_eq!(writer.wait(1, Duration::from_millis(5)), 0);  // there are no replicas
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ReplicaWait {
    cache: Cache,
    progress: Arc<Progress>,
}

impl ReplicaWait {
    pub(super) fn new(cache: &Cache, progress: &Arc<Progress>) -> ReplicaWait {
        ReplicaWait { cache: cache.clone(), progress: Arc::clone(progress) }
    }

    /// Waits until so many replicas have applied all that was written before this call, `timeout` has passed, or the
    /// primary is none any more. Returns how many have.
    ///
    /// # Examples
    /// See [`ReplicaWait`].
    pub fn wait(&self, replicas: usize, timeout: Duration) -> usize {
        let position = self.cache.engine().ctx.effects.next();
        let until = Instant::now().checked_add(timeout);
        let mut known = self.progress.known.lock();
        loop {
            let count = known.count(position);
            if count >= replicas || known.has_ended {
                return count;
            }
            match until {
                Some(until) if self.progress.changed.wait_until(&mut known, until).timed_out() => {
                    return known.count(position);
                }
                Some(_) => {}
                None => self.progress.changed.wait(&mut known),
            }
        }
    }
}
