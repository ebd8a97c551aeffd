//! The way to the regions: connections, dials, what is kept of bodies for a second attempt.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Registry};

use super::{counters, from_the_start, gauge};

/// Families about connections to regions.
#[derive(Debug)]
pub struct UpstreamMetrics {
    /// Connections to regions that are open.
    pub connections: IntGauge,
    /// Connections that were closed because their peer fell silent.
    pub silent: IntCounter,
    /// Calls that met a connection which its peer had just closed, and went on in the same region.
    pub stale: IntCounter,
    /// Bytes of request bodies that are kept for another attempt.
    pub held: IntGauge,
    /// Calls whose body was not kept for another attempt: too large, or no room.
    pub single: IntCounter,
    dials: IntCounterVec,
}

// === impl UpstreamMetrics ===

impl UpstreamMetrics {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name, help| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        Ok(Self {
            connections: gauge(
                registry,
                "upstream_connections",
                "Connections to regions that are open.",
            )?,
            silent: counter(
                "upstream_silent_total",
                "Connections closed because the region's side fell silent.",
            )?,
            stale: counter(
                "upstream_stale_total",
                "Calls that met a connection which the region had just closed, and were sent again to the same region.",
            )?,
            held: gauge(
                registry,
                "replay_held_bytes",
                "Bytes of request bodies kept for another attempt.",
            )?,
            single: counter(
                "replay_let_go_total",
                "Calls whose body was not kept for another attempt: too large, or no room.",
            )?,
            dials: from_the_start(
                counters(
                    registry,
                    "upstream_dials_total",
                    "Connections to regions that were tried, by how it ended.",
                    &["outcome"],
                )?,
                ["connected", "unreachable", "silent", "ours"].map(|o| [o]),
            ),
        })
    }

    /// Counts a dial.
    pub fn dialled(&self, outcome: &'static str) {
        self.dials.with_label_values(&[outcome]).inc();
    }
}
