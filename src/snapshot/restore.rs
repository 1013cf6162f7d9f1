//! Filling a cache from a snapshot.
//!
//! Twice over the file: once to hold everything against checksums and counts, and only then, when it is known to be
//! whole, the cache is emptied and filled. So what is damaged is refused before anything is lost. Both passes take
//! sections in parallel. Where the second fails all the same - the storage fails, or there is too much - the cache is
//! emptied again: it is never left half full.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, UNIX_EPOCH};

use parking_lot::Mutex;

use super::damage::{Damage, damaged};
use super::decode::{Blocks, Decoder, Flow, Part, Seen, sections};
use super::describe::Description;
use super::format::{BLOCK_HEAD, BlockKind, Compression, FOOTER_LEN, Footer, HEADER_LEN, Header, Section};
use super::save::{SnapshotInfo, storage_error};
use crate::api::Cache;
use crate::engine::{Engine, Landed, LargeLanding};
use crate::error::{Error, ErrorKind, Result};
use crate::events::{EngineEvent, EngineEventKind};
use crate::slab::Account;
use crate::storage::{Storage, StoredFile};
use crate::trace::{event, span};

/// How a cache is filled from a snapshot.
///
/// # Examples
/// ```
/// use larder::snapshot::RestoreOptions;
/// let options = RestoreOptions::new().threads(2).evict(true);
/// ```
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    threads: Option<usize>,
    evict: bool,
}

impl Default for RestoreOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl RestoreOptions {
    /// As many threads as the machine has cores; more than fits is an error.
    ///
    /// # Examples
    /// See [`RestoreOptions`].
    pub fn new() -> RestoreOptions {
        RestoreOptions { threads: None, evict: false }
    }

    /// How many threads read and store; the calling one is one of them. With one, items are stored in the order of the
    /// file. Default: as many as the machine has cores.
    ///
    /// # Examples
    /// See [`RestoreOptions`].
    #[must_use]
    pub fn threads(mut self, threads: usize) -> RestoreOptions {
        self.threads = Some(threads.max(1));
        self
    }

    /// Whether a snapshot of more than fits fills the cache all the same: the policy then says which items leave, by
    /// what the old cache knew of them; what it may not evict, and what is too large for the cache, stays out. Default:
    /// no, that is an error.
    ///
    /// # Examples
    /// See [`RestoreOptions`].
    #[must_use]
    pub fn evict(mut self, evict: bool) -> RestoreOptions {
        self.evict = evict;
        self
    }

    fn thread_count(&self) -> usize {
        self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get()))
    }
}

/// How far a restore has come.
///
/// # Examples
/// See [`Cache::restore_with`].
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct RestoreProgress {
    /// Whether the file is being verified still; nothing was changed then.
    pub is_verifying: bool,
    /// The part of this pass over the file that is done, from 0 to 1.
    pub fraction: f64,
}

/// What came of a restore.
///
/// # Examples
/// ```
/// use larder::{Cache, snapshot::{RestoreOptions, SnapshotOptions}, storage::Memory};
/// let (cache, storage) = (Cache::new(1 << 20)?, Memory::new());
/// cache.set(b"k", b"v")?;
/// cache.snapshot_to(&storage, "s", &SnapshotOptions::new())?;
/// let restored = cache.restore_from(&storage, "s", &RestoreOptions::new())?;
/// assert_eq!((restored.stored, restored.expired, restored.left_out), (1, 0, 0));
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Restored {
    /// Items that were stored (and perhaps evicted for others, see [`RestoreOptions::evict`]).
    pub stored: u64,
    /// Items whose time was over.
    pub expired: u64,
    /// Items whose keys were written meanwhile, by others: what they wrote stays.
    pub overtaken: u64,
    /// Items that the policy did not take, or that had no room ([`RestoreOptions::evict`]).
    pub left_out: u64,
    /// What the snapshot was of.
    pub info: SnapshotInfo,
}

/// A snapshot file whose frame was read.
#[derive(Debug)]
pub(super) struct SnapshotFile {
    file: Box<dyn StoredFile>,
    name: String,
    len: u64,
    header: Header,
    description: Description,
    sections: Vec<Section>,
    footer: Footer,
}

/// Items and bytes of keys and values.
#[derive(Debug, Default)]
struct Counted {
    items: AtomicU64,
    payload: AtomicU64,
    bytes: AtomicU64,
}

impl SnapshotFile {
    /// Reads header, description, section table and footer, and holds them against each other.
    pub(super) fn open(storage: &dyn Storage, name: &str) -> Result<SnapshotFile> {
        let file = storage.open(name).map_err(|e| storage_error("open", name, e))?;
        let len = file.len().map_err(|e| storage_error("read", name, e))?;
        let least = (HEADER_LEN + FOOTER_LEN + 2 * BLOCK_HEAD) as u64;
        let read = |at: u64, n: usize| -> Result<Vec<u8>> {
            let mut bytes = vec![0; n];
            file.read_exact_at(&mut bytes, at).map_err(|e| storage_error("read", name, e))?;
            Ok(bytes)
        };
        if len < least {
            let what = "the file is shorter than any snapshot: it was cut".into();
            return Err(Damage { offset: len, what }.into());
        }
        // The beginning is read as it is in a stream, as far as the description.
        let mut decoder = Decoder::new();
        let (mut header, mut description, mut at) = (None, None, 0);
        while description.is_none() {
            let n = (len - at).min(4096);
            if n == 0 {
                decoder.end()?;
            }
            decoder.push(&read(at, n as usize)?);
            at += n;
            while let Some(seen) = if description.is_none() { decoder.next()? } else { None } {
                match seen {
                    Seen::Header(seen) => header = Some(seen),
                    Seen::Description(raw, offset) => description = Some(Description::decode(raw, offset)?),
                    _ => {}
                }
            }
        }
        let first = decoder.offset();
        let (Some(header), Some(description)) = (header, description) else {
            return Ok(damaged(0_u64, "there is no description")?);
        };
        header.compression.check()?;
        let end = len - FOOTER_LEN as u64;
        let bytes = read(end, FOOTER_LEN)?;
        let footer = Footer::decode(bytes.first_chunk().unwrap_or(&[0; FOOTER_LEN]), end)?;
        if footer.table < first || footer.log_position != header.log_position {
            return Ok(damaged(end, "the footer and the header contradict each other")?);
        }
        let sections = Self::read_table(&read, &footer, header.compression, first)?;
        if sections.iter().map(|section| section.items).sum::<u64>() != footer.items {
            return Ok(damaged(end, "the footer and the section table contradict each other")?);
        }
        Ok(SnapshotFile { file, name: name.to_owned(), len, header, description, sections, footer })
    }

    fn read_table(
        read: &impl Fn(u64, usize) -> Result<Vec<u8>>,
        footer: &Footer,
        compression: Compression,
        first: u64,
    ) -> Result<Vec<Section>> {
        let mut blocks = Blocks::new(compression, footer.table);
        let Ok(len) = usize::try_from(footer.table_len) else { return Ok(damaged(footer.table, "too long")?) };
        blocks.push(&read(footer.table, len)?);
        match blocks.next()? {
            Some(block) if block.kind == BlockKind::Table => Ok(sections(block.raw, block.offset, first)?),
            _ => Ok(damaged(footer.table, "there is no section table where the footer says")?),
        }
    }

    pub(super) fn info(&self) -> SnapshotInfo {
        SnapshotInfo {
            taken_at: UNIX_EPOCH + Duration::from_millis(self.header.taken_ms),
            items: self.footer.items,
            payload_bytes: self.footer.payload,
            item_bytes: self.footer.memory,
            file_bytes: self.len,
            compression: self.header.compression,
            log_position: self.header.log_position,
            description: self.description.clone(),
        }
    }

    /// Reads a section, `chunk` bytes at a time, and shows all its parts. An error if it is not what the table says.
    fn read_section(
        &self,
        section: &Section,
        chunk: usize,
        counted: &Counted,
        mut each: impl FnMut(Part<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut blocks = Blocks::new(self.header.compression, section.offset);
        let (mut flow, mut at, end) = (Flow::default(), section.offset, section.offset + section.len);
        while at < end {
            let n = (end - at).min(chunk as u64);
            let room = blocks.room(n as usize);
            self.file.read_exact_at(room, at).map_err(|e| storage_error("read", &self.name, e))?;
            at += n;
            while let Some(block) = blocks.next()? {
                flow.parts(block, &mut each)?;
            }
            counted.bytes.fetch_add(n, Relaxed);
        }
        if blocks.offset() != end || !flow.is_whole() || flow.items != section.items {
            return Ok(damaged(blocks.offset(), "a section is not what the section table says of it")?);
        }
        counted.items.fetch_add(flow.items, Relaxed);
        counted.payload.fetch_add(flow.payload, Relaxed);
        Ok(())
    }

    /// Does something with every section, on so many threads; stops at the first error.
    fn for_sections(&self, threads: usize, each: impl Fn(&Section) -> Result<()> + Sync) -> Result<()> {
        let (next, failed, stop) = (AtomicUsize::new(0), Mutex::new(None), AtomicBool::new(false));
        let work = || {
            while !stop.load(Relaxed)
                && let Some(section) = self.sections.get(next.fetch_add(1, Relaxed))
            {
                if let Err(error) = each(section) {
                    stop.store(true, Relaxed);
                    failed.lock().get_or_insert(error);
                }
            }
        };
        let others = threads.min(self.sections.len()).saturating_sub(1);
        std::thread::scope(|scope| {
            for _ in 0..others {
                // Without a further thread, those that there are do it.
                let _ = std::thread::Builder::new().name("larder-restore".to_owned()).spawn_scoped(scope, work);
            }
            work();
        });
        failed.into_inner().map_or(Ok(()), Err)
    }

    /// Reads everything once and changes nothing.
    fn verify(&self, threads: usize, chunk: usize, tell: &(impl Fn(u64) + Sync)) -> Result<()> {
        let counted = Counted::default();
        self.for_sections(threads, |section| {
            self.read_section(section, chunk, &counted, |_| Ok(()))?;
            tell(counted.bytes.load(Relaxed));
            Ok(())
        })?;
        if counted.payload.into_inner() != self.footer.payload {
            let what = "the footer counts other bytes than there are";
            return Ok(damaged(self.len - FOOTER_LEN as u64, what)?);
        }
        Ok(())
    }
}

/// What became of the items so far.
#[derive(Debug, Default)]
struct Fate {
    stored: AtomicU64,
    expired: AtomicU64,
    overtaken: AtomicU64,
    left_out: AtomicU64,
}

impl Fate {
    fn count(&self, landed: Landed) {
        let counter = match landed {
            Landed::Stored => &self.stored,
            Landed::Expired => &self.expired,
            Landed::Newer => &self.overtaken,
            Landed::TurnedAway => &self.left_out,
        };
        counter.fetch_add(1, Relaxed);
    }
}

/// Bytes that a thread reads at a time: with what they are decompressed to, a 64th of the limit for all threads.
fn chunk_for(engine: &Engine, threads: usize) -> usize {
    (engine.ctx.arena.ledger.limit() / (128 * threads as u64)).clamp(4 << 10, 1 << 20) as usize
}

/// Index bytes that an item needs, about.
const INDEX_PER_ITEM: u64 = 11;

struct Loading<'a> {
    engine: &'a Engine,
    file: &'a SnapshotFile,
    evict: bool,
    fate: Fate,
    /// Evictions before it began.
    evicted: u64,
}

impl Loading<'_> {
    /// What is told where the snapshot does not fit.
    fn too_large(&self) -> Error {
        let footer = &self.file.footer;
        let needed = footer.memory + footer.items * INDEX_PER_ITEM;
        let room = self.engine.ctx.arena.ledger.room();
        Error::new(
            ErrorKind::RestoreFailed,
            format!(
                "the snapshot {} has {} items that need about {needed} bytes; the cache has room for {room}: raise \
                 max_memory, or restore with evict(true)",
                self.file.name, footer.items
            ),
        )
    }

    /// What is too large, or finds no room, is left out or an error, as was wished.
    fn judge(&self, landed: Result<Landed>) -> Result<()> {
        match landed {
            Ok(Landed::TurnedAway) if !self.evict => Err(self.too_large()),
            Ok(landed) => {
                self.fate.count(landed);
                Ok(())
            }
            Err(error) => match error.kind() {
                ErrorKind::OutOfMemory | ErrorKind::ItemTooLarge if self.evict => {
                    self.fate.count(Landed::TurnedAway);
                    Ok(())
                }
                ErrorKind::OutOfMemory => Err(self.too_large()),
                _ => Err(error),
            },
        }
    }

    fn section(&self, section: &Section, chunk: usize, counted: &Counted) -> Result<()> {
        let mut large: Option<LargeLanding> = None;
        let read = self.file.read_section(section, chunk, counted, |part| match part {
            Part::Items(records) => self.engine.land(records, |landed| self.judge(landed)),
            Part::Large(record) => match self.engine.begin_landing(record) {
                Ok(Ok(mut landing)) => {
                    landing.push(record.value);
                    large = Some(landing);
                    Ok(())
                }
                Ok(Err(landed)) => self.judge(Ok(landed)),
                Err(error) => self.judge(Err(error)),
            },
            Part::More(bytes, is_last) => {
                if let Some(landing) = &mut large {
                    landing.push(bytes);
                }
                match large.take_if(|_| is_last) {
                    Some(landing) => self.judge(self.engine.end_landing(landing)),
                    None => Ok(()),
                }
            }
        });
        // Half of a value is given back.
        if let Some(landing) = large {
            self.engine.end_landing(landing)?;
        }
        read?;
        if !self.evict && self.engine.counts().shards.evictions > self.evicted {
            return Err(self.too_large());
        }
        Ok(())
    }
}

impl Cache {
    /// Empties all namespaces and fills them from a snapshot, in parallel. What others write meanwhile stays, and
    /// counts for more than the snapshot. Deadlines are as they were; items whose time is over are left out.
    ///
    /// The snapshot is verified as a whole before anything is changed: one that is damaged, or plainly too large, is
    /// refused, and the cache stays as it is. When it fails later - there is a little more than fits after all, or the
    /// storage fails while it is read again - the cache is left empty, and usable. The cache may have another limit,
    /// policy or geometry than the one it was of: the items keep their places in the order of their use.
    ///
    /// Tokens are as they were, and new ones differ from all that the old cache has given (until 2^40 writes after the
    /// snapshot). Events tell of the beginning and the end, or of the failure with its cause.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`] if it cannot be read, [`ErrorKind::Damaged`] with the offset if it is not whole,
    /// [`ErrorKind::RestoreFailed`], with both sizes, if it is too large for this cache. [`ErrorKind::NotAllowed`] if
    /// it is a follower.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, ErrorKind, snapshot::{RestoreOptions, SnapshotOptions}, storage::Memory};
    /// let (large, storage) = (Cache::new(4 << 20)?, Memory::new());
    /// for i in 0..20_000u32 {
    ///     large.set(&i.to_le_bytes(), &[7; 100])?;
    /// }
    /// large.snapshot_to(&storage, "s", &SnapshotOptions::new())?;
    ///
    /// let small = Cache::new(1 << 20)?;
    /// let error = small.restore_from(&storage, "s", &RestoreOptions::new()).unwrap_err();
    /// assert_eq!((error.kind(), small.len()), (ErrorKind::RestoreFailed, 0));
    /// small.restore_from(&storage, "s", &RestoreOptions::new().evict(true))?;
    /// assert!(small.len() > 5_000);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn restore_from(&self, storage: &dyn Storage, name: &str, options: &RestoreOptions) -> Result<Restored> {
        self.restore_with(storage, name, options, |_| {})
    }

    /// The same, telling how far it has come. The closure may be called by several threads at once.
    ///
    /// # Errors
    /// As [`restore_from`](Self::restore_from).
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, snapshot::{RestoreOptions, SnapshotOptions}, storage::Memory};
    /// use std::sync::atomic::{AtomicU32, Ordering};
    /// let (cache, storage) = (Cache::new(1 << 20)?, Memory::new());
    /// cache.set(b"k", b"v")?;
    /// cache.snapshot_to(&storage, "s", &SnapshotOptions::new())?;
    /// let told = AtomicU32::new(0);
    /// cache.restore_with(&storage, "s", &RestoreOptions::new(), |progress| {
    ///     assert!(progress.fraction <= 1.0);
    ///     told.fetch_add(1, Ordering::Relaxed);
    /// })?;
    /// assert!(told.into_inner() >= 2);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn restore_with(
        &self,
        storage: &dyn Storage,
        name: &str,
        options: &RestoreOptions,
        progress: impl Fn(&RestoreProgress) + Sync,
    ) -> Result<Restored> {
        if self.is_follower() {
            let text = "this cache is a follower: what is in it comes from its primary alone, until it is promoted";
            return Err(Error::new(ErrorKind::NotAllowed, text));
        }
        self.restore_any(storage, name, options, progress)
    }

    /// The same for a follower, too, whose primary's snapshot it is.
    pub(crate) fn restore_any(
        &self,
        storage: &dyn Storage,
        name: &str,
        options: &RestoreOptions,
        progress: impl Fn(&RestoreProgress) + Sync,
    ) -> Result<Restored> {
        let (source, date) = (self.name().to_owned(), self.now_ms());
        self.event_log().emit(EngineEvent::recovering(date, &source, &format!("{source} from {name}")));
        span!("restore", self.engine().ctx, name);
        let restored = self.refill(storage, name, options, &progress);
        let stats = &self.engine().saver().stats;
        match &restored {
            Ok(_) => {
                stats.lock().restored += 1;
                event!(
                    INFO,
                    self.engine().ctx,
                    name,
                    items = restored.as_ref().map_or(0, |done| done.stored),
                    "restore completed"
                );
                let nodes = format!("{source} from {name}");
                self.event_log().emit(EngineEvent::recovered(self.now_ms(), &source, &nodes));
            }
            Err(error) => {
                stats.lock().restore_failed += 1;
                event!(WARN, self.engine().ctx, name, error = %error, "restore failed");
                let text = format!("Restore from {name} failed: {error}");
                self.emit(EngineEventKind::CacheClusterRestoreFailed, &text);
            }
        }
        restored
    }

    fn refill(
        &self,
        storage: &dyn Storage,
        name: &str,
        options: &RestoreOptions,
        progress: &(impl Fn(&RestoreProgress) + Sync),
    ) -> Result<Restored> {
        let engine = self.engine();
        let file = SnapshotFile::open(storage, name)?;
        let all: u64 = file.sections.iter().map(|section| section.len).sum();
        let tell = |is_verifying: bool, bytes: u64| {
            progress(&RestoreProgress { is_verifying, fraction: bytes as f64 / all.max(1) as f64 });
        };
        let threads = options.thread_count();
        let chunk = chunk_for(engine, threads);
        // What is read, and what it is decompressed to.
        let buffers = Charge::new(engine, (threads * chunk * 2) as u64);
        file.verify(threads, chunk, &|bytes| tell(true, bytes))?;
        let counts = || engine.counts().shards.evictions;
        let loading = Loading { engine, file: &file, evict: options.evict, fate: Fate::default(), evicted: counts() };
        let needed = file.footer.memory + file.footer.items * INDEX_PER_ITEM;
        if !options.evict && needed > engine.ctx.arena.ledger.room() {
            return Err(loading.too_large());
        }
        engine.empty();
        engine.inherit(file.description.share(), file.header.highest_token);
        // As many as fit.
        let room = engine.ctx.arena.ledger.room();
        let part = if needed > room { room as f64 / needed as f64 } else { 1.0 };
        engine.expect_items((file.footer.items as f64 * part) as u64);
        let counted = Counted::default();
        let loaded = file.for_sections(threads, |section| {
            loading.section(section, chunk, &counted)?;
            tell(false, counted.bytes.load(Relaxed));
            Ok(())
        });
        engine.expect_no_more();
        drop(buffers);
        if let Err(error) = loaded {
            engine.empty();
            return Err(error);
        }
        let Fate { stored, expired, overtaken, left_out } = loading.fate;
        Ok(Restored {
            stored: stored.into_inner(),
            expired: expired.into_inner(),
            overtaken: overtaken.into_inner(),
            left_out: left_out.into_inner(),
            info: file.info(),
        })
    }
}

/// Bytes on a cache's ledger while this lives.
struct Charge<'a>(&'a Engine, u64);

impl<'a> Charge<'a> {
    fn new(engine: &'a Engine, bytes: u64) -> Charge<'a> {
        engine.ctx.arena.ledger.force(Account::Side, bytes);
        Charge(engine, bytes)
    }
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        self.0.ctx.arena.ledger.release(Account::Side, self.1);
    }
}
