//! What the parameters say about the append-only file and the backlog. Both need what no parameter says: where.

use std::sync::Arc;

use super::settings::ParameterValues;
use crate::api::Cache;
#[cfg(doc)]
use crate::api::CacheBuilder;
use crate::error::{ErrorKind, Result};
use crate::oplog::{AppendOptions, Backlog, Fsync};
use crate::storage::Storage;

impl ParameterValues {
    /// Settings of the append-only file that `appendonly` and `appendfsync` ask for, in this storage; None where
    /// `appendonly` is `no`, is not known to the version, or does not count for the node type.
    ///
    /// # Errors
    /// None but those of [`get`](Self::get).
    ///
    /// # Examples
    /// ```
    /// use larder::Cache;
    /// use larder::params::{Family, ParameterValues};
    /// use larder::storage::Memory;
    /// use std::sync::Arc;
    /// let mut values = ParameterValues::new(Family::Redis2_8);
    /// assert!(values.append_only(Arc::new(Memory::new()))?.is_none());
    /// values.set("appendonly", "yes")?;
    /// values.set("appendfsync", "always")?;
    /// let options = values.append_only(Arc::new(Memory::new()))?.unwrap();
    /// let cache = Cache::builder().append_only(options).build()?;
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn append_only(&self, storage: Arc<dyn Storage>) -> Result<Option<AppendOptions>> {
        if !self.asks_for_file()? {
            return Ok(None);
        }
        let fsync = match &*self.text("appendfsync")? {
            "always" => Fsync::Always,
            "no" => Fsync::No,
            _ => Fsync::EverySecond,
        };
        Ok(Some(AppendOptions::shared(storage).fsync(fsync)))
    }

    fn asks_for_file(&self) -> Result<bool> {
        let family = self.engine_version().family();
        let Ok(parameter) = family.parameter("appendonly") else { return Ok(false) };
        Ok(self.flag("appendonly")? && self.ignored(parameter).is_none())
    }

    /// The backlog that `repl-backlog-size` and `repl-backlog-ttl` ask for; None where the version does not know them.
    ///
    /// # Errors
    /// None but those of [`get`](Self::get).
    ///
    /// # Examples
    /// ```
    /// use larder::params::{Family, ParameterValues};
    /// assert!(ParameterValues::new(Family::Redis2_8).backlog()?.is_some());
    /// assert!(ParameterValues::new(Family::Memcached1_4).backlog()?.is_none());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn backlog(&self) -> Result<Option<Backlog>> {
        match (self.bytes("repl-backlog-size"), self.duration("repl-backlog-ttl")) {
            (Err(e), _) | (_, Err(e)) if e.kind() == ErrorKind::NotFound => Ok(None),
            (size, ttl) => {
                let ttl_ms = u64::try_from(ttl?.as_millis()).unwrap_or(u64::MAX);
                Ok(Some(Backlog::new(size?).time_to_live_ms(ttl_ms)))
            }
        }
    }

    /// Brings a running cache's append-only file to what the parameters say: begun in this storage, synced as they say,
    /// or ended. (A cache whose builder knew the place, by [`CacheBuilder::log_folder`], follows its parameters by
    /// itself.)
    ///
    /// A log that is there already is never lost: if this cache has left it there, it goes on with what the cache has
    /// now; if not, a cache that is empty takes it over, and one that is not refuses.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] if there is a log of another life in the storage, and the cache is not empty; as
    /// [`Cache::start_append_only`] and [`Cache::stop_append_only`].
    ///
    /// # Examples
    /// ```
    /// use larder::Cache;
    /// use larder::params::{Family, ParameterValues};
    /// use larder::storage::Memory;
    /// use std::sync::Arc;
    /// let (storage, cache) = (Arc::new(Memory::new()), Cache::new(1 << 20)?);
    /// let mut values = ParameterValues::new(Family::Redis2_8);
    /// values.set("appendonly", "yes")?;
    /// values.configure_log(&cache, storage.clone())?;
    /// assert!(cache.append_file().is_some());
    /// values.set("appendonly", "no")?;
    /// values.configure_log(&cache, storage)?;
    /// assert!(cache.append_file().is_none());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn configure_log(&self, cache: &Cache, storage: Arc<dyn Storage>) -> Result<()> {
        let Some(options) = self.append_only(storage)? else { return cache.stop_append_only().map(drop) };
        match cache.append_file() {
            Some(file) => {
                file.set_fsync(options.when());
                Ok(())
            }
            None => cache.begin_append_only(options),
        }
    }
}
