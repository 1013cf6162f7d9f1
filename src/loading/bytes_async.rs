//! Load-through of bytes: methods of [`Cache`] for futures.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use super::bytes::present;
use super::core::{Call, Form};
use super::options::{Load, LoadError, LoadOptions};
use crate::error::Result;
use crate::{Cache, Guard};

type LoadResult<T, E> = std::result::Result<T, LoadError<E>>;

/// Bytes that may go to other threads.
struct Owned;

impl<'c> Form<'c> for Owned {
    type Value = Arc<[u8]>;
    type Out = Arc<[u8]>;

    fn hit(&self, guard: Guard<'c>) -> Result<Option<Arc<[u8]>>> {
        Ok(Some(Arc::from(&*guard)))
    }

    fn shared(&self, bytes: Arc<[u8]>) -> Result<Option<Arc<[u8]>>> {
        Ok(Some(bytes))
    }

    fn fresh(&self, value: Arc<[u8]>) -> Result<(Arc<[u8]>, Arc<[u8]>)> {
        Ok((Arc::clone(&value), value))
    }
}

/// # Load-through for futures
/// As load-through for threads, with loaders that are futures, under any runtime. A loader is polled by the task of the
/// caller whose loader it is; if that future is dropped, the next who waits polls its own. The bytes are returned as a
/// copy that may go to other threads. Threads and futures that want the same key wait for each other's loaders.
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
impl Cache {
    /// The value of a key, or else what `load` makes, which is stored as by [`set`](Self::set).
    ///
    /// # Errors
    /// As [`get_with`](Self::get_with).
    ///
    /// # Examples
    /// ```
    /// # pollster::block_on(async {
    /// let cache = larder::Cache::new(1 << 20)?;
    /// let value = cache.get_with_async(b"k", async { b"made".to_vec() }).await?;
    /// assert_eq!(&*value, b"made");
    /// # Ok::<(), larder::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn get_with_async<B: Into<Arc<[u8]>>>(
        &self,
        key: &[u8],
        load: impl Future<Output = B>,
    ) -> Result<Arc<[u8]>> {
        let load = async { Ok::<B, Infallible>(load.await) };
        self.load_present_async(key, &LoadOptions::new(), load).await.map_err(LoadError::into_cache_error)
    }

    /// The same; what is made lives for `ttl`.
    ///
    /// # Errors
    /// As [`get_with`](Self::get_with).
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// # pollster::block_on(async {
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.get_with_ttl_async(b"k", Duration::from_secs(60), async { b"v".to_vec() }).await?;
    /// assert!(cache.metadata(b"k").unwrap().ttl_left.is_some());
    /// # Ok::<(), larder::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn get_with_ttl_async<B: Into<Arc<[u8]>>>(
        &self,
        key: &[u8],
        ttl: Duration,
        load: impl Future<Output = B>,
    ) -> Result<Arc<[u8]>> {
        let load = async { Ok::<B, Infallible>(load.await) };
        self.load_present_async(key, &LoadOptions::new().ttl(ttl), load).await.map_err(LoadError::into_cache_error)
    }

    /// The value of a key, or else what `load` makes, if it does not fail.
    ///
    /// # Errors
    /// As [`try_get_with`](Self::try_get_with).
    ///
    /// # Examples
    /// ```
    /// # pollster::block_on(async {
    /// let cache = larder::Cache::new(1 << 20)?;
    /// let result = cache.try_get_with_async(b"k", async { Err::<Vec<u8>, _>("down") }).await;
    /// assert_eq!(result.unwrap_err().loader(), Some(&"down"));
    /// # Ok::<(), larder::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn try_get_with_async<B, E>(
        &self,
        key: &[u8],
        load: impl Future<Output = std::result::Result<B, E>>,
    ) -> LoadResult<Arc<[u8]>, E>
    where
        B: Into<Arc<[u8]>>,
        E: Send + Sync + 'static,
    {
        self.load_present_async(key, &LoadOptions::new(), load).await
    }

    /// The same; what is made lives for `ttl`.
    ///
    /// # Errors
    /// As [`try_get_with`](Self::try_get_with).
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// # pollster::block_on(async {
    /// let cache = larder::Cache::new(1 << 20)?;
    /// let load = async { "7".parse::<u8>().map(|n| vec![n]) };
    /// assert_eq!(&*cache.try_get_with_ttl_async(b"k", Duration::from_secs(5), load).await?, [7]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub async fn try_get_with_ttl_async<B, E>(
        &self,
        key: &[u8],
        ttl: Duration,
        load: impl Future<Output = std::result::Result<B, E>>,
    ) -> LoadResult<Arc<[u8]>, E>
    where
        B: Into<Arc<[u8]>>,
        E: Send + Sync + 'static,
    {
        self.load_present_async(key, &LoadOptions::new().ttl(ttl), load).await
    }

    /// The value of a key, or else what `load` makes, if it makes something.
    ///
    /// # Errors
    /// As [`get_with`](Self::get_with).
    ///
    /// # Examples
    /// ```
    /// # pollster::block_on(async {
    /// let cache = larder::Cache::new(1 << 20)?;
    /// assert!(cache.optionally_get_with_async(b"k", async { None::<Vec<u8>> }).await?.is_none());
    /// # Ok::<(), larder::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn optionally_get_with_async<B: Into<Arc<[u8]>>>(
        &self,
        key: &[u8],
        load: impl Future<Output = Option<B>>,
    ) -> Result<Option<Arc<[u8]>>> {
        let load = async { Ok::<Load<B>, Infallible>(load.await.into()) };
        self.load_async(key, &LoadOptions::new(), load).await.map_err(LoadError::into_cache_error)
    }

    /// The same; what is made lives for `ttl`.
    ///
    /// # Errors
    /// As [`get_with`](Self::get_with).
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// # pollster::block_on(async {
    /// let cache = larder::Cache::new(1 << 20)?;
    /// let load = async { Some(b"v".to_vec()) };
    /// let found = cache.optionally_get_with_ttl_async(b"k", Duration::from_secs(5), load).await?;
    /// assert!(found.is_some() && cache.metadata(b"k").unwrap().ttl_left.is_some());
    /// # Ok::<(), larder::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn optionally_get_with_ttl_async<B: Into<Arc<[u8]>>>(
        &self,
        key: &[u8],
        ttl: Duration,
        load: impl Future<Output = Option<B>>,
    ) -> Result<Option<Arc<[u8]>>> {
        let load = async { Ok::<Load<B>, Infallible>(load.await.into()) };
        self.load_async(key, &LoadOptions::new().ttl(ttl), load).await.map_err(LoadError::into_cache_error)
    }

    /// The value of a key, or else what `load` makes, with all options, a time to live among them: see
    /// [`load`](Self::load).
    ///
    /// # Errors
    /// As [`try_get_with`](Self::try_get_with).
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, Load, LoadOptions};
    /// use std::time::Duration;
    /// # pollster::block_on(async {
    /// let cache = Cache::new(1 << 20)?;
    /// let minute = LoadOptions::new().ttl(Duration::from_secs(60));
    /// let load = async { Ok::<_, std::io::Error>(Load::Value(b"v".to_vec())) };
    /// assert_eq!(cache.load_async(b"k", &minute, load).await?.as_deref(), Some(&b"v"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub async fn load_async<B, E>(
        &self,
        key: &[u8],
        options: &LoadOptions,
        load: impl Future<Output = std::result::Result<Load<B>, E>>,
    ) -> LoadResult<Option<Arc<[u8]>>, E>
    where
        B: Into<Arc<[u8]>>,
        E: Send + Sync + 'static,
    {
        let call = Call { cache: self, key, options, heeds_absence: true };
        call.run_async(&Owned, async { load.await.map(|load| load.map(Into::into)) }).await
    }

    async fn load_present_async<B, E>(
        &self,
        key: &[u8],
        options: &LoadOptions,
        load: impl Future<Output = std::result::Result<B, E>>,
    ) -> LoadResult<Arc<[u8]>, E>
    where
        B: Into<Arc<[u8]>>,
        E: Send + Sync + 'static,
    {
        let call = Call { cache: self, key, options, heeds_absence: false };
        present(call.run_async(&Owned, async { load.await.map(|value| Load::Value(value.into())) }).await?)
    }
}
