//! The one writer of the region table: events in, table applied, snapshot published.
//!
//! It owns the table, so nobody needs a lock. It decides nothing; it keeps time for the table, collects what live
//! traffic counted, and tells the log and the metrics what changed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::region::{Endpoint, Health, RegionIndex};
use crate::route::RetryBudget;
use crate::table::{Event, ServedOutcome, SnapshotReader, SnapshotWriter, Table, Transition};

/// What the keeper needs.
pub struct Keeper {
    /// The table; this is its only owner.
    pub table: Table,
    /// News from everybody.
    pub events: mpsc::Receiver<Event>,
    /// Where snapshots go.
    pub writer: SnapshotWriter,
    /// Where their tallies are read back.
    pub reader: SnapshotReader,
    /// Refilled as time passes.
    pub budget: Arc<RetryBudget>,
    /// Counts.
    pub metrics: Arc<Metrics>,
}

/// How often time-driven rules and tallies are looked at.
const TICK: Duration = Duration::from_millis(100);

// === impl Keeper ===

impl Keeper {
    /// Keeps the table until told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.publish();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(event) = self.events.recv() => self.apply(event),
                _ = ticks.tick() => self.tick(),
            }
            // News that is already there goes into the same snapshot.
            while let Ok(event) = self.events.try_recv() {
                self.apply(event);
            }
            self.publish();
        }
    }

    fn tick(&mut self) {
        self.budget.refill(TICK);
        let snapshot = self.reader.load();
        for (index, region) in snapshot.regions.iter().enumerate() {
            for endpoint in &region.endpoints {
                let count = endpoint.tally.take_good();
                if count > 0 {
                    let endpoint = Endpoint {
                        region: RegionIndex(index),
                        address: endpoint.address,
                    };
                    self.apply(Event::Served {
                        endpoint,
                        outcome: ServedOutcome::Answered(count),
                        target: None,
                    });
                }
            }
        }
        self.apply(Event::Tick);
    }

    fn apply(&mut self, event: Event) {
        for transition in self.table.apply(event, Instant::now()) {
            self.note(&transition);
        }
    }

    fn note(&self, transition: &Transition) {
        let snapshot = self.reader.load();
        let region = snapshot
            .regions
            .get(transition.endpoint.region.0)
            .map_or("?", |r| r.name.as_str());
        self.metrics.background.transition(region, transition.to);
        let (address, from, to) = (
            transition.endpoint.address,
            transition.from.as_str(),
            transition.to.as_str(),
        );
        if transition.to >= Health::Ramp {
            tracing::info!(region, %address, from, to, "an endpoint is well");
        } else {
            tracing::warn!(region, %address, from, to, "an endpoint is not well; calls go elsewhere");
        }
    }

    fn publish(&mut self) {
        let snapshot = self.table.snapshot(Instant::now());
        let before = self.reader.load();
        for (view, was) in snapshot.regions.iter().zip(&before.regions) {
            let (region, from, to) = (
                view.name.as_str(),
                was.condition.fault,
                view.condition.fault,
            );
            if from != to {
                let (fault, was) = (to.as_str(), from.as_str());
                tracing::warn!(
                    region,
                    fault,
                    was,
                    "what is wrong with a region has changed"
                );
            }
        }
        self.metrics.background.snapshot(&snapshot);
        self.writer.publish(snapshot);
    }
}
