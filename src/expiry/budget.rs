//! How much of a core maintenance may take: a leaky bucket of CPU time.

use std::time::Duration;

/// Allows work for a share of the time that passes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CpuShare {
    /// From 0 (exclusive) to 1.
    share: f64,
    /// CPU time that may be used now; never more than a fifth of a second's worth, so that a burst stays close to the
    /// share.
    credit: Duration,
    /// CPU time used beyond the credit.
    debt: Duration,
}

impl CpuShare {
    pub(crate) fn new(share: f64) -> CpuShare {
        CpuShare { share, credit: Duration::ZERO, debt: Duration::ZERO }
    }

    /// Time has passed.
    pub(crate) fn earn(&mut self, passed: Duration) {
        let most = Duration::from_secs_f64(0.2 * self.share);
        let earned = passed.mul_f64(self.share);
        let paid = earned.min(self.debt);
        self.debt -= paid;
        self.credit = (self.credit + earned - paid).min(most);
    }

    /// There was nothing to do: what was earned meanwhile is not kept for later, so that the share holds for any
    /// stretch of work.
    pub(crate) fn idle(&mut self) {
        self.credit = Duration::ZERO;
    }

    /// What may be used now.
    pub(crate) fn credit(&self) -> Duration {
        self.credit
    }

    /// Work was done.
    pub(crate) fn spend(&mut self, used: Duration) {
        // What was used too much is paid back before anything is earned.
        self.debt += used.saturating_sub(self.credit);
        self.credit = self.credit.saturating_sub(used);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spends_what_it_earned() {
        let mut share = CpuShare::new(0.05);
        share.earn(Duration::from_millis(100));
        assert_eq!(share.credit(), Duration::from_millis(5));
        share.spend(Duration::from_millis(4));
        assert_eq!(share.credit(), Duration::from_millis(1));
        share.earn(Duration::from_secs(1000));
        assert_eq!(share.credit(), Duration::from_millis(10));
        share.spend(Duration::from_millis(15));
        share.earn(Duration::from_millis(100));
        assert_eq!(share.credit(), Duration::ZERO, "five were spent on credit");
        share.earn(Duration::from_millis(100));
        assert_eq!(share.credit(), Duration::from_millis(5));
    }
}
