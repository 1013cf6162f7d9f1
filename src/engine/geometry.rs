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
use crate::slab::MAX_VALUE_LEN;

/// The smallest limit there can be.
const LEAST_MEMORY: u64 = 64 << 10;
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
        let max_item = config.settings.max_item_size;
        if max_item == 0 || max_item > MAX_VALUE_LEN {
            return Err(invalid(format!("max_item_size is {max_item}; it must be from 1 to {MAX_VALUE_LEN}")));
        }
        let page_size = match config.page_size {
            None => Self::page_size_for(limit),
            Some(size) if size.is_power_of_two() && (1 << 10..=4 << 20).contains(&size) => size,
            Some(size) => {
                return Err(invalid(format!("page_size is {size}; it must be a power of two from 1 KiB to 4 MiB")));
            }
        };
        let shards = match config.shards {
            None => Self::shards_for(limit),
            Some(n) if n.is_power_of_two() && n <= MAX_SHARDS => n,
            Some(n) => return Err(invalid(format!("shards is {n}; it must be a power of two from 1 to {MAX_SHARDS}"))),
        };
        if (shards * page_size * 4) as u64 > limit {
            return Err(invalid(format!(
                "{shards} shards with pages of {page_size} bytes need at least {} bytes of max_memory; it is {limit}",
                shards * page_size * 4
            )));
        }
        // Large values need neighbouring pages, and address space of all sizes splinters: with 1.25 times the limit, a
        // fifth of large sets found none.
        let least_space = limit as usize * 4;
        let address_space = match config.address_space {
            None => (limit as usize).saturating_mul(16).clamp(1 << 30, 8 << 40),
            Some(space) if space >= least_space => space,
            Some(space) => {
                return Err(invalid(format!("address_space is {space} bytes; it must be at least {least_space}")));
            }
        };
        Ok(Geometry { page_size, shards, address_space, least_space })
    }

    fn page_size_for(limit: u64) -> usize {
        let wanted = limit.isqrt() as usize;
        let least = if limit >= 4 << 20 { 8 << 10 } else { 4 << 10 };
        (wanted.next_power_of_two() / if wanted.is_power_of_two() { 1 } else { 2 }).clamp(least, 64 << 10)
    }

    fn shards_for(limit: u64) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        let most = (4 * cores).next_power_of_two().min(MAX_SHARDS);
        let wanted = (limit >> 24).clamp(1, 4).max(limit >> 26) as usize;
        if wanted.is_power_of_two() { wanted.min(most) } else { (wanted.next_power_of_two() / 2).min(most) }
    }

    /// Buckets that a shard's table may grow to: enough for the smallest items in twice its part of the address space.
    pub(crate) fn max_buckets(address_space: usize, chunk_size: usize, shards: usize) -> u64 {
        (address_space / chunk_size / shards * 2 / 4).max(64) as u64
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
            let shards = Geometry::shards_for(limit);
            let least = if shards > 4 { 64 << 20 } else { 16 << 20 };
            assert!(shards.is_power_of_two() && (shards == 1 || limit / shards as u64 >= least));
        }
    }
}
