//! Notices that the working set has changed, so that what was worth much need not be waited for to age.
//!
//! After such a change, what was there before is not used any more, and what is new comes back soon after it had to
//! leave. Both are looked for once a tick, of which there are [`TICKS`] in a turnover (as many bytes missed as the
//! cache holds):
//!
//! ```text
//!            the old are used much less than usual                 newcomers come back
//!   usual ───────────────────────────────────────► suspicion ─────────────────────────► change
//!     ▲     (from here on, "old" is: unused since)     │                                   │
//!     └────────────────────────────────────────────────┴───────────────────────────────────┘
//!       the old are used again, none of them are left, [`LASTS`] ticks are over; nobody wants the new
//! ```
//! *Are the old used?* Of the items that some looks at protected show, a few are remembered with their bits, the larger
//! the likelier (priority sampling: Duffield, Lund and Thorup 2007); a tick later those whose bits have changed were
//! used. The share of the bytes that was is held against its running mean by a cumulative sum (Page 1954): the
//! logarithm of how much likelier the uses seen are if the rate has dropped to 1 / [`DROP`] than if it is the usual
//! one, never below zero.
//!
//! *Are the new wanted?* They are, as many as come back within a quarter of a turnover of having left probation,
//! and, during a change (when they do not have to leave), as many as are promoted. What comes back having left
//! protected counts against. In a scan nothing comes back; in a loop nothing comes back soon.
//!
//! During a change, what was used last before the suspicion is *stale* ([`Shift::stale_before`]).
//!
//! 1. At most [`SAMPLE`] items are remembered, none twice; those that are gone do not count.
//! 2. A mark is above the clocks at its time, which then move on to it; so nothing that is used since is old.

use super::sample::Rng;
use super::value::{PROBATION, PROTECTED};
use super::{Bits, Candidate, Store};

/// Ticks in a turnover.
const TICKS: u64 = 16;
/// Items whose use is watched.
const SAMPLE: usize = 64;
/// Looks in a tick from which they are drawn: one for so many misses of the last tick, at least, and at most. They come
/// first in a tick, so that there is time for a use.
const LOOK_EVERY: u64 = 16;
const LOOKS_MIN: u64 = 24;
const LOOKS_MAX: u64 = 1024;
/// Ticks of which the running mean tells, and those at first that only teach it.
const USUAL_TICKS: f64 = 32.0;
const LEARNS: f64 = 4.0;
/// The drop of the rate of uses that is looked for, and the scores at which it is suspected, and believed: low and
/// high, because a suspicion costs little, and from then on only old items are watched. At zero it is gone.
const DROP: f64 = 8.0;
const SUSPECT: f64 = 3.0;
const BELIEVED: f64 = 6.0;
const SCORE_MAX: f64 = 18.0;
/// While this part of the usual uses is still seen, no change begins ...
const GOOD_PART: f64 = 0.25;
/// ... and in the first ticks of a suspicion the mark is made again.
const SETTLES: u64 = 1;
/// Ticks in which a suspicion has to be believed. Later the old are the least used anyway.
const DOUBT: u64 = 6;
/// New items are wanted when so many of them, and this share of the misses, tell so ...
const WANTED_MIN: f64 = 5.0;
const WANTED_SHARE: f64 = 0.03;
/// ... and this many times those that tell against it.
const TO_OLD: f64 = 2.0;
/// "Lately" is within this part of a turnover.
const LATELY: u64 = 4;
/// What is left of these counts a tick later.
const FADE: f64 = 0.75;
/// Ticks that suspicion and change last together, at most.
const LASTS: u64 = 32;
/// The share of protected's bytes below which no old ones are left.
const NONE_LEFT: f64 = 0.01;

#[derive(Debug)]
pub(crate) struct Shift<H> {
    rng: Rng,
    /// Bytes that arrived since the last tick.
    arrived: u64,
    due: bool,
    /// Misses since the last tick, and looks still to come.
    missed: u64,
    looks: u64,
    sample: Sample<H>,
    /// What the look that is under way has added to the sample.
    drawn: Vec<Candidate<H>>,
    /// Bytes of protected that looks showed since the last tick: those of old items, and all.
    old: f64,
    all: f64,
    /// Ticks that told of uses, up to [`USUAL_TICKS`], and the mean share of the sample that is used in a tick.
    ticks: f64,
    usual: f64,
    /// How much likelier a drop of the rate is, as a logarithm.
    score: f64,
    news: News,
    mark: Option<Mark>,
}

/// Items of protected, drawn so that each stands for as many bytes as the others, but for those that are larger than
/// that.
#[derive(Debug)]
struct Sample<H> {
    items: Vec<Watched<H>>,
    /// The highest priority that found no place: the bytes that an item stands for at least.
    beaten: f64,
}

#[derive(Debug)]
struct Watched<H> {
    handle: H,
    hash: Option<u64>,
    bits: Bits,
    size: f64,
    /// Size divided by a number drawn evenly from 0 to 1.
    priority: f64,
}

/// Misses, and what they tell of the new and the old items; fading.
#[derive(Debug, Clone, Copy, Default)]
struct News {
    misses: f64,
    /// On items that left this region lately.
    back: [f64; 2],
    promoted: f64,
}

/// When the suspicion arose.
#[derive(Debug, Clone, Copy)]
struct Mark {
    /// Both regions' clocks, in quanta.
    clock: [u64; 2],
    /// Ticks since.
    ticks: u64,
    is_change: bool,
}

impl<H: Copy + PartialEq> Shift<H> {
    pub(crate) fn new(seed: u64) -> Self {
        Shift {
            rng: Rng::new(!seed),
            arrived: 0,
            due: false,
            missed: 0,
            looks: LOOKS_MIN,
            sample: Sample { items: Vec::with_capacity(SAMPLE), beaten: 0.0 },
            drawn: Vec::new(),
            old: 0.0,
            all: 0.0,
            ticks: 0.0,
            usual: 0.0,
            score: 0.0,
            news: News::default(),
            mark: None,
        }
    }

    pub(crate) fn memory(&self) -> u64 {
        (self.sample.items.capacity() * size_of::<Watched<H>>() + self.drawn.capacity() * size_of::<Candidate<H>>())
            as u64
    }

    /// A miss of `size` bytes.
    pub(crate) fn arrives(&mut self, size: u32, capacity: u64) {
        self.news.misses += 1.0;
        self.missed += 1;
        self.arrived += u64::from(size);
        if self.arrived >= capacity / TICKS {
            self.arrived = 0;
            self.due = true;
        }
    }

    /// The miss was on an item that left this region `ago` bytes ago.
    pub(crate) fn returns(&mut self, from: usize, ago: u64, capacity: u64) {
        if ago <= capacity / LATELY {
            self.news.back[from] += 1.0;
        }
    }

    /// Whether another look at protected is wanted.
    pub(crate) fn wants_more(&self) -> bool {
        self.looks > 0
    }

    /// A look shows an item of protected that was used last when the clock stood at `used`.
    pub(crate) fn see(&mut self, candidate: &Candidate<H>, used: u64) {
        let size = u64::from(candidate.size);
        self.all += size as f64;
        if self.mark.is_some_and(|mark| used >= mark.clock[PROTECTED]) {
            return;
        }
        self.old += size as f64;
        // Above 0, at most 1.
        let even = ((self.rng.next() >> 11) + 1) as f64 / (1u64 << 53) as f64;
        if self.sample.offer(candidate, size as f64 / even) {
            self.drawn.push(*candidate);
        }
    }

    /// The look is over: what it has added to the sample is watched from now on, by `watch`. It gives an item bits that
    /// its next use changes, and returns them and the hash of its key.
    pub(crate) fn looked(&mut self, mut watch: impl FnMut(&Candidate<H>) -> (Bits, Option<u64>)) {
        self.looks -= 1;
        for candidate in self.drawn.drain(..) {
            if let Some(watched) = self.sample.items.iter_mut().find(|watched| watched.handle == candidate.handle) {
                (watched.bits, watched.hash) = watch(&candidate);
            }
        }
    }

    /// Whether [`tick`](Self::tick) is to be called.
    pub(crate) fn is_due(&self) -> bool {
        self.due
    }

    /// Judges anew. `clock` is that of both regions in quanta, `promoted` the number of items promoted since the last
    /// tick. True when both clocks have to move on by a quantum. That tells what is used from now on from what was used
    /// before; and it lets newcomers be promoted while only stale items leave, which moves no clock.
    pub(crate) fn tick<S: Store<Handle = H>>(&mut self, store: &S, clock: [u64; 2], promoted: u64) -> bool {
        self.due = false;
        self.news.promoted += promoted as f64;
        let are_used = self.count_uses(store);
        let after = clock.map(|clock| clock + 1);
        match self.mark {
            None if self.score > SUSPECT => {
                self.mark = Some(Mark { clock: after, ticks: 0, is_change: false });
                self.news = News::default();
            }
            None => {}
            Some(mark) => {
                self.mark = self.judge(mark, after, are_used);
                if self.mark.is_none() {
                    self.score = 0.0;
                }
            }
        }
        self.news.fade();
        (self.old, self.all) = (0.0, 0.0);
        self.mark.is_some_and(|mark| mark.is_change || mark.ticks <= SETTLES)
    }

    /// What becomes of a suspicion, or of a change. `after` is what the clocks will be.
    fn judge(&mut self, mut mark: Mark, after: [u64; 2], are_used: bool) -> Option<Mark> {
        mark.ticks += 1;
        let is_unlikely = self.score <= if mark.is_change || mark.ticks < DOUBT { 0.0 } else { BELIEVED };
        let is_unwanted = mark.is_change && !self.news.is_still_wanted();
        if is_unlikely || is_unwanted || self.old <= NONE_LEFT * self.all {
            return None;
        }
        if mark.ticks > LASTS {
            if !mark.is_change {
                // The old are used little, but nothing else is wanted: this is the usual from now on.
                self.usual /= 2.0;
            }
            return None;
        }
        if !mark.is_change && are_used && mark.ticks <= SETTLES {
            mark.clock = after;
        }
        mark.is_change |= !are_used && self.score > BELIEVED && self.news.is_wanted();
        Some(mark)
    }

    /// Looks which items of the sample were used, and what that tells; empties the sample. Whether a good part was.
    fn count_uses<S: Store<Handle = H>>(&mut self, store: &S) -> bool {
        let (mut all, mut squares, mut used) = (0.0, 0.0, 0.0);
        let beaten = std::mem::take(&mut self.sample.beaten);
        self.looks = (std::mem::take(&mut self.missed) / LOOK_EVERY).clamp(LOOKS_MIN, LOOKS_MAX);
        for watched in self.sample.items.drain(..) {
            let weight = watched.size.max(beaten);
            // When the table has changed its size, or a page was moved, they are elsewhere.
            let elsewhere = || watched.hash.and_then(|hash| store.find(hash, |_| true));
            if let Some(now) = store.get(watched.handle).or_else(elsewhere) {
                all += weight;
                squares += weight * weight;
                used += if now.bits == watched.bits { 0.0 } else { weight };
            }
        }
        if all <= 0.0 {
            return false;
        }
        // Items of unequal weight tell as much as so many of equal weight.
        let (count, share) = (all * all / squares, used / all);
        if self.ticks >= LEARNS {
            let likelier = count * (self.usual * (1.0 - 1.0 / DROP) - share * DROP.ln());
            self.score = (self.score + likelier).clamp(0.0, SCORE_MAX);
        }
        if self.mark.is_none() {
            self.ticks = (self.ticks + 1.0).min(USUAL_TICKS);
            self.usual += (share - self.usual) / self.ticks;
        }
        share > GOOD_PART * self.usual
    }

    /// Items of a region that were used last before its clock stood here are stale.
    pub(crate) fn stale_before(&self) -> [u64; 2] {
        self.mark.filter(|mark| mark.is_change).map_or([0; 2], |mark| mark.clock)
    }

    pub(crate) fn check(&self) {
        let items = &self.sample.items;
        assert!(items.len() <= SAMPLE && (0.0..=SCORE_MAX).contains(&self.score));
        assert!((0.0..=1.0).contains(&self.usual));
        for (i, watched) in items.iter().enumerate() {
            assert!(items[..i].iter().all(|other| other.handle != watched.handle));
        }
    }
}

impl<H: Copy + PartialEq> Sample<H> {
    /// Takes an item in if there is a place, or one of lower priority. Whether it was taken.
    fn offer(&mut self, candidate: &Candidate<H>, priority: f64) -> bool {
        if priority <= self.beaten {
            return false;
        }
        if self.items.iter().any(|watched| watched.handle == candidate.handle) {
            return false;
        }
        let &Candidate { handle, bits, size } = candidate;
        let new = Watched { handle, hash: None, bits, size: f64::from(size), priority };
        if self.items.len() < SAMPLE {
            self.items.push(new);
            return true;
        }
        let least = self.items.iter_mut().min_by(|a, b| a.priority.total_cmp(&b.priority));
        let Some(least) = least.filter(|least| least.priority < priority) else {
            self.beaten = priority;
            return false;
        };
        self.beaten = least.priority;
        *least = new;
        true
    }
}

impl News {
    /// Whether newcomers come back, and those of before do not.
    fn is_wanted(&self) -> bool {
        let back = self.back[PROBATION];
        back >= WANTED_MIN.max(WANTED_SHARE * self.misses) && back > TO_OLD * self.back[PROTECTED]
    }

    /// The same while the old leave first: most newcomers stay, and are promoted when they are used.
    fn is_still_wanted(&self) -> bool {
        let used = self.back[PROBATION] + self.promoted;
        used >= WANTED_SHARE * self.misses && used >= self.back[PROTECTED]
    }

    fn fade(&mut self) {
        for count in [&mut self.misses, &mut self.promoted].into_iter().chain(&mut self.back) {
            *count *= FADE;
        }
    }
}
