//! Larder beside its peers: the same keys, values and order of operations, in one process, taking turns.
//! `cargo run --release --manifest-path benches/peers/Cargo.toml -- --help` tells how figures are defined.
//!
//! ```text
//!  args ─► cases ─► workload (keys, values) ─► timing (rounds, slices) ─► contender ─► contenders/*
//!             └──────────────────────────────────────────────────────────► report (tables, JSON), plot
//! ```

mod args;
mod cases;
mod child;
mod contender;
mod contenders;
mod hit_ratio;
mod memory;
mod plot;
mod progress;
mod report;
mod timing;
mod traces;
mod workload;

#[path = "../../../examples/support/process.rs"]
mod process;
#[path = "../../../examples/support/rng.rs"]
mod rng;
#[path = "../../../examples/support/table.rs"]
mod table;
#[allow(dead_code, reason = "shared with the examples, which use more of it")]
#[path = "../../../examples/support/trace/mod.rs"]
mod trace;
#[path = "../../../examples/support/units.rs"]
mod units;
#[path = "../../../examples/support/zipf.rs"]
mod zipf;

use std::process::ExitCode;
use std::time::Duration;

use args::{Args, Parsed};
use cases::Case;
use progress::Progress;
use timing::Pace;

/// What can end the program early, as the line to print.
type Failure = String;

fn main() -> ExitCode {
    let args = match args::parse(lexopt::Parser::from_env()) {
        Ok(Parsed::Run(args)) => args,
        Ok(Parsed::Child(contender, task)) => return told(child::main(&contender, task)),
        Ok(Parsed::Tell(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("peers: {message}\nTry --help.");
            return ExitCode::from(2);
        }
    };
    told(run(&args))
}

/// Success, or a failure told on standard error.
fn told(outcome: Result<(), Failure>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("peers: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Failure> {
    let pace = if args.quick {
        Pace { rounds: 3, slice: Duration::from_millis(25) }
    } else {
        Pace { rounds: 5, slice: Duration::from_millis(200) }
    };
    let contenders: Vec<&str> = args.contenders.iter().map(String::as_str).collect();
    let timed = |name: &String| Case::named(name, args.quick);
    let steps = args.cases.iter().map(|name| match name.as_str() {
        hit_ratio::HIT_RATIO => hit_ratio::steps(&contenders),
        _ => timed(name).map_or(contenders.len() as u64, |case| case.steps(&contenders, pace)),
    });
    let progress = Progress::new(steps.sum());
    for name in &args.cases {
        let tables = match name.as_str() {
            memory::OVERHEAD => vec![memory::overhead(&contenders, args.quick, &progress)],
            memory::LIMIT => vec![memory::limit(&contenders, args.quick, &progress)],
            hit_ratio::HIT_RATIO => vec![hit_ratio::play(&contenders, args.quick, &progress)],
            _ => timed(name).map_or(Vec::new(), |case| case.play(&contenders, pace, &progress)),
        };
        for table in &tables {
            progress.print(&table.text(), args.json);
            if args.json {
                progress.print(&table.json(), false);
            }
            if let Some(folder) = &args.plot {
                plot::draw(folder, table)?;
            }
        }
    }
    progress.finish();
    Ok(())
}
