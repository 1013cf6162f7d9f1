//! A closed cache whose files were changed: opened, it begins warm or cold, its invariants hold, and it can be used.
//!
//! ```text
//!  input: 4 bytes a change ─► which file and whether its sum is put right │ where (2) │ flipped bits
//! ```
//! Half of the changes to `state` are given a right sum for the header: then what lies behind the sum is reached too.
#![no_main]

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use larder::{Cache, CacheBuilder, Maintenance, ManualClock, SetOptions, WarmRestart};
use libfuzzer_sys::fuzz_target;
use rapidhash::v3::{RapidSecrets, rapidhash_v3_inline};

const ITEMS: u32 = 60;

struct Closed {
    folder: PathBuf,
    state: Vec<u8>,
    items: Vec<u8>,
    len: u64,
}

fn builder(folder: &PathBuf) -> CacheBuilder {
    let builder = Cache::builder().max_memory(256 << 10).page_size(1024).shards(1).seed(1);
    let builder = builder.clock(ManualClock::new(1_000_000)).maintenance(Maintenance::Manual);
    builder.warm_restart(WarmRestart::new(folder))
}

fn closed() -> &'static Closed {
    static CLOSED: OnceLock<Closed> = OnceLock::new();
    CLOSED.get_or_init(|| {
        let folder = PathBuf::from(format!("/dev/shm/larder-fuzz-warm-{}", std::process::id()));
        let cache = builder(&folder).build().expect("a cache");
        for i in 0..ITEMS {
            let options = SetOptions::new().ttl(Duration::from_millis(u64::from(i) + 1)).flags(i);
            let options = if i % 2 == 0 { options.tag("t").want_token() } else { options };
            cache.namespace(i as u8 % 3).set_with(&i.to_le_bytes(), &vec![7; i as usize * 20], &options).expect("room");
        }
        cache.close().expect("closed");
        let state = fs::read(folder.join("state")).expect("state");
        let file = fs::File::open(folder.join("items")).expect("items");
        let mut items = vec![0; 60 << 10];
        file.read_exact_at(&mut items, 0).expect("items");
        let len = file.metadata().expect("items").len();
        Closed { folder, state, items, len }
    })
}

fuzz_target!(|input: &[u8]| {
    let closed = closed();
    let (mut state, mut items) = (closed.state.clone(), closed.items.clone());
    for change in input.chunks_exact(4) {
        let (file, right) = if change[0] & 1 == 0 { (&mut state, change[0] & 2 == 0) } else { (&mut items, false) };
        let at = usize::from(u16::from_le_bytes([change[1], change[2]])) % file.len();
        file[at] ^= change[3];
        let end = u64::from_le_bytes(closed.state[16..24].try_into().expect("eight bytes")) as usize;
        if right {
            let sum =
                rapidhash_v3_inline::<true, false, false>(&state[..end - 8], &RapidSecrets::seed_cpp(0x6c61_7264));
            state[end - 8..end].copy_from_slice(&sum.to_le_bytes());
        }
    }
    fs::write(closed.folder.join("state"), &state).expect("written");
    let file = OpenOptions::new().write(true).truncate(true).open(closed.folder.join("items")).expect("items");
    file.write_all_at(&items, 0).expect("written");
    file.set_len(closed.len).expect("room");
    let cache = builder(&closed.folder).build().expect("warm or cold, a cache");
    cache.check_invariants();
    for i in 0..ITEMS {
        let handle = cache.namespace(i as u8 % 3);
        let _ = handle.get(&i.to_le_bytes()).map(|value| value.map(|value| value.len()));
        handle.set(&i.to_be_bytes(), &[1; 300]).expect("room");
        handle.remove(&i.to_le_bytes());
    }
    cache.invalidate_tag(b"t");
    cache.clear_all();
    let _ = cache.run_maintenance(Duration::from_secs(1));
    cache.check_invariants();
});
