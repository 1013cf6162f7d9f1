//! When automatic snapshots are taken: a window of each day, in UTC; and the dates in their names.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};

const MINUTES_A_DAY: u64 = 24 * 60;
const MINUTE_MS: u64 = 60_000;
/// The shortest window, in minutes.
const LEAST: u64 = 60;

/// A window of each day, in UTC, of an hour at least.
///
/// # Examples
/// ```
/// use larder::snapshot::Window;
/// let window: Window = "23:30-00:30".parse()?;
/// assert_eq!(window.to_string(), "23:30-00:30");
/// assert!("05:00-05:30".parse::<Window>().is_err(), "half an hour is too short");
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    /// Minutes after midnight.
    start: u64,
    minutes: u64,
}

impl Window {
    /// A window from a time of the day on.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] for a time that there is not, or fewer than 60 or more than 1,440 minutes.
    ///
    /// # Examples
    /// ```
    /// use larder::snapshot::Window;
    /// assert_eq!(Window::new(4, 30, 90)?.to_string(), "04:30-06:00");
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn new(hour: u32, minute: u32, minutes: u32) -> Result<Window> {
        let minutes = u64::from(minutes);
        if hour > 23 || minute > 59 || !(LEAST..=MINUTES_A_DAY).contains(&minutes) {
            return Err(Error::new(
                ErrorKind::InvalidConfig,
                format!("{minutes} minutes from {hour:02}:{minute:02} are no daily window: from 60 to 1440 are"),
            ));
        }
        Ok(Window { start: u64::from(hour * 60 + minute), minutes })
    }

    /// The window that a cache of this name has when none is given: an hour, spread over the day by the name.
    pub(super) fn of_name(name: &str) -> Window {
        let mixed = name.bytes().fold(7_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
        Window { start: mixed % 24 * 60, minutes: LEAST }
    }

    /// When the window began that is open at this Unix time, in milliseconds; None if none is.
    pub(super) fn opened_at(&self, now_ms: u64) -> Option<u64> {
        let now = now_ms / MINUTE_MS;
        let into = (now + MINUTES_A_DAY - self.start) % MINUTES_A_DAY;
        (into < self.minutes).then(|| now.saturating_sub(into) * MINUTE_MS)
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = (self.start + self.minutes) % MINUTES_A_DAY;
        write!(f, "{:02}:{:02}-{:02}:{:02}", self.start / 60, self.start % 60, end / 60, end % 60)
    }
}

impl FromStr for Window {
    type Err = Error;

    fn from_str(text: &str) -> Result<Window> {
        let time = |text: &str| -> Option<u32> {
            let (hour, minute) = text.split_once(':')?;
            let (hour, minute) = (hour.parse::<u32>().ok()?, minute.parse::<u32>().ok()?);
            (hour < 24 && minute < 60).then_some(hour * 60 + minute)
        };
        let times = text.split_once('-').and_then(|(from, to)| Some((time(from)?, time(to)?)));
        let Some((from, to)) = times else {
            let what = format!("{text:?} is no daily window: it is written as 04:00-05:00");
            return Err(Error::new(ErrorKind::InvalidConfig, what));
        };
        let day = MINUTES_A_DAY as u32;
        let minutes = if from == to { day } else { (to + day - from) % day };
        Window::new(from / 60, from % 60, minutes)
    }
}

/// Year, month, day, hour and minute of a Unix time in milliseconds, as in `2026-11-20-04-00`.
pub(super) fn stamp(unix_ms: u64) -> String {
    let minutes = unix_ms / MINUTE_MS;
    let (mut days, of_day) = (minutes / MINUTES_A_DAY, minutes % MINUTES_A_DAY);
    let mut year = 1970;
    loop {
        let of_year = days_of(year).iter().sum::<u64>();
        if days < of_year {
            break;
        }
        days -= of_year;
        year += 1;
    }
    let mut month = 1;
    for of_month in days_of(year) {
        if days < of_month {
            break;
        }
        days -= of_month;
        month += 1;
    }
    format!("{year:04}-{month:02}-{:02}-{:02}-{:02}", days + 1, of_day / 60, of_day % 60)
}

/// The days of each month.
fn days_of(year: u64) -> [u64; 12] {
    let is_leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    [31, if is_leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_as_the_calendar_has_them() {
        for (seconds, text) in [
            (0, "1970-01-01-00-00"),
            (951_782_400, "2000-02-29-00-00"),
            (1_709_251_199, "2024-02-29-23-59"),
            (1_798_761_600, "2027-01-01-00-00"),
            (4_107_542_400, "2100-03-01-00-00"),
        ] {
            assert_eq!(stamp(seconds * 1000), text);
        }
    }

    #[test]
    fn windows_open_and_close_also_over_midnight() {
        let window: Window = "23:30-01:00".parse().unwrap();
        let day = MINUTES_A_DAY * MINUTE_MS;
        let at = |hour: u64, minute: u64| 20 * day + (hour * 60 + minute) * MINUTE_MS;
        assert_eq!(window.opened_at(at(23, 30)), Some(at(23, 30)));
        assert_eq!(window.opened_at(at(24, 59) + 59_999), Some(at(23, 30)));
        assert_eq!((window.opened_at(at(23, 29)), window.opened_at(at(1, 0))), (None, None));
        assert_eq!("00:00-00:00".parse::<Window>().unwrap().minutes, MINUTES_A_DAY);
        for bad in ["", "1-2", "24:00-25:00", "04:00-04:59", "04:00", "a:00-05:00", "04:60-06:00"] {
            assert_eq!(bad.parse::<Window>().unwrap_err().kind(), ErrorKind::InvalidConfig, "{bad}");
        }
        let named = Window::of_name("sessions");
        assert_eq!((named.minutes, named.start % 60, named), (60, 0, Window::of_name("sessions")));
    }
}
