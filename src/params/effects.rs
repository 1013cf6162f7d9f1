//! What each parameter does to the engine: how a builder is told, how a running cache is asked, and, for those that
//! take effect at once, how a running cache is changed.
//!
//! 1. There is a row for each parameter that [`Drives::Engine`](super::Drives), and for no other.
//! 2. A cache that was built with a value says, when it is asked, that it has this value.

use super::value::Value;
use crate::api::{Cache, CacheBuilder};
use crate::error::{Error, ErrorKind, Result};
use crate::oplog::Fsync;
use crate::policy::EvictionPolicy;
use crate::shard::Automove;

/// One row.
pub(super) struct Effect {
    pub(super) name: &'static str,
    /// Tells a builder. Values are of the parameter's type, and allowed.
    pub(super) build: fn(CacheBuilder, &Value) -> CacheBuilder,
    /// What a running cache has.
    pub(super) running: fn(&Cache) -> Option<Value>,
    /// Changes a running cache.
    pub(super) change: Option<fn(&Cache, &Value) -> Result<()>>,
    /// Why the value does not count in this cache, if it does not.
    pub(super) moot: fn(&Cache) -> Option<&'static str>,
}

/// What an item's header takes of its chunk: memcached's parameter does not count it.
pub(super) const HEADER: usize = 8;
/// Chunks up to this size fit the pages of any cache.
const SMALL_CHUNK: usize = 2 << 10;

/// The pages that large chunks need, if the usual ones may be too small.
pub(super) fn page_size_for(chunk_size: usize) -> Option<usize> {
    (chunk_size > SMALL_CHUNK).then(|| (chunk_size * 2).next_power_of_two().max(64 << 10))
}

/// The number that a value is; the table sees to it that it is one, and not negative.
fn number(value: &Value) -> u64 {
    value.as_integer().and_then(|number| u64::try_from(number).ok()).unwrap_or(0)
}

fn size(value: &Value) -> usize {
    usize::try_from(number(value)).unwrap_or(usize::MAX)
}

fn samples(value: &Value) -> u32 {
    u32::try_from(number(value)).unwrap_or(u32::MAX)
}

fn is_on(value: &Value) -> bool {
    value.as_flag().unwrap_or(false)
}

fn policy(value: &Value) -> Option<EvictionPolicy> {
    value.as_str().and_then(|name| name.parse().ok())
}

fn whole(number: u64) -> Option<Value> {
    i64::try_from(number).ok().map(Value::Integer)
}

fn yes_or_no(flag: bool) -> Option<Value> {
    Some(Value::from(if flag { "yes" } else { "no" }))
}

/// Bytes as MiB; with a fraction, which equals no parameter, if they are no whole number of those.
fn mebibytes(bytes: u64) -> Option<Value> {
    if bytes.is_multiple_of(1 << 20) {
        whole(bytes >> 20)
    } else {
        Some(Value::Float(bytes as f64 / f64::from(1 << 20)))
    }
}

/// The parameters that are fixed or wait for a restart have no third function.
const fn at_start(
    name: &'static str,
    build: fn(CacheBuilder, &Value) -> CacheBuilder,
    running: fn(&Cache) -> Option<Value>,
) -> Effect {
    Effect { name, build, running, change: None, moot: |_| None }
}

const fn at_once(
    name: &'static str,
    build: fn(CacheBuilder, &Value) -> CacheBuilder,
    running: fn(&Cache) -> Option<Value>,
    change: fn(&Cache, &Value) -> Result<()>,
) -> Effect {
    Effect { name, build, running, change: Some(change), moot: |_| None }
}

fn fsync(value: &Value) -> Fsync {
    match value.as_str() {
        Some("always") => Fsync::Always,
        Some("no") => Fsync::No,
        _ => Fsync::EverySecond,
    }
}

fn backlog(cache: &Cache) -> Option<&'static str> {
    let has_one = cache.backlog_limits().is_some();
    (!has_one).then_some("this cache keeps no backlog: it gets one from the builder's `backlog`")
}

/// A time in seconds; with a fraction, which equals no parameter, if it is no whole number of those.
fn seconds(ms: u64) -> Option<Value> {
    if ms.is_multiple_of(1000) { whole(ms / 1000) } else { Some(Value::Float(ms as f64 / 1000.0)) }
}

pub(super) static ALL: [Effect; 23] = [
    at_start(
        "cas_disabled",
        |builder, value| builder.check_and_set(!is_on(value)).tokens(!is_on(value)),
        |cache| Some(Value::Boolean(!cache.settings().check_and_set)),
    ),
    at_start(
        "chunk_size",
        |builder, value| {
            let chunk_size = size(value) + HEADER;
            let builder = builder.chunk_size(chunk_size);
            match page_size_for(chunk_size) {
                Some(page_size) => builder.page_size(page_size),
                None => builder,
            }
        },
        |cache| whole((cache.built().chunk_size.saturating_sub(HEADER)) as u64),
    ),
    at_start(
        "chunk_size_growth_factor",
        |builder, value| builder.chunk_size_growth_factor(value.as_float().unwrap_or(1.25)),
        |cache| Some(Value::Float(cache.built().growth_factor)),
    ),
    at_start(
        "error_on_memory_exhausted",
        |builder, value| {
            builder.policy(if is_on(value) { EvictionPolicy::NoEviction } else { EvictionPolicy::AllkeysLru })
        },
        |cache| Some(Value::Boolean(cache.policy() == EvictionPolicy::NoEviction)),
    ),
    at_start(
        "large_memory_pages",
        |builder, value| builder.huge_pages(is_on(value)),
        |cache| Some(Value::Boolean(cache.built().huge_pages)),
    ),
    at_start(
        "lock_down_paged_memory",
        |builder, value| builder.lock_memory(is_on(value)),
        |cache| Some(Value::Boolean(cache.built().lock_memory)),
    ),
    at_start(
        "max_item_size",
        |builder, value| builder.max_item_size(size(value)),
        |cache| whole(cache.settings().max_item_size as u64),
    ),
    at_start(
        "memcached_connections_overhead",
        |builder, value| builder.reserved_memory(number(value) << 20),
        |cache| mebibytes(cache.memory_limits().1),
    ),
    at_start(
        "hashpower_init",
        |builder, value| builder.initial_items(1 << number(value).min(32)),
        |cache| {
            let items = cache.built().initial_items;
            items.is_power_of_two().then(|| Value::Integer(items.trailing_zeros().into()))
        },
    ),
    at_start(
        "slab_automove",
        |builder, value| {
            builder.automove(match number(value) {
                0 => Automove::Off,
                1 => Automove::Slow,
                _ => Automove::Always,
            })
        },
        |cache| Some(Value::Integer(cache.automove() as i64)),
    ),
    at_start(
        "slab_reassign",
        |builder, value| builder.slab_reassign(is_on(value)),
        |cache| Some(Value::Boolean(cache.settings().reassign)),
    ),
    at_start(
        "max_cache_memory",
        |builder, value| builder.max_memory(number(value) << 20),
        |cache| mebibytes(cache.memory_limits().0),
    ),
    at_start(
        "num_threads",
        |builder, value| builder.threads(size(value)),
        |cache| cache.built().threads.and_then(|threads| whole(threads as u64)),
    ),
    at_start(
        "activerehashing",
        |builder, value| builder.background_resizing(is_on(value)),
        |cache| yes_or_no(cache.settings().background_resizing),
    ),
    at_start(
        "databases",
        |builder, value| builder.namespaces(u16::try_from(number(value)).unwrap_or(u16::MAX)),
        |cache| whole(cache.namespaces() as u64),
    ),
    at_start("maxmemory", |builder, value| builder.max_memory(number(value)), |cache| whole(cache.memory_limits().0)),
    at_once(
        "maxmemory-policy",
        |builder, value| match policy(value) {
            Some(policy) => builder.policy(policy),
            None => builder,
        },
        |cache| Some(Value::from(cache.policy().name())),
        |cache, value| {
            let policy =
                policy(value).ok_or_else(|| Error::new(ErrorKind::InvalidConfig, "there is no such policy"))?;
            cache.set_policy(policy, cache.objective());
            Ok(())
        },
    ),
    at_once(
        "maxmemory-samples",
        |builder, value| builder.samples(samples(value)),
        |cache| Some(Value::from(cache.samples())),
        |cache, value| {
            cache.set_samples(samples(value));
            Ok(())
        },
    ),
    at_once(
        "reserved-memory",
        |builder, value| builder.reserved_memory(number(value)),
        |cache| whole(cache.memory_limits().1),
        |cache, value| cache.set_reserved_memory(number(value)),
    ),
    // Before the next one, so that a file that is begun has it.
    at_once(
        "appendfsync",
        |builder, value| builder.wish(|wishes| wishes.fsync = Some(fsync(value))),
        |cache| {
            Some(Value::from(match cache.fsync() {
                Fsync::Always => "always",
                Fsync::No => "no",
                _ => "everysec",
            }))
        },
        |cache, value| cache.set_fsync(fsync(value)),
    ),
    at_once(
        "appendonly",
        |builder, value| builder.wish(|wishes| wishes.append_only = is_on(value)),
        |cache| yes_or_no(cache.append_file().is_some()),
        |cache, value| cache.switch_append_only(is_on(value)),
    ),
    Effect {
        moot: backlog,
        ..at_once(
            "repl-backlog-size",
            |builder, value| builder.wish(|wishes| wishes.backlog_bytes = Some(number(value))),
            |cache| cache.backlog_limits().map(|(bytes, _)| bytes).or(cache.log_wishes().backlog_bytes).and_then(whole),
            |cache, value| {
                cache.set_backlog(|wishes| wishes.backlog_bytes = Some(number(value)));
                Ok(())
            },
        )
    },
    Effect {
        moot: backlog,
        ..at_once(
            "repl-backlog-ttl",
            |builder, value| builder.wish(|wishes| wishes.backlog_ttl_ms = Some(number(value).saturating_mul(1000))),
            |cache| cache.backlog_limits().map(|(_, ms)| ms).or(cache.log_wishes().backlog_ttl_ms).and_then(seconds),
            |cache, value| {
                cache.set_backlog(|wishes| wishes.backlog_ttl_ms = Some(number(value).saturating_mul(1000)));
                Ok(())
            },
        )
    },
];

/// The row of a parameter, if the engine acts on it.
pub(super) fn find(name: &str) -> Option<&'static Effect> {
    ALL.iter().find(|effect| effect.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::{Drives, System};

    #[test]
    fn every_parameter_of_the_engine_has_a_row_and_no_other() {
        let all = System::Memcached.parameters().iter().chain(System::Redis.parameters());
        for parameter in all {
            let is_engine = matches!(parameter.drives, Drives::Engine(_));
            assert_eq!(find(parameter.name).is_some(), is_engine, "{}", parameter.name);
        }
    }

    #[test]
    fn a_cache_says_that_it_has_what_it_was_built_with() {
        let builder = || {
            let storage = std::sync::Arc::new(crate::storage::Memory::new());
            Cache::builder().max_memory(2 << 20).address_space(8 << 20).log_storage(storage)
        };
        for effect in &ALL {
            let systems = [System::Memcached, System::Redis];
            let mut found = systems.iter().flat_map(|system| system.parameters()).filter(|p| p.name == effect.name);
            let parameter = found.next().unwrap_or_else(|| panic!("{} is no parameter", effect.name));
            for text in ["0", "1", "2", "3", "12", "48", "500", "65536", "1.5", "yes", "no", "volatile-ttl"] {
                // A lock on memory is not everybody's to have; the rest of the limit is what it leaves.
                let Ok(value) = parameter.parse(text) else { continue };
                if let Ok(cache) = (effect.build)(builder(), &value).build() {
                    assert_eq!((effect.running)(&cache), Some(value), "{}", effect.name);
                }
            }
        }
    }
}
