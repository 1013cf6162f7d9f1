//! The side that is written to: it sends what changes to its replicas, and knows how far they are.
//!
//! Invariants:
//! 1. Positions are the numbers of effects. A history is a line of effects that began at one moment; a promoted replica
//!    begins another, of the same origin, and knows up to which position the one before is the same.
//! 2. One snapshot is taken at a time. Whatever is in it has a number below the position that it names, and all effects
//!    from there on are sent after it, or the link is given up.
//! 3. No link has more output than one piece, one block of a snapshot, or one record beyond that; all of it is on the
//!    cache's ledger.

use std::sync::Arc;

use super::link::{Link, LinkId, ReplicaReport, Stage};
use super::message::{Message, Refusal};
use super::options::{PrimaryOptions, ReplicaOptions};
use super::replica::Replica;
use super::waiting::{Progress, ReplicaWait};
use super::{Numbers, Origin, items};
use crate::api::Cache;
use crate::error::{Error, ErrorKind, Result};
use crate::events::EngineEventKind;
use crate::oplog::{Backlog, ReplicationLog};

/// Connections whose replicas have not greeted yet: further ones are not taken.
const MOST_STRANGERS: usize = 16;

/// What a promoted replica knows of the history that it followed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Former {
    pub(super) history: u128,
    pub(super) end: u64,
}

/// What a greeting says, and what is answered.
struct Greeting {
    link: u64,
    history: u128,
    position: u64,
    is_external: bool,
    name: String,
}

/// A cache that replicas follow.
///
/// The program calls [`connect`](Self::connect) for each connection, [`receive`](Self::receive) with what comes in,
/// [`poll`](Self::poll) when it has time, at least a few times a second, and sends [`output`](Self::output). Times are
/// milliseconds of a clock that goes on, whatever it begins at. Dropping it ends replication; the cache goes on.
///
/// # Examples
/// See [the module](super).
#[derive(Debug)]
pub struct Primary {
    cache: Cache,
    options: PrimaryOptions,
    backlog: Arc<Backlog>,
    history: u128,
    former: Option<Former>,
    origin: Origin,
    links: Vec<Link>,
    next_link: u64,
    waiting: Arc<Progress>,
}

impl Primary {
    /// Makes a cache a primary: from now on its effects are kept for replicas, beside whatever logs it has.
    ///
    /// # Errors
    /// [`ErrorKind::NotAllowed`] if it is a follower: a replica has no replicas, until it is
    /// [promoted](Replica::promote). [`ErrorKind::InvalidConfig`] for a least number of replicas above the most.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, replication::{Primary, PrimaryOptions}};
    /// let follower = Cache::builder().follower(true).build()?;
    /// assert!(Primary::new(&follower, PrimaryOptions::new()).is_err());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn new(cache: &Cache, options: PrimaryOptions) -> Result<Primary> {
        if cache.is_follower() {
            return Err(Error::new(ErrorKind::NotAllowed, "a replica has no replicas of its own: promote it first"));
        }
        options.check()?;
        let backlog = Arc::new(Backlog::new(options.backlog_bytes).time_to_live_ms(options.backlog_ttl_ms));
        backlog.charge_to(Arc::clone(&cache.engine().ctx.arena));
        let log: Arc<dyn ReplicationLog> = Arc::clone(&backlog) as Arc<dyn ReplicationLog>;
        cache.engine().ctx.effects.attach(log)?;
        Ok(Self::with(cache, options, backlog, None))
    }

    /// With a backlog that is attached already.
    pub(super) fn with(
        cache: &Cache,
        options: PrimaryOptions,
        backlog: Arc<Backlog>,
        former: Option<Former>,
    ) -> Primary {
        let history = Numbers::new(options.seed).history();
        let mut primary = Primary {
            cache: cache.namespace(0),
            waiting: Arc::default(),
            backlog,
            history,
            origin: Origin { history, began_empty: items(cache) == 0 },
            former,
            links: Vec::new(),
            next_link: 1,
            options,
        };
        primary.judge_writes(0);
        primary
    }

    /// Other settings from now on: all but where history numbers come from. Replicas that are more than may follow now
    /// stay.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] as [`new`](Self::new); they are as they were then.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, ErrorKind, replication::{Primary, PrimaryOptions}};
    /// let cache = Cache::new(1 << 20)?;
    /// let mut primary = Primary::new(&cache, PrimaryOptions::new())?;
    /// cache.set(b"k", b"v")?;
    /// primary.set_options(PrimaryOptions::new().min_replicas(1, 10_000), 0)?;
    /// assert_eq!(cache.set(b"k", b"v").unwrap_err().kind(), ErrorKind::TooFewReplicas);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn set_options(&mut self, options: PrimaryOptions, now_ms: u64) -> Result<()> {
        options.check()?;
        self.backlog.set_limits(options.backlog_bytes, options.backlog_ttl_ms);
        self.options = options;
        self.judge_writes(now_ms);
        Ok(())
    }

    /// It was a replica, whose data have an origin already.
    pub(super) fn set_origin(&mut self, origin: Origin) {
        self.origin = origin;
    }

    /// A connection was accepted. Its replica has to greet first. Where many have not done so yet, this one is
    /// [not open](Self::is_open) from the beginning.
    ///
    /// # Examples
    /// See [the module](super).
    pub fn connect(&mut self, now_ms: u64) -> LinkId {
        let id = LinkId(self.next_link);
        self.next_link += 1;
        let strangers = self.links.iter().filter(|link| !link.is_greeted()).count();
        // Without memory for a link it is as if it had broken at once.
        if strangers < MOST_STRANGERS
            && let Ok(link) = Link::new(&self.cache, id, now_ms)
        {
            self.links.push(link);
        }
        id
    }

    /// The connection has ended, or is to end.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, replication::{Primary, PrimaryOptions}};
    /// let mut primary = Primary::new(&Cache::new(1 << 20)?, PrimaryOptions::new())?;
    /// let link = primary.connect(0);
    /// primary.disconnect(link);
    /// assert!(!primary.is_open(link));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn disconnect(&mut self, link: LinkId) {
        self.links.retain(|other| other.id != link);
    }

    /// Whether the connection is to be kept. One that is not may have [output](Self::output) yet, which says why.
    ///
    /// # Examples
    /// See [`disconnect`](Self::disconnect).
    pub fn is_open(&self, link: LinkId) -> bool {
        self.links.iter().any(|other| other.id == link && !other.is_closed())
    }

    /// Bytes for the replica. Empty for a link that is not there.
    ///
    /// # Examples
    /// See [the module](super).
    pub fn output(&self, link: LinkId) -> &[u8] {
        self.links.iter().find(|other| other.id == link).map_or(&[], Link::output)
    }

    /// The transport has taken so many bytes of the [output](Self::output).
    ///
    /// # Examples
    /// See [the module](super).
    pub fn sent(&mut self, link: LinkId, len: usize) {
        if let Some(link) = self.links.iter_mut().find(|other| other.id == link) {
            link.sent(len);
        }
    }

    /// Takes bytes that came from a replica.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] if they are not those of the protocol; [`ErrorKind::NotAllowed`] if they come out of
    /// turn, or all places are taken; [`ErrorKind::OutOfMemory`] if there is no room for them. The link is closed
    /// then; the primary goes on.
    ///
    /// # Examples
    /// See [the module](super).
    pub fn receive(&mut self, link: LinkId, bytes: &[u8], now_ms: u64) -> Result<()> {
        let Some(at) = self.links.iter().position(|other| other.id == link && !other.is_closed()) else {
            return Ok(());
        };
        if !bytes.is_empty() {
            self.links[at].heard(now_ms);
        }
        let received = self.take_in(at, bytes, now_ms);
        if received.is_err() {
            self.links[at].close();
        }
        self.judge_writes(now_ms);
        received
    }

    fn take_in(&mut self, at: usize, bytes: &[u8], now_ms: u64) -> Result<()> {
        let link = &mut self.links[at];
        link.decoder.push(bytes);
        link.settle()?;
        let mut greeting = None;
        while let Some(message) = link.decoder.next()? {
            match (&link.stage, message) {
                (Stage::Greeting, Message::Hello { history, position, is_external, name }) if greeting.is_none() => {
                    let name = name.to_owned();
                    greeting = Some(Greeting { link: 0, history, position, is_external, name });
                }
                (Stage::Deciding, Message::Proceed) => link.stage = Stage::Waiting { not_before_ms: now_ms },
                (Stage::Streaming { .. }, Message::Ack { position, unix_ms }) => link.acknowledge(position, unix_ms),
                // Said before it knew what it was in for.
                (Stage::Deciding | Stage::Waiting { .. } | Stage::Sending(_), Message::Ack { .. }) => {}
                (_, Message::Refused(refusal)) => {
                    return Err(Error::new(ErrorKind::NotAllowed, format!("the replica says: {}", refusal.text())));
                }
                _ => return Err(Error::new(ErrorKind::NotAllowed, Refusal::OutOfTurn.text())),
            }
        }
        match greeting {
            Some(greeting) => {
                let link = link.decoder.link().unwrap_or_default();
                self.greet(at, Greeting { link, ..greeting }, now_ms)
            }
            None => Ok(()),
        }
    }

    /// Answers a greeting: partial or full.
    fn greet(&mut self, at: usize, greeting: Greeting, now_ms: u64) -> Result<()> {
        let Greeting { link: number, history, position, is_external, name } = greeting;
        // It has become one without having been demoted.
        if self.cache.is_follower() {
            self.links[at].begin(name, is_external, number);
            self.links[at].put(&Message::Refused(Refusal::IsReplica));
            return Err(Error::new(ErrorKind::NotAllowed, Refusal::IsReplica.text()));
        }
        // A replica that comes again has lost its other link, whether that is known here or not.
        self.links.iter_mut().filter(|other| other.is_greeted() && other.name == name).for_each(Link::close);
        self.links[at].begin(name, is_external, number);
        if self.links.iter().filter(|link| link.is_greeted()).count() >= self.options.max_replicas {
            self.links[at].put(&Message::Refused(Refusal::TooManyReplicas));
            return Err(Error::new(ErrorKind::NotAllowed, Refusal::TooManyReplicas.text()));
        }
        // A log that is in trouble has what it has.
        let _ = self.cache.sync_log();
        let next = self.position();
        let is_full = !(self.knows(history, position) && self.has_records_from(position));
        let welcome = Message::Welcome {
            is_full,
            began_empty: self.origin.began_empty,
            may_empty: self.options.may_empty,
            history: self.history,
            origin: self.origin.history,
            position: if is_full { next } else { position },
        };
        let link = &mut self.links[at];
        link.read_from(&self.backlog);
        link.put(&welcome);
        link.stage = if is_full { Stage::Deciding } else { Stage::Streaming { from: position, next: position } };
        link.put_ping(next, self.cache.now_ms(), now_ms);
        link.settle()
    }

    /// Whether what a replica has up to this position is what this primary had.
    fn knows(&self, history: u128, position: u64) -> bool {
        history == self.history && position <= self.position()
            || self.former.is_some_and(|former| former.history == history && position <= former.end)
    }

    fn has_records_from(&self, position: u64) -> bool {
        let has = self.backlog.positions();
        position == self.position() || (has.next > position && has.oldest <= position)
    }

    /// Does what there is to be done: time-outs, pings, output. True if there is more as soon as output was sent.
    ///
    /// # Examples
    /// See [the module](super).
    pub fn poll(&mut self, now_ms: u64) -> bool {
        let (timeout, unix_ms) = (self.options.timeout_ms, self.cache.now_ms());
        let _ = self.cache.sync_log();
        let position = self.position();
        let is_follower = self.cache.is_follower();
        for at in 0..self.links.len() {
            if is_follower && self.links[at].is_greeted() {
                self.links[at].put(&Message::Refused(Refusal::IsReplica));
                self.lose(at, Refusal::IsReplica.text());
            } else if self.links[at].silent_ms(now_ms) >= timeout {
                self.lose(at, &format!("nothing came from it in {timeout} ms"));
            }
        }
        // What a closed one has to say is kept for as long as others may be silent.
        self.links
            .retain_mut(|link| !link.is_closed() || (!link.output().is_empty() && link.silent_ms(now_ms) < timeout));
        self.begin_snapshot(now_ms);
        let mut more = false;
        for at in 0..self.links.len() {
            self.links[at].ping(position, unix_ms, now_ms);
            let filled = self.fill(at, now_ms).and_then(|filled| self.links[at].settle().map(|()| filled));
            match filled {
                Ok(filled) => more |= filled,
                Err(error) => self.lose(at, &error.to_string()),
            }
        }
        self.judge_writes(now_ms);
        more
    }

    /// Gives a link up, and tells of it if it was a replica's.
    fn lose(&mut self, at: usize, why: &str) {
        let link = &mut self.links[at];
        let was_greeted = link.is_greeted();
        link.close();
        if was_greeted {
            let text = format!("Replica {} has to connect anew: {why}", link.name);
            self.cache.emit(EngineEventKind::ReplicaLost, &text);
        }
    }

    /// Begins a snapshot for a replica that waits for one, if none is under way.
    fn begin_snapshot(&mut self, now_ms: u64) {
        if self.links.iter().any(|link| matches!(link.stage, Stage::Sending(_))) {
            return;
        }
        let waits =
            |link: &&mut Link| matches!(link.stage, Stage::Waiting { not_before_ms } if not_before_ms <= now_ms);
        let Some(link) = self.links.iter_mut().find(waits) else { return };
        match self.cache.begin_snapshot(&self.options.snapshot) {
            Ok(run) => {
                let position = run.log_position();
                link.begin_sending(run, position);
                // Clears that are planned are in no snapshot.
                self.cache.engine().repeat_plans();
            }
            // One of the program's own: it passes.
            Err(error) if error.kind() == ErrorKind::NotAllowed => {
                link.stage = Stage::Waiting { not_before_ms: now_ms.saturating_add(100) };
            }
            Err(error) => link.fail_sync(&error, now_ms),
        }
    }

    /// Makes output for a link. True if there is more to come.
    fn fill(&mut self, at: usize, now_ms: u64) -> Result<bool> {
        // Those that are numbered and were not taken yet come later.
        let taken = self.backlog.positions().next;
        let link = &mut self.links[at];
        if !link.wants_more() {
            return Ok(!link.is_closed());
        }
        match link.stage {
            Stage::Sending(_) => {
                if let Err(error) = link.send_more(now_ms) {
                    let text = format!("Snapshot for replica {} failed: {error}", link.name);
                    self.cache.emit(EngineEventKind::SnapshotFailed, &text);
                }
                Ok(true)
            }
            Stage::Streaming { from, next } if next < taken || link.has_records() => {
                let read = link.put_effects(&self.backlog, next)?;
                link.stage = Stage::Streaming { from, next: read };
                Ok(read < taken || link.has_records())
            }
            _ => Ok(false),
        }
    }

    /// Refuses writes to the cache, or lets them in, as the replicas are.
    fn judge_writes(&mut self, now_ms: u64) {
        let least = self.options.min_replicas;
        let too_few = least > 0 && self.options.max_lag_ms > 0 && self.good_replicas(now_ms) < least;
        self.cache.engine().ctx.effects.set_too_few_replicas(too_few);
        self.waiting.tell(self.links.iter().filter_map(Link::has_applied));
    }

    /// How many replicas are in sync and were heard of in the last
    /// [`max_lag_ms`](PrimaryOptions::min_replicas) milliseconds.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, ErrorKind, replication::{Primary, PrimaryOptions}};
    /// let cache = Cache::new(1 << 20)?;
    /// let mut primary = Primary::new(&cache, PrimaryOptions::new().min_replicas(1, 10_000))?;
    /// assert_eq!(primary.good_replicas(0), 0);
    /// assert_eq!(cache.set(b"k", b"v").unwrap_err().kind(), ErrorKind::TooFewReplicas);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn good_replicas(&mut self, now_ms: u64) -> usize {
        let most = self.options.max_lag_ms;
        let links = self.links.iter_mut().filter(|link| link.is_online);
        links.filter_map(|link| (link.silent_ms(now_ms) <= most).then_some(())).count()
    }

    /// Number of the next effect: all before it are in the cache. A program that waits for replicas notes it after a
    /// write, and asks for [`acknowledged`](Self::acknowledged), or has a [`ReplicaWait`] wait.
    ///
    /// # Examples
    /// See [`acknowledged`](Self::acknowledged).
    pub fn position(&self) -> u64 {
        self.cache.engine().ctx.effects.next()
    }

    /// How many replicas have applied all effects before this position.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, replication::{Primary, PrimaryOptions}};
    /// let cache = Cache::new(1 << 20)?;
    /// let primary = Primary::new(&cache, PrimaryOptions::new())?;
    /// cache.set(b"k", b"v")?;
    /// assert_eq!(primary.acknowledged(primary.position()), 0);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn acknowledged(&self, position: u64) -> usize {
        self.links.iter().filter_map(Link::has_applied).filter(|&has| has >= position).count()
    }

    /// For writers, in whatever threads, that wait until replicas have what they wrote (WAIT).
    ///
    /// # Examples
    /// See [`ReplicaWait`].
    pub fn replica_wait(&self) -> ReplicaWait {
        ReplicaWait::new(&self.cache, &self.waiting)
    }

    /// What is known of the replicas.
    ///
    /// # Examples
    /// See [`ReplicaReport`].
    pub fn replicas(&mut self, now_ms: u64) -> Vec<ReplicaReport> {
        let (position, unix_ms) = (self.position(), self.cache.now_ms());
        let open = self.links.iter_mut().filter(|link| !link.is_closed());
        open.map(|link| link.report(position, unix_ms, now_ms)).collect()
    }

    /// Whether a replica follows that may take this one's place.
    pub(super) fn has_active_replica(&self) -> bool {
        self.links.iter().any(|link| link.is_online && !link.is_external)
    }

    /// The number of this history.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, replication::{Primary, PrimaryOptions}};
    /// let (one, other) = (Cache::new(1 << 20)?, Cache::new(1 << 20)?);
    /// let (one, other) = (Primary::new(&one, PrimaryOptions::new())?, Primary::new(&other, PrimaryOptions::new())?);
    /// assert_ne!(one.history(), other.history());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn history(&self) -> u128 {
        self.history
    }

    /// The cache.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, replication::{Primary, PrimaryOptions}};
    /// let primary = Primary::new(&Cache::new(1 << 20)?, PrimaryOptions::new())?;
    /// primary.cache().set(b"k", b"v")?;
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Makes an old primary a replica: writes to it are refused from now on. It begins with a full sync, because writes
    /// of other threads may still have been under way; until then it has its old data.
    ///
    /// # Errors
    /// As [`Replica::new`].
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, replication::{Primary, PrimaryOptions, ReplicaOptions}};
    /// let cache = Cache::new(1 << 20)?;
    /// let primary = Primary::new(&cache, PrimaryOptions::new())?;
    /// let replica = primary.demote(ReplicaOptions::new("old"))?;
    /// assert!(cache.is_follower() && replica.position().is_none());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn demote(self, options: ReplicaOptions) -> Result<Replica> {
        let (cache, origin) = (self.cache.clone(), self.origin);
        cache.set_follower(true);
        drop(self);
        Ok(Replica::new(&cache, options)?.stepped_down(origin))
    }
}

impl Drop for Primary {
    fn drop(&mut self) {
        let effects = &self.cache.engine().ctx.effects;
        effects.set_too_few_replicas(false);
        self.waiting.end();
        let log: Arc<dyn ReplicationLog> = Arc::clone(&self.backlog) as Arc<dyn ReplicationLog>;
        // What was wrong with another log is that one's business.
        let _ = effects.detach(&log, self.cache.now_ms());
    }
}
