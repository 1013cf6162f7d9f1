//! An embeddable cache engine: byte strings in a fixed amount of memory.
//!
//! A [`Cache`] keeps keys and values, both bytes, within a limit that covers everything: items, index, tables, and
//! what the eviction policy remembers. Reads take no lock and give the bytes in place. Writes take the lock of one
//! part of the cache for a moment. Items leave when their time is over, when they are cleared, or when room is needed
//! and the [policy](EvictionPolicy) finds them worth least.
//!
//! # Quick start
//! ```
//! use larder::{Cache, SetOptions};
//! use std::time::Duration;
//!
//! let cache = Cache::new(64 << 20)?;
//! cache.set(b"greeting", b"hello")?;
//! cache.set_with(b"session", b"alice", &SetOptions::new().ttl(Duration::from_secs(1800)))?;
//!
//! assert_eq!(cache.get(b"greeting")?.as_deref(), Some(&b"hello"[..]));
//! assert_eq!(cache.read(b"session", |value| value.len()), Some(5));
//! assert!(cache.get(b"absent")?.is_none());
//! # Ok::<(), larder::Error>(())
//! ```
//!
//! # Reading
//! - [`Cache::get`] returns a [`Guard`]: the value in place, as it was when it was read, for as long as the guard
//!   lives. A thread holds eight values in place at a time; further guards are copies, charged to the cache. Guards
//!   stay on their thread. Whoever needs bytes for long, or elsewhere, copies them.
//! - [`Cache::read`] shows the value to a closure, [`Cache::get_into`] appends it to a buffer, and [`Cache::get_many`]
//!   fetches many keys at once, which hides the latency of memory.
//! - [`Cache::peek`], [`Cache::contains`] and [`Cache::metadata`] look without being a use: neither the policy nor a
//!   time to idle takes notice.
//! - [`Cache::scan`], [`Cache::iter`] and [`Cache::retain`] walk over all items of a namespace. A [`Cursor`] stays
//!   good whatever happens to the cache, and every key that is there throughout is seen.
//!
//! # Writing
//! - [`Cache::set`] stores; [`Cache::set_with`] stores with [`SetOptions`] and says what came of it; [`Cache::add`]
//!   and [`Cache::replace`] store only if there is no value, or one.
//! - [`Cache::append`], [`Cache::prepend`], [`Cache::increment`], [`Cache::decrement`] and [`Cache::arithmetic`]
//!   change what is there, in memcached's way or in Redis's.
//! - [`Cache::compare_and_swap`] and [`Cache::remove_if`] act only on the value that has a certain [`Token`].
//! - [`Cache::update`] changes several keys as one. Writes and other updates see all of it or nothing; a plain read
//!   may fall between two of its stores.
//! - [`Cache::reserve`] takes memory for a value that arrives in pieces. Nobody sees it before it is
//!   [published](Reservation::publish).
//! - [`Cache::remove`] and [`Cache::take`] remove; [`Cache::clear`] empties a namespace in constant time.
//!
//! A new value that is very large may be turned away by the default policy and by S3-FIFO, when what would have to
//! leave for it is worth more. It is then as if it had been evicted at once: [`SetOutcome::stored`] says so.
//!
//! # Types
//! [`TypedCache`] is a view on a namespace with keys and values of your types: `TypedCache<String, u64, Plain>` for
//! strings, bytes and numbers, `TypedCache<K, V>` for all types that serde knows (feature `serde`). The module
//! [`typed`] says which codec does what and what a `get` costs.
//!
//! # Load-through
//! [`Cache::get_with`], [`try_get_with`](Cache::try_get_with), [`optionally_get_with`](Cache::optionally_get_with) and
//! [`load`](Cache::load) return what is there, or else what a loader brings, one loader a key at a time, also for
//! futures (feature `async`). [`LoadOptions`] has times to live, reloading ahead of a value's end, and the remembering
//! of absences. [How it behaves](Cache#load-through).
//!
//! # Expiry
//! A value lives for ever, or for the builder's [`time_to_live`](CacheBuilder::time_to_live), unless its options say
//! otherwise: [`ttl`](SetOptions::ttl), [`deadline`](SetOptions::deadline), [`keep_ttl`](SetOptions::keep_ttl),
//! [`never`](SetOptions::never). With a time to idle ([`SetOptions::time_to_idle`], [`CacheBuilder::time_to_idle`]) it
//! also ends when it was not read for so long. [`Cache::touch`] and [`Cache::persist`] change the deadline of what is
//! there. What has ended is never returned; its memory comes back by maintenance, or at once when room is needed.
//!
//! # Namespaces
//! A cache has 256 of them on the same memory, and a handle works on one: [`Cache::namespace`]. Keys of different
//! namespaces never meet. Each has its own [`len`](Cache::len), [`clear`](Cache::clear), walks, and [hits and
//! misses](Cache::namespace_hits).
//!
//! # Groups of items
//! Items can have [tags](SetOptions::tags); [`Cache::invalidate_tag`] makes all items of a tag misses at once, however
//! many they are. [`Cache::invalidate_prefix`] and [`Cache::invalidate_if`] remove by key, or by what a closure says,
//! in steps; [`Cache::invalidate_all`] is [`Cache::clear`].
//!
//! # Listening
//! A [listener](CacheBuilder::eviction_listener) is shown each item that leaves, with the [cause](RemovalCause); a
//! [namespace](Cache::eviction_listener) and a [typed cache](TypedCache::eviction_listener) can have their own.
//! [`Cache::subscribe`] gives a queue of what happens to keys, under the names of Redis's keyspace notifications.
//! [`EngineEvent`]s, such as changes of parameters, are kept in an [`EventLog`] that can be asked and subscribed to.
//! What listeners and subscribers are told of a key comes in the order in which it happened.
//!
//! # Memory and policies
//! [`CacheBuilder::max_memory`] is the limit; [`Cache::set_max_memory`] changes it. [`Cache::memory`] says where the
//! memory is, [`MemoryReport::overhead_per_item`] what an item costs beside its bytes. [`EvictionPolicy`] has the
//! policies; the default one follows an [`Objective`]. [`Cache::set_policy`] changes the policy of a cache in use. The
//! [`policy::Simulator`] runs the same code without memory behind it, to judge a policy on a trace. [`Automove`] says
//! when slab pages move between size classes. [`Cache::stats`] counts what happened; [`Cache::metrics`] has the names
//! that operators of memcached and Redis know.
//!
//! # Snapshots
//! With the feature `snapshot`, `Cache::snapshot_to` saves what the cache holds at one moment while it is in use, and
//! `Cache::restore_from` brings it back, into a cache of any size and policy. `docs/snapshots.md` has it in full.
//!
//! # Seeing inside
//! [`CacheBuilder::miss_ratio_curve`] estimates what the cache would miss with half, twice and four times its memory.
//! With the feature `metrics`, `MetricsPublisher` gives all figures to exporters such as Prometheus'; with the feature
//! `tracing`, subscribers are told what the engine does beside the operations. `docs/observability.md` has both in
//! full.
//!
//! # The log
//! With [`CacheBuilder::append_only`] every change is added to a file, and the cache comes back from it after a crash;
//! [`oplog::Fsync`] says what a crash may cost. [`Cache::rewrite_log`] makes the file small again, which maintenance
//! does by itself. [`CacheBuilder::replication_log`] gives the same records to logs of the program's own, and
//! [`CacheBuilder::follower`] makes a cache that takes them from another one. The module [`oplog`] has the records and
//! the trait, [`storage`] says where files are.
//!
//! # Warm restart
//! With [`CacheBuilder::warm_restart`] the items are in a file, of a file system in memory or on a disk. A cache that
//! is [closed](Cache::close) leaves them there, and the next one begins with them.
//! [`Cache::start`] says whether it did, and else why not.
//!
//! # Replicas
//! With the feature `replication`, the module `replication` has a primary and its replicas, over any transport.
//!
//! # Protocols
//! With the feature `memcached`, the module `protocol` answers memcached's protocol on a cache, for whoever owns the
//! sockets.
//!
//! # Maintenance
//! One small thread per cache sweeps what has ended and gives memory back, in steps, for at most a twentieth of a core
//! ([`CacheBuilder::expiry_cpu_share`]). It ends with the last handle. With [`Maintenance::Manual`] there is no
//! thread, and the program calls [`Cache::run_maintenance`] when it suits.
//!
//! # Determinism in tests
//! Time comes from a [`Clock`] and chance from a [seed](CacheBuilder::seed). With both given, no thread of the cache's
//! own and one thread of the program's, the same operations always do the same:
//! ```
//! use larder::{Cache, Maintenance, ManualClock, SetOptions};
//! use std::time::Duration;
//!
//! let clock = ManualClock::new(0);
//! let builder = Cache::builder().max_memory(1 << 20).seed(42).clock(clock.clone());
//! let cache = builder.maintenance(Maintenance::Manual).build()?;
//! cache.set_with(b"k", b"v", &SetOptions::new().ttl(Duration::from_secs(1)))?;
//! clock.advance(Duration::from_secs(1));
//! assert!(!cache.contains(b"k"));
//! # Ok::<(), larder::Error>(())
//! ```
//! (The number of shards follows the machine's cores in caches of 512 MiB and more: set [`CacheBuilder::shards`] as
//! well where figures must agree between machines.)
//!
//! # Errors
//! A miss is no error. Whatever else can go wrong is an [`Error`] with an [`ErrorKind`] and a message that says what
//! was refused and what would be accepted. Nothing panics on input. An operation that fails leaves what was stored as
//! it was, apart from items that were evicted in the attempt.
//!
//! # User code
//! Closures (of `read`, `get_many`, `update`, `retain`, `invalidate_if`), loaders, codecs and listeners run without any
//! lock. They may use the same cache, and may panic without harm to it. A [`Clock`] is the exception: it is asked under
//! locks, and must not use the cache.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(target_pointer_width = "64"))]
compile_error!("larder needs a 64-bit target: its arena reserves more address space than smaller ones have");

#[cfg(not(unix))]
compile_error!(
    "larder needs a Unix system, such as Linux: it reserves, commits and gives back memory with mmap and madvise"
);

mod api;
mod clock;
mod curve;
mod engine;
mod error;
mod events;
mod expiry;
mod index;
mod loading;
pub mod oplog;
pub mod params;
pub mod policy;
#[cfg(feature = "memcached")]
#[cfg_attr(docsrs, doc(cfg(feature = "memcached")))]
pub mod protocol;
#[cfg(feature = "metrics")]
mod publish;
#[cfg(feature = "replication")]
#[cfg_attr(docsrs, doc(cfg(feature = "replication")))]
pub mod replication;
mod shard;
mod slab;
#[cfg(feature = "snapshot")]
#[cfg_attr(docsrs, doc(cfg(feature = "snapshot")))]
pub mod snapshot;
mod stats;
pub mod storage;
mod sync;
mod trace;
pub mod typed;
mod waiters;
mod warm;

pub use api::{
    Arithmetic, Cache, CacheBuilder, CasOutcome, Charge, Cursor, Entry, Guard, Invalidation, Iter, Maintenance,
    Metadata, Reservation, SetOptions, SetOutcome, Token, Update, Upkeep,
};
pub use clock::{Clock, ManualClock, SystemClock};
pub use curve::{MissRatioCurve, MissRatioPoint};
pub use error::{Error, ErrorKind, Result};
#[cfg(feature = "async")]
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
pub use events::Receiving;
pub use events::{
    EngineEvent, EngineEventKind, EventFilter, EventLog, EventSource, KeyEvent, KeyEventClass, KeyEvents, Listening,
    Removal, RemovalCause, Subscription, SubscriptionIter,
};
pub use loading::{Load, LoadError, LoadOptions, LoadStats, Loaded};
pub use policy::{EvictionPolicy, Objective};
#[cfg(feature = "metrics")]
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
pub use publish::{MetricsPublisher, PublishingThread};
pub use shard::Automove;
pub use slab::{Kind, MAX_KEY_LEN, MAX_VALUE_LEN};
pub use stats::{ClassStats, MemoryReport, Metric, MetricKind, ShardStats, Stats, View};
pub use typed::TypedCache;
pub use warm::{ColdReason, ColdStart, Start, WarmRestart, WarmStart};

/// The programs of the README are tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
