//! Exact textbook versions of LRU, S3-FIFO and SIEVE, to hold the engine's policies against, and a reader for the
//! traces.
//!
//! Plain on purpose: each keeps a queue of keys and does what its paper says, for items of any size. Capacities are in
//! bytes, or in objects when every size is 1.
#![allow(dead_code, reason = "each test uses a part")]

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{BufRead, BufReader};
use std::path::Path;

/// A cache that only knows who is in.
pub(crate) trait Oracle {
    /// Asks for a key: true when it was there; else it is inserted, if the policy stores it at all.
    fn request(&mut self, key: u64, size: u64) -> bool;
}

/// A trace of requests with the constant size of every key.
pub(crate) struct Trace {
    pub(crate) requests: Vec<(u64, u64)>,
    /// Unique keys, and the sum of their sizes.
    pub(crate) keys: u64,
    pub(crate) bytes: u64,
}

impl Trace {
    /// Reads `timestamp_s,key,size_bytes,ttl_s,op` lines, compressed with zstd.
    pub(crate) fn read(path: &Path) -> Result<Trace, Box<dyn std::error::Error>> {
        let mut decoder = zstd::stream::read::Decoder::new(std::fs::File::open(path)?)?;
        decoder.window_log_max(27)?;
        let mut sizes = HashMap::new();
        let mut requests = Vec::new();
        for (number, line) in BufReader::new(decoder).lines().enumerate().skip(1) {
            let line = line?;
            let mut fields = line.split(',').skip(1);
            let (Some(key), Some(size)) = (fields.next(), fields.next()) else {
                return Err(format!("{}:{}: fewer than three fields", path.display(), number + 1).into());
            };
            let (key, size) = (key.parse()?, size.parse()?);
            sizes.insert(key, size);
            requests.push((key, size));
        }
        Ok(Trace { requests, keys: sizes.len() as u64, bytes: sizes.values().sum() })
    }

    /// Share of the requests that miss, and of the bytes.
    pub(crate) fn miss_ratios(&self, sized: bool, mut request: impl FnMut(u64, u64) -> bool) -> (f64, f64) {
        let (mut misses, mut missed_bytes, mut bytes) = (0u64, 0u64, 0u64);
        for &(key, size) in &self.requests {
            let size = if sized { size } else { 1 };
            bytes += size;
            if !request(key, size) {
                misses += 1;
                missed_bytes += size;
            }
        }
        (misses as f64 / self.requests.len() as f64, missed_bytes as f64 / bytes as f64)
    }
}

/// Least recently used.
#[derive(Default)]
pub(crate) struct Lru {
    capacity: u64,
    used: u64,
    time: u64,
    items: HashMap<u64, (u64, u64)>,
    by_time: BTreeMap<u64, u64>,
}

impl Lru {
    pub(crate) fn new(capacity: u64) -> Self {
        Lru { capacity, ..Lru::default() }
    }
}

impl Oracle for Lru {
    fn request(&mut self, key: u64, size: u64) -> bool {
        self.time += 1;
        if let Some((last_use, _)) = self.items.get_mut(&key) {
            self.by_time.remove(last_use);
            *last_use = self.time;
            self.by_time.insert(self.time, key);
            return true;
        }
        if size > self.capacity {
            return false;
        }
        while self.used + size > self.capacity {
            let (_, oldest) = self.by_time.pop_first().unwrap();
            self.used -= self.items.remove(&oldest).unwrap().1;
        }
        self.items.insert(key, (self.time, size));
        self.by_time.insert(self.time, key);
        self.used += size;
        false
    }
}

/// S3-FIFO with the paper's parameters: small 10 %, promotion of what was used twice, a ghost of the size of main.
pub(crate) struct S3Fifo {
    small_capacity: u64,
    main_capacity: u64,
    small: VecDeque<u64>,
    main: VecDeque<u64>,
    small_used: u64,
    main_used: u64,
    /// Size, uses (at most 3).
    items: HashMap<u64, (u64, u8)>,
    ghost: VecDeque<u64>,
    ghost_used: u64,
    ghost_sizes: HashMap<u64, u64>,
}

impl S3Fifo {
    pub(crate) fn new(capacity: u64) -> Self {
        let small_capacity = (capacity / 10).max(1);
        S3Fifo {
            small_capacity,
            main_capacity: capacity - small_capacity,
            small: VecDeque::new(),
            main: VecDeque::new(),
            small_used: 0,
            main_used: 0,
            items: HashMap::new(),
            ghost: VecDeque::new(),
            ghost_used: 0,
            ghost_sizes: HashMap::new(),
        }
    }

    fn evict_small(&mut self) {
        let Some(key) = self.small.pop_front() else { return };
        let item = self.items.get_mut(&key).unwrap();
        self.small_used -= item.0;
        if item.1 > 1 {
            item.1 = 0;
            self.main_used += item.0;
            self.main.push_back(key);
            return;
        }
        let (size, _) = self.items.remove(&key).unwrap();
        self.ghost.push_back(key);
        self.ghost_used += size;
        self.ghost_sizes.insert(key, size);
        while self.ghost_used > self.main_capacity {
            // A key that came back is in the queue without being remembered; its room was given back at once.
            let oldest = self.ghost.pop_front().unwrap();
            self.ghost_used -= self.ghost_sizes.remove(&oldest).unwrap_or(0);
        }
    }

    fn evict_main(&mut self) {
        let Some(key) = self.main.pop_front() else { return };
        let item = self.items.get_mut(&key).unwrap();
        if item.1 > 0 {
            item.1 -= 1;
            self.main.push_back(key);
        } else {
            self.main_used -= item.0;
            self.items.remove(&key);
        }
    }
}

impl Oracle for S3Fifo {
    fn request(&mut self, key: u64, size: u64) -> bool {
        if let Some(item) = self.items.get_mut(&key) {
            item.1 = (item.1 + 1).min(3);
            return true;
        }
        let remembered = self.ghost_sizes.remove(&key);
        if let Some(size) = remembered {
            self.ghost_used -= size;
            self.ghost.retain(|&other| other != key);
        }
        let room = if remembered.is_some() { self.main_capacity } else { self.small_capacity };
        if size > room {
            return false;
        }
        while self.small_used + self.main_used + size > self.small_capacity + self.main_capacity {
            if self.main_used > self.main_capacity || self.small.is_empty() {
                self.evict_main();
            } else {
                self.evict_small();
            }
        }
        self.items.insert(key, (size, 0));
        if remembered.is_some() {
            self.main.push_back(key);
            self.main_used += size;
        } else {
            self.small.push_back(key);
            self.small_used += size;
        }
        false
    }
}

/// SIEVE: one queue, and a hand that goes from the oldest to the newest.
#[derive(Default)]
pub(crate) struct Sieve {
    capacity: u64,
    used: u64,
    /// Size, visited, time of insertion.
    items: HashMap<u64, (u64, bool, u64)>,
    /// The queue, oldest first.
    queue: BTreeMap<u64, u64>,
    time: u64,
    /// The hand is at the first item from here on.
    hand: u64,
}

impl Sieve {
    pub(crate) fn new(capacity: u64) -> Self {
        Sieve { capacity, ..Sieve::default() }
    }
}

impl Oracle for Sieve {
    fn request(&mut self, key: u64, size: u64) -> bool {
        if let Some(item) = self.items.get_mut(&key) {
            item.1 = true;
            return true;
        }
        if size > self.capacity {
            return false;
        }
        while self.used + size > self.capacity {
            let Some((&inserted, &under)) = self.queue.range(self.hand..).next() else {
                return false;
            };
            // Past the newest item the hand is at the oldest at once, before anything newer arrives.
            let more = self.queue.range(inserted + 1..).next().is_some();
            self.hand = if more { inserted + 1 } else { 0 };
            let item = self.items.get_mut(&under).unwrap();
            if item.1 {
                item.1 = false;
            } else {
                self.used -= item.0;
                self.items.remove(&under);
                self.queue.remove(&inserted);
            }
        }
        self.time += 1;
        self.items.insert(key, (size, false, self.time));
        self.queue.insert(self.time, key);
        self.used += size;
        false
    }
}
