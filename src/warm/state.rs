//! The bytes of `state`: a header with everything that is small, then for each shard its units and its buckets.
//!
//! ```text
//! ┌────────────────────────────┬─────────┬───────────┬─────────┬───────────┬─ ─
//! │ header              ... sum│ units 0 │ buckets 0 │ units 1 │ buckets 1 │
//! └────────────────────────────┴─────────┴───────────┴─────────┴───────────┴─ ─
//! ```
//! Numbers are little-endian; the header says in which order the machine that wrote `items` has them. Each section has
//! its sum in the header, the header its own at its end.

use rapidhash::v3::{RapidSecrets, rapidhash_v3_inline};

use super::{ColdReason, ColdStart};
use crate::engine::Kept;
use crate::index::{BUCKET_BYTES, Sizes};
use crate::shard::KeptShard;
use crate::slab::{ClassId, Classes, GENERATIONS, KeptUnit, PageId};

pub(super) const MAGIC: [u8; 8] = *b"LARDWARM";
/// Of both files, and of the layout of items, buckets and hashes in them.
pub(super) const VERSION: u32 = 1;
/// As the machine has it in memory: another order reads as another number.
pub(super) const BYTE_ORDER: u32 = 0x0102_0304;
/// Bytes of the header before its fields: magic, version, byte order, length.
pub(super) const PREFIX: usize = 24;
/// Bytes of a unit: page, class, size, nothing, and the sum of its bytes.
pub(super) const UNIT_BYTES: usize = 24;
/// The longest header: shards and planned clearings are few.
pub(super) const MAX_HEADER: u64 = 16 << 20;

const SECRETS: RapidSecrets = RapidSecrets::seed_cpp(0x6c61_7264);

/// The sum of some bytes.
pub(super) fn sum(bytes: &[u8]) -> u64 {
    rapidhash_v3_inline::<true, false, false>(bytes, &SECRETS)
}

/// The sum of what comes block by block.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sum(pub(super) u64);

impl Sum {
    pub(super) fn add(&mut self, block: &[u8]) {
        self.0 = crate::policy::mix(self.0 ^ sum(block)).wrapping_add(block.len() as u64);
    }
}

/// Of what all depends how memory is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) page_size: u64,
    pub(super) pages: u64,
    pub(super) shards: u64,
    /// Sum of the chunk sizes.
    pub(super) classes: u64,
}

impl Layout {
    pub(super) fn of(page_size: usize, pages: u32, shards: usize, classes: &Classes) -> Layout {
        let sizes = (0..classes.len()).flat_map(|class| classes.chunk_size(ClassId(class as u8)).to_le_bytes());
        let sizes: Vec<u8> = sizes.collect();
        Layout { page_size: page_size as u64, pages: pages.into(), shards: shards as u64, classes: sum(&sizes) }
    }

    /// What differs, in words; None if nothing does.
    pub(super) fn differs(&self, now: &Layout) -> Option<String> {
        let pairs = [
            ("page_size", self.page_size, now.page_size),
            ("the number of pages (from max_memory or address_space)", self.pages, now.pages),
            ("shards", self.shards, now.shards),
        ];
        let other = pairs.into_iter().find(|(_, was, is)| was != is);
        let text = other.map(|(what, was, is)| format!("{what} was {was} and is {is}"));
        text.or_else(|| (self.classes != now.classes).then(|| "chunk sizes are others than they were".to_owned()))
    }
}

/// One shard in the header.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct ShardEntry {
    pub(super) kept: KeptShard,
    pub(super) units_sum: u64,
    pub(super) table_sum: u64,
}

impl ShardEntry {
    pub(super) fn units_len(&self) -> u64 {
        self.kept.units.saturating_mul(UNIT_BYTES as u64)
    }

    pub(super) fn table_len(&self) -> u64 {
        self.kept.sizes.buckets().saturating_mul(BUCKET_BYTES as u64)
    }
}

/// The header.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Header {
    /// The run whose items these are.
    pub(super) run: u64,
    pub(super) layout: Layout,
    /// Whether units have sums.
    pub(super) checksums: bool,
    pub(super) kept: Kept,
    pub(super) shards: Vec<ShardEntry>,
}

/// Reads fields one after the other.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn u64(&mut self) -> Option<u64> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*field))
    }

    fn u8(&mut self) -> Option<u8> {
        let (&field, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(field)
    }
}

impl Header {
    /// Its bytes, as many whatever the values of shards' numbers.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&BYTE_ORDER.to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        let Kept { seed, start_ms, tags, generations, planned } = &self.kept;
        let Layout { page_size, pages, shards, classes } = self.layout;
        let numbers = [self.run, page_size, pages, shards, classes, u64::from(self.checksums), *seed, *start_ms, *tags];
        numbers.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
        bytes.extend_from_slice(generations);
        bytes.extend_from_slice(&(planned.len() as u64).to_le_bytes());
        for (at, namespace) in planned {
            bytes.extend_from_slice(&at.to_le_bytes());
            bytes.push(*namespace);
        }
        for ShardEntry { kept, units_sum, table_sum } in &self.shards {
            let Sizes { small, big, pointer } = kept.sizes;
            let share = kept.share.map_or(u64::MAX, f64::to_bits);
            let numbers = [small, big, pointer, kept.units, kept.items, kept.next_token, share, *units_sum, *table_sum];
            numbers.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
        }
        let len = bytes.len() as u64 + 8;
        bytes[16..PREFIX].copy_from_slice(&len.to_le_bytes());
        let sum = sum(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// How long the header is that begins with these bytes.
    pub(super) fn len_of(prefix: &[u8; PREFIX]) -> Result<u64, ColdStart> {
        if prefix[..8] != MAGIC {
            return Err(ColdStart::new(ColdReason::Damaged, "state does not begin as it should"));
        }
        let number = |at: usize| u32::from_le_bytes(prefix[at..at + 4].try_into().unwrap_or_default());
        if number(8) != VERSION {
            let text = format!("state has format {}, and this build reads {VERSION}", number(8));
            return Err(ColdStart::new(ColdReason::Format, text));
        }
        if prefix[12..16] != BYTE_ORDER.to_ne_bytes() {
            return Err(ColdStart::new(ColdReason::Format, "state was written by a machine with another byte order"));
        }
        let len = u64::from_le_bytes(prefix[16..].try_into().unwrap_or_default());
        if !(PREFIX as u64 + 8..=MAX_HEADER).contains(&len) {
            return Err(ColdStart::new(ColdReason::Damaged, format!("state has a header of {len} bytes")));
        }
        Ok(len)
    }

    /// The header in these bytes, as many as it says that it has.
    pub(super) fn decode(bytes: &[u8]) -> Result<Header, ColdStart> {
        let damaged = |what: &str| ColdStart::new(ColdReason::Damaged, format!("the header of state {what}"));
        let (fields, end) = bytes.split_last_chunk().ok_or_else(|| damaged("is short"))?;
        if sum(fields) != u64::from_le_bytes(*end) {
            return Err(damaged("is damaged: its sum is another"));
        }
        let mut fields = Fields(fields.get(PREFIX..).unwrap_or_default());
        let header = Self::read(&mut fields).ok_or_else(|| damaged("is short"))?;
        if !fields.0.is_empty() {
            return Err(damaged("is too long"));
        }
        Ok(header)
    }

    fn read(fields: &mut Fields<'_>) -> Option<Header> {
        let run = fields.u64()?;
        let layout =
            Layout { page_size: fields.u64()?, pages: fields.u64()?, shards: fields.u64()?, classes: fields.u64()? };
        let checksums = fields.u64()? != 0;
        let (seed, start_ms, tags) = (fields.u64()?, fields.u64()?, fields.u64()?);
        let mut generations = [0; 256];
        for generation in &mut generations {
            *generation = fields.u8().filter(|&generation| generation < GENERATIONS)?;
        }
        let planned = fields.u64()?;
        let planned: Option<Vec<(u64, u8)>> = (0..planned).map(|_| Some((fields.u64()?, fields.u8()?))).collect();
        let shard = |_| {
            let sizes = Sizes { small: fields.u64()?, big: fields.u64()?, pointer: fields.u64()? };
            let (units, items, next_token) = (fields.u64()?, fields.u64()?, fields.u64()?);
            let share = Some(fields.u64()?).filter(|&bits| bits != u64::MAX).map(f64::from_bits);
            let kept = KeptShard { sizes, units, items, next_token, share };
            Some(ShardEntry { kept, units_sum: fields.u64()?, table_sum: fields.u64()? })
        };
        let shards: Option<Vec<ShardEntry>> = (0..layout.shards).map(shard).collect();
        let kept = Kept { seed, start_ms, tags, generations, planned: planned? };
        Some(Header { run, layout, checksums, kept, shards: shards? })
    }
}

/// A unit and the sum of its bytes.
pub(super) fn encode_unit(unit: &KeptUnit, sum: u64, to: &mut Vec<u8>) {
    for number in [unit.page.0, u32::from(unit.class.0), unit.size, 0] {
        to.extend_from_slice(&number.to_le_bytes());
    }
    to.extend_from_slice(&sum.to_le_bytes());
}

/// The same back; None if it is none.
pub(super) fn decode_unit(bytes: &[u8]) -> Option<(KeptUnit, u64)> {
    let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let class = ClassId(u8::try_from(number(4)?).ok()?);
    let unit = KeptUnit { page: PageId(number(0)?), class, size: number(8)? };
    let sum = u64::from_le_bytes(bytes.get(16..24)?.try_into().ok()?);
    (number(12)? == 0).then_some((unit, sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        let planned = vec![(7, 3), (9, 0)];
        let kept = Kept { seed: 5, start_ms: 6, tags: 7, generations: [3; 256], planned };
        let sizes = Sizes { small: 8, big: 16, pointer: 2 };
        let shard = KeptShard { sizes, units: 4, items: 5, next_token: 6, share: Some(0.25) };
        let layout = Layout { page_size: 4096, pages: 100, shards: 2, classes: 9 };
        let shards = vec![ShardEntry { kept: shard, units_sum: 1, table_sum: 2 }, ShardEntry::default()];
        Header { run: 1, layout, checksums: true, kept, shards }
    }

    #[test]
    fn a_header_survives_its_bytes_and_no_change_of_one() {
        let header = header();
        let bytes = header.encode();
        let prefix = |bytes: &[u8]| Header::len_of(bytes[..PREFIX].try_into().unwrap());
        assert_eq!(prefix(&bytes), Ok(bytes.len() as u64));
        assert_eq!(Header::decode(&bytes), Ok(header));
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x10;
            assert!(prefix(&bad).is_err() || Header::decode(&bad).is_err(), "byte {at}");
            assert!(Header::decode(&bytes[..at]).is_err(), "{at} bytes");
        }
    }
}
