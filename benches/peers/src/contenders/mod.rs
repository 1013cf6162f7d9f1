//! All contenders: one file each, whose header says how it is set up and which documentation recommends that.

mod foyer;
mod larder;
mod lru;
mod map;
mod mini_moka;
mod moka;
mod quick_cache;
mod scc;
mod segcache;
mod stretto;
mod tinyufo;

use crate::contender::{Capacity, Contender, Refusal, Subject};

pub(crate) use foyer::{Foyer, FoyerLfu};
pub(crate) use larder::Larder;
pub(crate) use lru::{Lru16, LruMutex};
pub(crate) use map::Map;
pub(crate) use mini_moka::MiniMoka;
pub(crate) use moka::{Moka, MokaExpiry};
pub(crate) use quick_cache::QuickCache;
pub(crate) use scc::Scc;
pub(crate) use segcache::Segcache;
pub(crate) use stretto::Stretto;
pub(crate) use tinyufo::Tinyufo;

/// The one that is compared.
pub(crate) const LARDER: &str = "larder";
/// The peer that ratios are also given to.
pub(crate) const QUICK_CACHE: &str = "quick_cache";
/// The limit, which is no cache.
pub(crate) const MAP: &str = "map";
/// The peer that takes no part where entries must leave at speed.
pub(crate) const STRETTO: &str = "stretto";
/// Only among the hit ratios.
pub(crate) const FOYER_LFU: &str = "foyer-lfu";

/// What can be done with a contender whose type is not known: see [`with`].
pub(crate) trait Visitor {
    type Output;
    fn visit<C: Contender<20> + 'static, W: Contender<24> + 'static>(self) -> Self::Output;
}

/// The contenders of the timed cases, in the order of tables.
pub(crate) const NAMES: [&str; 13] = [
    LARDER,
    QUICK_CACHE,
    "moka",
    "mini-moka",
    "foyer",
    STRETTO,
    "tinyufo",
    "scc",
    "lru-16",
    "lru-mutex",
    "segcache",
    FOYER_LFU,
    MAP,
];

/// Calls a visitor with the types of a contender, for keys of 20 and of 24 bytes; `None` if there is none of the name.
pub(crate) fn with<V: Visitor>(name: &str, visitor: V) -> Option<V::Output> {
    Some(match name {
        LARDER => visitor.visit::<Larder, Larder>(),
        QUICK_CACHE => visitor.visit::<QuickCache, QuickCache>(),
        "moka" => visitor.visit::<Moka, Moka>(),
        "mini-moka" => visitor.visit::<MiniMoka<20>, MiniMoka<24>>(),
        "foyer" => visitor.visit::<Foyer, Foyer>(),
        FOYER_LFU => visitor.visit::<FoyerLfu, FoyerLfu>(),
        STRETTO => visitor.visit::<Stretto<20>, Stretto<24>>(),
        "tinyufo" => visitor.visit::<Tinyufo<20>, Tinyufo<24>>(),
        "scc" => visitor.visit::<Scc, Scc>(),
        "lru-16" => visitor.visit::<Lru16, Lru16>(),
        "lru-mutex" => visitor.visit::<LruMutex, LruMutex>(),
        "segcache" => visitor.visit::<Segcache, Segcache>(),
        MAP => visitor.visit::<Map, Map>(),
        _ => return None,
    })
}

struct Build<'a>(&'a Capacity);

impl Visitor for Build<'_> {
    type Output = Result<Box<dyn Subject>, Refusal>;

    fn visit<C: Contender<20> + 'static, W: Contender<24> + 'static>(self) -> Self::Output {
        C::build(self.0).map(|contender| Box::new(contender) as Box<dyn Subject>)
    }
}

/// Builds a contender for the timed cases.
pub(crate) fn build(name: &str, capacity: &Capacity) -> Result<Box<dyn Subject>, Refusal> {
    with(name, Build(capacity)).unwrap_or_else(|| Err(format!("there is no contender {name}")))
}

/// Builds moka with a time to live for each entry.
pub(crate) fn build_moka_expiry(capacity: &Capacity) -> Result<Box<dyn Subject>, Refusal> {
    <MokaExpiry as Contender>::build(capacity).map(|contender| Box::new(contender) as Box<dyn Subject>)
}
