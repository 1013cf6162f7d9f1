//! Publishing once a period.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::MetricsPublisher;
use crate::error::{Error, ErrorKind, Result};

/// Publishes until it is dropped: what [`MetricsPublisher::every`] returns. Dropping it waits for a publication that is
/// going on, publishes once more, so that nothing counted is lost, and ends the thread.
///
/// # Examples
/// ```
/// use larder::{Cache, MetricsPublisher};
/// use std::time::Duration;
/// let cache = Cache::new(1 << 20)?;
/// let publishing = MetricsPublisher::new(&cache).every(Duration::from_secs(60))?;
/// // ... the program runs ...
/// drop(publishing);
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "publishing ends when this is dropped"]
pub struct PublishingThread {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl PublishingThread {
    pub(super) fn start(publisher: MetricsPublisher, period: Duration) -> Result<PublishingThread> {
        if period.is_zero() {
            return Err(Error::new(
                ErrorKind::InvalidConfig,
                "the period is 0; give the time between two publications",
            ));
        }
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let theirs = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name(format!("{}-metrics", publisher.cache.name()))
            .spawn(move || Self::run(publisher, period, &theirs))
            .map_err(|e| Error::os("cannot start a thread that publishes metrics; call `publish` instead", e))?;
        Ok(PublishingThread { stop, thread: Some(thread) })
    }

    fn run(mut publisher: MetricsPublisher, period: Duration, stop: &(Mutex<bool>, Condvar)) {
        loop {
            publisher.publish();
            let next = Instant::now().checked_add(period);
            let mut stopped = stop.0.lock();
            while !*stopped {
                // Without a next time - it is too far away for the system's clock - only the end is waited for.
                let is_over = match next {
                    Some(next) => stop.1.wait_until(&mut stopped, next).timed_out(),
                    None => {
                        stop.1.wait(&mut stopped);
                        false
                    }
                };
                if is_over {
                    break;
                }
            }
            if *stopped {
                drop(stopped);
                publisher.publish();
                return;
            }
        }
    }
}

impl Drop for PublishingThread {
    fn drop(&mut self) {
        *self.stop.0.lock() = true;
        self.stop.1.notify_all();
        if let Some(thread) = self.thread.take() {
            // If the exporter has panicked there is nothing to be done about it here.
            let _ = thread.join();
        }
    }
}
