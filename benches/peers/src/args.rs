//! The command line.

use std::path::PathBuf;

use lexopt::prelude::*;

use crate::child::Task;
use crate::{cases, contenders, hit_ratio, memory};

pub(crate) const HELP: &str = "\
Measures larder beside other caches, in one process, taking turns.

Usage: peers [options]

  --quick              smaller populations, shorter slices, fewer rounds; within three minutes
  --json               one JSON object a measurement, a line each, on standard output; the tables go to standard error
  --plot FOLDER        a chart of each case as FOLDER/<case>.svg
  --only CASE,...      these cases
  --contenders NAME,.. these contenders
  --list               the names of all cases and contenders
  -h, --help           this text

Cases     hot hot-zipf zipf-1m batch mixed evict ttl value-16 value-100 value-4k value-64k: time, with one thread and
          with two. overhead: bytes an entry takes beside key and value. limit: the most resident memory under a limit
          of 256 MiB. hit-ratio: hits at equal resident memory on the traces in the folder LARDER_TRACES.
ns/op     wall nanoseconds that a thread takes for an operation: each thread's time / its operations, averaged over the
          threads. Mops/s is what all threads do together. Medians of the rounds; +-% is how far the furthest round is
          from the median.
x peer    divided by the figure of the best peer: every contender but larder and the map.
x map     divided by that of hashbrown's map, which is no cache: boxed keys and values, no protection, no eviction.
hits %    of gets; a miss is cheaper than a hit.
refused % of sets that the cache said it did not take.
JSON      larder's objects have the same ratios: ratio_to_best_peer, ratio_to_quick_cache, ratio_to_map.
";

/// The cases that run each contender in a process of its own.
pub(crate) const CHILD_CASES: [&str; 3] = [memory::OVERHEAD, memory::LIMIT, hit_ratio::HIT_RATIO];

/// What is to be done.
#[derive(Debug, Clone)]
pub(crate) struct Args {
    pub(crate) quick: bool,
    pub(crate) json: bool,
    pub(crate) plot: Option<PathBuf>,
    pub(crate) cases: Vec<String>,
    pub(crate) contenders: Vec<String>,
}

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Parsed {
    Run(Args),
    /// What one process asks of another: a task for a contender.
    Child(String, Task),
    /// Text to print, and be done.
    Tell(String),
}

/// All cases, in order.
pub(crate) fn all_cases() -> impl Iterator<Item = &'static str> {
    cases::NAMES.into_iter().chain(CHILD_CASES)
}

pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Parsed, String> {
    let mut args = Args { quick: false, json: false, plot: None, cases: Vec::new(), contenders: Vec::new() };
    let mut child = None;
    while let Some(arg) = parser.next().map_err(|error| error.to_string())? {
        match arg {
            Long("quick") => args.quick = true,
            Long("json") => args.json = true,
            Long("plot") => args.plot = Some(value(&mut parser)?.into()),
            Long("only") => args.cases = names(&mut parser, "case", &all_cases().collect::<Vec<_>>())?,
            Long("contenders") => args.contenders = names(&mut parser, "contender", &contenders::NAMES)?,
            Long("list") => {
                let cases: Vec<_> = all_cases().collect();
                let text = format!("cases: {}\ncontenders: {}\n", cases.join(" "), contenders::NAMES.join(" "));
                return Ok(Parsed::Tell(text));
            }
            Long("child") => child = Some(value(&mut parser)?),
            Short('h') | Long("help") => return Ok(Parsed::Tell(HELP.to_owned())),
            other => return Err(other.unexpected().to_string()),
        }
    }
    if let Some(words) = child {
        let task = Task::parse(&words.split(',').collect::<Vec<_>>());
        let (task, contender) = task.zip(args.contenders.pop()).ok_or("no such task")?;
        return Ok(Parsed::Child(contender, task));
    }
    if args.cases.is_empty() {
        args.cases = all_cases().map(str::to_owned).collect();
    }
    if args.contenders.is_empty() {
        args.contenders = contenders::NAMES.map(str::to_owned).to_vec();
    }
    Ok(Parsed::Run(args))
}

fn value(parser: &mut lexopt::Parser) -> Result<String, String> {
    parser.value().and_then(|value| value.parse()).map_err(|error: lexopt::Error| error.to_string())
}

/// A list of names, each of which must be known.
fn names(parser: &mut lexopt::Parser, what: &str, known: &[&str]) -> Result<Vec<String>, String> {
    let list = value(parser)?;
    let names: Vec<String> = list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    match names.iter().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(format!("there is no {what} '{name}'; there are {}", known.join(" "))),
        None if names.is_empty() => Err(format!("which {what}?")),
        None => Ok(names),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Parsed, String> {
        parse(lexopt::Parser::from_args(arguments))
    }

    #[test]
    fn options_are_understood() {
        let Ok(Parsed::Run(args)) = parsed(&["--quick", "--only", "hot,evict", "--contenders=larder", "--plot", "x"])
        else {
            panic!("a run was asked for");
        };
        assert!(args.quick && !args.json);
        assert_eq!((args.cases, args.contenders), (vec!["hot".into(), "evict".into()], vec!["larder".into()]));
        assert_eq!(args.plot, Some("x".into()));
    }

    #[test]
    fn mistakes_are_told() {
        for wrong in [&["--only", "cold"][..], &["--only", ","], &["--contenders", "redis"], &["--fast"], &["x"]] {
            assert!(parsed(wrong).is_err(), "{wrong:?}");
        }
        assert!(matches!(parsed(&["--list"]), Ok(Parsed::Tell(_))));
    }
}
