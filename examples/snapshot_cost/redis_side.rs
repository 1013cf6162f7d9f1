//! A Redis server on a loopback port, with the same data and the same load.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::{Args, Row, fill_value, key_of};

pub(crate) const PORT: u16 = 16_399;
const DEADLINE: Duration = Duration::from_secs(600);

type Failure = String;

/// A server that ends with this value.
pub(crate) struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

fn told(e: std::io::Error) -> Failure {
    format!("redis: {e}")
}

impl Client {
    fn connect() -> Result<Client, Failure> {
        let stream = TcpStream::connect(("127.0.0.1", PORT)).map_err(told)?;
        stream.set_nodelay(true).map_err(told)?;
        Ok(Client { stream: BufReader::new(stream) })
    }

    fn send(&mut self, parts: &[&[u8]]) -> Result<(), Failure> {
        let mut bytes = format!("*{}\r\n", parts.len()).into_bytes();
        for part in parts {
            bytes.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
            bytes.extend_from_slice(part);
            bytes.extend_from_slice(b"\r\n");
        }
        self.stream.get_mut().write_all(&bytes).map_err(told)
    }

    /// A reply: a line, or the text of a bulk string.
    fn reply(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        self.stream.read_line(&mut line).map_err(told)?;
        if let Some(len) = line.strip_prefix('$').and_then(|len| len.trim().parse::<usize>().ok()) {
            let mut text = vec![0; len + 2];
            self.stream.read_exact(&mut text).map_err(told)?;
            return Ok(String::from_utf8_lossy(&text).into_owned());
        }
        Ok(line.trim_end().to_owned())
    }

    fn call(&mut self, parts: &[&[u8]]) -> Result<String, Failure> {
        self.send(parts)?;
        self.reply()
    }

    /// A number of `INFO`.
    fn info(&mut self, section: &str, name: &str) -> Result<f64, Failure> {
        let text = self.call(&[b"INFO", section.as_bytes()])?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|number| number.trim().parse().ok()).ok_or_else(|| format!("redis says nothing of {name}"))
    }
}

/// Starts the server and waits until it has loaded what there is.
pub(crate) fn start(server: &str, folder: &Path, more: &[&str]) -> Result<(Server, Client, f64), Failure> {
    let begun = Instant::now();
    let port = PORT.to_string();
    let args = ["--port", &port, "--bind", "127.0.0.1", "--save", ""];
    let mut command = Command::new(server);
    let child = command.args(args).args(more).arg("--dir").arg(folder).stdout(Stdio::null()).spawn();
    let server = Server(child.map_err(told)?);
    while begun.elapsed() < DEADLINE {
        if let Ok(mut client) = Client::connect()
            && client.call(&[b"PING"]).is_ok_and(|reply| reply == "+PONG")
        {
            return Ok((server, client, begun.elapsed().as_secs_f64()));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Err("redis-server does not answer".to_owned())
}

pub(crate) fn is_installed(server: &str) -> bool {
    Command::new(server).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

fn save(client: &mut Client) -> Result<f64, Failure> {
    let begun = Instant::now();
    client.call(&[b"BGSAVE"])?;
    while begun.elapsed() < DEADLINE {
        if client.info("persistence", "rdb_bgsave_in_progress")? == 0.0 {
            return Ok(begun.elapsed().as_secs_f64());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err("redis-server does not end its saving".to_owned())
}

/// Rewrites every key from one connection, and reads from another, while `work` runs.
fn under_load<R>(args: &Args, work: impl FnOnce() -> R) -> Result<(R, u64, u64), Failure> {
    let (stop, writes, longest) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let (mut writer, mut reader) = (Client::connect()?, Client::connect()?);
    let done = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut value = vec![0; args.value];
            for number in (0..args.count()).cycle() {
                fill_value(&mut value, number, 1);
                if stop.load(Relaxed) || writer.call(&[b"SET", &key_of(number), &value]).is_err() {
                    return;
                }
                writes.fetch_add(1, Relaxed);
            }
        });
        scope.spawn(|| {
            while !stop.load(Relaxed) {
                let begun = Instant::now();
                if reader.call(&[b"GET", &key_of(0)]).is_err() {
                    return;
                }
                longest.fetch_max(begun.elapsed().as_nanos() as u64, Relaxed);
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        let done = work();
        stop.store(true, Relaxed);
        done
    });
    Ok((done, writes.into_inner(), longest.into_inner()))
}

/// Measures everything and shows it row by row; says so where there is no server.
pub(crate) fn measure(args: &Args, server: &str, folder: &Path, mut show: impl FnMut(&Row)) -> Result<(), Failure> {
    if !is_installed(server) {
        super::println_unless(args.json, &format!("no comparison: {server} is not installed"));
        return Ok(());
    }
    let (running, mut client, _) = start(server, folder, &["--appendonly", "no", "--rdbcompression", "yes"])?;
    let mut value = vec![0; args.value];
    let mut behind = 0;
    for number in 0..args.count() {
        fill_value(&mut value, number, 0);
        client.send(&[b"SET", &key_of(number), &value])?;
        behind += 1;
        if behind == 256 || number + 1 == args.count() {
            for _ in 0..behind {
                client.reply()?;
            }
            behind = 0;
        }
    }
    let mut running = (running, client);
    // As it comes, and without what costs it most; it goes on without.
    for name in ["on, as by default", "off"] {
        let seconds = save(&mut running.1)?;
        drop(running);
        let (server, client, load) = start(server, folder, &["--appendonly", "no", "--rdbcompression", "no"])?;
        running = (server, client);
        show(&Row {
            name: format!("redis-server, nobody writes, compression {name}"),
            figures: vec![("save, MB/s", args.payload() / seconds / 1e6), ("load, MB/s", args.payload() / load / 1e6)],
        });
    }
    let (_running, mut client) = running;
    let ((), writes, longest) = under_load(args, || std::thread::sleep(Duration::from_secs(5)))?;
    let figures = vec![("longest read, ms", longest as f64 / 1e6), ("writes", writes as f64)];
    show(&Row { name: "redis-server, every key rewritten, no snapshot".to_owned(), figures });
    let (seconds, writes, longest) = under_load(args, || save(&mut client))?;
    let seconds = seconds?;
    show(&Row {
        name: "redis-server, every key rewritten, storage not held".to_owned(),
        figures: vec![
            ("longest read, ms", longest as f64 / 1e6),
            ("the fork alone, ms", client.info("stats", "latest_fork_usec")? / 1e3),
            ("writes", writes as f64),
            ("extra memory, MiB", client.info("persistence", "rdb_last_cow_size")? / 1_048_576.0),
            ("save, MB/s", args.payload() / seconds / 1e6),
        ],
    });
    Ok(())
}
