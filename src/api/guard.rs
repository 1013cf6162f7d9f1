//! A value in place.

use std::ops::Deref;
use std::time::Duration;

use super::options::{Metadata, Token};
use crate::engine::{Engine, Reading};

/// A value that was read, as it was then: in place in the cache's memory, which it keeps from being reused.
/// Dereferences to the bytes.
///
/// It belongs to the thread that got it. A thread holds up to eight values in place; further guards hold copies, which
/// are charged to the cache's memory while they live. To keep bytes for long, or to give them to another thread, copy
/// them. A guard that is never dropped costs the memory of its value.
///
/// # Examples
/// ```
/// let cache = larder::Cache::new(1 << 20)?;
/// cache.set(b"k", b"old")?;
/// let guard = cache.get(b"k")?.unwrap();
/// cache.set(b"k", b"new")?;
/// assert_eq!(&*guard, b"old");
/// # Ok::<(), larder::Error>(())
/// ```
///
/// A guard cannot leave its thread:
/// ```compile_fail
/// let cache = larder::Cache::new(1 << 20).unwrap();
/// cache.set(b"k", b"v").unwrap();
/// let guard = cache.get(b"k").unwrap();
/// std::thread::scope(|s| { s.spawn(move || guard.is_some()); });
/// ```
pub struct Guard<'a> {
    reading: Reading<'a>,
    engine: &'a Engine,
}

impl std::fmt::Debug for Guard<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").field("len", &self.len()).field("metadata", &self.metadata()).finish()
    }
}

impl<'a> Guard<'a> {
    pub(super) fn new(reading: Reading<'a>, engine: &'a Engine) -> Guard<'a> {
        Guard { reading, engine }
    }

    /// What else is known of the item, as it was when it was read.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, SetOptions};
    /// let cache = Cache::new(1 << 20)?;
    /// cache.set_with(b"k", b"v", &SetOptions::new().flags(7))?;
    /// assert_eq!(cache.get(b"k")?.map(|g| g.metadata().flags), Some(7));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn metadata(&self) -> Metadata {
        let (attributes, size) = match &self.reading {
            Reading::Pinned(pinned) => (pinned.item().attributes(), pinned.value().len()),
            Reading::Copied(copied) => (copied.attributes, copied.value.len()),
        };
        Metadata::of(self.engine, &attributes, size)
    }

    /// Everything about the item, as the engine knows it, and whether it had been read before it was read now.
    #[cfg(feature = "memcached")]
    pub(crate) fn attributes(&self) -> (crate::slab::Attributes, bool) {
        match &self.reading {
            Reading::Pinned(pinned) => (pinned.item().attributes(), pinned.slot().is_fetched()),
            Reading::Copied(copied) => (copied.attributes, true),
        }
    }

    /// Client flags stored with the value; 0 if none were.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.set(b"k", b"v")?;
    /// assert_eq!(cache.get(b"k")?.map(|g| g.flags()), Some(0));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn flags(&self) -> u32 {
        match &self.reading {
            Reading::Pinned(pinned) => pinned.item().client_flags(),
            Reading::Copied(copied) => copied.attributes.client_flags,
        }
    }

    /// The item's check-and-set token, if it has one.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::builder().tokens(true).build()?;
    /// cache.set(b"k", b"v")?;
    /// assert!(cache.get(b"k")?.unwrap().token().is_some());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn token(&self) -> Option<Token> {
        self.metadata().token
    }

    /// How long the value will live; None for ever.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.set(b"k", b"v")?;
    /// assert_eq!(cache.get(b"k")?.unwrap().ttl_left(), None);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn ttl_left(&self) -> Option<Duration> {
        self.metadata().ttl_left
    }
}

impl Deref for Guard<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.reading {
            Reading::Pinned(pinned) => pinned.value(),
            Reading::Copied(copied) => &copied.value,
        }
    }
}

impl AsRef<[u8]> for Guard<'_> {
    fn as_ref(&self) -> &[u8] {
        self
    }
}
