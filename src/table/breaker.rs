//! The breaker of one function in one region: what live traffic teaches about the pair.
//!
//! ```text
//!             5 faults, half of its calls               time is up
//!   Closed ──────────────────────────────▶ Open ───────────────────────▶ Trial
//!     ▲                                      ▲   2 faults: twice as long    │
//!     │                                      └──────────────────────────────┤
//!     └─────────────────────────────────────────────────────────────────────┘ no fault for a while
//! ```
//!
//! Pure. Only the platform's faults count (a connection that broke before the answer, a region that declined), never a
//! status of the container. "Not deployed here" is no fault: it just skips the pair for a while. A pair that failed for
//! want of workers is well again when a report says that workers have come, without a trial: that was all that was wrong
//! with it. Kept only for pairs with something to remember, so its memory is bounded.

use std::time::{Duration, Instant};

use super::facts::Lesson;
use super::window::Window;

/// Fewer faults than this in ten seconds are bad luck.
const FAULTS: u32 = 5;
/// The share of calls that must have failed.
const RATIO: f64 = 0.5;
/// In a trial so few faults are enough.
const TRIAL_FAULTS: u32 = 2;
/// How long it stays open the first time; doubles up to [`OPEN_MAX`].
const OPEN: Duration = Duration::from_secs(5);
const OPEN_MAX: Duration = Duration::from_secs(60);
/// A trial without faults ends well after this long.
const TRIAL: Duration = Duration::from_secs(5);
/// How long "not deployed here" is believed.
const ABSENT: Duration = Duration::from_secs(30);

/// One function in one region.
#[derive(Debug)]
pub(super) struct Breaker {
    state: State,
    absent_until: Option<Instant>,
    window: Window,
    /// Calls of the pair when they were last counted.
    sent: u32,
    faults: u32,
    /// Faults that had another cause than the want of workers, since it was closed last.
    others: u32,
    /// Whether there were workers when a report last said.
    staffed: bool,
    trips: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Instant },
    Trial { until: Instant },
}

// === impl Breaker ===

impl Breaker {
    /// `sent` counts the pair's calls, for ever and wrapping; `staffed` says whether reports know of workers.
    pub(super) const fn new(now: Instant, sent: u32, staffed: bool) -> Self {
        Self {
            state: State::Closed,
            absent_until: None,
            window: Window::new(now),
            sent,
            faults: 0,
            others: 0,
            staffed,
            trips: 0,
        }
    }

    /// The platform failed a call.
    pub(super) fn fault(&mut self, sent: u32, now: Instant) {
        self.others = self.others.saturating_add(1);
        self.idle(sent, now);
    }

    /// A call found nobody to run it.
    pub(super) fn idle(&mut self, sent: u32, now: Instant) {
        self.faults += 1;
        self.tick(sent, now);
    }

    /// A report says whether there are workers. If they have come, what failed for want of them is forgotten. A report that was
    /// made before they were lost says what the one before said, and changes nothing.
    pub(super) fn reported(&mut self, staffed: bool) {
        let came = staffed && !self.staffed;
        self.staffed = staffed;
        if came && self.others < FAULTS {
            self.window.clear();
            self.faults = 0;
            self.close();
        }
    }

    /// The region says that the function is not deployed there.
    pub(super) fn absent(&mut self, now: Instant) {
        self.absent_until = Some(now + ABSENT);
    }

    /// The region reports it as deployed, later than it said that it is not.
    pub(super) const fn deployed(&mut self) {
        self.absent_until = None;
    }

    /// Counts what was sent, and lets time take effect.
    pub(super) fn tick(&mut self, sent: u32, now: Instant) {
        let calls = sent.wrapping_sub(self.sent).max(self.faults);
        let bad = std::mem::take(&mut self.faults);
        self.sent = sent;
        self.window.add(calls - bad, bad, now);
        if self.absent_until.is_some_and(|until| now >= until) {
            self.absent_until = None;
        }
        let bad = self.window.bad(now);
        match self.state {
            // What failed ten seconds ago is over.
            State::Closed if bad == 0 => self.others = 0,
            State::Closed if bad >= FAULTS && self.window.bad_ratio(now, FAULTS) >= RATIO => {
                self.open(now);
            }
            State::Open { until } if now >= until => {
                self.window.clear();
                self.state = State::Trial { until: now + TRIAL };
            }
            State::Trial { .. } if bad >= TRIAL_FAULTS => self.open(now),
            State::Trial { until } if now >= until => {
                self.window.clear();
                self.close();
            }
            _ => {}
        }
    }

    /// What the fact should say.
    pub(super) const fn lesson(&self) -> Lesson {
        match (self.state, self.absent_until) {
            (_, Some(_)) => Lesson::Absent,
            (State::Open { .. }, None) => Lesson::Broken,
            (State::Trial { .. }, None) => Lesson::Trial,
            (State::Closed, None) => Lesson::None,
        }
    }

    /// Whether there is nothing to remember.
    pub(super) fn is_idle(&mut self, now: Instant) -> bool {
        self.lesson() == Lesson::None && self.window.bad(now) == 0
    }

    fn close(&mut self) {
        self.state = State::Closed;
        self.others = 0;
    }

    fn open(&mut self, now: Instant) {
        let time = OPEN.saturating_mul(1 << self.trips.min(8)).min(OPEN_MAX);
        self.trips += 1;
        self.window.clear();
        self.state = State::Open { until: now + time };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// So many calls, of which so many failed, then the lesson.
    fn after(calls: u32, faults: u32) -> (Breaker, Instant) {
        let now = Instant::now();
        let mut breaker = Breaker::new(now, 0, true);
        for n in 1..=faults {
            breaker.fault(calls * n / faults, now);
        }
        (breaker, now)
    }

    #[test]
    fn opens_when_most_calls_fail_and_not_before() {
        for (calls, faults, lesson) in [
            (4, 4, Lesson::None),
            (5, 5, Lesson::Broken),
            (100, 20, Lesson::None),
            (20, 12, Lesson::Broken),
        ] {
            assert_eq!(
                after(calls, faults).0.lesson(),
                lesson,
                "{faults} of {calls}"
            );
        }
    }

    #[test]
    fn returns_by_a_trial_and_waits_longer_after_a_relapse() {
        let (mut breaker, start) = after(10, 10);
        breaker.tick(10, start + 4 * SECOND);
        assert_eq!(breaker.lesson(), Lesson::Broken);
        breaker.tick(10, start + 5 * SECOND);
        assert_eq!(breaker.lesson(), Lesson::Trial);
        breaker.fault(11, start + 6 * SECOND);
        breaker.fault(12, start + 6 * SECOND);
        assert_eq!(breaker.lesson(), Lesson::Broken);
        breaker.tick(12, start + 15 * SECOND);
        assert_eq!(breaker.lesson(), Lesson::Broken, "ten seconds this time");
        breaker.tick(12, start + 16 * SECOND);
        assert_eq!(breaker.lesson(), Lesson::Trial);
        breaker.tick(40, start + 21 * SECOND);
        assert_eq!(breaker.lesson(), Lesson::None);
        assert!(breaker.is_idle(start + 21 * SECOND));
    }

    #[test]
    fn workers_that_come_close_what_their_want_has_opened() {
        let now = Instant::now();
        for (others, expected) in [(0, Lesson::None), (4, Lesson::None), (5, Lesson::Broken)] {
            let mut breaker = Breaker::new(now, 0, true);
            for n in 1..=10 {
                match n <= others {
                    true => breaker.fault(n, now),
                    false => breaker.idle(n, now),
                }
            }
            breaker.reported(true);
            assert_eq!(breaker.lesson(), Lesson::Broken, "it was made before");
            breaker.reported(false);
            breaker.tick(10, now + SECOND);
            assert_eq!(breaker.lesson(), Lesson::Broken, "nobody has come");
            breaker.reported(true);
            assert_eq!(breaker.lesson(), expected, "{others} had other causes");
            breaker.tick(10, now + SECOND);
            assert_eq!(breaker.lesson(), expected);
        }
    }

    #[test]
    fn what_was_known_without_workers_is_closed_by_the_first() {
        let now = Instant::now();
        let mut breaker = Breaker::new(now, 0, false);
        (1..=5).for_each(|n| breaker.idle(n, now));
        breaker.tick(5, now + 5 * SECOND);
        assert_eq!(breaker.lesson(), Lesson::Trial);
        breaker.reported(true);
        assert_eq!(breaker.lesson(), Lesson::None);
        assert!(breaker.is_idle(now + 5 * SECOND));
    }

    #[test]
    fn absence_is_believed_for_half_a_minute_or_until_a_report() {
        let now = Instant::now();
        let mut breaker = Breaker::new(now, 0, true);
        breaker.absent(now);
        breaker.tick(0, now + 29 * SECOND);
        assert_eq!(breaker.lesson(), Lesson::Absent);
        breaker.tick(0, now + 30 * SECOND);
        assert_eq!(breaker.lesson(), Lesson::None);
        breaker.absent(now);
        breaker.deployed();
        assert_eq!(breaker.lesson(), Lesson::None);
    }
}
