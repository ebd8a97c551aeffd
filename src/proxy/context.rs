//! What one call carries through its phases: identity, attempts, clock marks. Facts are computed once.
//!
//! No decision is made here; the methods keep the books of what `proxy.rs` decided.

use std::time::{Duration, Instant};

use frontdoor_protocol::names::RequestId;
use frontdoor_protocol::trace::Trace;

use crate::explain::Story;
use crate::identity::Identity;
use crate::metrics::Outcome;
use crate::region::{Endpoint, Flight, RegionIndex};
use crate::route::{Ask, Decision, Failure, Tried, Why};
use crate::upstream;

/// The request's context.
pub(super) struct Context {
    /// When its head was read.
    pub(super) started: Instant,
    /// Where its random choices come from.
    pub(super) seed: u64,
    /// Its id; the tag follows the region that has the call.
    pub(super) id: RequestId,
    /// Its place in a distributed trace.
    pub(super) trace: Trace,
    /// What it wants, once that is clear.
    pub(super) identity: Option<Identity>,
    /// The attempt under way, or the last one.
    pub(super) attempt: Option<Attempt>,
    /// The decision for the next attempt, when one was made already.
    pub(super) next: Option<Decision>,
    /// Its affinity key, as a number.
    pub(super) affinity: Option<u64>,
    /// The region that its caller named, and may.
    pub(super) named: Option<RegionIndex>,
    /// Regions it was sent to.
    pub(super) tried: Tried,
    /// Attempts begun.
    pub(super) attempts: u8,
    /// The region that has it was told that another one has workers for it.
    pub(super) recalled: bool,
    /// The last failure.
    pub(super) failure: Option<Failure>,
    /// Why there was no further attempt.
    pub(super) stop: Option<Why>,
    /// Its body was too large to be kept for another attempt, or there was no room.
    pub(super) single: bool,
    /// Its decisions, if they are to be explained.
    pub(super) story: Option<Box<Story>>,
    /// When the answer's head came.
    pub(super) answered: Option<Instant>,
    /// How it ends if the answer that is there goes back whole: a container made it, or a region's platform.
    pub(super) ending: Outcome,
}

/// One attempt in one region.
pub(super) struct Attempt {
    pub(super) decision: Decision,
    flight: Flight,
}

// === impl Context ===

impl Context {
    /// A call that just arrived.
    pub(super) fn new(started: Instant, seed: u64, id: RequestId, trace: Trace) -> Self {
        Self {
            started,
            seed,
            id,
            trace,
            identity: None,
            attempt: None,
            next: None,
            affinity: None,
            named: None,
            tried: Tried::default(),
            attempts: 0,
            recalled: false,
            failure: None,
            stop: None,
            single: false,
            story: None,
            answered: None,
            ending: Outcome::Answered,
        }
    }

    /// What is left of the caller's time.
    pub(super) fn time_left(&self) -> Duration {
        let wait = self
            .identity
            .map_or(Duration::ZERO, |identity| identity.wait);
        upstream::left(self.started, wait, Instant::now())
    }

    /// The earlier call whose answer is asked for, if that is what it is about.
    pub(super) fn polled(&self) -> Option<RequestId> {
        self.identity.and_then(|identity| identity.polled())
    }

    /// A seed for the next decision, different for each attempt.
    pub(super) fn next_seed(&self) -> u64 {
        self.seed
            .wrapping_add(u64::from(self.attempts).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// What the next decision is asked.
    pub(super) fn ask(&self) -> Ask {
        let target = self.identity.and_then(|identity| identity.target());
        Ask {
            function: target.map(|target| target.function),
            version: target.and_then(|target| target.version),
            affinity: self.affinity,
            named: self.named,
            tried: self.tried,
        }
    }

    /// An attempt begins.
    pub(super) fn begin(&mut self, decision: Decision, flight: Flight) {
        self.attempts = self.attempts.saturating_add(1);
        self.recalled = false;
        self.tried.add(decision.region);
        self.attempt = Some(Attempt { decision, flight });
        if let Some(story) = &mut self.story {
            story.taken();
        }
    }

    /// The answer's head is there.
    pub(super) fn answer_begins(&mut self) {
        if self.answered.is_none() {
            self.answered = Some(Instant::now());
            if let Some(attempt) = &self.attempt {
                attempt.flight.answered();
            }
        }
    }

    /// Where the attempt went.
    pub(super) fn endpoint(&self) -> Option<Endpoint> {
        self.attempt.as_ref().map(|a| Endpoint {
            region: a.decision.region,
            address: a.decision.address,
        })
    }
}
