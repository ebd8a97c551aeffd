//! Everything the platform may have to refuse, and its status, words and truth about execution (pure).
//!
//! The table for callers; that for workers is `turned_away.rs`. Statuses are NVCF's where NVCF has one; read by `respond.rs`
//! alone, made by `front`.

use std::time::Duration;

use frontdoor_protocol::attach::HeadError;
use frontdoor_protocol::headers::Execution;
use frontdoor_protocol::poll::PollError;
use frontdoor_protocol::target::TargetError;
use http::StatusCode;

use super::staff::Staff;
use crate::auth::Denied;

/// Why a caller gets an answer that no container made.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The request names no function, or two.
    Target(TargetError),
    /// The waiting time is malformed.
    Poll(PollError),
    /// A header's value cannot travel in a work item, which holds text.
    HeaderText(http::HeaderName),
    /// The request line and headers do not fit into a work item, or are more than a worker reads that fetches them.
    HeadTooLarge,
    /// The caller may not call.
    Denied(Denied),
    /// The function is not deployed here.
    UnknownFunction,
    /// The function is, but not in this version.
    UnknownVersion,
    /// The request body broke off or was malformed.
    BodyBroken,
    /// The beginning of the request body that travels with the call did not come within the caller's time.
    SlowBody {
        /// How long that was.
        waited: Duration,
    },
    /// The request refers to assets, which this platform does not keep.
    Assets,
    /// What should be wrapped in JSON is not, in these words.
    Wrapped(String),
    /// The answer cannot be wrapped in JSON: it broke off, is too long, or is none.
    NotWrapped,
    /// No answer waits under this id.
    NotHeld,
    /// Another instance that may hold the answer does not say so.
    HolderSilent,
    /// The worker that has the call does not say that it was asked for the answer.
    Unacknowledged,
    /// As many calls as allowed are waiting.
    Crowded {
        /// Seconds until another try may succeed.
        retry: u64,
    },
    /// As many calls as allowed are here of the caller's account.
    AccountCrowded {
        /// Seconds until another try may succeed.
        retry: u64,
    },
    /// The work queue of the version is full.
    QueueFull {
        /// Seconds until another try may succeed.
        retry: u64,
    },
    /// This instance finishes what it has and takes nothing new.
    Draining,
    /// This instance stops, and no worker had the call by then.
    Stopped(Execution),
    /// The workers of the version have fallen silent, and the call has another region to go to.
    NoWorker(Execution),
    /// NATS is out of reach.
    BusLost(Execution),
    /// NATS did not take the call, or not in time.
    PublishFailed(Execution),
    /// A call with this id is queued or was a moment ago.
    Duplicate,
    /// No answer began within the caller's time.
    TooLate {
        /// How long that was.
        waited: Duration,
        /// Who could have taken it, for a call that nobody took.
        staff: Staff,
        /// Whether a worker may have begun.
        execution: Execution,
    },
    /// The worker's stream broke before the head of the answer.
    WorkerLost,
    /// The worker sent what is no head of an answer.
    WorkerMalformed(HeadError),
}

/// How a call ended, as metrics count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A container answered.
    Answered,
    /// The caller left before the answer was complete.
    CallerLeft,
    /// The answer broke off in the middle.
    Broken,
    /// The request was wrong (4xx other than the next two).
    Rejected,
    /// The caller may not: 401, 402, 403, 404 or 412.
    Denied,
    /// 503: nobody could say whether the caller may.
    Unsure,
    /// 429.
    Crowded,
    /// 503 while stopping.
    Draining,
    /// 503: NATS.
    Bus,
    /// 504.
    TooLate,
    /// 502: the worker.
    Worker,
}

/// A refusal in words and numbers.
pub(super) struct Facts {
    pub(super) status: StatusCode,
    pub(super) slug: &'static str,
    pub(super) title: &'static str,
    pub(super) detail: String,
    pub(super) execution: Execution,
    pub(super) retry_after: Option<u64>,
}

/// Seconds after which a region without NATS is: reconnects take up to two.
const RETRY_BUS: u64 = 2;
/// Seconds after which a silent authority is asked again.
const RETRY_AUTHORITY: u64 = 2;
/// Seconds after which an instance that died is known to be gone.
const RETRY_HOLDER: u64 = 2;
/// Seconds after which another instance will have taken over from one that stops.
const RETRY_DRAINING: u64 = 5;

// === impl Refusal ===

impl Refusal {
    /// How metrics count it.
    pub(crate) const fn outcome(&self) -> Outcome {
        match self {
            Self::Denied(Denied::Unsure) => Outcome::Unsure,
            Self::Denied(_) => Outcome::Denied,
            Self::Crowded { .. } | Self::AccountCrowded { .. } | Self::QueueFull { .. } => {
                Outcome::Crowded
            }
            Self::Draining | Self::Stopped(_) => Outcome::Draining,
            Self::BusLost(_) | Self::PublishFailed(_) | Self::HolderSilent => Outcome::Bus,
            Self::TooLate { .. } | Self::Unacknowledged => Outcome::TooLate,
            Self::NoWorker(_) | Self::WorkerLost | Self::WorkerMalformed(_) | Self::NotWrapped => {
                Outcome::Worker
            }
            _ => Outcome::Rejected,
        }
    }

    pub(super) fn facts(&self) -> Facts {
        match self {
            Self::Crowded { .. }
            | Self::AccountCrowded { .. }
            | Self::QueueFull { .. }
            | Self::Denied(Denied::Unsure)
            | Self::HolderSilent
            | Self::Draining
            | Self::Stopped(_)
            | Self::BusLost(_) => self.busy(),
            Self::PublishFailed(_) | Self::TooLate { .. } | Self::Unacknowledged => self.unserved(),
            Self::NoWorker(_)
            | Self::WorkerLost
            | Self::WorkerMalformed(_)
            | Self::NotWrapped
            | Self::Duplicate => self.broken(),
            _ => self.wrong(),
        }
    }

    /// What the caller did wrong; nothing began.
    fn wrong(&self) -> Facts {
        let (status, slug, title, detail) = match self {
            Self::Target(error @ TargetError::Unknown { .. }) => (
                StatusCode::NOT_FOUND,
                "unknown-host",
                "The host names no function",
                error.to_string(),
            ),
            Self::Target(error @ TargetError::Method { .. }) => (
                StatusCode::METHOD_NOT_ALLOWED,
                "bad-method",
                "The method is not served here",
                error.to_string(),
            ),
            Self::Target(error) => bad("bad-target", error.to_string()),
            Self::Wrapped(why) => bad("bad-wrapping", format!("the JSON around the call: {why}")),
            Self::Assets => (
                StatusCode::NOT_IMPLEMENTED,
                "no-assets",
                "Assets are not kept here",
                "send the input in the body; asset references cannot be resolved".to_owned(),
            ),
            Self::NotHeld => (
                StatusCode::NOT_FOUND,
                "unknown-request",
                "No answer waits under this id",
                "it was fetched before, was kept as long as answers are, or was never put aside: an answer that came in \
                 time was given at once"
                    .to_owned(),
            ),
            Self::Poll(error) => bad("bad-poll-seconds", error.to_string()),
            Self::HeaderText(name) => bad(
                "bad-header",
                format!("the value of header {name} is not UTF-8 text"),
            ),
            Self::BodyBroken => bad(
                "bad-body",
                "the request body broke off or was malformed".to_owned(),
            ),
            Self::SlowBody { waited } => (
                StatusCode::REQUEST_TIMEOUT,
                "slow-body",
                "The request's body does not come",
                format!(
                    "of what was announced, the beginning was not here after {:.1} s; NVCF-POLL-SECONDS sets how long to wait",
                    waited.as_secs_f64()
                ),
            ),
            Self::HeadTooLarge => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "head-too-large",
                "The request's headers are too large",
                "path and headers are more than a worker can be sent; send less of them".to_owned(),
            ),
            Self::Denied(denied) => denied_facts(*denied),
            Self::UnknownVersion => (
                StatusCode::NOT_FOUND,
                "unknown-version",
                "No such version here",
                "the function is deployed in this region, but not in the version asked for"
                    .to_owned(),
            ),
            _ => (
                StatusCode::NOT_FOUND,
                "unknown-function",
                "No such function here",
                "no function of this id is deployed in this region".to_owned(),
            ),
        };
        Facts {
            status,
            slug,
            title,
            detail,
            execution: Execution::NotStarted,
            retry_after: None,
        }
    }

    /// The region cannot take the call now.
    fn busy(&self) -> Facts {
        let (status, slug, title, detail, retry) = match self {
            Self::Crowded { retry } => (
                StatusCode::TOO_MANY_REQUESTS,
                "too-many-calls",
                "Too many calls are waiting",
                "this region holds as many unfinished calls as it may; try again later",
                *retry,
            ),
            Self::AccountCrowded { retry } => (
                StatusCode::TOO_MANY_REQUESTS,
                "too-many-calls-of-account",
                "Too many of your calls are waiting",
                "this region holds as many unfinished calls of your account as it may; try again later",
                *retry,
            ),
            Self::QueueFull { retry } => (
                StatusCode::TOO_MANY_REQUESTS,
                "queue-full",
                "The work queue is full",
                "too many calls of this function version are queued; try again later",
                *retry,
            ),
            Self::Denied(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "authority-unreachable",
                "Nobody can say whether you may call",
                "the authority for API keys did not answer; try again",
                RETRY_AUTHORITY,
            ),
            Self::HolderSilent => (
                StatusCode::SERVICE_UNAVAILABLE,
                "holder-silent",
                "The instance that may hold the answer does not say",
                "another instance of the region's service is silent; ask again",
                RETRY_HOLDER,
            ),
            Self::Draining => (
                StatusCode::SERVICE_UNAVAILABLE,
                "draining",
                "This instance is stopping",
                "it finishes the calls it has and takes no new ones; try again",
                RETRY_DRAINING,
            ),
            Self::Stopped(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "stopped",
                "This instance has stopped",
                "no worker had answered the call when the time for running calls was over; try again",
                RETRY_DRAINING,
            ),
            _ => (
                StatusCode::SERVICE_UNAVAILABLE,
                "bus-lost",
                "The region's message bus is out of reach",
                "calls cannot be queued until the connection to NATS is back",
                RETRY_BUS,
            ),
        };
        Facts {
            status,
            slug,
            title,
            detail: detail.to_owned(),
            execution: match self {
                Self::BusLost(execution) | Self::Stopped(execution) => *execution,
                _ => Execution::NotStarted,
            },
            retry_after: Some(retry),
        }
    }

    /// The region took the call and did not get it answered.
    fn unserved(&self) -> Facts {
        match self {
            Self::TooLate {
                waited,
                staff,
                execution,
            } => Facts {
                status: StatusCode::GATEWAY_TIMEOUT,
                slug: match execution {
                    Execution::NotStarted => "no-worker",
                    Execution::Started => "no-answer",
                },
                title: "No answer within the time given",
                detail: format!(
                    "{} within {:.1} s{}; NVCF-POLL-SECONDS sets how long to wait, up to 3600",
                    match execution {
                        Execution::NotStarted => "no worker took the call",
                        Execution::Started => "the function did not begin its answer",
                    },
                    waited.as_secs_f64(),
                    match execution {
                        Execution::NotStarted => staff.words(),
                        Execution::Started => "",
                    }
                ),
                execution: *execution,
                retry_after: None,
            },
            Self::Unacknowledged => Facts {
                status: StatusCode::GATEWAY_TIMEOUT,
                slug: "no-acknowledgement",
                title: "The worker that has the call is silent",
                detail: "worker did not acknowledge the status request.".to_owned(),
                execution: Execution::Started,
                retry_after: None,
            },
            Self::PublishFailed(execution) => Facts {
                status: StatusCode::SERVICE_UNAVAILABLE,
                slug: "publish-failed",
                title: "The call could not be queued",
                detail: "the region's message bus did not take the call in time".to_owned(),
                execution: *execution,
                retry_after: Some(RETRY_BUS),
            },
            _ => self.broken(),
        }
    }

    /// A worker had the call, or may have it.
    fn broken(&self) -> Facts {
        let (status, slug, title, detail) = match self {
            Self::Duplicate => (
                StatusCode::CONFLICT,
                "duplicate-request-id",
                "A call with this id is already here",
                "give each call its own nvcf-reqid".to_owned(),
            ),
            Self::NoWorker(_) => (
                StatusCode::BAD_GATEWAY,
                "no-worker",
                "The workers of this function have fallen silent",
                "another region may have some".to_owned(),
            ),
            Self::NotWrapped => (
                StatusCode::BAD_GATEWAY,
                "not-wrapped",
                "The function's answer cannot be wrapped",
                "it broke off, is longer than 5 MiB, or is not JSON; pexec passes it on as it is"
                    .to_owned(),
            ),
            Self::WorkerMalformed(error) => (
                StatusCode::BAD_GATEWAY,
                "worker-malformed",
                "The worker's answer is malformed",
                error.to_string(),
            ),
            _ => (
                StatusCode::BAD_GATEWAY,
                "worker-lost",
                "The worker was lost",
                "its connection ended before the function began its answer".to_owned(),
            ),
        };
        Facts {
            status,
            slug,
            title,
            detail,
            execution: match self {
                Self::NoWorker(execution) => *execution,
                _ => Execution::Started,
            },
            retry_after: None,
        }
    }
}

type Words = (StatusCode, &'static str, &'static str, String);

fn bad(slug: &'static str, detail: String) -> Words {
    (
        StatusCode::BAD_REQUEST,
        slug,
        "The request is malformed",
        detail,
    )
}

fn denied_facts(denied: Denied) -> Words {
    let unauthorized = |detail: &str| {
        (
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "Not authenticated",
            detail.to_owned(),
        )
    };
    match denied {
        Denied::Missing => unauthorized("send the header Authorization: Bearer <API key>"),
        Denied::Malformed => {
            unauthorized("the header Authorization must be of the form Bearer <API key>")
        }
        Denied::Expired => unauthorized("the API key has expired"),
        Denied::Revoked => unauthorized("the API key was revoked"),
        // Unsure is not here: that is no fault of the caller's.
        Denied::Unknown | Denied::Unsure => unauthorized("the API key is not known here"),
        Denied::Forbidden => (
            StatusCode::FORBIDDEN,
            "forbidden",
            "Not allowed",
            "the API key does not open this function".to_owned(),
        ),
        Denied::Unpaid => (
            StatusCode::PAYMENT_REQUIRED,
            "no-credits",
            "No credits left",
            "the account of this API key has no credits left".to_owned(),
        ),
        Denied::NoFunction => (
            StatusCode::NOT_FOUND,
            "unknown-function",
            "No such function",
            "there is no such function or version for this API key".to_owned(),
        ),
        Denied::NotReady => (
            StatusCode::PRECONDITION_FAILED,
            "not-ready",
            "The function cannot be called",
            "it is not in a state to be called now".to_owned(),
        ),
    }
}
