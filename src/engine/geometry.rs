//! How a limit becomes shards, pages and address space.
//!
//! Each class of each shard leaves about half a page unused, and every page costs some 70 bytes of tables, so pages are
//! about the square root of the limit: 4 KiB at 1 MiB, 64 KiB at 4 GiB and above (a page of 64 KiB is emptied in well
//! under a millisecond). Between 4 and 64 MiB they are larger than that, 8 KiB, because items above half a page take
//! whole operating-system pages. Shards divide writers only - readers take no lock - so a few per core are plenty: up
//! to four of 16 MiB at least, and more only of 64 MiB each. A shard costs half a page of each class (with eight shards
//! instead of four, 256 MiB hold .6 % less; with four instead of one, 16 MiB hold 3 % less), and its policy learns from
//! its own part only (two of 8 MiB took twice as long to let go of an old working set as one of 16).

use super::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::shard::homes_for;
use crate::slab::{MAX_ARENA, MAX_VALUE_LEN};

/// The smallest limit there can be.
const LEAST_MEMORY: u64 = 64 << 10;
/// The least memory from which a miss-ratio curve can be learnt.
const LEAST_CURVE: u64 = 256 << 10;
const MAX_SHARDS: usize = 1024;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) page_size: usize,
    pub(crate) shards: usize,
    pub(crate) address_space: usize,
    /// Less address space than this will not do.
    pub(crate) least_space: usize,
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidConfig, message)
}

impl Geometry {
    pub(crate) fn choose(config: &Config) -> Result<Geometry> {
        let limit = config.max_memory;
        if limit < LEAST_MEMORY {
            return Err(invalid(format!("max_memory is {limit} bytes; it must be at least {LEAST_MEMORY}")));
        }
        if limit > 1 << 42 {
            return Err(invalid(format!("max_memory is {limit} bytes; at most 4 TiB can be addressed")));
        }
        if config.reserved_memory > limit.saturating_sub(LEAST_MEMORY) {
            let most = limit - LEAST_MEMORY;
            return Err(invalid(format!(
                "reserved_memory is {} bytes; with a max_memory of {limit} it may be at most {most}",
                config.reserved_memory
            )));
        }
        if config.curve_bytes > 0 {
            let most = limit.saturating_sub(config.reserved_memory + LEAST_MEMORY);
            if !(LEAST_CURVE..=most).contains(&config.curve_bytes) {
                return Err(invalid(format!(
                    "miss_ratio_curve is {} bytes; with this max_memory it must be from {LEAST_CURVE} to {most}",
                    config.curve_bytes
                )));
            }
        }
        let max_item = config.settings.max_item_size;
        if max_item == 0 || max_item > MAX_VALUE_LEN {
            return Err(invalid(format!("max_item_size is {max_item}; it must be from 1 to {MAX_VALUE_LEN}")));
        }
        // Of what is for the cache itself: a curve's memory is beside it.
        let own = limit - config.curve_bytes;
        let page_size = match config.page_size {
            None => Self::page_size_for(own),
            Some(size) if size.is_power_of_two() && (1 << 10..=4 << 20).contains(&size) => size,
            Some(size) => {
                return Err(invalid(format!("page_size is {size}; it must be a power of two from 1 KiB to 4 MiB")));
            }
        };
        if config.threads == Some(0) {
            return Err(invalid("threads is 0; leave it out, or say how many threads will write".to_owned()));
        }
        let namespaces = config.settings.namespaces;
        if !(1..=256).contains(&namespaces) {
            return Err(invalid(format!("namespaces is {namespaces}; it must be from 1 to 256")));
        }
        if config.samples == 0 {
            return Err(invalid("samples is 0; at least 1 item must be looked at for a victim".to_owned()));
        }
        if config.settings.tokens && !config.settings.check_and_set {
            return Err(invalid("tokens is on and check_and_set off: there are no tokens without it".to_owned()));
        }
        let shards = match config.shards {
            None => Self::shards_for(own, config.threads),
            Some(n) if n.is_power_of_two() && n <= MAX_SHARDS => n,
            Some(n) => return Err(invalid(format!("shards is {n}; it must be a power of two from 1 to {MAX_SHARDS}"))),
        };
        if (shards * page_size * 4) as u64 > own {
            return Err(invalid(format!(
                "{shards} shards with pages of {page_size} bytes need at least {} bytes of max_memory, the miss-ratio \
                 curve not counted; it is {limit}",
                shards * page_size * 4
            )));
        }
        // Large values need neighbouring pages, and address space of all sizes splinters: with 1.25 times the limit, a
        // fifth of large sets found none.
        let least_space = (limit as usize * 4).min(MAX_ARENA);
        let address_space = match config.address_space {
            None => (limit as usize).saturating_mul(16).clamp(1 << 30, MAX_ARENA),
            Some(space) if (least_space..=MAX_ARENA).contains(&space) => space,
            Some(space) => {
                return Err(invalid(format!(
                    "address_space is {space} bytes; with this max_memory it must be from {least_space} to {MAX_ARENA}"
                )));
            }
        };
        Ok(Geometry { page_size, shards, address_space, least_space })
    }

    /// What a cache of this size would be made of, if it were built like this one.
    pub(crate) fn of_size(config: &Config, limit: u64) -> Geometry {
        let page_size = config.page_size.unwrap_or_else(|| Self::page_size_for(limit));
        let shards = config.shards.unwrap_or_else(|| Self::shards_for(limit, config.threads));
        Geometry { page_size, shards, address_space: 0, least_space: 0 }
    }

    fn page_size_for(limit: u64) -> usize {
        let wanted = limit.isqrt() as usize;
        let least = if limit >= 4 << 20 { 8 << 10 } else { 4 << 10 };
        (wanted.next_power_of_two() / if wanted.is_power_of_two() { 1 } else { 2 }).clamp(least, 64 << 10)
    }

    fn shards_for(limit: u64, threads: Option<usize>) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, |n| n.get());
        let most = threads.unwrap_or_else(cores).min(MAX_SHARDS) * 4;
        let most = most.next_power_of_two().min(MAX_SHARDS);
        let wanted = (limit >> 24).clamp(1, 4).max(limit >> 26) as usize;
        if wanted.is_power_of_two() { wanted.min(most) } else { (wanted.next_power_of_two() / 2).min(most) }
    }

    /// Buckets that a shard's table may grow to: enough for the smallest items in twice its part of the address space.
    pub(crate) fn max_buckets(address_space: usize, chunk_size: usize, shards: usize) -> u64 {
        (address_space / chunk_size / shards * 2 / 4).max(64) as u64
    }

    /// Buckets that a shard's table begins with and keeps: room for `items` in all shards together, within an eighth of
    /// the limit.
    pub(crate) fn least_buckets(limit: u64, items: u64, shards: usize) -> u64 {
        let most = limit / 8 / 64 / shards as u64;
        homes_for(items.div_ceil(shards as u64)).min(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_a_megabyte_to_hundreds_of_gigabytes() {
        for (limit, page) in
            [(1 << 20, 4 << 10), (16 << 20, 8 << 10), (256 << 20, 16 << 10), (2 << 30, 32 << 10), (400 << 30, 64 << 10)]
        {
            assert_eq!(Geometry::page_size_for(limit), page, "limit {limit}");
            let shards = Geometry::shards_for(limit, None);
            let least = if shards > 4 { 64 << 20 } else { 16 << 20 };
            assert!(shards.is_power_of_two() && (shards == 1 || limit / shards as u64 >= least));
        }
    }

    #[test]
    fn threads_are_a_hint_for_shards() {
        for (threads, shards) in [(1, 4), (2, 8), (3, 16), (8, 32), (usize::MAX, 1024)] {
            assert_eq!(Geometry::shards_for(1 << 40, Some(threads)), shards, "{threads} threads");
        }
        assert_eq!(Geometry::shards_for(1 << 20, Some(8)), 1, "no shard is made too small");
    }

    #[test]
    fn the_first_table_is_as_large_as_asked_within_reason() {
        assert_eq!(Geometry::least_buckets(1 << 30, 0, 1), 0);
        assert_eq!(Geometry::least_buckets(1 << 30, 63_000, 1), 10_000);
        assert_eq!(Geometry::least_buckets(1 << 30, 63_000, 4), 2_500);
        assert_eq!(Geometry::least_buckets(1 << 20, u64::MAX, 2), 1024, "an eighth of the limit at most");
    }
}
