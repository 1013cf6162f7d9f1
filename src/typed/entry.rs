//! Changing what is there of a key depending on what it is, as one step.

use std::borrow::Borrow;
use std::convert::Infallible;
use std::fmt;

use super::cache::TypedCache;
use super::codec::{Codec, KeyCodec};
use crate::error::{Error, Result};
use crate::{LoadError, SetOptions};

/// What is to become of a key: the answer of an [`EntrySelector`]'s closure.
///
/// # Examples
/// See [`EntrySelector::and_compute_with`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
#[expect(clippy::large_enum_variant, reason = "returned once and taken apart at once: a box would cost more")]
pub enum Op<V> {
    /// What is there stays.
    Nop,
    /// This value is stored, to live as the typed cache says.
    Put(V),
    /// This value is stored with options (of which conditions and what they return do not count).
    PutWith(V, SetOptions),
    /// What is there is removed.
    Remove,
}

/// What became of a key.
///
/// # Examples
/// ```
/// use larder::typed::{Computed, Op, Plain};
/// use larder::{Cache, TypedCache};
/// let cache: TypedCache<String, u32, Plain> = TypedCache::new(Cache::new(1 << 20)?);
/// assert_eq!(cache.entry("k")?.and_compute_with(|_| Op::Put(1))?, Computed::Inserted(1));
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Computed<V> {
    /// There was none; now it is this.
    Inserted(V),
    /// It was replaced; now it is this.
    ReplacedWith(V),
    /// It was removed.
    Removed,
    /// It is as it was.
    Unchanged,
    /// There was none, and there is none.
    StillNone,
}

impl<V> Computed<V> {
    /// The value that was stored, if one was.
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Computed;
    /// assert_eq!(Computed::Inserted(1).into_value(), Some(1));
    /// assert_eq!(Computed::<u8>::Removed.into_value(), None);
    /// ```
    pub fn into_value(self) -> Option<V> {
        match self {
            Computed::Inserted(value) | Computed::ReplacedWith(value) => Some(value),
            Computed::Removed | Computed::Unchanged | Computed::StillNone => None,
        }
    }
}

/// One key, about to be changed depending on what is there. From [`TypedCache::entry`].
///
/// Closures run without any lock and may use the cache. If the key changes meanwhile, nothing of what was decided
/// happens, and the closure is asked again with what is there now; so it should do nothing but decide. In effect each
/// change happens at one moment, and none is lost.
///
/// # Examples
/// ```
/// use larder::typed::Plain;
/// use larder::{Cache, TypedCache};
/// let hits: TypedCache<String, u64, Plain> = TypedCache::new(Cache::new(1 << 20)?);
/// std::thread::scope(|scope| {
///     for _ in 0..4 {
///         scope.spawn(|| hits.entry("home")?.and_upsert_with(|n| n.unwrap_or(0) + 1));
///     }
/// });
/// assert_eq!(hits.get("home")?, Some(4));
/// # Ok::<(), larder::Error>(())
/// ```
pub struct EntrySelector<'a, K, V, C, KC> {
    pub(super) cache: &'a TypedCache<K, V, C, KC>,
    pub(super) key: Vec<u8>,
}

impl<K, V, C, KC> TypedCache<K, V, C, KC> {
    /// A key, to be changed depending on what is there.
    ///
    /// # Errors
    /// [`Encode`](crate::ErrorKind::Encode).
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// let hits: TypedCache<String, u64, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// hits.entry("home")?.and_upsert_with(|n| n.unwrap_or(0) + 1)?;
    /// assert_eq!(hits.get("home")?, Some(1));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn entry<Q: ?Sized>(&self, key: &Q) -> Result<EntrySelector<'_, K, V, C, KC>>
    where
        K: Borrow<Q>,
        KC: KeyCodec<K, Q>,
    {
        Ok(EntrySelector { cache: self, key: self.key_bytes(key)? })
    }
}

impl<K, V, C: Codec<V>, KC> EntrySelector<'_, K, V, C, KC> {
    /// Inserts, replaces or removes, depending on the value that is there.
    ///
    /// # Errors
    /// [`Decode`](crate::ErrorKind::Decode) of the value that is there, [`Encode`](crate::ErrorKind::Encode) of the new
    /// one; otherwise as [`Cache::update`](crate::Cache::update). Nothing has happened then.
    ///
    /// # Examples
    /// ```
    /// use larder::typed::{Computed, Op, Plain};
    /// use larder::{Cache, TypedCache};
    /// let stock: TypedCache<String, u32, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// stock.insert("tea", &2)?;
    /// let sell = |left: Option<u32>| match left {
    ///     Some(0 | 1) => Op::Remove,
    ///     Some(n) => Op::Put(n - 1),
    ///     None => Op::Nop,
    /// };
    /// assert_eq!(stock.entry("tea")?.and_compute_with(sell)?, Computed::ReplacedWith(1));
    /// assert_eq!(stock.entry("tea")?.and_compute_with(sell)?, Computed::Removed);
    /// assert_eq!(stock.entry("tea")?.and_compute_with(sell)?, Computed::StillNone);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn and_compute_with(self, mut f: impl FnMut(Option<V>) -> Op<V>) -> Result<Computed<V>> {
        self.compute(|old| Ok(f(old)))
    }

    /// The same with a closure that may fail: nothing happens then.
    ///
    /// # Errors
    /// [`LoadError::Loader`] with the closure's error; otherwise as [`and_compute_with`](Self::and_compute_with).
    ///
    /// # Examples
    /// ```
    /// use larder::typed::{Op, Plain};
    /// use larder::{Cache, TypedCache};
    /// let stock: TypedCache<String, u32, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// let sell = |left: Option<u32>| left.and_then(|n| n.checked_sub(1)).map(Op::Put).ok_or("sold out");
    /// assert_eq!(stock.entry("tea")?.and_try_compute_with(sell).unwrap_err().loader(), Some(&"sold out"));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn and_try_compute_with<E>(
        self,
        mut f: impl FnMut(Option<V>) -> std::result::Result<Op<V>, E>,
    ) -> std::result::Result<Computed<V>, LoadError<E>> {
        self.compute(|old| f(old).map_err(|error| LoadError::Loader(error.into())))
    }

    /// Stores what is made of the value that is there, or of none, and returns it.
    ///
    /// # Errors
    /// As [`and_compute_with`](Self::and_compute_with).
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// let hits: TypedCache<String, u64, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// assert_eq!(hits.entry("home")?.and_upsert_with(|n| n.unwrap_or(0) + 1)?, 1);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn and_upsert_with(self, mut f: impl FnMut(Option<V>) -> V) -> Result<V> {
        let computed = self.compute(|old| Ok::<_, Error>(Op::Put(f(old))))?;
        // Op::Put has stored one.
        computed.into_value().ok_or_else(|| Error::new(crate::ErrorKind::NotFound, "no value was stored"))
    }

    /// The value that is there, or else this one, which is stored.
    ///
    /// # Errors
    /// As [`TypedCache::get_with`].
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// let hits: TypedCache<String, u64, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// assert_eq!(hits.entry("home")?.or_insert(7)?, 7);
    /// assert_eq!(hits.entry("home")?.or_insert(8)?, 7);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn or_insert(self, value: V) -> Result<V> {
        self.or_insert_with(|| value)
    }

    /// The value that is there, or else what is made, which is stored: [`TypedCache::get_with`].
    ///
    /// # Errors
    /// As [`TypedCache::get_with`].
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// let hits: TypedCache<String, u64, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// assert_eq!(hits.entry("home")?.or_insert_with(|| 7)?, 7);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn or_insert_with(self, f: impl FnOnce() -> V) -> Result<V> {
        self.cache.load_infallible(&self.key, self.cache.options(), f)
    }

    /// The value that is there, or else what is made, if that does not fail: [`TypedCache::try_get_with`].
    ///
    /// # Errors
    /// As [`TypedCache::try_get_with`].
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// let numbers: TypedCache<String, u64, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// assert_eq!(numbers.entry("12")?.or_try_insert_with(|| "12".parse::<u64>())?, 12);
    /// assert!(numbers.entry("x")?.or_try_insert_with(|| "x".parse::<u64>()).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn or_try_insert_with<E: Send + Sync + 'static>(
        self,
        f: impl FnOnce() -> std::result::Result<V, E>,
    ) -> std::result::Result<V, LoadError<E>> {
        self.cache.load_present(&self.key, self.cache.options(), f)
    }

    /// The value that is there, or else what is made, if something is: [`TypedCache::optionally_get_with`].
    ///
    /// # Errors
    /// As [`TypedCache::get_with`].
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// let roots: TypedCache<u64, u64, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// assert_eq!(roots.entry(&144)?.or_optionally_insert_with(|| Some(12))?, Some(12));
    /// assert_eq!(roots.entry(&145)?.or_optionally_insert_with(|| None)?, None);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn or_optionally_insert_with(self, f: impl FnOnce() -> Option<V>) -> Result<Option<V>> {
        let load = || Ok::<_, Infallible>(f().into());
        self.cache.load_bytes(&self.key, self.cache.options(), load).map_err(LoadError::into_cache_error)
    }

    /// The value that is there, or else the default, which is stored.
    ///
    /// # Errors
    /// As [`TypedCache::get_with`].
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// let hits: TypedCache<String, u64, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// assert_eq!(hits.entry("home")?.or_default()?, 0);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn or_default(self) -> Result<V>
    where
        V: Default,
    {
        self.or_insert_with(V::default)
    }

    fn compute<X: From<Error>>(
        self,
        mut f: impl FnMut(Option<V>) -> std::result::Result<Op<V>, X>,
    ) -> std::result::Result<Computed<V>, X> {
        let EntrySelector { cache, key } = self;
        let store = cache.options().store;
        cache.cache().update(&[&key[..]], |update| {
            let old = update.get(0).map(|value| cache.decode_found(key.len(), value)).transpose()?.flatten();
            let existed = update.get(0).is_some();
            let (value, options) = match f(old)? {
                Op::Nop if existed => return Ok(Computed::Unchanged),
                Op::Nop => return Ok(Computed::StillNone),
                Op::Remove if existed => {
                    update.remove(0);
                    return Ok(Computed::Removed);
                }
                Op::Remove => return Ok(Computed::StillNone),
                Op::Put(value) => (value, store),
                Op::PutWith(value, options) => (value, options),
            };
            cache.with_value(&value, |bytes| update.set_with(0, bytes, &options))?;
            Ok(if existed { Computed::ReplacedWith(value) } else { Computed::Inserted(value) })
        })?
    }
}

impl<K, V, C, KC> fmt::Debug for EntrySelector<'_, K, V, C, KC> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntrySelector").field("key", &self.key).finish_non_exhaustive()
    }
}
