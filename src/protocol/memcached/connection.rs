//! One client: its state between pieces of input, and the loop that goes through them.
//!
//! ```text
//!            ┌─► Value ──┐   a large value, read straight into the cache
//!            ├─► Swallow ┤   the rest of a request that was refused
//!  Command ──┤           ├─► Command
//!            ├─► Keys ───┤   a retrieval of many keys, with stops where the output is full
//!            └─► Dump ───┘   a listing of all items, likewise
//!            ──► Watch       nothing but lines of what others do
//! ```
//! Invariants:
//! 1. What a request does and answers does not depend on how the input was cut: a line is looked at when all of it is
//!    there, a small value too, and a large one by its length alone. (Listings are refused while replies wait, as
//!    memcached does.)
//! 2. Input that is not consumed is less than [`MAX_UNCONSUMED`] bytes whenever more is asked for.

use std::net::SocketAddr;

use super::binary;
use super::counters::{Count, Tally};
use super::dump::Dump;
use super::parse::{MAX_KEYS_LINE, MAX_LINE};
use super::registry::{Doing, Registered};
use super::server::{Auth, Binding, Server, Shared};
use super::store::SMALL;
use super::text::{self, Keys};
use super::value::Value;
use super::watchers::Watch;
use crate::protocol::{Limits, Next, Output, Progress};

/// Bytes of input that may have to wait until more has come: the longest request line, which names many keys.
pub const MAX_UNCONSUMED: usize = MAX_KEYS_LINE + SMALL;

const _: () = assert!(MAX_LINE + SMALL + 2 < MAX_UNCONSUMED);

/// How a connection came.
///
/// # Examples
/// ```
/// use larder::protocol::memcached::Transport;
/// assert_ne!(Transport::Tcp, Transport::Udp);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Transport {
    /// A TCP connection.
    Tcp,
    /// A Unix domain socket.
    Unix,
    /// A UDP datagram: a connection for one request.
    Udp,
    /// A TCP connection with TLS.
    Tls,
}

/// Who connects.
///
/// # Examples
/// ```
/// use larder::protocol::memcached::{ConnectionInfo, Transport};
/// let info = ConnectionInfo::new(7, Transport::Tcp).addr("tcp:10.0.0.1:4711").listen_addr("tcp:0.0.0.0:11211");
/// assert_eq!(info.id, 7);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// A number that `stats conns` shows, such as the file descriptor.
    pub id: u64,
    /// How it came.
    pub transport: Transport,
    /// From where.
    pub peer: Option<SocketAddr>,
    /// The same as text.
    pub addr: String,
    /// The socket that it came to.
    pub listen_addr: String,
    /// The protocol, if not what the service says.
    pub binding: Option<Binding>,
}

macro_rules! info {
    ($(#[$doc:meta])* $name:ident: $type:ty, $example:literal, |$this:ident, $value:ident| $set:expr) => {
        $(#[$doc])*
        ///
        /// # Examples
        /// ```
        /// use larder::protocol::memcached::*;
        #[doc = concat!("let info = ConnectionInfo::new(1, Transport::Tcp)", $example, ";")]
        /// ```
        #[must_use]
        pub fn $name(self, $value: $type) -> Self {
            let mut $this = self;
            $set;
            $this
        }
    };
}

impl ConnectionInfo {
    /// A connection of which no more is known.
    ///
    /// # Examples
    /// See [`ConnectionInfo`].
    pub fn new(id: u64, transport: Transport) -> ConnectionInfo {
        ConnectionInfo { id, transport, peer: None, addr: String::new(), listen_addr: String::new(), binding: None }
    }

    info! {
        /// From where.
        peer: SocketAddr, ".peer(([127, 0, 0, 1], 4711).into())", |this, peer| this.peer = Some(peer)
    }
    info! {
        /// From where, as text.
        addr: impl Into<String>, ".addr(\"tcp:127.0.0.1:4711\")", |this, addr| this.addr = addr.into()
    }
    info! {
        /// The socket that it came to, as text.
        listen_addr: impl Into<String>, ".listen_addr(\"unix:/run/larder\")",
        |this, addr| this.listen_addr = addr.into()
    }
    info! {
        /// The protocol, if not what the service says.
        binding: Binding, ".binding(Binding::Binary)", |this, binding| this.binding = Some(binding)
    }
}

/// What a connection waits for.
#[derive(Debug)]
pub(super) enum State {
    Command,
    Value(Box<Value>),
    /// So many bytes are left to be thrown away.
    Swallow(u64),
    Keys(Keys),
    Dump(Box<Dump>),
    Watch(Watch),
}

/// What came of a look at the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// So many bytes are done with; the state says what is next.
    Took(usize),
    /// The same; a limit was reached within.
    Paused(usize),
    /// More input is needed.
    Starved,
}

/// One client.
///
/// # Examples
/// See [`Server`].
#[derive(Debug)]
pub struct Connection {
    pub(super) server: Server,
    pub(super) info: ConnectionInfo,
    /// Why it will have been closed.
    pub(super) ending: &'static str,
    /// None until the first byte has come.
    binding: Binding,
    pub(super) state: State,
    pub(super) next: Next,
    pub(super) tally: Tally,
    pub(super) is_known: bool,
    /// The input up to here, counted from where it is not consumed, has no end of line.
    pub(super) scanned: usize,
    /// The input up to here was looked through for keys whose memory will be needed.
    pub(super) foreseen: usize,
    pub(super) user: Option<Box<[u8]>>,
    registered: Registered,
}

impl Connection {
    pub(super) fn new(server: Server, info: ConnectionInfo) -> Connection {
        let shared = &server.0;
        let now = shared.cache.now_ms();
        let registered = shared.registry.connected(info.id, &info.addr, &info.listen_addr, now);
        let connection = Connection {
            ending: "normal",
            binding: info.binding.unwrap_or(shared.config.binding),
            state: State::Command,
            next: Next::Continue,
            tally: Tally::new(info.id),
            is_known: shared.config.auth == Auth::None,
            scanned: 0,
            foreseen: 0,
            user: None,
            registered,
            info,
            server,
        };
        connection.tell_opened(&connection.info);
        connection
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.server.0
    }

    /// Takes what it can use of `input`, which begins with what was not consumed before, and appends replies to
    /// `output`.
    ///
    /// # Examples
    /// ```
    /// use larder::protocol::memcached::{ConnectionInfo, Server, Transport};
    /// use larder::protocol::{Limits, Next, Output};
    /// let server = Server::builder(larder::Cache::new(1 << 20)?).build();
    /// let mut connection = server.connect(ConnectionInfo::new(1, Transport::Tcp));
    /// let mut output = Output::new();
    /// let progress = connection.receive(b"get k\r\nquit\r\nget", &mut output, &Limits::default());
    /// assert_eq!((progress.consumed, progress.next, output.len()), (13, Next::Close, 5));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn receive(&mut self, input: &[u8], output: &mut Output, limits: &Limits) -> Progress {
        let mut progress = Progress::default();
        if !input.is_empty() {
            let now = self.shared().cache.now_ms();
            self.shared().watchers.at(now);
            self.registered.peer.asked_at(now);
        }
        self.foreseen = 0;
        loop {
            let rest = &input[progress.consumed..];
            if self.next != Next::Continue {
                break;
            }
            let is_idle = rest.is_empty() && !matches!(self.state, State::Dump(_) | State::Value(_));
            if is_idle {
                break;
            }
            let begins = matches!(self.state, State::Command);
            let is_enough = begins && progress.requests >= limits.requests;
            if is_enough || output.len() > limits.output_bytes {
                if is_enough {
                    self.tally.one(Count::Yields);
                }
                progress.more = true;
                break;
            }
            match self.step(rest, output, limits) {
                Step::Starved => break,
                Step::Took(n) => {
                    progress.consumed += n;
                    progress.requests += usize::from(begins);
                    self.forget(n);
                }
                Step::Paused(n) => {
                    progress.consumed += n;
                    progress.requests += usize::from(begins);
                    progress.more = true;
                    self.forget(n);
                    break;
                }
            }
        }
        if let State::Value(value) = &mut self.state {
            value.park();
        }
        let rest = &input[progress.consumed..];
        self.registered.peer.is(match self.state {
            State::Command if self.has_request(rest) => Doing::ReadingValue,
            State::Command | State::Keys(_) => Doing::Reading,
            State::Value(_) => Doing::ReadingValue,
            State::Swallow(_) => Doing::Swallowing,
            State::Dump(_) | State::Watch(_) => Doing::Watching,
        });
        self.tally.hand_over(&self.server.0.counts);
        progress.next = self.next;
        progress
    }

    /// Whether the input begins with the head of a request whose value has not come whole.
    fn has_request(&self, rest: &[u8]) -> bool {
        match self.binding {
            Binding::Binary => rest.len() >= binary::HEADER,
            _ => rest.get(self.scanned) == Some(&b'\n'),
        }
    }

    /// What is known of the input moves with it.
    fn forget(&mut self, consumed: usize) {
        self.scanned = 0;
        self.foreseen = self.foreseen.saturating_sub(consumed);
    }

    fn step(&mut self, rest: &[u8], output: &mut Output, limits: &Limits) -> Step {
        match &mut self.state {
            State::Command => {
                if self.is_binary(rest) {
                    binary::command(self, rest, output)
                } else {
                    text::command(self, rest, output)
                }
            }
            State::Value(_) => self.value_step(rest, output),
            State::Swallow(left) => {
                let n = (*left).min(rest.len() as u64);
                *left -= n;
                if *left == 0 {
                    self.state = State::Command;
                }
                Step::Took(n as usize)
            }
            State::Keys(_) => text::keys(self, rest, output, limits),
            State::Dump(_) => self.dump_step(output, limits),
            State::Watch(_) => Connection::watch_step(rest),
        }
    }

    /// Whether the binary protocol is spoken: the first byte decides where that was left open.
    fn is_binary(&mut self, rest: &[u8]) -> bool {
        if self.binding == Binding::Auto {
            let is_binary = rest.first() == Some(&binary::REQUEST);
            self.binding = if is_binary { Binding::Binary } else { Binding::Ascii };
        }
        self.binding == Binding::Binary
    }

    /// Where the next bytes of the socket are to be read to, while a large value is on its way; None: into the ordinary
    /// input, of which nothing may be left then. Say [`filled`](Self::filled) next, also if nothing has come (0): until
    /// then the value's memory cannot be taken for others, though its client may never send it.
    ///
    /// # Examples
    /// ```
    /// use larder::protocol::memcached::{ConnectionInfo, Server, Transport};
    /// use larder::protocol::{Limits, Output};
    /// let server = Server::builder(larder::Cache::new(1 << 20)?).build();
    /// let mut connection = server.connect(ConnectionInfo::new(1, Transport::Tcp));
    /// let mut output = Output::new();
    /// let progress = connection.receive(b"set k 0 0 50000\r\nab", &mut output, &Limits::default());
    /// assert_eq!(progress.consumed, 19);
    /// let place = connection.fill().unwrap();
    /// assert_eq!(place.len(), 49_998);
    /// place.fill(b'x');
    /// connection.filled(49_998);
    /// connection.receive(b"\r\n", &mut output, &Limits::default());
    /// assert_eq!(output.to_vec(), b"STORED\r\n");
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn fill(&mut self) -> Option<&mut [u8]> {
        match &mut self.state {
            State::Value(value) => value.rest().filter(|rest| !rest.is_empty()),
            _ => None,
        }
    }

    /// Whether a large value is on its way, so that its bytes had better be read to where [`fill`](Self::fill) says.
    ///
    /// # Examples
    /// ```
    /// use larder::protocol::memcached::{ConnectionInfo, Server, Transport};
    /// use larder::protocol::{Limits, Output};
    /// let server = Server::builder(larder::Cache::new(1 << 20)?).build();
    /// let mut connection = server.connect(ConnectionInfo::new(1, Transport::Tcp));
    /// connection.receive(b"set k 0 0 50000\r\nab", &mut Output::new(), &Limits::default());
    /// assert!(connection.is_filling());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn is_filling(&self) -> bool {
        matches!(self.state, State::Value(_))
    }

    /// Takes note of `n` bytes that were read to where [`fill`](Self::fill) said. Unless that is 0, call
    /// [`receive`](Self::receive) next, also if nothing else has come.
    ///
    /// Values that were announced and have not come whole hold at most a quarter of the cache's memory together, unless
    /// it is a single one. Where that is not enough, the oldest is refused: `SERVER_ERROR out of memory storing
    /// object`.
    ///
    /// # Examples
    /// See [`fill`](Self::fill).
    pub fn filled(&mut self, n: usize) -> Next {
        if let State::Value(value) = &mut self.state {
            value.filled(n);
        }
        self.next
    }

    /// Bytes of memory that this holds outside the cache, beside itself.
    ///
    /// # Examples
    /// ```
    /// use larder::protocol::memcached::{ConnectionInfo, Server, Transport};
    /// let server = Server::builder(larder::Cache::new(1 << 20)?).build();
    /// let connection = server.connect(ConnectionInfo::new(1, Transport::Tcp));
    /// assert_eq!(connection.memory(), 0);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn memory(&self) -> usize {
        match &self.state {
            State::Value(value) => value.memory(),
            State::Dump(dump) => dump.memory(),
            State::Watch(watch) => watch.memory(),
            _ => 0,
        }
    }

    /// How this connection came.
    ///
    /// # Examples
    /// ```
    /// use larder::protocol::memcached::{ConnectionInfo, Server, Transport};
    /// let server = Server::builder(larder::Cache::new(1 << 20)?).build();
    /// assert_eq!(server.connect(ConnectionInfo::new(1, Transport::Udp)).transport(), Transport::Udp);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn transport(&self) -> Transport {
        self.info.transport
    }

    /// Whether nothing is under way: no request has been begun and left unfinished.
    ///
    /// # Examples
    /// ```
    /// use larder::protocol::memcached::{ConnectionInfo, Server, Transport};
    /// let server = Server::builder(larder::Cache::new(1 << 20)?).build();
    /// assert!(server.connect(ConnectionInfo::new(1, Transport::Tcp)).is_idle());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Command)
    }

    /// Counts bytes that were read from and written to the socket.
    ///
    /// # Examples
    /// ```
    /// use larder::protocol::memcached::{ConnectionInfo, Server, Transport};
    /// let server = Server::builder(larder::Cache::new(1 << 20)?).build();
    /// server.connect(ConnectionInfo::new(1, Transport::Tcp)).transferred(100, 0);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn transferred(&mut self, read: u64, written: u64) {
        self.tally.add(Count::BytesRead, read);
        self.tally.add(Count::BytesWritten, written);
    }

    pub(super) fn is_working(&self) {
        self.registered.peer.is(Doing::Working);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.tell_closed();
        self.tally.hand_over(&self.server.0.counts);
        self.server.0.connections.current.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
    }
}
