//! The append-only file: every effect of a cache in files, so that the cache comes back after a crash.
//!
//! | file | what |
//! |---|---|
//! | `format` | headers, marks, trailers, the manifest |
//! | `scan` | reading records, telling a torn end from damage |
//! | `open` | what is there is read back; a torn end is cut off |
//! | `base` | all that is in the cache, in place of older records |
//! | `options` | settings |
//!
//! Invariants:
//! 1. `next` is the number after the last record in the files; bytes of the tail from `Tail::len` on are nobody's.
//! 2. Records before `durable` outlast a crash. Only a sync that began after they were written moves it.
//! 3. One thread at a time appends or begins a base (the recorder sees to that), one syncs the tail (`syncing`), and
//!    one writes a base (`rewriting`). No file is written or synced with `state` locked.
//! 4. When a sync of the tail has failed, `failed` says so for good: what had been written is not to be trusted, and
//!    nothing is acknowledged any more.
//! 5. The manifest names files whose headers are synced; all logs but the last are synced to their ends.

mod base;
mod format;
mod open;
mod options;
mod scan;

use std::sync::Arc;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::{BaseWriter, Batch, LogStatus, Positions, ReplicationLog};
use crate::error::{Error, ErrorKind, Result};
use crate::oplog::record::Record;
use crate::storage::{Storage, StoredFile};
use base::BaseFile;
use format::{HEADER_LEN, Header, Kind, MANIFEST, Manifest, Note, base_name, log_name, number_of};
use scan::{Scan, io_error};

pub use open::{Cut, Recovery};
pub use options::{AppendOptions, Fsync};

/// Under `everysec`, maintenance syncs what has waited so long, in milliseconds.
const SYNC_AFTER_MS: u64 = 800;
/// A writer does it when it has waited so long, because nobody does maintenance.
const LATE_MS: u64 = 1_400;
/// Bytes of records between two places that are remembered, for reading from a position.
const PLACE_EVERY: u64 = 256 << 10;

/// The file to which records are appended.
#[derive(Debug, Clone)]
struct Tail {
    file: Arc<dyn StoredFile>,
    number: u64,
    id: u64,
    len: u64,
    /// Bytes that were synced, and those that the last mark speaks of.
    synced: u64,
    marked: u64,
}

/// Where a record is.
#[derive(Debug, Clone, Copy)]
struct Place {
    sequence: u64,
    log: u64,
    offset: u64,
}

#[derive(Debug)]
struct State {
    manifest: Manifest,
    /// The highest number that a file ever had.
    last_number: u64,
    /// None until the first record.
    tail: Option<Tail>,
    next: u64,
    durable: u64,
    syncing: bool,
    rewriting: bool,
    /// No manifest names what is written here until a base is finished.
    is_fresh: bool,
    /// Time of the oldest record that is not synced.
    unsynced_since: Option<u64>,
    now_ms: u64,
    failed: Option<String>,
    fsync: Fsync,
    rewrite_percentage: u64,
    rewrite_min_size: u64,
    base_bytes: u64,
    syncs: u64,
    /// Bytes of the logs before the tail.
    older_bytes: u64,
    /// In order, for all logs.
    places: Vec<Place>,
}

/// What the handle and a base that is being written share.
#[derive(Debug)]
struct Inner {
    options: AppendOptions,
    /// Locked, so that no other process writes to the same files.
    _lock: Box<dyn StoredFile>,
    state: Mutex<State>,
    synced: Condvar,
}

/// An append-only file, or rather a few of them: a base, and the records since.
///
/// A cache is usually given one by [`CacheBuilder::append_only`](crate::CacheBuilder::append_only), which also brings
/// back what it holds. By itself it is a [`ReplicationLog`] like others.
///
/// [`Fsync`] says when a write is safe. With [`Fsync::Always`] writers wait for the disk, and many share one sync. When
/// the disk is full, writes are refused until there is room again. When a sync fails, it is not known what the disk
/// has: the file refuses everything from then on ([`ErrorKind::LogFailed`]), and has to be opened anew.
///
/// # Examples
/// ```
/// use larder::oplog::{AppendFile, AppendOptions, Batch, Effect, ReplicationLog, encode};
/// use larder::storage::Memory;
/// let storage = Memory::new();
/// let (log, _) = AppendFile::open(AppendOptions::new(storage.clone()), |_| Ok(()))?;
/// let mut records = Vec::new();
/// encode(1, &Effect::Time { unix_ms: 5 }, &mut records);
/// log.append(&Batch::new(1, 1, &records, 5))?;
/// drop(log);
///
/// let mut numbers = Vec::new();
/// let (_log, recovery) = AppendFile::open(AppendOptions::new(storage), |record| Ok(numbers.push(record.sequence)))?;
/// assert_eq!((numbers, recovery.records), (vec![1], 1));
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug)]
pub struct AppendFile(Arc<Inner>);

impl AppendFile {
    /// Opens the log in a storage, or makes one there; shows every record that it has to `each`, in order, those of
    /// the base (numbered from 1) first.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`], naming file and offset, if it is damaged anywhere but at a torn end, which is cut off;
    /// [`ErrorKind::AlreadyExists`] if somebody else has it open; [`ErrorKind::Storage`] if a file operation fails; and
    /// whatever `each` says.
    ///
    /// # Examples
    /// See [`AppendFile`].
    pub fn open(options: AppendOptions, each: impl FnMut(Record<'_>) -> Result<()>) -> Result<(AppendFile, Recovery)> {
        let (inner, recovery) = Inner::open(options, each)?;
        Ok((AppendFile(Arc::new(inner)), recovery))
    }

    /// When writes are safe.
    ///
    /// # Examples
    /// ```
    /// use larder::oplog::{AppendFile, AppendOptions, Fsync};
    /// use larder::storage::Memory;
    /// let (log, _) = AppendFile::open(AppendOptions::new(Memory::new()), |_| Ok(()))?;
    /// log.set_fsync(Fsync::Always);
    /// assert_eq!(log.fsync(), Fsync::Always);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn fsync(&self) -> Fsync {
        self.0.state.lock().fsync
    }

    /// Changes it, from the next write on.
    ///
    /// # Examples
    /// See [`fsync`](Self::fsync).
    pub fn set_fsync(&self, fsync: Fsync) {
        self.0.state.lock().fsync = fsync;
    }

    /// Changes when it is rewritten by itself: when the records since the base have `percentage` hundredths of the
    /// base's bytes, and `min_size` bytes at least; never with a percentage of 0.
    ///
    /// # Examples
    /// ```
    /// use larder::oplog::{AppendFile, AppendOptions};
    /// use larder::storage::Memory;
    /// let (log, _) = AppendFile::open(AppendOptions::new(Memory::new()), |_| Ok(()))?;
    /// log.set_rewrite(100, 64 << 20);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn set_rewrite(&self, percentage: u64, min_size: u64) {
        let mut state = self.0.state.lock();
        (state.rewrite_percentage, state.rewrite_min_size) = (percentage, min_size);
    }

    /// Adds what is known of it to a report.
    pub(crate) fn report(&self, status: &mut LogStatus) {
        let state = self.0.state.lock();
        status.file_bytes = state.base_bytes + state.log_bytes();
        status.unsynced_bytes = state.tail.as_ref().map_or(0, |tail| tail.len - tail.synced);
        status.syncs = state.syncs;
        status.is_rewriting = state.rewriting;
    }

    /// Syncs what is there and marks its end. Nothing is written by itself from then on.
    pub(crate) fn close(&self) -> Result<()> {
        self.0.close()
    }

    /// Where its files are.
    pub(crate) fn storage(&self) -> &Arc<dyn Storage> {
        &self.0.options.storage
    }

    /// Says that there is more in the cache than will be appended here: nothing counts before a base is finished.
    pub(crate) fn wait_for_base(&self) {
        self.0.state.lock().is_fresh = true;
    }

    /// Bytes of all its files.
    ///
    /// # Examples
    /// ```
    /// use larder::oplog::{AppendFile, AppendOptions};
    /// use larder::storage::Memory;
    /// let (log, _) = AppendFile::open(AppendOptions::new(Memory::new()), |_| Ok(()))?;
    /// assert_eq!(log.bytes(), 0);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn bytes(&self) -> u64 {
        let state = self.0.state.lock();
        state.base_bytes + state.log_bytes()
    }
}

impl State {
    fn log_bytes(&self) -> u64 {
        self.older_bytes + self.tail.as_ref().map_or(0, |tail| tail.len)
    }

    fn check(&self) -> Result<()> {
        match &self.failed {
            Some(why) => Err(Error::new(ErrorKind::LogFailed, why.clone())),
            None => Ok(()),
        }
    }

    fn fail(&mut self, why: String) -> Error {
        Error::new(ErrorKind::LogFailed, self.failed.get_or_insert(why).clone())
    }

    /// Notes where a record is, now and then.
    fn note_place(&mut self, sequence: u64, log: u64, offset: u64) {
        if self.places.last().is_none_or(|last| last.log != log || offset - last.offset >= PLACE_EVERY) {
            self.places.push(Place { sequence, log, offset });
        }
    }
}

impl Inner {
    fn storage(&self) -> &dyn Storage {
        &*self.options.storage
    }

    /// A number that no other file has, so that marks of one are none in another.
    fn file_id(&self, number: u64, kind: Kind) -> u64 {
        crate::policy::mix(self.options.seed ^ number.wrapping_mul(4) ^ kind as u64)
    }

    /// A new log, with its header, synced; named by no manifest yet.
    fn create_log(&self, number: u64, first: u64) -> Result<Tail> {
        let (name, id) = (log_name(number), self.file_id(number, Kind::Log));
        let file = self.storage().create(&name).map_err(|e| io_error("create", &name, e))?;
        let header = Header { kind: Kind::Log, id, first }.encode();
        file.write_all_at(&header, 0).map_err(|e| io_error("write to", &name, e))?;
        file.sync().map_err(|e| io_error("sync", &name, e))?;
        let (file, len) = (Arc::from(file), HEADER_LEN);
        Ok(Tail { file, number, id, len, synced: len, marked: len })
    }

    /// Writes a manifest. `begun` says whether it may have replaced the old one, if that fails.
    fn write_manifest(&self, manifest: &Manifest, begun: &mut bool) -> Result<()> {
        let (storage, temporary) = (self.storage(), format!("{MANIFEST}.new"));
        let file = storage.create(&temporary).map_err(|e| io_error("create", &temporary, e))?;
        file.write_all_at(manifest.encode().as_bytes(), 0).map_err(|e| io_error("write to", &temporary, e))?;
        file.sync().map_err(|e| io_error("sync", &temporary, e))?;
        *begun = true;
        storage.rename(&temporary, MANIFEST).map_err(|e| io_error("rename", &temporary, e))?;
        storage.sync_dir().map_err(|e| io_error("sync the folder of", MANIFEST, e))
    }

    /// Waits until nobody syncs, and keeps others from it until [`end_sync`](Self::end_sync).
    fn begin_sync(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        while state.syncing {
            self.synced.wait(&mut state);
        }
        state.syncing = true;
        state
    }

    fn end_sync(&self, state: &mut State) {
        state.syncing = false;
        self.synced.notify_all();
    }

    /// Syncs the tail; `syncing` is set by the caller. Gives the lock back meanwhile.
    fn sync_tail(&self, state: &mut MutexGuard<'_, State>) -> Result<()> {
        let Some(tail) = state.tail.clone() else { return Ok(()) };
        let (next, now_ms) = (state.next, state.now_ms);
        let synced = if tail.synced == tail.len { Ok(()) } else { MutexGuard::unlocked(state, || tail.file.sync()) };
        if let Err(e) = synced {
            let name = log_name(tail.number);
            return Err(
                state.fail(format!("the log has failed: cannot sync {name} ({e}), so what it holds is unknown"))
            );
        }
        state.syncs += u64::from(tail.synced != tail.len);
        if let Some(now) = state.tail.as_mut().filter(|now| now.number == tail.number) {
            now.synced = now.synced.max(tail.len);
        }
        state.durable = state.durable.max(next);
        state.unsynced_since = (state.durable < state.next).then_some(now_ms);
        Ok(())
    }

    /// Goes on in a new log whose first record has this number.
    fn roll(&self, first: u64) -> Result<()> {
        let mut state = self.begin_sync();
        let rolled = self.roll_locked(&mut state, first);
        self.end_sync(&mut state);
        rolled
    }

    fn roll_locked(&self, state: &mut MutexGuard<'_, State>, first: u64) -> Result<()> {
        state.check()?;
        self.sync_tail(state)?;
        state.last_number += 1;
        let (number, is_fresh) = (state.last_number, state.is_fresh);
        let mut manifest = state.manifest.clone();
        if is_fresh {
            manifest = Manifest::default();
        }
        manifest.logs.push((number, first));
        let mut begun = false;
        let rolled = MutexGuard::unlocked(state, || {
            if is_fresh {
                // Until the base is there, there is no log: neither this one nor what was there before.
                self.write_manifest(&Manifest::default(), &mut false)?;
                return self.create_log(number, first);
            }
            let tail = self.create_log(number, first)?;
            self.write_manifest(&manifest, &mut begun)?;
            Ok(tail)
        });
        let tail = match rolled {
            Ok(tail) => tail,
            // Whether a manifest names the new file is not known, so no file is the right one to go on in.
            Err(error) if begun => return Err(state.fail(format!("the log has failed: {error}"))),
            Err(error) => {
                MutexGuard::unlocked(state, || drop(self.storage().remove(&log_name(number))));
                return Err(error);
            }
        };
        state.manifest = manifest;
        state.older_bytes += state.tail.as_ref().map_or(0, |tail| tail.len);
        if is_fresh {
            state.older_bytes = 0;
            state.places.clear();
        }
        state.note_place(first, number, tail.len);
        state.tail = Some(tail);
        state.next = first;
        state.durable = first;
        state.unsynced_since = None;
        Ok(())
    }

    /// Lets a base that is written and synced stand for all before its position.
    fn adopt_base(&self, number: u64, position: u64, len: u64, named: &mut bool) -> Result<()> {
        let mut state = self.begin_sync();
        let mut manifest = state.manifest.clone();
        manifest.base = Some((number, position));
        manifest.logs.retain(|&(log, _)| log >= number);
        // The base shows what the first records of the new log did, to some keys and not to others: without these
        // records it would be the cache at no moment.
        let synced = self.sync_tail(&mut state);
        let written = synced.and_then(|()| MutexGuard::unlocked(&mut state, || self.write_manifest(&manifest, named)));
        if written.is_ok() {
            state.base_bytes = len;
            state.older_bytes = 0;
            state.is_fresh = false;
            state.places.retain(|place| place.log >= number);
            state.manifest = manifest.clone();
        }
        self.end_sync(&mut state);
        drop(state);
        written?;
        self.remove_others(&manifest);
        Ok(())
    }

    /// Removes the files that a manifest does not name. What cannot be removed now is when the log is opened again.
    fn remove_others(&self, manifest: &Manifest) {
        let (named, storage) = (manifest.names(), self.storage());
        for name in storage.list().unwrap_or_default() {
            if number_of(&name).is_some() && !named.contains(&name) {
                let _ = storage.remove(&name);
            }
        }
    }

    /// The writing of a base has ended.
    fn end_base(&self, number: u64, is_named: bool) {
        if !is_named {
            let _ = self.storage().remove(&base_name(number));
        }
        self.state.lock().rewriting = false;
    }

    fn append(&self, batch: &Batch<'_>) -> Result<()> {
        let mut state = self.state.lock();
        state.check()?;
        state.now_ms = state.now_ms.max(batch.now_ms);
        if state.tail.is_none() {
            drop(state);
            self.roll(batch.first)?;
            state = self.state.lock();
        }
        if batch.first != state.next {
            let (first, next) = (batch.first, state.next);
            return Err(state.fail(format!("the log has failed: record {first} was given to it where {next} comes")));
        }
        let Some(tail) = state.tail.clone() else { return Ok(()) };
        drop(state);
        // Invariant 3: nobody else appends, so the tail stays as it was seen.
        let mark = (tail.synced > tail.marked).then(|| Note::Mark(tail.synced).encode(tail.id, tail.len));
        let mark = mark.as_ref().map_or(&[][..], |mark| &mark[..]);
        let start = tail.len + mark.len() as u64;
        let written =
            tail.file.write_all_at(mark, tail.len).and_then(|()| tail.file.write_all_at(batch.records, start));
        if let Err(e) = written {
            // What is left of them is overwritten by the next attempt; if it cannot be cut off, that is no harm.
            let _ = tail.file.truncate(tail.len);
            return Err(io_error("append to", &log_name(tail.number), e));
        }
        let mut state = self.state.lock();
        state.note_place(batch.first, tail.number, start);
        if let Some(now) = &mut state.tail {
            now.len = start + batch.records.len() as u64;
            now.marked = if mark.is_empty() { now.marked } else { tail.synced };
        }
        state.next = batch.last + 1;
        state.unsynced_since.get_or_insert(batch.now_ms);
        Ok(())
    }

    fn commit(&self, through: u64) -> Result<()> {
        let mut state = self.state.lock();
        loop {
            state.check()?;
            let waits = state.now_ms.saturating_sub(state.unsynced_since.unwrap_or(u64::MAX));
            let wanted = match state.fsync {
                Fsync::No => false,
                Fsync::EverySecond => waits >= LATE_MS && !state.syncing,
                Fsync::Always => state.durable <= through && state.next > through,
            };
            if !wanted {
                return Ok(());
            }
            if state.syncing {
                self.synced.wait(&mut state);
                continue;
            }
            state.syncing = true;
            let synced = self.sync_tail(&mut state);
            self.end_sync(&mut state);
            synced?;
        }
    }

    fn maintain(&self, now_ms: u64) -> Result<()> {
        let mut state = self.state.lock();
        state.check()?;
        state.now_ms = state.now_ms.max(now_ms);
        let waits = now_ms.saturating_sub(state.unsynced_since.unwrap_or(u64::MAX));
        if state.fsync == Fsync::EverySecond && waits >= SYNC_AFTER_MS && !state.syncing {
            state.syncing = true;
            let synced = self.sync_tail(&mut state);
            self.end_sync(&mut state);
            synced?;
        }
        Ok(())
    }

    /// Where to look for a record: the log's number, a place at or before it, and where to stop.
    fn place_of(&self, from: u64) -> Result<(Place, Option<Tail>)> {
        let state = self.state.lock();
        let at = state.places.partition_point(|place| place.sequence <= from);
        let Some(&place) = at.checked_sub(1).and_then(|at| state.places.get(at)) else {
            let oldest = state.places.first().map_or(state.next, |place| place.sequence);
            return Err(Error::new(
                ErrorKind::Gone,
                format!("record {from} is not in the log any more: it has those from {oldest} on, and a base"),
            ));
        };
        Ok((place, state.tail.clone().filter(|tail| tail.number == place.log)))
    }

    fn read(&self, from: u64, into: &mut Vec<u8>, most: usize) -> Result<u64> {
        if from == self.state.lock().next {
            return Ok(from);
        }
        let (place, tail) = self.place_of(from)?;
        let name = log_name(place.log);
        let (file, id, end) = match tail {
            Some(tail) => (tail.file, tail.id, tail.len),
            None => {
                let file = self.storage().open(&name).map_err(|e| io_error("open", &name, e))?;
                let header = scan::read_header(&*file, &name, Kind::Log)?;
                let len = file.len().map_err(|e| io_error("measure", &name, e))?;
                (Arc::from(file), header.id, len)
            }
        };
        let (mut next, start) = (from, into.len());
        let mut scan = Scan::new(&*file, &name, id, place.offset, end);
        scan.run(|_, record, bytes| {
            if record.sequence < from {
                return Ok(true);
            }
            if into.len() > start && into.len() - start + bytes.len() > most {
                return Ok(false);
            }
            into.extend_from_slice(bytes);
            next = record.sequence + 1;
            Ok(true)
        })?;
        Ok(next)
    }

    fn begin_base(self: &Arc<Self>, position: u64) -> Result<Box<dyn BaseWriter>> {
        {
            let mut state = self.state.lock();
            state.check()?;
            if std::mem::replace(&mut state.rewriting, true) {
                return Err(Error::new(ErrorKind::NotAllowed, "the log is being rewritten already"));
            }
            // A gap: what is there is another cache's, or an older life's.
            state.is_fresh |= state.next != 0 && state.next != position;
        }
        let begun = self.roll(position).and_then(|()| {
            let number = self.state.lock().last_number;
            BaseFile::begin(self, number, position)
        });
        match begun {
            Ok(base) => Ok(Box::new(base)),
            Err(error) => {
                self.state.lock().rewriting = false;
                Err(error)
            }
        }
    }

    fn wants_base(&self) -> bool {
        let state = self.state.lock();
        let grown = u128::from(state.log_bytes()) * 100;
        let enough = u128::from(state.base_bytes) * u128::from(state.rewrite_percentage);
        !state.rewriting
            && state.failed.is_none()
            && state.rewrite_percentage > 0
            && state.log_bytes() >= state.rewrite_min_size.max(HEADER_LEN + 1)
            && grown >= enough
    }

    /// Syncs what is there, and marks it so: a clean end has nothing that a crash could tear.
    fn close(&self) -> Result<()> {
        let mut state = self.begin_sync();
        let closed = state.check().and_then(|()| self.sync_tail(&mut state));
        let tail = state.tail.clone().filter(|tail| closed.is_ok() && tail.synced > tail.marked);
        if let Some(tail) = tail {
            let mark = Note::Mark(tail.synced).encode(tail.id, tail.len);
            if tail.file.write_all_at(&mark, tail.len).and_then(|()| tail.file.sync()).is_ok()
                && let Some(now) = &mut state.tail
            {
                now.len += mark.len() as u64;
                (now.synced, now.marked) = (now.len, now.len);
            }
        }
        self.end_sync(&mut state);
        closed
    }
}

impl Drop for AppendFile {
    fn drop(&mut self) {
        // There is nobody left to be told.
        let _ = self.0.close();
    }
}

impl ReplicationLog for AppendFile {
    fn append(&self, batch: &Batch<'_>) -> Result<()> {
        self.0.append(batch)
    }

    fn commit(&self, through: u64) -> Result<()> {
        self.0.commit(through)
    }

    fn read(&self, from: u64, into: &mut Vec<u8>, most: usize) -> Result<u64> {
        self.0.read(from, into, most)
    }

    fn trim(&self, _before: u64) -> Result<()> {
        // Older records go when a base takes their place.
        Ok(())
    }

    fn positions(&self) -> Positions {
        let state = self.0.state.lock();
        let oldest = state.places.first().map_or(state.next, |place| place.sequence);
        let next = if state.is_fresh && state.tail.is_none() { 0 } else { state.next };
        Positions::new(oldest, next).durable(state.durable)
    }

    fn maintain(&self, now_ms: u64) -> Result<()> {
        self.0.maintain(now_ms)
    }

    fn wants_base(&self) -> bool {
        self.0.wants_base()
    }

    fn begin_base(&self, position: u64) -> Result<Box<dyn BaseWriter>> {
        self.0.begin_base(position)
    }
}
