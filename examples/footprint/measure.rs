//! What every case measures, the keys and values it measures with, and how figures are held against limits and goals.

use larder::Cache;
use serde_json::{Map, Value, json};

use crate::Failure;
use crate::process;
use crate::rng::Rng;

pub(crate) const KEY_BYTES: usize = 24;
/// Long enough that nothing expires while a case runs.
pub(crate) const TTL_S: u64 = 24 * 3600;

/// Full numbers, or a tenth of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) quick: bool,
}

impl Scale {
    pub(crate) fn of(&self, full: u64) -> u64 {
        if self.quick { full / 10 } else { full }
    }
}

/// A 24-byte key for a number.
#[inline]
pub(crate) fn key(number: u64) -> [u8; KEY_BYTES] {
    let mut key = *b"object::0000000000000000";
    for (place, digit) in key.iter_mut().rev().take(16).enumerate() {
        *digit = b"0123456789abcdef"[(number >> (4 * place)) as usize & 15];
    }
    key
}

/// Noise that values are cut from.
pub(crate) fn noise(bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    Rng::new(1).fill(&mut noise);
    noise
}

/// Resident memory before a cache is built.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Baseline(Option<u64>);

impl Baseline {
    pub(crate) fn take() -> Self {
        Baseline(process::memory_bytes("VmRSS"))
    }

    /// The most resident memory there has been since, beyond the baseline.
    pub(crate) fn growth(self) -> Option<u64> {
        self.0.zip(process::memory_bytes("VmHWM")).map(|(before, peak)| peak.saturating_sub(before))
    }
}

/// Builds a cache of `limit` bytes as a program with nothing special to ask for would.
pub(crate) fn cache(limit: u64) -> Result<Cache, Failure> {
    Cache::new(limit).map_err(|error| format!("cannot build a cache of {limit} bytes: {error}"))
}

/// A figure and what it must, and should, come to.
#[derive(Debug, Clone)]
pub(crate) struct Check {
    pub(crate) what: &'static str,
    pub(crate) value: f64,
    pub(crate) limit: Bound,
    /// What is aimed at, beyond the limit.
    pub(crate) goal: Option<f64>,
}

/// On which side of a number a figure must be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
    /// Nothing is asked; the figure is shown.
    None,
}

impl Check {
    pub(crate) fn new(what: &'static str, value: f64, limit: Bound) -> Self {
        Check { what, value, limit, goal: None }
    }

    pub(crate) fn goal(self, goal: f64) -> Self {
        Check { goal: Some(goal), ..self }
    }

    fn json(&self) -> Value {
        let (side, bound, kept, reached) = match self.limit {
            Bound::AtMost(bound) => ("<=", Some(bound), self.value <= bound, self.goal.map(|goal| self.value <= goal)),
            Bound::AtLeast(bound) => (">=", Some(bound), self.value >= bound, self.goal.map(|goal| self.value >= goal)),
            Bound::None => ("", None, true, None),
        };
        json!({
            "what": self.what, "value": self.value, "side": side, "limit": bound, "kept": kept,
            "goal": self.goal, "goal_reached": reached,
        })
    }
}

/// What a case came to.
#[derive(Debug)]
pub(crate) struct Measured {
    limit: u64,
    items: u64,
    payload_bytes: u64,
    memory_used: u64,
    evictions: u64,
    rss_growth: Option<u64>,
    checks: Vec<Check>,
    more: Map<String, Value>,
}

impl Measured {
    /// The cache's memory as it is now; `baseline` where the process's memory is the cache's.
    pub(crate) fn now(cache: &Cache, limit: u64, baseline: Option<Baseline>) -> Self {
        let memory = cache.memory();
        Measured {
            limit,
            items: memory.items,
            payload_bytes: memory.payload_bytes,
            memory_used: memory.used,
            evictions: cache.stats().evictions,
            rss_growth: baseline.and_then(Baseline::growth),
            checks: Vec::new(),
            more: Map::new(),
        }
    }

    pub(crate) fn check(mut self, check: Check) -> Self {
        self.checks.push(check);
        self
    }

    /// A figure of this case alone, for `--json`.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_string(), value.into());
        self
    }

    pub(crate) fn rss_growth(&self) -> Option<u64> {
        self.rss_growth
    }

    pub(crate) fn evictions(&self) -> u64 {
        self.evictions
    }

    pub(crate) fn overhead_per_item(&self) -> f64 {
        (self.memory_used as f64 - self.payload_bytes as f64) / self.items.max(1) as f64
    }

    /// Of the limit when the cache was full, else of the memory used.
    pub(crate) fn payload_share(&self) -> f64 {
        let whole = if self.evictions > 0 { self.limit } else { self.memory_used };
        self.payload_bytes as f64 / whole.max(1) as f64
    }

    pub(crate) fn json(&self, case: &str) -> Value {
        let mut object = json!({
            "case": case,
            "limit": self.limit,
            "items": self.items,
            "payload_bytes": self.payload_bytes,
            "memory_used": self.memory_used,
            "rss_growth": self.rss_growth,
            "overhead_per_item": self.overhead_per_item(),
            "payload_share": self.payload_share(),
            "evictions": self.evictions,
            "checks": self.checks.iter().map(Check::json).collect::<Vec<_>>(),
        });
        if let Some(object) = object.as_object_mut() {
            object.extend(self.more.clone());
        }
        object
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_and_have_the_length() {
        assert_eq!(&key(0xab), b"object::00000000000000ab");
        assert_ne!(key(1), key(1 << 63));
    }

    #[test]
    fn checks_know_their_side() {
        let json = Check::new("x", 29.0, Bound::AtMost(28.0)).goal(24.0).json();
        assert_eq!((&json["kept"], &json["goal_reached"]), (&Value::Bool(false), &Value::Bool(false)));
        let json = Check::new("x", 0.9, Bound::AtLeast(0.85)).goal(0.9).json();
        assert_eq!((&json["kept"], &json["goal_reached"]), (&Value::Bool(true), &Value::Bool(true)));
        assert_eq!(Check::new("x", 1.0, Bound::None).json()["kept"], Value::Bool(true));
    }
}
