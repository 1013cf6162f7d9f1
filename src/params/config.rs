//! A cache's settings as plain data: what a configuration file says, or a program's own settings contain.

use std::collections::BTreeMap;
use std::time::Duration;

use super::family::{EngineVersion, Family};
use super::fields::{self, Setting};
use super::nearest::{fold, hint, nearest, shown};
use super::node::NodeType;
use super::settings::ParameterValues;
use super::value::Value;
use crate::api::{Cache, CacheBuilder, Maintenance};
use crate::error::{Error, ErrorKind, Result};
use crate::policy::{EvictionPolicy, Objective};
use crate::shard::Automove;

/// Everything that [`CacheBuilder`] can be told and that is plain data: not the clock, listeners, the event log, logs
/// that a program brings, catalogs of snapshots, and whether the cache is a follower. What is None is as the builder,
/// or the family below, has it.
///
/// With the feature `serde` it is read from any format, and written. Sizes may be numbers of bytes or text such as
/// `"64MiB"`, durations numbers of seconds or text such as `"30s"`. A name that is not known is an error that says
/// which one is nearest. Without the feature, [`from_pairs`](Self::from_pairs) reads names and texts.
///
/// With a [`family`](Self::family), a cache is built from that family's parameters, on a node type if there is one,
/// with [`parameters`](Self::parameters) set on top. Any other field that is set here counts for more than those.
///
/// # Examples
/// ```
/// use larder::{EvictionPolicy, params::CacheConfig};
///
/// let mut config = CacheConfig::default();
/// config.max_memory = Some(8 << 20);
/// config.policy = Some(EvictionPolicy::Sieve);
/// let cache = config.builder()?.build()?;
/// assert_eq!((cache.memory().limit, cache.policy()), (8 << 20, EvictionPolicy::Sieve));
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct CacheConfig {
    /// [`CacheBuilder::name`]
    pub name: Option<String>,
    /// [`CacheBuilder::max_memory`], in bytes.
    pub max_memory: Option<u64>,
    /// [`CacheBuilder::reserved_memory`], in bytes.
    pub reserved_memory: Option<u64>,
    /// [`CacheBuilder::policy`]
    pub policy: Option<EvictionPolicy>,
    /// [`CacheBuilder::objective`]: `hits` or `bytes`.
    pub objective: Option<Objective>,
    /// [`CacheBuilder::samples`]
    pub samples: Option<u32>,
    /// [`CacheBuilder::time_to_live`]
    pub time_to_live: Option<Duration>,
    /// [`CacheBuilder::time_to_idle`]
    pub time_to_idle: Option<Duration>,
    /// [`CacheBuilder::max_item_size`], in bytes.
    pub max_item_size: Option<usize>,
    /// [`CacheBuilder::chunk_size`], in bytes.
    pub chunk_size: Option<usize>,
    /// [`CacheBuilder::chunk_size_growth_factor`]
    pub chunk_size_growth_factor: Option<f64>,
    /// [`CacheBuilder::page_size`], in bytes.
    pub page_size: Option<usize>,
    /// [`CacheBuilder::shards`]
    pub shards: Option<usize>,
    /// [`CacheBuilder::threads`]
    pub threads: Option<usize>,
    /// [`CacheBuilder::address_space`], in bytes.
    pub address_space: Option<usize>,
    /// [`CacheBuilder::miss_ratio_curve`], in bytes.
    pub miss_ratio_curve: Option<u64>,
    /// [`CacheBuilder::initial_items`]
    pub initial_items: Option<u64>,
    /// [`CacheBuilder::background_resizing`]
    pub background_resizing: Option<bool>,
    /// [`CacheBuilder::huge_pages`]
    pub huge_pages: Option<bool>,
    /// [`CacheBuilder::lock_memory`]
    pub lock_memory: Option<bool>,
    /// [`CacheBuilder::automove`]: `off`, `slow` or `always`.
    pub automove: Option<Automove>,
    /// [`CacheBuilder::slab_reassign`]
    pub slab_reassign: Option<bool>,
    /// [`CacheBuilder::tokens`]
    pub tokens: Option<bool>,
    /// [`CacheBuilder::check_and_set`]
    pub check_and_set: Option<bool>,
    /// [`CacheBuilder::namespaces`]
    pub namespaces: Option<u16>,
    /// [`CacheBuilder::seed`]
    pub seed: Option<u64>,
    /// [`CacheBuilder::maintenance`]: `thread` or `manual`.
    pub maintenance: Option<Maintenance>,
    /// [`CacheBuilder::expiry_cpu_share`]
    pub expiry_cpu_share: Option<f64>,
    /// [`CacheBuilder::expiry_lag`]
    pub expiry_lag: Option<Duration>,
    /// [`CacheBuilder::log_folder`]: where the append-only file goes that the parameter `appendonly` asks for.
    pub log_folder: Option<String>,
    /// [`CacheBuilder::log_rewrite`], the percentage. Default: 100.
    pub log_rewrite_percentage: Option<u64>,
    /// [`CacheBuilder::log_rewrite`], the least size, in bytes. Default: 64 MiB.
    pub log_rewrite_min_size: Option<u64>,
    /// Whose [`parameters`](Self::parameters) there are.
    pub family: Option<Family>,
    /// The version that the cache stands for. Default: the family's newest.
    pub version: Option<EngineVersion>,
    /// The node type that it stands for.
    pub node_type: Option<&'static NodeType>,
    /// Parameters of the family, by name.
    pub parameters: BTreeMap<String, Value>,
}

/// The names of all parameters of all families.
fn parameter_names() -> impl Iterator<Item = &'static str> {
    Family::ALL.into_iter().flat_map(Family::parameters).map(|parameter| parameter.name)
}

impl CacheConfig {
    /// Reads names and values as text, as command lines and environments have them. A name that is none of a setting's
    /// is taken for a parameter of the family.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for an unknown name, with the nearest; [`ErrorKind::InvalidConfig`] for a value that
    /// cannot be read, or a name given twice.
    ///
    /// # Examples
    /// ```
    /// use larder::params::CacheConfig;
    /// let config = CacheConfig::from_pairs([("max_memory", "64MiB"), ("time_to_live", "30s")])?;
    /// assert_eq!(config.max_memory, Some(64 << 20));
    /// let error = CacheConfig::from_pairs([("max_memroy", "64MiB")]).unwrap_err();
    /// assert!(error.to_string().contains("did you mean max_memory?"));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn from_pairs<N: AsRef<str>, T: AsRef<str>>(pairs: impl IntoIterator<Item = (N, T)>) -> Result<CacheConfig> {
        let mut config = CacheConfig::default();
        let mut seen = Vec::new();
        for (name, text) in pairs {
            let (name, text) = (name.as_ref(), text.as_ref());
            match fields::find(name) {
                Some(field) => {
                    if seen.contains(&field.name) {
                        return Err(Self::given_twice(field.name));
                    }
                    seen.push(field.name);
                    config.put(field.name, Setting::Text(text.to_owned()))?;
                }
                None => {
                    if config.parameters.insert(name.to_owned(), Value::from(text)).is_some() {
                        return Err(Self::given_twice(name));
                    }
                }
            }
        }
        config.check()?;
        Ok(config)
    }

    /// Names and values as text, of what is set: what [`from_pairs`](Self::from_pairs) reads.
    ///
    /// # Examples
    /// ```
    /// use larder::params::CacheConfig;
    /// let config = CacheConfig::from_pairs([("time_to_live", "90s"), ("max_memory", "65536KiB")])?;
    /// let pairs = config.to_pairs();
    /// assert_eq!(pairs, [("max_memory".to_owned(), "64MiB".to_owned()), ("time_to_live".into(), "90s".into())]);
    /// assert_eq!(CacheConfig::from_pairs(pairs)?, config);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn to_pairs(&self) -> Vec<(String, String)> {
        let mut pairs = Vec::new();
        for (name, setting) in fields::ALL.iter().filter_map(|field| Some((field.name, (field.get)(self)?))) {
            match setting {
                Setting::Nothing => {}
                Setting::Flag(flag) => pairs.push((name.to_owned(), flag.to_string())),
                Setting::Integer(number) => pairs.push((name.to_owned(), number.to_string())),
                Setting::Float(number) => pairs.push((name.to_owned(), number.to_string())),
                Setting::Text(text) => pairs.push((name.to_owned(), text)),
                Setting::Table(table) => {
                    pairs.extend(table.into_iter().map(|(name, value)| (name, value.to_string())));
                }
            }
        }
        pairs
    }

    /// Sets one field.
    pub(super) fn put(&mut self, name: &str, setting: Setting) -> Result<()> {
        let Some(field) = fields::find(name) else { return Err(Self::unknown(name)) };
        (field.set)(self, setting)
            .map_err(|what| Error::new(ErrorKind::InvalidConfig, format!("{}: {what}", field.name)))
    }

    pub(super) fn given_twice(name: &str) -> Error {
        Error::new(ErrorKind::InvalidConfig, format!("{} is given twice", shown(name)))
    }

    pub(super) fn unknown(name: &str) -> Error {
        let near = hint(name, fields::names());
        let what = match nearest(name, parameter_names()) {
            Some(parameter) if fold(parameter) == fold(name) => {
                format!(
                    "{parameter} is a parameter: it goes into the table `parameters`, and `family` says whose{near}"
                )
            }
            Some(parameter) if near.is_empty() => format!(
                "there is no setting {:?}; did you mean the parameter {parameter}? It goes into the table `parameters`",
                shown(name)
            ),
            _ => format!("there is no setting {:?}{near}", shown(name)),
        };
        Error::new(ErrorKind::NotFound, what)
    }

    /// Checks what is set so far, if the family is known by now.
    #[cfg(feature = "serde")]
    pub(super) fn check_if_known(&self) -> Result<()> {
        if self.family.is_some() || self.version.is_some() { self.check() } else { Ok(()) }
    }

    /// Checks the name of a parameter that is about to be set, as far as it is known whose it is.
    #[cfg(feature = "serde")]
    pub(super) fn check_parameter_name(&self, name: &str) -> Result<()> {
        let family = self.family.or(self.version.map(EngineVersion::family));
        let named = match family {
            Some(family) => Some(family.parameter(name)?.name),
            None => None,
        };
        let same = |other: &String| other == name || named.is_some_and(|named| named.eq_ignore_ascii_case(other));
        if self.parameters.keys().any(same) { Err(Self::given_twice(name)) } else { Ok(()) }
    }

    /// A builder with all of this. (Give it a clock, if it needs one.)
    ///
    /// # Errors
    /// As [`check`](Self::check).
    ///
    /// # Examples
    /// ```
    /// use larder::params::{CacheConfig, Family, NodeType};
    /// let mut config = CacheConfig::default();
    /// config.family = Some(Family::Redis2_8);
    /// config.node_type = Some(NodeType::find("cache.m1.small")?);
    /// config.parameters.insert("maxmemory-policy".into(), "allkeys-lru".into());
    /// config.max_memory = Some(4 << 20);                       // more than the node type says of it counts
    /// let cache = config.builder()?.build()?;
    /// assert_eq!((cache.policy().name(), cache.memory().limit), ("allkeys-lru", 4 << 20));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn builder(&self) -> Result<CacheBuilder> {
        let mut builder = match self.parameter_values()? {
            Some(values) => values.builder(),
            None => Cache::builder(),
        };
        for field in fields::ALL {
            builder = (field.build)(builder, self);
        }
        Ok(builder)
    }

    /// The values of the family's parameters; None without a family.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    ///
    /// # Examples
    /// ```
    /// use larder::params::CacheConfig;
    /// let config = CacheConfig::from_pairs([("family", "redis2.8"), ("timeout", "5min")])?;
    /// let values = config.parameter_values()?.expect("a family was given");
    /// assert_eq!(values.integer("timeout")?, 300);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn parameter_values(&self) -> Result<Option<ParameterValues>> {
        let family = match (self.family, self.version) {
            (None, None) => return self.check_without_family(),
            (Some(family), Some(version)) if version.family() != family => {
                let what = format!("version {version} is of family {}, not {family}", version.family());
                return Err(Error::new(ErrorKind::InvalidConfig, what));
            }
            (Some(family), _) => family,
            (None, Some(version)) => version.family(),
        };
        let mut values = ParameterValues::new(family).version(self.version.unwrap_or(family.latest()))?;
        if let Some(node) = self.node_type {
            values = values.node(node)?;
        }
        let mut seen = Vec::new();
        for (name, value) in &self.parameters {
            values.set(name, value)?;
            // In capitals and not, say.
            let name = family.parameter(name)?.name;
            if seen.contains(&name) {
                return Err(Self::given_twice(name));
            }
            seen.push(name);
        }
        Ok(Some(values))
    }

    fn check_without_family(&self) -> Result<Option<ParameterValues>> {
        let families = Family::ALL.map(Family::name).join(", ");
        if let Some(name) = self.parameters.keys().next() {
            let known = Family::ALL.iter().any(|family| family.parameter(name).is_ok());
            if !known && fields::find(name).is_none() {
                let near = hint(name, fields::names().chain(parameter_names()));
                return Err(Error::new(ErrorKind::NotFound, format!("there is no setting {:?}{near}", shown(name))));
            }
            let what = format!("{name} is a parameter: say of which family ({families})");
            return Err(Error::new(ErrorKind::InvalidConfig, what));
        }
        if let Some(node) = self.node_type {
            let what = format!("node_type is {}: say of which family ({families})", node.name);
            return Err(Error::new(ErrorKind::InvalidConfig, what));
        }
        Ok(None)
    }

    /// Checks names and values of the parameters. (Values of the other fields are checked when a cache is built.)
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for a parameter that the version does not have, [`ErrorKind::InvalidConfig`] for a value
    /// that is not allowed, and for parameters or a node type without a family.
    ///
    /// # Examples
    /// ```
    /// use larder::params::{CacheConfig, Family};
    /// let mut config = CacheConfig::default();
    /// config.family = Some(Family::Memcached1_4);
    /// config.parameters.insert("chunk_siz".into(), 64.into());
    /// assert!(config.check().unwrap_err().to_string().contains("did you mean chunk_size?"));
    /// ```
    pub fn check(&self) -> Result<()> {
        self.parameter_values().map(|_| ())
    }
}
