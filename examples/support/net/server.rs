//! Starting and stopping: the acceptor takes connections and hands them to the workers in turn.

use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use larder::Cache;
use mio::net::{TcpListener, UnixListener};
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use rustix::net::sockopt;

use super::access::{AllowList, Network};
use super::listen::{Datagrams, Listener, Listening};
use super::stream::Stream;
use super::worker::{Arrival, WAKE, Worker};
use super::{Front, Note, Peer};

/// How connections are served.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) threads: usize,
    pub(crate) max_connections: usize,
    /// Refuse connections beyond that, rather than leave them waiting.
    pub(crate) refuse_fast: bool,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) requests_per_event: usize,
    /// Replies that may wait for one client before no more of its requests are carried out.
    pub(crate) reply_bytes: usize,
    /// Bytes that all connections together may take, beside what the cache's ledger allows; 0 for no such limit.
    pub(crate) memory_limit: usize,
    #[cfg(feature = "example-tls")]
    pub(crate) tls: Option<super::tls::Acceptor>,
}

/// Whether the server is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    No,
    /// Replies that are ready are sent first.
    Graceful,
    Now,
}

/// What acceptor and workers share.
pub(super) struct Shared<F> {
    pub(super) front: F,
    pub(super) cache: Cache,
    pub(super) settings: Settings,
    pub(super) access: AllowList,
    /// Counts changes of `access`.
    pub(super) access_version: AtomicU64,
    open: AtomicUsize,
    stop: AtomicU8,
    stopped: (Mutex<bool>, Condvar),
    /// The acceptor waits for a connection to end.
    paused: AtomicBool,
    /// The acceptor's, then each worker's.
    wakers: Vec<Waker>,
}

impl<F: Front> Shared<F> {
    pub(super) fn stop(&self) -> Stop {
        match self.stop.load(Acquire) {
            0 => Stop::No,
            1 => Stop::Graceful,
            _ => Stop::Now,
        }
    }

    pub(super) fn end(&self, how: Stop) {
        self.stop.fetch_max(how as u8, AcqRel);
        *lock(&self.stopped.0) = true;
        self.stopped.1.notify_all();
        self.wake();
    }

    fn wake(&self) {
        for waker in &self.wakers {
            let _ = waker.wake();
        }
    }

    /// A connection has ended.
    pub(super) fn closed(&self) {
        self.open.fetch_sub(1, SeqCst);
        if self.paused.load(SeqCst) {
            let _ = self.wakers[0].wake();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A server that runs.
pub(crate) struct Server<F: Front> {
    shared: Arc<Shared<F>>,
    threads: Vec<JoinHandle<Result<(), String>>>,
}

impl<F: Front> fmt::Debug for Server<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}

/// Ends a server, and changes who may come in, from any thread.
pub(crate) struct Control<F>(Arc<Shared<F>>);

impl<F: Front> Control<F> {
    /// Ends the server; a second call may turn a graceful end into an immediate one.
    pub(crate) fn stop(&self, how: Stop) {
        self.0.end(how);
    }

    /// Lets in this machine and `networks`, and nobody else: connections from elsewhere end. Says whether anything
    /// changed.
    pub(crate) fn allow(&self, networks: &[Network]) -> bool {
        let changed = self.0.access.replace(networks);
        if changed {
            self.0.access_version.fetch_add(1, Release);
            self.0.wake();
        }
        changed
    }
}

impl<F: Front> Server<F> {
    /// Starts the threads. `cache`'s ledger is charged with the connections' memory.
    pub(crate) fn start(
        front: F,
        cache: Cache,
        settings: Settings,
        access: AllowList,
        listeners: Vec<Listener>,
        mut datagrams: Vec<Datagrams>,
    ) -> Result<Server<F>, String> {
        let problem = |e: io::Error| format!("cannot start the event loops: {e}");
        let polls: Vec<Poll> =
            (0..=settings.threads).map(|_| Poll::new()).collect::<Result<_, _>>().map_err(problem)?;
        let wakers = polls.iter().map(|poll| Waker::new(poll.registry(), WAKE)).collect::<Result<_, _>>();
        let shared = Arc::new(Shared {
            front,
            cache,
            settings,
            access,
            access_version: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            stop: AtomicU8::new(0),
            stopped: (Mutex::new(false), Condvar::new()),
            paused: AtomicBool::new(false),
            wakers: wakers.map_err(problem)?,
        });
        let mut polls = polls.into_iter();
        let own = polls.next().ok_or("no event loop")?;
        let (mut threads, mut workers) = (Vec::new(), Vec::new());
        for (i, poll) in polls.enumerate() {
            let (sender, receiver) = channel();
            workers.push(sender);
            let worker = Worker::new(poll, receiver, std::mem::take(&mut datagrams), Arc::clone(&shared))?;
            threads.push(spawn(&format!("worker-{i}"), &shared, move || worker.run())?);
        }
        let acceptor =
            Acceptor { poll: own, listeners, workers, next: 0, paused_at: None, shared: Arc::clone(&shared) };
        threads.push(spawn("acceptor", &shared, move || acceptor.run())?);
        Ok(Server { shared, threads })
    }

    pub(crate) fn control(&self) -> Control<F> {
        Control(Arc::clone(&self.shared))
    }

    /// Waits until the server has ended.
    pub(crate) fn wait(self) -> Result<(), String> {
        let mut stopped = lock(&self.shared.stopped.0);
        while !*stopped {
            stopped = self.shared.stopped.1.wait(stopped).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        drop(stopped);
        let mut ended = Ok(());
        for thread in self.threads {
            ended = ended.and(thread.join().unwrap_or_else(|_| Err("a thread has panicked".into())));
        }
        ended
    }
}

/// A thread whose failure, or panic, ends the server.
fn spawn<F: Front>(
    name: &str,
    shared: &Arc<Shared<F>>,
    work: impl FnOnce() -> Result<(), String> + Send + 'static,
) -> Result<JoinHandle<Result<(), String>>, String> {
    struct EndsAll<F: Front>(Arc<Shared<F>>);
    impl<F: Front> Drop for EndsAll<F> {
        fn drop(&mut self) {
            self.0.end(Stop::Graceful);
        }
    }
    let guard = EndsAll(Arc::clone(shared));
    let thread = std::thread::Builder::new().name(name.into()).stack_size(1 << 20).spawn(move || {
        let _guard = guard;
        work()
    });
    thread.map_err(|e| format!("cannot start a thread: {e}"))
}

/// Takes connections.
struct Acceptor<F: Front> {
    poll: Poll,
    listeners: Vec<Listener>,
    workers: Vec<Sender<Arrival>>,
    next: usize,
    /// Since when no connection can be taken.
    paused_at: Option<Instant>,
    shared: Arc<Shared<F>>,
}

/// What came of accepting from one listener.
enum Accepted {
    All,
    /// No room for more: to be tried again when a connection has ended, or soon.
    Full {
        soon: bool,
    },
}

impl<F: Front> Acceptor<F> {
    fn run(mut self) -> Result<(), String> {
        for (i, listener) in self.listeners.iter_mut().enumerate() {
            let registry: &Registry = self.poll.registry();
            let registered = match &mut listener.socket {
                Listening::Tcp(socket) => registry.register(socket, Token(i), Interest::READABLE),
                Listening::Unix(socket) => registry.register(socket, Token(i), Interest::READABLE),
            };
            registered.map_err(|e| format!("cannot poll {}: {e}", listener.place))?;
        }
        let mut events = Events::with_capacity(64);
        let mut timeout = None;
        while self.shared.stop() == Stop::No {
            match self.poll.poll(&mut events, timeout.take()) {
                Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(format!("cannot poll sockets: {e}")),
                _ => {}
            }
            // Few listeners, few events: all are tried, which also takes up again what was left when there was no room.
            for i in 0..self.listeners.len() {
                if let Accepted::Full { soon } = self.accept_all(i) {
                    timeout = soon.then_some(Duration::from_millis(10));
                    break;
                }
            }
        }
        Ok(())
    }

    fn accept_all(&mut self, i: usize) -> Accepted {
        loop {
            if !self.shared.settings.refuse_fast && !self.has_room() {
                return Accepted::Full { soon: false };
            }
            let accepted = match &self.listeners[i].socket {
                Listening::Tcp(socket) => accept_tcp(socket),
                Listening::Unix(socket) => accept_unix(socket),
            };
            let (stream, address) = match accepted {
                Ok(accepted) => {
                    self.resume();
                    accepted
                }
                Err(e) => match e.kind() {
                    io::ErrorKind::WouldBlock => {
                        self.resume();
                        return Accepted::All;
                    }
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => continue,
                    _ => {
                        // Out of file descriptors or memory: connections that end make room.
                        self.pause();
                        return Accepted::Full { soon: true };
                    }
                },
            };
            if address.is_some_and(|address| !self.shared.access.allows(address.ip())) {
                self.shared.front.note(Note::Denied);
                continue;
            }
            if self.shared.open.load(Acquire) >= self.shared.settings.max_connections {
                self.shared.front.note(Note::Rejected);
                refuse(stream, F::FULL);
                continue;
            }
            self.hand_over(stream, address, i);
        }
    }

    /// Whether there may be one more connection; if not, the next one that ends wakes this thread.
    fn has_room(&mut self) -> bool {
        let most = self.shared.settings.max_connections;
        if self.shared.open.load(Acquire) < most {
            self.shared.paused.store(false, Release);
            return true;
        }
        self.pause();
        // One may have ended before `paused` was set.
        self.shared.paused.store(true, SeqCst);
        self.shared.open.load(SeqCst) < most
    }

    fn pause(&mut self) {
        if self.paused_at.is_none() {
            self.paused_at = Some(Instant::now());
            self.shared.front.note(Note::Paused);
        }
    }

    fn resume(&mut self) {
        if let Some(since) = self.paused_at.take() {
            self.shared.front.note(Note::Resumed(since.elapsed()));
        }
    }

    fn hand_over(&mut self, stream: Stream, address: Option<std::net::SocketAddr>, i: usize) {
        let listener = &self.listeners[i];
        let peer = Peer { fd: stream.fd(), listener: listener.number, address };
        #[cfg(feature = "example-tls")]
        let stream = match (&self.shared.settings.tls, stream) {
            (Some(tls), Stream::Tcp(socket)) => match tls.accept(socket) {
                Ok(stream) => stream,
                Err(_) => return self.shared.front.note(Note::Rejected),
            },
            (_, stream) => stream,
        };
        self.shared.open.fetch_add(1, AcqRel);
        let worker = self.next;
        self.next = (worker + 1) % self.workers.len();
        if self.workers[worker].send(Arrival { stream, peer }).is_err() {
            // That worker has ended, and so will the server.
            self.shared.closed();
            return;
        }
        let _ = self.shared.wakers[worker + 1].wake();
    }
}

type Pair = (Stream, Option<std::net::SocketAddr>);

fn accept_tcp(socket: &TcpListener) -> io::Result<Pair> {
    let (stream, address) = socket.accept()?;
    // Replies go out at once, and peers that have vanished are noticed.
    let _ = stream.set_nodelay(true);
    let _ = sockopt::set_socket_keepalive(&stream, true);
    Ok((Stream::Tcp(stream), Some(address)))
}

fn accept_unix(socket: &UnixListener) -> io::Result<Pair> {
    Ok((Stream::Unix(socket.accept()?.0), None))
}

fn refuse(mut stream: Stream, reason: &[u8]) {
    match &mut stream {
        Stream::Tcp(stream) => drop(stream.write(reason)),
        Stream::Unix(stream) => drop(stream.write(reason)),
        #[cfg(feature = "example-tls")]
        Stream::Tls(_) => {}
    }
}
