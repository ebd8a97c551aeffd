//! What one region is worth to one call: its tier, its presence, and the predicted time to first byte.
//!
//! Pure arithmetic over a [`Site`] and what is known of the function there. Used by `choose` and `explain`. Marked for inlining
//! throughout: a decision in calm weather is little more than these functions, for some regions, and the compiler would
//! call them across the parts in which it optimises this crate.

use std::time::Duration;

use super::Policy;
use super::world::{Known, Site};
use crate::region::Health;
use crate::table::{Fact, Lesson};

/// Best first: a worse tier is used only when the better ones are empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tier {
    Well,
    Suspect,
    LastResort,
}

/// Whether a region has the function, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    Here,
    /// Nobody told, or too long ago: it is assumed to be there.
    Unknown,
    /// It was not there, too long ago to be sure: used when nobody who had it is left.
    Doubtful,
    Absent,
}

// === impl Presence ===

impl Presence {
    /// Whether a call may be sent there in calm weather.
    pub(super) const fn may_serve(self) -> bool {
        matches!(self, Self::Here | Self::Unknown)
    }
}

/// Predicted time to first byte beyond the work itself, in milliseconds, and what failures are likely to add to it.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize)]
pub struct Parts {
    /// One round trip.
    pub rtt: f64,
    /// Until a slot is free.
    pub wait: f64,
    /// Until there is a worker at all.
    pub cold: f64,
    /// What a failed call costs, as often as calls fail there by the platform's fault.
    pub risk: f64,
}

/// What a region offers a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offer {
    /// Predicted time to first byte.
    pub(super) parts: Parts,
    /// What it can take, for sharing among peers: operator's weight by free slots.
    pub(super) capacity: f64,
    /// As [`idle`] says.
    pub(super) idle: bool,
}

/// Below this a report is too old to take a region away (ten seconds: e⁻¹).
const BELIEVED: f64 = 0.367;
/// What is assumed of the share of free slots when nothing is known any more.
const PRIOR_FREE: f64 = 0.3;
/// The share of its calls that a function gets in a region where it just failed.
const TRIAL_SHARE: f64 = 0.1;

/// The tier of a region for a function, or none if it must not be used: a draining region is never chosen, whatever
/// else is down.
#[inline]
pub(super) fn tier(site: &Site, known: &Known) -> Option<Tier> {
    if site.draining || site.empty || site.weight <= 0.0 {
        return None;
    }
    Some(match (site.health, known.lesson()) {
        (Health::Down, _) => Tier::LastResort,
        (Health::Suspect, _) | (_, Lesson::Broken) => Tier::Suspect,
        // It answers, and calls do not get through it.
        (Health::Up | Health::Ramp, _) if site.sick => Tier::Suspect,
        (Health::Up | Health::Ramp, _) => Tier::Well,
    })
}

/// Whether the function is there.
#[inline]
pub(super) fn presence(site: &Site, known: &Known) -> Presence {
    if known.lesson() == Lesson::Absent {
        return Presence::Absent;
    }
    match (site.trust, known) {
        (None, _) | (_, Known::Nothing) => Presence::Unknown,
        (Some(_), Known::Fact(fact, _)) if fact.deployed() => Presence::Here,
        (Some(trust), _) if trust >= BELIEVED => Presence::Absent,
        (Some(_), _) => Presence::Doubtful,
    }
}

/// Whether the region says, and not too long ago, that the function has no worker there: a call would wait for the first.
#[inline]
pub(super) fn idle(site: &Site, known: &Known) -> bool {
    let fresh = site.trust.is_some_and(|trust| trust >= BELIEVED);
    let nobody = |fact: &Fact| fact.deployed() && !fact.staffed() && !fact.mute();
    fresh && matches!(known, Known::Fact(fact, _) if nobody(fact))
}

/// Whether it said, however long ago, that the function has workers there.
pub(super) fn staffed(site: &Site, known: &Known) -> bool {
    let said = matches!(known, Known::Fact(fact, _) if fact.deployed() && fact.staffed());
    said && presence(site, known) == Presence::Here
}

/// The share of its calls that a region takes while it, or the function in it, has to prove itself.
#[inline]
pub(super) fn share(site: &Site, known: &Known) -> f64 {
    match known.lesson() {
        Lesson::Trial => site.ramp.min(TRIAL_SHARE),
        Lesson::None | Lesson::Broken | Lesson::Absent => site.ramp,
    }
}

/// What a region offers a call. One reading of the fact for all of it: this is most of what a decision costs, and the compiler
/// would not inline it by itself because it is asked for in many places.
#[inline(always)]
pub(super) fn offer(site: &Site, known: &Known, policy: &Policy) -> Offer {
    let mut offer = Offer {
        parts: Parts {
            rtt: site.rtt,
            ..Parts::default()
        },
        capacity: site.weight,
        idle: idle(site, known),
    };
    let parts = &mut offer.parts;
    if site.risk > 0.0 {
        parts.risk = site.risk * millis(policy.failure);
    }
    let (Some(trust), Known::Fact(fact, in_flight)) = (site.trust, known) else {
        return offer;
    };
    let free = free(trust, fact, *in_flight);
    if fact.staffed() {
        offer.capacity = site.weight * larger(free, 0.25);
    }
    if !fact.deployed() || fact.mute() {
        return offer;
    }
    if !fact.staffed() {
        parts.cold = millis(policy.cold) * trust;
        return offer;
    }
    // Calls that must end before this one begins; each slot ends one per service time.
    let ahead = 1.0 + trust * f64::from(fact.queued) - free;
    if ahead > 0.0 {
        let service = match fact.service_ms {
            0 => millis(policy.service),
            known => f64::from(known),
        };
        parts.wait = ahead * service / f64::from(fact.slots);
    }
    offer
}

/// Predicted time to first byte.
#[inline]
pub(super) fn predicted(site: &Site, known: &Known, policy: &Policy) -> Parts {
    offer(site, known, policy).parts
}

/// Up to this prediction a region is a peer of the best one.
#[inline]
pub(super) fn peer_bound(best: f64, policy: &Policy) -> f64 {
    best + larger(millis(policy.peer_margin), best * policy.peer_ratio)
}

/// The larger one of two numbers that are numbers: that of the standard library looks for NaN too.
#[inline]
const fn larger(one: f64, two: f64) -> f64 {
    if one > two { one } else { two }
}

/// In milliseconds, without a division: the compiler converts all of a policy's times once in each decision.
#[inline]
#[allow(
    clippy::cast_precision_loss,
    reason = "no policy has times of a million years"
)]
fn millis(time: Duration) -> f64 {
    time.as_secs() as f64 * 1e3 + f64::from(time.subsec_nanos()) * 1e-6
}

/// When it is worth asking again after so long a wait.
pub(super) fn retry_after(wait_ms: f64) -> Duration {
    Duration::from_secs_f64((wait_ms / 1000.0).ceil().clamp(1.0, 60.0))
}

/// Slots that are free by now. As reported, minus what this edge has there more than it had then; the older the report,
/// the more as where nothing is known: the usual share, one at least, unless this edge's own calls fill them.
#[inline]
fn free(trust: f64, fact: &Fact, in_flight: u32) -> f64 {
    let (slots, own) = (f64::from(fact.slots), f64::from(in_flight));
    let reported = f64::from(u32::from(fact.free) + u32::from(fact.base)) - own;
    let usual = larger(PRIOR_FREE * slots, 1.0);
    let unknown = if usual < slots - own {
        usual
    } else {
        slots - own
    };
    unknown + trust * (reported - unknown)
}

// === impl Parts ===

impl Parts {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.rtt + self.wait + self.cold + self.risk
    }
}
