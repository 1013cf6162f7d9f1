//! Plays the owner of the socket: gives a connection its input in pieces, as a server would, and keeps the replies.

use larder::protocol::memcached::{Connection, ConnectionInfo, Server, Transport};
use larder::protocol::{Limits, Next, Output};
use larder::{Cache, CacheBuilder, Maintenance, ManualClock};

/// 2026-01-01, in seconds.
pub(crate) const START: u64 = 1_767_225_600;

/// A cache that always does the same.
pub(crate) fn cache() -> (CacheBuilder, ManualClock) {
    let clock = ManualClock::new(START * 1000);
    let builder =
        Cache::builder().max_memory(8 << 20).seed(7).shards(1).tokens(true).slab_reassign(false).clock(clock.clone());
    (builder.maintenance(Maintenance::Manual), clock)
}

/// A server that always does the same.
pub(crate) fn server() -> Server {
    Server::builder(cache().0.build().unwrap()).version("1.6.0").build()
}

/// How input is cut and replies are taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    /// Input comes in pieces of this many bytes,
    pub(crate) piece: usize,
    /// the first of this many.
    pub(crate) first: usize,
    /// Large values are read straight to where they stay.
    pub(crate) fill: bool,
    pub(crate) limits: Limits,
}

impl Cut {
    pub(crate) const WHOLE: Cut = Cut {
        piece: usize::MAX,
        first: usize::MAX,
        fill: false,
        limits: Limits { output_bytes: 1 << 20, requests: 1_000_000 },
    };
}

/// One client.
pub(crate) struct Client {
    pub(crate) connection: Connection,
    buffer: Vec<u8>,
    pub(crate) next: Next,
    pub(crate) requests: usize,
}

impl Client {
    pub(crate) fn new(server: &Server) -> Client {
        let connection = server.connect(ConnectionInfo::new(1, Transport::Tcp));
        Client { connection, buffer: Vec::new(), next: Next::Continue, requests: 0 }
    }

    /// Sends input, cut into pieces; returns the replies.
    pub(crate) fn send(&mut self, mut input: &[u8], cut: Cut) -> Vec<u8> {
        let (mut replies, mut output) = (Vec::new(), Output::new());
        let mut size = cut.first;
        while !input.is_empty() && self.next == Next::Continue {
            let n = size.min(input.len()).max(1);
            size = cut.piece;
            let place = if cut.fill && self.buffer.is_empty() { self.connection.fill() } else { None };
            let taken = match place {
                Some(place) => {
                    let n = n.min(place.len());
                    place[..n].copy_from_slice(&input[..n]);
                    self.connection.filled(n);
                    n
                }
                None => {
                    self.buffer.extend_from_slice(&input[..n]);
                    n
                }
            };
            input = &input[taken..];
            self.go_on(&mut output, &mut replies, cut);
        }
        replies
    }

    fn go_on(&mut self, output: &mut Output, replies: &mut Vec<u8>, cut: Cut) {
        loop {
            let progress = self.connection.receive(&self.buffer, output, &cut.limits);
            self.buffer.drain(..progress.consumed);
            self.requests += progress.requests;
            self.next = progress.next;
            // The socket takes a few bytes at a time.
            while !output.is_empty() {
                let sent = output.to_vec();
                let n = sent.len().min(1000);
                replies.extend_from_slice(&sent[..n]);
                output.advance(n);
            }
            if !progress.more || self.next != Next::Continue {
                return;
            }
        }
    }
}

/// What a new connection of a server answers to input cut so.
pub(crate) fn reply(server: &Server, input: &[u8], cut: Cut) -> (Vec<u8>, Next) {
    let mut client = Client::new(server);
    let replies = client.send(input, cut);
    (replies, client.next)
}

/// Asserts what a new server answers to a dialogue of requests and replies, however the requests are cut.
#[track_caller]
pub(crate) fn says(make: impl Fn() -> Server, dialogue: &[(&[u8], &[u8])]) {
    let server = make();
    let mut client = Client::new(&server);
    for (request, expected) in dialogue {
        let got = client.send(request, Cut::WHOLE);
        assert_eq!(show(&got), show(expected), "to {}", show(request));
    }
    let next = client.next;
    let request: Vec<u8> = dialogue.iter().flat_map(|(request, _)| *request).copied().collect();
    let expected: Vec<u8> = dialogue.iter().flat_map(|(_, reply)| *reply).copied().collect();
    let tight = Limits { output_bytes: 0, requests: 1 };
    let bytes = Cut { piece: 1, first: 1, fill: true, ..Cut::WHOLE };
    let mut cuts = vec![bytes, Cut { limits: tight, ..bytes }, Cut { limits: tight, ..Cut::WHOLE }];
    // Every place to cut in two, but only some of them in long dialogues.
    let step = request.len() / 80 + 1;
    cuts.extend((1..request.len()).step_by(step).map(|first| Cut { first, fill: first % 2 == 0, ..Cut::WHOLE }));
    for cut in cuts {
        let (got, how) = reply(&make(), &request, cut);
        assert!(got == expected, "cut {cut:?}: {}\nexpected: {}", show(&got), show(&expected));
        assert_eq!(how, next, "cut {cut:?}");
    }
}

/// Bytes as text, cut short.
pub(crate) fn show(bytes: &[u8]) -> String {
    let text = bytes.escape_ascii().to_string();
    if text.len() > 1500 { format!("{}... ({} bytes)", &text[..1500], bytes.len()) } else { text }
}
