//! Load-through on bytes, whatever callers make of them; for threads and for futures.
//!
//! 1. *Look*: what is there is returned. If it ends soon and nobody loads it yet, go on with 2.
//! 2. *Join* the key's flight. If somebody else leads it: wait, then return what it came to, or look again.
//! 3. As leader, look once more: the flight before may have landed between the look and the joining.
//! 4. Run the loader, with no lock held.
//! 5. *Land*: store the value, unless the flight was overtaken; tell all who wait; return the value, stored or not.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use super::options::{Load, LoadError, LoadOptions};
use super::recursion;
use crate::api::millis;
use crate::engine::{Flight, Joined, Landing, Leader, LoadCounter};
use crate::error::Result;
use crate::{Cache, Guard};

/// What callers make of bytes.
pub(crate) trait Form<'c> {
    /// What a loader gives.
    type Value;
    /// What a caller gets.
    type Out;

    /// From what is in the cache. None if that cannot be used and counts as a miss.
    fn hit(&self, guard: Guard<'c>) -> Result<Option<Self::Out>>;

    /// From another's load.
    fn shared(&self, bytes: Arc<[u8]>) -> Result<Option<Self::Out>>;

    /// From one's own loader: the bytes to be stored and shared, and what the caller gets.
    fn fresh(&self, value: Self::Value) -> Result<(Arc<[u8]>, Self::Out)>;
}

/// One call of load-through.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'c, 'k> {
    pub(crate) cache: &'c Cache,
    pub(crate) key: &'k [u8],
    pub(crate) options: &'k LoadOptions,
    /// Whether the caller can deal with there being no value.
    pub(crate) heeds_absence: bool,
}

/// What a caller has to do next.
pub(crate) enum Next<'c, T> {
    Done(Option<T>),
    /// Run the loader; the value that is there, if it is a refresh.
    Lead(Leader<'c>, Option<T>),
    Wait(Arc<Flight>),
}

/// What is there.
enum Look<T> {
    Hit(T),
    EndsSoon(T),
    KnownAbsent,
    Miss,
}

impl<'c> Call<'c, '_> {
    fn look<F: Form<'c>>(&self, form: &F, is_first: bool) -> Result<Look<F::Out>> {
        // One call counts as one get.
        let guard = if is_first { self.cache.get(self.key)? } else { self.cache.peek(self.key)? };
        if let Some(guard) = guard {
            let window = self.options.refresh_ahead;
            let ends_soon = window > Duration::ZERO && guard.ttl_left().is_some_and(|left| left <= window);
            return Ok(match form.hit(guard)? {
                Some(out) if ends_soon => Look::EndsSoon(out),
                Some(out) => Look::Hit(out),
                None => Look::Miss,
            });
        }
        if self.heeds_absence && self.cache.engine().is_known_absent(self.cache.key(self.key)) {
            self.cache.engine().loads.count(LoadCounter::KnownAbsent);
            return Ok(Look::KnownAbsent);
        }
        Ok(Look::Miss)
    }

    /// Steps 1 to 3.
    pub(crate) fn next<F: Form<'c>>(&self, form: &F, is_first: bool) -> Result<Next<'c, F::Out>> {
        let old = match self.look(form, is_first)? {
            Look::Hit(out) => return Ok(Next::Done(Some(out))),
            Look::KnownAbsent => return Ok(Next::Done(None)),
            Look::EndsSoon(out) => Some(out),
            Look::Miss => None,
        };
        let engine = self.cache.engine();
        let mut leader = match (engine.join_load(self.cache.key(self.key)), old) {
            // What nobody could wait for, and would not be stored, is not loaded ahead of time.
            (Joined::Lead(leader), Some(old)) if !leader.flight().is_shared() => return Ok(Next::Done(Some(old))),
            (Joined::Lead(leader), _) => leader,
            (Joined::Wait(_), Some(old)) => return Ok(Next::Done(Some(old))),
            (Joined::Wait(flight), None) => {
                engine.loads.count(LoadCounter::Waits);
                return Ok(Next::Wait(flight));
            }
        };
        let old = match self.look(form, false)? {
            Look::Hit(out) => return Ok(Next::Done(Some(out))),
            Look::KnownAbsent => return Ok(Next::Done(None)),
            Look::EndsSoon(out) => Some(out),
            Look::Miss => None,
        };
        recursion::check_unshared(leader.flight())?;
        leader.begin(old.is_some());
        Ok(Next::Lead(leader, old))
    }

    /// What another's load came to; None: look again.
    pub(crate) fn arrived<F: Form<'c>, E: Send + Sync + 'static>(
        &self,
        form: &F,
        landing: Landing,
    ) -> std::result::Result<Option<Option<F::Out>>, LoadError<E>> {
        match landing {
            Landing::Value(bytes) => Ok(form.shared(bytes)?.map(Some)),
            Landing::Absent if self.heeds_absence => Ok(Some(None)),
            Landing::Absent | Landing::Again => Ok(None),
            // A loader with errors of another type has failed: this caller tries its own.
            Landing::Failed(error) => error.downcast::<E>().map_or(Ok(None), |error| Err(LoadError::Loader(error))),
        }
    }

    /// Step 5.
    pub(crate) fn land<F: Form<'c>, E: Send + Sync + 'static>(
        &self,
        form: &F,
        leader: Leader<'c>,
        old: Option<F::Out>,
        loaded: std::result::Result<Load<F::Value>, E>,
    ) -> std::result::Result<Option<F::Out>, LoadError<E>> {
        let (engine, key) = (self.cache.engine(), self.cache.key(self.key));
        let absent = |leader: Leader<'c>, for_ms| {
            engine.note_absence(key, for_ms, &leader);
            leader.land(Landing::Absent);
            Ok(None)
        };
        let (value, store) = match loaded {
            Ok(Load::Value(value)) => (value, self.options.store),
            Ok(Load::With(value, store)) => (value, store),
            Ok(Load::Absent) => return absent(leader, self.options.negative_ms),
            Ok(Load::AbsentFor(ttl)) => return absent(leader, millis(ttl)),
            Err(error) => {
                let error = Arc::new(error);
                leader.land(Landing::Failed(Arc::clone(&error) as Arc<dyn Any + Send + Sync>));
                return old.map(Some).ok_or(LoadError::Loader(error));
            }
        };
        let (bytes, out) = form.fresh(value)?;
        // What cannot be stored is returned all the same.
        let is_stored = engine.store_loaded(key, &bytes, &store.spec, &leader).unwrap_or(false);
        if !is_stored && !leader.flight().is_overtaken() {
            engine.loads.count(LoadCounter::NotStored);
        }
        leader.land(Landing::Value(bytes));
        Ok(Some(out))
    }

    /// All of it, on this thread.
    pub(crate) fn run<F: Form<'c>, E: Send + Sync + 'static>(
        &self,
        form: &F,
        loader: impl FnOnce() -> std::result::Result<Load<F::Value>, E>,
    ) -> std::result::Result<Option<F::Out>, LoadError<E>> {
        let mut is_first = true;
        loop {
            match self.next(form, is_first)? {
                Next::Done(found) => return Ok(found),
                Next::Wait(flight) => {
                    let landing = recursion::wait(&flight)?;
                    if let Some(found) = self.arrived(form, landing)? {
                        return Ok(found);
                    }
                }
                Next::Lead(leader, old) => {
                    let loaded = {
                        let _entered = recursion::enter(leader.flight());
                        loader()
                    };
                    return self.land(form, leader, old, loaded);
                }
            }
            is_first = false;
        }
    }

    /// All of it, as a future.
    #[cfg(feature = "async")]
    pub(crate) async fn run_async<F: Form<'c>, E: Send + Sync + 'static>(
        &self,
        form: &F,
        loader: impl Future<Output = std::result::Result<Load<F::Value>, E>>,
    ) -> std::result::Result<Option<F::Out>, LoadError<E>> {
        let mut is_first = true;
        loop {
            match self.next(form, is_first)? {
                Next::Done(found) => return Ok(found),
                Next::Wait(flight) => {
                    let landing = super::future::Waiting::new(flight).await?;
                    if let Some(found) = self.arrived(form, landing)? {
                        return Ok(found);
                    }
                }
                Next::Lead(leader, old) => {
                    let loaded = super::future::Running::new(leader.flight(), loader).await;
                    return self.land(form, leader, old, loaded);
                }
            }
            is_first = false;
        }
    }
}
