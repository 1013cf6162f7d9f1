//! One thread's loop: events of its clients' sockets, turns, idle connections, datagrams.
//!
//! Invariants:
//! 1. A client belongs to one worker from the hand-over to its end; nobody else touches it.
//! 2. The ledger of the cache has at least the memory of the worker's clients and of its own buffers, to within
//!    [`STEP`]. If it does not get it, the client that asked for it last is closed.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Acquire;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use larder::Charge;
use larder::protocol::{Limits, Output};
use mio::event::Event;
use mio::{Events, Interest, Poll, Token};

use super::client::{Client, Ending, Scratch, Turn};
use super::listen::Datagrams;
use super::server::{Settings, Shared, Stop};
use super::stream::Stream;
use super::{Front, Note, Peer, Session};

/// Bytes read at once.
const READ: usize = 64 << 10;
/// Steps in which memory is put on the ledger.
const STEP: usize = 64 << 10;
/// So many clients' requests are read before the first of them is carried out, and so much of each.
const AHEAD: usize = 16;
const READ_AHEAD: usize = 4 << 10;
/// Events fetched at once.
const EVENTS: usize = 256;
/// How often those who watch are told.
const WATCH: Duration = Duration::from_millis(20);
/// How long replies may take to get out when the server ends.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How many datagrams are answered before others have their turn.
const DATAGRAMS: usize = 64;

/// Tokens: clients count from 0, datagram sockets down from here, and this wakes the worker.
pub(super) const WAKE: Token = Token(usize::MAX);
const DATAGRAM: usize = usize::MAX / 2;

/// What a worker is sent.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) stream: Stream,
    pub(super) peer: Peer,
}

/// See the module.
pub(super) struct Worker<F: Front> {
    poll: Poll,
    arrivals: Receiver<Arrival>,
    datagrams: Vec<Datagrams>,
    shared: Arc<Shared<F>>,
    clients: Vec<Option<Box<Entry<F::Session>>>>,
    free: Vec<usize>,
    /// Clients that have more to do, by token.
    queue: Vec<usize>,
    /// Clients of whom the last events told.
    awake: Vec<usize>,
    /// What was read ahead.
    ahead: Box<[u8]>,
    /// Datagram sockets on which there may be more.
    due: Vec<usize>,
    watchers: Vec<usize>,
    scratch: Scratch,
    memory: usize,
    charge: Charge,
    begun: Instant,
    /// The access list that the clients were last looked at with.
    access: u64,
}

struct Entry<S> {
    client: Client<S>,
    address: Option<SocketAddr>,
}

impl<F: Front> Worker<F> {
    pub(super) fn new(
        poll: Poll,
        arrivals: Receiver<Arrival>,
        mut datagrams: Vec<Datagrams>,
        shared: Arc<Shared<F>>,
    ) -> Result<Self, String> {
        for (i, own) in datagrams.iter_mut().enumerate() {
            let registered = poll.registry().register(&mut own.socket, Token(DATAGRAM + i), Interest::READABLE);
            registered.map_err(|e| format!("cannot poll a socket: {e}"))?;
        }
        let charge = shared.cache.charge(0).map_err(|e| e.to_string())?;
        for bytes in [READ, AHEAD * READ_AHEAD] {
            shared.front.note(Note::Buffers(bytes));
        }
        Ok(Worker {
            poll,
            arrivals,
            datagrams,
            shared,
            clients: Vec::new(),
            free: Vec::new(),
            queue: Vec::new(),
            awake: Vec::new(),
            ahead: vec![0; AHEAD * READ_AHEAD].into_boxed_slice(),
            due: Vec::new(),
            watchers: Vec::new(),
            scratch: Scratch { input: vec![0; READ].into_boxed_slice(), output: Output::default() },
            memory: READ + AHEAD * READ_AHEAD,
            charge,
            begun: Instant::now(),
            access: 0,
        })
    }

    /// Serves until the server ends.
    pub(super) fn run(mut self) -> Result<(), String> {
        let mut events = Events::with_capacity(EVENTS);
        let (mut last_look, mut last_tell) = (Instant::now(), Instant::now());
        loop {
            let timeout = self.timeout();
            match self.poll.poll(&mut events, timeout) {
                Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(format!("cannot poll sockets: {e}")),
                _ => {}
            }
            for event in &events {
                self.happened(event);
            }
            self.serve_awake();
            match self.shared.stop() {
                Stop::No => {}
                Stop::Now => return Ok(()),
                Stop::Graceful => return self.finish(events),
            }
            for token in std::mem::take(&mut self.queue) {
                if let Some(entry) = self.clients[token].as_mut() {
                    entry.client.queued = false;
                    self.turn(token, &[]);
                }
            }
            for number in std::mem::take(&mut self.due) {
                self.answer_datagrams(number);
            }
            if !self.watchers.is_empty() && last_tell.elapsed() >= WATCH {
                last_tell = Instant::now();
                self.tell_watchers();
            }
            if timeout.is_some() && last_look.elapsed() >= Duration::from_secs(1) {
                last_look = Instant::now();
                self.look_for_idle();
            }
        }
    }

    fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.queue.is_empty() || !self.due.is_empty() {
            Some(Duration::ZERO)
        } else if !self.watchers.is_empty() {
            Some(WATCH)
        } else {
            self.settings().idle_timeout.map(|_| Duration::from_secs(1))
        }
    }

    fn now(&self) -> u32 {
        // Only for idle connections: no look at the clock without a need.
        if self.settings().idle_timeout.is_some() { self.begun.elapsed().as_secs() as u32 } else { 0 }
    }

    fn happened(&mut self, event: &Event) {
        match event.token() {
            WAKE => {
                while let Ok(arrival) = self.arrivals.try_recv() {
                    self.admit(arrival);
                }
                self.review_access();
            }
            Token(token) if token >= DATAGRAM => self.answer_datagrams(token - DATAGRAM),
            Token(token) => {
                let Some(entry) = self.clients.get_mut(token).and_then(Option::as_mut) else { return };
                let client = &mut entry.client;
                client.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
                client.hung_up |= event.is_read_closed() || event.is_error();
                client.writable |= event.is_writable();
                if !client.queued {
                    self.awake.push(token);
                }
            }
        }
    }

    /// Gives those their turn who have sent something. Requests of several clients are read before the first of them is
    /// carried out, so that the cache can be told what will be asked for: it then waits for memory once, not for each.
    fn serve_awake(&mut self) {
        let awake = std::mem::take(&mut self.awake);
        let mut ahead = std::mem::take(&mut self.ahead);
        for group in awake.chunks(AHEAD) {
            let mut lens = [0; AHEAD];
            if group.len() > 1 {
                for ((&token, space), len) in group.iter().zip(ahead.chunks_mut(READ_AHEAD)).zip(&mut lens) {
                    if let Some(entry) = self.clients[token].as_mut() {
                        *len = entry.client.read_ahead(space);
                    }
                }
                let mut inputs = [&[][..]; AHEAD];
                for ((input, space), len) in inputs.iter_mut().zip(ahead.chunks(READ_AHEAD)).zip(lens) {
                    *input = &space[..len];
                }
                self.shared.front.foresee(&inputs[..group.len()]);
            }
            for ((&token, space), len) in group.iter().zip(ahead.chunks(READ_AHEAD)).zip(lens) {
                self.turn(token, &space[..len]);
            }
        }
        (self.awake, self.ahead) = (awake, ahead);
        self.awake.clear();
    }

    fn admit(&mut self, arrival: Arrival) {
        let Arrival { mut stream, peer } = arrival;
        let token = self.free.pop().unwrap_or_else(|| {
            self.clients.push(None);
            self.clients.len() - 1
        });
        if stream.register(self.poll.registry(), Token(token)).is_err() {
            self.free.push(token);
            self.shared.closed();
            return;
        }
        let session = self.shared.front.connect(&peer);
        let client = Client::new(stream, session, self.now());
        self.clients[token] = Some(Box::new(Entry { client, address: peer.address }));
        self.turn(token, &[]);
    }

    fn turn(&mut self, token: usize, ahead: &[u8]) {
        let now = self.now();
        let limits = Limits { requests: self.settings().requests_per_event, output_bytes: self.settings().reply_bytes };
        let Some(entry) = self.clients[token].as_mut() else { return };
        let client = &mut entry.client;
        client.last_active = now;
        let watched = client.session.watches();
        let turn = client.turn(ahead, &mut self.scratch, limits);
        if !watched && client.session.watches() {
            self.watchers.push(token);
        }
        self.after(token, turn);
    }

    fn after(&mut self, token: usize, turn: Turn) {
        match turn {
            Turn::Wait => {}
            Turn::Yield => {
                self.shared.front.note(Note::Yield);
                if let Some(entry) = self.clients[token].as_mut() {
                    entry.client.queued = true;
                    self.queue.push(token);
                }
            }
            Turn::Close(ending) => return self.close(token, ending),
            Turn::Shutdown { graceful } => self.shared.end(if graceful { Stop::Graceful } else { Stop::Now }),
        }
        self.settle(token);
    }

    /// Puts a client's memory on the ledger, or closes it.
    fn settle(&mut self, token: usize) {
        let Some(entry) = self.clients[token].as_mut() else { return };
        let memory = entry.client.memory();
        let before = std::mem::replace(&mut entry.client.charged, memory);
        if memory == before {
            return;
        }
        self.memory = self.memory - before + memory;
        let waiting = entry.client.waiting();
        let noted = std::mem::replace(&mut entry.client.noted, waiting);
        if waiting != noted {
            self.shared.front.note(Note::Waiting(waiting as isize - noted as isize));
        }
        let limit = self.settings().memory_limit / self.settings().threads;
        let too_much = limit > 0 && self.memory > limit.max(READ + AHEAD * READ_AHEAD + STEP);
        if (too_much || !self.settle_charge()) && memory > before {
            self.shared.front.note(Note::OutOfMemory);
            self.close(token, Ending::Error);
        }
    }

    fn settle_charge(&mut self) -> bool {
        let wanted = self.memory.next_multiple_of(STEP) as u64;
        let charged = self.charge.bytes();
        // Half a step of slack below, so that a client at the edge does not go back and forth.
        if wanted > charged || wanted + STEP as u64 / 2 < charged { self.charge.resize(wanted).is_ok() } else { true }
    }

    fn close(&mut self, token: usize, ending: Ending) {
        if let Some(mut entry) = self.clients[token].take() {
            entry.client.session.ending(ending);
            self.memory -= entry.client.charged;
            if entry.client.noted > 0 {
                self.shared.front.note(Note::Waiting(-(entry.client.noted as isize)));
            }
            drop(entry);
            self.free.push(token);
            self.settle_charge();
            self.shared.closed();
        }
        self.watchers.retain(|&watcher| watcher != token);
    }

    fn tell_watchers(&mut self) {
        for token in self.watchers.clone() {
            if let Some(entry) = self.clients[token].as_mut() {
                let turn = entry.client.poll(&mut self.scratch);
                self.after(token, turn);
            }
        }
    }

    fn look_for_idle(&mut self) {
        let Some(timeout) = self.settings().idle_timeout else { return };
        let now = self.now();
        for token in 0..self.clients.len() {
            let Some(entry) = &self.clients[token] else { continue };
            if u64::from(now - entry.client.last_active) > timeout.as_secs() && !entry.client.session.watches() {
                self.shared.front.note(Note::IdleKick);
                self.close(token, Ending::IdleTimeout);
            }
        }
    }

    /// Ends connections from networks that are no longer allowed.
    fn review_access(&mut self) {
        let version = self.shared.access_version.load(Acquire);
        if std::mem::replace(&mut self.access, version) == version {
            return;
        }
        for token in 0..self.clients.len() {
            let address = self.clients[token].as_ref().and_then(|entry| entry.address);
            if address.is_some_and(|address| !self.shared.access.allows(address.ip())) {
                self.close(token, Ending::Normal);
            }
        }
    }

    fn answer_datagrams(&mut self, number: usize) {
        let own = &self.datagrams[number];
        for _ in 0..DATAGRAMS {
            match own.socket.recv_from(&mut self.scratch.input) {
                Ok((n, from)) if self.shared.access.allows(from.ip()) => {
                    // What the system does not take is lost, as datagrams may be.
                    let mut send = |piece: &[u8]| drop(own.socket.send_to(piece, from));
                    self.shared.front.answer(own.number, from, &self.scratch.input[..n], &mut send);
                }
                Ok(_) => self.shared.front.note(Note::Denied),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                // An earlier answer could not be delivered: that is the peer's affair.
                Err(_) => {}
            }
        }
        // Edge-triggered: more may be there, and no event would tell.
        if !self.due.contains(&number) {
            self.due.push(number);
        }
    }

    /// Sends what replies there are, for a while, and ends.
    fn finish(mut self, mut events: Events) -> Result<(), String> {
        let end = Instant::now() + LAST_WORDS;
        loop {
            let waits = self.clients.iter().flatten().any(|entry| entry.client.is_behind());
            let left = end.saturating_duration_since(Instant::now());
            if !waits || left.is_zero() {
                return Ok(());
            }
            let _ = self.poll.poll(&mut events, Some(left.min(WATCH)));
            for event in &events {
                if let Some(entry) = self.clients.get_mut(event.token().0).and_then(Option::as_mut) {
                    entry.client.writable |= event.is_writable();
                    entry.client.finish();
                }
            }
        }
    }
}
