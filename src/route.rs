//! Which region takes a call: [`decide`] over one snapshot.
//!
//! Pure: snapshot, policy, what was tried, and a seed come in; a [`Decision`] goes out. It allocates nothing and
//! looks at each region twice. It never asks whether a call *may* move (`failover.rs`), only where to.
//!
//! Regions are ranked in tiers (well, suspect, anything that is not draining) and by predicted time to first byte
//! within a tier. Regions that are about as near as the best one are peers: two are drawn by weight and the nearer of the
//! two is taken, so that many edges with the same news do not all run to the same region.

mod budget;
mod explain;
mod failover;
mod holder;
mod rank;

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use frontdoor_protocol::names::{FunctionId, VersionId};

pub use self::budget::RetryBudget;
pub use self::failover::{Circumstances, Failure, Next, Why, after, declined};
pub use self::holder::holder;
use self::rank::{Draw, Tier};
use crate::region::{Health, RegionIndex, Row};
use crate::table::{RegionView, Snapshot};

/// The numbers by which routes are chosen; `config` fills them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// Regions within this much of the best are its peers …
    pub peer_margin: Duration,
    /// … or within this share of the best, whichever is more.
    pub peer_ratio: f64,
    /// What to assume of a region whose round-trip time was never measured.
    pub unmeasured: Duration,
    /// How often a call may move to another region after its first attempt.
    pub moves: u8,
}

/// Where a call goes, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// The snapshot it was made from.
    pub epoch: u64,
    /// The region.
    pub region: RegionIndex,
    /// The address within the region.
    pub address: SocketAddr,
    /// Why this region.
    pub reason: Reason,
    /// The function's place in the table, if it is known there.
    pub row: Option<Row>,
}

/// Why a region was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It is the nearest that is well, or drawn from those that are about as near.
    Nearest,
    /// A nearer one is returning and took its share elsewhere.
    NearerRamps,
    /// Nothing is well; this one is suspect.
    OnlySuspects,
    /// Nothing is known to work; better to try than to refuse.
    FailOpen,
    /// It holds the answer that is asked for, or is the next to be asked for it.
    Holder,
}

/// What a call asks for, as far as it matters to where it goes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ask {
    /// The function; none is treated as one that is deployed everywhere.
    pub function: Option<FunctionId>,
    /// The version, if the caller insists on one.
    pub version: Option<VersionId>,
    /// Calls of the same key go to the same region while that is well.
    pub affinity: Option<u64>,
    /// Go there and nowhere else, whatever its health. Whoever sets it has checked that the caller may.
    pub only: Option<RegionIndex>,
    /// Where the call was already.
    pub tried: Tried,
}

/// No region is left to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no region is left to try")]
pub struct NoRegion {
    /// When it may be worth asking again.
    pub retry_after: Duration,
}

/// The regions that a call has been to: few, so an array does.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tried {
    regions: [Option<RegionIndex>; 4],
}

// === impl Policy ===

impl Default for Policy {
    fn default() -> Self {
        Self {
            peer_margin: Duration::from_millis(2),
            peer_ratio: 0.10,
            unmeasured: Duration::from_millis(500),
            moves: 2,
        }
    }
}

// === impl Tried ===

impl Tried {
    /// Remembers a region.
    pub fn add(&mut self, region: RegionIndex) {
        if !self.contains(region)
            && let Some(free) = self.regions.iter_mut().find(|r| r.is_none())
        {
            *free = Some(region);
        }
    }

    /// Whether the call was there.
    #[must_use]
    pub fn contains(&self, region: RegionIndex) -> bool {
        self.regions.contains(&Some(region))
    }
}

const NO_REGION: NoRegion = NoRegion {
    retry_after: Duration::from_secs(1),
};

/// Chooses a region and an address in it for the next attempt.
///
/// # Errors
/// If every region was tried, drains, or has no address.
pub fn decide(
    snapshot: &Snapshot,
    policy: &Policy,
    ask: &Ask,
    seed: u64,
) -> Result<Decision, NoRegion> {
    let draw = Draw::new(seed);
    let open = |skip_ramping: bool| {
        snapshot
            .regions
            .iter()
            .enumerate()
            .filter_map(move |(index, view)| {
                let region = RegionIndex(index);
                let passed_over =
                    skip_ramping && view.health == Health::Ramp && draw.unit(index, 0) >= view.ramp;
                if ask.tried.contains(region)
                    || ask.only.is_some_and(|only| only != region)
                    || passed_over
                {
                    return None;
                }
                rank::tier(view).map(|tier| (region, view, tier))
            })
    };
    let (considered, skip_ramping) = match open(true).map(|(_, _, tier)| tier).min() {
        Some(Tier::Well) => (Tier::Well, true),
        _ => (
            open(false)
                .map(|(_, _, tier)| tier)
                .min()
                .ok_or(NO_REGION)?,
            false,
        ),
    };
    let candidates = || open(skip_ramping).filter(move |(_, _, tier)| *tier == considered);
    let best = candidates()
        .map(|(_, view, _)| rank::predicted(view, policy))
        .min()
        .ok_or(NO_REGION)?;
    let bound = rank::peer_bound(best, policy);
    let peers = candidates().filter(|(_, view, _)| rank::predicted(view, policy) <= bound);
    let (region, view) = draw
        .two(peers.map(|(region, view, _)| (region, view)), policy)
        .ok_or(NO_REGION)?;
    let nearer_ramps = skip_ramping
        && open(false).any(|(_, v, tier)| tier == Tier::Well && rank::predicted(v, policy) < best);
    let reason = match considered {
        Tier::Well if nearer_ramps => Reason::NearerRamps,
        Tier::Well => Reason::Nearest,
        Tier::Suspect => Reason::OnlySuspects,
        Tier::LastResort => Reason::FailOpen,
    };
    let address = address(view, draw).ok_or(NO_REGION)?;
    Ok(Decision {
        epoch: snapshot.epoch,
        region,
        address,
        reason,
        row: None,
    })
}

/// The less busy of two endpoints drawn from those that are as well as their region.
fn address(view: &RegionView, draw: Draw) -> Option<SocketAddr> {
    let usable = view.endpoints.iter().filter(|e| e.health == view.health);
    let count = usable.clone().count();
    let pick = |salt: usize| usable.clone().nth(draw.below(count, salt));
    let (one, two) = (pick(1)?, pick(2)?);
    let busy = |e: &crate::table::EndpointView| e.tally.in_flight.load(Ordering::Relaxed);
    Some(if busy(two) < busy(one) {
        two.address
    } else {
        one.address
    })
}

#[cfg(test)]
mod tests;
