//! Where files are: the one thing that larder asks of a file system, so that programs can bring their own, and tests a
//! disk that fails when they say so.
//!
//! | file | what |
//! |---|---|
//! | `files` | a directory of the file system |
//! | `memory` | nothing but memory |
//! | `simulated` | a disk for tests: it loses what was not synced, tears it, and fails on demand |
//! | `checksum` | CRC-32C, of all that is written |
//!
//! What a storage promises, and what is built on no more than that:
//! 1. Written bytes can be read at once. They outlast a crash when [`StoredFile::sync`] has returned without an error;
//!    until then any part of them may be there after it, or not.
//! 2. A name outlasts a crash when [`Storage::sync_dir`] has returned without an error. A rename is there whole or not
//!    at all, and replaces what had the name.
//! 3. When a sync has failed, what was written since the last good one may be lost, whatever later syncs say.

mod checksum;
mod files;
mod memory;
mod simulated;

use std::fmt::Debug;
use std::io::{Error, ErrorKind, Result};

pub(crate) use checksum::crc32c;
pub use files::Files;
pub use memory::Memory;
#[doc(hidden)]
pub use simulated::{Call, CallKind, Fault, SimulatedDisk};

/// A flat set of named files.
///
/// Names are short: letters, digits, and `.`, `-`, `_`. Implementations are called by several threads, never under a
/// lock of a cache, and may block.
///
/// # Examples
/// ```
/// use larder::storage::{Memory, Storage};
/// let storage = Memory::new();
/// let file = storage.create("a")?;
/// file.write_all_at(b"hello", 0)?;
/// file.sync()?;
/// storage.sync_dir()?;
/// storage.rename("a", "b")?;
/// assert_eq!(storage.read("b")?, b"hello");
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Storage: Send + Sync + Debug {
    /// A new file, empty. One of this name that is there is emptied.
    ///
    /// # Errors
    /// Whatever the system says.
    fn create(&self, name: &str) -> Result<Box<dyn StoredFile>>;

    /// A file that is there, for reading and writing (for reading, where writing is not allowed).
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none; whatever else the system says.
    fn open(&self, name: &str) -> Result<Box<dyn StoredFile>>;

    /// Gives a file another name, in place of a file that has it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none; whatever else the system says.
    fn rename(&self, from: &str, to: &str) -> Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none; whatever else the system says.
    fn remove(&self, name: &str) -> Result<()>;

    /// The names of all files, in order.
    ///
    /// # Errors
    /// Whatever the system says.
    fn list(&self) -> Result<Vec<String>>;

    /// Makes all names outlast a crash as they are now.
    ///
    /// # Errors
    /// Whatever the system says.
    fn sync_dir(&self) -> Result<()>;

    /// All of a file.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    fn read(&self, name: &str) -> Result<Vec<u8>> {
        let file = self.open(name)?;
        let len = usize::try_from(file.len()?).map_err(|_| Error::from(ErrorKind::FileTooLarge))?;
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Writes a file so that it is there whole or not at all, whatever happens: under a temporary name (with `.new`
    /// added), synced, renamed, and the names synced.
    ///
    /// # Errors
    /// Whatever the system says. What had the name is still there then, or this is.
    fn replace(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let temporary = format!("{name}.new");
        let file = self.create(&temporary)?;
        file.write_all_at(bytes, 0)?;
        file.sync()?;
        self.rename(&temporary, name)?;
        self.sync_dir()
    }
}

/// An open file.
///
/// # Examples
/// See [`Storage`].
pub trait StoredFile: Send + Sync + Debug {
    /// Its length in bytes.
    ///
    /// # Errors
    /// Whatever the system says.
    fn len(&self) -> Result<u64>;

    /// Whether it has no bytes.
    ///
    /// # Errors
    /// Whatever the system says.
    fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads bytes from `offset` on: some of those asked for, and none only at the end of the file.
    ///
    /// # Errors
    /// Whatever the system says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize>;

    /// Writes bytes from `offset` on, and says how many: perhaps not all. Beyond the end, the file grows; a hole has
    /// zeros.
    ///
    /// # Errors
    /// Whatever the system says. Some of the bytes may have been written then.
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<usize>;

    /// Cuts the file to a length, or adds zeros up to it.
    ///
    /// # Errors
    /// Whatever the system says.
    fn truncate(&self, len: u64) -> Result<()>;

    /// Makes all bytes outlast a crash that were written before the call.
    ///
    /// # Errors
    /// Whatever the system says. What was written since the last good sync is not to be trusted any more then.
    fn sync(&self) -> Result<()>;

    /// Takes the file for this handle alone, until it is dropped; false if another handle has it, of this process or
    /// another. A storage that knows no locks says true.
    ///
    /// # Errors
    /// Whatever the system says.
    fn try_lock(&self) -> Result<bool> {
        Ok(true)
    }

    /// Reads as many bytes as the buffer holds.
    ///
    /// # Errors
    /// [`ErrorKind::UnexpectedEof`] if there are not so many; whatever else the system says.
    fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> Result<()> {
        while !buffer.is_empty() {
            match self.read_at(buffer, offset) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    buffer = &mut buffer[n..];
                    offset += n as u64;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Writes all bytes.
    ///
    /// # Errors
    /// Whatever the system says. Some of the bytes may have been written then.
    fn write_all_at(&self, mut bytes: &[u8], mut offset: u64) -> Result<()> {
        while !bytes.is_empty() {
            match self.write_at(bytes, offset) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => {
                    bytes = bytes.get(n..).unwrap_or_default();
                    offset += n as u64;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// What a name that no storage takes is told.
fn check_name(name: &str) -> Result<()> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b);
    if name.is_empty() || name.len() > 200 || name.starts_with('.') || !name.bytes().all(allowed) {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!(
                "{name:?} is no file name here: up to 200 letters, digits, '.', '-' and '_', not beginning with '.'"
            ),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What every storage does.
    fn behaves(storage: &dyn Storage) {
        assert_eq!(storage.list().unwrap(), Vec::<String>::new());
        assert_eq!(storage.open("a").unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(storage.remove("a").unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(storage.rename("a", "b").unwrap_err().kind(), ErrorKind::NotFound);
        for bad in ["", "a/b", "../a", ".a", "a b", "ä"] {
            assert_eq!(storage.create(bad).unwrap_err().kind(), ErrorKind::InvalidInput, "{bad:?}");
        }
        let file = storage.create("a").unwrap();
        assert!(file.is_empty().unwrap());
        file.write_all_at(b"hello world", 0).unwrap();
        file.write_all_at(b"W", 6).unwrap();
        file.write_all_at(b"!", 13).unwrap();
        file.sync().unwrap();
        assert_eq!(storage.read("a").unwrap(), b"hello World\0\0!");
        let mut buffer = [0; 5];
        file.read_exact_at(&mut buffer, 6).unwrap();
        assert_eq!(&buffer, b"World");
        assert_eq!(file.read_exact_at(&mut buffer, 10).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        assert_eq!(file.read_at(&mut buffer, 99).unwrap(), 0);
        file.truncate(5).unwrap();
        file.truncate(6).unwrap();
        assert_eq!(storage.read("a").unwrap(), b"hello\0");

        assert!(file.try_lock().unwrap());
        assert!(!storage.open("a").unwrap().try_lock().unwrap());
        drop(file);
        assert!(storage.open("a").unwrap().try_lock().unwrap());

        storage.replace("b", b"1").unwrap();
        storage.replace("b", b"2").unwrap();
        assert_eq!(
            (storage.read("b").unwrap(), storage.list().unwrap()),
            (b"2".to_vec(), vec!["a".into(), "b".into()])
        );
        storage.rename("a", "b").unwrap();
        assert_eq!((storage.read("b").unwrap(), storage.list().unwrap()), (b"hello\0".to_vec(), vec!["b".into()]));
        storage.create("b").unwrap();
        assert_eq!(storage.read("b").unwrap(), b"");
        storage.remove("b").unwrap();
        storage.sync_dir().unwrap();
        assert_eq!(storage.list().unwrap(), Vec::<String>::new());
    }

    #[test]
    fn all_storages_behave_alike() {
        behaves(&Memory::new());
        behaves(&SimulatedDisk::new(1));
        let folder = std::env::temp_dir().join(format!("larder-storage-{}", std::process::id()));
        behaves(&Files::new(&folder).unwrap());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
