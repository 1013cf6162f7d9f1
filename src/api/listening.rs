//! Who wants to know what happens to keys.

use super::cache::Cache;
use crate::error::Result;
use crate::events::{KeyEvent, KeyEventClass, KeyEvents, Subscription};

impl Cache {
    /// Whether the [eviction listener](crate::CacheBuilder::eviction_listener) is told of what leaves from now on (at
    /// first it is). While it is not, items leave as cheaply as without one.
    ///
    /// # Examples
    /// ```
    /// use std::sync::atomic::{AtomicU32, Ordering};
    /// static LEFT: AtomicU32 = AtomicU32::new(0);
    /// let count = |_: &larder::Removal<'_>| drop(LEFT.fetch_add(1, Ordering::Relaxed));
    /// let cache = larder::Cache::builder().max_memory(1 << 20).eviction_listener(count).build()?;
    /// for listening in [false, true] {
    ///     cache.set_listening(listening);
    ///     cache.set(b"k", b"v")?;
    ///     cache.remove(b"k");
    /// }
    /// assert_eq!(LEFT.load(Ordering::Relaxed), 1);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn set_listening(&self, yes: bool) {
        self.engine().ctx.hub.set_listening(yes);
    }

    /// A queue of what happens to the keys of this namespace from now on, in which `capacity` events can wait (at least
    /// one). What waits is on the cache's ledger. The cache never waits for a subscriber: see [`Subscription`].
    ///
    /// Names and classes are those of Redis's keyspace notifications:
    ///
    /// | operation | events |
    /// |---|---|
    /// | any that stores a value | `set`, or the [options' name](crate::SetOptions::event) |
    /// | ... with a time to live or deadline in its options | then `expire` |
    /// | `append`, `prepend` | `append`, `prepend` |
    /// | counting, up or down | `incrby`; `set` when it makes the number |
    /// | `touch`, `touch_until`, `get_and_touch`; `persist` | `expire`; `persist` |
    /// | any that removes a key | `del` |
    /// | an item that has ended is removed | `expired` |
    /// | an item is evicted | `evicted` |
    ///
    /// Clearing a namespace and invalidating a tag are no events of single keys, as in Redis. An item that has ended
    /// is removed when it is come across or swept, so `expired` may come later than its end.
    ///
    /// # Examples
    /// ```
    /// use larder::Cache;
    /// let cache = Cache::new(1 << 20)?;
    /// let events = cache.subscribe("Kg$".parse()?, 100);
    /// cache.set(b"k", b"v")?;
    /// cache.remove(b"k");
    /// let names: Vec<_> = std::iter::from_fn(|| events.try_recv()).map(|event| event.name()).collect();
    /// assert_eq!(names, ["set", "del"]);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn subscribe(&self, events: KeyEvents, capacity: usize) -> Subscription<KeyEvent> {
        self.engine().ctx.hub.subscribe(events, Some(self.namespace_id()), capacity)
    }

    /// The same of all namespaces.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, KeyEvents};
    /// let cache = Cache::new(1 << 20)?;
    /// let events = cache.subscribe_all(KeyEvents::ALL, 100);
    /// cache.namespace(9).set(b"k", b"v")?;
    /// assert_eq!(events.try_recv().map(|event| event.namespace()), Some(9));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn subscribe_all(&self, events: KeyEvents, capacity: usize) -> Subscription<KeyEvent> {
        self.engine().ctx.hub.subscribe(events, None, capacity)
    }

    /// Tells subscribers of something that the engine does not know of by itself: a front-end's `rename_to`, say. It
    /// comes in order with the other events of the key.
    ///
    /// # Errors
    /// [`KeyTooLong`](crate::ErrorKind::KeyTooLong).
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, KeyEventClass, KeyEvents};
    /// let cache = Cache::new(1 << 20)?;
    /// let events = cache.subscribe(KeyEvents::ALL, 100);
    /// cache.notify(b"new name", KeyEventClass::Generic, "rename_to")?;
    /// assert_eq!(events.try_recv().map(|event| event.name()), Some("rename_to"));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn notify(&self, key: &[u8], class: KeyEventClass, name: &'static str) -> Result<()> {
        self.engine().notify(self.key(key), class, name)
    }
}
