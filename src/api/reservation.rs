//! A value that arrives slowly.

use super::cache::Cache;
use super::options::SetOutcome;
use crate::engine::Reserved;
use crate::error::Result;

/// Memory for one value, to be filled and then published. It is on the cache's ledger, and may be filled by another
/// thread. Dropped without being published, it is abandoned.
///
/// # Examples
/// ```
/// use larder::{Cache, SetOptions};
/// let cache = Cache::new(1 << 20)?;
/// let mut reservation = cache.reserve(b"k", 3, &SetOptions::new())?;
/// let filled = std::thread::spawn(move || reservation.write(b"abc").map(|()| reservation)).join().unwrap()?;
/// assert!(filled.publish()?.stored);
/// # Ok::<(), larder::Error>(())
/// ```
#[must_use = "a reservation that is dropped is abandoned"]
pub struct Reservation {
    cache: Cache,
    reserved: Reserved,
}

impl std::fmt::Debug for Reservation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reservation").field("missing", &self.missing()).finish_non_exhaustive()
    }
}

impl Reservation {
    pub(super) fn new(cache: Cache, reserved: Reserved) -> Reservation {
        Reservation { cache, reserved }
    }

    /// Bytes that are still to come.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, SetOptions};
    /// let cache = Cache::new(1 << 20)?;
    /// let mut reservation = cache.reserve(b"k", 3, &SetOptions::new())?;
    /// reservation.write(b"a")?;
    /// assert_eq!(reservation.missing(), 2);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn missing(&self) -> usize {
        self.reserved.missing()
    }

    /// Adds the next bytes of the value.
    ///
    /// # Errors
    /// [`ItemTooLarge`](crate::ErrorKind::ItemTooLarge) if they are more than are [`missing`](Self::missing); none are
    /// taken then.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, SetOptions};
    /// let cache = Cache::new(1 << 20)?;
    /// let mut reservation = cache.reserve(b"k", 3, &SetOptions::new())?;
    /// assert!(reservation.write(b"abcd").is_err());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.reserved.push(bytes)
    }

    /// The place of the bytes still to come, for what reads them from outside straight to where they stay. What is
    /// there before is of no meaning.
    #[cfg(feature = "memcached")]
    pub(crate) fn rest(&mut self) -> &mut [u8] {
        self.reserved.rest()
    }

    /// Takes note of bytes written there.
    #[cfg(feature = "memcached")]
    pub(crate) fn advance(&mut self, n: usize) {
        self.reserved.advance(n);
    }

    /// Stores the value, under the conditions of its options as they are now.
    ///
    /// # Errors
    /// [`ItemTooLarge`](crate::ErrorKind::ItemTooLarge) if bytes are still missing (the value is abandoned);
    /// [`OutOfMemory`](crate::ErrorKind::OutOfMemory) if the index has no room.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, SetOptions};
    /// let cache = Cache::new(1 << 20)?;
    /// let reservation = cache.reserve(b"k", 3, &SetOptions::new())?;
    /// assert!(reservation.publish().is_err(), "nothing has arrived");
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn publish(mut self) -> Result<SetOutcome> {
        let cache = self.cache.clone();
        cache.engine().publish(&mut self.reserved).map(SetOutcome::of)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.cache.engine().abandon(&mut self.reserved);
    }
}
