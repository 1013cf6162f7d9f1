//! The timed cases: which entries, which operations, with how many threads; and how a case is played.
//!
//! ```text
//!  build all contenders ─► store the population (or warm up) ─► rounds with 1 thread ─► rounds with 2 ─► drop them all
//! ```
//! All contenders of a case are alive together, so that they can take turns; the next case begins with none.

use std::time::{Duration, Instant};

use crate::contender::{Capacity, Contender, Key, Refusal, Subject};
use crate::contenders::{self, FOYER_LFU, LARDER, MAP, STRETTO, Visitor};
use crate::progress::Progress;
use crate::report::{Figure, Measurement, Table};
use crate::timing::{self, Feed, Operation, Order, Pace, Sample, Summary};
use crate::workload::{self, Popularity};

/// Filling a cache, or warming it up, may take so long.
const FILL_LIMIT: Duration = Duration::from_secs(20);
/// Times that what did not stay in a cache while it was filled is stored again.
const FILL_AGAIN: usize = 2;
/// Keys that are made ready to warm a cache up, where they are used once.
const FRESH_KEYS: usize = 2_500_000;
/// ... and for a measurement: as many as are used if an operation takes so long; it ends early if they do not last.
const FRESH_NS_PER_OP: u128 = 200;
/// Slices are so many times as long where some contenders work in bursts: moka, into which new keys come all the time,
/// rehashes its whole table now and then.
const BURSTS: u32 = 4;
/// The stream of unique keys that a cache is filled with; those of threads are 0 and 1.
const FILL_STREAM: u64 = 9;
/// Threads of the two halves of every table.
const THREADS: [usize; 2] = [1, 2];

/// Where the keys of a case come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keys {
    /// The population, all of which is stored; so many draws a thread, over and over.
    Drawn(Popularity, usize),
    /// Zipf draws from a larger population than there is room for; each contender goes on from where it was.
    Going { population: u64, draws: usize, warm_up: usize },
    /// Each key once.
    Unique,
}

/// One or several tables on the same contenders.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    name: &'static str,
    about: String,
    items: u64,
    value_bytes: usize,
    /// Entries that there is room for.
    room: u64,
    keys: Keys,
    /// What is measured, and what is added to the case's name.
    passes: &'static [(Operation, &'static str)],
    /// Batches in which larder also takes part.
    batches: &'static [usize],
}

/// All timed cases, by name.
pub(crate) const NAMES: [&str; 11] =
    ["hot", "hot-zipf", "zipf-1m", "batch", "mixed", "evict", "ttl", "value-16", "value-100", "value-4k", "value-64k"];

/// Measured: with a million entries it did not end. Its thread does the evictions, and each looks at all entries there
/// are to draw its sample (`SampledLFU::fill_sample` of 0.9.0), so that it falls behind without bounds.
const STRETTO_LATE: &str = "does not end: each eviction looks at all entries";

const GET: &[(Operation, &str)] = &[(Operation::Get, "")];
const GET_AND_SET: &[(Operation, &str)] = &[(Operation::Get, "-get"), (Operation::Set, "-set")];

impl Case {
    /// The case of a name; smaller with `quick`.
    pub(crate) fn named(name: &str, quick: bool) -> Option<Case> {
        let name = *NAMES.iter().find(|known| **known == name)?;
        let scaled = |full: u64| if quick { full / 8 } else { full };
        // Not a power of two: moka's table, when just that many entries come and go, is rehashed over and over. scc
        // rounds up to one, and so has 5 % more room where there is no more room than entries.
        let million = scaled(1_000_000);
        let draws = scaled(4_000_000) as usize;
        let (zipf, uniform) = (Keys::Drawn(Popularity::Zipf, draws), Keys::Drawn(Popularity::Uniform, draws));
        let hot = |popularity| Keys::Drawn(popularity, 1 << 20);
        let going = Keys::Going {
            population: 4 * million,
            draws: scaled(24_000_000) as usize,
            warm_up: scaled(6_000_000) as usize,
        };
        let (items, value_bytes, twice, keys, passes, batches): (u64, usize, bool, Keys, _, &'static [usize]) =
            match name {
                "hot" => (10_000, 100, true, hot(Popularity::Uniform), GET, &[]),
                "hot-zipf" => (10_000, 100, true, hot(Popularity::Zipf), GET, &[]),
                "zipf-1m" => (million, 100, true, zipf, GET, &[]),
                "batch" => (million, 100, true, zipf, GET, &[16, 64]),
                "mixed" => (million, 100, false, going, &[(Operation::Mixed, "")], &[]),
                "evict" => (million, 100, false, Keys::Unique, &[(Operation::Set, "")], &[]),
                "ttl" => (million / 2, 100, true, uniform, &[(Operation::SetTtl, "")], &[]),
                "value-16" => (million, 16, true, uniform, GET_AND_SET, &[]),
                "value-100" => (million, 100, true, uniform, GET_AND_SET, &[]),
                "value-4k" => (scaled(1 << 16), 4096, true, uniform, GET_AND_SET, &[]),
                _ => (scaled(1 << 12), 65_536, true, uniform, GET_AND_SET, &[]),
            };
        let room = if twice { 2 * items } else { items };
        let about = about(name, items, value_bytes);
        Some(Case { name, about, items, value_bytes, room, keys, passes, batches })
    }

    /// Steps of the progress bar.
    pub(crate) fn steps(&self, contenders: &[&str], pace: Pace) -> u64 {
        let rows = contenders.iter().filter(|name| self.absence(name).is_none()).count() + self.batches.len();
        (rows * (1 + self.passes.len() * THREADS.len() * pace.rounds)) as u64
    }

    /// Why a contender cannot take part.
    fn absence(&self, contender: &str) -> Option<&'static str> {
        let has_ttl = || contender == "moka" || contenders::with(contender, HasTtl).unwrap_or(false);
        match self.passes.first() {
            _ if contender == FOYER_LFU => Some(""),
            _ if contender == STRETTO && self.room == self.items => Some(STRETTO_LATE),
            Some((Operation::SetTtl, _)) if !has_ttl() => Some("no per-entry TTL"),
            Some((Operation::Mixed | Operation::SetTtl, _)) if contender == MAP => Some("does not evict"),
            _ if contender == MAP && self.keys == Keys::Unique => Some("does not evict"),
            _ => None,
        }
    }

    /// Plays the case with these contenders.
    pub(crate) fn play(&self, contenders: &[&str], pace: Pace, progress: &Progress) -> Vec<Table> {
        let mut absent = Vec::new();
        let mut stage = Stage::new(self);
        let mut rows = Vec::new();
        for &name in contenders {
            if let Some(reason) = self.absence(name) {
                if !reason.is_empty() {
                    absent.push((name.to_owned(), reason.to_owned()));
                }
                continue;
            }
            let batches = if name == LARDER { self.batches } else { &[] };
            for batch in [None].into_iter().chain(batches.iter().copied().map(Some)) {
                let label = batch.map_or(name.to_owned(), |batch| format!("{name} get_many {batch}"));
                progress.at(self.name, &label);
                match self.build(name).and_then(|subject| stage.fill(subject)) {
                    Ok((subject, note)) => rows.push(Row { label, batch, subject, note, cursors: stage.cursors() }),
                    Err(refusal) => absent.push((label, refusal)),
                }
                progress.step();
            }
        }
        let tables = self.passes.iter().map(|&(operation, suffix)| {
            let mut table = Table::new(format!("{}{suffix}", self.name), self.about.clone());
            for threads in THREADS {
                self.measure(&mut stage, &mut rows, operation, threads, pace, progress, &mut table);
            }
            table.absent.clone_from(&absent);
            table
        });
        tables.collect()
    }

    fn build(&self, name: &str) -> Result<Box<dyn Subject>, Refusal> {
        let capacity = Capacity::entries(self.room, self.value_bytes);
        match self.passes.first() {
            Some((Operation::SetTtl, _)) if name == "moka" => contenders::build_moka_expiry(&capacity),
            _ => contenders::build(name, &capacity),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what is measured, on what, and where it goes")]
    fn measure(
        &self,
        stage: &mut Stage,
        rows: &mut [Row],
        operation: Operation,
        threads: usize,
        pace: Pace,
        progress: &Progress,
        table: &mut Table,
    ) {
        let summaries = timing::rounds(pace, rows.len(), |i| {
            let row = &mut rows[i];
            progress.at(&table.case, &row.label);
            progress.step();
            let operation = row.batch.map_or(operation, Operation::GetMany);
            let slice = if self.keys == Keys::Unique { pace.slice * BURSTS } else { pace.slice };
            stage.sample(row, operation, threads, slice)
        });
        for (row, summary) in rows.iter_mut().zip(summaries) {
            table.measurements.extend(summary.map(|summary| self.measured(row, summary, threads, &table.case)));
        }
    }

    fn measured(&self, row: &Row, summary: Summary, threads: usize, case: &str) -> Measurement {
        row.subject.settle();
        Measurement {
            case: case.to_owned(),
            threads,
            contender: row.label.clone(),
            figure: Figure::Time(summary),
            entries: row.subject.len(),
            note: row.note.clone(),
        }
    }
}

fn about(name: &str, items: u64, value_bytes: usize) -> String {
    let items = crate::units::count(items);
    let what = match name {
        "hot" => "uniform random gets",
        "hot-zipf" | "zipf-1m" => "Zipf 0.99 gets",
        "batch" => "Zipf 0.99 gets, larder's also in batches",
        "mixed" => "95 % gets, misses filled, and 5 % sets, Zipf 0.99 over four times the entries there is room for",
        "evict" => "sets of new keys into a full cache",
        "ttl" => "sets, each with one of four times to live, uniformly over stored keys",
        _ => "gets, and sets over stored keys, uniform",
    };
    format!("{what}; {items} entries with values of {value_bytes} bytes")
}

struct HasTtl;

impl Visitor for HasTtl {
    type Output = bool;

    fn visit<C: Contender<20> + 'static, W: Contender<24> + 'static>(self) -> bool {
        C::TTL
    }
}

/// A contender in a case.
struct Row {
    label: String,
    batch: Option<usize>,
    subject: Box<dyn Subject>,
    note: String,
    /// How far each thread's stream of keys is used.
    cursors: [usize; THREADS.len()],
}

/// The keys and values of a case.
struct Stage {
    keys: Keys,
    population: Vec<Key>,
    warm_up: usize,
    /// The keys of each thread, over and over; or those made ready for one measurement.
    feeds: [Vec<Key>; THREADS.len()],
    draws: [Vec<u32>; THREADS.len()],
    value: Vec<u8>,
    /// Keys used while the last cache was filled.
    filled: usize,
}

impl Stage {
    fn new(case: &Case) -> Self {
        let value = workload::noise(case.value_bytes);
        let mut stage = Stage {
            keys: case.keys,
            population: Vec::new(),
            warm_up: 0,
            feeds: [const { Vec::new() }; THREADS.len()],
            draws: [const { Vec::new() }; THREADS.len()],
            value,
            filled: 0,
        };
        match case.keys {
            Keys::Drawn(popularity, draws) => {
                stage.population = workload::members(case.items);
                for (stream, feed) in stage.feeds.iter_mut().enumerate() {
                    *feed = workload::keys(&workload::draws(popularity, case.items, stream as u64, draws));
                }
            }
            Keys::Going { population, draws, warm_up } => {
                stage.warm_up = warm_up;
                for (stream, own) in stage.draws.iter_mut().enumerate() {
                    *own = workload::draws(Popularity::Zipf, population, stream as u64, draws);
                }
            }
            // A tenth more, so that caches that hold a few more entries are full as well.
            Keys::Unique => {
                stage.population = (0..case.items * 11 / 10).map(|n| workload::unique(FILL_STREAM, n)).collect();
            }
        }
        stage
    }

    fn cursors(&self) -> [usize; THREADS.len()] {
        [self.filled, 0]
    }

    /// Fills or warms up a cache. Beside it, what is to be said of that.
    fn fill(&mut self, mut subject: Box<dyn Subject>) -> Result<(Box<dyn Subject>, String), Refusal> {
        let begun = Instant::now();
        let left = || FILL_LIMIT.saturating_sub(begun.elapsed());
        self.filled = 0;
        let mut note = String::new();
        if let Keys::Going { .. } = self.keys {
            while self.filled < self.warm_up && !left().is_zero() {
                self.make_ready(0, self.filled, FRESH_KEYS.min(self.warm_up - self.filled));
                let done = timing::play(&mut *subject, Operation::Mixed, &self.feeds[0], &self.value, left());
                self.filled += done.map_or(0, |tally| tally.consumed).max(1);
            }
            if self.filled < self.warm_up {
                let (done, all) = (crate::units::count(self.filled as u64), crate::units::count(self.warm_up as u64));
                note = format!("only {done} of {all} operations to warm up, in {} s", FILL_LIMIT.as_secs());
            }
        } else {
            let stored = timing::play(&mut *subject, Operation::Set, &self.population, &self.value, left());
            if stored.is_none_or(|tally| tally.consumed < self.population.len()) {
                return Err(format!("could not be filled in {} s", FILL_LIMIT.as_secs()));
            }
            subject.settle();
            if matches!(self.keys, Keys::Drawn(..)) {
                self.fill_again(&mut *subject);
            }
        }
        subject.settle();
        Ok((subject, note))
    }

    /// Stores again what is missing: where sets are dropped under load, or refused, most of it stays this time.
    fn fill_again(&self, subject: &mut dyn Subject) {
        for _ in 0..FILL_AGAIN {
            let all = timing::play(subject, Operation::Fill, &self.population, &self.value, FILL_LIMIT);
            if all.is_none_or(|tally| tally.hits == tally.gets) {
                break;
            }
            subject.settle();
        }
    }

    /// Makes the keys of a thread ready, from a place in its stream on.
    fn make_ready(&mut self, stream: usize, from: usize, count: usize) {
        let (feed, draws) = (&mut self.feeds[stream], &self.draws[stream]);
        feed.clear();
        match self.keys {
            Keys::Drawn(..) => {}
            Keys::Going { .. } => {
                let index = |n| draws[n % draws.len()];
                feed.extend((from..from + count).map(|n| workload::member(u64::from(index(n)))));
            }
            Keys::Unique => {
                feed.extend((from..from + count).map(|n| workload::unique(stream as u64, n as u64)));
            }
        }
    }

    /// One measurement of one contender.
    fn sample(&mut self, row: &mut Row, operation: Operation, threads: usize, slice: Duration) -> Option<Sample> {
        let (once, warm) = (!matches!(self.keys, Keys::Drawn(..)), slice / 5);
        if once {
            for (stream, &from) in row.cursors.iter().enumerate().take(threads) {
                self.make_ready(stream, from, ((slice + warm).as_nanos() / FRESH_NS_PER_OP) as usize);
            }
        }
        let start = |cursor: usize, keys: &[Key]| if once { 0 } else { cursor % keys.len().max(1) };
        let own = self.feeds.iter().zip(row.cursors).take(threads);
        let feeds: Vec<Feed<'_>> = own.map(|(keys, cursor)| Feed { keys, start: start(cursor, keys), once }).collect();
        let order = Order { operation, feeds: &feeds, value: &self.value, warm, slice };
        let tallies = row.subject.measure(&order)?;
        for (cursor, tally) in row.cursors.iter_mut().zip(&tallies) {
            *cursor += tally.consumed;
        }
        Some(Sample::of(&tallies))
    }
}
