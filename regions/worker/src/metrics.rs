//! What a worker counts. One family struct, registered in the registry that is handed down; labels are enums only.

use frontdoor_telemetry::export::Counts;
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, core::Collector,
};

use crate::settle::Outcome;

/// Seconds from a tenth of a millisecond to ten minutes: a loopback claim as well as a slow model.
const BUCKETS: &[f64] = &[
    0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 600.0,
];

/// What a NATS connection tells of itself.
const NATS_EVENTS: [&str; 8] = [
    "connected",
    "disconnected",
    "lame-duck",
    "draining",
    "closed",
    "slow-consumer",
    "server-error",
    "client-error",
];

/// All metrics of a worker; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    /// In the order of [`Outcome::ALL`], which is that of the outcomes themselves.
    items: [IntCounter; Outcome::ALL.len()],
    nats_events: IntCounterVec,
    pub(crate) asked_total: IntCounter,
    pub(crate) ask_failures: IntCounter,
    pub(crate) cancels: IntCounter,
    pub(crate) answer_bytes: IntCounter,
    pub(crate) running: IntGauge,
    pub(crate) asked: IntGauge,
    pub(crate) slots: IntGauge,
    pub(crate) container_healthy: IntGauge,
    pub(crate) nats_connected: IntGauge,
    /// From sending the claim to its answer.
    pub(crate) claim_seconds: Histogram,
    /// From calling the container to the head of its answer.
    pub(crate) head_seconds: Histogram,
    /// Spans for a collector.
    pub(crate) spans: Counts,
}

// === impl Metrics ===

impl Metrics {
    /// Makes and registers all families.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let items = add(
            registry,
            IntCounterVec::new(
                Opts::new(
                    "frontdoor_worker_items_total",
                    "Messages handled, by how that ended.",
                ),
                &["outcome"],
            )?,
        )?;
        let metrics = Self {
            // One that appears with its first event has no rate before its second.
            items: Outcome::ALL.map(|outcome| items.with_label_values(&[outcome.as_str()])),
            nats_events: add(
                registry,
                IntCounterVec::new(
                    Opts::new(
                        "frontdoor_worker_nats_events_total",
                        "Events of the NATS connection.",
                    ),
                    &["event"],
                )?,
            )?,
            asked_total: add(
                registry,
                IntCounter::new(
                    "frontdoor_worker_asked_messages_total",
                    "Messages asked for.",
                )?,
            )?,
            ask_failures: add(
                registry,
                IntCounter::new(
                    "frontdoor_worker_ask_failures_total",
                    "Requests for messages that the server refused, for example because the consumer is missing.",
                )?,
            )?,
            cancels: add(
                registry,
                IntCounter::new(
                    "frontdoor_worker_cancels_total",
                    "Cancellations heard that hit a running call.",
                )?,
            )?,
            answer_bytes: add(
                registry,
                IntCounter::new(
                    "frontdoor_worker_answer_bytes_total",
                    "Bytes of container answers passed on.",
                )?,
            )?,
            running: add(
                registry,
                IntGauge::new("frontdoor_worker_running", "Calls in hand.")?,
            )?,
            asked: add(
                registry,
                IntGauge::new(
                    "frontdoor_worker_asked",
                    "Messages asked for and not yet arrived.",
                )?,
            )?,
            slots: add(
                registry,
                IntGauge::new(
                    "frontdoor_worker_slots",
                    "How many calls the worker may have at once.",
                )?,
            )?,
            container_healthy: add(
                registry,
                IntGauge::new(
                    "frontdoor_worker_container_healthy",
                    "1 while the container answers its health check.",
                )?,
            )?,
            nats_connected: add(
                registry,
                IntGauge::new(
                    "frontdoor_worker_nats_connected",
                    "1 while NATS is connected.",
                )?,
            )?,
            claim_seconds: add(
                registry,
                Histogram::with_opts(
                    HistogramOpts::new(
                        "frontdoor_worker_claim_seconds",
                        "From claim to its answer.",
                    )
                    .buckets(BUCKETS.to_vec()),
                )?,
            )?,
            head_seconds: add(
                registry,
                Histogram::with_opts(
                    HistogramOpts::new(
                        "frontdoor_worker_container_head_seconds",
                        "From calling the container to the head of its answer.",
                    )
                    .buckets(BUCKETS.to_vec()),
                )?,
            )?,
            spans: Counts::register(registry, "frontdoor_worker")?,
        };
        // As the outcomes.
        for event in NATS_EVENTS {
            let _ = metrics.nats_events.with_label_values(&[event]);
        }
        Ok(metrics)
    }

    /// Counts a handled message.
    pub(crate) fn item(&self, outcome: Outcome) {
        self.items[outcome as usize].inc();
    }

    /// Counts an event of the NATS connection; `event` is one of a fixed set.
    pub(crate) fn nats_event(&self, event: &'static str) {
        self.nats_events.with_label_values(&[event]).inc();
    }
}

fn add<C: Collector + Clone + 'static>(
    registry: &Registry,
    family: C,
) -> Result<C, prometheus::Error> {
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_counts_under_its_own_label() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).expect("fresh");
        for outcome in Outcome::ALL {
            metrics.item(outcome);
        }
        let text = prometheus::TextEncoder::new()
            .encode_to_string(&registry.gather())
            .expect("text");
        for outcome in Outcome::ALL {
            let label = outcome.as_str();
            let line = format!("frontdoor_worker_items_total{{outcome=\"{label}\"}} 1\n");
            assert!(text.contains(&line), "{line}\n{text}");
        }
    }
}
