//! libCacheSim's `oracleGeneral`: records of 24 bytes, little-endian, packed.
//!
//! ```text
//!   0        4                12       16                24
//!   ├ u32 ───┼ u64 ───────────┼ u32 ───┼ i64 ────────────┤
//!   │ time s │ object id      │ size   │ next access     │   (the last one is of no use here)
//! ```

use std::io::{BufRead, Read};

use super::{Bytes, Op, Parser, Place, Request, SIZE_MAX, TraceError, unreadable};

const RECORD_BYTES: usize = 24;

pub(super) struct OracleGeneral<'a> {
    bytes: Bytes<'a>,
    records: u64,
}

impl<'a> OracleGeneral<'a> {
    pub(super) fn new(bytes: Bytes<'a>) -> Self {
        OracleGeneral { bytes, records: 0 }
    }
}

impl Parser for OracleGeneral<'_> {
    fn next_request(&mut self) -> Result<Option<Request>, TraceError> {
        self.records += 1;
        let place = Place::Record(self.records);
        if self.bytes.fill_buf().map_err(|error| unreadable(place, &error))?.is_empty() {
            return Ok(None);
        }
        let mut record = [0; RECORD_BYTES];
        self.bytes.read_exact(&mut record).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => TraceError::new(
                place,
                format!("cut off; is this oracleGeneral, records of {RECORD_BYTES} bytes? (--format says otherwise)"),
            ),
            _ => unreadable(place, &error),
        })?;
        let [t0, t1, t2, t3, k0, k1, k2, k3, k4, k5, k6, k7, s0, s1, s2, s3, ..] = record;
        let size = u32::from_le_bytes([s0, s1, s2, s3]);
        if size > SIZE_MAX {
            return Err(TraceError::new(place, format!("size {size} is more than {SIZE_MAX}")));
        }
        Ok(Some(Request {
            time_ms: u64::from(u32::from_le_bytes([t0, t1, t2, t3])) * 1000,
            key: u64::from_le_bytes([k0, k1, k2, k3, k4, k5, k6, k7]),
            size,
            ttl_s: 0,
            key_size: 0,
            op: Op::Get,
        }))
    }
}
