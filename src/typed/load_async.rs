//! Load-through of typed values, for futures.

use std::borrow::Borrow;
use std::convert::Infallible;
use std::time::Duration;

use super::cache::TypedCache;
use super::codec::{Codec, KeyCodec};
use super::load::Decoded;
use crate::error::Result;
use crate::loading::{Call, present};
use crate::{Load, LoadError, LoadOptions};

type LoadResult<T, E> = std::result::Result<T, LoadError<E>>;

/// # Load-through for futures
/// As that of [`Cache`](crate::Cache#load-through-for-futures), under any runtime.
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
impl<K, V, C: Codec<V>, KC> TypedCache<K, V, C, KC> {
    /// The value of a key, or else what `load` makes, which is stored.
    ///
    /// # Errors
    /// As [`get_with`](Self::get_with).
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// # pollster::block_on(async {
    /// let squares: TypedCache<u64, u64, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// assert_eq!(squares.get_with_async(&12, async { 12 * 12 }).await?, 144);
    /// # Ok::<(), larder::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn get_with_async<Q: ?Sized>(&self, key: &Q, load: impl Future<Output = V>) -> Result<V>
    where
        K: Borrow<Q>,
        KC: KeyCodec<K, Q>,
    {
        self.load_infallible_async(&self.key_bytes(key)?, self.options(), load).await
    }

    /// The same; what is made lives for `ttl`.
    ///
    /// # Errors
    /// As [`get_with`](Self::get_with).
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// use std::time::Duration;
    /// # pollster::block_on(async {
    /// let squares: TypedCache<u64, u64, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// assert_eq!(squares.get_with_ttl_async(&12, Duration::from_secs(60), async { 12 * 12 }).await?, 144);
    /// # Ok::<(), larder::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn get_with_ttl_async<Q: ?Sized>(
        &self,
        key: &Q,
        ttl: Duration,
        load: impl Future<Output = V>,
    ) -> Result<V>
    where
        K: Borrow<Q>,
        KC: KeyCodec<K, Q>,
    {
        self.load_infallible_async(&self.key_bytes(key)?, &self.options().ttl(ttl), load).await
    }

    /// The value of a key, or else what `load` makes, if it does not fail.
    ///
    /// # Errors
    /// As [`try_get_with`](Self::try_get_with).
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// # pollster::block_on(async {
    /// let numbers: TypedCache<String, u64, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// assert_eq!(numbers.try_get_with_async("12", async { "12".parse() }).await?, 12);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub async fn try_get_with_async<Q: ?Sized, E>(
        &self,
        key: &Q,
        load: impl Future<Output = std::result::Result<V, E>>,
    ) -> LoadResult<V, E>
    where
        K: Borrow<Q>,
        KC: KeyCodec<K, Q>,
        E: Send + Sync + 'static,
    {
        self.load_present_async(&self.key_bytes(key)?, self.options(), load).await
    }

    /// The same; what is made lives for `ttl`.
    ///
    /// # Errors
    /// As [`try_get_with`](Self::try_get_with).
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// use std::time::Duration;
    /// # pollster::block_on(async {
    /// let numbers: TypedCache<String, u64, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// let minute = Duration::from_secs(60);
    /// assert_eq!(numbers.try_get_with_ttl_async("12", minute, async { "12".parse() }).await?, 12);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub async fn try_get_with_ttl_async<Q: ?Sized, E>(
        &self,
        key: &Q,
        ttl: Duration,
        load: impl Future<Output = std::result::Result<V, E>>,
    ) -> LoadResult<V, E>
    where
        K: Borrow<Q>,
        KC: KeyCodec<K, Q>,
        E: Send + Sync + 'static,
    {
        self.load_present_async(&self.key_bytes(key)?, &self.options().ttl(ttl), load).await
    }

    /// The value of a key, or else what `load` makes, if it makes something.
    ///
    /// # Errors
    /// As [`get_with`](Self::get_with).
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// # pollster::block_on(async {
    /// let roots: TypedCache<u64, u64, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// assert_eq!(roots.optionally_get_with_async(&145, async { None }).await?, None);
    /// # Ok::<(), larder::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn optionally_get_with_async<Q: ?Sized>(
        &self,
        key: &Q,
        load: impl Future<Output = Option<V>>,
    ) -> Result<Option<V>>
    where
        K: Borrow<Q>,
        KC: KeyCodec<K, Q>,
    {
        let load = async { Ok::<Load<V>, Infallible>(load.await.into()) };
        self.load_async(key, self.options(), load).await.map_err(LoadError::into_cache_error)
    }

    /// The same; what is made lives for `ttl`.
    ///
    /// # Errors
    /// As [`get_with`](Self::get_with).
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// use std::time::Duration;
    /// # pollster::block_on(async {
    /// let roots: TypedCache<u64, u64, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// let minute = Duration::from_secs(60);
    /// assert_eq!(roots.optionally_get_with_ttl_async(&144, minute, async { Some(12) }).await?, Some(12));
    /// # Ok::<(), larder::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn optionally_get_with_ttl_async<Q: ?Sized>(
        &self,
        key: &Q,
        ttl: Duration,
        load: impl Future<Output = Option<V>>,
    ) -> Result<Option<V>>
    where
        K: Borrow<Q>,
        KC: KeyCodec<K, Q>,
    {
        let load = async { Ok::<Load<V>, Infallible>(load.await.into()) };
        self.load_async(key, &self.options().ttl(ttl), load).await.map_err(LoadError::into_cache_error)
    }

    /// The value of a key, or else what `load` makes, with all options, a time to live among them: see
    /// [`load`](Self::load).
    ///
    /// # Errors
    /// As [`try_get_with`](Self::try_get_with).
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, Load, LoadOptions, TypedCache};
    /// use std::time::Duration;
    /// # pollster::block_on(async {
    /// let squares: TypedCache<u64, u64, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// let minute = LoadOptions::new().ttl(Duration::from_secs(60));
    /// let load = async { Ok::<_, std::io::Error>(Load::Value(144)) };
    /// assert_eq!(squares.load_async(&12, &minute, load).await?, Some(144));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub async fn load_async<Q: ?Sized, E>(
        &self,
        key: &Q,
        options: &LoadOptions,
        load: impl Future<Output = std::result::Result<Load<V>, E>>,
    ) -> LoadResult<Option<V>, E>
    where
        K: Borrow<Q>,
        KC: KeyCodec<K, Q>,
        E: Send + Sync + 'static,
    {
        self.load_bytes_async(&self.key_bytes(key)?, options, load).await
    }

    pub(super) async fn load_bytes_async<E: Send + Sync + 'static>(
        &self,
        key: &[u8],
        options: &LoadOptions,
        load: impl Future<Output = std::result::Result<Load<V>, E>>,
    ) -> LoadResult<Option<V>, E> {
        let call = Call { cache: self.cache(), key, options, heeds_absence: true };
        call.run_async(&Decoded { cache: self, key_len: key.len() }, load).await
    }

    pub(super) async fn load_infallible_async(
        &self,
        key: &[u8],
        options: &LoadOptions,
        load: impl Future<Output = V>,
    ) -> Result<V> {
        let load = async { Ok::<V, Infallible>(load.await) };
        self.load_present_async(key, options, load).await.map_err(LoadError::into_cache_error)
    }

    pub(super) async fn load_present_async<E: Send + Sync + 'static>(
        &self,
        key: &[u8],
        options: &LoadOptions,
        load: impl Future<Output = std::result::Result<V, E>>,
    ) -> LoadResult<V, E> {
        let call = Call { cache: self.cache(), key, options, heeds_absence: false };
        let form = Decoded { cache: self, key_len: key.len() };
        present(call.run_async(&form, async { load.await.map(Load::Value) }).await?)
    }
}
