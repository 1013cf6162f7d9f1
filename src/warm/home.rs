//! The folder of a warm restart: its lock, its two files, and what was found there.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::ErrorKind as Io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::state::{BYTE_ORDER, Header, PREFIX, VERSION, sum};
use super::{ColdReason, ColdStart, WarmRestart};
use crate::error::{Error, ErrorKind, Result};
use crate::slab::{file_space, free_space, os_pages, process_user};

const ITEMS: &str = "items";
const STATE: &str = "state";
const UNFINISHED: &str = "state.new";

const ITEMS_MAGIC: [u8; 8] = *b"LARDITEM";
/// Bytes at the beginning of `items`: magic, version, byte order, run, sum.
const MARK: usize = 32;

/// See the module.
#[derive(Debug)]
pub(crate) struct Home {
    folder: PathBuf,
    pub(super) items: File,
    /// How long `items` was when it was opened.
    pub(super) items_len: u64,
    /// The run that `items` is of.
    pub(super) run: u64,
    pub(super) checksums: bool,
    /// What the last close left, until it is used.
    pub(super) found: Option<std::result::Result<Found, ColdStart>>,
}

/// What the last close left.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) state: File,
    pub(super) header: Header,
    pub(super) header_len: u64,
}

pub(super) fn storage(what: &str, path: &Path, e: std::io::Error) -> Error {
    Error::caused(ErrorKind::Storage, format!("cannot {what} {}: {e}", path.display()), e.into())
}

impl Home {
    /// Opens, or makes, the folder of a cache that may hold `max_memory` bytes, and looks at what is there.
    pub(crate) fn open(options: &WarmRestart, max_memory: u64) -> Result<Home> {
        if !cfg!(target_os = "linux") {
            return Err(Error::new(ErrorKind::NotAllowed, "a warm restart needs Linux: it allocates parts of a file"));
        }
        let folder = options.folder.clone();
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(|e| storage("make the folder", &folder, e))?;
        let path = folder.join(ITEMS);
        let mut open = OpenOptions::new();
        open.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let items = open.open(&path).map_err(|e| storage("open", &path, e))?;
        match items.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let text = format!("{} belongs to another cache, of this process or another", path.display());
                return Err(Error::new(ErrorKind::NotAllowed, text));
            }
            Err(TryLockError::Error(e)) => return Err(storage("lock", &path, e)),
        }
        let metadata = items.metadata().map_err(|e| storage("look at", &path, e))?;
        if !metadata.is_file() {
            return Err(Error::new(ErrorKind::Storage, format!("{} is not a file", path.display())));
        }
        // In a folder that all may write to, such as /dev/shm, somebody else may have been there first.
        if metadata.uid() != process_user() {
            let text = format!(
                "{} belongs to another user (number {}), who could change it at any time: take another folder, or \
                 remove it",
                path.display(),
                metadata.uid()
            );
            return Err(Error::new(ErrorKind::NotAllowed, text));
        }
        let items_len = metadata.len();
        file_space(&items, os_pages(items_len.max(1) as usize), os_pages(1), true)
            .map_err(|e| storage("make holes, which a warm restart needs, in", &path, e))?;
        if let Some(free) = free_space(&items)
            && free.saturating_add(metadata.blocks() * 512) < max_memory
        {
            let text = format!(
                "{} has room for {free} bytes more, and the cache may need {max_memory} in all: make room there, or \
                 lower max_memory",
                folder.display()
            );
            return Err(Error::new(ErrorKind::Storage, text));
        }
        let mut home = Home { folder, items, items_len, run: 0, checksums: options.checksums, found: None };
        home.found = Some(home.look()?);
        Ok(home)
    }

    /// The file that the items are in.
    pub(crate) fn file(&self) -> Result<File> {
        self.items.try_clone().map_err(|e| storage("keep open", &self.folder.join(ITEMS), e))
    }

    /// What the last close left.
    fn look(&self) -> Result<std::result::Result<Found, ColdStart>> {
        let path = self.folder.join(STATE);
        let state = match File::open(&path) {
            Ok(state) => state,
            Err(e) if e.kind() == Io::NotFound && self.items_len == 0 => {
                return Ok(Err(ColdStart::new(ColdReason::New, "nothing was kept here before")));
            }
            Err(e) if e.kind() == Io::NotFound => {
                let text = "the last cache was not closed: there is no state";
                return Ok(Err(ColdStart::new(ColdReason::NotClosed, text)));
            }
            Err(e) => return Err(storage("open", &path, e)),
        };
        Ok(Self::read_header(state, &self.items))
    }

    fn read_header(state: File, items: &File) -> std::result::Result<Found, ColdStart> {
        let unreadable = |e: std::io::Error| ColdStart::new(ColdReason::Damaged, format!("state cannot be read: {e}"));
        let mut prefix = [0; PREFIX];
        state.read_exact_at(&mut prefix, 0).map_err(unreadable)?;
        let header_len = Header::len_of(&prefix)?;
        let mut bytes = vec![0; header_len as usize];
        state.read_exact_at(&mut bytes, 0).map_err(unreadable)?;
        let header = Header::decode(&bytes)?;
        if Self::read_mark(items)? != header.run {
            return Err(ColdStart::new(ColdReason::Damaged, "state and items are of different runs"));
        }
        Ok(Found { state, header, header_len })
    }

    /// The run that `items` names.
    fn read_mark(items: &File) -> std::result::Result<u64, ColdStart> {
        let damaged = |what: &str| ColdStart::new(ColdReason::Damaged, format!("items {what}"));
        let mut mark = [0; MARK];
        items.read_exact_at(&mut mark, 0).map_err(|e| damaged(&format!("cannot be read: {e}")))?;
        if mark[..8] != ITEMS_MAGIC {
            return Err(damaged("does not begin as it should"));
        }
        let number = |at: usize| u64::from_le_bytes(mark[at..at + 8].try_into().unwrap_or_default());
        if mark[8..12] != VERSION.to_le_bytes() || mark[12..16] != BYTE_ORDER.to_ne_bytes() {
            return Err(ColdStart::new(ColdReason::Format, "items was written by another build, or kind of machine"));
        }
        if number(24) != sum(&mark[..24]) {
            return Err(damaged("has a damaged beginning"));
        }
        Ok(number(16))
    }

    /// Writes into `items` that it is of a new run.
    pub(super) fn begin_run(&mut self, run: u64) -> Result<()> {
        let path = self.folder.join(ITEMS);
        let mut mark = [0; MARK];
        mark[..8].copy_from_slice(&ITEMS_MAGIC);
        mark[8..12].copy_from_slice(&VERSION.to_le_bytes());
        mark[12..16].copy_from_slice(&BYTE_ORDER.to_ne_bytes());
        mark[16..24].copy_from_slice(&run.to_le_bytes());
        let end = sum(&mark[..24]);
        mark[24..].copy_from_slice(&end.to_le_bytes());
        file_space(&self.items, 0, os_pages(MARK), false)
            .map_err(|e| storage("allocate the beginning of", &path, e))?;
        self.items.write_all_at(&mark, 0).map_err(|e| storage("write", &path, e))?;
        self.run = run;
        Ok(())
    }

    /// Removes what the last close left: to be done before anything in `items` is touched.
    pub(super) fn forget_state(&self) -> Result<()> {
        for name in [UNFINISHED, STATE] {
            let path = self.folder.join(name);
            match fs::remove_file(&path) {
                Err(e) if e.kind() != Io::NotFound => return Err(storage("remove", &path, e)),
                _ => {}
            }
        }
        self.sync_folder()
    }

    fn sync_folder(&self) -> Result<()> {
        File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|e| storage("sync the folder", &self.folder, e))
    }

    /// A new `state`, not yet under its name.
    pub(super) fn begin_state(&self) -> Result<File> {
        let path = self.folder.join(UNFINISHED);
        let mut open = OpenOptions::new();
        open.write(true).create(true).truncate(true).mode(0o600);
        open.open(&path).map_err(|e| storage("create", &path, e))
    }

    /// Whether the name `items` still leads to the file that was opened, at its whole length.
    pub(super) fn check_items(&self, len: u64) -> Result<()> {
        let path = self.folder.join(ITEMS);
        let there = fs::metadata(&path).map_err(|e| storage("find", &path, e))?;
        let ours = self.items.metadata().map_err(|e| storage("look at", &path, e))?;
        if (there.dev(), there.ino()) != (ours.dev(), ours.ino()) || ours.len() < len {
            let text = format!("{} was replaced or made shorter while the cache used it", path.display());
            return Err(Error::new(ErrorKind::Storage, text));
        }
        Ok(())
    }

    /// What `items` holds is on the disk.
    pub(super) fn sync_items(&self) -> Result<()> {
        self.items.sync_all().map_err(|e| storage("sync", &self.folder.join(ITEMS), e))
    }

    /// The new `state` is whole: on the disk, and under its name.
    pub(super) fn end_state(&self, state: &File) -> Result<()> {
        let (from, to) = (self.folder.join(UNFINISHED), self.folder.join(STATE));
        state.sync_all().map_err(|e| storage("sync", &from, e))?;
        fs::rename(&from, &to).map_err(|e| storage("rename", &from, e))?;
        self.sync_folder()
    }

    /// Lets the next cache have the folder. Nothing may touch `items` any more.
    pub(super) fn unlock(&self) {
        // Else it ends with the file.
        let _ = self.items.unlock();
    }

    pub(super) fn state_path(&self) -> PathBuf {
        self.folder.join(UNFINISHED)
    }
}
