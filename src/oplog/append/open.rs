//! Opening a log: its files are read in order, a torn end is cut off, and what no manifest names is removed.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::format::{HEADER_LEN, Kind, LOCK, MANIFEST, Manifest, base_name, log_name, number_of};
use super::options::AppendOptions;
use super::scan::{End, Scan, damaged, io_error, read_header, synced_beyond};
use super::{Inner, State, Tail};
use crate::error::{Error, ErrorKind, Result};
use crate::oplog::record::Record;
use crate::storage::{Storage, StoredFile};

/// Bytes of progress between two calls of who wants to know.
const TELL_EVERY: u64 = 4 << 20;

/// What opening a log has found.
///
/// # Examples
/// ```
/// use larder::Cache;
/// use larder::oplog::AppendOptions;
/// use larder::storage::Memory;
/// let cache = Cache::builder().append_only(AppendOptions::new(Memory::new())).build()?;
/// assert_eq!(cache.recovery().map(|recovery| recovery.records), Some(0));
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// Records of the base.
    pub base_records: u64,
    /// Records since.
    pub records: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// What was cut off, if the end was torn.
    pub cut: Option<Cut>,
    /// Items that found no room any more, because the cache is smaller than it was.
    pub evicted: u64,
}

/// A torn end that was cut off: what a crash had left of writes that were not synced.
///
/// # Examples
/// See [`Recovery`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cut {
    /// The file.
    pub file: String,
    /// Its length now: where the first byte was cut off.
    pub offset: u64,
    /// How many bytes were cut off.
    pub bytes: u64,
    /// Why they are no records.
    pub reason: &'static str,
}

impl std::fmt::Display for Recovery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Recovery { base_records, records, bytes, .. } = self;
        write!(f, "The log was replayed: {base_records} records of its base and {records} since, {bytes} bytes")?;
        if let Some(Cut { file, offset, bytes, reason }) = &self.cut {
            write!(f, "; {bytes} bytes at the end of {file}, from byte {offset} on, were cut off ({reason})")?;
        }
        if self.evicted > 0 {
            write!(f, "; {} items found no room", self.evicted)?;
        }
        Ok(())
    }
}

/// What reading the files needs to know.
struct Reader<'a, F> {
    options: &'a AppendOptions,
    storage: &'a dyn Storage,
    each: F,
    recovery: Recovery,
    total: u64,
    /// Bytes of the files before the one that is being read.
    before: u64,
    told: u64,
}

impl<F: FnMut(Record<'_>) -> Result<()>> Reader<'_, F> {
    fn open(&self, name: &str) -> Result<(Box<dyn StoredFile>, u64)> {
        let file = self.storage.open(name).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => damaged(name, 0, "the manifest names it, and it is not there"),
            _ => io_error("open", name, e),
        })?;
        let len = file.len().map_err(|e| io_error("measure", name, e))?;
        Ok((file, len))
    }

    fn progress(&mut self, done: u64) {
        if let Some(progress) = &self.options.progress
            && (done >= self.told + TELL_EVERY || done == self.total)
        {
            self.told = done;
            progress(done, self.total);
        }
    }

    /// Reads a base. Returns its length.
    fn base(&mut self, number: u64, position: u64) -> Result<u64> {
        let name = base_name(number);
        let (file, len) = self.open(&name)?;
        let header = read_header(&*file, &name, Kind::Base)?;
        if header.first != position {
            return Err(damaged(&name, 24, "it is of another position than the manifest says"));
        }
        let mut scan = Scan::new(&*file, &name, header.id, HEADER_LEN, len);
        let (mut count, mut wrong) = (0, false);
        let end = scan.run(|offset, record, _| {
            wrong = record.sequence != count + 1;
            if !wrong {
                count += 1;
                (self.each)(record)?;
                self.progress(self.before + offset);
            }
            Ok(!wrong)
        })?;
        let bad = match end {
            End::Trailer(records) if records == count && scan.offset == len => {
                self.recovery.base_records = count;
                self.before += len;
                return Ok(len);
            }
            End::Trailer(_) => "its end does not fit the rest",
            End::Whole => "it ends too early",
            End::Stopped => "a record is not the one that comes next",
            End::Bad(what) => what,
        };
        Err(damaged(&name, scan.offset, bad))
    }

    /// Reads a log from its beginning, whose first record has this number. The last one may have a torn end.
    fn log(&mut self, state: &mut State, number: u64, first: u64, is_last: bool) -> Result<()> {
        let name = log_name(number);
        let (file, len) = self.open(&name)?;
        let header = read_header(&*file, &name, Kind::Log)?;
        if header.first != first {
            return Err(damaged(&name, 24, "it begins at another record than the manifest says"));
        }
        if state.next != 0 && state.next != first {
            let what = format!("it begins with record {first}, and the one before ends with {}", state.next - 1);
            return Err(damaged(&name, 24, &what));
        }
        state.next = first;
        let mut scan = Scan::new(&*file, &name, header.id, HEADER_LEN, len);
        let mut wrong = false;
        let end = scan.run(|offset, record, _| {
            wrong = record.sequence != state.next;
            if !wrong {
                state.note_place(record.sequence, number, offset);
                state.next += 1;
                self.recovery.records += 1;
                (self.each)(record)?;
                self.progress(self.before + offset);
            }
            Ok(!wrong)
        })?;
        let offset = scan.offset;
        let bad = match end {
            End::Whole => None,
            End::Bad(what) => Some(what),
            End::Trailer(_) | End::Stopped => Some("a record is not the one that comes next"),
        };
        if let Some(reason) = bad {
            if !is_last || synced_beyond(&*file, &name, header.id, offset, len)? > offset {
                return Err(damaged(&name, offset, reason));
            }
            file.truncate(offset).and_then(|()| file.sync()).map_err(|e| io_error("cut the end of", &name, e))?;
            self.recovery.cut = Some(Cut { file: name, offset, bytes: len - offset, reason });
        } else if is_last {
            // What is here may be in the system's memory only, and is to be built upon.
            file.sync().map_err(|e| io_error("sync", &name, e))?;
        }
        self.before += len;
        if is_last {
            let (file, id) = (Arc::from(file), header.id);
            state.tail = Some(Tail { file, number, id, len: offset, synced: offset, marked: HEADER_LEN });
        } else {
            state.older_bytes += len;
        }
        Ok(())
    }
}

impl Inner {
    pub(super) fn open(
        options: AppendOptions,
        each: impl FnMut(Record<'_>) -> Result<()>,
    ) -> Result<(Inner, Recovery)> {
        let storage = Arc::clone(&options.storage);
        let lock = match storage.open(LOCK) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => storage.create(LOCK),
            opened => opened,
        };
        let lock = lock.map_err(|e| io_error("open", LOCK, e))?;
        if !lock.try_lock().map_err(|e| io_error("lock", LOCK, e))? {
            return Err(Error::new(ErrorKind::AlreadyExists, "another cache has this log open, here or elsewhere"));
        }
        let names = storage.list().map_err(|e| io_error("list the folder of", MANIFEST, e))?;
        let mut state = State {
            manifest: Manifest::default(),
            last_number: names.iter().filter_map(|name| number_of(name)).max().unwrap_or(0),
            tail: None,
            next: 0,
            durable: 0,
            syncing: false,
            rewriting: false,
            is_fresh: false,
            unsynced_since: None,
            now_ms: 0,
            failed: None,
            fsync: options.fsync,
            rewrite_percentage: options.rewrite_percentage,
            rewrite_min_size: options.rewrite_min_size,
            base_bytes: 0,
            syncs: 0,
            older_bytes: 0,
            places: Vec::new(),
        };
        let mut recovery = Recovery::default();
        if options.overwrite {
            state.is_fresh = names.iter().any(|name| name == MANIFEST);
        } else if names.iter().any(|name| name == MANIFEST) {
            recovery = Self::read_all(&options, &mut state, &names, each)?;
        } else {
            Self::check_no_orphans(&*storage, &names)?;
        }
        Ok((Inner { options, _lock: lock, state: Mutex::new(state), synced: Condvar::new() }, recovery))
    }

    /// Without a manifest there is no log, or one whose first file was just being made.
    fn check_no_orphans(storage: &dyn Storage, names: &[String]) -> Result<()> {
        for name in names.iter().filter(|name| number_of(name).is_some()) {
            let len = storage.open(name).and_then(|file| file.len()).map_err(|e| io_error("open", name, e))?;
            if len > HEADER_LEN {
                return Err(Error::new(
                    ErrorKind::Damaged,
                    format!("{MANIFEST} is not there, but {name} is: bring it back, or remove the other files"),
                ));
            }
        }
        Ok(())
    }

    fn read_all(
        options: &AppendOptions,
        state: &mut State,
        names: &[String],
        each: impl FnMut(Record<'_>) -> Result<()>,
    ) -> Result<Recovery> {
        let storage = &*options.storage;
        let bytes = storage.read(MANIFEST).map_err(|e| io_error("read", MANIFEST, e))?;
        let manifest = Manifest::decode(&bytes)?;
        let mut total = 0;
        for name in manifest.names() {
            total += storage.open(&name).and_then(|file| file.len()).unwrap_or(0);
        }
        let recovery = Recovery { bytes: total, ..Recovery::default() };
        let mut reader = Reader { options, storage, each, recovery, total, before: 0, told: 0 };
        if let Some((number, position)) = manifest.base {
            state.base_bytes = reader.base(number, position)?;
            state.next = position;
        }
        for (i, &(number, first)) in manifest.logs.iter().enumerate() {
            reader.log(state, number, first, i + 1 == manifest.logs.len())?;
        }
        state.durable = state.next;
        reader.progress(total);
        let recovery = reader.recovery;
        // The names may be in the system's memory only.
        storage.sync_dir().map_err(|e| io_error("sync the folder of", MANIFEST, e))?;
        let named = manifest.names();
        for name in names.iter().filter(|name| number_of(name).is_some() && !named.contains(name)) {
            // Left behind by a base that was not finished, or that took the place of this file.
            let _ = storage.remove(name);
        }
        state.manifest = manifest;
        Ok(recovery)
    }
}
