//! What front-ends need of the network, in one place: listening, event loops, connections, limits, who may come in.
//!
//! ```text
//!  listeners ──► acceptor (a thread): allowed? room for one more? ──► worker 0: poll ──► turns of its clients
//!                                                                └──► worker 1: poll ──► ...
//! ```
//! | file | what |
//! |---|---|
//! | `access` | networks that may connect |
//! | `listen` | listening sockets |
//! | `server` | the acceptor; starting, stopping |
//! | `worker` | a thread's loop over its clients |
//! | `client` | one connection's turn |
//! | `stream` `tls` | its bytes |
//!
//! A front-end is a [`Front`]: it makes a [`Session`] for each connection, which turns bytes into bytes.

pub(crate) mod access;
pub(crate) mod client;
pub(crate) mod listen;
pub(crate) mod server;
mod stream;
#[cfg(feature = "example-tls")]
pub(crate) mod tls;
mod worker;

use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::time::Duration;

use larder::protocol::{Limits, Next, Output, Progress};

/// Who has connected, and to what.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) fd: RawFd,
    /// The listener's number.
    pub(crate) listener: usize,
    /// None for a Unix socket.
    pub(crate) address: Option<SocketAddr>,
}

/// Something that happened to a connection, for statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Note {
    /// Refused: there are as many connections as there may be.
    Rejected,
    /// Refused: not from an allowed network.
    Denied,
    /// There are as many connections as there may be, or as the system lets this process have: none is taken.
    Paused,
    /// Connections are taken again, after so long.
    Resumed(Duration),
    /// Ended for being idle.
    IdleKick,
    /// Had more requests than others should wait for.
    Yield,
    /// So many bytes of buffers for reading were made.
    Buffers(usize),
    /// Replies that wait take so many bytes more, or less.
    Waiting(isize),
    /// Ended for lack of memory for its buffers.
    OutOfMemory,
}

/// A protocol's service.
pub(crate) trait Front: Send + Sync + 'static {
    type Session: Session;

    /// What is said to those for whom there is no room.
    const FULL: &'static [u8];

    fn connect(&self, peer: &Peer) -> Self::Session;

    /// Inputs of several connections will be carried out next, each beginning with one of these: a good time to ask for
    /// memory that they will need.
    fn foresee(&self, inputs: &[&[u8]]);

    /// Answers a datagram: each piece of the answer is given to `send`.
    fn answer(&self, listener: usize, from: SocketAddr, datagram: &[u8], send: &mut dyn FnMut(&[u8]));

    fn note(&self, note: Note);
}

/// A protocol's side of a connection.
pub(crate) trait Session: Send + 'static {
    /// Carries out the requests in `input`; see `larder::protocol`.
    fn receive(&mut self, input: &[u8], output: &mut Output, limits: Limits) -> Progress;

    /// Whether a large value is under way.
    fn is_filling(&self) -> bool;

    /// Where the next bytes go, if one is. To be followed by `filled`, also if none came.
    fn fill(&mut self) -> Option<&mut [u8]>;

    /// So many bytes were put there.
    fn filled(&mut self, bytes: usize) -> Next;

    /// So many bytes were read and written.
    fn transferred(&mut self, read: usize, written: usize);

    /// Whether it has things to say without being asked.
    fn watches(&self) -> bool;

    /// What it has to say.
    fn poll(&mut self, output: &mut Output);

    /// It is about to end.
    fn ending(&mut self, ending: client::Ending);

    /// Bytes it keeps on the heap.
    fn memory(&self) -> usize;
}
