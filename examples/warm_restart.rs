//! How long a warm restart takes: fills a cache whose items are in a file, closes it, opens it again, and says how long
//! each took.
//!
//! ```sh
//! cargo run --release --example warm_restart                              # 64 MiB in /dev/shm
//! cargo run --release --example warm_restart -- --gib 2 --value 1000
//! cargo run --release --example warm_restart -- --mib 256 --folder /var/tmp/warm --checksums
//! ```

#[path = "support/command.rs"]
mod command;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use command::Parsed;
use larder::{Cache, Start, WarmRestart};

struct Options {
    bytes: u64,
    value: usize,
    folder: PathBuf,
    checksums: bool,
    rounds: u32,
}

const HELP: &str = "\
Fills a cache whose items are in a file, closes it, opens it again, and says how long each took.

Usage: warm_restart [options]

  --gib N, --mib N  memory of the cache (64 MiB)
  --value BYTES     length of the values (1000)
  --folder PATH     where the file is: a new folder, removed afterwards (one of its own in /dev/shm)
  --checksums       look at every byte of the items when they come back
  --rounds N        how often it is closed and opened (3)
  -h, --help        this text
";

fn options() -> Result<Parsed<Options>, lexopt::Error> {
    use lexopt::prelude::*;
    let shm = PathBuf::from("/dev/shm");
    let parent = if shm.is_dir() { shm } else { std::env::temp_dir() };
    let folder = parent.join(format!("larder-warm-restart-{}", std::process::id()));
    let mut options = Options { bytes: 64 << 20, value: 1000, folder, checksums: false, rounds: 3 };
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("gib") => options.bytes = parser.value()?.parse::<u64>()?.saturating_mul(1 << 30),
            Long("mib") => options.bytes = parser.value()?.parse::<u64>()?.saturating_mul(1 << 20),
            Long("value") => options.value = parser.value()?.parse()?,
            Long("folder") => options.folder = parser.value()?.into(),
            Long("checksums") => options.checksums = true,
            Long("rounds") => options.rounds = parser.value()?.parse()?,
            Short('h') | Long("help") => return Ok(Parsed::Help),
            _ => return Err(arg.unexpected()),
        }
    }
    Ok(Parsed::Run(options))
}

fn build(options: &Options) -> larder::Result<(Cache, Duration)> {
    let begun = Instant::now();
    let warm = WarmRestart::new(&options.folder).checksums(options.checksums);
    let cache = Cache::builder().max_memory(options.bytes).warm_restart(warm).build()?;
    Ok((cache, begun.elapsed()))
}

fn key(i: u64) -> [u8; 20] {
    let mut key = *b"key:................";
    key[4..12].copy_from_slice(&i.to_le_bytes());
    key
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn main() -> ExitCode {
    let parsed = options().map_err(|e| e.to_string());
    command::run("warm_restart", HELP, parsed, |options| run(options).map_err(|e| e.to_string()))
}

fn run(options: &Options) -> Result<(), Box<dyn std::error::Error>> {
    if options.folder.exists() {
        // The folder is removed at the end, with all that is in it.
        return Err(format!("{} is there already: name a new folder", options.folder.display()).into());
    }
    let (mut cache, took) = build(options)?;
    println!("built in {:.1} ms: {}", ms(took), cache.start().map(ToString::to_string).unwrap_or_default());
    let value = vec![b'v'; options.value];
    let begun = Instant::now();
    let mut items = 0;
    while cache.stats().evictions == 0 {
        for _ in 0..1000 {
            cache.set(&key(items), &value)?;
            items += 1;
        }
    }
    println!("filled in {:.1} s: {} items, {} bytes", begun.elapsed().as_secs_f64(), cache.len(), cache.memory().used);
    for _ in 0..options.rounds {
        let before = cache.len();
        let begun = Instant::now();
        cache.close()?;
        let closed = begun.elapsed();
        let (opened, took) = build(options)?;
        cache = opened;
        let report = cache.start().map(ToString::to_string).unwrap_or_default();
        println!("closed in {:.1} ms, opened in {:.1} ms: {report}", ms(closed), ms(took));
        if !matches!(cache.start(), Some(Start::Warm(_))) || cache.len() != before {
            return Err("it did not come back".into());
        }
    }
    let hits = (0..items).step_by(997).filter(|&i| cache.contains(&key(i))).count();
    println!("{hits} of {} keys looked at are there", items.div_ceil(997));
    drop(cache);
    std::fs::remove_dir_all(&options.folder)?;
    Ok(())
}
