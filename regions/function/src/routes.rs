//! Which path does what. A path with a number that is none answers 400; every path not listed is inspected.

use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use hyper::body::Incoming;

use crate::body::{self, Body};
use crate::journal::Journal;
use crate::{echo, inspect, probe};

/// Answers one request.
pub(crate) async fn answer(journal: &Journal, request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    if request.method() == Method::GET && matches!(&*path, "/health" | "/v2/health/ready") {
        return body::ok("application/json", body::full(r#"{"status":"OK"}"#));
    }
    let (head, incoming) = request.into_parts();
    journal.note(&head);
    let is_head = head.method == Method::HEAD;
    let response = route(&path, Request::from_parts(head, incoming)).await;
    if is_head {
        without_body(response)
    } else {
        response
    }
}

async fn route(path: &str, request: Request<Incoming>) -> Response<Body> {
    let post = request.method() == Method::POST;
    let mut segments = path.splitn(3, '/').skip(1);
    let answer = match (segments.next().unwrap_or_default(), segments.next()) {
        ("echo", None) if post => Some(echo::echo(request).await),
        ("ping-pong", None) if post => Some(probe::ping_pong(request)),
        ("events", None) => events(request.uri().query().unwrap_or_default()),
        ("redirect", None) => Some(probe::redirect()),
        ("status", Some(code)) => status_code(code).map(|code| probe::status(code, request)),
        ("headers", Some(n)) => n.parse().ok().filter(|n| *n <= 4096).map(probe::headers),
        ("bytes", Some(n)) => n.parse().ok().map(probe::bytes),
        ("abort-after", Some(n)) => n.parse().ok().map(probe::abort_after),
        ("sleep", Some(ms)) => match ms.parse() {
            Ok(ms) => Some(probe::sleep(ms).await),
            Err(_) => None,
        },
        _ => Some(inspect::inspect(request).await),
    };
    answer.unwrap_or_else(|| {
        let text = format!("{path} needs a number that makes sense here");
        body::error(StatusCode::BAD_REQUEST, &text)
    })
}

/// A final status; an informational one is no answer.
fn status_code(text: &str) -> Option<StatusCode> {
    let code = text.parse::<u16>().ok().filter(|code| *code >= 200)?;
    StatusCode::from_u16(code).ok()
}

fn events(query: &str) -> Option<Response<Body>> {
    let number = |key: &str, default: u64| {
        query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(name, _)| *name == key)
            .map_or(Some(default), |(_, value)| value.parse().ok())
    };
    let interval = Duration::from_millis(number("interval_ms", 20)?);
    Some(probe::events(number("count", 50)?, interval))
}

/// The answer to HEAD: the length that GET would have had, and no body (RFC 9110 §9.3.2).
fn without_body(mut response: Response<Body>) -> Response<Body> {
    if let Some(length) = response.body().size_hint().exact() {
        response
            .headers_mut()
            .entry(header::CONTENT_LENGTH)
            .or_insert(HeaderValue::from(length));
    }
    *response.body_mut() = body::empty();
    response
}
