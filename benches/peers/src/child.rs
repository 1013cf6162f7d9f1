//! One contender in a process of its own, so that the memory that becomes resident is its alone.
//!
//! ```text
//!  peers ──► peers --child limit --contender moka ──► one JSON object
//!       └── objects of a trace, on standard input ─┘
//! ```
//! A child has everything it needs - values, a trace - in memory before it looks at its resident memory and builds the
//! contender; the growth is what was added by then.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::Failure;
use crate::contender::{Capacity, Contender, Refusal};
use crate::contenders::{self, Visitor};
use crate::process::memory_bytes;
use crate::rng::{Rng, mix};
use crate::workload::{self, exponential_size, key_of};

/// Bytes of a key and a value in the case `overhead`.
pub(crate) const OVERHEAD_KEY_BYTES: usize = 24;
pub(crate) const OVERHEAD_VALUE_BYTES: usize = 100;
/// The mean item of the case `limit`.
const LIMIT_ITEM_BYTES: u64 = 420;
/// Inserts between two looks at the clock.
const STRIDE: u64 = 1024;
/// A density is taken after this time at the latest; every cache is full once by then.
const DENSITY_TIME: Duration = Duration::from_secs(10);
/// Requests after which a contender may finish what it does behind the caller's back. A trace is played in a thousandth
/// of the time it was recorded in; without this a cache that trims itself now and then would run the trace with more
/// memory than it was given (stretto, most of all, with many times as much).
const SETTLE_EVERY: u64 = 32;
/// Looks at resident memory in a replay.
const LOOKS: usize = 100;
/// The longest value there is noise for; longer ones of a trace are as long as this.
pub(crate) const VALUE_BYTES_MAX: usize = 8 << 20;

/// What a child is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// Insert so many entries, with room for a quarter more.
    Overhead { items: u64 },
    /// Insert so many entries of mixed sizes under a limit in bytes, for so long at most.
    Limit { limit: u64, inserts: u64, seconds: u64 },
    /// Insert new keys of the sizes on standard input until the cache was full three times over, or for ten seconds.
    Density { capacity: Bound },
    /// Play the requests on standard input: a get, and if it misses a set.
    Replay { capacity: Bound },
}

/// A capacity in the unit that the contender counts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    Bytes { limit: u64, items: u64 },
    Entries(u64),
}

impl Bound {
    fn capacity(self) -> Capacity {
        match self {
            Bound::Bytes { limit, items } => Capacity::Bytes { limit, items },
            Bound::Entries(items) => Capacity::entries(items, 0),
        }
    }
}

impl Task {
    /// The task as words of the command line.
    fn words(self) -> Vec<String> {
        let bound = |name: &str, capacity| match capacity {
            Bound::Bytes { limit, items } => {
                vec![name.to_owned(), "bytes".into(), limit.to_string(), items.to_string()]
            }
            Bound::Entries(items) => vec![name.to_owned(), "entries".into(), items.to_string()],
        };
        match self {
            Task::Overhead { items } => vec!["overhead".into(), items.to_string()],
            Task::Limit { limit, inserts, seconds } => {
                vec!["limit".into(), limit.to_string(), inserts.to_string(), seconds.to_string()]
            }
            Task::Density { capacity } => bound("density", capacity),
            Task::Replay { capacity } => bound("replay", capacity),
        }
    }

    /// The task of such words.
    pub(crate) fn parse(words: &[&str]) -> Option<Task> {
        let number = |word: &str| word.parse::<u64>().ok();
        let bound = |words: &[&str]| match words {
            ["bytes", limit, items] => Some(Bound::Bytes { limit: number(limit)?, items: number(items)? }),
            ["entries", items] => Some(Bound::Entries(number(items)?)),
            _ => None,
        };
        match words {
            ["overhead", items] => Some(Task::Overhead { items: number(items)? }),
            ["limit", limit, inserts, seconds] => {
                let (limit, inserts, seconds) = (number(limit)?, number(inserts)?, number(seconds)?);
                Some(Task::Limit { limit, inserts, seconds })
            }
            ["density", rest @ ..] => Some(Task::Density { capacity: bound(rest)? }),
            ["replay", rest @ ..] => Some(Task::Replay { capacity: bound(rest)? }),
            _ => None,
        }
    }
}

/// What a child found out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    /// Resident memory added: at the end (`overhead`, `density`), or at its highest (`limit`, `replay`).
    pub(crate) growth: u64,
    /// Entries that are there at the end (`overhead`), or that were inserted (`limit`).
    pub(crate) entries: u64,
    pub(crate) hits: u64,
    pub(crate) requests: u64,
}

/// Runs a task on a contender in a child. The outer failure is the child's, the inner one the contender's refusal.
pub(crate) fn run(contender: &str, task: Task, input: &[u8], limit: Duration) -> Result<Found, Refusal> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut child = Command::new(program)
        .args(["--contenders", contender, "--child", &task.words().join(",")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("no child: {error}"))?;
    let (mut stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let begun = Instant::now();
    let status = std::thread::scope(|scope| {
        // A child that ends before it has read all of it has its reasons, which it tells.
        scope.spawn(move || stdin.as_mut().map(|stdin| stdin.write_all(input)));
        loop {
            match child.try_wait() {
                Ok(Some(status)) => break Ok(status),
                Ok(None) if begun.elapsed() < limit => std::thread::sleep(Duration::from_millis(5)),
                Ok(None) => {
                    let _ = child.kill().and_then(|()| child.wait());
                    break Err(format!("did not end in {} s", limit.as_secs()));
                }
                Err(error) => break Err(error.to_string()),
            }
        }
    })?;
    let mut text = String::new();
    if let Some(mut stdout) = stdout {
        stdout.read_to_string(&mut text).map_err(|error| error.to_string())?;
    }
    let json: Json = serde_json::from_str(text.trim()).map_err(|_| format!("ended with {status}"))?;
    if let Some(refusal) = json["refusal"].as_str() {
        return Err(refusal.to_owned());
    }
    let of = |key: &str| json[key].as_u64().unwrap_or(0);
    Ok(Found { growth: of("growth"), entries: of("entries"), hits: of("hits"), requests: of("requests") })
}

/// What a child does: the task, and its outcome on standard output.
pub(crate) fn main(contender: &str, task: Task) -> Result<(), Failure> {
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input).map_err(|error| error.to_string())?;
    let found = contenders::with(contender, Work { task, input: &input })
        .unwrap_or_else(|| Err(format!("there is no contender {contender}")));
    let json = match found {
        Ok(found) => json!({
            "growth": found.growth, "entries": found.entries, "hits": found.hits, "requests": found.requests,
        }),
        Err(refusal) => json!({ "refusal": refusal }),
    };
    println!("{json}");
    Ok(())
}

/// Objects of a trace for a child's standard input: number and value's size of each.
pub(crate) fn encode(objects: impl Iterator<Item = (u64, u32)>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (key, size) in objects {
        bytes.extend_from_slice(&key.to_le_bytes());
        bytes.extend_from_slice(&size.to_le_bytes());
    }
    bytes
}

fn decode(bytes: &[u8]) -> impl Iterator<Item = (u64, usize)> {
    bytes.chunks_exact(12).map(|object| {
        let (key, size) = object.split_at(8);
        let key = key.iter().rev().fold(0, |n, &byte| n << 8 | u64::from(byte));
        let size = size.iter().rev().fold(0, |n, &byte| n << 8 | usize::from(byte));
        (key, size.min(VALUE_BYTES_MAX))
    })
}

struct Work<'a> {
    task: Task,
    input: &'a [u8],
}

impl Visitor for Work<'_> {
    type Output = Result<Found, Refusal>;

    fn visit<C: Contender<20> + 'static, W: Contender<24> + 'static>(self) -> Self::Output {
        match self.task {
            Task::Overhead { items } => overhead::<W>(items),
            Task::Limit { limit, inserts, seconds } => byte_limit::<C>(limit, inserts, Duration::from_secs(seconds)),
            Task::Density { capacity } => density::<C>(&capacity.capacity(), self.input),
            Task::Replay { capacity } => replay::<C>(&capacity.capacity(), self.input),
        }
    }
}

/// A figure of this process's memory; 0 where there is no `/proc`.
fn resident(figure: &str) -> u64 {
    memory_bytes(figure).unwrap_or(0)
}

/// Leaves a cache to the end of the process: one whose thread has fallen behind would first catch up.
fn abandon<T>(contender: T) {
    std::mem::forget(contender);
}

fn overhead<C: Contender<OVERHEAD_KEY_BYTES>>(items: u64) -> Result<Found, Refusal> {
    let value = workload::noise(OVERHEAD_VALUE_BYTES);
    // What takes all its memory when it is built is not to be charged for entries it does not hold.
    let room = if C::TAKES_ALL_AT_ONCE { items } else { items + items / 4 };
    let capacity = Capacity::Entries { items: room, key_bytes: OVERHEAD_KEY_BYTES, value_bytes: OVERHEAD_VALUE_BYTES };
    let before = resident("VmRSS");
    let mut contender = C::build(&capacity)?;
    for n in 0..items {
        contender.set_alone(&key_of(mix(n)), &value);
        if n % (1 << 16) == 0 {
            contender.settle();
        }
    }
    contender.settle();
    let growth = resident("VmRSS").saturating_sub(before);
    let entries = (0..items).filter(|&n| contender.get(&key_of(mix(n))).is_some()).count() as u64;
    Ok(Found { growth, entries, ..Found::default() })
}

fn byte_limit<C: Contender>(limit: u64, inserts: u64, time: Duration) -> Result<Found, Refusal> {
    let noise = workload::noise(16_384);
    let mut rng = Rng::new(4);
    let before = resident("VmRSS");
    let mut contender = C::build(&Capacity::Bytes { limit, items: limit / LIMIT_ITEM_BYTES })?;
    let (begun, mut done) = (Instant::now(), 0);
    while done < inserts && (done % STRIDE != 0 || begun.elapsed() < time) {
        contender.set_alone(&key_of(mix(done)), &noise[..exponential_size(&mut rng)]);
        done += 1;
    }
    let growth = resident("VmHWM").saturating_sub(before);
    abandon(contender);
    Ok(Found { growth, entries: done, ..Found::default() })
}

fn density<C: Contender>(capacity: &Capacity, input: &[u8]) -> Result<Found, Refusal> {
    let noise = workload::noise(VALUE_BYTES_MAX);
    let before = resident("VmRSS");
    let mut contender = C::build(capacity)?;
    let (begun, mut spent, mut number) = (Instant::now(), 0, 0);
    'full: while !input.is_empty() {
        for (_, size) in decode(input) {
            spent += if capacity.is_bytes() { (size + 20) as u64 } else { 1 };
            if spent > 3 * capacity.limit() {
                break 'full;
            }
            number += 1;
            contender.set_alone(&key_of(mix(number)), &noise[..size]);
            if number % SETTLE_EVERY == 0 {
                contender.settle();
                if begun.elapsed() > DENSITY_TIME {
                    break 'full;
                }
            }
        }
    }
    let growth = resident("VmRSS").saturating_sub(before);
    abandon(contender);
    Ok(Found { growth, entries: number, ..Found::default() })
}

fn replay<C: Contender>(capacity: &Capacity, input: &[u8]) -> Result<Found, Refusal> {
    let noise = workload::noise(VALUE_BYTES_MAX);
    let before = resident("VmRSS");
    let mut contender = C::build(capacity)?;
    let mut found = Found::default();
    let look_every = (decode(input).count() / LOOKS).max(1) as u64;
    for (number, size) in decode(input) {
        let key = key_of(mix(number));
        found.requests += 1;
        if contender.get(&key).is_some() {
            found.hits += 1;
        } else {
            contender.set_alone(&key, &noise[..size]);
        }
        if found.requests % SETTLE_EVERY == 0 {
            contender.settle();
        }
        if found.requests % look_every == 0 {
            found.growth = found.growth.max(resident("VmRSS").saturating_sub(before));
        }
    }
    abandon(contender);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_survive_the_command_line() {
        let bytes = Bound::Bytes { limit: 1 << 20, items: 1000 };
        for task in [
            Task::Overhead { items: 5 },
            Task::Limit { limit: 1, inserts: 2, seconds: 3 },
            Task::Density { capacity: bytes },
            Task::Replay { capacity: Bound::Entries(7) },
        ] {
            let words = task.words();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            assert_eq!(Task::parse(&words), Some(task));
        }
        assert_eq!(Task::parse(&["replay", "bytes", "1"]), None);
    }

    #[test]
    fn objects_survive_the_pipe() {
        let objects = [(1, 2), (u64::MAX, 3_000_000), (7, u32::MAX)];
        let read: Vec<_> = decode(&encode(objects.into_iter())).collect();
        assert_eq!(read, [(1, 2), (u64::MAX, 3_000_000), (7, VALUE_BYTES_MAX)]);
    }

    #[test]
    fn a_replay_fills_misses() {
        let trace = encode([(1, 10), (2, 10), (1, 10), (3, 10), (1, 10)].into_iter());
        let found =
            replay::<crate::contenders::LruMutex>(&Capacity::entries(2, 10), &trace).expect("a count of entries");
        assert_eq!((found.requests, found.hits), (5, 2));
        let refused = replay::<crate::contenders::LruMutex>(&Capacity::Bytes { limit: 1, items: 1 }, &trace);
        assert!(refused.is_err());
    }
}
