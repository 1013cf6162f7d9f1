//! Settings of a cache, and how it is built from them.

use std::sync::Arc;
use std::time::Duration;

use super::cache::{Beside, Cache};
use super::log::Appending;
use super::log_settings::{LogPlace, LogSettings, LogWishes};
use crate::clock::{Clock, SystemClock};
use crate::engine::{Config, Engine};
use crate::error::{Error, ErrorKind, Result};
use crate::events::{EventLog, Listener, Removal};
use crate::oplog::{AppendOptions, Backlog, ReplicationLog};
use crate::policy::{EvictionPolicy, Objective};
use crate::shard::{Automove, Settings};
use crate::warm::{Home, WarmRestart};

/// Who does maintenance: sweeping what has ended, giving memory back.
///
/// # Examples
/// ```
/// use larder::{Cache, Maintenance};
/// use std::time::Duration;
/// let cache = Cache::builder().max_memory(1 << 20).maintenance(Maintenance::Manual).build()?;
/// cache.run_maintenance(Duration::from_millis(1));
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
#[non_exhaustive]
pub enum Maintenance {
    /// One small thread of the cache's own, which ends with it.
    #[default]
    Thread,
    /// The program, by [`Cache::run_maintenance`]. Without it nothing wrong is ever returned; memory of what has ended
    /// is then only reused when room is needed.
    Manual,
}

/// Builds a [`Cache`]. Every setting has a default but the limit, which is 64 MiB if not set.
///
/// # Examples
/// ```
/// use larder::{Cache, EvictionPolicy};
/// use std::time::Duration;
/// let cache = Cache::builder()
///     .max_memory(16 << 20)
///     .policy(EvictionPolicy::AllkeysLru)
///     .time_to_live(Duration::from_secs(3600))
///     .build()?;
/// cache.set(b"key", b"value")?;
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct CacheBuilder {
    config: Config,
    ttl: Option<Duration>,
    idle: Option<Duration>,
    maintenance: Maintenance,
    expiry_cpu_share: f64,
    expiry_lag: Duration,
    name: String,
    events: EventLog,
    append_only: Option<AppendOptions>,
    logs: Vec<Arc<dyn ReplicationLog>>,
    backlogs: Vec<Arc<Backlog>>,
    warm: Option<WarmRestart>,
    pub(super) log_place: Option<LogPlace>,
    pub(super) log_wishes: LogWishes,
    #[cfg(feature = "snapshot")]
    catalog: Option<Arc<crate::snapshot::Catalog>>,
}

impl Default for CacheBuilder {
    fn default() -> Self {
        CacheBuilder {
            config: Config {
                max_memory: 64 << 20,
                reserved_memory: 0,
                policy: EvictionPolicy::Default,
                objective: Objective::Hits,
                settings: Settings {
                    max_item_size: 1 << 20,
                    ttl_ms: 0,
                    idle_ms: 0,
                    tokens: false,
                    check_and_set: true,
                    seed: random_seed(),
                    expiry_lag_ms: 1000,
                    reassign: true,
                    background_resizing: true,
                    namespaces: 256,
                    follower: false,
                    #[cfg(feature = "tracing")]
                    name: Box::default(),
                },
                chunk_size: 32,
                growth_factor: 1.04,
                page_size: None,
                shards: None,
                address_space: None,
                huge_pages: false,
                lock_memory: false,
                curve_bytes: 0,
                automove: Automove::default(),
                samples: 1,
                initial_items: 0,
                threads: None,
                clock: Box::new(SystemClock::new()),
                listener: None,
                backing: None,
            },
            ttl: None,
            idle: None,
            maintenance: Maintenance::default(),
            expiry_cpu_share: 0.05,
            expiry_lag: Duration::from_secs(1),
            name: "larder".to_owned(),
            events: EventLog::default(),
            append_only: None,
            logs: Vec::new(),
            backlogs: Vec::new(),
            warm: None,
            log_place: None,
            log_wishes: LogWishes::default(),
            #[cfg(feature = "snapshot")]
            catalog: None,
        }
    }
}

/// A number that nobody can guess, from the standard library's hash keys.
pub(crate) fn random_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0x6c61_7264_6572_u64)
}

/// Whole milliseconds of a duration, at least 1 for what is not zero.
pub(crate) fn millis(duration: Duration) -> u64 {
    let ms = u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    ms.min(u64::MAX / 4)
}

impl CacheBuilder {
    /// All memory the cache may use, in bytes: items, index, tables, ghosts. At least 64 KiB, at most 4 TiB. Default
    /// 64 MiB.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::builder().max_memory(8 << 20).build()?;
    /// assert_eq!(cache.memory().limit, 8 << 20);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn max_memory(mut self, bytes: u64) -> Self {
        self.config.max_memory = bytes;
        self
    }

    /// Bytes of the limit that items may not use. Default 0.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::builder().max_memory(8 << 20).reserved_memory(2 << 20).build()?;
    /// assert_eq!(cache.memory().reserved, 2 << 20);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn reserved_memory(mut self, bytes: u64) -> Self {
        self.config.reserved_memory = bytes;
        self
    }

    /// Which items leave when there is no room. Default: [`EvictionPolicy::Default`].
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, EvictionPolicy};
    /// let cache = Cache::builder().policy(EvictionPolicy::Sieve).build()?;
    /// assert_eq!(cache.policy(), EvictionPolicy::Sieve);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn policy(mut self, policy: EvictionPolicy) -> Self {
        self.config.policy = policy;
        self
    }

    /// Whether the default policy aims at most hits or at most bytes hit. Default: hits.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, Objective};
    /// let cache = Cache::builder().objective(Objective::Bytes).build()?;
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn objective(mut self, objective: Objective) -> Self {
        self.config.objective = objective;
        self
    }

    /// How long values live that are stored without saying so. Default: for ever.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let cache = larder::Cache::builder().time_to_live(Duration::from_secs(60)).build()?;
    /// cache.set(b"k", b"v")?;
    /// assert!(cache.metadata(b"k").unwrap().ttl_left.is_some());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn time_to_live(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// How long values live without being read, if they are stored without saying so. Default: for ever. Costs 16
    /// bytes an item.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let cache = larder::Cache::builder().time_to_idle(Duration::from_secs(60)).build()?;
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn time_to_idle(mut self, idle: Duration) -> Self {
        self.idle = Some(idle);
        self
    }

    /// The longest value, in bytes: at most 512 MiB. Default 1 MiB.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::builder().max_item_size(100).build()?;
    /// assert!(cache.set(b"k", &[0; 101]).is_err());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn max_item_size(mut self, bytes: usize) -> Self {
        self.config.settings.max_item_size = bytes;
        self
    }

    /// The smallest slab chunk, in bytes, header included: at least 16. Default 32.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::builder().chunk_size(48).build()?;
    /// assert_eq!(cache.classes()[0].chunk_size, 48);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn chunk_size(mut self, bytes: usize) -> Self {
        self.config.chunk_size = bytes;
        self
    }

    /// The ratio of neighbouring chunk sizes: above 1. Default 1.04: items waste some 3 % of their chunks on average.
    ///
    /// # Examples
    /// ```
    /// let coarse = larder::Cache::builder().chunk_size_growth_factor(1.25).build()?;
    /// let fine = larder::Cache::new(64 << 20)?;
    /// assert!(coarse.classes().len() < fine.classes().len());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn chunk_size_growth_factor(mut self, factor: f64) -> Self {
        self.config.growth_factor = factor;
        self
    }

    /// The size of a slab page, in bytes: a power of two from 1 KiB to 4 MiB. Default: from the limit, 4 to 64 KiB.
    /// Items above half a page get memory of their own.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::builder().max_memory(1 << 20).page_size(1024).build()?;
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn page_size(mut self, bytes: usize) -> Self {
        self.config.page_size = Some(bytes);
        self
    }

    /// Into how many parts, each with a lock of its own for writers, the cache is divided: a power of two up to 1,024.
    /// Default: from limit and cores.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::builder().shards(2).build()?;
    /// assert_eq!(cache.shards().len(), 2);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn shards(mut self, shards: usize) -> Self {
        self.config.shards = Some(shards);
        self
    }

    /// Address space to reserve, in bytes: the limit can be raised to a quarter of it later. At least four times the
    /// limit, so that large values find neighbouring pages in it; default: sixteen times the limit, at least 1 GiB. It
    /// costs no memory.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::builder().max_memory(1 << 20).address_space(16 << 20).build()?;
    /// cache.set_max_memory(4 << 20)?;
    /// assert!(cache.set_max_memory(30 << 20).is_err());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn address_space(mut self, bytes: usize) -> Self {
        self.config.address_space = Some(bytes);
        self
    }

    /// Asks the system for huge pages behind the slab. Default: no. Faster on large caches; memory is then committed in
    /// steps of the system's huge page size, so the process may use up to one more of those than the ledger says.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::builder().huge_pages(true).build()?;
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn huge_pages(mut self, yes: bool) -> Self {
        self.config.huge_pages = yes;
        self
    }

    /// Locks slab pages in memory, so that they are never swapped out. Default: no. Where the system refuses
    /// (`RLIMIT_MEMLOCK`), writes that need a page fail with [`ErrorKind::Os`] when nothing can be evicted instead.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::builder().lock_memory(true).build()?;
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn lock_memory(mut self, yes: bool) -> Self {
        self.config.lock_memory = yes;
        self
    }

    /// Estimates while the cache runs what its miss ratio would be with half, twice and four times its memory:
    /// [`Cache::miss_ratio_curve`]. The estimate takes `bytes` of the cache's memory, which are set aside from the
    /// start: at least 256 KiB; 4 MiB give a point within about a percentage point (`docs/miss-ratio-curve.md`).
    /// Default 0: no estimate.
    ///
    /// Operations on keys in the sample - all of them in a small cache, one in thousands in a large one - take a lock;
    /// for the others one comparison is added.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::builder().max_memory(64 << 20).miss_ratio_curve(4 << 20).build()?;
    /// assert!(cache.miss_ratio_curve().is_some());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn miss_ratio_curve(mut self, bytes: u64) -> Self {
        self.config.curve_bytes = bytes;
        self
    }

    /// When slab pages move between classes. Default: [`Automove::Always`].
    ///
    /// # Examples
    /// ```
    /// use larder::{Automove, Cache};
    /// let cache = Cache::builder().automove(Automove::Slow).build()?;
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn automove(mut self, automove: Automove) -> Self {
        self.config.automove = automove;
        self
    }

    /// Gives every item a check-and-set token from the start, for 8 bytes each. Default: no; an item then gets its
    /// token when one is first asked for.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::builder().tokens(true).build()?;
    /// cache.set(b"k", b"v")?;
    /// assert!(cache.metadata(b"k").unwrap().token.is_some());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn tokens(mut self, yes: bool) -> Self {
        self.config.settings.tokens = yes;
        self
    }

    /// Whether items can have check-and-set tokens. Default: yes. Without, no item ever spends 8 bytes on one;
    /// [`Cache::compare_and_swap`], [`Cache::get_with_token`] and [`SetOptions::if_token`](crate::SetOptions::if_token)
    /// fail with [`ErrorKind::NotAllowed`], [`SetOptions::want_token`](crate::SetOptions::want_token) gets none, and
    /// [`Cache::remove_if`] removes nothing.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, ErrorKind};
    /// let cache = Cache::builder().check_and_set(false).build()?;
    /// cache.set(b"k", b"v")?;
    /// assert_eq!(cache.get_with_token(b"k").unwrap_err().kind(), ErrorKind::NotAllowed);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn check_and_set(mut self, yes: bool) -> Self {
        self.config.settings.check_and_set = yes;
        self
    }

    /// How many items at least are looked at for each victim by the policies that go by recency, frequency or deadline
    /// (Redis's `maxmemory-samples`). Default 1. Items are looked at some 28 at a time, whatever less was asked for,
    /// because as neighbours they cost a few cache lines; 64 times 28 is the most.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::builder().samples(100).build()?;
    /// assert_eq!(cache.samples(), 100);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn samples(mut self, items: u32) -> Self {
        self.config.samples = items;
        self
    }

    /// Room in the index from the start, for so many items; the index does not become smaller than that. At most an
    /// eighth of the limit is spent on it. Default 0: the index begins small and grows a step at a time.
    ///
    /// # Examples
    /// ```
    /// use larder::Cache;
    /// let cache = Cache::builder().initial_items(100_000).build()?;
    /// assert!(cache.memory().index > Cache::new(64 << 20)?.memory().index);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn initial_items(mut self, items: u64) -> Self {
        self.config.initial_items = items;
        self
    }

    /// Whether maintenance grows and shrinks the index while nobody writes. Default: yes. Otherwise only writes do, a
    /// little each; an idle cache then keeps an index that is larger than it need be.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::builder().background_resizing(false).build()?;
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn background_resizing(mut self, yes: bool) -> Self {
        self.config.settings.background_resizing = yes;
        self
    }

    /// Whether slab pages may be moved by hand ([`Cache::reassign_page`]). Default: yes.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, ErrorKind};
    /// let cache = Cache::builder().slab_reassign(false).build()?;
    /// assert_eq!(cache.reassign_page(0, 1).unwrap_err().kind(), ErrorKind::NotAllowed);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn slab_reassign(mut self, yes: bool) -> Self {
        self.config.settings.reassign = yes;
        self
    }

    /// How many namespaces [`Cache::try_namespace`] hands out: 1 to 256, the default. For front-ends whose clients
    /// name them.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::builder().namespaces(16).build()?;
    /// assert!(cache.try_namespace(15).is_ok() && cache.try_namespace(16).is_err());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn namespaces(mut self, count: u16) -> Self {
        self.config.settings.namespaces = count;
        self
    }

    /// How many threads will write: a hint from which [`shards`](Self::shards) are chosen, if they are not given.
    /// Default: as many as the machine has cores.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::builder().max_memory(1 << 30).threads(1).build()?;
    /// assert_eq!(cache.shards().len(), 4);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn threads(mut self, threads: usize) -> Self {
        self.config.threads = Some(threads);
        self
    }

    /// Where the time comes from. Default: [`SystemClock`].
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, ManualClock};
    /// let cache = Cache::builder().clock(ManualClock::new(0)).build()?;
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.config.clock = Box::new(clock);
        self
    }

    /// The seed of hashing and of all random choices. Default: random. With a seed, a manual clock, manual maintenance
    /// and one thread, the same operations always do the same.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::builder().seed(42).build()?;
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn seed(mut self, seed: u64) -> Self {
        self.config.settings.seed = seed;
        self
    }

    /// Who does maintenance. Default: a thread of the cache's own.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, Maintenance};
    /// let cache = Cache::builder().maintenance(Maintenance::Manual).build()?;
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn maintenance(mut self, maintenance: Maintenance) -> Self {
        self.maintenance = maintenance;
        self
    }

    /// The share of one core that the maintenance thread may use, above 0 and up to 1. Default 0.05.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::builder().expiry_cpu_share(0.25).build()?;
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn expiry_cpu_share(mut self, share: f64) -> Self {
        self.expiry_cpu_share = share;
        self
    }

    /// How long memory of an item that has ended may stay unreturned for the sake of batching, while the CPU share
    /// allows. Default: a second.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let cache = larder::Cache::builder().expiry_lag(Duration::from_millis(100)).build()?;
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn expiry_lag(mut self, lag: Duration) -> Self {
        self.expiry_lag = lag;
        self
    }

    /// A closure that is shown each item that leaves, with its namespace, key, value and cause. Default: none; then it
    /// costs nothing.
    ///
    /// It is called without any lock, after the operation by which the item left, and usually by the thread of that
    /// operation: by one that writes or removes, by one that reads (what has ended may be removed then), or by
    /// maintenance. Calls of one key come in the order in which its items left; calls of different keys may come at the
    /// same time, from several threads. When another thread is already telling for the same shard, it tells this too,
    /// and the operation may return before; a writer waits for it only while much waits to be told: more than the
    /// shard's part of a 64th of the limit, or than 256 KiB.
    ///
    /// The listener may use this cache. What it removes by that is told after it has returned, so calls are never
    /// nested; a listener that removes more than it is told of has what exceeds its part of a 256th of the limit
    /// dropped ([`Stats::notices_lost`](crate::Stats::notices_lost)). It should be quick, and must not wait for another
    /// thread that writes to the cache. If it panics, that is [counted](crate::Stats::listener_panics), and nothing
    /// else happens.
    ///
    /// Not told: items that are there when the cache is dropped, new items that the policy turns away, and values that
    /// are stored anew only in form (to get a token, or room for a far deadline). Items that were cleared, or whose tag
    /// was invalidated, are told as [`Flushed`](crate::RemovalCause::Flushed) when they are swept.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, RemovalCause};
    /// use std::sync::mpsc::channel;
    /// let (sender, left) = channel();
    /// let cache = Cache::builder()
    ///     .eviction_listener(move |removal| drop(sender.send((removal.key.to_vec(), removal.cause))))
    ///     .build()?;
    /// cache.set(b"k", b"v")?;
    /// cache.remove(b"k");
    /// assert_eq!(left.recv().unwrap(), (b"k".to_vec(), RemovalCause::Removed));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn eviction_listener(mut self, listener: impl Fn(&Removal<'_>) + Send + Sync + 'static) -> Self {
        self.config.listener = Some(Listener::new(listener));
        self
    }

    /// The log that this cache's engine events go to. Default: one of its own, of 256 events
    /// ([`Cache::event_log`]).
    ///
    /// # Examples
    /// See [`EventLog`].
    pub fn event_log(mut self, log: EventLog) -> Self {
        self.events = log;
        self
    }

    /// A log that is told everything that is done to the cache: see [`oplog`](crate::oplog). It may be called more than
    /// once; all logs are told the same. Default: none; then it costs a branch a write, and a hit nothing.
    ///
    /// # Examples
    /// See [`oplog`](crate::oplog).
    pub fn replication_log(mut self, log: Arc<dyn ReplicationLog>) -> Self {
        self.logs.push(log);
        self
    }

    /// A [`Backlog`] that is told everything that is done to the cache, its memory on this cache's ledger. Where the
    /// builder comes from [parameters](crate::params), its limits are those of `repl-backlog-size` and
    /// `repl-backlog-ttl`.
    ///
    /// # Examples
    /// ```
    /// use larder::Cache;
    /// use larder::oplog::Backlog;
    /// use std::sync::Arc;
    /// let backlog = Arc::new(Backlog::new(256 << 10));
    /// let cache = Cache::builder().backlog(backlog.clone()).build()?;
    /// cache.set(b"k", b"v")?;
    /// assert!(backlog.bytes() > 0);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn backlog(mut self, backlog: Arc<Backlog>) -> Self {
        self.backlogs.push(backlog);
        self
    }

    /// An append-only file: what it holds is brought back by [`build`](Self::build), and everything that is done to the
    /// cache is added to it. Default: none.
    ///
    /// `build` fails if the file is damaged, with an error of the kind [`ErrorKind::Damaged`] that says where; a torn
    /// end, which a crash leaves behind, is cut off, and [`Cache::recovery`] says so.
    ///
    /// # Examples
    /// ```
    /// use larder::Cache;
    /// use larder::oplog::{AppendOptions, Fsync};
    /// use larder::storage::Files;
    /// let folder = std::env::temp_dir().join(format!("larder-log-doc-{}", std::process::id()));
    /// let build = || {
    ///     let storage = Files::new(&folder).expect("a folder");
    ///     Cache::builder().append_only(AppendOptions::new(storage).fsync(Fsync::Always)).build()
    /// };
    /// let cache = build()?;
    /// cache.set(b"greeting", b"hello")?;
    /// drop(cache);
    /// assert_eq!(build()?.get(b"greeting")?.as_deref(), Some(&b"hello"[..]));
    /// # std::fs::remove_dir_all(folder).unwrap();
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn append_only(mut self, options: AppendOptions) -> Self {
        self.append_only = Some(options);
        self
    }

    /// Keeps the items in a folder, and begins with those that the last cache has left there when it was closed.
    /// Default: no; items are then in memory of the process's own.
    ///
    /// What is in the folder is verified first, in a time that depends on the number of items and not on their bytes.
    /// When the last cache was not closed, was built with other settings of which the layout depends (`page_size`,
    /// `shards`, `chunk_size`, `chunk_size_growth_factor`, `address_space`, and `max_memory` where these follow from
    /// it), by another build's format, or when anything is not as it was written, the cache begins empty:
    /// [`Cache::start`] says which and why, and so does an event. `docs/warm-restart.md` says what comes back.
    ///
    /// `build` fails, with [`ErrorKind::NotAllowed`], while another cache has the folder or if its files are another
    /// user's, and with [`ErrorKind::Storage`] if its file system has no room for `max_memory` bytes. The seed of
    /// hashing comes back with the items. It does not go with [`append_only`](Self::append_only) or
    /// [`follower`](Self::follower).
    ///
    /// # Examples
    /// See [`WarmRestart`].
    pub fn warm_restart(mut self, warm: WarmRestart) -> Self {
        self.warm = Some(warm);
        self
    }

    /// Whether the cache follows another one: it is changed by [`Cache::apply`] alone. Programs may read it, and get
    /// nothing that has ended; but nothing is removed, by eviction or otherwise, before an effect says so: its policy
    /// is [`NoEviction`](EvictionPolicy::NoEviction) until it is [promoted](Cache::set_follower). Default: no.
    ///
    /// # Examples
    /// See [`Cache::apply`].
    pub fn follower(mut self, yes: bool) -> Self {
        self.config.settings.follower = yes;
        self
    }

    #[cfg(feature = "snapshot")]
    pub(crate) fn set_catalog(&mut self, catalog: Arc<crate::snapshot::Catalog>) {
        self.catalog = Some(catalog);
    }

    /// A name, for threads and reports. Default "larder".
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::builder().name("sessions").build()?;
    /// assert_eq!(cache.name(), "sessions");
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Builds the cache.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] for settings out of range or at odds with each other, [`ErrorKind::Os`] if the
    /// system refuses address space or a thread; [`ErrorKind::Storage`] and [`ErrorKind::Damaged`] of a log.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, ErrorKind};
    /// let error = Cache::builder().max_memory(10).build().unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    /// ```
    pub fn build(self) -> Result<Cache> {
        let CacheBuilder { mut config, ttl, idle, maintenance, expiry_cpu_share, expiry_lag, name, events, .. } = self;
        if !(expiry_cpu_share > 0.0 && expiry_cpu_share <= 1.0) {
            return Err(Error::new(
                ErrorKind::InvalidConfig,
                format!("expiry_cpu_share is {expiry_cpu_share}; it must be above 0 and at most 1"),
            ));
        }
        for (what, duration) in [("time_to_live", ttl), ("time_to_idle", idle)] {
            if duration.is_some_and(|d| d.is_zero()) {
                return Err(Error::new(
                    ErrorKind::InvalidConfig,
                    format!("{what} is 0; leave it out, or give a duration"),
                ));
            }
        }
        #[cfg(feature = "snapshot")]
        self.catalog.as_ref().map_or(Ok(()), |catalog| catalog.check_cache_name(&name))?;
        config.settings.ttl_ms = ttl.map_or(0, millis);
        config.settings.idle_ms = idle.map_or(0, millis);
        config.settings.expiry_lag_ms = millis(expiry_lag);
        #[cfg(feature = "tracing")]
        {
            config.settings.name = name.as_str().into();
        }
        let (place, wishes, backlogs) = (self.log_place, self.log_wishes, self.backlogs);
        let is_given = self.append_only.is_some();
        let place = place.map(LogPlace::open).transpose()?;
        let file = wishes.file(self.append_only, place.as_ref())?;
        if self.warm.is_some() && (file.is_some() || config.settings.follower) {
            return Err(Error::new(
                ErrorKind::InvalidConfig,
                "warm_restart goes with neither append_only nor follower: items would come back from two places",
            ));
        }
        let mut home = self.warm.map(|warm| Home::open(&warm, config.max_memory)).transpose()?;
        config.backing = home.as_ref().map(Home::file).transpose()?;
        let mut engine = Engine::new(config)?;
        if engine.ctx.settings.follower {
            engine.set_follower(true);
        }
        let mut appending = None;
        if let Some(options) = file {
            let (log, recovery) = engine.recover(options)?;
            appending = Some(Appending { log, recovery });
        }
        for backlog in &backlogs {
            wishes.fit(backlog);
            backlog.charge_to(Arc::clone(&engine.ctx.arena));
        }
        let attached = backlogs.iter().map(|backlog| Arc::clone(backlog) as Arc<dyn ReplicationLog>);
        for log in attached.chain(self.logs) {
            engine.ctx.effects.attach(log)?;
        }
        let logs = LogSettings::new(place, backlogs, wishes, is_given);
        // Last: until here, whatever fails leaves the folder as it was.
        let start = home.as_mut().map(|home| home.fill(&mut engine, random_seed())).transpose()?;
        let beside = Beside {
            appending,
            logs,
            home,
            start,
            #[cfg(feature = "snapshot")]
            catalog: self.catalog,
        };
        Cache::launch(engine, maintenance, expiry_cpu_share, name, events, beside)
    }
}
