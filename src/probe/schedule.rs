//! Whom to check next, and how long to wait for the answer.
//!
//! Pure: targets and the time come in, due targets go out; jitter comes from a seed. Checks of many endpoints spread out by
//! themselves, because each endpoint's first check falls at a random point of the interval.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::region::{Endpoint, Health};

/// Who may be checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub(super) endpoint: Endpoint,
    pub(super) health: Health,
    pub(super) rtt: Option<Duration>,
}

/// When each endpoint is due.
#[derive(Debug)]
pub(super) struct Schedule {
    calm: Duration,
    suspicious: Duration,
    seed: u64,
    next: HashMap<Endpoint, Instant>,
}

/// Jitter of an interval, to either side.
const JITTER: f64 = 0.10;

// === impl Schedule ===

impl Schedule {
    pub(super) fn new(calm: Duration, suspicious: Duration, seed: u64) -> Self {
        Self {
            calm,
            suspicious,
            seed,
            next: HashMap::new(),
        }
    }

    /// The targets to check now. A target that was never seen is due at once.
    pub(super) fn due(&mut self, targets: &[Target], now: Instant) -> Vec<Target> {
        self.next
            .retain(|endpoint, _| targets.iter().any(|t| t.endpoint == *endpoint));
        let mut due = Vec::new();
        for &target in targets {
            let interval = if target.health == Health::Suspect {
                self.suspicious
            } else {
                self.calm
            };
            let at = self.next.get(&target.endpoint).copied();
            // A suspicion shortens a wait that began before it.
            if at.is_none_or(|at| at.min(now + interval.mul_f64(1.0 + JITTER)) <= now) {
                let pause = interval.mul_f64(1.0 + JITTER * self.draw());
                self.next.insert(target.endpoint, now + pause);
                due.push(target);
            } else if target.health == Health::Suspect
                && let Some(at) = at
            {
                self.next.insert(target.endpoint, at.min(now + interval));
            }
        }
        due
    }

    /// A number from -1 to 1: a step of SplitMix64.
    fn draw(&mut self) -> f64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        f64::from(u32::try_from((z ^ (z >> 31)) >> 32).unwrap_or_default()) / f64::from(u32::MAX)
            * 2.0
            - 1.0
    }
}

/// How long an endpoint may take before it counts as silent: three round trips, within bounds.
pub(super) fn patience(rtt: Option<Duration>, min: Duration, max: Duration) -> Duration {
    rtt.map_or(max, |rtt| (rtt * 3).clamp(min, max))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::region::RegionIndex;

    fn target(port: u16, health: Health) -> Target {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Target {
            endpoint: Endpoint {
                region: RegionIndex(0),
                address,
            },
            health,
            rtt: None,
        }
    }

    /// How often two endpoints are checked within ten seconds.
    fn checks(health: Health) -> usize {
        let mut schedule = Schedule::new(Duration::from_millis(250), Duration::from_millis(100), 7);
        let start = Instant::now();
        let targets = [target(1, health), target(2, health)];
        (0..1000)
            .map(|n| {
                schedule
                    .due(&targets, start + Duration::from_millis(10) * n)
                    .len()
            })
            .sum()
    }

    #[test]
    fn intervals_hold() {
        assert!(
            (72..=88).contains(&checks(Health::Up)),
            "{}",
            checks(Health::Up)
        );
        assert!((72..=88).contains(&checks(Health::Down)));
        assert!(
            (180..=220).contains(&checks(Health::Suspect)),
            "{}",
            checks(Health::Suspect)
        );
    }

    #[test]
    fn suspicion_shortens_the_wait() {
        let mut schedule = Schedule::new(Duration::from_secs(10), Duration::from_millis(100), 7);
        let start = Instant::now();
        assert_eq!(schedule.due(&[target(1, Health::Up)], start).len(), 1);
        assert_eq!(schedule.due(&[target(1, Health::Suspect)], start).len(), 0);
        assert_eq!(
            schedule
                .due(
                    &[target(1, Health::Suspect)],
                    start + Duration::from_millis(120)
                )
                .len(),
            1
        );
    }

    #[test]
    fn patience_follows_the_path() {
        let check = |rtt: u64| {
            patience(
                Some(Duration::from_millis(rtt)),
                Duration::from_millis(100),
                Duration::from_secs(1),
            )
            .as_millis()
        };
        assert_eq!([check(1), check(80), check(900)], [100, 240, 1000]);
        assert_eq!(
            patience(None, Duration::ZERO, Duration::from_secs(1)),
            Duration::from_secs(1)
        );
    }
}
