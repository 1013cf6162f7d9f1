//! The typed cache: settings, reading, writing.

use std::borrow::Borrow;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use super::codec::{Codec, KeyCodec, ViewCodec};
use super::guard::{TypedGuard, undecodable};
use super::scratch::with_buffer;
use super::{CodecError, DefaultCodec};
use crate::error::{Error, ErrorKind, Result};
use crate::{Cache, LoadOptions, Metadata, SetOptions, SetOutcome};

/// A cache of typed keys and values: a view on one namespace of a [`Cache`]. See the [module](crate::typed) for codecs,
/// formats and costs.
///
/// Cloning it is cheap, and all clones are the same cache. Several typed caches on namespaces of one byte cache share
/// its memory limit. `C` is the codec of values, `KC` that of keys: the same unless named.
///
/// # Examples
/// ```
/// use larder::typed::Plain;
/// use larder::{Cache, TypedCache};
///
/// let ages: TypedCache<String, u32, Plain> = TypedCache::new(Cache::new(64 << 20)?);
/// ages.insert("ann", &30)?;
/// assert_eq!(ages.get("ann")?, Some(30));
/// assert_eq!(ages.get_with("ben", || 12)?, 12);
/// ages.entry("ben")?.and_upsert_with(|age| age.unwrap_or(0) + 1)?;
/// assert_eq!(ages.take("ben")?, Some(13));
/// # Ok::<(), larder::Error>(())
/// ```
/// With the feature `serde`, `TypedCache<K, V>` does for all types that serde knows:
/// ```
/// # #[cfg(feature = "serde")] {
/// # use larder::{Cache, TypedCache};
/// let visits: TypedCache<(u32, String), Vec<u64>> = TypedCache::new(Cache::new(64 << 20)?);
/// visits.insert(&(7, "home".to_owned()), &vec![1, 2, 3])?;
/// assert_eq!(visits.get(&(7, "home".to_owned()))?, Some(vec![1, 2, 3]));
/// # }
/// # Ok::<(), larder::Error>(())
/// ```
pub struct TypedCache<K, V, C = DefaultCodec, KC = C> {
    cache: Cache,
    codecs: Arc<(C, KC)>,
    /// Whether what does not decode is a miss.
    is_lenient: bool,
    /// How values are loaded, and how they are stored, also by `insert`.
    options: LoadOptions,
    types: PhantomData<fn(K) -> V>,
}

impl<K, V, C: Default, KC: Default> TypedCache<K, V, C, KC> {
    /// A typed view on the namespace that this handle works on.
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// let ages: TypedCache<String, u32, Plain> = TypedCache::new(Cache::new(1 << 20)?.namespace(3));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn new(cache: Cache) -> Self {
        Self::with_codecs(cache, C::default(), KC::default())
    }
}

impl<K, V, C, KC> TypedCache<K, V, C, KC> {
    /// The same with codecs that have settings of their own: that of values, that of keys.
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// let ages = TypedCache::<String, u32, _, _>::with_codecs(Cache::new(1 << 20)?, Plain, Plain);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn with_codecs(cache: Cache, codec: C, key_codec: KC) -> Self {
        let options = LoadOptions::new();
        TypedCache { cache, codecs: Arc::new((codec, key_codec)), is_lenient: false, options, types: PhantomData }
    }

    /// How long values live that this handle (and clones made from now on) stores without saying so. Default: as the
    /// cache's builder says.
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// use std::time::Duration;
    /// let cache = Cache::new(1 << 20)?;
    /// let sessions = TypedCache::<u64, String, Plain>::new(cache).time_to_live(Duration::from_secs(1800));
    /// sessions.insert(&7, &"ann".to_owned())?;
    /// assert!(sessions.metadata(&7).unwrap().ttl_left.is_some());
    /// # Ok::<(), larder::Error>(())
    /// ```
    #[must_use = "this is the handle with the setting"]
    pub fn time_to_live(mut self, ttl: Duration) -> Self {
        self.options = self.options.ttl(ttl);
        self
    }

    /// How long values live without being read, if this handle (or a clone made from now on) stores them without saying
    /// so. Default: as the cache's builder says. Costs 16 bytes an item.
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// use std::time::Duration;
    /// let cache = Cache::new(1 << 20)?;
    /// let sessions = TypedCache::<u64, String, Plain>::new(cache).time_to_idle(Duration::from_secs(600));
    /// # Ok::<(), larder::Error>(())
    /// ```
    #[must_use = "this is the handle with the setting"]
    pub fn time_to_idle(mut self, idle: Duration) -> Self {
        self.options.store = self.options.store.time_to_idle(idle);
        self
    }

    /// How this handle (and clones made from now on) loads and stores where nothing else is said; in place of all
    /// earlier settings of this kind.
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, LoadOptions, TypedCache};
    /// use std::time::Duration;
    /// let minute = Duration::from_secs(60);
    /// let options = LoadOptions::new().ttl(10 * minute).refresh_ahead(minute).negative_ttl(minute);
    /// let users = TypedCache::<u64, String, Plain>::new(Cache::new(1 << 20)?).load_options(options);
    /// # Ok::<(), larder::Error>(())
    /// ```
    #[must_use = "this is the handle with the setting"]
    pub fn load_options(mut self, options: LoadOptions) -> Self {
        self.options = options;
        self
    }

    /// Whether a value that does not decode counts as a miss, for this handle and clones made from now on. Default: no,
    /// it is a [`Decode`](ErrorKind::Decode) error. With it a program may change its types and find an older version's
    /// values simply gone: load-through replaces them.
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, ErrorKind, TypedCache};
    /// let cache = Cache::new(1 << 20)?;
    /// cache.set(b"k", b"three")?;
    /// let strict: TypedCache<String, u32, Plain> = TypedCache::new(cache);
    /// assert_eq!(strict.get("k").unwrap_err().kind(), ErrorKind::Decode);
    /// let lenient = strict.clone().undecodable_as_miss(true);
    /// assert_eq!(lenient.get("k")?, None);
    /// assert_eq!(lenient.get_with("k", || 3)?, 3);
    /// assert_eq!(strict.get("k")?, Some(3));
    /// # Ok::<(), larder::Error>(())
    /// ```
    #[must_use = "this is the handle with the setting"]
    pub fn undecodable_as_miss(mut self, yes: bool) -> Self {
        self.is_lenient = yes;
        self
    }

    /// The byte cache below.
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// let ages: TypedCache<String, u32, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// assert_eq!(ages.cache().memory().limit, 1 << 20);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The bytes that a key has in the byte cache below, for what only that can do.
    ///
    /// # Errors
    /// [`Encode`](ErrorKind::Encode).
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// use std::time::Duration;
    /// let ages: TypedCache<String, u32, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// ages.insert("ann", &30)?;
    /// assert!(ages.cache().touch(&ages.key_bytes("ann")?, Duration::from_secs(60))?);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn key_bytes<Q: ?Sized>(&self, key: &Q) -> Result<Vec<u8>>
    where
        K: Borrow<Q>,
        KC: KeyCodec<K, Q>,
    {
        self.with_key(key, <[u8]>::to_vec)
    }

    /// The value of a key, decoded. A use: the eviction policy learns of it.
    ///
    /// # Errors
    /// [`Decode`](ErrorKind::Decode), [`Encode`](ErrorKind::Encode) of the key. A miss is no error.
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// let ages: TypedCache<String, u32, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// ages.insert("ann", &30)?;
    /// assert_eq!((ages.get("ann")?, ages.get("ben")?), (Some(30), None));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn get<Q: ?Sized>(&self, key: &Q) -> Result<Option<V>>
    where
        K: Borrow<Q>,
        C: Codec<V>,
        KC: KeyCodec<K, Q>,
    {
        self.with_key(key, |key| self.cache.read(key, |value| self.decode_found(key.len(), value)))?.unwrap_or(Ok(None))
    }

    /// The values of many keys, decoded, each at its key's position. Faster than one by one in a large cache; see
    /// [`Cache::get_many`].
    ///
    /// # Errors
    /// As [`get`](Self::get), of the first key that has one.
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// let ages: TypedCache<String, u32, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// ages.insert("ann", &30)?;
    /// assert_eq!(ages.get_many(["ann", "ben"])?, [Some(30), None]);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn get_many<'q, Q: ?Sized + 'q>(&self, keys: impl IntoIterator<Item = &'q Q>) -> Result<Vec<Option<V>>>
    where
        K: Borrow<Q>,
        C: Codec<V>,
        KC: KeyCodec<K, Q>,
    {
        let keys: Vec<Vec<u8>> = keys.into_iter().map(|key| self.key_bytes(key)).collect::<Result<_>>()?;
        let mut found = Vec::with_capacity(keys.len());
        self.cache.get_many(&keys, |i, value| {
            found.push(value.map_or(Ok(None), |value| self.decode_found(keys[i].len(), value)));
        });
        found.into_iter().collect()
    }

    /// The value of a key, in place. A use.
    ///
    /// # Errors
    /// [`TooManyGuards`](ErrorKind::TooManyGuards), see [`Cache::get`]; [`Encode`](ErrorKind::Encode) of the key.
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// let pages: TypedCache<String, Vec<u8>, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// pages.insert("/", &vec![b'x'; 10_000])?;
    /// let guard = pages.get_ref("/")?.unwrap();
    /// assert_eq!(guard.view()?.len(), 10_000); // not copied
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn get_ref<Q: ?Sized>(&self, key: &Q) -> Result<Option<TypedGuard<'_, V, C>>>
    where
        K: Borrow<Q>,
        KC: KeyCodec<K, Q>,
    {
        self.with_key(key, |key| {
            let guard = self.cache.get(key)?;
            Ok(guard.map(|guard| TypedGuard::new(guard, self.codec(), key.len())))
        })?
    }

    /// Shows the value of a key to a closure, in place. A use. The closure runs without any lock and may use the cache.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// let pages: TypedCache<String, String, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// pages.insert("/", &"<html>".to_owned())?;
    /// assert_eq!(pages.read("/", |page| page.starts_with('<'))?, Some(true));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn read<Q: ?Sized, R>(&self, key: &Q, f: impl for<'b> FnOnce(C::View<'b>) -> R) -> Result<Option<R>>
    where
        K: Borrow<Q>,
        C: ViewCodec<V>,
        KC: KeyCodec<K, Q>,
    {
        let show = |key_len: usize, bytes: &[u8]| match self.codec().view(bytes) {
            Ok(view) => Ok(Some(f(view))),
            Err(why) => self.lenient(key_len, bytes, why),
        };
        self.with_key(key, |key| self.cache.read(key, |value| show(key.len(), value)))?.unwrap_or(Ok(None))
    }

    /// Whether a key has a value. No use, and not counted. (A key that cannot be encoded has none.)
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// let ages: TypedCache<String, u32, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// assert!(!ages.contains_key("ann"));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn contains_key<Q: ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        KC: KeyCodec<K, Q>,
    {
        self.with_key(key, |key| self.cache.contains(key)).unwrap_or(false)
    }

    /// What is known of an item beside its value. No use, and not counted.
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// let ages: TypedCache<String, u32, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// ages.insert("ann", &30)?;
    /// assert_eq!(ages.metadata("ann").map(|metadata| metadata.size), Some(4));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn metadata<Q: ?Sized>(&self, key: &Q) -> Option<Metadata>
    where
        K: Borrow<Q>,
        KC: KeyCodec<K, Q>,
    {
        self.with_key(key, |key| self.cache.metadata(key)).ok().flatten()
    }

    /// Stores a value, in place of what is there. Both key and value are only looked at.
    ///
    /// # Errors
    /// [`Encode`](ErrorKind::Encode); otherwise as [`Cache::set`].
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// let ages: TypedCache<String, u32, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// ages.insert("ann", &30)?;
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn insert<Q: ?Sized>(&self, key: &Q, value: &V) -> Result<()>
    where
        K: Borrow<Q>,
        C: Codec<V>,
        KC: KeyCodec<K, Q>,
    {
        self.insert_with(key, value, &self.options.store).map(|_| ())
    }

    /// Stores a value in one of many ways, and says what came of it (an old value, if it was asked for, in bytes).
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, SetOptions, TypedCache};
    /// use std::time::Duration;
    /// let ages: TypedCache<String, u32, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// let options = SetOptions::new().ttl(Duration::from_secs(60)).if_absent();
    /// assert!(ages.insert_with("ann", &30, &options)?.stored);
    /// assert!(!ages.insert_with("ann", &31, &options)?.stored);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn insert_with<Q: ?Sized>(&self, key: &Q, value: &V, options: &SetOptions) -> Result<SetOutcome>
    where
        K: Borrow<Q>,
        C: Codec<V>,
        KC: KeyCodec<K, Q>,
    {
        self.with_key(key, |key| self.with_value(value, |value| self.cache.set_with(key, value, options)))??
    }

    /// Removes a key. Whether there was a value. (A key that cannot be encoded has none.)
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// let ages: TypedCache<String, u32, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// ages.insert("ann", &30)?;
    /// assert!(ages.remove("ann") && !ages.remove("ann"));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn remove<Q: ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        KC: KeyCodec<K, Q>,
    {
        self.with_key(key, |key| self.cache.remove(key)).unwrap_or(false)
    }

    /// [`remove`](Self::remove), where nobody wants to know whether there was a value.
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// let ages: TypedCache<String, u32, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// ages.invalidate("ann");
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn invalidate<Q: ?Sized>(&self, key: &Q)
    where
        K: Borrow<Q>,
        KC: KeyCodec<K, Q>,
    {
        self.remove(key);
    }

    /// Removes a key and returns its value. It is gone, too, if it does not decode.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// let ages: TypedCache<String, u32, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// ages.insert("ann", &30)?;
    /// assert_eq!((ages.take("ann")?, ages.take("ann")?), (Some(30), None));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn take<Q: ?Sized>(&self, key: &Q) -> Result<Option<V>>
    where
        K: Borrow<Q>,
        C: Codec<V>,
        KC: KeyCodec<K, Q>,
    {
        self.with_key(key, |key| match self.cache.take(key) {
            Some(value) => self.decode_found(key.len(), &value),
            None => Ok(None),
        })?
    }

    /// Removes everything from the namespace, at once and in constant time; see [`Cache::clear`].
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// let ages: TypedCache<String, u32, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// ages.insert("ann", &30)?;
    /// ages.invalidate_all();
    /// assert!(ages.is_empty());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn invalidate_all(&self) {
        self.cache.clear();
    }

    /// Number of items; see [`Cache::len`].
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// let ages: TypedCache<String, u32, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// assert_eq!(ages.len(), 0);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn len(&self) -> u64 {
        self.cache.len()
    }

    /// Whether [`len`](Self::len) is 0.
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// assert!(TypedCache::<String, u32, Plain>::new(Cache::new(1 << 20)?).is_empty());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.cache.is_empty()
    }

    pub(super) fn codec(&self) -> &C {
        &self.codecs.0
    }

    pub(super) fn codecs(&self) -> &Arc<(C, KC)> {
        &self.codecs
    }

    pub(super) fn options(&self) -> &LoadOptions {
        &self.options
    }

    /// Runs something with the bytes of a key.
    pub(super) fn with_key<Q: ?Sized, R>(&self, key: &Q, f: impl FnOnce(&[u8]) -> R) -> Result<R>
    where
        KC: KeyCodec<K, Q>,
    {
        with_buffer(|buffer| match self.codecs.1.encode_key(key, buffer) {
            Ok(key) => Ok(f(key)),
            Err(why) => Err(unencodable::<K>("key", why)),
        })
    }

    /// Runs something with the bytes of a value.
    pub(super) fn with_value<R>(&self, value: &V, f: impl FnOnce(&[u8]) -> R) -> Result<R>
    where
        C: Codec<V>,
    {
        with_buffer(|buffer| match self.codec().encode(value, buffer) {
            Ok(value) => Ok(f(value)),
            Err(why) => Err(unencodable::<V>("value", why)),
        })
    }

    /// A value that was found; None if it does not decode and that is a miss.
    pub(super) fn decode_found(&self, key_len: usize, value: &[u8]) -> Result<Option<V>>
    where
        C: Codec<V>,
    {
        self.codec().decode(value).map(Some).or_else(|why| self.lenient(key_len, value, why))
    }

    /// An item that a walk came by.
    pub(super) fn decode_item(&self, key: &[u8], value: &[u8]) -> Result<Option<(K, V)>>
    where
        C: Codec<V>,
        KC: Codec<K>,
    {
        match self.codecs.1.decode(key) {
            Ok(k) => Ok(self.decode_found(key.len(), value)?.map(|v| (k, v))),
            Err(_) if self.is_lenient => Ok(None),
            Err(why) => Err(undecodable::<K>("key", key.len(), value.len(), why)),
        }
    }

    fn lenient<R>(&self, key_len: usize, value: &[u8], why: CodecError) -> Result<Option<R>> {
        if self.is_lenient { Ok(None) } else { Err(undecodable::<V>("value", key_len, value.len(), why)) }
    }
}

fn unencodable<T>(what: &str, why: CodecError) -> Error {
    let message = format!("the {what}, a {}, cannot be encoded: {why}", std::any::type_name::<T>());
    Error::caused(ErrorKind::Encode, message, why)
}

impl<K, V, C, KC> Clone for TypedCache<K, V, C, KC> {
    fn clone(&self) -> Self {
        TypedCache {
            cache: self.cache.clone(),
            codecs: Arc::clone(&self.codecs),
            is_lenient: self.is_lenient,
            options: self.options,
            types: PhantomData,
        }
    }
}

impl<K, V, C, KC> fmt::Debug for TypedCache<K, V, C, KC> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let types = (std::any::type_name::<K>(), std::any::type_name::<V>());
        f.debug_struct("TypedCache").field("types", &types).field("cache", &self.cache).finish()
    }
}
