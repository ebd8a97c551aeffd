//! How often an endpoint fails whoever uses it, though it answers most: what routing prices in the unit of latency.
//!
//! Pure. Calls and checks are counted with a weight that fades, over several spans at once. Each count tells which share of
//! failures is *surely* there: a few failures are forgiven and some good answers assumed, so that one bad call among few
//! says nothing. When a shorter span shows more failures than a longer one, what the longer one remembers of better times
//! is over, and it begins again with what the shorter one knows. So a change shows within a second where there is
//! traffic, and is forgotten over a minute.
//!
//! Failures with nothing good between them have one cause and count once: all the calls on a connection, all the
//! connections to a service that died. What fails everything is no matter of shares; `health.rs` sees to that.

use std::time::Instant;

/// Evidence about one endpoint.
#[derive(Debug, Clone)]
pub(super) struct Risk {
    /// From the shortest span to the longest.
    counts: [Count; SPANS.len()],
    counted: Instant,
    /// Calls that were ever answered there, when the last failure was counted.
    answered: u64,
    /// A check was answered since then.
    checked: bool,
    grey: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    good: f64,
    bad: f64,
}

/// After so many seconds a piece of evidence has e⁻¹ of its weight.
const SPANS: [f64; 4] = [0.5, 2.0, 8.0, 30.0];
const LONGEST: usize = SPANS.len() - 1;
/// Failures that are put down to bad luck.
const LUCK: f64 = 2.0;
/// Good answers that are assumed before there are any.
const ASSUMED: f64 = 10.0;
/// A check that is answered proves less than a call does: it asks less. One that fails does not.
const CHECK: f64 = 0.5;
/// With this share of failures an endpoint is called grey …
const GREY: f64 = 0.01;
/// … until it is down to this.
const WELL: f64 = 0.005;

// === impl Risk ===

impl Risk {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            counts: [Count::default(); SPANS.len()],
            counted: now,
            answered: 0,
            checked: true,
            grey: false,
        }
    }

    /// Calls were answered.
    pub(super) fn answered(&mut self, calls: u32, now: Instant) {
        self.count(f64::from(calls), 0.0, now);
    }

    /// A check was answered.
    pub(super) fn checked(&mut self, now: Instant) {
        self.checked = true;
        self.count(CHECK, 0.0, now);
    }

    /// A call or a check failed by the platform's fault; `answered` counts the calls that were ever answered there.
    pub(super) fn failed(&mut self, answered: u64, now: Instant) {
        if !self.checked && self.answered == answered {
            return;
        }
        (self.checked, self.answered) = (false, answered);
        self.count(0.0, 1.0, now);
    }

    /// Nothing is known of it any more: it went down, or came back.
    pub(super) fn forget(&mut self) {
        self.counts = [Count::default(); SPANS.len()];
        self.grey = false;
    }

    /// The share of calls that surely fails.
    pub(super) fn chance(&self, now: Instant) -> f64 {
        let longest = &self.counts[LONGEST];
        if longest.bad <= LUCK {
            return 0.0;
        }
        longest.faded(self.age(now), SPANS[LONGEST]).share()
    }

    /// Whether it deserves the name: with some inertia, so that a name once given is not taken back at once.
    pub(super) const fn is_grey(&self) -> bool {
        self.grey
    }

    pub(super) fn tick(&mut self, now: Instant) {
        let chance = self.chance(now);
        self.grey = chance >= if self.grey { WELL } else { GREY };
    }

    fn count(&mut self, good: f64, bad: f64, now: Instant) {
        let age = self.age(now);
        self.counted = now;
        for (count, span) in self.counts.iter_mut().zip(SPANS) {
            *count = count.faded(age, span);
            count.good += good;
            count.bad += bad;
        }
        for longer in 1..SPANS.len() {
            let shorter = self.counts[longer - 1];
            if shorter.share() > self.counts[longer].share() {
                self.counts[longer] = shorter;
            }
        }
        self.tick(now);
    }

    fn age(&self, now: Instant) -> f64 {
        now.saturating_duration_since(self.counted).as_secs_f64()
    }
}

// === impl Count ===

impl Count {
    fn faded(self, age: f64, span: f64) -> Self {
        let keep = (-age / span).exp();
        Self {
            good: self.good * keep,
            bad: self.bad * keep,
        }
    }

    fn share(self) -> f64 {
        (self.bad - LUCK).max(0.0) / (self.bad + self.good + ASSUMED)
    }
}

#[cfg(test)]
mod tests;
