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
//! no such wait. The hold-down doubles with each relapse; a planned restart, after its region said that it drains, is none.

use std::time::{Duration, Instant};

use super::Limits;
use super::window::Window;
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
    /// When its region last said that it is leaving.
    leaving: Option<Instant>,
    /// It is down by plan, which is no relapse and needs no patience.
    planned: bool,
    window: Window,
}

/// A stable minute forgives one relapse.
const FORGIVE: Duration = Duration::from_secs(60);
/// A region that said it leaves, and is gone within this time, is restarted by plan.
const PLANNED: Duration = Duration::from_secs(60);

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
            leaving: None,
            planned: false,
            window: Window::new(now),
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

    /// Its region says that it is leaving: what goes away soon after that does so by plan.
    pub(super) const fn leaves(&mut self, now: Instant) {
        self.leaving = Some(now);
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
        self.planned = self
            .leaving
            .is_some_and(|at| now.saturating_duration_since(at) <= PLANNED);
        if self.known && !self.planned {
            self.relapses = self.relapses.saturating_add(1);
        }
        self.window.clear();
        self.become_health(Health::Down, now);
    }

    fn hold_down(&self, limits: &Limits) -> Duration {
        if self.planned {
            return Duration::ZERO;
        }
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

#[cfg(test)]
mod tests;
