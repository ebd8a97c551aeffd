//! What the edge counts. One registry, made here and handed down; a struct of families per concern.
//!
//! Labels are bounded: regions come from the configuration, everything else is an enum. A function or a caller is never
//! a label. Handles are looked up once, so counting on the request path is one atomic add.

mod background;
mod request;
mod upstream;

use frontdoor_telemetry::certificate::Expiries;
use frontdoor_telemetry::export::Counts;
use frontdoor_telemetry::process;
use prometheus::{Encoder, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

pub use self::background::BackgroundMetrics;
pub use self::request::{Outcome, RequestMetrics};
pub use self::upstream::UpstreamMetrics;

/// All families of the edge.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// What every program shows, under names that are not the edge's own.
    process: Registry,
    /// Calls and connections.
    pub request: RequestMetrics,
    /// Connections to regions.
    pub upstream: UpstreamMetrics,
    /// Probes, names, reports, the table.
    pub background: BackgroundMetrics,
    /// How long the certificates in use hold.
    pub certificates: Expiries,
    /// Spans for a collector.
    pub spans: Counts,
}

// === impl Metrics ===

impl Metrics {
    /// Registers all families for these regions.
    ///
    /// # Errors
    /// If a family is named twice, which a test would have found.
    pub fn new(regions: &[String]) -> Result<Self, prometheus::Error> {
        let registry = Registry::new_custom(Some("frontdoor_edge".to_owned()), None)?;
        let request = RequestMetrics::register(&registry, regions)?;
        let upstream = UpstreamMetrics::register(&registry)?;
        let background = BackgroundMetrics::register(&registry, regions)?;
        let certificates = Expiries::register(&registry, "")?;
        let spans = Counts::register(&registry, "")?;
        let shared = Registry::new();
        process::register(&shared)?;
        Ok(Self {
            registry,
            process: shared,
            request,
            upstream,
            background,
            certificates,
            spans,
        })
    }

    /// All of it in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> Vec<u8> {
        let mut text = Vec::new();
        // Writing to memory cannot fail; an empty page would tell if it did.
        for registry in [&self.registry, &self.process] {
            let _ = TextEncoder::new().encode(&registry.gather(), &mut text);
        }
        text
    }
}

/// Registers a family of counters.
fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    let family = IntCounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}

/// Makes every series of a family whose labels have these values: one that appears with its first event has no rate
/// before its second.
fn from_the_start<const N: usize>(
    family: IntCounterVec,
    values: impl IntoIterator<Item = [&'static str; N]>,
) -> IntCounterVec {
    for values in values {
        let _ = family.with_label_values(&values);
    }
    family
}

/// Registers a gauge.
fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    let gauge = IntGauge::new(name, help)?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

/// Makes one handle per region, in the order of [`crate::region::RegionIndex`].
fn per_region<T>(regions: &[String], make: impl Fn(&str) -> T) -> Vec<T> {
    regions.iter().map(|name| make(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_there_from_the_start() {
        let metrics = Metrics::new(&["us-east".to_owned()]).expect("registers");
        let text = String::from_utf8(metrics.render()).expect("text");
        for name in [
            "requests_total",
            "first_byte_seconds",
            "region_health",
            "probes_total",
            "connections",
        ] {
            assert!(
                text.contains(&format!("frontdoor_edge_{name}")),
                "{name} is missing in\n{text}"
            );
        }
        assert!(text.contains("region=\"us-east\""));
    }
}
