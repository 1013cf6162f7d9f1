//! Lines of a text trace, one at a time, and the numbers in them.

use std::io::{BufRead, Read};

use super::{Bytes, Place, SIZE_MAX, TIME_MAX_S, TraceError, unreadable};

/// The longest line taken; a file without line ends must not fill the memory.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// Lines with their numbers; blank lines are passed over.
pub(super) struct Lines<'a> {
    bytes: Bytes<'a>,
    line: Vec<u8>,
    number: u64,
}

impl<'a> Lines<'a> {
    pub(super) fn new(bytes: Bytes<'a>) -> Self {
        Lines { bytes, line: Vec::new(), number: 0 }
    }

    /// Where the line given last is.
    pub(super) fn place(&self) -> Place {
        Place::Line(self.number)
    }

    /// Reads the next line that is not blank. False at the end of the trace.
    pub(super) fn advance(&mut self) -> Result<bool, TraceError> {
        loop {
            self.number += 1;
            self.line.clear();
            let mut limited = self.bytes.by_ref().take(LINE_BYTES_MAX);
            let read = limited.read_until(b'\n', &mut self.line).map_err(|error| unreadable(self.place(), &error))?;
            if read == 0 {
                return Ok(false);
            }
            if read as u64 == LINE_BYTES_MAX {
                return Err(self.error(format!("longer than {LINE_BYTES_MAX} bytes; is this a text trace?")));
            }
            if !self.line.trim_ascii().is_empty() {
                return Ok(true);
            }
        }
    }

    /// The line read last, without white space at its ends.
    pub(super) fn text(&self) -> &[u8] {
        self.line.trim_ascii()
    }

    pub(super) fn error(&self, message: impl Into<String>) -> TraceError {
        TraceError::new(self.place(), message)
    }
}

/// What is wrong with a field: becomes a [`TraceError`] when the line's number is put to it.
pub(super) type FieldResult<T> = Result<T, String>;

fn bad(what: &str, field: &[u8], wanted: &str) -> String {
    let shown = String::from_utf8_lossy(&field[..field.len().min(40)]);
    format!("{what} '{}' is not {wanted}", shown.escape_debug())
}

/// A whole number.
pub(super) fn whole(what: &str, field: &[u8]) -> FieldResult<u64> {
    let field = field.trim_ascii();
    digits(field).ok_or_else(|| bad(what, field, "a whole number"))
}

/// Only digits, at least one; `None` also when the number does not fit 64 bits.
fn digits(field: &[u8]) -> Option<u64> {
    if field.is_empty() {
        return None;
    }
    let mut value = 0u64;
    for &byte in field {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
    }
    Some(value)
}

/// A number of seconds, with or without a fraction, as milliseconds.
pub(super) fn seconds_to_ms(what: &str, field: &[u8]) -> FieldResult<u64> {
    let field = field.trim_ascii();
    let wanted = "a time in seconds";
    let point = field.iter().position(|&byte| byte == b'.').unwrap_or(field.len());
    let (seconds, fraction) = (&field[..point], field.get(point + 1..).unwrap_or_default());
    let seconds = digits(seconds).filter(|&s| s <= TIME_MAX_S).ok_or_else(|| bad(what, field, wanted))?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(bad(what, field, wanted));
    }
    let thousandths = fraction.iter().chain(b"000").take(3).fold(0, |ms, &digit| ms * 10 + u64::from(digit - b'0'));
    Ok(seconds * 1000 + thousandths)
}

/// A size in bytes, within [`SIZE_MAX`].
pub(super) fn size(what: &str, field: &[u8]) -> FieldResult<u32> {
    let value = whole(what, field)?;
    match u32::try_from(value) {
        Ok(size) if size <= SIZE_MAX => Ok(size),
        _ => Err(format!("{what} {value} is more than {SIZE_MAX}")),
    }
}

/// A time to live in seconds; fractions are cut off, but never to nothing.
pub(super) fn ttl_s(what: &str, field: &[u8]) -> FieldResult<u32> {
    let ms = seconds_to_ms(what, field)?;
    if ms == 0 {
        return Ok(0);
    }
    u32::try_from((ms / 1000).max(1)).map_err(|_| format!("{what} of {} seconds is too long", ms / 1000))
}
