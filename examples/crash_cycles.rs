//! A process that writes to a cache with an append-only file is killed, over and over; each time the cache comes back
//! with everything that was acknowledged. `cargo run --release --example crash_cycles -- --cycles 100`
//!
//! ```text
//!  parent ──starts──► child: two threads write, and say on a pipe which write was acknowledged
//!         ──SIGKILL─► (at any moment: within a write, a sync, a rewrite of the log)
//!         opens the log itself: each thread's keys are as after its last acknowledged write, or after the one that was
//!         under way
//! ```
//! What each write does follows from its thread and number, so the parent knows what has to be there.

#[path = "support/command.rs"]
mod command;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use command::Parsed;
use larder::Cache;
use larder::oplog::{AppendOptions, Fsync};
use larder::storage::Files;
use lexopt::prelude::*;

const HELP: &str = "\
Kills a process that writes to a logged cache, again and again, and looks at what comes back.

Usage: crash_cycles [options]

  --cycles N     how often (5)
  --fsync WHEN   always, everysec, no; by turns if not given
  --folder PATH  where the log is (a temporary folder, removed afterwards)
  --seed N       of the moments at which the process is killed (1)
  -h, --help     this text

Exit code 1 when an acknowledged write was lost.
";

const THREADS: usize = 2;
const KEYS: u64 = 200;

#[derive(Debug)]
struct Args {
    cycles: u64,
    fsync: Option<Fsync>,
    folder: Option<PathBuf>,
    seed: u64,
    /// Where the threads of a child go on; none in the parent.
    from: Option<Vec<u64>>,
}

fn fsync_of(name: &str) -> Result<Fsync, String> {
    match name {
        "always" => Ok(Fsync::Always),
        "everysec" => Ok(Fsync::EverySecond),
        "no" => Ok(Fsync::No),
        other => Err(format!("{other:?} is not always, everysec or no")),
    }
}

fn parse() -> Result<Parsed<Args>, String> {
    let mut args = Args { cycles: 5, fsync: None, folder: None, seed: 1, from: None };
    let mut parser = lexopt::Parser::from_env();
    let text = |parser: &mut lexopt::Parser| {
        parser.value().and_then(|value| value.string()).map_err(|error| error.to_string())
    };
    let number = |text: String| text.parse::<u64>().map_err(|_| format!("{text:?} is no number"));
    while let Some(arg) = parser.next().map_err(|error| error.to_string())? {
        match arg {
            Long("cycles") => args.cycles = number(text(&mut parser)?)?,
            Long("seed") => args.seed = number(text(&mut parser)?)?,
            Long("fsync") => args.fsync = Some(fsync_of(&text(&mut parser)?)?),
            Long("folder") => args.folder = Some(text(&mut parser)?.into()),
            // For the child.
            Long("from") => {
                let numbers: Result<Vec<u64>, String> =
                    text(&mut parser)?.split(',').map(|n| number(n.to_owned())).collect();
                args.from = Some(numbers?);
            }
            Short('h') | Long("help") => return Ok(Parsed::Help),
            other => return Err(other.unexpected().to_string()),
        }
    }
    Ok(Parsed::Run(args))
}

fn main() -> ExitCode {
    command::run("crash_cycles", HELP, parse(), |args| match &args.from {
        Some(from) => child(args, from),
        None => parent(args),
    })
}

fn random(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// What a write does.
enum Deed {
    Set(Vec<u8>, Vec<u8>),
    Both([Vec<u8>; 2], Vec<u8>),
    Remove(Vec<u8>),
}

/// The write of a thread with this number.
fn write_of(thread: usize, number: u64) -> Deed {
    let chance = random(number * THREADS as u64 + thread as u64);
    let key = |which: u64| (random(chance ^ which) % KEYS).to_le_bytes().to_vec();
    let value = [number.to_le_bytes().to_vec(), vec![thread as u8; (chance >> 8) as usize % 400]].concat();
    match chance % 8 {
        0 => Deed::Remove(key(1)),
        1 => {
            let first = random(chance) % KEYS;
            Deed::Both([first.to_le_bytes().to_vec(), ((first + 1) % KEYS).to_le_bytes().to_vec()], value)
        }
        _ => Deed::Set(key(1), value),
    }
}

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn note(model: &mut Model, write: Deed) {
    match write {
        Deed::Set(key, value) => drop(model.insert(key, value)),
        Deed::Both(keys, value) => keys.into_iter().for_each(|key| drop(model.insert(key, value.clone()))),
        Deed::Remove(key) => drop(model.remove(&key)),
    }
}

fn open(folder: &Path, fsync: Fsync) -> Result<Cache, String> {
    let storage = Files::new(folder).map_err(|error| error.to_string())?;
    // Small, so that it is often being rewritten.
    let options = AppendOptions::new(storage).fsync(fsync).rewrite(100, 256 << 10);
    Cache::builder().max_memory(16 << 20).append_only(options).build().map_err(|error| error.to_string())
}

fn child(args: &Args, from: &[u64]) -> Result<(), String> {
    let folder = args.folder.as_deref().ok_or("the child was given no folder")?;
    let cache = open(folder, args.fsync.unwrap_or_default())?;
    std::thread::scope(|scope| {
        for (thread, &from) in from.iter().enumerate() {
            let cache = cache.namespace(thread as u8);
            scope.spawn(move || {
                for number in from.. {
                    let done = match write_of(thread, number) {
                        Deed::Set(key, value) => cache.set(&key, &value),
                        Deed::Both(keys, value) => {
                            cache.update(&keys, |update| (0..2).for_each(|i| update.set(i, &value)))
                        }
                        Deed::Remove(key) => {
                            cache.remove(&key);
                            cache.sync_log()
                        }
                    };
                    if let Err(error) = done {
                        eprintln!("write {number} of thread {thread}: {error}");
                        return;
                    }
                    // One small write to a pipe is whole or not there. The parent is gone when it fails.
                    if std::io::stdout().write_all(format!("{thread} {number}\n").as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    Ok(())
}

/// Ends with the parent, whatever ends that.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a child, kills it after a while, and returns the last number that each thread has had acknowledged.
fn run_child(folder: &Path, fsync: Fsync, from: &[u64], lives: Duration) -> Result<Vec<u64>, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let name = match fsync {
        Fsync::Always => "always",
        Fsync::No => "no",
        _ => "everysec",
    };
    let from_text: Vec<String> = from.iter().map(u64::to_string).collect();
    let mut command = Command::new(program);
    command.arg("--folder").arg(folder).args(["--fsync", name, "--from", &from_text.join(",")]);
    let mut running =
        Running(command.stdout(Stdio::piped()).spawn().map_err(|error| format!("cannot start a child: {error}"))?);
    let output = running.0.stdout.take().ok_or("the child has no output")?;
    let reader = std::thread::spawn(move || {
        let mut acknowledged = vec![None; THREADS];
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let mut words = line.split(' ').map(str::parse::<u64>);
            if let (Some(Ok(thread)), Some(Ok(number))) = (words.next(), words.next()) {
                acknowledged[thread as usize] = Some(number);
            }
        }
        acknowledged
    });
    std::thread::sleep(lives);
    drop(running);
    let acknowledged = reader.join().map_err(|_| "the reader of the child's output panicked")?;
    Ok(acknowledged.into_iter().zip(from).map(|(last, &from)| last.map_or(from, |last| last + 1)).collect())
}

fn contents(cache: &Cache) -> Model {
    cache.iter().map(|entry| (entry.key.to_vec(), entry.value.map_or_else(Vec::new, |value| value.to_vec()))).collect()
}

fn parent(args: &Args) -> Result<(), String> {
    let own = std::env::temp_dir().join(format!("larder-crash-cycles-{}", std::process::id()));
    let folder = args.folder.clone().unwrap_or(own);
    let (mut models, mut next) = (vec![Model::new(); THREADS], vec![0; THREADS]);
    let (mut cuts, begun) = (0, Instant::now());
    for cycle in 0..args.cycles {
        let fsync = args.fsync.unwrap_or([Fsync::Always, Fsync::EverySecond][cycle as usize % 2]);
        let lives = Duration::from_millis(30 + random(args.seed ^ cycle << 32) % 200);
        let acknowledged = run_child(&folder, fsync, &next, lives)?;
        let cache = open(&folder, fsync)?;
        cuts += u64::from(cache.recovery().is_some_and(|recovery| recovery.cut.is_some()));
        for (thread, model) in models.iter_mut().enumerate() {
            (next[thread]..acknowledged[thread]).for_each(|number| note(model, write_of(thread, number)));
            next[thread] = acknowledged[thread];
            let found = contents(&cache.namespace(thread as u8));
            if found != *model {
                // The one that was under way.
                note(model, write_of(thread, next[thread]));
                next[thread] += 1;
            }
            if found != *model {
                let last = acknowledged[thread];
                return Err(format!(
                    "cycle {cycle} ({fsync:?}): thread {thread} had {last} writes acknowledged, and they are not what \
                     came back; the log is in {}",
                    folder.display()
                ));
            }
        }
    }
    let writes: u64 = next.iter().sum();
    let took = begun.elapsed().as_secs_f64();
    println!("{} cycles in {took:.1} s: {writes} writes, none of those acknowledged was lost", args.cycles);
    println!("{cuts} torn ends were cut off");
    if args.folder.is_none() {
        std::fs::remove_dir_all(&folder).map_err(|error| error.to_string())?;
    }
    Ok(())
}
