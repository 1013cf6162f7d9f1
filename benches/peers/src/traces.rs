//! Real traces: the files of a folder, read as larder's examples read them.
//!
//! An object is a key of 20 bytes and a value of the traced size. In traces of blocks, where every size is 1, a value
//! is a block of 512 bytes. Deletes are passed over; a traced set is played as what follows a miss.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::Failure;
use crate::child::VALUE_BYTES_MAX;
use crate::contender::KEY_BYTES;
use crate::trace::{Op, Reader};

/// The value of an object in a trace without sizes.
const BLOCK_BYTES: u32 = 512;

/// One trace, in memory.
#[derive(Debug, Clone)]
pub(crate) struct Trace {
    pub(crate) name: String,
    /// Object and size of its value, request by request.
    pub(crate) requests: Vec<(u64, u32)>,
    /// Every object once, in the order in which they first came.
    pub(crate) objects: Vec<(u64, u32)>,
}

impl Trace {
    /// Bytes of all objects' keys and values.
    pub(crate) fn footprint(&self) -> u64 {
        self.objects.iter().map(|&(_, size)| u64::from(size) + KEY_BYTES as u64).sum()
    }

    /// The mean object.
    pub(crate) fn object_bytes(&self) -> u64 {
        (self.footprint() / self.objects.len().max(1) as u64).max(1)
    }

    fn load(path: &Path) -> Result<Trace, Failure> {
        let told = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let file = File::open(path).map_err(|error| told(&error))?;
        let mut requests = Vec::new();
        for request in Reader::new(file, None, &name).map_err(|error| told(&error))? {
            let request = request.map_err(|error| told(&error))?;
            if request.op != Op::Delete {
                requests.push((request.key, request.size.clamp(1, VALUE_BYTES_MAX as u32)));
            }
        }
        let name = name.split('.').next().unwrap_or_default().to_owned();
        Ok(Trace::new(name, requests))
    }

    fn new(name: String, mut requests: Vec<(u64, u32)>) -> Trace {
        if requests.iter().all(|&(_, size)| size == 1) {
            requests.iter_mut().for_each(|(_, size)| *size = BLOCK_BYTES);
        }
        let mut seen = hashbrown::HashSet::new();
        let objects = requests.iter().filter(|(key, _)| seen.insert(*key)).copied().collect();
        Trace { name, requests, objects }
    }
}

/// The files of a folder that can be traces, by name.
pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let is_trace = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        path.is_file() && [".csv", ".csv.zst", ".lis", ".lis.zst", ".bin", ".zst"].iter().any(|end| name.ends_with(end))
    };
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_trace).collect();
    files.sort();
    Ok(files)
}

/// Reads one of them.
pub(crate) fn load(path: &Path) -> Result<Trace, Failure> {
    Trace::load(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_a_size_and_objects_come_once() {
        let trace = Trace::new("t".into(), vec![(5, 1), (6, 1), (5, 1)]);
        assert_eq!(trace.objects, [(5, 512), (6, 512)]);
        assert_eq!((trace.footprint(), trace.object_bytes()), (2 * 532, 532));
        let trace = Trace::new("t".into(), vec![(5, 1), (6, 7)]);
        assert_eq!(trace.requests, [(5, 1), (6, 7)]);
    }
}
