//! The only place where an error becomes HTTP: status, what the caller reads, and nothing that is ours to know.
//!
//! Pure: a reason in, an [`Answer`] out. `proxy.rs` writes it.

use std::time::Duration;

use frontdoor_protocol::names::RequestId;
use frontdoor_protocol::problem::Problem;
use frontdoor_protocol::target::TargetError;
use http::StatusCode;

use crate::identity::Refusal;
use crate::route::Why;

/// Why the edge answers itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problematic {
    /// The request is not one that could be passed on.
    Refused(Refusal),
    /// No region is left to try, or none was there.
    NoRegion {
        /// When it may be worth asking again.
        retry_after: Duration,
    },
    /// An attempt failed, and the call must not or cannot be tried elsewhere.
    AttemptFailed(Why),
    /// The caller's time ran out.
    TimedOut,
    /// The body came too slowly.
    SlowBody,
    /// The body is larger than a body may be.
    LargeBody,
    /// The head is.
    LargeHead,
    /// The connection's certificate is for other hosts than the request's.
    Misdirected,
    /// A region is named that is none, by a caller who may name one.
    UnknownRegion,
    /// As many calls are under way, or were made, as there may be.
    Limited(Limit),
    /// The request itself broke, or the engine refuses it.
    BadRequest,
    /// The engine speaks of a status of its own.
    Engine(u16),
}

/// Why a call is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// As many calls as this edge takes.
    Calls,
    /// As many calls at once as a key may have.
    KeyCalls,
    /// More calls in this time than a key may make.
    KeyRate {
        /// When the next one is welcome.
        retry_after: Duration,
    },
}

/// A platform-made answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body.
    pub problem: Problem,
    /// For `Retry-After`.
    pub retry_after: Option<Duration>,
}

/// When everything is down: come back after the time in which a region is usually noticed to be back.
const RETRY_AFTER: Duration = Duration::from_secs(2);

// === impl Problematic ===

impl Problematic {
    /// What the caller gets.
    #[must_use]
    pub fn answer(&self, id: RequestId) -> Answer {
        let (status, slug, title, detail) = self.words();
        let problem = Problem::new(slug, title, status, detail).for_request(id);
        let retry_after = match self {
            Self::NoRegion { retry_after } => Some(*retry_after),
            Self::Limited(Limit::KeyRate { retry_after }) => Some(*retry_after),
            Self::Limited(_) => Some(Duration::from_secs(1)),
            _ => (status == StatusCode::SERVICE_UNAVAILABLE).then_some(RETRY_AFTER),
        };
        Answer {
            status,
            problem,
            retry_after,
        }
    }

    fn words(&self) -> (StatusCode, &'static str, &'static str, String) {
        let plain = |status, slug, title, detail: &str| (status, slug, title, detail.to_owned());
        match self {
            Self::Refused(refusal) => refused(refusal),
            Self::NoRegion { .. } => plain(
                StatusCode::SERVICE_UNAVAILABLE,
                "no-region",
                "No region can take the call",
                "Every region is unreachable, draining, or has declined this call. It did not run; repeat it.",
            ),
            Self::AttemptFailed(Why::MayHaveRun) => plain(
                StatusCode::BAD_GATEWAY,
                "may-have-run",
                "The region was lost while it held the call",
                "The call may have run, so it was not repeated elsewhere. Send Idempotency-Key to allow that.",
            ),
            Self::AttemptFailed(Why::BodyGone) => plain(
                StatusCode::SERVICE_UNAVAILABLE,
                "body-gone",
                "The region could not take the call, and its body cannot be sent again",
                "The call did not run; repeat it. It was too large to be kept for a second attempt.",
            ),
            Self::AttemptFailed(Why::NoTime) | Self::TimedOut => plain(
                StatusCode::GATEWAY_TIMEOUT,
                "timed-out",
                "No answer within the caller's time",
                "No region began to answer within NVCF-POLL-SECONDS. Raise it if the call should wait longer.",
            ),
            Self::AttemptFailed(Why::BudgetUsed) => plain(
                StatusCode::SERVICE_UNAVAILABLE,
                "retry-budget",
                "Too many calls are being repeated",
                "The region failed, and repeating more calls would make it worse. The call did not run; repeat it later.",
            ),
            Self::AttemptFailed(Why::NoRegion) => plain(
                StatusCode::SERVICE_UNAVAILABLE,
                "regions-failed",
                "No region answers now",
                "No region that was tried could be reached or took the call, and no other is well. Repeat it later.",
            ),
            Self::AttemptFailed(Why::MovesUsed) => plain(
                StatusCode::SERVICE_UNAVAILABLE,
                "regions-failed",
                "No region could answer",
                "As many regions as a call may try could not be reached or did not take it. Repeat it later.",
            ),
            Self::AttemptFailed(Why::AnswerBegun) => plain(
                StatusCode::BAD_GATEWAY,
                "regions-failed",
                "No region could answer",
                "The answer had begun when its region was lost.",
            ),
            Self::SlowBody => plain(
                StatusCode::REQUEST_TIMEOUT,
                "slow-body",
                "The request's body does not come",
                "Nothing of it came for a minute, and no answer had begun.",
            ),
            Self::LargeBody => plain(
                StatusCode::PAYLOAD_TOO_LARGE,
                "large-body",
                "The request's body is too large",
                "This edge takes no body of that size. Pass large inputs by reference.",
            ),
            Self::LargeHead => plain(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "large-head",
                "The request's head is too large",
                "Target and headers together may have 64 KiB, in at most 128 headers.",
            ),
            Self::Misdirected => plain(
                StatusCode::MISDIRECTED_REQUEST,
                "misdirected",
                "The connection is for another host",
                "Its certificate is not the one of the request's host. Repeat the request on a connection of its own.",
            ),
            Self::UnknownRegion => plain(
                StatusCode::BAD_REQUEST,
                "unknown-region",
                "The region is not known",
                "The header frontdoor-region does not name one region of this edge. Without it, the nearest takes the call.",
            ),
            Self::Limited(limit) => limited(*limit),
            Self::BadRequest => plain(
                StatusCode::BAD_REQUEST,
                "bad-request",
                "The request broke off or is malformed",
                "It could not be read to its end as HTTP.",
            ),
            Self::Engine(code) => {
                let status =
                    StatusCode::from_u16(*code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                plain(
                    status,
                    "request",
                    status.canonical_reason().unwrap_or("Request failed"),
                    "The request cannot be served.",
                )
            }
        }
    }
}

fn limited(limit: Limit) -> (StatusCode, &'static str, &'static str, String) {
    let (status, slug, title) = match limit {
        Limit::Calls => (
            StatusCode::SERVICE_UNAVAILABLE,
            "edge-full",
            "The edge takes no more calls at the moment",
        ),
        Limit::KeyCalls => (
            StatusCode::TOO_MANY_REQUESTS,
            "key-calls",
            "The key has too many calls under way",
        ),
        Limit::KeyRate { .. } => (
            StatusCode::TOO_MANY_REQUESTS,
            "key-rate",
            "The key makes calls too fast",
        ),
    };
    let detail = "The call did not run; repeat it after the time in Retry-After.".to_owned();
    (status, slug, title, detail)
}

fn refused(refusal: &Refusal) -> (StatusCode, &'static str, &'static str, String) {
    let detail = refusal.to_string();
    match refusal {
        Refusal::Target(TargetError::Unknown { .. }) => (
            StatusCode::NOT_FOUND,
            "unknown-host",
            "The host names no function",
            detail,
        ),
        Refusal::Target(TargetError::Method { .. }) => (
            StatusCode::METHOD_NOT_ALLOWED,
            "bad-method",
            "The method is not served here",
            detail,
        ),
        Refusal::Target(_) => (
            StatusCode::BAD_REQUEST,
            "bad-target",
            "The function is not named clearly",
            detail,
        ),
        Refusal::Caller(_) => (
            StatusCode::UNAUTHORIZED,
            "no-credential",
            "A credential is required",
            detail,
        ),
        Refusal::Poll(_) => (
            StatusCode::BAD_REQUEST,
            "bad-poll-seconds",
            "NVCF-POLL-SECONDS is malformed",
            detail,
        ),
    }
}

// === impl Limit ===

impl Limit {
    /// Its name in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::KeyCalls => "key-calls",
            Self::KeyRate { .. } => "key-rate",
        }
    }
}

#[cfg(test)]
mod tests {
    use frontdoor_protocol::poll::PollError;

    use super::*;
    use crate::identity::caller::CallerError;

    fn status(reason: &Problematic) -> u16 {
        let id = RequestId::from_uuid(uuid::Uuid::from_u128(1));
        let answer = reason.answer(id);
        assert_eq!(answer.problem.status, answer.status.as_u16());
        assert_eq!(answer.problem.request_id, Some(id));
        assert!(!answer.problem.detail.is_empty());
        let unavailable = answer.status == StatusCode::SERVICE_UNAVAILABLE;
        assert!(answer.retry_after.is_some() || !unavailable, "{reason:?}");
        answer.status.as_u16()
    }

    #[test]
    fn each_reason_has_its_status() {
        let unknown = TargetError::Unknown {
            host: "x".into(),
            domain: "y".into(),
        };
        for (reason, expected) in [
            (Problematic::Refused(Refusal::Target(unknown)), 404),
            (
                Problematic::Refused(Refusal::Target(TargetError::Header {
                    name: "function-id",
                })),
                400,
            ),
            (
                Problematic::Refused(Refusal::Target(TargetError::Method { allow: "POST" })),
                405,
            ),
            (
                Problematic::Refused(Refusal::Caller(CallerError::Missing)),
                401,
            ),
            (Problematic::Refused(Refusal::Poll(PollError)), 400),
            (
                Problematic::NoRegion {
                    retry_after: Duration::from_secs(3),
                },
                503,
            ),
            (Problematic::SlowBody, 408),
            (Problematic::LargeBody, 413),
            (Problematic::LargeHead, 431),
            (Problematic::Misdirected, 421),
            (Problematic::UnknownRegion, 400),
            (Problematic::Limited(Limit::Calls), 503),
            (Problematic::Limited(Limit::KeyCalls), 429),
            (Problematic::AttemptFailed(Why::MayHaveRun), 502),
            (Problematic::AttemptFailed(Why::BodyGone), 503),
            (Problematic::AttemptFailed(Why::NoTime), 504),
            (Problematic::AttemptFailed(Why::BudgetUsed), 503),
            (Problematic::AttemptFailed(Why::MovesUsed), 503),
            (Problematic::AttemptFailed(Why::NoRegion), 503),
            (Problematic::AttemptFailed(Why::AnswerBegun), 502),
            (Problematic::TimedOut, 504),
            (Problematic::BadRequest, 400),
            (Problematic::Engine(413), 413),
        ] {
            assert_eq!(status(&reason), expected, "{reason:?}");
        }
    }
}
