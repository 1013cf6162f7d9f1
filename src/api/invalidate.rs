//! Removing many items: all, those of a tag, those whose keys begin alike, those that a closure picks.
//!
//! The last two go through all items in chunks of equal ranges of hashes, in the order of the chunks' reversed numbers
//! (0, 1/2, 1/4, 3/4, 1/8 ... of the way): so the table thins out evenly. Emptied from its front, it would shrink while
//! its rear is still full, and what is stored then would push out its neighbours there.

use std::time::{Duration, Instant};

use super::cache::Cache;
use super::options::Metadata;

/// Picks items by key, value and metadata.
type Predicate<'a> = Box<dyn FnMut(&[u8], &[u8], &Metadata) -> bool + 'a>;

/// Which items are to go.
enum Which<'a> {
    Prefix(Box<[u8]>),
    If(Predicate<'a>),
}

impl std::fmt::Debug for Which<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Which::Prefix(prefix) => f.debug_tuple("Prefix").field(prefix).finish(),
            Which::If(_) => f.write_str("If"),
        }
    }
}

/// A removal of many items that is done in steps: at once with [`run`](Self::run), or by and by with
/// [`step`](Self::step) and [`run_for`](Self::run_for). Dropped before its end, it leaves what it has not come to.
///
/// What is there when it begins, and still is when it gets there, is removed if it matches. What is stored meanwhile
/// may be removed or not. Loads of the namespace that are under way when it begins are overtaken: those who wait get
/// what they bring, but it is not stored, as it may be what is to go. Nothing is kept
/// between the steps, and what happens to the cache between them does no harm.
///
/// # Examples
/// ```
/// let cache = larder::Cache::new(1 << 20)?;
/// for i in 0..100u8 {
///     cache.set(&[b'a' + i % 2, i], b"v")?;
/// }
/// let mut invalidation = cache.invalidate_prefix(b"a");
/// while invalidation.step() {
///     // Something else.
/// }
/// assert_eq!((invalidation.removed(), cache.len()), (50, 50));
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "nothing is removed until `run`, `run_for` or `step` is called"]
pub struct Invalidation<'a> {
    cache: Cache,
    which: Which<'a>,
    /// The chunk's number and the next hash in it; None at the end.
    cursor: Option<(u64, u64)>,
    /// A chunk is two to this power of hashes.
    chunk_bits: u32,
    removed: u64,
}

impl Invalidation<'_> {
    /// Does a step: looks at the items of some 32 buckets, which takes microseconds beside what the closure takes.
    /// Whether there is more to do.
    ///
    /// # Examples
    /// See [`Invalidation`].
    pub fn step(&mut self) -> bool {
        let Some((chunk, from)) = self.cursor else { return false };
        let (engine, namespace) = (self.cache.engine(), self.cache.namespace_id());
        let next = match &mut self.which {
            Which::Prefix(prefix) => engine.remove_prefix_step(namespace, prefix, from, &mut self.removed),
            Which::If(predicate) => {
                if self.cursor == Some((0, 0)) {
                    // Values that are being loaded are not among the items yet, and cannot be judged.
                    engine.overtake_loads(namespace);
                }
                let mut keep = |key: &[u8], value: &[u8], metadata: &Metadata| !predicate(key, value, metadata);
                self.cache.retain_step(from, 1, &mut keep, &mut self.removed)
            }
        };
        // The low bits of the number, reversed, are the high bits of the chunk's first hash.
        let last = chunk.reverse_bits() | ((1 << self.chunk_bits) - 1);
        self.cursor = match next.filter(|&next| next <= last) {
            Some(next) => Some((chunk, next)),
            None if chunk + 1 < 1 << (u64::BITS - self.chunk_bits) => Some((chunk + 1, (chunk + 1).reverse_bits())),
            None => None,
        };
        self.cursor.is_some()
    }

    /// Does steps for so long, by the system's clock, or until the end. Whether there is more to do.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.set(b"k", b"v")?;
    /// let mut invalidation = cache.invalidate_if(|_key, value, _metadata| value == b"v");
    /// while invalidation.run_for(Duration::from_millis(1)) {}
    /// assert!(cache.is_empty());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn run_for(&mut self, time: Duration) -> bool {
        let begun = Instant::now();
        while self.step() {
            if begun.elapsed() >= time {
                return true;
            }
        }
        false
    }

    /// Does all steps, each under a hold of a lock of its own; returns how many items were removed.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.set(b"user:1", b"v")?;
    /// assert_eq!(cache.invalidate_prefix(b"user:").run(), 1);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn run(mut self) -> u64 {
        while self.step() {}
        self.removed
    }

    /// How many items were removed so far.
    ///
    /// # Examples
    /// See [`Invalidation`].
    pub fn removed(&self) -> u64 {
        self.removed
    }
}

impl Cache {
    /// Invalidates all items of this namespace that have a [tag](crate::SetOptions::tags): when it returns, none of
    /// them is found any more, and what is stored from then on, with the tag or without, is. Takes no longer however
    /// many items there are; their memory comes back by maintenance, or when they are evicted. They count in
    /// [`len`](Self::len) until then.
    ///
    /// The tags invalidated since the last sweep of all items are kept in a table of bounded size (a thousandth of the
    /// limit). When it is full and the sweep has not come far enough, this call sweeps, in bounded steps.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, SetOptions};
    /// let cache = Cache::new(1 << 20)?;
    /// let options = SetOptions::new().tag("user:42");
    /// cache.set_with(b"session:1", b"...", &options)?;
    /// cache.set_with(b"session:2", b"...", &options)?;
    /// cache.invalidate_tag("user:42");
    /// assert!(!cache.contains(b"session:1") && !cache.contains(b"session:2"));
    /// cache.set_with(b"session:3", b"...", &options)?;
    /// assert!(cache.contains(b"session:3"));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn invalidate_tag(&self, tag: impl AsRef<[u8]>) {
        self.engine().invalidate_tag(self.namespace_id(), tag.as_ref());
    }

    /// Removes the items of this namespace whose keys begin so. Looks at all items; see [`Invalidation`]. Where groups
    /// are invalidated often, [tags](Self::invalidate_tag) cost less.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.set(b"user:1", b"v")?;
    /// cache.set(b"page:1", b"v")?;
    /// assert_eq!(cache.invalidate_prefix(b"user:").run(), 1);
    /// assert!(cache.contains(b"page:1"));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn invalidate_prefix(&self, prefix: &[u8]) -> Invalidation<'static> {
        self.invalidation(Which::Prefix(prefix.into()))
    }

    /// Removes the items of this namespace for which a closure, shown key, value and metadata, says yes. The closure
    /// runs without a lock; an item that changes after it was judged stays. See [`Invalidation`].
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.set(b"small", b"v")?;
    /// cache.set(b"large", &[0; 1000])?;
    /// assert_eq!(cache.invalidate_if(|_key, value, _metadata| value.len() > 100).run(), 1);
    /// assert!(cache.contains(b"small"));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn invalidate_if<'a>(&self, predicate: impl FnMut(&[u8], &[u8], &Metadata) -> bool + 'a) -> Invalidation<'a> {
        self.invalidation(Which::If(Box::new(predicate)))
    }

    /// [`clear`](Self::clear): all items of this namespace are gone at once, in constant time.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.set(b"k", b"v")?;
    /// cache.invalidate_all();
    /// assert!(cache.is_empty());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn invalidate_all(&self) {
        self.clear();
    }

    fn invalidation<'a>(&self, which: Which<'a>) -> Invalidation<'a> {
        let chunk_bits = self.engine().step_bits();
        Invalidation { cache: self.clone(), which, cursor: Some((0, 0)), chunk_bits, removed: 0 }
    }
}
