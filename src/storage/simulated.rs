//! A disk for tests: deterministic by a seed, it keeps what was synced, loses or tears the rest at a crash, and fails
//! at the call that it is told.
//!
//! ```text
//!  file:   durable bytes │ pending: write 0..40, write 40..90, cut 60 │ bytes as they are read now
//!  names:  durable       │ pending: link a, rename a → b, unlink c     │ names as they are now
//! ```
//! A crash lets each pending write of a file happen, whole, in part, or not at all, in any combination (a disk may
//! write them in any order), and a beginning of the pending changes of names. Handles from before it are dead.
//!
//! Invariants:
//! 1. What is read while there is no crash is what was written.
//! 2. When a sync has failed, what was pending is lost at the next crash, even if a later sync succeeds: that is how
//!    Linux does it.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use parking_lot::Mutex;

use super::memory::{read_from, write_into};
use super::{Storage, StoredFile, check_name};

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A write writes, and a read reads, fewer bytes than asked for; other calls are not concerned.
    Short,
    /// A write, or the making of a name, finds the disk full; a write may have written part of its bytes. Other calls
    /// are not concerned.
    NoSpace,
    /// An error of the device, for any call.
    Io,
}

/// What kind of call it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum CallKind {
    Create,
    Open,
    Rename,
    Remove,
    List,
    SyncDir,
    Len,
    Read,
    Write,
    Truncate,
    Sync,
}

/// A call that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Which it was, and of which file (for a rename: the new name).
    pub kind: CallKind,
    /// The file's name when it was opened.
    pub name: String,
    /// Where a write began, the length of a cut.
    pub offset: u64,
    /// How many bytes were to be written or read.
    pub len: u64,
    /// Whether it succeeded.
    pub ok: bool,
}

#[derive(Debug)]
enum Pending {
    Write(u64, Vec<u8>),
    Cut(u64),
}

#[derive(Debug, Default)]
struct Inode {
    durable: Vec<u8>,
    now: Vec<u8>,
    pending: Vec<Pending>,
    locked: bool,
}

#[derive(Debug)]
enum NameChange {
    Link(String, usize),
    Rename(String, String),
    Unlink(String),
}

#[derive(Debug)]
struct Disk {
    random: u64,
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    pending_names: Vec<NameChange>,
    crashes: u64,
    faults: Vec<(u64, Fault, bool)>,
    trace: Vec<Call>,
    full: bool,
}

/// See the module. Clones are the same disk.
#[derive(Debug, Clone)]
pub struct SimulatedDisk(Arc<Mutex<Disk>>);

impl Disk {
    fn random(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        crate::policy::mix(self.random) % below.max(1)
    }

    /// Notes a call, and says how it is to fail.
    fn call(&mut self, kind: CallKind, name: &str, offset: u64, len: u64) -> Option<Fault> {
        let index = self.trace.len() as u64;
        let due = |&&(at, _, for_good): &&(u64, Fault, bool)| at == index || (for_good && at < index);
        let mut fault = self.faults.iter().find(due).map(|&(_, fault, _)| fault);
        if self.full && fault.is_none() {
            fault = Some(Fault::NoSpace);
        }
        let concerned = match fault {
            Some(Fault::Short) => matches!(kind, CallKind::Write | CallKind::Read) && len > 1,
            Some(Fault::NoSpace) => matches!(kind, CallKind::Write | CallKind::Create),
            Some(Fault::Io) => true,
            None => false,
        };
        let fault = fault.filter(|_| concerned);
        let ok = fault.is_none_or(|fault| fault == Fault::Short);
        self.trace.push(Call { kind, name: name.to_owned(), offset, len, ok });
        fault
    }

    /// The same for calls that either succeed or fail.
    fn plain_call(&mut self, kind: CallKind, name: &str) -> Result<()> {
        match self.call(kind, name, 0, 0) {
            None | Some(Fault::Short) => Ok(()),
            Some(Fault::NoSpace) => Err(ErrorKind::StorageFull.into()),
            Some(Fault::Io) => Err(io_error()),
        }
    }

    fn change(names: &mut BTreeMap<String, usize>, change: NameChange) {
        match change {
            NameChange::Link(name, inode) => {
                names.insert(name, inode);
            }
            NameChange::Rename(from, to) => {
                if let Some(inode) = names.remove(&from) {
                    names.insert(to, inode);
                }
            }
            NameChange::Unlink(name) => {
                names.remove(&name);
            }
        }
    }

    fn crash(&mut self) {
        let kept = self.random(self.pending_names.len() as u64 + 1) as usize;
        let pending = std::mem::take(&mut self.pending_names);
        pending.into_iter().take(kept).for_each(|change| Self::change(&mut self.durable_names, change));
        self.names = self.durable_names.clone();
        for i in 0..self.inodes.len() {
            for pending in std::mem::take(&mut self.inodes[i].pending) {
                // Half of the time all of it happened, so that long runs of writes survive now and then.
                let fate = self.random(4);
                let part = match &pending {
                    Pending::Write(_, bytes) => self.random(bytes.len() as u64 + 1) as usize,
                    Pending::Cut(_) => 0,
                };
                let durable = &mut self.inodes[i].durable;
                match (pending, fate) {
                    (_, 0) => {}
                    (Pending::Write(at, bytes), 1) => drop(write_into(durable, &bytes[..part], at)),
                    (Pending::Write(at, bytes), _) => drop(write_into(durable, &bytes, at)),
                    (Pending::Cut(len), _) => durable.resize(len as usize, 0),
                }
            }
            let inode = &mut self.inodes[i];
            inode.now = inode.durable.clone();
            inode.locked = false;
        }
        self.crashes += 1;
        self.faults.clear();
        self.full = false;
    }
}

fn io_error() -> Error {
    Error::other("input/output error (simulated)")
}

impl SimulatedDisk {
    /// An empty disk, whose chances follow from `seed`.
    pub fn new(seed: u64) -> SimulatedDisk {
        SimulatedDisk(Arc::new(Mutex::new(Disk {
            random: seed,
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending_names: Vec::new(),
            crashes: 0,
            faults: Vec::new(),
            trace: Vec::new(),
            full: false,
        })))
    }

    /// The machine loses its power, and comes up again: see the module. Planned faults are forgotten.
    pub fn crash(&self) {
        self.0.lock().crash();
    }

    /// Lets the call of this number fail, counted from the disk's beginning (see [`calls`](Self::calls)); with
    /// `for_good` all after it too.
    pub fn fail_at(&self, call: u64, fault: Fault, for_good: bool) {
        self.0.lock().faults.push((call, fault, for_good));
    }

    /// Lets writes find no room, or room again.
    pub fn set_full(&self, full: bool) {
        self.0.lock().full = full;
    }

    /// Calls made so far.
    pub fn calls(&self) -> u64 {
        self.0.lock().trace.len() as u64
    }

    /// All calls made so far, in order.
    pub fn trace(&self) -> Vec<Call> {
        self.0.lock().trace.clone()
    }
}

/// A handle.
#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    inode: usize,
    name: String,
    /// Crashes before it was opened.
    crashes: u64,
    has_lock: AtomicBool,
}

impl SimulatedFile {
    fn boxed(disk: &SimulatedDisk, inode: usize, name: &str, crashes: u64) -> Box<dyn StoredFile> {
        let (disk, name) = (disk.clone(), name.to_owned());
        Box::new(SimulatedFile { disk, inode, name, crashes, has_lock: AtomicBool::new(false) })
    }

    fn with<R>(&self, f: impl FnOnce(&mut Disk) -> Result<R>) -> Result<R> {
        let mut disk = self.disk.0.lock();
        if disk.crashes != self.crashes {
            return Err(Error::other("the machine has crashed since this file was opened (simulated)"));
        }
        f(&mut disk)
    }
}

impl Drop for SimulatedFile {
    fn drop(&mut self) {
        if *self.has_lock.get_mut() {
            let _ = self.with(|disk| {
                disk.inodes[self.inode].locked = false;
                Ok(())
            });
        }
    }
}

impl Storage for SimulatedDisk {
    fn create(&self, name: &str) -> Result<Box<dyn StoredFile>> {
        check_name(name)?;
        let mut disk = self.0.lock();
        disk.plain_call(CallKind::Create, name)?;
        let crashes = disk.crashes;
        if let Some(&inode) = disk.names.get(name) {
            disk.inodes[inode].now.clear();
            disk.inodes[inode].pending.push(Pending::Cut(0));
            return Ok(SimulatedFile::boxed(self, inode, name, crashes));
        }
        let inode = disk.inodes.len();
        disk.inodes.push(Inode::default());
        disk.names.insert(name.to_owned(), inode);
        disk.pending_names.push(NameChange::Link(name.to_owned(), inode));
        Ok(SimulatedFile::boxed(self, inode, name, crashes))
    }

    fn open(&self, name: &str) -> Result<Box<dyn StoredFile>> {
        let mut disk = self.0.lock();
        disk.plain_call(CallKind::Open, name)?;
        let inode = *disk.names.get(name).ok_or(ErrorKind::NotFound)?;
        Ok(SimulatedFile::boxed(self, inode, name, disk.crashes))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        check_name(to)?;
        let mut disk = self.0.lock();
        disk.plain_call(CallKind::Rename, to)?;
        if !disk.names.contains_key(from) {
            return Err(ErrorKind::NotFound.into());
        }
        Disk::change(&mut disk.names, NameChange::Rename(from.to_owned(), to.to_owned()));
        disk.pending_names.push(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<()> {
        let mut disk = self.0.lock();
        disk.plain_call(CallKind::Remove, name)?;
        disk.names.remove(name).ok_or(ErrorKind::NotFound)?;
        disk.pending_names.push(NameChange::Unlink(name.to_owned()));
        Ok(())
    }

    fn list(&self) -> Result<Vec<String>> {
        let mut disk = self.0.lock();
        disk.plain_call(CallKind::List, "")?;
        Ok(disk.names.keys().cloned().collect())
    }

    fn sync_dir(&self) -> Result<()> {
        let mut disk = self.0.lock();
        disk.plain_call(CallKind::SyncDir, "")?;
        disk.pending_names.clear();
        disk.durable_names = disk.names.clone();
        Ok(())
    }
}

impl StoredFile for SimulatedFile {
    fn len(&self) -> Result<u64> {
        self.with(|disk| {
            disk.plain_call(CallKind::Len, &self.name)?;
            Ok(disk.inodes[self.inode].now.len() as u64)
        })
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.with(|disk| {
            let wanted = buffer.len();
            let part = match disk.call(CallKind::Read, &self.name, offset, wanted as u64) {
                None | Some(Fault::NoSpace) => wanted,
                Some(Fault::Short) => 1 + disk.random(wanted as u64 - 1) as usize,
                Some(Fault::Io) => return Err(io_error()),
            };
            Ok(read_from(&disk.inodes[self.inode].now, &mut buffer[..part], offset))
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<usize> {
        self.with(|disk| {
            let fault = disk.call(CallKind::Write, &self.name, offset, bytes.len() as u64);
            let part = match fault {
                None => bytes.len(),
                Some(Fault::Short) => 1 + disk.random(bytes.len() as u64 - 1) as usize,
                Some(Fault::NoSpace | Fault::Io) => disk.random(bytes.len() as u64) as usize,
            };
            let inode = &mut disk.inodes[self.inode];
            write_into(&mut inode.now, &bytes[..part], offset)?;
            inode.pending.push(Pending::Write(offset, bytes[..part].to_vec()));
            match fault {
                Some(Fault::NoSpace) => Err(ErrorKind::StorageFull.into()),
                Some(Fault::Io) => Err(io_error()),
                None | Some(Fault::Short) => Ok(part),
            }
        })
    }

    fn truncate(&self, len: u64) -> Result<()> {
        self.with(|disk| match disk.call(CallKind::Truncate, &self.name, len, 0) {
            Some(Fault::Io) => Err(io_error()),
            _ => {
                let inode = &mut disk.inodes[self.inode];
                inode.now.resize(len as usize, 0);
                inode.pending.push(Pending::Cut(len));
                Ok(())
            }
        })
    }

    fn sync(&self) -> Result<()> {
        self.with(|disk| {
            let synced = disk.plain_call(CallKind::Sync, &self.name);
            let inode = &mut disk.inodes[self.inode];
            let pending = std::mem::take(&mut inode.pending);
            synced?;
            for pending in pending {
                match pending {
                    Pending::Write(at, bytes) => write_into(&mut inode.durable, &bytes, at)?,
                    Pending::Cut(len) => inode.durable.resize(len as usize, 0),
                }
            }
            Ok(())
        })
    }

    fn try_lock(&self) -> Result<bool> {
        self.with(|disk| {
            let taken = !std::mem::replace(&mut disk.inodes[self.inode].locked, true);
            self.has_lock.fetch_or(taken, SeqCst);
            Ok(taken)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_keeps_what_was_synced_and_any_part_of_the_rest() {
        let mut lengths = [0; 3];
        for seed in 0..200 {
            let disk = SimulatedDisk::new(seed);
            let file = disk.create("a").unwrap();
            file.write_all_at(b"synced", 0).unwrap();
            file.sync().unwrap();
            disk.sync_dir().unwrap();
            file.write_all_at(b"+more", 6).unwrap();
            disk.rename("a", "b").unwrap();
            disk.crash();
            assert!(file.len().is_err());
            let names = disk.list().unwrap();
            assert!(names == ["a"] || names == ["b"]);
            let bytes = disk.read(&names[0]).unwrap();
            assert!(bytes.starts_with(b"synced") && b"synced+more".starts_with(&bytes));
            lengths[match bytes.len() {
                6 => 0,
                11 => 2,
                _ => 1,
            }] += 1;
        }
        assert!(lengths.iter().all(|&n| n > 10), "{lengths:?}");
    }

    #[test]
    fn a_file_whose_name_was_not_synced_may_be_gone() {
        let gone = (0..100).filter(|&seed| {
            let disk = SimulatedDisk::new(seed);
            disk.create("a").unwrap().sync().unwrap();
            disk.crash();
            disk.list().unwrap().is_empty()
        });
        assert!((20..80).contains(&gone.count()));
    }

    #[test]
    fn what_a_failed_sync_left_behind_is_lost_though_the_next_one_succeeds() {
        let disk = SimulatedDisk::new(0);
        let file = disk.create("a").unwrap();
        disk.sync_dir().unwrap();
        file.write_all_at(b"1", 0).unwrap();
        disk.fail_at(disk.calls(), Fault::Io, false);
        assert!(file.sync().is_err());
        file.sync().unwrap();
        assert_eq!(disk.read("a").unwrap(), b"1");
        disk.crash();
        assert_eq!(disk.read("a").unwrap(), b"");
    }

    #[test]
    fn faults_come_where_they_were_asked_for() {
        let disk = SimulatedDisk::new(3);
        let file = disk.create("a").unwrap();
        disk.fail_at(1, Fault::Short, false);
        let n = file.write_at(b"hello", 0).unwrap();
        assert!((1..5).contains(&n));
        disk.fail_at(2, Fault::NoSpace, true);
        assert_eq!(file.write_at(b"hello", 0).unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(disk.create("b").unwrap_err().kind(), ErrorKind::StorageFull);
        assert!(file.sync().is_ok(), "syncing needs no room");
        let kinds: Vec<_> = disk.trace().iter().map(|call| (call.kind, call.ok)).collect();
        let expected =
            [(CallKind::Create, true), (CallKind::Write, true), (CallKind::Write, false), (CallKind::Create, false)];
        assert_eq!(kinds[..4], expected);
    }
}
