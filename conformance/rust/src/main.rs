//! A Rust client that people use (the crate `memcache`) against larder's memcached server: text, binary, and the meta
//! commands with what they are for, one loader for many readers and values that are renewed before they end.
//!
//! ```text
//! cargo run --manifest-path conformance/rust/Cargo.toml -- PROGRAM
//! ```
//! PROGRAM is the server; it is started with defaults on a free port, and ended.

use std::collections::HashMap;
use std::error::Error;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use memcache::exp::{Memcache, Ttl};

/// A running server, which ends with this.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(program: &str) -> Result<Server, Box<dyn Error>> {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let child = Command::new(program)
            .args(["-l", "127.0.0.1", "-t", "2", "-u", "root", "-p", &port.to_string()])
            .spawn()?;
        let server = Server { child, port };
        for _ in 0..100 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(server);
            }
            thread::sleep(Duration::from_millis(50));
        }
        Err("the server does not listen".into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What both old protocols do.
fn classic(port: u16, protocol: &str) -> Result<(), Box<dyn Error>> {
    let client = memcache::connect(format!("memcache://127.0.0.1:{port}?timeout=5&protocol={protocol}"))?;
    client.flush()?;
    client.set("k", "v", 0)?;
    assert_eq!(client.get::<String>("k")?.as_deref(), Some("v"));
    assert_eq!(client.get::<String>("absent")?, None);
    // Whether they did anything, this client does not always tell.
    let _ = (client.add("k", "w", 0), client.replace("absent", "w", 0));
    assert_eq!((client.get::<String>("k")?.as_deref(), client.get::<String>("absent")?), (Some("v"), None));
    client.append("k", "!")?;
    client.prepend("k", "?")?;
    let (value, _, token): (String, u32, Option<u64>) = client.get("k")?.ok_or("no value")?;
    assert_eq!(value, "?v!");
    let token = match token {
        Some(token) => token,
        None => {
            // In text only `gets` tells it.
            let found: HashMap<String, (String, u32, Option<u64>)> = client.gets(&["k"])?;
            found["k"].2.ok_or("no token")?
        }
    };
    assert!(client.cas("k", "x", 0, token)? && !client.cas("k", "y", 0, token)?);
    client.set("n", 40, 0)?;
    assert_eq!((client.increment("n", 2)?, client.decrement("n", 50)?), (42, 0));
    for i in 0..300 {
        client.set(&format!("m{i}"), i, 60)?;
    }
    let keys: Vec<String> = (0..310).map(|i| format!("m{i}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    assert_eq!(client.gets::<i32>(&keys)?.len(), 300);
    assert!(client.touch("k", 100)? && client.delete("k")? && !client.delete("k")?);
    let big = vec![b'x'; 900_000];
    client.set("big", &big[..], 0)?;
    assert_eq!(client.get::<Vec<u8>>("big")?.as_deref(), Some(&big[..]));
    assert!(client.set("too big", &vec![b'x'; 2 << 20][..], 0).is_err());
    assert!(client.version()?[0].1.starts_with("1.") && !client.stats()?.is_empty());
    println!("ok     memcache, {protocol}: all of it");
    Ok(())
}

/// What the meta commands are for.
fn meta(port: u16) -> Result<(), Box<dyn Error>> {
    let cache = Memcache::connect([format!("127.0.0.1:{port}")])?;
    let minute = Ttl::secs(60);
    cache.set("user", "ann", minute)?;
    assert_eq!(cache.get::<String>("user")?.as_deref(), Some("ann"));
    assert!(!cache.add("user", "bob", minute)? && cache.replace("user", "eve", minute)?);
    let count: u64 = cache.update("cart", minute, |now: Option<u64>| now.unwrap_or(0) + 1)?;
    assert_eq!((count, cache.update("cart", minute, |now: Option<u64>| now.unwrap_or(0) + 1)?), (1, 2));

    // Many readers of a value that is not there: one of them brings it.
    let loads = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let cache = Memcache::connect([format!("127.0.0.1:{port}")]).expect("a connection");
                let load = || {
                    loads.fetch_add(1, Relaxed);
                    thread::sleep(Duration::from_millis(50));
                    Ok::<_, std::io::Error>("loaded".to_owned())
                };
                assert_eq!(cache.fetch("report", minute, load).expect("a value"), "loaded");
            });
        }
    });
    assert_eq!(loads.load(Relaxed), 1, "one loader");

    // A stale value is loaded anew, and is there for others until then.
    cache.invalidate("report", Duration::from_secs(30))?;
    let fresh = cache.fetch("report", minute, || Ok::<_, std::io::Error>("again".to_owned()))?;
    assert_eq!(fresh, "again");
    assert_eq!(cache.get::<String>("report")?.as_deref(), Some("again"));
    assert_eq!(cache.take::<String>("report")?.as_deref(), Some("again"));
    assert_eq!(cache.get::<String>("report")?, None);
    println!("ok     memcache, meta commands: reading, writing, updates, one loader, stale values");
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let program = std::env::args().nth(1).ok_or("usage: larder-conformance PROGRAM, which is the server")?;
    let server = Server::start(&program)?;
    for protocol in ["ascii", "binary"] {
        classic(server.port, protocol)?;
    }
    meta(server.port)
}
