//! Writing a base: all that is in a cache, while the log goes on in a new file.
//!
//! ```text
//!  before      base 3, log 3                    begun: log 4 takes what comes from now on
//!  meanwhile   base 3, log 3, log 4   base 4 is being written, named nowhere
//!  after       base 4, log 4                    finished: base 3 and log 3 are removed
//! ```
//! Each line is one manifest, written under another name, synced, and renamed. Whatever is there after a crash is one
//! of them, and the files that it names are whole up to their synced ends.

use std::sync::Arc;

use super::Inner;
use super::format::{HEADER_LEN, Header, Kind, Note, base_name};
use super::scan::io_error;
use crate::error::{Error, ErrorKind, Result};
use crate::oplog::BaseWriter;
use crate::oplog::record::{Decoded, decode};
use crate::storage::StoredFile;

/// Bytes after which what was written so far is synced, so that the last sync is not a long one.
const SYNC_EVERY: u64 = 8 << 20;

/// See the module.
#[derive(Debug)]
pub(super) struct BaseFile {
    log: Arc<Inner>,
    file: Box<dyn StoredFile>,
    number: u64,
    id: u64,
    position: u64,
    len: u64,
    synced: u64,
    count: u64,
    has_failed: bool,
    /// A manifest may name it: it stays.
    is_named: bool,
}

impl BaseFile {
    pub(super) fn begin(log: &Arc<Inner>, number: u64, position: u64) -> Result<BaseFile> {
        let (name, id) = (base_name(number), log.file_id(number, Kind::Base));
        let file = log.storage().create(&name).map_err(|e| io_error("create", &name, e))?;
        let header = Header { kind: Kind::Base, id, first: position }.encode();
        file.write_all_at(&header, 0).map_err(|e| io_error("write to", &name, e))?;
        Ok(BaseFile {
            log: Arc::clone(log),
            file,
            number,
            id,
            position,
            len: HEADER_LEN,
            synced: 0,
            count: 0,
            has_failed: false,
            is_named: false,
        })
    }

    fn name(&self) -> String {
        base_name(self.number)
    }

    fn add(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all_at(bytes, self.len).map_err(|e| io_error("write to", &self.name(), e))?;
        self.len += bytes.len() as u64;
        if self.len - self.synced >= SYNC_EVERY {
            self.sync()?;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        self.file.sync().map_err(|e| io_error("sync", &self.name(), e))?;
        self.synced = self.len;
        Ok(())
    }

    fn complete(&mut self) -> Result<()> {
        let trailer = Note::Trailer(self.count).encode(self.id, self.len);
        self.add(&trailer)?;
        self.sync()?;
        self.log.adopt_base(self.number, self.position, self.len, &mut self.is_named)
    }
}

impl BaseWriter for BaseFile {
    fn write(&mut self, records: &[u8]) -> Result<()> {
        if self.has_failed {
            return Err(Error::new(ErrorKind::Storage, "this base has failed before; begin another one"));
        }
        let mut rest = records;
        while let Decoded::Record(_, len) = decode(rest) {
            self.count += 1;
            rest = &rest[len..];
        }
        let written = self.add(records);
        self.has_failed = written.is_err();
        written
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        if self.has_failed {
            return Err(Error::new(ErrorKind::Storage, "this base has failed before; begin another one"));
        }
        self.complete()
    }
}

impl Drop for BaseFile {
    fn drop(&mut self) {
        self.log.end_base(self.number, self.is_named);
    }
}
