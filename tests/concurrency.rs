//! Many threads at once. What they saw of a few keys is checked for linearizability, while others churn through so
//! many keys that tables grow and shrink, pages move, and, where the policy allows it, items are evicted in the same
//! shards.
//!
//! * Where nothing can be evicted or expire, a value that was stored is there until it is removed: a miss is a failure.
//! * Values describe themselves (key, sequence number, a filling that both determine), so a reader that is shown torn
//!   or foreign bytes notices. Guards are checked again when they are dropped, after much else has happened.
//! * Money moved between keys by updates is neither made nor lost.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use larder::{Automove, Cache, CasOutcome, EvictionPolicy, Maintenance, Objective};
use todc_utils::linearizability::WGLChecker;
use todc_utils::linearizability::history::{Action, History};
use todc_utils::specifications::Specification;

/// Threads whose operations are checked.
const THREADS: u32 = 4;
/// Keys that they work on; the last one is a counter.
const KEYS: u32 = 4;
const COUNTER: u32 = KEYS - 1;
/// Operations of each thread in a round. Checking takes time that grows faster than the history.
const OPS: u32 = 120;

/// Random numbers (splitmix64).
struct Rng(u64);

impl Rng {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % below
    }
}

fn key(number: u32) -> Vec<u8> {
    format!("key-{number}").into_bytes()
}

/// A value that says whose it is: key, sequence number, and a filling whose length and bytes follow from them.
fn describe(number: u32, sequence: u64) -> Vec<u8> {
    let mut rng = Rng(sequence ^ u64::from(number) << 40);
    let len = match rng.next(16) {
        0 => 300 + rng.next(2500),
        1..4 => 100 + rng.next(200),
        _ => rng.next(100),
    };
    let mut value = [&number.to_le_bytes()[..], &sequence.to_le_bytes()].concat();
    value.extend((0..len).map(|_| rng.next(256) as u8));
    value
}

/// The sequence number of a value; panics if the bytes are not exactly what this key's value with that number is.
fn understand(number: u32, value: &[u8]) -> u64 {
    let sequence = value.get(4..12).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
    let sequence = sequence.unwrap_or_else(|| panic!("key {number} has {value:?}"));
    assert!(value == describe(number, sequence), "key {number} has torn or foreign bytes: {value:?}");
    sequence
}

/// An operation and what it came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Seen {
    Read(Option<u64>),
    Write(u64),
    Add(u64, bool),
    Remove(bool),
    /// A check-and-set: the value whose token was given, the new one, and the outcome.
    Swap(u64, u64, Option<bool>),
    /// By one; nothing if there is no number.
    Increment(Option<u64>),
}

/// One key. Where items may be `EVICTED`, a miss is always possible, and from then on there is nothing.
struct Register<const EVICTED: bool>;

impl<const EVICTED: bool> Specification for Register<EVICTED> {
    type State = Option<u64>;
    type Operation = Seen;

    fn init() -> Option<u64> {
        None
    }

    fn apply(seen: &Seen, &state: &Option<u64>) -> (bool, Option<u64>) {
        let missing = EVICTED || state.is_none();
        match *seen {
            Seen::Read(None) => (missing, None),
            Seen::Read(value) => (value == state, state),
            Seen::Write(value) => (true, Some(value)),
            Seen::Add(value, true) => (missing, Some(value)),
            // Also a new value that the policy turns away is not added.
            Seen::Add(_, false) => (EVICTED || state.is_some(), state),
            Seen::Remove(false) => (missing, None),
            Seen::Remove(true) => (state.is_some(), None),
            Seen::Swap(_, _, None) => (missing, None),
            Seen::Swap(old, new, Some(true)) => (state == Some(old), Some(new)),
            Seen::Swap(old, _, Some(false)) => (state.is_some() && state != Some(old), state),
            Seen::Increment(None) => (missing, None),
            Seen::Increment(value) => (value == state.map(|n| n + 1), value),
        }
    }
}

/// An operation of one thread on one key, and the tickets drawn before and after it.
#[derive(Debug, Clone, Copy)]
struct Event {
    thread: u32,
    key: u32,
    from: u64,
    to: u64,
    seen: Seen,
}

/// One operation on a key.
fn operate(cache: &Cache, number: u32, sequence: u64, rng: &mut Rng) -> larder::Result<Seen> {
    let name = key(number);
    if number == COUNTER {
        let parse = |value: &[u8]| String::from_utf8_lossy(value).parse().expect("a counter is a number");
        return Ok(match rng.next(8) {
            0 => Seen::Read(cache.read(&name, parse)),
            1 => {
                let number = sequence % 1000;
                cache.set(&name, number.to_string().as_bytes())?;
                Seen::Write(number)
            }
            2 => Seen::Remove(cache.remove(&name)),
            _ => Seen::Increment(cache.increment(&name, 1)?),
        });
    }
    let value = describe(number, sequence);
    Ok(match rng.next(10) {
        0..3 => Seen::Read(cache.read(&name, |value| understand(number, value))),
        3 => Seen::Read(cache.get(&name)?.map(|guard| understand(number, &guard))),
        4 | 5 => {
            cache.set(&name, &value)?;
            Seen::Write(sequence)
        }
        6 => Seen::Add(sequence, cache.add(&name, &value)?),
        7 => Seen::Remove(cache.remove(&name)),
        8 => Seen::Read(cache.update(&[&name], |update| update.get(0).map(|value| understand(number, value)))?),
        _ => {
            let Some((guard, token)) = cache.get_with_token(&name)? else { return Ok(Seen::Read(None)) };
            let old = understand(number, &guard);
            drop(guard);
            match cache.compare_and_swap(&name, &value, token)? {
                CasOutcome::Stored(_) => Seen::Swap(old, sequence, Some(true)),
                CasOutcome::Changed => Seen::Swap(old, sequence, Some(false)),
                _ => Seen::Swap(old, sequence, None),
            }
        }
    })
}

/// One round of checked operations; `round` makes the sequence numbers unique.
fn round<const EVICTED: bool>(cache: &Cache, round: u64) {
    for number in 0..KEYS {
        cache.remove(&key(number));
    }
    let tickets = AtomicU64::new(0);
    let work = |thread: u32| {
        let mut rng = Rng(round << 8 | u64::from(thread));
        let mut events = Vec::new();
        for i in 0..OPS {
            let number = rng.next(u64::from(KEYS)) as u32;
            let sequence = (round * u64::from(OPS) + u64::from(i)) * u64::from(THREADS) + u64::from(thread);
            let from = tickets.fetch_add(1, SeqCst);
            let seen = operate(cache, number, sequence, &mut rng).expect("there is room");
            let to = tickets.fetch_add(1, SeqCst);
            events.push(Event { thread, key: number, from, to, seen });
        }
        events
    };
    let events: Vec<Event> = std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || work(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no thread panics")).collect()
    });
    for number in 0..KEYS {
        let mut actions: Vec<(u64, usize, Action<Seen>)> = Vec::new();
        for event in events.iter().filter(|event| event.key == number) {
            actions.push((event.from, event.thread as usize, Action::Call(event.seen)));
            actions.push((event.to, event.thread as usize, Action::Response(event.seen)));
        }
        actions.sort_by_key(|(ticket, ..)| *ticket);
        let history: Vec<_> = actions.into_iter().map(|(_, thread, action)| (thread, action)).collect();
        if !history.is_empty() {
            let legal = WGLChecker::<Register<EVICTED>>::is_linearizable(History::from_actions(history.clone()));
            assert!(legal, "what was seen of key {number} in round {round} has no order: {history:#?}");
        }
    }
}

/// Stores, reads and removes many keys until told to stop, in waves: from a few keys to many and back.
fn churn(cache: &Cache, stop: &AtomicBool, seed: u64, most: u64) {
    let mut rng = Rng(seed);
    let mut guards = Vec::new();
    let first = 1_000_000 * (seed as u32 + 1);
    let mut sequence = 0;
    while !stop.load(SeqCst) {
        let width = 20 + rng.next(most);
        for _ in 0..width {
            sequence += 1;
            let number = first + rng.next(width) as u32;
            cache.set(&key(number), &describe(number, sequence)).expect("there is room");
            let number = first + rng.next(width) as u32;
            cache.read(&key(number), |value| understand(number, value));
            if rng.next(8) == 0
                && let Ok(Some(guard)) = cache.get(&key(number))
            {
                guards.push((number, guard));
            }
            if guards.len() > 10 {
                let (number, guard) = guards.swap_remove(rng.next(10) as usize);
                understand(number, &guard);
            }
        }
        for i in 0..most as u32 + 20 {
            cache.remove(&key(first + i));
        }
    }
    for (number, guard) in guards {
        understand(number, &guard);
    }
}

/// Moves pages, sweeps and clears another namespace until told to stop.
fn disturb(cache: &Cache, stop: &AtomicBool, change_policy: bool) {
    let mut rng = Rng(99);
    let other = cache.namespace(9);
    let classes = cache.classes().len() as u64;
    while !stop.load(SeqCst) {
        for i in 0..rng.next(60) {
            other.set(&i.to_le_bytes(), &vec![1; rng.next(200) as usize]).expect("there is room");
        }
        match rng.next(6) {
            0 => other.clear(),
            1 => cache.set_automove([Automove::Off, Automove::Slow, Automove::Always][rng.next(3) as usize]),
            2 if change_policy => {
                let policies = [EvictionPolicy::AllkeysLru, EvictionPolicy::Default, EvictionPolicy::S3Fifo];
                cache.set_policy(policies[rng.next(3) as usize], Objective::Hits);
            }
            3 => {
                cache.run_maintenance(Duration::from_millis(1));
            }
            _ => drop(cache.reassign_page(rng.next(classes) as usize, rng.next(classes) as usize)),
        }
        std::thread::yield_now();
    }
}

fn cache(max_memory: u64, shards: usize, policy: EvictionPolicy) -> Cache {
    let builder = Cache::builder().max_memory(max_memory).page_size(1024).shards(shards).policy(policy).seed(1);
    builder.maintenance(Maintenance::Manual).build().expect("good settings")
}

/// Runs something again and again for a while, beside the churn.
fn beside_churn(cache: &Cache, most: u64, change_policy: bool, mut work: impl FnMut(u64)) {
    let stop = AtomicBool::new(false);
    /// Tells the others to stop also when the work panics.
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, SeqCst);
        }
    }
    std::thread::scope(|scope| {
        let (cache, stop) = (&*cache, &stop);
        scope.spawn(move || churn(cache, stop, 1, most));
        scope.spawn(move || churn(cache, stop, 2, most));
        scope.spawn(move || disturb(cache, stop, change_policy));
        let _stop = Stop(stop);
        let start = Instant::now();
        (1..).take_while(|_| start.elapsed() < Duration::from_secs(8)).for_each(&mut work);
    });
    cache.check_invariants();
}

#[test]
fn the_checker_notices_what_cannot_be() {
    let history = |second| {
        let actions = [Seen::Write(1), Seen::Read(second)];
        History::from_actions(
            actions.into_iter().flat_map(|a| [(0, Action::Call(a)), (0, Action::Response(a))]).collect(),
        )
    };
    assert!(WGLChecker::<Register<false>>::is_linearizable(history(Some(1))));
    assert!(!WGLChecker::<Register<false>>::is_linearizable(history(None)), "a lost value");
    assert!(WGLChecker::<Register<true>>::is_linearizable(history(None)), "an evicted one");
    assert!(!WGLChecker::<Register<true>>::is_linearizable(history(Some(2))), "one that was never written");
}

#[test]
fn nothing_is_lost_where_nothing_may_leave() {
    let cache = cache(4 << 20, 2, EvictionPolicy::NoEviction);
    beside_churn(&cache, 1500, false, |n| round::<false>(&cache, n));
    let stats = cache.stats();
    assert_eq!((stats.evictions, stats.expired, stats.turned_away), (0, 0, 0));
    assert!(stats.pages_moved > 0, "the test is about pages that move");
}

#[test]
fn what_is_evicted_is_a_miss_and_nothing_else() {
    let cache = cache(256 << 10, 2, EvictionPolicy::AllkeysLru);
    beside_churn(&cache, 1500, true, |n| round::<true>(&cache, n));
    assert!(cache.stats().evictions > 0, "the test is about eviction");
}

#[test]
fn money_is_neither_made_nor_lost() {
    const ACCOUNTS: u32 = 8;
    let cache = cache(4 << 20, 4, EvictionPolicy::NoEviction);
    let names: Vec<Vec<u8>> = (0..ACCOUNTS).map(key).collect();
    // The amount, and a filling that lets the value change its class.
    let value = |amount: u64| [&amount.to_le_bytes()[..], &vec![7; (amount * 13 % 400) as usize]].concat();
    let amount = |value: &[u8]| u64::from_le_bytes(value[..8].try_into().expect("eight bytes"));
    names.iter().for_each(|name| cache.set(name, &value(100)).expect("there is room"));
    let transfer = |seed: u64| {
        let mut rng = Rng(seed);
        for _ in 0..300 {
            let (from, to) = (rng.next(u64::from(ACCOUNTS)) as usize, rng.next(u64::from(ACCOUNTS)) as usize);
            let by = rng.next(30);
            if from != to {
                let moved = cache.update(&[&names[from], &names[to]], |update| {
                    let held = [0, 1].map(|i| update.get(i).map(amount).expect("accounts stay"));
                    let by = by.min(held[0]);
                    update.set(0, &value(held[0] - by));
                    update.set(1, &value(held[1] + by));
                });
                moved.expect("there is room");
            }
            if rng.next(10) == 0 {
                let sum = cache.update(&names, |update| {
                    (0..names.len()).map(|i| update.get(i).map(amount).expect("accounts stay")).sum::<u64>()
                });
                assert_eq!(sum.expect("nothing is stored"), 100 * u64::from(ACCOUNTS));
            }
        }
    };
    beside_churn(&cache, 300, false, |n| {
        std::thread::scope(|scope| {
            let transfer = &transfer;
            (0..3).for_each(|i| drop(scope.spawn(move || transfer(n << 4 | i))));
        });
    });
    let total: u64 = names.iter().map(|name| cache.read(name, amount).expect("accounts stay")).sum();
    assert_eq!(total, 100 * u64::from(ACCOUNTS));
}
