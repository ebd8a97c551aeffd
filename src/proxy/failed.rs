//! Reads errors: what they prove about a call, and what its caller should be told.
//!
//! What is not proven to be safe counts as lost.

use pingora_core::Error;
use pingora_core::ErrorType::{ConnectionClosed, H2Error, ReadError, WriteError, WriteTimedout};

use super::context::Context;
use crate::response::Problematic;
use crate::route::{Failure, Why};
use crate::table::ServedOutcome;
use crate::upstream::Cause;

/// What an error after the call was sent says about it.
pub(super) fn classify(error: &h2::Error) -> Failure {
    let refused =
        error.is_remote() && error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    if refused || leaves(error) {
        Failure::Refused
    } else {
        Failure::Lost
    }
}

/// Whether the peer takes leave without having done anything with the stream: a graceful `GOAWAY` whose last stream is below
/// ours (RFC 9113 §6.8), the only case in which the library reports `GOAWAY` for a stream.
pub(super) fn leaves(error: &h2::Error) -> bool {
    error.is_remote() && error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR)
}

/// What a failed dial says about the endpoint; nothing, if it was our own impatience or lack of means.
pub(super) const fn dial(cause: Cause) -> Option<ServedOutcome> {
    match cause {
        Cause::Unreachable => Some(ServedOutcome::Unreachable),
        Cause::Silent => Some(ServedOutcome::Silent),
        Cause::Hurried | Cause::Full | Cause::Closing | Cause::Ours => None,
    }
}

/// How an attempt failed that found no connection.
pub(super) const fn undialled(cause: Cause) -> Failure {
    match cause {
        Cause::Full => Failure::Full,
        Cause::Ours => Failure::Ours,
        Cause::Unreachable | Cause::Silent | Cause::Hurried | Cause::Closing => {
            Failure::Unreachable
        }
    }
}

/// What a caller is told whose side failed; nothing if it left.
pub(super) fn callers_problem(error: &Error) -> Option<Problematic> {
    match error.etype() {
        H2Error | ReadError | WriteError | WriteTimedout | ConnectionClosed => None,
        _ => Some(Problematic::BadRequest),
    }
}

/// What the caller is told after the last attempt failed.
pub(super) fn problem(ctx: &Context) -> Problematic {
    match ctx.stop {
        // It may have run, whatever else kept it from being tried elsewhere.
        Some(Why::BodyGone | Why::BudgetUsed | Why::NoRegion | Why::MovesUsed)
            if ctx.failure == Some(Failure::Lost) =>
        {
            Problematic::AttemptFailed(Why::MayHaveRun)
        }
        Some(_) if ctx.time_left().is_zero() && unseen(ctx.failure) => Problematic::TimedOut,
        Some(why) => Problematic::AttemptFailed(why),
        None => Problematic::Engine(500),
    }
}

/// Whether the region never saw the call.
const fn unseen(failure: Option<Failure>) -> bool {
    matches!(
        failure,
        Some(Failure::Unreachable | Failure::Full | Failure::Ours)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edges_own_bounds_are_no_regions_fault() {
        for (cause, failure, seen) in [
            (
                Cause::Unreachable,
                Failure::Unreachable,
                Some(ServedOutcome::Unreachable),
            ),
            (
                Cause::Silent,
                Failure::Unreachable,
                Some(ServedOutcome::Silent),
            ),
            (Cause::Hurried, Failure::Unreachable, None),
            (Cause::Closing, Failure::Unreachable, None),
            (Cause::Full, Failure::Full, None),
            (Cause::Ours, Failure::Ours, None),
        ] {
            assert_eq!(undialled(cause), failure, "{cause:?}");
            assert_eq!(dial(cause), seen, "{cause:?}");
            assert!(unseen(Some(failure)), "{cause:?}");
        }
        for failure in [Failure::Refused, Failure::NotStarted, Failure::Lost] {
            assert!(!unseen(Some(failure)), "{failure:?}");
        }
    }
}
