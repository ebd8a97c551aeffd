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
use crate::table::{
    Event, Fault, RegionView, ServedOutcome, Snapshot, SnapshotReader, SnapshotWriter, Table,
    Transition,
};

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
        self.publish(&[]);
        loop {
            let mut changes = tokio::select! {
                () = stop.cancelled() => return,
                Some(event) = self.events.recv() => self.apply(event),
                _ = ticks.tick() => self.tick(),
            };
            // News that is already there goes into the same snapshot.
            while let Ok(event) = self.events.try_recv() {
                changes.extend(self.apply(event));
            }
            self.publish(&changes);
        }
    }

    fn tick(&mut self) -> Vec<Transition> {
        let mut changes = Vec::new();
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
                    changes.extend(self.apply(Event::Served {
                        endpoint,
                        outcome: ServedOutcome::Answered(count),
                        target: None,
                    }));
                }
            }
        }
        changes.extend(self.apply(Event::Tick));
        changes
    }

    fn apply(&mut self, event: Event) -> Vec<Transition> {
        self.table.apply(event, Instant::now())
    }

    fn publish(&mut self, changes: &[Transition]) {
        let snapshot = self.table.snapshot(Instant::now());
        let before = self.reader.load();
        for change in changes {
            self.note(change, &snapshot);
        }
        for (view, was) in snapshot.regions.iter().zip(&before.regions) {
            note_fault(view, was.condition.fault);
        }
        match (serves(&before), serves(&snapshot)) {
            (true, false) => {
                tracing::error!(
                    "no region is well: calls are refused, or sent where they may still be taken"
                );
            }
            (false, true) => tracing::info!("a region is well: calls are served"),
            _ => {}
        }
        self.metrics.background.snapshot(&snapshot);
        self.writer.publish(snapshot);
    }

    fn note(&self, change: &Transition, snapshot: &Snapshot) {
        let region = snapshot.regions.get(change.endpoint.region.0);
        let region = region.map_or("?", |r| r.name.as_str());
        self.metrics.background.transition(region, change.to);
        let (address, from, to) = (
            change.endpoint.address,
            change.from.as_str(),
            change.to.as_str(),
        );
        let why = change.why.map(tracing::field::display);
        if change.to >= Health::Ramp {
            tracing::info!(region, %address, from, to, "an endpoint is well");
        } else if serves(snapshot) {
            tracing::warn!(region, %address, from, to, why, "an endpoint is not well; calls go elsewhere");
        } else {
            tracing::warn!(region, %address, from, to, why, "an endpoint is not well, and there is nowhere else");
        }
    }
}

/// Whether there is a region that is well and takes new calls.
fn serves(snapshot: &Snapshot) -> bool {
    let mut regions = snapshot.regions.iter();
    regions.any(|r| r.health >= Health::Ramp && !r.draining)
}

fn note_fault(view: &RegionView, was: Fault) {
    let (region, now) = (view.name.as_str(), view.condition.fault);
    let (fault, before) = (now.as_str(), was.as_str());
    let version = view.condition.orphan.filter(|_| now == Fault::FunctionDown);
    let version = version.map(tracing::field::display);
    match now {
        now if now == was => {}
        Fault::None => tracing::info!(
            region,
            fault,
            was = before,
            "nothing is wrong with a region any more"
        ),
        _ => {
            tracing::warn!(
                region,
                fault,
                was = before,
                version,
                "what is wrong with a region has changed"
            );
        }
    }
}
