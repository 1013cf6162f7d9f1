//! Memory of the program's own that counts towards the cache's limit.

use super::Cache;
use crate::error::Result;

/// Bytes that the program keeps itself, such as the buffers of its connections, and that are to count towards the
/// cache's limit: [`Cache::charge`]. They count until this is dropped, and keep the cache alive.
///
/// They use up [reserved memory](crate::CacheBuilder::reserved_memory) first. Where they are more than that, items may
/// use less, and leave with the next writes, or by maintenance. O(1): two atomic operations.
///
/// # Examples
/// ```
/// use larder::Cache;
/// let cache = Cache::builder().max_memory(4 << 20).reserved_memory(1 << 20).build()?;
/// let mut buffers = cache.charge(512 << 10)?;
/// assert_eq!(cache.memory().outside, 512 << 10);
/// buffers.resize(2 << 20)?;                                 // 1 MiB less for items
/// drop(buffers);
/// assert_eq!(cache.memory().outside, 0);
/// # Ok::<(), larder::Error>(())
/// ```
pub struct Charge {
    cache: Cache,
    bytes: u64,
}

impl std::fmt::Debug for Charge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Charge").field("cache", &self.cache.name()).field("bytes", &self.bytes).finish()
    }
}

impl Charge {
    /// How many bytes count.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// assert_eq!(cache.charge(100)?.bytes(), 100);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Changes how many bytes count. Fewer are always possible.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfMemory`](crate::ErrorKind::OutOfMemory) if too little would be left for items; the charge is
    /// then as it was.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// let mut buffers = cache.charge(0)?;
    /// buffers.resize(64 << 10)?;
    /// assert!(buffers.resize(1 << 20).is_err());
    /// assert_eq!(buffers.bytes(), 64 << 10);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn resize(&mut self, bytes: u64) -> Result<()> {
        if bytes != self.bytes {
            self.cache.engine().recharge(self.bytes, bytes)?;
            self.bytes = bytes;
        }
        Ok(())
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let _ = self.resize(0);
    }
}

impl Cache {
    /// Counts `bytes` of the program's own memory towards this cache's limit, until the [`Charge`] is dropped.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfMemory`](crate::ErrorKind::OutOfMemory) if too little would be left for items.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// let buffers = cache.charge(100 << 10)?;
    /// assert!(cache.charge(1 << 20).is_err());
    /// # drop(buffers);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn charge(&self, bytes: u64) -> Result<Charge> {
        let mut charge = Charge { cache: self.clone(), bytes: 0 };
        charge.resize(bytes)?;
        Ok(charge)
    }
}
