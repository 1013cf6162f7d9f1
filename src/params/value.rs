//! Values of parameters: their types, their units, what is allowed, and how they are read from text.

use std::borrow::Cow;
use std::fmt;

/// The type of a parameter.
///
/// # Examples
/// ```
/// use larder::params::{Value, ValueType};
/// assert_eq!(Value::from(48).value_type(), ValueType::Integer);
/// assert_eq!(ValueType::Integer.to_string(), "integer");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ValueType {
    /// A whole number.
    Integer,
    /// A number.
    Float,
    /// 0 or 1.
    Boolean,
    /// Text.
    String,
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            ValueType::Integer => "integer",
            ValueType::Float => "float",
            ValueType::Boolean => "boolean",
            ValueType::String => "string",
        })
    }
}

/// A value that a parameter has, or is to get. Text is read as the parameter's type.
///
/// # Examples
/// ```
/// use larder::params::Value;
/// assert_eq!(Value::from(1.25).as_float(), Some(1.25));
/// assert_eq!(Value::from("yes").as_flag(), Some(true));
/// assert_eq!(Value::from(true).to_string(), "1");
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// A whole number.
    Integer(i64),
    /// A number.
    Float(f64),
    /// 0 or 1.
    Boolean(bool),
    /// Text.
    String(Cow<'static, str>),
}

impl Value {
    /// Its type.
    ///
    /// # Examples
    /// ```
    /// use larder::params::{Value, ValueType};
    /// assert_eq!(Value::from("ascii").value_type(), ValueType::String);
    /// ```
    pub fn value_type(&self) -> ValueType {
        match self {
            Value::Integer(_) => ValueType::Integer,
            Value::Float(_) => ValueType::Float,
            Value::Boolean(_) => ValueType::Boolean,
            Value::String(_) => ValueType::String,
        }
    }

    /// The whole number that it is, if it is one.
    ///
    /// # Examples
    /// ```
    /// use larder::params::Value;
    /// assert_eq!((Value::from(7).as_integer(), Value::from("7").as_integer()), (Some(7), None));
    /// ```
    pub fn as_integer(&self) -> Option<i64> {
        if let Value::Integer(number) = self { Some(*number) } else { None }
    }

    /// The number that it is, whole or not.
    ///
    /// # Examples
    /// ```
    /// use larder::params::Value;
    /// assert_eq!((Value::from(1.5).as_float(), Value::from(2).as_float()), (Some(1.5), Some(2.0)));
    /// ```
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Value::Float(number) => Some(*number),
            Value::Integer(number) => Some(*number as f64),
            _ => None,
        }
    }

    /// Whether it is on: a boolean, or `yes` and `no`.
    ///
    /// # Examples
    /// ```
    /// use larder::params::Value;
    /// assert_eq!((Value::from(false).as_flag(), Value::from("maybe").as_flag()), (Some(false), None));
    /// ```
    pub fn as_flag(&self) -> Option<bool> {
        match self {
            Value::Boolean(flag) => Some(*flag),
            Value::String(text) if text == "yes" => Some(true),
            Value::String(text) if text == "no" => Some(false),
            _ => None,
        }
    }

    /// The text that it is, if it is text.
    ///
    /// # Examples
    /// ```
    /// use larder::params::Value;
    /// assert_eq!(Value::from("everysec").as_str(), Some("everysec"));
    /// ```
    pub fn as_str(&self) -> Option<&str> {
        if let Value::String(text) = self { Some(text) } else { None }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Integer(number) => number.fmt(f),
            Value::Float(number) => number.fmt(f),
            Value::Boolean(flag) => u8::from(*flag).fmt(f),
            Value::String(text) => f.pad(text),
        }
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Value::Integer(number)
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Value::Integer(number.into())
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Value::Integer(number.into())
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Value::Float(number)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Value::Boolean(flag)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::String(text.to_owned().into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::String(text.into())
    }
}

impl From<&Value> for Value {
    fn from(value: &Value) -> Self {
        value.clone()
    }
}

/// What a parameter's number counts.
///
/// # Examples
/// ```
/// use larder::params::{Family, Unit};
/// assert_eq!(Family::Memcached1_4.parameter("max_cache_memory")?.unit, Unit::Mebibytes);
/// assert_eq!(Unit::Mebibytes.to_string(), "MiB");
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unit {
    /// Things, or nothing.
    Count,
    /// Bytes.
    Bytes,
    /// Units of 1,048,576 bytes.
    Mebibytes,
    /// Seconds.
    Seconds,
    /// Thousandths of a second.
    Milliseconds,
    /// Millionths of a second.
    Microseconds,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Unit::Count => "",
            Unit::Bytes => "bytes",
            Unit::Mebibytes => "MiB",
            Unit::Seconds => "s",
            Unit::Milliseconds => "ms",
            Unit::Microseconds => "us",
        })
    }
}

impl Unit {
    /// Bytes or nanoseconds that one of this unit is; None for what is only counted.
    pub(super) fn base(self) -> Option<u64> {
        match self {
            Unit::Count => None,
            Unit::Bytes => Some(1),
            Unit::Mebibytes => Some(1 << 20),
            Unit::Seconds => Some(1_000_000_000),
            Unit::Milliseconds => Some(1_000_000),
            Unit::Microseconds => Some(1_000),
        }
    }

    pub(super) fn is_size(self) -> bool {
        matches!(self, Unit::Bytes | Unit::Mebibytes)
    }
}

/// What values a parameter may have.
///
/// # Examples
/// ```
/// use larder::params::Family;
/// let family = Family::Redis2_8;
/// assert_eq!(family.parameter("appendfsync")?.allowed.to_string(), "no, everysec, always");
/// assert_eq!(family.parameter("repl-backlog-size")?.allowed.to_string(), "16384 or more");
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Allowed {
    /// 0 or 1.
    Flag,
    /// Whole numbers, both ends included.
    Integers {
        /// The least.
        from: i64,
        /// The greatest.
        to: i64,
    },
    /// Numbers greater than this one.
    Above(f64),
    /// One of these words.
    Choices(&'static [&'static str]),
    /// Any of these letters, or none.
    Letters(&'static str),
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Allowed::Flag => f.write_str("0, 1"),
            Allowed::Integers { from, to: i64::MAX } => write!(f, "{from} or more"),
            Allowed::Integers { from, to } => write!(f, "{from} to {to}"),
            Allowed::Above(bound) => write!(f, "above {bound}"),
            Allowed::Choices(words) => f.write_str(&words.join(", ")),
            Allowed::Letters(letters) => write!(f, "any of the letters {letters}"),
        }
    }
}
