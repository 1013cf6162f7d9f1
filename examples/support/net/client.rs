//! One client: what it has sent and was not used yet, what it has not taken yet, and how it gets on.
//!
//! ```text
//!  socket ──► worker's buffer ──► session.receive ──► worker's output ──► socket
//!     │            └─ rest ──► input ─┘ (next turn)       └─ rest ──► output ─┘ (when it can be written)
//!     └──► session.fill: the bytes of a large value, straight into its place
//! ```
//! Invariants:
//! 1. `input` and `output` have memory only while there is something in them: an idle client owns none.
//! 2. While `output` is not empty nothing is read and no request is carried out: who does not take replies gets no
//!    more of them.
//! 3. Events are edge-triggered: `readable` is true until the socket has said that it is empty, `writable` until it has
//!    said that it is full.
//! 4. A turn ends after `Limits::requests` requests or [`BYTES_A_TURN`] bytes, read or answered: others wait no longer
//!    for it. A request that stops within counts each time, so that one long listing is no turn without an end.

use std::io::{self, IoSlice};

use larder::protocol::{Limits, Next, Output};

use super::Session;
use super::stream::{Came, Stream};

/// After so many bytes others have their turn.
const BYTES_A_TURN: usize = 1 << 20;
/// An incomplete request never gets that long: sessions refuse long lines, and take values as they come.
const LONGEST_REST: usize = 4 << 20;
/// Pieces of replies handed to the system at once.
const SLICES: usize = 16;

/// Buffers that all clients of a worker share while it is their turn.
#[derive(Debug)]
pub(crate) struct Scratch {
    pub(crate) input: Box<[u8]>,
    pub(crate) output: Output,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Client<S> {
    pub(crate) stream: Stream,
    pub(crate) session: S,
    /// What was read and not used. Bytes before `used` are done with.
    input: Vec<u8>,
    used: usize,
    /// Whether there is something for the session to go on with.
    more: bool,
    output: Option<Box<Output>>,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The peer has ended its side: reading goes on until the socket says so.
    pub(crate) hung_up: bool,
    /// Ends when the replies are out.
    closing: bool,
    /// In the worker's list of those that have more to do.
    pub(crate) queued: bool,
    /// The worker's second at its last turn.
    pub(crate) last_active: u32,
    /// What of its memory is on the ledger.
    pub(crate) charged: usize,
    /// What of it was noted as replies that wait.
    pub(crate) noted: usize,
}

/// What a turn came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing to do before the next event.
    Wait,
    /// There is more to do, but others are due.
    Yield,
    /// The connection is over.
    Close(Ending),
    /// The whole server is to end.
    Shutdown { graceful: bool },
}

/// Why a connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Normal,
    Error,
    IdleTimeout,
}

impl<S: Session> Client<S> {
    pub(crate) fn new(stream: Stream, session: S, now: u32) -> Self {
        Client {
            stream,
            session,
            input: Vec::new(),
            used: 0,
            more: false,
            output: None,
            readable: true,
            writable: true,
            hung_up: false,
            closing: false,
            queued: false,
            last_active: now,
            charged: 0,
            noted: 0,
        }
    }

    /// Bytes that this client takes of the process.
    pub(crate) fn memory(&self) -> usize {
        size_of::<Self>() + self.input.capacity() + self.waiting() + self.session.memory() + self.stream.memory()
    }

    /// Bytes that replies take which wait for the client.
    pub(crate) fn waiting(&self) -> usize {
        self.output.as_ref().map_or(0, |output| output.memory())
    }

    /// Whether replies wait for the client to take them.
    pub(crate) fn is_behind(&self) -> bool {
        self.output.is_some()
    }

    /// Reads before its turn, if nothing stands against it: how many bytes came, to be given to [`turn`](Self::turn).
    /// Whatever else came of it, the turn will find out again.
    pub(crate) fn read_ahead(&mut self, space: &mut [u8]) -> usize {
        let is_free = self.readable && !self.more && !self.closing && !self.is_behind() && self.input.is_empty();
        if !is_free || self.session.is_filling() {
            return 0;
        }
        match self.stream.read(space) {
            Ok(Came::Bytes(n, more)) => {
                self.session.transferred(n, 0);
                self.readable = more || self.hung_up;
                n
            }
            Ok(Came::Nothing) => {
                self.readable = false;
                0
            }
            Ok(Came::End) | Err(_) => 0,
        }
    }

    /// Uses what has come and sends what is to be sent, as far as that is possible without waiting. `ahead` is what was
    /// read before.
    pub(crate) fn turn(&mut self, ahead: &[u8], scratch: &mut Scratch, limits: Limits) -> Turn {
        match self.go_on(ahead, scratch, limits) {
            Ok(turn) => turn,
            Err(_) => {
                scratch.output.advance(scratch.output.len());
                Turn::Close(Ending::Error)
            }
        }
    }

    /// Sends what it can of the replies that wait, and carries out nothing more.
    pub(crate) fn finish(&mut self) {
        if self.send_waiting().is_err() {
            self.output = None;
        }
    }

    fn go_on(&mut self, mut ahead: &[u8], scratch: &mut Scratch, limits: Limits) -> io::Result<Turn> {
        let (mut requests, mut moved) = (limits.requests.max(1), 0);
        loop {
            if !self.send_waiting()? {
                self.input.extend_from_slice(ahead);
                self.more |= !ahead.is_empty();
                return Ok(Turn::Wait);
            }
            if self.closing {
                return Ok(Turn::Close(Ending::Normal));
            }
            if !self.more && !self.readable && ahead.is_empty() {
                return Ok(Turn::Wait);
            }
            if requests == 0 || moved >= BYTES_A_TURN {
                return Ok(Turn::Yield);
            }
            let mut fresh = std::mem::take(&mut ahead);
            if !self.more && fresh.is_empty() {
                let direct = self.input.is_empty();
                match self.read(scratch)? {
                    Came::Bytes(n, _) => {
                        moved += n;
                        fresh = if direct && !self.more { &scratch.input[..n] } else { fresh };
                    }
                    Came::Nothing => continue,
                    Came::End => return Ok(Turn::Close(Ending::Normal)),
                }
            }
            let input = if fresh.is_empty() { &self.input[self.used..] } else { fresh };
            let progress = self.session.receive(input, &mut scratch.output, Limits { requests, ..limits });
            requests -= requests.min(progress.requests.max(usize::from(progress.more)));
            moved += scratch.output.len();
            self.more = progress.more;
            if fresh.is_empty() {
                self.used += progress.consumed;
                self.drop_used();
            } else if progress.consumed < fresh.len() {
                self.input.extend_from_slice(&fresh[progress.consumed..]);
            }
            let next = if self.input.len() > LONGEST_REST { Next::Abort } else { progress.next };
            match next {
                Next::Abort => return Ok(Turn::Close(Ending::Error)),
                Next::Close => self.closing = true,
                _ => {}
            }
            self.send(&mut scratch.output)?;
            if let Next::Shutdown { graceful } = next {
                return Ok(Turn::Shutdown { graceful });
            }
        }
    }

    /// Reads once: into a value under way, or into the worker's buffer. What was read there is to be used in place if
    /// nothing was left from before; else it was put behind that, and there is `more`.
    fn read(&mut self, scratch: &mut Scratch) -> io::Result<Came> {
        let direct = self.input.is_empty();
        let (came, filled) = match if direct { self.session.fill() } else { None } {
            Some(space) => (self.stream.read(space)?, true),
            None => (self.stream.read(&mut scratch.input)?, false),
        };
        if filled && !matches!(came, Came::Bytes(..)) {
            // The place is not needed for now.
            self.session.filled(0);
        }
        match came {
            Came::Bytes(n, more) => {
                self.session.transferred(n, 0);
                self.readable = more || self.hung_up;
                if filled {
                    self.session.filled(n);
                } else if !direct {
                    self.input.extend_from_slice(&scratch.input[..n]);
                }
                self.more = filled || !direct;
            }
            Came::Nothing => self.readable = false,
            Came::End => {}
        }
        Ok(came)
    }

    /// Lets go of input that was used; of the memory, too, when nothing is left.
    fn drop_used(&mut self) {
        if self.used == self.input.len() {
            self.input = Vec::new();
            self.used = 0;
        } else if self.used > self.input.len() / 2 {
            self.input.drain(..self.used);
            self.used = 0;
        }
    }

    /// Sends replies that waited; whether all are gone.
    fn send_waiting(&mut self) -> io::Result<bool> {
        if let Some(mut output) = self.output.take()
            && !self.send_some(&mut output)?
        {
            self.output = Some(output);
            return Ok(false);
        }
        self.stream.flush()
    }

    /// Sends replies; what the socket does not take waits, with the memory it is in.
    fn send(&mut self, output: &mut Output) -> io::Result<()> {
        if !output.is_empty() && !self.send_some(output)? {
            self.output = Some(Box::new(std::mem::take(output)));
        }
        Ok(())
    }

    fn send_some(&mut self, output: &mut Output) -> io::Result<bool> {
        while !output.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = output.as_io_slices(&mut slices);
            let written = if self.writable { self.stream.write(&slices[..count])? } else { None };
            let Some(n) = written else {
                self.writable = false;
                return Ok(false);
            };
            self.session.transferred(0, n);
            output.advance(n);
        }
        Ok(true)
    }

    /// What the session has to say without being asked (to those who watch).
    pub(crate) fn poll(&mut self, scratch: &mut Scratch) -> Turn {
        while !self.is_behind() && self.session.watches() {
            self.session.poll(&mut scratch.output);
            if scratch.output.is_empty() {
                break;
            }
            if self.send(&mut scratch.output).is_err() {
                scratch.output.advance(scratch.output.len());
                return Turn::Close(Ending::Error);
            }
        }
        Turn::Wait
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use larder::protocol::Progress;

    use super::*;

    /// Has one request that never ends, and answers so many bytes at a time.
    struct Endless {
        bytes: usize,
        calls: usize,
    }

    impl Session for Endless {
        fn receive(&mut self, input: &[u8], output: &mut Output, _: Limits) -> Progress {
            self.calls += 1;
            output.put(&vec![b'x'; self.bytes]);
            let mut progress = Progress::default();
            progress.consumed = input.len();
            // Without a bound on turns this ends as well, if late.
            progress.more = self.calls < 10_000;
            progress
        }

        fn is_filling(&self) -> bool {
            false
        }

        fn fill(&mut self) -> Option<&mut [u8]> {
            None
        }

        fn filled(&mut self, _: usize) -> Next {
            Next::Continue
        }

        fn transferred(&mut self, _: usize, _: usize) {}

        fn watches(&self) -> bool {
            false
        }

        fn poll(&mut self, _: &mut Output) {}

        fn ending(&mut self, _: Ending) {}

        fn memory(&self) -> usize {
            0
        }
    }

    /// How often the session is asked within a turn of `requests` requests.
    fn calls_a_turn(bytes: usize, requests: usize) -> usize {
        let (own, peer) = std::os::unix::net::UnixStream::pair().unwrap();
        own.set_nonblocking(true).unwrap();
        // A client that takes whatever comes.
        let reader = std::thread::spawn(move || {
            let (mut peer, mut space) = (peer, vec![0; 1 << 20]);
            while peer.read(&mut space).is_ok_and(|n| n > 0) {}
        });
        let stream = Stream::Unix(mio::net::UnixStream::from_std(own));
        let mut client = Client::new(stream, Endless { bytes, calls: 0 }, 0);
        let mut scratch = Scratch { input: vec![0; 1024].into_boxed_slice(), output: Output::new() };
        let limits = Limits { requests, ..Limits::default() };
        let mut turn = client.turn(b"all of it", &mut scratch, limits);
        while turn == Turn::Wait && client.is_behind() {
            // The socket was full: the next event would say that it is not.
            std::thread::yield_now();
            client.writable = true;
            client.finish();
            turn = if client.is_behind() { Turn::Wait } else { Turn::Yield };
        }
        assert_eq!(turn, Turn::Yield);
        let calls = client.session.calls;
        drop(client);
        reader.join().unwrap();
        calls
    }

    #[test]
    fn a_request_without_an_end_is_no_turn_without_an_end() {
        assert_eq!(calls_a_turn(0, 20), 20, "nothing to tell for long");
        assert!(calls_a_turn(100, usize::MAX) <= BYTES_A_TURN / 100 + 1, "answers without end");
        assert!(calls_a_turn(3 << 20, 20) == 1, "a large one is enough");
    }
}
