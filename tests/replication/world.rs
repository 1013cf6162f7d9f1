//! A small world: one primary and three replicas, on links that are as good or bad as a seed says, and what the
//! primary has held at each position.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use larder::replication::{LinkId, Primary, PrimaryOptions, Replica, ReplicaOptions, StaleReads, least_behind};
use larder::snapshot::SnapshotOptions;
use larder::{Cache, Maintenance, ManualClock, SetOptions};

pub(crate) const START: u64 = 1_700_000_000_000;
const KEYS: u64 = 24;

/// SplitMix64.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// One direction of a connection.
#[derive(Default)]
struct Pipe(Vec<(u64, Vec<u8>)>);

impl Pipe {
    /// In pieces; with faults, some are lost, repeated, changed or late.
    fn put(&mut self, bytes: &[u8], now: u64, is_bad: bool, rng: &mut Rng) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at(rest.len().min(1 + rng.below(8000) as usize));
            rest = tail;
            let mut piece = piece.to_vec();
            let mut at = now + 1;
            if is_bad && rng.percent(2) {
                match rng.below(5) {
                    0 => continue,
                    1 => self.0.push((at, piece.clone())),
                    2 => at += rng.below(300),
                    3 => at += 20_000,
                    _ => {
                        let i = rng.below(piece.len() as u64) as usize;
                        piece[i] ^= 1 << rng.below(8);
                    }
                }
            }
            self.0.push((at, piece));
        }
    }

    fn take(&mut self, now: u64) -> Vec<Vec<u8>> {
        let (due, late) = std::mem::take(&mut self.0).into_iter().partition(|&(at, _)| at <= now);
        self.0 = late;
        let mut due: Vec<(u64, Vec<u8>)> = due;
        due.sort_by_key(|&(at, _)| at);
        due.into_iter().map(|(_, piece)| piece).collect()
    }
}

struct Connection {
    link: LinkId,
    up: Pipe,
    down: Pipe,
}

pub(crate) struct Follower {
    pub(crate) replica: Replica,
    cache: Cache,
    clock: ManualClock,
    skew: i64,
    connection: Option<Connection>,
}

pub(crate) type Contents = BTreeMap<(u8, String), Vec<u8>>;

pub(crate) struct World {
    pub(crate) rng: Rng,
    seed: u64,
    pub(crate) now: u64,
    pub(crate) is_bad: bool,
    pub(crate) primary: Option<Primary>,
    cache: Cache,
    clock: ManualClock,
    /// Bytes of the backlog, and of memory.
    sizes: (u64, u64),
    pub(crate) followers: Vec<Follower>,
    /// What keys without an end had, by history and position.
    held: HashMap<u128, BTreeMap<u64, Contents>>,
    ever: HashSet<(u8, String, Vec<u8>)>,
    pub(crate) full_syncs: u32,
    pub(crate) partial_syncs: u32,
    pub(crate) checks: u64,
    drawn: u64,
}

/// Keys whose values end begin with a t.
fn keys() -> Vec<(u8, String)> {
    (0..KEYS).map(|n| ((n % 2) as u8, format!("{}{n}", if n % 5 == 0 { 't' } else { 'k' }))).collect()
}

fn contents(cache: &Cache) -> Contents {
    let one = |(namespace, key): (u8, String)| {
        let at = cache.namespace(namespace);
        let value = at.peek(key.as_bytes()).expect("memory").map(|value| value.to_vec())?;
        Some(((namespace, key), value))
    };
    keys().into_iter().filter_map(one).collect()
}

/// The keys at which two differ, with the beginnings of what they have there; empty where they are the same.
fn differences(one: &Contents, other: &Contents) -> Vec<String> {
    let keys: BTreeSet<_> = one.keys().chain(other.keys()).collect();
    let short = |value: Option<&Vec<u8>>| {
        value.map(|value| format!("{} ({} bytes)", String::from_utf8_lossy(&value[..value.len().min(8)]), value.len()))
    };
    let differ = keys.into_iter().filter(|key| one.get(key) != other.get(key));
    differ.map(|key| format!("{key:?}: {:?}, {:?}", short(one.get(key)), short(other.get(key)))).collect()
}

fn without_end(mut contents: Contents) -> Contents {
    contents.retain(|(_, key), _| !key.starts_with('t'));
    contents
}

impl World {
    pub(crate) fn new(seed: u64) -> World {
        let mut rng = Rng(seed);
        let sizes = (1 << (10 + rng.below(8)), 4 << 20);
        let clock = ManualClock::new(START);
        let cache = build(&clock, sizes.1, false);
        let mut world = World {
            rng,
            seed,
            now: START,
            is_bad: true,
            primary: None,
            cache: cache.clone(),
            clock,
            sizes,
            followers: Vec::new(),
            held: HashMap::new(),
            ever: HashSet::new(),
            full_syncs: 0,
            partial_syncs: 0,
            checks: 0,
            drawn: 0,
        };
        cache.set(b"k1", b"from the beginning").expect("room");
        world.ever.insert((0, "k1".into(), b"from the beginning".to_vec()));
        world.primary = Some(Primary::new(&cache, world.options()).expect("a primary"));
        world.note();
        for n in 0..3 {
            let follower = world.follower(n);
            world.followers.push(follower);
        }
        world
    }

    fn draw(&mut self) -> u64 {
        self.drawn += 1;
        self.seed << 20 | self.drawn
    }

    fn options(&mut self) -> PrimaryOptions {
        let snapshot = SnapshotOptions::new().writers_wait(Duration::ZERO);
        let seed = self.draw();
        PrimaryOptions::new().seed(seed).backlog(self.sizes.0, 0).timeout_ms(5_000).snapshot(snapshot)
    }

    fn replica_options(&mut self, n: usize) -> ReplicaOptions {
        let stale = if n == 0 { StaleReads::Refuse } else { StaleReads::Serve };
        let seed = self.draw();
        ReplicaOptions::new(format!("r{n}")).seed(seed).timeout_ms(5_000).stale_reads(stale).backlog(self.sizes.0)
    }

    fn follower(&mut self, n: usize) -> Follower {
        let clock = ManualClock::new(self.now);
        let cache = build(&clock, self.sizes.1 + (1 << 20), true);
        let options = self.replica_options(n);
        let replica = Replica::new(&cache, options).expect("room");
        Follower { replica, cache, clock, skew: 0, connection: None }
    }

    /// Remembers what the primary holds where it is now.
    fn note(&mut self) {
        let Some(primary) = &self.primary else { return };
        let all = contents(&self.cache);
        let at = (primary.history(), primary.position());
        for ((namespace, key), value) in &all {
            self.ever.insert((*namespace, key.clone(), value.clone()));
        }
        self.held.entry(at.0).or_default().entry(at.1).or_insert_with(|| without_end(all));
    }

    /// A write, of whatever kind.
    pub(crate) fn write(&mut self) {
        let (cache, rng) = (self.cache.clone(), &mut self.rng);
        let all = keys();
        let (namespace, key) = all[rng.below(KEYS) as usize].clone();
        let at = cache.namespace(namespace);
        let long = rng.percent(5);
        let value = format!("{}-{}", self.drawn, "v".repeat(rng.below(if long { 60_000 } else { 300 }) as usize));
        let value = value.into_bytes();
        self.drawn += 1;
        let ttl = SetOptions::new().ttl(Duration::from_millis(200 + rng.below(8_000)));
        let has_end = key.starts_with('t');
        let key = key.into_bytes();
        let written = match rng.below(12) {
            0 => at.remove(&key).then_some(()).map_or(Ok(()), Ok),
            1 if rng.percent(20) => {
                at.clear();
                Ok(())
            }
            2 => at.touch(&key, Duration::from_secs(3)).map(|_| ()).and(if has_end {
                Ok(())
            } else {
                at.persist(&key);
                Ok(())
            }),
            3 => cache.update(&[&b"k2"[..], b"k4"], |update| {
                update.set(0, &value);
                update.set(1, &value);
            }),
            4 if !has_end => at.append(&key, b"+").map(|_| ()),
            5 => {
                cache.run_maintenance(Duration::from_millis(1));
                Ok(())
            }
            _ if has_end => at.set_with(&key, &value, &ttl).map(|_| ()),
            _ => at.set(&key, &value),
        };
        written.expect("a write");
        self.note();
    }

    /// Some milliseconds pass: bytes move, machines work, some fail.
    pub(crate) fn step(&mut self) {
        self.now += 1 + self.rng.below(40);
        if self.rng.percent(1) {
            self.now += self.rng.below(7_000);
        }
        self.clock.set(self.now);
        for n in 0..self.followers.len() {
            if self.is_bad && self.rng.percent(1) {
                self.followers[n].skew = self.rng.below(20_000) as i64 - 10_000;
            }
            let follower = &self.followers[n];
            follower.clock.set(self.now.saturating_add_signed(if self.is_bad { follower.skew } else { 0 }));
        }
        for n in 0..self.followers.len() {
            self.carry(n);
        }
        if let Some(primary) = &mut self.primary {
            primary.poll(self.now);
        }
        self.note();
    }

    /// One replica's connection, and the replica.
    fn carry(&mut self, n: usize) {
        let is_bad = self.is_bad;
        let (now, rng) = (self.now, &mut self.rng);
        let follower = &mut self.followers[n];
        let local = now.saturating_add_signed(if is_bad { follower.skew } else { 0 });
        if let Some(primary) = &mut self.primary {
            if follower.connection.is_none() && rng.percent(20) {
                let link = primary.connect(now);
                follower.replica.connect(local);
                follower.connection = Some(Connection { link, up: Pipe::default(), down: Pipe::default() });
            }
            if let Some(Connection { link, up, down }) = &mut follower.connection {
                let out = follower.replica.output().to_vec();
                follower.replica.sent(out.len());
                up.put(&out, now, is_bad, rng);
                for piece in up.take(now) {
                    // What is wrong with a link ends it.
                    let _ = primary.receive(*link, &piece, now);
                }
                let out = primary.output(*link).to_vec();
                primary.sent(*link, out.len());
                down.put(&out, now, is_bad, rng);
                let is_open = primary.is_open(*link);
                let pieces = down.take(now);
                for piece in pieces {
                    if follower.replica.receive(&piece, local).is_err() {
                        break;
                    }
                }
                let is_cut = is_bad && rng.percent(1);
                if !is_open || !follower.replica.is_open() || is_cut {
                    primary.disconnect(*link);
                    follower.replica.disconnect();
                    follower.connection = None;
                }
            }
        }
        follower.replica.poll(local);
        self.check(n);
    }

    /// Whatever a replica shows, its primary has held; and what it has applied is what the primary held there.
    fn check(&mut self, n: usize) {
        let follower = &self.followers[n];
        let reader = follower.replica.reader();
        let Ok(cache) = reader.cache() else { return };
        let shown = contents(cache);
        for ((namespace, key), value) in &shown {
            assert!(
                self.ever.contains(&(*namespace, key.clone(), value.clone())),
                "seed {}: replica {n} shows {key}, which never had {} bytes like these",
                self.seed,
                value.len()
            );
        }
        let status = follower.replica.status(self.now);
        let Some(history) = status.history else { return };
        if let (Some(primary), Some(connection)) = (&mut self.primary, &follower.connection)
            && let Some(report) = primary.replicas(self.now).iter().find(|report| report.link == connection.link)
            && report.acknowledged > 0
        {
            let has = (primary.history() == history).then_some(status.position);
            assert!(has >= Some(report.acknowledged), "seed {}: replica {n} has {has:?}: {report:?}", self.seed);
        }
        if let Some(held) = self.held.get(&history).and_then(|held| held.get(&status.position)) {
            let differences = differences(&without_end(shown), held);
            assert!(differences.is_empty(), "seed {}: replica {n} at {}: {differences:#?}", self.seed, status.position);
            self.checks += 1;
        }
    }

    fn cut_all(&mut self) {
        for follower in &mut self.followers {
            follower.connection = None;
            follower.replica.disconnect();
        }
    }

    fn count(&mut self, n: usize) {
        let status = self.followers[n].replica.status(self.now);
        self.full_syncs += status.full_syncs;
        self.partial_syncs += status.partial_syncs;
    }

    /// A replica's machine goes down and comes back with nothing.
    pub(crate) fn crash_replica(&mut self, n: usize) {
        self.count(n);
        if let (Some(primary), Some(connection)) = (&mut self.primary, &self.followers[n].connection) {
            primary.disconnect(connection.link);
        }
        self.followers[n] = self.follower(n);
    }

    /// The primary's machine goes down and comes back with nothing, as the primary.
    pub(crate) fn restart_primary_empty(&mut self) {
        self.cut_all();
        self.primary = None;
        self.cache = build(&self.clock, self.sizes.1, false);
        let options = self.options();
        self.primary = Some(Primary::new(&self.cache, options).expect("a primary"));
        self.note();
    }

    /// The primary goes down, or steps down, and the least lagging replica takes its place. False if none can.
    pub(crate) fn fail_over(&mut self, steps_down: bool) -> bool {
        let all: Vec<_> = self.followers.iter().map(|follower| follower.replica.status(self.now)).collect();
        let Some(n) = least_behind(&all) else { return false };
        self.count(n);
        self.cut_all();
        let old = self.primary.take().expect("a primary");
        let old_options = self.replica_options(n);
        let in_its_place = if steps_down {
            let (cache, clock) = (self.cache.clone(), self.clock.clone());
            let replica = old.demote(old_options).expect("room");
            Follower { replica, cache, clock, skew: 0, connection: None }
        } else {
            drop(old);
            self.follower(n)
        };
        let chosen = std::mem::replace(&mut self.followers[n], in_its_place);
        let (from, end) = (all[n].history.expect("data"), all[n].position);
        (self.cache, self.clock) = (chosen.cache, chosen.clock);
        self.clock.set(self.now);
        let options = self.options();
        let primary = chosen.replica.promote(options).expect("promotion");
        let before = self.held.get(&from).map(|held| held.range(..=end)).into_iter().flatten();
        let before: BTreeMap<u64, Contents> = before.map(|(at, held)| (*at, held.clone())).collect();
        self.held.insert(primary.history(), before);
        self.primary = Some(primary);
        self.note();
        true
    }

    /// Everything is well from now on: all come to what the primary has.
    pub(crate) fn converge(&mut self) {
        self.is_bad = false;
        self.cut_all();
        for round in 0.. {
            let (seed, is_late) = (self.seed, round == 20_000);
            assert!(!is_late, "seed {seed}: not converged: {}", self.status());
            self.step();
            self.accept_empty();
            let primary = self.primary.as_ref().expect("a primary");
            let (history, position) = (primary.history(), primary.position());
            let is_there = |follower: &Follower| {
                let status = follower.replica.status(self.now);
                status.is_in_sync && status.history == Some(history) && status.position == position
            };
            if self.followers.iter().all(is_there) && primary.acknowledged(position) == self.followers.len() {
                break;
            }
        }
        let held = contents(&self.cache);
        for n in 0..self.followers.len() {
            self.followers[n].clock.set(self.now);
            let differences = differences(&contents(&self.followers[n].cache), &held);
            assert!(differences.is_empty(), "seed {}: replica {n} at the end: {differences:#?}", self.seed);
            self.count(n);
        }
    }

    /// What the replicas hold, those that hold anything.
    pub(crate) fn kept(&self) -> Vec<(usize, Contents)> {
        let have = self.followers.iter().enumerate().filter(|(_, follower)| !follower.cache.is_empty());
        have.map(|(n, follower)| (n, without_end(contents(&follower.cache)))).collect()
    }

    /// They hold it still.
    pub(crate) fn check_kept(&self, before: &[(usize, Contents)]) {
        for (n, held) in before {
            let differences = differences(&without_end(contents(&self.followers[*n].cache)), held);
            assert!(differences.is_empty(), "seed {}: replica {n} was emptied: {differences:#?}", self.seed);
        }
    }

    /// Those that keep their data from a primary whose data go back to an empty cache are told to give them up.
    pub(crate) fn accept_empty(&mut self) {
        for follower in &mut self.followers {
            if follower.replica.status(self.now).keeps_data {
                follower.replica.accept_empty();
            }
        }
    }

    pub(crate) fn status(&mut self) -> String {
        let all: Vec<_> = self.followers.iter().map(|follower| follower.replica.status(self.now)).collect();
        let reports = self.primary.as_mut().map(|primary| primary.replicas(self.now));
        format!("{all:#?} {reports:#?}")
    }
}

fn build(clock: &ManualClock, memory: u64, follower: bool) -> Cache {
    let builder = Cache::builder().max_memory(memory).clock(clock.clone()).seed(1).shards(2).follower(follower);
    builder.maintenance(Maintenance::Manual).build().expect("a cache")
}
