//! Files in memory: for tests, and for what need not outlast the process.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use parking_lot::Mutex;

use super::{Storage, StoredFile, check_name};

/// Files in memory, which is on no cache's ledger. Clones are the same files.
///
/// # Examples
/// ```
/// use larder::storage::{Memory, Storage};
/// let storage = Memory::new();
/// let again = storage.clone();
/// storage.replace("a", b"1")?;
/// assert_eq!(again.read("a")?, b"1");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Memory(Arc<Mutex<BTreeMap<String, Arc<Contents>>>>);

#[derive(Debug, Default)]
struct Contents {
    bytes: Mutex<Vec<u8>>,
    locked: AtomicBool,
}

/// A handle.
#[derive(Debug)]
struct MemoryFile {
    contents: Arc<Contents>,
    has_lock: AtomicBool,
}

impl MemoryFile {
    fn boxed(contents: Arc<Contents>) -> Box<dyn StoredFile> {
        Box::new(MemoryFile { contents, has_lock: AtomicBool::new(false) })
    }
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        if *self.has_lock.get_mut() {
            self.contents.locked.store(false, SeqCst);
        }
    }
}

impl Memory {
    /// No files yet.
    ///
    /// # Examples
    /// See [`Memory`].
    pub fn new() -> Memory {
        Memory::default()
    }
}

impl Storage for Memory {
    fn create(&self, name: &str) -> Result<Box<dyn StoredFile>> {
        check_name(name)?;
        let contents = Arc::clone(self.0.lock().entry(name.to_owned()).or_default());
        contents.bytes.lock().clear();
        Ok(MemoryFile::boxed(contents))
    }

    fn open(&self, name: &str) -> Result<Box<dyn StoredFile>> {
        let contents = self.0.lock().get(name).map(Arc::clone).ok_or(ErrorKind::NotFound)?;
        Ok(MemoryFile::boxed(contents))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        check_name(to)?;
        let mut files = self.0.lock();
        let contents = files.remove(from).ok_or(ErrorKind::NotFound)?;
        files.insert(to.to_owned(), contents);
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.0.lock().remove(name).map(drop).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn list(&self) -> Result<Vec<String>> {
        Ok(self.0.lock().keys().cloned().collect())
    }

    fn sync_dir(&self) -> Result<()> {
        Ok(())
    }
}

/// Copies bytes out of a file's, from `offset` on.
pub(super) fn read_from(bytes: &[u8], buffer: &mut [u8], offset: u64) -> usize {
    let rest = usize::try_from(offset).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
    let n = rest.len().min(buffer.len());
    buffer[..n].copy_from_slice(&rest[..n]);
    n
}

/// Copies bytes into a file's, from `offset` on.
pub(super) fn write_into(file: &mut Vec<u8>, bytes: &[u8], offset: u64) -> Result<()> {
    let at = usize::try_from(offset).map_err(|_| ErrorKind::FileTooLarge)?;
    let end = at.checked_add(bytes.len()).ok_or(ErrorKind::FileTooLarge)?;
    if file.len() < end {
        file.resize(end, 0);
    }
    file[at..end].copy_from_slice(bytes);
    Ok(())
}

impl StoredFile for MemoryFile {
    fn len(&self) -> Result<u64> {
        Ok(self.contents.bytes.lock().len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        Ok(read_from(&self.contents.bytes.lock(), buffer, offset))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<usize> {
        write_into(&mut self.contents.bytes.lock(), bytes, offset)?;
        Ok(bytes.len())
    }

    fn truncate(&self, len: u64) -> Result<()> {
        let len = usize::try_from(len).map_err(|_| ErrorKind::FileTooLarge)?;
        self.contents.bytes.lock().resize(len, 0);
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn try_lock(&self) -> Result<bool> {
        let taken = !self.contents.locked.swap(true, SeqCst);
        self.has_lock.fetch_or(taken, SeqCst);
        Ok(taken)
    }
}
