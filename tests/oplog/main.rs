//! The effect log: what it holds is the cache, whatever happens to cache, disk and machine.

mod crash;
mod damage;
mod model;
mod support;
mod threads;
mod trouble;
