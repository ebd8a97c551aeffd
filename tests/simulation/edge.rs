//! An edge as it is in production: its table, its snapshot, its retry budget, and the calls that it has on their way.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use frontdoor::region::{Endpoint, Flight, Health, RegionIndex};
use frontdoor::route::{Ask, NoRegion, Policy, Tried, decide};
use frontdoor::table::{Event, Limits, ProbeOutcome, ServedOutcome, Snapshot, Table};
use frontdoor_protocol::report::Report;
use frontdoor_protocol::target::Target;

use crate::number;
use crate::world::{Function, World};

/// One edge.
#[derive(Debug)]
pub(crate) struct Edge {
    table: Table,
    snapshot: Snapshot,
    stale: bool,
    /// Checks that were sent and not yet answered.
    sent: Vec<(usize, ProbeOutcome)>,
    start: Instant,
    policy: Policy,
}

// === impl Edge ===

impl Edge {
    pub(crate) fn new(world: &World, start: Instant) -> Self {
        let names = crate::places::PLACES[..world.size.regions].iter();
        let names = names.map(|place| (place.name.parse().expect("valid"), 1.0));
        let mut table = Table::new(names, limits());
        for region in 0..world.size.regions {
            let addresses = vec![address(region)];
            let region = RegionIndex(region);
            table.apply(Event::Resolved { region, addresses }, start);
        }
        Self {
            snapshot: table.snapshot(start),
            table,
            stale: true,
            sent: Vec::new(),
            start,
            policy: Policy::default(),
        }
    }

    pub(crate) fn choose(
        &mut self,
        function: &Function,
        tried: &Tried,
        seed: u64,
        now: u64,
    ) -> Result<usize, NoRegion> {
        self.refresh(now);
        let ask = Ask {
            function: Some(function.id),
            tried: *tried,
            ..Ask::default()
        };
        decide(&self.snapshot, &self.policy, &ask, seed).map(|decision| decision.region.0)
    }

    pub(crate) fn depart(&self, region: usize, function: &Function) -> Flight {
        let row = self.snapshot.row(function.id, None);
        self.snapshot
            .depart(RegionIndex(region), address(region), row)
    }

    pub(crate) fn heard(&mut self, report: &Report, now: u64) {
        self.apply(Event::Heard(report.clone()), now);
    }

    pub(crate) fn failed(
        &mut self,
        region: usize,
        function: &Function,
        outcome: ServedOutcome,
        now: u64,
    ) {
        let event = Event::Served {
            endpoint: endpoint(region),
            outcome,
            target: Some(Target {
                function: function.id,
                version: None,
            }),
        };
        self.apply(event, now);
    }

    /// The keeper's tick, with the answers of the checks that were sent at the last one.
    pub(crate) fn tick(&mut self, checks: impl Iterator<Item = (usize, ProbeOutcome)>, now: u64) {
        for (region, outcome) in std::mem::take(&mut self.sent) {
            let endpoint = endpoint(region);
            self.apply(Event::Probed { endpoint, outcome }, now);
        }
        self.sent.extend(checks);
        for region in 0..self.snapshot.regions.len() {
            let tallies = self.snapshot.regions[region].endpoints.iter();
            let good: u32 = tallies.map(|e| e.tally.take_good()).sum();
            if good > 0 {
                let event = Event::Served {
                    endpoint: endpoint(region),
                    outcome: ServedOutcome::Answered(good),
                    target: None,
                };
                self.apply(event, now);
            }
        }
        self.apply(Event::Tick, now);
    }

    /// Whether it sees a region that is well, does not drain, and was not tried.
    pub(crate) fn sees_well(&self, function: &Function, tried: &Tried) -> bool {
        self.open(function, tried)
            .any(|region| self.snapshot.regions[region].health == Health::Up)
    }

    /// Whether a region is left that a call may be sent to, however it is.
    pub(crate) fn has_open(&self, function: &Function, tried: &Tried) -> bool {
        self.open(function, tried).next().is_some()
    }

    pub(crate) fn sees_draining(&self, region: usize) -> bool {
        self.snapshot.regions[region].draining
    }

    fn open(&self, function: &Function, tried: &Tried) -> impl Iterator<Item = usize> {
        let all = self.snapshot.regions.iter().enumerate();
        let open = all.filter(|(region, view)| {
            let row = self.snapshot.row(function.id, None);
            let fact = row
                .and_then(|row| view.facts.get(row))
                .map(|(fact, _)| *fact);
            let here = fact.is_some_and(|fact| fact.deployed());
            let known = view.trust.is_some();
            !tried.contains(RegionIndex(*region))
                && !view.draining
                && !view.endpoints.is_empty()
                && (here || !known)
                && fact.is_none_or(|f| f.lesson == frontdoor::table::Lesson::None)
        });
        open.map(|(region, _)| region)
    }

    fn apply(&mut self, event: Event, now: u64) {
        self.table.apply(event, at(self.start, now));
        self.stale = true;
    }

    fn refresh(&mut self, now: u64) {
        if self.stale {
            self.snapshot = self.table.snapshot(at(self.start, now));
            self.stale = false;
        }
    }
}

/// The defaults, or with other numbers to try: `EDGE_SIM_HOLD_DOWN` and `EDGE_SIM_RAMP` in seconds.
fn limits() -> Limits {
    let base = Limits::default();
    let seconds = |name, or| number(name).map_or(or, Duration::from_secs);
    Limits {
        hold_down: seconds("EDGE_SIM_HOLD_DOWN", base.hold_down),
        ramp: seconds("EDGE_SIM_RAMP", base.ramp),
        ..base
    }
}

fn at(start: Instant, now: u64) -> Instant {
    start + Duration::from_micros(now)
}

fn address(region: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, region as u8 + 1], 443))
}

fn endpoint(region: usize) -> Endpoint {
    Endpoint {
        region: RegionIndex(region),
        address: address(region),
    }
}
