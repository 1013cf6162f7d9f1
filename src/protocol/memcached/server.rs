//! What all connections of a service share: the cache, the settings, the counts.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use super::connection::{Connection, ConnectionInfo};
use super::counters::{Connections, Count, Counts};
use super::discovery::Discovery;
use super::prefixes::Prefixes;
use super::registry::{Registered, Registry};
use super::time::DebugClock;
use super::unfinished::Unfinished;
use super::users::Users;
use super::watchers::{QUEUE, Watchers};
use crate::api::Cache;
use crate::stats::Stats;

/// Which of the two protocols connections speak.
///
/// # Examples
/// ```
/// use larder::protocol::memcached::Binding;
/// assert_eq!(Binding::default(), Binding::Auto);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
#[non_exhaustive]
pub enum Binding {
    /// What the first byte of a connection says.
    #[default]
    Auto,
    /// Text.
    Ascii,
    /// Binary.
    Binary,
}

/// Facts about the process, for `stats`.
///
/// # Examples
/// ```
/// use larder::protocol::memcached::ProcessFacts;
/// let facts = ProcessFacts { pid: std::process::id(), ..ProcessFacts::default() };
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProcessFacts {
    /// The process.
    pub pid: u32,
    /// CPU time it used itself.
    pub user: Duration,
    /// CPU time the system used for it.
    pub system: Duration,
}

/// How clients have to prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Auth {
    None,
    /// By a first `set` in the text protocol.
    Ascii,
    /// By SASL PLAIN in the binary protocol.
    Sasl,
}

type Facts = Box<dyn Fn() -> ProcessFacts + Send + Sync>;

/// What was given to the builder.
pub(super) struct Config {
    pub(super) binding: Binding,
    pub(super) auth: Auth,
    pub(super) item_size_max: u64,
    pub(super) version: String,
    pub(super) flush: bool,
    pub(super) dump: bool,
    pub(super) shutdown: bool,
    pub(super) track_access: bool,
    pub(super) track_sizes: bool,
    pub(super) delimiter: u8,
    pub(super) idle_timeout: u64,
    pub(super) lru_maintainer: bool,
    pub(super) watch: bool,
    pub(super) watch_queue: usize,
    pub(super) max_connections: u64,
    pub(super) reject_connections: bool,
    pub(super) threads: usize,
    pub(super) rows: Vec<(String, String)>,
    pub(super) facts: Option<Facts>,
    pub(super) clock: Option<DebugClock>,
}

/// What can be changed while the service runs.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) verbosity: AtomicU32,
    pub(super) crawler: AtomicBool,
    pub(super) crawler_sleep_us: AtomicU32,
    pub(super) crawler_tocrawl: AtomicU32,
    pub(super) crawler_starts: AtomicU64,
    pub(super) lru: Mutex<LruSettings>,
    pub(super) automove_ratio: Mutex<f64>,
}

/// What `lru` sets. Larder's policies have no such parts: the numbers are kept and shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct LruSettings {
    pub(super) segmented: bool,
    pub(super) hot_percent: u32,
    pub(super) warm_percent: u32,
    pub(super) hot_factor: f64,
    pub(super) warm_factor: f64,
    pub(super) temporary_ttl: Option<u32>,
}

impl Default for LruSettings {
    fn default() -> Self {
        LruSettings {
            segmented: true,
            hot_percent: 20,
            warm_percent: 40,
            hot_factor: 0.2,
            warm_factor: 2.0,
            temporary_ttl: None,
        }
    }
}

/// See [`Server`].
pub(super) struct Shared {
    pub(super) cache: Cache,
    pub(super) config: Config,
    pub(super) live: Live,
    pub(super) counts: Counts,
    pub(super) connections: Connections,
    pub(super) prefixes: Prefixes,
    pub(super) discovery: Discovery,
    pub(super) users: RwLock<Users>,
    pub(super) registry: Registry,
    pub(super) watchers: Watchers,
    pub(super) unfinished: Arc<Unfinished>,
    /// When the service began, in milliseconds since the Unix epoch.
    pub(super) started_ms: u64,
    /// The engine's counts at the last `stats reset`.
    pub(super) baseline: Mutex<Stats>,
    pub(super) has_tokens: bool,
}

/// A memcached service on a cache: what all its connections share. Cloning it is cheap, and all clones are the same.
///
/// # Examples
/// ```
/// use larder::protocol::memcached::{ConnectionInfo, Server, Transport};
/// use larder::protocol::{Limits, Output};
/// use larder::Cache;
///
/// let server = Server::builder(Cache::new(1 << 20)?).build();
/// let mut connection = server.connect(ConnectionInfo::new(1, Transport::Tcp));
/// let mut output = Output::new();
/// let progress = connection.receive(b"set k 0 0 2\r\nhi\r\nget k\r\n", &mut output, &Limits::default());
/// assert_eq!((progress.consumed, progress.requests), (24, 2));
/// assert_eq!(output.to_vec(), b"STORED\r\nVALUE k 0 2\r\nhi\r\nEND\r\n");
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Clone)]
pub struct Server(pub(super) Arc<Shared>);

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("cache", &self.0.cache).field("binding", &self.0.config.binding).finish()
    }
}

impl Server {
    /// A service on a cache, with memcached's defaults.
    ///
    /// # Examples
    /// See [`Server`].
    pub fn builder(cache: Cache) -> ServerBuilder {
        let item_size_max = cache.settings().max_item_size as u64;
        ServerBuilder {
            config: Config {
                binding: Binding::Auto,
                auth: Auth::None,
                item_size_max,
                version: concat!("1.6.0-larder-", env!("CARGO_PKG_VERSION")).to_owned(),
                flush: true,
                dump: true,
                shutdown: false,
                track_access: false,
                track_sizes: false,
                delimiter: b':',
                idle_timeout: 0,
                lru_maintainer: true,
                watch: true,
                watch_queue: QUEUE,
                max_connections: 1024,
                reject_connections: true,
                threads: 4,
                rows: Vec::new(),
                facts: None,
                clock: None,
            },
            crawler: true,
            crawler_sleep_us: 100,
            crawler_tocrawl: 0,
            automove_ratio: 0.8,
            lru: LruSettings::default(),
            detail: false,
            verbosity: 0,
            users: Users::new(),
            discovery: (16, 64 << 10),
            cache,
        }
    }

    /// The cache behind it.
    ///
    /// # Examples
    /// ```
    /// # use larder::{Cache, protocol::memcached::Server};
    /// assert!(Server::builder(Cache::new(1 << 20)?).build().cache().is_empty());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn cache(&self) -> &Cache {
        &self.0.cache
    }

    /// A new client.
    ///
    /// # Examples
    /// See [`Server`].
    pub fn connect(&self, info: ConnectionInfo) -> Connection {
        self.0.connections.total.fetch_add(1, Relaxed);
        self.0.connections.current.fetch_add(1, Relaxed);
        Connection::new(self.clone(), info)
    }

    /// Asks for the memory that requests of several connections will need, before any of them is carried out: waiting
    /// for it once is faster than once for each. Looks at the first request of each of up to 16 inputs, and changes
    /// nothing.
    ///
    /// # Examples
    /// ```
    /// # use larder::{Cache, protocol::memcached::Server};
    /// let server = Server::builder(Cache::new(1 << 20)?).build();
    /// server.foresee([&b"get k\r\n"[..], b"mg other v\r\n"]);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn foresee<'a>(&self, inputs: impl IntoIterator<Item = &'a [u8]>) {
        self.0.cache.foresee(inputs.into_iter().filter_map(super::text::first_key));
    }

    /// Takes note of a socket that listens, for `stats conns`. It is forgotten when the result is dropped.
    ///
    /// # Examples
    /// ```
    /// # use larder::{Cache, protocol::memcached::Server};
    /// let server = Server::builder(Cache::new(1 << 20)?).build();
    /// let listening = server.listening(3, "tcp:127.0.0.1:11211");
    /// # Ok::<(), larder::Error>(())
    /// ```
    #[must_use = "the socket is forgotten when this is dropped"]
    pub fn listening(&self, id: u64, addr: &str) -> Listening {
        Listening { _registered: self.0.registry.listening(id, addr, self.0.cache.now_ms()) }
    }

    /// What happens to connections: counted by whoever owns the sockets.
    ///
    /// # Examples
    /// See [`Connections`].
    pub fn connections(&self) -> &Connections {
        &self.0.connections
    }

    /// Who may connect, from now on. Those who are connected stay.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, protocol::memcached::{Server, Users}};
    /// let server = Server::builder(Cache::new(1 << 20)?).ascii_auth(Users::new()).build();
    /// server.set_users(Users::parse("alice:secret\n"));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn set_users(&self, users: Users) {
        *self.0.users.write() = users;
    }

    /// How much is to be logged: the number that clients have set with `verbosity`, or the builder.
    ///
    /// # Examples
    /// ```
    /// # use larder::{Cache, protocol::memcached::Server};
    /// assert_eq!(Server::builder(Cache::new(1 << 20)?).verbosity(2).build().verbosity(), 2);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn verbosity(&self) -> u32 {
        self.0.live.verbosity.load(Relaxed)
    }

    /// Sets the value that auto discovery answers with under a name (`cluster`), one version above the last. Each node
    /// is host name, address (which may be empty) and port. They are put into alphabetical order.
    ///
    /// # Errors
    /// [`NotAllowed`](crate::ErrorKind::NotAllowed) if there are too many entries or this one is too long.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, protocol::memcached::Server};
    /// let server = Server::builder(Cache::new(1 << 20)?).build();
    /// server.set_nodes("cluster", &[("b.example", "10.0.0.2", 11211), ("a.example", "", 11211)])?;
    /// let (_, value) = server.config("cluster").unwrap();
    /// assert_eq!(value, b"1\na.example||11211 b.example|10.0.0.2|11211\n");
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn set_nodes(&self, name: &str, nodes: &[(&str, &str, u16)]) -> crate::Result<()> {
        self.0.discovery.set_nodes(name, nodes)
    }

    /// A configuration entry: its flags and its value.
    ///
    /// # Examples
    /// See [`set_nodes`](Self::set_nodes).
    pub fn config(&self, name: &str) -> Option<(u32, Vec<u8>)> {
        self.0.discovery.get(name.as_bytes())
    }

    pub(super) fn total(&self, count: Count) -> u64 {
        self.0.counts.sum(count)
    }
}

/// A listening socket that `stats conns` shows.
///
/// # Examples
/// See [`Server::listening`].
#[derive(Debug)]
pub struct Listening {
    _registered: Registered,
}

/// How a service is to be. See [`Server::builder`].
///
/// # Examples
/// ```
/// use larder::{Cache, protocol::memcached::{Binding, Server}};
/// let server = Server::builder(Cache::new(1 << 20)?).binding(Binding::Ascii).flush(false).build();
/// # Ok::<(), larder::Error>(())
/// ```
#[must_use]
pub struct ServerBuilder {
    cache: Cache,
    pub(super) config: Config,
    crawler: bool,
    crawler_sleep_us: u32,
    crawler_tocrawl: u32,
    automove_ratio: f64,
    lru: LruSettings,
    detail: bool,
    verbosity: u32,
    users: Users,
    discovery: (usize, usize),
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder").field("cache", &self.cache).field("binding", &self.config.binding).finish()
    }
}

macro_rules! setting {
    ($(#[$doc:meta])* $name:ident: $type:ty, $example:literal, |$this:ident, $value:ident| $set:expr) => {
        $(#[$doc])*
        ///
        /// # Examples
        /// ```
        /// # use larder::{Cache, protocol::memcached::*};
        #[doc = concat!("let server = Server::builder(Cache::new(1 << 20)?)", $example, ".build();")]
        /// # Ok::<(), larder::Error>(())
        /// ```
        pub fn $name(self, $value: $type) -> Self {
            let mut $this = self;
            $set;
            $this
        }
    };
}

impl ServerBuilder {
    setting! {
        /// Which protocol is spoken, where a connection does not say otherwise. Automatic by default.
        binding: Binding, ".binding(Binding::Ascii)", |this, binding| this.config.binding = binding
    }
    setting! {
        /// Clients have to send a first `set` (of any key) whose value is `user password`. Text protocol alone.
        ascii_auth: Users, ".ascii_auth(Users::parse(\"alice:secret\"))", |this, users| {
            this.config.auth = Auth::Ascii;
            this.config.binding = Binding::Ascii;
            this.users = users;
        }
    }
    setting! {
        /// Clients have to prove who they are by SASL PLAIN. Binary protocol alone.
        sasl: Users, ".sasl(Users::parse(\"alice:secret\"))", |this, users| {
            this.config.auth = Auth::Sasl;
            this.config.binding = Binding::Binary;
            this.users = users;
        }
    }
    setting! {
        /// The largest item, in bytes: key, value and 50 bytes of overhead, as memcached counts. The cache's
        /// `max_item_size` holds as well, for the value alone.
        item_size_max: u64, ".item_size_max(1 << 16)", |this, bytes| this.config.item_size_max = bytes
    }
    setting! {
        /// What `version` answers.
        version: impl Into<String>, ".version(\"1.6.99\")", |this, version| this.config.version = version.into()
    }
    setting! {
        /// Whether `flush_all` is allowed (yes).
        flush: bool, ".flush(false)", |this, yes| this.config.flush = yes
    }
    setting! {
        /// Whether keys may be listed: `stats cachedump`, `stats detail`, `lru_crawler metadump` (yes).
        dump: bool, ".dump(false)", |this, yes| this.config.dump = yes
    }
    setting! {
        /// Whether `shutdown` is allowed (no).
        shutdown: bool, ".shutdown(true)", |this, yes| this.config.shutdown = yes
    }
    setting! {
        /// Whether each item knows when it was last used, for the flag `l` of `mg`, `me` and `metadump`. Costs 16 bytes
        /// an item (no: they answer 0 then).
        track_access: bool, ".track_access(true)", |this, yes| this.config.track_access = yes
    }
    setting! {
        /// Whether `stats sizes` shows how large items are (no): it walks over all of them.
        track_sizes: bool, ".track_sizes(true)", |this, yes| this.config.track_sizes = yes
    }
    setting! {
        /// What ends the prefix of a key, for `stats detail` (a colon).
        prefix_delimiter: u8, ".prefix_delimiter(b'/')", |this, byte| this.config.delimiter = byte
    }
    setting! {
        /// Whether `stats detail` counts by prefix from the start (no).
        detail: bool, ".detail(true)", |this, yes| this.detail = yes
    }
    setting! {
        /// After how many seconds idle connections are closed by the owner of the sockets; shown only.
        idle_timeout: u64, ".idle_timeout(60)", |this, seconds| this.config.idle_timeout = seconds
    }
    setting! {
        /// Whether `lru_crawler` is there at the start (yes).
        lru_crawler: bool, ".lru_crawler(false)", |this, yes| this.crawler = yes
    }
    setting! {
        /// Whether `lru mode` and `lru temp_ttl` are taken, and what they say is shown (yes).
        lru_maintainer: bool, ".lru_maintainer(false)", |this, yes| this.config.lru_maintainer = yes
    }
    setting! {
        /// The time to live below which items are said to go to memcached's temporary LRU; shown only.
        temporary_ttl: u32, ".temporary_ttl(61)", |this, seconds| this.lru.temporary_ttl = Some(seconds)
    }
    setting! {
        /// The crawler's pause between items, in microseconds, at the start (100); shown only.
        lru_crawler_sleep: u32, ".lru_crawler_sleep(500)", |this, micros| this.crawler_sleep_us = micros
    }
    setting! {
        /// How many items the crawler looks at in a class, at the start (0: all); shown only.
        lru_crawler_tocrawl: u32, ".lru_crawler_tocrawl(1_000)", |this, items| this.crawler_tocrawl = items
    }
    setting! {
        /// memcached's ratio of ages at which pages are moved, at the start (0.8); shown only.
        automove_ratio: f64, ".automove_ratio(0.5)", |this, ratio| this.automove_ratio = ratio
    }
    setting! {
        /// Whether `watch` is allowed (yes).
        watch: bool, ".watch(false)", |this, yes| this.config.watch = yes
    }
    setting! {
        /// Bytes that wait for each connection that watches (256 KiB); what does not fit is left out.
        watch_queue: usize, ".watch_queue(8 << 10)", |this, bytes| this.config.watch_queue = bytes
    }
    setting! {
        /// How many connections the owner of the sockets allows (1,024); shown only.
        max_connections: u64, ".max_connections(65_000)", |this, count| this.config.max_connections = count
    }
    setting! {
        /// Whether connections beyond that are turned away at once, rather than made to wait (yes); shown only.
        reject_connections: bool, ".reject_connections(false)", |this, yes| this.config.reject_connections = yes
    }
    setting! {
        /// How many threads serve (4); shown only.
        threads: usize, ".threads(8)", |this, count| this.config.threads = count
    }
    setting! {
        /// The verbosity at the start (0).
        verbosity: u32, ".verbosity(1)", |this, level| this.verbosity = level
    }
    setting! {
        /// Where facts about the process come from, for `stats`. Called without a lock.
        process: impl Fn() -> ProcessFacts + Send + Sync + 'static, ".process(ProcessFacts::default)",
        |this, facts| this.config.facts = Some(Box::new(facts))
    }
    setting! {
        /// Allows `debugtime`, for tests: it moves this clock, which should be the cache's.
        debug_clock: DebugClock, ".debug_clock(DebugClock::new(larder::SystemClock::new()))",
        |this, clock| this.config.clock = Some(clock)
    }

    /// The shares (20 and 40 per cent) and the factors of age (0.2 and 2.0) of memcached's hot and warm queues at the
    /// start: what `lru tune` changes; shown only.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, protocol::memcached::Server};
    /// let server = Server::builder(Cache::new(1 << 20)?).lru_tuning((10, 0.1), (25, 1.5)).build();
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn lru_tuning(mut self, hot: (u32, f64), warm: (u32, f64)) -> Self {
        (self.lru.hot_percent, self.lru.hot_factor) = hot;
        (self.lru.warm_percent, self.lru.warm_factor) = warm;
        self
    }

    /// A row of `stats settings`, in place of the one of this name, or after the others.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, protocol::memcached::Server};
    /// let server = Server::builder(Cache::new(1 << 20)?).setting("tcpport", "11211").build();
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.config.rows.push((name.to_owned(), value.to_owned()));
        self
    }

    /// How many configuration entries auto discovery keeps (16), and how long one may be (65,536 bytes).
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, protocol::memcached::Server};
    /// let server = Server::builder(Cache::new(1 << 20)?).discovery(4, 1024).build();
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn discovery(mut self, entries: usize, bytes: usize) -> Self {
        self.discovery = (entries, bytes);
        self
    }

    /// The service.
    ///
    /// # Examples
    /// See [`Server`].
    pub fn build(self) -> Server {
        let cache = self.cache;
        let live = Live {
            verbosity: AtomicU32::new(self.verbosity),
            crawler: AtomicBool::new(self.crawler),
            crawler_sleep_us: AtomicU32::new(self.crawler_sleep_us),
            crawler_tocrawl: AtomicU32::new(self.crawler_tocrawl),
            crawler_starts: AtomicU64::new(0),
            lru: Mutex::new(self.lru),
            automove_ratio: Mutex::new(self.automove_ratio),
        };
        Server(Arc::new(Shared {
            started_ms: cache.now_ms(),
            has_tokens: cache.settings().check_and_set,
            live,
            counts: Counts::default(),
            connections: Connections::default(),
            prefixes: Prefixes::new(self.config.delimiter, self.detail),
            discovery: Discovery::new(self.discovery.0, self.discovery.1),
            users: RwLock::new(self.users),
            registry: Registry::new(BTreeMap::new()),
            watchers: Watchers::default(),
            unfinished: Arc::default(),
            baseline: Mutex::new(Stats::default()),
            config: self.config,
            cache,
        }))
    }
}
