//! A snapshot on its way in: kept until it is whole, and put in place only then.

use std::sync::Arc;

use crate::api::{Cache, Charge};
use crate::error::{Error, ErrorKind, Result};
use crate::snapshot::RestoreOptions;
use crate::storage::{Memory, Storage, StoredFile, crc32c};

/// Bytes by which the charge for a snapshot in memory grows.
const STEP: u64 = 64 << 10;

/// What was received of a snapshot. Dropping it removes that.
#[derive(Debug)]
pub(super) struct Staged {
    storage: Arc<dyn Storage>,
    name: String,
    file: Option<Box<dyn StoredFile>>,
    pub(super) position: u64,
    len: u64,
    checksum: u32,
    /// On the ledger, where it is kept in memory.
    charge: Option<Charge>,
}

fn failed(doing: &str, error: std::io::Error) -> Error {
    Error::caused(ErrorKind::Storage, format!("cannot {doing} the snapshot of a full sync: {error}"), error.into())
}

/// A name for files that any storage takes.
fn file_name(replica: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    format!("sync-{}-{:08x}", replica.chars().take(60).map(plain).collect::<String>(), crc32c(0, replica.as_bytes()))
}

impl Staged {
    pub(super) fn begin(
        cache: &Cache,
        storage: Option<&Arc<dyn Storage>>,
        replica: &str,
        position: u64,
    ) -> Result<Staged> {
        let charge = if storage.is_none() { Some(cache.charge(0)?) } else { None };
        let storage = storage.cloned().unwrap_or_else(|| Arc::new(Memory::new()));
        let name = file_name(replica);
        let file = Some(storage.create(&name).map_err(|e| failed("begin", e))?);
        Ok(Staged { storage, name, file, position, len: 0, checksum: 0, charge })
    }

    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<()> {
        let end = self.len + bytes.len() as u64;
        if let Some(charge) = &mut self.charge
            && end > charge.bytes()
        {
            // Twice: a buffer in memory that grows is copied.
            charge.resize(end.next_multiple_of(STEP).saturating_mul(2))?;
        }
        if let Some(file) = &self.file {
            file.write_all_at(bytes, self.len).map_err(|e| failed("write", e))?;
        }
        self.checksum = crc32c(self.checksum, bytes);
        self.len = end;
        Ok(())
    }

    /// Puts it in place, if it is what was sent. Until it has been verified as a whole the cache is as it was.
    pub(super) fn finish(mut self, cache: &Cache, len: u64, checksum: u32) -> Result<()> {
        if (self.len, self.checksum) != (len, checksum) {
            return Err(Error::new(
                ErrorKind::Damaged,
                format!("{} bytes of a snapshot came where {len} were sent, or others", self.len),
            ));
        }
        self.file = None;
        cache.restore_any(&*self.storage, &self.name, &RestoreOptions::new(), |_| {}).map(|_| ())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        self.file = None;
        // Whatever is left is overwritten by the next one.
        let _ = self.storage.remove(&self.name);
    }
}
