//! Which region takes a call: [`decide`] over one snapshot.
//!
//! Pure: snapshot, policy, what is asked, and a seed come in; a [`Decision`] goes out. It allocates nothing and takes no
//! lock. It never asks whether a call *may* move (`failover.rs`), only where to.
//!
//! Regions are ranked in tiers (well, suspect, anything that is not draining) and by predicted time to first byte
//! within a tier: round trip, plus waiting, plus cold start, as far as reports tell and the less so the older they are.
//! Regions that are about as good as the best one are peers: two are drawn by what they can take and the better of the
//! two is taken, so that many edges with the same news do not all run to the same region.

mod affinity;
mod budget;
mod choose;
mod draw;
mod explain;
mod failover;
mod holder;
mod rank;
mod world;

use std::net::SocketAddr;
use std::time::Duration;

use frontdoor_protocol::names::{FunctionId, VersionId};
use serde::{Deserialize, Serialize};

pub use self::affinity::key as affinity;
pub use self::budget::RetryBudget;
use self::draw::Draw;
pub use self::explain::{Explanation, Line, Place, Trace};
pub use self::failover::{Circumstances, Failure, Next, Why, after, declined, stranded};
pub use self::holder::holder;
pub use self::rank::Parts;
pub use self::world::{Known, Site};
use self::world::{Now, World as _};
use crate::region::{RegionIndex, Row};
use crate::table::Snapshot;

/// The numbers by which routes are chosen; `config` fills them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// Regions within this much of the best are its peers …
    pub peer_margin: Duration,
    /// … or within this share of the best, whichever is more.
    pub peer_ratio: f64,
    /// How often a call may move to another region after its first attempt.
    pub moves: u8,
    /// What a call takes where that was not told.
    pub service: Duration,
    /// What a first worker takes to start.
    pub cold: Duration,
    /// What a call that fails costs its caller: a region that fails one call in a hundred is as far as one that takes a
    /// hundredth of this longer.
    pub failure: Duration,
    /// When to ask again if nothing at all can be said.
    pub retry_after: Duration,
}

/// Where a call goes, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// It is the nearest that is well, or drawn from those that are about as near.
    Nearest,
    /// A nearer one is returning and took its share elsewhere.
    NearerRamps,
    /// A nearer one would let the call wait longer than the way here takes.
    NearerBusy,
    /// A nearer one fails so many of its calls that the way here costs less.
    NearerFails,
    /// A nearer one does not have the function.
    NearerLacks,
    /// It is the home of the call's affinity key.
    Affinity,
    /// The caller named it, and may.
    Override,
    /// It holds the answer that is asked for, or is the next to be asked for it.
    Holder,
    /// Nothing is well; this one is suspect.
    OnlySuspects,
    /// Nothing is known to work; better to try than to refuse.
    FailOpen,
}

/// What a call asks for, as far as it matters to where it goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// The function; none is treated as one that is deployed everywhere.
    pub function: Option<FunctionId>,
    /// The version, if the caller insists on one.
    pub version: Option<VersionId>,
    /// Calls of the same key go to the same region while that is well.
    pub affinity: Option<u64>,
    /// Go there first, even if it drains, unless it is down. Whoever sets it has checked that the caller may.
    pub named: Option<RegionIndex>,
    /// Where the call was already.
    pub tried: Tried,
}

/// No region is left to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("no region is left to try")]
pub struct NoRegion {
    /// When it may be worth asking again.
    pub retry_after: Duration,
}

/// The regions that a call has been to: few, so an array does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    regions: [Option<RegionIndex>; 4],
}

// === impl Policy ===

impl Default for Policy {
    fn default() -> Self {
        Self {
            peer_margin: Duration::from_millis(2),
            peer_ratio: 0.10,
            moves: 2,
            service: Duration::from_millis(500),
            cold: Duration::from_secs(10),
            failure: Duration::from_secs(5),
            retry_after: Duration::from_secs(5),
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
        // Filled from the front, and mostly empty.
        let mut tried = self.regions.iter().map_while(|tried| *tried);
        tried.any(|tried| tried == region)
    }
}

/// Chooses a region and an address in it for the next attempt.
///
/// # Errors
/// If every region was tried, drains, has no address, or is known not to have the function while another has it.
pub fn decide(
    snapshot: &Snapshot,
    policy: &Policy,
    ask: &Ask,
    seed: u64,
) -> Result<Decision, NoRegion> {
    let world = Now::of(snapshot, ask);
    let chosen = choose::choose(&world, policy, ask, seed)?;
    placed(&world, policy, chosen, seed)
}

/// Whether a well region that may have a worker for it would be left for a call that goes to `here`, beside those it was in.
/// Cheaper than a decision: it is asked for every attempt, so that the region knows whether to hurry with a refusal.
#[must_use]
pub fn spare(snapshot: &Snapshot, policy: &Policy, ask: &Ask, here: RegionIndex) -> bool {
    choose::spare(&Now::of(snapshot, ask), policy, ask, here)
}

/// Whether a call that waits in a region should be called back, because workers are elsewhere by now. Asked now and then of
/// every call without an answer.
#[must_use]
pub fn better(snapshot: &Snapshot, policy: &Policy, ask: &Ask, here: RegionIndex) -> bool {
    choose::better(&Now::of(snapshot, ask), policy, ask, here)
}

/// An address in the region that was chosen.
fn placed(
    world: &Now<'_>,
    policy: &Policy,
    (region, reason): (RegionIndex, Reason),
    seed: u64,
) -> Result<Decision, NoRegion> {
    let address = world.address(region, Draw::new(seed)).ok_or(NoRegion {
        retry_after: policy.retry_after,
    })?;
    Ok(Decision {
        epoch: world.snapshot.epoch,
        region,
        address,
        reason,
        row: world.row,
    })
}

/// The same, from a copy of everything that it reads: with it the decision can be made again and explained.
///
/// # Errors
/// As [`decide`].
pub fn traced(
    snapshot: &Snapshot,
    policy: &Policy,
    ask: &Ask,
    seed: u64,
) -> (Trace, Result<Decision, NoRegion>) {
    let trace = Trace::record(snapshot, policy, ask, seed);
    let world = Now::of(snapshot, ask);
    let decided = trace
        .decide()
        .and_then(|chosen| placed(&world, policy, chosen, seed));
    (trace, decided)
}

#[cfg(test)]
mod tests;
