//! Taking a snapshot: step by step into bytes of the caller's, or into a storage.
//!
//! A file is written under a temporary name, synced, given its name, and the names are synced: under its name it is
//! there whole, or not at all.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::behind::Behind;
use super::buffer::{Large, Ready};
use super::describe::{Description, config_of};
use super::encode::Encoder;
use super::format::{Compression, Header, PIECE};
use super::restore::SnapshotFile;
use crate::api::{Cache, CacheBuilder};
use crate::engine::{Engine, Walk};
use crate::error::{Error, ErrorKind, Result};
use crate::events::EngineEventKind;
use crate::slab::Account;
use crate::storage::Storage;
use crate::trace::{event, span};

/// What is added to a snapshot's name until it is whole.
pub(crate) const PARTIAL: &str = ".partial";
/// Bytes are written to a file when there are so many: a share of the limit, within bounds.
const PIECE_SHARE: u64 = 256;
const LEAST_PIECE: u64 = 8 << 10;
const MOST_PIECE: u64 = 256 << 10;
/// Steps after which progress is told of though nothing was written.
const TELL_EVERY: u64 = 64;

/// How a snapshot is taken.
///
/// # Examples
/// ```
/// use larder::snapshot::SnapshotOptions;
/// use std::time::Duration;
/// let options = SnapshotOptions::new().label("reason", "upgrade").writers_wait(Duration::from_millis(100));
/// ```
#[derive(Debug, Clone)]
pub struct SnapshotOptions {
    compression: Compression,
    labels: BTreeMap<String, String>,
    writers_wait: Duration,
}

impl Default for SnapshotOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl SnapshotOptions {
    /// No compression, no labels; writers wait for a second at most.
    ///
    /// # Examples
    /// See [`SnapshotOptions`].
    pub fn new() -> SnapshotOptions {
        SnapshotOptions {
            compression: Compression::None,
            labels: BTreeMap::new(),
            writers_wait: Duration::from_secs(1),
        }
    }

    /// How blocks are compressed. Default: not at all.
    ///
    /// # Examples
    /// See [`Compression`].
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> SnapshotOptions {
        self.compression = compression;
        self
    }

    /// Adds a label, which the snapshot carries.
    ///
    /// # Examples
    /// See [`SnapshotOptions`].
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, text: impl Into<String>) -> SnapshotOptions {
        self.labels.insert(name.into(), text.into());
        self
    }

    /// How long a write may be held up, when what is written has to be saved faster than the snapshot can be stored.
    /// Then the snapshot is given up. With no time at all it is given up at once, and no write ever waits. Default: a
    /// second; waits are much shorter as long as the storage takes anything.
    ///
    /// Whoever takes a snapshot in [steps](SnapshotRun::step) on the one thread that also writes should choose zero: it
    /// would wait for itself.
    ///
    /// # Examples
    /// See [`SnapshotOptions`].
    #[must_use]
    pub fn writers_wait(mut self, at_most: Duration) -> SnapshotOptions {
        self.writers_wait = at_most;
        self
    }
}

/// How far a snapshot has come.
///
/// # Examples
/// See [`SnapshotRun`].
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct SnapshotProgress {
    /// Items in the file so far.
    pub items: u64,
    /// Bytes of their keys and values.
    pub payload_bytes: u64,
    /// Bytes of the file so far.
    pub file_bytes: u64,
    /// The part of the cache that was walked, from 0 to 1.
    pub fraction: f64,
    /// Bytes that the buffer may hold between those who save and the file; all of them are on the cache's ledger.
    pub buffer_bytes: u64,
    /// Bytes that wait there to be written, large values that are kept in place included. Writers are held up from half
    /// of [`buffer_bytes`](Self::buffer_bytes) on.
    pub buffer_waiting: u64,
    /// The most that ever waited there.
    pub buffer_most: u64,
}

/// A snapshot being taken, step by step: bytes come out, and where they go is the program's business.
///
/// The snapshot shows the moment at which [`Cache::begin_snapshot`] was called, however long the steps take. Dropping
/// it gives the snapshot up.
///
/// # Examples
/// ```
/// use larder::{Cache, snapshot::{SnapshotOptions, SnapshotReader}};
/// let cache = Cache::new(1 << 20)?;
/// cache.set(b"k", b"before")?;
/// let mut run = cache.begin_snapshot(&SnapshotOptions::new())?;
/// cache.set(b"k", b"after")?;
/// let mut file = Vec::new();
/// while run.step(&mut file)? {}
/// assert_eq!((run.progress().items, run.progress().file_bytes), (1, file.len() as u64));
///
/// let mut reader = SnapshotReader::new();
/// reader.push(&file)?;
/// reader.finish()?;
/// assert_eq!(&*reader.next_item().unwrap().value, b"before");
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug)]
pub struct SnapshotRun {
    walk: Walk,
    header: Header,
    encoder: Option<Encoder>,
    description: Description,
    /// The large item that is being written, how much of its value was, and its weight in the buffer.
    large: Option<(Large, usize, u64)>,
    is_done: bool,
}

impl SnapshotRun {
    /// Does a little and appends the bytes that come of it, half a megabyte at most (but for an item that is larger
    /// than that in one piece); often none. False when the file is complete.
    ///
    /// Holds one shard's lock at a time, for some microseconds.
    ///
    /// # Errors
    /// [`ErrorKind::SnapshotFailed`] if it was given up, see [`SnapshotOptions::writers_wait`].
    ///
    /// # Examples
    /// See [`SnapshotRun`].
    pub fn step(&mut self, out: &mut Vec<u8>) -> Result<bool> {
        if self.is_done {
            return Ok(false);
        }
        let encoder = self.encoder.get_or_insert_with(|| Encoder::begin(&self.header, &self.description, out));
        if let Some((large, written, weight)) = self.large.take() {
            let value = large.value.value(&self.walk.engine().ctx.arena);
            let end = (written + PIECE).min(value.len());
            encoder.more(&value[written..end], out);
            if end == value.len() {
                self.walk.done(Ready::Large(large), weight);
            } else {
                self.large = Some((large, end, weight));
            }
            return Ok(true);
        }
        match self.walk.pop() {
            Some((Ready::Block(block), weight)) => {
                encoder.items(&block, out);
                self.walk.done(Ready::Block(block), weight);
            }
            Some((Ready::Large(large), weight)) => {
                encoder.large(&large.head, out);
                self.large = Some((large, 0, weight));
            }
            None => {
                if !self.walk.step()? {
                    encoder.finish(out);
                    self.is_done = true;
                }
            }
        }
        Ok(!self.is_done)
    }

    /// How far it has come.
    ///
    /// # Examples
    /// See [`SnapshotRun`].
    pub fn progress(&self) -> SnapshotProgress {
        let written = |encoder: &Encoder| (encoder.written(), encoder.offset());
        let ((items, payload_bytes), file_bytes) = self.encoder.as_ref().map(written).unwrap_or_default();
        let filled = self.walk.filled();
        SnapshotProgress {
            items,
            payload_bytes,
            file_bytes,
            fraction: self.walk.fraction(),
            buffer_bytes: filled.capacity,
            buffer_waiting: filled.waiting,
            buffer_most: filled.most,
        }
    }

    /// Number of the first effect that is not in it: it and those after it have to be done over the snapshot to have
    /// what the cache has become since. 0 for a cache without a log.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// assert_eq!(cache.begin_snapshot(&larder::snapshot::SnapshotOptions::new())?.log_position(), 0);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn log_position(&self) -> u64 {
        self.header.log_position
    }

    /// The moment that it shows.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, ManualClock, snapshot::SnapshotOptions};
    /// use std::time::{Duration, UNIX_EPOCH};
    /// let cache = Cache::builder().clock(ManualClock::new(5_000)).build()?;
    /// let run = cache.begin_snapshot(&SnapshotOptions::new())?;
    /// assert_eq!(run.taken_at(), UNIX_EPOCH + Duration::from_secs(5));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn taken_at(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.header.taken_ms)
    }
}

impl Drop for SnapshotRun {
    fn drop(&mut self) {
        if let Some((large, _, weight)) = self.large.take() {
            self.walk.done(Ready::Large(large), weight);
        }
    }
}

/// What is known of a snapshot without reading its items.
///
/// # Examples
/// See [`Cache::describe_snapshot`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SnapshotInfo {
    /// The moment that it shows.
    pub taken_at: SystemTime,
    /// Items in it.
    pub items: u64,
    /// Bytes of their keys and values.
    pub payload_bytes: u64,
    /// Bytes that they took in the memory of their cache, without its index.
    pub item_bytes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// How it is compressed.
    pub compression: Compression,
    /// Where the log of effects was at that moment; 0 without one.
    pub log_position: u64,
    /// Source, configuration and labels.
    pub description: Description,
}

/// What the system said of a file of this name.
pub(super) fn storage_error(doing: &str, name: &str, error: std::io::Error) -> Error {
    Error::caused(ErrorKind::Storage, format!("cannot {doing} the snapshot {name}: {error}"), error.into())
}

/// The ledger's account of what is written, and what is made meanwhile.
#[derive(Debug)]
struct Pieces {
    engine: Arc<Engine>,
    /// Bytes of one of the two.
    len: u64,
}

impl Pieces {
    fn new(engine: &Arc<Engine>) -> Pieces {
        let ledger = &engine.ctx.arena.ledger;
        let len = (ledger.limit() / PIECE_SHARE).clamp(LEAST_PIECE, MOST_PIECE);
        ledger.force(Account::Side, 2 * len);
        Pieces { engine: Arc::clone(engine), len }
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        self.engine.ctx.arena.ledger.release(Account::Side, 2 * self.len);
    }
}

/// Writes what a run gives into a file.
#[derive(Debug)]
pub(super) struct FileRun {
    run: SnapshotRun,
    file: Behind,
    pieces: Pieces,
    name: String,
    partial: String,
    pending: Vec<u8>,
    offset: u64,
    begun: Instant,
}

impl FileRun {
    pub(super) fn begin(
        cache: &Cache,
        storage: &dyn Storage,
        name: &str,
        options: &SnapshotOptions,
    ) -> Result<FileRun> {
        let (begun, partial) = (Instant::now(), format!("{name}{PARTIAL}"));
        let file = storage.create(&partial).map_err(|e| storage_error("create", name, e))?;
        let run = cache.begin_snapshot(options).inspect_err(|_| drop(storage.remove(&partial)))?;
        Ok(FileRun {
            run,
            file: Behind::new(file),
            pieces: Pieces::new(cache.engine_arc()),
            name: name.to_owned(),
            partial,
            pending: Vec::new(),
            offset: 0,
            begun,
        })
    }

    pub(super) fn progress(&self) -> SnapshotProgress {
        self.run.progress()
    }

    /// How long it has been under way.
    pub(super) fn took(&self) -> Duration {
        self.begun.elapsed()
    }

    /// A step. False when the file is there under its name.
    pub(super) fn step(&mut self, storage: &dyn Storage) -> Result<bool> {
        let more = self.run.step(&mut self.pending)?;
        if more && (self.pending.len() as u64) < self.pieces.len {
            return Ok(true);
        }
        let fault = |doing: &'static str| move |e| (doing, e);
        let written = (|| {
            let len = self.pending.len() as u64;
            if more {
                self.file.write(&mut self.pending, self.offset).map_err(fault("write"))?;
                self.offset += len;
                return Ok(true);
            }
            self.file.settle().map_err(fault("write"))?;
            let file = self.file.file();
            file.write_all_at(&self.pending, self.offset).map_err(fault("write"))?;
            self.offset += len;
            self.pending.clear();
            file.sync().map_err(fault("sync"))?;
            storage.rename(&self.partial, &self.name).map_err(fault("name"))?;
            storage.sync_dir().map_err(fault("name"))?;
            Ok(false)
        })();
        written.map_err(|(doing, e)| storage_error(doing, &self.name, e))
    }

    /// Removes what was written so far.
    pub(super) fn give_up(mut self, storage: &dyn Storage) {
        // Nobody asks what becomes of the last piece.
        let _ = self.file.settle();
        // It may not be there, and there is nothing else to be done about it.
        let _ = storage.remove(&self.partial);
    }
}

impl Cache {
    /// Begins a snapshot of all namespaces as they are now. One at a time.
    ///
    /// Locks all shards for a moment, once.
    ///
    /// # Errors
    /// [`ErrorKind::NotAllowed`] while another snapshot of this cache is under way, or for a compression that this
    /// build does not have.
    ///
    /// # Examples
    /// See [`SnapshotRun`].
    pub fn begin_snapshot(&self, options: &SnapshotOptions) -> Result<SnapshotRun> {
        options.compression.check()?;
        let walk = self.engine_arc().begin_walk(options.writers_wait)?;
        let cut = walk.cut;
        event!(DEBUG, self.engine().ctx, log_position = cut.log_position, "snapshot begun");
        let header = Header {
            compression: options.compression,
            taken_ms: cut.taken_ms,
            log_position: cut.log_position,
            highest_token: cut.highest_token,
        };
        let configuration = config_of(self).to_pairs().into_iter().collect();
        let mut description = Description::new(self.name(), configuration, options.labels.clone());
        description.set_share(cut.share);
        Ok(SnapshotRun { walk, header, encoder: None, description, large: None, is_done: false })
    }

    /// Saves all namespaces as they are now into a file of this name, in place of one that has it. Reads go on as ever,
    /// writes too: see [`SnapshotOptions::writers_wait`].
    ///
    /// Emits [`SnapshotComplete`](EngineEventKind::SnapshotComplete), or
    /// [`SnapshotFailed`](EngineEventKind::SnapshotFailed) with the cause.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`] for what the system refuses: then nothing of this name has changed, and what was written
    /// is removed as far as possible. [`ErrorKind::SnapshotFailed`] and [`ErrorKind::NotAllowed`] as
    /// [`SnapshotRun::step`] and [`begin_snapshot`](Self::begin_snapshot).
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, snapshot::{RestoreOptions, SnapshotOptions}, storage::Memory};
    /// let (cache, storage) = (Cache::new(1 << 20)?, Memory::new());
    /// cache.set(b"k", b"v")?;
    /// let info = cache.snapshot_to(&storage, "backup", &SnapshotOptions::new())?;
    /// assert_eq!(info.items, 1);
    ///
    /// let other = Cache::new(2 << 20)?;
    /// other.restore_from(&storage, "backup", &RestoreOptions::new())?;
    /// assert_eq!(other.read(b"k", |v| v.to_vec()), Some(b"v".to_vec()));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn snapshot_to(&self, storage: &dyn Storage, name: &str, options: &SnapshotOptions) -> Result<SnapshotInfo> {
        self.snapshot_with(storage, name, options, |_| ControlFlow::Continue(()))
    }

    /// The same, telling how far it has come; breaking off cancels it.
    ///
    /// # Errors
    /// As [`snapshot_to`](Self::snapshot_to); [`ErrorKind::SnapshotFailed`] when it was cancelled.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, ErrorKind, snapshot::SnapshotOptions, storage::{Memory, Storage}};
    /// use std::ops::ControlFlow;
    /// let (cache, storage) = (Cache::new(1 << 20)?, Memory::new());
    /// let cancelled = cache.snapshot_with(&storage, "s", &SnapshotOptions::new(), |_| ControlFlow::Break(()));
    /// assert_eq!(cancelled.unwrap_err().kind(), ErrorKind::SnapshotFailed);
    /// assert!(storage.list().unwrap().is_empty());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn snapshot_with(
        &self,
        storage: &dyn Storage,
        name: &str,
        options: &SnapshotOptions,
        mut progress: impl FnMut(&SnapshotProgress) -> ControlFlow<()>,
    ) -> Result<SnapshotInfo> {
        span!("snapshot", self.engine().ctx, name);
        let mut took = Duration::ZERO;
        let taken = (|| {
            let mut run = FileRun::begin(self, storage, name, options)?;
            let mut steps = 0u64;
            loop {
                let written = run.offset;
                steps += 1;
                match run.step(storage) {
                    Ok(false) => break,
                    Ok(true) if run.offset == written && steps % TELL_EVERY != 1 => {}
                    Ok(true) => {
                        if progress(&run.progress()).is_break() {
                            run.give_up(storage);
                            return Err(Error::new(ErrorKind::SnapshotFailed, "the snapshot was cancelled"));
                        }
                    }
                    Err(error) => {
                        run.give_up(storage);
                        return Err(error);
                    }
                }
            }
            took = run.took();
            drop(run);
            Ok(SnapshotFile::open(storage, name)?.info())
        })();
        self.tell_of_snapshot(name, taken.as_ref().map(|info| (info.items, info.file_bytes, took)));
        taken
    }

    /// Counts a snapshot, and tells the event log how it went: its items and bytes and how long it took, or what went
    /// wrong.
    pub(super) fn tell_of_snapshot(&self, name: &str, taken: std::result::Result<(u64, u64, Duration), &Error>) {
        let (saver, now_ms) = (self.engine().saver(), self.now_ms());
        match taken {
            Ok((items, bytes, took)) => {
                saver.stats.lock().note_completed(now_ms, items, bytes, took);
                event!(
                    INFO,
                    self.engine().ctx,
                    name,
                    items,
                    bytes,
                    took_ms = took.as_millis() as u64,
                    "snapshot completed"
                );
                let text = format!("Snapshot {name} completed: {items} items in {bytes} bytes");
                self.emit(EngineEventKind::SnapshotComplete, &text);
            }
            Err(error) => {
                saver.stats.lock().note_failed(error.to_string());
                event!(WARN, self.engine().ctx, name, error = %error, "snapshot failed");
                self.emit(EngineEventKind::SnapshotFailed, &format!("Snapshot {name} failed: {error}"));
            }
        }
    }

    /// What a snapshot says of itself. Reads its beginning and its end, not its items.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`] if it cannot be read, [`ErrorKind::Damaged`] if it is none, or was cut.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, snapshot::SnapshotOptions, storage::Memory};
    /// let (cache, storage) = (Cache::new(1 << 20)?, Memory::new());
    /// cache.set(b"k", b"value")?;
    /// cache.snapshot_to(&storage, "s", &SnapshotOptions::new())?;
    /// let info = Cache::describe_snapshot(&storage, "s")?;
    /// assert_eq!((info.items, info.payload_bytes), (1, 6));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn describe_snapshot(storage: &dyn Storage, name: &str) -> Result<SnapshotInfo> {
        Ok(SnapshotFile::open(storage, name)?.info())
    }

    /// A new cache, set up as the one that a snapshot is of but for what `change` says otherwise, and filled from it.
    ///
    /// # Errors
    /// As [`describe_snapshot`](Self::describe_snapshot), [`CacheBuilder::build`] and
    /// [`restore_from`](Self::restore_from).
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, snapshot::{RestoreOptions, SnapshotOptions}, storage::Memory};
    /// let storage = Memory::new();
    /// let cache = Cache::builder().max_memory(1 << 20).name("sessions").build()?;
    /// cache.set(b"k", b"v")?;
    /// cache.snapshot_to(&storage, "s", &SnapshotOptions::new())?;
    /// let twice = |builder: larder::CacheBuilder| builder.max_memory(4 << 20);
    /// let larger = Cache::from_snapshot(&storage, "s", &RestoreOptions::new(), twice)?;
    /// assert_eq!((larger.name(), larger.len(), larger.memory().limit), ("sessions", 1, 4 << 20));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn from_snapshot(
        storage: &dyn Storage,
        name: &str,
        options: &super::RestoreOptions,
        change: impl FnOnce(CacheBuilder) -> CacheBuilder,
    ) -> Result<Cache> {
        let info = Self::describe_snapshot(storage, name)?;
        let cache = change(info.description.cache_config()?.builder()?).build()?;
        cache.restore_from(storage, name, options)?;
        Ok(cache)
    }
}
