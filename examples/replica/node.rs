//! The transport: bytes between the state machines and TCP, and the time.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use larder::Cache;
use larder::replication::{LinkId, Primary, Replica};

use crate::Result;

/// How often it is shown how far behind a replica is, in milliseconds.
const SHOW_MS: u64 = 500;

fn prepared(stream: TcpStream) -> std::io::Result<TcpStream> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Reads what has come, without waiting. False when the connection has ended.
fn read_some(stream: &mut TcpStream, into: &mut Vec<u8>) -> bool {
    into.clear();
    let mut buffer = [0; 32 << 10];
    match stream.read(&mut buffer) {
        Ok(0) => return false,
        Ok(len) => into.extend_from_slice(&buffer[..len]),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
        Err(_) => return false,
    }
    true
}

/// Writes what the socket takes.
fn write_some(stream: &mut TcpStream, bytes: &[u8]) -> usize {
    if bytes.is_empty() { 0 } else { stream.write(bytes).unwrap_or(0) }
}

/// A primary's side: one connection after the other.
pub(crate) struct Server {
    name: &'static str,
    listener: TcpListener,
    connection: Option<(TcpStream, LinkId)>,
    begun: Instant,
    shown: u64,
    bytes: Vec<u8>,
}

impl Server {
    pub(crate) fn new(name: &'static str, listener: TcpListener) -> Result<Server> {
        listener.set_nonblocking(true)?;
        Ok(Server { name, listener, connection: None, begun: Instant::now(), shown: 0, bytes: Vec::new() })
    }

    /// Ends the connection, as a network might; false if there was none.
    pub(crate) fn break_connection(&mut self, primary: &mut Primary) -> bool {
        let Some((_, link)) = self.connection.take() else { return false };
        primary.disconnect(link);
        println!("{}: the connection is broken on purpose", self.name);
        true
    }

    /// Moves what there is to move. False if nothing moved: there is time to sleep.
    pub(crate) fn step(&mut self, primary: &mut Primary) -> Result<bool> {
        let now_ms = self.begun.elapsed().as_millis() as u64;
        if let Ok((stream, _)) = self.listener.accept() {
            if let Some((_, link)) = self.connection.take() {
                primary.disconnect(link);
            }
            self.connection = Some((prepared(stream)?, primary.connect(now_ms)));
        }
        let (mut is_open, mut has_moved) = (true, false);
        if let Some((stream, link)) = &mut self.connection {
            is_open = read_some(stream, &mut self.bytes) && primary.receive(*link, &self.bytes, now_ms).is_ok();
            let more = primary.poll(now_ms);
            let sent = write_some(stream, primary.output(*link));
            primary.sent(*link, sent);
            // More to come, but a socket that is full, is no reason to go on at once.
            has_moved = sent > 0 || (more && primary.output(*link).is_empty());
            is_open &= primary.is_open(*link);
        } else {
            primary.poll(now_ms);
        }
        if !is_open && let Some((_, link)) = self.connection.take() {
            primary.disconnect(link);
        }
        if now_ms / SHOW_MS > self.shown {
            self.shown = now_ms / SHOW_MS;
            for replica in primary.replicas(now_ms) {
                let lag = replica.lag_ms.map_or("not known yet".to_owned(), |ms| format!("{ms} ms"));
                let (name, state, records) = (&replica.name, replica.state, replica.lag_records);
                println!("{}: replica {name} is {state:?}, behind by {records} records, {lag}", self.name);
            }
        }
        Ok(has_moved)
    }
}

/// A replica's side: follows until it has `last` and its primary has ended the connection; connects anew when the
/// connection breaks before that.
pub(crate) fn follow(replica: &mut Replica, cache: &Cache, address: &str, last: &[u8]) -> Result<()> {
    let begun = Instant::now();
    let (mut bytes, mut shown) = (Vec::new(), 0);
    while !cache.contains(last) {
        if begun.elapsed() > Duration::from_secs(120) {
            return Err("it did not come to the end in two minutes".into());
        }
        // Resolved anew each time, were it a name.
        let Ok(stream) = TcpStream::connect(address) else {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        let mut stream = prepared(stream)?;
        replica.connect(begun.elapsed().as_millis() as u64);
        while replica.is_open() {
            let now_ms = begun.elapsed().as_millis() as u64;
            let is_open = read_some(&mut stream, &mut bytes);
            if let Err(error) = replica.receive(&bytes, now_ms) {
                println!("{}: {error}", cache.name());
            }
            replica.poll(now_ms);
            let sent = write_some(&mut stream, replica.output());
            replica.sent(sent);
            if now_ms / SHOW_MS > shown {
                shown = now_ms / SHOW_MS;
                show(replica, cache, now_ms);
            }
            if !is_open {
                replica.disconnect();
            }
            if bytes.is_empty() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
    show(replica, cache, begun.elapsed().as_millis() as u64);
    Ok(())
}

fn show(replica: &Replica, cache: &Cache, now_ms: u64) {
    let status = replica.status(now_ms);
    let (records, full, partial) = (status.lag_records, status.full_syncs, status.partial_syncs);
    let (name, items) = (cache.name(), cache.len());
    println!("{name}: {items} items, behind by {records} records; {full} full, {partial} partial syncs");
}
