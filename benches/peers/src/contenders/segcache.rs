//! segcache (Pelikan), built with `Segcache::builder` as its documentation shows: `heap_size`, `segment_size` of 1 MiB
//! (a 64th of a heap under 64 MiB), and a `hash_power` with at least 1.25 slots an entry - the table does not grow and
//! refuses what it has no place for; the column `refused` says whether that happened. Of the policies in the
//! documentation's examples it has the one of the paper, `Policy::Merge { max: 8, merge: 4, compact: 2 }`: with it, it
//! had more hits here than with S3-FIFO, random or FIFO. Values are read in place. Heap and table are taken from the
//! system, and touched, when it is built.
//!
//! Its limit is bytes of items with their headers. Where the others are given a number of entries, it is given what so
//! many take, and two segments more, which it needs to write into.

use std::time::Duration;

use segcache::{Policy, Segcache as Cache};

use crate::contender::{Capacity, Contender, Refusal, TTL, sum};

const SEGMENT_BYTES: u64 = 1 << 20;
const SEGMENT_BYTES_MIN: u64 = 16 << 10;
/// Header of an item, with the checksum that segcache always has on.
const HEADER_BYTES: usize = 12;
const SPARE_SEGMENTS: u64 = 2;

pub(crate) struct Segcache(Cache);

impl<const N: usize> Contender<N> for Segcache {
    const TTL: bool = true;
    const TAKES_ALL_AT_ONCE: bool = true;

    fn build(capacity: &Capacity) -> Result<Self, Refusal> {
        let heap = match *capacity {
            Capacity::Entries { items, key_bytes, value_bytes } => {
                items * ((HEADER_BYTES + key_bytes + value_bytes) / 8 * 8 + 8) as u64
            }
            Capacity::Bytes { limit, .. } => limit,
        };
        let segment = (heap / 64 / 4096 * 4096).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES);
        let spare = if capacity.is_bytes() { 0 } else { SPARE_SEGMENTS };
        let segments = (heap / segment + spare).max(4);
        let slots = (capacity.items() as f64 * 1.25) as u64;
        let power = slots.next_power_of_two().ilog2().max(7) as u8;
        let built = Cache::builder()
            .heap_size((segments * segment) as usize)
            .segment_size(segment as i32)
            .hash_power(power)
            .eviction(Policy::Merge { max: 8, merge: 4, compact: 2 })
            .build();
        built.map(Segcache).map_err(|error| error.to_string())
    }

    #[inline]
    fn get(&self, key: &[u8; N]) -> Option<u64> {
        let item = self.0.get(key)?;
        match item.value() {
            segcache::Value::Bytes(value) => Some(sum(value)),
            segcache::Value::U64(value) => Some(value),
        }
    }

    #[inline]
    fn set(&self, key: &[u8; N], value: &[u8]) -> bool {
        Contender::set_ttl(self, key, value, TTL)
    }

    #[inline]
    fn set_ttl(&self, key: &[u8; N], value: &[u8], ttl: Duration) -> bool {
        self.0.insert(key, value, None, ttl).is_ok()
    }

    fn len(&self) -> Option<u64> {
        None
    }
}
