//! Whose parameters they are: the engine, its family of versions, and the version.

use std::fmt;
use std::str::FromStr;

use super::nearest::{hint, shown};
use super::table::{MEMCACHED, Parameter, REDIS};
use crate::error::{Error, ErrorKind, Result};

/// The system whose parameters a cache follows.
///
/// # Examples
/// ```
/// use larder::params::{Family, System};
/// assert_eq!(Family::Redis2_6.system(), System::Redis);
/// assert_eq!(System::Memcached.name(), "memcached");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum System {
    /// memcached.
    Memcached,
    /// Redis.
    Redis,
}

impl System {
    /// Its name, in small letters.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::params::System::Redis.name(), "redis");
    /// ```
    pub const fn name(self) -> &'static str {
        match self {
            System::Memcached => "memcached",
            System::Redis => "redis",
        }
    }

    /// Every parameter that any version of it has.
    ///
    /// # Examples
    /// ```
    /// use larder::params::System;
    /// assert!(System::Redis.parameters().iter().any(|parameter| parameter.name == "maxmemory-policy"));
    /// ```
    pub fn parameters(self) -> &'static [Parameter] {
        match self {
            System::Memcached => &MEMCACHED,
            System::Redis => &REDIS,
        }
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Versions of a system that share their parameters: what a [group](super::ParameterGroups) is for.
///
/// # Examples
/// ```
/// use larder::params::Family;
/// let family: Family = "redis2.8".parse()?;
/// assert_eq!(family.parameter("timeout")?.name, "timeout");
/// let error = family.parameter("tiemout").unwrap_err();
/// assert!(error.to_string().contains("did you mean timeout?"));
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Family {
    /// `memcached1.4`
    Memcached1_4,
    /// `redis2.6`
    Redis2_6,
    /// `redis2.8`
    Redis2_8,
}

impl Family {
    /// Every family.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::params::Family::ALL.map(|f| f.name()), ["memcached1.4", "redis2.6", "redis2.8"]);
    /// ```
    pub const ALL: [Family; 3] = [Family::Memcached1_4, Family::Redis2_6, Family::Redis2_8];

    /// The name that [`FromStr`] reads.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::params::Family::Redis2_6.name(), "redis2.6");
    /// ```
    pub const fn name(self) -> &'static str {
        match self {
            Family::Memcached1_4 => "memcached1.4",
            Family::Redis2_6 => "redis2.6",
            Family::Redis2_8 => "redis2.8",
        }
    }

    /// Whose family it is.
    ///
    /// # Examples
    /// ```
    /// use larder::params::{Family, System};
    /// assert_eq!(Family::Memcached1_4.system(), System::Memcached);
    /// ```
    pub const fn system(self) -> System {
        match self {
            Family::Memcached1_4 => System::Memcached,
            Family::Redis2_6 | Family::Redis2_8 => System::Redis,
        }
    }

    /// Its versions, oldest first.
    ///
    /// # Examples
    /// ```
    /// use larder::params::{EngineVersion, Family};
    /// assert!(Family::Memcached1_4.versions().eq([EngineVersion::V1_4_5, EngineVersion::V1_4_14]));
    /// ```
    pub fn versions(self) -> impl Iterator<Item = EngineVersion> {
        EngineVersion::ALL.into_iter().filter(move |version| version.family() == self)
    }

    /// Its newest version.
    ///
    /// # Examples
    /// ```
    /// use larder::params::{EngineVersion, Family};
    /// assert_eq!(Family::Memcached1_4.latest(), EngineVersion::V1_4_14);
    /// ```
    pub const fn latest(self) -> EngineVersion {
        match self {
            Family::Memcached1_4 => EngineVersion::V1_4_14,
            Family::Redis2_6 => EngineVersion::V2_6_13,
            Family::Redis2_8 => EngineVersion::V2_8_21,
        }
    }

    /// The parameters that it has.
    ///
    /// # Examples
    /// ```
    /// use larder::params::Family;
    /// assert!(Family::Redis2_6.parameters().count() < Family::Redis2_8.parameters().count());
    /// ```
    pub fn parameters(self) -> impl Iterator<Item = &'static Parameter> {
        self.system().parameters().iter().filter(move |parameter| self.latest().has(parameter))
    }

    /// The parameter of this name, in capitals or not.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the family has none of this name; the message says which one is nearest, or where
    /// the name does exist.
    ///
    /// # Examples
    /// ```
    /// use larder::params::Family;
    /// assert_eq!(Family::Redis2_8.parameter("MaxMemory-Policy")?.name, "maxmemory-policy");
    /// let error = Family::Redis2_6.parameter("repl-timeout").unwrap_err();
    /// assert!(error.to_string().contains("since redis 2.8.6"));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn parameter(self, name: &str) -> Result<&'static Parameter> {
        if let Some(parameter) = self.parameters().find(|parameter| parameter.name.eq_ignore_ascii_case(name)) {
            return Ok(parameter);
        }
        let all = MEMCACHED.iter().chain(&REDIS);
        let why = match all.into_iter().find(|parameter| parameter.name.eq_ignore_ascii_case(name)) {
            Some(elsewhere) => format!(": it is there since {} {}", elsewhere.system(), elsewhere.since),
            None if name.to_ascii_lowercase().starts_with("auto-aof-rewrite-") => {
                ": when a log is rewritten, `log_rewrite` of the builder says (settings `log_rewrite_percentage`, \
                 `log_rewrite_min_size`)"
                    .to_owned()
            }
            None => hint(name, self.parameters().map(|parameter| parameter.name)),
        };
        Err(Error::new(ErrorKind::NotFound, format!("{self} has no parameter {:?}{why}", shown(name))))
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Family {
    type Err = Error;

    /// Reads a family's name, in capitals or not.
    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|family| family.name().eq_ignore_ascii_case(text)).ok_or_else(|| {
            let (near, names) = (hint(text, Self::ALL.map(Self::name)), Self::ALL.map(Self::name).join(", "));
            Error::new(ErrorKind::NotFound, format!("there is no family {:?}{near} (there are {names})", shown(text)))
        })
    }
}

/// The version of a system that a cache stands for: it decides which parameters there are.
///
/// # Examples
/// ```
/// use larder::params::{EngineVersion, Family};
/// let version: EngineVersion = "1.4.14".parse()?;
/// assert_eq!(version.family(), Family::Memcached1_4);
/// assert!(version.has(Family::Memcached1_4.parameter("slab_automove")?));
/// assert!(!EngineVersion::V1_4_5.has(Family::Memcached1_4.parameter("slab_automove")?));
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum EngineVersion {
    /// memcached 1.4.5
    V1_4_5,
    /// memcached 1.4.14
    V1_4_14,
    /// Redis 2.6.13
    V2_6_13,
    /// Redis 2.8.6
    V2_8_6,
    /// Redis 2.8.19
    V2_8_19,
    /// Redis 2.8.21
    V2_8_21,
}

impl EngineVersion {
    /// Every version, oldest first, memcached's before Redis's.
    ///
    /// # Examples
    /// ```
    /// use larder::params::EngineVersion;
    /// assert!(EngineVersion::ALL.is_sorted());
    /// ```
    pub const ALL: [EngineVersion; 6] = [
        EngineVersion::V1_4_5,
        EngineVersion::V1_4_14,
        EngineVersion::V2_6_13,
        EngineVersion::V2_8_6,
        EngineVersion::V2_8_19,
        EngineVersion::V2_8_21,
    ];

    /// The number that [`FromStr`] reads.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::params::EngineVersion::V2_8_19.name(), "2.8.19");
    /// ```
    pub const fn name(self) -> &'static str {
        match self {
            EngineVersion::V1_4_5 => "1.4.5",
            EngineVersion::V1_4_14 => "1.4.14",
            EngineVersion::V2_6_13 => "2.6.13",
            EngineVersion::V2_8_6 => "2.8.6",
            EngineVersion::V2_8_19 => "2.8.19",
            EngineVersion::V2_8_21 => "2.8.21",
        }
    }

    /// Which family it belongs to.
    ///
    /// # Examples
    /// ```
    /// use larder::params::{EngineVersion, Family};
    /// assert_eq!(EngineVersion::V2_8_6.family(), Family::Redis2_8);
    /// ```
    pub const fn family(self) -> Family {
        match self {
            EngineVersion::V1_4_5 | EngineVersion::V1_4_14 => Family::Memcached1_4,
            EngineVersion::V2_6_13 => Family::Redis2_6,
            EngineVersion::V2_8_6 | EngineVersion::V2_8_19 | EngineVersion::V2_8_21 => Family::Redis2_8,
        }
    }

    /// Whether this version has a parameter.
    ///
    /// # Examples
    /// ```
    /// use larder::params::{EngineVersion, Family};
    /// assert!(!EngineVersion::V2_6_13.has(Family::Redis2_8.parameter("repl-timeout")?));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn has(self, parameter: &Parameter) -> bool {
        self.family().system() == parameter.system() && self >= parameter.since
    }
}

impl fmt::Display for EngineVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for EngineVersion {
    type Err = Error;

    /// Reads a version's number.
    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|version| version.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::new(ErrorKind::NotFound, format!("there is no version {:?}: there are {names}", shown(text)))
        })
    }
}
