//! The whole interface against a naive map: operations drawn at random, on caches so small that eviction, page moves,
//! growth, shrinking and expiry all happen within a few hundred of them.
//!
//! The runs are the same each time. `LARDER_MODEL_SEED` (a number) draws others, `LARDER_MODEL_CASES` more of them. A
//! case that fails is shrunk, printed, and kept in `main.regressions` beside this file, from where it is played first.
//!
//! | file | what |
//! |---|---|
//! | `ops` | operations and settings, and how they are drawn |
//! | `twin` | the naive map |
//! | `run` | the rules, and a case from beginning to end |
//! | `reads` `writes` `numbers` `controls` | each operation on both sides |

mod controls;
mod numbers;
mod ops;
mod reads;
mod run;
mod twin;
mod writes;

use larder::EvictionPolicy;
use proptest::test_runner::{Config, FileFailurePersistence, RngAlgorithm, TestError, TestRng, TestRunner};

/// Cases of each policy, unless told otherwise.
const CASES: u64 = 12;
/// The same where writes may be refused: finding out that nothing may leave takes long.
const CASES_REFUSING: u64 = 4;
/// Operations of a case at most.
const MAX_OPS: usize = 600;

fn number_from(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn check(policy: EvictionPolicy) {
    let may_refuse = policy.is_volatile() || policy == EvictionPolicy::NoEviction;
    let cases = if may_refuse { CASES_REFUSING } else { CASES };
    let config = Config {
        cases: number_from("LARDER_MODEL_CASES", cases) as u32,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        source_file: Some(file!()),
        max_shrink_iters: number_from("LARDER_MODEL_SHRINK", 2000) as u32,
        ..Config::default()
    };
    let mut seed = [policy as u8; 32];
    seed[..8].copy_from_slice(&number_from("LARDER_MODEL_SEED", 1).to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    let played = runner.run(&ops::case(MAX_OPS), |(setup, ops)| {
        run::play(policy, &setup, &ops);
        Ok(())
    });
    match played {
        Ok(()) => {}
        Err(TestError::Fail(why, (setup, ops))) => panic!("{policy}: {why}\n{setup:?}\n{ops:#?}"),
        Err(error) => panic!("{policy}: {error}"),
    }
}

macro_rules! policies {
    ($($name:ident: $policy:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            check(EvictionPolicy::$policy);
        })*

        #[test]
        fn no_policy_is_left_out() {
            let tested = [$(EvictionPolicy::$policy),*];
            assert!(EvictionPolicy::ALL.iter().all(|policy| tested.contains(policy)));
        }
    };
}

policies! {
    volatile_lru: VolatileLru,
    allkeys_lru: AllkeysLru,
    volatile_lfu: VolatileLfu,
    allkeys_lfu: AllkeysLfu,
    volatile_random: VolatileRandom,
    allkeys_random: AllkeysRandom,
    volatile_ttl: VolatileTtl,
    no_eviction: NoEviction,
    s3_fifo: S3Fifo,
    sieve: Sieve,
    default: Default,
    volatile_default: VolatileDefault,
}
