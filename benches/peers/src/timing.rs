//! The clock: loops that are compiled for each contender, slices of time, rounds in which contenders take turns.
//!
//! - **One measurement** is a slice of wall time (0.2 s, 0.8 s in `evict`, less with `--quick`) in which each thread
//!   does operations one after the other; it looks at the clock every 512. A fifth of a slice goes before it, untimed,
//!   so that the contender finds its own data in the caches. Threads begin behind a barrier.
//! - **ns per operation** is the wall time that a thread takes for an operation: elapsed / operations of that thread,
//!   averaged over the threads. With two threads that do not hinder each other it is the same as with one. **Mops/s**
//!   is what all threads do together.
//! - **Rounds**: in each, all contenders take their turn, the first of one round being the second of the next, so that
//!   what happens to the machine happens to all. What is reported is the median of the rounds.
//! - Measuring threads are pinned to a core each, new ones for each measurement. Threads that a contender starts
//!   itself (larder's maintenance, stretto's processor) are not pinned, and take their time from the same cores.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use crate::contender::{Key, Subject};

/// Operations between two looks at the clock.
const CHUNK: usize = 512;
/// Of the operations of [`Operation::Mixed`], every so many-th is a set.
const SET_EVERY: u64 = 20;

/// What a thread does with each key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Get,
    /// Gets in batches of so many.
    GetMany(usize),
    Set,
    /// Sets with one of four times to live.
    SetTtl,
    /// 95 % gets, each miss followed by a set, and 5 % sets.
    Mixed,
    /// Gets, each miss followed by a set.
    Fill,
}

impl Operation {
    pub(crate) fn writes(self) -> bool {
        !matches!(self, Operation::Get | Operation::GetMany(_))
    }

    pub(crate) fn needs_ttl(self) -> bool {
        self == Operation::SetTtl
    }
}

/// The times to live of [`Operation::SetTtl`], in seconds.
const TTLS_S: [u64; 4] = [60, 600, 3600, 86_400];

/// The keys of one thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Feed<'a> {
    pub(crate) keys: &'a [Key],
    /// Where to begin.
    pub(crate) start: usize,
    /// Ends with the last key; otherwise begins again.
    pub(crate) once: bool,
}

/// One measurement: a feed for each thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Order<'a> {
    pub(crate) operation: Operation,
    pub(crate) feeds: &'a [Feed<'a>],
    pub(crate) value: &'a [u8],
    pub(crate) warm: Duration,
    pub(crate) slice: Duration,
}

/// What one thread did.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) operations: u64,
    pub(crate) gets: u64,
    pub(crate) hits: u64,
    pub(crate) sets: u64,
    /// Sets that the cache said it did not take.
    pub(crate) refused: u64,
    pub(crate) elapsed: Duration,
    /// Keys taken from the feed, those of the untimed part included.
    pub(crate) consumed: usize,
    total: u64,
}

/// One thread's access to a contender.
pub(crate) trait Handle: Send {
    fn get(&mut self, key: &Key) -> Option<u64>;
    fn set(&mut self, key: &Key, value: &[u8]) -> bool;
    fn set_ttl(&mut self, key: &Key, value: &[u8], ttl: Duration) -> bool;
    fn get_many(&mut self, keys: &[Key]) -> (u64, u64);
}

/// Access of the only one.
pub(crate) struct Owned<'a, C>(pub(crate) &'a mut C);

/// Access of one of several.
pub(crate) struct Shared<'a, C>(pub(crate) &'a C);

/// Measures one thread.
pub(crate) fn alone<H: Handle>(handle: &mut H, order: &Order<'_>, feed: &Feed<'_>) -> Tally {
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            pin(0);
            work(handle, order, feed, None)
        });
        worker.join().unwrap_or_default()
    })
}

/// Measures as many threads as there are feeds.
pub(crate) fn together<H: Handle>(handle: impl Fn() -> H, order: &Order<'_>) -> Vec<Tally> {
    let barrier = Barrier::new(order.feeds.len());
    std::thread::scope(|scope| {
        let spawn = |(core, feed)| {
            let (mut handle, barrier) = (handle(), &barrier);
            scope.spawn(move || {
                pin(core);
                work(&mut handle, order, feed, Some(barrier))
            })
        };
        let workers: Vec<_> = order.feeds.iter().enumerate().map(spawn).collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or_default()).collect()
    })
}

/// Pins the calling thread to the `n`th core, where there are so many.
fn pin(n: usize) {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    if let Some(&core) = cores.get(n) {
        core_affinity::set_for_current(core);
    }
}

fn work<H: Handle>(handle: &mut H, order: &Order<'_>, feed: &Feed<'_>, barrier: Option<&Barrier>) -> Tally {
    let mut feed = *feed;
    let warm = if order.warm.is_zero() { 0 } else { drive(handle, order, &feed, order.warm).consumed };
    feed.start += warm;
    if !feed.once {
        feed.start %= feed.keys.len().max(1);
    }
    if let Some(barrier) = barrier {
        barrier.wait();
    }
    let mut tally = drive(handle, order, &feed, order.slice);
    tally.consumed += warm;
    tally
}

/// Does operations until the time is over or the feed ends.
fn drive<H: Handle>(handle: &mut H, order: &Order<'_>, feed: &Feed<'_>, limit: Duration) -> Tally {
    let mut tally = Tally::default();
    match order.operation {
        Operation::Get => paced(feed, limit, &mut tally, |keys, tally| {
            tally.gets += keys.len() as u64;
            for key in keys {
                if let Some(sum) = handle.get(key) {
                    tally.hits += 1;
                    tally.total = tally.total.wrapping_add(sum);
                }
            }
        }),
        Operation::GetMany(batch) => paced(feed, limit, &mut tally, |keys, tally| {
            tally.gets += keys.len() as u64;
            for keys in keys.chunks(batch) {
                let (hits, sum) = handle.get_many(keys);
                tally.hits += hits;
                tally.total = tally.total.wrapping_add(sum);
            }
        }),
        Operation::Set => paced(feed, limit, &mut tally, |keys, tally| {
            tally.sets += keys.len() as u64;
            for key in keys {
                tally.refused += u64::from(!handle.set(key, order.value));
            }
        }),
        Operation::SetTtl => paced(feed, limit, &mut tally, |keys, tally| {
            tally.sets += keys.len() as u64;
            for key in keys {
                let ttl = Duration::from_secs(TTLS_S[usize::from(key[key.len() - 1] & 3)]);
                tally.refused += u64::from(!handle.set_ttl(key, order.value, ttl));
            }
        }),
        Operation::Mixed => {
            paced(feed, limit, &mut tally, |keys, tally| mixed(handle, keys, order.value, SET_EVERY, tally));
        }
        Operation::Fill => {
            paced(feed, limit, &mut tally, |keys, tally| mixed(handle, keys, order.value, u64::MAX, tally))
        }
    }
    black_box(tally.total);
    tally
}

#[inline(always)]
fn mixed<H: Handle>(handle: &mut H, keys: &[Key], value: &[u8], set_every: u64, tally: &mut Tally) {
    for (n, key) in (1 + tally.operations..).zip(keys) {
        if n % set_every == 0 {
            tally.sets += 1;
            tally.refused += u64::from(!handle.set(key, value));
            continue;
        }
        tally.gets += 1;
        if let Some(sum) = handle.get(key) {
            tally.hits += 1;
            tally.total = tally.total.wrapping_add(sum);
        } else {
            tally.sets += 1;
            tally.refused += u64::from(!handle.set(key, value));
        }
    }
}

/// Hands out the keys of a feed in chunks until the time is over.
#[inline(always)]
fn paced(feed: &Feed<'_>, limit: Duration, tally: &mut Tally, mut step: impl FnMut(&[Key], &mut Tally)) {
    let begun = Instant::now();
    let mut keys = &feed.keys[feed.start.min(feed.keys.len())..];
    loop {
        if keys.is_empty() {
            if feed.once || feed.keys.is_empty() {
                break;
            }
            keys = feed.keys;
        }
        let (chunk, rest) = keys.split_at(keys.len().min(CHUNK));
        step(chunk, tally);
        tally.operations += chunk.len() as u64;
        tally.consumed += chunk.len();
        tally.elapsed = begun.elapsed();
        if tally.elapsed >= limit {
            break;
        }
        keys = rest;
    }
}

/// The outcome of one measurement, all threads together.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sample {
    pub(crate) ns_per_op: f64,
    pub(crate) mops: f64,
    pub(crate) operations: u64,
    /// The threads' times together.
    pub(crate) nanos: f64,
    pub(crate) gets: u64,
    pub(crate) hits: u64,
    pub(crate) sets: u64,
    pub(crate) refused: u64,
}

impl Sample {
    pub(crate) fn of(tallies: &[Tally]) -> Sample {
        let mut sample = Sample::default();
        for tally in tallies {
            let nanos = tally.elapsed.as_secs_f64() * 1e9;
            sample.ns_per_op += nanos / tally.operations.max(1) as f64 / tallies.len() as f64;
            sample.mops += tally.operations as f64 / nanos.max(1.0) * 1e3;
            sample.operations += tally.operations;
            sample.nanos += nanos;
            sample.gets += tally.gets;
            sample.hits += tally.hits;
            sample.sets += tally.sets;
            sample.refused += tally.refused;
        }
        sample
    }
}

/// Several measurements of the same.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Summary {
    pub(crate) ns_per_op: f64,
    pub(crate) mops: f64,
    /// The fastest and the slowest round.
    pub(crate) least: f64,
    pub(crate) most: f64,
    /// All time of all rounds / all operations: where a contender stalls in some rounds, more than the median.
    pub(crate) mean: f64,
    /// Hits of gets, over all rounds.
    pub(crate) hit_share: Option<f64>,
    pub(crate) refused_share: f64,
}

impl Summary {
    /// The median round, and sums over all; `None` if there was none.
    pub(crate) fn of(samples: &[Sample]) -> Option<Summary> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(|a, b| a.ns_per_op.total_cmp(&b.ns_per_op));
        let (first, last, median) = (sorted.first()?, sorted.last()?, sorted.get(sorted.len() / 2)?);
        let total = |of: fn(&Sample) -> u64| samples.iter().map(of).sum::<u64>();
        let (gets, sets) = (total(|s| s.gets), total(|s| s.sets));
        Some(Summary {
            ns_per_op: median.ns_per_op,
            mops: median.mops,
            least: first.ns_per_op,
            most: last.ns_per_op,
            mean: samples.iter().map(|s| s.nanos).sum::<f64>() / total(|s| s.operations).max(1) as f64,
            hit_share: (gets > 0).then(|| total(|s| s.hits) as f64 / gets as f64),
            refused_share: total(|s| s.refused) as f64 / sets.max(1) as f64,
        })
    }
}

/// How long and how often.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) rounds: usize,
    pub(crate) slice: Duration,
}

/// A contender's turn in every round: it is handed the number of the contender and gives its sample.
pub(crate) fn rounds(
    pace: Pace,
    contenders: usize,
    mut turn: impl FnMut(usize) -> Option<Sample>,
) -> Vec<Option<Summary>> {
    let mut samples = vec![Vec::new(); contenders];
    for round in 0..pace.rounds {
        for place in 0..contenders {
            let contender = (place + round) % contenders;
            samples[contender].extend(turn(contender));
        }
    }
    samples.iter().map(|samples| Summary::of(samples)).collect()
}

/// Does all of `keys` once, on one thread, giving up after `limit`: how many it did.
pub(crate) fn play(
    subject: &mut dyn Subject,
    operation: Operation,
    keys: &[Key],
    value: &[u8],
    limit: Duration,
) -> Option<Tally> {
    let feeds = [Feed { keys, start: 0, once: true }];
    let order = Order { operation, feeds: &feeds, value, warm: Duration::ZERO, slice: limit };
    subject.measure(&order).and_then(|tallies| tallies.first().copied())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contender::{Capacity, Contender, sum};
    use crate::contenders::Map;
    use crate::workload::members;

    #[test]
    fn a_feed_is_played_once_or_over_and_over() {
        let keys = members(1000);
        let mut map = <Map as Contender>::build(&Capacity::entries(1000, 10)).expect("a map");
        let second = Duration::from_secs(1);
        let tally = play(&mut map, Operation::Set, &keys, &[1; 10], second).expect("one thread may write");
        assert_eq!((tally.operations, tally.sets, tally.refused, tally.consumed), (1000, 1000, 0, 1000));
        let tally = play(&mut map, Operation::Get, &keys, &[], second).expect("a tally");
        assert_eq!(
            (tally.operations, tally.gets, tally.hits, tally.total),
            (1000, 1000, 1000, 1000u64.wrapping_mul(sum(&[1; 10])))
        );
        let feeds = [Feed { keys: &keys, start: 900, once: false }; 2];
        let slice = Duration::from_millis(10);
        let order = Order { operation: Operation::GetMany(16), feeds: &feeds, value: &[], warm: slice, slice };
        let tallies = map.measure(&order).expect("two threads may read");
        assert_eq!(tallies.len(), 2);
        assert!(tallies.iter().all(|tally| tally.operations > 1000 && tally.hits == tally.gets));
        assert!(map.measure(&Order { operation: Operation::Set, ..order }).is_none());
        assert!(map.measure(&Order { operation: Operation::SetTtl, feeds: &feeds[..1], ..order }).is_none());
    }

    #[test]
    fn a_mixture_has_its_shares() {
        let keys = members(2000);
        let mut map = <Map as Contender>::build(&Capacity::entries(2000, 10)).expect("a map");
        let tally = play(&mut map, Operation::Mixed, &keys, &[1; 10], Duration::from_secs(1)).expect("a tally");
        assert_eq!((tally.operations, tally.gets, tally.hits, tally.sets), (2000, 1900, 0, 2000));
    }

    #[test]
    fn medians_and_turns() {
        let pace = Pace { rounds: 3, slice: Duration::ZERO };
        let mut order = Vec::new();
        let summaries = rounds(pace, 2, |contender| {
            order.push(contender);
            let ns_per_op = order.len() as f64;
            (contender == 0).then_some(Sample { ns_per_op, gets: 4, hits: 3, ..Sample::default() })
        });
        assert_eq!(order, [0, 1, 1, 0, 0, 1]);
        let first = summaries[0].expect("samples");
        assert_eq!((first.ns_per_op, first.least, first.most), (4.0, 1.0, 5.0));
        assert_eq!(first.hit_share, Some(0.75));
        assert!(summaries[1].is_none());
    }
}
