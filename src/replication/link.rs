//! One replica's link at the primary: what it has asked for, what is on its way to it, what it has acknowledged.
//!
//! ```text
//!  Greeting ─Hello─► Streaming                              the records from its position on are there
//!           └──────► Deciding ─Proceed─► Waiting ─► Sending ─► Streaming      they are not
//!                                           ▲ snapshot failed │
//!                                           └────────────────┘
//! ```
//! From each of them to Closed, in which nothing is kept but output that says why.

use std::sync::Arc;

use super::frame::{FrameDecoder, FrameEncoder};
use super::message::{MAX_TEXT, Message};
use super::{Buffers, PING_MS, Since};
use crate::api::Cache;
use crate::error::{Error, Result};
use crate::oplog::{Backlog, ReplicationLog};
use crate::snapshot::SnapshotRun;
use crate::storage::crc32c;

/// Bytes of a message's payload, and of output from which on no more is made.
pub(super) const PIECE: usize = 16 << 10;
/// Steps of a snapshot in one call.
const STEPS: u32 = 256;
/// The longest payload that a replica sends: a stranger does not make a primary keep more.
const MOST_FROM_REPLICA: usize = 4 << 10;

/// The number of a link, given by [`Primary::connect`](super::Primary::connect).
///
/// # Examples
/// ```
/// use larder::{Cache, replication::{Primary, PrimaryOptions}};
/// let mut primary = Primary::new(&Cache::new(1 << 20)?, PrimaryOptions::new())?;
/// assert_ne!(primary.connect(0), primary.connect(0));
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub(super) u64);

/// What a replica's link is doing.
///
/// # Examples
/// See [`ReplicaReport`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LinkState {
    /// It has not said yet what it wants, or keeps its data though it would have to replace them.
    Greeting,
    /// It waits for a snapshot to begin: there is one at a time.
    Waiting,
    /// A snapshot is being sent.
    Sending,
    /// It follows.
    Online,
}

/// What a primary knows of a replica.
///
/// # Examples
/// ```
/// use larder::{Cache, replication::{LinkState, Primary, PrimaryOptions}};
/// let mut primary = Primary::new(&Cache::new(1 << 20)?, PrimaryOptions::new())?;
/// primary.connect(0);
/// assert_eq!(primary.replicas(0)[0].state, LinkState::Greeting);
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplicaReport {
    /// Its link.
    pub link: LinkId,
    /// Its name; empty before it has said it.
    pub name: String,
    /// Whether it never takes the primary's place by itself ([`external`](super::ReplicaOptions::external)).
    pub is_external: bool,
    /// What the link is doing.
    pub state: LinkState,
    /// Number of the first record that it has not acknowledged.
    pub acknowledged: u64,
    /// Records that it has not acknowledged.
    pub lag_records: u64,
    /// By how many milliseconds it is behind, by the primary's clock: how old the last ping is that it has answered
    /// after having applied all that came before it. None before its first acknowledgement.
    pub lag_ms: Option<u64>,
    /// Milliseconds since it was heard of.
    pub silent_ms: u64,
    /// Snapshots that this link has been sent, whole.
    pub full_syncs: u32,
}

#[derive(Debug)]
pub(super) struct Sending {
    run: SnapshotRun,
    position: u64,
    len: u64,
    checksum: u32,
    bytes: Vec<u8>,
}

#[derive(Debug)]
pub(super) enum Stage {
    Greeting,
    Deciding,
    Waiting {
        not_before_ms: u64,
    },
    Sending(Box<Sending>),
    Streaming {
        /// Number of the first record that was to be sent.
        from: u64,
        /// Of the next one.
        next: u64,
    },
    Closed,
}

/// Counts as a reader of the backlog while it lives.
#[derive(Debug)]
struct Reading(Arc<Backlog>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.remove_reader();
    }
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) name: String,
    pub(super) is_external: bool,
    pub(super) stage: Stage,
    pub(super) decoder: FrameDecoder,
    encoder: FrameEncoder,
    out: Vec<u8>,
    /// Bytes of `out` that the transport has.
    gone: usize,
    /// Records that were read from the backlog, and how many of their bytes were put out.
    records: Vec<u8>,
    records_put: usize,
    heard: Since,
    pinged: Since,
    acknowledged: Option<u64>,
    /// The ping's time that came back last.
    echoed_ms: Option<u64>,
    /// Whether it has acknowledged since it streams.
    pub(super) is_online: bool,
    reading: Option<Reading>,
    pub(super) full_syncs: u32,
    buffers: Buffers,
}

impl Link {
    pub(super) fn new(cache: &Cache, id: LinkId, now_ms: u64) -> Result<Link> {
        Ok(Link {
            id,
            name: String::new(),
            is_external: false,
            stage: Stage::Greeting,
            decoder: FrameDecoder::limited(None, MOST_FROM_REPLICA),
            encoder: FrameEncoder::new(0),
            out: Vec::new(),
            gone: 0,
            records: Vec::new(),
            records_put: 0,
            heard: Since(now_ms),
            pinged: Since(now_ms),
            acknowledged: None,
            echoed_ms: None,
            is_online: false,
            reading: None,
            full_syncs: 0,
            buffers: Buffers::new(cache)?,
        })
    }

    pub(super) fn output(&self) -> &[u8] {
        &self.out[self.gone..]
    }

    pub(super) fn sent(&mut self, len: usize) {
        self.gone = (self.gone + len).min(self.out.len());
        if self.gone == self.out.len() {
            self.out.clear();
            self.gone = 0;
            self.out.shrink_to(2 * PIECE);
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.stage, Stage::Closed)
    }

    /// Gives up all but what it has put out: a snapshot that was under way, too.
    pub(super) fn close(&mut self) {
        self.stage = Stage::Closed;
        self.is_online = false;
        self.reading = None;
        self.decoder = FrameDecoder::limited(None, MOST_FROM_REPLICA);
        self.records = Vec::new();
        // It is less than before.
        let _ = self.settle();
    }

    pub(super) fn is_greeted(&self) -> bool {
        !matches!(self.stage, Stage::Greeting | Stage::Closed)
    }

    /// The backlog is kept for it, too.
    pub(super) fn read_from(&mut self, backlog: &Arc<Backlog>) {
        backlog.add_reader();
        self.reading = Some(Reading(Arc::clone(backlog)));
    }

    pub(super) fn wants_more(&self) -> bool {
        !self.is_closed() && self.output().len() < PIECE
    }

    pub(super) fn put(&mut self, message: &Message<'_>) {
        if self.gone > 0 && self.gone * 2 > self.out.len() {
            self.out.drain(..self.gone);
            self.gone = 0;
        }
        self.encoder.put(message, &mut self.out);
    }

    /// From the greeting on its frames carry the number that the replica has chosen.
    pub(super) fn begin(&mut self, name: String, is_external: bool, link: u64) {
        (self.name, self.is_external) = (name, is_external);
        self.encoder = FrameEncoder::new(link);
    }

    pub(super) fn heard(&mut self, now_ms: u64) {
        self.heard = Since(now_ms);
    }

    pub(super) fn silent_ms(&mut self, now_ms: u64) -> u64 {
        self.heard.elapsed(now_ms)
    }

    /// What it says to have applied. Less than what the stream began with was said before it had put the snapshot in
    /// place that came before that.
    pub(super) fn acknowledge(&mut self, position: u64, echoed_ms: u64) {
        if let Stage::Streaming { from, next } = self.stage
            && position >= from
        {
            self.acknowledged = Some(position.min(next));
            self.is_online = true;
            if echoed_ms > 0 {
                self.echoed_ms = Some(echoed_ms);
            }
        }
    }

    /// Up to which position it has applied all effects, if it follows.
    pub(super) fn has_applied(&self) -> Option<u64> {
        self.acknowledged.filter(|_| self.is_online)
    }

    /// Once a second: where the primary is.
    pub(super) fn ping(&mut self, position: u64, unix_ms: u64, now_ms: u64) {
        if self.is_greeted() && self.wants_more() && self.pinged.elapsed(now_ms) >= PING_MS {
            self.put_ping(position, unix_ms, now_ms);
        }
    }

    pub(super) fn put_ping(&mut self, position: u64, unix_ms: u64, now_ms: u64) {
        self.pinged = Since(now_ms);
        self.put(&Message::Ping { position, unix_ms });
    }

    /// Goes on with the records from `next` on, a message at a time. Returns the number of the first record that was
    /// not read yet.
    pub(super) fn put_effects(&mut self, backlog: &Backlog, next: u64) -> Result<u64> {
        let mut read = next;
        if self.records_put == self.records.len() {
            self.records.clear();
            self.records_put = 0;
            read = backlog.read(next, &mut self.records, PIECE)?;
        }
        let rest = &self.records[self.records_put..];
        let piece = &rest[..rest.len().min(PIECE)];
        self.encoder.put(&Message::Effects(piece), &mut self.out);
        self.records_put += piece.len();
        if self.records_put == self.records.len() {
            self.records = Vec::new();
            self.records_put = 0;
        }
        Ok(read)
    }

    /// Whether records were read that were not put out yet.
    pub(super) fn has_records(&self) -> bool {
        self.records_put < self.records.len()
    }

    pub(super) fn begin_sending(&mut self, run: SnapshotRun, position: u64) {
        self.put(&Message::SyncBegin { position });
        self.acknowledged = None;
        self.is_online = false;
        self.stage = Stage::Sending(Box::new(Sending { run, position, len: 0, checksum: 0, bytes: Vec::new() }));
    }

    /// Goes on with the snapshot that is being sent. An error if that failed: its replica knows, and waits.
    pub(super) fn send_more(&mut self, now_ms: u64) -> Result<()> {
        let Stage::Sending(mut sending) = std::mem::replace(&mut self.stage, Stage::Deciding) else { return Ok(()) };
        let mut stepped = Ok(true);
        for _ in 0..STEPS {
            if sending.bytes.len() >= PIECE || !matches!(stepped, Ok(true)) {
                break;
            }
            stepped = sending.run.step(&mut sending.bytes);
        }
        let more = match stepped {
            Ok(more) => more,
            Err(error) => {
                self.fail_sync(&error, now_ms);
                return Err(error);
            }
        };
        sending.len += sending.bytes.len() as u64;
        sending.checksum = crc32c(sending.checksum, &sending.bytes);
        for piece in sending.bytes.chunks(PIECE) {
            self.put(&Message::SyncBytes(piece));
        }
        sending.bytes.clear();
        if more {
            self.stage = Stage::Sending(sending);
        } else {
            self.put(&Message::SyncEnd { len: sending.len, checksum: sending.checksum });
            self.full_syncs += 1;
            self.stage = Stage::Streaming { from: sending.position, next: sending.position };
        }
        Ok(())
    }

    /// What was sent of a snapshot is void; another one is tried in a while.
    pub(super) fn fail_sync(&mut self, error: &Error, now_ms: u64) {
        let mut text = error.to_string();
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        self.put(&Message::SyncFailed(&text));
        self.stage = Stage::Waiting { not_before_ms: now_ms.saturating_add(PING_MS) };
    }

    /// Brings what its buffers take to the ledger.
    pub(super) fn settle(&mut self) -> Result<()> {
        let snapshot = if let Stage::Sending(sending) = &self.stage { sending.bytes.capacity() } else { 0 };
        self.buffers.hold(self.decoder.memory() + (self.out.capacity() + self.records.capacity() + snapshot) as u64)
    }

    pub(super) fn report(&mut self, position: u64, unix_ms: u64, now_ms: u64) -> ReplicaReport {
        let acknowledged = self.acknowledged.unwrap_or(0);
        ReplicaReport {
            link: self.id,
            name: self.name.clone(),
            is_external: self.is_external,
            state: match self.stage {
                Stage::Greeting | Stage::Deciding | Stage::Closed => LinkState::Greeting,
                Stage::Waiting { .. } => LinkState::Waiting,
                Stage::Sending(_) => LinkState::Sending,
                Stage::Streaming { .. } if self.is_online => LinkState::Online,
                Stage::Streaming { .. } => LinkState::Sending,
            },
            acknowledged,
            lag_records: position.saturating_sub(acknowledged),
            lag_ms: self.echoed_ms.map(|echoed| unix_ms.saturating_sub(echoed)),
            silent_ms: self.silent_ms(now_ms),
            full_syncs: self.full_syncs,
        }
    }
}
