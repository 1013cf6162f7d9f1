//! Named sets of values, and the caches that use them.
//!
//! 1. A group of each family, `default.<family>`, is there from the start, and never changes.
//! 2. Values of a group are allowed ones, and those of its family.
//! 3. A change is checked as a whole before any of it is made.
//! 4. `registry` is the only lock. It is held for moments, and never while a cache is worked on: that may evict, and so
//!    call a program's listener, which may use the groups.
//! 5. The last change made is the last to arrive: whoever has brought a cache to a group's values looks again whether
//!    these are still what the group says, and begins anew if they are not (`reach`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use super::attached::{Attached, Status};
use super::family::{EngineVersion, Family};
use super::node::NodeType;
use super::registry::{Described, Group, GroupInfo, Registry, not_allowed};
use super::settings::ParameterValues;
use super::table::{Applies, Parameter};
use super::value::Value;
use crate::api::{Cache, CacheBuilder, WeakCache};
use crate::error::{Error, ErrorKind, Result};

/// Named groups of parameter values. Caches are attached to a group; a change of the group reaches all of them.
///
/// This is a handle: clones are the same groups, and threads may share them. Names of groups and parameters are read in
/// capitals or not.
///
/// # Examples
/// ```
/// use larder::params::{EngineVersion, Family, ParameterGroups, SyncState};
/// let groups = ParameterGroups::new();
/// groups.create("Fast", Family::Memcached1_4, "for the front page")?;
/// let cache = groups.builder("fast", EngineVersion::V1_4_14, None)?.max_memory(4 << 20).build()?;
/// groups.attach(&cache, "fast", EngineVersion::V1_4_14, None)?;
///
/// let reached = groups.modify("fast", [("max_item_size", "2MiB")])?;
/// assert_eq!(reached[0].state, SyncState::PendingReboot);          // it waits until the cache is built anew
/// assert!(groups.delete("fast").is_err());                         // in use
///
/// drop(cache);                                                     // an attachment does not keep a cache alive
/// groups.delete("fast")?;
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct ParameterGroups {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    registry: Mutex<Registry>,
    revision: AtomicU64,
}

/// One error of several, if there are any.
fn refuse(faults: Vec<Error>, of: usize) -> Result<()> {
    let kinds: Vec<ErrorKind> = faults.iter().map(Error::kind).collect();
    let kind = match kinds.as_slice() {
        [] => return Ok(()),
        [first, rest @ ..] if rest.iter().all(|kind| kind == first) => *first,
        _ => ErrorKind::InvalidConfig,
    };
    let all = faults.iter().map(Error::to_string).collect::<Vec<_>>().join("; ");
    Err(Error::new(kind, format!("nothing was changed, {} of {of} refused: {all}", kinds.len())))
}

impl ParameterGroups {
    /// The default groups, and no others.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::params::ParameterGroups::new().list().len(), 3);
    /// ```
    pub fn new() -> ParameterGroups {
        ParameterGroups::default()
    }

    /// Makes a group, with the family's defaults.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`]; [`ErrorKind::InvalidConfig`] for what is no name; [`ErrorKind::NotAllowed`] for
    /// one that begins with `default.`.
    ///
    /// # Examples
    /// ```
    /// use larder::{ErrorKind, params::{Family, ParameterGroups}};
    /// let groups = ParameterGroups::new();
    /// groups.create("Sessions", Family::Redis2_8, "web sessions")?;
    /// let again = groups.create("sessions", Family::Redis2_6, "").unwrap_err();
    /// assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn create(&self, name: &str, family: Family, description: &str) -> Result<()> {
        let group = Group { family, description: description.to_owned(), is_default: false, values: BTreeMap::new() };
        self.shared.registry.lock().insert(name, group)?;
        self.changed();
        Ok(())
    }

    /// Makes a group with the values of another.
    ///
    /// # Errors
    /// As [`create`](Self::create); [`ErrorKind::NotFound`] if there is nothing to copy.
    ///
    /// # Examples
    /// ```
    /// use larder::params::ParameterGroups;
    /// let groups = ParameterGroups::new();
    /// groups.copy("default.redis2.8", "mine", "to be changed")?;
    /// groups.modify("mine", [("timeout", 60)])?;
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn copy(&self, from: &str, to: &str, description: &str) -> Result<()> {
        let mut registry = self.shared.registry.lock();
        let copy = Group { description: description.to_owned(), is_default: false, ..registry.group(from)?.1.clone() };
        registry.insert(to, copy)?;
        self.changed();
        Ok(())
    }

    /// All groups, by name.
    ///
    /// # Examples
    /// ```
    /// use larder::params::{Family, ParameterGroups};
    /// let groups = ParameterGroups::new();
    /// groups.create("mine", Family::Redis2_6, "for tests")?;
    /// assert!(groups.list().iter().any(|group| group.name == "mine" && group.description == "for tests"));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn list(&self) -> Vec<GroupInfo> {
        let registry = self.shared.registry.lock();
        let info = |(name, group): (&String, &Group)| GroupInfo {
            name: name.clone(),
            family: group.family,
            description: group.description.clone(),
            is_default: group.is_default,
            caches: registry.users(name).map(|attached| attached.name.clone()).collect(),
        };
        registry.groups.iter().map(info).collect()
    }

    /// Changes values of a group, all or none, and takes them to every cache that uses it. Returns how each of those
    /// stands now: what took effect, what waits, and what the cache itself would not take.
    ///
    /// # Errors
    /// Names every value that was refused. [`ErrorKind::NotFound`] for names that do not exist,
    /// [`ErrorKind::InvalidConfig`] for values that are not allowed, [`ErrorKind::NotAllowed`] for what is fixed:
    /// default groups, parameters that never change, and those that do not while a cache uses the group.
    ///
    /// # Examples
    /// ```
    /// use larder::params::{Family, ParameterGroups};
    /// let groups = ParameterGroups::new();
    /// groups.create("mine", Family::Memcached1_4, "")?;
    /// groups.modify("mine", [("chunk_size", "64"), ("chunk_size_growth_factor", "1.02")])?;
    /// let error = groups.modify("mine", [("chunk_size", "96"), ("slab_automvoe", "1")]).unwrap_err();
    /// assert!(error.to_string().contains("did you mean slab_automove?"));
    /// assert_eq!(groups.values("mine", "1.4.14".parse()?, None)?.integer("chunk_size")?, 64);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn modify<N: AsRef<str>, V: Into<Value>>(
        &self,
        group: &str,
        changes: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Vec<Status>> {
        // What names and values are made of may be the program's code: not under the lock.
        let changes = changes.into_iter().map(|(name, value)| (name.as_ref().to_owned(), value.into()));
        let changes: Vec<(String, Value)> = changes.collect();
        self.change(group, |family, values| {
            let (mut faults, mut seen) = (Vec::new(), Vec::new());
            for (name, value) in &changes {
                match Self::check(family, name, value) {
                    Ok((parameter, _)) if seen.contains(&parameter.name) => {
                        let what = format!("{} is named twice", parameter.name);
                        faults.push(Error::new(ErrorKind::InvalidConfig, what));
                    }
                    Ok((parameter, value)) => {
                        seen.push(parameter.name);
                        values.insert(parameter.name, value);
                    }
                    Err(fault) => faults.push(fault),
                }
            }
            refuse(faults, changes.len())
        })
    }

    /// Takes values of a group back to the family's defaults, in every cache that uses it.
    ///
    /// # Errors
    /// As [`modify`](Self::modify).
    ///
    /// # Examples
    /// ```
    /// use larder::params::{Family, ParameterGroups};
    /// let groups = ParameterGroups::new();
    /// groups.create("mine", Family::Redis2_8, "")?;
    /// groups.modify("mine", [("timeout", 60), ("slowlog-max-len", 5)])?;
    /// groups.reset("mine", ["timeout"])?;
    /// let values = groups.values("mine", "2.8.21".parse()?, None)?;
    /// assert_eq!((values.integer("timeout")?, values.integer("slowlog-max-len")?), (0, 5));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn reset<N: AsRef<str>>(&self, group: &str, names: impl IntoIterator<Item = N>) -> Result<Vec<Status>> {
        let names: Vec<String> = names.into_iter().map(|name| name.as_ref().to_owned()).collect();
        self.change(group, |family, values| {
            let mut faults = Vec::new();
            for name in &names {
                match family.parameter(name) {
                    Ok(parameter) => drop(values.remove(parameter.name)),
                    Err(fault) => faults.push(fault),
                }
            }
            refuse(faults, names.len())
        })
    }

    /// Takes all values of a group back to the family's defaults.
    ///
    /// # Errors
    /// As [`modify`](Self::modify).
    ///
    /// # Examples
    /// ```
    /// use larder::params::{Family, ParameterGroups};
    /// let groups = ParameterGroups::new();
    /// groups.create("mine", Family::Redis2_8, "")?;
    /// groups.modify("mine", [("timeout", 60)])?;
    /// groups.reset_all("mine")?;
    /// assert_eq!(groups.values("mine", "2.8.21".parse()?, None)?.integer("timeout")?, 0);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn reset_all(&self, group: &str) -> Result<Vec<Status>> {
        self.change(group, |_, values| {
            values.clear();
            Ok(())
        })
    }

    /// Deletes a group.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; [`ErrorKind::NotAllowed`] for a default group, and while a cache uses the group.
    ///
    /// # Examples
    /// ```
    /// use larder::params::{Family, ParameterGroups};
    /// let groups = ParameterGroups::new();
    /// groups.create("mine", Family::Redis2_8, "")?;
    /// groups.delete("mine")?;
    /// assert!(groups.delete("mine").is_err() && groups.delete("default.redis2.8").is_err());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn delete(&self, group: &str) -> Result<()> {
        let mut registry = self.shared.registry.lock();
        let (name, group) = registry.group(group)?;
        if group.is_default {
            return Err(not_allowed(format!("{name} is a default group, which cannot be deleted")));
        }
        let users: Vec<&str> = registry.users(name).map(|attached| attached.name.as_str()).collect();
        if !users.is_empty() {
            return Err(not_allowed(format!("{name} is in use by {}: attach it to another group", users.join(", "))));
        }
        let name = name.to_owned();
        registry.groups.remove(&name);
        registry.caches.retain(|attached| attached.cache.is_alive());
        self.changed();
        Ok(())
    }

    /// All parameters of a group.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    ///
    /// # Examples
    /// ```
    /// use larder::params::ParameterGroups;
    /// let rows = ParameterGroups::new().describe("default.redis2.8")?;
    /// assert!(rows.iter().all(|row| !row.is_modifiable));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn describe(&self, group: &str) -> Result<Vec<Described>> {
        let registry = self.shared.registry.lock();
        let (name, group) = registry.group(group)?;
        let is_used = registry.users(name).next().is_some();
        Ok(Described::rows(group.family, &group.values, group.is_default, is_used))
    }

    /// All parameters of a family with their defaults, without a group.
    ///
    /// # Examples
    /// ```
    /// use larder::params::{Family, ParameterGroups, Source};
    /// let rows = ParameterGroups::describe_defaults(Family::Redis2_8);
    /// assert!(rows.iter().all(|row| row.source == Source::System));
    /// assert!(rows.iter().any(|row| row.parameter.name == "databases" && row.is_modifiable));
    /// ```
    pub fn describe_defaults(family: Family) -> Vec<Described> {
        Described::rows(family, &BTreeMap::new(), false, false)
    }

    /// The values that a cache of this version, on this node type, has by a group.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for a group that does not exist, or a node type that is none of this system's;
    /// [`ErrorKind::InvalidConfig`] for a version of another family.
    ///
    /// # Examples
    /// ```
    /// use larder::params::{EngineVersion, NodeType, ParameterGroups};
    /// let node = NodeType::find("cache.t1.micro")?;
    /// let values = ParameterGroups::new().values("default.memcached1.4", EngineVersion::V1_4_14, Some(node))?;
    /// assert_eq!(values.integer("memcached_connections_overhead")?, 13);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn values(
        &self,
        group: &str,
        version: EngineVersion,
        node: Option<&'static NodeType>,
    ) -> Result<ParameterValues> {
        self.shared.registry.lock().values(group, version, node).map(|(_, values)| values)
    }

    /// A builder with the values of a group: what a cache is first built from, and built anew from in a restart.
    ///
    /// # Errors
    /// As [`values`](Self::values).
    ///
    /// # Examples
    /// See [`ParameterGroups`].
    pub fn builder(
        &self,
        group: &str,
        version: EngineVersion,
        node: Option<&'static NodeType>,
    ) -> Result<CacheBuilder> {
        Ok(self.values(group, version, node)?.builder())
    }

    /// Lets a cache use a group: what takes effect at once does. A cache that uses a group already goes over to the new
    /// one. The attachment ends with the cache, which it does not keep alive, or by [`detach`](Self::detach).
    ///
    /// # Errors
    /// As [`values`](Self::values); [`ErrorKind::NotAllowed`] if the cache would go over to a group of another system,
    /// or to one that differs in a parameter which cannot change while it is in use.
    ///
    /// # Examples
    /// ```
    /// use larder::params::{EngineVersion, ParameterGroups};
    /// let (groups, cache) = (ParameterGroups::new(), larder::Cache::new(4 << 20)?);
    /// groups.attach(&cache, "default.redis2.8", EngineVersion::V2_8_21, None)?;
    /// assert_eq!(cache.policy().name(), "volatile-lru");
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn attach(
        &self,
        cache: &Cache,
        group: &str,
        version: EngineVersion,
        node: Option<&'static NodeType>,
    ) -> Result<Status> {
        let (attached, values) = {
            let mut registry = self.shared.registry.lock();
            let (name, values) = registry.values(group, version, node)?;
            let mut attached = Attached::new(cache, name, version, node, &values);
            if let Ok(before) = registry.attached(cache) {
                let (_, old) = registry.values(&before.group, before.version, before.node)?;
                Self::check_switch(before, &old, &attached, &values)?;
                // What its front-end has, it has until it is built anew.
                attached.kept.extend(before.kept.iter().map(|(&name, value)| (name, value.clone())));
            }
            registry.caches.retain(|other| other.cache.is_alive() && !other.cache.is(cache));
            registry.caches.push(attached.clone());
            (attached, values)
        };
        self.changed();
        // If it was detached meanwhile, it stands as it stood.
        Ok(self.reach(cache).unwrap_or_else(|| attached.status(cache, &values)))
    }

    /// Ends a cache's use of its group. The values that it has, it keeps. False if it used none.
    ///
    /// # Examples
    /// ```
    /// use larder::params::{EngineVersion, ParameterGroups};
    /// let (groups, cache) = (ParameterGroups::new(), larder::Cache::new(4 << 20)?);
    /// groups.attach(&cache, "default.redis2.8", EngineVersion::V2_8_21, None)?;
    /// assert!(groups.detach(&cache) && !groups.detach(&cache));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn detach(&self, cache: &Cache) -> bool {
        let mut registry = self.shared.registry.lock();
        let before = registry.caches.len();
        registry.caches.retain(|attached| !attached.cache.is(cache));
        let was_attached = registry.caches.len() < before;
        if was_attached {
            self.changed();
        }
        was_attached
    }

    /// How a cache stands to its group at present.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if it uses none.
    ///
    /// # Examples
    /// See [`Status`].
    pub fn status(&self, cache: &Cache) -> Result<Status> {
        let (attached, values) = self.of(cache)?;
        Ok(attached.status(cache, &values))
    }

    /// The values that count for a cache at present: those of its group, except that what waits for a restart, or was
    /// refused, has the value it had. This is where a front-end reads its parameters.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if it uses no group.
    ///
    /// # Examples
    /// ```
    /// use larder::params::{EngineVersion, ParameterGroups};
    /// let (groups, cache) = (ParameterGroups::new(), larder::Cache::new(4 << 20)?);
    /// groups.attach(&cache, "default.redis2.8", EngineVersion::V2_8_21, None)?;
    /// let values = groups.in_force(&cache)?;
    /// assert_eq!((values.integer("maxclients")?, values.bytes("maxmemory")?), (65_000, 4 << 20));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn in_force(&self, cache: &Cache) -> Result<ParameterValues> {
        let (attached, values) = self.of(cache)?;
        Ok(attached.in_force(cache, values))
    }

    /// A number that grows with every change of a group or an attachment: whoever keeps values looks here whether to
    /// read them again.
    ///
    /// # Examples
    /// ```
    /// use larder::params::{Family, ParameterGroups};
    /// let groups = ParameterGroups::new();
    /// let before = groups.revision();
    /// groups.create("mine", Family::Redis2_8, "")?;
    /// assert!(groups.revision() > before);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn revision(&self) -> u64 {
        self.shared.revision.load(Relaxed)
    }

    fn changed(&self) {
        self.shared.revision.fetch_add(1, Relaxed);
    }

    /// A cache's attachment and its group's values.
    fn of(&self, cache: &Cache) -> Result<(Attached, ParameterValues)> {
        let registry = self.shared.registry.lock();
        let attached = registry.attached(cache)?.clone();
        let (_, values) = registry.values(&attached.group, attached.version, attached.node)?;
        Ok((attached, values))
    }

    /// Changes a group's values by `edit`, and lets that reach its caches.
    fn change(
        &self,
        group: &str,
        edit: impl FnOnce(Family, &mut BTreeMap<&'static str, Value>) -> Result<()>,
    ) -> Result<Vec<Status>> {
        let users: Vec<WeakCache> = {
            let mut registry = self.shared.registry.lock();
            let (_, found) = registry.group(group)?;
            let (family, mut values) = (found.family, found.values.clone());
            edit(family, &mut values)?;
            let name = registry.replace(group, values)?;
            registry.caches.retain(|attached| attached.cache.is_alive());
            registry.users(&name).map(|attached| attached.cache.clone()).collect()
        };
        self.changed();
        // One after the other, and none of them under the lock: the last handle of a cache may go here.
        let caches = users.iter().filter_map(WeakCache::upgrade);
        Ok(caches.filter_map(|cache| self.reach(&cache)).collect())
    }

    /// Takes to one cache what its group says, until it has what the group says then (invariant 5). None if it uses no
    /// group (any more).
    fn reach(&self, cache: &Cache) -> Option<Status> {
        let mut reached = None;
        loop {
            let (mut attached, values) = self.of(cache).ok()?;
            if reached.as_ref() == Some(&values) {
                return Some(attached.status(cache, &values));
            }
            attached.apply(cache, &values);
            let mut registry = self.shared.registry.lock();
            if let Some(kept) = registry.caches.iter_mut().find(|kept| kept.cache.is(cache)) {
                kept.refusals = attached.refusals;
            }
            drop(registry);
            reached = Some(values);
        }
    }

    /// A value that may be set in a group.
    fn check(family: Family, name: &str, value: &Value) -> Result<(&'static Parameter, Value)> {
        let parameter = family.parameter(name)?;
        let value = parameter.check(value)?;
        if parameter.applies == Applies::Never {
            return Err(not_allowed(format!("{} is fixed: no group can change it", parameter.name)));
        }
        Ok((parameter, value))
    }

    /// Refuses to take a cache from one group to another that it cannot go over to.
    fn check_switch(before: &Attached, old: &ParameterValues, after: &Attached, new: &ParameterValues) -> Result<()> {
        let (from, to) = (before.version.family().system(), after.version.family().system());
        if from != to {
            return Err(not_allowed(format!("{} uses a group of {from}, {} is of {to}", before.name, after.group)));
        }
        let bound = after.version.family().parameters().filter(|p| p.applies == Applies::UnsetOnly);
        let differing: Vec<&str> = bound.filter(|p| old.value(p) != new.value(p)).map(|p| p.name).collect();
        if differing.is_empty() {
            return Ok(());
        }
        let what = differing.join(", ");
        Err(not_allowed(format!("{} and {} differ in {what}, which must be equal", before.group, after.group)))
    }
}
