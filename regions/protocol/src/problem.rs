//! Problem details (RFC 9457): the one shape of every answer that the platform makes itself.

use serde::{Deserialize, Serialize};

use crate::names::RequestId;

/// Content type of [`Problem`].
pub const CONTENT_TYPE: &str = "application/problem+json";

/// A platform-made error, as the caller sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// A URN that names the kind of problem; stable, for programs.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words; the same for each occurrence.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// This occurrence, and what to do about it; for people.
    pub detail: String,
    /// The call's id, for the operator's logs.
    #[serde(rename = "nvcf-reqid", skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
}

// === impl Problem ===

impl Problem {
    /// A problem of a kind: `slug` such as `no-worker` becomes `urn:frontdoor:problem:no-worker`.
    #[must_use]
    pub fn new(
        slug: &str,
        title: &str,
        status: http::StatusCode,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            kind: format!("urn:frontdoor:problem:{slug}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            request_id: None,
        }
    }

    /// The same, with the call's id.
    #[must_use]
    pub fn for_request(mut self, id: RequestId) -> Self {
        self.request_id = Some(id);
        self
    }

    /// The body. Serialising strings and a number cannot fail, so an error would be empty rather than a panic.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_rfc_9457() {
        let problem = Problem::new(
            "no-worker",
            "No worker took the call",
            http::StatusCode::GATEWAY_TIMEOUT,
            "wait",
        );
        assert_eq!(
            String::from_utf8(problem.to_json()).expect("utf-8"),
            r#"{"type":"urn:frontdoor:problem:no-worker","title":"No worker took the call","status":504,"detail":"wait"}"#
        );
    }
}
