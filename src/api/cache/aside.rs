//! A way to a cache's engine beside its handles: for who works for the cache, and must neither keep it alive nor end
//! it.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::{Cache, LogSettings, Owner};
use crate::engine::Engine;
use crate::events::EventLog;

/// A way to a cache's engine that neither keeps it alive nor is one of its handles.
#[derive(Debug)]
pub(crate) struct Aside {
    engine: Weak<Engine>,
    name: String,
    events: EventLog,
}

impl Aside {
    /// A handle with whose end nothing ends; None when the cache has gone.
    pub(crate) fn handle(&self) -> Option<Cache> {
        let owner = Owner {
            engine: self.engine.upgrade()?,
            name: self.name.clone(),
            events: self.events.clone(),
            appending: Mutex::default(),
            logs: LogSettings::default(),
            driver: None,
            is_aside: true,
            upkeeper: None,
            home: None,
            start: None,
        };
        Some(Cache { owner: Arc::new(owner), namespace: 0 })
    }
}

impl Owner {
    pub(super) fn aside(&self) -> Aside {
        Aside { engine: Arc::downgrade(&self.engine), name: self.name.clone(), events: self.events.clone() }
    }
}
