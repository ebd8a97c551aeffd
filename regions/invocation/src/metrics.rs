//! The families of metrics this service exports, handed down from `service.rs`; labels are enums only.
//!
//! Units are in the names. No label ever carries a function, a caller or a request. Counters are resolved once here, so
//! counting on the request path is one atomic addition.

use frontdoor_telemetry::certificate::Expiries;
use frontdoor_telemetry::export::Counts;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::respond::Outcome;

/// What all names begin with.
const PREFIX: &str = "frontdoor_invocation";
/// Seconds to the first byte: from below a loopback round trip to the longest wait that NVCF allows.
const FIRST_BYTE_BUCKETS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 60.0, 600.0, 3600.0,
];
/// Seconds to the stream's ack: a memory stream answers within one, publishing is given up after two.
const PUBLISH_BUCKETS: [f64; 10] = [
    0.0002, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 2.0,
];

/// What a worker's attach came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attach {
    /// POST with a claim, granted.
    Claimed,
    /// POST without one, taken.
    Late,
    /// A standing stream that brought the answer to a call it was handed.
    Handed,
    /// A standing stream that gave its call back.
    Returned,
    /// GET, served.
    Fetched,
    /// Refused: the call is over or taken.
    Over,
    /// Refused: unknown token, or a request we do not serve.
    Refused,
}

/// What became of a cancellation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cancelled {
    /// Published, and the queue was purged of it.
    Sent,
    /// NATS did not take it in time.
    Failed,
    /// Too many were waiting.
    Dropped,
}

/// What became of a worker's word about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It counts.
    Heard,
    /// Not what a worker of ours says.
    Malformed,
    /// Too many workers are known.
    Crowded,
}

/// What became of a poll for what this instance does not hold, in a region with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passed {
    /// Answered by the one that holds it.
    Answered,
    /// None of them holds it.
    Nowhere,
    /// One of them was silent.
    Silent,
}

/// All families.
pub(crate) struct Metrics {
    calls: [IntCounter; 11],
    attaches: [IntCounter; 7],
    cancels: [IntCounter; 3],
    presence: [IntCounter; 3],
    passed: [IntCounter; 3],
    /// `frontdoor_invocation_first_byte_seconds`: request head read to answer head known, answered calls only.
    pub(crate) first_byte: Histogram,
    /// `frontdoor_invocation_publish_seconds`: work item sent to stream's ack.
    pub(crate) publish: Histogram,
    /// `frontdoor_invocation_held_calls`: put aside for their callers to come back, running or answered.
    pub(crate) held: IntGauge,
    /// `frontdoor_invocation_queued_calls`: accepted, not claimed.
    pub(crate) queued: IntGauge,
    /// `frontdoor_invocation_running_calls`: claimed, not finished.
    pub(crate) running: IntGauge,
    /// `frontdoor_invocation_workers`: our workers that were heard lately and take calls.
    pub(crate) workers: IntGauge,
    /// `frontdoor_invocation_free_slots`: calls they could take now.
    pub(crate) free_slots: IntGauge,
    /// `frontdoor_invocation_standing_streams`: of workers with free slots, on which a call goes without the queue.
    pub(crate) standing: IntGauge,
    /// `frontdoor_invocation_siblings`: other instances of the region's service that were heard lately.
    pub(crate) siblings: IntGauge,
    /// `frontdoor_invocation_connections`: open on the front.
    pub(crate) connections: IntGauge,
    /// `frontdoor_invocation_nats_up`: 1 when calls can be queued.
    pub(crate) nats_up: IntGauge,
    /// `frontdoor_invocation_requeued_calls_total`: waiting calls that were put on their queue again.
    pub(crate) requeued: IntCounter,
    /// `frontdoor_invocation_reports_total`: reports handed to NATS.
    pub(crate) reports: IntCounter,
    /// `frontdoor_invocation_certificate_expiry_timestamp_seconds`: of the port for edges.
    pub(crate) certificates: Expiries,
    /// `frontdoor_invocation_spans_total`: for a collector.
    pub(crate) spans: Counts,
}

// === impl Metrics ===

impl Metrics {
    /// Registers all families.
    ///
    /// # Errors
    /// If the registry holds one of these names already.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let gauge = IntGauge::new(full(name), help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let reports = IntCounter::new(full("reports_total"), "Reports handed to NATS")?;
        registry.register(Box::new(reports.clone()))?;
        let requeued = IntCounter::new(
            full("requeued_calls_total"),
            "Waiting calls queued again: lost by the queue, or delivered and not claimed",
        )?;
        registry.register(Box::new(requeued.clone()))?;
        Ok(Self {
            calls: counters(
                registry,
                "calls_total",
                "Calls by how they ended",
                Outcome::ALL.map(Outcome::label),
            )?,
            attaches: counters(
                registry,
                "attaches_total",
                "Attach requests of workers by what they came to",
                [
                    "claimed", "late", "handed", "returned", "fetched", "over", "refused",
                ],
            )?,
            cancels: counters(
                registry,
                "cancels_total",
                "Cancellations by what became of them",
                ["sent", "failed", "dropped"],
            )?,
            presence: counters(
                registry,
                "presence_total",
                "What workers said of themselves, by what became of it",
                ["heard", "malformed", "crowded"],
            )?,
            passed: counters(
                registry,
                "passed_polls_total",
                "Polls for answers that other instances of the region may hold, by what came of them",
                ["answered", "nowhere", "silent"],
            )?,
            first_byte: histogram(
                registry,
                "first_byte_seconds",
                "Request head read to answer head known",
                &FIRST_BYTE_BUCKETS,
            )?,
            publish: histogram(
                registry,
                "publish_seconds",
                "Work item sent to stream's ack",
                &PUBLISH_BUCKETS,
            )?,
            held: gauge(
                "held_calls",
                "Calls put aside for their callers to come back",
            )?,
            queued: gauge("queued_calls", "Calls accepted and not claimed")?,
            running: gauge("running_calls", "Calls claimed and not finished")?,
            workers: gauge("workers", "Workers heard lately that take calls")?,
            free_slots: gauge("free_slots", "Calls that these workers could take now")?,
            standing: gauge(
                "standing_streams",
                "Standing streams of workers with free slots",
            )?,
            siblings: gauge(
                "siblings",
                "Other instances of the region's service heard lately",
            )?,
            connections: gauge("connections", "Open connections of callers and workers")?,
            nats_up: gauge("nats_up", "1 when calls can be queued")?,
            requeued,
            reports,
            certificates: Expiries::register(registry, PREFIX)?,
            spans: Counts::register(registry, PREFIX)?,
        })
    }

    /// Counts a call's end.
    pub(crate) fn call(&self, outcome: Outcome) {
        self.calls[outcome as usize].inc();
    }

    /// Counts an attach.
    pub(crate) fn attach(&self, what: Attach) {
        self.attaches[what as usize].inc();
    }

    /// Counts a worker's word about itself.
    pub(crate) fn presence(&self, what: Presence) {
        self.presence[what as usize].inc();
    }

    /// Counts a poll for what others may hold.
    pub(crate) fn passed(&self, what: Passed) {
        self.passed[what as usize].inc();
    }

    /// Counts a cancellation.
    pub(crate) fn cancel(&self, what: Cancelled) {
        self.cancels[what as usize].inc();
    }
}

// === impl Outcome ===

impl Outcome {
    /// All outcomes, in the order of their numbers.
    const ALL: [Self; 11] = [
        Self::Answered,
        Self::CallerLeft,
        Self::Broken,
        Self::Rejected,
        Self::Denied,
        Self::Unsure,
        Self::Crowded,
        Self::Draining,
        Self::Bus,
        Self::TooLate,
        Self::Worker,
    ];

    /// Its label, in metrics and logs.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::CallerLeft => "caller_left",
            Self::Broken => "broken",
            Self::Rejected => "rejected",
            Self::Denied => "denied",
            Self::Unsure => "unsure",
            Self::Crowded => "crowded",
            Self::Draining => "draining",
            Self::Bus => "bus",
            Self::TooLate => "too_late",
            Self::Worker => "worker",
        }
    }
}

fn full(name: &str) -> String {
    format!("{PREFIX}_{name}")
}

fn histogram(
    registry: &Registry,
    name: &str,
    help: &str,
    buckets: &[f64],
) -> Result<Histogram, prometheus::Error> {
    let opts = HistogramOpts::new(full(name), help).buckets(buckets.to_vec());
    let histogram = Histogram::with_opts(opts)?;
    registry.register(Box::new(histogram.clone()))?;
    Ok(histogram)
}

fn counters<const N: usize>(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: [&'static str; N],
) -> Result<[IntCounter; N], prometheus::Error> {
    let family = IntCounterVec::new(Opts::new(full(name), help), &["outcome"])?;
    registry.register(Box::new(family.clone()))?;
    Ok(labels.map(|label| family.with_label_values(&[label])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_registers_and_counts_under_its_own_label() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).expect("fresh");
        for outcome in Outcome::ALL {
            metrics.call(outcome);
        }
        metrics.attach(Attach::Refused);
        metrics.cancel(Cancelled::Dropped);
        let text = prometheus::TextEncoder::new()
            .encode_to_string(&registry.gather())
            .expect("text");
        for outcome in Outcome::ALL {
            let line = format!(
                "frontdoor_invocation_calls_total{{outcome=\"{}\"}} 1",
                outcome.label()
            );
            assert!(text.contains(&line), "{line}\n{text}");
        }
        assert!(text.contains("attaches_total{outcome=\"refused\"} 1"));
        assert!(text.contains("cancels_total{outcome=\"dropped\"} 1"));
        assert!(Metrics::register(&registry).is_err(), "names are unique");
    }
}
