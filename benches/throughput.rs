//! How long one operation takes: `cargo bench`. Keys of 20 bytes, values of 100, items with a deadline, everything else
//! as the builder gives it. The reader touches every byte of the value.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use larder::typed::Plain;
use larder::{Cache, SetOptions, TypedCache};

const VALUE: [u8; 100] = [7; 100];

fn key(n: u64) -> [u8; 20] {
    let mut key = *b"key:0000000000000000";
    for (i, byte) in key[4..].iter_mut().enumerate() {
        *byte = b"0123456789abcdef"[(n >> (60 - 4 * i)) as usize & 15];
    }
    key
}

fn sum(value: &[u8]) -> u64 {
    value.iter().map(|&b| u64::from(b)).sum()
}

/// A cache with room for `items` twice over, and `items` in it.
fn filled(items: u64) -> Cache {
    let cache = Cache::new(items * 320 + (8 << 20)).expect("a cache");
    let options = SetOptions::new().ttl(Duration::from_secs(3600));
    for n in 0..items {
        cache.set_with(&key(n), &VALUE, &options).expect("room");
    }
    cache
}

/// Numbers below `below`, the same in every run.
fn numbers(below: u64) -> Vec<u64> {
    let mut state = 1u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    std::iter::repeat_with(next).take(1 << 16).collect()
}

fn gets(c: &mut Criterion) {
    for (name, items) in [("10k", 10_000), ("1M", 1_000_000)] {
        let cache = filled(items);
        let keys: Vec<[u8; 20]> = numbers(items).into_iter().map(key).collect();
        let absent: Vec<[u8; 20]> = numbers(items).into_iter().map(|n| key(n + items)).collect();
        let mut group = c.benchmark_group(format!("get {name}"));
        group.throughput(Throughput::Elements(keys.len() as u64));
        group.bench_function("hit", |b| {
            b.iter(|| keys.iter().map(|key| cache.read(key, sum).unwrap_or(0)).sum::<u64>());
        });
        group.bench_function("hit, guard", |b| {
            b.iter(|| {
                keys.iter().filter_map(|key| cache.get(key).ok().flatten()).map(|value| sum(&value)).sum::<u64>()
            });
        });
        group.bench_function("miss", |b| b.iter(|| absent.iter().filter(|key| cache.contains(*key)).count()));
        group.bench_function("batch", |b| {
            b.iter(|| {
                let mut total = 0;
                cache.get_many(&keys, |_, value| total += value.map_or(0, sum));
                total
            });
        });
        group.finish();
    }
}

fn sets(c: &mut Criterion) {
    let options = SetOptions::new().ttl(Duration::from_secs(3600));
    let mut group = c.benchmark_group("set");
    group.throughput(Throughput::Elements(1));
    let cache = filled(100_000);
    let keys: Vec<[u8; 20]> = numbers(100_000).into_iter().map(key).collect();
    let mut next = 0;
    group.bench_function("over another", |b| {
        b.iter(|| {
            next = (next + 1) % keys.len();
            black_box(cache.set_with(&keys[next], &VALUE, &options).is_ok())
        });
    });
    let full = Cache::new(64 << 20).expect("a cache");
    let mut fresh = 0;
    while full.stats().evictions == 0 {
        for _ in 0..10_000 {
            fresh += 1;
            full.set_with(&key(fresh), &VALUE, &options).expect("room");
        }
    }
    group.bench_function("evicting", |b| {
        b.iter(|| {
            fresh += 1;
            black_box(full.set_with(&key(fresh), &VALUE, &options).is_ok())
        });
    });
    group.bench_function("growing from empty to 100k", |b| {
        b.iter_batched(|| (), |()| filled(100_000), BatchSize::PerIteration);
    });
    group.finish();
}

/// Gets and sets in one stream, and several threads at once.
fn mixed(c: &mut Criterion) {
    const ITEMS: u64 = 100_000;
    let options = SetOptions::new().ttl(Duration::from_secs(3600));
    let cache = filled(ITEMS);
    let keys: Vec<[u8; 20]> = numbers(ITEMS).into_iter().map(key).collect();
    let mut group = c.benchmark_group("mixed 100k");
    group.throughput(Throughput::Elements(1));
    let mut next = 0;
    group.bench_function("95 % get, 5 % set", |b| {
        b.iter(|| {
            next = (next + 1) % keys.len();
            if next % 20 == 0 {
                u64::from(cache.set_with(&keys[next], &VALUE, &options).is_ok())
            } else {
                cache.read(&keys[next], sum).unwrap_or(0)
            }
        });
    });
    let most = std::thread::available_parallelism().map_or(1, usize::from);
    let counts = std::iter::successors(Some(1), |threads| Some(threads * 2)).take_while(|&threads| threads <= most);
    for threads in counts {
        // Wall time for as many gets as asked for by each thread: with no contention it is the same for any number.
        group.bench_function(format!("get, each of {threads} threads"), |b| {
            b.iter_custom(|gets| {
                let start = std::time::Instant::now();
                std::thread::scope(|scope| {
                    for thread in 0..threads {
                        let (cache, keys) = (&cache, &keys);
                        scope.spawn(move || {
                            let from = thread * keys.len() / threads;
                            let mine = keys[from..].iter().chain(&keys[..from]).cycle();
                            let total = mine.take(gets as usize).filter_map(|key| cache.read(key, sum)).sum::<u64>();
                            black_box(total)
                        });
                    }
                });
                start.elapsed()
            });
        });
    }
    group.finish();
}

/// Typed caches beside the bytes: what a codec costs.
fn typed(c: &mut Criterion) {
    const ITEMS: u64 = 10_000;
    let numbers = numbers(ITEMS);
    let mut group = c.benchmark_group("typed 10k");
    group.throughput(Throughput::Elements(numbers.len() as u64));

    let cache: TypedCache<u64, [u8; 100], Plain> = TypedCache::new(filled(1));
    (0..ITEMS).for_each(|n| cache.insert(&n, &VALUE).expect("room"));
    group.bench_function("get, plain", |b| {
        b.iter(|| numbers.iter().filter_map(|n| cache.get(n).ok().flatten()).map(|v| sum(&v)).sum::<u64>());
    });

    let cache: TypedCache<u64, String, Plain> = TypedCache::new(filled(1));
    (0..ITEMS).for_each(|n| cache.insert(&n, &"7".repeat(100)).expect("room"));
    group.bench_function("get, a string copied", |b| {
        b.iter(|| numbers.iter().filter_map(|n| cache.get(n).ok().flatten()).map(|v| v.len()).sum::<usize>());
    });
    group.bench_function("read, a string in place", |b| {
        b.iter(|| numbers.iter().filter_map(|n| cache.read(n, str::len).ok().flatten()).sum::<usize>());
    });
    group.finish();
}

criterion_group!(benches, gets, sets, mixed, typed);
criterion_main!(benches);
