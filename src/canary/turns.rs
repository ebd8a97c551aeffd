//! When to send a canary into which region.
//!
//! Pure. One at a time per region; each second if it is our turn or there is reason to look, seldom if nobody is heard,
//! never if another edge does it and all is well.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use frontdoor_protocol::verdict::Canary;

use crate::chatter::Turn;
use crate::region::RegionIndex;
use crate::table::Condition;

/// What is known of one region's canaries.
#[derive(Debug, Clone, Copy)]
enum Flight {
    Out,
    Next(Instant),
}

#[derive(Debug)]
pub(super) struct Turns {
    flights: HashMap<RegionIndex, (Flight, Option<Instant>)>,
    seed: u64,
}

/// From one canary to the next, when somebody has to look.
const EVERY: Duration = Duration::from_secs(1);
/// When nobody is heard: every edge looks for itself, so seldom.
const ALONE: Duration = Duration::from_secs(5);
/// Before a region that offers no canaries is asked again.
const NOT_OFFERED: Duration = Duration::from_secs(60);

// === impl Turns ===

impl Turns {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            flights: HashMap::new(),
            seed,
        }
    }

    /// Whether to send one now; then it counts as out until [`Self::landed`].
    pub(super) fn due(
        &mut self,
        region: RegionIndex,
        turn: Turn,
        condition: &Condition,
        now: Instant,
    ) -> bool {
        let worried = condition.accused
            || condition.sick
            || condition.canary.is_some_and(|c| c != Canary::Well);
        let every = match turn {
            Turn::Elected => EVERY,
            _ if worried => EVERY,
            Turn::Alone => ALONE,
            Turn::Other => return false,
        };
        // The first falls anywhere in the interval, so that edges which start together do not ask together.
        let share = u32::try_from(self.seed >> 56).unwrap_or_default();
        let first = || (Flight::Next(now + EVERY * share / 256), None);
        let (flight, last) = *self.flights.entry(region).or_insert_with(first);
        let waited = |last: Instant| now.saturating_duration_since(last) >= every;
        let ready = match flight {
            Flight::Out => false,
            Flight::Next(at) => at <= now && last.is_none_or(waited),
        };
        if ready {
            self.flights.insert(region, (Flight::Out, Some(now)));
        }
        ready
    }

    pub(super) fn landed(&mut self, region: RegionIndex, offered: bool, now: Instant) {
        if let Some((flight, _)) = self.flights.get_mut(&region) {
            *flight = Flight::Next(if offered { now } else { now + NOT_OFFERED });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGION: RegionIndex = RegionIndex(0);

    /// How many canaries fly in a minute in which each lands at once.
    fn flown(turn: Turn, condition: Condition, offered: bool) -> usize {
        let (mut turns, start) = (Turns::new(7), Instant::now());
        let times = (0..1200).map(|n| start + Duration::from_millis(50) * n);
        times
            .filter(|&now| {
                let due = turns.due(REGION, turn, &condition, now);
                if due {
                    turns.landed(REGION, offered, now);
                }
                due
            })
            .count()
    }

    #[test]
    fn who_looks_and_how_often() {
        let calm = Condition::default();
        let accused = Condition {
            accused: true,
            ..calm
        };
        let failed = Condition {
            canary: Some(Canary::Queue),
            ..calm
        };
        assert!((58..=61).contains(&flown(Turn::Elected, calm, true)));
        assert_eq!(flown(Turn::Other, calm, true), 0);
        assert!((58..=61).contains(&flown(Turn::Other, accused, true)));
        assert!((58..=61).contains(&flown(Turn::Other, failed, true)));
        assert!((11..=13).contains(&flown(Turn::Alone, calm, true)));
        assert!(flown(Turn::Elected, calm, false) <= 2, "not offered");
    }

    #[test]
    fn one_at_a_time() {
        let (mut turns, now) = (Turns::new(0), Instant::now());
        let mut due = |ms| {
            let at = now + Duration::from_millis(ms);
            turns.due(REGION, Turn::Elected, &Condition::default(), at)
        };
        assert!(due(0));
        assert!(!due(5000), "it is still out");
        turns.landed(REGION, true, now);
        let at = now + EVERY;
        assert!(turns.due(REGION, Turn::Elected, &Condition::default(), at));
    }
}
