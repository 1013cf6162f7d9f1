//! The case `hit-ratio`: how many hits contenders have with the same resident memory, on real traces.
//!
//! For each trace and each size - a share of the bytes of all its objects, keys included - a contender is given the
//! limit with which its resident memory grows by just that many bytes:
//!
//! 1. Its **density**, the resident growth for each byte (or entry) of its limit, is measured once for each trace: a
//!    child fills a cache of 32 MiB three times over with new keys and the trace's sizes (those up to 256 KiB).
//! 2. The first limit is size / density.
//! 3. From 8 MiB on the trace is played in a child, the growth measured at its highest and the limit scaled, until the
//!    growth is within 3 % of the size, four times at most. The last run counts; a note says if it was still off.
//! 4. Below 8 MiB growth is hidden by what a process takes anyway, and the limit of step 2 stays: all contenders are
//!    compared with the bytes their entries were seen to take, and nobody's fixed costs are counted.
//!
//! larder's limit is found in the same way. What has no bound in bytes (lru, scc; TinyUFO, whose weights end at 65,535)
//! gets a number of entries. A get that misses is followed by a set; whether the cache keeps the value is its choice.
//! Every 32 requests a contender that works behind the caller's back is waited for.

use std::path::Path;
use std::time::Duration;

use crate::Failure;
use crate::child::{self, Bound, Found, Task, encode};
use crate::contenders::MAP;
use crate::progress::Progress;
use crate::report::{Figure, Measurement, Table, Unit};
use crate::traces::{self, Trace};
use crate::units;

pub(crate) const HIT_RATIO: &str = "hit-ratio";
/// The environment variable that names the folder of traces.
pub(crate) const FOLDER: &str = "LARDER_TRACES";

/// Shares of the footprint, in per cent.
const SHARES: [u64; 2] = [1, 10];
const DENSITY_BYTES: u64 = 32 << 20;
const QUICK_DENSITY_BYTES: u64 = 8 << 20;
const DENSITY_OBJECT_MAX: u32 = 256 << 10;
/// From this size on resident growth is measured for the trace itself.
const MEASURED_FROM: u64 = 8 << 20;
const TOLERANCE: f64 = 0.03;
const RUNS: usize = 4;
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// Contenders whose limit is a number of entries.
const BY_ENTRIES: [&str; 4] = ["tinyufo", "scc", "lru-16", "lru-mutex"];
/// Traces and requests with `--quick`.
const QUICK_TRACES: usize = 2;
const QUICK_REQUESTS: usize = 150_000;

/// Steps of the progress bar.
pub(crate) fn steps(contenders: &[&str]) -> u64 {
    (takers(contenders).count() * SHARES.len() * files().map_or(0, |files| files.len())) as u64
}

fn takers<'a>(contenders: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    contenders.iter().copied().filter(|&name| name != MAP)
}

fn files() -> Result<Vec<std::path::PathBuf>, Failure> {
    let folder = std::env::var_os(FOLDER).ok_or_else(|| format!("skipped: {FOLDER} does not name a folder"))?;
    let files = traces::files(Path::new(&folder))?;
    if files.is_empty() { Err(format!("skipped: no traces in {}", folder.display())) } else { Ok(files) }
}

/// Plays all traces with all contenders.
pub(crate) fn play(contenders: &[&str], quick: bool, progress: &Progress) -> Table {
    let about = "hits of all requests, in per cent, at equal resident memory: 1 % and 10 % of the bytes of all objects";
    let mut table = Table::new(HIT_RATIO, about);
    let files = match files() {
        Ok(files) => files,
        Err(reason) => {
            table.absent.push(("traces".into(), reason));
            return table;
        }
    };
    for file in files.iter().take(if quick { QUICK_TRACES } else { files.len() }) {
        let mut trace = match traces::load(file) {
            Ok(trace) => trace,
            Err(reason) => {
                table.absent.push(("traces".into(), reason));
                continue;
            }
        };
        if quick {
            trace.requests.truncate(QUICK_REQUESTS);
        }
        play_trace(&trace, contenders, quick, progress, &mut table);
    }
    table
}

fn play_trace(trace: &Trace, contenders: &[&str], quick: bool, progress: &Progress, table: &mut Table) {
    let requests = encode(trace.requests.iter().copied());
    let sizes = encode(trace.objects.iter().copied().filter(|&(_, size)| size <= DENSITY_OBJECT_MAX));
    for name in takers(contenders) {
        progress.at(&format!("{HIT_RATIO} {}", trace.name), name);
        let player = Player { name, trace, requests: &requests, density: density(name, trace, &sizes, quick) };
        for share in SHARES {
            let size = trace.footprint() * share / 100;
            let case = format!("{HIT_RATIO}:{}@{share}%", trace.name);
            match player.play(size, quick) {
                Ok((ratio, note)) => table.measurements.push(Measurement {
                    case,
                    threads: 1,
                    contender: name.to_owned(),
                    figure: Figure::Amount(ratio, Unit::HitRatio),
                    entries: None,
                    note,
                }),
                Err(refusal) => table.absent.push((format!("{name}, {}@{share}%", trace.name), refusal)),
            }
            progress.step();
        }
    }
}

/// A limit, in the contender's unit.
fn bound(name: &str, amount: f64, object_bytes: u64) -> Bound {
    let amount = amount.max(1.0) as u64;
    if BY_ENTRIES.contains(&name) {
        Bound::Entries(amount)
    } else {
        Bound::Bytes { limit: amount, items: (amount / object_bytes).max(1) }
    }
}

/// Resident growth for each byte, or entry, of the contender's limit.
fn density(name: &str, trace: &Trace, sizes: &[u8], quick: bool) -> Result<f64, String> {
    let object_bytes = trace.object_bytes();
    let bytes = if quick { QUICK_DENSITY_BYTES } else { DENSITY_BYTES };
    let of = if BY_ENTRIES.contains(&name) { bytes / object_bytes } else { bytes };
    let capacity = bound(name, of as f64, object_bytes);
    let found = child::run(name, Task::Density { capacity }, sizes, TIME_LIMIT)?;
    Ok((found.growth as f64 / of as f64).max(1e-3))
}

/// One contender on one trace.
struct Player<'a> {
    name: &'a str,
    trace: &'a Trace,
    requests: &'a [u8],
    density: Result<f64, String>,
}

impl Player<'_> {
    /// The hit ratio at a size, and how that was arrived at.
    fn play(&self, size: u64, quick: bool) -> Result<(f64, String), String> {
        let mut limit = size as f64 / self.density.clone()?;
        let mut found = self.run(limit)?;
        if size < MEASURED_FROM || quick {
            return Ok((ratio(&found), String::new()));
        }
        for _ in 1..RUNS {
            let off = found.growth as f64 / size as f64;
            if (off - 1.0).abs() <= TOLERANCE {
                break;
            }
            limit /= off.max(0.1);
            found = self.run(limit)?;
        }
        let off = (found.growth as f64 / size as f64 - 1.0) * 100.0;
        let far = off.abs() > TOLERANCE * 100.0;
        let note = format!("{}: resident growth {off:+.0} % off {}", self.trace.name, units::bytes(size));
        Ok((ratio(&found), if far { note } else { String::new() }))
    }

    fn run(&self, limit: f64) -> Result<Found, String> {
        let capacity = bound(self.name, limit, self.trace.object_bytes());
        child::run(self.name, Task::Replay { capacity }, self.requests, TIME_LIMIT)
    }
}

fn ratio(found: &Found) -> f64 {
    found.hits as f64 / found.requests.max(1) as f64
}
