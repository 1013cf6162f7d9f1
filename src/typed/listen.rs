//! A listener that is given keys and values, decoded.

use std::sync::Arc;

use super::cache::TypedCache;
use super::codec::Codec;
use crate::events::Listener;
use crate::{Listening, RemovalCause};

impl<K: 'static, V: 'static, C: Codec<V>, KC: Codec<K>> TypedCache<K, V, C, KC> {
    /// Gives a closure each key and value that leaves this namespace from now on, decoded and its own, and the cause;
    /// for as long as the result is kept.
    ///
    /// It is called after the operation, without any lock, and may use the cache. Calls of one key come in the order in
    /// which its values left. If it panics, that is [counted](crate::Stats::listener_panics), and nothing else happens.
    /// The [builder's listener](crate::CacheBuilder::eviction_listener) says which causes there are, which thread calls
    /// it, and what it must not do: wait for another thread that writes to the cache.
    ///
    /// **What does not decode is not told**, whether [`undecodable_as_miss`](Self::undecodable_as_miss) is set or not:
    /// [`Listening::undecodable`] counts it. Whoever wants to see those too takes the bytes:
    /// [`Cache::eviction_listener`](crate::Cache::eviction_listener) of [`cache`](Self::cache).
    ///
    /// A closure that owns a clone of this cache keeps it alive until the [`Listening`] is dropped.
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, RemovalCause, TypedCache};
    /// use std::sync::mpsc::channel;
    /// let (sender, left) = channel();
    /// let ages: TypedCache<String, u32, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// let listening = ages.eviction_listener(move |name, age, cause| drop(sender.send((name, age, cause))));
    /// ages.insert("ann", &30)?;
    /// ages.insert("ann", &31)?;
    /// ages.cache().set(b"ben", b"no age")?;
    /// ages.remove("ben");
    /// ages.remove("ann");
    /// let left: Vec<_> = left.try_iter().collect();
    /// let ann = || "ann".to_owned();
    /// assert_eq!(left, [(ann(), 30, RemovalCause::Replaced), (ann(), 31, RemovalCause::Removed)]);
    /// assert_eq!(listening.undecodable(), 1);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn eviction_listener(&self, listener: impl Fn(K, V, RemovalCause) + Send + Sync + 'static) -> Listening {
        let codecs = Arc::clone(self.codecs());
        self.cache().listen(Listener::that_may_pass(move |removal| {
            let (Ok(key), Ok(value)) = (codecs.1.decode(removal.key), codecs.0.decode(removal.value)) else {
                return false;
            };
            listener(key, value, removal.cause);
            true
        }))
    }
}
