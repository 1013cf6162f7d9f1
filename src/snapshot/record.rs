//! One item in a block.
//!
//! ```text
//! ┌───────┬──────┬──────┬──────┬──────┬──────────┬────────────┬───────┬───────┬────┬──────┬───────┬─────┬───────┐
//! │ flags │ kind │ rank │ klen │ vlen │ deadline │ idle, used │ token │ flags │ NS │ tags │ marks │ key │ value │
//! │   1   │  1   │  3   │ var  │ var  │   (8)    │  (8 + 8)   │  (8)  │  (4)  │ (1)│(1+8n)│  (1)  │     │       │
//! └───────┴──────┴──────┴──────┴──────┴──────────┴────────────┴───────┴───────┴────┴──────┴───────┴─────┴───────┘
//! ```
//! What is in brackets is there only if its flag is set. Lengths are in groups of seven bits, lowest first, the top bit
//! of a byte saying that there is more. Times are Unix time in milliseconds.

use super::damage::{Damage, damaged};
use super::format::{u32_at, u64_at};
use crate::policy::Rank;
use crate::slab::{Attributes, ItemRef, Kind, MAX_KEY_LEN, MAX_MARKS, MAX_TAGS, MAX_VALUE_LEN, TagSet};

const DEADLINE: u8 = 1;
const IDLE: u8 = 1 << 1;
const TOKEN: u8 = 1 << 2;
const CLIENT_FLAGS: u8 = 1 << 3;
const NAMESPACE: u8 = 1 << 4;
const TAGS: u8 = 1 << 5;
const FETCHED: u8 = 1 << 6;
const MARKS: u8 = 1 << 7;

/// The most bytes that come before the key.
pub(crate) const MOST_BEFORE_KEY: usize = 5 + 3 + 5 + 8 + 16 + 8 + 4 + 1 + 1 + 8 * MAX_TAGS + 1;

/// An item as a snapshot has it, borrowed from a block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record<'b> {
    pub(crate) kind: Kind,
    pub(crate) rank: Rank,
    pub(crate) fetched: bool,
    pub(crate) namespace: u8,
    pub(crate) client_flags: u32,
    pub(crate) token: Option<u64>,
    /// Unix time in milliseconds; None for none.
    pub(crate) deadline_ms: Option<u64>,
    /// Time to idle in milliseconds, and the last use in Unix time.
    pub(crate) idle: Option<(u64, u64)>,
    pub(crate) tags: TagSet,
    pub(crate) marks: u8,
    pub(crate) key: &'b [u8],
    /// The value as far as it is in this block.
    pub(crate) value: &'b [u8],
    /// Its whole length.
    pub(crate) value_len: usize,
}

impl Record<'_> {
    /// When it ends: the earlier of deadline and idle time.
    pub(crate) fn end_ms(&self) -> Option<u64> {
        let idle_end = self.idle.map(|(idle, used)| used.saturating_add(idle));
        match (self.deadline_ms, idle_end) {
            (Some(deadline), Some(idle)) => Some(deadline.min(idle)),
            (deadline, idle) => deadline.or(idle),
        }
    }
}

fn put_len(out: &mut Vec<u8>, mut len: usize) {
    while len >= 0x80 {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
}

/// Appends an item without its value. `unix` turns the cache's time into Unix time.
pub(crate) fn encode_head(out: &mut Vec<u8>, item: ItemRef<'_>, rank: Rank, fetched: bool, unix: impl Fn(u64) -> u64) {
    let attributes: Attributes = item.attributes();
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    let tags = if attributes.tags > 0 { item.tags() } else { TagSet::default() };
    let flags = flag(attributes.deadline != 0, DEADLINE)
        | flag(attributes.idle_ms > 0, IDLE)
        | flag(attributes.token.is_some(), TOKEN)
        | flag(attributes.client_flags != 0, CLIENT_FLAGS)
        | flag(attributes.namespace != 0, NAMESPACE)
        | flag(tags.len() > 0, TAGS)
        | flag(attributes.marks != 0, MARKS)
        | flag(fetched, FETCHED);
    let rank = rank.to_code().to_le_bytes();
    out.extend_from_slice(&[flags, attributes.kind as u8, rank[0], rank[1], rank[2]]);
    put_len(out, item.key_len());
    put_len(out, item.value_len());
    if attributes.deadline != 0 {
        out.extend_from_slice(&unix(attributes.deadline).to_le_bytes());
    }
    if attributes.idle_ms > 0 {
        out.extend_from_slice(&attributes.idle_ms.to_le_bytes());
        out.extend_from_slice(&unix(attributes.last_use).to_le_bytes());
    }
    if let Some(token) = attributes.token {
        out.extend_from_slice(&token.to_le_bytes());
    }
    if attributes.client_flags != 0 {
        out.extend_from_slice(&attributes.client_flags.to_le_bytes());
    }
    if attributes.namespace != 0 {
        out.push(attributes.namespace);
    }
    if tags.len() > 0 {
        out.push(tags.len());
        tags.as_slice().iter().for_each(|tag| out.extend_from_slice(&tag.to_le_bytes()));
    }
    if attributes.marks != 0 {
        out.push(attributes.marks);
    }
    out.extend_from_slice(item.key());
}

/// Reads what an [`encode_head`] and a value have written, from the front of what is left of a block.
#[derive(Debug)]
pub(crate) struct Records<'b> {
    block: &'b [u8],
    at: usize,
    /// Where the block is in the file.
    offset: u64,
}

impl<'b> Records<'b> {
    /// The items of a block's raw bytes.
    pub(crate) fn new(block: &'b [u8], offset: u64) -> Records<'b> {
        Records { block, at: 0, offset }
    }

    /// Whether all was read.
    pub(crate) fn is_done(&self) -> bool {
        self.at == self.block.len()
    }

    fn bytes(&mut self, len: usize) -> Result<&'b [u8], Damage> {
        match self.at.checked_add(len).and_then(|end| self.block.get(self.at..end)) {
            Some(bytes) => {
                self.at += len;
                Ok(bytes)
            }
            None => damaged(self.offset, "an item of this block is longer than the block"),
        }
    }

    fn u64(&mut self) -> Result<u64, Damage> {
        Ok(u64_at(self.bytes(8)?, 0))
    }

    fn len(&mut self, most: usize) -> Result<usize, Damage> {
        let mut len = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.bytes(1)?[0];
            len |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return if len <= most {
                    Ok(len)
                } else {
                    damaged(self.offset, "an item of this block is larger than items can be")
                };
            }
        }
        damaged(self.offset, "an item of this block has a length without an end")
    }

    /// The next item, whole, or, of a large one, all up to the end of the block.
    pub(crate) fn next(&mut self, is_large: bool) -> Result<Record<'b>, Damage> {
        let head = self.bytes(5)?;
        let (flags, kind) = (head[0], Kind::of_code(head[1]));
        let rank = Rank::from_code(u32::from_le_bytes([head[2], head[3], head[4], 0]));
        let Some(kind) = kind else {
            return damaged(self.offset, "an item of this block is of a kind that is not known here");
        };
        let (key_len, value_len) = (self.len(MAX_KEY_LEN)?, self.len(MAX_VALUE_LEN)?);
        let deadline_ms = if flags & DEADLINE != 0 { Some(self.u64()?) } else { None };
        let idle = if flags & IDLE != 0 { Some((self.u64()?, self.u64()?)) } else { None };
        let token = if flags & TOKEN != 0 { Some(self.u64()?) } else { None };
        let client_flags = if flags & CLIENT_FLAGS != 0 { u32_at(self.bytes(4)?, 0) } else { 0 };
        let namespace = if flags & NAMESPACE != 0 { self.bytes(1)?[0] } else { 0 };
        let tags = if flags & TAGS != 0 { self.tags()? } else { TagSet::default() };
        let marks = if flags & MARKS != 0 { self.marks()? } else { 0 };
        let key = self.bytes(key_len)?;
        let here = if is_large { self.block.len() - self.at } else { value_len };
        if here > value_len {
            return damaged(self.offset, "a large item is not alone in its block");
        }
        let value = self.bytes(here)?;
        let fetched = flags & FETCHED != 0;
        Ok(Record {
            kind,
            rank,
            fetched,
            namespace,
            client_flags,
            token,
            deadline_ms,
            idle,
            tags,
            marks,
            key,
            value,
            value_len,
        })
    }

    fn marks(&mut self) -> Result<u8, Damage> {
        match self.bytes(1)?[0] {
            marks @ 1..=MAX_MARKS => Ok(marks),
            _ => damaged(self.offset, "an item of this block has marks that are not known here"),
        }
    }

    fn tags(&mut self) -> Result<TagSet, Damage> {
        let count = usize::from(self.bytes(1)?[0]);
        if count == 0 || count > MAX_TAGS {
            return damaged(self.offset, "an item of this block has more tags than items can have");
        }
        let hashes = self.bytes(count * 8)?;
        Ok((0..count).map(|i| u64_at(hashes, 8 * i)).collect())
    }
}
