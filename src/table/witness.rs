//! What is known of regions beside their addresses: the evidence from which `fault.rs` finds a name.
//!
//! Remembers, forgets what is old, and holds within bounds what strangers may say. The table shows it every event and
//! asks it with every snapshot.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use frontdoor_protocol::names::{RegionName, VersionId};
use frontdoor_protocol::report::Report;
use frontdoor_protocol::verdict::{Canary, Sight, Verdict};

use super::catalog::Fast;
use super::fault::{self, Condition, Evidence};
use super::{Event, ProbeOutcome, RegionView, ServedOutcome};

/// All that is remembered, for all regions.
#[derive(Debug)]
pub(super) struct Witness {
    regions: Vec<Memory>,
    bus: Option<bool>,
}

#[derive(Debug)]
struct Memory {
    name: RegionName,
    verdicts: Vec<Heard>,
    /// The first and the last of the reports that came without a gap.
    reported: Option<(Instant, Instant)>,
    /// The addresses whose last check failed, and since when their checks do.
    failing: Vec<(SocketAddr, Instant)>,
    /// Whether a check was ever answered well.
    answered: bool,
    /// Addresses that answered their last check by saying that they are not well.
    complaining: Vec<SocketAddr>,
    /// Good and bad calls, in two halves of a window.
    traffic: Option<[(Instant, u32, u32); 2]>,
    canary: Option<Canaries>,
    /// Versions that have workers, or had them.
    staffed: HashSet<VersionId, Fast>,
    /// Those of them that have none any more, and since when.
    orphans: HashMap<VersionId, Instant, Fast>,
}

#[derive(Debug)]
struct Heard {
    edge: u64,
    seq: u64,
    sight: Sight,
    canary: Option<Canary>,
    at: Instant,
}

/// A row of equal answers of canaries.
#[derive(Debug)]
struct Canaries {
    last: Canary,
    row: u32,
    sick: bool,
    /// No version had workers when the last one came back, so that it was about all of them. Else it was about one that had.
    deserted: bool,
    at: Instant,
}

/// Verdicts are believed for this long: they come every second.
const VERDICT: Duration = Duration::from_secs(2);
/// Reports come every 250 to 350 ms, over a connection that loses none: two that did not come are no accident.
/// What follows is a name; calls go by checks.
const HEARTBEAT: Duration = Duration::from_millis(850);
/// News may have been on its way, or waited for the next verdict, for this long: what comes later was said later.
const IN_FLIGHT: Duration = Duration::from_secs(1);
/// The window of live traffic, in two halves.
const TRAFFIC: Duration = Duration::from_secs(1);
/// Below so many calls live traffic says nothing.
const SAMPLES: u32 = 10;
/// Canaries in a row that make a region sick. One may have met a worker in the moment of its death.
const CANARIES_TO_SICK: u32 = 3;
/// Canaries in a row that make it well again.
const CANARIES_TO_WELL: u32 = 2;
/// What canaries showed is forgotten after this long without one.
const CANARY: Duration = Duration::from_secs(15);
/// Edges that are listened to; more would be an attack.
const EDGES: usize = 1024;
/// Versions of a region whose workers are remembered.
const VERSIONS: usize = 16_384;

// === impl Witness ===

impl Witness {
    pub(super) fn new(names: impl Iterator<Item = RegionName>) -> Self {
        Self {
            regions: names.map(Memory::new).collect(),
            bus: None,
        }
    }

    /// Remembers what an event says.
    pub(super) fn note(&mut self, event: &Event, now: Instant) {
        match event {
            Event::Verdict(verdict) => self.verdict(verdict, now),
            Event::Heard(report) => {
                let found = self.regions.iter_mut().find(|m| m.name == report.region);
                if let Some(memory) = found {
                    memory.reported(report, now);
                }
            }
            Event::Canary { region, outcome } => {
                if let Some(memory) = self.regions.get_mut(region.0) {
                    memory.canary(*outcome, now);
                }
            }
            Event::Served {
                endpoint, outcome, ..
            } => {
                if let Some(memory) = self.regions.get_mut(endpoint.region.0) {
                    match outcome {
                        ServedOutcome::Answered(count) => memory.served(*count, 0, now),
                        ServedOutcome::NoWorker | ServedOutcome::NotHere => {}
                        _ => memory.served(0, 1, now),
                    }
                }
            }
            Event::Probed { endpoint, outcome } => {
                if let Some(memory) = self.regions.get_mut(endpoint.region.0) {
                    memory.checked(endpoint.address, *outcome, now);
                }
            }
            Event::Unwell { endpoint, .. } => {
                if let Some(memory) = self.regions.get_mut(endpoint.region.0) {
                    memory.complains(endpoint.address);
                    memory.failed(endpoint.address, now);
                }
            }
            Event::Resolved { region, addresses } => {
                if let Some(memory) = self.regions.get_mut(region.0) {
                    memory.failing.retain(|(a, _)| addresses.contains(a));
                    memory.complaining.retain(|a| addresses.contains(a));
                }
            }
            Event::Bus(works) => self.bus = Some(*works),
            _ => {}
        }
    }

    /// What follows for each region of a snapshot.
    pub(super) fn conclude(&self, regions: &mut [RegionView], now: Instant) {
        for (memory, view) in self.regions.iter().zip(regions) {
            view.condition = memory.condition(view, self.bus, now);
        }
    }

    fn verdict(&mut self, verdict: &Verdict, now: Instant) {
        for told in &verdict.regions {
            let found = self.regions.iter_mut().find(|m| m.name == told.region);
            let Some(memory) = found else { continue };
            memory.verdicts.retain(|v| fresh(v.at, VERDICT, now));
            let heard = Heard {
                edge: verdict.edge,
                seq: verdict.seq,
                sight: told.sight,
                canary: told.canary,
                at: now,
            };
            let known = memory.verdicts.iter().position(|v| v.edge == verdict.edge);
            match known {
                Some(place) if memory.verdicts[place].seq < verdict.seq => {
                    memory.verdicts[place] = heard;
                }
                None if memory.verdicts.len() < EDGES => memory.verdicts.push(heard),
                _ => {}
            }
        }
    }
}

// === impl Memory ===

impl Memory {
    fn new(name: RegionName) -> Self {
        Self {
            name,
            verdicts: Vec::new(),
            reported: None,
            failing: Vec::new(),
            answered: false,
            complaining: Vec::new(),
            traffic: None,
            canary: None,
            staffed: HashSet::default(),
            orphans: HashMap::default(),
        }
    }

    fn condition(&self, view: &RegionView, bus: Option<bool>, now: Instant) -> Condition {
        let heard = || self.verdicts.iter().filter(|v| fresh(v.at, VERDICT, now));
        let count = |sight| heard().filter(|v| v.sight == sight).count();
        let (well, unwell) = (count(Sight::Well), count(Sight::Unwell));
        let lost = self.lost_since(view);
        let since = |at: Instant| lost.is_none_or(|lost| at >= lost + IN_FLIGHT);
        let still_well = heard().filter(|v| v.sight == Sight::Well && since(v.at));
        let canaries = self.canary.as_ref().filter(|c| fresh(c.at, CANARY, now));
        let sick = canaries.is_some_and(|c| c.sick);
        let complains = lost.is_some() && !self.complaining.is_empty();
        // Nobody sends canaries to a region that is down: what the last ones showed is what is known.
        let last = self.canary.as_ref().filter(|_| complains).or(canaries);
        let evidence = Evidence {
            own: fault::sight(view),
            answers: self.answered && lost.is_none(),
            well: still_well.count(),
            unwell,
            heartbeat: self.reported.map(|(_, last)| fresh(last, HEARTBEAT, now)),
            speaks_on: self
                .reported
                .is_some_and(|(first, last)| last >= first + IN_FLIGHT && since(last)),
            bus,
            failing: view.grey || self.failing(now),
            canary: last.filter(|c| c.sick).map(|c| c.last),
            complains,
            orphans: self.orphans.len(),
        };
        let worried = |v: &Heard| {
            v.sight != Sight::Well || v.canary.is_some_and(|canary| canary != Canary::Well)
        };
        Condition {
            fault: fault::name(&evidence),
            accused: heard().any(worried),
            sick,
            canary: canaries.map(|c| c.last),
            others: (well, unwell),
            orphan: self.orphans.keys().min().copied(),
        }
    }

    /// Since when no address of the region answers our checks.
    fn lost_since(&self, view: &RegionView) -> Option<Instant> {
        let since = |address| self.failing.iter().find(|(a, _)| *a == address);
        let lost: Option<Vec<Instant>> = view
            .endpoints
            .iter()
            .map(|e| since(e.address).map(|(_, at)| *at))
            .collect();
        lost?.into_iter().max()
    }

    fn complains(&mut self, address: SocketAddr) {
        if !self.complaining.contains(&address) {
            self.complaining.push(address);
        }
    }

    fn checked(&mut self, address: SocketAddr, outcome: ProbeOutcome, now: Instant) {
        self.complaining.retain(|a| *a != address);
        match outcome {
            ProbeOutcome::Good(_) => {
                self.answered = true;
                self.failing.retain(|(a, _)| *a != address);
            }
            ProbeOutcome::Bad | ProbeOutcome::Silent => self.failed(address, now),
        }
    }

    fn failed(&mut self, address: SocketAddr, now: Instant) {
        if !self.failing.iter().any(|(a, _)| *a == address) {
            self.failing.push((address, now));
        }
    }

    fn canary(&mut self, outcome: Canary, now: Instant) {
        let before = self.canary.take().filter(|c| fresh(c.at, CANARY, now));
        let good = |canary| canary == Canary::Well;
        let (row, was_sick) = before.map_or((0, false), |c| {
            let same = good(c.last) == good(outcome);
            (if same { c.row } else { 0 }, c.sick)
        });
        let row = row.saturating_add(1);
        let sick = if good(outcome) {
            was_sick && row < CANARIES_TO_WELL
        } else {
            was_sick || row >= CANARIES_TO_SICK
        };
        self.canary = Some(Canaries {
            last: outcome,
            row,
            sick,
            deserted: self.reported.is_some() && self.orphans.len() == self.staffed.len(),
            at: now,
        });
    }

    fn reported(&mut self, report: &Report, now: Instant) {
        let before = self
            .reported
            .filter(|(_, last)| fresh(*last, HEARTBEAT, now));
        self.reported = Some((before.map_or(now, |(first, _)| first), now));
        let mut listed = 0;
        for function in &report.functions {
            let version = function.version;
            if !function.deployed {
                self.staffed.remove(&version);
                self.orphans.remove(&version);
            } else if function.workers > 0 {
                self.manned(version);
                listed += 1;
            } else if self.staffed.contains(&version) {
                self.orphans.entry(version).or_insert(now);
                listed += 1;
            }
        }
        if report.full && self.staffed.len() > listed {
            // What is not listed is not deployed: nobody's orphan, and no version with workers.
            let here: HashSet<_, Fast> = report.functions.iter().map(|f| f.version).collect();
            self.orphans.retain(|v, _| here.contains(v));
            self.staffed.retain(|v| here.contains(v));
        }
    }

    /// A version has workers. If canaries can have missed them, the next ones judge what is there now.
    fn manned(&mut self, version: VersionId) {
        // Mostly there are none, and then a report of thousands of versions looks for none of them.
        let lost = match self.orphans.is_empty() {
            true => None,
            false => self.orphans.remove(&version),
        };
        // A region tries a version that has workers as long as any has. The workers of one that had none then were not tried.
        let about = |c: &Canaries| c.deserted || lost.is_some_and(|at| at >= c.at);
        let missed = |c: &Canaries| c.last == Canary::Workers && about(c);
        if self.canary.as_ref().is_some_and(missed) {
            self.canary = None;
        }
        if self.staffed.len() < VERSIONS {
            self.staffed.insert(version);
        }
    }

    fn served(&mut self, good: u32, bad: u32, now: Instant) {
        let [older, newer] = &mut self.traffic.get_or_insert([(now, 0, 0); 2]);
        if !fresh(newer.0, TRAFFIC, now) {
            *older = std::mem::replace(newer, (now, 0, 0));
        }
        newer.1 = newer.1.saturating_add(good);
        newer.2 = newer.2.saturating_add(bad);
    }

    /// Whether half of the live traffic of the last two seconds failed.
    fn failing(&self, now: Instant) -> bool {
        let halves = self.traffic.iter().flatten();
        let (good, bad) = halves
            .filter(|half| fresh(half.0, TRAFFIC * 2, now))
            .fold((0, 0), |sum: (u32, u32), half| {
                (sum.0.saturating_add(half.1), sum.1.saturating_add(half.2))
            });
        bad >= good && bad >= SAMPLES
    }
}

fn fresh(at: Instant, time: Duration, now: Instant) -> bool {
    now.saturating_duration_since(at) <= time
}

#[cfg(test)]
mod tests;
