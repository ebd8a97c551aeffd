//! How fast calls end, and after how long a region that is full is worth another try.
//!
//! Pure but for the atomics that count: the time comes in as an argument, in whole seconds since the service began. The
//! desk counts, `front` asks when it has to turn a caller away.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Seconds looked back: long enough to see a few slow calls end, short enough to follow a change of load.
const WINDOW: u64 = 10;
/// One more than is looked back, so that the second that is being counted is never the oldest one.
const BINS: usize = 16;
/// Nobody is sent away for longer: by then the load has changed.
const LONGEST: u64 = 60;

/// Counts the calls that end, by second.
#[derive(Debug, Default)]
pub(crate) struct Drain([AtomicU64; BINS]);

/// What is known of the workers that a caller would wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Crew {
    /// Calls they run at once.
    pub(crate) slots: u32,
    /// How long one takes in the mean; zero if that is not known.
    pub(crate) service: Duration,
}

// === impl Drain ===

impl Drain {
    /// A call ended.
    pub(crate) fn ended(&self, second: u64) {
        let bin = self.bin(second);
        let add = |packed: u64| {
            let (at, count) = unpack(packed);
            let count = if at == second { count } else { 0 };
            Some(pack(second, count.saturating_add(1)))
        };
        // It always succeeds: the closure never declines.
        let _ = bin.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Calls that ended in the last full seconds, per [`WINDOW`].
    pub(crate) fn lately(&self, second: u64) -> u64 {
        (1..=WINDOW)
            .filter_map(|ago| second.checked_sub(ago))
            .map(|at| match unpack(self.bin(at).load(Ordering::Relaxed)) {
                (counted, count) if counted == at => u64::from(count),
                _ => 0,
            })
            .sum()
    }

    fn bin(&self, second: u64) -> &AtomicU64 {
        let index = usize::try_from(second % BINS as u64).unwrap_or_default();
        &self.0[index]
    }
}

/// Seconds until `waiting` calls are worked off, at least one: by what the workers say of themselves, else by how many
/// calls ended `lately`.
pub(crate) fn retry_after(waiting: u64, crew: Option<Crew>, lately: u64) -> u64 {
    let by_crew = crew.filter(|crew| crew.slots > 0 && !crew.service.is_zero());
    let millis = match by_crew {
        Some(crew) => {
            let service = u64::try_from(crew.service.as_millis()).unwrap_or(u64::MAX);
            waiting.saturating_mul(service.max(1)) / u64::from(crew.slots)
        }
        None if lately > 0 => waiting.saturating_mul(WINDOW * 1000) / lately,
        // Nothing ends, so far as is known; the caller may find out soon.
        None => 1000,
    };
    millis.div_ceil(1000).clamp(1, LONGEST)
}

/// The second in the upper half (it lasts for 136 years), the count in the lower one.
const fn pack(second: u64, count: u32) -> u64 {
    second << 32 | count as u64
}

fn unpack(packed: u64) -> (u64, u32) {
    (
        packed >> 32,
        u32::try_from(packed & u64::from(u32::MAX)).unwrap_or(u32::MAX),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ended_in_the_last_full_seconds_counts() {
        let drain = Drain::default();
        assert_eq!(drain.lately(0), 0);
        for second in [3, 3, 4, 9] {
            drain.ended(second);
        }
        for (now, lately) in [
            (3, 0),
            (4, 2),
            (5, 3),
            (10, 4),
            (13, 4),
            (14, 2),
            (15, 1),
            (20, 0),
        ] {
            assert_eq!(drain.lately(now), lately, "at {now}");
        }
        // The same bin, a round later.
        drain.ended(3 + BINS as u64);
        assert_eq!(drain.lately(4 + BINS as u64), 1);
    }

    #[test]
    fn the_wait_follows_the_rate_at_which_calls_end() {
        let crew = |slots, ms| {
            let service = Duration::from_millis(ms);
            Some(Crew { slots, service })
        };
        for (waiting, crew, lately, seconds) in [
            (100, crew(10, 500), 0, 5),
            (100, crew(10, 510), 0, 6),
            (100, crew(10, 500), 1_000_000, 5),
            (1, crew(64, 1), 0, 1),
            (10_000, crew(1, 10_000), 0, LONGEST),
            (u64::MAX, crew(1, 10_000), 0, LONGEST),
            (100, crew(0, 500), 50, 20),
            (100, crew(10, 0), 50, 20),
            (100, None, 50, 20),
            (100, None, 1_000, 1),
            (100, None, 0, 1),
        ] {
            let said = retry_after(waiting, crew, lately);
            assert_eq!(said, seconds, "{waiting} {crew:?} {lately}");
        }
    }
}
