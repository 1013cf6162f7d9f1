//! The values that a cache is to have: a version's parameters, what a node type gives, and what was set on top.
//!
//! 1. Every value set is of its parameter's type and allowed; every name is one of the version's.

use std::collections::BTreeMap;
use std::time::Duration;

use super::effects::{self, Effect};
use super::family::{EngineVersion, Family};
use super::node::{NodeType, SMALLEST};
use super::table::Parameter;
use super::value::Value;
use crate::api::{Cache, CacheBuilder};
use crate::error::{Error, ErrorKind, Result};

/// Values for one cache: of all parameters of a version, by name.
///
/// A front-end reads its own parameters from here, by type. [`builder`](Self::builder) hands the engine's to a cache.
///
/// # Examples
/// ```
/// use larder::params::{Family, NodeType, ParameterValues};
/// use std::time::Duration;
///
/// let mut values = ParameterValues::new(Family::Redis2_8).node(NodeType::find("cache.t1.micro")?)?;
/// values.set("timeout", "5min")?;
/// values.set("maxmemory-policy", "allkeys-lru")?;
/// assert_eq!(values.duration("timeout")?, Duration::from_secs(300));
/// assert_eq!(values.bytes("maxmemory")?, 142_606_336);
/// let cache = values.builder().name("sessions").build()?;
/// assert_eq!(cache.policy().name(), "allkeys-lru");
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterValues {
    version: EngineVersion,
    node: Option<&'static NodeType>,
    set: BTreeMap<&'static str, Value>,
    /// Whether it is a default group's, which has values of its own for one node type.
    is_default: bool,
}

impl ParameterValues {
    /// A family's defaults, of its newest version, without a node type.
    ///
    /// # Examples
    /// ```
    /// use larder::params::{Family, ParameterValues};
    /// assert_eq!(ParameterValues::new(Family::Redis2_8).integer("databases")?, 16);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn new(family: Family) -> ParameterValues {
        ParameterValues { version: family.latest(), node: None, set: BTreeMap::new(), is_default: false }
    }

    pub(super) fn of_default_group(family: Family) -> ParameterValues {
        ParameterValues { is_default: true, ..Self::new(family) }
    }

    /// Values that were checked when they were set; those that the version does not have are left out.
    pub(super) fn of_group(
        version: EngineVersion,
        node: Option<&'static NodeType>,
        set: &BTreeMap<&'static str, Value>,
        is_default: bool,
    ) -> Result<ParameterValues> {
        let mut values = ParameterValues { version, node: None, set: BTreeMap::new(), is_default };
        let family = version.family();
        let known = |name: &str| family.parameters().any(|p| p.name == name && version.has(p));
        values.set.extend(set.iter().filter(|(name, _)| known(name)).map(|(&name, value)| (name, value.clone())));
        match node {
            Some(node) => values.node(node),
            None => Ok(values),
        }
    }

    /// The same for another version of the same system.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] for a version of the other system, or one that lacks a parameter which was set.
    ///
    /// # Examples
    /// ```
    /// use larder::params::{EngineVersion, Family, ParameterValues};
    /// let values = ParameterValues::new(Family::Memcached1_4).version(EngineVersion::V1_4_5)?;
    /// assert!(values.integer("slab_automove").unwrap_err().to_string().contains("since memcached 1.4.14"));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn version(mut self, version: EngineVersion) -> Result<ParameterValues> {
        let (old, new) = (self.version.family().system(), version.family().system());
        if old != new {
            return Err(Error::new(ErrorKind::InvalidConfig, format!("{version} is {new}'s; the values are {old}'s")));
        }
        let missing = |name: &&&str| !new.parameters().iter().any(|p| p.name == **name && version.has(p));
        if let Some(name) = self.set.keys().find(|name| missing(name)) {
            let what = format!("{name} is set, which {new} {version} does not have");
            return Err(Error::new(ErrorKind::InvalidConfig, what));
        }
        self.version = version;
        Ok(self)
    }

    /// The same on a node type, which says how much memory and how many threads there are.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the node type is none of this system's.
    ///
    /// # Examples
    /// ```
    /// use larder::params::{Family, NodeType, ParameterValues};
    /// let values = ParameterValues::new(Family::Memcached1_4).node(NodeType::find("cache.m1.xlarge")?)?;
    /// assert_eq!(values.integer("num_threads")?, 4);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn node(mut self, node: &'static NodeType) -> Result<ParameterValues> {
        let system = self.version.family().system();
        if !node.runs(system) {
            return Err(Error::new(ErrorKind::NotFound, format!("{system} has no nodes of type {}", node.name)));
        }
        self.node = Some(node);
        Ok(self)
    }

    /// Sets a parameter, for a cache that is yet to be built; fixed ones as well.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for a name that this version does not have, [`ErrorKind::InvalidConfig`] for a value
    /// that is not allowed.
    ///
    /// # Examples
    /// ```
    /// use larder::params::{Family, ParameterValues};
    /// let mut values = ParameterValues::new(Family::Memcached1_4);
    /// values.set("max_cache_memory", 64)?;
    /// assert_eq!(values.bytes("max_cache_memory")?, 64 << 20);
    /// assert!(values.set("chunk_size", 7).is_err());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn set(&mut self, name: &str, value: impl Into<Value>) -> Result<()> {
        let parameter = self.parameter(name)?;
        self.set.insert(parameter.name, parameter.check(value)?);
        Ok(())
    }

    /// The same for what a cache has, allowed or not.
    pub(super) fn put(&mut self, parameter: &'static Parameter, value: Value) {
        self.set.insert(parameter.name, value);
    }

    /// Whose version it is.
    ///
    /// # Examples
    /// ```
    /// use larder::params::{EngineVersion, Family, ParameterValues};
    /// assert_eq!(ParameterValues::new(Family::Redis2_6).engine_version(), EngineVersion::V2_6_13);
    /// ```
    pub fn engine_version(&self) -> EngineVersion {
        self.version
    }

    /// A parameter that this version has.
    fn parameter(&self, name: &str) -> Result<&'static Parameter> {
        let parameter = self.version.family().parameter(name)?;
        if self.version.has(parameter) {
            return Ok(parameter);
        }
        let (system, since) = (parameter.system(), parameter.since);
        let what = format!("{system} {} has no {}: it is there since {system} {since}", self.version, parameter.name);
        Err(Error::new(ErrorKind::NotFound, what))
    }

    /// The value of a parameter; None if it depends on the node type, and there is none.
    pub(super) fn value(&self, parameter: &Parameter) -> Option<Value> {
        if let Some(value) = self.set.get(parameter.name) {
            return Some(value.clone());
        }
        match (parameter.name, self.node) {
            ("maxmemory", Some(node)) => node.redis_maxmemory.map(|bytes| Value::Integer(bytes as i64)),
            ("max_cache_memory", Some(node)) => node.memcached_max_cache_memory.map(Value::from),
            ("num_threads", Some(node)) => node.memcached_num_threads.map(Value::from),
            ("memcached_connections_overhead", Some(node)) if self.is_default && node.name == SMALLEST.0 => {
                Some(Value::Integer(SMALLEST.1))
            }
            _ => parameter.default_value(),
        }
    }

    /// Why a value does not count here, if it does not.
    pub(super) fn ignored(&self, parameter: &Parameter) -> Option<String> {
        let node = self.node.filter(|node| !node.append_only_file)?;
        let asked = parameter.name == "appendonly" && self.value(parameter)?.as_flag()?;
        asked.then(|| format!("node type {} has no append-only file", node.name))
    }

    /// The value of a parameter as it counts.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for a name that this version does not have, and for a parameter that depends on the node
    /// type, if there is none.
    ///
    /// # Examples
    /// ```
    /// use larder::params::{Family, ParameterValues, Value};
    /// assert_eq!(ParameterValues::new(Family::Redis2_8).get("appendfsync")?, Value::from("everysec"));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn get(&self, name: &str) -> Result<Value> {
        let parameter = self.parameter(name)?;
        if self.ignored(parameter).is_some() {
            return parameter.check("no");
        }
        self.value(parameter).ok_or_else(|| {
            let what = format!("{} depends on the node type: choose one, or set the parameter", parameter.name);
            Error::new(ErrorKind::NotFound, what)
        })
    }

    /// The value of a parameter that is a whole number.
    ///
    /// # Errors
    /// As [`get`](Self::get); [`ErrorKind::InvalidConfig`] if the parameter is of another type.
    ///
    /// # Examples
    /// ```
    /// use larder::params::{Family, ParameterValues};
    /// assert_eq!(ParameterValues::new(Family::Redis2_8).integer("slowlog-max-len")?, 128);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn integer(&self, name: &str) -> Result<i64> {
        let value = self.get(name)?;
        value.as_integer().ok_or_else(|| Self::mistyped(name, &value, "a whole number"))
    }

    /// The value of a parameter that is a number.
    ///
    /// # Errors
    /// As [`integer`](Self::integer).
    ///
    /// # Examples
    /// ```
    /// use larder::params::{Family, ParameterValues};
    /// assert_eq!(ParameterValues::new(Family::Memcached1_4).float("chunk_size_growth_factor")?, 1.25);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn float(&self, name: &str) -> Result<f64> {
        let value = self.get(name)?;
        value.as_float().ok_or_else(|| Self::mistyped(name, &value, "a number"))
    }

    /// Whether a parameter is on: 1, or `yes`.
    ///
    /// # Errors
    /// As [`integer`](Self::integer).
    ///
    /// # Examples
    /// ```
    /// use larder::params::{Family, ParameterValues};
    /// assert!(!ParameterValues::new(Family::Redis2_8).flag("appendonly")?);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn flag(&self, name: &str) -> Result<bool> {
        let value = self.get(name)?;
        value.as_flag().ok_or_else(|| Self::mistyped(name, &value, "on or off"))
    }

    /// The value of a parameter that is text.
    ///
    /// # Errors
    /// As [`integer`](Self::integer).
    ///
    /// # Examples
    /// ```
    /// use larder::params::{Family, ParameterValues};
    /// assert_eq!(ParameterValues::new(Family::Redis2_8).text("notify-keyspace-events")?, "");
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn text(&self, name: &str) -> Result<String> {
        let value = self.get(name)?;
        value.as_str().map(str::to_owned).ok_or_else(|| Self::mistyped(name, &value, "text"))
    }

    /// The value of a parameter that is a size, in bytes whatever its own unit is.
    ///
    /// # Errors
    /// As [`integer`](Self::integer).
    ///
    /// # Examples
    /// ```
    /// use larder::params::{Family, ParameterValues};
    /// let values = ParameterValues::new(Family::Memcached1_4);
    /// assert_eq!(values.bytes("memcached_connections_overhead")?, 100 << 20);
    /// assert!(values.bytes("num_threads").is_err());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn bytes(&self, name: &str) -> Result<u64> {
        let (parameter, value) = (self.parameter(name)?, self.get(name)?);
        let bytes = value.as_integer().and_then(|number| parameter.bytes_of(number));
        bytes.ok_or_else(|| Self::mistyped(name, &value, "a size"))
    }

    /// The value of a parameter that is a duration.
    ///
    /// # Errors
    /// As [`integer`](Self::integer); a negative number, which switches some things off, is no duration.
    ///
    /// # Examples
    /// ```
    /// use larder::params::{Family, ParameterValues};
    /// use std::time::Duration;
    /// let values = ParameterValues::new(Family::Redis2_8);
    /// assert_eq!(values.duration("slowlog-log-slower-than")?, Duration::from_millis(10));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn duration(&self, name: &str) -> Result<Duration> {
        let (parameter, value) = (self.parameter(name)?, self.get(name)?);
        let duration = value.as_integer().and_then(|number| parameter.duration_of(number));
        duration.ok_or_else(|| Self::mistyped(name, &value, "a duration"))
    }

    fn mistyped(name: &str, value: &Value, wanted: &str) -> Error {
        Error::new(ErrorKind::InvalidConfig, format!("{name} is {:?}, which is not {wanted}", value.to_string()))
    }

    /// A builder with everything that these values say of the engine. The rest is as in [`Cache::builder`].
    ///
    /// (What contradicts each other, such as less memory than is reserved, is refused when a cache is built.)
    ///
    /// # Examples
    /// ```
    /// use larder::params::{Family, ParameterValues};
    /// let mut values = ParameterValues::new(Family::Memcached1_4);
    /// values.set("error_on_memory_exhausted", 1)?;
    /// assert_eq!(values.builder().build()?.policy().name(), "noeviction");
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn builder(&self) -> CacheBuilder {
        let mut builder = Cache::builder();
        for effect in effects::ALL.iter() {
            if let Some(value) = self.wanted(effect) {
                builder = (effect.build)(builder, &value);
            }
        }
        builder
    }

    /// The value that the engine is to have by an effect; None if this version does not have the parameter, or nothing
    /// says what the value is.
    pub(super) fn wanted(&self, effect: &Effect) -> Option<Value> {
        let parameter = self.parameter(effect.name).ok()?;
        if parameter.name == "memcached_connections_overhead" && !self.set.contains_key(parameter.name) {
            // It is what a node's memory has to spare for others. Whoever gives a cache its memory otherwise has not
            // counted them in.
            self.get("max_cache_memory").ok()?;
        }
        self.get(parameter.name).ok()
    }
}
