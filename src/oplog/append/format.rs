//! What is in the files beside records: headers, marks, trailers, and the manifest. `docs/log-format.md` has all of it
//! byte by byte.
//!
//! ```text
//!  header (32)  ┌──────────┬─────────┬──────┬─┬──────────┬─────────┬──────────────┐
//!               │ magic 8  │ version │ kind │0│ checksum │ file id │ first number │
//!               └──────────┴─2───────┴─1────┴1┴─4────────┴─8───────┴─8────────────┘
//!  mark (17)    ┌───┬──────┬────────────────┬──────────┐
//!  trailer (17) │ 0 │ word │ synced / count │ checksum │     no record begins with 0: its length is not 0
//!               └─1─┴─4────┴─8──────────────┴─4────────┘
//! ```
//! The checksum of a mark covers the file's id and the mark's own place too, so that bytes that came from elsewhere, as
//! part of a value, say, are no mark.

use crate::error::{Error, ErrorKind, Result};
use crate::storage::crc32c;

pub(super) const HEADER_LEN: u64 = 32;
pub(super) const MARK_LEN: usize = 17;
const MAGIC: &[u8; 8] = b"larderlg";
const VERSION: u16 = 1;
const MARK: &[u8; 5] = b"\0LMRK";
const TRAILER: &[u8; 5] = b"\0LEND";

/// The name of the manifest, of the file that is locked, and of temporary files.
pub(super) const MANIFEST: &str = "larder.manifest";
pub(super) const LOCK: &str = "larder.lock";

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Log = 1,
    Base = 2,
}

/// The first bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) id: u64,
    /// Number of the first record of a log; of a base, the number at which it was begun.
    pub(super) first: u64,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_LEN as usize] {
        let mut bytes = [0; HEADER_LEN as usize];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10] = self.kind as u8;
        bytes[16..24].copy_from_slice(&self.id.to_le_bytes());
        bytes[24..].copy_from_slice(&self.first.to_le_bytes());
        let checksum = crc32c(0, &bytes);
        bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; HEADER_LEN as usize]) -> std::result::Result<Header, String> {
        if &bytes[..8] != MAGIC {
            return Err("it does not begin as a log of larder does".to_owned());
        }
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        if version != VERSION {
            return Err(format!("it has version {version} of the format, and this is for version {VERSION}"));
        }
        let mut unsigned = *bytes;
        unsigned[12..16].fill(0);
        if crc32c(0, &unsigned).to_le_bytes() != bytes[12..16] {
            return Err("the header's checksum is wrong".to_owned());
        }
        let kind = match bytes[10] {
            1 => Kind::Log,
            2 => Kind::Base,
            other => return Err(format!("{other} is no kind of file")),
        };
        Ok(Header { kind, id: number_at(bytes, 16), first: number_at(bytes, 24) })
    }
}

fn number_at(bytes: &[u8], at: usize) -> u64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(eight)
}

/// A note among the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Note {
    /// When this was written, the file had been synced up to here.
    Mark(u64),
    /// The end of a base, which has so many records.
    Trailer(u64),
}

impl Note {
    fn checksum(id: u64, offset: u64, bytes: &[u8]) -> [u8; 4] {
        crc32c(crc32c(crc32c(0, &id.to_le_bytes()), &offset.to_le_bytes()), bytes).to_le_bytes()
    }

    /// The note as it is at `offset` of the file with this id.
    pub(super) fn encode(self, id: u64, offset: u64) -> [u8; MARK_LEN] {
        let (word, number) = match self {
            Note::Mark(synced) => (MARK, synced),
            Note::Trailer(count) => (TRAILER, count),
        };
        let mut bytes = [0; MARK_LEN];
        bytes[..5].copy_from_slice(word);
        bytes[5..13].copy_from_slice(&number.to_le_bytes());
        let checksum = Note::checksum(id, offset, &bytes[..13]);
        bytes[13..].copy_from_slice(&checksum);
        bytes
    }

    /// The note that begins here, if one does.
    pub(super) fn decode(bytes: &[u8], id: u64, offset: u64) -> Option<Note> {
        let bytes = bytes.get(..MARK_LEN)?;
        if Note::checksum(id, offset, &bytes[..13]) != bytes[13..] {
            return None;
        }
        match &bytes[..5] {
            word if word == MARK => Some(Note::Mark(number_at(bytes, 5))),
            word if word == TRAILER => Some(Note::Trailer(number_at(bytes, 5))),
            _ => None,
        }
    }
}

/// The files that are the log, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Manifest {
    /// Number of the base, and the position at which it was begun.
    pub(super) base: Option<(u64, u64)>,
    /// Numbers of the logs, and of their first records.
    pub(super) logs: Vec<(u64, u64)>,
}

pub(super) fn base_name(number: u64) -> String {
    format!("larder-{number}.base")
}

pub(super) fn log_name(number: u64) -> String {
    format!("larder-{number}.log")
}

/// The number of a file of a log, if this is the name of one.
pub(super) fn number_of(name: &str) -> Option<u64> {
    let middle = name.strip_prefix("larder-")?;
    middle.strip_suffix(".log").or_else(|| middle.strip_suffix(".base"))?.parse().ok()
}

const FIRST_LINE: &str = "larder-log 1";

impl Manifest {
    pub(super) fn encode(&self) -> String {
        let base = self.base.map(|(number, position)| format!("base {number} {position}\n"));
        let logs: String = self.logs.iter().map(|(number, first)| format!("log {number} {first}\n")).collect();
        let text = format!("{FIRST_LINE}\n{}{logs}", base.unwrap_or_default());
        format!("{text}end {:08x}\n", crc32c(0, text.as_bytes()))
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Manifest> {
        let damaged = |what: &str| Error::new(ErrorKind::Damaged, format!("{MANIFEST} is damaged: {what}"));
        let text = std::str::from_utf8(bytes).map_err(|e| damaged(&format!("no text at byte {}", e.valid_up_to())))?;
        let end = text.rfind("end ").ok_or_else(|| damaged("the last line is missing"))?;
        let (text, last) = text.split_at(end);
        if last != format!("end {:08x}\n", crc32c(0, text.as_bytes())) {
            return Err(damaged("the checksum is wrong"));
        }
        let mut lines = text.lines();
        if lines.next() != Some(FIRST_LINE) {
            return Err(damaged("it is of a version that this one does not know"));
        }
        let mut manifest = Manifest::default();
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            let numbers = match words[..] {
                [_, number, first] => number.parse().ok().zip(first.parse().ok()),
                _ => None,
            };
            match (words[0], numbers) {
                ("base", Some(numbers)) if manifest.base.is_none() => manifest.base = Some(numbers),
                ("log", Some(numbers)) => manifest.logs.push(numbers),
                _ => return Err(damaged(&format!("the line {line:?}"))),
            }
        }
        if manifest.logs.is_empty() {
            return Err(damaged("it names no log"));
        }
        Ok(manifest)
    }

    pub(super) fn names(&self) -> Vec<String> {
        let base = self.base.map(|(number, _)| base_name(number));
        base.into_iter().chain(self.logs.iter().map(|&(number, _)| log_name(number))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_notes_come_back_and_flipped_ones_do_not() {
        let header = Header { kind: Kind::Base, id: 7, first: 1 << 40 };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Ok(header));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&bad).is_err());
        }
        for note in [Note::Mark(99), Note::Trailer(3)] {
            let bytes = note.encode(7, 500);
            assert_eq!(Note::decode(&bytes, 7, 500), Some(note));
            assert_eq!((Note::decode(&bytes, 8, 500), Note::decode(&bytes, 7, 501)), (None, None));
            for bit in 0..bytes.len() * 8 {
                let mut bad = bytes;
                bad[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Note::decode(&bad, 7, 500), None);
            }
        }
    }

    #[test]
    fn manifests_come_back_and_changed_ones_do_not() {
        let manifest = Manifest { base: Some((3, 1042)), logs: vec![(3, 1042), (4, 2000)] };
        let text = manifest.encode();
        assert_eq!(Manifest::decode(text.as_bytes()).unwrap(), manifest);
        for at in 0..text.len() {
            let mut bad = text.clone().into_bytes();
            bad[at] ^= 1;
            assert_eq!(Manifest::decode(&bad).unwrap_err().kind(), ErrorKind::Damaged, "byte {at}");
            assert!(Manifest::decode(&text.as_bytes()[..at]).is_err());
        }
    }
}
