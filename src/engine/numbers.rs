//! Counters kept as decimal text: memcached's arithmetic and Redis's.

use super::{Condition, Engine, Expiry, Key, SetSpec};
use crate::error::{Error, ErrorKind, Result};
use crate::index::Counter;

/// How to count. The two protocols differ in range, in what happens at its ends, and in what a missing key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    /// Unsigned 64 bits; adding wraps around, subtracting stops at 0. A result with fewer digits than the old text is
    /// padded with spaces to its length, as memcached does. Without `initial`, a missing key stays missing.
    Unsigned { by: u64, down: bool, initial: Option<u64>, expiry: Expiry },
    /// Signed 64 bits; leaving the range is an error. A missing key counts as `initial` before the step.
    Signed { by: i64, initial: i64, expiry: Expiry },
}

fn not_a_number(value: &[u8], range: &str) -> Error {
    let shown: String = String::from_utf8_lossy(&value[..value.len().min(24)]).into_owned();
    Error::new(ErrorKind::NotANumber, format!("the value {shown:?} is not a decimal number of {range}"))
}

fn unsigned(value: &[u8]) -> Result<u64> {
    let digits = value.trim_ascii_end();
    let all_digits = !digits.is_empty() && digits.len() <= 20 && digits.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(digits).ok().filter(|_| all_digits);
    text.and_then(|t| t.parse().ok()).ok_or_else(|| not_a_number(value, "64 bits without sign"))
}

fn signed(value: &[u8]) -> Result<i64> {
    let error = || not_a_number(value, "64 bits with sign");
    let number: i64 = std::str::from_utf8(value).ok().and_then(|t| t.parse().ok()).ok_or_else(error)?;
    // One way to write a number: no plus sign, no leading zeros.
    if number.to_string().as_bytes() == value { Ok(number) } else { Err(error()) }
}

impl Engine {
    /// Counts. The new number, or None if the key is missing and stays so.
    pub(crate) fn count(&self, key: Key<'_>, arithmetic: Arithmetic) -> Result<Option<i128>> {
        let (up, expiry) = match arithmetic {
            Arithmetic::Unsigned { down, expiry, .. } => (!down, expiry),
            Arithmetic::Signed { by, expiry, .. } => (by >= 0, expiry),
        };
        let (hits, misses) =
            if up { (Counter::IncrHits, Counter::IncrMisses) } else { (Counter::DecrHits, Counter::DecrMisses) };
        let session = self.ctx.sessions.current();
        loop {
            let stepped = self.step(key, |text| Self::stepped(text, arithmetic))?;
            if stepped.is_some() {
                session.count(hits);
                return Ok(stepped);
            }
            session.count(misses);
            let first = match arithmetic {
                Arithmetic::Unsigned { initial: None, .. } => return Ok(None),
                Arithmetic::Unsigned { initial: Some(first), .. } => i128::from(first),
                Arithmetic::Signed { by, initial, .. } => {
                    i128::from(initial.checked_add(by).ok_or_else(Self::overflow)?)
                }
            };
            let spec = SetSpec { expiry, condition: Condition::Absent, ..SetSpec::default() };
            if !self.set(key, &[first.to_string().as_bytes()], &spec)?.existed {
                return Ok(Some(first));
            }
            // Another thread made it meanwhile: step on from there.
        }
    }

    fn overflow() -> Error {
        Error::new(
            ErrorKind::NumberOverflow,
            "the result does not fit into a signed 64-bit number; the value is unchanged",
        )
    }

    pub(crate) fn stepped(text: &[u8], arithmetic: Arithmetic) -> Result<(Vec<u8>, i128)> {
        match arithmetic {
            Arithmetic::Unsigned { by, down, .. } => {
                let now = unsigned(text)?;
                let next = if down { now.saturating_sub(by) } else { now.wrapping_add(by) };
                let mut new = next.to_string().into_bytes();
                new.resize(new.len().max(text.len()), b' ');
                Ok((new, i128::from(next)))
            }
            Arithmetic::Signed { by, .. } => {
                let next = signed(text)?.checked_add(by).ok_or_else(Self::overflow)?;
                Ok((next.to_string().into_bytes(), i128::from(next)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_number() {
        assert_eq!(unsigned(b"18446744073709551615").unwrap(), u64::MAX);
        assert_eq!(unsigned(b"7  ").unwrap(), 7);
        for bad in [&b""[..], b"-1", b"18446744073709551616", b" 1", b"1x", b"000000000000000000001", b"\xff"] {
            assert_eq!(unsigned(bad).unwrap_err().kind(), ErrorKind::NotANumber, "{bad:?}");
        }
        assert_eq!(signed(b"-9223372036854775808").unwrap(), i64::MIN);
        for bad in [&b""[..], b"+1", b"01", b"-0", b"9223372036854775808", b"1 ", b"\xff"] {
            assert_eq!(signed(bad).unwrap_err().kind(), ErrorKind::NotANumber, "{bad:?}");
        }
    }
}
