//! What can go wrong, as one opaque [`Error`] with a non-exhaustive [`ErrorKind`].
//!
//! A miss is never an error. Nothing in larder panics on input: whatever a caller can get wrong comes back as one of
//! these, with a message that says what was refused, the value it had, and what would be accepted.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// A `Result` with larder's [`Error`].
///
/// # Examples
/// ```
/// fn main() -> larder::Result<()> {
///     larder::Cache::new(1 << 20)?.set(b"k", b"v")
/// }
/// ```
pub type Result<T> = std::result::Result<T, Error>;

/// The error of every fallible operation. One pointer wide; clones share what it says.
///
/// # Examples
/// ```
/// use larder::{Cache, ErrorKind};
/// let error = Cache::new(0).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::InvalidConfig);
/// assert!(error.to_string().contains("max_memory"));
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    source: Option<Cause>,
}

/// What lies behind an error.
type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What class of failure an [`Error`] is. New kinds may be added.
///
/// # Examples
/// ```
/// use larder::{Cache, ErrorKind, MAX_KEY_LEN};
/// let error = Cache::new(1 << 20)?.set(&vec![b'k'; MAX_KEY_LEN + 1], b"v").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::KeyTooLong);
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting is out of range, or two settings contradict each other.
    InvalidConfig,
    /// The key is longer than [`MAX_KEY_LEN`](crate::MAX_KEY_LEN) bytes.
    KeyTooLong,
    /// The item is larger than `max_item_size`, or than the memory that items may use at all.
    ItemTooLarge,
    /// There is no room and the policy may not, or cannot, make any. Nothing stored was lost.
    OutOfMemory,
    /// This thread holds so many guards that another one would need a copy, and memory for the copy is not to be had.
    TooManyGuards,
    /// The stored value is not a number in the form the operation works on.
    NotANumber,
    /// The result of the arithmetic does not fit the number's range.
    NumberOverflow,
    /// The operating system refused memory (commit, lock or reservation of address space).
    Os,
    /// A namespace number, class, cursor, parameter, parameter group or node type that does not exist.
    NotFound,
    /// There is one of this name already.
    AlreadyExists,
    /// What was to be changed or deleted is fixed, is used by a cache, or was switched off when the cache was built.
    NotAllowed,
    /// The same key was named twice where keys must differ.
    DuplicateKey,
    /// A typed key or value could not be turned into bytes by its codec.
    Encode,
    /// Stored bytes are not a value of the type that was asked for: another type, codec or version stored them.
    Decode,
    /// A loader waits, directly or through others, for the load that it is part of.
    RecursiveLoad,
    /// More tags than an item can have.
    TooManyTags,
    /// A snapshot was given up: it was cancelled, or what was written to the cache could not be saved in time.
    SnapshotFailed,
    /// A cache could not be filled from a snapshot. It is usable, and empty.
    RestoreFailed,
    /// A file operation failed; the source is the system's error.
    Storage,
    /// A file, or a stream of records, is damaged; the message names the offset.
    Damaged,
    /// The log has failed for good: what it holds is not known, so nothing is acknowledged any more.
    LogFailed,
    /// Records were asked for that a log has dropped; the message names the oldest that it has.
    Gone,
    /// Fewer replicas follow than writes need.
    TooFewReplicas,
    /// A replica has no data that it may answer with: it is not in sync.
    NotInSync,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Error(Arc::new(Inner { kind, message: message.into(), source: None }))
    }

    pub(crate) fn os(message: impl Into<Cow<'static, str>>, source: std::io::Error) -> Self {
        Error(Arc::new(Inner { kind: ErrorKind::Os, message: message.into(), source: Some(source.into()) }))
    }

    pub(crate) fn caused(kind: ErrorKind, message: String, source: Cause) -> Self {
        Error(Arc::new(Inner { kind, message: message.into(), source: Some(source) }))
    }

    /// The class of this failure.
    ///
    /// # Examples
    /// ```
    /// # use larder::{Cache, ErrorKind};
    /// let cache = Cache::new(1 << 20)?;
    /// let key = vec![0; 70_000];
    /// assert_eq!(cache.set(&key, b"v").unwrap_err().kind(), ErrorKind::KeyTooLong);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("source", &self.0.source)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|e| &**e as _)
    }
}
