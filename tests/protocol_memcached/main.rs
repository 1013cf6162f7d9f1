//! The memcached protocol: dialogues, each of which must go the same way however its requests are cut.
#![cfg(feature = "memcached")]

mod admin;
mod binary;
mod client;
mod meta;
mod metrics;
mod persist;
mod text;
mod unfinished;
