//! What a program is told: items that left, what happened to keys, what happened to the engine; and the tags by which
//! items are made to leave together.
//!
//! ```text
//!  under a shard's lock             after it                          the program
//!  remove, replace, set ──► Notices ──► Hub::tell ──┬─► listener      Removal<'_>
//!                           (a queue                └─► channels ──►  Subscription<KeyEvent>
//!                            a shard)
//!  engine, front-ends ────────────────► EventLog ─────► channels ──►  Subscription<EngineEvent>
//! ```
//!
//! | file | what |
//! |---|---|
//! | `removal` | why an item left, and what a listener is shown |
//! | `keyspace` | what happened to a key, in Redis's words |
//! | `engine` | what happened to the engine, in the service's words |
//! | `log` | the last of those, and who is told |
//! | `channel` | bounded queues to subscribers, who lose what they are too slow for |
//! | `notices` | what is to be told of one shard, in order |
//! | `listeners` | what is called when items leave |
//! | `hub` | who wants to know; telling it without a lock |
//! | `tags` | which tags were invalidated, and when |
//!
//! It knows of the ledger below it and of nothing else: no shard, no index.

mod channel;
mod engine;
mod hub;
mod keyspace;
mod listeners;
mod log;
mod notices;
mod removal;
mod tags;

#[cfg(feature = "async")]
pub use channel::Receiving;
pub use channel::{Subscription, SubscriptionIter};
pub use engine::{EngineEvent, EngineEventKind, EventSource};
pub(crate) use hub::Hub;
pub use keyspace::{KeyEvent, KeyEventClass, KeyEvents};
pub(crate) use listeners::Listener;
pub use listeners::Listening;
pub use log::{EventFilter, EventLog};
pub use removal::{Removal, RemovalCause};
pub(crate) use tags::TagTable;
