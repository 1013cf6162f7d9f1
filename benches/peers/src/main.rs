//! Larder beside its peers: the same keys, values and order of operations, in one process, taking turns.
//! `cargo run --release --manifest-path benches/peers/Cargo.toml -- --help` tells how figures are defined.
//!
//! ```text
//!  args ─► cases ─► workload (keys, values) ─► timing (rounds, slices) ─► contender ─► contenders/*
//!             └──────────────────────────────────────────────────────────► report (tables, JSON), plot
//! ```

mod args;
mod cases;
mod contender;
mod contenders;
mod progress;
mod report;
mod timing;
mod workload;

#[path = "../../../examples/support/rng.rs"]
mod rng;
#[path = "../../../examples/support/table.rs"]
mod table;
#[expect(dead_code, reason = "shared with the examples, which use more of it")]
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
        Ok(Parsed::Tell(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("peers: {message}\nTry --help.");
            return ExitCode::from(2);
        }
    };
    match run(&args) {
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
        Pace { rounds: 5, slice: Duration::from_millis(250) }
    };
    let contenders: Vec<&str> = args.contenders.iter().map(String::as_str).collect();
    let cases: Vec<Case> = args.cases.iter().filter_map(|name| Case::named(name, args.quick)).collect();
    let progress = Progress::new(cases.iter().map(|case| case.steps(&contenders, pace)).sum());
    for case in &cases {
        for table in case.play(&contenders, pace, &progress) {
            progress.print(&table.text(), args.json);
            if args.json {
                progress.print(&table.json(), false);
            }
        }
    }
    progress.finish();
    Ok(())
}
