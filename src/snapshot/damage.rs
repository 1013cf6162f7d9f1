//! What is wrong with a file, and where.

use std::borrow::Cow;

use crate::error::{Error, ErrorKind};

/// Damage, at an offset of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(crate) offset: u64,
    pub(crate) what: Cow<'static, str>,
}

/// A place in a file.
pub(crate) trait Offset {
    fn offset(self) -> u64;
}

impl Offset for u64 {
    fn offset(self) -> u64 {
        self
    }
}

impl Offset for usize {
    fn offset(self) -> u64 {
        self as u64
    }
}

/// Refuses what is at an offset.
pub(crate) fn damaged<T>(offset: impl Offset, what: impl Into<Cow<'static, str>>) -> Result<T, Damage> {
    Err(Damage { offset: offset.offset(), what: what.into() })
}

impl From<Damage> for Error {
    fn from(damage: Damage) -> Error {
        Error::new(ErrorKind::Damaged, format!("the snapshot is damaged at byte {}: {}", damage.offset, damage.what))
    }
}
