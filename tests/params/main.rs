//! Named parameters, their groups, node types, and settings as data.

mod chance;
mod config;
mod docs;
mod effects;
mod groups;
mod logs;
mod proofs;
mod table;

use larder::params::{EngineVersion, NodeType, ParameterValues};
use larder::{Cache, Maintenance};

/// The newest versions.
pub(crate) const MEMCACHED: EngineVersion = EngineVersion::V1_4_14;
pub(crate) const REDIS: EngineVersion = EngineVersion::V2_8_21;

/// A small cache with some values set on top of a version's defaults.
pub(crate) fn cache_with(version: EngineVersion, set: &[(&str, &str)]) -> Cache {
    let mut values = ParameterValues::new(version.family()).version(version).expect("a version of this family");
    for (name, text) in set {
        values.set(name, *text).expect("an allowed value");
    }
    let memory = set.iter().any(|(name, _)| matches!(*name, "maxmemory" | "max_cache_memory"));
    let builder = values.builder().seed(7).maintenance(Maintenance::Manual);
    let builder = if memory { builder } else { builder.max_memory(4 << 20) };
    builder.build().expect("a cache")
}

pub(crate) fn node(name: &str) -> &'static NodeType {
    NodeType::find(name).expect("a node type")
}
