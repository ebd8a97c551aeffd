//! The two streams a worker opens back to the invocation service (NVCF's contract): paths, headers, content types, and the
//! inner HTTP/1.1 head that starts the response stream. Encoding and decoding are pure; both ends use them.
//!
//! Ours on top of NVCF's: *attach before execute*. A work item that carries [`crate::envelope::CLAIM_HEADER`] is
//! claimed by opening POST attach with [`CLAIM`]` : 1` before the container is called. The service decides at that moment,
//! atomically with cancel and expiry:
//!
//! * granted: response head 200 with [`CLAIM`]`: granted`, at once, while the request body is still open. The worker
//!   then calls the container and streams head and body. The response body stays empty; its clean end says that
//!   the caller has everything, its early end or reset says that the caller is gone.
//! * refused: 410. The call was cancelled, expired or answered; the worker drops it unexecuted and acks the message.
//! * unknown token: 401, as NVCF. Nobody waits there; the same.
//!
//! And the *short way* ([`handover`]): a worker with a free slot opens POST attach with [`STANDBY`]` : 1` and the
//! service's ticket instead of a call's token, and the service answers when it has a call for it. Choosing the stream is
//! the claim; no queue is involved.

pub mod handover;
pub mod pieces;
pub mod request;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// Path of both attach streams; GET fetches the request, POST brings the response.
pub const PATH: &str = "/v2/nvcf/worker/request-attach";
/// The rest of a request body, or any raw bytes.
pub const OCTETS: &str = "application/octet-stream";
/// Bytes that start with an HTTP/1.1 head.
pub const OCTETS_H1: &str = "application/octet-stream+h1";
/// Header of the claim (ours): `1` asked, `granted` answered.
pub const CLAIM: &str = "frontdoor-claim";
/// Value of [`CLAIM`] in a request.
pub const CLAIM_ASKED: &str = "1";
/// Value of [`CLAIM`] in the answer that lets the worker begin.
pub const CLAIM_GRANTED: &str = "granted";
/// Value of [`CLAIM`] in the head by which a worker gives a handed call back, or takes a standing stream back. It has
/// not been run and will not be, by this stream.
pub const CLAIM_RETURNED: &str = "returned";
/// Header of a standing stream (ours): `1`.
pub const STANDBY: &str = "frontdoor-standby";
/// Which worker a standing stream belongs to (ours): a UUID.
pub const WORKER: &str = "frontdoor-worker";
/// The longest inner head, in bytes (NVCF: about 408 KiB).
pub const HEAD_LIMIT: usize = 408 * 1024;
/// The most inner headers we take. NVCF takes 64 and fails the call above it.
pub const HEADERS_LIMIT: usize = 256;

/// The head of a response as it stands at the start of POST attach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// The container's status.
    pub status: StatusCode,
    /// The container's headers, in order, hop-by-hop headers removed.
    pub headers: HeaderMap,
}

/// What a worker fetches by GET attach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// What of the body is not in the work item.
    Body,
    /// The whole request, of which nothing is in the work item.
    Whole,
}

/// Why the bytes are not a response head.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// No blank line within [`HEAD_LIMIT`].
    #[error("response head longer than {HEAD_LIMIT} bytes")]
    TooLong,
    /// More than [`HEADERS_LIMIT`] headers.
    #[error("more than {HEADERS_LIMIT} response headers")]
    TooManyHeaders,
    /// The first line is not `HTTP/1.1 <code> <reason>`, or, of a request, not `<method> <path> HTTP/1.1`.
    #[error("malformed first line")]
    StatusLine,
    /// A header line that is none, obsolete folding included (RFC 9112 §5.2).
    #[error("malformed header line")]
    Header,
    /// `Transfer-Encoding` inside the stream: there is no inner chunking.
    #[error("transfer-encoding is not allowed inside an attach stream")]
    TransferEncoding,
}

// === impl Form ===

impl Form {
    /// Its content type.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Body => OCTETS,
            Self::Whole => OCTETS_H1,
        }
    }

    /// What a worker with this `Accept` asks for.
    #[must_use]
    pub fn asked(accept: Option<&HeaderValue>) -> Self {
        match accept.is_some_and(|accept| accept.as_bytes() == OCTETS_H1.as_bytes()) {
            true => Self::Whole,
            false => Self::Body,
        }
    }
}

// === impl ResponseHead ===

impl ResponseHead {
    /// The bytes that open POST attach: status line, headers, blank line.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self.status, &self.headers)
    }

    /// Reads a head from the start of `bytes`: the head and how many bytes it took, or `None` if more are needed.
    ///
    /// # Errors
    /// If the bytes can never become a valid head.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, HeadError> {
        let head = decode(bytes, status_line)?;
        Ok(head.map(|(status, headers, length)| (Self { status, headers }, length)))
    }
}

/// The bytes that open POST attach, of a response that nobody else needs as a [`ResponseHead`].
#[must_use]
pub fn encode(status: StatusCode, headers: &HeaderMap) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + headers.len() * 48);
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or("Unknown").as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in headers {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// What both heads are made of: a first line, headers, a blank line. Says also how many bytes it took.
fn decode<T>(
    bytes: &[u8],
    first: impl FnOnce(&[u8]) -> Option<T>,
) -> Result<Option<(T, HeaderMap, usize)>, HeadError> {
    let window = &bytes[..bytes.len().min(HEAD_LIMIT)];
    let Some(end) = window.windows(4).position(|w| w == b"\r\n\r\n") else {
        return if bytes.len() >= HEAD_LIMIT {
            Err(HeadError::TooLong)
        } else {
            Ok(None)
        };
    };
    let mut lines = window[..end]
        .split(|&b| b == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let first = first(lines.next().unwrap_or_default()).ok_or(HeadError::StatusLine)?;
    let mut headers = HeaderMap::new();
    for line in lines {
        if headers.len() == HEADERS_LIMIT {
            return Err(HeadError::TooManyHeaders);
        }
        let (name, value) = header_line(line).ok_or(HeadError::Header)?;
        if name == http::header::TRANSFER_ENCODING {
            return Err(HeadError::TransferEncoding);
        }
        headers.append(name, value);
    }
    Ok(Some((first, headers, end + 4)))
}

fn status_line(line: &[u8]) -> Option<StatusCode> {
    let rest = line
        .strip_prefix(b"HTTP/1.1 ")
        .or_else(|| line.strip_prefix(b"HTTP/1.0 "))?;
    let (code, reason) = rest.split_at_checked(3)?;
    let status = StatusCode::from_bytes(code).ok()?;
    // An informational head has no place here: it would end the stream before the answer.
    ((reason.is_empty() || reason[0] == b' ') && !status.is_informational()).then_some(status)
}

fn header_line(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = line.iter().position(|&b| b == b':')?;
    let name = HeaderName::from_bytes(&line[..colon]).ok()?;
    let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
    Some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: u16, headers: &[(&'static str, &str)]) -> ResponseHead {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).expect("valid"));
        }
        ResponseHead {
            status: StatusCode::from_u16(status).expect("valid"),
            headers: map,
        }
    }

    #[test]
    fn what_was_encoded_is_decoded() {
        for case in [
            head(200, &[]),
            head(
                422,
                &[
                    ("content-type", "application/json"),
                    ("set-cookie", "a=1"),
                    ("set-cookie", "b=2"),
                ],
            ),
            head(599, &[("x-empty", "")]),
        ] {
            let mut bytes = case.encode();
            let length = bytes.len();
            bytes.extend_from_slice(b"body\r\n\r\n");
            assert_eq!(
                ResponseHead::decode(&bytes),
                Ok(Some((case.clone(), length)))
            );
            for cut in 0..length {
                assert_eq!(
                    ResponseHead::decode(&bytes[..cut]),
                    Ok(None),
                    "cut at {cut}"
                );
            }
        }
    }

    #[test]
    fn hundreds_of_headers_pass() {
        let mut bytes = b"HTTP/1.1 200 OK\r\n".to_vec();
        for n in 0..200 {
            bytes.extend_from_slice(format!("x-{n}: {n}\r\n").as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        let (decoded, _) = ResponseHead::decode(&bytes)
            .expect("valid")
            .expect("complete");
        assert_eq!(decoded.headers.len(), 200);
    }

    #[test]
    fn what_is_no_head_is_refused() {
        for (bytes, error) in [
            ("GET / HTTP/1.1\r\n\r\n", HeadError::StatusLine),
            ("HTTP/1.1 20\r\n\r\n", HeadError::StatusLine),
            ("HTTP/1.1 2000 x\r\n\r\n", HeadError::StatusLine),
            ("HTTP/1.1 100 Continue\r\n\r\n", HeadError::StatusLine),
            ("HTTP/1.1 200 OK\r\n folded: x\r\n\r\n", HeadError::Header),
            ("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", HeadError::Header),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                HeadError::TransferEncoding,
            ),
        ] {
            assert_eq!(
                ResponseHead::decode(bytes.as_bytes()),
                Err(error),
                "{bytes}"
            );
        }
        assert_eq!(
            ResponseHead::decode(&vec![b'x'; HEAD_LIMIT]),
            Err(HeadError::TooLong)
        );
    }
}
