//! When the working set changes: compares what remembering frequency gains with what it costs.
//!
//! Beside every item that LRU would not have, the value policy lacks one that LRU would have. What the first bring are
//! hits on protected items that were unused for long: the gain. What the second cost are misses on items that left
//! lately and were used lately: the regret. Where popularity lasts, the gain is the larger. When all keys change at
//! once, the gain stops while the regret goes on: then, for one turnover, protected items last used before the change
//! are *stale*, and leave first, the longest unused of them before the others, as under LRU.
//!
//! Time is counted in ticks, [`TICKS`] to a turnover (as many bytes arrived as the cache holds). "Lately" is within
//! [`HORIZON`] ticks: less than a turnover, because hits on older items push down an LRU list too.
//!
//! 1. A mark is made at each tick; `marks` holds the last [`TICKS`] of them, in a ring.
//! 2. `before` is at most the protected clock at the change, so that nothing used since then is stale.

use super::value::PROTECTED;

/// Ticks in a turnover.
const TICKS: u64 = 16;
/// Ticks that "lately" spans. 12 makes the change known later, and more misses are taken for regret.
const HORIZON: u64 = 8;
/// A change is seen when the regret is worth this many misses ...
const REGRET_MIN: f64 = 5.0;
/// ... and this share of all misses ...
const REGRET_SHARE: f64 = 0.01;
/// ... and this many times the gain ...
const REGRET_TO_GAIN: f64 = 8.0;
/// ... while at least this share of protected's items was not used lately.
const UNUSED_SHARE: f64 = 0.2;
/// Ticks that stale items leave first, unless the gain is back before: this many times the regret.
const LASTS: u64 = 16;
const GAIN_IS_BACK: f64 = 0.5;
/// What is left, a tick later, of the regret and the misses counted; and of the gain, which has to be seen to stop.
const FADE: f64 = 0.35;
const GAIN_FADES: f64 = 0.1;
/// The weight of one eviction in the mean age at eviction.
const AGE_STEP: f64 = 1.0 / 64.0;

/// How things stood at a tick.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mark {
    /// The regions' clocks, in quanta.
    pub(crate) clock: [u64; 2],
    /// Bytes that had left the regions.
    pub(crate) left: [u64; 2],
}

#[derive(Debug)]
pub(crate) struct Regret {
    marks: [Mark; TICKS as usize],
    ticks: u64,
    /// Bytes that arrived since the last tick.
    arrived: u64,
    /// Mean ticks that an item was unused when it left, by region.
    ages: [f64; 2],
    misses: f64,
    regret: f64,
    gain: f64,
    /// Items of protected seen since the last tick by those who looked for victims: unused lately, and all.
    unused: u64,
    looked_at: u64,
    /// Protected's clock when the last change was seen, and the tick until which it matters.
    change: u64,
    until: u64,
}

impl Regret {
    pub(crate) fn new() -> Self {
        Regret {
            marks: [Mark::default(); TICKS as usize],
            ticks: 0,
            arrived: 0,
            ages: [0.0; 2],
            misses: 0.0,
            regret: 0.0,
            gain: 0.0,
            unused: 0,
            looked_at: 0,
            change: 0,
            until: 0,
        }
    }

    /// A miss of `size` bytes. True when a tick is due.
    pub(crate) fn arrives(&mut self, size: u32, capacity: u64) -> bool {
        self.misses += 1.0;
        self.arrived += u64::from(size);
        let due = self.arrived >= capacity / TICKS;
        if due {
            self.arrived = 0;
        }
        due
    }

    /// An item came back whose region has lost `ago` bytes since it left, and `left` bytes in all. It is regretted
    /// when LRU would still have it: when its time out of the cache and the usual time unused before are together
    /// within the horizon.
    pub(crate) fn returns(&mut self, from: usize, ago: u64, left: u64) {
        let within = HORIZON as f64 - self.ages[from];
        if within >= 0.0
            && let Some(mark) = self.mark(within as u64)
            && ago <= left.saturating_sub(mark.left[from])
        {
            self.regret += 1.0;
        }
    }

    /// An item left that was last used at this clock of its region.
    pub(crate) fn evicted(&mut self, region: usize, stamp: u64) {
        let used_before = |&ago: &u64| self.mark(ago).is_none_or(|mark| mark.clock[region] <= stamp);
        let age = (0..TICKS).find(used_before).unwrap_or(TICKS);
        self.ages[region] += (age as f64 - self.ages[region]) * AGE_STEP;
    }

    /// What a look for victims showed of protected: items unused lately, and all.
    pub(crate) fn looked(&mut self, unused: u64, all: u64) {
        self.unused += unused;
        self.looked_at += all;
    }

    /// A tick: marks it and judges. `gain` counts the hits since the last tick on protected items unused lately. True
    /// when a change is seen: then protected's clock has to move on, for what was used before to be told from what is
    /// used now.
    pub(crate) fn tick(&mut self, now: Mark, gain: u64) -> bool {
        self.marks[(self.ticks % TICKS) as usize] = now;
        self.ticks += 1;
        self.gain += gain as f64;
        let least = REGRET_MIN.max(REGRET_SHARE * self.misses).max(REGRET_TO_GAIN * self.gain);
        let many_unused = self.unused as f64 > UNUSED_SHARE * self.looked_at as f64;
        let changed = !self.is_change() && many_unused && self.regret > least;
        if changed {
            self.change = now.clock[PROTECTED] + 1;
            self.until = self.ticks + LASTS;
        } else if self.gain >= REGRET_MIN && self.gain > GAIN_IS_BACK * self.regret {
            self.until = 0;
        }
        self.gain *= GAIN_FADES;
        self.regret *= FADE;
        self.misses *= FADE;
        (self.unused, self.looked_at) = (0, 0);
        changed
    }

    /// Whether the working set is taken to be changing.
    pub(crate) fn is_change(&self) -> bool {
        self.ticks < self.until
    }

    /// Protected's clock one horizon ago: an item stamped before was not used lately. `None` in the beginning.
    pub(crate) fn lately(&self) -> Option<u64> {
        self.mark(HORIZON).map(|mark| mark.clock[PROTECTED])
    }

    /// Protected items stamped before this are stale.
    pub(crate) fn stale_before(&self) -> u64 {
        if self.is_change() { self.lately().map_or(0, |lately| lately.min(self.change)) } else { 0 }
    }

    /// The mark of so many ticks ago.
    fn mark(&self, ago: u64) -> Option<&Mark> {
        (ago < self.ticks.min(TICKS)).then(|| &self.marks[((self.ticks - 1 - ago) % TICKS) as usize])
    }
}

const _: () = assert!(HORIZON < TICKS);
