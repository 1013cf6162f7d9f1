//! Who is connected, for `stats conns`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Doing {
    Listening,
    Reading,
    ReadingValue,
    Swallowing,
    Working,
    Watching,
}

impl Doing {
    const NAMES: [&str; 6] =
        ["conn_listening", "conn_read", "conn_nread", "conn_swallow", "conn_parse_cmd", "conn_watch"];
}

/// One that is connected, or listens.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) addr: Box<str>,
    pub(super) listen_addr: Box<str>,
    doing: AtomicU8,
    /// When its last request came, in milliseconds since the Unix epoch.
    last_ms: AtomicU64,
}

impl Peer {
    pub(super) fn is(&self, doing: Doing) {
        self.doing.store(doing as u8, Relaxed);
    }

    pub(super) fn asked_at(&self, now_ms: u64) {
        self.last_ms.store(now_ms, Relaxed);
    }

    pub(super) fn state(&self) -> &'static str {
        Doing::NAMES[usize::from(self.doing.load(Relaxed)).min(Doing::NAMES.len() - 1)]
    }

    pub(super) fn is_listening(&self) -> bool {
        self.doing.load(Relaxed) == Doing::Listening as u8
    }

    pub(super) fn idle_seconds(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.last_ms.load(Relaxed)) / 1000
    }
}

type Peers = Arc<Mutex<BTreeMap<(u64, u64), Arc<Peer>>>>;

/// All of them, by the number that the owner of the sockets gave, and one that tells those of the same number apart.
#[derive(Debug)]
pub(super) struct Registry {
    peers: Peers,
    next: AtomicU64,
}

/// Keeps a peer in the registry.
#[derive(Debug)]
pub(super) struct Registered {
    peers: Peers,
    key: (u64, u64),
    pub(super) peer: Arc<Peer>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.peers.lock().remove(&self.key);
    }
}

impl Registry {
    pub(super) fn new(peers: BTreeMap<(u64, u64), Arc<Peer>>) -> Registry {
        Registry { peers: Arc::new(Mutex::new(peers)), next: AtomicU64::new(0) }
    }

    fn add(&self, id: u64, addr: &str, listen_addr: &str, doing: Doing, now_ms: u64) -> Registered {
        let peer = Arc::new(Peer {
            addr: addr.into(),
            listen_addr: listen_addr.into(),
            doing: AtomicU8::new(doing as u8),
            last_ms: AtomicU64::new(now_ms),
        });
        let key = (id, self.next.fetch_add(1, Relaxed));
        self.peers.lock().insert(key, Arc::clone(&peer));
        Registered { peers: Arc::clone(&self.peers), key, peer }
    }

    pub(super) fn listening(&self, id: u64, addr: &str, now_ms: u64) -> Registered {
        self.add(id, addr, "", Doing::Listening, now_ms)
    }

    pub(super) fn connected(&self, id: u64, addr: &str, listen_addr: &str, now_ms: u64) -> Registered {
        self.add(id, addr, listen_addr, Doing::Reading, now_ms)
    }

    pub(super) fn all(&self) -> Vec<(u64, Arc<Peer>)> {
        self.peers.lock().iter().map(|(key, peer)| (key.0, Arc::clone(peer))).collect()
    }
}
