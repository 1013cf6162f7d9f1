//! The parameter table: every parameter of every family, with its type, default, allowed values and meaning, and what
//! it drives here. `docs/parameters.md` is this table for people; a test compares the two.
//!
//! 1. A name belongs to one system only.
//! 2. Every default is an allowed value, or depends on the [node type](super::NodeType).

use std::time::Duration;

use super::family::{EngineVersion, System};
use super::nearest::shown;
use super::units::parse_in;
use super::value::{Allowed, Unit, Value, ValueType};
use crate::error::{Error, ErrorKind, Result};

/// When a changed value takes effect.
///
/// # Examples
/// ```
/// use larder::params::{Applies, Family};
/// assert_eq!(Family::Redis2_8.parameter("timeout")?.applies, Applies::AtOnce);
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Applies {
    /// In a running cache, at once.
    AtOnce,
    /// When the cache is built anew.
    Restart,
    /// Never: it is fixed when the cache is first built, and a group cannot change it.
    Never,
    /// When the cache is built anew; it can only be changed while no cache uses the group.
    UnsetOnly,
}

impl std::fmt::Display for Applies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Applies::AtOnce => "at once",
            Applies::Restart => "restart",
            Applies::Never => "never",
            Applies::UnsetOnly => "unset only",
        })
    }
}

/// Who acts on a parameter.
///
/// # Examples
/// ```
/// use larder::params::{Drives, Family};
/// assert!(matches!(Family::Redis2_8.parameter("timeout")?.drives, Drives::FrontEnd(_)));
/// assert!(matches!(Family::Redis2_8.parameter("reserved-memory")?.drives, Drives::Engine(_)));
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Drives {
    /// The cache itself, in this way.
    Engine(&'static str),
    /// Whoever has the connections or the replicas: the value is checked and kept for this part.
    FrontEnd(&'static str),
}

impl std::fmt::Display for Drives {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Drives::Engine(what) => write!(f, "{what}"),
            Drives::FrontEnd(part) => write!(f, "kept for the front-end: {part}"),
        }
    }
}

/// One parameter.
///
/// # Examples
/// ```
/// use larder::params::{Applies, Family, Value};
/// let parameter = Family::Memcached1_4.parameter("chunk_size")?;
/// assert_eq!((parameter.default_value(), parameter.applies), (Some(Value::from(48)), Applies::Restart));
/// assert_eq!(parameter.parse("64")?, Value::from(64));
/// assert!(parameter.parse("47").unwrap_err().to_string().contains("48 to 1048576"));
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// The first version that has it.
    pub since: EngineVersion,
    /// The type of its values.
    pub value_type: ValueType,
    /// What they may be. What depends on the node type may be more there.
    pub allowed: Allowed,
    /// What they count.
    pub unit: Unit,
    /// When a change takes effect.
    pub applies: Applies,
    /// What it means.
    pub meaning: &'static str,
    /// Who acts on it.
    pub drives: Drives,
    /// As text; None: by node type.
    default: Option<&'static str>,
}

impl Parameter {
    /// Whose parameter it is.
    ///
    /// # Examples
    /// ```
    /// use larder::params::{Family, System};
    /// assert_eq!(Family::Redis2_8.parameter("timeout")?.system(), System::Redis);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn system(&self) -> System {
        self.since.family().system()
    }

    /// What it is if nobody says otherwise; None if that depends on the node type.
    ///
    /// # Examples
    /// ```
    /// use larder::params::{Family, Value};
    /// let family = Family::Redis2_8;
    /// assert_eq!(family.parameter("maxmemory-policy")?.default_value(), Some(Value::from("volatile-lru")));
    /// assert_eq!(family.parameter("maxmemory")?.default_value(), None);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn default_value(&self) -> Option<Value> {
        // Every default in the table can be read: a test tries them all.
        self.default.and_then(|text| self.read(text))
    }

    /// Reads a value from text. Sizes and durations may have a unit: `64MiB`, `30s`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] for what is not of the parameter's type, or not allowed.
    ///
    /// # Examples
    /// ```
    /// use larder::params::{Family, Value};
    /// assert_eq!(Family::Redis2_8.parameter("repl-backlog-size")?.parse("1MiB")?, Value::from(1_048_576));
    /// assert!(Family::Redis2_8.parameter("repl-backlog-size")?.parse("1KiB").is_err());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn parse(&self, text: &str) -> Result<Value> {
        self.check(text)
    }

    /// The value as this parameter's type, if it is allowed. Text is read; `true` is `yes` and 1.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    ///
    /// # Examples
    /// ```
    /// use larder::params::{Family, Value};
    /// let family = Family::Redis2_8;
    /// assert_eq!(family.parameter("activerehashing")?.check(false)?, Value::from("no"));
    /// assert_eq!(family.parameter("timeout")?.check("5min")?, Value::from(300));
    /// assert!(family.parameter("timeout")?.check(-1).is_err());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn check(&self, value: impl Into<Value>) -> Result<Value> {
        let value = value.into();
        let found = match (&value, self.value_type) {
            (Value::String(text), _) => self.read(text),
            (Value::Integer(bit @ 0..=1), ValueType::Boolean) => Some(Value::Boolean(*bit == 1)),
            (Value::Integer(number), ValueType::Float) => Some(Value::Float(*number as f64)),
            (Value::Boolean(flag), ValueType::String) => Some(Value::from(if *flag { "yes" } else { "no" })),
            (Value::Boolean(flag), ValueType::Integer) => Some(Value::Integer((*flag).into())),
            (value, value_type) if value.value_type() == value_type => Some((*value).clone()),
            _ => None,
        };
        found.filter(|value| self.allows(value)).ok_or_else(|| {
            let unit = if self.unit == Unit::Count { String::new() } else { format!(" {}", self.unit) };
            let (value, value_type, allowed) = (shown(&value.to_string()), self.value_type, &self.allowed);
            Error::new(
                ErrorKind::InvalidConfig,
                format!("{} cannot be {value:?}: it is of type {value_type}, allowed is {allowed}{unit}", self.name),
            )
        })
    }

    /// Reads text as this type, allowed or not.
    fn read(&self, text: &str) -> Option<Value> {
        let text = text.trim();
        match self.value_type {
            ValueType::Integer => {
                let unit = || parse_in(text, self.unit.base()?, self.unit.is_size());
                text.parse().ok().or_else(unit).map(Value::Integer)
            }
            ValueType::Float => text.parse().ok().map(Value::Float),
            ValueType::Boolean => match text.to_ascii_lowercase().as_str() {
                "1" | "true" | "yes" => Some(Value::Boolean(true)),
                "0" | "false" | "no" => Some(Value::Boolean(false)),
                _ => None,
            },
            ValueType::String => match self.allowed {
                Allowed::Choices(words) => {
                    words.iter().find(|word| word.eq_ignore_ascii_case(text)).map(|word| Value::String((*word).into()))
                }
                _ => Some(Value::from(text)),
            },
        }
    }

    /// Whether a value of the right type is an allowed one.
    fn allows(&self, value: &Value) -> bool {
        match (&self.allowed, value) {
            (Allowed::Flag, Value::Boolean(_)) => true,
            (Allowed::Integers { from, to }, Value::Integer(number)) => (from..=to).contains(&number),
            (Allowed::Above(bound), Value::Float(number)) => number > bound && number.is_finite(),
            (Allowed::Choices(words), Value::String(text)) => words.contains(&text.as_ref()),
            (Allowed::Letters(letters), Value::String(text)) => text.chars().all(|c| letters.contains(c)),
            _ => false,
        }
    }

    /// The duration that a number of this parameter's unit is.
    pub(super) fn duration_of(&self, number: i64) -> Option<Duration> {
        let number = u64::try_from(number).ok()?;
        match self.unit {
            Unit::Seconds => Some(Duration::from_secs(number)),
            Unit::Milliseconds => Some(Duration::from_millis(number)),
            Unit::Microseconds => Some(Duration::from_micros(number)),
            _ => None,
        }
    }

    /// The bytes that a number of this parameter's unit is.
    pub(super) fn bytes_of(&self, number: i64) -> Option<u64> {
        let number = u64::try_from(number).ok()?;
        self.unit.is_size().then(|| number.saturating_mul(self.unit.base().unwrap_or(1)))
    }
}

/// Type, allowed values and default of a parameter.
pub(super) type Kind = (ValueType, Allowed, Option<&'static str>);
/// Numbers that other programs keep in 32 bits with a sign.
pub(super) const INT: i64 = i32::MAX as i64;

/// A whole number within bounds.
pub(super) const fn integer(default: &'static str, from: i64, to: i64) -> Kind {
    (ValueType::Integer, Allowed::Integers { from, to }, Some(default))
}

/// A whole number whose default depends on the node type.
pub(super) const fn by_node(from: i64, to: i64) -> Kind {
    (ValueType::Integer, Allowed::Integers { from, to }, None)
}

/// 0 or 1, 0 if nobody says otherwise.
pub(super) const fn off() -> Kind {
    (ValueType::Boolean, Allowed::Flag, Some("0"))
}

/// A number above a bound.
pub(super) const fn above(default: &'static str, bound: f64) -> Kind {
    (ValueType::Float, Allowed::Above(bound), Some(default))
}

/// One of some words.
pub(super) const fn choice(default: &'static str, words: &'static [&'static str]) -> Kind {
    (ValueType::String, Allowed::Choices(words), Some(default))
}

/// Any of some letters.
pub(super) const fn letters(default: &'static str, letters: &'static str) -> Kind {
    (ValueType::String, Allowed::Letters(letters), Some(default))
}

/// One row.
pub(super) const fn row(
    name: &'static str,
    since: EngineVersion,
    kind: Kind,
    unit: Unit,
    applies: Applies,
    meaning: &'static str,
    drives: Drives,
) -> Parameter {
    let (value_type, allowed, default) = kind;
    Parameter { name, since, value_type, allowed, unit, applies, meaning, drives, default }
}

pub(super) use super::memcached::MEMCACHED;
pub(super) use super::redis::REDIS;
