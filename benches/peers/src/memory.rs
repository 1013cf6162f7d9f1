//! The cases about memory: what an entry takes beside key and value, and what a limit in bytes comes to. Each contender
//! is measured in a process of its own ([`child`](crate::child)).

use std::time::Duration;

use crate::child::{self, OVERHEAD_KEY_BYTES, OVERHEAD_VALUE_BYTES, Task};
use crate::contenders::FOYER_LFU;
use crate::progress::Progress;
use crate::report::{Figure, Measurement, Table, Unit};
use crate::units;

pub(crate) const OVERHEAD: &str = "overhead";
pub(crate) const LIMIT: &str = "limit";

/// More than any contender was seen to take to begin and to end.
const GRACE: Duration = Duration::from_secs(60);

/// Bytes of overhead an entry.
pub(crate) fn overhead(contenders: &[&str], quick: bool, progress: &Progress) -> Table {
    let items: u64 = if quick { 1 << 18 } else { 1_000_000 };
    let payload = (OVERHEAD_KEY_BYTES + OVERHEAD_VALUE_BYTES) as f64;
    let about = format!(
        "bytes an entry takes beside {OVERHEAD_KEY_BYTES} of key and {OVERHEAD_VALUE_BYTES} of value: resident growth \
         after {} inserts / entries, less these",
        units::count(items)
    );
    let mut table = Table::new(OVERHEAD, about);
    each(contenders, progress, &mut table, |name| {
        let found = child::run(name, Task::Overhead { items }, &[], GRACE)?;
        let bytes = found.growth as f64 / found.entries.max(1) as f64 - payload;
        Ok((Figure::Amount(bytes, Unit::BytesAnEntry), found.entries, String::new()))
    });
    table
}

/// Peak resident growth under a limit in bytes.
pub(crate) fn limit(contenders: &[&str], quick: bool, progress: &Progress) -> Table {
    let (limit, inserts, seconds) = if quick { (64 << 20, 1_000_000, 4) } else { (256 << 20, 10_000_000, 60) };
    let about = format!(
        "most resident growth there was / limit of {}; {} inserts of new keys, values exponential, mean 400 bytes",
        units::bytes(limit),
        units::count(inserts)
    );
    let mut table = Table::new(LIMIT, about);
    each(contenders, progress, &mut table, |name| {
        let time = Duration::from_secs(seconds);
        let found = child::run(name, Task::Limit { limit, inserts, seconds }, &[], time + GRACE)?;
        let cut = found.entries < inserts;
        let done = units::count(found.entries);
        let note = if cut { format!("stopped after {done} inserts, in {seconds} s") } else { String::new() };
        Ok((Figure::Amount(found.growth as f64 / limit as f64, Unit::OfTheLimit), found.entries, note))
    });
    table
}

/// Asks for each contender's figure, entries and note.
fn each(
    contenders: &[&str],
    progress: &Progress,
    table: &mut Table,
    measure: impl Fn(&str) -> Result<(Figure, u64, String), String>,
) {
    for &name in contenders.iter().filter(|&&name| name != FOYER_LFU) {
        progress.at(&table.case, name);
        match measure(name) {
            Ok((figure, entries, note)) => table.measurements.push(Measurement {
                case: table.case.clone(),
                threads: 1,
                contender: name.to_owned(),
                figure,
                entries: Some(entries),
                note,
            }),
            Err(refusal) => table.absent.push((name.to_owned(), refusal)),
        }
        progress.step();
    }
}
