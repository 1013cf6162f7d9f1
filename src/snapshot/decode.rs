//! Snapshot files read: checked block by block, from bytes that come in pieces of any size. No input happens here.
//!
//! ```text
//!  pieces ─► [ Blocks: cut, hold against checksums, decompress ] ─► [ Check: order, counts, table, footer ] ─► parts
//! ```
//! [`Blocks`] can begin anywhere that a block begins, so that sections are read by several threads at once.

use smallvec::SmallVec;

use super::compress::decompress;
use super::damage::{Damage, damaged};
use super::format::{
    BLOCK_HEAD, BlockHead, BlockKind, Compression, FOOTER_LEN, Footer, HEADER_LEN, Header, SECTION_LEN, Section,
};
use super::record::{Record, Records};

/// Items of a block that are shown together, at most; fewer, when their values have so many bytes.
pub(crate) const TOGETHER: usize = 32;
const BYTES_TOGETHER: usize = 32 << 10;

/// A block that was held against its checksum.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Checked<'b> {
    pub(crate) kind: BlockKind,
    pub(crate) items: u32,
    pub(crate) raw: &'b [u8],
    /// Where it is in the file.
    pub(crate) offset: u64,
}

/// Cuts bytes into blocks.
#[derive(Debug)]
pub(crate) struct Blocks {
    compression: Compression,
    buffer: Vec<u8>,
    /// Bytes of the buffer that were dealt with.
    at: usize,
    /// Where the rest of it is in the file.
    offset: u64,
    raw: Vec<u8>,
}

impl Blocks {
    /// Blocks from `offset` of a file on.
    pub(crate) fn new(compression: Compression, offset: u64) -> Blocks {
        Blocks { compression, buffer: Vec::new(), at: 0, offset, raw: Vec::new() }
    }

    /// Takes the next bytes of the file.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.make_way();
        self.buffer.extend_from_slice(bytes);
    }

    fn make_way(&mut self) {
        self.buffer.drain(..self.at);
        self.at = 0;
    }

    /// Room for `len` more bytes of the file, to be filled in place.
    pub(crate) fn room(&mut self, len: usize) -> &mut [u8] {
        self.make_way();
        let from = self.buffer.len();
        self.buffer.resize(from + len, 0);
        &mut self.buffer[from..]
    }

    /// Where the bytes that are not dealt with yet are in the file.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    fn rest(&self) -> &[u8] {
        &self.buffer[self.at..]
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = *self.rest().first_chunk::<N>()?;
        self.skip(N);
        Some(bytes)
    }

    fn skip(&mut self, len: usize) {
        self.at += len;
        self.offset += len as u64;
    }

    /// The next block; None if more bytes are needed for it.
    pub(crate) fn next(&mut self) -> Result<Option<Checked<'_>>, Damage> {
        let offset = self.offset;
        let Some(head_bytes) = self.rest().first_chunk::<BLOCK_HEAD>() else { return Ok(None) };
        let head = BlockHead::decode(head_bytes, offset)?;
        let Some(stored) = self.rest().get(BLOCK_HEAD..BLOCK_HEAD + head.stored_len) else { return Ok(None) };
        head.verify(head_bytes, stored, offset)?;
        let from = self.at + BLOCK_HEAD;
        self.skip(BLOCK_HEAD + head.stored_len);
        let stored = &self.buffer[from..from + head.stored_len];
        let raw = if head.is_compressed {
            decompress(self.compression, stored, head.raw_len, &mut self.raw, offset)?;
            &self.raw
        } else {
            stored
        };
        Ok(Some(Checked { kind: head.kind, items: head.items, raw, offset }))
    }
}

/// What follows the items of a block of items, or a large one.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part<'b> {
    /// Whole items, some of a block's.
    Items(&'b [Record<'b>]),
    /// A large item, whose value follows.
    Large(&'b Record<'b>),
    /// The next bytes of its value, and whether they are the last.
    More(&'b [u8], bool),
}

/// Sees to it that blocks of items say what their heads say, and that large items are whole.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    /// Bytes that the large item at hand still lacks.
    missing: usize,
    pub(crate) items: u64,
    pub(crate) payload: u64,
}

impl Flow {
    /// Shows what is in a block.
    pub(crate) fn parts<E: From<Damage>>(
        &mut self,
        block: Checked<'_>,
        mut each: impl FnMut(Part<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Checked { kind, items, raw, offset } = block;
        if (kind == BlockKind::More) != (self.missing > 0) {
            return Ok(damaged(offset, "a large item is not followed by its value, or a value by its item")?);
        }
        let mut records = Records::new(raw, offset);
        match kind {
            BlockKind::Items => {
                let mut left = items;
                while left > 0 {
                    let (mut some, mut bytes): (SmallVec<[Record<'_>; TOGETHER]>, usize) = (SmallVec::new(), 0);
                    while left > 0 && some.len() < TOGETHER && bytes < BYTES_TOGETHER {
                        let record = records.next(false)?;
                        self.count(&record);
                        bytes += record.value.len();
                        some.push(record);
                        left -= 1;
                    }
                    each(Part::Items(&some))?;
                }
            }
            BlockKind::Large if items == 1 => {
                let record = records.next(true)?;
                self.count(&record);
                self.missing = record.value_len - record.value.len();
                if self.missing == 0 {
                    return Ok(damaged(offset, "a large item without a value of its own")?);
                }
                each(Part::Large(&record))?;
            }
            BlockKind::More if items == 0 && !raw.is_empty() && raw.len() <= self.missing => {
                self.missing -= raw.len();
                return each(Part::More(raw, self.missing == 0));
            }
            _ => return Ok(damaged(offset, "a block where it cannot be, or of items that it cannot have")?),
        }
        if records.is_done() { Ok(()) } else { Ok(damaged(offset, "a block has more than its items")?) }
    }

    fn count(&mut self, record: &Record<'_>) {
        self.items += 1;
        self.payload += (record.key.len() + record.value_len) as u64;
    }

    /// Whether a large item lacks part of its value.
    pub(crate) fn is_whole(&self) -> bool {
        self.missing == 0
    }
}

/// The sections of a table, which must lie one behind the other from `first` to the table itself.
pub(crate) fn sections(raw: &[u8], offset: u64, first: u64) -> Result<Vec<Section>, Damage> {
    if !raw.len().is_multiple_of(SECTION_LEN) {
        return damaged(offset, "the section table ends in the middle of a section");
    }
    let sections: Vec<Section> = raw.chunks_exact(SECTION_LEN).map(Section::decode).collect();
    let mut at = first;
    for section in &sections {
        if section.offset != at {
            return damaged(offset, "the section table leaves something out");
        }
        at = match at.checked_add(section.len) {
            Some(end) if section.len > 0 && end <= offset => end,
            _ => return damaged(offset, "the section table has a section that cannot be"),
        };
    }
    if at != offset {
        return damaged(offset, "the section table leaves something out");
    }
    Ok(sections)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Header,
    Description,
    Items,
    Footer,
    Done,
}

/// What a whole file is made of.
#[derive(Debug)]
pub(crate) enum Seen<'b> {
    Header(Header),
    /// The description's bytes, and where they are.
    Description(&'b [u8], u64),
    Block(Checked<'b>),
    /// The section table, which was held against the blocks.
    Table,
    Footer(Footer),
}

/// Reads a file from its first byte to its last, and holds its parts against each other.
#[derive(Debug)]
pub(crate) struct Decoder {
    blocks: Blocks,
    stage: Stage,
    /// Where the first section begins.
    first: u64,
    table: u64,
    counted: u64,
    listed: u64,
}

impl Decoder {
    pub(crate) fn new() -> Decoder {
        let blocks = Blocks::new(Compression::None, 0);
        Decoder { blocks, stage: Stage::Header, first: 0, table: 0, counted: 0, listed: 0 }
    }

    /// Takes the next bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.blocks.push(bytes);
    }

    /// Where the bytes that are not dealt with yet are.
    pub(crate) fn offset(&self) -> u64 {
        self.blocks.offset()
    }

    /// The next part; None if more bytes are needed for it, or the file is at its end.
    pub(crate) fn next(&mut self) -> Result<Option<Seen<'_>>, Damage> {
        match self.stage {
            Stage::Header => {
                let Some(bytes) = self.blocks.take::<HEADER_LEN>() else { return Ok(None) };
                let header = Header::decode(&bytes)?;
                self.blocks.compression = header.compression;
                self.stage = Stage::Description;
                Ok(Some(Seen::Header(header)))
            }
            Stage::Footer => {
                let offset = self.blocks.offset();
                let Some(bytes) = self.blocks.take::<FOOTER_LEN>() else { return Ok(None) };
                let footer = Footer::decode(&bytes, offset)?;
                if footer.table != self.table || footer.items != self.counted || self.listed != self.counted {
                    return damaged(offset, "the footer, the section table and the blocks contradict each other");
                }
                self.stage = Stage::Done;
                Ok(Some(Seen::Footer(footer)))
            }
            Stage::Done if self.blocks.rest().is_empty() => Ok(None),
            Stage::Done => damaged(self.blocks.offset(), "something follows the end"),
            Stage::Description | Stage::Items => self.next_block(),
        }
    }

    fn next_block(&mut self) -> Result<Option<Seen<'_>>, Damage> {
        let Some(block) = self.blocks.next()? else { return Ok(None) };
        let end = block.offset;
        match (self.stage, block.kind) {
            (Stage::Description, BlockKind::Description) => {
                self.stage = Stage::Items;
                Ok(Some(Seen::Description(block.raw, end)))
            }
            (Stage::Items, BlockKind::Table) => {
                self.table = end;
                let first = if self.first == 0 { end } else { self.first };
                self.listed = sections(block.raw, end, first)?.iter().map(|section| section.items).sum();
                self.stage = Stage::Footer;
                Ok(Some(Seen::Table))
            }
            (Stage::Items, BlockKind::Items | BlockKind::Large | BlockKind::More) => {
                if self.first == 0 {
                    self.first = end;
                }
                self.counted += u64::from(block.items);
                Ok(Some(Seen::Block(block)))
            }
            _ => damaged(end, "a block where it cannot be"),
        }
    }

    /// Says that nothing follows: an error unless that is the end.
    pub(crate) fn end(&self) -> Result<(), Damage> {
        if self.stage == Stage::Done && self.blocks.rest().is_empty() {
            return Ok(());
        }
        damaged(self.blocks.offset() + self.blocks.rest().len() as u64, "the file ends before its end: it was cut")
    }
}
