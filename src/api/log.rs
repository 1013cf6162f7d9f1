//! The effect log: where it is, how it is doing, rewriting it; following another cache.

use std::sync::Arc;

use super::cache::Cache;
use crate::error::{Error, ErrorKind, Result};
use crate::oplog::{AppendFile, AppendOptions, LogStatus, Record, Recovery, ReplicationLog};

/// What is known of a cache's append-only file.
#[derive(Debug, Clone)]
pub(crate) struct Appending {
    pub(crate) log: Arc<AppendFile>,
    pub(crate) recovery: Recovery,
}

/// # The log
/// What writes do to a cache can be [logged](crate::oplog): to an append-only file, from which the cache comes back
/// after a crash ([`CacheBuilder::append_only`](crate::CacheBuilder::append_only)), to a backlog for replicas, or to
/// whatever a program brings ([`CacheBuilder::replication_log`](crate::CacheBuilder::replication_log)).
///
/// A write that the log does not take is an error, though the value may be there. While the log is in trouble
/// ([`Cache::log_status`]), further writes are refused, and reads go on. Removals and clears are done all the same, for
/// a cache may always forget; but [`Cache::remove`] and the like say that there was nothing, because it might come back
/// with the log. [`Cache::sync_log`] says whether all that was done so far is in the log.
impl Cache {
    /// How the logs are doing.
    ///
    /// # Examples
    /// See [`LogStatus`].
    pub fn log_status(&self) -> LogStatus {
        let mut status = self.engine().ctx.effects.status();
        (status.rewrites, status.rewrite_failures) = self.engine().rewrites();
        status.backlog_bytes = self.log_settings().backlog_bytes();
        if let Some(file) = self.append_file() {
            file.report(&mut status);
        }
        status
    }

    /// Returns when everything that was done so far is in the logs, as safe as they promise. Without a log, at once.
    ///
    /// # Errors
    /// What is wrong with a log.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.clear();
    /// cache.sync_log()?;
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn sync_log(&self) -> Result<()> {
        self.engine().ctx.settle_log()
    }

    /// Writes all that is in the cache to the log, in place of what the log has: it becomes as small as it can be.
    /// Writes go on meanwhile. Maintenance does this by itself when the log has grown
    /// ([`AppendOptions::rewrite`]).
    ///
    /// # Errors
    /// [`ErrorKind::NotAllowed`] if there is no log that can be rewritten, or if it is being rewritten;
    /// [`ErrorKind::Storage`] if it cannot be written: the log is as it was then.
    ///
    /// # Examples
    /// ```
    /// use larder::Cache;
    /// use larder::oplog::AppendOptions;
    /// use larder::storage::Memory;
    /// let cache = Cache::builder().append_only(AppendOptions::new(Memory::new())).build()?;
    /// for i in 0..1000u64 {
    ///     cache.set(b"counter", &i.to_le_bytes())?;
    /// }
    /// let before = cache.append_file().unwrap().bytes();
    /// cache.rewrite_log()?;
    /// assert!(cache.append_file().unwrap().bytes() < before / 100);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn rewrite_log(&self) -> Result<()> {
        self.engine().rewrite_log()
    }

    /// Writes the time into the log, so that who follows can tell how far behind it is ([`followed_time_ms`]).
    ///
    /// # Errors
    /// As [`set`](Self::set).
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.stamp_log()?;
    /// # Ok::<(), larder::Error>(())
    /// ```
    ///
    /// [`followed_time_ms`]: Self::followed_time_ms
    pub fn stamp_log(&self) -> Result<()> {
        self.engine().stamp_log()
    }

    /// Gives a cache in use an append-only file. When it returns, everything in the cache is in the file, and from then
    /// on everything that is done to it.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] if there is one, or if there is a log in the storage and the options do not say
    /// [`overwrite`](AppendOptions::overwrite); [`ErrorKind::NotAllowed`] while another thread begins one, and in a
    /// cache with a [`warm_restart`](crate::CacheBuilder::warm_restart); [`ErrorKind::Storage`] if it cannot be
    /// written.
    ///
    /// # Examples
    /// ```
    /// use larder::Cache;
    /// use larder::oplog::AppendOptions;
    /// use larder::storage::Memory;
    /// let storage = Memory::new();
    /// let cache = Cache::new(1 << 20)?;
    /// cache.set(b"k", b"v")?;
    /// cache.start_append_only(AppendOptions::new(storage.clone()))?;
    /// drop(cache);
    /// let cache = Cache::builder().append_only(AppendOptions::new(storage)).build()?;
    /// assert!(cache.contains(b"k"));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn start_append_only(&self, options: AppendOptions) -> Result<()> {
        self.begin_file(options)?;
        self.log_settings().set_given(true);
        Ok(())
    }

    pub(super) fn begin_file(&self, options: AppendOptions) -> Result<()> {
        let _turn = self.log_settings().begin(self)?;
        let overwrites = options.overwrites();
        let (log, recovery) = AppendFile::open(options, |_| {
            Err(Error::new(
                ErrorKind::AlreadyExists,
                "there is a log in this storage: build the cache with it, or let it be overwritten",
            ))
        })?;
        if !overwrites && log.positions().next != 0 {
            return Err(Error::new(ErrorKind::AlreadyExists, "there is a log in this storage, if an empty one"));
        }
        log.wait_for_base();
        let log = Arc::new(log);
        self.engine().add_log(Arc::clone(&log) as Arc<dyn ReplicationLog>)?;
        *self.appending().lock() = Some(Appending { log, recovery });
        Ok(())
    }

    /// Takes the append-only file away. What it has stays in the storage. False if there is none.
    ///
    /// # Errors
    /// If the last records cannot be written. It is taken away all the same.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// assert!(!cache.stop_append_only()?);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn stop_append_only(&self) -> Result<bool> {
        let Some(Appending { log, .. }) = self.appending().lock().take() else { return Ok(false) };
        self.log_settings().set_given(false);
        let storage = Arc::clone(log.storage());
        let shared: Arc<dyn ReplicationLog> = Arc::<AppendFile>::clone(&log);
        self.engine().ctx.effects.detach(&shared, self.now_ms())?;
        // The program may have it still; it is as it will stay all the same.
        log.close()?;
        self.log_settings().note_left(&storage);
        Ok(true)
    }

    /// The append-only file, if there is one.
    ///
    /// # Examples
    /// See [`rewrite_log`](Self::rewrite_log).
    pub fn append_file(&self) -> Option<Arc<AppendFile>> {
        self.appending().lock().as_ref().map(|appending| Arc::clone(&appending.log))
    }

    /// What was found in the append-only file when the cache was built, if there is one.
    ///
    /// # Examples
    /// See [`Recovery`].
    pub fn recovery(&self) -> Option<Recovery> {
        self.appending().lock().as_ref().map(|appending| appending.recovery.clone())
    }

    /// Does to this cache what was done to another: see [`CacheBuilder::follower`](crate::CacheBuilder::follower).
    /// Whoever calls this sees to it that records come in order, without gaps.
    ///
    /// # Errors
    /// [`ErrorKind::NotAllowed`] if the cache is no follower; [`ErrorKind::OutOfMemory`] or
    /// [`ErrorKind::ItemTooLarge`] if there is no room for it: a follower needs as much memory as its primary, and some
    /// more. What follows may not be applied then.
    ///
    /// # Examples
    /// ```
    /// use larder::Cache;
    /// use larder::oplog::{Backlog, Decoder, ReplicationLog};
    /// use std::sync::Arc;
    /// let backlog = Arc::new(Backlog::new(1 << 20));
    /// let primary = Cache::builder().replication_log(backlog.clone()).build()?;
    /// let follower = Cache::builder().follower(true).build()?;
    /// primary.set(b"k", b"v")?;
    ///
    /// let mut records = Vec::new();
    /// backlog.read(1, &mut records, 1 << 20)?;
    /// let mut decoder = Decoder::new(1);
    /// decoder.push(&records);
    /// while let Some(record) = decoder.next()? {
    ///     follower.apply(&record)?;
    /// }
    /// assert_eq!(follower.get(b"k")?.as_deref(), Some(&b"v"[..]));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn apply(&self, record: &Record<'_>) -> Result<()> {
        if !self.is_follower() {
            return Err(Error::new(
                ErrorKind::NotAllowed,
                "effects of another cache are for followers only: build the cache with follower(true)",
            ));
        }
        self.engine().apply(&record.effect)?;
        self.engine().ctx.settle_log()
    }

    /// Whether this cache is a follower.
    ///
    /// # Examples
    /// ```
    /// assert!(!larder::Cache::new(1 << 20)?.is_follower());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn is_follower(&self) -> bool {
        self.engine().ctx.effects.is_follower()
    }

    /// Makes the cache a follower, or ends that: then it may be written to, has the policy that it was built with, and
    /// removes what has ended. Check-and-set tokens of its primary are not given again.
    ///
    /// # Examples
    /// ```
    /// use larder::Cache;
    /// let cache = Cache::builder().follower(true).build()?;
    /// assert!(cache.set(b"k", b"v").is_err());
    /// cache.set_follower(false);
    /// cache.set(b"k", b"v")?;
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn set_follower(&self, follower: bool) {
        if follower != self.is_follower() {
            self.engine().set_follower(follower);
        }
    }

    /// The last time that came with the effects that were applied here, in milliseconds since the Unix epoch: how far
    /// this cache is.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::Cache::new(1 << 20)?.followed_time_ms(), None);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn followed_time_ms(&self) -> Option<u64> {
        self.engine().followed_time()
    }
}
