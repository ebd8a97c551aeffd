//! Bodies of answers: empty, whole, repeated to any length without buffering, or any stream of chunks.
//!
//! Every answer of this crate has the one type [`Body`]. An error in a body breaks the connection (HTTP/1.1) or resets
//! the stream (HTTP/2), so that the reader can tell it from a clean end.

use std::io;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};

/// The body of every answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Repeated content is written in blocks of about this size.
const BLOCK: usize = 64 * 1024;

/// No bytes at all.
pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// Bytes that are at hand.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// One frame for each chunk.
pub(crate) fn chunks<S>(chunks: S) -> Body
where
    S: Stream<Item = io::Result<Bytes>> + Send + 'static,
{
    StreamBody::new(chunks.map(|chunk| chunk.map(Frame::data))).boxed_unsync()
}

/// `pattern`, again and again, cut off after `length` bytes.
pub(crate) fn repeated(
    pattern: &[u8],
    length: u64,
) -> impl Stream<Item = io::Result<Bytes>> + use<> {
    let copies = (BLOCK / pattern.len().max(1)).max(1);
    let block = Bytes::from(pattern.repeat(copies));
    let left = if block.is_empty() { 0 } else { length };
    stream::unfold(left, move |left| {
        let take = usize::try_from(left).map_or(block.len(), |left| left.min(block.len()));
        let chunk = block.slice(..take);
        async move { (take > 0).then(|| (Ok(chunk), left - take as u64)) }
    })
}

/// 200 with a content type.
pub(crate) fn ok(content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// 200 with server-sent events.
pub(crate) fn events(body: Body) -> Response<Body> {
    let mut response = ok("text/event-stream", body);
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// `{"error": …}` with a status.
pub(crate) fn error(status: StatusCode, text: &str) -> Response<Body> {
    let json = serde_json::json!({ "error": text }).to_string();
    let mut response = ok("application/json", full(json));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn repeats_to_any_length() {
        for (pattern, length, expected) in [
            ("abc", 7, "abcabca"),
            ("abc", 0, ""),
            ("", 7, ""),
            ("a", 1, "a"),
        ] {
            let body = chunks(repeated(pattern.as_bytes(), length));
            let bytes = body.collect().await.expect("body").to_bytes();
            assert_eq!(bytes, expected, "{pattern} to {length}");
        }
        let long = chunks(repeated(b"xyz", 1_000_000)).collect().await;
        assert_eq!(long.expect("body").to_bytes().len(), 1_000_000);
    }
}
