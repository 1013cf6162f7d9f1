//! The layout of a snapshot file: every offset is computed from the one before. `docs/snapshot-format.md` has it in
//! words.
//!
//! ```text
//! ┌────────┬─────────────┬───────┬───────┬─ ─ ─┬───────┬───────────────┬────────┐
//! │ header │ description │ items │ items │     │ items │ section table │ footer │
//! │   64   │   a block   │ block │ block │     │ block │    a block    │   64   │
//! └────────┴─────────────┴───────┴───────┴─ ─ ─┴───────┴───────────────┴────────┘
//!                         └── a section ──┘ ...
//!  block   ┌──────┬───────┬──────┬─────────┬────────────┬───────┬──────────┬──────────────┐
//!          │ kind │ flags │ zero │ raw len │ stored len │ items │ checksum │ stored bytes │
//!          │  1   │   1   │  2   │    4    │     4      │   4   │    8     │  stored len  │
//!          └──────┴───────┴──────┴─────────┴────────────┴───────┴──────────┴──────────────┘
//! ```
//! Invariants:
//! 1. Numbers are little-endian, whatever the machine.
//! 2. Every byte of a file is under a checksum: header and footer each under their own, a block's head and stored bytes
//!    under the block's. The checksums of blocks depend on where the block is, so that none can take another's place.
//! 3. A file without its footer is no snapshot: the footer is written last, and says how long the file is.

use super::damage::{Damage, damaged};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// The version that is written. Newer ones are refused, older ones read.
pub(crate) const VERSION: u16 = 1;

const MAGIC: [u8; 8] = *b"LARDSNAP";
const END_MAGIC: [u8; 8] = *b"LARDDONE";
/// Read on a machine of the other byte order it would be another number.
const BYTE_ORDER: u32 = 0x0a0b_0c0d;

const AT_VERSION: usize = MAGIC.len();
const AT_HEADER_LEN: usize = AT_VERSION + 2;
const AT_ORDER: usize = AT_HEADER_LEN + 2;
const AT_COMPRESSION: usize = AT_ORDER + 4;
const AT_RESERVED: usize = AT_COMPRESSION + 1;
const AT_TAKEN: usize = AT_RESERVED + 7;
const AT_POSITION: usize = AT_TAKEN + 8;
const AT_TOKEN: usize = AT_POSITION + 8;
const AT_UNUSED: usize = AT_TOKEN + 8;
const AT_HEADER_SUM: usize = AT_UNUSED + 8;
/// Bytes of the header.
pub(crate) const HEADER_LEN: usize = AT_HEADER_SUM + 8;
const _: () = assert!(HEADER_LEN == 64);

const AT_FLAGS: usize = 1;
const AT_ZERO: usize = AT_FLAGS + 1;
const AT_RAW: usize = AT_ZERO + 2;
const AT_STORED: usize = AT_RAW + 4;
const AT_ITEMS: usize = AT_STORED + 4;
const AT_BLOCK_SUM: usize = AT_ITEMS + 4;
/// Bytes of a block before those it stores.
pub(crate) const BLOCK_HEAD: usize = AT_BLOCK_SUM + 8;
const _: () = assert!(BLOCK_HEAD == 24);

const AT_TABLE: usize = END_MAGIC.len();
const AT_TABLE_LEN: usize = AT_TABLE + 8;
const AT_ALL_ITEMS: usize = AT_TABLE_LEN + 8;
const AT_PAYLOAD: usize = AT_ALL_ITEMS + 8;
const AT_MEMORY: usize = AT_PAYLOAD + 8;
const AT_END_POSITION: usize = AT_MEMORY + 8;
const AT_FOOTER_SUM: usize = AT_END_POSITION + 8;
/// Bytes of the footer.
pub(crate) const FOOTER_LEN: usize = AT_FOOTER_SUM + 8;
const _: () = assert!(FOOTER_LEN == 64);

/// Bytes of a section in the table.
pub(crate) const SECTION_LEN: usize = 8 + 8 + 8;

/// The most bytes that a block may stand for: an item of the largest page, with room to spare.
pub(crate) const MAX_RAW: usize = 8 << 20;
/// Bytes of a large value in one block.
pub(crate) const PIECE: usize = 256 << 10;
/// A section is ended by the first block that takes it here, unless that would part a large item.
pub(crate) const SECTION_TARGET: u64 = 4 << 20;

/// How blocks are compressed.
///
/// # Examples
/// ```
/// use larder::snapshot::{Compression, SnapshotOptions};
/// let options = SnapshotOptions::new().compression(Compression::None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// LZ4, quick: needs the feature `lz4`, for writing and for reading.
    Lz4,
    /// Zstandard at its quickest levels, smaller: needs the feature `zstd`, for writing and for reading.
    Zstd,
}

impl Compression {
    fn code(self) -> u8 {
        match self {
            Compression::None => 0,
            Compression::Lz4 => 1,
            Compression::Zstd => 2,
        }
    }

    fn from_code(code: u8) -> Option<Compression> {
        match code {
            0 => Some(Compression::None),
            1 => Some(Compression::Lz4),
            2 => Some(Compression::Zstd),
            _ => None,
        }
    }
}

fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    bytes[at..at + field.len()].copy_from_slice(field);
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_le_bytes)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// The first bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) compression: Compression,
    /// Unix time in milliseconds of the moment that it shows.
    pub(crate) taken_ms: u64,
    /// Where the log was at that moment; 0 without one.
    pub(crate) log_position: u64,
    /// The highest check-and-set token that had been given.
    pub(crate) highest_token: u64,
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        put(&mut bytes, 0, &MAGIC);
        put(&mut bytes, AT_VERSION, &VERSION.to_le_bytes());
        put(&mut bytes, AT_HEADER_LEN, &(HEADER_LEN as u16).to_le_bytes());
        put(&mut bytes, AT_ORDER, &BYTE_ORDER.to_le_bytes());
        bytes[AT_COMPRESSION] = self.compression.code();
        put(&mut bytes, AT_TAKEN, &self.taken_ms.to_le_bytes());
        put(&mut bytes, AT_POSITION, &self.log_position.to_le_bytes());
        put(&mut bytes, AT_TOKEN, &self.highest_token.to_le_bytes());
        let sum = xxh3_64(&bytes[..AT_HEADER_SUM]);
        put(&mut bytes, AT_HEADER_SUM, &sum.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Header, Damage> {
        if bytes[..MAGIC.len()] != MAGIC {
            return damaged(0_u64, "this is no snapshot: it does not begin with LARDSNAP");
        }
        if u64_at(bytes, AT_HEADER_SUM) != xxh3_64(&bytes[..AT_HEADER_SUM]) {
            return damaged(0_u64, "the header's checksum is wrong");
        }
        let version = u16_at(bytes, AT_VERSION);
        if version == 0 || version > VERSION {
            let what = format!("version {version} is not known here: this build reads up to {VERSION}");
            return damaged(AT_VERSION, what);
        }
        if usize::from(u16_at(bytes, AT_HEADER_LEN)) != HEADER_LEN || u32_at(bytes, AT_ORDER) != BYTE_ORDER {
            return damaged(AT_HEADER_LEN, "the header has another length or byte order");
        }
        let Some(compression) = Compression::from_code(bytes[AT_COMPRESSION]) else {
            return damaged(AT_COMPRESSION, "the compression is not known here");
        };
        let zeros = [&bytes[AT_RESERVED..AT_TAKEN], &bytes[AT_UNUSED..AT_HEADER_SUM]];
        if zeros.iter().any(|zeros| zeros.iter().any(|&b| b != 0)) {
            return damaged(AT_RESERVED, "the header says something that is not known here");
        }
        Ok(Header {
            compression,
            taken_ms: u64_at(bytes, AT_TAKEN),
            log_position: u64_at(bytes, AT_POSITION),
            highest_token: u64_at(bytes, AT_TOKEN),
        })
    }
}

/// What a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BlockKind {
    /// Names and texts.
    Description,
    /// Whole items.
    Items,
    /// A large item as far as its key, and the beginning of its value.
    Large,
    /// More of the value of the large item before.
    More,
    /// Where the sections are.
    Table,
}

impl BlockKind {
    const ALL: [BlockKind; 5] =
        [BlockKind::Description, BlockKind::Items, BlockKind::Large, BlockKind::More, BlockKind::Table];

    fn code(self) -> u8 {
        self as u8 + 1
    }

    fn from_code(code: u8) -> Option<BlockKind> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

const COMPRESSED: u8 = 1;

/// What a block's head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockHead {
    pub(crate) kind: BlockKind,
    pub(crate) is_compressed: bool,
    pub(crate) raw_len: usize,
    pub(crate) stored_len: usize,
    /// Items that begin in it.
    pub(crate) items: u32,
    checksum: u64,
}

/// The checksum of a block at `offset`: of its head up to the checksum, and of what it stores.
fn block_sum(offset: u64, head: &[u8], stored: &[u8]) -> u64 {
    let mut sum = Xxh3::with_seed(offset);
    sum.update(head);
    sum.update(stored);
    sum.digest()
}

impl BlockHead {
    /// Writes the head of a block at `offset` that stores these bytes for `raw_len`.
    pub(crate) fn encode(
        kind: BlockKind,
        is_compressed: bool,
        raw_len: usize,
        items: u32,
        stored: &[u8],
        offset: u64,
    ) -> [u8; BLOCK_HEAD] {
        let mut bytes = [0; BLOCK_HEAD];
        bytes[0] = kind.code();
        bytes[AT_FLAGS] = if is_compressed { COMPRESSED } else { 0 };
        put(&mut bytes, AT_RAW, &(raw_len as u32).to_le_bytes());
        put(&mut bytes, AT_STORED, &(stored.len() as u32).to_le_bytes());
        put(&mut bytes, AT_ITEMS, &items.to_le_bytes());
        let sum = block_sum(offset, &bytes[..AT_BLOCK_SUM], stored);
        put(&mut bytes, AT_BLOCK_SUM, &sum.to_le_bytes());
        bytes
    }

    /// Reads a head. What it says is held against the checksum when the stored bytes are there
    /// ([`verify`](Self::verify)).
    pub(crate) fn decode(bytes: &[u8; BLOCK_HEAD], offset: u64) -> Result<BlockHead, Damage> {
        let (raw_len, stored_len) = (u32_at(bytes, AT_RAW) as usize, u32_at(bytes, AT_STORED) as usize);
        let Some(kind) = BlockKind::from_code(bytes[0]) else {
            return damaged(offset, "a block of no known kind");
        };
        if bytes[AT_FLAGS] & !COMPRESSED != 0 || u16_at(bytes, AT_ZERO) != 0 {
            return damaged(offset, "a block's head says something that is not known here");
        }
        if raw_len > MAX_RAW || stored_len > raw_len {
            return damaged(offset, "a block is longer than blocks can be");
        }
        let is_compressed = bytes[AT_FLAGS] == COMPRESSED;
        if !is_compressed && stored_len != raw_len {
            return damaged(offset, "a block's two lengths contradict each other");
        }
        let (items, checksum) = (u32_at(bytes, AT_ITEMS), u64_at(bytes, AT_BLOCK_SUM));
        Ok(BlockHead { kind, is_compressed, raw_len, stored_len, items, checksum })
    }

    /// Holds a block's head and bytes against its checksum.
    pub(crate) fn verify(&self, head: &[u8; BLOCK_HEAD], stored: &[u8], offset: u64) -> Result<(), Damage> {
        if block_sum(offset, &head[..AT_BLOCK_SUM], stored) != self.checksum {
            return damaged(offset, "a block's checksum is wrong");
        }
        Ok(())
    }
}

/// Some neighbouring blocks of items that can be read by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Section {
    pub(crate) offset: u64,
    pub(crate) len: u64,
    pub(crate) items: u64,
}

impl Section {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        for number in [self.offset, self.len, self.items] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Section {
        Section { offset: u64_at(bytes, 0), len: u64_at(bytes, 8), items: u64_at(bytes, 16) }
    }
}

/// The last bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Footer {
    /// Where the block with the section table is, and its length with its head.
    pub(crate) table: u64,
    pub(crate) table_len: u64,
    pub(crate) items: u64,
    /// Bytes of keys and values.
    pub(crate) payload: u64,
    /// Bytes of the items as they were in memory.
    pub(crate) memory: u64,
    pub(crate) log_position: u64,
}

impl Footer {
    /// The footer of a file that ends with it at `offset`.
    pub(crate) fn encode(&self, offset: u64) -> [u8; FOOTER_LEN] {
        let mut bytes = [0; FOOTER_LEN];
        put(&mut bytes, 0, &END_MAGIC);
        let fields = [self.table, self.table_len, self.items, self.payload, self.memory, self.log_position];
        for (i, field) in fields.iter().enumerate() {
            put(&mut bytes, AT_TABLE + 8 * i, &field.to_le_bytes());
        }
        let sum = block_sum(offset, &bytes[..AT_FOOTER_SUM], &[]);
        put(&mut bytes, AT_FOOTER_SUM, &sum.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; FOOTER_LEN], offset: u64) -> Result<Footer, Damage> {
        if bytes[..END_MAGIC.len()] != END_MAGIC {
            return damaged(offset, "the end is missing: the file was cut, or never finished");
        }
        if u64_at(bytes, AT_FOOTER_SUM) != block_sum(offset, &bytes[..AT_FOOTER_SUM], &[]) {
            return damaged(offset, "the footer's checksum is wrong");
        }
        let footer = Footer {
            table: u64_at(bytes, AT_TABLE),
            table_len: u64_at(bytes, AT_TABLE_LEN),
            items: u64_at(bytes, AT_ALL_ITEMS),
            payload: u64_at(bytes, AT_PAYLOAD),
            memory: u64_at(bytes, AT_MEMORY),
            log_position: u64_at(bytes, AT_END_POSITION),
        };
        if footer.table.checked_add(footer.table_len) != Some(offset) || footer.table_len < BLOCK_HEAD as u64 {
            return damaged(offset, "the footer and the section table do not fit together");
        }
        Ok(footer)
    }
}
