//! Why a call went where it went: the words for a decision, and a trace from which it can be made again.
//!
//! Pure. A [`Trace`] owns everything one decision read, so it can be kept, sent and re-run exactly, long after
//! the snapshot is gone. An [`Explanation`] is the whole table it saw: per region the parts of the prediction, or why
//! the region was out of the question.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::choose::choose;
use super::draw::Draw;
use super::rank::{self, Parts, Presence, Tier};
use super::world::{Known, Now, Site, World};
use super::{Ask, NoRegion, Policy, Reason};
use crate::region::RegionIndex;
use crate::table::Snapshot;

/// Everything that one decision read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// The snapshot's number.
    pub epoch: u64,
    /// The decision's seed.
    pub seed: u64,
    /// How routes were chosen.
    pub policy: Policy,
    /// What was asked.
    pub ask: Ask,
    /// Nearest first.
    pub order: Vec<RegionIndex>,
    /// All regions, in the order of the configuration.
    pub places: Vec<Place>,
}

/// One region at that moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// Its name.
    pub name: String,
    /// The region.
    pub site: Site,
    /// What was known of the function there.
    pub known: Known,
}

/// The table that a decision saw.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The snapshot's number.
    pub epoch: u64,
    /// The region and the reason, or that there was none.
    pub decision: Result<(String, Reason), NoRegion>,
    /// All regions, nearest first.
    pub lines: Vec<Line>,
}

/// One region in an explanation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// Its name.
    pub region: String,
    /// Its health.
    pub health: &'static str,
    /// The predicted time to first byte, in milliseconds.
    pub parts: Parts,
    /// What it said of the function's workers; nothing if it did not. For people alone.
    #[serde(skip)]
    staff: Option<Staff>,
    /// Why it was not among the candidates.
    pub excluded: Option<&'static str>,
}

/// The workers of a function in a region, as last reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Staff {
    /// How many.
    workers: u16,
    /// Calls they may have at once.
    slots: u16,
    /// Calls they could take then.
    free: u16,
}

// === impl Trace ===

impl Trace {
    /// Keeps what a decision reads.
    #[must_use]
    pub fn record(snapshot: &Snapshot, policy: &Policy, ask: &Ask, seed: u64) -> Self {
        let row = ask
            .function
            .and_then(|function| snapshot.row(function, ask.version));
        let now = Now { snapshot, row };
        let places = snapshot
            .regions
            .iter()
            .enumerate()
            .map(|(index, view)| Place {
                name: view.name.to_string(),
                site: *now.site(RegionIndex(index)),
                known: now.known(RegionIndex(index)),
            });
        Self {
            epoch: snapshot.epoch,
            seed,
            policy: *policy,
            ask: *ask,
            order: snapshot.order.clone(),
            places: places.collect(),
        }
    }

    /// Makes the decision again.
    ///
    /// # Errors
    /// If there was none.
    pub fn decide(&self) -> Result<(RegionIndex, Reason), NoRegion> {
        choose(self, &self.policy, &self.ask, self.seed)
    }

    /// The table that the decision saw.
    #[must_use]
    pub fn explain(&self) -> Explanation {
        let name = |region: RegionIndex| {
            let place = self.places.get(region.0);
            place.map(|place| place.name.clone()).unwrap_or_default()
        };
        let held = self
            .places
            .iter()
            .any(|p| rank::presence(&p.site, &p.known) == Presence::Here);
        let known = self
            .order
            .iter()
            .filter(|region| region.0 < self.places.len());
        Explanation {
            epoch: self.epoch,
            decision: self.decide().map(|(region, reason)| (name(region), reason)),
            lines: known.map(|region| self.line(*region, held)).collect(),
        }
    }

    fn line(&self, region: RegionIndex, held: bool) -> Line {
        let Place { name, site, known } = &self.places[region.0];
        Line {
            region: name.clone(),
            health: site.health.as_str(),
            parts: rank::predicted(site, known, &self.policy),
            staff: Staff::of(known),
            excluded: self.excluded(region, site, known, held),
        }
    }

    fn excluded(
        &self,
        region: RegionIndex,
        site: &Site,
        known: &Known,
        held: bool,
    ) -> Option<&'static str> {
        let draw = Draw::new(self.seed);
        let tier = rank::tier(site, known);
        if self.ask.tried.contains(region) {
            Some("tried")
        } else if matches!(self.decide(), Ok((named, Reason::Override)) if named != region) {
            Some("another region was named")
        } else if site.draining {
            Some("draining")
        } else if site.empty {
            Some("no address")
        } else if tier.is_none() {
            Some("weight 0")
        } else if held && rank::presence(site, known) == Presence::Absent {
            Some("not deployed there")
        } else if held && rank::presence(site, known) == Presence::Doubtful {
            Some("was not deployed there")
        } else {
            let share = rank::share(site, known);
            match tier {
                Some(Tier::Suspect) if site.sick => Some("calls do not get through it"),
                Some(Tier::Suspect) if site.health >= crate::region::Health::Ramp => {
                    Some("the function fails there")
                }
                Some(Tier::Suspect) => Some("suspect"),
                Some(Tier::LastResort) => Some("down"),
                _ if share < 1.0 && draw.unit(region.0, 0) >= share => Some("returning"),
                _ => None,
            }
        }
    }
}

impl World for Trace {
    fn order(&self) -> &[RegionIndex] {
        &self.order
    }

    fn site(&self, region: RegionIndex) -> &Site {
        &self.places[region.0].site
    }

    fn known(&self, region: RegionIndex) -> Known {
        self.places[region.0].known
    }

    fn address(&self, _region: RegionIndex, _draw: Draw) -> Option<SocketAddr> {
        None
    }
}

// === impl Staff ===

impl Staff {
    /// Nothing of a region without the function, or whose workers say nothing of themselves.
    fn of(known: &Known) -> Option<Self> {
        match known {
            Known::Fact(fact, _) if fact.deployed() && !fact.mute() => Some(Self {
                workers: fact.workers,
                slots: fact.slots,
                free: fact.free,
            }),
            _ => None,
        }
    }
}

impl fmt::Display for Staff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.workers, self.slots, self.free)
    }
}

// === impl Explanation ===

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.decision {
            Ok((region, reason)) => {
                writeln!(f, "{region} ({}), epoch {}", reason.as_str(), self.epoch)?
            }
            Err(none) => writeln!(f, "{none}, epoch {}", self.epoch)?,
        }
        writeln!(
            f,
            "{:<20} {:<8} {:>9} {:>9} {:>9} {:>9} {:>9} {:>18}  excluded",
            "region",
            "health",
            "rtt ms",
            "wait ms",
            "cold ms",
            "risk ms",
            "total ms",
            "workers/slots/free"
        )?;
        for line in &self.lines {
            let Parts {
                rtt,
                wait,
                cold,
                risk,
            } = line.parts;
            writeln!(
                f,
                "{:<20} {:<8} {rtt:>9.1} {wait:>9.1} {cold:>9.1} {risk:>9.1} {:>9.1} {:>18}  {}",
                line.region,
                line.health,
                line.parts.total(),
                line.staff.map_or_else(|| "-".to_owned(), |s| s.to_string()),
                line.excluded.unwrap_or_default()
            )?;
        }
        Ok(())
    }
}

// === impl Reason ===

impl Reason {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nearest => "nearest",
            Self::NearerRamps => "nearer-ramps",
            Self::NearerBusy => "nearer-busy",
            Self::NearerFails => "nearer-fails",
            Self::NearerLacks => "nearer-lacks",
            Self::Affinity => "affinity",
            Self::Override => "override",
            Self::OnlySuspects => "only-suspects",
            Self::FailOpen => "fail-open",
            Self::Holder => "holder",
        }
    }
}
