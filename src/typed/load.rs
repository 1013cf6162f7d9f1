//! Load-through of typed values, for threads.

use std::borrow::Borrow;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use super::cache::TypedCache;
use super::codec::{Codec, KeyCodec};
use crate::error::Result;
use crate::loading::{Call, Form, present};
use crate::{Guard, Load, LoadError, LoadOptions};

type LoadResult<T, E> = std::result::Result<T, LoadError<E>>;

/// Values, decoded from what is there or from what others have loaded.
pub(super) struct Decoded<'t, K, V, C, KC> {
    pub(super) cache: &'t TypedCache<K, V, C, KC>,
    pub(super) key_len: usize,
}

impl<'c, K, V, C: Codec<V>, KC> Form<'c> for Decoded<'_, K, V, C, KC> {
    type Value = V;
    type Out = V;

    fn hit(&self, guard: Guard<'c>) -> Result<Option<V>> {
        self.cache.decode_found(self.key_len, &guard)
    }

    fn shared(&self, bytes: Arc<[u8]>) -> Result<Option<V>> {
        self.cache.decode_found(self.key_len, &bytes)
    }

    fn fresh(&self, value: V) -> Result<(Arc<[u8]>, V)> {
        let bytes = self.cache.with_value(&value, |bytes| Arc::from(bytes))?;
        Ok((bytes, value))
    }
}

/// # Load-through
/// As that of [`Cache`](crate::Cache#load-through), with values decoded and encoded. The caller whose loader ran gets
/// what it made; those who waited decode it from its bytes. How values are stored and loaded where nothing else is said
/// is a [setting of the handle](Self::load_options).
impl<K, V, C: Codec<V>, KC> TypedCache<K, V, C, KC> {
    /// The value of a key, or else what `load` makes, which is stored.
    ///
    /// # Errors
    /// [`Encode`](crate::ErrorKind::Encode), [`Decode`](crate::ErrorKind::Decode),
    /// [`RecursiveLoad`](crate::ErrorKind::RecursiveLoad), [`TooManyGuards`](crate::ErrorKind::TooManyGuards).
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// let squares: TypedCache<u64, u64, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// assert_eq!(squares.get_with(&12, || 12 * 12)?, 144);
    /// assert_eq!(squares.get(&12)?, Some(144));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn get_with<Q: ?Sized>(&self, key: &Q, load: impl FnOnce() -> V) -> Result<V>
    where
        K: Borrow<Q>,
        KC: KeyCodec<K, Q>,
    {
        self.with_key(key, |key| self.load_infallible(key, self.options(), load))?
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
    /// let squares: TypedCache<u64, u64, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// assert_eq!(squares.get_with_ttl(&12, Duration::from_secs(60), || 12 * 12)?, 144);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn get_with_ttl<Q: ?Sized>(&self, key: &Q, ttl: Duration, load: impl FnOnce() -> V) -> Result<V>
    where
        K: Borrow<Q>,
        KC: KeyCodec<K, Q>,
    {
        self.with_key(key, |key| self.load_infallible(key, &self.options().ttl(ttl), load))?
    }

    /// The value of a key, or else what `load` makes, if it does not fail.
    ///
    /// # Errors
    /// [`LoadError::Loader`] with the loader's error, shared by all who waited for it; otherwise as
    /// [`get_with`](Self::get_with).
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// let numbers: TypedCache<String, u64, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// assert_eq!(numbers.try_get_with("12", || "12".parse())?, 12);
    /// assert!(numbers.try_get_with("x", || "x".parse()).unwrap_err().loader().is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_get_with<Q: ?Sized, E>(
        &self,
        key: &Q,
        load: impl FnOnce() -> std::result::Result<V, E>,
    ) -> LoadResult<V, E>
    where
        K: Borrow<Q>,
        KC: KeyCodec<K, Q>,
        E: Send + Sync + 'static,
    {
        self.with_key(key, |key| self.load_present(key, self.options(), load))?
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
    /// let numbers: TypedCache<String, u64, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// assert_eq!(numbers.try_get_with_ttl("12", Duration::from_secs(60), || "12".parse())?, 12);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_get_with_ttl<Q: ?Sized, E>(
        &self,
        key: &Q,
        ttl: Duration,
        load: impl FnOnce() -> std::result::Result<V, E>,
    ) -> LoadResult<V, E>
    where
        K: Borrow<Q>,
        KC: KeyCodec<K, Q>,
        E: Send + Sync + 'static,
    {
        self.with_key(key, |key| self.load_present(key, &self.options().ttl(ttl), load))?
    }

    /// The value of a key, or else what `load` makes, if it makes something. That it made nothing is remembered if the
    /// handle's [`LoadOptions::negative_ttl`] says so.
    ///
    /// # Errors
    /// As [`get_with`](Self::get_with).
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// let roots: TypedCache<u64, u64, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// let root = |n: u64| Some(n.isqrt()).filter(|r| r * r == n);
    /// assert_eq!(roots.optionally_get_with(&144, || root(144))?, Some(12));
    /// assert_eq!(roots.optionally_get_with(&145, || root(145))?, None);
    /// assert!(!roots.contains_key(&145));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn optionally_get_with<Q: ?Sized>(&self, key: &Q, load: impl FnOnce() -> Option<V>) -> Result<Option<V>>
    where
        K: Borrow<Q>,
        KC: KeyCodec<K, Q>,
    {
        self.load(key, self.options(), || Ok::<_, Infallible>(load().into())).map_err(LoadError::into_cache_error)
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
    /// let roots: TypedCache<u64, u64, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// assert_eq!(roots.optionally_get_with_ttl(&144, Duration::from_secs(60), || Some(12))?, Some(12));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn optionally_get_with_ttl<Q: ?Sized>(
        &self,
        key: &Q,
        ttl: Duration,
        load: impl FnOnce() -> Option<V>,
    ) -> Result<Option<V>>
    where
        K: Borrow<Q>,
        KC: KeyCodec<K, Q>,
    {
        let options = self.options().ttl(ttl);
        self.load(key, &options, || Ok::<_, Infallible>(load().into())).map_err(LoadError::into_cache_error)
    }

    /// The value of a key, or else what `load` makes, with all options, which stand in place of the handle's. The
    /// loader may fail, may find nothing, and may say itself how its value is kept.
    ///
    /// # Errors
    /// As [`try_get_with`](Self::try_get_with).
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, Load, LoadOptions, SetOptions, TypedCache};
    /// use std::time::Duration;
    /// let tokens: TypedCache<String, String, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// let token = tokens.load("ann", &LoadOptions::new(), || {
    ///     let (token, valid) = ("abc".to_owned(), Duration::from_secs(300)); // as the server says
    ///     Ok::<_, std::io::Error>(Load::With(token, SetOptions::new().ttl(valid)))
    /// })?;
    /// assert_eq!(token.as_deref(), Some("abc"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn load<Q: ?Sized, E>(
        &self,
        key: &Q,
        options: &LoadOptions,
        load: impl FnOnce() -> std::result::Result<Load<V>, E>,
    ) -> LoadResult<Option<V>, E>
    where
        K: Borrow<Q>,
        KC: KeyCodec<K, Q>,
        E: Send + Sync + 'static,
    {
        self.with_key(key, |key| self.load_bytes(key, options, load))?
    }

    pub(super) fn load_bytes<E: Send + Sync + 'static>(
        &self,
        key: &[u8],
        options: &LoadOptions,
        load: impl FnOnce() -> std::result::Result<Load<V>, E>,
    ) -> LoadResult<Option<V>, E> {
        let call = Call { cache: self.cache(), key, options, heeds_absence: true };
        call.run(&Decoded { cache: self, key_len: key.len() }, load)
    }

    pub(super) fn load_infallible(&self, key: &[u8], options: &LoadOptions, load: impl FnOnce() -> V) -> Result<V> {
        self.load_present(key, options, || Ok::<V, Infallible>(load())).map_err(LoadError::into_cache_error)
    }

    pub(super) fn load_present<E: Send + Sync + 'static>(
        &self,
        key: &[u8],
        options: &LoadOptions,
        load: impl FnOnce() -> std::result::Result<V, E>,
    ) -> LoadResult<V, E> {
        let call = Call { cache: self.cache(), key, options, heeds_absence: false };
        present(call.run(&Decoded { cache: self, key_len: key.len() }, || load().map(Load::Value))?)
    }
}
