//! From options to a server that runs, and to its end.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::thread::JoinHandle;

use larder::protocol::memcached::{Binding, DebugClock, Server as Service, Users};
use larder::{Automove, Cache, EvictionPolicy, SystemClock, WarmRestart};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::{Handle, Signals};

use crate::front::{Memcached, Origin};
use crate::net::access::{AllowList, Network, networks_in};
use crate::net::listen::{Datagrams, Listener, Place, resolve};
use crate::net::server::{Control, Server, Settings, Stop};
use crate::options::{Options, Protocol};
use crate::process;

/// Files that are open beside connections.
const OTHER_FILES: u64 = 64;
/// Bytes by which an item is larger that knows when it was used last.
const LAST_USE: usize = 16;

/// Serves until a signal or a client ends it.
pub(crate) fn serve(options: &Options) -> Result<(), String> {
    if options.core_dumps {
        process::allow_core_dumps()?;
    }
    process::allow_files(options.connections as u64 + OTHER_FILES)?;
    let sockets = Sockets::open(options)?;
    process::become_user(options.user.as_deref())?;
    let clock = options.extended.relaxed_privileges.then(|| DebugClock::new(SystemClock::new()));
    let cache = cache(options, clock.clone())?;
    let service = service(options, &sockets, cache.clone(), clock)?;
    let access = AllowList::new(&allowed(options)?);
    if options.verbosity > 0 {
        for place in sockets.places() {
            eprintln!("memcached: listens on {place}");
        }
        eprintln!("memcached: lets in {access}");
    }
    let listening: Vec<_> = sockets.ids().map(|(id, place)| service.listening(id, &place)).collect();
    let unix_socket = options.unix_socket.clone();
    process::write_ports(&sockets.port_lines())?;
    let settings = Settings {
        threads: options.threads,
        max_connections: options.connections,
        refuse_fast: options.extended.maxconns_fast,
        idle_timeout: options.idle_timeout(),
        requests_per_event: options.requests_per_event,
        reply_bytes: 64 << 10,
        memory_limit: options.extended.read_buf_mem_limit << 20,
        #[cfg(feature = "example-tls")]
        tls: crate::net::tls::Acceptor::from_files(options.tls.then_some((
            options.extended.tls_certificates.as_deref().unwrap_or_default(),
            options.extended.tls_key.as_deref().unwrap_or_default(),
        )))?,
    };
    let front = Memcached { server: service.clone(), origins: sockets.origins, tls: options.tls };
    let server = Server::start(front, cache.clone(), settings, access, sockets.listeners, sockets.datagrams)?;
    let signals = Obeying::start(server.control(), service.clone(), cache.clone(), options)?;
    let _pid_file = options.pid_file.as_deref().map(process::PidFile::write).transpose()?;
    if options.daemon {
        process::is_ready()?;
    }
    let ended = server.wait();
    if let Some(path) = unix_socket {
        let _ = fs::remove_file(path);
    }
    // With the last handle the cache is closed; with -e, the items stay for the next start.
    drop((signals, listening, service));
    let kept = cache.close().map_err(|e| e.to_string());
    if options.memory_file.is_some() { ended.and(kept) } else { ended }
}

fn cache(options: &Options, clock: Option<DebugClock>) -> Result<Cache, String> {
    let extended = &options.extended;
    let policy = match options.policy {
        Some(policy) => policy,
        None if options.evict => EvictionPolicy::default(),
        None => EvictionPolicy::NoEviction,
    };
    let automove = match extended.slab_automove {
        Some(0) => Automove::Off,
        Some(1) => Automove::Slow,
        _ => Automove::Always,
    };
    // For tests: items know when they were used last. The smallest chunk still holds what it would.
    let tracks = extended.relaxed_privileges;
    let mut builder = Cache::builder()
        .name("memcached")
        .max_memory(options.memory)
        .policy(policy)
        .max_item_size(options.max_item_size)
        .chunk_size(options.chunk_size + if tracks { LAST_USE } else { 0 })
        .chunk_size_growth_factor(options.factor)
        .lock_memory(options.lock_memory)
        .huge_pages(options.large_pages)
        // Items get their tokens when somebody asks for them.
        .check_and_set(options.cas)
        .slab_reassign(extended.slab_reassign)
        .automove(automove)
        .threads(options.threads);
    if extended.hashpower > 0 {
        builder = builder.initial_items(1 << extended.hashpower);
    }
    if let Some(clock) = clock {
        builder = builder.clock(clock);
    }
    if let Some(folder) = &options.memory_file {
        builder = builder.warm_restart(WarmRestart::new(folder));
    }
    let cache = builder.build().map_err(|e| e.to_string())?;
    if let Some(start) = cache.start().filter(|_| options.verbosity > 0) {
        eprintln!("memcached: {start}");
    }
    Ok(cache)
}

fn service(options: &Options, sockets: &Sockets, cache: Cache, clock: Option<DebugClock>) -> Result<Service, String> {
    let extended = &options.extended;
    let mut builder = Service::builder(cache)
        .binding(binding(options.protocol))
        .item_size_max(options.max_item_size as u64)
        .flush(options.flush)
        .dump(options.dump)
        .watch(options.watch)
        .watch_queue(extended.watcher_logbuf_size)
        .shutdown(options.shutdown)
        .track_sizes(extended.track_sizes)
        .idle_timeout(extended.idle_timeout)
        .lru_crawler(extended.lru_crawler)
        .lru_maintainer(extended.lru_maintainer)
        .max_connections(options.connections as u64)
        .reject_connections(extended.maxconns_fast)
        .threads(options.threads)
        .track_access(extended.relaxed_privileges)
        .verbosity(options.verbosity)
        .process(process::facts);
    if let Some(prefix) = options.prefix {
        let byte = u8::try_from(prefix).map_err(|_| "-D: the character has to be one byte")?;
        builder = builder.prefix_delimiter(byte).detail(true);
    }
    builder = builder
        .lru_crawler_sleep(extended.lru_crawler_sleep)
        .lru_crawler_tocrawl(extended.lru_crawler_tocrawl)
        .automove_ratio(extended.slab_automove_ratio)
        .lru_tuning((extended.hot_lru_pct, extended.hot_max_factor), (extended.warm_lru_pct, extended.warm_max_factor));
    if let Some(seconds) = extended.temporary_ttl {
        builder = builder.temporary_ttl(seconds);
    }
    if let Some(clock) = clock {
        builder = builder.debug_clock(clock);
    }
    if let Some(users) = users(options)? {
        builder = if options.sasl { builder.sasl(users) } else { builder.ascii_auth(users) };
    }
    for (name, value) in rows(options, sockets) {
        builder = builder.setting(name, &value);
    }
    Ok(builder.build())
}

fn binding(protocol: Protocol) -> Binding {
    match protocol {
        Protocol::Auto => Binding::Auto,
        Protocol::Ascii => Binding::Ascii,
        Protocol::Binary => Binding::Binary,
    }
}

/// What `stats settings` shows of options that the protocol's side does not know, by memcached's names.
fn rows(options: &Options, sockets: &Sockets) -> Vec<(&'static str, String)> {
    let extended = &options.extended;
    let yes = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let path = |path: &Option<std::path::PathBuf>, none: &str| {
        path.as_ref().map_or(none.to_owned(), |path| path.display().to_string())
    };
    let port = |udp: bool| sockets.port(udp).unwrap_or(0).to_string();
    let inter = if options.listen.is_empty() { "NULL".to_owned() } else { options.listen.join(",") };
    vec![
        ("tcpport", port(false)),
        ("udpport", port(true)),
        ("inter", inter),
        ("domain_socket", path(&options.unix_socket, "NULL")),
        ("umask", format!("{:o}", options.unix_mask)),
        ("growth_factor", format!("{:.2}", options.factor)),
        ("chunk_size", options.chunk_size.to_string()),
        ("num_threads_per_udp", "1".to_owned()),
        ("reqs_per_event", options.requests_per_event.to_string()),
        ("tcp_backlog", options.backlog.to_string()),
        ("auth_enabled_ascii", path(&options.auth_file, "no")),
        ("memory_file", path(&options.memory_file, "(null)")),
        ("hashpower_init", extended.hashpower.to_string()),
        ("slab_automove_window", extended.slab_automove_window.to_string()),
        ("slab_chunk_max", extended.slab_chunk_max.to_string()),
        ("tail_repair_time", extended.tail_repair_time.to_string()),
        ("watcher_logbuf_size", extended.watcher_logbuf_size.to_string()),
        ("worker_logbuf_size", extended.worker_logbuf_size.to_string()),
        ("read_buf_mem_limit", (extended.read_buf_mem_limit << 20).to_string()),
        ("ssl_enabled", yes(options.tls)),
    ]
}

/// Who may connect: what the options say, and what their file says at present.
fn allowed(options: &Options) -> Result<Vec<Network>, String> {
    let mut networks = options.allow.clone();
    if let Some(path) = &options.allow_file {
        networks.extend(networks_in(&read(path)?).map_err(|e| format!("{}: {e}", path.display()))?);
    }
    Ok(networks)
}

/// Users and passwords, if clients have to name any.
fn users(options: &Options) -> Result<Option<Users>, String> {
    let path = match (&options.auth_file, options.sasl) {
        (Some(path), _) => path.clone(),
        (None, true) => match std::env::var_os("MEMCACHED_SASL_PWDB") {
            Some(path) => path.into(),
            None => return Err("-S: MEMCACHED_SASL_PWDB has to name a file of user:password lines".into()),
        },
        (None, false) => return Ok(None),
    };
    let users = Users::parse(&read(&path)?);
    if users.is_empty() {
        return Err(format!("{} has no users: a line each, user:password", path.display()));
    }
    Ok(Some(users))
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))
}

/// A thread that turns signals into what they ask for, until this is dropped.
struct Obeying {
    signals: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Obeying {
    fn start(
        control: Control<Memcached>,
        service: Service,
        cache: Cache,
        options: &Options,
    ) -> Result<Obeying, String> {
        let mut signals =
            Signals::new([SIGHUP, SIGINT, SIGTERM, SIGUSR1]).map_err(|e| format!("cannot catch signals: {e}"))?;
        let (handle, options) = (signals.handle(), options.clone());
        let obey = move || {
            let mut ending = false;
            for signal in signals.forever() {
                if signal == SIGHUP {
                    read_again(&control, &service, &cache, &options);
                } else {
                    // The second one means it.
                    control.stop(if ending { Stop::Now } else { Stop::Graceful });
                    ending = true;
                }
            }
        };
        let thread = std::thread::Builder::new().name("signals".into()).stack_size(256 << 10).spawn(obey);
        let thread = thread.map_err(|e| format!("cannot start a thread: {e}"))?;
        Ok(Obeying { signals: handle, thread: Some(thread) })
    }
}

impl Drop for Obeying {
    fn drop(&mut self) {
        self.signals.close();
        if let Some(thread) = self.thread.take() {
            // If it has panicked, that was told.
            let _ = thread.join();
        }
    }
}

/// Reads the files that options name once more. If one cannot be read, everything stays as it was.
fn read_again(control: &Control<Memcached>, service: &Service, cache: &Cache, options: &Options) {
    let both = allowed(options).and_then(|networks| Ok((networks, users(options)?)));
    match both {
        Ok((networks, users)) => {
            if control.allow(&networks) {
                let names: Vec<String> = networks.iter().map(Network::to_string).collect();
                let text = format!("Networks that may connect: this machine {}", names.join(" "));
                cache.emit(larder::EngineEventKind::CacheClusterSecurityGroupModified, text.trim_end());
            }
            if let Some(users) = users {
                service.set_users(users);
            }
        }
        Err(message) => eprintln!("memcached: SIGHUP changed nothing: {message}"),
    }
}

/// All sockets that are listened on.
#[derive(Debug, Default)]
struct Sockets {
    listeners: Vec<Listener>,
    datagrams: Vec<Datagrams>,
    origins: HashMap<usize, Origin>,
}

impl Sockets {
    fn open(options: &Options) -> Result<Sockets, String> {
        let mut sockets = Sockets::default();
        if let Some(path) = &options.unix_socket {
            let listener = Listener::unix(path, options.unix_mask, options.backlog, 0)?;
            sockets.origins.insert(0, Origin { place: listener.place.clone(), binding: None });
            sockets.listeners.push(listener);
            return Ok(sockets);
        }
        let (tcp, udp) = options.ports();
        let this_machine = ["127.0.0.1".to_owned(), "::1".to_owned()];
        let addresses = if options.listen.is_empty() { &this_machine[..] } else { &options.listen[..] };
        for text in addresses {
            // A machine without IPv6 is a machine still.
            let optional = options.listen.is_empty() && text == "::1";
            let opened = sockets.open_at(text, tcp, udp, options.backlog);
            if !optional {
                opened?;
            }
        }
        Ok(sockets)
    }

    /// Listens on one address of `-l`.
    fn open_at(&mut self, text: &str, tcp: Option<u16>, udp: Option<u16>, backlog: i32) -> Result<(), String> {
        let (text, binding) = match text.strip_prefix("proto[").and_then(|rest| rest.split_once("]:")) {
            Some((protocol, rest)) => (rest, Some(binding(protocol.parse()?))),
            None => (text, None),
        };
        // Of several addresses without a port of their own, all have the port that the first one got.
        if let Some(port) = tcp {
            for address in resolve(text, self.port(false).filter(|_| port == 0).unwrap_or(port))? {
                let listener = Listener::tcp(address, backlog, self.origins.len())?;
                self.origins.insert(listener.number, Origin { place: listener.place.clone(), binding });
                self.listeners.push(listener);
            }
        }
        if let Some(port) = udp {
            for address in resolve(text, self.port(true).filter(|_| port == 0).unwrap_or(port))? {
                let socket = Datagrams::bind(address, self.origins.len())?;
                self.origins.insert(socket.number, Origin { place: socket.place.clone(), binding });
                self.datagrams.push(socket);
            }
        }
        Ok(())
    }

    /// The first TCP or UDP port.
    fn port(&self, udp: bool) -> Option<u16> {
        self.places().find_map(|place| match place {
            Place::Tcp(address) if !udp => Some(address.port()),
            Place::Udp(address) if udp => Some(address.port()),
            _ => None,
        })
    }

    fn places(&self) -> impl Iterator<Item = &Place> {
        self.listeners.iter().map(|l| &l.place).chain(self.datagrams.iter().map(|d| &d.place))
    }

    /// Numbers and names for `stats conns`.
    fn ids(&self) -> impl Iterator<Item = (u64, String)> {
        let tcp = self.listeners.iter().map(|l| (l.fd() as u64, l.place.to_string()));
        tcp.chain(self.datagrams.iter().map(|d| (d.fd() as u64, d.place.to_string())))
    }

    /// `TCP INET: 11211` and so on.
    fn port_lines(&self) -> String {
        let line = |place: &Place| {
            let (name, address) = match place {
                Place::Tcp(address) => ("TCP", address),
                Place::Udp(address) => ("UDP", address),
                Place::Unix(_) => return String::new(),
            };
            format!("{name} INET{}: {}\n", if address.is_ipv6() { "6" } else { "" }, address.port())
        };
        self.places().map(line).collect()
    }
}
