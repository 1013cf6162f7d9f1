//! The memcached protocol as a front-end of the event loops: hands over between `larder::protocol::memcached`, which
//! knows no sockets, and `net`, which knows no protocol.

use std::collections::HashMap;
use std::net::SocketAddr;

use larder::protocol::memcached::{Binding, Connection, ConnectionInfo, Server, Transport, udp};
use larder::protocol::{Limits, Next, Output, Progress};

use crate::net::client::Ending;
use crate::net::listen::Place;
use crate::net::{Front, Note, Peer, Session};

/// Replies by UDP are no longer than this, apart from a single value: they are put together before they are sent.
const LONGEST_ANSWER: usize = 4 << 20;
const TOO_LONG: &[u8] = b"SERVER_ERROR out of memory writing get response\r\n";

/// A listening socket, as connections that come from it need to know it.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) place: Place,
    /// The protocol, if not the server's.
    pub(crate) binding: Option<Binding>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Memcached {
    pub(crate) server: Server,
    /// By the listeners' numbers.
    pub(crate) origins: HashMap<usize, Origin>,
    /// Whether TCP is with TLS.
    pub(crate) tls: bool,
}

impl Memcached {
    fn info(&self, id: u64, transport: Transport, listener: usize) -> ConnectionInfo {
        let info = ConnectionInfo::new(id, transport);
        let Some(origin) = self.origins.get(&listener) else { return info };
        let info = info.listen_addr(origin.place.to_string());
        match origin.binding {
            Some(binding) => info.binding(binding),
            None => info,
        }
    }
}

impl Front for Memcached {
    type Session = Client;

    const FULL: &'static [u8] = b"ERROR Too many open connections\r\n";

    fn connect(&self, peer: &Peer) -> Client {
        let (transport, addr) = match peer.address {
            Some(address) => (if self.tls { Transport::Tls } else { Transport::Tcp }, Place::Tcp(address).to_string()),
            None => (Transport::Unix, self.origins.get(&peer.listener).map_or(String::new(), |o| o.place.to_string())),
        };
        let mut info = self.info(peer.fd as u64, transport, peer.listener).addr(addr);
        if let Some(address) = peer.address {
            info = info.peer(address);
        }
        Client(self.server.connect(info))
    }

    fn foresee(&self, inputs: &[&[u8]]) {
        self.server.foresee(inputs.iter().copied());
    }

    fn answer(&self, listener: usize, from: SocketAddr, datagram: &[u8], send: &mut dyn FnMut(&[u8])) {
        let Some((frame, request)) = udp::Frame::decode(datagram) else { return };
        // A request in several datagrams is refused, as memcached does.
        if frame.count > 1 {
            udp::encode(frame.request, b"SERVER_ERROR multi-packet request not supported\r\n", send);
            return;
        }
        let info = self.info(u64::MAX, Transport::Udp, listener).peer(from).addr(Place::Udp(from).to_string());
        let (mut connection, mut output) = (self.server.connect(info), Output::new());
        let limits = Limits { output_bytes: LONGEST_ANSWER, ..Limits::default() };
        let mut progress = connection.receive(request, &mut output, &limits);
        let mut rest = &request[progress.consumed..];
        // A listing stops now and then for the sake of others; nobody else waits for this one's reply.
        while progress.more && output.len() <= LONGEST_ANSWER {
            progress = connection.receive(rest, &mut output, &limits);
            rest = &rest[progress.consumed..];
        }
        let reply = if progress.more { TOO_LONG.to_vec() } else { output.to_vec() };
        connection.transferred(datagram.len() as u64, reply.len() as u64);
        udp::encode(frame.request, &reply, send);
    }

    fn note(&self, note: Note) {
        let counts = self.server.connections();
        match note {
            Note::Rejected => counts.rejected(1),
            Note::Paused => counts.accepting(false),
            Note::Resumed(after) => {
                counts.accepting(true);
                counts.waited(after);
            }
            Note::IdleKick => counts.kicked(1),
            Note::Buffers(bytes) => counts.add_buffers(1, bytes as u64),
            Note::Waiting(by) => counts.output_changed(by as i64),
            Note::OutOfMemory => counts.out_of_memory(false),
            Note::Denied => {
                if self.server.verbosity() > 0 {
                    eprintln!("memcached: a client from a network that is not allowed was turned away (see --allow)");
                }
            }
            Note::Yield => {}
        }
    }
}

/// One client's side of the protocol.
#[derive(Debug)]
pub(crate) struct Client(Connection);

impl Session for Client {
    fn receive(&mut self, input: &[u8], output: &mut Output, limits: Limits) -> Progress {
        self.0.receive(input, output, &limits)
    }

    fn is_filling(&self) -> bool {
        self.0.is_filling()
    }

    fn fill(&mut self) -> Option<&mut [u8]> {
        self.0.fill()
    }

    fn filled(&mut self, bytes: usize) -> Next {
        self.0.filled(bytes)
    }

    fn transferred(&mut self, read: usize, written: usize) {
        self.0.transferred(read as u64, written as u64);
    }

    fn watches(&self) -> bool {
        self.0.is_watching()
    }

    fn poll(&mut self, output: &mut Output) {
        self.0.poll(output);
    }

    fn ending(&mut self, ending: Ending) {
        self.0.closing(match ending {
            Ending::Normal => "normal",
            Ending::Error => "error",
            Ending::IdleTimeout => "idle_timeout",
        });
    }

    fn memory(&self) -> usize {
        self.0.memory()
    }
}
