//! Many snapshots in one storage: by hand, daily, and a last one on closing.
//!
//! ```text
//!  name.snapshot            an available snapshot
//!  name.snapshot.partial    one that is being created
//!  name.failed              why one could not be created
//! ```
//! Nothing else is kept: what a catalog knows, it reads from these files. Who was creating one when the program ended
//! did not finish it: it is found by the next catalog that is opened, and listed as failed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use parking_lot::Mutex;

use super::daily::{Window, stamp};
use super::restore::{RestoreOptions, Restored};
use super::save::{FileRun, PARTIAL, SnapshotInfo, SnapshotOptions, storage_error};
use crate::api::{Cache, CacheBuilder};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::Storage;
use crate::trace::span;

const AVAILABLE: &str = ".snapshot";
const FAILED: &str = ".failed";
const AUTOMATIC: &str = "automatic.";
const FINAL: &str = "final.";
/// The longest name.
const LONGEST_NAME: usize = 150;
/// Final snapshots that caches of one name may leave in a minute, which is what their names tell apart.
const MOST_A_MINUTE: u32 = 99;
const DAY_MS: u64 = 24 * 3600 * 1000;
/// The longest that automatic snapshots are kept, in days.
const MOST_DAYS: u32 = 35;
/// Bytes copied at a time.
const COPY: usize = 256 << 10;

/// How a catalog works.
///
/// # Examples
/// ```
/// use larder::snapshot::CatalogOptions;
/// let options = CatalogOptions::new().retention_days(7).window("04:00-05:00".parse()?).manual_a_day(50);
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct CatalogOptions {
    manual_a_day: usize,
    retention_days: u32,
    window: Option<Window>,
    final_snapshot: bool,
    snapshots: SnapshotOptions,
}

impl Default for CatalogOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl CatalogOptions {
    /// Twenty manual snapshots a day and cache, no automatic ones.
    ///
    /// # Examples
    /// See [`CatalogOptions`].
    pub fn new() -> CatalogOptions {
        let snapshots = SnapshotOptions::new();
        CatalogOptions { manual_a_day: 20, retention_days: 0, window: None, final_snapshot: false, snapshots }
    }

    /// How many snapshots of one cache may be created by hand within any 24 hours. Default: 20.
    ///
    /// # Examples
    /// See [`CatalogOptions`].
    #[must_use]
    pub fn manual_a_day(mut self, count: usize) -> CatalogOptions {
        self.manual_a_day = count;
        self
    }

    /// For how many days automatic snapshots are kept, up to 35; with 0 none are taken. Default: 0.
    ///
    /// # Examples
    /// See [`CatalogOptions`].
    #[must_use]
    pub fn retention_days(mut self, days: u32) -> CatalogOptions {
        self.retention_days = days;
        self
    }

    /// When automatic snapshots are taken. Default: an hour of the day that the cache's name decides.
    ///
    /// # Examples
    /// See [`CatalogOptions`].
    #[must_use]
    pub fn window(mut self, window: Window) -> CatalogOptions {
        self.window = Some(window);
        self
    }

    /// Whether a last snapshot is taken when the last handle of a cache goes that was built with the catalog
    /// ([`CacheBuilder::snapshots`]). Its name is `final.<cache>-YYYY-MM-DD-HH-MM`, with `-2` and so on after it if
    /// there is that one already; it stays until it is deleted.
    /// Default: no.
    ///
    /// # Examples
    /// See [`CacheBuilder::snapshots`].
    #[must_use]
    pub fn final_snapshot(mut self, yes: bool) -> CatalogOptions {
        self.final_snapshot = yes;
        self
    }

    /// How snapshots are taken: compression, labels, how long writers wait.
    ///
    /// # Examples
    /// ```
    /// use larder::snapshot::{CatalogOptions, SnapshotOptions};
    /// let options = CatalogOptions::new().snapshots(SnapshotOptions::new().label("zone", "a"));
    /// ```
    #[must_use]
    pub fn snapshots(mut self, options: SnapshotOptions) -> CatalogOptions {
        self.snapshots = options;
        self
    }
}

/// Who asked for a snapshot.
///
/// # Examples
/// See [`Catalog::list`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SnapshotKind {
    /// The program. It stays until it is deleted.
    Manual,
    /// The daily window. It is deleted when its time is over.
    Automatic,
}

impl SnapshotKind {
    fn of(name: &str) -> SnapshotKind {
        if name.starts_with(AUTOMATIC) { SnapshotKind::Automatic } else { SnapshotKind::Manual }
    }
}

/// Whether a snapshot is there.
///
/// # Examples
/// See [`Catalog::describe`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SnapshotState {
    /// It is being created.
    Creating,
    /// It can be restored from.
    Available,
    /// It could not be created, or cannot be read; the cause.
    Failed(String),
}

/// A snapshot of a catalog.
///
/// # Examples
/// See [`Catalog`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StoredSnapshot {
    /// Its name.
    pub name: String,
    /// Who asked for it.
    pub kind: SnapshotKind,
    /// Whether it is there.
    pub state: SnapshotState,
    /// When it was taken, of what, how large it is; None unless it is available.
    pub info: Option<SnapshotInfo>,
}

/// What a call of [`Catalog::run`] did.
///
/// # Examples
/// See [`Catalog::run`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CatalogWork {
    /// The automatic snapshot that was completed.
    pub completed: Option<String>,
    /// Automatic snapshots that were deleted because their time was over.
    pub deleted: Vec<String>,
    /// Whether an automatic snapshot is under way: call again soon.
    pub is_busy: bool,
}

#[derive(Debug, Default)]
struct State {
    /// Names that are being created.
    creating: Vec<String>,
    /// The automatic snapshot that is under way: its name, its cache's name.
    running: BTreeMap<String, (String, FileRun)>,
    /// By the cache's name, the date of the last automatic snapshot that was begun here, whatever became of it.
    tried: BTreeMap<String, String>,
    /// Manual snapshots begun here: the cache's name, and when.
    begun: Vec<(String, u64)>,
}

/// A set of snapshots in one storage, of one cache or of several, told apart by their names.
///
/// Snapshots by hand stay until they are deleted, and outlive their cache. Automatic ones, one a day, are off until
/// [`retention_days`](CatalogOptions::retention_days) says for how long they are kept. They are taken by a cache that
/// was built with the catalog ([`CacheBuilder::snapshots`]), or by [`run`](Self::run), which the program calls now and
/// then.
///
/// # Examples
/// ```
/// use larder::{Cache, storage::Memory};
/// use larder::snapshot::{Catalog, CatalogOptions, RestoreOptions};
/// use std::sync::Arc;
/// let catalog = Catalog::open(Arc::new(Memory::new()), CatalogOptions::new())?;
/// let cache = Cache::builder().max_memory(1 << 20).name("sessions").build()?;
/// cache.set(b"k", b"v")?;
///
/// catalog.create(&cache, "before-upgrade")?;
/// catalog.copy("before-upgrade", "golden")?;
/// catalog.delete("before-upgrade")?;
/// cache.clear();
/// catalog.restore(&cache, "golden", &RestoreOptions::new())?;
/// assert!(cache.contains(b"k"));
/// let names: Vec<String> = catalog.list(None)?.into_iter().map(|snapshot| snapshot.name).collect();
/// assert_eq!(names, ["golden"]);
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug)]
pub struct Catalog {
    storage: Arc<dyn Storage>,
    options: CatalogOptions,
    state: Mutex<State>,
}

/// Name of the last snapshot of a cache that is closed at a time.
fn final_name(cache: &str, now_ms: u64) -> String {
    format!("{FINAL}{cache}-{}", stamp(now_ms))
}

fn file_of(name: &str) -> String {
    format!("{name}{AVAILABLE}")
}

fn failure_of(name: &str) -> String {
    format!("{name}{FAILED}")
}

fn no_such(name: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no snapshot {name:?}"))
}

impl Catalog {
    /// The catalog of a storage, which should hold nothing else. One that was being created when a program ended is
    /// listed as failed from now on, so a storage is for one catalog at a time.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] for a retention above 35 days, [`ErrorKind::Storage`] if the storage fails.
    ///
    /// # Examples
    /// See [`Catalog`].
    pub fn open(storage: Arc<dyn Storage>, options: CatalogOptions) -> Result<Catalog> {
        if options.retention_days > MOST_DAYS {
            return Err(Error::new(
                ErrorKind::InvalidConfig,
                format!("retention_days is {}; it may be {MOST_DAYS} at most", options.retention_days),
            ));
        }
        let catalog = Catalog { storage, options, state: Mutex::default() };
        for file in catalog.files()? {
            if let Some(name) = file.strip_suffix(PARTIAL).and_then(|file| file.strip_suffix(AVAILABLE)) {
                catalog.note_failure(name, "it was not finished when the program ended");
                catalog.storage.remove(&file).map_err(|e| storage_error("remove", name, e))?;
            }
        }
        Ok(catalog)
    }

    fn files(&self) -> Result<Vec<String>> {
        self.storage.list().map_err(|e| storage_error("list", "files", e))
    }

    /// Keeps the cause of a failure; where even that fails, the caller's error is all there is.
    fn note_failure(&self, name: &str, why: &str) {
        let _ = self.storage.replace(&failure_of(name), why.as_bytes());
    }

    fn check_name(name: &str, kind: SnapshotKind) -> Result<()> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        let is_good = !name.is_empty()
            && name.len() <= LONGEST_NAME
            && !name.starts_with('.')
            && name.bytes().all(allowed)
            && SnapshotKind::of(name) == kind;
        if is_good {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::InvalidConfig,
            format!(
                "{name:?} is no name for a snapshot: up to {LONGEST_NAME} letters, digits, '.', '-' and '_', not \
                 beginning with '.' or with {AUTOMATIC:?}"
            ),
        ))
    }

    /// Takes a name for a snapshot that is about to be created.
    fn claim(&self, name: &str) -> Result<()> {
        let taken = || Error::new(ErrorKind::AlreadyExists, format!("there is a snapshot {name:?} already"));
        {
            let mut state = self.state.lock();
            if state.creating.iter().any(|other| other == name) {
                return Err(taken());
            }
            state.creating.push(name.to_owned());
        }
        // The storage may be the program's: not under a lock.
        let is_there = self.files().map(|files| files.contains(&file_of(name)));
        if matches!(is_there, Ok(false)) {
            return Ok(());
        }
        self.unclaim(name);
        is_there.and(Err(taken()))
    }

    fn unclaim(&self, name: &str) {
        self.state.lock().creating.retain(|other| other != name);
    }

    /// Creates a snapshot of a cache as it is now, and waits until it is stored.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] for a name that is taken, [`ErrorKind::InvalidConfig`] for one that cannot be,
    /// [`ErrorKind::NotAllowed`] beyond [`manual_a_day`](CatalogOptions::manual_a_day) or while another snapshot of the
    /// cache is under way; else as [`Cache::snapshot_to`]. What fails is listed as failed.
    ///
    /// # Examples
    /// See [`Catalog`].
    pub fn create(&self, cache: &Cache, name: &str) -> Result<StoredSnapshot> {
        Self::check_name(name, SnapshotKind::Manual)?;
        self.check_quota(cache)?;
        self.claim(name)?;
        let now = cache.now_ms();
        let taken = cache.snapshot_to(&*self.storage, &file_of(name), &self.options.snapshots);
        self.unclaim(name);
        match taken {
            Ok(info) => {
                self.state.lock().begun.push((cache.name().to_owned(), now));
                self.forget_failure(name);
                Ok(self.available(name, info))
            }
            Err(error) => {
                self.note_failure(name, &error.to_string());
                Err(error)
            }
        }
    }

    fn available(&self, name: &str, info: SnapshotInfo) -> StoredSnapshot {
        let (kind, state) = (SnapshotKind::of(name), SnapshotState::Available);
        StoredSnapshot { name: name.to_owned(), kind, state, info: Some(info) }
    }

    fn forget_failure(&self, name: &str) {
        // Usually there was none.
        let _ = self.storage.remove(&failure_of(name));
    }

    /// Refuses a manual snapshot beyond what a day may have. Those that were deleted count as long as this catalog
    /// knows of them.
    fn check_quota(&self, cache: &Cache) -> Result<()> {
        let since = cache.now_ms().saturating_sub(DAY_MS);
        let is_recent = |snapshot: &StoredSnapshot| {
            let after = |info: &SnapshotInfo| info.taken_at > UNIX_EPOCH + Duration::from_millis(since);
            snapshot.info.as_ref().is_some_and(|info| info.description.source() == cache.name() && after(info))
        };
        let stored = self.list(Some(SnapshotKind::Manual))?.iter().filter(|snapshot| is_recent(snapshot)).count();
        let mut state = self.state.lock();
        state.begun.retain(|(name, at)| name != cache.name() || *at > since);
        let begun = state.begun.iter().filter(|(name, _)| name == cache.name()).count();
        if stored.max(begun) >= self.options.manual_a_day {
            return Err(Error::new(
                ErrorKind::NotAllowed,
                format!(
                    "{} snapshots of {} were created by hand within 24 hours: no more are allowed (manual_a_day)",
                    stored.max(begun),
                    cache.name()
                ),
            ));
        }
        Ok(())
    }

    /// All snapshots, or those of a kind, in the order of their names.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`] if the storage fails. A file that cannot be read is listed as failed.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, snapshot::{Catalog, CatalogOptions, SnapshotKind}, storage::Memory};
    /// use std::sync::Arc;
    /// let catalog = Catalog::open(Arc::new(Memory::new()), CatalogOptions::new())?;
    /// catalog.create(&Cache::new(1 << 20)?, "one")?;
    /// assert_eq!(catalog.list(Some(SnapshotKind::Manual))?.len(), 1);
    /// assert_eq!(catalog.list(Some(SnapshotKind::Automatic))?.len(), 0);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn list(&self, kind: Option<SnapshotKind>) -> Result<Vec<StoredSnapshot>> {
        let mut names: Vec<String> = self.state.lock().creating.clone();
        let known = |file: String| {
            let name = file.strip_suffix(AVAILABLE).or_else(|| file.strip_suffix(FAILED))?;
            Some(name.to_owned())
        };
        names.extend(self.files()?.into_iter().filter_map(known));
        names.sort_unstable();
        names.dedup();
        names.retain(|name| kind.is_none_or(|kind| SnapshotKind::of(name) == kind));
        // One may have been deleted since.
        Ok(names.iter().filter_map(|name| self.describe(name).ok()).collect())
    }

    /// One snapshot: its state and, if it is available, when it was taken, of what, and how large it is.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none of this name.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, snapshot::{Catalog, CatalogOptions, SnapshotState}, storage::Memory};
    /// use std::sync::Arc;
    /// let catalog = Catalog::open(Arc::new(Memory::new()), CatalogOptions::new())?;
    /// catalog.create(&Cache::new(1 << 20)?, "one")?;
    /// let one = catalog.describe("one")?;
    /// assert_eq!((one.state, one.info.unwrap().items), (SnapshotState::Available, 0));
    /// assert!(catalog.describe("two").is_err());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn describe(&self, name: &str) -> Result<StoredSnapshot> {
        let of_state =
            |state| StoredSnapshot { name: name.to_owned(), kind: SnapshotKind::of(name), state, info: None };
        if self.state.lock().creating.iter().any(|other| other == name) {
            return Ok(of_state(SnapshotState::Creating));
        }
        let files = self.files()?;
        if files.contains(&file_of(name)) {
            return Ok(match Cache::describe_snapshot(&*self.storage, &file_of(name)) {
                Ok(info) => self.available(name, info),
                Err(error) => of_state(SnapshotState::Failed(error.to_string())),
            });
        }
        if files.contains(&failure_of(name)) {
            let why = self.storage.read(&failure_of(name)).unwrap_or_default();
            return Ok(of_state(SnapshotState::Failed(String::from_utf8_lossy(&why).into_owned())));
        }
        Err(no_such(name))
    }

    /// Copies a snapshot. The copy counts as made by hand, also that of an automatic one, so it stays.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none, [`ErrorKind::AlreadyExists`] if the other name is taken,
    /// [`ErrorKind::InvalidConfig`] if it cannot be one, [`ErrorKind::Storage`] if the storage fails.
    ///
    /// # Examples
    /// See [`Catalog`].
    pub fn copy(&self, from: &str, to: &str) -> Result<StoredSnapshot> {
        Self::check_name(to, SnapshotKind::Manual)?;
        if !self.files()?.contains(&file_of(from)) {
            return Err(no_such(from));
        }
        self.claim(to)?;
        let partial = format!("{}{PARTIAL}", file_of(to));
        let copied = self.copy_bytes(&file_of(from), &partial, &file_of(to));
        self.unclaim(to);
        if let Err(error) = copied {
            let _ = self.storage.remove(&partial);
            return Err(storage_error("copy", from, error));
        }
        self.describe(to)
    }

    fn copy_bytes(&self, from: &str, partial: &str, to: &str) -> std::io::Result<()> {
        let (source, target) = (self.storage.open(from)?, self.storage.create(partial)?);
        let (mut buffer, mut at, len) = (vec![0; COPY], 0, source.len()?);
        while at < len {
            let n = (len - at).min(COPY as u64) as usize;
            source.read_exact_at(&mut buffer[..n], at)?;
            target.write_all_at(&buffer[..n], at)?;
            at += n as u64;
        }
        target.sync()?;
        self.storage.rename(partial, to)?;
        self.storage.sync_dir()
    }

    /// Deletes a snapshot, available or failed. This cannot be undone.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none, [`ErrorKind::NotAllowed`] while it is being created,
    /// [`ErrorKind::Storage`] if the storage fails.
    ///
    /// # Examples
    /// See [`Catalog`].
    pub fn delete(&self, name: &str) -> Result<()> {
        if self.state.lock().creating.iter().any(|other| other == name) {
            return Err(Error::new(ErrorKind::NotAllowed, format!("the snapshot {name:?} is being created")));
        }
        let files = self.files()?;
        let mut found = false;
        for file in [file_of(name), failure_of(name)] {
            if files.contains(&file) {
                self.storage.remove(&file).map_err(|e| storage_error("delete", name, e))?;
                found = true;
            }
        }
        if !found {
            return Err(no_such(name));
        }
        self.storage.sync_dir().map_err(|e| storage_error("delete", name, e))
    }

    /// Deletes all automatic snapshots of a cache, as is done when the cache itself goes for good. How many there were.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`] if the storage fails.
    ///
    /// # Examples
    /// ```
    /// use larder::{snapshot::{Catalog, CatalogOptions}, storage::Memory};
    /// let catalog = Catalog::open(std::sync::Arc::new(Memory::new()), CatalogOptions::new())?;
    /// assert_eq!(catalog.delete_automatic("sessions")?, 0);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn delete_automatic(&self, cache: &str) -> Result<usize> {
        let names = self.automatic_of(cache)?;
        names.iter().try_for_each(|(name, _)| self.delete(name))?;
        Ok(names.len())
    }

    /// Empties a cache and fills it from a snapshot: [`Cache::restore_from`].
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none, else as there.
    ///
    /// # Examples
    /// See [`Catalog`].
    pub fn restore(&self, cache: &Cache, name: &str, options: &RestoreOptions) -> Result<Restored> {
        self.check_there(name)?;
        cache.restore_from(&*self.storage, &file_of(name), options)
    }

    /// A new cache out of a snapshot: [`Cache::from_snapshot`].
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none, else as there.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, snapshot::{Catalog, CatalogOptions, RestoreOptions}, storage::Memory};
    /// let catalog = Catalog::open(std::sync::Arc::new(Memory::new()), CatalogOptions::new())?;
    /// let cache = Cache::builder().max_memory(1 << 20).name("sessions").build()?;
    /// catalog.close(cache, "last")?;
    /// let again = catalog.restore_new("last", &RestoreOptions::new(), |builder| builder)?;
    /// assert_eq!(again.name(), "sessions");
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn restore_new(
        &self,
        name: &str,
        options: &RestoreOptions,
        change: impl FnOnce(CacheBuilder) -> CacheBuilder,
    ) -> Result<Cache> {
        self.check_there(name)?;
        Cache::from_snapshot(&*self.storage, &file_of(name), options, change)
    }

    fn check_there(&self, name: &str) -> Result<()> {
        if self.files()?.contains(&file_of(name)) { Ok(()) } else { Err(no_such(name)) }
    }

    /// Takes a last snapshot of a cache and gives this handle up. What others write through other handles after that is
    /// not in it. It counts as made by hand, but is always allowed.
    ///
    /// # Errors
    /// As [`create`](Self::create), the number a day apart; the handle comes back then only as long as there are
    /// others.
    ///
    /// # Examples
    /// See [`Catalog::restore_new`].
    pub fn close(&self, cache: Cache, name: &str) -> Result<StoredSnapshot> {
        Self::check_name(name, SnapshotKind::Manual)?;
        self.claim(name)?;
        let taken = cache.snapshot_to(&*self.storage, &file_of(name), &self.options.snapshots);
        self.unclaim(name);
        drop(cache);
        Ok(self.available(name, taken.inspect_err(|error| self.note_failure(name, &error.to_string()))?))
    }

    /// A cache that was built with this catalog is going: what is under way is given up, and a last snapshot taken, if
    /// the options say so.
    pub(super) fn finish(&self, cache: Cache) -> Result<()> {
        let running = self.state.lock().running.remove(cache.name());
        if let Some((name, run)) = running {
            run.give_up(&*self.storage);
            let closed = Error::new(ErrorKind::SnapshotFailed, "the cache was closed while it was taken");
            self.fail_automatic(&cache, &name, &closed);
        }
        if !self.options.final_snapshot {
            return Ok(());
        }
        let name = final_name(cache.name(), cache.now_ms());
        let failed = cache.snapshot_stats().failed;
        let mut taken = self.close(cache.clone(), &name);
        // Who is closed again within the minute has something else to leave.
        for again in 2..=MOST_A_MINUTE {
            if !matches!(&taken, Err(error) if error.kind() == ErrorKind::AlreadyExists) {
                break;
            }
            taken = self.close(cache.clone(), &format!("{name}-{again}"));
        }
        // Listed as failed, and told of by events.
        taken.map(drop).inspect_err(|error| {
            if cache.snapshot_stats().failed == failed {
                cache.tell_of_snapshot(&name, Err(error));
            }
        })
    }

    /// Whether snapshots can have names with that of a cache in them, where they are to have.
    pub(crate) fn check_cache_name(&self, cache: &str) -> Result<()> {
        if self.options.retention_days == 0 && !self.options.final_snapshot {
            return Ok(());
        }
        let longest = format!("{}-{MOST_A_MINUTE}", final_name(cache, 0));
        Self::check_name(&longest, SnapshotKind::Manual).map_err(|_| {
            let text = format!(
                "the cache's name {cache:?} is to be part of its snapshots' names: give it one of letters, digits, \
                 '.', '-' and '_', and of {} at most",
                (LONGEST_NAME + cache.len()).saturating_sub(longest.len())
            );
            Error::new(ErrorKind::InvalidConfig, text)
        })
    }

    /// Automatic snapshots of a cache, failed ones too, with the dates in their names.
    fn automatic_of(&self, cache: &str) -> Result<Vec<(String, String)>> {
        let prefix = format!("{AUTOMATIC}{cache}-");
        let of_cache = |snapshot: StoredSnapshot| {
            let date = snapshot.name.strip_prefix(&prefix).filter(|date| date.len() == stamp(0).len())?.to_owned();
            Some((snapshot.name, date))
        };
        Ok(self.list(Some(SnapshotKind::Automatic))?.into_iter().filter_map(of_cache).collect())
    }

    /// Does what is due for a cache: begins the automatic snapshot of its window, carries it on for up to `budget`, and
    /// deletes automatic snapshots whose time is over. A cache that was built with the catalog
    /// ([`CacheBuilder::snapshots`]) has this done for it. For others the program calls it now and then, at least once
    /// in a window, and, while it says that it is busy, as often as it can (what is written to the cache waits for a
    /// snapshot that is not carried on: see [`SnapshotOptions::writers_wait`]). Time is the cache's clock.
    ///
    /// # Errors
    /// As [`create`](Self::create). A snapshot that failed is listed as such, and the next one is tried in the next
    /// window.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, ManualClock, storage::Memory};
    /// use larder::snapshot::{Catalog, CatalogOptions};
    /// use std::time::Duration;
    /// let options = CatalogOptions::new().retention_days(1).window("00:00-01:00".parse()?);
    /// let catalog = Catalog::open(std::sync::Arc::new(Memory::new()), options)?;
    /// let clock = ManualClock::new(0);
    /// let cache = Cache::builder().max_memory(1 << 20).name("sessions").clock(clock.clone()).build()?;
    /// let work = catalog.run(&cache, Duration::from_secs(1))?;
    /// assert_eq!(work.completed.as_deref(), Some("automatic.sessions-1970-01-01-00-00"));
    /// clock.advance(Duration::from_secs(24 * 3600));
    /// assert_eq!(catalog.run(&cache, Duration::from_secs(1))?.deleted.len(), 1);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn run(&self, cache: &Cache, budget: Duration) -> Result<CatalogWork> {
        let end = Instant::now() + budget;
        let mut work = CatalogWork::default();
        let running = self.state.lock().running.remove(cache.name());
        let running = match running {
            Some(running) => Some(running),
            None if self.options.retention_days > 0 => {
                self.delete_expired(cache, &mut work)?;
                self.begin_due(cache)?
            }
            None => None,
        };
        if let Some((name, run)) = running {
            self.carry_on(cache, name, run, end, &mut work)?;
        }
        Ok(work)
    }

    fn delete_expired(&self, cache: &Cache, work: &mut CatalogWork) -> Result<()> {
        let kept = u64::from(self.options.retention_days) * DAY_MS;
        let Some(oldest) = cache.now_ms().checked_sub(kept).map(stamp) else { return Ok(()) };
        for (name, date) in self.automatic_of(cache.name())? {
            // Dates in names are in the order of time.
            if date <= oldest {
                self.delete(&name)?;
                work.deleted.push(name);
            }
        }
        Ok(())
    }

    /// Begins the automatic snapshot of a window that is open, unless it had one.
    fn begin_due(&self, cache: &Cache) -> Result<Option<(String, FileRun)>> {
        let window = self.options.window.unwrap_or_else(|| Window::of_name(cache.name()));
        let now = cache.now_ms();
        let Some(opened) = window.opened_at(now).map(stamp) else { return Ok(None) };
        let was_tried = self.state.lock().tried.get(cache.name()).is_some_and(|date| *date >= opened);
        if was_tried || self.automatic_of(cache.name())?.iter().any(|(_, date)| *date >= opened) {
            return Ok(None);
        }
        let name = format!("{AUTOMATIC}{}-{}", cache.name(), stamp(now));
        self.state.lock().tried.insert(cache.name().to_owned(), stamp(now));
        Self::check_name(&name, SnapshotKind::Automatic)?;
        self.claim(&name)?;
        match FileRun::begin(cache, &*self.storage, &file_of(&name), &self.options.snapshots) {
            Ok(run) => Ok(Some((name, run))),
            Err(error) => {
                self.fail_automatic(cache, &name, &error);
                Err(error)
            }
        }
    }

    fn fail_automatic(&self, cache: &Cache, name: &str, error: &Error) {
        self.unclaim(name);
        self.note_failure(name, &error.to_string());
        cache.tell_of_snapshot(name, Err(error));
    }

    fn carry_on(
        &self,
        cache: &Cache,
        name: String,
        mut run: FileRun,
        end: Instant,
        work: &mut CatalogWork,
    ) -> Result<()> {
        span!("snapshot", cache.engine().ctx, name = name.as_str());
        loop {
            match run.step(&*self.storage) {
                // What waits is written, whatever the budget: writers are held up by it.
                Ok(true) if Instant::now() < end || run.progress().buffer_waiting > 0 => {}
                Ok(true) => {
                    self.state.lock().running.insert(cache.name().to_owned(), (name, run));
                    work.is_busy = true;
                    return Ok(());
                }
                Ok(false) => {
                    let (progress, took) = (run.progress(), run.took());
                    drop(run);
                    self.unclaim(&name);
                    cache.tell_of_snapshot(&name, Ok((progress.items, progress.file_bytes, took)));
                    work.completed = Some(name);
                    return Ok(());
                }
                Err(error) => {
                    run.give_up(&*self.storage);
                    self.fail_automatic(cache, &name, &error);
                    return Err(error);
                }
            }
        }
    }
}
