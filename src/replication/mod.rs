//! Replication: one primary, up to five replicas, over any transport. Bytes in, bytes out, time passed in: no socket,
//! no thread and no clock of its own.
//!
//! ```text
//!  writers ──► cache ──► effects ──► backlog ─┐                          ┌─► apply ──► follower ◄── readers
//!                 └──► snapshot ──────────────┴─► Primary ◄─bytes─► Replica ─► staging ─► restore
//! ```
//! 1. A replica [connects](Replica::connect) and says which history its data belong to, and how far they go.
//! 2. If the primary still has the records from there on, they follow: a partial sync. Else a snapshot follows, as
//!    bytes, while writes go on, and then the records since. It is staged, verified as a whole, and only then put in
//!    place.
//! 3. The replica acknowledges what it has applied; the primary pings once a second. Whoever hears nothing for the
//!    [time-out](PrimaryOptions::timeout_ms) gives the link up, and the replica connects anew.
//!
//! Links may lose, repeat, reorder, delay and change bytes: frames notice it, the link is given up, and the next one
//! goes on where this one ended. `docs/replication-protocol.md` has the messages byte by byte, and what is promised.
//!
//! | file | what |
//! |---|---|
//! | `frame` `message` | the bytes |
//! | `primary` `link` | the side that is written to; one replica's link there |
//! | `replica` `staging` | the side that follows; a snapshot on its way in |
//! | `reader` | reads on a replica: old data, or an error |
//! | `election` | which replica is the least behind; a handle that always points to the primary |
//! | `waiting` | writers that wait for replicas |
//! | `options` `parameters` | settings of both sides; the same out of a group of parameters |
//!
//! # Examples
//! ```
//! use larder::replication::{Primary, PrimaryOptions, Replica, ReplicaOptions};
//! use larder::Cache;
//! let cache = Cache::builder().max_memory(4 << 20).build()?;
//! cache.set(b"k", b"v")?;
//! let mut primary = Primary::new(&cache, PrimaryOptions::new())?;
//! let copy = Cache::builder().max_memory(4 << 20).follower(true).build()?;
//! let mut replica = Replica::new(&copy, ReplicaOptions::new("replica-1"))?;
//!
//! // What a transport does: it carries what one side has put out to the other, and tells the time.
//! let link = primary.connect(0);
//! replica.connect(0);
//! while replica.position() != Some(primary.position()) {
//!     let bytes = replica.output().to_vec();
//!     replica.sent(bytes.len());
//!     primary.receive(link, &bytes, 0)?;
//!     primary.poll(0);
//!     let bytes = primary.output(link).to_vec();
//!     primary.sent(link, bytes.len());
//!     replica.receive(&bytes, 0)?;
//!     replica.poll(0);
//! }
//! assert_eq!(replica.reader().cache()?.get(b"k")?.as_deref(), Some(&b"v"[..]));
//! assert!(copy.set(b"k", b"w").is_err());
//! # Ok::<(), larder::Error>(())
//! ```

mod election;
mod frame;
mod link;
mod message;
mod options;
mod parameters;
mod primary;
mod reader;
mod replica;
mod staging;
mod waiting;

pub use election::{PrimaryHandle, least_behind};
pub use frame::{FrameDecoder, FrameEncoder, PROTOCOL_VERSION};
pub use link::{LinkId, LinkState, ReplicaReport};
pub use message::{Message, Refusal};
pub use options::{PrimaryOptions, ReplicaOptions, StaleReads};
pub use primary::Primary;
pub use reader::ReplicaReader;
pub use replica::{Replica, ReplicaStatus};
pub use waiting::ReplicaWait;

use crate::api::{Cache, Charge};
use crate::error::Result;

/// Milliseconds between two pings, and between two acknowledgements at least.
const PING_MS: u64 = 1000;

/// A moment after which time is counted. A clock that is set back begins the count anew, and makes nothing older.
#[derive(Debug, Clone, Copy)]
struct Since(u64);

impl Since {
    fn elapsed(&mut self, now_ms: u64) -> u64 {
        self.0 = self.0.min(now_ms);
        now_ms - self.0
    }
}

/// Where data come from: the first of a line of histories, in which replicas were promoted one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Origin {
    history: u128,
    /// Whether its cache was empty then. One that has other data does not give those up for that by itself.
    began_empty: bool,
}

/// Bytes of a side's buffers, on its cache's ledger in steps.
#[derive(Debug)]
struct Buffers(Charge);

impl Buffers {
    const STEP: u64 = 16 << 10;

    fn new(cache: &Cache) -> Result<Buffers> {
        Ok(Buffers(cache.charge(0)?))
    }

    fn hold(&mut self, bytes: u64) -> Result<()> {
        self.0.resize(bytes.next_multiple_of(Self::STEP))
    }
}

/// Items of all namespaces.
fn items(cache: &Cache) -> u64 {
    (0..=255).map(|namespace| cache.namespace(namespace).len()).sum()
}

/// A number that no other history or link has: from the seed, or, without one, from the system's randomness.
#[derive(Debug)]
struct Numbers {
    seed: Option<u64>,
    drawn: u64,
}

impl Numbers {
    fn new(seed: Option<u64>) -> Numbers {
        Numbers { seed, drawn: 0 }
    }

    fn draw(&mut self) -> u64 {
        use std::hash::{BuildHasher, RandomState};
        self.drawn += 1;
        let Some(seed) = self.seed else { return RandomState::new().hash_one(self.drawn) };
        // SplitMix64.
        let mut z = seed.wrapping_add(self.drawn.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Never 0.
    fn history(&mut self) -> u128 {
        (u128::from(self.draw()) << 64 | u128::from(self.draw())).max(1)
    }
}
