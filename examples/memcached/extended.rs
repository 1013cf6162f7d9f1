//! `-o name=value,...`: what memcached knows there. A few settings do something here; the others belong to parts that
//! memcached is made of and larder is not (LRU queues, the crawler's pace, chunked items): they are checked as
//! memcached checks them, and reported by `stats settings`.

use crate::options::number;

/// See the module. Names and defaults are memcached's.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Extended {
    pub(crate) maxconns_fast: bool,
    pub(crate) idle_timeout: u64,
    pub(crate) hashpower: u32,
    pub(crate) slab_reassign: bool,
    /// None: as larder does if nothing else is said, which is at once.
    pub(crate) slab_automove: Option<u8>,
    pub(crate) slab_automove_ratio: f64,
    pub(crate) slab_automove_window: u32,
    pub(crate) slab_chunk_max: usize,
    pub(crate) tail_repair_time: u32,
    pub(crate) lru_crawler: bool,
    pub(crate) lru_crawler_sleep: u32,
    pub(crate) lru_crawler_tocrawl: u32,
    pub(crate) lru_maintainer: bool,
    pub(crate) hot_lru_pct: u32,
    pub(crate) warm_lru_pct: u32,
    pub(crate) hot_max_factor: f64,
    pub(crate) warm_max_factor: f64,
    pub(crate) temporary_ttl: Option<u32>,
    /// Bytes.
    pub(crate) watcher_logbuf_size: usize,
    /// Bytes.
    pub(crate) worker_logbuf_size: usize,
    /// MiB; 0 for no limit.
    pub(crate) read_buf_mem_limit: usize,
    pub(crate) track_sizes: bool,
    /// Test commands are there.
    pub(crate) relaxed_privileges: bool,
    pub(crate) tls_certificates: Option<String>,
    pub(crate) tls_key: Option<String>,
}

impl Default for Extended {
    fn default() -> Self {
        Extended {
            maxconns_fast: true,
            idle_timeout: 0,
            hashpower: 0,
            slab_reassign: true,
            slab_automove: None,
            slab_automove_ratio: 0.8,
            slab_automove_window: 10,
            slab_chunk_max: 512 << 10,
            tail_repair_time: 0,
            lru_crawler: true,
            lru_crawler_sleep: 100,
            lru_crawler_tocrawl: 0,
            lru_maintainer: true,
            hot_lru_pct: 20,
            warm_lru_pct: 40,
            hot_max_factor: 0.2,
            warm_max_factor: 2.0,
            temporary_ttl: None,
            watcher_logbuf_size: 256 << 10,
            worker_logbuf_size: 64 << 10,
            read_buf_mem_limit: 0,
            track_sizes: false,
            relaxed_privileges: false,
            tls_certificates: None,
            tls_key: None,
        }
    }
}

/// Takes over one `-o`.
pub(crate) fn set_extended(extended: &mut Extended, text: &str) -> Result<(), String> {
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (part, None),
        };
        set_one(extended, name, value)?;
    }
    if extended.hot_lru_pct + extended.warm_lru_pct > 80 {
        return Err("-o: hot_lru_pct and warm_lru_pct are more than 80 together".into());
    }
    Ok(())
}

fn set_one(extended: &mut Extended, name: &str, value: Option<&str>) -> Result<(), String> {
    let full = format!("-o {name}");
    let needed = || value.filter(|v| !v.is_empty()).ok_or_else(|| format!("{full} needs a value: {name}=..."));
    macro_rules! within {
        ($least:expr, $most:expr) => {
            number(&full, needed()?, $least, $most)?
        };
    }
    match name {
        "maxconns_fast" => extended.maxconns_fast = true,
        "no_maxconns_fast" => extended.maxconns_fast = false,
        "idle_timeout" => extended.idle_timeout = within!(0, u64::from(u32::MAX)),
        "hashpower" => extended.hashpower = within!(12, 32),
        "slab_reassign" => extended.slab_reassign = true,
        "no_slab_reassign" => extended.slab_reassign = false,
        "slab_automove" => extended.slab_automove = Some(if value.is_some() { within!(0, 2) } else { 1 }),
        "no_slab_automove" => extended.slab_automove = Some(0),
        "slab_automove_ratio" => extended.slab_automove_ratio = within!(0.001, 1.0),
        "slab_automove_window" => extended.slab_automove_window = within!(3, 1800),
        "slab_chunk_max" => extended.slab_chunk_max = within!(1, 1024usize) << 10,
        "no_chunked_items" => extended.slab_chunk_max = 1 << 20,
        "tail_repair_time" => extended.tail_repair_time = within!(10, u32::MAX),
        // Larder has its own.
        "hash_algorithm" => {
            let algorithm = needed()?;
            if !["jenkins", "murmur3", "xxh3"].contains(&algorithm) {
                return Err(format!("{full}: '{algorithm}' is not jenkins, murmur3 or xxh3"));
            }
        }
        "lru_crawler" => extended.lru_crawler = true,
        "no_lru_crawler" => extended.lru_crawler = false,
        "lru_crawler_sleep" => extended.lru_crawler_sleep = within!(0, 1_000_000),
        "lru_crawler_tocrawl" => extended.lru_crawler_tocrawl = within!(0, u32::MAX),
        "lru_maintainer" => extended.lru_maintainer = true,
        "no_lru_maintainer" => extended.lru_maintainer = false,
        "hot_lru_pct" => extended.hot_lru_pct = within!(1, 79),
        "warm_lru_pct" => extended.warm_lru_pct = within!(1, 79),
        "hot_max_factor" => extended.hot_max_factor = within!(0.001, 1e9),
        "warm_max_factor" => extended.warm_max_factor = within!(0.001, 1e9),
        "temporary_ttl" => extended.temporary_ttl = Some(within!(0, u32::MAX)),
        "watcher_logbuf_size" => extended.watcher_logbuf_size = within!(1, 1usize << 20) << 10,
        "worker_logbuf_size" => extended.worker_logbuf_size = within!(1, 1usize << 20) << 10,
        "read_buf_mem_limit" => extended.read_buf_mem_limit = within!(0, 1usize << 20),
        "track_sizes" => extended.track_sizes = true,
        "relaxed_privileges" => extended.relaxed_privileges = true,
        "ssl_chain_cert" => extended.tls_certificates = Some(needed()?.into()),
        "ssl_key" => extended.tls_key = Some(needed()?.into()),
        "no_modern" => {
            (extended.lru_crawler, extended.lru_maintainer) = (false, false);
            (extended.slab_reassign, extended.slab_automove) = (false, Some(0));
            (extended.maxconns_fast, extended.slab_chunk_max) = (false, 1 << 20);
        }
        "modern" | "no_hashexpand" | "inline_ascii_resp" | "no_inline_ascii_resp" | "no_drop_privileges" => {}
        _ => return Err(format!("-o: there is no '{name}'")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_test_suite_passes_is_understood() {
        for text in [
            "no_modern",
            "no_modern,slab_chunk_max=4",
            "slab_chunk_max=16",
            "read_buf_mem_limit=1",
            "modern,slab_automove_window=3",
            "idle_timeout=3",
            "no_modern,lru_crawler",
            "lru_maintainer,lru_crawler,temporary_ttl=61",
            "slab_reassign,no_slab_automove",
            "no_lru_crawler,slab_reassign,slab_automove=0,slab_chunk_max=16",
            "watcher_logbuf_size=8",
        ] {
            set_extended(&mut Extended::default(), text).unwrap();
        }
    }

    #[test]
    fn values_are_checked() {
        for text in ["slab_automove=3", "hashpower=11", "idle_timeout", "idle_timeout=x", "lru", "hot_lru_pct=50"] {
            assert!(set_extended(&mut Extended::default(), text).is_err(), "{text}");
        }
        let mut extended = Extended::default();
        set_extended(&mut extended, "no_maxconns_fast,idle_timeout=7,watcher_logbuf_size=8").unwrap();
        assert_eq!((extended.maxconns_fast, extended.idle_timeout, extended.watcher_logbuf_size), (false, 7, 8192));
    }
}
