//! The handle on a cache, what ends with the last one, and what concerns the cache as a whole.

#[cfg(feature = "snapshot")]
mod aside;
mod upkeeper;

use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use upkeeper::Upkeeper;

use super::builder::{CacheBuilder, Maintenance, millis};
use super::log::Appending;
use super::log_settings::LogSettings;
use crate::curve::MissRatioCurve;
use crate::engine::{Built, Engine, Key};
use crate::error::{Error, ErrorKind, Result};
use crate::events::{EngineEvent, EngineEventKind, EventLog, EventSource};
use crate::policy::{EvictionPolicy, Objective};
use crate::shard::{Automove, Settings};
#[cfg(feature = "snapshot")]
use crate::snapshot::driver::Driver;
use crate::stats::{ClassStats, MemoryReport, ShardStats, Stats};
use crate::warm::{Home, Start};
#[cfg(feature = "snapshot")]
pub(crate) use aside::Aside;

/// A cache of byte strings in a fixed amount of memory.
///
/// This is a handle: cloning it is cheap, and all clones are the same cache. A handle works on one namespace
/// ([`Cache::namespace`]); keys of different namespaces never meet, but share the memory.
///
/// Reads take no lock. Writes take the lock of one of the cache's shards for a moment.
///
/// # Examples
/// ```
/// use larder::Cache;
/// let cache = Cache::new(64 << 20)?;
/// cache.set(b"greeting", b"hello")?;
/// if let Some(value) = cache.get(b"greeting")? {
///     assert_eq!(&*value, b"hello");
/// }
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Clone)]
pub struct Cache {
    owner: Arc<Owner>,
    namespace: u8,
}

/// A reference to a cache, of whatever namespace, that does not keep it alive.
#[derive(Debug, Clone)]
pub(crate) struct WeakCache(Weak<Owner>);

impl WeakCache {
    /// A handle, while there is another one.
    pub(crate) fn upgrade(&self) -> Option<Cache> {
        self.0.upgrade().map(|owner| Cache { owner, namespace: 0 })
    }

    /// Whether the cache is there still.
    pub(crate) fn is_alive(&self) -> bool {
        self.0.strong_count() > 0
    }

    /// Whether it is this cache.
    pub(crate) fn is(&self, cache: &Cache) -> bool {
        std::ptr::eq(self.0.as_ptr(), Arc::as_ptr(&cache.owner))
    }
}

/// What a call of [`Cache::run_maintenance`] did.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// let cache = larder::Cache::new(1 << 20)?;
/// let upkeep = cache.run_maintenance(Duration::from_millis(10));
/// assert!(upkeep.done);
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Upkeep {
    /// CPU time that it took.
    pub used: Duration,
    /// Whether nothing is left to do for now.
    pub done: bool,
}

/// The engine and the thread that looks after it.
#[derive(Debug)]
struct Owner {
    engine: Arc<Engine>,
    name: String,
    events: EventLog,
    /// The append-only file, and what was found in it.
    appending: Mutex<Option<Appending>>,
    /// What is asked of the logs.
    logs: LogSettings,
    /// Who takes automatic snapshots.
    #[cfg(feature = "snapshot")]
    driver: Option<Driver>,
    /// It is that of a handle [aside](Aside), with which nothing ends.
    #[cfg(feature = "snapshot")]
    is_aside: bool,
    /// Ends with the last handle.
    upkeeper: Option<Upkeeper>,
    /// Where the items stay when the cache is closed, until it is; how it has begun.
    home: Option<Home>,
    start: Option<Start>,
}

/// What a cache has beside its engine.
#[derive(Debug)]
pub(super) struct Beside {
    pub(super) appending: Option<Appending>,
    pub(super) logs: LogSettings,
    /// Where the items stay when the cache is closed; how it has begun.
    pub(super) home: Option<Home>,
    pub(super) start: Option<Start>,
    #[cfg(feature = "snapshot")]
    pub(super) catalog: Option<Arc<crate::snapshot::Catalog>>,
}

impl Owner {
    fn emit(&self, kind: EngineEventKind, text: &str) {
        let date_ms = self.engine.ctx.to_unix(self.engine.ctx.now());
        self.events.emit(EngineEvent::new(date_ms, &*self.name, EventSource::CacheCluster, kind, text));
    }
}

impl Owner {
    /// Ends automatic snapshots, and takes the final one, if there is to be one. Once.
    #[cfg(feature = "snapshot")]
    fn end_snapshots(&mut self) -> Result<()> {
        match (self.driver.take(), self.aside().handle()) {
            (Some(driver), Some(handle)) => driver.end(handle),
            _ => Ok(()),
        }
    }

    #[cfg(not(feature = "snapshot"))]
    fn end_snapshots(&mut self) -> Result<()> {
        Ok(())
    }

    /// Brings the append-only file to the disk, whatever was asked of it, and tells of it if that cannot be done. Once.
    fn end_append_only(&mut self) -> Result<()> {
        let Some(Appending { log, .. }) = self.appending.get_mut().take() else { return Ok(()) };
        log.close().inspect_err(|e| self.emit(EngineEventKind::LogFailed, &e.to_string()))
    }

    /// Ends maintenance and leaves the items where they are to be found again, if they are. Once.
    fn shut_down(&mut self) -> Result<()> {
        let last = self.end_snapshots();
        self.upkeeper = None;
        // What was removed since the last write, by maintenance too, may wait still.
        let settled = self.engine.ctx.settle_log().and(self.end_append_only()).and(last);
        let Some(home) = self.home.take() else { return settled };
        let kept = match Arc::get_mut(&mut self.engine) {
            Some(engine) => home.close(engine),
            None => {
                let text = "the items are not kept for the next start: something, such as a snapshot, is at work still";
                Err(Error::new(ErrorKind::NotAllowed, text))
            }
        };
        if let Err(e) = &kept {
            self.emit(EngineEventKind::NotKept, &e.to_string());
        }
        settled.and(kept)
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        #[cfg(feature = "snapshot")]
        if self.is_aside {
            return;
        }
        // What it says was said in an event.
        let _ = self.shut_down();
        let kind = EngineEventKind::DeleteCacheClusterComplete;
        self.emit(kind, kind.text());
    }
}

impl Cache {
    /// A cache that uses at most `max_memory` bytes, with defaults for everything else.
    ///
    /// # Errors
    /// As [`CacheBuilder::build`].
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// assert!(cache.is_empty());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn new(max_memory: u64) -> Result<Cache> {
        Cache::builder().max_memory(max_memory).build()
    }

    /// Settings to build a cache from.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::builder().max_memory(1 << 20).build()?;
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn builder() -> CacheBuilder {
        CacheBuilder::default()
    }

    pub(super) fn launch(
        engine: Engine,
        maintenance: Maintenance,
        share: f64,
        name: String,
        events: EventLog,
        beside: Beside,
    ) -> Result<Cache> {
        let engine = Arc::new(engine);
        engine.ctx.effects.set_events(events.clone(), &name);
        let mut owner = Owner {
            engine,
            name,
            events,
            appending: Mutex::new(beside.appending),
            logs: beside.logs,
            #[cfg(feature = "snapshot")]
            driver: beside.catalog.map(Driver::new),
            #[cfg(feature = "snapshot")]
            is_aside: false,
            upkeeper: None,
            home: beside.home,
            start: beside.start,
        };
        if maintenance == Maintenance::Thread {
            // Without it, the items go back into their folder.
            owner.upkeeper = Some(Upkeeper::start(&owner.engine, share, &owner.name)?);
        }
        let kind = EngineEventKind::CacheClusterProvisioningComplete;
        owner.emit(kind, kind.text());
        if let Some(recovery) = owner.appending.lock().as_ref().map(|appending| &appending.recovery)
            && recovery.bytes > 0
        {
            owner.emit(EngineEventKind::LogReplayed, &recovery.to_string());
        }
        if let Some(start) = &owner.start {
            let kind = match start {
                Start::Warm(_) => EngineEventKind::WarmStart,
                Start::Cold(_) => EngineEventKind::ColdStart,
            };
            owner.emit(kind, &start.to_string());
        }
        let cache = Cache { owner: Arc::new(owner), namespace: 0 };
        #[cfg(feature = "snapshot")]
        if let Some(driver) = &cache.owner.driver
            && maintenance == Maintenance::Thread
        {
            driver.start(&cache)?;
        }
        Ok(cache)
    }

    #[cfg(feature = "snapshot")]
    pub(crate) fn aside(&self) -> Aside {
        self.owner.aside()
    }

    /// Who takes this cache's automatic snapshots.
    #[cfg(feature = "snapshot")]
    fn snapshot_driver(&self) -> Option<&Driver> {
        self.owner.driver.as_ref()
    }

    pub(super) fn start_report(&self) -> Option<&Start> {
        self.owner.start.as_ref()
    }

    pub(super) fn shut_down(self) -> Result<()> {
        let mut owner = Arc::into_inner(self.owner).ok_or_else(|| {
            Error::new(ErrorKind::NotAllowed, "the cache goes on: there are other handles, the last of which closes it")
        })?;
        owner.shut_down()
    }

    /// The engine, for what may outlive this handle.
    #[cfg(feature = "snapshot")]
    pub(crate) fn engine_arc(&self) -> &Arc<Engine> {
        &self.owner.engine
    }

    pub(super) fn appending(&self) -> &Mutex<Option<Appending>> {
        &self.owner.appending
    }

    pub(super) fn log_settings(&self) -> &LogSettings {
        &self.owner.logs
    }

    #[inline(always)]
    pub(crate) fn engine(&self) -> &Engine {
        &self.owner.engine
    }

    #[inline(always)]
    pub(crate) fn key<'k>(&self, key: &'k [u8]) -> Key<'k> {
        self.engine().key(self.namespace, key)
    }

    /// The settings that it was built with.
    pub(crate) fn settings(&self) -> &Settings {
        &self.engine().ctx.settings
    }

    /// The rest of them.
    pub(crate) fn built(&self) -> &Built {
        &self.engine().built
    }

    /// The limit, and what of it items may not use, without taking any lock.
    pub(crate) fn memory_limits(&self) -> (u64, u64) {
        let ledger = &self.engine().ctx.arena.ledger;
        (ledger.limit(), ledger.reserved())
    }

    /// A reference that does not keep the cache alive.
    pub(crate) fn downgrade(&self) -> WeakCache {
        WeakCache(Arc::downgrade(&self.owner))
    }

    pub(super) fn namespace_id(&self) -> u8 {
        self.namespace
    }

    /// The log of this cache's engine events.
    ///
    /// # Examples
    /// ```
    /// use larder::EventFilter;
    /// use std::time::Duration;
    /// let cache = larder::Cache::new(1 << 20)?;
    /// let hour = EventFilter::new().within(Duration::from_secs(3600), cache.now_ms());
    /// assert_eq!(cache.event_log().query(&hour).len(), 1, "it was built");
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn event_log(&self) -> &EventLog {
        &self.owner.events
    }

    /// Logs an engine event about this cache, dated by its clock, and tells the log's subscribers.
    ///
    /// # Examples
    /// ```
    /// use larder::EngineEventKind;
    /// let cache = larder::Cache::new(1 << 20)?;
    /// let events = cache.event_log().subscribe(10);
    /// cache.emit(EngineEventKind::CacheClusterParametersChanged, "maxmemory-policy: allkeys-lru");
    /// assert_eq!(events.try_recv().unwrap().source_name, "larder");
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn emit(&self, kind: EngineEventKind, text: &str) {
        self.owner.emit(kind, text);
    }

    /// The time on this cache's clock, in milliseconds since the Unix epoch.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, ManualClock};
    /// let cache = Cache::builder().clock(ManualClock::new(5_000)).build()?;
    /// assert_eq!(cache.now_ms(), 5_000);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn now_ms(&self) -> u64 {
        self.engine().ctx.to_unix(self.engine().ctx.now())
    }

    /// A handle on another namespace of this cache: other keys, same memory. There are 256, of which 0 is the first
    /// handle's. Keys of the others cost one byte more.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// let sessions = cache.namespace(1);
    /// cache.set(b"k", b"a")?;
    /// sessions.set(b"k", b"b")?;
    /// assert_eq!(cache.read(b"k", |v| v.to_vec()), Some(b"a".to_vec()));
    /// sessions.clear();
    /// assert!(cache.contains(b"k") && !sessions.contains(b"k"));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn namespace(&self, namespace: u8) -> Cache {
        Cache { owner: Arc::clone(&self.owner), namespace }
    }

    /// The same for a number that came from elsewhere: an error if this cache was built with fewer
    /// [`namespaces`](CacheBuilder::namespaces).
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for a number that is none of a namespace's.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// assert!(cache.try_namespace(255).is_ok() && cache.try_namespace(256).is_err());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn try_namespace(&self, namespace: u64) -> Result<Cache> {
        let count = self.namespaces();
        let known = u8::try_from(namespace).ok().filter(|&known| usize::from(known) < count);
        known.map(|known| self.namespace(known)).ok_or_else(|| {
            let most = count - 1;
            Error::new(ErrorKind::NotFound, format!("there is no namespace {namespace}: the last one is {most}"))
        })
    }

    /// How many namespaces [`try_namespace`](Self::try_namespace) hands out.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::Cache::new(1 << 20)?.namespaces(), 256);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn namespaces(&self) -> usize {
        usize::from(self.engine().ctx.settings.namespaces)
    }

    /// The name given to the builder.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::Cache::new(1 << 20)?.name(), "larder");
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn name(&self) -> &str {
        &self.owner.name
    }

    /// Number of items in this namespace. Items that have ended count until they are swept. Takes each shard's lock
    /// once.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.set(b"k", b"v")?;
    /// assert_eq!(cache.len(), 1);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn len(&self) -> u64 {
        self.engine().len(self.namespace)
    }

    /// Whether [`len`](Self::len) is 0.
    ///
    /// # Examples
    /// ```
    /// assert!(larder::Cache::new(1 << 20)?.is_empty());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes everything from this namespace, at once and in constant time. The memory comes back while it is swept or
    /// needed. (The sixteenth clear in a row waits until what the first has left behind is swept.)
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.set(b"k", b"v")?;
    /// cache.clear();
    /// assert!(cache.is_empty() && !cache.contains(b"k"));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn clear(&self) {
        self.engine().clear(self.namespace);
    }

    /// [`clear`](Self::clear) for all namespaces.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.namespace(7).set(b"k", b"v")?;
    /// cache.clear_all();
    /// assert!(cache.namespace(7).is_empty());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn clear_all(&self) {
        self.engine().clear_all();
    }

    /// Clears this namespace after a while: everything that is there then, whenever it was stored.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, ManualClock};
    /// use std::time::Duration;
    /// let clock = ManualClock::new(0);
    /// let cache = Cache::builder().clock(clock.clone()).build()?;
    /// cache.set(b"k", b"v")?;
    /// cache.clear_after(Duration::from_secs(10));
    /// assert!(cache.contains(b"k"));
    /// clock.advance(Duration::from_secs(10));
    /// assert!(!cache.contains(b"k"));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn clear_after(&self, delay: Duration) {
        let at = self.engine().ctx.now().saturating_add(millis(delay));
        self.engine().clear_at(self.namespace, at);
    }

    /// The eviction policy at present.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, EvictionPolicy};
    /// assert_eq!(Cache::new(1 << 20)?.policy(), EvictionPolicy::Default);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn policy(&self) -> EvictionPolicy {
        self.engine().policy().0
    }

    /// What the default policy aims at, at present.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, Objective};
    /// assert_eq!(Cache::new(1 << 20)?.objective(), Objective::Hits);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn objective(&self) -> Objective {
        self.engine().policy().1
    }

    /// Changes the eviction policy. What is stored stays; how it was used so far is forgotten. Takes time in
    /// proportion to the items, in steps that hold a shard's lock for some microseconds each.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, EvictionPolicy, Objective};
    /// let cache = Cache::new(1 << 20)?;
    /// cache.set_policy(EvictionPolicy::VolatileTtl, Objective::Hits);
    /// assert_eq!(cache.policy(), EvictionPolicy::VolatileTtl);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn set_policy(&self, policy: EvictionPolicy, objective: Objective) {
        self.engine().set_policy(policy, objective);
    }

    /// Changes the limit. When it is lowered, items leave and memory goes back to the system before this returns, in
    /// steps that hold a shard's lock for a fraction of a millisecond each.
    ///
    /// What may not leave stays: all items under [`NoEviction`](EvictionPolicy::NoEviction), those without a deadline
    /// under a `volatile-` policy, values that guards hold. The new limit then holds for writes, which are refused
    /// where they need memory, and [`memory`](Self::memory) says by how much [`used`](MemoryReport::used) is above
    /// [`limit`](MemoryReport::limit). It comes down as items are removed or end; maintenance tries again every five
    /// seconds.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] below the least that this cache's shards need, or beyond the reserved address
    /// space.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(4 << 20)?;
    /// cache.set_max_memory(2 << 20)?;
    /// assert!(cache.memory().used <= cache.memory().limit);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn set_max_memory(&self, bytes: u64) -> Result<()> {
        self.engine().set_max_memory(bytes)
    }

    /// Changes how much of the limit items may not use. Where that leaves too little for what is stored, items leave as
    /// they do when [the limit is lowered](Self::set_max_memory).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] if too little would be left.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(4 << 20)?;
    /// cache.set_reserved_memory(1 << 20)?;
    /// assert!(cache.set_reserved_memory(4 << 20).is_err());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn set_reserved_memory(&self, bytes: u64) -> Result<()> {
        self.engine().set_reserved_memory(bytes)
    }

    /// How many items at least are looked at for a victim, at present: [`CacheBuilder::samples`].
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::Cache::new(1 << 20)?.samples(), 1);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn samples(&self) -> u32 {
        self.engine().ctx.samples()
    }

    /// Changes how many items at least are looked at for a victim; 0 counts as 1.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.set_samples(50);
    /// assert_eq!(cache.samples(), 50);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn set_samples(&self, items: u32) {
        self.engine().ctx.set_samples(items.max(1));
    }

    /// When slab pages move between classes, at present.
    ///
    /// # Examples
    /// ```
    /// use larder::{Automove, Cache};
    /// assert_eq!(Cache::new(1 << 20)?.automove(), Automove::Always);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn automove(&self) -> Automove {
        self.engine().ctx.automove()
    }

    /// Changes when slab pages move between classes.
    ///
    /// # Examples
    /// ```
    /// use larder::{Automove, Cache};
    /// let cache = Cache::new(1 << 20)?;
    /// cache.set_automove(Automove::Off);
    /// assert_eq!(cache.automove(), Automove::Off);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn set_automove(&self, automove: Automove) {
        self.engine().ctx.set_automove(automove);
        crate::trace::event!(DEBUG, self.engine().ctx, to = ?automove, "automove set");
    }

    /// Moves one slab page from a class to another (numbers as in [`classes`](Self::classes)). Its items are copied
    /// into other pages of their class, or evicted where the policy allows that. False if the class has no page to
    /// give.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for classes that do not exist, [`ErrorKind::NotAllowed`] if the cache was built without
    /// [`slab_reassign`](CacheBuilder::slab_reassign).
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// assert!(!cache.reassign_page(0, 1)?, "an empty cache has no pages");
    /// assert!(cache.reassign_page(0, 1000).is_err());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn reassign_page(&self, from: usize, to: usize) -> Result<bool> {
        self.engine().reassign(from, to)
    }

    /// Does maintenance for up to `budget` of CPU time: sweeps what has ended or was cleared, gives memory back. For
    /// [`Maintenance::Manual`]; harmless otherwise. Automatic snapshots, if the builder was given a catalog (feature
    /// `snapshot`), are taken for as long as is left then.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.run_maintenance(Duration::from_millis(1));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn run_maintenance(&self, budget: Duration) -> Upkeep {
        let (used, done) = self.engine().maintain(budget);
        #[cfg(feature = "snapshot")]
        if let Some(driver) = self.snapshot_driver().filter(|driver| !driver.has_thread()) {
            let is_busy = driver.tick(self, budget.saturating_sub(used));
            return Upkeep { used, done: done && !is_busy };
        }
        Upkeep { used, done }
    }

    /// Where the memory is. Takes each shard's lock once.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.set(b"key", b"value")?;
    /// let memory = cache.memory();
    /// assert_eq!((memory.items, memory.payload_bytes), (1, 8));
    /// assert!(memory.used <= memory.limit);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn memory(&self) -> MemoryReport {
        MemoryReport::of(self.engine())
    }

    /// Everything that is counted. Takes each shard's lock once.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.set(b"k", b"v")?;
    /// cache.contains(b"k");
    /// cache.get(b"k")?;
    /// cache.get(b"absent")?;
    /// let stats = cache.stats();
    /// assert_eq!((stats.gets, stats.hits, stats.misses, stats.sets), (2, 1, 1, 1));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn stats(&self) -> Stats {
        Stats::of(self.engine())
    }

    /// Hits and misses of this namespace alone.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?.namespace(3);
    /// cache.get(b"absent")?;
    /// assert_eq!(cache.namespace_hits(), (0, 1));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn namespace_hits(&self) -> (u64, u64) {
        self.engine().ctx.sessions.sum_in(self.namespace)
    }

    /// What the cache would miss with other amounts of memory; None if it was built without
    /// [`CacheBuilder::miss_ratio_curve`]. Takes each shard's lock a few times.
    ///
    /// # Examples
    /// See [`MissRatioCurve`].
    pub fn miss_ratio_curve(&self) -> Option<MissRatioCurve> {
        self.engine().miss_ratio_curve()
    }

    /// The slab classes, smallest chunks first.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// assert!(cache.classes().iter().all(|class| class.used_chunks == 0));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn classes(&self) -> Vec<ClassStats> {
        ClassStats::of(self.engine())
    }

    /// The shards.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// assert_eq!(cache.shards().iter().map(|shard| shard.items).sum::<u64>(), 0);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn shards(&self) -> Vec<ShardStats> {
        ShardStats::of(self.engine())
    }

    /// Checks every invariant of the data structures, while no other thread uses the cache; for tests of larder itself.
    ///
    /// # Panics
    /// If one does not hold.
    #[doc(hidden)]
    pub fn check_invariants(&self) {
        self.engine().check();
    }
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache")
            .field("name", &self.owner.name)
            .field("namespace", &self.namespace)
            .field("policy", &self.policy())
            .field("memory", &self.memory())
            .finish()
    }
}

const _: fn() = || {
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Cache>();
    let _ = ErrorKind::Os;
};
