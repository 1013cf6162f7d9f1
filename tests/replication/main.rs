//! Replication: replicas come to what their primary has, and show nothing else on the way, whatever links, machines and
//! clocks do.

mod scenarios;
mod simulation;
mod world;
