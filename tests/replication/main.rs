//! Replication: replicas come to what their primary has, and show nothing else on the way, whatever links, machines and
//! clocks do.

mod meeting;
mod pair;
mod roles;
mod scenarios;
mod simulation;
mod world;
