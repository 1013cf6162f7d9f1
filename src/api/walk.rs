//! Walking over all items: scan, iter, retain.

use super::cache::Cache;
use super::options::Metadata;
use crate::engine::Visited;

/// Where a scan goes on. It stays good whatever happens to the cache.
///
/// # Examples
/// ```
/// use larder::Cursor;
/// let cursor = Cursor::START;
/// assert_eq!(Cursor::from_u64(cursor.as_u64()), cursor);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Cursor(u64);

impl Cursor {
    /// The beginning.
    pub const START: Cursor = Cursor(0);

    /// The cursor as a number, for a wire. 0 is the beginning.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::Cursor::START.as_u64(), 0);
    /// ```
    pub fn as_u64(self) -> u64 {
        self.0
    }

    /// A cursor from a number. Any number is one.
    ///
    /// # Examples
    /// ```
    /// let cursor = larder::Cursor::from_u64(0);
    /// ```
    pub fn from_u64(raw: u64) -> Cursor {
        Cursor(raw)
    }
}

/// An item that a walk came by: a copy.
///
/// # Examples
/// ```
/// let cache = larder::Cache::new(1 << 20)?;
/// cache.set(b"k", b"v")?;
/// let entry = cache.iter().next().unwrap();
/// assert_eq!((&entry.key[..], entry.value.as_deref()), (&b"k"[..], Some(&b"v"[..])));
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The key.
    pub key: Box<[u8]>,
    /// The value; None if only keys were asked for.
    pub value: Option<Box<[u8]>>,
    /// What else is known of it.
    pub metadata: Metadata,
}

/// Iterator over a namespace's items; see [`Cache::iter`].
///
/// # Examples
/// ```
/// let cache = larder::Cache::new(1 << 20)?;
/// assert_eq!(cache.iter().count(), 0);
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug)]
pub struct Iter<'a> {
    cache: &'a Cache,
    next: Option<u64>,
    ready: Vec<Visited>,
}

impl Cache {
    fn entry(&self, visited: Visited) -> Entry {
        let metadata = Metadata::of(self.engine(), &visited.attributes, visited.value_len);
        Entry { key: visited.key, value: None, metadata }
    }

    /// Goes on with a scan: returns about `count` entries (keys and metadata, no values), a few more or fewer, and the
    /// cursor to go on from, None at the end. A step may return no entry though the scan is not at its end.
    ///
    /// Every key that is there during the whole scan is returned at least once, though the cache grows, shrinks and
    /// evicts meanwhile. Nothing is kept between the steps.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, Cursor};
    /// let cache = Cache::new(1 << 20)?;
    /// for i in 0..100u32 {
    ///     cache.set(&i.to_le_bytes(), b"v")?;
    /// }
    /// let (mut cursor, mut keys) = (Some(Cursor::START), Vec::new());
    /// while let Some(from) = cursor {
    ///     let (entries, next) = cache.scan(from, 10);
    ///     keys.extend(entries.into_iter().map(|entry| entry.key));
    ///     cursor = next;
    /// }
    /// assert_eq!(keys.len(), 100);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn scan(&self, cursor: Cursor, count: usize) -> (Vec<Entry>, Option<Cursor>) {
        let mut found = Vec::new();
        let next = self.engine().walk(self.namespace_id(), cursor.0, count, &mut found);
        (found.into_iter().map(|visited| self.entry(visited)).collect(), next.map(Cursor))
    }

    /// Every item of this namespace, in no particular order, with copies of the values. As [`scan`](Self::scan).
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.set(b"k", b"v")?;
    /// assert!(cache.iter().all(|entry| entry.metadata.size == 1));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn iter(&self) -> Iter<'_> {
        Iter { cache: self, next: Some(0), ready: Vec::new() }
    }

    /// Removes every item of this namespace for which `keep` says no. Runs without a lock; an item that changes after
    /// it was judged stays. Loads that are under way when it begins are overtaken: what they bring is not stored.
    /// Returns how many were removed.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.set(b"keep", b"1")?;
    /// cache.set(b"drop", b"0")?;
    /// assert_eq!(cache.retain(|_key, value, _metadata| value == b"1"), 1);
    /// assert!(cache.contains(b"keep"));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn retain(&self, mut keep: impl FnMut(&[u8], &[u8], &Metadata) -> bool) -> u64 {
        let (mut cursor, mut removed) = (Some(0), 0);
        // Values that are being loaded are not among the items yet, and cannot be judged.
        self.engine().overtake_loads(self.namespace_id());
        while let Some(from) = cursor {
            cursor = self.retain_step(from, 64, &mut keep, &mut removed);
        }
        removed
    }

    /// Judges some `count` items from a cursor on; returns the next cursor, None at the end.
    pub(super) fn retain_step(
        &self,
        from: u64,
        count: usize,
        keep: &mut impl FnMut(&[u8], &[u8], &Metadata) -> bool,
        removed: &mut u64,
    ) -> Option<u64> {
        let mut found = Vec::new();
        let next = self.engine().walk(self.namespace_id(), from, count, &mut found);
        for visited in found {
            let mut judged = self.judge(&visited, keep);
            if judged == Judged::Changed {
                // Perhaps it was only moved: once more. Who changes it all the time keeps it.
                judged = self.judge(&visited, keep);
            }
            *removed += u64::from(judged == Judged::Removed);
        }
        next
    }

    /// Judges an item in place and removes it if it is still the same.
    fn judge(&self, visited: &Visited, keep: &mut impl FnMut(&[u8], &[u8], &Metadata) -> bool) -> Judged {
        let engine = self.engine();
        let key = self.key(&visited.key);
        let removed = |gone: Option<()>| if gone.is_some() { Judged::Removed } else { Judged::Changed };
        let Some(pinned) = self.pin(&visited.key) else {
            // Gone, or this thread holds eight guards: then it is judged by a copy.
            let Ok(Some(copied)) = engine.copy(key, crate::shard::Read::Look, false) else { return Judged::Kept };
            let metadata = Metadata::of(engine, &copied.attributes, copied.value.len());
            if keep(&visited.key, &copied.value, &metadata) {
                return Judged::Kept;
            }
            let same = |item: crate::slab::ItemRef<'_>| {
                item.value() == &*copied.value && item.attributes().token == copied.attributes.token
            };
            return removed(engine.drop_item(key, |_, item| same(item), |_| ()));
        };
        let metadata = Metadata::of(engine, &pinned.item().attributes(), pinned.value().len());
        if keep(&visited.key, pinned.value(), &metadata) {
            return Judged::Kept;
        }
        // The pin keeps the locator from being given to another item.
        let locator = pinned.slot().locator();
        removed(engine.drop_item(key, |found, _| Some(found.locator) == locator, |_| ()))
    }
}

/// What became of an item that was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judged {
    Kept,
    Removed,
    /// It was not where it had been when it was judged.
    Changed,
}

impl Iterator for Iter<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        let (cache, engine) = (self.cache, self.cache.engine());
        loop {
            while self.ready.is_empty() {
                self.next = engine.walk(cache.namespace_id(), self.next?, 64, &mut self.ready);
            }
            let visited = self.ready.pop()?;
            // The value is copied only now, without a lock; an item that has gone meanwhile is left out.
            if let Some(value) = engine.read(cache.key(&visited.key), crate::shard::Read::Look, |value| value.into()) {
                return Some(Entry { value: Some(value), ..cache.entry(visited) });
            }
        }
    }
}

impl<'a> IntoIterator for &'a Cache {
    type Item = Entry;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}
