//! Why an item left, and what a listener is shown of it.

/// Why an item left the cache.
///
/// # Examples
/// ```
/// use larder::{Cache, RemovalCause};
/// use std::sync::{Arc, Mutex};
/// let causes = Arc::new(Mutex::new(Vec::new()));
/// let theirs = Arc::clone(&causes);
/// let cache = Cache::builder().eviction_listener(move |removal| theirs.lock().unwrap().push(removal.cause)).build()?;
/// cache.set(b"k", b"1")?;
/// cache.set(b"k", b"2")?;
/// cache.remove(b"k");
/// assert_eq!(*causes.lock().unwrap(), [RemovalCause::Replaced, RemovalCause::Removed]);
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RemovalCause {
    /// Another value took its place.
    Replaced,
    /// The program removed it: `remove`, `take`, `retain`, an update, `invalidate_if`, `invalidate_prefix`.
    Removed,
    /// Its deadline or idle time was reached.
    Expired,
    /// The eviction policy let it go to make room.
    Evicted,
    /// Its namespace was cleared, or one of its tags invalidated, before its time was over. (When a tag was invalidated
    /// is not kept: what is over by the time it is swept has expired.)
    Flushed,
}

impl RemovalCause {
    /// Every cause.
    ///
    /// # Examples
    /// ```
    /// use larder::RemovalCause;
    /// assert!(RemovalCause::ALL.contains(&RemovalCause::Evicted));
    /// ```
    pub const ALL: [RemovalCause; 5] = [
        RemovalCause::Replaced,
        RemovalCause::Removed,
        RemovalCause::Expired,
        RemovalCause::Evicted,
        RemovalCause::Flushed,
    ];
}

/// An item that has left, as an [eviction listener](crate::CacheBuilder::eviction_listener) is shown it. The bytes are
/// a copy that is the cache's: whoever wants to keep them copies them.
///
/// # Examples
/// ```
/// use larder::Cache;
/// let cache = Cache::builder()
///     .eviction_listener(|removal| println!("{:?} left: {:?}", removal.key, removal.cause))
///     .build()?;
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Removal<'a> {
    /// The namespace in which it was.
    pub namespace: u8,
    /// Its key.
    pub key: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
    /// Why it left.
    pub cause: RemovalCause,
}
