//! When items end: which page to sweep next, and how much time the sweeper may take.
//!
//! Nothing is kept per item beside its deadline. A page knows a lower bound of its items' deadlines, and a tree over
//! the pages knows the page whose bound is lowest; sweeping that page removes what has ended and finds the page's next
//! bound.

mod budget;
mod deadlines;

pub(crate) use budget::CpuShare;
pub(crate) use deadlines::Deadlines;
