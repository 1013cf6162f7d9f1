//! The value of an entry, or else what a future makes.

use std::convert::Infallible;

use super::codec::Codec;
use super::entry::EntrySelector;
use crate::error::Result;
use crate::{Load, LoadError};

/// # For futures
/// What inserts where nothing is waits for a future, as
/// [`TypedCache::get_with_async`](crate::TypedCache::get_with_async) does.
///
/// What changes a value depending on what it is (`and_compute_with`, `and_upsert_with`) has no such twin: its closure
/// decides on the value of one moment and may be asked again, so it should not wait for anything. A program that must
/// wait in between notes the value's [`Token`](crate::Token) with
/// [`Cache::get_with_token`](crate::Cache::get_with_token), waits, and stores with
/// [`Cache::compare_and_swap`](crate::Cache::compare_and_swap), which fails if the value has changed meanwhile.
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
impl<K, V, C: Codec<V>, KC> EntrySelector<'_, K, V, C, KC> {
    /// The value that is there, or else what the future makes, which is stored.
    ///
    /// # Errors
    /// As [`TypedCache::get_with`](crate::TypedCache::get_with).
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// # pollster::block_on(async {
    /// let hits: TypedCache<String, u64, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// assert_eq!(hits.entry("home")?.or_insert_with_async(async { 7 }).await?, 7);
    /// assert_eq!(hits.entry("home")?.or_insert_with_async(async { 8 }).await?, 7);
    /// # Ok::<(), larder::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn or_insert_with_async(self, load: impl Future<Output = V>) -> Result<V> {
        self.cache.load_infallible_async(&self.key, self.cache.options(), load).await
    }

    /// The value that is there, or else what the future makes, if it does not fail.
    ///
    /// # Errors
    /// As [`TypedCache::try_get_with`](crate::TypedCache::try_get_with).
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// # pollster::block_on(async {
    /// let numbers: TypedCache<String, u64, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// assert_eq!(numbers.entry("12")?.or_try_insert_with_async(async { "12".parse::<u64>() }).await?, 12);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub async fn or_try_insert_with_async<E: Send + Sync + 'static>(
        self,
        load: impl Future<Output = std::result::Result<V, E>>,
    ) -> std::result::Result<V, LoadError<E>> {
        self.cache.load_present_async(&self.key, self.cache.options(), load).await
    }

    /// The value that is there, or else what the future makes, if it makes something.
    ///
    /// # Errors
    /// As [`TypedCache::get_with`](crate::TypedCache::get_with).
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// # pollster::block_on(async {
    /// let roots: TypedCache<u64, u64, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// assert_eq!(roots.entry(&145)?.or_optionally_insert_with_async(async { None }).await?, None);
    /// # Ok::<(), larder::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn or_optionally_insert_with_async(self, load: impl Future<Output = Option<V>>) -> Result<Option<V>> {
        let load = async { Ok::<Load<V>, Infallible>(load.await.into()) };
        self.cache.load_bytes_async(&self.key, self.cache.options(), load).await.map_err(LoadError::into_cache_error)
    }
}
