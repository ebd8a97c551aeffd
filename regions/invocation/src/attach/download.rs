//! GET attach: a worker fetches the rest of a request body.
//!
//! The caller's own body is handed to the worker's connection, so the caller sends as fast as the worker reads. Served
//! once per call; whole requests (`application/octet-stream+h1`) are not served here yet.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use frontdoor_protocol::attach::{OCTETS, OCTETS_H1};
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use http::{Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use uuid::Uuid;

use super::body::{Body, BodyError};
use super::desk::Desk;
use crate::respond::AttachRefusal;

/// What of a request body did not go into the work item.
pub(crate) struct Rest {
    /// Read already.
    first: Option<Bytes>,
    /// Still to come.
    body: Incoming,
}

// === impl Rest ===

impl Rest {
    /// What was read beyond the work item, and what is still to come.
    pub(crate) const fn new(first: Option<Bytes>, body: Incoming) -> Self {
        Self { first, body }
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        loop {
            return Poll::Ready(match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                // NVCF passes no request trailers on.
                Some(Ok(frame)) if frame.is_trailers() => continue,
                Some(Ok(frame)) => Some(Ok(frame)),
                Some(Err(error)) => Some(Err(BodyError::Caller(error))),
                None => None,
            });
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.body.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let first = u64::try_from(self.first.as_ref().map_or(0, Bytes::len)).unwrap_or(0);
        let body = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower().saturating_add(first));
        if let Some(upper) = body.upper().and_then(|upper| upper.checked_add(first)) {
            hint.set_upper(upper);
        }
        hint
    }
}

/// Answers GET attach.
pub(super) fn fetch(
    desk: &Arc<Desk>,
    token: Uuid,
    request: &Request<Incoming>,
) -> Result<Response<Body>, AttachRefusal> {
    let wants_head = request
        .headers()
        .get(ACCEPT)
        .is_some_and(|accept| accept.as_bytes() == OCTETS_H1.as_bytes());
    if wants_head {
        return Err(AttachRefusal::NotAcceptable);
    }
    let rest = desk.take_rest(token).ok_or(AttachRefusal::Unknown)?;
    let mut response = Response::new(Body::Rest(rest));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(OCTETS));
    Ok(response)
}
