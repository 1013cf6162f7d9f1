//! What a snapshot says of itself: where it is from, and how the cache was set up that it is of.

use std::collections::BTreeMap;
use std::time::Duration;

use super::damage::{Damage, damaged};
use super::format::u32_at;
use crate::api::Cache;
use crate::error::Result;
use crate::params::CacheConfig;

/// What a snapshot is of.
///
/// # Examples
/// ```
/// use larder::{Cache, snapshot::SnapshotOptions, storage::Memory};
/// let cache = Cache::builder().max_memory(4 << 20).name("sessions").build()?;
/// let storage = Memory::new();
/// let options = SnapshotOptions::new().label("team", "web");
/// cache.snapshot_to(&storage, "monday", &options)?;
/// let description = Cache::describe_snapshot(&storage, "monday")?.description;
/// assert_eq!(description.source(), "sessions");
/// assert_eq!(description.label("team"), Some("web"));
/// assert_eq!(description.configuration().get("max_memory").map(String::as_str), Some("4MiB"));
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Description {
    source: String,
    configuration: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    /// What the policy had learnt.
    policy: BTreeMap<String, String>,
}

const SOURCE: &str = "source";
const CONFIGURATION: &str = "config.";
const LABEL: &str = "label.";
const POLICY: &str = "policy.";

impl Description {
    pub(crate) fn new(source: &str, configuration: BTreeMap<String, String>, labels: BTreeMap<String, String>) -> Self {
        Description { source: source.to_owned(), configuration, labels, policy: BTreeMap::new() }
    }

    /// The name of the cache.
    ///
    /// # Examples
    /// See [`Description`].
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The settings of the cache, by the names that [`CacheConfig`](crate::params::CacheConfig) reads.
    ///
    /// # Examples
    /// See [`Description`].
    pub fn configuration(&self) -> &BTreeMap<String, String> {
        &self.configuration
    }

    /// The same as settings from which a cache can be built.
    ///
    /// # Errors
    /// As [`CacheConfig::from_pairs`], for settings of a newer build.
    ///
    /// # Examples
    /// ```
    /// let description = larder::snapshot::Description::default();
    /// assert_eq!(description.cache_config()?.max_memory, None);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn cache_config(&self) -> Result<CacheConfig> {
        CacheConfig::from_pairs(&self.configuration)
    }

    /// The labels that whoever took it gave it.
    ///
    /// # Examples
    /// ```
    /// let description = larder::snapshot::Description::default();
    /// assert!(description.labels().is_empty());
    /// ```
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }

    /// One of the labels.
    ///
    /// # Examples
    /// See [`Description`].
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).map(String::as_str)
    }

    pub(crate) fn set_share(&mut self, share: Option<f64>) {
        if let Some(share) = share {
            self.policy.insert("share".to_owned(), share.to_string());
        }
    }

    pub(crate) fn share(&self) -> Option<f64> {
        self.policy.get("share")?.parse().ok().filter(|share: &f64| share.is_finite())
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut pairs = vec![(SOURCE.to_owned(), self.source.clone())];
        for (prefix, of) in [(CONFIGURATION, &self.configuration), (LABEL, &self.labels), (POLICY, &self.policy)] {
            pairs.extend(of.iter().map(|(name, text)| (format!("{prefix}{name}"), text.clone())));
        }
        let mut out = (pairs.len() as u32).to_le_bytes().to_vec();
        for text in pairs.iter().flat_map(|(name, text)| [name, text]) {
            out.extend_from_slice(&(text.len() as u32).to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8], offset: u64) -> std::result::Result<Description, Damage> {
        let mut rest = bytes;
        let mut take = |len: usize| -> std::result::Result<&[u8], Damage> {
            let Some((taken, left)) = rest.split_at_checked(len) else {
                return damaged(offset, "the description is shorter than it says");
            };
            rest = left;
            Ok(taken)
        };
        let count = u32_at(take(4)?, 0);
        let mut description = Description::default();
        for _ in 0..count {
            let mut text = || {
                let len = u32_at(take(4)?, 0) as usize;
                match std::str::from_utf8(take(len)?) {
                    Ok(text) => Ok(text.to_owned()),
                    Err(_) => damaged(offset, "the description is no UTF-8"),
                }
            };
            let (name, value) = (text()?, text()?);
            // What is not known is from a newer build, and left out.
            if name == SOURCE {
                description.source = value;
            } else if let Some(name) = name.strip_prefix(CONFIGURATION) {
                description.configuration.insert(name.to_owned(), value);
            } else if let Some(name) = name.strip_prefix(LABEL) {
                description.labels.insert(name.to_owned(), value);
            } else if let Some(name) = name.strip_prefix(POLICY) {
                description.policy.insert(name.to_owned(), value);
            }
        }
        if !rest.is_empty() {
            return damaged(offset, "the description is longer than it says");
        }
        Ok(description)
    }
}

/// How a cache is set up, as far as that suits another one of any size: geometry follows from the limit, and the seed
/// is nobody's business.
pub(super) fn config_of(cache: &Cache) -> CacheConfig {
    let (engine, memory) = (cache.engine(), cache.memory());
    let (settings, built) = (cache.settings(), &engine.built);
    let duration = |ms: u64| Some(Duration::from_millis(ms)).filter(|duration| !duration.is_zero());
    CacheConfig {
        name: Some(cache.name().to_owned()),
        max_memory: Some(memory.limit),
        reserved_memory: Some(memory.reserved),
        policy: Some(cache.policy()),
        objective: Some(cache.objective()),
        samples: Some(cache.samples()),
        time_to_live: duration(settings.ttl_ms),
        time_to_idle: duration(settings.idle_ms),
        max_item_size: Some(settings.max_item_size),
        chunk_size: Some(built.chunk_size),
        chunk_size_growth_factor: Some(built.growth_factor),
        threads: built.threads,
        initial_items: Some(built.initial_items),
        background_resizing: Some(settings.background_resizing),
        huge_pages: Some(built.huge_pages),
        lock_memory: Some(built.lock_memory),
        automove: Some(cache.automove()),
        slab_reassign: Some(settings.reassign),
        tokens: Some(settings.tokens),
        check_and_set: Some(settings.check_and_set),
        namespaces: Some(settings.namespaces),
        expiry_lag: duration(settings.expiry_lag_ms),
        ..CacheConfig::default()
    }
}
