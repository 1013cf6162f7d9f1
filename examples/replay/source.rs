//! Where requests come from: a trace file or the built-in workload, read in batches.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Failure;
use crate::args::Args;
use crate::rng::mix;
use crate::trace::{Reader, Request, TraceError};
use crate::workload::Workload;

/// Requests read at a time: few enough to stay small (8 MiB), enough that starting threads for them costs nothing.
pub(crate) const BATCH_REQUESTS: usize = 256 << 10;

/// The keys stored are at least this long: the number itself.
const KEY_NUMBER_BYTES: u32 = 8;

/// Something that can be played.
#[derive(Debug)]
pub(crate) enum Source {
    Builtin,
    File(PathBuf),
}

impl Source {
    /// What the tables call it: the file's name without its extensions.
    pub(crate) fn name(&self) -> String {
        match self {
            Source::Builtin => "built-in".to_string(),
            Source::File(path) => {
                let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
                let name = name.trim_end_matches(".zst");
                name.rsplit_once('.').map_or(name, |(stem, _)| stem).to_string()
            }
        }
    }

    /// Begins at the first request.
    pub(crate) fn open(&self, args: &Args) -> Result<Stream, Failure> {
        let left = args.requests.unwrap_or(u64::MAX);
        let (requests, bytes): (Box<dyn Iterator<Item = _>>, _) = match self {
            Source::Builtin => (Box::new(Workload::new(args.seed).map(Ok)), None),
            Source::File(path) => {
                let told = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
                let file = File::open(path).map_err(|error| format!("cannot open {}: {error}", path.display()))?;
                let total = file.metadata().map_err(|error| told(&error))?.len();
                let read = Arc::new(AtomicU64::new(0));
                let counted = Counted { inner: file, read: Arc::clone(&read) };
                let reader =
                    Reader::new(counted, args.format, &path.to_string_lossy()).map_err(|error| told(&error))?;
                (Box::new(reader), Some((read, total)))
            }
        };
        let place = match self {
            Source::Builtin => self.name(),
            Source::File(path) => path.display().to_string(),
        };
        Ok(Stream { requests, place, bytes, given: 0, left })
    }
}

/// The requests of one pass over a source.
pub(crate) struct Stream {
    requests: Box<dyn Iterator<Item = Result<Request, TraceError>>>,
    /// What an error is put down to.
    place: String,
    /// Bytes of the file read so far, and all of them.
    bytes: Option<(Arc<AtomicU64>, u64)>,
    given: u64,
    left: u64,
}

impl Stream {
    /// Replaces `batch` by the next requests; empty at the end.
    pub(crate) fn fill(&mut self, batch: &mut Vec<Request>) -> Result<(), Failure> {
        batch.clear();
        let wanted = self.left.min(BATCH_REQUESTS as u64);
        for request in self.requests.by_ref().take(wanted as usize) {
            batch.push(request.map_err(|error| format!("{}: {error}", self.place))?);
        }
        self.given += batch.len() as u64;
        self.left -= batch.len() as u64;
        Ok(())
    }

    /// How much of the source has been given out, 0 to 1.
    pub(crate) fn fraction(&self) -> f64 {
        let of_requests = self.given as f64 / self.given.saturating_add(self.left).max(1) as f64;
        let of_bytes = self
            .bytes
            .as_ref()
            .map_or(0.0, |(read, total)| read.load(Ordering::Relaxed) as f64 / (*total).max(1) as f64);
        of_requests.max(of_bytes)
    }
}

/// Counts the bytes that go through.
struct Counted<R> {
    inner: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.inner.read(buffer)?;
        self.read.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}

/// Bytes of the key and of the value that a request's object is stored with.
#[inline]
pub(crate) fn stored_lengths(request: &Request, value_size: u32) -> (usize, usize) {
    let key = KEY_NUMBER_BYTES.max(u32::from(request.key_size));
    let value = if request.size <= 1 { value_size } else { request.size.saturating_sub(key) };
    (key as usize, value as usize)
}

/// The size of everything in a trace, each object once (at its largest).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Footprint {
    pub(crate) objects: u64,
    /// By the trace's sizes.
    pub(crate) traced_bytes: u64,
    /// As they are stored: keys and values.
    pub(crate) stored_bytes: u64,
}

impl Footprint {
    pub(crate) fn of(source: &Source, args: &Args, progress: impl Fn(f64)) -> Result<Self, Failure> {
        let mut stream = source.open(args)?;
        let mut batch = Vec::with_capacity(BATCH_REQUESTS);
        let mut objects: HashMap<u64, (u32, u32)> = HashMap::new();
        loop {
            stream.fill(&mut batch)?;
            if batch.is_empty() {
                break;
            }
            for request in &batch {
                let (key, value) = stored_lengths(request, args.value_size);
                let (traced, stored) = objects.entry(request.key).or_default();
                *traced = (*traced).max(request.size);
                *stored = (*stored).max((key + value) as u32);
            }
            progress(stream.fraction());
        }
        let (traced_bytes, stored_bytes) = objects
            .values()
            .fold((0, 0), |(traced, stored), object| (traced + u64::from(object.0), stored + u64::from(object.1)));
        Ok(Footprint { objects: objects.len() as u64, traced_bytes, stored_bytes })
    }
}

/// Which of `lanes` threads plays a key.
#[inline]
pub(crate) fn lane_of(key: u64, lanes: usize) -> usize {
    ((u128::from(mix(key)) * lanes as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Op;

    #[test]
    fn objects_are_stored_with_the_traced_size() {
        let sized = |size, key_size| Request { time_ms: 0, key: 1, size, ttl_s: 0, key_size, op: Op::Get };
        assert_eq!(stored_lengths(&sized(300, 0), 100), (8, 292));
        assert_eq!(stored_lengths(&sized(300, 40), 100), (40, 260));
        assert_eq!(stored_lengths(&sized(30, 40), 100), (40, 0));
        assert_eq!(stored_lengths(&sized(1, 0), 100), (8, 100));
    }

    #[test]
    fn names_are_short() {
        assert_eq!(Source::File("/x/kv.head.csv.zst".into()).name(), "kv.head");
        assert_eq!(Source::File("trace".into()).name(), "trace");
        assert!((0..1000).all(|key| lane_of(key, 3) < 3));
    }
}
