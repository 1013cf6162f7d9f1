//! What a run came to, as JSON, as a list for one run and as a table for several.

use std::time::Duration;

use larder::Cache;
use larder::policy::Simulator;
use serde_json::{Value, json};

use crate::args::Mode;
use crate::histogram::Histogram;
use crate::player::Tally;
use crate::{Job, amounts, table, units};

/// Percentiles shown, with their names.
const PERCENTILES: [(&str, f64); 5] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];

/// The figures of one run. What a simulated policy has not - memory, latencies - is `None`.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) trace: String,
    pub(crate) policy: String,
    /// Bytes; objects with `--unit-size`.
    pub(crate) capacity: u64,
    /// Capacity as a share of the footprint, where it was asked for so.
    pub(crate) share: Option<f64>,
    mode: Mode,
    threads: usize,
    seed: u64,
    tally: Tally,
    evictions: u64,
    expired: u64,
    items: u64,
    payload_bytes: u64,
    memory_used: Option<u64>,
    rss_growth: Option<i64>,
    elapsed: Duration,
}

impl Outcome {
    pub(crate) fn of_cache(
        job: &Job<'_>,
        cache: &Cache,
        tally: &Tally,
        elapsed: Duration,
        rss_growth: Option<i64>,
    ) -> Self {
        let (stats, memory) = (cache.stats(), cache.memory());
        Outcome {
            evictions: stats.evictions,
            expired: stats.expired,
            items: memory.items,
            payload_bytes: memory.payload_bytes,
            memory_used: Some(memory.used),
            rss_growth,
            ..Outcome::bare(job, tally, elapsed)
        }
    }

    pub(crate) fn of_simulator(job: &Job<'_>, simulator: &Simulator, tally: &Tally, elapsed: Duration) -> Self {
        Outcome {
            evictions: simulator.evictions(),
            items: simulator.items(),
            payload_bytes: simulator.used(),
            ..Outcome::bare(job, tally, elapsed)
        }
    }

    fn bare(job: &Job<'_>, tally: &Tally, elapsed: Duration) -> Self {
        Outcome {
            trace: job.source.name(),
            policy: job.policy.to_string(),
            capacity: job.capacity,
            share: job.share,
            mode: job.args.mode,
            threads: job.args.threads,
            seed: job.args.seed,
            tally: tally.clone(),
            evictions: 0,
            expired: 0,
            items: 0,
            payload_bytes: 0,
            memory_used: None,
            rss_growth: None,
            elapsed,
        }
    }

    pub(crate) fn hit_ratio(&self) -> f64 {
        self.tally.hit_ratio()
    }

    fn byte_hit_ratio(&self) -> f64 {
        self.tally.hit_bytes as f64 / self.tally.get_bytes.max(1) as f64
    }

    /// Bytes of memory an item beyond its key and value; `None` without items or memory.
    fn overhead_per_item(&self) -> Option<f64> {
        let used = self.memory_used.filter(|_| self.items > 0)?;
        Some((used as f64 - self.payload_bytes as f64) / self.items as f64)
    }

    fn ops_per_second(&self) -> f64 {
        self.tally.operations as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    fn latency(&self) -> Option<&Histogram> {
        Some(&self.tally.latency).filter(|latency| latency.count() > 0)
    }

    /// The run as one JSON object.
    pub(crate) fn json(&self) -> Value {
        let mut latency_ns = serde_json::Map::new();
        if let Some(latency) = self.latency() {
            for (name, quantile) in PERCENTILES {
                latency_ns.insert(name.to_string(), latency.quantile(quantile).into());
            }
            latency_ns.insert("max".to_string(), latency.max().into());
        }
        let mode = match self.mode {
            Mode::Engine => "engine",
            Mode::UnitSize => "unit-size",
            Mode::TracedSize => "traced-size",
        };
        json!({
            "trace": self.trace,
            "policy": self.policy,
            "mode": mode,
            "max_memory": self.capacity,
            "footprint_share": self.share,
            "threads": self.threads,
            "seed": self.seed,
            "requests": self.tally.requests,
            "gets": self.tally.gets,
            "hits": self.tally.hits,
            "hit_ratio": self.hit_ratio(),
            "byte_hit_ratio": self.byte_hit_ratio(),
            "refused": self.tally.refused,
            "evictions": self.evictions,
            "expired": self.expired,
            "items": self.items,
            "payload_bytes": self.payload_bytes,
            "overhead_per_item": self.overhead_per_item(),
            "memory_used": self.memory_used,
            "rss_growth": self.rss_growth,
            "seconds": self.elapsed.as_secs_f64(),
            "operations": self.tally.operations,
            "ops_per_second": self.ops_per_second(),
            "latency_ns": latency_ns,
        })
    }

    /// Names and values as people read them.
    fn fields(&self) -> Vec<(&'static str, String)> {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_string());
        let is_objects = self.mode == Mode::UnitSize;
        let amount = |n: u64| if is_objects { units::count(n) } else { units::bytes(n) };
        let size = match self.share {
            Some(share) => format!("{} ({}%)", amount(self.capacity), (share * 1e8).round() / 1e6),
            None => amount(self.capacity),
        };
        let mut fields = vec![
            ("trace", self.trace.clone()),
            ("policy", self.policy.clone()),
            (if is_objects { "objects" } else { "memory" }, size),
            ("requests", units::count(self.tally.requests)),
            ("hit ratio", format!("{:.4}", self.hit_ratio())),
            ("byte hits", format!("{:.4}", self.byte_hit_ratio())),
            ("evictions", units::count(self.evictions)),
            ("expired", units::count(self.expired)),
            ("refused", units::count(self.tally.refused)),
            ("items", units::count(self.items)),
            ("payload", amount(self.payload_bytes)),
            ("overhead", or_dash(self.overhead_per_item().map(|bytes| format!("{bytes:.1} B/item")))),
            ("used", or_dash(self.memory_used.map(units::bytes))),
            ("of limit", or_dash(self.memory_used.map(|used| percent(used, self.capacity)))),
            ("RSS growth", or_dash(self.rss_growth.map(amounts::signed_bytes))),
            ("ops/s", units::count(self.ops_per_second() as u64)),
        ];
        for (name, quantile) in PERCENTILES {
            fields.push((name, or_dash(self.latency().map(|latency| amounts::nanos(latency.quantile(quantile))))));
        }
        fields.push(("max", or_dash(self.latency().map(|latency| amounts::nanos(latency.max())))));
        fields
    }
}

fn percent(part: u64, whole: u64) -> String {
    format!("{:.1}%", 100.0 * part as f64 / whole.max(1) as f64)
}

/// All runs: one is listed line by line, several are a table with a row each.
pub(crate) fn table(outcomes: &[Outcome]) -> String {
    let fields: Vec<_> = outcomes.iter().map(Outcome::fields).collect();
    match fields.as_slice() {
        [] => String::new(),
        [single] => {
            let rows: Vec<_> = single.iter().map(|(name, value)| vec![name.to_string(), value.clone()]).collect();
            table::render(&["", ""], 1, &rows).trim_start().to_string()
        }
        [first, ..] => {
            let header: Vec<&str> = first.iter().map(|(name, _)| *name).collect();
            let rows: Vec<_> = fields.iter().map(|row| row.iter().map(|(_, value)| value.clone()).collect()).collect();
            table::render(&header, 2, &rows)
        }
    }
}
