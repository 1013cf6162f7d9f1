//! The memcached protocol: text, meta commands, binary, auto discovery.
//!
//! A [`Server`] is what all connections of a service share; a [`Connection`] takes the bytes of one client and gives
//! the bytes that answer them. `docs/memcached.md` says what is supported and what differs from memcached.
//!
//! | file | what |
//! |---|---|
//! | `server` | settings, and what is shared |
//! | `connection`, `value`, `unfinished` | the state of one client, and of large values on their way |
//! | `text` | the text protocol: framing, retrieval, storage, counting |
//! | `meta`, `flags`, `base64` | meta commands |
//! | `binary` | the binary protocol |
//! | `store` | storing, for all of them |
//! | `admin`, `dump`, `stats`, `metrics`, `counters`, `prefixes`, `registry`, `watchers` | what operators ask |
//! | `config`, `discovery` | auto discovery |
//! | `auth`, `users` | who may connect |
//! | `parse`, `time`, `udp` | words and numbers, a clock for tests, datagrams |

mod admin;
mod auth;
mod base64;
mod binary;
mod config;
mod connection;
mod counters;
mod discovery;
mod dump;
mod flags;
mod meta;
mod metrics;
mod parse;
mod prefixes;
mod registry;
mod server;
mod stats;
mod store;
mod text;
mod time;
pub mod udp;
mod unfinished;
mod users;
mod value;
mod watchers;

pub use connection::{Connection, ConnectionInfo, MAX_UNCONSUMED, Transport};
pub use counters::Connections;
pub use server::{Binding, Listening, ProcessFacts, Server, ServerBuilder};
pub use time::DebugClock;
pub use users::Users;
