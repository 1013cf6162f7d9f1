//! Protocols: bytes in, requests on a [`Cache`](crate::Cache), bytes out. No sockets, no threads, no clock.
//!
//! A front-end has a *server*, which is what all its connections share, and a *connection* for each client. Whoever
//! owns the sockets reads into a buffer, gives it to [`receive`](memcached::Connection::receive), keeps what was not
//! consumed in front of what it reads next, and writes what is in the [`Output`]. This module has what all front-ends
//! have in common; [`memcached`] is one.
//!
//! ```text
//!  socket ──► buffer ──► Connection::receive ──► Cache
//!    ▲                        │
//!    └──────── Output ◄───────┘
//! ```

pub mod memcached;
pub(crate) mod output;

pub use output::Output;

/// What to do with a connection after what it sent was looked at.
///
/// # Examples
/// ```
/// use larder::protocol::Next;
/// assert_ne!(Next::Continue, Next::Shutdown { graceful: true });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Next {
    /// Go on reading.
    #[default]
    Continue,
    /// Send what is in the output, then close.
    Close,
    /// Close at once; what is in the output need not be sent.
    Abort,
    /// Stop the whole server, and close this connection.
    Shutdown {
        /// Whether the client asked for a graceful end: running requests and what is stored should be looked after.
        graceful: bool,
    },
}

/// How much of the input is to be worked on at once, so that no connection holds up the others or fills the memory.
///
/// # Examples
/// ```
/// use larder::protocol::Limits;
/// let limits = Limits { requests: 20, ..Limits::default() };
/// assert!(limits.output_bytes >= 64 << 10);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Stop when the output holds more bytes of replies than this. One value may come on top.
    pub output_bytes: usize,
    /// Stop after so many requests.
    pub requests: usize,
}

impl Default for Limits {
    /// 256 KiB of replies, any number of requests.
    fn default() -> Self {
        Limits { output_bytes: 256 << 10, requests: usize::MAX }
    }
}

/// What became of some input.
///
/// # Examples
/// ```
/// let progress = larder::protocol::Progress::default();
/// assert!(progress.consumed == 0 && !progress.more);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes of the input that are done with. The others are to be given again, followed by what comes next.
    pub consumed: usize,
    /// Requests that were begun.
    pub requests: usize,
    /// What to do now.
    pub next: Next,
    /// Whether it stopped at a limit: call again when the output was sent (and other connections had their turn), even
    /// if nothing more has been read. Otherwise more input is needed.
    pub more: bool,
}
