//! A primary, replicas, and what carries bytes between them, all of them at once.

use larder::replication::{LinkId, Primary, PrimaryOptions, Replica, ReplicaOptions};
use larder::{Cache, Maintenance, ManualClock};

/// Unix time at which all clocks begin, in milliseconds.
pub(crate) const START: u64 = 1_000_000;

pub(crate) fn cache_at(clock: &ManualClock, follower: bool) -> Cache {
    let builder = Cache::builder().max_memory(4 << 20).clock(clock.clone()).follower(follower);
    builder.maintenance(Maintenance::Manual).build().unwrap()
}

pub(crate) fn cache(follower: bool) -> Cache {
    cache_at(&ManualClock::new(START), follower)
}

pub(crate) fn primary(options: PrimaryOptions) -> Primary {
    Primary::new(&cache(false), options).unwrap()
}

pub(crate) fn replica(name: &str) -> Replica {
    Replica::new(&cache(true), ReplicaOptions::new(name)).unwrap()
}

pub(crate) fn connect(primary: &mut Primary, replica: &mut Replica, now: u64) -> LinkId {
    replica.connect(now);
    primary.connect(now)
}

/// Carries everything to and fro until nothing moves. The error of the replica, if it has one.
pub(crate) fn settle(primary: &mut Primary, replica: &mut Replica, link: LinkId, now: u64) -> larder::Result<()> {
    settle_all(primary, &mut [(replica, link)], now)
}

/// The same for several replicas.
pub(crate) fn settle_all(
    primary: &mut Primary,
    replicas: &mut [(&mut Replica, LinkId)],
    now: u64,
) -> larder::Result<()> {
    for _ in 0..10_000 {
        let mut is_quiet = true;
        for (replica, link) in &mut *replicas {
            let up = replica.output().to_vec();
            replica.sent(up.len());
            let _ = primary.receive(*link, &up, now);
            let more = primary.poll(now);
            let down = primary.output(*link).to_vec();
            primary.sent(*link, down.len());
            replica.receive(&down, now)?;
            replica.poll(now);
            is_quiet &= !more && up.is_empty() && down.is_empty() && replica.output().is_empty();
        }
        if is_quiet {
            return Ok(());
        }
    }
    panic!("it does not come to rest");
}

pub(crate) fn fill(cache: &Cache, items: u32) {
    for n in 0..items {
        cache.set(format!("key {n}").as_bytes(), &[n as u8; 500]).unwrap();
    }
}

pub(crate) fn has_all(cache: &Cache, items: u32) -> bool {
    cache.len() == u64::from(items) && (0..items).all(|n| cache.contains(format!("key {n}").as_bytes()))
}
