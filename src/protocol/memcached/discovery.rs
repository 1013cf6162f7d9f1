//! Auto discovery: a few named values that tell clients which nodes a cluster has.
//!
//! A value is the version of the list, a new line, the nodes as `host|ip|port` in alphabetical order with spaces
//! between them, and a new line. Clients ask for it by `config get cluster`, old ones by the key
//! `AmazonElastiCache:cluster`, which is no item of the cache.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::error::{Error, ErrorKind, Result};

/// The key under which old clients ask.
pub(super) const OLD_KEY: &[u8] = b"AmazonElastiCache:cluster";
/// What the old key and `config get cluster` are about.
pub(super) const CLUSTER: &[u8] = b"cluster";

#[derive(Debug, Clone)]
struct Entry {
    flags: u32,
    value: Vec<u8>,
}

/// The entries.
#[derive(Debug)]
pub(super) struct Discovery {
    entries: Mutex<BTreeMap<Box<[u8]>, Entry>>,
    most: usize,
    longest: usize,
}

impl Discovery {
    pub(super) fn new(most: usize, longest: usize) -> Discovery {
        Discovery { entries: Mutex::default(), most, longest }
    }

    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    pub(super) fn len(&self) -> usize {
        self.entries.lock().len()
    }

    pub(super) fn get(&self, name: &[u8]) -> Option<(u32, Vec<u8>)> {
        self.entries.lock().get(name).map(|entry| (entry.flags, entry.value.clone()))
    }

    fn put(&self, entries: &mut BTreeMap<Box<[u8]>, Entry>, name: &[u8], entry: Entry) -> Result<()> {
        let (len, longest, most) = (entry.value.len(), self.longest, self.most);
        if len > longest {
            let what = format!("the entry has {len} bytes; config_size_max is {longest}");
            return Err(Error::new(ErrorKind::NotAllowed, what));
        }
        if entries.len() >= most && !entries.contains_key(name) {
            let what = format!("there are {most} entries already; config_max is {most}");
            return Err(Error::new(ErrorKind::NotAllowed, what));
        }
        entries.insert(name.into(), entry);
        Ok(())
    }

    pub(super) fn set(&self, name: &[u8], flags: u32, value: &[u8]) -> Result<()> {
        self.put(&mut self.entries.lock(), name, Entry { flags, value: value.to_vec() })
    }

    pub(super) fn delete(&self, name: &[u8]) -> bool {
        self.entries.lock().remove(name).is_some()
    }

    pub(super) fn set_nodes(&self, name: &str, nodes: &[(&str, &str, u16)]) -> Result<()> {
        let mut nodes: Vec<String> = nodes.iter().map(|(host, ip, port)| format!("{host}|{ip}|{port}")).collect();
        nodes.sort();
        let mut entries = self.entries.lock();
        let version = entries.get(name.as_bytes()).map_or(0, |entry| version_of(&entry.value)) + 1;
        let value = format!("{version}\n{}\n", nodes.join(" ")).into_bytes();
        self.put(&mut entries, name.as_bytes(), Entry { flags: 0, value })
    }
}

/// The version at the head of a value; 0 if there is none.
fn version_of(value: &[u8]) -> u64 {
    let line = value.split(|&byte| byte == b'\n').next().unwrap_or_default();
    super::parse::number(line.trim_ascii()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_is_a_version_more() {
        let discovery = Discovery::new(1, 40);
        discovery.set_nodes("cluster", &[("b", "", 2), ("a", "1.2.3.4", 1)]).unwrap();
        discovery.set_nodes("cluster", &[("b", "", 2)]).unwrap();
        assert_eq!(discovery.get(CLUSTER), Some((0, b"2\nb||2\n".to_vec())));
        assert_eq!(discovery.set(b"other", 0, b"").unwrap_err().kind(), ErrorKind::NotAllowed);
        assert_eq!(discovery.set(CLUSTER, 0, &[b'x'; 41]).unwrap_err().kind(), ErrorKind::NotAllowed);
        assert!(discovery.delete(CLUSTER) && !discovery.delete(CLUSTER));
    }
}
