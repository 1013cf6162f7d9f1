//! The cases' JSON objects as a table, and the average over the item sizes.

use serde_json::{Value, json};

use crate::items::{OVERHEAD_GOAL, OVERHEAD_LIMIT};
use crate::{table, units};

/// Cases of one item size each; their names go on with the size.
pub(crate) const ITEMS_PREFIX: &str = "items-v";

/// Prints a case as it comes: its object, or a line on stderr that it is done.
pub(crate) fn show(row: &Value, json: bool) {
    if json {
        println!("{row}");
    } else {
        eprintln!("{}: done", row["case"].as_str().unwrap_or_default());
    }
}

/// The object of a case that came to no figures.
pub(crate) fn failed(case: &str, error: &str) -> Value {
    eprintln!("footprint: case {case}: {error}");
    json!({ "case": case, "error": error, "checks": [{ "what": "came to an end", "value": 0, "side": ">=", "limit": 1,
        "kept": false, "goal": null, "goal_reached": null }] })
}

/// Whether all limits of a case were kept.
pub(crate) fn is_kept(row: &Value) -> bool {
    checks(row).iter().all(|check| check["kept"] == Value::Bool(true))
}

/// The mean overhead over all item sizes, held against the limit; `None` when none was measured.
pub(crate) fn items_average(rows: &[Value]) -> Option<Value> {
    let is_size = |row: &&Value| row["case"].as_str().is_some_and(|name| name.starts_with(ITEMS_PREFIX));
    let sizes: Vec<&Value> = rows.iter().filter(is_size).collect();
    if sizes.is_empty() {
        return None;
    }
    let mean = |key: &str| sizes.iter().filter_map(|row| row[key].as_f64()).sum::<f64>() / sizes.len() as f64;
    let whole = |key: &str| mean(key).round() as u64;
    let overhead = mean("overhead_per_item");
    Some(json!({
        "case": "items-average",
        "limit": whole("limit"),
        "items": whole("items"),
        "payload_bytes": whole("payload_bytes"),
        "memory_used": whole("memory_used"),
        "rss_growth": whole("rss_growth"),
        "overhead_per_item": overhead,
        "payload_share": mean("payload_share"),
        "checks": [{
            "what": "overhead", "value": overhead, "side": "<=", "limit": OVERHEAD_LIMIT,
            "kept": overhead <= OVERHEAD_LIMIT, "goal": OVERHEAD_GOAL, "goal_reached": overhead <= OVERHEAD_GOAL,
        }],
    }))
}

/// One table; a case has a line for each figure that is held against something.
pub(crate) fn table(rows: &[Value]) -> String {
    let header = [
        "case",
        "figure",
        "value",
        "limit",
        "kept",
        "goal",
        "reached",
        "memory",
        "items",
        "payload",
        "used",
        "RSS growth",
        "overhead",
        "share",
    ];
    let mut lines = Vec::new();
    for row in rows {
        let mut about_case = case_cells(row);
        for (i, check) in checks(row).iter().enumerate() {
            let name = if i == 0 { row["case"].as_str().unwrap_or_default() } else { "" };
            let mut line = vec![name.to_string()];
            line.extend(check_cells(check));
            line.append(&mut about_case);
            line.resize(header.len(), String::new());
            lines.push(line);
        }
    }
    table::render(&header, 2, &lines)
}

fn checks(row: &Value) -> &[Value] {
    row["checks"].as_array().map_or(&[], Vec::as_slice)
}

fn check_cells(check: &Value) -> Vec<String> {
    let side = check["side"].as_str().unwrap_or_default();
    let bound = |key: &str| check[key].as_f64().map_or(String::new(), |bound| format!("{side} {}", figure(bound)));
    let answer = |key: &str, no: &str| match check[key].as_bool() {
        Some(true) => "yes".to_string(),
        Some(false) => no.to_string(),
        None => String::new(),
    };
    let kept = if check["limit"].is_null() { String::new() } else { answer("kept", "NO") };
    vec![
        check["what"].as_str().unwrap_or_default().to_string(),
        check["value"].as_f64().map_or(String::new(), figure),
        bound("limit"),
        kept,
        bound("goal"),
        answer("goal_reached", "no"),
    ]
}

fn case_cells(row: &Value) -> Vec<String> {
    let bytes = |key: &str| row[key].as_u64().map_or("-".to_string(), units::bytes);
    let number = |key: &str| row[key].as_f64().map_or("-".to_string(), figure);
    vec![
        bytes("limit"),
        row["items"].as_u64().map_or("-".to_string(), units::count),
        bytes("payload_bytes"),
        bytes("memory_used"),
        bytes("rss_growth"),
        number("overhead_per_item"),
        number("payload_share"),
    ]
}

/// As many decimals as say something.
fn figure(value: f64) -> String {
    match value.abs() {
        _ if value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 2.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, overhead: f64) -> Value {
        json!({ "case": name, "limit": 100, "items": 10, "payload_bytes": 50, "memory_used": 80, "rss_growth": 90,
            "overhead_per_item": overhead, "payload_share": 0.5,
            "checks": [{ "what": "overhead", "value": overhead, "side": "<=", "limit": 28.0, "kept": overhead <= 28.0,
                "goal": null, "goal_reached": null }] })
    }

    #[test]
    fn the_average_is_over_the_sizes_alone() {
        let rows = [row("items-v90", 20.0), row("turnover", 99.0), row("items-v92", 30.0)];
        let average = items_average(&rows).unwrap();
        assert_eq!(average["overhead_per_item"], 25.0);
        assert!(is_kept(&average) && !is_kept(&rows[1]));
        assert!(items_average(&rows[1..2]).is_none());
    }

    #[test]
    fn the_table_says_what_was_not_kept() {
        let text = table(&[row("a", 20.0), row("b", 29.04)]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].starts_with("a     overhead") && lines[1].contains("yes"), "{text}");
        assert!(lines[2].contains("29.0") && lines[2].contains("NO"), "{text}");
    }
}
