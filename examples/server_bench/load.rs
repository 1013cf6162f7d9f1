//! The load: many connections on one thread, each sending a batch of requests, waiting for all replies, and so on.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream as Blocking;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::histogram::Histogram;
use crate::rng::Rng;

/// What is asked for, but for the pipeline.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) keys: u64,
    pub(crate) value: usize,
    pub(crate) connections: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Get,
    Set,
}

impl Operation {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Operation::Get => "get",
            Operation::Set => "set",
        }
    }
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) requests: u64,
    pub(crate) misses: u64,
    pub(crate) time: Duration,
    /// Of a batch, in nanoseconds.
    pub(crate) latencies: Histogram,
}

/// All keys have the same length, so that all replies have.
fn push_key(request: &mut Vec<u8>, key: u64) {
    let _ = write!(request, "bench:key:{key:014}");
}

pub(crate) const KEY_LEN: usize = 24;
const STORED: &[u8] = b"STORED\r\n";
const MISS: &[u8] = b"END\r\n";

fn push_set(request: &mut Vec<u8>, key: u64, value: &[u8]) {
    request.extend_from_slice(b"set ");
    push_key(request, key);
    let _ = write!(request, " 0 0 {}\r\n", value.len());
    request.extend_from_slice(value);
    request.extend_from_slice(b"\r\n");
}

/// Stores every key once.
pub(crate) fn fill(port: u16, load: &Load) -> Result<(), String> {
    let problem = |e: std::io::Error| format!("cannot fill the server on port {port}: {e}");
    let mut stream = Blocking::connect(("127.0.0.1", port)).map_err(problem)?;
    let (value, mut request, mut reply) = (vec![b'v'; load.value], Vec::new(), Vec::new());
    let mut key = 0;
    while key < load.keys {
        request.clear();
        let batch = 500.min(load.keys - key);
        for _ in 0..batch {
            push_set(&mut request, key, &value);
            key += 1;
        }
        stream.write_all(&request).map_err(problem)?;
        reply.resize(batch as usize * STORED.len(), 0);
        stream.read_exact(&mut reply).map_err(problem)?;
        if reply.chunks(STORED.len()).any(|one| one != STORED) {
            return Err(format!(
                "a set was answered with {:?}",
                String::from_utf8_lossy(&reply[..40.min(reply.len())])
            ));
        }
    }
    Ok(())
}

/// One connection.
struct Client {
    stream: TcpStream,
    request: Vec<u8>,
    sent: usize,
    /// A reply that has come in part.
    rest: Vec<u8>,
    waiting: usize,
    since: Instant,
}

/// Connections that are set up.
pub(crate) struct Clients {
    poll: Poll,
    all: Vec<Client>,
}

pub(crate) fn connect(port: u16, load: &Load) -> Result<Clients, String> {
    let problem = |e: std::io::Error| format!("cannot connect to port {port}: {e}");
    let poll = Poll::new().map_err(problem)?;
    let mut all = Vec::new();
    for i in 0..load.connections {
        let stream = Blocking::connect(("127.0.0.1", port)).map_err(problem)?;
        stream.set_nodelay(true).and_then(|()| stream.set_nonblocking(true)).map_err(problem)?;
        let mut stream = TcpStream::from_std(stream);
        poll.registry().register(&mut stream, Token(i), Interest::READABLE | Interest::WRITABLE).map_err(problem)?;
        let (request, rest) = (Vec::new(), Vec::new());
        all.push(Client { stream, request, sent: 0, rest, waiting: 0, since: Instant::now() });
    }
    Ok(Clients { poll, all })
}

/// What requests look like, and how long replies are.
struct Shape<'a> {
    operation: Operation,
    pipeline: usize,
    keys: u64,
    value: &'a [u8],
    hit_len: usize,
}

impl Shape<'_> {
    /// The length of the reply at the beginning of `bytes`, if it is there whole; and whether it is a miss.
    fn reply(&self, bytes: &[u8]) -> Result<Option<(usize, bool)>, String> {
        let (first, len, miss) = match (self.operation, bytes.first()) {
            (_, None) => return Ok(None),
            (Operation::Set, Some(b'S')) => (STORED, STORED.len(), false),
            (Operation::Get, Some(b'V')) => (&b"VALUE "[..], self.hit_len, false),
            (Operation::Get, Some(b'E')) => (MISS, MISS.len(), true),
            _ => (&b"?"[..], 1, false),
        };
        if bytes.len() < len {
            return Ok(None);
        }
        if !bytes.starts_with(first) {
            return Err(format!("unexpected reply {:?}", String::from_utf8_lossy(&bytes[..60.min(bytes.len())])));
        }
        Ok(Some((len, miss)))
    }

    fn next_batch(&self, client: &mut Client, rng: &mut Rng) {
        client.request.clear();
        for _ in 0..self.pipeline {
            let key = rng.below(self.keys);
            match self.operation {
                Operation::Get => {
                    client.request.extend_from_slice(b"get ");
                    push_key(&mut client.request, key);
                    client.request.extend_from_slice(b"\r\n");
                }
                Operation::Set => push_set(&mut client.request, key, self.value),
            }
        }
        (client.sent, client.waiting, client.since) = (0, self.pipeline, Instant::now());
    }
}

impl Client {
    fn send(&mut self) -> Result<(), String> {
        while self.sent < self.request.len() {
            match self.stream.write(&self.request[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(format!("cannot send: {e}")),
            }
        }
        Ok(())
    }

    /// Takes replies from what was read; what is left of a last one in part is kept.
    fn take(&mut self, shape: &Shape<'_>, read: &[u8], misses: &mut u64) -> Result<(), String> {
        let joined;
        let mut bytes = read;
        if !self.rest.is_empty() {
            self.rest.extend_from_slice(read);
            joined = std::mem::take(&mut self.rest);
            bytes = &joined;
        }
        while let Some((len, miss)) = shape.reply(bytes)? {
            bytes = &bytes[len..];
            self.waiting = self.waiting.checked_sub(1).ok_or("more replies than requests")?;
            *misses += u64::from(miss);
        }
        self.rest = bytes.to_vec();
        Ok(())
    }
}

/// Loads the server for `time`.
pub(crate) fn run(
    clients: &mut Clients,
    operation: Operation,
    pipeline: usize,
    load: &Load,
    time: Duration,
    seed: u64,
) -> Result<Done, String> {
    let value = vec![b'v'; load.value];
    let hit_len = "VALUE ".len() + KEY_LEN + format!(" 0 {}\r\n", load.value).len() + load.value + "\r\nEND\r\n".len();
    let shape = Shape { operation, pipeline, keys: load.keys, value: &value, hit_len };
    let (mut rng, mut events, mut space) = (Rng::new(seed), Events::with_capacity(256), vec![0; 64 << 10]);
    let mut done = Done { requests: 0, misses: 0, time, latencies: Histogram::new() };
    let (begun, mut busy) = (Instant::now(), clients.all.len());
    for client in &mut clients.all {
        shape.next_batch(client, &mut rng);
        client.send()?;
    }
    while busy > 0 {
        clients.poll.poll(&mut events, Some(Duration::from_secs(5))).map_err(|e| format!("cannot poll: {e}"))?;
        if events.is_empty() {
            return Err("the server does not answer".into());
        }
        for event in &events {
            let client = &mut clients.all[event.token().0];
            client.send()?;
            while client.waiting > 0 {
                match client.stream.read(&mut space) {
                    Ok(0) => return Err("the server has closed a connection".into()),
                    Ok(n) => client.take(&shape, &space[..n], &mut done.misses)?,
                    Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                    Err(e) => return Err(format!("cannot read: {e}")),
                }
                if client.waiting > 0 {
                    continue;
                }
                done.requests += pipeline as u64;
                done.latencies.record(client.since.elapsed().as_nanos() as u64);
                if begun.elapsed() < time {
                    shape.next_batch(client, &mut rng);
                    client.send()?;
                } else {
                    busy -= 1;
                }
                // The next reply cannot be there yet: its event will tell.
                break;
            }
        }
    }
    done.time = begun.elapsed();
    Ok(done)
}
