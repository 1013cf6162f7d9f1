//! Warm restart: a cache whose items are in a file, and which a later process goes on with where this one stopped.
//!
//! ```text
//!  folder/
//!    items   the item memory itself: every page at its place; its first bytes name this run
//!    state   index, units, numbers: written by a clean close alone, taken away before the next cache touches anything
//! ```
//! | file | what |
//! |---|---|
//! | `home` | the folder: its lock, its files, what was found there |
//! | `state` | the bytes of `state`: header, sections, sums |
//! | `close` | a cache into `state` |
//! | `open` | and back: everything is verified, or nothing is used |
//!
//! Invariants:
//! 1. While a cache runs there is no `state`. So a process that ends otherwise than by a clean close leaves none, and
//!    the next one starts cold.
//! 2. `items` is locked from before it is first looked at until nothing touches it any more.
//! 3. `state` names the run whose `items` it was written for; a pair of different runs is refused.
//! 4. No byte of either file is trusted: whatever they hold, opening ends in a cache whose invariants hold.
//!
//! `docs/warm-restart.md` has the layout byte by byte.

mod close;
mod home;
mod open;
mod state;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) use home::Home;

/// Where a cache keeps its items over a restart: see [`CacheBuilder::warm_restart`](crate::CacheBuilder::warm_restart).
///
/// # Examples
/// ```
/// use larder::{Cache, Start, WarmRestart};
/// let folder = std::env::temp_dir().join(format!("larder-warm-doc-{}", std::process::id()));
/// let build = || Cache::builder().max_memory(4 << 20).warm_restart(WarmRestart::new(&folder)).build();
/// let cache = build()?;
/// cache.set(b"greeting", b"hello")?;
/// cache.close()?;
///
/// let cache = build()?;
/// assert!(matches!(cache.start(), Some(Start::Warm(_))));
/// assert_eq!(cache.get(b"greeting")?.as_deref(), Some(&b"hello"[..]));
/// # drop(cache);
/// # std::fs::remove_dir_all(folder).unwrap();
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct WarmRestart {
    folder: PathBuf,
    checksums: bool,
}

impl WarmRestart {
    /// In this folder, which is made if it is not there. It holds one cache at a time and nothing else. In a folder of
    /// a file system in memory (`/dev/shm`), items outlast the process and not the machine; elsewhere they outlast
    /// both.
    ///
    /// # Examples
    /// ```
    /// let warm = larder::WarmRestart::new("/dev/shm/sessions");
    /// ```
    pub fn new(folder: impl Into<PathBuf>) -> WarmRestart {
        WarmRestart { folder: folder.into(), checksums: false }
    }

    /// Whether items' bytes are summed up at the close and compared at the opening. Default: no: index, tables, headers
    /// and keys are verified all the same, but a value that was damaged on the disk goes unnoticed. With sums, closing
    /// and opening read every byte once.
    ///
    /// # Examples
    /// ```
    /// let warm = larder::WarmRestart::new("/var/cache/sessions").checksums(true);
    /// ```
    pub fn checksums(mut self, yes: bool) -> WarmRestart {
        self.checksums = yes;
        self
    }
}

/// How a cache with a [`WarmRestart`] has begun.
///
/// # Examples
/// See [`WarmRestart`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// With what the last one held.
    Warm(WarmStart),
    /// Empty.
    Cold(ColdStart),
}

/// What a cache has begun with.
///
/// # Examples
/// See [`WarmRestart`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WarmStart {
    /// Items, those whose time is over included.
    pub items: u64,
    /// Bytes of pages and large values.
    pub bytes: u64,
    /// How long it took to verify them.
    pub took: Duration,
}

/// Why a cache has begun empty.
///
/// # Examples
/// ```
/// use larder::{Cache, ColdReason, Start, WarmRestart};
/// let folder = std::env::temp_dir().join(format!("larder-cold-doc-{}", std::process::id()));
/// let cache = Cache::builder().max_memory(1 << 20).warm_restart(WarmRestart::new(&folder)).build()?;
/// let Some(Start::Cold(cold)) = cache.start() else { panic!("nothing was there") };
/// assert_eq!(cold.reason, ColdReason::New);
/// # drop(cache);
/// # std::fs::remove_dir_all(folder).unwrap();
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ColdStart {
    /// The class of the reason.
    pub reason: ColdReason,
    /// The reason in words.
    pub text: String,
}

/// Classes of reasons why a cache begins empty.
///
/// # Examples
/// See [`ColdStart`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ColdReason {
    /// Nothing was kept in the folder before.
    New,
    /// The last cache was not closed: its process crashed, was killed, or ended with handles left.
    NotClosed,
    /// A build with another format, or a machine of another kind, wrote the files.
    Format,
    /// The cache was built with other settings of which the layout depends.
    Layout,
    /// Something in the files is not as it was written, or they do not belong together.
    Damaged,
}

impl ColdStart {
    pub(crate) fn new(reason: ColdReason, text: impl Into<String>) -> ColdStart {
        ColdStart { reason, text: text.into() }
    }
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Start::Warm(warm) => {
                let WarmStart { items, bytes, took } = warm;
                write!(f, "warm: {items} items in {bytes} bytes, verified in {} ms", took.as_millis())
            }
            Start::Cold(cold) => write!(f, "cold: {}", cold.text),
        }
    }
}
