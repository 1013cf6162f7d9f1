//! A primary and a replica, two processes over TCP on loopback: this one starts the other, writes for some seconds,
//! breaks the connection once, shows how far behind the replica is, and ends when the replica has everything.
//!
//! `cargo run --release --example replica --features replication [-- SECONDS]`

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use larder::Cache;
use larder::replication::{LinkId, Primary, PrimaryOptions, Replica, ReplicaOptions};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// What the primary writes at the end; a replica that has it has everything.
const LAST: &[u8] = b"the last key";
const MEMORY: u64 = 64 << 20;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    match arguments.next() {
        Some(word) if word == "--follow" => follow(&arguments.next().ok_or("--follow needs an address")?),
        seconds => lead(seconds.map_or(Ok(3), |seconds| seconds.parse())?),
    }
}

/// Reads what has come, without waiting. False when the connection has ended.
fn read_some(stream: &mut TcpStream, into: &mut Vec<u8>) -> Result<bool> {
    into.clear();
    let mut buffer = [0; 32 << 10];
    match stream.read(&mut buffer) {
        Ok(0) => return Ok(false),
        Ok(len) => into.extend_from_slice(&buffer[..len]),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
        Err(_) => return Ok(false),
    }
    Ok(true)
}

/// Writes what the socket takes.
fn write_some(stream: &mut TcpStream, bytes: &[u8]) -> usize {
    if bytes.is_empty() { 0 } else { stream.write(bytes).unwrap_or(0) }
}

/// The primary: writes and serves one connection after the other.
fn lead(seconds: u64) -> Result<()> {
    let cache = Cache::builder().max_memory(MEMORY).name("primary").build()?;
    for n in 0..50_000u32 {
        cache.set(&n.to_le_bytes(), &[7; 200])?;
    }
    let mut primary = Primary::new(&cache, PrimaryOptions::new().backlog(16 << 20, 0))?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?.to_string();
    let mut other =
        Command::new(std::env::current_exe()?).args(["--follow", &address]).stdout(Stdio::piped()).spawn()?;
    let lines = BufReader::new(other.stdout.take().ok_or("the replica has no output")?).lines();
    let printer = std::thread::spawn(move || lines.map_while(|line| line.ok()).for_each(|line| println!("{line}")));

    let begun = Instant::now();
    let mut connection: Option<(TcpStream, LinkId)> = None;
    let (mut bytes, mut written, mut shown, mut was_broken, mut is_over) = (Vec::new(), 0u64, 0, false, false);
    loop {
        let elapsed = begun.elapsed();
        let now_ms = elapsed.as_millis() as u64;
        if let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            connection = Some((stream, primary.connect(now_ms)));
        }
        if elapsed < Duration::from_secs(seconds) {
            for _ in 0..100 {
                written += 1;
                cache.set(&((written % 50_000) as u32).to_le_bytes(), &written.to_le_bytes())?;
            }
        } else if !is_over {
            cache.set(LAST, b"")?;
            is_over = true;
        }
        // Once, in the middle, the connection breaks.
        if !was_broken && elapsed > Duration::from_millis(seconds * 500) {
            was_broken = true;
            if let Some((_, link)) = connection.take() {
                primary.disconnect(link);
                println!("primary: the connection is broken on purpose");
            }
        }
        let mut is_open = true;
        if let Some((stream, link)) = &mut connection {
            is_open = read_some(stream, &mut bytes)? && primary.receive(*link, &bytes, now_ms).is_ok();
            primary.poll(now_ms);
            let sent = write_some(stream, primary.output(*link));
            primary.sent(*link, sent);
            is_open &= primary.is_open(*link);
        } else {
            primary.poll(now_ms);
        }
        if !is_open && let Some((_, link)) = connection.take() {
            primary.disconnect(link);
        }
        if now_ms / 500 > shown {
            shown = now_ms / 500;
            for replica in primary.replicas(now_ms) {
                let lag = replica.lag_ms.map_or("-".to_owned(), |ms| format!("{ms} ms"));
                let (name, state, records) = (&replica.name, replica.state, replica.lag_records);
                println!("primary: {written} writes; {name} is {state:?}, behind by {records} records, {lag}");
            }
        }
        if is_over && (primary.acknowledged(primary.position()) == 1 || other.try_wait()?.is_some()) {
            break;
        }
        if elapsed > Duration::from_secs(seconds + 60) {
            other.kill()?;
            return Err("the replica did not catch up in a minute".into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(connection);
    let status = other.wait()?;
    printer.join().map_err(|_| "the printer failed")?;
    println!("primary: {written} writes, all of them on the replica");
    if status.success() { Ok(()) } else { Err("the replica failed".into()) }
}

/// The replica: follows until it has the last key, connecting anew when the connection breaks.
fn follow(address: &str) -> Result<()> {
    let cache = Cache::builder().max_memory(MEMORY * 2).name("replica").follower(true).build()?;
    let mut replica = Replica::new(&cache, ReplicaOptions::new("replica-1"))?;
    let begun = Instant::now();
    let (mut bytes, mut shown) = (Vec::new(), 0);
    while !cache.contains(LAST) {
        let Ok(mut stream) = TcpStream::connect(address) else { return Err("the primary has gone".into()) };
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        replica.connect(begun.elapsed().as_millis() as u64);
        while replica.is_open() {
            let now_ms = begun.elapsed().as_millis() as u64;
            let is_open = read_some(&mut stream, &mut bytes)?;
            if let Err(error) = replica.receive(&bytes, now_ms) {
                println!("replica: {error}");
            }
            replica.poll(now_ms);
            let sent = write_some(&mut stream, replica.output());
            replica.sent(sent);
            if now_ms / 500 > shown {
                shown = now_ms / 500;
                let status = replica.status(now_ms);
                let (records, full, partial) = (status.lag_records, status.full_syncs, status.partial_syncs);
                let items = cache.len();
                println!("replica: {items} items, behind by {records} records; {full} full, {partial} partial syncs");
            }
            if !is_open {
                replica.disconnect();
            }
            if bytes.is_empty() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
    println!("replica: it has everything: {} items", cache.len());
    Ok(())
}
