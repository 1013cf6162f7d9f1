//! Several keys changed as one.

use smallvec::SmallVec;

use super::cache::Cache;
use super::options::{Metadata, SetOptions};
use crate::engine::{Effect, Engine, Key, Seen};
use crate::error::Result;

/// What is there of an update's keys, and what is to become of them. Keys go by their position.
///
/// # Examples
/// See [`Cache::update`].
pub struct Update<'a> {
    engine: &'a Engine,
    seen: &'a [Option<Seen>],
    effects: Vec<Effect>,
}

impl std::fmt::Debug for Update<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Update").field("keys", &self.effects.len()).finish_non_exhaustive()
    }
}

impl Update<'_> {
    /// The value of a key: as this update has set it, else as it was when the update began.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.set(b"k", b"v")?;
    /// let value = cache.update(&[b"k"], |update| update.get(0).map(|v| v.to_vec()))?;
    /// assert_eq!(value, Some(b"v".to_vec()));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn get(&self, key: usize) -> Option<&[u8]> {
        match self.effects.get(key)? {
            Effect::Leave => self.seen[key].as_ref().map(|seen| &seen.value[..]),
            Effect::Store(value, _) => Some(value),
            Effect::Remove => None,
        }
    }

    /// What was known of the item beside its value when the update began.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.set(b"k", b"v")?;
    /// assert_eq!(cache.update(&[b"k"], |update| update.metadata(0).map(|m| m.size))?, Some(1));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn metadata(&self, key: usize) -> Option<Metadata> {
        let seen = self.seen.get(key)?.as_ref()?;
        Some(Metadata::of(self.engine, &seen.attributes, seen.value.len()))
    }

    /// Stores a value when the update is done. A position without a key does nothing.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.update(&[b"k"], |update| update.set(0, b"v"))?;
    /// assert!(cache.contains(b"k"));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn set(&mut self, key: usize, value: &[u8]) {
        self.set_with(key, value, &SetOptions::new());
    }

    /// The same with options (of which conditions and what they return do not count: the update has seen what is
    /// there).
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, SetOptions};
    /// let cache = Cache::new(1 << 20)?;
    /// cache.update(&[b"k"], |update| update.set_with(0, b"v", &SetOptions::new().keep_ttl()))?;
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn set_with(&mut self, key: usize, value: &[u8], options: &SetOptions) {
        if let Some(effect) = self.effects.get_mut(key) {
            *effect = Effect::Store(value.to_vec(), Box::new(options.spec));
        }
    }

    /// Removes a key when the update is done.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.set(b"k", b"v")?;
    /// cache.update(&[b"k"], |update| update.remove(0))?;
    /// assert!(!cache.contains(b"k"));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn remove(&mut self, key: usize) {
        if let Some(effect) = self.effects.get_mut(key) {
            *effect = Effect::Remove;
        }
    }
}

impl Cache {
    /// Changes several keys as one: either all of what the closure decides happens, or nothing, and no other write to
    /// these keys comes in between. The closure runs without any lock. It is run again if one of the keys has changed
    /// meanwhile, so it should do nothing but decide. It may use the cache; if it panics, nothing has happened.
    ///
    /// Updates and writes see an update as a whole. A plain read of one key, which takes no lock, may come between two
    /// of its stores; to read several keys as of one moment, use an update that only reads.
    ///
    /// # Errors
    /// [`DuplicateKey`](crate::ErrorKind::DuplicateKey); otherwise as [`set`](Self::set). Nothing has happened then.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.set(b"from", b"10")?;
    /// cache.set(b"to", b"1")?;
    /// cache.update(&[b"from".as_slice(), b"to"], |update| {
    ///     let value = update.get(0).map(|v| v.to_vec()).unwrap_or_default();
    ///     update.set(1, &value);
    ///     update.remove(0);
    /// })?;
    /// assert_eq!(cache.take(b"to"), Some(b"10".to_vec()));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn update<K: AsRef<[u8]>, R>(&self, keys: &[K], mut f: impl FnMut(&mut Update<'_>) -> R) -> Result<R> {
        let keys: SmallVec<[Key<'_>; 4]> = keys.iter().map(|key| self.key(key.as_ref())).collect();
        let engine = self.engine();
        engine.update(&keys, |seen| {
            let mut update = Update { engine, seen, effects: vec![Effect::Leave; seen.len()] };
            let result = f(&mut update);
            (update.effects, result)
        })
    }
}
