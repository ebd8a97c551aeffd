//! What goes on without callers: probes, names, reports, and what the table makes of them.

use std::time::Duration;

use prometheus::{
    Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use super::{counters, from_the_start, gauge, per_region};
use crate::region::{Health, RegionIndex};
use crate::table::{Fault, ProbeOutcome, Snapshot};

/// Families about the edge's picture of the world.
#[derive(Debug)]
pub struct BackgroundMetrics {
    health: Vec<IntGauge>,
    faults: Vec<[IntGauge; Fault::ALL.len()]>,
    rtt: Vec<Gauge>,
    probes: Vec<[IntCounter; 3]>,
    resolves: Vec<[IntCounter; 2]>,
    transitions: IntCounterVec,
    reports: IntCounterVec,
    epoch: IntGauge,
    /// 1 while NATS is connected.
    pub nats_connected: IntGauge,
    reloads: [IntCounter; 2],
}

// === impl BackgroundMetrics ===

impl BackgroundMetrics {
    pub(super) fn register(
        registry: &Registry,
        regions: &[String],
    ) -> Result<Self, prometheus::Error> {
        let counter = |name, help, labels: &[&str]| counters(registry, name, help, labels);
        let gauge = |name, help| gauge(registry, name, help);
        let health = IntGaugeVec::new(
            Opts::new(
                "region_health",
                "0 down, 1 suspect, 2 returning, 3 up; -1 draining.",
            ),
            &["region"],
        )?;
        registry.register(Box::new(health.clone()))?;
        let rtt = GaugeVec::new(
            Opts::new("region_rtt_seconds", "Smoothed round-trip time of probes."),
            &["region"],
        )?;
        registry.register(Box::new(rtt.clone()))?;
        let faults = IntGaugeVec::new(
            Opts::new(
                "region_fault",
                "1 for what is wrong with a region, by name; `none` if nothing is.",
            ),
            &["region", "fault"],
        )?;
        registry.register(Box::new(faults.clone()))?;
        let probes = counter(
            "probes_total",
            "Active checks, by what they showed.",
            &["region", "outcome"],
        )?;
        let resolves = counter(
            "resolves_total",
            "Look-ups of regions' names.",
            &["region", "outcome"],
        )?;
        let reloads = counter(
            "config_reloads_total",
            "Times the configuration was read again, by what came of it.",
            &["outcome"],
        )?;
        let transitions = counter(
            "transitions_total",
            "Changes of an endpoint's health.",
            &["region", "to"],
        )?;
        for region in regions {
            for to in Health::ALL {
                let _ = transitions.with_label_values(&[region.as_str(), to.as_str()]);
            }
        }
        Ok(Self {
            health: per_region(regions, |r| health.with_label_values(&[r])),
            faults: per_region(regions, |r| {
                Fault::ALL.map(|f| faults.with_label_values(&[r, f.as_str()]))
            }),
            rtt: per_region(regions, |r| rtt.with_label_values(&[r])),
            probes: per_region(regions, |r| {
                ["good", "bad", "silent"].map(|o| probes.with_label_values(&[r, o]))
            }),
            resolves: per_region(regions, |r| {
                ["good", "failed"].map(|o| resolves.with_label_values(&[r, o]))
            }),
            reloads: ["applied", "refused"].map(|o| reloads.with_label_values(&[o])),
            transitions,
            reports: from_the_start(
                counter(
                    "reports_total",
                    "Messages heard over chatter, by what became of them.",
                    &["outcome"],
                )?,
                ["taken", "malformed", "impostor", "too-large", "version"].map(|outcome| [outcome]),
            ),
            epoch: gauge("snapshot_epoch", "Number of the newest snapshot.")?,
            nats_connected: gauge("nats_connected", "1 while NATS is connected.")?,
        })
    }

    /// Counts a probe.
    pub fn probed(&self, region: RegionIndex, outcome: ProbeOutcome) {
        let column = match outcome {
            ProbeOutcome::Good(_) => 0,
            ProbeOutcome::Bad => 1,
            ProbeOutcome::Silent => 2,
        };
        if let Some(counters) = self.probes.get(region.0) {
            counters[column].inc();
        }
    }

    /// Counts a look-up.
    pub fn resolved(&self, region: RegionIndex, worked: bool) {
        if let Some(counters) = self.resolves.get(region.0) {
            counters[usize::from(!worked)].inc();
        }
    }

    /// Counts a configuration that was read again.
    pub fn reload(&self, applied: bool) {
        self.reloads[usize::from(!applied)].inc();
    }

    /// Counts a change of health.
    pub fn transition(&self, region: &str, to: Health) {
        self.transitions
            .with_label_values(&[region, to.as_str()])
            .inc();
    }

    /// Counts a message heard: `taken`, or why not.
    pub fn report(&self, outcome: &'static str) {
        self.reports.with_label_values(&[outcome]).inc();
    }

    /// Shows a new snapshot.
    pub fn snapshot(&self, snapshot: &Snapshot) {
        self.epoch
            .set(i64::try_from(snapshot.epoch).unwrap_or(i64::MAX));
        for ((view, health), rtt) in snapshot.regions.iter().zip(&self.health).zip(&self.rtt) {
            health.set(if view.draining {
                -1
            } else {
                view.health as i64
            });
            rtt.set(view.rtt.as_ref().map_or(f64::NAN, Duration::as_secs_f64));
        }
        for (view, gauges) in snapshot.regions.iter().zip(&self.faults) {
            for (fault, gauge) in Fault::ALL.into_iter().zip(gauges) {
                gauge.set(i64::from(fault == view.condition.fault));
            }
        }
    }
}
