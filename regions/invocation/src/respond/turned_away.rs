//! Everything a worker may be told at attach, and its status and words (pure).
//!
//! Statuses are NVCF's where NVCF has one; read by `respond.rs` alone, made by `attach`.

use frontdoor_protocol::attach::{Form, HeadError};
use http::StatusCode;

/// Why a worker may not attach.
#[derive(Debug)]
pub(crate) enum AttachRefusal {
    /// Neither GET nor POST.
    Method,
    /// No token, or one that nobody waits with.
    Unknown,
    /// The call is over, or another worker has it.
    Over,
    /// The rest of the request is there in another form.
    NotAcceptable(Form),
    /// The stream did not start with the head of an answer.
    Malformed(HeadError),
    /// The stream ended before the head of an answer was complete.
    Truncated,
}

type Words = (StatusCode, &'static str, &'static str, String);

// === impl AttachRefusal ===

impl AttachRefusal {
    pub(super) fn facts(&self) -> Words {
        match self {
            Self::Method => (
                StatusCode::METHOD_NOT_ALLOWED,
                "bad-method",
                "Only GET and POST attach",
                "GET fetches the rest of a request, POST brings the answer".to_owned(),
            ),
            Self::Unknown => (
                StatusCode::UNAUTHORIZED,
                "unknown-token",
                "Nobody waits with this token",
                "the call was never here, is over, or the token was used before".to_owned(),
            ),
            Self::Over => (
                StatusCode::GONE,
                "call-over",
                "The call is not to be had",
                "it was cancelled, expired or answered, or another worker has it; do not run it"
                    .to_owned(),
            ),
            Self::NotAcceptable(there) => (
                StatusCode::NOT_ACCEPTABLE,
                "not-acceptable",
                "It is there in another form",
                format!("accept {}", there.content_type()),
            ),
            Self::Malformed(error) => bad(error.to_string()),
            Self::Truncated => {
                bad("the stream ended before the head of an answer was complete".to_owned())
            }
        }
    }
}

fn bad(detail: String) -> Words {
    (
        StatusCode::BAD_REQUEST,
        "bad-head",
        "The stream is malformed",
        detail,
    )
}
