//! NVCF's JSON around a call (`exec`): what a caller wraps is unwrapped before the function sees it, what the function
//! answers is wrapped before the caller does (pure).
//!
//! Knows shapes only; bodies are collected, and limits kept, by `front/api.rs`.

use std::time::Duration;

use frontdoor_protocol::headers::InvokeStatus;
use frontdoor_protocol::names::RequestId;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a caller sends.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wrapped {
    #[serde(default)]
    request_header: Header,
    request_body: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Header {
    input_asset_references: Vec<String>,
    poll_duration_seconds: Option<u64>,
}

/// What a caller gets.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Wrapping {
    req_id: RequestId,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    percent_complete: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<Value>,
}

/// What was inside.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unwrapped {
    /// The function's input.
    pub(super) body: Vec<u8>,
    /// How long the caller waits, if it says so here.
    pub(super) window: Option<Duration>,
    /// Whether it refers to assets.
    pub(super) assets: bool,
}

/// Unwraps a call. A wrong shape is told in words.
pub(super) fn unwrap(bytes: &[u8]) -> Result<Unwrapped, String> {
    let wrapped: Wrapped = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    let Wrapped {
        request_header: header,
        request_body,
    } = wrapped;
    Ok(Unwrapped {
        body: request_body.map_or_else(Vec::new, |json| json.to_string().into_bytes()),
        window: header
            .poll_duration_seconds
            .map(|seconds| Duration::from_secs(seconds.max(1))),
        assets: !header.input_asset_references.is_empty(),
    })
}

/// Wraps an answer, `percent` of which is there if its container says so; `None` if the function answered what is no JSON.
pub(super) fn wrap(
    id: RequestId,
    status: StatusCode,
    percent: Option<u8>,
    body: &[u8],
) -> Option<Vec<u8>> {
    let outcome = InvokeStatus::of(status);
    let response = match body {
        [] => None,
        body => Some(serde_json::from_slice(body).ok()?),
    };
    let wrapping = Wrapping {
        req_id: id,
        status: outcome.as_str(),
        percent_complete: match outcome {
            InvokeStatus::Fulfilled => Some(100),
            InvokeStatus::InProgress => percent,
            InvokeStatus::Errored => None,
        },
        error_code: (outcome == InvokeStatus::Errored).then(|| status.as_u16()),
        response,
    };
    serde_json::to_vec(&wrapping).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_caller_wraps_is_unwrapped() {
        let check = |json: &str| unwrap(json.as_bytes());
        let full = check(
            r#"{"requestHeader":{"inputAssetReferences":[],"pollDurationSeconds":5},"requestBody":{"a" : 1.0}}"#,
        )
        .expect("valid");
        assert_eq!(full.body, br#"{"a":1.0}"#);
        assert_eq!(full.window, Some(Duration::from_secs(5)));
        assert!(!full.assets);
        let bare = check(r#"{"requestBody":"text","unknown":1}"#).expect("valid");
        assert_eq!(
            (bare.body.as_slice(), bare.window),
            (&b"\"text\""[..], None)
        );
        assert!(check("{}").expect("valid").body.is_empty());
        let assets = check(r#"{"requestHeader":{"inputAssetReferences":["x"]}}"#);
        assert!(assets.expect("valid").assets);
        for wrong in [
            "",
            "[]x",
            "{",
            r#"{"requestHeader":{"pollDurationSeconds":-1}}"#,
        ] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_a_function_answers_is_wrapped() {
        let id: RequestId = "7f2c1f0e-7f3b-4a55-8a2e-3d1b5f0c9a11"
            .parse()
            .expect("valid");
        let check = |status: u16, body: &str| {
            let status = StatusCode::from_u16(status).expect("valid");
            let wrapped = wrap(id, status, Some(40), body.as_bytes())?;
            Some(String::from_utf8(wrapped).expect("text"))
        };
        let start = r#"{"reqId":"7f2c1f0e-7f3b-4a55-8a2e-3d1b5f0c9a11","status":"#;
        for (status, body, rest) in [
            (
                200,
                r#"{"a":1}"#,
                r#""fulfilled","percentComplete":100,"response":{"a":1}}"#,
            ),
            (200, "", r#""fulfilled","percentComplete":100}"#),
            (202, "", r#""in-progress","percentComplete":40}"#),
            (
                422,
                r#""no""#,
                r#""errored","errorCode":422,"response":"no"}"#,
            ),
        ] {
            assert_eq!(check(status, body), Some(format!("{start}{rest}")));
        }
        assert_eq!(check(200, "plain text"), None);
    }
}
