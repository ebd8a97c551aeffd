//! `/inspect` and every unknown path: says what arrived, so that a test can prove that nothing was changed on the way.
//!
//! The body is hashed as it streams by and never kept.

use http::{Request, Response, StatusCode, Version, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::body::{self, Body};

/// What arrived.
#[derive(Debug, Serialize)]
struct Report {
    method: String,
    path: String,
    query: Option<String>,
    /// Name and value in the order of arrival; `host` stands for `:authority` when that came instead of it.
    headers: Vec<(String, String)>,
    body_bytes: u64,
    sha256: String,
}

/// Answers with a report about the request.
pub(crate) async fn inspect(request: Request<Incoming>) -> Response<Body> {
    let (head, mut incoming) = request.into_parts();
    let mut headers: Vec<(String, String)> = head
        .headers
        .iter()
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.to_string(), value)
        })
        .collect();
    if let (Version::HTTP_2, None, Some(authority)) = (
        head.version,
        head.headers.get(header::HOST),
        head.uri.authority(),
    ) {
        headers.insert(0, ("host".to_owned(), authority.to_string()));
    }
    let mut hash = Sha256::new();
    let mut body_bytes = 0;
    while let Some(frame) = incoming.frame().await {
        let Ok(frame) = frame else {
            return body::error(StatusCode::BAD_REQUEST, "the request body broke off");
        };
        if let Some(data) = frame.data_ref() {
            hash.update(data);
            body_bytes += data.len() as u64;
        }
    }
    let report = Report {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(str::to_owned),
        headers,
        body_bytes,
        sha256: hex::encode(hash.finalize()),
    };
    let json = serde_json::to_vec(&report).unwrap_or_default();
    body::ok("application/json", body::full(json))
}
