//! What settings and parameters ask of the append-only file and the backlogs, and bringing a cache to it: when it is
//! built, and while it runs.
//!
//! Invariants:
//! 1. `wishes` is what was asked for last. A file that is switched on later has it; what a file or a backlog that is
//!    there has is asked of itself.
//! 2. A file that the program gave the cache itself (`is_given`) is the program's: no parameter ends or changes it.
//! 3. A log that this cache did not leave itself, as it is found, is never overwritten: it is recovered into a cache
//!    that has nothing, or switching on is refused.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use parking_lot::Mutex;

use super::builder::CacheBuilder;
use super::cache::Cache;
use super::log::Appending;
use crate::error::{Error, ErrorKind, Result};
use crate::events::EngineEventKind;
use crate::oplog::{AppendOptions, Backlog, Fsync};
use crate::storage::{Files, Storage};

/// Where the append-only file goes.
#[derive(Debug)]
pub(super) enum LogPlace {
    Folder(PathBuf),
    Storage(Arc<dyn Storage>),
}

impl LogPlace {
    pub(super) fn open(self) -> Result<Arc<dyn Storage>> {
        match self {
            LogPlace::Storage(storage) => Ok(storage),
            LogPlace::Folder(folder) => match Files::new(&folder) {
                Ok(files) => Ok(Arc::new(files)),
                Err(e) => {
                    let what = format!("cannot use the folder {} for the log: {e}", folder.display());
                    Err(Error::new(ErrorKind::Storage, what))
                }
            },
        }
    }
}

/// What was asked for; None is as it is by default.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogWishes {
    pub(crate) append_only: bool,
    pub(crate) fsync: Option<Fsync>,
    /// The percentage, and the least size.
    pub(crate) rewrite: Option<(u64, u64)>,
    pub(crate) backlog_bytes: Option<u64>,
    pub(crate) backlog_ttl_ms: Option<u64>,
}

impl LogWishes {
    fn options(&self, storage: Arc<dyn Storage>) -> AppendOptions {
        let options = AppendOptions::shared(storage).fsync(self.fsync.unwrap_or_default());
        match self.rewrite {
            Some((percentage, min_size)) => options.rewrite(percentage, min_size),
            None => options,
        }
    }

    /// Settings of the file that a cache is built with: those that were given, or those that were asked for.
    pub(super) fn file(
        &self,
        given: Option<AppendOptions>,
        storage: Option<&Arc<dyn Storage>>,
    ) -> Result<Option<AppendOptions>> {
        match (given, storage) {
            (Some(options), _) => Ok(Some(options)),
            (None, _) if !self.append_only => Ok(None),
            (None, Some(storage)) => Ok(Some(self.options(Arc::clone(storage)))),
            (None, None) => Err(no_storage()),
        }
    }

    /// Brings a backlog to what was asked for.
    pub(super) fn fit(&self, backlog: &Backlog) {
        if self.backlog_bytes.is_some() || self.backlog_ttl_ms.is_some() {
            let (bytes, ttl_ms) = backlog.limits();
            backlog.set_limits(self.backlog_bytes.unwrap_or(bytes), self.backlog_ttl_ms.unwrap_or(ttl_ms));
        }
    }
}

fn no_storage() -> Error {
    Error::new(
        ErrorKind::InvalidConfig,
        "an append-only file is asked for, and nothing says where: give the builder a log_folder or a log_storage",
    )
}

/// The log that a cache has left in a storage.
#[derive(Debug, Clone)]
struct Left {
    storage: Arc<dyn Storage>,
    files: Vec<(String, u64)>,
}

/// Names and lengths of all files of a storage.
fn files_of(storage: &dyn Storage) -> std::io::Result<Vec<(String, u64)>> {
    let mut files = Vec::new();
    for name in storage.list()? {
        let len = storage.open(&name)?.len()?;
        files.push((name, len));
    }
    files.sort();
    Ok(files)
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct LogSettings {
    storage: Option<Arc<dyn Storage>>,
    backlogs: Vec<Arc<Backlog>>,
    wishes: Mutex<LogWishes>,
    left: Mutex<Option<Left>>,
    /// The program gave the cache the file that it has.
    is_given: AtomicBool,
    /// Somebody is beginning a file. No lock, for a program's code runs meanwhile: who is told how far it is.
    beginning: AtomicBool,
}

/// The turn of who begins an append-only file.
#[derive(Debug)]
pub(super) struct Turn<'a>(&'a AtomicBool);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store(false, Release);
    }
}

impl LogSettings {
    pub(super) fn new(
        storage: Option<Arc<dyn Storage>>,
        backlogs: Vec<Arc<Backlog>>,
        wishes: LogWishes,
        is_given: bool,
    ) -> LogSettings {
        let (wishes, is_given) = (Mutex::new(wishes), AtomicBool::new(is_given));
        LogSettings { storage, backlogs, wishes, is_given, ..LogSettings::default() }
    }

    /// Notes whose file the cache has.
    pub(super) fn set_given(&self, is_given: bool) {
        self.is_given.store(is_given, Relaxed);
    }

    fn check_not_given(&self) -> Result<()> {
        if self.is_given.load(Relaxed) {
            return Err(Error::new(
                ErrorKind::NotAllowed,
                "the program itself gave this cache its append-only file, and alone changes it: parameters do so with \
                 files in the builder's log_folder or log_storage",
            ));
        }
        Ok(())
    }

    /// Takes the turn to begin a file of a cache that has none.
    pub(super) fn begin(&self, cache: &Cache) -> Result<Turn<'_>> {
        // As the builder does: the next start could not have both.
        if cache.start().is_some() {
            return Err(Error::new(
                ErrorKind::NotAllowed,
                "this cache leaves its items to the next one in its warm_restart folder, which does not go with an \
                 append-only file: items would come back from two places; build it without warm_restart",
            ));
        }
        if self.beginning.swap(true, Acquire) {
            return Err(Error::new(ErrorKind::NotAllowed, "this cache is just getting an append-only file"));
        }
        let turn = Turn(&self.beginning);
        if cache.append_file().is_some() {
            return Err(Error::new(ErrorKind::AlreadyExists, "this cache has an append-only file already"));
        }
        Ok(turn)
    }

    pub(super) fn backlog_bytes(&self) -> u64 {
        self.backlogs.iter().map(|backlog| backlog.bytes()).sum()
    }

    /// The cache's file is closed, and stays in this storage.
    pub(super) fn note_left(&self, storage: &Arc<dyn Storage>) {
        let files = files_of(&**storage).ok();
        *self.left.lock() = files.map(|files| Left { storage: Arc::clone(storage), files });
    }

    /// Whether what is in a storage is what this cache has left there.
    fn has_left(&self, storage: &Arc<dyn Storage>) -> bool {
        let left = self.left.lock().clone();
        let Some(left) = left.filter(|left| Arc::ptr_eq(&left.storage, storage)) else { return false };
        // The storage may be the program's: not under a lock.
        files_of(&**storage).is_ok_and(|files| files == left.files)
    }
}

impl CacheBuilder {
    /// The folder where the append-only file goes that parameters ask for (`appendonly`, of
    /// [`params`](crate::params)), and where it is looked for when the cache is built. It is made if it is not there.
    ///
    /// # Examples
    /// ```
    /// use larder::params::{Family, ParameterValues};
    /// let folder = std::env::temp_dir().join(format!("larder-folder-doc-{}", std::process::id()));
    /// let mut values = ParameterValues::new(Family::Redis2_8);
    /// values.set("appendonly", "yes")?;
    /// let cache = values.builder().log_folder(&folder).build()?;
    /// cache.set(b"k", b"v")?;
    /// drop(cache);
    /// assert!(values.builder().log_folder(&folder).build()?.contains(b"k"));
    /// # std::fs::remove_dir_all(folder).unwrap();
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn log_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.log_place = Some(LogPlace::Folder(folder.into()));
        self
    }

    /// The same in a storage of the program's.
    ///
    /// # Examples
    /// ```
    /// use larder::Cache;
    /// use larder::storage::Memory;
    /// use std::sync::Arc;
    /// let cache = Cache::builder().log_storage(Arc::new(Memory::new())).build()?;
    /// assert!(cache.append_file().is_none());                  // nobody has asked for a file yet
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn log_storage(mut self, storage: Arc<dyn Storage>) -> Self {
        self.log_place = Some(LogPlace::Storage(storage));
        self
    }

    /// When a file that parameters ask for is rewritten by itself; see [`AppendOptions::rewrite`].
    ///
    /// # Examples
    /// ```
    /// use larder::Cache;
    /// let builder = Cache::builder().log_folder("/var/lib/cache").log_rewrite(100, 64 << 20);
    /// ```
    pub fn log_rewrite(mut self, percentage: u64, min_size: u64) -> Self {
        self.log_wishes.rewrite = Some((percentage, min_size));
        self
    }

    /// Changes what is asked of the logs.
    pub(crate) fn wish(mut self, change: impl FnOnce(&mut LogWishes)) -> Self {
        change(&mut self.log_wishes);
        self
    }
}

impl Cache {
    /// What was asked for last.
    pub(crate) fn log_wishes(&self) -> LogWishes {
        self.log_settings().wishes.lock().clone()
    }

    /// When writes are safe: what the file says, or what one would have.
    pub(crate) fn fsync(&self) -> Fsync {
        self.append_file().map_or_else(|| self.log_wishes().fsync.unwrap_or_default(), |file| file.fsync())
    }

    /// Changes that.
    pub(crate) fn set_fsync(&self, fsync: Fsync) -> Result<()> {
        self.log_settings().wishes.lock().fsync = Some(fsync);
        if let Some(file) = self.append_file() {
            self.log_settings().check_not_given()?;
            file.set_fsync(fsync);
        }
        Ok(())
    }

    /// The limits of the backlog that the cache has, if it has one.
    pub(crate) fn backlog_limits(&self) -> Option<(u64, u64)> {
        self.log_settings().backlogs.first().map(|backlog| backlog.limits())
    }

    /// Changes what is asked of the backlogs.
    pub(crate) fn set_backlog(&self, change: impl FnOnce(&mut LogWishes)) {
        let settings = self.log_settings();
        let mut wishes = settings.wishes.lock();
        change(&mut wishes);
        settings.backlogs.iter().for_each(|backlog| wishes.fit(backlog));
    }

    /// Switches the append-only file on or off, where the builder said that it is.
    pub(crate) fn switch_append_only(&self, on: bool) -> Result<()> {
        let settings = self.log_settings();
        settings.wishes.lock().append_only = on;
        let is_on = self.append_file().is_some();
        if on == is_on {
            return Ok(());
        }
        if is_on {
            settings.check_not_given()?;
            return self.stop_append_only().map(drop);
        }
        let storage = settings.storage.as_ref().ok_or_else(no_storage)?;
        let options = self.log_wishes().options(Arc::clone(storage));
        self.begin_append_only(options)
    }

    /// Gives the cache in use an append-only file (invariant 3).
    pub(crate) fn begin_append_only(&self, options: AppendOptions) -> Result<()> {
        if self.log_settings().has_left(options.storage()) {
            // What it says was in this cache, and whatever is not any more has gone since.
            return self.begin_file(options.overwrite(true));
        }
        match self.begin_file(options.clone()) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists && self.append_file().is_none() => self.take_over(options),
            begun => begun,
        }
    }

    /// Recovers a log into this cache, if it has nothing yet.
    fn take_over(&self, options: AppendOptions) -> Result<()> {
        let _turn = self.log_settings().begin(self)?;
        let (log, recovery) = self.engine().recover_in_use(options)?;
        let told = recovery.to_string();
        *self.appending().lock() = Some(Appending { log, recovery });
        self.emit(EngineEventKind::LogReplayed, &told);
        Ok(())
    }
}
