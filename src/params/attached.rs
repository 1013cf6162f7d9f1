//! Caches that use a group: what of the group's values took effect, what waits for a restart, and what cannot be.
//!
//! 1. An attachment does not keep its cache alive.
//! 2. What the engine has is asked of the cache, never remembered: whoever changes a cache by its own methods is seen.
//!    What a front-end has is remembered here: the values at the time of attachment, and what took effect since.

use std::collections::BTreeMap;
use std::fmt;

use super::effects::{self, Effect};
use super::family::{EngineVersion, Family};
use super::node::NodeType;
use super::settings::ParameterValues;
use super::table::{Applies, Drives, Parameter};
use super::value::Value;
use crate::api::{Cache, WeakCache};

/// What became of a group's value in one cache.
///
/// # Examples
/// ```
/// use larder::params::{EngineVersion, Outcome, ParameterGroups};
/// let groups = ParameterGroups::new();
/// let cache = larder::Cache::new(4 << 20)?;
/// let status = groups.attach(&cache, "default.redis2.8", EngineVersion::V2_8_21, None)?;
/// assert_eq!(status.of("maxmemory-samples").map(|p| &p.outcome), Some(&Outcome::Applied));
/// assert_eq!(status.of("databases").map(|p| &p.outcome), Some(&Outcome::Pending));
/// assert_eq!(status.of("timeout").map(|p| &p.outcome), Some(&Outcome::FrontEnd));
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The cache has it.
    Applied,
    /// It takes effect when the cache is built anew from its group.
    Pending,
    /// It cannot take effect, and why.
    Refused(String),
    /// It does not count, and why.
    Ignored(String),
    /// It is not the engine's: a front-end reads it by [`ParameterGroups::in_force`](super::ParameterGroups::in_force).
    FrontEnd,
    /// This cache's version does not have the parameter.
    NotInVersion,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Applied => f.write_str("applied"),
            Outcome::Pending => f.write_str("pending"),
            Outcome::Refused(why) => write!(f, "refused: {why}"),
            Outcome::Ignored(why) => write!(f, "ignored: {why}"),
            Outcome::FrontEnd => f.write_str("kept for the front-end"),
            Outcome::NotInVersion => f.write_str("not in this version"),
        }
    }
}

/// One parameter in one cache.
///
/// # Examples
/// ```
/// use larder::params::{EngineVersion, ParameterGroups, Value};
/// let (groups, cache) = (ParameterGroups::new(), larder::Cache::new(4 << 20)?);
/// let status = groups.attach(&cache, "default.redis2.8", EngineVersion::V2_8_21, None)?;
/// let databases = status.of("databases").expect("a parameter of Redis");
/// assert_eq!((&databases.value, &databases.in_force), (&Some(Value::from(16)), &Some(Value::from(256))));
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ParameterStatus {
    /// Which one.
    pub parameter: &'static Parameter,
    /// The group's value; None if it depends on the node type, and there is none.
    pub value: Option<Value>,
    /// The value that counts at present, if there is one.
    pub in_force: Option<Value>,
    /// What became of it.
    pub outcome: Outcome,
}

/// Whether anything waits for a restart.
///
/// # Examples
/// ```
/// assert_eq!(larder::params::SyncState::PendingReboot.to_string(), "pending-reboot");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SyncState {
    /// Nothing does.
    InSync,
    /// Something does: the cache has to be built anew from its group.
    PendingReboot,
}

impl fmt::Display for SyncState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            SyncState::InSync => "in-sync",
            SyncState::PendingReboot => "pending-reboot",
        })
    }
}

/// How a cache stands to its group.
///
/// # Examples
/// ```
/// use larder::params::{EngineVersion, ParameterGroups, SyncState};
/// let (groups, cache) = (ParameterGroups::new(), larder::Cache::new(4 << 20)?);
/// groups.attach(&cache, "default.redis2.8", EngineVersion::V2_8_21, None)?;
/// let status = groups.status(&cache)?;
/// assert_eq!((status.group.as_str(), status.state), ("default.redis2.8", SyncState::PendingReboot));
/// assert!(status.to_string().starts_with("larder uses default.redis2.8 (redis 2.8.21): pending-reboot; "));
/// assert!(status.pending().any(|waiting| waiting.parameter.name == "databases"));
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Status {
    /// The cache's name.
    pub cache: String,
    /// The group's name.
    pub group: String,
    /// Its family.
    pub family: Family,
    /// The version that the cache stands for.
    pub version: EngineVersion,
    /// The node type, if one was given.
    pub node: Option<&'static NodeType>,
    /// Whether anything waits for a restart.
    pub state: SyncState,
    /// Every parameter of the family.
    pub parameters: Vec<ParameterStatus>,
}

/// On one line: how the cache stands, and what keeps it from standing otherwise.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} uses {} ({} {})", self.cache, self.group, self.family.system(), self.version)?;
        if let Some(node) = self.node {
            write!(f, " on {}", node.name)?;
        }
        write!(f, ": {}", self.state)?;
        for one in self.parameters.iter() {
            match &one.outcome {
                Outcome::Pending | Outcome::Refused(_) => write!(f, "; {} {}", one.parameter.name, one.outcome)?,
                _ => {}
            }
        }
        Ok(())
    }
}

impl Status {
    /// What waits for a restart.
    ///
    /// # Examples
    /// See [`Status`].
    pub fn pending(&self) -> impl Iterator<Item = &ParameterStatus> {
        self.parameters.iter().filter(|one| one.outcome == Outcome::Pending)
    }

    /// What cannot take effect.
    ///
    /// # Examples
    /// ```
    /// use larder::params::{EngineVersion, NodeType, ParameterGroups};
    /// let (groups, cache) = (ParameterGroups::new(), larder::Cache::new(4 << 20)?);
    /// let node = NodeType::find("cache.m1.small")?;
    /// let status = groups.attach(&cache, "default.redis2.8", EngineVersion::V2_8_21, Some(node))?;
    /// assert!(status.refused().any(|one| one.parameter.name == "maxmemory"));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn refused(&self) -> impl Iterator<Item = &ParameterStatus> {
        self.parameters.iter().filter(|one| matches!(one.outcome, Outcome::Refused(_)))
    }

    /// One parameter, by its name.
    ///
    /// # Examples
    /// See [`Outcome`].
    pub fn of(&self, name: &str) -> Option<&ParameterStatus> {
        self.parameters.iter().find(|one| one.parameter.name.eq_ignore_ascii_case(name))
    }
}

/// A cache and the group that it uses.
#[derive(Debug, Clone)]
pub(super) struct Attached {
    pub(super) cache: WeakCache,
    /// The cache's name, for messages.
    pub(super) name: String,
    pub(super) group: String,
    pub(super) version: EngineVersion,
    pub(super) node: Option<&'static NodeType>,
    /// What the front-end has of parameters that wait for a restart.
    pub(super) kept: BTreeMap<&'static str, Value>,
    /// What the cache would not take, and why.
    pub(super) refusals: BTreeMap<&'static str, String>,
}

impl Attached {
    pub(super) fn new(
        cache: &Cache,
        group: String,
        version: EngineVersion,
        node: Option<&'static NodeType>,
        values: &ParameterValues,
    ) -> Attached {
        let kept = version.family().parameters().filter(|parameter| waits_in_front_end(parameter));
        let kept = kept.filter_map(|parameter| Some((parameter.name, values.value(parameter)?))).collect();
        let (cache, name) = (cache.downgrade(), cache.name().to_owned());
        Attached { cache, name, group, version, node, kept, refusals: BTreeMap::new() }
    }

    /// Changes the cache as far as values take effect at once.
    pub(super) fn apply(&mut self, cache: &Cache, values: &ParameterValues) {
        self.refusals.clear();
        for effect in &effects::ALL {
            let (Some(change), Some(value)) = (effect.change, values.wanted(effect)) else { continue };
            if (effect.running)(cache).as_ref() != Some(&value)
                && let Err(e) = change(cache, &value)
            {
                self.refusals.insert(effect.name, e.to_string());
            }
        }
    }

    /// How the cache stands to these values of its group.
    pub(super) fn status(&self, cache: &Cache, values: &ParameterValues) -> Status {
        let family = self.version.family();
        let parameters: Vec<_> = family.parameters().map(|parameter| self.judge(cache, parameter, values)).collect();
        let waits = parameters.iter().any(|one| one.outcome == Outcome::Pending);
        Status {
            cache: self.name.clone(),
            group: self.group.clone(),
            family,
            version: self.version,
            node: self.node,
            state: if waits { SyncState::PendingReboot } else { SyncState::InSync },
            parameters,
        }
    }

    fn judge(&self, cache: &Cache, parameter: &'static Parameter, values: &ParameterValues) -> ParameterStatus {
        let value = values.value(parameter);
        if !self.version.has(parameter) {
            return ParameterStatus { parameter, value, in_force: None, outcome: Outcome::NotInVersion };
        }
        let (in_force, outcome) = match effects::find(parameter.name) {
            Some(effect) => {
                let running = (effect.running)(cache);
                let moot = values.ignored(parameter).or_else(|| (effect.moot)(cache).map(str::to_owned));
                let outcome = match moot {
                    Some(why) => Outcome::Ignored(why),
                    None => self.judge_engine(effect, parameter, running.as_ref(), values.wanted(effect)),
                };
                (running, outcome)
            }
            None => self.judge_front_end(parameter, &value, values),
        };
        ParameterStatus { parameter, value, in_force, outcome }
    }

    fn judge_engine(
        &self,
        effect: &Effect,
        parameter: &Parameter,
        running: Option<&Value>,
        wanted: Option<Value>,
    ) -> Outcome {
        let Some(wanted) = wanted.filter(|wanted| Some(wanted) != running) else { return Outcome::Applied };
        match parameter.applies {
            Applies::Restart | Applies::UnsetOnly => Outcome::Pending,
            Applies::Never => {
                let has =
                    running.map_or_else(|| "it was built without".to_owned(), |has| format!("this one has {has}"));
                Outcome::Refused(format!("fixed when a cache is built: {has}, the group says {wanted}"))
            }
            Applies::AtOnce => match self.refusals.get(effect.name) {
                Some(why) => Outcome::Refused(why.clone()),
                None => Outcome::Refused(format!("the cache was changed since by itself; the group says {wanted}")),
            },
        }
    }

    fn judge_front_end(
        &self,
        parameter: &Parameter,
        value: &Option<Value>,
        values: &ParameterValues,
    ) -> (Option<Value>, Outcome) {
        if let Some(why) = values.ignored(parameter) {
            return (values.get(parameter.name).ok(), Outcome::Ignored(why));
        }
        match self.kept.get(parameter.name) {
            Some(kept) if Some(kept) != value.as_ref() => (Some(kept.clone()), Outcome::Pending),
            _ => (value.clone(), Outcome::FrontEnd),
        }
    }

    /// The values that count at present: the group's but for what waits, and the cache's own.
    pub(super) fn in_force(&self, cache: &Cache, mut values: ParameterValues) -> ParameterValues {
        for parameter in self.version.family().parameters().filter(|parameter| self.version.has(parameter)) {
            let running = match effects::find(parameter.name) {
                Some(effect) => (effect.running)(cache),
                None => self.kept.get(parameter.name).cloned(),
            };
            if let Some(running) = running {
                values.put(parameter, running);
            }
        }
        values
    }
}

/// Whether a front-end's parameter waits for a restart.
fn waits_in_front_end(parameter: &Parameter) -> bool {
    matches!(parameter.drives, Drives::FrontEnd(_)) && parameter.applies != Applies::AtOnce
}
