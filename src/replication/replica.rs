//! The side that follows: it asks for what it lacks, takes in snapshots and records, and says how far it is.
//!
//! Invariants:
//! 1. `history` and `position` say what the cache holds: all effects of that history before that position, and nothing
//!    else. With no history it holds nothing, or what it held before it became a replica.
//! 2. A snapshot changes nothing before all of it has come and was verified. One that fails later leaves the cache
//!    empty and without a history.
//! 3. Records are applied one by one, whole; the backlog has the last of them, under the primary's numbers.

use std::sync::Arc;

use super::frame::{FrameDecoder, FrameEncoder};
use super::message::{Message, Refusal};
use super::options::{PrimaryOptions, ReplicaOptions};
use super::primary::{Former, Primary};
use super::reader::{ReplicaReader, Serving};
use super::staging::Staged;
use super::{Buffers, Numbers, Origin, PING_MS, Since, items};
use crate::api::Cache;
use crate::error::{Error, ErrorKind, Result};
use crate::events::EngineEventKind;
use crate::oplog::{Backlog, Batch, Decoder, ReplicationLog, encode};

/// Bytes of records that are gathered before the backlog gets them.
const GATHERED: usize = 64 << 10;

/// No position is higher: there is no end to numbers.
const HIGHEST: u64 = u64::MAX / 2;

/// How a replica is doing.
///
/// # Examples
/// ```
/// use larder::{Cache, replication::{Replica, ReplicaOptions}};
/// let replica = Replica::new(&Cache::builder().follower(true).build()?, ReplicaOptions::new("r"))?;
/// let status = replica.status(0);
/// assert!(!status.is_in_sync && status.history.is_none());
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplicaStatus {
    /// Its name.
    pub name: String,
    /// Whether it never takes the primary's place by itself ([`ReplicaOptions::external`]).
    pub is_external: bool,
    /// The history that its data belong to; None if it has none that are whole.
    pub history: Option<u128>,
    /// Number of the first record that it has not applied.
    pub position: u64,
    /// Whether a link is there.
    pub is_connected: bool,
    /// Whether it follows: no snapshot is under way, and the link is there.
    pub is_in_sync: bool,
    /// Whether it keeps its data though its primary came back empty; see [`Replica::accept_empty`].
    pub keeps_data: bool,
    /// Records that it knows of and has not applied.
    pub lag_records: u64,
    /// Milliseconds since it had applied all that it knew of; None if it never had.
    pub lag_ms: Option<u64>,
    /// Snapshots that it has put in place.
    pub full_syncs: u32,
    /// Times that it could go on where it was.
    pub partial_syncs: u32,
    /// What went wrong last, on this or an earlier link.
    pub last_error: Option<String>,
}

#[derive(Debug)]
enum Stage {
    /// No link.
    Down,
    /// It has greeted.
    Greeting,
    /// A full sync was announced; a snapshot follows.
    Expecting {
        history: u128,
        origin: Origin,
    },
    /// It is coming in.
    Receiving {
        history: u128,
        origin: Origin,
        staged: Box<Staged>,
    },
    Following {
        records: Decoder,
        pushed: u64,
    },
}

/// A cache that follows another one.
///
/// The program connects to the primary - resolving its name anew each time - and calls [`connect`](Self::connect), then
/// [`receive`](Self::receive) with what comes in, [`poll`](Self::poll) a few times a second, and sends
/// [`output`](Self::output). When [`is_open`](Self::is_open) says no, it closes the connection and, in a while, makes
/// another one. Times are milliseconds of a clock that goes on, whatever it begins at.
///
/// # Examples
/// See [the module](super).
#[derive(Debug)]
pub struct Replica {
    cache: Cache,
    options: ReplicaOptions,
    stage: Stage,
    history: Option<u128>,
    position: u64,
    /// Where the data that it has come from, as far as is known.
    origin: Option<Origin>,
    /// Whether it was a primary and has its data from then.
    has_stepped_down: bool,
    /// The origin of the primary for whose data it does not give up its own.
    kept_from: Option<u128>,
    /// Whether it was told to give its data up once.
    accepts_empty: bool,
    backlog: Arc<Backlog>,
    gathered: Vec<u8>,
    /// Number of the first gathered record.
    gathered_from: u64,
    decoder: FrameDecoder,
    encoder: FrameEncoder,
    out: Vec<u8>,
    gone: usize,
    heard: Since,
    acked: Since,
    ack_is_due: bool,
    /// The last ping: the primary's position then, and its time; 0 where none came on this link yet.
    ping: (u64, u64),
    /// When it had applied all that it knew of; before that, when it connected for the first time.
    caught_up: Since,
    has_caught_up: bool,
    /// Whether it has not connected yet.
    is_new: bool,
    numbers: Numbers,
    reader: ReplicaReader,
    full_syncs: u32,
    partial_syncs: u32,
    last_error: Option<String>,
    buffers: Buffers,
    /// Bytes that the decoder of frames takes.
    decoder_bytes: u64,
}

impl Replica {
    /// Makes a cache a replica: it takes writes from its primary alone. It should have as much memory as the primary,
    /// and some more.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfMemory`] if there is no room for its buffers.
    ///
    /// # Examples
    /// See [the module](super).
    pub fn new(cache: &Cache, options: ReplicaOptions) -> Result<Replica> {
        cache.set_follower(true);
        let serving = if items(cache) > 0 { Serving::Old } else { Serving::Nothing };
        Ok(Replica {
            cache: cache.namespace(0),
            stage: Stage::Down,
            history: None,
            position: 0,
            origin: None,
            has_stepped_down: false,
            kept_from: None,
            accepts_empty: false,
            backlog: Self::new_backlog(cache, &options),
            gathered: Vec::new(),
            gathered_from: 0,
            decoder: FrameDecoder::new(Some(0)),
            encoder: FrameEncoder::new(0),
            out: Vec::new(),
            gone: 0,
            heard: Since(0),
            acked: Since(0),
            ack_is_due: false,
            ping: (0, 0),
            caught_up: Since(0),
            has_caught_up: false,
            is_new: true,
            numbers: Numbers::new(options.seed),
            reader: ReplicaReader::new(cache, options.stale, serving),
            full_syncs: 0,
            partial_syncs: 0,
            last_error: None,
            buffers: Buffers::new(cache)?,
            decoder_bytes: 0,
            options,
        })
    }

    /// It was a primary, and has what that had.
    pub(super) fn stepped_down(self, origin: Origin) -> Replica {
        Replica { origin: Some(origin), has_stepped_down: true, ..self }
    }

    fn new_backlog(cache: &Cache, options: &ReplicaOptions) -> Arc<Backlog> {
        let backlog = Arc::new(Backlog::new(options.backlog_bytes));
        backlog.charge_to(Arc::clone(&cache.engine().ctx.arena));
        backlog
    }

    /// A connection to the primary is there; one that was there before is not any more.
    ///
    /// # Examples
    /// See [the module](super).
    pub fn connect(&mut self, now_ms: u64) {
        self.disconnect();
        let link = self.numbers.draw();
        self.decoder = FrameDecoder::new(Some(link));
        self.encoder = FrameEncoder::new(link);
        self.out.clear();
        self.gone = 0;
        (self.heard, self.acked) = (Since(now_ms), Since(now_ms));
        // The next primary may have another clock.
        self.ping.1 = 0;
        if self.is_new {
            (self.is_new, self.caught_up) = (false, Since(now_ms));
        }
        let (history, position) = (self.history.unwrap_or(0), self.position);
        let (is_external, name) = (self.options.external, &*self.options.name);
        self.encoder.put(&Message::Hello { history, position, is_external, name }, &mut self.out);
        self.stage = Stage::Greeting;
    }

    /// The connection is gone.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, replication::{Replica, ReplicaOptions}};
    /// let mut replica = Replica::new(&Cache::builder().follower(true).build()?, ReplicaOptions::new("r"))?;
    /// replica.connect(0);
    /// replica.disconnect();
    /// assert!(!replica.is_open());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn disconnect(&mut self) {
        // A snapshot that was coming in is dropped with the stage.
        self.stage = Stage::Down;
        if self.reader.serving() == Serving::InSync {
            self.reader.set(Serving::Old);
        }
    }

    /// Whether the connection is to be kept. One that is not may have [output](Self::output) yet.
    ///
    /// # Examples
    /// See [`disconnect`](Self::disconnect).
    pub fn is_open(&self) -> bool {
        !matches!(self.stage, Stage::Down)
    }

    /// Bytes for the primary.
    ///
    /// # Examples
    /// See [the module](super).
    pub fn output(&self) -> &[u8] {
        &self.out[self.gone..]
    }

    /// The transport has taken so many bytes of the [output](Self::output).
    ///
    /// # Examples
    /// See [the module](super).
    pub fn sent(&mut self, len: usize) {
        self.gone = (self.gone + len).min(self.out.len());
        if self.gone == self.out.len() {
            self.out.clear();
            self.gone = 0;
        }
    }

    /// Takes bytes that came from the primary. When a snapshot is whole this takes as long as restoring it.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] if they are not those of the protocol; [`ErrorKind::NotAllowed`] if the primary refuses;
    /// [`ErrorKind::OutOfMemory`] and the like if there is no room; [`ErrorKind::Storage`] if a snapshot cannot be
    /// kept; [`ErrorKind::RestoreFailed`] if it does not fit. The link is given up then, and the data are as they
    /// were, but for a restore that failed half way: then there are none.
    ///
    /// # Examples
    /// See [the module](super).
    pub fn receive(&mut self, bytes: &[u8], now_ms: u64) -> Result<()> {
        if !self.is_open() {
            return Ok(());
        }
        if !bytes.is_empty() {
            self.heard = Since(now_ms);
        }
        let received = self.take_in(bytes, now_ms);
        self.flush();
        if let Err(error) = &received {
            self.last_error = Some(error.to_string());
            self.disconnect();
        }
        received
    }

    fn take_in(&mut self, bytes: &[u8], now_ms: u64) -> Result<()> {
        // Taken out, for what it shows is borrowed from it.
        let mut decoder = std::mem::replace(&mut self.decoder, FrameDecoder::new(None));
        decoder.push(bytes);
        self.decoder_bytes = decoder.memory();
        let taken = self.hold().and_then(|()| {
            while let Some(message) = decoder.next()? {
                self.act(message, now_ms)?;
            }
            Ok(())
        });
        self.decoder = decoder;
        taken
    }

    /// Brings what the buffers take to the ledger.
    fn hold(&mut self) -> Result<()> {
        let records = match &self.stage {
            Stage::Following { records, pushed } => pushed - records.offset(),
            _ => 0,
        };
        self.buffers.hold(self.decoder_bytes + records + (self.out.capacity() + self.gathered.capacity()) as u64)
    }

    fn act(&mut self, message: Message<'_>, now_ms: u64) -> Result<()> {
        match (&mut self.stage, message) {
            (Stage::Greeting, Message::Welcome { is_full, began_empty, may_empty, history, origin, position }) => {
                let origin = Origin { history: origin, began_empty };
                if is_full {
                    self.give_up_data(history, origin, may_empty)?;
                    self.encoder.put(&Message::Proceed, &mut self.out);
                    self.stage = Stage::Expecting { history, origin };
                } else if self.history.is_some() && position == self.position {
                    (self.history, self.origin) = (Some(history), Some(origin));
                    self.partial_syncs += 1;
                    self.follow();
                } else {
                    return Err(out_of_turn());
                }
            }
            (
                &mut (Stage::Expecting { history, origin } | Stage::Receiving { history, origin, .. }),
                Message::SyncBegin { position },
            ) => {
                if !(1..=HIGHEST).contains(&position) {
                    return Err(out_of_turn());
                }
                // What came of another one goes first: it has the same name.
                self.stage = Stage::Expecting { history, origin };
                let (name, storage) = (&self.options.name, self.options.storage.as_ref());
                let staged = Box::new(Staged::begin(&self.cache, storage, name, position)?);
                self.stage = Stage::Receiving { history, origin, staged };
            }
            (Stage::Receiving { staged, .. }, Message::SyncBytes(bytes)) => staged.push(bytes)?,
            (Stage::Receiving { .. }, Message::SyncEnd { len, checksum }) => self.put_in_place(len, checksum)?,
            (
                &mut (Stage::Expecting { history, origin } | Stage::Receiving { history, origin, .. }),
                Message::SyncFailed(why),
            ) => {
                self.last_error = Some(format!("the primary's snapshot failed: {why}"));
                self.stage = Stage::Expecting { history, origin };
            }
            (Stage::Following { records, pushed }, Message::Effects(bytes)) => {
                records.push(bytes);
                *pushed += bytes.len() as u64;
                self.apply_all()?;
            }
            (Stage::Greeting, Message::Ping { .. }) => return Err(out_of_turn()),
            (_, Message::Ping { position, unix_ms }) => {
                self.ping = (position, unix_ms);
                self.ack_is_due = true;
            }
            (_, Message::Refused(refusal)) => {
                return Err(Error::new(ErrorKind::NotAllowed, format!("the primary says: {}", refusal.text())));
            }
            _ => return Err(out_of_turn()),
        }
        self.note_lag(now_ms);
        Ok(())
    }

    /// Judges whether the data may be replaced by those of a primary.
    fn give_up_data(&mut self, history: u128, origin: Origin, may_empty: bool) -> Result<()> {
        let is_told = may_empty || self.options.accept_empty || self.accepts_empty;
        let is_same_line = self.origin.is_some_and(|own| own.history == origin.history);
        // One that stepped down for a replica gives up its data to that, whatever those began with.
        let is_succeeded = self.has_stepped_down && history != origin.history;
        if origin.began_empty && !is_told && !is_same_line && !is_succeeded && items(&self.cache) > 0 {
            if self.kept_from != Some(origin.history) {
                self.kept_from = Some(origin.history);
                let text = format!("{}: {}", self.options.name, EngineEventKind::ReplicaKeepsData.text());
                self.cache.emit(EngineEventKind::ReplicaKeepsData, &text);
            }
            let text =
                "the primary came back empty; this replica keeps its data until it is promoted or told to accept that";
            return Err(Error::new(ErrorKind::NotAllowed, text));
        }
        self.kept_from = None;
        if self.reader.serving() == Serving::InSync {
            self.reader.set(Serving::Old);
        }
        Ok(())
    }

    fn follow(&mut self) {
        self.stage = Stage::Following { records: Decoder::new(self.position), pushed: 0 };
        self.gathered.clear();
        self.gathered_from = self.position;
        self.ack_is_due = true;
        (self.kept_from, self.accepts_empty) = (None, false);
        self.reader.set(Serving::InSync);
    }

    /// All of a snapshot has come.
    fn put_in_place(&mut self, len: u64, checksum: u32) -> Result<()> {
        let Stage::Receiving { history, origin, staged } = std::mem::replace(&mut self.stage, Stage::Down) else {
            return Err(out_of_turn());
        };
        let (before, position) = (self.reader.serving(), staged.position);
        self.reader.set(Serving::Loading);
        let had = items(&self.cache);
        if let Err(error) = staged.finish(&self.cache, len, checksum) {
            let kept = had > 0 && items(&self.cache) == had;
            self.reader.set(if kept { before } else { Serving::Nothing });
            if !kept {
                (self.history, self.origin, self.has_stepped_down) = (None, None, false);
            }
            return Err(error);
        }
        // Clears that were planned in another history are not this one's; its own come with the records.
        self.cache.engine().forget_plans();
        (self.history, self.position) = (Some(history), position);
        (self.origin, self.has_stepped_down) = (Some(origin), false);
        self.backlog = Self::new_backlog(&self.cache, &self.options);
        self.full_syncs += 1;
        self.follow();
        Ok(())
    }

    /// Applies the records that have come, whole.
    fn apply_all(&mut self) -> Result<()> {
        let Stage::Following { records, .. } = &mut self.stage else { return Ok(()) };
        while let Some(record) = records.next()? {
            self.cache.apply(&record)?;
            encode(record.sequence, &record.effect, &mut self.gathered);
            self.position = record.sequence + 1;
            self.ack_is_due = true;
            if self.gathered.len() >= GATHERED {
                flush(&self.backlog, &mut self.gathered, &mut self.gathered_from, self.position);
            }
        }
        self.hold()
    }

    /// Gives the backlog what was gathered.
    fn flush(&mut self) {
        flush(&self.backlog, &mut self.gathered, &mut self.gathered_from, self.position);
    }

    fn note_lag(&mut self, now_ms: u64) {
        if matches!(self.stage, Stage::Following { .. }) && self.ping.1 > 0 && self.position >= self.ping.0 {
            (self.caught_up, self.has_caught_up) = (Since(now_ms), true);
        }
    }

    /// Does what there is to be done: time-outs, acknowledgements. Tells the cache how far behind it is, too: the
    /// metric `ReplicationLag` of [`View::Redis`](crate::View::Redis).
    ///
    /// # Examples
    /// See [the module](super).
    pub fn poll(&mut self, now_ms: u64) {
        self.cache.engine().set_lag_ms(if self.is_new { 0 } else { self.caught_up.elapsed(now_ms) });
        if !self.is_open() {
            return;
        }
        if self.heard.elapsed(now_ms) >= self.options.timeout_ms {
            self.last_error = Some(format!("nothing came from the primary in {} ms", self.options.timeout_ms));
            self.disconnect();
            return;
        }
        let is_due = self.ack_is_due || self.acked.elapsed(now_ms) >= PING_MS;
        if is_due && !matches!(self.stage, Stage::Greeting) && self.output().is_empty() {
            (self.acked, self.ack_is_due) = (Since(now_ms), false);
            // What it had before a full sync is nothing to the primary.
            let position = if matches!(self.stage, Stage::Following { .. }) { self.position } else { 0 };
            let unix_ms = if position >= self.ping.0 { self.ping.1 } else { 0 };
            self.encoder.put(&Message::Ack { position, unix_ms }, &mut self.out);
        }
    }

    /// Number of the first record that it has not applied; None while it has no data that are whole.
    ///
    /// # Examples
    /// See [the module](super).
    pub fn position(&self) -> Option<u64> {
        self.history.map(|_| self.position)
    }

    /// How it is doing.
    ///
    /// # Examples
    /// See [`ReplicaStatus`].
    pub fn status(&self, now_ms: u64) -> ReplicaStatus {
        ReplicaStatus {
            name: self.options.name.clone(),
            is_external: self.options.external,
            history: self.history,
            position: self.position,
            is_connected: self.is_open(),
            is_in_sync: matches!(self.stage, Stage::Following { .. }),
            keeps_data: self.kept_from.is_some(),
            lag_records: self.ping.0.saturating_sub(self.position),
            lag_ms: self.has_caught_up.then(|| now_ms.saturating_sub(self.caught_up.0)),
            full_syncs: self.full_syncs,
            partial_syncs: self.partial_syncs,
            last_error: self.last_error.clone(),
        }
    }

    /// Read access for other threads.
    ///
    /// # Examples
    /// See [`ReplicaReader`].
    pub fn reader(&self) -> ReplicaReader {
        self.reader.clone()
    }

    /// The next connection may replace the data by those of a primary that came back empty. Once: what comes after that
    /// is kept again. For good it is [`ReplicaOptions::accept_empty`].
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, replication::{Replica, ReplicaOptions}};
    /// let mut replica = Replica::new(&Cache::builder().follower(true).build()?, ReplicaOptions::new("r"))?;
    /// replica.accept_empty();
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn accept_empty(&mut self) {
        self.accepts_empty = true;
    }

    /// What to answer to one that takes this replica for a primary, and has sent these bytes; then the connection is to
    /// be closed.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, replication::{FrameDecoder, Message, Refusal, Replica, ReplicaOptions}};
    /// let cache = Cache::builder().follower(true).build()?;
    /// let mut other = Replica::new(&cache, ReplicaOptions::new("other"))?;
    /// other.connect(0);
    /// let answer = Replica::refuse(other.output());
    /// assert!(other.receive(&answer, 0).unwrap_err().to_string().contains("no replicas of its own"));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn refuse(greeting: &[u8]) -> Vec<u8> {
        let mut decoder = FrameDecoder::new(None);
        decoder.push(greeting);
        let refusal = match decoder.next() {
            Ok(Some(Message::Hello { .. })) => Refusal::IsReplica,
            _ => Refusal::OutOfTurn,
        };
        let mut answer = Vec::new();
        FrameEncoder::new(decoder.link().unwrap_or_default()).put(&Message::Refused(refusal), &mut answer);
        answer
    }

    /// Makes it the primary. It begins a history of its own, in which what it has applied is known to be the old one's:
    /// replicas that are not ahead of it can go on where they are.
    ///
    /// # Errors
    /// [`ErrorKind::NotInSync`] if it has no data that are whole: it was never in sync, nor a primary. (Whoever wants
    /// what else is in its cache ends that it is a [follower](Cache::set_follower), and makes a [`Primary`] of it.) The
    /// errors of [`Primary::new`].
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, ErrorKind, replication::{PrimaryOptions, Replica, ReplicaOptions}};
    /// let replica = Replica::new(&Cache::builder().follower(true).build()?, ReplicaOptions::new("r"))?;
    /// assert_eq!(replica.promote(PrimaryOptions::new()).unwrap_err().kind(), ErrorKind::NotInSync);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn promote(mut self, options: PrimaryOptions) -> Result<Primary> {
        let Some(origin) = self.origin.filter(|_| self.history.is_some() || self.has_stepped_down) else {
            return Err(Error::new(ErrorKind::NotInSync, "this replica has no whole data: it cannot be promoted"));
        };
        options.check()?;
        self.disconnect();
        let (cache, end) = (self.cache.clone(), self.position);
        cache.engine().set_lag_ms(0);
        self.backlog.set_limits(options.backlog_bytes, options.backlog_ttl_ms);
        let log: Arc<dyn ReplicationLog> = Arc::clone(&self.backlog) as Arc<dyn ReplicationLog>;
        let former = self.history.map(|history| Former { history, end });
        let mut primary = if former.is_some() && cache.engine().ctx.effects.adopt(log, end) {
            cache.set_follower(false);
            Primary::with(&cache, options, self.backlog, former)
        } else {
            // The numbers are its own: of the time when it was a primary, or of a log of its own.
            cache.set_follower(false);
            Primary::new(&cache, options)?
        };
        primary.set_origin(origin);
        Ok(primary)
    }
}

fn flush(backlog: &Backlog, gathered: &mut Vec<u8>, from: &mut u64, position: u64) {
    if !gathered.is_empty() {
        // It takes whatever comes.
        let _ = backlog.append(&Batch::new(*from, position - 1, gathered, 0));
        gathered.clear();
        gathered.shrink_to(GATHERED);
    }
    *from = position;
}

fn out_of_turn() -> Error {
    Error::new(ErrorKind::NotAllowed, format!("the primary is not understood: {}", Refusal::OutOfTurn.text()))
}
