//! Who may take whose place, whose data are given up for whose, and who may rely on what was acknowledged.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use larder::replication::{Primary, PrimaryHandle, PrimaryOptions, Replica, ReplicaOptions, least_behind};
use larder::{Cache, EngineEventKind, ErrorKind, EventFilter, EventLog, Maintenance, ManualClock, SetOptions, View};

use super::pair::{START, cache, cache_at, connect, fill, has_all, primary, replica, settle, settle_all};

#[test]
fn an_external_replica_never_takes_the_primarys_place() {
    let mut primary = primary(PrimaryOptions::new());
    fill(primary.cache(), 10);
    let mut theirs = Replica::new(&cache(true), ReplicaOptions::new("theirs").external(true)).unwrap();
    let handle = PrimaryHandle::new("group", "one", primary.cache(), EventLog::new(10));
    let link = connect(&mut primary, &mut theirs, 0);
    settle(&mut primary, &mut theirs, link, 0).unwrap();
    assert!(primary.replicas(0)[0].is_external && primary.acknowledged(primary.position()) == 1);
    assert_eq!(handle.set_automatic(&primary).unwrap_err().kind(), ErrorKind::NotAllowed);
    assert_eq!(least_behind(&[theirs.status(0)]), None);

    let mut ours = replica("ours");
    let other = connect(&mut primary, &mut ours, 0);
    settle_all(&mut primary, &mut [(&mut ours, other), (&mut theirs, link)], 0).unwrap();
    handle.set_automatic(&primary).unwrap();
    // The external one is ahead of it.
    primary.disconnect(other);
    fill(primary.cache(), 20);
    settle(&mut primary, &mut theirs, link, 0).unwrap();
    assert!(theirs.position() > ours.position());
    assert_eq!(least_behind(&[theirs.status(0), ours.status(0)]), Some(1));
    // Nobody is promoted by hand meanwhile.
    let taken = ours.reader().cache().unwrap().clone();
    assert_eq!(handle.point_to("ours", &taken).unwrap_err().kind(), ErrorKind::NotAllowed);
    handle.fail_over("ours", &taken);
    assert_eq!(handle.node(), "ours");
}

#[test]
fn writers_in_other_threads_wait_for_replicas() {
    let (mut primary, mut replica) = (primary(PrimaryOptions::new()), replica("r"));
    let link = connect(&mut primary, &mut replica, 0);
    settle(&mut primary, &mut replica, link, 0).unwrap();
    let (cache, writer) = (primary.cache().clone(), primary.replica_wait());
    assert_eq!(writer.wait(1, Duration::ZERO), 1);
    cache.set(b"k", b"v").unwrap();
    assert_eq!(writer.wait(1, Duration::ZERO), 0);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| writer.wait(1, Duration::from_secs(60)));
        settle(&mut primary, &mut replica, link, 0).unwrap();
        assert_eq!(waiting.join().unwrap(), 1);
        // The end of the primary is the end of waiting.
        let in_vain = scope.spawn(|| writer.wait(2, Duration::MAX));
        drop(primary);
        assert_eq!(in_vain.join().unwrap(), 0);
    });
}

#[test]
fn what_a_replica_had_before_a_full_sync_is_not_taken_for_an_acknowledgement() {
    let (mut former, mut replica) = (primary(PrimaryOptions::new()), replica("r"));
    for _ in 0..50 {
        fill(former.cache(), 40);
    }
    let link = connect(&mut former, &mut replica, 0);
    settle(&mut former, &mut replica, link, 0).unwrap();
    // Another primary, which did not begin empty, and has not come as far in its numbers.
    let now_there = cache(false);
    fill(&now_there, 100);
    let mut primary = Primary::new(&now_there, PrimaryOptions::new()).unwrap();
    now_there.set(b"k", b"v").unwrap();
    assert!(replica.position() > Some(primary.position()));
    let link = connect(&mut primary, &mut replica, 0);
    let (mut under_way, mut seen_early) = (Vec::new(), 0);
    for round in 0..200 {
        let now = round * 1000;
        let up = replica.output().to_vec();
        replica.sent(up.len());
        primary.receive(link, &up, now).unwrap();
        primary.poll(now);
        under_way.push(primary.output(link).to_vec());
        primary.sent(link, under_way.last().map_or(0, Vec::len));
        // The way down takes a while.
        if round >= 10 {
            replica.receive(&under_way[round as usize - 10].clone(), now).unwrap();
        }
        replica.poll(now);
        if replica.status(now).history != Some(primary.history()) {
            assert_eq!((primary.acknowledged(1), primary.good_replicas(now)), (0, 0), "round {round}");
            seen_early += 1;
        }
    }
    assert!(seen_early > 20);
    assert_eq!(primary.acknowledged(primary.position()), 1);
}

#[test]
fn data_are_kept_from_a_line_that_began_empty_until_told_and_its_own_line_goes_on() {
    // A group that begins with nothing, as groups do: all of them are of its line.
    let mut first = primary(PrimaryOptions::new());
    let little = ReplicaOptions::new("one").backlog(1 << 10);
    let (mut one, mut other) = (Replica::new(&cache(true), little).unwrap(), replica("other"));
    let links = [connect(&mut first, &mut one, 0), connect(&mut first, &mut other, 0)];
    fill(first.cache(), 50);
    settle_all(&mut first, &mut [(&mut one, links[0]), (&mut other, links[1])], 0).unwrap();
    // The other one misses more than the next primary's backlog has. That is of its line, and it is synced.
    first.disconnect(links[1]);
    fill(first.cache(), 200);
    settle(&mut first, &mut one, links[0], 0).unwrap();
    let mut second = one.promote(PrimaryOptions::new()).unwrap();
    let link = connect(&mut second, &mut other, 0);
    settle(&mut second, &mut other, link, 0).unwrap();
    assert_eq!(other.status(0).full_syncs, 2);
    assert!(has_all(other.reader().cache().unwrap(), 200));

    // The primary comes back with nothing. Whoever follows it, and is promoted, has its line, not the other's.
    drop(second);
    let (mut again, mut third) = (primary(PrimaryOptions::new()), replica("third"));
    again.cache().set(b"new", b"v").unwrap();
    let link = connect(&mut again, &mut third, 0);
    settle(&mut again, &mut third, link, 0).unwrap();
    drop(again);
    let mut third = third.promote(PrimaryOptions::new()).unwrap();
    for _ in 0..3 {
        let link = connect(&mut third, &mut other, 0);
        let error = settle(&mut third, &mut other, link, 0).unwrap_err();
        assert!(error.to_string().contains("came back empty"), "{error}");
        third.disconnect(link);
    }
    let shown = other.reader();
    assert!(other.status(0).keeps_data && has_all(shown.cache().unwrap(), 200));
    // It is told of once.
    let events = shown.cache().unwrap().event_log().query(&EventFilter::new());
    assert_eq!(events.iter().filter(|event| event.kind == EngineEventKind::ReplicaKeepsData).count(), 1);
    // It can be promoted, and the one that stepped down for it gives up what it has.
    let mut other = other.promote(PrimaryOptions::new()).unwrap();
    let mut third = third.demote(ReplicaOptions::new("third")).unwrap();
    let link = connect(&mut other, &mut third, 0);
    settle(&mut other, &mut third, link, 0).unwrap();
    assert!(has_all(third.reader().cache().unwrap(), 200));
}

#[test]
fn one_that_stepped_down_keeps_its_data_from_an_empty_primary_and_can_be_promoted_again() {
    let first = primary(PrimaryOptions::new());
    fill(first.cache(), 20);
    let mut old = first.demote(ReplicaOptions::new("old")).unwrap();
    let mut empty = primary(PrimaryOptions::new());
    let link = connect(&mut empty, &mut old, 0);
    assert!(settle(&mut empty, &mut old, link, 0).is_err());
    let mut again = old.promote(PrimaryOptions::new()).unwrap();
    again.cache().set(b"key 20", b"v").unwrap();
    let mut follower = replica("r");
    let link = connect(&mut again, &mut follower, 0);
    settle(&mut again, &mut follower, link, 0).unwrap();
    assert!(has_all(follower.reader().cache().unwrap(), 21));
}

#[test]
fn planned_clears_come_along_and_those_of_another_history_do_not_stay() {
    let clock = ManualClock::new(START);
    let mut first = Primary::new(&cache_at(&clock, false), PrimaryOptions::new()).unwrap();
    fill(first.cache(), 10);
    first.cache().clear_after(Duration::from_secs(10));
    let clocks = [ManualClock::new(START), ManualClock::new(START)];
    let mut followers = clocks.each_ref().map(|clock| {
        let mut replica = Replica::new(&cache_at(clock, true), ReplicaOptions::new("r")).unwrap();
        let link = connect(&mut first, &mut replica, 0);
        settle(&mut first, &mut replica, link, 0).unwrap();
        replica
    });
    // One of them goes over to another primary, which has no such plan.
    let there = cache(false);
    fill(&there, 30);
    let mut second = Primary::new(&there, PrimaryOptions::new()).unwrap();
    let link = connect(&mut second, &mut followers[1], 0);
    settle(&mut second, &mut followers[1], link, 0).unwrap();

    clocks.iter().for_each(|clock| clock.advance(Duration::from_secs(11)));
    let promoted = followers.map(|replica| replica.promote(PrimaryOptions::new()).unwrap());
    assert!(!promoted[0].cache().contains(b"key 1"), "its primary had planned to clear it");
    assert!(has_all(promoted[1].cache(), 30), "that plan was another history's");
}

/// Found by the simulation: items that had been read were lost by a replica whose clock was ahead.
#[test]
fn a_snapshots_item_that_has_ended_by_the_replicas_clock_stays() {
    let mut primary = primary(PrimaryOptions::new());
    let ttl = SetOptions::new().ttl(Duration::from_secs(5));
    primary.cache().set_with(b"k", b"v", &ttl).unwrap();
    assert!(primary.cache().get(b"k").unwrap().is_some());
    let ahead = ManualClock::new(START + 10_000);
    let mut replica = Replica::new(&cache_at(&ahead, true), ReplicaOptions::new("r")).unwrap();
    let link = connect(&mut primary, &mut replica, 0);
    settle(&mut primary, &mut replica, link, 0).unwrap();
    let shown = replica.reader();
    assert!(!shown.cache().unwrap().contains(b"k"));
    assert_eq!(shown.cache().unwrap().len(), 1);
}

/// Found by the simulation: the snapshot of a link that had broken unnoticed kept all others from having one.
#[test]
fn a_closed_link_whose_output_nobody_takes_holds_nothing_up() {
    let (mut primary, mut replica) = (primary(PrimaryOptions::new().timeout_ms(5_000)), replica("r"));
    fill(primary.cache(), 2000);
    let broken = connect(&mut primary, &mut replica, 0);
    for _ in 0..3 {
        primary.receive(broken, replica.output(), 0).unwrap();
        replica.sent(usize::MAX);
        primary.poll(0);
        replica.receive(primary.output(broken), 0).unwrap();
        primary.sent(broken, usize::MAX);
    }
    primary.poll(0);
    assert!(!primary.output(broken).is_empty() && replica.status(0).full_syncs == 0);
    let link = connect(&mut primary, &mut replica, 1);
    settle(&mut primary, &mut replica, link, 1).unwrap();
    assert!(has_all(replica.reader().cache().unwrap(), 2000));
    // What the closed one had to say is gone when the time-out is over.
    primary.poll(5_001);
    assert!(primary.output(broken).is_empty());
}

#[test]
fn strangers_are_few_say_little_and_are_given_up_in_silence() {
    let mut primary = primary(PrimaryOptions::new().timeout_ms(1_000));
    let before = primary.cache().memory().outside;
    let links: Vec<_> = (0..40).map(|_| primary.connect(0)).collect();
    assert_eq!(links.iter().filter(|&&link| primary.is_open(link)).count(), 16);
    // The head of a frame of a megabyte: a replica has nothing as long to say.
    let head = [&(1u32 << 20).to_le_bytes()[..], &[0; 20]].concat();
    assert_eq!(primary.receive(links[0], &head, 0).unwrap_err().kind(), ErrorKind::Damaged);
    assert!(!primary.is_open(links[0]) && primary.is_open(links[1]));
    primary.poll(1_000);
    assert!(links.iter().all(|&link| !primary.is_open(link)));
    assert_eq!(primary.cache().memory().outside, before);
    // Nobody knew them.
    let events = primary.cache().event_log().query(&EventFilter::new());
    assert!(events.iter().all(|event| event.kind != EngineEventKind::ReplicaLost));
}

#[test]
fn lag_is_a_metric_of_the_replica_and_a_lost_one_an_event_of_the_primary() {
    let (mut primary, mut replica) = (primary(PrimaryOptions::new().timeout_ms(3_000)), replica("r"));
    let link = connect(&mut primary, &mut replica, 0);
    settle(&mut primary, &mut replica, link, 0).unwrap();
    let lag = |replica: &Replica| {
        let metrics = replica.reader().cache().unwrap().metrics(View::Redis);
        metrics.iter().find(|metric| metric.name == "ReplicationLag").unwrap().value
    };
    replica.poll(500);
    assert_eq!(lag(&replica), 0);
    replica.poll(2_500);
    assert_eq!((lag(&replica), replica.status(2_500).lag_ms), (2, Some(2_500)));
    // The primary's next ping is answered, and all is well.
    settle(&mut primary, &mut replica, link, 2_600).unwrap();
    assert_eq!((lag(&replica), primary.replicas(2_600)[0].lag_ms), (0, Some(0)));

    primary.poll(5_600);
    let events = primary.cache().event_log().query(&EventFilter::new());
    let lost: Vec<_> = events.iter().filter(|event| event.kind == EngineEventKind::ReplicaLost).collect();
    assert_eq!(lost.len(), 1);
    assert!(lost[0].text.contains("Replica r ") && lost[0].text.contains("3000 ms"), "{}", lost[0].text);
}

/// Part of a listener: asks the handle where the primary is, when the cache that has the listener ends.
struct Asks(Arc<OnceLock<PrimaryHandle>>, Sender<String>);

impl Drop for Asks {
    fn drop(&mut self) {
        if let Some(handle) = self.0.get() {
            let _ = self.1.send(handle.node());
        }
    }
}

#[test]
fn a_former_primary_that_ends_with_the_failover_holds_nobody_up() {
    let (place, (sender, receiver)) = (Arc::new(OnceLock::new()), channel());
    let asks = Asks(Arc::clone(&place), sender);
    let builder = Cache::builder().max_memory(1 << 20).maintenance(Maintenance::Manual);
    let first = builder.eviction_listener(move |_| drop(asks.1.clone())).build().unwrap();
    let handle = PrimaryHandle::new("group", "one", &first, EventLog::new(10));
    drop(first);
    place.set(handle.clone()).unwrap();
    // In a thread of its own, so that it fails where it would wait for ever.
    std::thread::spawn(move || handle.fail_over("two", &cache(false)));
    assert_eq!(receiver.recv_timeout(Duration::from_secs(20)).as_deref(), Ok("two"));
}
