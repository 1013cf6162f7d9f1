//! How far it is, on standard error, if that is a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar of steps; a step is one measurement, or the filling of one cache.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Draws nothing where standard error is not a terminal (indicatif sees to that).
    pub(crate) fn new(steps: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{elapsed_precise} {wide_bar} {pos}/{len} {msg}") {
            bar.set_style(style);
        }
        Progress(bar)
    }

    /// What is being done now.
    pub(crate) fn at(&self, case: &str, contender: &str) {
        self.0.set_message(format!("{case}: {contender}"));
    }

    pub(crate) fn step(&self) {
        self.0.inc(1);
    }

    /// Prints to standard output, or to standard error, with the bar out of the way.
    pub(crate) fn print(&self, text: &str, to_stderr: bool) {
        self.0.suspend(|| if to_stderr { eprint!("{text}") } else { print!("{text}") });
    }

    pub(crate) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
