//! Settings and options at their bounds and far beyond, in random company: they are refused with an error, or the cache
//! works. Nothing panics.

use std::time::Duration;

use larder::{Automove, Cache, CacheBuilder, EvictionPolicy, Load, LoadOptions, Maintenance, SetOptions, View};

const NUMBERS: [u64; 22] = [
    0,
    1,
    2,
    7,
    63,
    64,
    1023,
    1024,
    4096,
    65_535,
    65_536,
    65_537,
    1 << 20,
    (1 << 20) + 1,
    1 << 31,
    1 << 32,
    1 << 40,
    1 << 42,
    (1 << 42) + 1,
    u64::MAX / 2,
    u64::MAX - 1,
    u64::MAX,
];
const FRACTIONS: [f64; 12] =
    [f64::NAN, f64::INFINITY, -1.0, 0.0, 0.5, 1.0, 1.000_000_1, 1.01, 1.25, 1e9, f64::MAX, f64::MIN_POSITIVE];
const TIMES: [Duration; 7] = [
    Duration::ZERO,
    Duration::from_nanos(1),
    Duration::from_millis(1),
    Duration::from_secs(1),
    Duration::from_secs(u32::MAX as u64),
    Duration::from_secs(u64::MAX),
    Duration::MAX,
];

struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[(self.next() % all.len() as u64) as usize]
    }

    /// One setting more, and what it was.
    fn setting(&mut self, builder: CacheBuilder) -> (CacheBuilder, String) {
        let (which, number, fraction, time) =
            (self.next() % 20, self.of(&NUMBERS), self.of(&FRACTIONS), self.of(&TIMES));
        let size = number as usize;
        let builder = match which {
            // What the machine might not have is not asked for.
            0 => builder.max_memory(if (1 << 32..1 << 50).contains(&number) { 32 << 20 } else { number }),
            1 => builder.reserved_memory(number),
            2 => builder.time_to_live(time),
            3 => builder.time_to_idle(time),
            4 => builder.max_item_size(size),
            5 => builder.chunk_size(size),
            6 => builder.chunk_size_growth_factor(fraction),
            7 => builder.page_size(size),
            8 => builder.shards(size),
            9 => builder.expiry_lag(time),
            10 => builder.expiry_cpu_share(fraction),
            11 => builder.samples(number as u32),
            12 => builder.initial_items(number),
            13 => builder.namespaces(number as u16),
            14 => builder.threads(size),
            15 => builder.miss_ratio_curve(number),
            16 => builder.address_space(size),
            17 => builder.policy(self.of(&EvictionPolicy::ALL)),
            18 => builder.tokens(number % 2 == 0),
            _ => builder.automove(Automove::Always),
        };
        (builder, format!("setting {which} of {number}, {fraction}, {time:?}"))
    }

    /// Whatever can be done with a cache.
    fn use_all(&mut self, cache: &Cache) {
        for i in 0..40u32 {
            let (key, value) = (i.to_le_bytes(), vec![1; (self.next() % 3000) as usize]);
            let (time, other) = (self.of(&TIMES), self.of(&TIMES));
            let options = match i % 4 {
                0 => SetOptions::new().ttl(time),
                1 => SetOptions::new().time_to_idle(time),
                2 => SetOptions::new().deadline_ms(self.of(&NUMBERS)),
                _ => SetOptions::new().tag("tag"),
            };
            // All of these may be refused.
            let _ = cache.set_with(&key, &value, &options);
            let _ = cache.get(&key);
            let _ = cache.touch(&key, time);
            let _ = cache.get_with_ttl(&(i + 100).to_le_bytes(), time, || vec![1; 10]);
            let options = LoadOptions::new().ttl(time).refresh_ahead(other).negative_ttl(other);
            for answer in [Load::AbsentFor(time), Load::Value(vec![]), Load::Absent] {
                let _ = cache.load(&(i + 200).to_le_bytes(), &options, || Ok::<_, ()>(answer));
            }
        }
        let (number, time) = (self.of(&NUMBERS), self.of(&TIMES));
        let _ = cache.set_max_memory(number);
        let _ = cache.set_reserved_memory(number);
        cache.set_samples(number as u32);
        cache.clear_after(time);
        cache.invalidate_tag("tag");
        cache.run_maintenance(Duration::from_millis(1));
        cache.miss_ratio_curve();
        let _ = (cache.stats(), cache.memory(), cache.metrics(View::Redis), cache.metrics(View::Memcached));
        cache.check_invariants();
    }
}

#[test]
fn settings_are_refused_or_work() {
    let mut chance = Chance(88_172_645_463_325_252);
    let (mut works, mut refused) = (0, 0);
    for round in 0..600 {
        let mut builder = Cache::builder().max_memory(2 << 20).seed(round).maintenance(Maintenance::Manual);
        let mut settings = Vec::new();
        for _ in 0..=chance.next() % 4 {
            let setting;
            (builder, setting) = chance.setting(builder);
            settings.push(setting);
        }
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| match builder.build() {
            Ok(cache) => {
                chance.use_all(&cache);
                works += 1;
            }
            Err(error) => {
                assert!(error.to_string().len() > 20, "{error}");
                refused += 1;
            }
        }));
        assert!(played.is_ok(), "{settings:#?}");
    }
    assert!(works > 100 && refused > 100, "{works} work, {refused} are refused");
}

#[test]
fn address_space_has_its_bounds() {
    let build = |bytes: usize| Cache::builder().max_memory(1 << 20).address_space(bytes).build();
    assert!(build(4 << 20).is_ok());
    for bytes in [0, (4 << 20) - 1, (8 << 40) + 1, usize::MAX] {
        let error = build(bytes).unwrap_err().to_string();
        assert!(error.contains("from 4194304 to 8796093022208"), "{error}");
    }
}
