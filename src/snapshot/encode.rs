//! Bytes of a snapshot file, in order, appended to a buffer of the caller's: no input or output happens here.

use super::buffer::Block;
use super::compress::compress;
use super::describe::Description;
use super::format::{
    BLOCK_HEAD, BlockHead, BlockKind, Compression, Footer, Header, SECTION_LEN, SECTION_TARGET, Section,
};

/// Writes one file. `begin`, then blocks and large items, then `finish`.
#[derive(Debug)]
pub(crate) struct Encoder {
    compression: Compression,
    /// Bytes written so far.
    offset: u64,
    sections: Vec<Section>,
    footer: Footer,
    scratch: Vec<u8>,
}

impl Encoder {
    /// Begins a file.
    pub(crate) fn begin(header: &Header, description: &Description, out: &mut Vec<u8>) -> Encoder {
        let footer = Footer { log_position: header.log_position, ..Footer::default() };
        let mut encoder =
            Encoder { compression: header.compression, offset: 0, sections: Vec::new(), footer, scratch: Vec::new() };
        out.extend_from_slice(&header.encode());
        encoder.offset = header.encode().len() as u64;
        encoder.put(BlockKind::Description, &description.encode(), 0, out);
        encoder
    }

    /// Bytes of the file so far.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Items, and bytes of keys and values, so far.
    pub(crate) fn written(&self) -> (u64, u64) {
        (self.footer.items, self.footer.payload)
    }

    fn put(&mut self, kind: BlockKind, raw: &[u8], items: u32, out: &mut Vec<u8>) {
        let mut scratch = std::mem::take(&mut self.scratch);
        let is_compressed = compress(self.compression, raw, &mut scratch);
        let stored = if is_compressed { &scratch[..] } else { raw };
        let head = BlockHead::encode(kind, is_compressed, raw.len(), items, stored, self.offset);
        out.extend_from_slice(&head);
        out.extend_from_slice(stored);
        self.offset += (BLOCK_HEAD + stored.len()) as u64;
        self.scratch = scratch;
    }

    /// A block that begins items belongs to a section; a new one where the last is long enough. The longer a file is,
    /// the longer its sections are, so that their table stays short.
    fn put_items(&mut self, kind: BlockKind, raw: &[u8], counts: &Block, out: &mut Vec<u8>) {
        let target = SECTION_TARGET.max(self.offset / 1024);
        if self.sections.last().is_none_or(|last| last.len >= target) {
            self.sections.push(Section { offset: self.offset, ..Section::default() });
        }
        let before = self.offset;
        self.put(kind, raw, counts.items, out);
        self.lengthen(self.offset - before, counts.items);
        self.footer.items += u64::from(counts.items);
        self.footer.payload += counts.payload;
        self.footer.memory += counts.memory;
    }

    fn lengthen(&mut self, by: u64, items: u32) {
        if let Some(last) = self.sections.last_mut() {
            last.len += by;
            last.items += u64::from(items);
        }
    }

    /// A block of whole items.
    pub(crate) fn items(&mut self, block: &Block, out: &mut Vec<u8>) {
        self.put_items(BlockKind::Items, &block.bytes, block, out);
    }

    /// The head of a large item. Its value follows by [`more`](Self::more).
    pub(crate) fn large(&mut self, head: &Block, out: &mut Vec<u8>) {
        self.put_items(BlockKind::Large, &head.bytes, head, out);
    }

    /// The next piece of the large item's value.
    pub(crate) fn more(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let before = self.offset;
        self.put(BlockKind::More, piece, 0, out);
        self.lengthen(self.offset - before, 0);
    }

    /// Ends the file.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        let mut table = Vec::with_capacity(self.sections.len() * SECTION_LEN);
        self.sections.iter().for_each(|section| section.encode(&mut table));
        self.footer.table = self.offset;
        self.put(BlockKind::Table, &table, 0, out);
        self.footer.table_len = self.offset - self.footer.table;
        let footer = self.footer.encode(self.offset);
        out.extend_from_slice(&footer);
        self.offset += footer.len() as u64;
    }
}
