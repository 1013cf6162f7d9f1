//! The command line of `replay`.

use std::path::PathBuf;

use larder::{EvictionPolicy, Objective};
use lexopt::prelude::*;

use crate::amounts;
use crate::command::Parsed;
use crate::source::Source;
use crate::trace::Format;

pub(crate) const HELP: &str = "\
Plays cache traces, or a built-in workload, against larder and reports what came of it.

Usage: replay [options] [trace ...]

Without a trace the built-in workload is played: Zipf popularity that drifts, scans, value sizes, lifetimes, writes and
deletes after published studies of production caches. The time in a trace drives the cache's clock.

A get of an absent key is followed by a set of the object, as a caching application does it. Hit ratios count the
trace's gets alone. A set that larder refuses (object too large, or no room and nothing that may be evicted) is counted
as 'refused'. Keys are 8 bytes, padded to the original key's size where the trace knows it (twitter). Values have the
object's size less the key's, where that is more than nothing. Objects of size 0 or 1 have no size in the trace: their
values are --value-size bytes.

How much memory:
  --max-memory SIZE,...   limit of the cache: 64MiB, 1.5GiB, 1000000 ... [built-in workload: 64MiB]
  --footprint SHARE,...   the same as a share of the trace's footprint, the sum of its objects' sizes (keys and values
                          as they are stored; with --unit-size the number of objects): 10%, 0.001 ... [traces: 10%]
                          Counting the footprint takes one more pass over the trace, and memory for its keys.

What is played:
  --policy NAME,...       eviction policies, or 'all' [default]
  --objective WHICH       what the default policies maximise: hits or bytes [hits]
  --unit-size             judge the policy's code alone: no memory is managed, capacity counts objects
  --traced-size           the same, capacity counts the bytes of the trace's sizes; neither plays deletes
  --requests N            stop after N requests [built-in workload: 5000000; traces: all]
  --value-size N          bytes of a value where the trace has no sizes [100]
  --format NAME           csv, oracle-general, twitter or arc [told by the content]
                          csv: timestamp_s,key,size_bytes,ttl_s,op; any of them may be compressed with zstd
  --threads N             deal the requests to N threads, by key [1]
  --shards N              shards of the cache [chosen by larder]
  --seed N                of the workload and of the cache; with one thread the same seed gives the same figures [1]

What is printed:
  --json                  one JSON object a run, a line each, and no progress bar
  --plot FILE.svg         draw hit ratio by cache size, a line a policy, a chart a trace
                          [then: --footprint 0.1%,0.3%,1%,3%,10%,30%]
  -h, --help              this text

Latencies are those of one request in 16, chosen at random: a get and the set that may follow it, a set, or a delete.
'RSS growth' is resident memory at the end less what it was before the cache was built; it is most exact for the
first run of a process. 'overhead' is memory used, all of it, less the bytes of keys and values, divided by the items.
";

const PLOT_SHARES: [f64; 6] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3];
const DEFAULT_SHARE: f64 = 0.1;
const DEFAULT_MEMORY: u64 = 64 << 20;
const DEFAULT_REQUESTS: u64 = 5_000_000;
const DEFAULT_VALUE_SIZE: u32 = 100;
const THREADS_MAX: usize = 1024;

/// What stores the objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Engine,
    UnitSize,
    TracedSize,
}

/// The cache sizes asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Capacity {
    Bytes(Vec<u64>),
    Shares(Vec<f64>),
}

/// A complete command line.
#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) sources: Vec<Source>,
    pub(crate) format: Option<Format>,
    pub(crate) capacity: Capacity,
    pub(crate) policies: Vec<EvictionPolicy>,
    pub(crate) objective: Objective,
    pub(crate) mode: Mode,
    pub(crate) requests: Option<u64>,
    pub(crate) value_size: u32,
    pub(crate) threads: usize,
    pub(crate) shards: Option<usize>,
    pub(crate) seed: u64,
    pub(crate) json: bool,
    pub(crate) plot: Option<PathBuf>,
}

/// Options as they were given, before defaults that depend on each other.
#[derive(Debug, Default)]
struct Given {
    traces: Vec<PathBuf>,
    bytes: Option<Vec<u64>>,
    shares: Option<Vec<f64>>,
    format: Option<Format>,
    policies: Option<Vec<EvictionPolicy>>,
    objective: Option<Objective>,
    unit_size: bool,
    traced_size: bool,
    requests: Option<u64>,
    value_size: Option<u32>,
    threads: Option<usize>,
    shards: Option<usize>,
    seed: Option<u64>,
    json: bool,
    plot: Option<PathBuf>,
}

/// Reads the command line. An error is the line to print.
pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Parsed<Args>, String> {
    let mut given = Given::default();
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        match argument {
            Short('h') | Long("help") => return Ok(Parsed::Help),
            Long(name) => {
                let name = name.to_string();
                given.option(&name, &mut parser)?;
            }
            Value(path) => given.traces.push(path.into()),
            Short(letter) => return Err(format!("unknown option -{letter}")),
        }
    }
    given.complete().map(Parsed::Run)
}

impl Given {
    fn option(&mut self, name: &str, parser: &mut lexopt::Parser) -> Result<(), String> {
        let mut value = || -> Result<String, String> {
            let value = parser.value().map_err(|error| error.to_string())?;
            value.into_string().map_err(|_| format!("the value of --{name} is not UTF-8"))
        };
        match name {
            "max-memory" => self.bytes = Some(list(&value()?, amounts::parse_bytes)?),
            "footprint" => self.shares = Some(list(&value()?, amounts::parse_share)?),
            "policy" => self.policies = Some(policies(&value()?)?),
            "objective" => self.objective = Some(objective(&value()?)?),
            "format" => self.format = Some(value()?.parse()?),
            "requests" => self.requests = Some(number(name, &value()?, 1, u64::MAX)?),
            "value-size" => self.value_size = Some(number(name, &value()?, 0, 1 << 30)? as u32),
            "threads" => self.threads = Some(number(name, &value()?, 1, THREADS_MAX as u64)? as usize),
            "shards" => self.shards = Some(number(name, &value()?, 1, 1 << 16)? as usize),
            "seed" => self.seed = Some(number(name, &value()?, 0, u64::MAX)?),
            "plot" => self.plot = Some(value()?.into()),
            "unit-size" => self.unit_size = true,
            "traced-size" => self.traced_size = true,
            "json" => self.json = true,
            _ => return Err(format!("unknown option --{name}")),
        }
        Ok(())
    }

    fn complete(self) -> Result<Args, String> {
        let mode = match (self.unit_size, self.traced_size) {
            (false, false) => Mode::Engine,
            (true, false) => Mode::UnitSize,
            (false, true) => Mode::TracedSize,
            (true, true) => return Err("--unit-size and --traced-size exclude each other".to_string()),
        };
        let builtin = self.traces.is_empty();
        let capacity = match (self.bytes, self.shares) {
            (Some(_), Some(_)) => return Err("--max-memory and --footprint exclude each other".to_string()),
            (Some(_), None) if mode == Mode::UnitSize => {
                return Err("--unit-size counts objects, not bytes; say the size with --footprint".to_string());
            }
            (Some(bytes), None) => Capacity::Bytes(bytes),
            (None, Some(shares)) => Capacity::Shares(shares),
            (None, None) if self.plot.is_some() => Capacity::Shares(PLOT_SHARES.to_vec()),
            (None, None) if builtin && mode == Mode::Engine => Capacity::Bytes(vec![DEFAULT_MEMORY]),
            (None, None) => Capacity::Shares(vec![DEFAULT_SHARE]),
        };
        if mode != Mode::Engine && (self.threads.is_some() || self.shards.is_some()) {
            return Err("--threads and --shards have no meaning with --unit-size or --traced-size".to_string());
        }
        let sources = if builtin { vec![Source::Builtin] } else { self.traces.into_iter().map(Source::File).collect() };
        Ok(Args {
            sources,
            format: self.format,
            capacity,
            policies: self.policies.unwrap_or_else(|| vec![EvictionPolicy::Default]),
            objective: self.objective.unwrap_or(Objective::Hits),
            mode,
            requests: self.requests.or(builtin.then_some(DEFAULT_REQUESTS)),
            value_size: self.value_size.unwrap_or(DEFAULT_VALUE_SIZE),
            threads: self.threads.unwrap_or(1),
            shards: self.shards,
            seed: self.seed.unwrap_or(1),
            json: self.json,
            plot: self.plot,
        })
    }
}

fn list<T>(text: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    text.split(',').map(parse).collect()
}

fn number(name: &str, text: &str, least: u64, most: u64) -> Result<u64, String> {
    match text.parse() {
        Ok(n) if (least..=most).contains(&n) => Ok(n),
        _ if most == u64::MAX => Err(format!("--{name} must be a whole number from {least} on, not '{text}'")),
        _ => Err(format!("--{name} must be a whole number from {least} to {most}, not '{text}'")),
    }
}

fn policies(text: &str) -> Result<Vec<EvictionPolicy>, String> {
    if text == "all" {
        return Ok(EvictionPolicy::ALL.to_vec());
    }
    let one = |name: &str| {
        name.parse::<EvictionPolicy>().map_err(|_| {
            let names: Vec<String> = EvictionPolicy::ALL.iter().map(|policy| policy.to_string()).collect();
            format!("unknown policy '{name}'; 'all' or of {}", names.join(", "))
        })
    };
    list(text, one)
}

fn objective(text: &str) -> Result<Objective, String> {
    match text {
        "hits" => Ok(Objective::Hits),
        "bytes" => Ok(Objective::Bytes),
        _ => Err(format!("--objective is hits or bytes, not '{text}'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Args, String> {
        let words = std::iter::once("replay").chain(line.split_whitespace());
        match parse(lexopt::Parser::from_iter(words))? {
            Parsed::Run(args) => Ok(args),
            Parsed::Help => Err("help".to_string()),
        }
    }

    #[test]
    fn defaults_follow_what_is_played() {
        let args = parsed("").unwrap();
        assert_eq!((args.capacity, args.requests), (Capacity::Bytes(vec![64 << 20]), Some(5_000_000)));
        let args = parsed("a.csv b.csv --policy default,s3-fifo").unwrap();
        assert_eq!((args.capacity, args.requests), (Capacity::Shares(vec![0.1]), None));
        assert_eq!((args.sources.len(), args.policies.len()), (2, 2));
        let args = parsed("--plot x.svg --unit-size --policy all").unwrap();
        assert_eq!(args.capacity, Capacity::Shares(PLOT_SHARES.to_vec()));
        assert_eq!(args.policies, EvictionPolicy::ALL);
    }

    #[test]
    fn mistakes_are_told() {
        for (line, told) in [
            ("--max-memory 1parsec", "not an amount of memory"),
            ("--footprint 0%", "not a share"),
            ("--policy oldest", "unknown policy 'oldest'; 'all' or of"),
            ("--max-memory 1M --footprint 1%", "exclude each other"),
            ("--unit-size --max-memory 1M", "--unit-size counts objects"),
            ("--threads 0", "--threads must be a whole number from 1 to 1024"),
            ("--unit-size --threads 2", "have no meaning"),
            ("--frobnicate", "unknown option --frobnicate"),
            ("-x", "unknown option -x"),
            ("--seed", "missing argument"),
            ("--format parquet", "unknown format 'parquet'"),
            ("-h", "help"),
        ] {
            let message = parsed(line).unwrap_err();
            assert!(message.contains(told), "{line}: {message}");
        }
    }
}
