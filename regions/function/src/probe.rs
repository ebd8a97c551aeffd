//! Paths that behave as their name says: answer a status, sleep, stream bytes or events, break off, talk in both
//! directions. Each is one function from request to answer.

use std::time::Duration;
use std::{collections::VecDeque, io};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::body::{self, Body};
use crate::echo;
use crate::journal::unix_us;

/// A line of `/ping-pong` may be this long.
const LINE_LIMIT: usize = 64 * 1024;
/// What `/bytes` repeats: every byte value once, so that a shifted or lost block changes the checksum.
const PATTERN: [u8; 251] = pattern();

const fn pattern() -> [u8; 251] {
    let mut bytes = [0; 251];
    let mut at = 0_u8;
    while at < 251 {
        bytes[at as usize] = at;
        at += 1;
    }
    bytes
}

/// That status, with the request's body or, without one, a JSON error.
pub(crate) fn status(code: StatusCode, request: Request<Incoming>) -> Response<Body> {
    let (head, incoming) = request.into_parts();
    let mut response = if incoming.is_end_stream() {
        body::error(code, code.canonical_reason().unwrap_or("as you asked"))
    } else {
        let length = incoming.size_hint().exact();
        let same = incoming.map_err(io::Error::other).boxed_unsync();
        echo::same(&head.headers, length, same)
    };
    *response.status_mut() = code;
    if code == StatusCode::NO_CONTENT || code == StatusCode::NOT_MODIFIED {
        response.headers_mut().remove(header::CONTENT_LENGTH);
        *response.body_mut() = body::empty();
    }
    response
}

/// `n` more headers, `x-extra-0` and so on.
pub(crate) fn headers(n: usize) -> Response<Body> {
    let mut response = body::ok("application/json", body::full("{}"));
    for k in 0..n {
        if let Ok(name) = HeaderName::try_from(format!("x-extra-{k}")) {
            response.headers_mut().insert(name, HeaderValue::from(k));
        }
    }
    response
}

/// `n` bytes of a fixed pattern, streamed.
pub(crate) fn bytes(n: u64) -> Response<Body> {
    let body = body::chunks(body::repeated(&PATTERN, n));
    body::ok("application/octet-stream", body)
}

/// An answer after `ms` milliseconds.
pub(crate) async fn sleep(ms: u64) -> Response<Body> {
    tokio::time::sleep(Duration::from_millis(ms)).await;
    let json = serde_json::json!({ "slept_ms": ms }).to_string();
    body::ok("application/json", body::full(json))
}

/// `n` bytes, then a broken connection.
pub(crate) fn abort_after(n: u64) -> Response<Body> {
    // The pause lets what was written reach the wire; otherwise it could be thrown away with the connection.
    let broken = stream::once(async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Err(io::Error::other("broken off as asked"))
    });
    let body = body::chunks(body::repeated(&PATTERN, n).chain(broken));
    body::ok("application/octet-stream", body)
}

/// 302 to somewhere else.
pub(crate) fn redirect() -> Response<Body> {
    let mut response = body::error(StatusCode::FOUND, "elsewhere");
    response
        .headers_mut()
        .insert(header::LOCATION, HeaderValue::from_static("/health"));
    response
}

/// `count` events, `interval` apart, each with the time it was written.
pub(crate) fn events(count: u64, interval: Duration) -> Response<Body> {
    let start = tokio::time::Instant::now();
    body::events(body::chunks(stream::unfold(0, move |n| async move {
        if n == count {
            return None;
        }
        // Measured from the start, so that the pace does not drift with the time that writing takes.
        let steps = u32::try_from(n).unwrap_or(u32::MAX);
        tokio::time::sleep_until(start + interval.saturating_mul(steps)).await;
        let event = format!("data: {{\"n\":{n},\"at_us\":{}}}\n\n", unix_us());
        Some((Ok(Bytes::from(event)), n + 1))
    })))
}

/// Answers each line `ping` with `pong` while the request is still being sent; other lines come back.
pub(crate) fn ping_pong(request: Request<Incoming>) -> Response<Body> {
    let lines = Lines {
        incoming: request.into_body(),
        partial: BytesMut::new(),
        ready: VecDeque::new(),
    };
    let answers = stream::try_unfold(lines, |mut lines| async move {
        Ok(lines.next().await?.map(|answer| (answer, lines)))
    });
    body::ok("text/plain", body::chunks(answers))
}

/// A request body cut into lines.
struct Lines {
    incoming: Incoming,
    partial: BytesMut,
    ready: VecDeque<Bytes>,
}

// === impl Lines ===

impl Lines {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(answer) = self.ready.pop_front() {
                return Ok(Some(answer));
            }
            let Some(frame) = self.incoming.frame().await else {
                let last = self.partial.split();
                return Ok((!last.is_empty()).then(|| pong(&last)));
            };
            if let Ok(data) = frame.map_err(io::Error::other)?.into_data() {
                self.partial.extend_from_slice(&data);
            }
            while let Some(end) = self.partial.iter().position(|&byte| byte == b'\n') {
                let line = self.partial.split_to(end + 1);
                self.ready.push_back(pong(&line[..end]));
            }
            if self.partial.len() > LINE_LIMIT {
                return Err(io::Error::other("line too long"));
            }
        }
    }
}

fn pong(line: &[u8]) -> Bytes {
    match line.trim_ascii() {
        b"ping" => Bytes::from_static(b"pong\n"),
        other => [other, b"\n"].concat().into(),
    }
}
