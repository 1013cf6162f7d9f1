//! Who wants to know what happens to keys: listeners and subscribers.

use super::cache::Cache;
use crate::Removal;
use crate::error::Result;
use crate::events::{KeyEvent, KeyEventClass, KeyEvents, Listener, Listening, Subscription};

impl Cache {
    /// Shows a closure each item that leaves this namespace from now on, for as long as the result is kept. What it is
    /// told, when, by which thread, and what it may do is as with the
    /// [builder's listener](crate::CacheBuilder::eviction_listener), which is of all namespaces and called first;
    /// several of one namespace are called in the order in which they came.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, RemovalCause};
    /// use std::sync::mpsc::channel;
    /// let (sender, left) = channel();
    /// let sessions = Cache::new(1 << 20)?.namespace(1);
    /// let listening = sessions.eviction_listener(move |r| drop(sender.send((r.key.to_vec(), r.cause))));
    /// sessions.set(b"k", b"v")?;
    /// sessions.remove(b"k");
    /// sessions.namespace(2).set(b"k", b"v")?;
    /// sessions.namespace(2).remove(b"k"); // not this one's
    /// assert_eq!(left.try_iter().collect::<Vec<_>>(), [(b"k".to_vec(), RemovalCause::Removed)]);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn eviction_listener(&self, listener: impl Fn(&Removal<'_>) + Send + Sync + 'static) -> Listening {
        self.listen(Listener::new(listener))
    }

    pub(crate) fn listen(&self, listener: Listener) -> Listening {
        self.engine().ctx.hub.listen(self.namespace_id(), listener)
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
