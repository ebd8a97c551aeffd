//! The health of one endpoint: thresholds, flap damping, ejection and return.
//!
//! ```text
//!            2 misses, or bad ratio          2 more misses, or bad ratio
//!   Up ───────────────────────▶ Suspect ───────────────────────▶ Down
//!    ▲ ◀─────────────────────────┘ 5 good in a row                 │ 20 good in a row and hold-down over
//!    └──────────────────────── Ramp ◀──────────────────────────────┘
//! ```
//!
//! Silence alone is not death: a miss by time-out makes an endpoint suspect, but only a full second without
//! any answer makes it down, so that a path that became slow is used as what it is. A refused or reset connection needs
//! no such wait. The hold-down doubles with each relapse.

use std::time::{Duration, Instant};

use super::Limits;
use crate::region::Health;

/// How an endpoint failed to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Miss {
    /// Certain: refused, reset, or an answer that says "not well".
    Certain,
    /// No answer in time.
    Silent,
}

/// Everything that decides about one endpoint.
#[derive(Debug, Clone)]
pub(super) struct Monitor {
    health: Health,
    /// Whether it ever answered; one that never did is not held down when it first does.
    known: bool,
    misses: u32,
    certain: u32,
    good: u32,
    silent_since: Option<Instant>,
    since: Instant,
    relapses: u32,
    window: Window,
}

/// Live traffic of the last ten seconds, in one-second buckets.
#[derive(Debug, Clone)]
struct Window {
    buckets: [(u32, u32); 10],
    start: Instant,
    newest: u64,
}

/// A stable minute forgives one relapse.
const FORGIVE: Duration = Duration::from_secs(60);

// === impl Monitor ===

impl Monitor {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            health: Health::Suspect,
            known: false,
            misses: 0,
            certain: 0,
            good: 0,
            silent_since: None,
            since: now,
            relapses: 0,
            window: Window {
                buckets: [(0, 0); 10],
                start: now,
                newest: 0,
            },
        }
    }

    pub(super) const fn health(&self) -> Health {
        self.health
    }

    /// The share of its normal traffic that it should get, from the ramp's floor to 1.
    pub(super) fn weight(&self, now: Instant, limits: &Limits) -> f64 {
        if self.health != Health::Ramp || limits.ramp.is_zero() {
            return 1.0;
        }
        let progress =
            now.saturating_duration_since(self.since).as_secs_f64() / limits.ramp.as_secs_f64();
        progress.clamp(limits.ramp_floor, 1.0)
    }

    /// A check that was answered well.
    pub(super) fn good(&mut self, now: Instant, limits: &Limits) {
        self.misses = 0;
        self.certain = 0;
        self.silent_since = None;
        self.good = self.good.saturating_add(1);
        if !self.known {
            self.known = true;
            self.become_health(Health::Up, now);
        }
        self.tick(now, limits);
    }

    /// A check, or a connection for live traffic, that failed.
    pub(super) fn miss(&mut self, miss: Miss, now: Instant, limits: &Limits) {
        self.good = 0;
        self.misses = self.misses.saturating_add(1);
        if miss == Miss::Certain {
            self.certain = self.certain.saturating_add(1);
        }
        self.silent_since.get_or_insert(now);
        self.tick(now, limits);
    }

    /// What live traffic saw.
    pub(super) fn served(&mut self, good: u32, bad: u32, now: Instant, limits: &Limits) {
        self.window.add(good, bad, now);
        self.tick(now, limits);
    }

    /// Lets rules that depend on time take effect.
    pub(super) fn tick(&mut self, now: Instant, limits: &Limits) {
        let age = now.saturating_duration_since(self.since);
        let ratio = self.window.bad_ratio(now, limits.min_samples);
        match self.health {
            Health::Up | Health::Ramp if self.dead(now, limits) => self.go_down(now),
            Health::Up
                if self.misses >= limits.misses_to_suspect || ratio >= limits.bad_to_suspect =>
            {
                self.become_health(Health::Suspect, now);
            }
            Health::Up if self.relapses > 0 && age >= FORGIVE => {
                self.relapses -= 1;
                self.since = now;
            }
            Health::Ramp
                if self.misses >= limits.misses_to_suspect || ratio >= limits.bad_to_suspect =>
            {
                self.go_down(now);
            }
            Health::Ramp if age >= limits.ramp => self.become_health(Health::Up, now),
            Health::Suspect if self.dead(now, limits) || ratio >= limits.bad_to_down => {
                self.go_down(now)
            }
            Health::Suspect if self.known && self.good >= limits.good_to_up && ratio < 0.05 => {
                self.become_health(Health::Up, now);
            }
            Health::Down if self.good >= limits.good_to_return && age >= self.hold_down(limits) => {
                // What failed while nothing else was left is not held against its return.
                self.window.clear();
                self.become_health(Health::Ramp, now);
            }
            _ => {}
        }
    }

    fn dead(&self, now: Instant, limits: &Limits) -> bool {
        let silent = self
            .silent_since
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        self.certain >= limits.misses_to_down
            || (self.misses >= limits.misses_to_down && silent >= limits.silence_to_down)
    }

    fn go_down(&mut self, now: Instant) {
        if self.known {
            self.relapses = self.relapses.saturating_add(1);
        }
        self.window.clear();
        self.become_health(Health::Down, now);
    }

    fn hold_down(&self, limits: &Limits) -> Duration {
        let doublings = self.relapses.saturating_sub(1).min(16);
        limits
            .hold_down
            .saturating_mul(1 << doublings)
            .min(limits.hold_down_max)
    }

    fn become_health(&mut self, health: Health, now: Instant) {
        self.health = health;
        self.since = now;
    }
}

// === impl Window ===

impl Window {
    fn add(&mut self, good: u32, bad: u32, now: Instant) {
        self.advance(now);
        let length = self.buckets.len() as u64;
        let index = usize::try_from(self.newest % length).unwrap_or_default();
        let bucket = &mut self.buckets[index];
        bucket.0 = bucket.0.saturating_add(good);
        bucket.1 = bucket.1.saturating_add(bad);
    }

    /// Share of bad in the window; 0 below `min` samples.
    fn bad_ratio(&mut self, now: Instant, min: u32) -> f64 {
        self.advance(now);
        let (good, bad) = self.buckets.iter().fold((0u64, 0u64), |sum, b| {
            (sum.0 + u64::from(b.0), sum.1 + u64::from(b.1))
        });
        let total = good + bad;
        if total < u64::from(min) || total == 0 {
            return 0.0;
        }
        // Counts of ten seconds are far below 2^52, so the conversion is exact.
        #[allow(clippy::cast_precision_loss)]
        let ratio = bad as f64 / total as f64;
        ratio
    }

    fn advance(&mut self, now: Instant) {
        let second = now.saturating_duration_since(self.start).as_secs();
        let length = self.buckets.len() as u64;
        for passed in (self.newest + 1)..=second.min(self.newest + length) {
            self.buckets[usize::try_from(passed % length).unwrap_or_default()] = (0, 0);
        }
        self.newest = self.newest.max(second);
    }

    fn clear(&mut self) {
        self.buckets = [(0, 0); 10];
    }
}

#[cfg(test)]
mod tests;
