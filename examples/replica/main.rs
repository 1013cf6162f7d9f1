//! A primary and a replica, two processes over TCP on loopback. This one starts the other, writes for some seconds,
//! breaks the connection once, and shows how far behind the replica is. Then they change roles: the replica is promoted
//! and written to, this one becomes its replica. It ends by itself when both have everything.
//!
//! `cargo run --release --example replica --features replication [-- SECONDS]`

mod node;

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use larder::Cache;
use larder::replication::{Primary, PrimaryOptions, Replica, ReplicaOptions};
use node::{Server, follow};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// What either primary writes at its end; whoever has it has everything.
const LAST_OF_FIRST: &[u8] = b"the last key of the first primary";
const LAST_OF_SECOND: &[u8] = b"the last key of the second primary";
const MEMORY: u64 = 64 << 20;
const KEYS: u64 = 50_000;
/// Records kept for a replica that comes back: more than is written while the connection is down.
const BACKLOG: u64 = 16 << 20;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    match arguments.next() {
        Some(word) if word == "--second" => second(&arguments.next().ok_or("--second needs an address")?),
        Some(word) => match word.parse() {
            Ok(seconds) => first(Duration::from_secs(seconds)),
            Err(_) => {
                eprintln!("replica: '{word}' is no number of seconds\nUsage: replica [SECONDS]   to write for [3]");
                std::process::exit(2);
            }
        },
        None => first(Duration::from_secs(3)),
    }
}

/// The process that is the primary first.
fn first(duration: Duration) -> Result<()> {
    let cache = Cache::builder().max_memory(MEMORY).name("first").build()?;
    for n in 0..KEYS {
        cache.set(&n.to_le_bytes(), &[7; 200])?;
    }
    let mut primary = Primary::new(&cache, PrimaryOptions::new().backlog(BACKLOG, 0))?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut other = Command::new(std::env::current_exe()?)
        .args(["--second", &listener.local_addr()?.to_string()])
        .stdout(Stdio::piped())
        .spawn()?;
    // Its first line is where it will be listening; the others are for the reader.
    let mut lines = BufReader::new(other.stdout.take().ok_or("the other process has no output")?).lines();
    let address = lines.next().ok_or("the other process ended at once")??;
    let printer = std::thread::spawn(move || lines.map_while(|line| line.ok()).for_each(|line| println!("{line}")));

    let led = lead(&mut primary, listener, duration, &mut other);
    if led.is_err() {
        other.kill()?;
    }
    let written = led?;
    println!("first: {written} writes, all acknowledged; it steps down");

    let mut replica = primary.demote(ReplicaOptions::new("first"))?;
    follow(&mut replica, &cache, &address, LAST_OF_SECOND)?;
    let status = other.wait()?;
    printer.join().map_err(|_| "the printer failed")?;
    let items = cache.len();
    println!("first: it follows, and has {items} items, those of the new primary among them");
    if status.success() && items == KEYS + 2 { Ok(()) } else { Err("the two are not the same".into()) }
}

/// Writes for a while, as a program's own threads do. How much was written.
fn write(cache: &Cache, duration: Duration) -> larder::Result<u64> {
    let (begun, mut written) = (Instant::now(), 0u64);
    while begun.elapsed() < duration {
        for _ in 0..100 {
            written += 1;
            cache.set(&(written % KEYS).to_le_bytes(), &written.to_le_bytes())?;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    cache.set(LAST_OF_FIRST, b"")?;
    Ok(written)
}

/// Serves the replica while another thread writes, and breaks the connection in the middle. How much was written.
///
/// A thread that did both would wait for itself whenever a writer has to wait for a snapshot.
fn lead(primary: &mut Primary, listener: TcpListener, duration: Duration, other: &mut Child) -> Result<u64> {
    let (cache, begun) = (primary.cache().clone(), Instant::now());
    let mut server = Server::new("first", listener)?;
    let mut writer = Some(std::thread::spawn(move || write(&cache, duration)));
    let (mut written, mut was_broken) = (None, false);
    loop {
        let elapsed = begun.elapsed();
        if !was_broken && elapsed > duration / 2 {
            was_broken = server.break_connection(primary);
        }
        if !server.step(primary)? {
            std::thread::sleep(Duration::from_millis(1));
        }
        if let Some(ended) = writer.take_if(|writer| writer.is_finished()) {
            written = Some(ended.join().map_err(|_| "the writer failed")??);
        }
        if let Some(written) = written
            && primary.acknowledged(primary.position()) == 1
        {
            return Ok(written);
        }
        if other.try_wait()?.is_some() || elapsed > duration + Duration::from_secs(60) {
            return Err("the replica ended, or did not catch up in a minute".into());
        }
    }
}

/// The process that is a replica first.
fn second(address: &str) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    // More than the primary: the snapshot is kept here until it is whole.
    let cache = Cache::builder().max_memory(MEMORY * 2).name("second").follower(true).build()?;
    let mut replica = Replica::new(&cache, ReplicaOptions::new("second"))?;
    follow(&mut replica, &cache, address, LAST_OF_FIRST)?;

    let mut primary = replica.promote(PrimaryOptions::new())?;
    println!("second: promoted; it is written to");
    for n in 0..1000u64 {
        cache.set(&n.to_le_bytes(), b"of the second primary")?;
    }
    cache.set(LAST_OF_SECOND, b"")?;
    let (mut server, begun) = (Server::new("second", listener)?, Instant::now());
    while primary.acknowledged(primary.position()) < 1 {
        if !server.step(&mut primary)? {
            std::thread::sleep(Duration::from_millis(1));
        }
        if begun.elapsed() > Duration::from_secs(60) {
            return Err("the old primary did not catch up in a minute".into());
        }
    }
    println!("second: the old primary has everything");
    Ok(())
}
