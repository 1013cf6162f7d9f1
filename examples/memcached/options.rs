//! The command line: memcached's options by their letters and long names, and a few of larder's own.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use larder::EvictionPolicy;
use lexopt::prelude::*;

use crate::extended::{Extended, set_extended};
use crate::net::access::Network;

pub(crate) const HELP: &str = "\
larder's memcached server: the memcached protocol in front of a larder cache.

Usage: memcached [options]

Where it listens
  -p, --port=NUM             TCP port (11211); 0 for none, -1 for any that is free
  -U, --udp-port=NUM         UDP port (0, none); -1 for any that is free
  -l, --listen=ADDR,...      addresses or names, each with a port of its own if need be; * for all (this machine only);
                             proto[ascii]: or proto[binary]: before one holds its clients to that protocol
  -s, --unix-socket=FILE     a Unix socket, and no network
  -a, --unix-mask=MODE       permissions of the socket's file, octal (700)
  -b, --listen-backlog=NUM   connections that may wait to be accepted (1024)
Who may come in
      --allow=NETWORK,...    let in clients from these networks, such as 10.0.0.0/8; otherwise only this machine's
      --allow-file=FILE      and from those in this file, a line each; read again at SIGHUP
  -Y, --auth-file=FILE       clients have to name a user and password of this file (user:password lines) first
  -S, --enable-sasl          the same for the binary protocol by SASL PLAIN; the file is named by MEMCACHED_SASL_PWDB
  -A, --enable-shutdown      clients may end the server with the command shutdown
  -F, --disable-flush-all    clients may not use flush_all
  -X, --disable-dumping      clients may not list keys
  -W, --disable-watch        clients may not watch
Memory
  -m, --memory-limit=NUM     MiB for everything that is cached: items, index and tables (64)
  -M, --disable-evictions    refuse to store when memory is full, rather than evict
  -I, --max-item-size=SIZE   largest item, with suffix k or m (1m)
  -f, --slab-growth-factor=NUM  from one chunk size to the next (1.04)
  -n, --slab-min-size=NUM    bytes of the smallest chunk (32)
  -k, --lock-memory          keep memory from being swapped out
  -L, --enable-largepages    ask for huge pages
  -e, --memory-file=FOLDER   keep items there over a restart: in a file system in memory, such as /dev/shm, or on a disk
  -C, --disable-cas          no check-and-set numbers
      --policy=NAME          who leaves when memory is full: value (larder's own), allkeys-lru, s3-fifo, sieve, ...
Connections and threads
  -c, --conn-limit=NUM       most connections (1024)
  -t, --threads=NUM          threads that serve (4)
  -R, --max-reqs-per-event=NUM  requests of one client before others have their turn (20)
  -B, --protocol=NAME        ascii, binary or auto (auto)
The process
  -d, --daemon               go into the background
  -P, --pidfile=FILE         write the process's number there
  -u, --user=NAME            become this user (for root only)
  -r, --enable-coredumps     no limit on the size of core files
  -D CHAR                    what ends a key's prefix in stats detail (:), which is then on
  -v, --verbose              tell more on standard error; again for still more
  -o, --extended=NAME[=VALUE],...   as in memcached; those named here do something, the others are checked and reported
      maxconns_fast          refuse connections beyond -c at once (default); no_maxconns_fast lets them wait
      idle_timeout=SECONDS   close connections that are silent for so long (0, never)
      read_buf_mem_limit=MIB memory for replies that clients do not take, for all connections together (no limit)
      hashpower=NUM          room in the index for 2^NUM items from the start
      slab_reassign          pages may be moved between sizes by hand
      slab_automove=0|1|2    pages move between sizes by themselves never, slowly, at once (2)
      watcher_logbuf_size=KIB  what waits for a client that watches (256)
      track_sizes            stats sizes counts items
      relaxed_privileges     test commands (debugtime) are there
  -V, --version
  -h, --help
";

/// Said in the help only where it works (memcached's test programs look for the words).
#[cfg(feature = "example-tls")]
pub(crate) const TLS_HELP: &str = "\
  -Z, --enable-ssl           TLS, for TCP; with
      -o ssl_chain_cert=FILE,ssl_key=FILE   certificates and key, PEM
";

/// Which protocol clients may speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Auto,
    Ascii,
    Binary,
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Protocol::Auto),
            "ascii" => Ok(Protocol::Ascii),
            "binary" => Ok(Protocol::Binary),
            _ => Err(format!("'{text}' is no protocol: ascii, binary or auto")),
        }
    }
}

/// See [`HELP`].
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) tcp_port: Option<i32>,
    pub(crate) udp_port: Option<i32>,
    pub(crate) listen: Vec<String>,
    pub(crate) unix_socket: Option<PathBuf>,
    pub(crate) unix_mask: u32,
    pub(crate) backlog: i32,
    pub(crate) allow: Vec<Network>,
    pub(crate) allow_file: Option<PathBuf>,
    pub(crate) auth_file: Option<PathBuf>,
    pub(crate) sasl: bool,
    pub(crate) shutdown: bool,
    pub(crate) flush: bool,
    pub(crate) dump: bool,
    pub(crate) watch: bool,
    pub(crate) memory: u64,
    pub(crate) evict: bool,
    pub(crate) max_item_size: usize,
    pub(crate) factor: f64,
    pub(crate) chunk_size: usize,
    pub(crate) lock_memory: bool,
    pub(crate) large_pages: bool,
    pub(crate) memory_file: Option<PathBuf>,
    pub(crate) cas: bool,
    pub(crate) policy: Option<EvictionPolicy>,
    pub(crate) connections: usize,
    pub(crate) threads: usize,
    pub(crate) requests_per_event: usize,
    pub(crate) protocol: Protocol,
    pub(crate) daemon: bool,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) user: Option<String>,
    pub(crate) core_dumps: bool,
    /// Counting by prefix is on from the start if this was given.
    pub(crate) prefix: Option<char>,
    pub(crate) verbosity: u32,
    pub(crate) tls: bool,
    pub(crate) extended: Extended,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            tcp_port: None,
            udp_port: None,
            listen: Vec::new(),
            unix_socket: None,
            unix_mask: 0o700,
            backlog: 1024,
            allow: Vec::new(),
            allow_file: None,
            auth_file: None,
            sasl: false,
            shutdown: false,
            flush: true,
            dump: true,
            watch: true,
            memory: 64 << 20,
            evict: true,
            max_item_size: 1 << 20,
            factor: 1.04,
            chunk_size: 32,
            lock_memory: false,
            large_pages: false,
            memory_file: None,
            cas: true,
            policy: None,
            connections: 1024,
            threads: 4,
            requests_per_event: 20,
            protocol: Protocol::Auto,
            daemon: false,
            pid_file: None,
            user: None,
            core_dumps: false,
            prefix: None,
            verbosity: 0,
            tls: false,
            extended: Extended::default(),
        }
    }
}

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Asked {
    Serve(Box<Options>),
    Help,
    Version,
    Licence,
}

/// Reads the command line.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Asked, String> {
    let mut parser = lexopt::Parser::from_args(args);
    let mut options = Options::default();
    while let Some(arg) = parser.next().map_err(|e| e.to_string())? {
        let name = match arg {
            Short(letter) => format!("-{letter}"),
            Long(name) => format!("--{name}"),
            Value(value) => return Err(format!("unexpected argument '{}'", value.to_string_lossy())),
        };
        match name.as_str() {
            "-h" | "--help" => return Ok(Asked::Help),
            "-V" | "--version" => return Ok(Asked::Version),
            "-i" | "--license" => return Ok(Asked::Licence),
            name => set(&mut options, &mut parser, name)?,
        }
    }
    check(&options)?;
    Ok(Asked::Serve(Box::new(options)))
}

fn set(options: &mut Options, parser: &mut lexopt::Parser, name: &str) -> Result<(), String> {
    let mut value = || -> Result<String, String> {
        let value = parser.value().map_err(|_| format!("{name} needs a value"))?;
        Ok(value.string().map_err(|e| format!("{name}: {e}"))?.trim_start().to_owned())
    };
    match name {
        "-p" | "--port" => options.tcp_port = Some(number(name, &value()?, -1, 65_535)?),
        "-U" | "--udp-port" => options.udp_port = Some(number(name, &value()?, -1, 65_535)?),
        "-l" | "--listen" => options.listen.extend(list(&value()?)),
        "-s" | "--unix-socket" => options.unix_socket = Some(absolute(&value()?)?),
        "-a" | "--unix-mask" => options.unix_mask = octal(name, &value()?)?,
        "-b" | "--listen-backlog" => options.backlog = number(name, &value()?, 1, i32::MAX)?,
        "--allow" => {
            for network in list(&value()?) {
                options.allow.push(network.parse()?);
            }
        }
        "--allow-file" => options.allow_file = Some(absolute(&value()?)?),
        "-Y" | "--auth-file" => options.auth_file = Some(absolute(&value()?)?),
        "-S" | "--enable-sasl" => options.sasl = true,
        "-A" | "--enable-shutdown" => options.shutdown = true,
        "-F" | "--disable-flush-all" => options.flush = false,
        "-X" | "--disable-dumping" => options.dump = false,
        "-W" | "--disable-watch" => options.watch = false,
        "-m" | "--memory-limit" => options.memory = number(name, &value()?, 1u64, 4 << 20)? << 20,
        "-M" | "--disable-evictions" => options.evict = false,
        "-I" | "--max-item-size" => options.max_item_size = item_size(name, &value()?)?,
        "-f" | "--slab-growth-factor" => options.factor = number(name, &value()?, 1.001, 16.0)?,
        "-n" | "--slab-min-size" => options.chunk_size = number(name, &value()?, 1, 1 << 20)?,
        "-k" | "--lock-memory" => options.lock_memory = true,
        "-L" | "--enable-largepages" => options.large_pages = true,
        "-e" | "--memory-file" => options.memory_file = Some(absolute(&value()?)?),
        "-C" | "--disable-cas" => options.cas = false,
        "--policy" => options.policy = Some(value()?.parse().map_err(|e: larder::Error| e.to_string())?),
        "-c" | "--conn-limit" => options.connections = number(name, &value()?, 1, 10_000_000)?,
        "-t" | "--threads" => options.threads = number(name, &value()?, 1, 1024)?,
        "-R" | "--max-reqs-per-event" => {
            options.requests_per_event = number(name, &value()?, 1, 1_000_000_000)?;
        }
        "-B" | "--protocol" => options.protocol = value()?.parse()?,
        "-d" | "--daemon" => options.daemon = true,
        "-P" | "--pidfile" => options.pid_file = Some(absolute(&value()?)?),
        "-u" | "--user" => options.user = Some(value()?),
        "-r" | "--enable-coredumps" => options.core_dumps = true,
        "-D" => {
            let text = value()?;
            options.prefix = Some(text.chars().next().ok_or("-D needs a character")?);
        }
        "-v" | "--verbose" => options.verbosity += 1,
        "-Z" | "--enable-ssl" => options.tls = true,
        "-o" | "--extended" => set_extended(&mut options.extended, &value()?)?,
        _ => return Err(format!("there is no option {name}")),
    }
    Ok(())
}

/// What no option can say alone.
fn check(options: &Options) -> Result<(), String> {
    let (largest, memory) = (options.max_item_size as u64, options.memory);
    if largest > memory / 2 {
        return Err(format!("-I: an item of {largest} bytes is more than half of the memory ({memory} bytes; see -m)"));
    }
    if options.sasl && options.protocol != Protocol::Binary {
        return Err("-S: SASL is for the binary protocol alone; add -B binary".into());
    }
    if options.auth_file.is_some() && options.protocol == Protocol::Binary {
        return Err("-Y is for the text protocol; use -S with -B binary".into());
    }
    let authenticates = options.sasl || options.auth_file.is_some();
    if authenticates && options.udp_port.is_some_and(|port| port != 0) {
        return Err("-U: datagrams cannot be authenticated; leave out -U, or -S and -Y".into());
    }
    #[cfg(not(feature = "example-tls"))]
    if options.tls {
        return Err("-Z: built without TLS; build with --features example-tls".into());
    }
    #[cfg(feature = "example-tls")]
    if options.tls && (options.extended.tls_certificates.is_none() || options.extended.tls_key.is_none()) {
        return Err("-Z needs -o ssl_chain_cert=FILE,ssl_key=FILE".into());
    }
    Ok(())
}

impl Options {
    /// The TCP and the UDP port: None for no socket, 0 for whatever is free. One that is not given is as the other.
    pub(crate) fn ports(&self) -> (Option<u16>, Option<u16>) {
        let port = |number: i32| match number {
            0 => None,
            number => Some(u16::try_from(number).unwrap_or(0)),
        };
        let udp = self.udp_port.unwrap_or(0);
        let tcp = self.tcp_port.unwrap_or(if udp == 0 { 11_211 } else { udp });
        (port(tcp), port(udp))
    }

    pub(crate) fn idle_timeout(&self) -> Option<Duration> {
        (self.extended.idle_timeout > 0).then(|| Duration::from_secs(self.extended.idle_timeout))
    }
}

/// A number from `least` to `most`.
pub(crate) fn number<T>(name: &str, text: &str, least: T, most: T) -> Result<T, String>
where
    T: FromStr + PartialOrd + std::fmt::Display,
{
    let value = text.parse::<T>().ok().filter(|value| *value >= least && *value <= most);
    value.ok_or_else(|| format!("{name}: '{text}' is no number from {least} to {most}"))
}

fn octal(name: &str, text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|&mode| mode <= 0o777);
    mode.ok_or_else(|| format!("{name}: '{text}' are no permissions; write them in octal, such as 770"))
}

fn item_size(name: &str, text: &str) -> Result<usize, String> {
    let (digits, unit) = match text.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1 << 10),
        None => text.strip_suffix(['m', 'M']).map_or((text, 1), |digits| (digits, 1 << 20)),
    };
    let size = digits.parse::<usize>().ok().and_then(|n| n.checked_mul(unit));
    let size = size.filter(|size| (1024..=512 << 20).contains(size));
    size.ok_or_else(|| format!("{name}: '{text}' is no size from 1k to 512m"))
}

fn absolute(text: &str) -> Result<PathBuf, String> {
    std::path::absolute(text).map_err(|e| format!("'{text}' is no path: {e}"))
}

fn list(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Result<Options, String> {
        match parse(line.split_whitespace().map(OsString::from))? {
            Asked::Serve(options) => Ok(*options),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn letters_and_long_names_are_the_same() {
        let short =
            options("-p 1 -U 2 -l ::1,127.0.0.1 -m 128 -M -c 9 -t 2 -R 7 -C -f 1.5 -n 64 -I 2m -k -L -b 5").unwrap();
        let long = options(
            "--port=1 --udp-port 2 --listen ::1 --listen 127.0.0.1 --memory-limit=128 --disable-evictions \
             --conn-limit=9 --threads=2 --max-reqs-per-event=7 --disable-cas --slab-growth-factor=1.5 \
             --slab-min-size=64 --max-item-size=2048k --lock-memory --enable-largepages --listen-backlog=5",
        );
        assert_eq!(format!("{short:?}"), format!("{:?}", long.unwrap()));
        assert_eq!((short.memory, short.max_item_size, short.listen.len()), (128 << 20, 2 << 20, 2));
        assert_eq!(options("-vvv -u root -B ascii").unwrap().verbosity, 3);
    }

    #[test]
    fn mistakes_are_told() {
        for (line, part) in [
            ("-c 0", "-c"),
            ("-c -1", "-c"),
            ("-t 0", "-t"),
            ("-B http", "http"),
            ("-I 1000", "1k"),
            ("-I 256m", "half"),
            ("-m x", "-m"),
            ("-p 70000", "-p"),
            ("-p", "value"),
            ("--nonsense", "nonsense"),
            ("stray", "stray"),
            ("-S", "-B binary"),
            ("-Y x -U 1", "-U"),
            ("-a 999", "octal"),
            ("--allow 10.0.0.1/8", "10.0.0.1/8"),
            ("--policy best", "best"),
            ("-o nonsense", "nonsense"),
        ] {
            let message = options(line).expect_err(line);
            assert!(message.contains(part), "{line}: {message}");
        }
    }

    #[test]
    fn ports_follow_each_other() {
        for (line, tcp, udp) in [
            ("", Some(11_211), None),
            ("-p 11212", Some(11_212), None),
            ("-U 11222", Some(11_222), Some(11_222)),
            ("-p -1", Some(0), None),
            ("-U -1", Some(0), Some(0)),
            ("-p 0", None, None),
            ("-U 0", Some(11_211), None),
            ("-p 1 -U -1", Some(1), Some(0)),
        ] {
            assert_eq!(options(line).unwrap().ports(), (tcp, udp), "{line}");
        }
    }
}
