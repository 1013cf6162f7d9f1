//! What the log costs: sets a second of fifty writers, in process, and of a Redis server over the network.

use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use larder::Cache;
use larder::oplog::{AppendOptions, Fsync};
use larder::storage::Files;

use super::redis_side::{self, PORT};
use super::{Args, Row, fill_value, key_of};

const WRITERS: u64 = 50;
/// Sets that a writer has under way at once, in the second row of a mode.
const DEEP: usize = 16;
const LONG: Duration = Duration::from_secs(3);
/// Requests of a run of redis-benchmark; some seconds.
const REQUESTS: u64 = 400_000;

const MODES: [(Fsync, &str); 2] = [(Fsync::EverySecond, "everysec"), (Fsync::Always, "always")];

fn row(who: &str, mode: &str, alone: f64, deep: f64) -> Row {
    let figures = vec![("one by one, sets a second", alone), ("16 at a time, sets a second", deep)];
    Row { name: format!("{who}, log {mode}, 50 writers"), figures }
}

/// Sets a second of fifty threads that write so many keys at a time: by themselves, or in one update.
fn sets(args: &Args, folder: &Path, fsync: Fsync, depth: usize) -> Result<f64, Box<dyn Error>> {
    let _ = std::fs::remove_dir_all(folder);
    let limit = (args.gib * f64::from(1 << 30)) as u64;
    let log = AppendOptions::new(Files::new(folder)?).fsync(fsync);
    let cache = Cache::builder().max_memory(limit).append_only(log).build()?;
    let (stop, written, begun) = (AtomicBool::new(false), AtomicU64::new(0), Instant::now());
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (cache, stop, written) = (&cache, &stop, &written);
            scope.spawn(move || {
                let (mut value, mut state) = (vec![0; args.value], writer + 1);
                fill_value(&mut value, writer, 0);
                let mut key = || {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    key_of((state >> 33) % args.count())
                };
                while !stop.load(Relaxed) {
                    let done = if depth == 1 {
                        cache.set(&key(), &value).map(|_| ())
                    } else {
                        let mut keys: Vec<_> = (0..depth).map(|_| key()).collect();
                        keys.sort_unstable();
                        keys.dedup();
                        cache.update(&keys, |update| (0..keys.len()).for_each(|at| update.set(at, &value)))
                    };
                    if done.is_err() {
                        return;
                    }
                    written.fetch_add(depth as u64, Relaxed);
                }
            });
        }
        std::thread::sleep(LONG);
        stop.store(true, Relaxed);
    });
    Ok(written.into_inner() as f64 / begun.elapsed().as_secs_f64())
}

/// Measures both modes of the cache's log.
pub(crate) fn measure(args: &Args, folder: &Path, mut show: impl FnMut(&Row)) -> Result<(), Box<dyn Error>> {
    let folder = folder.join("log");
    for (fsync, name) in MODES {
        let (alone, deep) = (sets(args, &folder, fsync, 1)?, sets(args, &folder, fsync, DEEP)?);
        show(&row("larder, in process", name, alone, deep));
    }
    Ok(())
}

/// What redis-benchmark, which comes with the server, says of it.
fn benchmark(args: &Args, depth: usize) -> Result<f64, String> {
    let mut command = Command::new("redis-benchmark");
    command.args(["-p", &PORT.to_string(), "-t", "set", "--csv", "-c", &WRITERS.to_string()]);
    command.args(["-n", &REQUESTS.to_string(), "-P", &depth.to_string()]);
    command.args(["-d", &args.value.to_string(), "-r", &args.count().to_string()]);
    let output = command.output().map_err(|e| format!("redis-benchmark: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix("\"SET\",\""));
    let number = line.and_then(|rest| rest.split('"').next()?.parse().ok());
    number.ok_or_else(|| format!("redis-benchmark says: {text}"))
}

/// Measures both modes of the server's log; says so where there is no server.
pub(crate) fn measure_redis(
    args: &Args,
    server: &str,
    folder: &Path,
    mut show: impl FnMut(&Row),
) -> Result<(), String> {
    if !redis_side::is_installed(server) {
        return Ok(());
    }
    for (_, name) in MODES {
        let folder = folder.join(format!("redis-{name}"));
        std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let running = redis_side::start(server, &folder, &["--appendonly", "yes", "--appendfsync", name])?;
        show(&row("redis-server", name, benchmark(args, 1)?, benchmark(args, DEEP)?));
        drop(running);
    }
    Ok(())
}
