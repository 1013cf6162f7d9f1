//! The groups and attachments that there are, and what may be changed of them.

use std::collections::BTreeMap;

use super::attached::Attached;
use super::family::{EngineVersion, Family};
use super::nearest::{hint, shown};
use super::node::NodeType;
use super::settings::ParameterValues;
use super::table::{Applies, Parameter};
use super::value::Value;
use crate::api::Cache;
use crate::error::{Error, ErrorKind, Result};

/// Names of groups may have so many characters.
const LONGEST_NAME: usize = 255;

#[derive(Debug)]
pub(super) struct Registry {
    pub(super) groups: BTreeMap<String, Group>,
    pub(super) caches: Vec<Attached>,
}

#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) family: Family,
    pub(super) description: String,
    pub(super) is_default: bool,
    pub(super) values: BTreeMap<&'static str, Value>,
}

/// A group in a list.
///
/// # Examples
/// ```
/// use larder::params::{Family, ParameterGroups};
/// let first = &ParameterGroups::new().list()[0];
/// assert_eq!((first.name.as_str(), first.family), ("default.memcached1.4", Family::Memcached1_4));
/// assert!(first.is_default && first.caches.is_empty());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupInfo {
    /// Its name, in small letters.
    pub name: String,
    /// Whose parameters it has.
    pub family: Family,
    /// What it is for, as its creator said.
    pub description: String,
    /// Whether it is a family's default group, which cannot be changed.
    pub is_default: bool,
    /// The names of the caches that use it.
    pub caches: Vec<String>,
}

/// Where a value comes from.
///
/// # Examples
/// ```
/// assert_eq!(larder::params::Source::User.to_string(), "user");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// The family's default.
    System,
    /// It was set in the group.
    User,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Source::System => "system",
            Source::User => "user",
        })
    }
}

/// A parameter in a group.
///
/// # Examples
/// ```
/// use larder::params::{Family, ParameterGroups, Source};
/// let groups = ParameterGroups::new();
/// groups.create("mine", Family::Redis2_8, "")?;
/// groups.modify("mine", [("timeout", 60)])?;
/// let timeout = groups.describe("mine")?.into_iter().find(|one| one.parameter.name == "timeout").expect("a row");
/// assert_eq!((timeout.source, timeout.is_modifiable, timeout.parameter.since.name()), (Source::User, true, "2.6.13"));
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Described {
    /// The parameter: its type, default, allowed values, when a change applies, since when it is there.
    pub parameter: &'static Parameter,
    /// Its value; None if that depends on the node type.
    pub value: Option<Value>,
    /// Whether it was set, or is the default.
    pub source: Source,
    /// Whether it can be modified in this group now.
    pub is_modifiable: bool,
}

impl Default for Registry {
    fn default() -> Self {
        let group = |family: Family| Group {
            family,
            description: format!("Default parameter group for {family}"),
            is_default: true,
            values: BTreeMap::new(),
        };
        let groups = Family::ALL.map(|family| (default_name(family), group(family)));
        Registry { groups: groups.into(), caches: Vec::new() }
    }
}

fn default_name(family: Family) -> String {
    format!("default.{family}")
}

pub(super) fn not_allowed(message: String) -> Error {
    Error::new(ErrorKind::NotAllowed, message)
}

impl Registry {
    pub(super) fn group(&self, name: &str) -> Result<(&str, &Group)> {
        let folded = name.to_ascii_lowercase();
        self.groups.get_key_value(&folded).map(|(name, group)| (name.as_str(), group)).ok_or_else(|| {
            let near = hint(&folded, self.groups.keys().map(String::as_str));
            Error::new(ErrorKind::NotFound, format!("there is no parameter group {:?}{near}", shown(name)))
        })
    }

    /// Caches of a group that are there still.
    pub(super) fn users(&self, group: &str) -> impl Iterator<Item = &Attached> {
        self.caches.iter().filter(move |attached| attached.group == group && attached.cache.is_alive())
    }

    /// What a group comes to in a version, on a node type.
    pub(super) fn values(
        &self,
        group: &str,
        version: EngineVersion,
        node: Option<&'static NodeType>,
    ) -> Result<(String, ParameterValues)> {
        let (name, group) = self.group(group)?;
        if version.family() != group.family {
            let what = format!("version {version} is of family {}, group {name} of {}", version.family(), group.family);
            return Err(Error::new(ErrorKind::InvalidConfig, what));
        }
        Ok((name.to_owned(), ParameterValues::of_group(version, node, &group.values, group.is_default)?))
    }

    pub(super) fn attached(&self, cache: &Cache) -> Result<&Attached> {
        self.caches.iter().find(|attached| attached.cache.is(cache)).ok_or_else(|| {
            let what = format!("cache {:?} uses none of these parameter groups: attach it to one", cache.name());
            Error::new(ErrorKind::NotFound, what)
        })
    }

    pub(super) fn insert(&mut self, name: &str, group: Group) -> Result<()> {
        let folded = name.to_ascii_lowercase();
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !folded.starts_with(|c: char| c.is_ascii_alphabetic())
            || !folded.chars().all(fine)
            || folded.len() > LONGEST_NAME
        {
            let what = format!(
                "{:?} is no name for a parameter group: letters, digits, '-', '_' and '.', a letter first, at most \
                 {LONGEST_NAME}",
                shown(name)
            );
            return Err(Error::new(ErrorKind::InvalidConfig, what));
        }
        if self.groups.contains_key(&folded) {
            return Err(Error::new(ErrorKind::AlreadyExists, format!("there is a parameter group {folded} already")));
        }
        if folded.starts_with("default.") {
            return Err(not_allowed(format!("{folded}: names that begin with \"default.\" are the families'")));
        }
        self.groups.insert(folded, group);
        Ok(())
    }

    /// Takes over a group's new values, unless some may not change because a cache uses the group.
    pub(super) fn replace(&mut self, name: &str, values: BTreeMap<&'static str, Value>) -> Result<String> {
        let (name, group) = self.group(name)?;
        let name = name.to_owned();
        if group.is_default {
            return Err(not_allowed(format!("{name} is a default group, which cannot be changed: copy it")));
        }
        let family = group.family;
        let differs = |parameter: &&Parameter| values.get(parameter.name) != group.values.get(parameter.name);
        let bound = family.parameters().filter(|p| p.applies == Applies::UnsetOnly);
        let changed: Vec<&str> = bound.filter(differs).map(|parameter| parameter.name).collect();
        let users: Vec<&str> = self.users(&name).map(|attached| attached.name.as_str()).collect();
        if !changed.is_empty() && !users.is_empty() {
            let (what, who) = (changed.join(", "), users.join(", "));
            return Err(not_allowed(format!("{what} can only be changed while no cache uses {name}: {who} does")));
        }
        if let Some(group) = self.groups.get_mut(&name) {
            group.values = values;
        }
        Ok(name)
    }
}

impl Described {
    /// A row for each parameter of a family.
    pub(super) fn rows(
        family: Family,
        values: &BTreeMap<&'static str, Value>,
        is_default: bool,
        is_used: bool,
    ) -> Vec<Described> {
        let row = |parameter: &'static Parameter| {
            let set = values.get(parameter.name);
            Described {
                parameter,
                value: set.cloned().or_else(|| parameter.default_value()),
                source: if set.is_some() { Source::User } else { Source::System },
                is_modifiable: match parameter.applies {
                    Applies::Never => false,
                    Applies::UnsetOnly => !is_default && !is_used,
                    _ => !is_default,
                },
            }
        };
        family.parameters().map(row).collect()
    }
}
