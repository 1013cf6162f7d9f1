//! The cache's side: it is filled, saved with nobody and with everybody writing, and loaded again.

use std::error::Error;
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use larder::Cache;
use larder::snapshot::{Compression, RestoreOptions, SnapshotOptions};
use larder::storage::{Files, Storage, StoredFile};

use super::{Args, Row, fill_value, key_of};
use crate::process::memory_bytes;

/// A storage that takes so many bytes a second and no more.
#[derive(Debug)]
struct Slow {
    inner: Files,
    bytes_a_second: f64,
}

#[derive(Debug)]
struct SlowFile {
    inner: Box<dyn StoredFile>,
    bytes_a_second: f64,
    /// When the next byte may be written.
    free_at: Mutex<Instant>,
}

impl Storage for Slow {
    fn create(&self, name: &str) -> io::Result<Box<dyn StoredFile>> {
        let inner = self.inner.create(name)?;
        let (bytes_a_second, free_at) = (self.bytes_a_second, Mutex::new(Instant::now()));
        Ok(Box::new(SlowFile { inner, bytes_a_second, free_at }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn StoredFile>> {
        self.inner.open(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.inner.sync_dir()
    }
}

impl StoredFile for SlowFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let n = self.inner.write_at(bytes, offset)?;
        let wait = {
            let mut free_at = self.free_at.lock().map_err(|_| io::Error::other("a thread panicked"))?;
            let now = Instant::now();
            *free_at = (*free_at).max(now) + Duration::from_secs_f64(n as f64 / self.bytes_a_second);
            free_at.saturating_duration_since(now)
        };
        std::thread::sleep(wait);
        Ok(n)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.inner.truncate(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.inner.sync()
    }
}

/// What threads that write and read all the time have seen.
#[derive(Debug, Default)]
struct Load {
    writes: AtomicU64,
    longest_write: AtomicU64,
    longest_read: AtomicU64,
    most_resident: AtomicU64,
}

/// Rewrites every key, again and again, and reads others, while `work` runs.
fn under_load<R>(args: &Args, cache: &Cache, work: impl FnOnce() -> R) -> (R, Load) {
    let (stop, load, count) = (AtomicBool::new(false), Load::default(), args.count());
    let done = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut value = vec![0; args.value];
            for number in (0..count).cycle() {
                fill_value(&mut value, number, 1);
                let begun = Instant::now();
                let stored = cache.set(&key_of(number), &value);
                load.longest_write.fetch_max(begun.elapsed().as_nanos() as u64, Relaxed);
                load.writes.fetch_add(1, Relaxed);
                if stored.is_err() || stop.load(Relaxed) {
                    return;
                }
            }
        });
        scope.spawn(|| {
            while !stop.load(Relaxed) {
                let begun = Instant::now();
                cache.read(&key_of(load.writes.load(Relaxed).wrapping_mul(7) % count), |value| value.len());
                load.longest_read.fetch_max(begun.elapsed().as_nanos() as u64, Relaxed);
                load.most_resident.fetch_max(memory_bytes("VmRSS").unwrap_or_default(), Relaxed);
                // Nobody reads without pause, and the machine has few cores.
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        let done = work();
        stop.store(true, Relaxed);
        done
    });
    (done, load)
}

fn resident() -> f64 {
    memory_bytes("VmRSS").unwrap_or_default() as f64
}

const MS: f64 = 1e6;
const MIB: f64 = 1_048_576.0;

/// Measures everything and shows it row by row.
pub(crate) fn measure(args: &Args, folder: &Path, mut show: impl FnMut(&Row)) -> Result<(), Box<dyn Error>> {
    let files = || Files::new(folder);
    let limit = (args.gib * f64::from(1 << 30)) as u64;
    let cache = Cache::builder().max_memory(limit).build()?;
    let mut value = vec![0; args.value];
    for number in 0..args.count() {
        fill_value(&mut value, number, 0);
        cache.set(&key_of(number), &value)?;
    }
    let payload = cache.memory().payload_bytes as f64;
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        if !compression.is_supported() {
            continue;
        }
        let (storage, begun) = (files()?, Instant::now());
        let info = cache.snapshot_to(&storage, "idle", &SnapshotOptions::new().compression(compression))?;
        let seconds = begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        let other = Cache::builder().max_memory(limit).build()?;
        other.restore_from(&storage, "idle", &RestoreOptions::new())?;
        let load = begun.elapsed().as_secs_f64();
        show(&Row {
            name: format!("larder, nobody writes, compression {compression:?}"),
            figures: vec![
                ("save, MB/s", payload / seconds / 1e6),
                ("load, MB/s", payload / load / 1e6),
                ("file, part of the payload", info.file_bytes as f64 / payload),
            ],
        });
    }
    let ((), usual) = under_load(args, &cache, || std::thread::sleep(Duration::from_secs(5)));
    show(&row("larder, every key rewritten, no snapshot", &usual, Vec::new()));
    let kept_up: &dyn Storage = &files()?;
    let slow: &dyn Storage = &Slow { inner: files()?, bytes_a_second: args.sink * 1e6 };
    for (storage, what) in
        [(kept_up, "storage not held".to_owned()), (slow, format!("storage held to {} MB/s", args.sink))]
    {
        let (mut most, before, begun) = (0, resident(), Instant::now());
        let (taken, load) = under_load(args, &cache, || {
            cache.snapshot_with(storage, "loaded", &SnapshotOptions::new(), |progress| {
                most = most.max(progress.buffer_most);
                std::ops::ControlFlow::Continue(())
            })
        });
        let (info, seconds) = (taken?, begun.elapsed().as_secs_f64());
        let extra = load.most_resident.load(Relaxed) as f64 - before;
        let figures = vec![
            ("extra memory, MiB", extra / MIB),
            ("most in the buffer, MiB", most as f64 / MIB),
            ("longest hold of a lock so far, ms", hold(&cache) as f64 / MS),
            ("save, MB/s", info.payload_bytes as f64 / seconds / 1e6),
        ];
        show(&row(&format!("larder, every key rewritten, {what}"), &load, figures));
    }
    Ok(())
}

fn hold(cache: &Cache) -> u64 {
    cache.stats().longest_lock_hold_ns
}

fn row(name: &str, load: &Load, more: Vec<(&'static str, f64)>) -> Row {
    let mut figures = vec![
        ("longest write, ms", load.longest_write.load(Relaxed) as f64 / MS),
        ("longest read, ms", load.longest_read.load(Relaxed) as f64 / MS),
        ("writes", load.writes.load(Relaxed) as f64),
    ];
    figures.extend(more);
    Row { name: name.to_owned(), figures }
}
