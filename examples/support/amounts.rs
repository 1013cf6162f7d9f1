//! Amounts as people write them on the command line, `64MiB` and `10%`, and some that are printed.

use crate::units;

/// Reads an amount of memory: a number with an optional unit (`B`, `KB`, `MB`, `GB`, `TB` are powers of 1000; `K`,
/// `KiB`, `M`, `MiB` ... powers of 1024).
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let bad = || format!("'{text}' is not an amount of memory; write for example 64MiB, 1.5GiB or 1000000");
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return Err(bad()),
    };
    let bytes = number.parse::<f64>().map_err(|_| bad())? * factor as f64;
    if !(1.0..=(1u64 << 50) as f64).contains(&bytes) {
        return Err(bad());
    }
    Ok(bytes.round() as u64)
}

/// Reads a share such as `10%`, `0.1%` or `0.5` (a plain number is a fraction); more than 0, at most 100 times.
pub(crate) fn parse_share(text: &str) -> Result<f64, String> {
    let bad = || format!("'{text}' is not a share; write for example 10%, 0.1% or 0.5");
    let text = text.trim();
    let share = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().map_err(|_| bad())? / 100.0,
        None => text.parse::<f64>().map_err(|_| bad())?,
    };
    if share > 0.0 && share <= 100.0 { Ok(share) } else { Err(bad()) }
}

/// A difference in bytes, with its sign and a unit.
pub(crate) fn signed_bytes(amount: i64) -> String {
    let sign = if amount < 0 { "-" } else { "" };
    format!("{sign}{}", units::bytes(amount.unsigned_abs()))
}

/// A time in nanoseconds in a unit that suits it: `850 ns`, `1.2 us`, `3.4 ms`, `2.0 s`.
pub(crate) fn nanos(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.1} us", ns as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        _ => format!("{:.1} s", ns as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read() {
        for (text, expected) in
            [("64MiB", 64 << 20), ("1.5g", 3 << 29), ("1000", 1000), ("2 kb", 2000), ("1K", 1024), ("7B", 7)]
        {
            assert_eq!(parse_bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "MiB", "1.2.3M", "-5M", "0", "5 parsecs", "99999999T", "nan", "\u{e9}"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
        assert_eq!(parse_share("10%"), Ok(0.1));
        assert_eq!(parse_share("0.5"), Ok(0.5));
        assert!(["", "%", "0", "-1%", "nan", "inf", "1e9"].iter().all(|text| parse_share(text).is_err()));
    }

    #[test]
    fn figures_are_written() {
        assert_eq!(signed_bytes(-2048), "-2.0 KiB");
        assert_eq!([nanos(5), nanos(1500), nanos(2_500_000)], ["5 ns", "1.5 us", "2.5 ms"]);
    }
}
