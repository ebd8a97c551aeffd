//! The inner HTTP/1.1 head that starts a whole request by GET attach ([`super::OCTETS_H1`]): request line, headers, blank
//! line. The body follows as it is, without inner chunking.
//!
//! Nothing of such a call but ids and tokens goes through NATS. The service writes the head, the worker reads it; both are
//! pure.

use http::uri::PathAndQuery;
use http::{HeaderMap, Method};

use super::{HeadError, decode};

/// The head of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// The caller's method.
    pub method: Method,
    /// Path and query.
    pub path: PathAndQuery,
    /// The caller's headers, in order, hop-by-hop headers removed.
    pub headers: HeaderMap,
}

/// The bytes of a head. Nothing in it may hold a line break: what came in over HTTP cannot.
#[must_use]
pub fn encode<'a>(
    method: &str,
    path: &str,
    headers: impl Iterator<Item = (&'a str, &'a str)>,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    for part in [method, " ", path, " HTTP/1.1\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    for (name, value) in headers {
        for part in [name, ": ", value, "\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
    out
}

// === impl RequestHead ===

impl RequestHead {
    /// Reads a head from the start of `bytes`: the head and how many bytes it took, or `None` if more are needed.
    ///
    /// # Errors
    /// If the bytes can never become a valid head.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, HeadError> {
        let head = decode(bytes, request_line)?;
        Ok(head.map(|((method, path), headers, length)| {
            let head = Self {
                method,
                path,
                headers,
            };
            (head, length)
        }))
    }
}

fn request_line(line: &[u8]) -> Option<(Method, PathAndQuery)> {
    let line = std::str::from_utf8(line).ok()?;
    let (method, rest) = line.split_once(' ')?;
    let (path, version) = rest.rsplit_once(' ')?;
    // What is read of it must be all of it: a fragment would be dropped without a word, and a target without a path be one.
    let whole = path.starts_with('/') || path == "*";
    let path = PathAndQuery::try_from(path)
        .ok()
        .filter(|read| whole && read.as_str() == path)?;
    let known = matches!(version, "HTTP/1.1" | "HTTP/1.0");
    Some((method.parse().ok().filter(|_| known)?, path))
}

#[cfg(test)]
mod tests {
    use super::super::HEAD_LIMIT;
    use super::*;

    #[test]
    fn what_was_encoded_is_decoded() {
        let headers = [("host", "f.example"), ("x-a", "1"), ("x-a", "grüße")];
        let mut bytes = encode("PUT", "/a?b=%20", headers.into_iter());
        let length = bytes.len();
        assert!(bytes.starts_with(b"PUT /a?b=%20 HTTP/1.1\r\nhost: f.example\r\n"));
        bytes.extend_from_slice(b"body\r\n\r\n");
        let (head, read) = RequestHead::decode(&bytes)
            .expect("valid")
            .expect("complete");
        assert_eq!((head.method.as_str(), read), ("PUT", length));
        assert_eq!(head.path, "/a?b=%20");
        assert_eq!(head.headers.get_all("x-a").iter().count(), 2);
        for cut in 0..length {
            assert_eq!(RequestHead::decode(&bytes[..cut]), Ok(None), "cut at {cut}");
        }
    }

    #[test]
    fn what_is_no_head_is_refused() {
        for (bytes, error) in [
            ("HTTP/1.1 200 OK\r\n\r\n", HeadError::StatusLine),
            ("GET /\r\n\r\n", HeadError::StatusLine),
            ("GET http://a/ HTTP/1.1\r\n\r\n", HeadError::StatusLine),
            ("GET a HTTP/1.1\r\n\r\n", HeadError::StatusLine),
            ("GET #a HTTP/1.1\r\n\r\n", HeadError::StatusLine),
            ("GET /a#b HTTP/1.1\r\n\r\n", HeadError::StatusLine),
            ("GET ?a HTTP/1.1\r\n\r\n", HeadError::StatusLine),
            ("G T / HTTP/1.1\r\n\r\n", HeadError::StatusLine),
            ("GET / HTTP/2\r\n\r\n", HeadError::StatusLine),
            ("GET / HTTP/1.1\r\n folded: x\r\n\r\n", HeadError::Header),
            (
                "GET / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
                HeadError::TransferEncoding,
            ),
        ] {
            assert_eq!(RequestHead::decode(bytes.as_bytes()), Err(error), "{bytes}");
        }
        let long = vec![b'x'; HEAD_LIMIT];
        assert_eq!(RequestHead::decode(&long), Err(HeadError::TooLong));
    }
}
