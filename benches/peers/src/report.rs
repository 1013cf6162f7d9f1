//! What was measured: one table a case, or one JSON object a measurement.
//!
//! Ratios compare contenders within one case and one number of threads. A **peer** is every contender but larder and
//! the map. In tables `x peer` is a contender's figure divided by the best peer's, `x map` by the map's; the JSON
//! objects of larder have the same as `ratio_to_best_peer`, `ratio_to_quick_cache` and `ratio_to_map`. For times and
//! bytes a ratio below 1 is better than the peer; for hit ratios, above 1.

use serde_json::{Map, Value as Json, json};

use crate::contenders::{LARDER, MAP, QUICK_CACHE};
use crate::table::render;
use crate::timing::Summary;
use crate::units;

/// Where the mean is more than so many times the median, a note gives it.
const UNEVEN: f64 = 1.5;

/// What a measurement came to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Figure {
    Time(Summary),
    Amount(f64, Unit),
}

impl Figure {
    pub(crate) fn value(&self) -> f64 {
        match self {
            Figure::Time(summary) => summary.ns_per_op,
            Figure::Amount(value, _) => *value,
        }
    }
}

/// What an amount is an amount of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    BytesAnEntry,
    OfTheLimit,
    HitRatio,
}

impl Unit {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Unit::BytesAnEntry => "bytes/entry",
            Unit::OfTheLimit => "peak/limit",
            Unit::HitRatio => "hit ratio",
        }
    }
}

/// One figure of one contender.
#[derive(Debug, Clone)]
pub(crate) struct Measurement {
    pub(crate) case: String,
    pub(crate) threads: usize,
    pub(crate) contender: String,
    pub(crate) figure: Figure,
    /// Entries in the cache at the end, where it knows.
    pub(crate) entries: Option<u64>,
    pub(crate) note: String,
}

/// One case.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) case: String,
    pub(crate) about: String,
    pub(crate) measurements: Vec<Measurement>,
    /// Contenders that took no part, and why.
    pub(crate) absent: Vec<(String, String)>,
}

impl Table {
    pub(crate) fn new(case: impl Into<String>, about: impl Into<String>) -> Self {
        Table { case: case.into(), about: about.into(), measurements: Vec::new(), absent: Vec::new() }
    }

    /// The contenders that were measured, in order.
    pub(crate) fn contenders(&self) -> Vec<&str> {
        unique(self.measurements.iter().map(|m| m.contender.as_str()))
    }

    pub(crate) fn find(&self, case: &str, contender: &str, threads: usize) -> Option<&Measurement> {
        self.measurements.iter().find(|m| m.case == case && m.contender == contender && m.threads == threads)
    }

    fn is_hit_ratio(&self) -> bool {
        self.measurements.iter().any(|m| matches!(m.figure, Figure::Amount(_, Unit::HitRatio)))
    }

    /// The best figure of a peer.
    fn best_peer(&self, case: &str, threads: usize) -> Option<f64> {
        let peers =
            self.measurements.iter().filter(|m| m.case == case && m.threads == threads && is_peer(&m.contender));
        let values = peers.map(|m| m.figure.value());
        if self.is_hit_ratio() { values.reduce(f64::max) } else { values.reduce(f64::min) }
    }

    fn ratio_to(&self, m: &Measurement, contender: &str) -> Option<f64> {
        self.find(&m.case, contender, m.threads).and_then(|other| ratio(m.figure.value(), other.figure.value()))
    }

    fn ratio_to_best_peer(&self, m: &Measurement) -> Option<f64> {
        self.best_peer(&m.case, m.threads).and_then(|best| ratio(m.figure.value(), best))
    }

    /// The table as text.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("\n{}: {}\n", self.case, self.about);
        if !self.measurements.is_empty() {
            let is_timed = self.measurements.iter().any(|m| matches!(m.figure, Figure::Time(_)));
            text += &match (is_timed, self.is_hit_ratio()) {
                (true, _) => self.times(),
                (_, true) => self.hit_ratios(),
                _ => self.amounts(),
            };
        }
        for (contender, reason) in &self.absent {
            text += &format!("{contender}: {reason}\n");
        }
        text
    }

    fn times(&self) -> String {
        let mut threads: Vec<usize> = self.measurements.iter().map(|m| m.threads).collect();
        threads.sort_unstable();
        threads.dedup();
        let mut header = vec![String::new()];
        for n in &threads {
            header.extend([format!("{n}T ns/op"), "+-%".into(), "Mops/s".into(), "x peer".into(), "x map".into()]);
        }
        header.extend(["hits %", "refused %", "entries"].map(String::from));
        let row = |contender: &str| {
            let mut cells = vec![contender.to_owned()];
            let of_threads = |n| self.find(&self.case, contender, n);
            for &n in &threads {
                let Some((m, Figure::Time(time))) = of_threads(n).map(|m| (m, m.figure)) else {
                    cells.extend([const { "" }; 5].map(String::from));
                    continue;
                };
                let spread = (time.most - time.ns_per_op).max(time.ns_per_op - time.least) / time.ns_per_op * 100.0;
                cells.extend([nanos(time.ns_per_op), format!("{spread:.0}"), format!("{:.1}", time.mops)]);
                cells.extend([self.ratio_to_best_peer(m), self.ratio_to(m, MAP)].map(factor));
            }
            let last = threads.iter().rev().find_map(|&n| of_threads(n));
            let (time, entries) = match last.map(|m| (m.figure, m.entries)) {
                Some((Figure::Time(time), entries)) => (time, entries),
                _ => (Summary::default(), None),
            };
            cells.push(time.hit_share.map_or(String::new(), |share| format!("{:.2}", share * 100.0)));
            let refused = time.refused_share * 100.0;
            cells.push(if refused > 0.0 { format!("{refused:.2}") } else { String::new() });
            cells.push(entries.map_or(String::new(), units::count));
            cells
        };
        self.rendered(&header, row)
    }

    fn amounts(&self) -> String {
        let unit = self.measurements.iter().find_map(|m| match m.figure {
            Figure::Amount(_, unit) => Some(unit),
            Figure::Time(_) => None,
        });
        let header = ["", unit.map_or("", Unit::name), "x peer", "x map", "entries"].map(String::from);
        self.rendered(&header, |contender| {
            let Some(m) = self.find(&self.case, contender, 1) else { return vec![String::new(); header.len()] };
            let value = match m.figure {
                Figure::Amount(value, Unit::BytesAnEntry) => format!("{value:.1}"),
                figure => format!("{:.3}", figure.value()),
            };
            let [peer, map] = [self.ratio_to_best_peer(m), self.ratio_to(m, MAP)].map(factor);
            vec![contender.to_owned(), value, peer, map, m.entries.map_or(String::new(), units::count)]
        })
    }

    /// A row a trace and size, a column a contender.
    fn hit_ratios(&self) -> String {
        let (cases, contenders) = (unique(self.measurements.iter().map(|m| m.case.as_str())), self.contenders());
        let mut header = vec![""];
        header.extend(&contenders);
        let mut totals = vec![Some(0.0); contenders.len()];
        let mut rows = Vec::new();
        for case in &cases {
            let mut row = vec![case.split_once(':').map_or(*case, |(_, of)| of).to_owned()];
            for (contender, total) in contenders.iter().zip(&mut totals) {
                let value = self.find(case, contender, 1).map(|m| m.figure.value() * 100.0);
                *total = total.zip(value).map(|(total, value)| total + value);
                row.push(value.map_or("-".to_owned(), |value| format!("{value:.2}")));
            }
            rows.push(row);
        }
        let mean = |total: &Option<f64>| total.map_or("-".into(), |total| format!("{:.2}", total / cases.len() as f64));
        rows.push(["mean".to_owned()].into_iter().chain(totals.iter().map(mean)).collect());
        render(&header, 1, &rows) + &self.notes()
    }

    /// Lays rows out; notes follow below.
    fn rendered(&self, header: &[String], row: impl Fn(&str) -> Vec<String>) -> String {
        let rows: Vec<Vec<String>> = self.contenders().into_iter().map(row).collect();
        // A column that is empty for all says nothing.
        let kept: Vec<usize> = (0..header.len()).filter(|&i| rows.iter().any(|row| !row[i].is_empty())).collect();
        let header: Vec<&str> = kept.iter().map(|&i| header[i].as_str()).collect();
        let rows: Vec<Vec<String>> =
            rows.into_iter().map(|row| kept.iter().map(|&i| row[i].clone()).collect()).collect();
        render(&header, 1, &rows) + &self.notes()
    }

    fn notes(&self) -> String {
        let noted = self.measurements.iter().filter(|m| !m.note.is_empty());
        let notes = unique(noted.map(|m| format!("{}: {}\n", m.contender, m.note)));
        let uneven = self.measurements.iter().filter_map(|m| match m.figure {
            Figure::Time(time) if time.mean > time.ns_per_op * UNEVEN => {
                let mean = nanos(time.mean);
                Some(format!("{}, {}T: rounds differ; {mean} ns/op over all of them\n", m.contender, m.threads))
            }
            _ => None,
        });
        notes.into_iter().chain(uneven).collect()
    }

    /// One object a measurement, a line each.
    pub(crate) fn json(&self) -> String {
        let lines = self.measurements.iter().map(|m| format!("{}\n", Json::Object(self.object(m))));
        let absent = self.absent.iter().map(|(contender, reason)| {
            format!("{}\n", json!({ "case": self.case, "contender": contender, "absent": reason }))
        });
        lines.chain(absent).collect()
    }

    fn object(&self, m: &Measurement) -> Map<String, Json> {
        let mut object = Map::new();
        let mut put = |key: &str, value: Json| {
            if !value.is_null() {
                object.insert(key.to_owned(), value);
            }
        };
        put("case", json!(m.case));
        put("threads", json!(m.threads));
        put("contender", json!(m.contender));
        match m.figure {
            Figure::Time(time) => {
                put("ns_per_op", json!(time.ns_per_op));
                put("ns_least", json!(time.least));
                put("ns_most", json!(time.most));
                put("ns_mean", json!(time.mean));
                put("mops", json!(time.mops));
                put("hit_share", json!(time.hit_share));
                put("refused_share", json!(time.refused_share));
            }
            Figure::Amount(value, unit) => {
                put("value", json!(value));
                put("unit", json!(unit.name()));
            }
        }
        put("entries", json!(m.entries));
        if !m.note.is_empty() {
            put("note", json!(m.note));
        }
        if is_larder(&m.contender) {
            put("ratio_to_best_peer", json!(self.ratio_to_best_peer(m)));
            put("ratio_to_quick_cache", json!(self.ratio_to(m, QUICK_CACHE)));
            put("ratio_to_map", json!(self.ratio_to(m, MAP)));
        }
        object
    }
}

/// Larder, whatever it is made to do.
pub(crate) fn is_larder(contender: &str) -> bool {
    contender.starts_with(LARDER)
}

fn is_peer(contender: &str) -> bool {
    !is_larder(contender) && contender != MAP
}

fn ratio(value: f64, to: f64) -> Option<f64> {
    (to > 0.0).then_some(value / to)
}

fn factor(ratio: Option<f64>) -> String {
    ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"))
}

fn nanos(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

fn unique<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = Vec::new();
    for item in items {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(contender: &str, threads: usize, ns_per_op: f64) -> Measurement {
        let (mops, least, most, mean) = (1e3 / ns_per_op, ns_per_op, ns_per_op, ns_per_op);
        let time = Summary { ns_per_op, mops, least, most, mean, ..Summary::default() };
        Measurement {
            case: "hot".into(),
            threads,
            contender: contender.into(),
            figure: Figure::Time(time),
            entries: None,
            note: String::new(),
        }
    }

    fn example() -> Table {
        let mut table = Table::new("hot", "gets");
        table.measurements = vec![
            measured("larder", 1, 10.0),
            measured("quick_cache", 1, 25.0),
            measured("scc", 1, 20.0),
            measured("map", 1, 8.0),
            measured("larder", 2, 12.0),
            measured("scc", 2, 30.0),
        ];
        table.absent = vec![("moka".into(), "ill".into())];
        table
    }

    #[test]
    fn ratios_are_to_the_fastest_peer_and_to_the_map() {
        let text = example().text();
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[3], ["larder", "10.0", "0", "100.0", "0.50", "1.25", "12.0", "0", "83.3", "0.40"]);
        assert_eq!(lines[6][..6], ["map", "8.0", "0", "125.0", "0.40", "1.00"]);
        assert!(text.ends_with("moka: ill\n"));
    }

    #[test]
    fn objects_have_the_ratios_of_larder_alone() {
        let json = example().json();
        let objects: Vec<Json> = json.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        assert_eq!(objects.len(), 7);
        assert_eq!(objects[0]["ratio_to_best_peer"], json!(0.5));
        assert_eq!(objects[0]["ratio_to_quick_cache"], json!(0.4));
        assert_eq!(objects[0]["ratio_to_map"], json!(1.25));
        assert_eq!(objects[4].get("ratio_to_map"), None);
        assert_eq!(objects[1].get("ratio_to_best_peer"), None);
        assert_eq!(objects[6]["absent"], json!("ill"));
    }
}
