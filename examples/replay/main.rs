//! Plays a cache trace, or the built-in workload, against larder and reports what came of it: hit ratios, memory,
//! speed, latencies. `cargo run --release --example replay -- --help` tells the rest.
//!
//! ```text
//!  args ─► source (file or workload) ─► batches ─► player (the engine)       ─► Outcome ─► report, plot
//!                                              └─► simulate (a policy alone) ─┘
//! ```
//! A trace is read in batches, so that its length does not matter and so that reading it is not part of the time
//! measured.

mod args;
mod player;
mod plot;
mod report;
mod simulate;
mod source;

#[path = "../support/amounts.rs"]
mod amounts;
#[path = "../support/command.rs"]
mod command;
#[path = "../support/histogram.rs"]
mod histogram;
#[path = "../support/process.rs"]
mod process;
#[path = "../support/rng.rs"]
mod rng;
#[path = "../support/table.rs"]
mod table;
#[path = "../support/trace/mod.rs"]
mod trace;
#[path = "../support/units.rs"]
mod units;
#[path = "../support/workload.rs"]
mod workload;
#[path = "../support/zipf.rs"]
mod zipf;

use std::process::ExitCode;

use args::{Args, Capacity, Mode};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use larder::EvictionPolicy;
use report::Outcome;
use source::{Footprint, Source};

/// What can end the program early, as the line to print.
type Failure = String;

fn main() -> ExitCode {
    command::run("replay", args::HELP, args::parse(lexopt::Parser::from_env()), run)
}

/// One run: a trace, a policy and a size. All that is fixed for it.
#[derive(Debug)]
struct Job<'a> {
    args: &'a Args,
    source: &'a Source,
    policy: EvictionPolicy,
    /// Bytes, or objects with `--unit-size`.
    capacity: u64,
    /// The share of the footprint that this is, where it was given so.
    share: Option<f64>,
}

fn run(args: &Args) -> Result<(), Failure> {
    if let Some(path) = &args.plot {
        plot::check(path)?;
    }
    let mut outcomes = Vec::new();
    for source in &args.sources {
        for (share, capacity) in capacities(args, source)? {
            if let Some(message) = unplottable(args, source, capacity) {
                eprintln!("replay: left out of the plot: {message}");
                continue;
            }
            for &policy in &args.policies {
                let outcome = play(&Job { args, source, policy, capacity, share })?;
                if args.json {
                    println!("{}", outcome.json());
                }
                outcomes.push(outcome);
            }
        }
    }
    if !args.json {
        print!("{}", report::table(&outcomes));
    }
    match &args.plot {
        Some(path) => plot::draw(path, &outcomes),
        None => Ok(()),
    }
}

/// The sizes to play a trace at, with the share of the footprint each of them is.
fn capacities(args: &Args, source: &Source) -> Result<Vec<(Option<f64>, u64)>, Failure> {
    match &args.capacity {
        Capacity::Bytes(sizes) => Ok(sizes.iter().map(|&bytes| (None, bytes)).collect()),
        Capacity::Shares(shares) => {
            let bar = progress_bar(args, source, "measuring the footprint");
            let footprint = Footprint::of(source, args, |fraction| bar.set_position(permille(fraction)))?;
            bar.finish_and_clear();
            let whole = match args.mode {
                Mode::Engine => footprint.stored_bytes,
                Mode::UnitSize => footprint.objects,
                Mode::TracedSize => footprint.traced_bytes,
            };
            let size = |share: f64| ((whole as f64 * share).round() as u64).max(1);
            Ok(shares.iter().map(|&share| (Some(share), size(share))).collect())
        }
    }
}

/// Why no cache of this size can be built, if a plot is to be drawn: its other sizes are played all the same.
fn unplottable(args: &Args, source: &Source, capacity: u64) -> Option<Failure> {
    if args.plot.is_none() || args.mode != Mode::Engine {
        return None;
    }
    let &policy = args.policies.first()?;
    player::build(&Job { args, source, policy, capacity, share: None }).err()
}

fn play(job: &Job<'_>) -> Result<Outcome, Failure> {
    let bar = progress_bar(job.args, job.source, job.policy.name());
    let progress = |fraction: f64, hit_ratio: f64| {
        bar.set_position(permille(fraction));
        bar.set_message(format!("hit ratio {hit_ratio:.4}"));
    };
    let outcome = match job.args.mode {
        Mode::Engine => player::play(job, progress),
        Mode::UnitSize | Mode::TracedSize => simulate::play(job, progress),
    };
    bar.finish_and_clear();
    outcome
}

fn permille(fraction: f64) -> u64 {
    (fraction * 1000.0) as u64
}

fn progress_bar(args: &Args, source: &Source, what: &str) -> ProgressBar {
    let target = if args.json { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(1000), target);
    if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:40} {percent:>3}% {elapsed} {msg}") {
        bar.set_style(style);
    }
    bar.set_prefix(format!("{}: {what}", source.name()));
    bar
}
