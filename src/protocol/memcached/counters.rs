//! What the front-end counts.
//!
//! A connection counts in fields of its own and adds them to one of a few stripes when it is done with its input, so
//! that threads do not meet on a counter at every request. The figures are exact whenever a reply has been sent, but
//! for the bytes of that reply itself, which are added when its client sends something or goes.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crossbeam_utils::CachePadded;

/// What is counted by connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Count {
    Gets,
    GetHits,
    GetMisses,
    Sets,
    Flushes,
    Touches,
    TouchHits,
    TouchMisses,
    Metas,
    DeleteHits,
    DeleteMisses,
    IncrHits,
    IncrMisses,
    DecrHits,
    DecrMisses,
    CasHits,
    CasMisses,
    CasBadval,
    TooLarge,
    NoMemory,
    Auths,
    AuthErrors,
    ConfigGets,
    ConfigSets,
    BytesRead,
    BytesWritten,
    Yields,
}

const COUNTS: usize = Count::Yields as usize + 1;
const STRIPES: usize = 16;

/// All connections' counts.
#[derive(Debug, Default)]
pub(super) struct Counts {
    stripes: [CachePadded<[AtomicU64; COUNTS]>; STRIPES],
}

impl Counts {
    pub(super) fn sum(&self, count: Count) -> u64 {
        self.stripes.iter().map(|stripe| stripe[count as usize].load(Relaxed)).sum()
    }

    pub(super) fn reset(&self) {
        self.stripes.iter().flat_map(|stripe| stripe.iter()).for_each(|count| count.store(0, Relaxed));
    }
}

/// One connection's counts since it last handed them over.
#[derive(Debug)]
pub(super) struct Tally {
    counts: [u64; COUNTS],
    /// A bit for each count that is not 0.
    changed: u32,
    stripe: usize,
}

const _: () = assert!(COUNTS <= 32);

impl Tally {
    pub(super) fn new(connection: u64) -> Tally {
        Tally { counts: [0; COUNTS], changed: 0, stripe: connection as usize % STRIPES }
    }

    #[inline]
    pub(super) fn add(&mut self, count: Count, n: u64) {
        self.counts[count as usize] += n;
        self.changed |= 1 << count as u32;
    }

    #[inline]
    pub(super) fn one(&mut self, count: Count) {
        self.add(count, 1);
    }

    /// Adds up what was counted.
    #[inline]
    pub(super) fn hand_over(&mut self, all: &Counts) {
        while self.changed != 0 {
            let i = self.changed.trailing_zeros() as usize;
            self.changed &= self.changed - 1;
            all.stripes[self.stripe][i].fetch_add(std::mem::take(&mut self.counts[i]), Relaxed);
        }
    }
}

/// Counts of what happens to connections, which the owner of the sockets keeps.
///
/// # Examples
/// ```
/// use larder::{Cache, protocol::memcached::Server};
/// let server = Server::builder(Cache::new(1 << 20)?).build();
/// server.connections().rejected(1);
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Connections {
    pub(super) total: AtomicU64,
    pub(super) current: AtomicU64,
    pub(super) rejected: AtomicU64,
    pub(super) kicked: AtomicU64,
    pub(super) not_listening: AtomicU64,
    pub(super) listen_disabled: AtomicU64,
    pub(super) listen_disabled_us: AtomicU64,
    pub(super) read_buffers: AtomicU64,
    pub(super) read_buffer_bytes: AtomicU64,
    pub(super) read_buffer_failures: AtomicU64,
    pub(super) output_bytes: AtomicU64,
    pub(super) output_failures: AtomicU64,
}

impl Connections {
    /// Connections that are open.
    ///
    /// # Examples
    /// ```
    /// # use larder::{Cache, protocol::memcached::Server};
    /// assert_eq!(Server::builder(Cache::new(1 << 20)?).build().connections().open(), 0);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn open(&self) -> u64 {
        self.current.load(Relaxed)
    }

    /// Connections that were ever opened.
    ///
    /// # Examples
    /// ```
    /// # use larder::{Cache, protocol::memcached::Server};
    /// assert_eq!(Server::builder(Cache::new(1 << 20)?).build().connections().opened(), 0);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn opened(&self) -> u64 {
        self.total.load(Relaxed)
    }

    /// Connections were turned away because there are too many.
    ///
    /// # Examples
    /// See [`Connections`].
    pub fn rejected(&self, n: u64) {
        self.rejected.fetch_add(n, Relaxed);
    }

    /// Connections were closed because they were idle.
    ///
    /// # Examples
    /// ```
    /// # use larder::{Cache, protocol::memcached::Server};
    /// Server::builder(Cache::new(1 << 20)?).build().connections().kicked(1);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn kicked(&self, n: u64) {
        self.kicked.fetch_add(n, Relaxed);
    }

    /// Whether new connections are accepted now. Each time that they are not is counted.
    ///
    /// # Examples
    /// ```
    /// # use larder::{Cache, protocol::memcached::Server};
    /// Server::builder(Cache::new(1 << 20)?).build().connections().accepting(false);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn accepting(&self, yes: bool) {
        let before = self.not_listening.swap(u64::from(!yes), Relaxed);
        if !yes && before == 0 {
            self.listen_disabled.fetch_add(1, Relaxed);
        }
    }

    /// New connections had to wait for so long.
    ///
    /// # Examples
    /// ```
    /// # use larder::{Cache, protocol::memcached::Server};
    /// let server = Server::builder(Cache::new(1 << 20)?).build();
    /// server.connections().waited(std::time::Duration::from_millis(5));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn waited(&self, time: std::time::Duration) {
        self.listen_disabled_us.fetch_add(time.as_micros() as u64, Relaxed);
    }

    /// There are so many buffers for reading more, of so many bytes in all.
    ///
    /// # Examples
    /// ```
    /// # use larder::{Cache, protocol::memcached::Server};
    /// Server::builder(Cache::new(1 << 20)?).build().connections().add_buffers(2, 32 << 10);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn add_buffers(&self, count: u64, bytes: u64) {
        self.read_buffers.fetch_add(count, Relaxed);
        self.read_buffer_bytes.fetch_add(bytes, Relaxed);
    }

    /// Replies that wait take so many bytes more, or less.
    ///
    /// # Examples
    /// ```
    /// # use larder::{Cache, protocol::memcached::Server};
    /// Server::builder(Cache::new(1 << 20)?).build().connections().output_changed(1 << 20);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn output_changed(&self, by: i64) {
        self.output_bytes.fetch_add(by.cast_unsigned(), Relaxed);
    }

    /// There was no memory to read into (`reading`) or to put replies into.
    ///
    /// # Examples
    /// ```
    /// # use larder::{Cache, protocol::memcached::Server};
    /// Server::builder(Cache::new(1 << 20)?).build().connections().out_of_memory(true);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn out_of_memory(&self, reading: bool) {
        let failures = if reading { &self.read_buffer_failures } else { &self.output_failures };
        failures.fetch_add(1, Relaxed);
    }

    pub(super) fn reset(&self) {
        for count in [&self.total, &self.rejected, &self.kicked, &self.listen_disabled, &self.listen_disabled_us] {
            count.store(0, Relaxed);
        }
    }
}
