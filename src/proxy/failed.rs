//! Reads the engine's errors: what they prove about a call, and what its caller should be told.
//!
//! The engine's own idea of "may be retried" is not ours: it would repeat a POST whose connection broke, if only the
//! connection was a pooled one. What is not proven to be safe counts as lost.

use pingora_core::ErrorType::{
    ConnectTimedout, ConnectionClosed, H2Error, HTTPStatus, ReadError, ReadTimedout, WriteError,
    WriteTimedout,
};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorSource};

use super::context::Context;
use crate::response::Problematic;
use crate::route::{Failure, Why};
use crate::table::ServedOutcome;
use crate::upstream;

/// What an error while a call was under way says about it; `None` if it is not the region's doing.
pub(super) fn classify(error: &Error) -> Option<Failure> {
    if *error.esource() != ErrorSource::Upstream {
        return None;
    }
    if never_sent(error) {
        return Some(Failure::Refused);
    }
    let unprocessed = error
        .root_cause()
        .downcast_ref::<h2::Error>()
        .is_some_and(unprocessed);
    Some(if unprocessed {
        Failure::Refused
    } else {
        Failure::Lost
    })
}

/// Whether the peer says that it did nothing with the stream: `REFUSED_STREAM` (RFC 9113 §8.7), or a graceful `GOAWAY` whose
/// last stream is below ours (§6.8), the only case in which the library reports `GOAWAY` for a stream.
fn unprocessed(error: &h2::Error) -> bool {
    error.is_remote()
        && ((error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM))
            || (error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR)))
}

/// Whether the stream was never opened: the library refused our head, because the connection was lost a moment before.
/// The engine says so only in the words of its context.
fn never_sent(error: &Error) -> bool {
    error
        .context
        .as_ref()
        .is_some_and(|context| context.as_str() == "while sending request")
}

/// Whether a failure is the region's fault: only one before the answer began, and not that of an answer which took too
/// long. A container that breaks off is its own business, and must not take the region away from others.
pub(super) fn condemns(failure: Failure, error: &Error, ctx: &Context) -> bool {
    failure == Failure::Lost && ctx.answered.is_none() && !matches!(error.etype(), ReadTimedout)
}

/// What a failed dial says about the endpoint; nothing, if it was our own impatience or lack of means.
pub(super) fn dial(error: &Error, peer: &HttpPeer) -> Option<ServedOutcome> {
    let ours = error
        .root_cause()
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::raw_os_error)
        .is_some_and(|code| OUR_OWN.contains(&code));
    match error.etype() {
        _ if ours => None,
        ConnectTimedout if upstream::hurried(peer) => None,
        ConnectTimedout => Some(ServedOutcome::Silent),
        _ => Some(ServedOutcome::Unreachable),
    }
}

/// ENFILE, EMFILE, EADDRNOTAVAIL: no file descriptor or port is left on this side.
const OUR_OWN: [i32; 3] = [23, 24, 99];

/// What the caller is told, if it is still there.
pub(super) fn problem(error: &Error, ctx: &mut Context) -> Option<Problematic> {
    if let Some(problem) = ctx.problem.take() {
        return Some(problem);
    }
    let timed_out = matches!(
        error.etype(),
        ConnectTimedout | ReadTimedout | WriteTimedout
    );
    match (error.esource(), error.etype(), ctx.stop) {
        (ErrorSource::Downstream, H2Error | ReadError | WriteError | ConnectionClosed, _) => None,
        (ErrorSource::Downstream, HTTPStatus(code), _) => Some(Problematic::Engine(*code)),
        (ErrorSource::Downstream, _, _) => Some(Problematic::BadRequest),
        (ErrorSource::Upstream, _, _) if timed_out && ctx.time_left().is_zero() => {
            Some(Problematic::TimedOut)
        }
        // It may have run, whatever else kept it from being tried elsewhere.
        (_, _, Some(Why::BodyGone | Why::BudgetUsed)) if ctx.failure == Some(Failure::Lost) => {
            Some(Problematic::AttemptFailed(Why::MayHaveRun))
        }
        (_, _, Some(why)) => Some(Problematic::AttemptFailed(why)),
        (_, HTTPStatus(code), None) => Some(Problematic::Engine(*code)),
        (_, _, None) => Some(Problematic::Engine(500)),
    }
}
