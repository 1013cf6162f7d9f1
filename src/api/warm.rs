//! Warm restart, as programs see it: how the cache has begun, and closing it.

use super::cache::Cache;
use crate::error::Result;
use crate::warm::Start;

/// # Warm restart
/// A cache that is built with [`warm_restart`](crate::CacheBuilder::warm_restart) keeps its items in a file, and leaves
/// them there for the next one when it is closed: by [`close`](Self::close), or when its last handle is dropped.
impl Cache {
    /// How this cache has begun: with what the last one held, or empty, and why. None without a warm restart.
    ///
    /// # Examples
    /// See [`WarmRestart`](crate::WarmRestart).
    pub fn start(&self) -> Option<&Start> {
        self.start_report()
    }

    /// Ends the cache, and says whether all went well. It is what dropping the last handle does, but that cannot say
    /// so; an [event](crate::EngineEventKind::NotKept) does then.
    ///
    /// With a warm restart, everything is left in its folder for the next cache. The time that this takes depends on
    /// the number of items, and on how much a disk has still to write. With an append-only file, that is brought to the
    /// disk, whatever `fsync` says.
    ///
    /// # Errors
    /// [`ErrorKind::NotAllowed`](crate::ErrorKind::NotAllowed) if there are other handles, on which the cache then goes
    /// on, or if a snapshot or the like still uses it; [`ErrorKind::Storage`](crate::ErrorKind::Storage) if what is to
    /// be left could not be written. The next start is cold then. And what a log says that has not got everything,
    /// or what stood in the way of the [final snapshot](crate::CacheBuilder::snapshots): the items are left all the
    /// same.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// let other = cache.clone();
    /// assert!(cache.close().is_err());
    /// other.close()?;
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn close(self) -> Result<()> {
        self.shut_down()
    }
}
