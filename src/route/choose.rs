//! The choice itself: tiers first, then predicted time to first byte, then a draw among peers.
//!
//! Pure and without allocation. In calm weather it reads the few nearest regions: the order is by round-trip time,
//! and a region that is farther than the best one's whole prediction cannot be a peer. Only when no
//! well region has the function, or none of those that take their share has a worker for it, does it read all.

use arrayvec::ArrayVec;

use super::draw::Draw;
use super::rank::{self, Offer, Presence, Tier};
use super::world::{Known, Site, World};
use super::{Ask, NoRegion, Policy, Reason, affinity};
use crate::region::{Health, RegionIndex};

/// The most regions that are compared at the end; the nearest ones, if there are more.
const PEERS: usize = 16;
/// A region that fails so many calls is nobody's home.
pub(super) const RISKY: f64 = 0.01;

#[derive(Debug, Clone, Copy)]
struct Peer {
    region: RegionIndex,
    total: f64,
    capacity: f64,
}

/// Candidates so far, and why nearer regions are not among them.
struct Candidates {
    peers: ArrayVec<Peer, PEERS>,
    best: f64,
    bound: f64,
    /// The prediction of the nearest of all that were compared, and what failures are of it.
    nearest: (f64, f64),
    passed_over: Option<Reason>,
    /// One of them may have a worker for the call.
    staffed: bool,
    /// The best liked by the affinity key.
    home: Option<(f64, RegionIndex)>,
}

/// Chooses a region.
pub(super) fn choose(
    world: &impl World,
    policy: &Policy,
    ask: &Ask,
    seed: u64,
) -> Result<(RegionIndex, Reason), NoRegion> {
    let draw = Draw::new(seed);
    if let Some(named) = ask.named.filter(|named| takes(world, ask, *named)) {
        return Ok((named, Reason::Override));
    }
    let mut candidates = Candidates::new();
    among_well(world, policy, ask, draw, &mut candidates);
    let staffed = match candidates.staffed {
        true => None,
        false => among_staffed(world, policy, ask, draw),
    };
    staffed
        .or_else(|| candidates.pick(draw))
        .or_else(|| among_all(world, policy, ask, draw))
        .ok_or_else(|| refusal(world, policy))
}

/// Whether a well region that may have a worker would be left for the call; the first one that is found is enough. Where it
/// goes without a worker because that is still the sooner way, it stays.
pub(super) fn spare(world: &impl World, policy: &Policy, ask: &Ask, here: RegionIndex) -> bool {
    let bound = waits_from(world, policy, here);
    world.order().iter().any(|&region| {
        let (site, known) = (world.site(region), world.known(region));
        !ask.tried.contains(region)
            && rank::tier(site, &known) == Some(Tier::Well)
            && rank::presence(site, &known).may_serve()
            && !rank::idle(site, &known)
            && bound.is_none_or(|bound| rank::predicted(site, &known, policy).total() < bound)
    })
}

/// Whether the region where a call waits says that it has nobody for it, while another one, where it was not yet, has, and
/// would answer sooner: calls that went there before, this edge's own at least, are in that, so they do not all go.
pub(super) fn better(world: &impl World, policy: &Policy, ask: &Ask, here: RegionIndex) -> bool {
    let Some(bound) = waits_from(world, policy, here) else {
        return false;
    };
    world.order().iter().any(|&region| {
        let (site, known) = (world.site(region), world.known(region));
        let tier = rank::tier(site, &known);
        !ask.tried.contains(region)
            && tier.is_some_and(|tier| tier < Tier::LastResort)
            && rank::staffed(site, &known)
            && rank::predicted(site, &known, policy).total() < bound
    })
}

/// The prediction for a region that says that it has no worker for the call.
fn waits_from(world: &impl World, policy: &Policy, here: RegionIndex) -> Option<f64> {
    if !world.order().contains(&here) {
        return None;
    }
    let (site, known) = (world.site(here), world.known(here));
    rank::idle(site, &known).then(|| rank::predicted(site, &known, policy).total())
}

/// Whether a call that names a region is sent there. One that drains or has no weight is: it is tried so before it gets
/// traffic again. If it does not take the call, that goes on as any other does.
fn takes(world: &impl World, ask: &Ask, named: RegionIndex) -> bool {
    let open = !ask.tried.contains(named) && world.order().contains(&named);
    open && {
        let site = world.site(named);
        !site.empty && site.health != Health::Down
    }
}

/// What the calm case looks at: regions that are well, have the function, and take their share.
fn among_well(
    world: &impl World,
    policy: &Policy,
    ask: &Ask,
    draw: Draw,
    candidates: &mut Candidates,
) {
    for &region in world.order() {
        let site = world.site(region);
        if site.rtt > candidates.bound && ask.affinity.is_none() {
            break;
        }
        if ask.tried.contains(region) {
            continue;
        }
        let known = world.known(region);
        if rank::tier(site, &known) != Some(Tier::Well) {
            continue;
        }
        if !rank::presence(site, &known).may_serve() {
            candidates.pass_over(Reason::NearerLacks);
            continue;
        }
        let share = rank::share(site, &known);
        if share < 1.0 && draw.unit(region.0, 0) >= share {
            candidates.pass_over(Reason::NearerRamps);
            continue;
        }
        let offer = rank::offer(site, &known, policy);
        candidates.add(region, &offer, policy);
        if let Some(key) = ask.affinity {
            candidates.like(key, region, site, &offer);
        }
    }
}

/// Who has workers, where all that take their share say that they have none: one that returns, or is suspect, answers
/// sooner than one in which the call waits for a first worker, which may never come.
fn among_staffed(
    world: &impl World,
    policy: &Policy,
    ask: &Ask,
    draw: Draw,
) -> Option<(RegionIndex, Reason)> {
    best(world, policy, draw, |region, site, known| {
        let tier = rank::tier(site, known).filter(|tier| *tier < Tier::LastResort)?;
        (rank::staffed(site, known) && !ask.tried.contains(region)).then_some(tier)
    })
}

/// What is left otherwise: the best tier there is, ramps and breakers or not.
fn among_all(
    world: &impl World,
    policy: &Policy,
    ask: &Ask,
    draw: Draw,
) -> Option<(RegionIndex, Reason)> {
    let held = world
        .order()
        .iter()
        .any(|&region| rank::presence(world.site(region), &world.known(region)) == Presence::Here);
    best(world, policy, draw, |region, site, known| {
        let tier = rank::tier(site, known)?;
        // If somebody has it, a region that has not can only say so.
        let lacks = held && rank::presence(site, known) == Presence::Absent;
        (!lacks && !ask.tried.contains(region)).then_some(tier)
    })
}

/// The choice within the best tier of those that have one.
fn best(
    world: &impl World,
    policy: &Policy,
    draw: Draw,
    tier: impl Fn(RegionIndex, &Site, &Known) -> Option<Tier>,
) -> Option<(RegionIndex, Reason)> {
    let open = || {
        let all = world.order().iter();
        let all = all.map(|region| (*region, world.site(*region), world.known(*region)));
        all.filter_map(|(region, site, known)| {
            Some((tier(region, site, &known)?, region, site, known))
        })
    };
    let tier = open().map(|(tier, ..)| tier).min()?;
    let mut candidates = Candidates::new();
    for (_, region, site, known) in open().filter(|(of, ..)| *of == tier) {
        candidates.add(region, &rank::offer(site, &known, policy), policy);
    }
    let (region, _) = candidates.pick(draw)?;
    let reason = match tier {
        Tier::Well => Reason::Nearest,
        Tier::Suspect => Reason::OnlySuspects,
        Tier::LastResort => Reason::FailOpen,
    };
    Some((region, reason))
}

/// Nothing can serve: when something may.
fn refusal(world: &impl World, policy: &Policy) -> NoRegion {
    let sites = world
        .order()
        .iter()
        .map(|region| (world.site(*region), world.known(*region)));
    let waits = sites
        .filter(|(site, known)| rank::tier(site, known).is_some())
        .map(|(site, known)| rank::predicted(site, &known, policy).total());
    let least = waits.fold(f64::INFINITY, f64::min);
    NoRegion {
        retry_after: if least.is_finite() {
            rank::retry_after(least)
        } else {
            policy.retry_after
        },
    }
}

// === impl Candidates ===

impl Candidates {
    fn new() -> Self {
        Self {
            peers: ArrayVec::new(),
            best: f64::INFINITY,
            bound: f64::INFINITY,
            nearest: (f64::INFINITY, 0.0),
            passed_over: None,
            staffed: false,
            home: None,
        }
    }

    fn pass_over(&mut self, reason: Reason) {
        if self.peers.is_empty() {
            self.passed_over.get_or_insert(reason);
        }
    }

    #[inline]
    fn add(&mut self, region: RegionIndex, offer: &Offer, policy: &Policy) {
        let total = offer.parts.total();
        self.staffed |= !offer.idle;
        if self.nearest.0.is_infinite() {
            self.nearest = (total, offer.parts.risk);
        }
        if total < self.best {
            self.best = total;
            self.bound = rank::peer_bound(total, policy);
            // Who is no peer any more makes room.
            let bound = self.bound;
            self.peers.retain(|peer| peer.total <= bound);
        }
        if total <= self.bound && !self.peers.is_full() {
            self.peers.push(Peer {
                region,
                total,
                capacity: offer.capacity,
            });
        }
    }

    /// A region may be the key's home unless the call would have to wait there, or is likely to fail.
    fn like(&mut self, key: u64, region: RegionIndex, site: &Site, offer: &Offer) {
        let score = affinity::score(key, site.key, site.weight);
        let open = offer.parts.wait + offer.parts.cold <= 0.0 && site.risk < RISKY;
        if open && self.home.is_none_or(|(best, _)| score > best) {
            self.home = Some((score, region));
        }
    }

    /// Draws two of the peers by what they can take, and returns the one with the lower prediction.
    fn pick(&self, draw: Draw) -> Option<(RegionIndex, Reason)> {
        if let Some((_, home)) = self.home {
            return Some((home, Reason::Affinity));
        }
        let chosen = match self.peers.as_slice() {
            [] => return None,
            [only] => only,
            peers => {
                let (one, two) = drawn(peers, draw);
                if two.total < one.total { two } else { one }
            }
        };
        let (nearest, risk) = self.nearest;
        let reason = match self.passed_over {
            Some(reason) => reason,
            None if nearest <= self.bound => Reason::Nearest,
            None if nearest - risk <= self.bound => Reason::NearerFails,
            None => Reason::NearerBusy,
        };
        Some((chosen.region, reason))
    }
}

/// Two peers, each as often as its capacity is in all of theirs. What comes before each is summed up once, so that finding
/// both takes no chain of subtractions.
fn drawn(peers: &[Peer], draw: Draw) -> (&Peer, &Peer) {
    let (mut upto, mut sum) = ([0.0; PEERS], 0.0);
    for (upto, peer) in upto.iter_mut().zip(peers) {
        sum += peer.capacity;
        *upto = sum;
    }
    let at = |salt| {
        let place = draw.unit(0, salt) * sum;
        let before = upto.iter().take(peers.len());
        let before = before.filter(|upto| **upto <= place).count();
        &peers[before.min(peers.len() - 1)]
    };
    (at(1), at(2))
}
