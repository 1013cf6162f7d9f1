//! larder's memcached server beside memcached itself: same cores, same load, in turn. Throughput, latencies, CPU time
//! of the server a request, and memory an item.
//! `cargo run --release --features memcached --example server_bench -- --help` tells the rest.
//!
//! ```text
//!  load (this process, one core) ──► 50 connections ──► memcached │ larder's, in turn (another core)
//! ```

mod load;
mod target;

#[path = "../support/command.rs"]
mod command;
#[path = "../support/histogram.rs"]
#[allow(dead_code, reason = "replay uses the rest")]
mod histogram;
#[path = "../support/rng.rs"]
#[allow(dead_code, reason = "replay uses the rest")]
mod rng;
#[path = "../support/table.rs"]
mod table;
#[path = "../support/units.rs"]
#[allow(dead_code, reason = "replay uses the rest")]
mod units;

use std::process::ExitCode;
use std::time::Duration;

use command::Parsed;
use lexopt::prelude::*;
use load::{Load, Operation};
use target::{CpuTime, Target};

const HELP: &str = "\
Measures larder's memcached server beside memcached, in turn, with the same load.

Usage: server_bench [options] memcached

  --pairs N          how often each is measured, in turn (5)
  --seconds S        for so long (2)
  --keys N           keys that are stored before and then drawn from, uniformly (1,000,000)
  --value N          bytes of a value (100)
  --connections N    (50)
  --pipeline N,...   requests a client sends before it waits (1,16)
  --threads N        threads of the server (1)
  --server-cpu LIST  cores of the server, as for taskset (0)
  --load-cpu LIST    cores of the load (1)
  --larder FILE      larder's server (beside this program: memcached)
  --memcached FILE   memcached (from the PATH)
  --json             one JSON object a measurement, a line each
  -h, --help         this text

user, system    CPU time of the server, from /proc/PID/stat, divided by the requests
memory          growth of the resident set while all keys are stored, less their bytes, an item
p50, p99        from sending a batch of pipelined requests to its last reply
ratio           larder's / memcached's: the median over the pairs
";

#[derive(Debug, Clone)]
struct Args {
    pairs: usize,
    time: Duration,
    load: Load,
    pipelines: Vec<usize>,
    threads: usize,
    server_cpu: String,
    load_cpu: String,
    larder: Option<String>,
    memcached: String,
    json: bool,
}

fn parse() -> Result<Parsed<Args>, String> {
    let mut args = Args {
        pairs: 5,
        time: Duration::from_secs(2),
        load: Load { keys: 1_000_000, value: 100, connections: 50 },
        pipelines: vec![1, 16],
        threads: 1,
        server_cpu: "0".into(),
        load_cpu: "1".into(),
        larder: None,
        memcached: "memcached".into(),
        json: false,
    };
    let mut parser = lexopt::Parser::from_env();
    let text = |e: lexopt::Error| e.to_string();
    while let Some(arg) = parser.next().map_err(text)? {
        match arg {
            Short('h') | Long("help") => return Ok(Parsed::Help),
            Value(what) if what == "memcached" => {}
            Long("json") => args.json = true,
            Long("pairs") => args.pairs = count(&mut parser)?,
            Long("seconds") => args.time = Duration::from_secs(count(&mut parser)? as u64),
            Long("keys") => args.load.keys = count(&mut parser)? as u64,
            Long("value") => args.load.value = count(&mut parser)?,
            Long("connections") => args.load.connections = count(&mut parser)?,
            Long("threads") => args.threads = count(&mut parser)?,
            Long("pipeline") => {
                let list = string(&mut parser)?;
                let numbers: Result<Vec<usize>, _> = list.split(',').map(str::parse).collect();
                args.pipelines = numbers.map_err(|_| format!("'{list}' are no numbers"))?;
                if args.pipelines.contains(&0) {
                    return Err("--pipeline: at least 1".into());
                }
            }
            Long("server-cpu") => args.server_cpu = string(&mut parser)?,
            Long("load-cpu") => args.load_cpu = string(&mut parser)?,
            Long("larder") => args.larder = Some(string(&mut parser)?),
            Long("memcached") => args.memcached = string(&mut parser)?,
            other => return Err(other.unexpected().to_string()),
        }
    }
    Ok(Parsed::Run(args))
}

fn string(parser: &mut lexopt::Parser) -> Result<String, String> {
    let value = parser.value().map_err(|e| e.to_string())?;
    value.string().map_err(|e| e.to_string())
}

fn count(parser: &mut lexopt::Parser) -> Result<usize, String> {
    let text = string(parser)?;
    let number = text.replace([',', '_'], "").parse::<usize>().ok().filter(|&n| n > 0);
    number.ok_or_else(|| format!("'{text}' is no number above 0"))
}

fn main() -> ExitCode {
    command::run("server_bench", HELP, parse(), run)
}

/// One measurement.
#[derive(Debug, Clone, Copy)]
struct Figures {
    per_second: f64,
    p50_us: f64,
    p99_us: f64,
    user_us: f64,
    system_us: f64,
}

fn run(args: &Args) -> Result<(), String> {
    target::pin_self(&args.load_cpu)?;
    let larder = match &args.larder {
        Some(path) => path.clone(),
        None => target::beside("memcached")?,
    };
    // Enough for all items, so that both keep all of them.
    let memory = ((args.load.keys * (args.load.value as u64 + 160)) >> 20).max(64) + 64;
    let mut targets = [
        Target::start("memcached", &args.memcached, &args.server_cpu, args.threads, memory)?,
        Target::start("larder", &larder, &args.server_cpu, args.threads, memory)?,
    ];
    let mut overheads = Vec::new();
    for target in &mut targets {
        overheads.push((target.name, fill(target, args)?));
    }
    let mut rows = Vec::new();
    for operation in [Operation::Get, Operation::Set] {
        for &pipeline in &args.pipelines {
            let mut pairs = Vec::new();
            for pair in 0..args.pairs {
                let mut both = [None; 2];
                for (i, target) in targets.iter().enumerate() {
                    let figures = measure(target, operation, pipeline, args, pair as u64)?;
                    if args.json {
                        println!("{}", json(target.name, operation, pipeline, pair, &figures));
                    }
                    both[i] = Some(figures);
                }
                if let [Some(theirs), Some(ours)] = both {
                    pairs.push([theirs, ours]);
                }
            }
            rows.extend(table_rows(operation, pipeline, &pairs));
        }
    }
    if !args.json {
        let header =
            ["operation", "pipeline", "server", "requests/s", "p50 us", "p99 us", "user us", "system us", "CPU us"];
        println!(
            "{} connections, {} keys, values of {} bytes, {} thread(s) on core {}; medians of {} runs of {} s\n",
            args.load.connections,
            units::count(args.load.keys),
            args.load.value,
            args.threads,
            args.server_cpu,
            args.pairs,
            args.time.as_secs()
        );
        print!("{}", table::render(&header, 3, &rows));
        println!("\nresident bytes an item beyond key and value, all keys stored:");
        for (name, overhead) in overheads {
            println!("{name:<10} {overhead:.1}");
        }
    }
    Ok(())
}

/// Stores all keys; how much more the process takes since, an item, beyond the bytes of key and value.
fn fill(target: &Target, args: &Args) -> Result<f64, String> {
    let before = target::resident(target.pid())?;
    load::fill(target.port, &args.load)?;
    let grown = target::resident(target.pid())?.saturating_sub(before) as f64;
    let overhead = grown / args.load.keys as f64 - (load::KEY_LEN + args.load.value) as f64;
    if args.json {
        println!("{}", serde_json::json!({ "server": target.name, "overhead_bytes_per_item": overhead }));
    }
    Ok(overhead)
}

fn measure(target: &Target, operation: Operation, pipeline: usize, args: &Args, seed: u64) -> Result<Figures, String> {
    // What connecting costs is not part of it.
    let mut clients = load::connect(target.port, &args.load)?;
    let before = CpuTime::of(target.pid())?;
    let done = load::run(&mut clients, operation, pipeline, &args.load, args.time, seed)?;
    let used = CpuTime::of(target.pid())?.since(before);
    if done.misses > 0 {
        return Err(format!("{}: {} of {} gets found nothing", target.name, done.misses, done.requests));
    }
    let each = |time: Duration| time.as_secs_f64() * 1e6 / done.requests as f64;
    Ok(Figures {
        per_second: done.requests as f64 / done.time.as_secs_f64(),
        p50_us: done.latencies.quantile(0.5) as f64 / 1e3,
        p99_us: done.latencies.quantile(0.99) as f64 / 1e3,
        user_us: each(used.user),
        system_us: each(used.system),
    })
}

type Figure = fn(&Figures) -> f64;
const FIGURES: [Figure; 6] =
    [|f| f.per_second, |f| f.p50_us, |f| f.p99_us, |f| f.user_us, |f| f.system_us, |f| f.user_us + f.system_us];

/// Medians of both, and of the ratios of each pair.
fn table_rows(operation: Operation, pipeline: usize, pairs: &[[Figures; 2]]) -> Vec<Vec<String>> {
    let first = |server: &str| vec![operation.name().to_owned(), pipeline.to_string(), server.to_owned()];
    let mut rows = Vec::new();
    for (i, server) in ["memcached", "larder"].into_iter().enumerate() {
        let mut row = first(server);
        for (column, figure) in FIGURES.iter().enumerate() {
            let value = median(pairs.iter().map(|pair| figure(&pair[i])));
            row.push(if column == 0 { units::count(value as u64) } else { format!("{value:.2}") });
        }
        rows.push(row);
    }
    let mut row = first("ratio");
    row.extend(FIGURES.iter().map(|figure| {
        format!("{:.2}", median(pairs.iter().map(|[theirs, ours]| figure(ours) / figure(theirs).max(1e-9))))
    }));
    rows.push(row);
    rows
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

fn json(server: &str, operation: Operation, pipeline: usize, pair: usize, figures: &Figures) -> String {
    serde_json::json!({
        "server": server,
        "operation": operation.name(),
        "pipeline": pipeline,
        "pair": pair,
        "requests_per_second": figures.per_second,
        "p50_us": figures.p50_us,
        "p99_us": figures.p99_us,
        "user_us": figures.user_us,
        "system_us": figures.system_us,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
        assert_eq!(median(std::iter::empty()), 0.0);
    }
}
