//! Where replication meets what else brings a cache back: append-only files, snapshots put in place.

use std::sync::Arc;

use larder::oplog::AppendOptions;
use larder::replication::{Primary, PrimaryOptions, Replica, ReplicaOptions};
use larder::snapshot::{RestoreOptions, SnapshotOptions};
use larder::storage::{Memory, Storage};
use larder::{Cache, Maintenance, ManualClock};

use super::pair::{START, cache, connect, fill, has_all, settle};

fn logged(storage: &Arc<dyn Storage>, follower: bool) -> Cache {
    let builder = Cache::builder().max_memory(4 << 20).clock(ManualClock::new(START)).follower(follower);
    let builder = builder.maintenance(Maintenance::Manual);
    builder.append_only(AppendOptions::shared(Arc::clone(storage))).build().unwrap()
}

#[test]
fn the_append_only_file_of_a_replica_has_what_the_replica_has() {
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    let mut primary = Primary::new(&cache(false), PrimaryOptions::new()).unwrap();
    fill(primary.cache(), 50);
    let own = logged(&storage, true);
    let mut replica = Replica::new(&own, ReplicaOptions::new("r")).unwrap();
    let link = connect(&mut primary, &mut replica, 0);
    settle(&mut primary, &mut replica, link, 0).unwrap();
    primary.cache().set(b"after", b"v").unwrap();
    assert!(primary.cache().remove(b"key 0"));
    settle(&mut primary, &mut replica, link, 0).unwrap();
    assert!(own.contains(b"after") && own.len() == 50);
    drop(replica);
    own.close().unwrap();
    let again = logged(&storage, false);
    assert!(again.contains(b"after") && !again.contains(b"key 0"));
    assert_eq!(again.len(), 50);
}

#[test]
fn what_a_primary_restores_reaches_its_replicas_and_its_file() {
    let (snapshots, storage) = (Memory::new(), Arc::new(Memory::new()) as Arc<dyn Storage>);
    let source = cache(false);
    fill(&source, 30);
    source.snapshot_to(&snapshots, "s", &SnapshotOptions::new()).unwrap();
    let own = logged(&storage, false);
    let mut primary = Primary::new(&own, PrimaryOptions::new()).unwrap();
    let theirs = cache(true);
    let mut replica = Replica::new(&theirs, ReplicaOptions::new("r")).unwrap();
    own.set(b"before", b"v").unwrap();
    let link = connect(&mut primary, &mut replica, 0);
    settle(&mut primary, &mut replica, link, 0).unwrap();
    assert!(theirs.contains(b"before"));
    own.restore_from(&snapshots, "s", &RestoreOptions::new()).unwrap();
    settle(&mut primary, &mut replica, link, 0).unwrap();
    assert!(has_all(&own, 30) && has_all(&theirs, 30));
    drop(primary);
    own.close().unwrap();
    assert!(has_all(&logged(&storage, false), 30));
}
