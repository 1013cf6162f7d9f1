//! Reading a file of records from one end to the other, with a buffer as large as its largest record.
//!
//! What to make of bytes that are no record? A crash leaves the end of a log torn: whatever was written after the last
//! good sync may be there in part, in any order. Everything before it was whole once, so bad bytes there are damage.
//! The marks tell the two apart: each says up to where the file had been synced when it was written. So bad bytes at X
//! are a torn end unless a mark, somewhere behind them, says that the file was synced beyond X.

use super::format::{HEADER_LEN, Header, Kind, MARK_LEN, Note};
use crate::error::{Error, ErrorKind, Result};
use crate::oplog::record::{Decoded, Record, decode};
use crate::storage::StoredFile;

/// Bytes asked for at once.
const PIECE: u64 = 256 << 10;

pub(super) fn io_error(what: &str, name: &str, source: std::io::Error) -> Error {
    let full = if source.kind() == std::io::ErrorKind::StorageFull { ": the disk is full" } else { "" };
    Error::caused(ErrorKind::Storage, format!("cannot {what} {name}{full} ({source})"), source.into())
}

pub(super) fn damaged(name: &str, offset: u64, what: &str) -> Error {
    Error::new(ErrorKind::Damaged, format!("{name} is damaged at byte {offset}: {what}"))
}

/// Why a scan ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// At the end of the file, or where it was to end.
    Whole,
    /// At the trailer, which says that there are so many records.
    Trailer(u64),
    /// At bytes that are no record.
    Bad(&'static str),
    /// The caller has had enough.
    Stopped,
}

/// A file that is read.
#[derive(Debug)]
pub(super) struct Scan<'f> {
    file: &'f dyn StoredFile,
    name: &'f str,
    id: u64,
    /// Where the file, or what is to be read of it, ends.
    end: u64,
    buffer: Vec<u8>,
    /// Bytes of the buffer that were read.
    used: usize,
    /// The place in the file of what comes next.
    pub(super) offset: u64,
}

/// The header of a file, which has to be of this kind.
pub(super) fn read_header(file: &dyn StoredFile, name: &str, kind: Kind) -> Result<Header> {
    let mut bytes = [0; HEADER_LEN as usize];
    file.read_exact_at(&mut bytes, 0).map_err(|e| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => damaged(name, 0, "its header is not whole"),
        _ => io_error("read", name, e),
    })?;
    let header = Header::decode(&bytes).map_err(|what| damaged(name, 0, &what))?;
    if header.kind == kind { Ok(header) } else { Err(damaged(name, 10, "it is another kind of file")) }
}

impl<'f> Scan<'f> {
    pub(super) fn new(file: &'f dyn StoredFile, name: &'f str, id: u64, from: u64, end: u64) -> Scan<'f> {
        Scan { file, name, id, end, buffer: Vec::new(), used: 0, offset: from }
    }

    /// Reads on, until so many bytes more are there, or the end is.
    fn fill(&mut self, more: u64) -> Result<bool> {
        self.buffer.drain(..self.used);
        self.used = 0;
        let have = self.buffer.len() as u64;
        let left = self.end.saturating_sub(self.offset + have);
        let wanted = more.max(PIECE).min(left);
        if wanted == 0 {
            return Ok(false);
        }
        // The file has them, so memory for them is not asked for in vain.
        let len = usize::try_from(wanted).map_err(|_| damaged(self.name, self.offset, "too long"))?;
        self.buffer.resize(have as usize + len, 0);
        let read = self.file.read_exact_at(&mut self.buffer[have as usize..], self.offset + have);
        read.map_err(|e| io_error("read", self.name, e))?;
        Ok(true)
    }

    /// Shows every record to `each`, with its place and its bytes, until that says false or they end.
    pub(super) fn run(&mut self, mut each: impl FnMut(u64, Record<'_>, &[u8]) -> Result<bool>) -> Result<End> {
        loop {
            let rest = &self.buffer[self.used..];
            if rest.is_empty() {
                if self.fill(1)? {
                    continue;
                }
                return Ok(End::Whole);
            }
            if rest[0] == 0 {
                match Note::decode(rest, self.id, self.offset) {
                    Some(Note::Mark(_)) => self.skip(MARK_LEN),
                    Some(Note::Trailer(count)) => {
                        self.skip(MARK_LEN);
                        return Ok(End::Trailer(count));
                    }
                    None if rest.len() < MARK_LEN && self.fill(MARK_LEN as u64)? => {}
                    None => return Ok(End::Bad("neither a record nor a mark begins here")),
                }
                continue;
            }
            match decode(rest) {
                Decoded::Record(record, len) => {
                    if !each(self.offset, record, &rest[..len])? {
                        return Ok(End::Stopped);
                    }
                    self.skip(len);
                }
                Decoded::Incomplete(more) => {
                    let left = self.end - self.offset - rest.len() as u64;
                    if more > left || !self.fill(more)? {
                        return Ok(End::Bad("the file ends within a record"));
                    }
                }
                Decoded::Damaged(what) => return Ok(End::Bad(what)),
            }
        }
    }

    fn skip(&mut self, len: usize) {
        self.used += len;
        self.offset += len as u64;
    }
}

/// Up to where the file had been synced, as the marks from `from` on say.
pub(super) fn synced_beyond(file: &dyn StoredFile, name: &str, id: u64, from: u64, end: u64) -> Result<u64> {
    let (mut synced, mut at) = (0, from);
    let mut buffer = Vec::new();
    while at + MARK_LEN as u64 <= end {
        let len = (end - at).min(PIECE) as usize;
        buffer.resize(len, 0);
        file.read_exact_at(&mut buffer, at).map_err(|e| io_error("read", name, e))?;
        for i in 0..=len - MARK_LEN {
            if buffer[i] == 0
                && let Some(Note::Mark(to)) = Note::decode(&buffer[i..], id, at + i as u64)
            {
                synced = to.max(synced);
            }
        }
        // A mark may lie across the end of what was read.
        at += (len - MARK_LEN + 1) as u64;
    }
    Ok(synced)
}
