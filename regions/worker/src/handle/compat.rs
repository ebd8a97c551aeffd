//! NVCF's compatibility mode: calls through the API get their errors as problem details, whatever the container wrote.
//!
//! The wire puts this on the worker, which is told by the absence of a header that a call wants it. What a container of
//! the Triton kind says under `error` becomes the detail; problem details of the container's own stay as they are.

use std::time::Duration;

use bytes::Bytes;
use frontdoor_protocol::attach::ResponseHead;
use frontdoor_protocol::headers::DISABLE_COMPATIBILITY;
use frontdoor_protocol::problem;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;

/// The longest body that is looked into.
const BODY_LIMIT: usize = 64 * 1024;
/// How long a container may take to write it.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// What containers of the Triton kind answer.
#[derive(Deserialize)]
struct Triton {
    error: String,
}

/// Whether a call wants its errors translated: it came through the API and reads no event stream.
pub(super) fn wanted(request: &HeaderMap) -> bool {
    let stream = |value: &HeaderValue| value == "text/event-stream";
    !request.contains_key(DISABLE_COMPATIBILITY) && !request.get(header::ACCEPT).is_some_and(stream)
}

/// Whether an answer is an error that is to be translated.
pub(super) fn translates(answer: &Response<Incoming>) -> bool {
    let own = |value: &HeaderValue| {
        value
            .as_bytes()
            .starts_with(problem::CONTENT_TYPE.as_bytes())
    };
    let status = answer.status();
    (status.is_client_error() || status.is_server_error())
        && !answer.headers().get(header::CONTENT_TYPE).is_some_and(own)
}

/// Translates it: a whole answer.
pub(super) async fn translate(answer: Response<Incoming>) -> (ResponseHead, Bytes) {
    let (head, body) = answer.into_parts();
    let body = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, BODY_LIMIT).collect());
    let body = match body.await {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(_)) | Err(_) => Bytes::new(),
    };
    let problem = problem_of(head.status, &body);
    let mut headers = head.headers;
    // They speak of the body that is gone.
    for gone in [
        header::CONTENT_ENCODING,
        header::ETAG,
        header::LAST_MODIFIED,
    ] {
        headers.remove(gone);
    }
    let content_type = HeaderValue::from_static(problem::CONTENT_TYPE);
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(problem.len()));
    let status = head.status;
    (ResponseHead { status, headers }, problem)
}

/// The problem details in NVCF's words.
fn problem_of(status: StatusCode, body: &[u8]) -> Bytes {
    let title = status.canonical_reason().unwrap_or("Error");
    let slug = title.to_ascii_lowercase().replace(' ', "-");
    let detail = match serde_json::from_slice::<Triton>(body) {
        Ok(triton) => triton.error,
        Err(_) => format!("the function answered with status {}", status.as_u16()),
    };
    let problem = json!({
        "type": format!("urn:inference-service:problem-details:{slug}"),
        "title": title,
        "status": status.as_u16(),
        "detail": detail,
    });
    problem.to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_by_path_want_it() {
        let check = |headers: &[(&'static str, &'static str)]| {
            let pairs = headers.iter().map(|(name, value)| {
                let name = http::HeaderName::from_static(name);
                (name, HeaderValue::from_static(value))
            });
            wanted(&pairs.collect())
        };
        assert!(check(&[]) && check(&[("accept", "application/json")]));
        assert!(!check(&[("accept", "text/event-stream")]));
        assert!(!check(&[(
            "nvcf-feature-disable-worker-compatibility",
            "true"
        )]));
    }

    #[test]
    fn what_triton_says_becomes_the_detail() {
        let check = |status: u16, body: &str| {
            let status = StatusCode::from_u16(status).expect("valid");
            let problem = problem_of(status, body.as_bytes());
            serde_json::from_slice::<serde_json::Value>(&problem).expect("JSON")
        };
        assert_eq!(
            check(400, r#"{"error":"no such model","x":1}"#),
            json!({
                "type": "urn:inference-service:problem-details:bad-request",
                "title": "Bad Request", "status": 400, "detail": "no such model",
            })
        );
        for body in ["", "plain", r#"{"error":1}"#] {
            let detail = &check(503, body)["detail"];
            assert_eq!(detail, "the function answered with status 503");
        }
    }
}
