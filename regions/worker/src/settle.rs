//! How a call ended decides what becomes of its message: acked, sent back for later, or given up (pure).
//!
//! The rule behind the table: what may have begun is never run again, so it is acked whatever happened to it; what
//! provably did not begin and has somebody waiting goes back. `handle.rs` and `pull.rs` ask, and tell NATS.

use std::time::Duration;

/// A message without a deadline whose caller's service cannot be reached is given up at this delivery. Those with one
/// go back until it is over: deliveries also count those that never came to a claim.
const DELIVERIES_LIMIT: u64 = 5;
/// A message without a claim may have begun at each delivery, and nobody refuses it: after so many it is taken for one
/// that kills its worker. Those that only went back from a resting worker fit in, as [`ELSEWHERE_DELAY`] grows.
const LATE_DELIVERIES_LIMIT: u64 = 10;
/// The first delay of a message that waits for its service; doubled each time up to [`DOUBLINGS`].
const SERVICE_DELAY: Duration = Duration::from_millis(200);
/// So often delays are doubled.
const DOUBLINGS: u64 = 4;
/// The first delay of a message that this worker cannot take: time for another worker to be the next in line.
const ELSEWHERE_DELAY: Duration = Duration::from_millis(50);

/// How the handling of one message ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    /// The container's whole answer went out.
    Answered,
    /// The container never got the call; the caller was told so.
    ContainerUnreachable,
    /// The container got the call and failed it; the caller was told so, or sees a broken answer.
    ContainerFailed,
    /// The caller's service ended the stream before the answer was complete.
    CallerGone,
    /// Cancelled by a message.
    Cancelled,
    /// The claim was refused: nobody waits any more.
    Refused,
    /// Its time was over before it began.
    Expired,
    /// No work item, or none that can be run.
    Malformed,
    /// The same call is running here already.
    Duplicate,
    /// The service that holds the caller did not answer the claim.
    ServiceUnreachable,
    /// The answer could not be handed over to a service that attaches late.
    AnswerLost,
    /// Was delivered too often to be tried again, by a service that does not speak of claims.
    GivenUp,
    /// Arrived without a free slot.
    NoSlot,
    /// Arrived while nothing new is taken.
    Resting,
    /// Still running when the time to stop was over.
    CutAtStop,
}

/// What to tell NATS about a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settlement {
    /// Done with.
    Ack,
    /// Deliver again, not before this.
    Nak(Duration),
    /// Never deliver again: it cannot be handled.
    Term,
    /// Nothing: somebody else settles it.
    Leave,
}

/// Decides by how the handling ended, the how-manieth delivery this was (the first is 1), and whether the message has
/// a deadline.
pub(crate) fn settle(outcome: Outcome, deliveries: u64, deadline: bool) -> Settlement {
    use Outcome as O;
    match outcome {
        O::Answered
        | O::ContainerUnreachable
        | O::ContainerFailed
        | O::CallerGone
        | O::Cancelled
        | O::Refused
        | O::Expired
        | O::AnswerLost
        | O::CutAtStop => Settlement::Ack,
        O::Malformed | O::GivenUp => Settlement::Term,
        O::Duplicate => Settlement::Leave,
        O::ServiceUnreachable if deadline || deliveries < DELIVERIES_LIMIT => {
            Settlement::Nak(doubled(SERVICE_DELAY, deliveries))
        }
        O::ServiceUnreachable => Settlement::Term,
        O::NoSlot | O::Resting => Settlement::Nak(doubled(ELSEWHERE_DELAY, deliveries)),
    }
}

/// Whether a message without a claim was delivered too often to be tried again.
pub(crate) const fn given_up(deliveries: u64) -> bool {
    deliveries > LATE_DELIVERIES_LIMIT
}

fn doubled(delay: Duration, deliveries: u64) -> Duration {
    delay * (1 << deliveries.saturating_sub(1).min(DOUBLINGS))
}

// === impl Outcome ===

impl Outcome {
    /// All of them, in the order above: counters are found by it.
    pub(crate) const ALL: [Self; 15] = [
        Self::Answered,
        Self::ContainerUnreachable,
        Self::ContainerFailed,
        Self::CallerGone,
        Self::Cancelled,
        Self::Refused,
        Self::Expired,
        Self::Malformed,
        Self::Duplicate,
        Self::ServiceUnreachable,
        Self::AnswerLost,
        Self::GivenUp,
        Self::NoSlot,
        Self::Resting,
        Self::CutAtStop,
    ];

    /// Whether a call came to grief by the platform's doing or its container's, and nobody else's.
    pub(crate) const fn is_failure(self) -> bool {
        matches!(
            self,
            Self::ContainerUnreachable
                | Self::ContainerFailed
                | Self::ServiceUnreachable
                | Self::AnswerLost
                | Self::GivenUp
                | Self::CutAtStop
        )
    }

    /// Its label in metrics and logs.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::ContainerUnreachable => "container-unreachable",
            Self::ContainerFailed => "container-failed",
            Self::CallerGone => "caller-gone",
            Self::Cancelled => "cancelled",
            Self::Refused => "refused",
            Self::Expired => "expired",
            Self::Malformed => "malformed",
            Self::Duplicate => "duplicate",
            Self::ServiceUnreachable => "service-unreachable",
            Self::AnswerLost => "answer-lost",
            Self::GivenUp => "given-up",
            Self::NoSlot => "no-slot",
            Self::Resting => "resting",
            Self::CutAtStop => "cut-at-stop",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_begun_is_never_delivered_again() {
        for outcome in [
            Outcome::Answered,
            Outcome::ContainerUnreachable,
            Outcome::ContainerFailed,
            Outcome::CallerGone,
            Outcome::Cancelled,
            Outcome::AnswerLost,
            Outcome::CutAtStop,
        ] {
            for deliveries in [1, 4, 100] {
                let settled = settle(outcome, deliveries, deliveries == 1);
                assert_eq!(settled, Settlement::Ack, "{outcome:?}");
            }
        }
    }

    #[test]
    fn the_rest_as_its_reason_asks() {
        let nak = |ms| Settlement::Nak(Duration::from_millis(ms));
        for (outcome, deliveries, expected) in [
            (Outcome::Refused, 1, Settlement::Ack),
            (Outcome::Expired, 1, Settlement::Ack),
            (Outcome::Malformed, 1, Settlement::Term),
            (Outcome::Duplicate, 2, Settlement::Leave),
            (Outcome::ServiceUnreachable, 0, nak(200)),
            (Outcome::ServiceUnreachable, 1, nak(200)),
            (Outcome::ServiceUnreachable, 2, nak(400)),
            (Outcome::ServiceUnreachable, 4, nak(1600)),
            (Outcome::ServiceUnreachable, 5, Settlement::Term),
            (Outcome::ServiceUnreachable, u64::MAX, Settlement::Term),
            (Outcome::GivenUp, 11, Settlement::Term),
            (Outcome::NoSlot, 1, nak(50)),
            (Outcome::NoSlot, 9, nak(800)),
            (Outcome::Resting, 2, nak(100)),
        ] {
            assert_eq!(
                settle(outcome, deliveries, false),
                expected,
                "{outcome:?} at {deliveries}"
            );
        }
        for (deliveries, expected) in [(0, 200), (1, 200), (3, 800), (5, 3200), (u64::MAX, 3200)] {
            let settled = settle(Outcome::ServiceUnreachable, deliveries, true);
            assert_eq!(settled, nak(expected), "with a deadline, at {deliveries}");
        }
    }

    #[test]
    fn without_a_claim_a_message_is_tried_so_often_and_survives_a_resting_worker() {
        assert!(!given_up(1) && !given_up(LATE_DELIVERIES_LIMIT));
        assert!(given_up(LATE_DELIVERIES_LIMIT + 1));
        // The requests of a resting worker live 2 s and may take the same message again and again.
        let delay = |deliveries| match settle(Outcome::Resting, deliveries, false) {
            Settlement::Nak(delay) => delay,
            other => panic!("{other:?}"),
        };
        let rest: Duration = (1..LATE_DELIVERIES_LIMIT).map(delay).sum();
        assert!(rest > Duration::from_secs(4), "{rest:?}");
    }
}
