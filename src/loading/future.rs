//! The two futures of load-through: running a loader, and waiting for another's. Neither knows of any runtime.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::recursion;
use crate::engine::{Flight, Landing};
use crate::error::Result;

/// A loader that runs. While it is polled, the thread is known to be within it.
pub(super) struct Running<F> {
    flight: Arc<Flight>,
    loader: Pin<Box<F>>,
}

impl<F: Future> Running<F> {
    pub(super) fn new(flight: &Arc<Flight>, loader: F) -> Running<F> {
        Running { flight: Arc::clone(flight), loader: Box::pin(loader) }
    }
}

impl<F: Future> Future for Running<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let flight = Arc::clone(&self.flight);
        let _entered = recursion::enter(&flight);
        self.loader.as_mut().poll(cx)
    }
}

/// Waits for a flight to land. Dropped before, it leaves the flight's list.
pub(super) struct Waiting {
    flight: Arc<Flight>,
    number: usize,
}

impl Waiting {
    pub(super) fn new(flight: Arc<Flight>) -> Waiting {
        Waiting { flight, number: 0 }
    }
}

impl Future for Waiting {
    type Output = Result<Landing>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Landing>> {
        let Waiting { flight, number } = &mut *self;
        if let Err(refusal) = recursion::check(flight) {
            return Poll::Ready(Err(refusal));
        }
        flight.poll(number, cx.waker()).map_or(Poll::Pending, |landing| Poll::Ready(Ok(landing)))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.number != 0 {
            self.flight.leave(self.number);
        }
    }
}
