//! What snapshots and the log cost while the cache is in use, beside a Redis server with the same data under the same
//! load.
//! `cargo run --release --features snapshot --example snapshot_cost -- --help` tells the rest.
//!
//! ```text
//!  fill ──► save, nobody writes ──► save, every key rewritten, storage held to a rate ──► load into a new cache
//!  fill ──► BGSAVE              ──► BGSAVE, every key rewritten                       ──► start from the file
//! ```

mod larder_side;
mod log_side;
mod redis_side;

#[path = "../support/command.rs"]
mod command;
#[path = "../support/process.rs"]
mod process;
#[path = "../support/units.rs"]
mod units;

use std::process::ExitCode;

use command::Parsed;
use lexopt::prelude::*;

const HELP: &str = "\
Measures what snapshots and the log cost: pauses, memory, throughput; beside redis-server, if there is one.

Usage: snapshot_cost [options]

  --gib N           memory of the data set in GiB (default 0.25)
  --value BYTES     length of the values (default 400)
  --sink MB         MB a second that the storage takes while every key is rewritten (default 200)
  --folder PATH     where files go (default: the system's folder for temporary files)
  --redis PATH      the server to compare with (default: redis-server)
  --no-redis        no comparison
  --json            one JSON object a row, a line each
  -h, --help        this text

longest pause   the longest write, and the longest read, of threads that do nothing else
extra memory    the most resident memory while saving, less that before; of Redis, what the two processes do not share
save, load      bytes of keys and values a second
log             writers are threads here, with updates of 16 keys; connections of redis-benchmark there, pipelined
";

/// What was asked for.
struct Args {
    gib: f64,
    value: usize,
    sink: f64,
    folder: std::path::PathBuf,
    redis: Option<String>,
    json: bool,
}

/// What was measured: a name, and figures with their units.
struct Row {
    name: String,
    figures: Vec<(&'static str, f64)>,
}

impl Args {
    fn count(&self) -> u64 {
        (self.gib * f64::from(1 << 30) * 0.8 / (self.value + KEY_LEN + 20) as f64) as u64
    }

    fn payload(&self) -> f64 {
        self.count() as f64 * (self.value + KEY_LEN) as f64
    }
}

/// Bytes of a key.
const KEY_LEN: usize = 16;

fn key_of(number: u64) -> [u8; KEY_LEN] {
    let mut key = *b"key:000000000000";
    let mut rest = number;
    for digit in key[4..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    key
}

/// A value of which half can be compressed away.
fn fill_value(value: &mut [u8], number: u64, generation: u8) {
    let half = value.len() / 2;
    let mut state = number ^ u64::from(generation) << 48;
    for eight in value[..half].chunks_mut(8) {
        // Knuth's linear congruential generator: good enough not to be compressed.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        eight.copy_from_slice(&(state ^ state >> 29).to_le_bytes()[..eight.len()]);
    }
    value[half..].fill(generation);
}

fn parse() -> Result<Parsed<Args>, String> {
    let mut args = Args {
        gib: 0.25,
        value: 400,
        sink: 200.0,
        folder: std::env::temp_dir(),
        redis: Some("redis-server".to_owned()),
        json: false,
    };
    let mut parser = lexopt::Parser::from_env();
    let text = |e: lexopt::Error| e.to_string();
    while let Some(arg) = parser.next().map_err(text)? {
        match arg {
            Long("gib") => args.gib = parser.value().and_then(|v| v.parse()).map_err(text)?,
            Long("value") => args.value = parser.value().and_then(|v| v.parse()).map_err(text)?,
            Long("sink") => args.sink = parser.value().and_then(|v| v.parse()).map_err(text)?,
            Long("folder") => args.folder = parser.value().map_err(text)?.into(),
            Long("redis") => args.redis = Some(parser.value().and_then(|v| v.parse()).map_err(text)?),
            Long("no-redis") => args.redis = None,
            Long("json") => args.json = true,
            Short('h') | Long("help") => return Ok(Parsed::Help),
            other => return Err(other.unexpected().to_string()),
        }
    }
    if !(0.01..=64.0).contains(&args.gib) || !(16..=100_000).contains(&args.value) || args.sink < 1.0 {
        return Err("--gib is from 0.01 to 64, --value from 16 to 100000, --sink at least 1".to_owned());
    }
    Ok(Parsed::Run(args))
}

fn show(args: &Args, row: &Row) {
    if args.json {
        let figures: serde_json::Map<_, _> =
            row.figures.iter().map(|(name, value)| ((*name).to_owned(), serde_json::json!(value))).collect();
        println!("{}", serde_json::json!({ "case": row.name, "figures": figures }));
        return;
    }
    println!("{}", row.name);
    for (name, value) in &row.figures {
        println!("  {name:<44} {value:>12.2}");
    }
}

fn run(args: &Args) -> Result<(), String> {
    let folder = args.folder.join(format!("larder-snapshot-cost-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let measured = (|| {
        let (items, payload) = (units::count(args.count()), units::bytes(args.payload() as u64));
        println_unless(args.json, &format!("{items} items, {payload} of keys and values"));
        larder_side::measure(args, &folder, |row| show(args, row)).map_err(|e| e.to_string())?;
        log_side::measure(args, &folder, |row| show(args, row)).map_err(|e| e.to_string())?;
        let Some(server) = &args.redis else { return Ok(()) };
        redis_side::measure(args, server, &folder, |row| show(args, row))?;
        log_side::measure_redis(args, server, &folder, |row| show(args, row))
    })();
    std::fs::remove_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    measured
}

fn println_unless(quiet: bool, text: &str) {
    if !quiet {
        println!("{text}");
    }
}

fn main() -> ExitCode {
    command::run("snapshot_cost", HELP, parse(), run)
}
