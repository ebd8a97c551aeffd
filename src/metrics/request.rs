//! Calls: how many, how they ended, how long their first byte took, how often they moved.

use std::time::Duration;

use frontdoor_protocol::headers::Execution;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Registry,
};

use super::{counters, from_the_start, gauge, per_region};
use crate::region::RegionIndex;
use crate::route::{Failure, Why};

/// How a call ended, seen from the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// An answer made by the function's container went back whole.
    Answered,
    /// A region's platform said no: what was asked is wrong, not allowed, not there, or too much for now.
    Declined,
    /// The edge said no: bad request, no credential, no such host.
    Refused,
    /// No region could answer, or one that did failed by itself: its platform's answer was a 5xx.
    Failed,
    /// An answer began and broke off.
    Broken,
    /// The caller left first.
    Gone,
}

/// Families about calls and connections.
#[derive(Debug)]
pub struct RequestMetrics {
    ended: Vec<[IntCounter; Outcome::ALL.len()]>,
    first_byte: Vec<Histogram>,
    failed: Vec<[IntCounter; Failure::ALL.len()]>,
    moves: IntCounterVec,
    stops: IntCounterVec,
    handshakes_failed: IntCounterVec,
    limited: IntCounterVec,
    /// Client connections that are open.
    pub connections: IntGauge,
    /// Calls that are under way.
    pub in_flight: IntGauge,
    /// News that live traffic had for the table and that did not fit into its queue.
    pub news_lost: IntCounter,
}

/// Seconds to the first byte: from the edge's own share (under a millisecond) to an hour of inference.
const BUCKETS: [f64; 16] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0,
    3600.0,
];
/// The region label of calls that never reached one.
const NO_REGION: &str = "none";

// === impl Outcome ===

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Answered,
        Self::Declined,
        Self::Refused,
        Self::Failed,
        Self::Broken,
        Self::Gone,
    ];

    /// How a call ends with an answer of this status that a region's platform made, no container.
    #[must_use]
    pub const fn of_platform(status: u16, execution: Execution) -> Self {
        // Of 5xx, what was asked for: assets that nobody keeps, a version of HTTP that nobody speaks.
        let asked = status < 500 || matches!(status, 501 | 505);
        // A worker has it, and the function takes longer than its caller waits.
        let slow = status == 504 && matches!(execution, Execution::Started);
        if asked || slow {
            Self::Declined
        } else {
            Self::Failed
        }
    }

    /// Its name in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Declined => "declined",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Broken => "broken",
            Self::Gone => "gone",
        }
    }
}

// === impl RequestMetrics ===

impl RequestMetrics {
    pub(super) fn register(
        registry: &Registry,
        regions: &[String],
    ) -> Result<Self, prometheus::Error> {
        let counter = |name, help, labels: &[&str]| counters(registry, name, help, labels);
        let gauge = |name, help| gauge(registry, name, help);
        let ended = counter(
            "requests_total",
            "Calls that ended, by the region of their last attempt and how: answered (a container's answer, whole), \
             declined (a region's platform said no), refused (the edge did), failed (no region could answer, or a \
             region's platform answered 5xx), broken (the answer broke off), gone (the caller left first).",
            &["region", "outcome"],
        )?;
        let failed = counter(
            "attempts_failed_total",
            "Attempts that failed before an answer began, by region and how: unreachable (no connection in the caller's \
             time, or one that closed at once), full (no place on the edge's connections to the region), ours (the edge \
             has no file descriptor or port left), refused (the connection did not take the call), not-started (the \
             region's platform said so), lost (the connection broke or fell silent, or no answer came in time; it may \
             have run). What follows: moves_total, stops_total.",
            &["region", "failure"],
        )?;
        let first_byte = HistogramVec::new(
            HistogramOpts::new(
                "first_byte_seconds",
                "Time from a call's head to the first byte of its answer.",
            )
            .buckets(BUCKETS.to_vec()),
            &["region"],
        )?;
        registry.register(Box::new(first_byte.clone()))?;
        let news_lost = IntCounter::new(
            "news_lost_total",
            "News of live traffic that found the table's queue full.",
        )?;
        registry.register(Box::new(news_lost.clone()))?;
        let mut named: Vec<String> = regions.to_vec();
        named.push(NO_REGION.to_owned());
        Ok(Self {
            ended: per_region(&named, |region| {
                Outcome::ALL.map(|outcome| ended.with_label_values(&[region, outcome.as_str()]))
            }),
            first_byte: per_region(regions, |region| first_byte.with_label_values(&[region])),
            failed: per_region(regions, |region| {
                Failure::ALL.map(|failure| failed.with_label_values(&[region, failure.as_str()]))
            }),
            moves: from_the_start(
                counter(
                    "moves_total",
                    "Attempts that went on in another region, by the failure before, as in attempts_failed_total.",
                    &["failure"],
                )?,
                Failure::ALL.map(|failure| [failure.as_str()]),
            ),
            stops: from_the_start(
                counter(
                    "stops_total",
                    "Failed attempts that did not go on elsewhere, by the reason: answer-begun (the caller has a part \
                     of the answer), may-have-run (and must not run twice), body-gone (too large to be kept), no-time \
                     (the caller's time is over), moves-used (as many moves as a call may make), budget-used (too \
                     many calls are repeated already), no-region (none that is well is left).",
                    &["reason"],
                )?,
                Why::ALL.map(|why| [why.as_str()]),
            ),
            handshakes_failed: from_the_start(
                counter(
                    "handshakes_failed_total",
                    "Connections that never got to HTTP.",
                    &["stage"],
                )?,
                ["tls", "preface", "limit"].map(|stage| [stage]),
            ),
            limited: from_the_start(
                counter(
                    "limited_total",
                    "Calls that were not let in, by the limit that they met.",
                    &["limit"],
                )?,
                ["calls", "key-calls", "key-rate"].map(|limit| [limit]),
            ),
            connections: gauge("connections", "Client connections that are open.")?,
            in_flight: gauge("in_flight", "Calls that are under way.")?,
            news_lost,
        })
    }

    /// Counts the end of a call.
    pub fn ended(&self, region: Option<RegionIndex>, outcome: Outcome) {
        let row = region.map_or(self.ended.len() - 1, |r| r.0);
        let column = Outcome::ALL
            .iter()
            .position(|o| *o == outcome)
            .unwrap_or_default();
        if let Some(counter) = self.ended.get(row).and_then(|r| r.get(column)) {
            counter.inc();
        }
    }

    /// Records the time to the first byte.
    pub fn first_byte(&self, region: RegionIndex, took: Duration) {
        if let Some(histogram) = self.first_byte.get(region.0) {
            histogram.observe(took.as_secs_f64());
        }
    }

    /// Counts a failed attempt.
    pub fn failed(&self, region: RegionIndex, failure: Failure) {
        let column = Failure::ALL.iter().position(|f| *f == failure);
        let row = self.failed.get(region.0);
        if let Some(counter) = row.zip(column).and_then(|(row, column)| row.get(column)) {
            counter.inc();
        }
    }

    /// Counts a move to another region.
    pub fn moved(&self, failure: Failure) {
        self.moves.with_label_values(&[failure.as_str()]).inc();
    }

    /// Counts a failed attempt that was the last.
    pub fn stopped(&self, why: Why) {
        self.stops.with_label_values(&[why.as_str()]).inc();
    }

    /// Counts a call that was not let in.
    pub fn limited(&self, limit: &'static str) {
        self.limited.with_label_values(&[limit]).inc();
    }

    /// Counts a connection that failed in `stage`: `tls`, `preface` or `limit`.
    pub fn handshake_failed(&self, stage: &'static str) {
        self.handshakes_failed.with_label_values(&[stage]).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platforms_5xx_is_a_failure() {
        use Execution::{NotStarted, Started};
        for (statuses, executions, expected) in [
            (
                &[500, 502, 503][..],
                &[NotStarted, Started][..],
                Outcome::Failed,
            ),
            (&[504], &[NotStarted], Outcome::Failed),
            (&[504], &[Started], Outcome::Declined),
            (
                &[202, 400, 401, 404, 409, 429, 501, 505],
                &[NotStarted, Started],
                Outcome::Declined,
            ),
        ] {
            for (status, execution) in statuses.iter().flat_map(|status| {
                executions
                    .iter()
                    .map(move |execution| (*status, *execution))
            }) {
                let outcome = Outcome::of_platform(status, execution);
                assert_eq!(outcome, expected, "{status} {execution:?}");
            }
        }
    }
}
