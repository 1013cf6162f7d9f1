//! Words and numbers of a request line, in the ways that memcached reads them.

use smallvec::SmallVec;

use crate::engine::Expiry;

/// The longest key.
pub(super) const MAX_KEY: usize = 250;
/// The longest request line, its end included, apart from those that may name many keys.
pub(super) const MAX_LINE: usize = 2048;
/// The longest line that may name many keys.
pub(super) const MAX_KEYS_LINE: usize = 1 << 20;
/// Words of a line that are looked at, apart from keys.
const MAX_WORDS: usize = 24;
/// Times to live up to this many seconds are from now; larger numbers are Unix times.
pub(super) const MONTH: i64 = 60 * 60 * 24 * 30;

/// Words apart by spaces.
pub(super) type Words<'a> = SmallVec<[&'a [u8]; MAX_WORDS]>;

/// The words of a line, without its end.
pub(super) fn words(line: &[u8]) -> Words<'_> {
    each_word(line).take(MAX_WORDS).collect()
}

/// All words of a line.
pub(super) fn each_word(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|&byte| byte == b' ').filter(|word| !word.is_empty())
}

/// A line without its `\n` or `\r\n`.
pub(super) fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Digits alone.
pub(super) fn number(word: &[u8]) -> Option<u64> {
    if word.is_empty() || word.len() > 20 {
        return None;
    }
    word.iter().try_fold(0u64, |sum, &digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

/// Digits alone, up to 32 bits.
pub(super) fn small_number(word: &[u8]) -> Option<u32> {
    number(word).and_then(|n| u32::try_from(n).ok())
}

/// Digits with a minus sign perhaps.
pub(super) fn signed(word: &[u8]) -> Option<i64> {
    match word.strip_prefix(b"-") {
        Some(digits) => number(digits).and_then(|n| 0i64.checked_sub_unsigned(n)),
        None => number(word).and_then(|n| i64::try_from(n).ok()),
    }
}

/// The same, up to 32 bits.
pub(super) fn small_signed(word: &[u8]) -> Option<i32> {
    signed(word).and_then(|n| i32::try_from(n).ok())
}

/// A number with a plus sign perhaps, as client flags may be written.
pub(super) fn flags(word: &[u8]) -> Option<u32> {
    small_number(word.strip_prefix(b"+").unwrap_or(word))
}

/// A decimal fraction.
pub(super) fn fraction(word: &[u8]) -> Option<f64> {
    std::str::from_utf8(word).ok()?.parse().ok().filter(|n: &f64| n.is_finite())
}

/// When something ends whose request says so many seconds: 0 for never, negative for at once, up to 30 days from now,
/// and what is larger is a Unix time.
pub(super) fn expiry(seconds: i64) -> Expiry {
    match seconds {
        0 => Expiry::Never,
        i64::MIN..0 => Expiry::In(0),
        1..=MONTH => Expiry::In(seconds as u64 * 1000),
        _ => Expiry::At(seconds as u64 * 1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        for bad in [&b""[..], b"18446744073709551616", b"-1", b"+1", b"1x", b" 1", b"000000000000000000001"] {
            assert_eq!(number(bad), None, "{bad:?}");
        }
        assert_eq!((small_number(b"4294967295"), small_number(b"4294967296")), (Some(u32::MAX), None));
        assert_eq!((signed(b"-9223372036854775808"), signed(b"9223372036854775808")), (Some(i64::MIN), None));
        assert_eq!((small_signed(b"-1"), small_signed(b"2147483648"), small_signed(b"--1")), (Some(-1), None, None));
        assert_eq!((flags(b"+7"), flags(b"-7")), (Some(7), None));
        assert_eq!((fraction(b"0.25"), fraction(b"inf"), fraction(b"x")), (Some(0.25), None, None));
    }

    #[test]
    fn lines_and_times() {
        assert_eq!(words(b" get  a b ").as_slice(), [&b"get"[..], b"a", b"b"]);
        assert_eq!(words(&b"a ".repeat(100)).len(), MAX_WORDS);
        assert_eq!(
            (without_end(b"x\r\n"), without_end(b"x\n"), without_end(b"x\r")),
            (&b"x"[..], &b"x"[..], &b"x"[..])
        );
        assert_eq!((expiry(0), expiry(-5), expiry(MONTH)), (Expiry::Never, Expiry::In(0), Expiry::In(2_592_000_000)));
        assert_eq!(expiry(MONTH + 1), Expiry::At(2_592_001_000));
    }
}
