//! Load-through of bytes: methods of [`Cache`] for threads.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use super::core::{Call, Form};
use super::options::{Load, LoadError, LoadOptions, LoadStats, Loaded};
use crate::error::{Error, ErrorKind, Result};
use crate::{Cache, Guard};

type LoadResult<T, E> = std::result::Result<T, LoadError<E>>;

/// Bytes in place where they are there.
struct InPlace;

impl<'c> Form<'c> for InPlace {
    type Value = Arc<[u8]>;
    type Out = Loaded<'c>;

    fn hit(&self, guard: Guard<'c>) -> Result<Option<Loaded<'c>>> {
        Ok(Some(Loaded::there(guard)))
    }

    fn shared(&self, bytes: Arc<[u8]>) -> Result<Option<Loaded<'c>>> {
        Ok(Some(Loaded::fresh(bytes)))
    }

    fn fresh(&self, value: Arc<[u8]>) -> Result<(Arc<[u8]>, Loaded<'c>)> {
        Ok((Arc::clone(&value), Loaded::fresh(value)))
    }
}

impl<V> Load<V> {
    /// The same with another value.
    pub(crate) fn map<T>(self, f: impl FnOnce(V) -> T) -> Load<T> {
        match self {
            Load::Value(value) => Load::Value(f(value)),
            Load::With(value, options) => Load::With(f(value), options),
            Load::Absent => Load::Absent,
            Load::AbsentFor(ttl) => Load::AbsentFor(ttl),
        }
    }
}

/// What a call that does not heed absences came to, whose loader cannot answer that there is none.
pub(crate) fn present<T, E>(found: Option<T>) -> LoadResult<T, E> {
    found.ok_or_else(|| Error::new(ErrorKind::NotFound, "a loader that always has a value brought none").into())
}

/// # Load-through
/// What is there is returned; else a loader brings it, and it is stored and returned.
///
/// - **One loader a key.** Callers that come while it runs wait, threads and futures alike, and share its value or its
///   error. Nothing is kept of an error: the next caller's loader runs. If a loader panics, or its future is dropped,
///   those who wait look again, and the next one's loader runs.
/// - **Callers get what was loaded**, stored or not. It is not stored if it is too large, if there is no room under
///   `noeviction`, or if the policy turns it away: [`LoadStats::not_stored`] counts these.
/// - **Nothing stale is stored.** If the key is written or removed, or its namespace cleared, while a loader runs, then
///   what it brings goes to those who wait already, and is not stored; whoever comes after that write or removal does
///   not wait for it, but begins another load. Eviction and expiry do not count as removal.
/// - **Loads in flight are on the ledger** and take at most a sixteenth of the memory limit (16 KiB in caches of less
///   than 256 KiB; a load takes some 300 bytes and its key). Beyond that a loader runs for its caller alone, and its
///   value is not stored ([`LoadStats::unshared`] counts these); nothing is loaded ahead of its end.
/// - **Loaders run without any lock** and may use the cache. One that wants a load that it is itself part of, on its
///   own thread or through loaders on other threads, gets [`RecursiveLoad`](ErrorKind::RecursiveLoad). (Among futures
///   that is noticed if it awaits that load itself. A loader that waits for another task or thread of its own which
///   wants the same key waits for ever.)
/// - **Cost.** A hit costs what [`Cache::get`] costs. A load takes a lock of the table of loads twice, and the value's
///   bytes are copied once for those who may wait.
impl Cache {
    /// The value of a key, or else what `load` makes, which is stored as by [`set`](Self::set).
    ///
    /// # Errors
    /// [`RecursiveLoad`](ErrorKind::RecursiveLoad), [`TooManyGuards`](ErrorKind::TooManyGuards).
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// assert_eq!(&*cache.get_with(b"k", || b"made".to_vec())?, b"made");
    /// assert_eq!(&*cache.get_with(b"k", || b"not made again".to_vec())?, b"made");
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn get_with<B: Into<Arc<[u8]>>>(&self, key: &[u8], load: impl FnOnce() -> B) -> Result<Loaded<'_>> {
        self.load_present(key, &LoadOptions::new(), || Ok::<B, Infallible>(load())).map_err(LoadError::into_cache_error)
    }

    /// The same; what is made lives for `ttl`.
    ///
    /// # Errors
    /// As [`get_with`](Self::get_with).
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.get_with_ttl(b"k", Duration::from_secs(60), || b"v".to_vec())?;
    /// assert!(cache.metadata(b"k").unwrap().ttl_left.is_some());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn get_with_ttl<B: Into<Arc<[u8]>>>(
        &self,
        key: &[u8],
        ttl: Duration,
        load: impl FnOnce() -> B,
    ) -> Result<Loaded<'_>> {
        let options = LoadOptions::new().ttl(ttl);
        self.load_present(key, &options, || Ok::<B, Infallible>(load())).map_err(LoadError::into_cache_error)
    }

    /// The value of a key, or else what `load` makes, if it does not fail.
    ///
    /// # Errors
    /// [`LoadError::Loader`] with the loader's error, shared by all who waited for it; otherwise as
    /// [`get_with`](Self::get_with).
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// let value = cache.try_get_with(b"file", || std::fs::read("/no/such/file"));
    /// assert_eq!(value.unwrap_err().loader().unwrap().kind(), std::io::ErrorKind::NotFound);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn try_get_with<B, E>(
        &self,
        key: &[u8],
        load: impl FnOnce() -> std::result::Result<B, E>,
    ) -> LoadResult<Loaded<'_>, E>
    where
        B: Into<Arc<[u8]>>,
        E: Send + Sync + 'static,
    {
        self.load_present(key, &LoadOptions::new(), load)
    }

    /// The same; what is made lives for `ttl`.
    ///
    /// # Errors
    /// As [`try_get_with`](Self::try_get_with).
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let cache = larder::Cache::new(1 << 20)?;
    /// let value = cache.try_get_with_ttl(b"k", Duration::from_secs(5), || "7".parse::<u8>().map(|n| vec![n]));
    /// assert_eq!(&*value?, [7]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_get_with_ttl<B, E>(
        &self,
        key: &[u8],
        ttl: Duration,
        load: impl FnOnce() -> std::result::Result<B, E>,
    ) -> LoadResult<Loaded<'_>, E>
    where
        B: Into<Arc<[u8]>>,
        E: Send + Sync + 'static,
    {
        self.load_present(key, &LoadOptions::new().ttl(ttl), load)
    }

    /// The value of a key, or else what `load` makes, if it makes something. To remember that it made nothing, see
    /// [`LoadOptions::negative_ttl`] and [`load`](Self::load).
    ///
    /// # Errors
    /// As [`get_with`](Self::get_with).
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// assert!(cache.optionally_get_with(b"k", || None::<Vec<u8>>)?.is_none());
    /// assert_eq!(&*cache.optionally_get_with(b"k", || Some(b"v".to_vec()))?.unwrap(), b"v");
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn optionally_get_with<B: Into<Arc<[u8]>>>(
        &self,
        key: &[u8],
        load: impl FnOnce() -> Option<B>,
    ) -> Result<Option<Loaded<'_>>> {
        self.load(key, &LoadOptions::new(), || Ok::<_, Infallible>(load().into())).map_err(LoadError::into_cache_error)
    }

    /// The same; what is made lives for `ttl`.
    ///
    /// # Errors
    /// As [`get_with`](Self::get_with).
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let cache = larder::Cache::new(1 << 20)?;
    /// let found = cache.optionally_get_with_ttl(b"k", Duration::from_secs(5), || Some(b"v".to_vec()))?;
    /// assert!(found.is_some() && cache.metadata(b"k").unwrap().ttl_left.is_some());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn optionally_get_with_ttl<B: Into<Arc<[u8]>>>(
        &self,
        key: &[u8],
        ttl: Duration,
        load: impl FnOnce() -> Option<B>,
    ) -> Result<Option<Loaded<'_>>> {
        let options = LoadOptions::new().ttl(ttl);
        self.load(key, &options, || Ok::<_, Infallible>(load().into())).map_err(LoadError::into_cache_error)
    }

    /// The value of a key, or else what `load` makes, with all options: how long it lives, reloading ahead of its end,
    /// remembering that there is none. The loader may fail, may find nothing, and may say itself how its value is kept.
    ///
    /// # Errors
    /// As [`try_get_with`](Self::try_get_with).
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, Load, LoadOptions, SetOptions};
    /// use std::time::Duration;
    /// let cache = Cache::new(1 << 20)?;
    /// let found = cache.load(b"token", &LoadOptions::new(), || {
    ///     let (token, valid) = (b"abc".to_vec(), Duration::from_secs(300)); // as the server says
    ///     Ok::<_, std::io::Error>(Load::With(token, SetOptions::new().ttl(valid)))
    /// })?;
    /// assert_eq!(found.as_deref(), Some(&b"abc"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn load<B, E>(
        &self,
        key: &[u8],
        options: &LoadOptions,
        load: impl FnOnce() -> std::result::Result<Load<B>, E>,
    ) -> LoadResult<Option<Loaded<'_>>, E>
    where
        B: Into<Arc<[u8]>>,
        E: Send + Sync + 'static,
    {
        let call = Call { cache: self, key, options, heeds_absence: true };
        call.run(&InPlace, || load().map(|load| load.map(Into::into)))
    }

    /// What load-through has done so far.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.get_with(b"k", || b"v".to_vec())?;
    /// assert_eq!((cache.load_stats().loads, cache.load_stats().failures), (1, 0));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn load_stats(&self) -> LoadStats {
        LoadStats::of(self)
    }

    fn load_present<B, E>(
        &self,
        key: &[u8],
        options: &LoadOptions,
        load: impl FnOnce() -> std::result::Result<B, E>,
    ) -> LoadResult<Loaded<'_>, E>
    where
        B: Into<Arc<[u8]>>,
        E: Send + Sync + 'static,
    {
        let call = Call { cache: self, key, options, heeds_absence: false };
        present(call.run(&InPlace, || load().map(|value| Load::Value(value.into())))?)
    }
}
