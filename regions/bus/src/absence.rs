//! When the log is told that NATS is away: once it is known to be, then once a minute with how much was left out; and how
//! long it was away, once it is back. Clients report every failed attempt to connect, which may be several a second.
//!
//! Pure: time is an argument, and what to write is up to whoever has the connection.

use std::time::{Duration, Instant};

/// A connection's absences, one after the other.
#[derive(Debug)]
pub(crate) struct Absence {
    /// Since when there is no connection; nothing while there is one.
    since: Option<Instant>,
    /// How long this one may last before it is news.
    patience: Duration,
    /// When it was last told.
    told: Option<Instant>,
    /// Failures since then.
    untold: u64,
}

/// What there is to tell of a connection that is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Away {
    /// For how long.
    pub(crate) lasts: Duration,
    /// How many failures were not told since the last time.
    pub(crate) untold: u64,
}

/// Programs and servers are often started together; a connection that is made within this was never missing.
const START: Duration = Duration::from_secs(3);
/// The same outage is told again after this.
const AGAIN: Duration = Duration::from_secs(60);

// === impl Absence ===

impl Absence {
    /// Of a connection that is being made for the first time.
    #[must_use]
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            since: Some(now),
            patience: START,
            told: None,
            untold: 0,
        }
    }

    /// The connection was lost, or an attempt to make it failed: what to tell of that, if anything.
    pub(crate) fn failed(&mut self, now: Instant) -> Option<Away> {
        let since = *self.since.get_or_insert(now);
        let (from, pause) = match self.told {
            Some(told) => (told, AGAIN),
            None => (since, self.patience),
        };
        if now.saturating_duration_since(from) < pause {
            self.untold += 1;
            return None;
        }
        self.told = Some(now);
        Some(Away {
            lasts: lasted(since, now),
            untold: std::mem::take(&mut self.untold),
        })
    }

    /// The connection is made: how long there was none. From now on a loss is told at once.
    pub(crate) fn ended(&mut self, now: Instant) -> Duration {
        let since = self.since.take().unwrap_or(now);
        (self.patience, self.told, self.untold) = (Duration::ZERO, None, 0);
        lasted(since, now)
    }
}

/// In whole milliseconds, as people read it.
fn lasted(since: Instant, now: Instant) -> Duration {
    let lasted = now.saturating_duration_since(since).as_millis();
    Duration::from_millis(u64::try_from(lasted).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// At which of these milliseconds something is told, for how long the connection was away then, and how much was
    /// left out.
    fn told(absence: &mut Absence, zero: Instant, failures: &[u64]) -> Vec<(u64, u64, u64)> {
        failures
            .iter()
            .filter_map(|&at| {
                let away = absence.failed(zero + ms(at))?;
                let lasts = u64::try_from(away.lasts.as_millis()).expect("short");
                Some((at, lasts, away.untold))
            })
            .collect()
    }

    #[test]
    fn a_start_is_given_a_moment() {
        let zero = Instant::now();
        let mut absence = Absence::new(zero);
        assert_eq!(
            told(&mut absence, zero, &[5, 1000, 2999, 3000, 4000]),
            [(3000, 3000, 3)]
        );
        let mut quick = Absence::new(zero);
        assert!(told(&mut quick, zero, &[5, 1000]).is_empty());
        assert_eq!(quick.ended(zero + ms(1500)), ms(1500));
    }

    #[test]
    fn an_outage_is_told_at_once_and_then_once_a_minute() {
        let zero = Instant::now();
        let mut absence = Absence::new(zero);
        absence.ended(zero);
        // A failure every second from the tenth second on, for two minutes and a half.
        let failures: Vec<u64> = (10..=160).map(|s| s * 1000).collect();
        assert_eq!(
            told(&mut absence, zero, &failures),
            [(10_000, 0, 0), (70_000, 60_000, 59), (130_000, 120_000, 59)]
        );
        assert_eq!(absence.ended(zero + ms(160_500)), ms(150_500));
    }

    #[test]
    fn each_outage_is_one_of_its_own() {
        let zero = Instant::now();
        let mut absence = Absence::new(zero);
        absence.ended(zero);
        assert_eq!(told(&mut absence, zero, &[1000, 1500]), [(1000, 0, 0)]);
        assert_eq!(absence.ended(zero + ms(2000)), ms(1000));
        assert_eq!(told(&mut absence, zero, &[2100]), [(2100, 0, 0)]);
        // A client may say twice that it is there.
        absence.ended(zero + ms(2200));
        assert_eq!(absence.ended(zero + ms(2300)), ms(0));
    }
}
