//! From what was seen to figures. (pure)

use std::collections::HashSet;
use std::time::Duration;

use serde::Serialize;

use super::kind::{Drill, Traffic};
use super::target::Executions;
use crate::load::{Call, percentile};

/// All that was seen of one run; times count from the start of the load.
#[derive(Debug)]
pub(super) struct Seen<'a> {
    pub(super) drill: Drill,
    /// The region that was broken.
    pub(super) region: &'a str,
    pub(super) calls: &'a [Call],
    /// When the fault began.
    pub(super) fault: Duration,
    /// After this everybody must have understood it.
    pub(super) settled: Duration,
    /// When mending began, and when it was done.
    pub(super) heal: Duration,
    pub(super) healed: Duration,
    /// When the edge first said that something is wrong with the region.
    pub(super) noticed: Option<Duration>,
    pub(super) executions: Option<&'a Executions>,
    pub(super) rerouted: Option<&'a HashSet<u32>>,
    /// Attempts that went on elsewhere, by the edge's own count.
    pub(super) moves: Option<f64>,
}

/// What a run came to. What could not be known is absent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// Calls sent.
    pub calls: usize,
    /// Fault to the edge saying so, or to the first call answered elsewhere, whichever came first.
    pub detect_ms: Option<f64>,
    /// Fault to the last call sent that went to the region first.
    pub last_to_broken_ms: Option<f64>,
    /// Calls that were answered after a move.
    pub rerouted: usize,
    /// Their 99th percentile.
    pub reroute_p99_ms: Option<f64>,
    /// The 99th percentile before the fault.
    pub calm_p99_ms: f64,
    /// Failed calls that provably had not begun: each one is a promise broken.
    pub failed_not_started: usize,
    /// Failed calls that did not run, which the edge could not know.
    pub failed_in_doubt: usize,
    /// Failed calls that had begun.
    pub failed_started: usize,
    /// Attempts that went on in another region.
    pub replayed: Option<f64>,
    /// Calls that ran more than once.
    pub twice: Option<usize>,
    /// Share of the calls that were not where they should be, once everybody must have understood.
    pub misrouted_share: Option<f64>,
    /// Mended to the first call answered by the region again.
    pub return_ms: Option<f64>,
}

/// The problems that say that a call may have run; an empty one is a broken connection.
const IN_DOUBT: [&str; 4] = ["may-have-run", "timed-out", "worker-lost", "no-answer"];

// === impl Figures ===

impl Figures {
    pub(super) fn of(seen: &Seen<'_>) -> Self {
        let during = |c: &&Call| c.at >= seen.fault && c.at < seen.heal;
        let moved = |c: &Call| match seen.rerouted {
            Some(rerouted) => rerouted.contains(&c.number),
            // Without the edge's own word: whoever was answered elsewhere in the time in which it was noticed.
            None => {
                seen.drill.traffic() == Traffic::Leaves
                    && c.region != seen.region
                    && c.at >= seen.fault
                    && c.at < seen.settled
            }
        };
        let rerouted: Vec<&Call> = seen
            .calls
            .iter()
            .filter(during)
            .filter(|c| c.answered() && moved(c))
            .collect();
        let ran = |c: &Call| {
            seen.executions
                .map_or(0, |times| times.get(&c.number).copied().unwrap_or(0))
        };
        let failed = || seen.calls.iter().filter(|c| !c.answered());
        let doubtful =
            |c: &Call| c.status == 0 || IN_DOUBT.iter().any(|kind| c.problem.ends_with(kind));
        let broken = seen.drill.traffic() == Traffic::Leaves;
        let touched = |c: &&Call| !c.answered() || moved(c) || c.region == seen.region;
        let last = seen
            .calls
            .iter()
            .filter(during)
            .filter(touched)
            .map(|c| c.at)
            .max();
        Self {
            calls: seen.calls.len(),
            detect_ms: seen.detected().map(|at| since(seen.fault, at)),
            last_to_broken_ms: last.filter(|_| broken).map(|at| since(seen.fault, at)),
            rerouted: rerouted.len(),
            reroute_p99_ms: (!rerouted.is_empty())
                .then(|| percentile(rerouted.iter().copied(), 0.99)),
            calm_p99_ms: percentile(seen.calls.iter().filter(|c| c.at < seen.fault), 0.99),
            failed_not_started: failed().filter(|c| ran(c) == 0 && !doubtful(c)).count(),
            failed_in_doubt: failed().filter(|c| ran(c) == 0 && doubtful(c)).count(),
            failed_started: failed().filter(|c| ran(c) > 0).count(),
            replayed: seen.moves,
            twice: seen
                .executions
                .map(|times| times.values().filter(|n| **n > 1).count()),
            misrouted_share: seen.misrouted(moved),
            return_ms: seen.returned().map(|at| since(seen.healed, at)),
        }
    }
}

// === impl Seen ===

impl Seen<'_> {
    fn detected(&self) -> Option<Duration> {
        if self.drill.traffic() == Traffic::Stays {
            return self.noticed;
        }
        let elsewhere = |c: &&Call| {
            c.at >= self.fault && c.at < self.heal && c.answered() && c.region != self.region
        };
        let home = self.home() == Some(self.region);
        let first = self
            .calls
            .iter()
            .filter(elsewhere)
            .map(|c| c.at)
            .min()
            .filter(|_| home);
        self.noticed.into_iter().chain(first).min()
    }

    /// The region that answered most calls before the fault.
    fn home(&self) -> Option<&str> {
        let calm = || {
            self.calls
                .iter()
                .filter(|c| c.at < self.fault && c.answered())
        };
        let share = |region: &str| calm().filter(|c| c.region == region).count();
        let mut regions: Vec<&str> = calm().map(|c| c.region.as_str()).collect();
        regions.sort_unstable();
        regions.dedup();
        regions.into_iter().max_by_key(|region| share(region))
    }

    fn misrouted(&self, moved: impl Fn(&Call) -> bool) -> Option<f64> {
        let later: Vec<&Call> = self
            .calls
            .iter()
            .filter(|c| c.at >= self.settled && c.at < self.heal)
            .collect();
        let home = self.home().unwrap_or_default();
        let wrong = |c: &Call| match self.drill.traffic() {
            Traffic::Leaves => !c.answered() || moved(c) || c.region == self.region,
            Traffic::Stays => !c.answered() || moved(c) || c.region != home,
            Traffic::Either => !c.answered() || moved(c),
        };
        if later.is_empty() {
            return None;
        }
        let count = later.iter().filter(|c| wrong(c)).count();
        // Numbers of calls, far below 2^52.
        #[expect(clippy::cast_precision_loss)]
        let share = count as f64 / later.len() as f64;
        Some(share)
    }

    fn returned(&self) -> Option<Duration> {
        let back = |c: &&Call| c.at >= self.healed && c.answered() && c.region == self.region;
        let first = self.calls.iter().filter(back).map(|c| c.at + c.took).min();
        first.filter(|_| self.drill.returns())
    }
}

fn since(from: Duration, to: Duration) -> f64 {
    to.saturating_sub(from).as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A call at so many milliseconds, with what came back and from where.
    fn call(number: u32, at: u64, status: u16, region: &str, problem: &str) -> Call {
        Call {
            number,
            at: Duration::from_millis(at),
            took: Duration::from_millis(10),
            status,
            region: region.to_owned(),
            id: String::new(),
            problem: problem.to_owned(),
        }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn seen<'a>(
        drill: Drill,
        calls: &'a [Call],
        ran: &'a Executions,
        rerouted: &'a HashSet<u32>,
    ) -> Seen<'a> {
        Seen {
            drill,
            region: "near",
            calls,
            fault: ms(1000),
            settled: ms(3000),
            heal: ms(5000),
            healed: ms(5500),
            noticed: Some(ms(1200)),
            executions: Some(ran),
            rerouted: Some(rerouted),
            moves: Some(2.0),
        }
    }

    #[test]
    fn a_lost_region_in_figures() {
        let calls = [
            call(0, 0, 200, "near", ""),
            call(1, 500, 200, "near", ""),
            call(2, 990, 502, "", "https://x/may-have-run"),
            call(3, 995, 502, "", "https://x/may-have-run"),
            call(4, 1001, 200, "far", ""),
            call(5, 1100, 503, "", "https://x/no-region"),
            call(6, 1300, 200, "far", ""),
            call(7, 4000, 200, "far", ""),
            call(8, 4001, 200, "near", ""),
            call(9, 6000, 200, "near", ""),
        ];
        let ran = Executions::from([(0, 1), (1, 2), (2, 1), (4, 1)]);
        let found = Figures::of(&seen(Drill::RegionKill, &calls, &ran, &HashSet::from([4])));
        assert_eq!(
            found.detect_ms,
            Some(1.0),
            "a call went elsewhere before the edge said so"
        );
        assert_eq!(found.last_to_broken_ms, Some(3001.0));
        assert_eq!((found.rerouted, found.reroute_p99_ms), (1, Some(10.0)));
        assert_eq!(
            (
                found.failed_started,
                found.failed_in_doubt,
                found.failed_not_started
            ),
            (1, 1, 1)
        );
        assert_eq!(found.twice, Some(1));
        assert_eq!(found.misrouted_share, Some(0.5));
        assert_eq!(found.return_ms, Some(510.0));
    }

    #[test]
    fn where_nothing_should_move_only_the_edges_word_counts() {
        let calls = [
            call(0, 0, 200, "near", ""),
            call(1, 4000, 200, "near", ""),
            call(2, 4100, 200, "far", ""),
        ];
        let found = Figures::of(&seen(
            Drill::NatsHubLoss,
            &calls,
            &Executions::new(),
            &HashSet::new(),
        ));
        assert_eq!(found.detect_ms, Some(200.0), "only by what the edge says");
        assert_eq!((found.last_to_broken_ms, found.return_ms), (None, None));
        assert_eq!(found.misrouted_share, Some(0.5));
    }
}
