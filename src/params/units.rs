//! Sizes and durations as people write them: `64MiB`, `30s`.
//!
//! Only units that mean one thing are read. "MB" is 1,000,000 bytes to some programs and 1,048,576 to others, so it is
//! refused, with the two ways to write what was meant.

use std::time::Duration;

const SIZES: [(&str, u64); 5] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
const TIMES: [(&str, u64); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("min", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// A number and its unit: whole, or with a decimal point as long as the result is whole.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_')?;
    let (number, unit) = (text[..end].replace('_', ""), text[end..].trim());
    let scale = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?.1;
    let (whole, part) = number.split_once('.').unwrap_or((&number, ""));
    let digits = u32::try_from(part.len()).ok().filter(|&digits| digits <= 9)?;
    let all: u128 = format!("{whole}{part}").parse().ok()?;
    let product = all.checked_mul(scale.into())?;
    let divisor = 10_u128.pow(digits);
    (product.is_multiple_of(divisor)).then(|| u64::try_from(product / divisor).ok()).flatten()
}

/// Bytes of a text such as `64MiB`; plain digits are bytes.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let plain = text.trim().replace('_', "").parse().ok();
    plain.or_else(|| scaled(text, &SIZES)).ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        let hint = if shown.to_ascii_lowercase().trim().ends_with("b") && !shown.to_ascii_lowercase().contains('i') {
            " (MB and the like mean two things; 1 MiB is 1,048,576 bytes)"
        } else {
            ""
        };
        format!(
            "{shown:?} is no size: give a number of bytes, or one with KiB, MiB, GiB or TiB, for example 64MiB{hint}"
        )
    })
}

/// A duration such as `30s`; a plain number is seconds.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let plain = text.trim().parse().ok().and_then(seconds);
    plain.or_else(|| scaled(text, &TIMES).map(Duration::from_nanos)).ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        format!("{shown:?} is no duration: give seconds, or a number with ns, us, ms, s, min, h or d, for example 30s")
    })
}

/// So many seconds, if that is a duration.
pub(super) fn seconds(number: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(number).ok()
}

/// The shortest way to write so many bytes without losing any.
pub(super) fn show_size(bytes: u64) -> String {
    let (unit, scale) =
        SIZES.iter().find(|(_, scale)| bytes >= *scale && bytes.is_multiple_of(*scale)).unwrap_or(&SIZES[4]);
    format!("{}{unit}", bytes / scale)
}

/// The shortest way to write a duration without losing any.
pub(super) fn show_duration(duration: Duration) -> String {
    let Ok(nanos) = u64::try_from(duration.as_nanos()) else { return duration.as_secs().to_string() };
    let fits = |(_, scale): &&(&str, u64)| nanos >= *scale && nanos.is_multiple_of(*scale);
    let (unit, scale) = TIMES.iter().find(fits).unwrap_or(&TIMES[3]);
    format!("{}{unit}", nanos / scale)
}

/// A text with a unit as a whole multiple of `base` (bytes or nanoseconds).
pub(super) fn parse_in(text: &str, base: u64, is_size: bool) -> Option<i64> {
    let amount = scaled(text, if is_size { &SIZES } else { &TIMES })?;
    amount.is_multiple_of(base).then(|| i64::try_from(amount / base).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_are_read() {
        for (text, bytes) in [
            ("64MiB", 64 << 20),
            ("1.5 GiB", 3 << 29),
            ("10", 10),
            ("1_000", 1000),
            ("7B", 7),
            ("2kib", 2048),
            ("0", 0),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "64MB", "-1", "1.5", "0.3B", "99999999999TiB", "1..5MiB", "64 apples", "\u{663}MiB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        assert!(parse_size("64MB").unwrap_err().contains("two things"));
        for (text, ms) in
            [("30s", 30_000), ("250ms", 250), ("1.5h", 5_400_000), ("2", 2000), ("0.5", 500), ("1d", 86_400_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "-1", "1 fortnight", "nan", "inf", "1e30", "99999999999999999999s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_shown_is_read_back() {
        for bytes in [0, 1, 1023, 1024, 64 << 20, (64 << 20) + 1, 3 << 40, u64::MAX] {
            assert_eq!(parse_size(&show_size(bytes)), Ok(bytes));
        }
        for nanos in [0, 1, 999, 1_000, 30_000_000_000, 90_000_000_000, 86_400_000_000_000, u64::MAX] {
            let duration = Duration::from_nanos(nanos);
            assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
        }
        assert_eq!((show_size(64 << 20), show_duration(Duration::from_secs(90))), ("64MiB".into(), "90s".into()));
        assert!(parse_duration(&show_duration(Duration::from_secs(u64::MAX / 4))).is_ok());
    }
}
