//! The HTTP call into the function container.
//!
//! The request goes as the caller made it (`headers.rs` says what is added), the response comes back as the container
//! made it: no redirect is followed, nothing is compressed or decompressed, nothing is buffered. There is no time
//! limit here: how long a caller waits is the service's to say.

mod headers;
mod http1;

use std::time::Duration;

use http::header::Entry;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, header};
use hyper::body::Incoming;

use crate::body::Body;
use crate::config::{self, Protocol};
use crate::h2c::{Multiplexed, SendError, Tasks};

pub(crate) use headers::{Identity, of_answer, of_request};
pub(crate) use http1::Lease;

use http1::Connections;

/// The container beside this worker.
#[derive(Debug)]
pub(crate) struct Container {
    authority: Authority,
    transport: Transport,
}

#[derive(Debug)]
enum Transport {
    Http1(Connections),
    H2c(Multiplexed),
}

/// Why the container gave no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// It provably never got the call.
    #[error("the container cannot be reached: {0}")]
    NotStarted(String),
    /// It may have got the call.
    #[error("the container gave no answer: {0}")]
    Started(String),
}

// === impl Container ===

impl Container {
    pub(crate) fn new(settings: &config::Container, tasks: Tasks, ping: Duration) -> Self {
        let authority = settings.authority.clone();
        let transport = match settings.protocol {
            Protocol::Http1 => Transport::Http1(Connections::new(authority.clone(), tasks)),
            Protocol::H2c => Transport::H2c(Multiplexed::new(authority.clone(), tasks, ping)),
        };
        Self {
            authority,
            transport,
        }
    }

    /// Makes a call and returns with the head of its response; and with its connection unless others share that, to be given
    /// back when the response has been read.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: PathAndQuery,
        mut headers: HeaderMap,
        body: Body,
    ) -> Result<(Response<Incoming>, Option<Lease>), CallError> {
        match &self.transport {
            Transport::Http1(connections) => {
                if let Entry::Vacant(host) = headers.entry(header::HOST)
                    && let Ok(authority) = HeaderValue::from_str(self.authority.as_str())
                {
                    host.insert(authority);
                }
                let mut request = Request::new(body);
                // CONNECT alone names no path (RFC 9112 §3.2.3).
                *request.uri_mut() = match method {
                    Method::CONNECT => Uri::from(self.authority.clone()),
                    _ => Uri::from(path),
                };
                *request.method_mut() = method;
                *request.headers_mut() = headers;
                let (response, lease) = connections.send(request).await.map_err(call_error)?;
                Ok((response, Some(lease)))
            }
            Transport::H2c(connection) => {
                // The caller's host travels as `:authority`; sending both could contradict (RFC 9113 §8.3.1).
                let host = headers.remove(header::HOST);
                let host = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
                let authority = host.unwrap_or_else(|| self.authority.clone());
                let request = request(method, authority, path, headers, body);
                let response = connection.send(request).await.map_err(call_error)?;
                Ok((response, None))
            }
        }
    }
}

/// A response has been read to its end, or nothing more of it will be.
pub(crate) fn give_back(lease: Option<Lease>) {
    if let Some(lease) = lease {
        lease.give_back();
    }
}

fn call_error(error: SendError) -> CallError {
    match error {
        SendError::NotSent(..) => CallError::NotStarted(error.to_string()),
        SendError::Lost(_) => CallError::Started(causes(&error)),
    }
}

fn request(
    method: Method,
    authority: Authority,
    path: PathAndQuery,
    headers: HeaderMap,
    body: Body,
) -> Request<Body> {
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(Scheme::HTTP);
    uri.authority = Some(authority);
    uri.path_and_query = Some(path);
    let mut request = Request::new(body);
    *request.method_mut() = method;
    // Scheme, authority and path are all there, so the parts make a URI.
    *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
    *request.headers_mut() = headers;
    request
}

/// An error with its causes: hyper's own text is only the outermost.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
