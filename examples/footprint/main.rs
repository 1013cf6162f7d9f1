//! What larder's promises about memory come to, measured: bytes an item, the limit held, sizes that change, stalls,
//! expiry. `cargo run --release --example footprint -- --help` tells the rest.
//!
//! ```text
//!  footprint ──► footprint --case items-v90 ──► one JSON object ─┐
//!           └──► footprint --case turnover  ──► one JSON object ─┴─► table, or the objects themselves (--json)
//! ```
//! Each case runs in a process of its own, so that resident memory is the case's alone.

mod expiry;
mod items;
mod limits;
mod measure;
mod report;
mod shift;
mod stall;

#[path = "../support/histogram.rs"]
mod histogram;
#[path = "../support/process.rs"]
mod process;
#[path = "../support/rng.rs"]
mod rng;
#[path = "../support/table.rs"]
mod table;
#[path = "../support/units.rs"]
mod units;
#[path = "../support/zipf.rs"]
mod zipf;

use std::process::{Command, ExitCode, Stdio};

use lexopt::prelude::*;
use measure::{Measured, Scale};
use serde_json::Value as Json;

/// What can end the program early, as the line to print.
type Failure = String;

const HELP: &str = "\
Measures what larder's promises about memory come to. Each case is a process of its own.

Usage: footprint [options]

  --only NAME,...   these cases, or groups: items, turnover, limits, shift, stall, expiry
  --quick           a tenth of the items (and of the large limits)
  --json            one JSON object a case, a line each, with at least the keys case, limit, items, payload_bytes,
                    memory_used, rss_growth, overhead_per_item, payload_share
  --list            print the names of all cases
  --case NAME       run one case in this process and print its JSON object
  -h, --help        this text

overhead    (memory used, all of it, less the bytes of keys and values) / items
share       bytes of keys and values / limit; of memory used where the cache was not full
RSS growth  the most resident memory there was (VmHWM) less resident memory just before the cache was built

Exit code 1 when a limit is not kept, 2 for a mistake on the command line.
";

/// A case: what it is called, the group it belongs to, and what measures it.
struct Case {
    name: String,
    group: &'static str,
    run: Box<Measure>,
}

type Measure = dyn Fn(&Scale) -> Result<Measured, Failure>;

impl Case {
    fn new(
        group: &'static str,
        name: impl Into<String>,
        run: impl Fn(&Scale) -> Result<Measured, Failure> + 'static,
    ) -> Self {
        Case { name: name.into(), group, run: Box::new(run) }
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for value_size in items::VALUE_SIZES {
        let run = move |scale: &Scale| items::of_size(scale, value_size);
        cases.push(Case::new("items", format!("{}{value_size}", report::ITEMS_PREFIX), run));
    }
    cases.push(Case::new("items", "index-growth", items::index_growth));
    cases.push(Case::new("turnover", "turnover", items::turnover));
    for (name, limit, share) in limits::LIMITS {
        cases.push(Case::new("limits", name, move |scale: &Scale| limits::mixed_sizes(scale, limit, share)));
    }
    for (name, limit, share) in shift::LIMITS {
        cases.push(Case::new("shift", name, move |scale: &Scale| shift::sizes_change(scale, limit, share)));
    }
    cases.push(Case::new("stall", "stall", stall::grow_and_evict));
    cases.push(Case::new("expiry", "expiry", expiry::many_at_once));
    cases.push(Case::new("expiry", "clear", expiry::clear));
    cases
}

#[derive(Debug, Default)]
struct Args {
    only: Vec<String>,
    case: Option<String>,
    quick: bool,
    json: bool,
    list: bool,
    help: bool,
}

fn main() -> ExitCode {
    let cases = cases();
    let args = match parse(lexopt::Parser::from_env(), &cases) {
        Ok(args) => args,
        Err(message) => {
            eprintln!("footprint: {message}\nTry --help.");
            return ExitCode::from(2);
        }
    };
    match run(&args, &cases) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("footprint: {message}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut parser: lexopt::Parser, cases: &[Case]) -> Result<Args, String> {
    let mut args = Args::default();
    let told = |error: lexopt::Error| error.to_string();
    while let Some(argument) = parser.next().map_err(told)? {
        match argument {
            Short('h') | Long("help") => args.help = true,
            Long("quick") => args.quick = true,
            Long("json") => args.json = true,
            Long("list") => args.list = true,
            Long("case") => args.case = Some(parser.value().and_then(|value| value.string()).map_err(told)?),
            Long("only") => {
                let names = parser.value().and_then(|value| value.string()).map_err(told)?;
                args.only.extend(names.split(',').map(str::to_string));
            }
            other => return Err(other.unexpected().to_string()),
        }
    }
    for name in args.only.iter().chain(&args.case) {
        if !cases.iter().any(|case| case.name == *name || (case.group == name && args.case.is_none())) {
            return Err(format!("no case '{name}'; --list names them"));
        }
    }
    Ok(args)
}

/// False when a limit was not kept.
fn run(args: &Args, cases: &[Case]) -> Result<bool, Failure> {
    if args.help {
        print!("{HELP}");
        return Ok(true);
    }
    if let Some(name) = &args.case {
        let scale = Scale { quick: args.quick };
        let case = cases.iter().find(|case| case.name == *name).ok_or_else(|| format!("no case '{name}'"))?;
        println!("{}", (case.run)(&scale)?.json(name));
        return Ok(true);
    }
    let wanted = |case: &&Case| {
        args.only.is_empty() || args.only.iter().any(|name| case.name == *name || case.group == name.as_str())
    };
    let mut rows = Vec::new();
    for case in cases.iter().filter(wanted) {
        if args.list {
            println!("{}", case.name);
            continue;
        }
        let row = in_own_process(&case.name, args.quick).unwrap_or_else(|error| report::failed(&case.name, &error));
        report::show(&row, args.json);
        rows.push(row);
    }
    if let Some(average) = report::items_average(&rows) {
        report::show(&average, args.json);
        rows.push(average);
    }
    if !args.json && !args.list {
        print!("{}", report::table(&rows));
    }
    Ok(rows.iter().all(report::is_kept))
}

fn in_own_process(case: &str, quick: bool) -> Result<Json, Failure> {
    let told = |error: &dyn std::fmt::Display| error.to_string();
    let program = std::env::current_exe().map_err(|error| told(&error))?;
    let mut command = Command::new(program);
    command.args(["--case", case]).stderr(Stdio::inherit());
    if quick {
        command.arg("--quick");
    }
    let output = command.output().map_err(|error| told(&error))?;
    if !output.status.success() {
        return Err(told(&format_args!("ended with {}", output.status)));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| told(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_checked() {
        let cases = cases();
        let parsed = |line: &str| {
            let words = std::iter::once("footprint").chain(line.split_whitespace());
            parse(lexopt::Parser::from_iter(words), &cases)
        };
        let args = parsed("--only items,turnover --quick --json").unwrap();
        assert!(args.quick && args.json && args.only == ["items", "turnover"]);
        assert_eq!(parsed("--case items-v90").unwrap().case.as_deref(), Some("items-v90"));
        for line in ["--only nothing", "--case items", "--frob", "x", "--only"] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }

    #[test]
    fn names_are_unique() {
        let names: Vec<String> = cases().into_iter().map(|case| case.name).collect();
        assert!(names.iter().all(|name| names.iter().filter(|other| *other == name).count() == 1), "{names:?}");
    }
}
