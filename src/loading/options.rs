//! How something is loaded, what a loader may answer, and what became of it.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use crate::api::millis;
use crate::{Cache, Error, Guard, SetOptions};

/// How a value is loaded and kept. Starts as: kept as [`Cache::set`] would, no refresh ahead, absences not remembered.
///
/// # Examples
/// ```
/// use larder::{Cache, Load, LoadOptions};
/// use std::time::Duration;
///
/// let cache = Cache::new(1 << 20)?;
/// let minute = Duration::from_secs(60);
/// let options = LoadOptions::new().ttl(10 * minute).refresh_ahead(minute).negative_ttl(minute / 2);
/// let found = cache.load(b"user:7", &options, || Ok::<_, std::io::Error>(Load::Value(b"Ann".to_vec())))?;
/// assert_eq!(found.as_deref(), Some(&b"Ann"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
#[must_use]
pub struct LoadOptions {
    pub(crate) store: SetOptions,
    pub(crate) negative_ms: u64,
    pub(crate) refresh_ahead: Duration,
}

impl LoadOptions {
    /// The defaults.
    ///
    /// # Examples
    /// ```
    /// let options = larder::LoadOptions::new();
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// Loaded values live so long. Default: as the cache says.
    ///
    /// # Examples
    /// ```
    /// let options = larder::LoadOptions::new().ttl(std::time::Duration::from_secs(60));
    /// ```
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.store = self.store.ttl(ttl);
        self
    }

    /// Loaded values are stored with these options, which say how long they live, too.
    ///
    /// # Examples
    /// ```
    /// use larder::{LoadOptions, SetOptions};
    /// use std::time::Duration;
    /// let options = LoadOptions::new().store(SetOptions::new().time_to_idle(Duration::from_secs(600)).flags(7));
    /// ```
    pub fn store(mut self, options: SetOptions) -> Self {
        self.store = options;
        self
    }

    /// That a loader has found nothing ([`Load::Absent`]) is remembered for so long: whoever can deal with an absence
    /// is told at once, without another load. Default: not at all.
    ///
    /// What is remembered is no item: `get`, `contains` and `len` know nothing of it. Writing or removing the key, or
    /// clearing its namespace, ends it. All of a cache take at most a thirty-second of its memory; the oldest leave
    /// first.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, Load, LoadOptions};
    /// use std::time::Duration;
    /// let cache = Cache::new(1 << 20)?;
    /// let options = LoadOptions::new().negative_ttl(Duration::from_secs(10));
    /// let mut asked = 0;
    /// for _ in 0..3 {
    ///     cache.load(b"k", &options, || {
    ///         asked += 1;
    ///         Ok::<Load<Vec<u8>>, std::io::Error>(Load::Absent)
    ///     })?;
    /// }
    /// assert_eq!(asked, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn negative_ttl(mut self, ttl: Duration) -> Self {
        self.negative_ms = millis(ttl);
        self
    }

    /// A value is loaded anew by the first who asks for it during this last part of its life, while the others get the
    /// value that is there. If that load fails, its caller gets the old value too; the next one tries again. Default:
    /// never.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let options = larder::LoadOptions::new().ttl(Duration::from_secs(60)).refresh_ahead(Duration::from_secs(5));
    /// ```
    pub fn refresh_ahead(mut self, window: Duration) -> Self {
        self.refresh_ahead = window;
        self
    }
}

/// What a loader answers.
///
/// # Examples
/// ```
/// use larder::Load;
/// let found: Load<u64> = Some(7).into();
/// assert_eq!(found, Load::Value(7));
/// let found: Load<u64> = None.into();
/// assert_eq!(found, Load::Absent);
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
#[expect(clippy::large_enum_variant, reason = "returned once a load, and Copy where values are")]
pub enum Load<V> {
    /// The value; it is kept as the load's options say.
    Value(V),
    /// The value, and how it is to be kept: for loaders that learn it with the value.
    With(V, SetOptions),
    /// There is no value. Remembered for [`LoadOptions::negative_ttl`].
    Absent,
    /// There is no value, and that is to be remembered for so long.
    AbsentFor(Duration),
}

impl<V> From<Option<V>> for Load<V> {
    fn from(found: Option<V>) -> Load<V> {
        found.map_or(Load::Absent, Load::Value)
    }
}

/// Without regard to how a value is to be kept.
impl<V: PartialEq> PartialEq for Load<V> {
    fn eq(&self, other: &Load<V>) -> bool {
        match (self, other) {
            (Load::Value(a) | Load::With(a, _), Load::Value(b) | Load::With(b, _)) => a == b,
            (Load::Absent, Load::Absent) => true,
            (Load::AbsentFor(a), Load::AbsentFor(b)) => a == b,
            _ => false,
        }
    }
}

/// Why there is no loaded value. Clones share the loader's error.
///
/// # Examples
/// ```
/// use larder::{Cache, LoadError};
/// let cache = Cache::new(1 << 20)?;
/// let error = cache.try_get_with(b"k", || Err::<Vec<u8>, _>("the database is down")).unwrap_err();
/// assert!(matches!(error.clone(), LoadError::Loader(why) if *why == "the database is down"));
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum LoadError<E> {
    /// The loader has failed. All who waited for it share its error.
    Loader(Arc<E>),
    /// The cache has: [`Encode`](crate::ErrorKind::Encode), [`Decode`](crate::ErrorKind::Decode),
    /// [`RecursiveLoad`](crate::ErrorKind::RecursiveLoad) or [`TooManyGuards`](crate::ErrorKind::TooManyGuards).
    Cache(Error),
}

impl<E> LoadError<E> {
    /// The loader's error, if it was the loader that failed.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// let error = cache.try_get_with(b"k", || Err::<Vec<u8>, _>(404)).unwrap_err();
    /// assert_eq!(error.loader(), Some(&404));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn loader(&self) -> Option<&E> {
        match self {
            LoadError::Loader(error) => Some(error),
            LoadError::Cache(_) => None,
        }
    }
}

impl LoadError<std::convert::Infallible> {
    /// The cache's error, of a loader that cannot fail.
    pub(crate) fn into_cache_error(self) -> Error {
        match self {
            LoadError::Loader(never) => match *never {},
            LoadError::Cache(error) => error,
        }
    }
}

/// Of any loader's error: it is shared, not copied.
impl<E> Clone for LoadError<E> {
    fn clone(&self) -> Self {
        match self {
            LoadError::Loader(error) => LoadError::Loader(Arc::clone(error)),
            LoadError::Cache(error) => LoadError::Cache(error.clone()),
        }
    }
}

impl<E> From<Error> for LoadError<E> {
    fn from(error: Error) -> Self {
        LoadError::Cache(error)
    }
}

impl<E: fmt::Display> fmt::Display for LoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Loader(error) => write!(f, "the loader has failed: {error}"),
            LoadError::Cache(error) => error.fmt(f),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for LoadError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            LoadError::Loader(error) => Some(&**error),
            LoadError::Cache(error) => error.source(),
        }
    }
}

/// The bytes that load-through has found or loaded. Dereferences to them.
///
/// # Examples
/// ```
/// let cache = larder::Cache::new(1 << 20)?;
/// let first = cache.get_with(b"k", || b"v".to_vec())?;
/// let second = cache.get_with(b"k", || b"not asked".to_vec())?;
/// assert!(first.is_fresh() && !second.is_fresh());
/// assert_eq!(*first, *second);
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug)]
pub struct Loaded<'a>(Bytes<'a>);

#[derive(Debug)]
enum Bytes<'a> {
    There(Guard<'a>),
    Fresh(Arc<[u8]>),
}

impl<'a> Loaded<'a> {
    pub(crate) fn there(guard: Guard<'a>) -> Loaded<'a> {
        Loaded(Bytes::There(guard))
    }

    pub(crate) fn fresh(bytes: Arc<[u8]>) -> Loaded<'a> {
        Loaded(Bytes::Fresh(bytes))
    }

    /// Whether the bytes come from a loader just now, and not from the cache.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// assert!(cache.get_with(b"k", || b"v".to_vec())?.is_fresh());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn is_fresh(&self) -> bool {
        matches!(self.0, Bytes::Fresh(_))
    }
}

impl Deref for Loaded<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::There(guard) => guard,
            Bytes::Fresh(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Loaded<'_> {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// What load-through has done since the cache was built, all namespaces together.
///
/// # Examples
/// ```
/// let cache = larder::Cache::new(1 << 20)?;
/// cache.get_with(b"k", || b"v".to_vec())?;
/// cache.get_with(b"k", || b"v".to_vec())?;
/// assert_eq!(cache.load_stats().loads, 1);
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LoadStats {
    /// Loaders begun, refreshes included.
    pub loads: u64,
    /// Loaders that returned an error, panicked or were cancelled.
    pub failures: u64,
    /// Callers that waited for another's loader.
    pub waits: u64,
    /// Loaders begun ahead of a value's end.
    pub refreshes: u64,
    /// Loaded values that could not be stored (too large, no room, key too long), or were turned away by the policy.
    /// Their callers got them all the same.
    pub not_stored: u64,
    /// Loads during which their key was written or removed, or its namespace cleared: not stored either.
    pub overtaken: u64,
    /// Calls answered by a remembered absence.
    pub known_absent: u64,
    /// Absences remembered at present.
    pub absences: u64,
    /// Bytes that they take; part of the cache's memory.
    pub absence_bytes: u64,
    /// Loads that ran beside the others, because those in flight took all the memory that they may (a sixteenth of
    /// the limit): nobody could wait for them, and their values went to their callers only.
    pub unshared: u64,
    /// Loaders running at present (those that were overtaken or are unshared do not count).
    pub in_flight: u64,
    /// Bytes that all loads take which somebody runs or waits for; part of the cache's memory.
    pub in_flight_bytes: u64,
}

impl LoadStats {
    pub(crate) fn of(cache: &Cache) -> LoadStats {
        use crate::engine::LoadCounter;
        let loads = &cache.engine().loads;
        let (absences, absence_bytes, in_flight) = loads.at_present();
        LoadStats {
            loads: loads.counted(LoadCounter::Loads),
            failures: loads.counted(LoadCounter::Failures),
            waits: loads.counted(LoadCounter::Waits),
            refreshes: loads.counted(LoadCounter::Refreshes),
            not_stored: loads.counted(LoadCounter::NotStored),
            overtaken: loads.counted(LoadCounter::Overtaken),
            known_absent: loads.counted(LoadCounter::KnownAbsent),
            absences,
            absence_bytes,
            unshared: loads.counted(LoadCounter::Unshared),
            in_flight,
            in_flight_bytes: loads.in_flight_bytes(),
        }
    }
}
