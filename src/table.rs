//! The region table: everything the edge believes about its regions, changed only by [`Table::apply`].
//!
//! Pure: events and the time come in, transitions and snapshots go out. It never asks anybody, never
//! waits, never logs. The keeper owns the one table of the process.

mod addresses;
mod breaker;
mod catalog;
mod event;
mod facts;
mod fault;
mod freshness;
mod health;
mod hearing;
mod latency;
mod risk;
mod site;
mod snapshot;
mod state;
mod window;
mod witness;

use std::sync::Arc;
use std::time::{Duration, Instant};

use frontdoor_protocol::names::RegionName;
use frontdoor_protocol::report::Report;
use frontdoor_protocol::target::Target;

pub use self::catalog::Catalog;
use self::catalog::{Added, Sums};
pub use self::event::{Event, Order, ProbeOutcome, ServedOutcome, Transition, Trouble};
pub use self::facts::{Column, Fact, Lesson};
pub use self::fault::{Condition, Evidence, Fault, name as name_fault, sight};
use self::health::{Miss, Monitor};
use self::latency::Latency;
pub use self::site::{Door, RISKIER, Site};
pub use self::snapshot::{
    EndpointView, HeardView, RegionView, Snapshot, SnapshotReader, SnapshotWriter, UNMEASURED,
    place,
};
use self::state::{EndpointState, RegionState, Seen};
use self::witness::Witness;
use crate::region::{Endpoint, RegionIndex, Row};

/// The numbers by which the table judges; `config` fills them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Misses in a row that make an endpoint suspect.
    pub misses_to_suspect: u32,
    /// Misses in a row that make it down.
    pub misses_to_down: u32,
    /// Misses by time-out make it down only after this long without any answer.
    pub silence_to_down: Duration,
    /// Good checks in a row that clear a suspicion.
    pub good_to_up: u32,
    /// Good checks in a row before an endpoint that was down may return.
    pub good_to_return: u32,
    /// How long an endpoint stays down at least; doubles with each relapse.
    pub hold_down: Duration,
    /// The longest hold-down.
    pub hold_down_max: Duration,
    /// How long a returning endpoint takes to its full share.
    pub ramp: Duration,
    /// The share with which a ramp begins.
    pub ramp_floor: f64,
    /// Share of bad live traffic that makes an endpoint suspect.
    pub bad_to_suspect: f64,
    /// Share of bad live traffic that takes a suspect down.
    pub bad_to_down: f64,
    /// Below so many samples in ten seconds live traffic says nothing.
    pub min_samples: u32,
}

/// The table.
#[derive(Debug)]
pub struct Table {
    limits: Limits,
    regions: Vec<RegionState>,
    witness: Witness,
    catalog: Arc<Catalog>,
    sums: Sums,
    /// Functions of which only live traffic told.
    learnt: usize,
    epoch: u64,
}

/// The most functions that get a row because a region said that it does not have them: callers may ask for anything.
const LEARNT: usize = 1024;

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            misses_to_suspect: 2,
            misses_to_down: 4,
            silence_to_down: Duration::from_secs(1),
            good_to_up: 5,
            good_to_return: 20,
            hold_down: Duration::from_secs(5),
            hold_down_max: Duration::from_secs(300),
            ramp: Duration::from_secs(10),
            ramp_floor: 0.1,
            bad_to_suspect: 0.2,
            bad_to_down: 0.5,
            min_samples: 20,
        }
    }
}

// === impl Table ===

impl Table {
    /// A table of these regions, in this order, with the operator's weights. Nothing is known of them yet.
    #[must_use]
    pub fn new(regions: impl IntoIterator<Item = (RegionName, f64)>, limits: Limits) -> Self {
        let regions: Vec<RegionState> = regions
            .into_iter()
            .map(|(name, weight)| RegionState::new(name, weight))
            .collect();
        Self {
            limits,
            witness: Witness::new(regions.iter().map(|r| r.name.clone())),
            regions,
            catalog: Arc::default(),
            sums: Sums::default(),
            learnt: 0,
            epoch: 0,
        }
    }

    /// Takes one piece of news; returns the changes of health that followed from it.
    pub fn apply(&mut self, event: Event, now: Instant) -> Vec<Transition> {
        let limits = self.limits;
        self.witness.note(&event, now);
        match event {
            Event::Resolved { region, addresses } => {
                if let Some(state) = self.regions.get_mut(region.0) {
                    state.resolved(&addresses, now);
                }
                Vec::new()
            }
            Event::Probed { endpoint, outcome } => self.change(endpoint, |state| match outcome {
                ProbeOutcome::Good(rtt) => state.good(rtt, now, &limits),
                ProbeOutcome::Bad => state.refused(Trouble::Refused, now, &limits),
                ProbeOutcome::Silent => state.silent(now, &limits),
            }),
            Event::Unwell { endpoint, status } => self.change(endpoint, |state| {
                state.refused(Trouble::Status(status), now, &limits);
            }),
            Event::Served {
                endpoint,
                outcome,
                target,
            } => {
                self.learn(endpoint.region, outcome, target, now);
                self.served(endpoint, outcome, now)
            }
            Event::Heard(report) => {
                self.heard(&report, now);
                Vec::new()
            }
            Event::Ordered { region, order } => {
                if let Some(state) = self.regions.get_mut(region.0) {
                    state.order(order, now);
                }
                Vec::new()
            }
            Event::Configured { limits, weights } => {
                self.limits = limits;
                for (state, weight) in self.regions.iter_mut().zip(weights) {
                    state.configured(weight);
                }
                Vec::new()
            }
            Event::Verdict(_) | Event::Canary { .. } | Event::Bus(_) => Vec::new(),
            Event::Tick => self.tick(now),
        }
    }

    /// The view of this moment, under the next epoch.
    pub fn snapshot(&mut self, now: Instant) -> Snapshot {
        self.epoch += 1;
        let views = self.regions.iter().map(|r| r.view(now, &self.limits));
        let mut regions: Vec<RegionView> = views.collect();
        self.witness.conclude(&mut regions, now);
        Snapshot::new(self.epoch, regions, Arc::clone(&self.catalog))
    }

    fn served(
        &mut self,
        endpoint: Endpoint,
        outcome: ServedOutcome,
        now: Instant,
    ) -> Vec<Transition> {
        let limits = self.limits;
        let miss = |state: &mut EndpointState, trouble, miss| {
            state.bad(trouble, now, &limits);
            state.monitor.miss(miss, now, &limits);
        };
        self.change(endpoint, |state| match outcome {
            ServedOutcome::Answered(count) => {
                state.risk.answered(count, now);
                state.monitor.served(count, 0, now, &limits);
            }
            ServedOutcome::Unreachable => miss(state, Trouble::Refused, Miss::Certain),
            ServedOutcome::Silent => miss(state, Trouble::Silent, Miss::Silent),
            ServedOutcome::Broke => state.bad(Trouble::Broke, now, &limits),
            ServedOutcome::Declined => state.bad(Trouble::Declined, now, &limits),
            ServedOutcome::NoWorker | ServedOutcome::NotHere => {}
        })
    }

    /// What live traffic teaches about one function in one region.
    fn learn(
        &mut self,
        region: RegionIndex,
        outcome: ServedOutcome,
        target: Option<Target>,
        now: Instant,
    ) {
        let seen = match outcome {
            ServedOutcome::Broke | ServedOutcome::Declined => Seen::Fault,
            ServedOutcome::NoWorker => Seen::Idle,
            ServedOutcome::NotHere => Seen::Absent,
            ServedOutcome::Answered(_) | ServedOutcome::Unreachable | ServedOutcome::Silent => {
                return;
            }
        };
        let Some(row) = target.and_then(|target| self.row(target)) else {
            return;
        };
        if let Some(state) = self.regions.get_mut(region.0) {
            state.learn(row, seen, now);
        }
    }

    /// The row of what a call asked for; a function that nobody reported gets one.
    fn row(&mut self, target: Target) -> Option<Row> {
        let known = self.catalog.find(target.function, target.version);
        if known.is_some() || target.version.is_some() || self.learnt >= LEARNT {
            return known;
        }
        self.learnt += 1;
        Arc::make_mut(&mut self.catalog).learn(target.function)
    }

    /// A report changes its region's column, and the rows that sum up what changed.
    fn heard(&mut self, report: &Report, now: Instant) {
        let Some(index) = self.regions.iter().position(|r| r.name == report.region) else {
            return;
        };
        let (catalog, sums) = (&mut self.catalog, &mut self.sums);
        let mut split = Vec::new();
        let state = &mut self.regions[index];
        let changed = state.hearing.take(
            report,
            now,
            &mut state.column,
            |function, version, guess| {
                let guess = guess.filter(|row| catalog.is(*row, function, version));
                let known = guess.or_else(|| catalog.version(function, version));
                known.or_else(
                    || match Arc::make_mut(catalog).add(function, version, sums) {
                        Added::First(row) => Some(row),
                        Added::Another { row, sum } => {
                            sums.join(row, sum);
                            Some(row)
                        }
                        Added::Second { row, first, sum } => {
                            sums.join(first, sum);
                            sums.join(row, sum);
                            split.push(sum);
                            Some(row)
                        }
                        Added::Full => None,
                    },
                )
            },
        );
        state.reported(changed.iter().copied());
        state.notice_draining(now);
        let mut stale: Vec<Row> = changed
            .iter()
            .filter_map(|row| self.sums.sum_of(*row))
            .collect();
        stale.sort_unstable();
        stale.dedup();
        for sum in stale {
            self.regions[index].sum_up(sum, self.sums.parts(sum));
            self.regions[index].reported([sum]);
        }
        for sum in split {
            for state in &mut self.regions {
                state.sum_up(sum, self.sums.parts(sum));
            }
        }
    }

    fn tick(&mut self, now: Instant) -> Vec<Transition> {
        let limits = self.limits;
        let mut transitions = Vec::new();
        for (index, region) in self.regions.iter_mut().enumerate() {
            region.tick(now);
            addresses::prune(&mut region.endpoints, now);
            for state in &mut region.endpoints {
                let region = RegionIndex(index);
                transitions.extend(state.change(region, |state| state.tick(now, &limits)));
            }
        }
        transitions
    }

    /// Changes one endpoint, if it is still in the table, and reports a change of its health.
    fn change(
        &mut self,
        endpoint: Endpoint,
        change: impl FnOnce(&mut EndpointState),
    ) -> Vec<Transition> {
        let region = self.regions.get_mut(endpoint.region.0);
        let state = region.and_then(|region| {
            let mut all = region.endpoints.iter_mut();
            all.find(|e| e.address == endpoint.address)
        });
        let transition = state.and_then(|state| state.change(endpoint.region, change));
        transition.into_iter().collect()
    }
}

#[cfg(test)]
mod tests;
