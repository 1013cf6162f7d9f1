//! What the fuzz targets of the memcached protocol have in common: the same input, given whole and in pieces, must be
//! answered the same way.
#![allow(dead_code, reason = "each target is a program of its own, and uses a part")]

use arbitrary::Arbitrary;
use larder::protocol::memcached::{ConnectionInfo, Server, Transport, Users};
use larder::protocol::{Limits, Next, Output};
use larder::{Cache, Maintenance, ManualClock};

/// A piece of what a client sends in lines.
#[derive(Debug, Arbitrary)]
enum Piece {
    /// One of the target's words, after a space unless it begins a line.
    Word(u8),
    Raw(Vec<u8>),
    /// So many bytes of data.
    Data(u16),
}

/// What a client sends in lines, and how it is cut.
#[derive(Debug, Arbitrary)]
pub struct Lines {
    pieces: Vec<Piece>,
    cuts: Vec<u8>,
    ascii_auth: bool,
}

impl Lines {
    /// Puts the pieces together and compares what they are answered whole and cut.
    pub fn compare(&self, words: &[&str]) {
        let mut bytes = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Word(word) => {
                    if bytes.last().is_some_and(|last| *last != b'\n') {
                        bytes.push(b' ');
                    }
                    bytes.extend_from_slice(words[usize::from(*word) % words.len()].as_bytes());
                }
                Piece::Raw(raw) => bytes.extend_from_slice(raw),
                Piece::Data(len) => bytes.extend(std::iter::repeat_n(b'd', usize::from(*len) % 8192)),
            }
        }
        compare(if self.ascii_auth { Service::Ascii } else { Service::Open }, &bytes, &self.cuts);
    }
}

/// Which service is asked.
#[derive(Debug, Clone, Copy)]
pub enum Service {
    Open,
    Ascii,
    Sasl,
}

fn server(service: Service) -> Server {
    let cache = Cache::builder().max_memory(4 << 20).seed(1).shards(1).tokens(true).max_item_size(64 << 10);
    let cache = cache.clock(ManualClock::new(1_767_225_600_000)).maintenance(Maintenance::Manual).build();
    let server = Server::builder(cache.expect("settings that are allowed")).shutdown(true);
    let users = Users::new().with("u", "p");
    match service {
        Service::Open => server.build(),
        Service::Ascii => server.ascii_auth(users).build(),
        Service::Sasl => server.sasl(users).build(),
    }
}

/// What a new service answers. Pieces are as long as `cuts` says, again and again; none: everything at once.
fn run(service: Service, mut input: &[u8], cuts: &[u8], limits: Limits) -> (Vec<u8>, Next) {
    let server = server(service);
    let mut connection = server.connect(ConnectionInfo::new(1, Transport::Tcp));
    let (mut buffer, mut replies, mut output) = (Vec::new(), Vec::new(), Output::new());
    let mut cuts = cuts.iter().cycle();
    let mut next = Next::Continue;
    while !input.is_empty() && next == Next::Continue {
        let n = cuts.next().map_or(input.len(), |&cut| usize::from(cut) % 61 + 1).min(input.len());
        let place = if buffer.is_empty() { connection.fill() } else { None };
        let n = match place {
            Some(place) => {
                let n = n.min(place.len());
                place[..n].copy_from_slice(&input[..n]);
                connection.filled(n);
                n
            }
            None => {
                buffer.extend_from_slice(&input[..n]);
                n
            }
        };
        input = &input[n..];
        loop {
            let progress = connection.receive(&buffer, &mut output, &limits);
            buffer.drain(..progress.consumed);
            replies.extend_from_slice(&output.to_vec());
            output.advance(output.len());
            next = progress.next;
            if !progress.more || next != Next::Continue {
                break;
            }
        }
    }
    server.cache().check_invariants();
    (replies, next)
}

/// The same input, whole and cut, with wide and with narrow limits.
pub fn compare(service: Service, input: &[u8], cuts: &[u8]) {
    // Counts of bytes of connections, such as of `stats`, do not depend on how input comes either.
    let whole = run(service, input, &[], Limits::default());
    let cut = run(service, input, if cuts.is_empty() { &[0] } else { cuts }, Limits { output_bytes: 10, requests: 1 });
    let yields = |replies: &[u8]| {
        let text = String::from_utf8_lossy(replies).into_owned();
        text.lines().filter(|line| !line.contains("conn_yields")).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(yields(&whole.0), yields(&cut.0));
    assert_eq!(whole.1, cut.1);
}
