//! The block traces of the ARC paper (Megiddo and Modha, FAST'03), `.lis`: lines of four numbers, `first block`,
//! `number of blocks`, a field that is ignored, `request number`.
//!
//! Each line is as many requests as it has blocks. There are no sizes (1 each) and no times: a millisecond a request.

use super::lines::{self, FieldResult, Lines};
use super::{Bytes, Op, Parser, Request, TraceError};

/// The most blocks that one line may ask for.
const BLOCKS_MAX: u64 = 1 << 20;

pub(super) struct Arc<'a> {
    lines: Lines<'a>,
    /// What is left of the line read last.
    block: u64,
    blocks_left: u64,
    requests: u64,
}

impl<'a> Arc<'a> {
    pub(super) fn new(bytes: Bytes<'a>) -> Self {
        Arc { lines: Lines::new(bytes), block: 0, blocks_left: 0, requests: 0 }
    }
}

impl Parser for Arc<'_> {
    fn next_request(&mut self) -> Result<Option<Request>, TraceError> {
        while self.blocks_left == 0 {
            if !self.lines.advance()? {
                return Ok(None);
            }
            if self.lines.text().starts_with(b"#") {
                continue;
            }
            let extent = extent(self.lines.text()).map_err(|message| self.lines.error(message))?;
            (self.block, self.blocks_left) = extent;
        }
        let (key, time_ms) = (self.block, self.requests);
        self.requests += 1;
        self.blocks_left -= 1;
        // The last block of all numbers has no successor, but then nothing is left of the line either.
        self.block = self.block.wrapping_add(1);
        Ok(Some(Request { time_ms, key, size: 1, ttl_s: 0, key_size: 0, op: Op::Get }))
    }
}

fn extent(line: &[u8]) -> FieldResult<(u64, u64)> {
    let mut fields = line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
    let mut next = |what: &str| fields.next().ok_or_else(|| format!("{what} is missing; a line has four numbers"));
    let first = lines::whole("first block", next("first block")?)?;
    let blocks = lines::whole("number of blocks", next("number of blocks")?)?;
    lines::whole("third field", next("third field")?)?;
    lines::whole("request number", next("request number")?)?;
    if fields.next().is_some() {
        return Err("more than four fields".to_string());
    }
    if blocks > BLOCKS_MAX {
        return Err(format!("{blocks} blocks in one request; at most {BLOCKS_MAX} are taken"));
    }
    if blocks > 0 && first.checked_add(blocks - 1).is_none() {
        return Err(format!("blocks from {first} on, {blocks} of them, do not fit 64 bits"));
    }
    Ok((first, blocks))
}
