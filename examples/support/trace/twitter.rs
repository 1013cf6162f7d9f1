//! The open-source Twitter cache traces (Yang et al., OSDI'20; github.com/twitter/cache-trace): lines of
//! `timestamp,anonymized key,key size,value size,client id,operation,TTL`.
//!
//! Keys are text and may hold commas, so the fields are taken from both ends. A key becomes a number by hashing
//! (FNV-1a, then mixed); the object's size is key and value together. Operations that write count as `set`, also
//! `append` and `incr`.

use super::csv;
use super::lines::{self, FieldResult, Lines};
use super::{Bytes, KEY_SIZE_MAX, Parser, Request, SIZE_MAX, TraceError};
use crate::rng::mix;

pub(super) struct Twitter<'a> {
    lines: Lines<'a>,
}

impl<'a> Twitter<'a> {
    pub(super) fn new(bytes: Bytes<'a>) -> Self {
        Twitter { lines: Lines::new(bytes) }
    }
}

impl Parser for Twitter<'_> {
    fn next_request(&mut self) -> Result<Option<Request>, TraceError> {
        while self.lines.advance()? {
            if self.lines.text().starts_with(b"#") {
                continue;
            }
            return request(self.lines.text()).map(Some).map_err(|message| self.lines.error(message));
        }
        Ok(None)
    }
}

fn request(line: &[u8]) -> FieldResult<Request> {
    let short = || "fewer than 7 fields; expected timestamp,key,key size,value size,client,operation,TTL".to_string();
    let mut from_end = line.rsplitn(6, |&byte| byte == b',');
    let mut last = || from_end.next().ok_or_else(short);
    let (ttl, operation, _client, value_size, key_size, rest) = (last()?, last()?, last()?, last()?, last()?, last()?);
    let comma = rest.iter().position(|&byte| byte == b',').ok_or_else(short)?;
    let (time, key) = (&rest[..comma], &rest[comma + 1..]);

    let key_size = lines::whole("key size", key_size)?;
    let key_size = match u16::try_from(key_size) {
        Ok(size) if size <= KEY_SIZE_MAX => size,
        _ => return Err(format!("key size {key_size} is more than {KEY_SIZE_MAX}")),
    };
    let size = lines::size("value size", value_size)?.saturating_add(u32::from(key_size));
    if size > SIZE_MAX {
        return Err(format!("key and value of {size} bytes are more than {SIZE_MAX}"));
    }
    Ok(Request {
        time_ms: lines::seconds_to_ms("timestamp", time)?,
        key: key_number(key),
        size,
        ttl_s: lines::ttl_s("TTL", ttl)?,
        key_size,
        op: csv::op(operation)?,
    })
}

fn key_number(key: &[u8]) -> u64 {
    let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    mix(key.iter().fold(0xcbf2_9ce4_8422_2325, step))
}
