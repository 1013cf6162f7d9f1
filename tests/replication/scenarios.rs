//! One thing at a time: partial and full syncs, time-outs, refusals, failing snapshots, promotion.

use std::sync::Arc;
use std::time::Duration;

use larder::replication::{
    LinkId, LinkState, Primary, PrimaryOptions, Replica, ReplicaOptions, StaleReads, least_behind,
};
use larder::snapshot::SnapshotOptions;
use larder::storage::{Fault, SimulatedDisk};
use larder::{EngineEventKind, ErrorKind, EventFilter};

use super::pair::{cache, connect, fill, has_all, primary, replica, settle, settle_all};

#[test]
fn a_break_is_followed_by_a_partial_sync_and_a_long_one_by_a_full_one() {
    let (mut primary, mut replica) = (primary(PrimaryOptions::new().backlog(64 << 10, 0)), replica("r"));
    fill(primary.cache(), 100);
    let link = connect(&mut primary, &mut replica, 0);
    settle(&mut primary, &mut replica, link, 0).unwrap();
    assert!(has_all(replica.reader().cache().unwrap(), 100));
    assert_eq!((replica.status(0).full_syncs, replica.status(0).partial_syncs), (1, 0));
    for (items, full, partial) in [(120, 1, 1), (1000, 2, 1)] {
        primary.disconnect(link);
        replica.disconnect();
        fill(primary.cache(), items);
        let link = connect(&mut primary, &mut replica, 0);
        settle(&mut primary, &mut replica, link, 0).unwrap();
        assert!(has_all(replica.reader().cache().unwrap(), items));
        let status = replica.status(0);
        assert_eq!((status.full_syncs, status.partial_syncs, status.lag_records), (full, partial, 0));
        assert_eq!(primary.acknowledged(primary.position()), 1);
        primary.disconnect(link);
    }
}

#[test]
fn writes_wait_for_replicas_and_are_refused_without() {
    let mut primary = primary(PrimaryOptions::new().min_replicas(1, 3_000).timeout_ms(8_000));
    let (cache, mut replica) = (primary.cache().clone(), replica("r"));
    assert_eq!(cache.set(b"k", b"v").unwrap_err().kind(), ErrorKind::TooFewReplicas);
    let link = connect(&mut primary, &mut replica, 0);
    settle(&mut primary, &mut replica, link, 0).unwrap();
    cache.set(b"k", b"v").unwrap();
    let position = primary.position();
    assert_eq!(primary.acknowledged(position), 0);
    settle(&mut primary, &mut replica, link, 10).unwrap();
    assert_eq!(primary.acknowledged(position), 1);
    assert_eq!((primary.replicas(10)[0].lag_records, primary.replicas(10)[0].state), (0, LinkState::Online));

    // It says nothing for longer than the lag: writes are refused, reads are not. Then for longer than the time-out.
    primary.poll(3_011);
    assert_eq!(cache.set(b"k", b"w").unwrap_err().kind(), ErrorKind::TooFewReplicas);
    assert!(cache.contains(b"k"));
    settle(&mut primary, &mut replica, link, 4_000).unwrap();
    cache.set(b"k", b"w").unwrap();
    primary.poll(12_001);
    assert!(!primary.is_open(link));
    replica.poll(64_001);
    assert!(!replica.is_open() && replica.status(64_001).last_error.unwrap().contains("nothing came"));
    // The end of replication is the end of refusals.
    drop(primary);
    cache.set(b"k", b"x").unwrap();
}

#[test]
fn five_replicas_at_most_none_of_a_replica_and_one_link_a_name() {
    let mut primary = primary(PrimaryOptions::new());
    let mut all: Vec<(Replica, LinkId)> = Vec::new();
    for n in 0..5 {
        let mut replica = super::pair::replica(&format!("r{n}"));
        let link = connect(&mut primary, &mut replica, 0);
        settle(&mut primary, &mut replica, link, 0).unwrap();
        all.push((replica, link));
    }
    let mut sixth = replica("sixth");
    let link = connect(&mut primary, &mut sixth, 0);
    let error = settle(&mut primary, &mut sixth, link, 0).unwrap_err();
    assert!(error.to_string().contains("as many replicas as it may have"), "{error}");
    assert!(!sixth.is_open() && !primary.is_open(link));

    let (first, old) = &mut all[0];
    let link = connect(&mut primary, first, 0);
    settle(&mut primary, first, link, 0).unwrap();
    assert!(primary.is_open(link) && !primary.is_open(*old));
    assert_eq!(primary.good_replicas(0), 5);

    assert_eq!(first.reader().cache().unwrap().set(b"k", b"v").unwrap_err().kind(), ErrorKind::NotAllowed);
    assert!(Primary::new(first.reader().cache().unwrap(), PrimaryOptions::new()).is_err());
    // Nor does a primary that was made a follower behind its back go on.
    primary.cache().set_follower(true);
    primary.poll(0);
    assert!(all.iter().all(|(_, link)| !primary.is_open(*link)));
    let link = connect(&mut primary, &mut sixth, 0);
    let error = settle(&mut primary, &mut sixth, link, 0).unwrap_err();
    assert!(error.to_string().contains("no replicas of its own"), "{error}");
    sixth.connect(0);
    let answer = Replica::refuse(sixth.output());
    assert!(sixth.receive(&answer, 0).unwrap_err().to_string().contains("no replicas of its own"));
}

#[test]
fn a_primary_that_comes_back_empty_empties_nobody_unless_told() {
    let (mut primary, mut replica) = (primary(PrimaryOptions::new()), replica("r"));
    fill(primary.cache(), 50);
    let link = connect(&mut primary, &mut replica, 0);
    settle(&mut primary, &mut replica, link, 0).unwrap();
    drop(primary);
    let mut again = super::pair::primary(PrimaryOptions::new());
    again.cache().set(b"new", b"after the restart").unwrap();
    let link = connect(&mut again, &mut replica, 0);
    let error = settle(&mut again, &mut replica, link, 0).unwrap_err();
    assert!(error.to_string().contains("came back empty"), "{error}");
    let shown = replica.reader();
    assert!(has_all(shown.cache().unwrap(), 50) && replica.status(0).keeps_data);
    let events = shown.cache().unwrap().event_log().query(&EventFilter::new());
    assert!(events.iter().any(|event| event.kind == EngineEventKind::ReplicaKeepsData));

    replica.accept_empty();
    let link = connect(&mut again, &mut replica, 0);
    settle(&mut again, &mut replica, link, 0).unwrap();
    assert!(shown.cache().unwrap().contains(b"new") && shown.cache().unwrap().len() == 1);

    // It was told once; it was not told to do so always.
    let mut third = super::pair::primary(PrimaryOptions::new());
    let link = connect(&mut third, &mut replica, 0);
    assert!(settle(&mut third, &mut replica, link, 0).is_err() && shown.cache().unwrap().contains(b"new"));
    // The primary may say so, too.
    third.set_options(PrimaryOptions::new().may_empty_replicas(true), 0).unwrap();
    let link = connect(&mut third, &mut replica, 0);
    settle(&mut third, &mut replica, link, 0).unwrap();
    assert!(shown.cache().unwrap().is_empty());
}

#[test]
fn a_promoted_replica_is_followed_without_a_full_sync_and_the_old_primary_rejoins() {
    let mut primary = primary(PrimaryOptions::new());
    let (mut one, mut other) = (replica("one"), replica("other"));
    fill(primary.cache(), 50);
    let links = [connect(&mut primary, &mut one, 0), connect(&mut primary, &mut other, 0)];
    settle_all(&mut primary, &mut [(&mut one, links[0]), (&mut other, links[1])], 0).unwrap();
    fill(primary.cache(), 60);
    // The other one does not get what was written last.
    primary.disconnect(links[1]);
    settle(&mut primary, &mut one, links[0], 0).unwrap();
    assert!(other.position() < one.position());
    assert_eq!(least_behind(&[other.status(0), one.status(0)]), Some(1));
    one.disconnect();
    let mut promoted = one.promote(PrimaryOptions::new()).unwrap();
    fill(promoted.cache(), 80);
    let link = connect(&mut promoted, &mut other, 0);
    settle(&mut promoted, &mut other, link, 0).unwrap();
    assert_eq!((other.status(0).full_syncs, other.status(0).partial_syncs), (1, 1));
    assert!(has_all(other.reader().cache().unwrap(), 80));

    primary.cache().set(b"only here", b"lost").unwrap();
    let mut old = primary.demote(ReplicaOptions::new("old").stale_reads(StaleReads::Refuse)).unwrap();
    assert_eq!(old.reader().cache().unwrap_err().kind(), ErrorKind::NotInSync);
    let link = connect(&mut promoted, &mut old, 0);
    settle(&mut promoted, &mut old, link, 0).unwrap();
    assert!(has_all(old.reader().cache().unwrap(), 80));
}

#[test]
fn a_snapshot_that_fails_on_the_way_changes_nothing() {
    let disk = SimulatedDisk::new(1);
    let mut primary = primary(PrimaryOptions::new().backlog(1 << 10, 0));
    fill(primary.cache(), 50);
    let options = ReplicaOptions::new("r").staging(Arc::new(disk.clone()));
    let mut replica = Replica::new(&cache(true), options).unwrap();
    let link = connect(&mut primary, &mut replica, 0);
    settle(&mut primary, &mut replica, link, 0).unwrap();
    replica.disconnect();
    primary.disconnect(link);
    fill(primary.cache(), 200);
    let mut failures = 0;
    for after in 1.. {
        disk.fail_at(disk.calls() + after, Fault::Io, false);
        let link = connect(&mut primary, &mut replica, 0);
        let settled = settle(&mut primary, &mut replica, link, 0);
        primary.disconnect(link);
        let shown = replica.reader();
        let Err(error) = settled else { break };
        failures += 1;
        assert!(matches!(error.kind(), ErrorKind::Storage | ErrorKind::RestoreFailed), "{error}");
        match shown.cache() {
            Ok(cache) => assert!(has_all(cache, 50), "after {after}: {}", cache.len()),
            // It failed when the old data were gone: then there are none, and nothing is shown.
            Err(error) => assert_eq!(error.kind(), ErrorKind::NotInSync),
        }
    }
    assert!(failures > 3 && has_all(replica.reader().cache().unwrap(), 200), "{failures}");
}

#[test]
fn a_snapshot_given_up_by_the_primary_is_void_and_tried_again() {
    let snapshot = SnapshotOptions::new().writers_wait(Duration::ZERO);
    let mut primary = primary(PrimaryOptions::new().backlog(1 << 20, 0).snapshot(snapshot));
    let mut replica = replica("r");
    fill(primary.cache(), 3000);
    let link = connect(&mut primary, &mut replica, 0);
    let mut failed = false;
    for round in 0..200u64 {
        let up = replica.output().to_vec();
        replica.sent(up.len());
        primary.receive(link, &up, round).unwrap();
        primary.poll(round);
        // More is overwritten than the buffer holds.
        if primary.replicas(round)[0].state == LinkState::Sending && !failed {
            fill(primary.cache(), 3000);
        }
        let down = primary.output(link).to_vec();
        primary.sent(link, down.len());
        replica.receive(&down, round).unwrap();
        replica.poll(round);
        failed |= replica.status(round).last_error.is_some_and(|why| why.contains("snapshot failed"));
    }
    assert!(failed && replica.status(200).full_syncs == 0 && replica.reader().cache().is_err());
    settle(&mut primary, &mut replica, link, 3_000).unwrap();
    assert!(has_all(replica.reader().cache().unwrap(), 3000));
}

#[test]
fn memory_for_links_is_on_the_ledger_and_comes_back() {
    let (mut primary, mut replica) = (primary(PrimaryOptions::new()), replica("r"));
    fill(primary.cache(), 1000);
    let before = primary.cache().memory().outside;
    let link = connect(&mut primary, &mut replica, 0);
    let mut most = 0;
    for _ in 0..3 {
        let up = replica.output().to_vec();
        replica.sent(up.len());
        primary.receive(link, &up, 0).unwrap();
        primary.poll(0);
        most = most.max(primary.cache().memory().outside);
        let down = primary.output(link).to_vec();
        primary.sent(link, down.len());
        replica.receive(&down, 0).unwrap();
        replica.poll(0);
    }
    assert!(most > before && most < before + (1 << 20), "{before} {most}");
    settle(&mut primary, &mut replica, link, 0).unwrap();
    primary.disconnect(link);
    assert_eq!(primary.cache().memory().outside, before);
}
