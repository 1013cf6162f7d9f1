//! Plays a case on a cache and on its twin, and holds the one against the other.
//!
//! The rules:
//! 1. What the twin does not have is a miss. What is returned is exactly what the twin has.
//! 2. What the twin has may be a miss only if the cache has counted an eviction, or turned a newcomer away, for which
//!    no miss was seen yet; under `noeviction` it never may; under a `volatile` policy only if the item had an end.
//! 3. No more memory is in use than there is room, but for [`SLACK`] and [`SLACK_PER_SHARD`].
//! 4. A listener is told of every item that leaves, with its cause, as often as the cache has counted.
//! 5. Every so often, and at the end, every invariant of the data structures holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use larder::{Cache, ErrorKind, EvictionPolicy, Guard, Maintenance, ManualClock, RemovalCause, Reservation};

use crate::ops::{Key, NAMESPACES, Op, Options, Setup};
use crate::twin::{Item, Twin};

/// What may be in use above the room: a thread's session and each shard's own tables are charged whether there is room
/// or not, because they cannot wait; the next reclaim makes up for them, which under policies that may refuse can be
/// never.
const SLACK: u64 = 16 << 10;
const SLACK_PER_SHARD: u64 = 8 << 10;
/// The longest value that can be stored.
pub(crate) const MAX_ITEM: usize = 20_000;
/// The cache's time at the start.
const START_MS: u64 = 1_700_000_000_000;
/// Operations between two checks of the invariants.
const CHECK_EVERY: usize = 16;

/// A reservation that is being filled.
pub(crate) struct Pending {
    pub(crate) reservation: Reservation,
    pub(crate) key: Key,
    pub(crate) value: Vec<u8>,
    pub(crate) written: usize,
    pub(crate) options: Options,
}

/// The state of a case under way.
pub(crate) struct Run<'c> {
    /// A handle for each namespace.
    pub(crate) handles: &'c [Cache],
    pub(crate) clock: ManualClock,
    pub(crate) twin: Twin,
    /// Guards that are held, and what they should show.
    pub(crate) guards: Vec<(Guard<'c>, Vec<u8>)>,
    pub(crate) pending: Vec<Pending>,
    /// A scan under way: namespace, cursor, the keys that were there all the time, those that it has returned.
    pub(crate) scan: Option<Scan>,
    pub(crate) policy: EvictionPolicy,
    /// No policy so far could evict what has no end.
    pub(crate) only_volatile: bool,
    /// Misses that were put down to evictions.
    pub(crate) noticed: u64,
    /// Reads that count, and have found a value, or none.
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    /// What may be in use: the room, or what was in use when the room was made smaller than that and nothing could
    /// leave.
    pub(crate) ceiling: u64,
    slack: u64,
    told: Arc<Told>,
}

/// What the listener was told: how often, by the causes' order.
#[derive(Debug, Default)]
struct Told([AtomicU64; RemovalCause::ALL.len()]);

impl Told {
    fn place(cause: RemovalCause) -> usize {
        RemovalCause::ALL.iter().position(|&one| one == cause).expect("a cause that is known")
    }

    fn count(&self, cause: RemovalCause) {
        self.0[Told::place(cause)].fetch_add(1, SeqCst);
    }

    fn of(&self, cause: RemovalCause) -> u64 {
        self.0[Told::place(cause)].load(SeqCst)
    }
}

/// A scan under way.
pub(crate) struct Scan {
    pub(crate) space: usize,
    pub(crate) cursor: larder::Cursor,
    pub(crate) throughout: Vec<Key>,
    pub(crate) returned: Vec<Key>,
}

/// Builds the cache of a case and plays it.
pub(crate) fn play(policy: EvictionPolicy, setup: &Setup, ops: &[Op]) {
    let clock = ManualClock::new(START_MS);
    let mut builder = Cache::builder()
        .max_memory(setup.max_memory)
        .address_space(2 << 20)
        .page_size(1024)
        .expiry_lag(std::time::Duration::ZERO)
        .chunk_size(32)
        .shards(setup.shards)
        .policy(policy)
        .objective(setup.objective)
        .max_item_size(MAX_ITEM)
        .automove(setup.automove)
        .tokens(setup.tokens)
        .seed(setup.seed)
        .clock(clock.clone())
        .maintenance(Maintenance::Manual);
    if let Some(ttl) = setup.ttl_ms {
        builder = builder.time_to_live(Duration::from_millis(ttl));
    }
    if let Some(idle) = setup.idle_ms {
        builder = builder.time_to_idle(Duration::from_millis(idle));
    }
    let told = Arc::new(Told::default());
    if setup.listens {
        let theirs = Arc::clone(&told);
        builder = builder.eviction_listener(move |removal| theirs.count(removal.cause));
    }
    let cache = builder.build().expect("a good setup");
    let handles: Vec<Cache> = NAMESPACES.iter().map(|&n| cache.namespace(n)).collect();
    let mut run = Run {
        handles: &handles,
        clock,
        twin: Twin::new(START_MS, setup.ttl_ms, setup.idle_ms, setup.tokens),
        guards: Vec::new(),
        pending: Vec::new(),
        scan: None,
        policy,
        only_volatile: may_refuse(policy),
        noticed: 0,
        hits: 0,
        misses: 0,
        ceiling: 0,
        slack: SLACK + SLACK_PER_SHARD * setup.shards as u64,
        told,
    };
    run.new_ceiling();
    for (i, op) in ops.iter().enumerate() {
        run.step(op);
        run.check_memory();
        if i % CHECK_EVERY == 0 {
            cache.check_invariants();
        }
    }
    run.finish();
    if setup.listens {
        run.check_told();
    }
}

fn may_refuse(policy: EvictionPolicy) -> bool {
    policy == EvictionPolicy::NoEviction || policy.is_volatile()
}

impl<'c> Run<'c> {
    pub(crate) fn cache(&self, space: usize) -> &'c Cache {
        &self.handles[space]
    }

    fn step(&mut self, op: &Op) {
        let evictions = self.cache(0).stats().evictions;
        self.apply(op);
        if self.policy == EvictionPolicy::NoEviction {
            assert_eq!(self.cache(0).stats().evictions, evictions, "an eviction under noeviction");
        }
        self.follow_scan();
    }

    /// Keys that left are not there throughout the scan.
    fn follow_scan(&mut self) {
        if let Some(scan) = &mut self.scan {
            scan.throughout.retain(|key| self.twin.items.contains_key(key));
        }
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Get(_) | Op::Peek(_) | Op::Read(_) | Op::GetInto(_) | Op::GetMany(..) => self.read(op),
            Op::Contains(_) | Op::Metadata(_) | Op::GetWithToken(_) | Op::GetAndTouch(..) => self.read(op),
            Op::Hold(key) => self.hold(*key),
            Op::Release(which) => self.release(*which),
            Op::Scan(..) | Op::ScanStep(..) | Op::Iter(_) | Op::Retain(..) => self.walk(op),
            Op::Set(..) | Op::SetWith(..) | Op::Add(..) | Op::Replace(..) => self.store(op),
            Op::Swap(..) | Op::RemoveIf(..) | Op::Burst { .. } => self.store(op),
            Op::Append(..) | Op::Prepend(..) | Op::Increment(..) | Op::Decrement(..) | Op::Count(..) => self.change(op),
            Op::Touch(..) | Op::TouchUntil(..) | Op::Persist(_) | Op::Remove(_) | Op::Take(_) => self.change(op),
            Op::Update(effects) => self.update(effects),
            Op::Reserve(..) | Op::Write(..) | Op::Publish(_) | Op::Abandon(_) => self.reservation(op),
            _ => self.control(op),
        }
    }

    /// Losses that the cache has counted and that were not noticed yet.
    pub(crate) fn unnoticed(&self) -> u64 {
        let stats = self.cache(0).stats();
        let lost = stats.evictions + stats.turned_away;
        lost.checked_sub(self.noticed).expect("more was lost than the cache has counted")
    }

    /// The cache says that a key is there, or is not: rules 1 and 2. Returns whether it is.
    pub(crate) fn observe(&mut self, key: Key, found: bool) -> bool {
        match (self.twin.items.get(&key), found) {
            (None, true) => panic!("{key:?} is there, and should not be"),
            (Some(item), false) => {
                let has_end = item.has_end();
                self.lose(key, has_end);
            }
            _ => {}
        }
        found
    }

    fn lose(&mut self, key: Key, has_end: bool) {
        assert!(self.unnoticed() > 0, "{key:?} is gone, and nothing was evicted");
        assert!(has_end || !self.only_volatile, "{key:?} is gone, and has no end");
        self.noticed += 1;
        self.twin.items.remove(&key);
    }

    /// The cache says that the value of a key is this, or that there is none.
    pub(crate) fn observe_value(&mut self, key: Key, value: Option<&[u8]>) -> bool {
        let found = self.observe(key, value.is_some());
        if let (Some(value), Some(item)) = (value, self.twin.items.get(&key)) {
            assert!(value == item.value, "{key:?} has {value:?} instead of {:?}", item.value);
        }
        found
    }

    /// A read that counts.
    pub(crate) fn count_get(&mut self, key: Key, found: bool) {
        if found {
            self.hits += 1;
            self.twin.used(key);
        } else {
            self.misses += 1;
        }
    }

    /// A write of a value of this length was refused: whether that may be. Nothing has changed then.
    pub(crate) fn check_refusal(&self, error: &larder::Error, len: usize) {
        match error.kind() {
            ErrorKind::OutOfMemory => {
                let pinned = !self.guards.is_empty() || !self.pending.is_empty();
                // Tables of several shards can take nearly all of a limit as low as these.
                let memory = self.cache(0).memory();
                let is_crowded = memory.index + memory.side + 8192 + 2 * len as u64 > memory.limit - memory.reserved;
                assert!(
                    may_refuse(self.policy) || pinned || is_crowded || len > 4096,
                    "{} refuses {len} bytes: {error}",
                    self.policy
                );
            }
            ErrorKind::ItemTooLarge => assert!(len > 4096, "{len} bytes are too large: {error}"),
            _ => panic!("unexpected: {error}"),
        }
    }

    /// The twin stores what the cache has stored. What has ended already is not there.
    pub(crate) fn put(&mut self, key: Key, item: Item) {
        self.twin.items.insert(key, item);
        self.twin.settle();
    }

    /// Rule 3.
    fn check_memory(&self) {
        let memory = self.cache(0).memory();
        assert!(
            memory.used <= self.ceiling + self.slack,
            "{} in use, {} allowed: {memory:?}",
            memory.used,
            self.ceiling
        );
    }

    /// After the room or the policy has changed.
    pub(crate) fn new_ceiling(&mut self) {
        let memory = self.cache(0).memory();
        let room = memory.limit - memory.reserved;
        let can_leave = !may_refuse(self.policy) && self.guards.is_empty() && self.pending.is_empty();
        assert!(
            !can_leave || memory.used <= room + self.slack,
            "{} in use after a change to {room}: {memory:?}",
            memory.used
        );
        self.ceiling = room.max(memory.used);
    }

    /// The end of a case: everything that is there is right, everything is counted, and all memory comes back.
    fn finish(&mut self) {
        self.guards.drain(..).for_each(|(guard, value)| assert!(*guard == value[..], "a guard's value has changed"));
        self.pending.clear();
        let keys: Vec<Key> = self.twin.items.keys().copied().collect();
        for key in keys {
            let found = self.cache(key.space).read(&key.bytes(), <[u8]>::to_vec);
            self.observe_value(key, found.as_deref());
            self.count_get(key, found.is_some());
        }
        // What has ended counts until it is swept, and pages are swept once a second at most.
        for _ in 0..3 {
            self.tick(1001);
            self.maintain_fully();
        }
        // Maintenance evicts when tables have grown beyond the room.
        let keys: Vec<Key> = self.twin.items.keys().copied().collect();
        for key in keys {
            let found = self.cache(key.space).contains(&key.bytes());
            self.observe(key, found);
        }
        for (space, cache) in self.handles.iter().enumerate() {
            let there = self.twin.items.keys().filter(|key| key.space == space).count();
            assert_eq!(cache.len(), there as u64, "number of items in namespace {}", NAMESPACES[space]);
        }
        let memory = self.cache(0).memory();
        let payload: usize = self.twin.items.iter().map(|(key, item)| key.bytes().len() + item.value.len()).sum();
        assert_eq!((memory.items, memory.payload_bytes), (self.twin.items.len() as u64, payload as u64));
        let stats = self.cache(0).stats();
        assert_eq!((stats.hits, stats.misses), (self.hits, self.misses), "hits and misses");
        self.cache(0).check_invariants();
        self.cache(0).clear_all();
        self.maintain_fully();
        let memory = self.cache(0).memory();
        assert_eq!((memory.items, memory.chunk_bytes, memory.payload_bytes), (0, 0, 0), "{memory:?}");
        self.cache(0).check_invariants();
    }

    /// Rule 4, when everything has left.
    fn check_told(&self) {
        let (stats, told) = (self.cache(0).stats(), &self.told);
        assert_eq!(told.of(RemovalCause::Evicted), stats.evictions);
        assert_eq!(told.of(RemovalCause::Expired), stats.expired);
        assert_eq!(told.of(RemovalCause::Flushed), stats.flushed_items);
        let all: u64 = RemovalCause::ALL.iter().map(|&cause| told.of(cause)).sum();
        assert!(all <= stats.stored, "{told:?}: {} were stored", stats.stored);
    }

    /// Maintenance until there is nothing left to do, or nothing that can be done: under policies that may refuse,
    /// more can stay in use than there is room.
    fn maintain_fully(&self) {
        for _ in 0..10 {
            if self.cache(0).run_maintenance(Duration::from_secs(1)).done {
                break;
            }
        }
    }

    /// Moves the time of both.
    pub(crate) fn tick(&mut self, ms: u64) {
        self.clock.advance(Duration::from_millis(ms));
        self.twin.advance(ms);
    }
}
