//! What the cache is asked for: the built-in workload, or a trace again and again.

use std::fs::File;
use std::path::PathBuf;

use crate::Failure;
use crate::trace::{Reader, Request};
use crate::workload::Workload;

/// Keys are at least this long: the number itself.
const KEY_BYTES: u32 = 8;

/// See the module.
pub(crate) struct Load {
    requests: Box<dyn Iterator<Item = Result<Request, String>>>,
    /// The trace that is begun again at its end.
    path: Option<PathBuf>,
    /// Time that the earlier rounds took, and the time in this one.
    before_ms: u64,
    round_ms: u64,
    first_ms: Option<u64>,
}

fn open(path: &PathBuf) -> Result<Box<dyn Iterator<Item = Result<Request, String>>>, Failure> {
    let told = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let file = File::open(path).map_err(|error| format!("cannot open {}: {error}", path.display()))?;
    let name = path.to_string_lossy().into_owned();
    let reader = Reader::new(file, None, &name).map_err(|error| told(&error))?;
    Ok(Box::new(reader.map(move |request| request.map_err(|error| format!("{name}: {error}")))))
}

impl Load {
    pub(crate) fn new(path: Option<PathBuf>, seed: u64) -> Result<Load, Failure> {
        let requests = match &path {
            Some(path) => open(path)?,
            None => Box::new(Workload::new(seed).map(Ok)),
        };
        Ok(Load { requests, path, before_ms: 0, round_ms: 0, first_ms: None })
    }

    pub(crate) fn name(&self) -> String {
        let file = self.path.as_ref().and_then(|path| path.file_name());
        file.map_or("built-in workload".to_owned(), |name| name.to_string_lossy().into_owned())
    }

    /// The next request, with a time that goes on from round to round.
    pub(crate) fn next(&mut self) -> Result<Request, Failure> {
        let request = match (self.requests.next(), &self.path) {
            (Some(request), _) => request?,
            (None, Some(path)) => {
                self.requests = open(path)?;
                self.before_ms += self.round_ms + 1;
                (self.round_ms, self.first_ms) = (0, None);
                self.requests.next().ok_or_else(|| format!("{} has no requests", path.display()))??
            }
            (None, None) => return Err("the workload has ended".into()),
        };
        let first = *self.first_ms.get_or_insert(request.time_ms);
        self.round_ms = self.round_ms.max(request.time_ms.saturating_sub(first));
        Ok(Request { time_ms: self.before_ms + self.round_ms, ..request })
    }
}

/// Bytes of the key and of the value that a request's object is stored with.
pub(crate) fn lengths(request: &Request, value_size: u32) -> (usize, usize) {
    let key = KEY_BYTES.max(u32::from(request.key_size));
    let value = if request.size <= 1 { value_size } else { request.size.saturating_sub(key) };
    (key as usize, value as usize)
}
