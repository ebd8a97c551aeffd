//! `POST /echo`: the contract of NVIDIA's sample function. JSON `{message, repeats, delay, size, stream}` asks for an
//! answer; a body that asks for nothing comes back as it came.
//!
//! Only the start of a body is ever held in memory: what is longer cannot be such a JSON and is streamed back.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;

use crate::body::{self, Body};

/// A JSON order may be this long.
const ORDER_LIMIT: usize = 1024 * 1024;
/// A body that is sent back as events is cut into this many.
const PIECES: usize = 4;
/// Filler for `size`.
const FILLER: &[u8] = b"frontdoor ";

/// What the caller may ask for.
#[derive(Debug, Deserialize)]
struct Order {
    message: Option<String>,
    #[serde(default = "once")]
    repeats: u64,
    /// Seconds before the answer; before each event when streaming.
    #[serde(default)]
    delay: f64,
    /// Bytes of filler instead of a message.
    size: Option<u64>,
    /// `false` answers whole even to a caller who accepts events.
    stream: Option<bool>,
}

const fn once() -> u64 {
    1
}

/// Answers the call.
pub(crate) async fn echo(request: Request<Incoming>) -> Response<Body> {
    let (head, mut rest) = request.into_parts();
    let length = rest.size_hint().exact();
    let wants_events = accepts_events(&head.headers);
    let Ok((start, complete)) = read_start(&mut rest).await else {
        return body::error(StatusCode::BAD_REQUEST, "the request body broke off");
    };
    if complete {
        match serde_json::from_slice::<Order>(&start) {
            Ok(order) if order.message.is_some() || order.size.is_some() => {
                return answer(&order, wants_events).await;
            }
            _ if wants_events => return body::events(pieces(&start)),
            _ => {}
        }
    }
    let tail = rest
        .into_data_stream()
        .map(|chunk| chunk.map_err(std::io::Error::other));
    same(
        &head.headers,
        length,
        body::chunks(stream::iter([Ok(start)]).chain(tail)),
    )
}

/// Exactly this type, as in NVIDIA's sample: a list that contains it does not count.
fn accepts_events(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT)
        .is_some_and(|value| value.as_bytes() == b"text/event-stream")
}

/// The first bytes of a body, and whether they are all of it.
async fn read_start(body: &mut Incoming) -> Result<(Bytes, bool), hyper::Error> {
    let mut start = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            start.extend_from_slice(&data);
        }
        if start.len() > ORDER_LIMIT {
            return Ok((start.freeze(), false));
        }
    }
    Ok((start.freeze(), true))
}

async fn answer(order: &Order, wants_events: bool) -> Response<Body> {
    let delay = Duration::try_from_secs_f64(order.delay).unwrap_or_default();
    let (pattern, once) = match (&order.message, order.size) {
        (Some(message), _) => (message.as_bytes(), message.len() as u64),
        (None, size) => (FILLER, size.unwrap_or_default()),
    };
    if wants_events && order.stream != Some(false) {
        return body::events(repeat_events(pattern, once, order.repeats, delay));
    }
    tokio::time::sleep(delay).await;
    let length = once.saturating_mul(order.repeats);
    let mut response = body::ok("text/plain", body::chunks(body::repeated(pattern, length)));
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}

/// One event is `once` bytes of `pattern`, but never more than an order may be long.
fn repeat_events(pattern: &[u8], once: u64, repeats: u64, delay: Duration) -> Body {
    let once = usize::try_from(once).map_or(ORDER_LIMIT, |once| once.min(ORDER_LIMIT));
    let text: Vec<u8> = pattern.iter().copied().cycle().take(once).collect();
    let event = event(&String::from_utf8_lossy(&text));
    body::chunks(stream::unfold(repeats, move |left| {
        let event = event.clone();
        async move {
            let left = left.checked_sub(1)?;
            tokio::time::sleep(delay).await;
            Some((Ok(event), left))
        }
    }))
}

/// A body as a few events, cut between characters.
fn pieces(text: &[u8]) -> Body {
    let chars: Vec<char> = String::from_utf8_lossy(text).chars().collect();
    let events: Vec<_> = chars
        .chunks(chars.len().div_ceil(PIECES).max(1))
        .map(|piece| Ok(event(&piece.iter().collect::<String>())))
        .collect();
    body::chunks(stream::iter(events))
}

/// One server-sent event; each line of the text is a `data:` line of its own.
fn event(text: &str) -> Bytes {
    let mut event = String::with_capacity(text.len() + 8);
    for line in text.split('\n') {
        event.push_str("data: ");
        event.push_str(line);
        event.push('\n');
    }
    event.push('\n');
    event.into()
}

/// The body as it came, with its type and, if known, its length.
pub(crate) fn same(request: &HeaderMap, length: Option<u64>, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    if let Some(kind) = request.get(header::CONTENT_TYPE) {
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, kind.clone());
    }
    if let Some(length) = length {
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}
