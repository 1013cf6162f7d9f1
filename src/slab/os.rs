//! What larder asks of the operating system: reserved address space of which parts are committed and given back, and a
//! cheap clock. Mapping itself is `memmap2`'s.
//!
//! A region may be a file's bytes instead of anonymous memory: what is committed is then allocated in the file, so
//! that a full disk is an error and not a signal, and what is given back becomes a hole.
//!
//! ```text
//!   reserved (address space only) ─────────────────────────────────────────►
//!   ┌──────────────┬───────────┬──────────────┬─────────────────────────────┐
//!   │ committed    │ given back│ committed    │ never touched               │
//!   └──────────────┴───────────┴──────────────┴─────────────────────────────┘
//! ```
//!
//! Invariants:
//! 1. A region stays mapped, readable and writable over its whole length until it is dropped. A part that was never
//!    committed, or was given back, reads as zeros.
//!    Of a region over a file this holds as long as nobody makes the file shorter: it is as long as the region, and
//!    locked by who opened it (`warm::home`).
//! 2. Nothing here decides who may touch which bytes: that is argued where the bytes are used.
#![allow(unsafe_code)]

use std::fs::File;

use memmap2::{Advice, MmapOptions, MmapRaw, UncheckedAdvice};

use crate::error::{Error, ErrorKind, Result};

/// The granularity in which memory is committed and given back. 4 KiB pages are assumed for the arithmetic of the
/// ledger; on systems with larger pages the figures are those of 4 KiB pages, rounded by the system.
pub(crate) const OS_PAGE: usize = 4096;

/// Rounds up to whole operating-system pages.
pub(crate) const fn os_pages(bytes: usize) -> usize {
    bytes.div_ceil(OS_PAGE) * OS_PAGE
}

/// A stretch of reserved address space.
#[derive(Debug)]
pub(crate) struct Region {
    map: MmapRaw,
    lock_memory: bool,
    /// The file whose bytes these are; anonymous memory without.
    file: Option<File>,
}

/// Refuses the n-th commit and all after it; for tests of what happens when the system has no memory to give.
#[cfg(test)]
pub(crate) mod faults {
    use std::cell::Cell;
    thread_local! {
        static COMMITS_LEFT: Cell<u64> = const { Cell::new(u64::MAX) };
    }
    pub(crate) fn fail_after_commits(n: u64) {
        COMMITS_LEFT.with(|c| c.set(n));
    }
    pub(super) fn refuse() -> bool {
        COMMITS_LEFT.with(|c| {
            let left = c.get();
            if left != u64::MAX {
                c.set(left.saturating_sub(1));
            }
            left == 0
        })
    }
}

impl Region {
    /// Reserves `len` bytes of address space (at least one page). Costs no memory until it is touched.
    pub(crate) fn reserve(len: usize, huge_pages: bool, lock_memory: bool) -> Result<Region> {
        let len = os_pages(len.max(1));
        let map = MmapOptions::new()
            .len(len)
            .no_reserve_swap()
            .map_anon()
            .map_err(|e| Error::os(format!("cannot reserve {len} bytes of address space"), e))?;
        let region = Region { map: MmapRaw::from(map), lock_memory, file: None };
        #[cfg(target_os = "linux")]
        if huge_pages {
            // Only a hint: a system without huge pages works all the same.
            let _ = region.map.advise(Advice::HugePage);
        }
        let _ = huge_pages;
        Ok(region)
    }

    /// The first `len` bytes of a file, which is made exactly so long. What was never committed is a hole.
    pub(crate) fn over(file: File, len: usize, huge_pages: bool, lock_memory: bool) -> Result<Region> {
        let len = os_pages(len.max(1));
        let has = file.metadata().map_err(|e| storage("cannot look at the file behind the memory", e))?.len();
        if has != len as u64 {
            if len as u64 > largest_file() {
                let refused = std::io::Error::from(std::io::ErrorKind::FileTooLarge);
                return Err(storage(&format!("a file may not have {len} bytes here (see RLIMIT_FSIZE)"), refused));
            }
            file.set_len(len as u64)
                .map_err(|e| storage(&format!("cannot make the file behind the memory {len} bytes long"), e))?;
        }
        let map = MmapOptions::new()
            .len(len)
            .no_reserve_swap()
            .map_raw(&file)
            .map_err(|e| Error::os(format!("cannot map {len} bytes of a file"), e))?;
        #[cfg(target_os = "linux")]
        if huge_pages {
            // Only a hint, as in `reserve`.
            let _ = map.advise(Advice::HugePage);
        }
        let _ = huge_pages;
        Ok(Region { map, lock_memory, file: Some(file) })
    }

    /// Allocates `[offset, offset + len)` in the file behind the region, so that no touch of it can fail. What is there
    /// already stays as it is. Nothing to do without a file.
    fn allocate(&self, offset: usize, len: usize) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let (start, end) = (offset / OS_PAGE * OS_PAGE, os_pages(offset + len).min(self.len()));
        file_space(file, start, end - start, false)
            .map_err(|e| Error::os(format!("cannot allocate {len} bytes in the file behind the memory"), e))
    }

    #[inline(always)]
    pub(crate) fn base(&self) -> *mut u8 {
        self.map.as_mut_ptr()
    }

    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    /// Makes `[offset, offset + len)` real memory now, so that a lack of it is an error here and not a signal later.
    pub(crate) fn commit(&self, offset: usize, len: usize) -> Result<()> {
        #[cfg(test)]
        if faults::refuse() {
            let refused = std::io::Error::from(std::io::ErrorKind::OutOfMemory);
            return Err(Error::os(format!("cannot commit {len} bytes"), refused));
        }
        self.allocate(offset, len)?;
        let (start, end) = (offset / OS_PAGE * OS_PAGE, os_pages(offset + len).min(self.len()));
        #[cfg(target_os = "linux")]
        if let Err(e) = self.map.advise_range(Advice::PopulateWrite, start, end - start) {
            // EINVAL: a kernel before 5.14; the pages are then made when they are touched.
            if e.raw_os_error() != Some(libc::EINVAL) {
                return Err(Error::os(format!("cannot commit {len} bytes"), e));
            }
        }
        self.lock(start, end - start)
    }

    /// Makes a part that holds something already safe to touch, without a change of what it holds: it may come from a
    /// file in which it is a hole by now.
    pub(crate) fn keep(&self, offset: usize, len: usize) -> Result<()> {
        self.allocate(offset, len)?;
        let (start, end) = (offset / OS_PAGE * OS_PAGE, os_pages(offset + len).min(self.len()));
        self.lock(start, end - start)
    }

    /// Keeps whole pages from being swapped out, if that was asked for.
    fn lock(&self, start: usize, len: usize) -> Result<()> {
        #[cfg(unix)]
        if self.lock_memory {
            // SAFETY: invariant 1 - the range lies inside this mapping; locking does not change its contents.
            let rc = unsafe { libc::mlock(self.base().add(start).cast(), len) };
            if rc != 0 {
                let e = std::io::Error::last_os_error();
                return Err(Error::os(format!("cannot lock {len} bytes in memory (see RLIMIT_MEMLOCK)"), e));
            }
        }
        Ok(())
    }

    /// Gives the whole pages inside `[offset, offset + len)` back to the system. They read as zeros afterwards.
    ///
    /// The caller makes sure that nobody relies on what they hold.
    pub(crate) fn give_back(&self, offset: usize, len: usize) {
        let (start, end) = (os_pages(offset), (offset + len) / OS_PAGE * OS_PAGE);
        if start >= end {
            return;
        }
        #[cfg(unix)]
        if self.lock_memory {
            // SAFETY: as in `commit`; locked pages could not be given back.
            unsafe { libc::munlock(self.base().add(start).cast(), end - start) };
        }
        if let Some(file) = &self.file {
            // A file system that can make no holes was refused when the cache was built.
            let _ = file_space(file, start, end - start, true);
            return;
        }
        // SAFETY: the mapping is anonymous and private, so the pages become zero pages: still readable and writable,
        // and invariant 1 allows for it. All shared access to them is through atomics or starts after a new commit.
        let _ = unsafe { self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, end - start) };
    }
}

fn storage(what: &str, e: std::io::Error) -> Error {
    Error::caused(ErrorKind::Storage, format!("{what}: {e}"), e.into())
}

/// Bytes that a file of this process may have: one that would get longer is a signal, not an error.
fn largest_file() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for one result.
    let rc = unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit) };
    if rc == 0 { limit.rlim_cur } else { u64::MAX }
}

/// Allocates a stretch of a file, or (`hole`) gives it back; the file's length stays.
#[cfg(target_os = "linux")]
pub(crate) fn file_space(file: &File, start: usize, len: usize, hole: bool) -> std::io::Result<()> {
    use std::os::fd::AsRawFd;
    let mode = if hole { libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE } else { libc::FALLOC_FL_KEEP_SIZE };
    loop {
        // SAFETY: a call on an open descriptor with plain numbers. Through a mapping of the file, holes read as zeros,
        // which invariant 1 allows for; all shared access to them is through atomics or starts after a new commit.
        if unsafe { libc::fallocate(file.as_raw_fd(), mode, start as libc::off_t, len as libc::off_t) } == 0 {
            return Ok(());
        }
        let e = std::io::Error::last_os_error();
        if e.kind() != std::io::ErrorKind::Interrupted {
            return Err(e);
        }
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn file_space(_: &File, _: usize, _: usize, _: bool) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// The number of the user whose rights this process has.
pub(crate) fn process_user() -> u32 {
    // SAFETY: a call without arguments that cannot fail.
    unsafe { libc::geteuid() }
}

/// Bytes that are free on the file system of a file, as far as the system says.
pub(crate) fn free_space(file: &File) -> Option<u64> {
    use std::os::fd::AsRawFd;
    let mut of = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: `of` is a valid place for one result, all of whose fields may be zero; the descriptor is open.
    let of = unsafe {
        let rc = libc::fstatvfs(file.as_raw_fd(), of.as_mut_ptr());
        (rc == 0).then(|| of.assume_init())
    }?;
    // Without a limit of its own, a file system in memory says 0 of 0.
    if of.f_blocks == 0 {
        return None;
    }
    Some((of.f_bavail as u64).saturating_mul(of.f_frsize as u64))
}

/// Asks for a cache line.
#[inline(always)]
pub(crate) fn prefetch<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint; it touches no memory as far as the program can see, and faults on no address.
    #[allow(unused_unsafe)]
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    let _ = at;
}

/// Milliseconds of a monotonic clock that is cheap to read, from an arbitrary start.
#[inline]
pub(crate) fn coarse_monotonic_ms() -> u64 {
    #[cfg(target_os = "linux")]
    {
        let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `t` is a valid place for one timespec; the clock exists since Linux 2.6.32.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut t) };
        t.tv_sec as u64 * 1000 + t.tv_nsec as u64 / 1_000_000
    }
    #[cfg(not(target_os = "linux"))]
    {
        use std::sync::OnceLock;
        use std::time::Instant;
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_millis() as u64
    }
}

/// Nanoseconds of CPU time that the calling thread has used; 0 where the system does not say.
pub(crate) fn thread_cpu_ns() -> u64 {
    #[cfg(target_os = "linux")]
    {
        let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `t` is a valid place for one timespec.
        unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut t) };
        t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
    }
    #[cfg(not(target_os = "linux"))]
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_and_gives_back() {
        let region = Region::reserve(1 << 20, false, false).unwrap();
        region.commit(8192, 8192).unwrap();
        // SAFETY: inside the mapping, and nobody else knows it.
        unsafe {
            region.base().add(8192).write(7);
            assert_eq!(region.base().add(8192).read(), 7);
        }
        region.give_back(8192, 8192);
        // SAFETY: as above; invariant 1 says it reads as zero.
        unsafe { assert_eq!(region.base().add(8192).read(), 0) };
    }

    #[test]
    fn impossible_reservation_is_an_error() {
        assert_eq!(Region::reserve(1 << 60, false, false).unwrap_err().kind(), crate::ErrorKind::Os);
    }
}
