//! Settings of an append-only file.

use std::fmt;
use std::sync::Arc;

use crate::storage::Storage;

/// When a write that was appended is brought to the disk: Redis's `appendfsync`.
///
/// # Examples
/// ```
/// use larder::oplog::Fsync;
/// assert_eq!(Fsync::default(), Fsync::EverySecond);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
#[non_exhaustive]
pub enum Fsync {
    /// When the system sees fit. A crash of the process loses nothing that was acknowledged; one of the machine may
    /// lose much.
    No,
    /// Once a second: a crash of the machine loses at most what was written in the two seconds before, as long as
    /// maintenance is done, or writes go on.
    #[default]
    EverySecond,
    /// Before the write is acknowledged (others may read it before). Writers that come at the same time share a sync.
    Always,
}

/// How far the replay of a log is.
pub(super) type Progress = Arc<dyn Fn(u64, u64) + Send + Sync>;

/// Settings of an [`AppendFile`](super::AppendFile).
///
/// # Examples
/// ```
/// use larder::oplog::{AppendOptions, Fsync};
/// use larder::storage::Memory;
/// let options = AppendOptions::new(Memory::new()).fsync(Fsync::Always).rewrite(100, 64 << 20);
/// ```
#[derive(Clone)]
#[must_use]
pub struct AppendOptions {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) fsync: Fsync,
    pub(super) rewrite_percentage: u64,
    pub(super) rewrite_min_size: u64,
    pub(super) overwrite: bool,
    pub(super) seed: u64,
    pub(super) progress: Option<Progress>,
}

impl fmt::Debug for AppendOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("AppendOptions");
        shown.field("storage", &self.storage).field("fsync", &self.fsync);
        shown.field("rewrite_percentage", &self.rewrite_percentage).field("rewrite_min_size", &self.rewrite_min_size);
        shown.field("overwrite", &self.overwrite).finish_non_exhaustive()
    }
}

impl AppendOptions {
    /// A log in this storage, synced every second, rewritten when it has doubled, from 64 MiB on.
    ///
    /// # Examples
    /// See [`AppendOptions`].
    pub fn new(storage: impl Storage + 'static) -> AppendOptions {
        AppendOptions::shared(Arc::new(storage))
    }

    /// The same with a storage that is shared.
    ///
    /// # Examples
    /// ```
    /// use larder::oplog::AppendOptions;
    /// use larder::storage::Memory;
    /// use std::sync::Arc;
    /// let options = AppendOptions::shared(Arc::new(Memory::new()));
    /// ```
    pub fn shared(storage: Arc<dyn Storage>) -> AppendOptions {
        AppendOptions {
            storage,
            fsync: Fsync::default(),
            rewrite_percentage: 100,
            rewrite_min_size: 64 << 20,
            overwrite: false,
            seed: crate::api::random_seed(),
            progress: None,
        }
    }

    /// When writes are safe. Default: [`Fsync::EverySecond`].
    ///
    /// # Examples
    /// See [`AppendOptions`].
    pub fn fsync(mut self, fsync: Fsync) -> AppendOptions {
        self.fsync = fsync;
        self
    }

    /// When it is rewritten by itself: when the records since the last time have `percentage` hundredths of the bytes
    /// that were written then, and `min_size` bytes at least. Never with a percentage of 0. Default: 100, 64 MiB.
    ///
    /// # Examples
    /// See [`AppendOptions`].
    pub fn rewrite(mut self, percentage: u64, min_size: u64) -> AppendOptions {
        self.rewrite_percentage = percentage;
        self.rewrite_min_size = min_size;
        self
    }

    /// Whether a log that is in the storage already is given up for what is in the cache, rather than read. Default:
    /// no.
    ///
    /// # Examples
    /// ```
    /// use larder::oplog::AppendOptions;
    /// let options = AppendOptions::new(larder::storage::Memory::new()).overwrite(true);
    /// ```
    pub fn overwrite(mut self, yes: bool) -> AppendOptions {
        self.overwrite = yes;
        self
    }

    /// What [`fsync`](Self::fsync) said.
    pub(crate) fn when(&self) -> Fsync {
        self.fsync
    }

    pub(crate) fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    pub(crate) fn overwrites(&self) -> bool {
        self.overwrite
    }

    /// What the files' identities are made from. Default: random. With a seed, the same writes make the same bytes.
    ///
    /// # Examples
    /// ```
    /// use larder::oplog::AppendOptions;
    /// let options = AppendOptions::new(larder::storage::Memory::new()).seed(42);
    /// ```
    pub fn seed(mut self, seed: u64) -> AppendOptions {
        self.seed = seed;
        self
    }

    /// Is told, while a log is replayed, how many of its bytes were read, and how many there are: now and then, and at
    /// the end.
    ///
    /// # Examples
    /// ```
    /// use larder::oplog::AppendOptions;
    /// let storage = larder::storage::Memory::new();
    /// let options = AppendOptions::new(storage).on_progress(|done, all| println!("{done} of {all} bytes"));
    /// ```
    pub fn on_progress(mut self, f: impl Fn(u64, u64) + Send + Sync + 'static) -> AppendOptions {
        self.progress = Some(Arc::new(f));
        self
    }
}
