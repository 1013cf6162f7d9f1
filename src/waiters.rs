//! Wakers of futures that wait, found by their places: to come, to be polled again and to leave take the same time
//! however many they are.
//!
//! ```text
//!  seats   ┌───────┬──────┬───────┬───────┬──────┐
//!          │ waker │ free │ waker │ called│ free │      free ones are a chain, the last left first
//!          └───────┴──────┴───────┴───────┴──────┘
//! ```
//! Invariants:
//! 1. A future's number is one more than its place, and 0 before it has one. It keeps the place until it leaves.
//! 2. `waiting` is the number of wakers.
//! 3. Cloning, calling and dropping a waker is the program's code: it is done by the callers, outside of their locks.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

#[derive(Debug)]
enum Seat {
    Waiting(Waker),
    /// One more than the next place that is free, 0 if there is none; [`CALLED`] if it is somebody's who was called.
    Empty(usize),
}

const CALLED: usize = usize::MAX;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    seats: Vec<Seat>,
    /// One more than the first place that is free; 0 if there is none.
    free: usize,
    waiting: usize,
}

#[cfg_attr(not(feature = "async"), allow(dead_code, reason = "only futures wait here"))]
impl Waiters {
    /// Keeps the waker of who has this number, or gets one now. Returns the one that was kept before, and by how many
    /// bytes the list has grown.
    pub(crate) fn keep(&mut self, number: &mut usize, waker: Waker) -> (Option<Waker>, u64) {
        let mut grown = 0;
        if *number == 0 {
            let before = self.seats.capacity();
            *number = self.take_seat();
            grown = ((self.seats.capacity() - before) * size_of::<Seat>()) as u64;
        }
        let Some(seat) = self.seats.get_mut(*number - 1) else { return (Some(waker), grown) };
        self.waiting += 1;
        match std::mem::replace(seat, Seat::Waiting(waker)) {
            Seat::Waiting(old) => {
                self.waiting -= 1;
                (Some(old), grown)
            }
            Seat::Empty(_) => (None, grown),
        }
    }

    fn take_seat(&mut self) -> usize {
        let number = self.free;
        match number.checked_sub(1).and_then(|place| self.seats.get_mut(place)) {
            Some(seat) => {
                if let Seat::Empty(next) = *seat {
                    self.free = next;
                }
                *seat = Seat::Empty(CALLED);
                number
            }
            None => {
                self.seats.push(Seat::Empty(CALLED));
                self.seats.len()
            }
        }
    }

    /// Whoever has this number gives it up. Returns the waker, if it was not called.
    pub(crate) fn leave(&mut self, number: usize) -> Option<Waker> {
        let seat = number.checked_sub(1).and_then(|place| self.seats.get_mut(place))?;
        let left = std::mem::replace(seat, Seat::Empty(self.free));
        self.free = number;
        match left {
            Seat::Waiting(waker) => {
                self.waiting -= 1;
                Some(waker)
            }
            Seat::Empty(_) => None,
        }
    }

    /// All wakers, to be called.
    pub(crate) fn take_all(&mut self) -> Vec<Waker> {
        if self.waiting == 0 {
            return Vec::new();
        }
        self.waiting = 0;
        let mut wakers = Vec::new();
        for seat in &mut self.seats {
            if matches!(seat, Seat::Waiting(_))
                && let Seat::Waiting(waker) = std::mem::replace(seat, Seat::Empty(CALLED))
            {
                wakers.push(waker);
            }
        }
        wakers
    }
}

/// Calls all of them. A waker that panics keeps none of the others from being called; the last panic is returned.
pub(crate) fn wake_all(wakers: Vec<Waker>) -> Option<Box<dyn Any + Send>> {
    let mut panic = None;
    for waker in wakers {
        panic = catch_unwind(AssertUnwindSafe(|| waker.wake())).err().or(panic);
    }
    panic
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::task::Wake;

    use super::*;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    fn counting() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        (Arc::clone(&count), Waker::from(count))
    }

    #[test]
    fn places_are_taken_again_and_each_who_waits_is_called_once() {
        let ((count, waker), mut waiters) = (counting(), Waiters::default());
        let mut numbers = [0; 100];
        let keep = |waiters: &mut Waiters, numbers: &mut [usize]| {
            numbers.iter_mut().for_each(|number| drop(waiters.keep(number, waker.clone())));
        };
        keep(&mut waiters, &mut numbers);
        assert!(numbers.iter().copied().eq(1..=100));
        for number in &mut numbers[20..60] {
            assert!(waiters.leave(std::mem::take(number)).is_some());
        }
        // Polled again, a future keeps its place; a new one takes one that was left.
        keep(&mut waiters, &mut numbers);
        let mut places = numbers;
        places.sort_unstable();
        assert!(places.iter().copied().eq(1..=100), "{places:?}");
        assert!(waiters.leave(numbers[0]).is_some());
        assert!(wake_all(waiters.take_all()).is_none());
        assert_eq!((count.0.load(Relaxed), waiters.waiting), (99, 0));
        assert!(waiters.take_all().is_empty());
        // Who was called may wait again, or leave.
        drop(waiters.keep(&mut numbers[1], waker.clone()));
        assert!(waiters.leave(numbers[2]).is_none());
        assert_eq!(waiters.take_all().len(), 1);
        assert_eq!(Arc::strong_count(&count), 2, "no waker is kept");
    }

    #[test]
    fn many_may_wait() {
        const MANY: usize = 200_000;
        let ((count, waker), mut waiters) = (counting(), Waiters::default());
        let mut numbers = vec![0; MANY];
        // With a search at each of these steps this would take minutes.
        for _ in 0..2 {
            numbers.iter_mut().for_each(|number| drop(waiters.keep(number, waker.clone())));
        }
        numbers.iter().step_by(2).for_each(|&number| drop(waiters.leave(number)));
        wake_all(waiters.take_all());
        assert_eq!(count.0.load(Relaxed), MANY / 2);
    }
}
