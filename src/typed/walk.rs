//! Walking over a typed cache, and removing many of its items.

use std::fmt;

use super::cache::TypedCache;
use super::codec::Codec;
use crate::error::Result;
use crate::{Invalidation, Iter};

/// Iterator over a typed cache's items; see [`TypedCache::iter`].
///
/// # Examples
/// ```
/// use larder::typed::Plain;
/// use larder::{Cache, TypedCache};
/// let cache: TypedCache<u64, u32, Plain> = TypedCache::new(Cache::new(1 << 20)?);
/// assert_eq!(cache.iter().count(), 0);
/// # Ok::<(), larder::Error>(())
/// ```
pub struct TypedIter<'a, K, V, C, KC> {
    items: Iter<'a>,
    cache: &'a TypedCache<K, V, C, KC>,
}

impl<K, V, C, KC> TypedCache<K, V, C, KC> {
    /// Every item, in no particular order, key and value decoded. Every key that is there throughout is returned,
    /// whatever happens to the cache meanwhile. What does not decode comes as an error, and the walk goes on; as a miss
    /// by [option](Self::undecodable_as_miss), it is left out.
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// let ages: TypedCache<String, u8, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// ages.insert("ann", &30)?;
    /// let all: Vec<(String, u8)> = ages.iter().collect::<larder::Result<_>>()?;
    /// assert_eq!(all, [("ann".to_owned(), 30)]);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn iter(&self) -> TypedIter<'_, K, V, C, KC>
    where
        C: Codec<V>,
        KC: Codec<K>,
    {
        TypedIter { items: self.cache().iter(), cache: self }
    }

    /// Removes every item for which `keep` says no, and returns how many. Runs without a lock; an item that changes
    /// after it was judged stays. What does not decode stays; as a miss by [option](Self::undecodable_as_miss), it is
    /// removed.
    ///
    /// # Errors
    /// [`Decode`](crate::ErrorKind::Decode), the first one, after all items were judged.
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// let ages: TypedCache<String, u8, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// ages.insert("ann", &30)?;
    /// ages.insert("ben", &12)?;
    /// assert_eq!(ages.retain(|_name, age| *age >= 18)?, 1);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn retain(&self, mut keep: impl FnMut(&K, &V) -> bool) -> Result<u64>
    where
        C: Codec<V>,
        KC: Codec<K>,
    {
        let mut first_error = None;
        let removed = self.cache().retain(|key, value, _| match self.decode_item(key, value) {
            Ok(Some((key, value))) => keep(&key, &value),
            Ok(None) => false,
            Err(error) => {
                first_error.get_or_insert(error);
                true
            }
        });
        first_error.map_or(Ok(removed), Err)
    }

    /// Removes the items for which a closure says yes, in steps: see [`Invalidation`]. What does not decode stays; as a
    /// miss by [option](Self::undecodable_as_miss), it is removed.
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// let ages: TypedCache<String, u8, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// ages.insert("ann", &30)?;
    /// ages.insert("ben", &12)?;
    /// assert_eq!(ages.invalidate_if(|_name, age| *age < 18).run(), 1);
    /// assert!(ages.contains_key("ann"));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn invalidate_if<'a>(&'a self, mut predicate: impl FnMut(&K, &V) -> bool + 'a) -> Invalidation<'a>
    where
        C: Codec<V>,
        KC: Codec<K>,
    {
        self.cache().invalidate_if(move |key, value, _| match self.decode_item(key, value) {
            Ok(Some((key, value))) => predicate(&key, &value),
            Ok(None) => true,
            Err(_) => false,
        })
    }

    /// Invalidates all items of this namespace that have a [tag](crate::SetOptions::tags), at once:
    /// [`Cache::invalidate_tag`](crate::Cache::invalidate_tag).
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, SetOptions, TypedCache};
    /// let ages: TypedCache<String, u8, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// ages.insert_with("ann", &30, &SetOptions::new().tag("family"))?;
    /// ages.invalidate_tag("family");
    /// assert!(!ages.contains_key("ann"));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn invalidate_tag(&self, tag: impl AsRef<[u8]>) {
        self.cache().invalidate_tag(tag);
    }
}

impl<K, V, C: Codec<V>, KC: Codec<K>> Iterator for TypedIter<'_, K, V, C, KC> {
    type Item = Result<(K, V)>;

    fn next(&mut self) -> Option<Result<(K, V)>> {
        loop {
            let entry = self.items.next()?;
            let item = self.cache.decode_item(&entry.key, entry.value.as_deref().unwrap_or_default());
            if let Some(item) = item.transpose() {
                return Some(item);
            }
        }
    }
}

impl<K, V, C, KC> fmt::Debug for TypedIter<'_, K, V, C, KC> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedIter").field("items", &self.items).finish()
    }
}

impl<'a, K, V, C: Codec<V>, KC: Codec<K>> IntoIterator for &'a TypedCache<K, V, C, KC> {
    type Item = Result<(K, V)>;
    type IntoIter = TypedIter<'a, K, V, C, KC>;

    fn into_iter(self) -> TypedIter<'a, K, V, C, KC> {
        self.iter()
    }
}
