//! A directory of the file system. Reads and writes name their place, so handles have no position; nothing is ever
//! mapped into memory.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Result};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{Storage, StoredFile, check_name};

/// The files of one directory.
///
/// # Examples
/// ```
/// use larder::storage::{Files, Storage};
/// let folder = std::env::temp_dir().join(format!("larder-doc-{}", std::process::id()));
/// let storage = Files::new(&folder)?;
/// storage.replace("greeting", b"hello")?;
/// assert_eq!(std::fs::read(folder.join("greeting"))?, b"hello");
/// # std::fs::remove_dir_all(folder)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Files {
    folder: PathBuf,
}

impl Files {
    /// The directory at `folder`, which is made if it is not there.
    ///
    /// # Errors
    /// Whatever the system says.
    ///
    /// # Examples
    /// See [`Files`].
    pub fn new(folder: impl AsRef<Path>) -> Result<Files> {
        let folder = folder.as_ref().to_path_buf();
        fs::create_dir_all(&folder)?;
        Ok(Files { folder })
    }

    fn path(&self, name: &str) -> Result<PathBuf> {
        check_name(name)?;
        Ok(self.folder.join(name))
    }
}

impl Storage for Files {
    fn create(&self, name: &str) -> Result<Box<dyn StoredFile>> {
        let path = self.path(name)?;
        Ok(Box::new(OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?))
    }

    fn open(&self, name: &str) -> Result<Box<dyn StoredFile>> {
        let path = self.path(name)?;
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Err(e) if matches!(e.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => {
                File::open(path)?
            }
            opened => opened?,
        };
        Ok(Box::new(file))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        fs::rename(self.path(from)?, self.path(to)?)
    }

    fn remove(&self, name: &str) -> Result<()> {
        fs::remove_file(self.path(name)?)
    }

    fn list(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            // What this storage cannot have made is none of its business.
            if entry.file_type()?.is_file()
                && let Ok(name) = entry.file_name().into_string()
                && check_name(&name).is_ok()
            {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn sync_dir(&self) -> Result<()> {
        File::open(&self.folder)?.sync_all()
    }
}

impl StoredFile for File {
    fn len(&self) -> Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<usize> {
        FileExt::write_at(self, bytes, offset)
    }

    fn truncate(&self, len: u64) -> Result<()> {
        self.set_len(len)
    }

    fn sync(&self) -> Result<()> {
        self.sync_data()
    }

    fn try_lock(&self) -> Result<bool> {
        match File::try_lock(self) {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }
}
