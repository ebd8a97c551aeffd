//! The region table: everything the edge believes about its regions, changed only by [`Table::apply`].
//!
//! Pure: events and the time come in, transitions and snapshots go out. It never asks anybody, never
//! waits, never logs. The keeper owns the one table of the process.

mod addresses;
mod event;
mod freshness;
mod health;
mod latency;
mod snapshot;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use frontdoor_protocol::names::RegionName;
use frontdoor_protocol::report::Report;

pub use self::event::{Event, Order, ProbeOutcome, ServedOutcome, Transition};
use self::health::{Miss, Monitor};
use self::latency::Latency;
pub use self::snapshot::{
    EndpointView, HeardView, RegionView, Snapshot, SnapshotReader, SnapshotWriter, place,
};
use crate::region::{Endpoint, Health, RegionIndex, Tally};

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
    epoch: u64,
}

#[derive(Debug)]
struct RegionState {
    name: RegionName,
    weight: f64,
    drained: bool,
    /// The weight that an operator ordered; it goes before the configured one.
    ordered: Option<f64>,
    endpoints: Vec<EndpointState>,
    heard: Vec<Heard>,
}

#[derive(Debug)]
struct EndpointState {
    address: SocketAddr,
    monitor: Monitor,
    latency: Latency,
    tally: Arc<Tally>,
    /// Since when DNS names it no more.
    dropped: Option<Instant>,
}

/// The last word of one of a region's invocation services.
#[derive(Debug)]
struct Heard {
    /// Its start: what tells one service of a region from another.
    epoch: u64,
    seq: u64,
    draining: bool,
    view: HeardView,
}

/// Invocation services of one region that are listened to; more would be an attack.
const SPEAKERS: usize = 64;

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            misses_to_suspect: 2,
            misses_to_down: 4,
            silence_to_down: Duration::from_secs(1),
            good_to_up: 5,
            good_to_return: 20,
            hold_down: Duration::from_secs(30),
            hold_down_max: Duration::from_secs(300),
            ramp: Duration::from_secs(60),
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
        let regions = regions
            .into_iter()
            .map(|(name, weight)| RegionState {
                name,
                weight,
                drained: false,
                ordered: None,
                endpoints: Vec::new(),
                heard: Vec::new(),
            })
            .collect();
        Self {
            limits,
            regions,
            epoch: 0,
        }
    }

    /// Takes one piece of news; returns the changes of health that followed from it.
    pub fn apply(&mut self, event: Event, now: Instant) -> Vec<Transition> {
        let limits = self.limits;
        match event {
            Event::Resolved { region, addresses } => self.resolved(region, &addresses, now),
            Event::Probed { endpoint, outcome } => self.change(endpoint, |state| match outcome {
                ProbeOutcome::Good(rtt) => {
                    state.latency.sample(rtt, now);
                    state.monitor.good(now, &limits);
                }
                ProbeOutcome::Bad => state.monitor.miss(Miss::Certain, now, &limits),
                ProbeOutcome::Silent => state.monitor.miss(Miss::Silent, now, &limits),
            }),
            Event::Served {
                endpoint, outcome, ..
            } => self.change(endpoint, |state| match outcome {
                ServedOutcome::Answered(count) => state.monitor.served(count, 0, now, &limits),
                ServedOutcome::Unreachable => {
                    state.monitor.served(0, 1, now, &limits);
                    state.monitor.miss(Miss::Certain, now, &limits);
                }
                ServedOutcome::Silent => {
                    state.monitor.served(0, 1, now, &limits);
                    state.monitor.miss(Miss::Silent, now, &limits);
                }
                ServedOutcome::Broke | ServedOutcome::Declined => {
                    state.monitor.served(0, 1, now, &limits);
                }
                ServedOutcome::NotHere => {}
            }),
            Event::Heard(report) => {
                self.heard(&report, now);
                Vec::new()
            }
            Event::Ordered { region, order } => {
                if let Some(state) = self.regions.get_mut(region.0) {
                    state.order(order);
                }
                Vec::new()
            }
            Event::Configured { limits, weights } => {
                self.limits = limits;
                for (state, weight) in self.regions.iter_mut().zip(weights) {
                    state.weight = weight;
                }
                Vec::new()
            }
            Event::Tick => self.tick(now),
        }
    }

    /// The view of this moment, under the next epoch.
    pub fn snapshot(&mut self, now: Instant) -> Snapshot {
        self.epoch += 1;
        Snapshot {
            epoch: self.epoch,
            regions: self
                .regions
                .iter()
                .map(|r| r.view(now, &self.limits))
                .collect(),
        }
    }

    fn resolved(
        &mut self,
        region: RegionIndex,
        addresses: &[SocketAddr],
        now: Instant,
    ) -> Vec<Transition> {
        let Some(state) = self.regions.get_mut(region.0) else {
            return Vec::new();
        };
        if addresses.is_empty() {
            return Vec::new();
        }
        addresses::answered(&mut state.endpoints, addresses, now);
        Vec::new()
    }

    /// The last report of each service wins; an older one of the same service is ignored. Who fell silent is forgotten.
    fn heard(&mut self, report: &Report, now: Instant) {
        let Some(state) = self.regions.iter_mut().find(|r| r.name == report.region) else {
            return;
        };
        let fresh = |h: &Heard| freshness::believed(now.saturating_duration_since(h.view.at));
        state.heard.retain(fresh);
        let heard = Heard {
            epoch: report.epoch,
            seq: report.seq,
            draining: report.draining,
            view: HeardView {
                at: now,
                queued: report.queued,
                running: report.running,
            },
        };
        if let Some(known) = state.heard.iter_mut().find(|h| h.epoch == report.epoch) {
            if known.seq < report.seq {
                *known = heard;
            }
        } else if state.heard.len() < SPEAKERS {
            state.heard.push(heard);
        }
    }

    fn tick(&mut self, now: Instant) -> Vec<Transition> {
        let limits = self.limits;
        for region in &mut self.regions {
            addresses::prune(&mut region.endpoints, now);
        }
        let endpoints: Vec<Endpoint> = self
            .regions
            .iter()
            .enumerate()
            .flat_map(|(index, region)| {
                region.endpoints.iter().map(move |e| Endpoint {
                    region: RegionIndex(index),
                    address: e.address,
                })
            })
            .collect();
        endpoints
            .into_iter()
            .flat_map(|endpoint| self.change(endpoint, |state| state.monitor.tick(now, &limits)))
            .collect()
    }

    /// Changes one endpoint, if it is still in the table, and reports a change of its health.
    fn change(
        &mut self,
        endpoint: Endpoint,
        change: impl FnOnce(&mut EndpointState),
    ) -> Vec<Transition> {
        let Some(state) = self.regions.get_mut(endpoint.region.0).and_then(|region| {
            region
                .endpoints
                .iter_mut()
                .find(|e| e.address == endpoint.address)
        }) else {
            return Vec::new();
        };
        let from = state.monitor.health();
        change(state);
        let to = state.monitor.health();
        if from == to {
            Vec::new()
        } else {
            vec![Transition { endpoint, from, to }]
        }
    }
}

// === impl RegionState ===

impl RegionState {
    fn order(&mut self, order: Order) {
        match order {
            Order::Weight(weight) => self.ordered = Some(weight),
            Order::Drain => self.drained = true,
            Order::Undrain => self.drained = false,
        }
    }

    fn view(&self, now: Instant, limits: &Limits) -> RegionView {
        let endpoints: Vec<EndpointView> = self
            .endpoints
            .iter()
            .map(|e| EndpointView {
                address: e.address,
                health: e.monitor.health(),
                rtt: e.latency.value(),
                tally: Arc::clone(&e.tally),
                dropped: e.dropped.is_some(),
            })
            .collect();
        let health = endpoints
            .iter()
            .map(|e| e.health)
            .max()
            .unwrap_or(Health::Down);
        let best = self
            .endpoints
            .iter()
            .filter(|e| e.monitor.health() == health);
        let ramp = best
            .clone()
            .map(|e| e.monitor.weight(now, limits))
            .fold(limits.ramp_floor, f64::max);
        RegionView {
            name: self.name.clone(),
            tag: self.name.tag(),
            health,
            draining: self.drained || self.draining(now),
            weight: self.ordered.unwrap_or(self.weight),
            ramp,
            rtt: best.filter_map(|e| e.latency.value()).min(),
            endpoints,
            heard: self.heard.iter().map(|h| h.view).reduce(HeardView::with),
        }
    }
}

impl RegionState {
    /// A region drains when all of its services say so. One that goes is its own `/health`'s business.
    fn draining(&self, now: Instant) -> bool {
        let mut fresh = self
            .heard
            .iter()
            .filter(|h| freshness::believed(now.saturating_duration_since(h.view.at)))
            .peekable();
        fresh.peek().is_some() && fresh.all(|h| h.draining)
    }
}

#[cfg(test)]
mod tests;
