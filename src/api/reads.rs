//! Reading.

use smallvec::SmallVec;

use super::builder::millis;
use super::cache::Cache;
use super::guard::Guard;
use super::options::{Metadata, Token};
use crate::engine::{Expiry, Key, Reading};
use crate::error::Result;
use crate::index::Pinned;
use crate::shard::Read;
use crate::slab::prefetch;

/// Keys of one batch that are on their way together.
const BATCH: usize = 16;

impl Cache {
    /// The value of a key, in place. A use: the eviction policy learns of it.
    ///
    /// # Errors
    /// [`TooManyGuards`](crate::ErrorKind::TooManyGuards) if this thread holds eight guards and there is no memory for
    /// a copy. A miss is no error.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.set(b"k", b"v")?;
    /// assert_eq!(cache.get(b"k")?.as_deref(), Some(&b"v"[..]));
    /// assert!(cache.get(b"absent")?.is_none());
    /// # Ok::<(), larder::Error>(())
    /// ```
    #[inline]
    pub fn get(&self, key: &[u8]) -> Result<Option<Guard<'_>>> {
        let reading = self.engine().get(self.key(key), Read::Use)?;
        Ok(reading.map(|reading| Guard::new(reading, self.engine())))
    }

    /// The value of a key, without telling the policy, without keeping it from idling, and without counting.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.set(b"k", b"v")?;
    /// assert!(cache.peek(b"k")?.is_some());
    /// assert_eq!(cache.stats().gets, 0);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn peek(&self, key: &[u8]) -> Result<Option<Guard<'_>>> {
        let reading = self.engine().get(self.key(key), Read::Look)?;
        Ok(reading.map(|reading| Guard::new(reading, self.engine())))
    }

    /// Shows the value of a key to a closure, in place. The closure runs without any lock and may use the cache.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.set(b"k", b"value")?;
    /// assert_eq!(cache.read(b"k", |value| value.len()), Some(5));
    /// # Ok::<(), larder::Error>(())
    /// ```
    #[inline]
    pub fn read<R>(&self, key: &[u8], f: impl FnOnce(&[u8]) -> R) -> Option<R> {
        self.engine().read(self.key(key), Read::Use, f)
    }

    /// Appends the value of a key to a buffer; returns its length.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.set(b"k", b"value")?;
    /// let mut buffer = Vec::new();
    /// assert_eq!(cache.get_into(b"k", &mut buffer), Some(5));
    /// assert_eq!(buffer, b"value");
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn get_into(&self, key: &[u8], buffer: &mut Vec<u8>) -> Option<usize> {
        self.read(key, |value| {
            buffer.extend_from_slice(value);
            value.len()
        })
    }

    /// Shows the values of many keys to a closure, with each key's position. Much faster than one by one when the
    /// cache is larger than the processor's: the memory of all keys of a batch is asked for before the first is looked
    /// at.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.set(b"a", b"1")?;
    /// let mut found = vec![None; 2];
    /// cache.get_many(&["a", "b"], |i, value| found[i] = value.map(|v| v.to_vec()));
    /// assert_eq!(found, [Some(b"1".to_vec()), None]);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn get_many<K: AsRef<[u8]>>(&self, keys: &[K], mut each: impl FnMut(usize, Option<&[u8]>)) {
        let engine = self.engine();
        for (batch, keys) in keys.chunks(BATCH).enumerate() {
            let keys: SmallVec<[Key<'_>; BATCH]> = keys.iter().map(|key| self.key(key.as_ref())).collect();
            self.ask_for(&keys);
            for (i, &key) in keys.iter().enumerate() {
                let i = batch * BATCH + i;
                if engine.read(key, Read::Use, |value| each(i, Some(value))).is_none() {
                    each(i, None);
                }
            }
        }
    }

    /// Asks for the memory of keys that will be looked at next.
    fn ask_for(&self, keys: &[Key<'_>]) {
        let engine = self.engine();
        for key in keys {
            prefetch(engine.shard(key.hash).table.address(key.hash));
        }
        for key in keys {
            if let Some(locator) = engine.shard(key.hash).table.likely(key.hash) {
                engine.ctx.arena.prefetch(locator);
            }
        }
    }

    /// The same for up to 16 of them.
    #[cfg(feature = "memcached")]
    pub(crate) fn foresee<'k>(&self, keys: impl Iterator<Item = &'k [u8]>) {
        let keys: SmallVec<[Key<'_>; BATCH]> = keys.take(BATCH).map(|key| self.key(key)).collect();
        if keys.len() > 1 {
            self.ask_for(&keys);
        }
    }

    /// As [`get_and_touch`](Self::get_and_touch), until whenever.
    #[cfg(feature = "memcached")]
    pub(crate) fn get_and_expire(&self, key: &[u8], expiry: Expiry) -> Result<Option<Guard<'_>>> {
        let reading = self.engine().get_and_touch(self.key(key), expiry)?;
        Ok(reading.map(|reading| Guard::new(reading, self.engine())))
    }

    /// Whether there is a value. No use, and not counted.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// assert!(!cache.contains(b"k"));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn contains(&self, key: &[u8]) -> bool {
        self.engine().read(self.key(key), Read::Look, |_| ()).is_some()
    }

    /// What is known of an item beside its value. No use, and not counted.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.set(b"k", b"value")?;
    /// assert_eq!(cache.metadata(b"k").map(|m| m.size), Some(5));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn metadata(&self, key: &[u8]) -> Option<Metadata> {
        let of = |item: crate::slab::ItemRef<'_>| (item.attributes(), item.value_len());
        let (attributes, size) = self.engine().inspect(self.key(key), of)?;
        Some(Metadata::of(self.engine(), &attributes, size))
    }

    /// The value of a key together with its check-and-set token, which it is given if it has none.
    ///
    /// If the value is evicted or replaced in that moment, the token is one that no value has, so that a check-and-set
    /// with it fails.
    ///
    /// # Errors
    /// As [`get`](Self::get); [`OutOfMemory`](crate::ErrorKind::OutOfMemory) if there is no room for the token, and
    /// [`NotAllowed`](crate::ErrorKind::NotAllowed) in a cache without
    /// [`check_and_set`](crate::CacheBuilder::check_and_set).
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.set(b"k", b"v")?;
    /// let (value, token) = cache.get_with_token(b"k")?.unwrap();
    /// assert_eq!((&*value, value.token()), (&b"v"[..], Some(token)));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn get_with_token(&self, key: &[u8]) -> Result<Option<(Guard<'_>, Token)>> {
        let Some(found) = self.get(key)? else { return Ok(None) };
        if let Some(token) = found.token() {
            return Ok(Some((found, token)));
        }
        let _ = self.engine().token(self.key(key))?;
        // One call is one get: what is looked at again is not counted again.
        if let Some(now) = self.peek(key)?
            && let Some(token) = now.token()
        {
            return Ok(Some((now, token)));
        }
        // It was there, and left while it was given its token: that is good for nothing any more.
        Ok(Some((found, Token::from_u64(self.engine().spent_token(self.key(key))))))
    }

    /// The value of a key, which from now on lives for another while.
    ///
    /// # Errors
    /// As [`get`](Self::get) and [`touch`](Self::touch).
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.set(b"k", b"v")?;
    /// let value = cache.get_and_touch(b"k", Duration::from_secs(60))?.unwrap();
    /// assert!(value.ttl_left() > Some(Duration::from_secs(59)));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn get_and_touch(&self, key: &[u8], ttl: std::time::Duration) -> Result<Option<Guard<'_>>> {
        let reading = self.engine().get_and_touch(self.key(key), Expiry::In(millis(ttl)))?;
        Ok(reading.map(|reading| Guard::new(reading, self.engine())))
    }

    pub(super) fn pin(&self, key: &[u8]) -> Option<Pinned<'_>> {
        match self.engine().get(self.key(key), Read::Look) {
            Ok(Some(Reading::Pinned(pinned))) => Some(pinned),
            _ => None,
        }
    }
}
