//! GET attach: a worker fetches the rest of a request body, or, where the caller wanted that, the whole request.
//!
//! The caller's own body is handed to the worker's connection, so the caller sends as fast as the worker reads. Served
//! once per call, in the one form in which it is there: raw bytes, or bytes that start with an HTTP/1.1 head.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use frontdoor_protocol::attach::Form;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use http::{Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use uuid::Uuid;

use super::body::{Body, BodyError};
use super::desk::Desk;
use crate::respond::AttachRefusal;

/// What of a request did not go into the work item.
pub(crate) struct Rest {
    /// Read already.
    first: Option<Bytes>,
    /// Still to come.
    body: Option<Incoming>,
    /// In which form it is fetched.
    form: Form,
    ending: Arc<Ending>,
}

/// Whether a body needs its caller's connection no more.
#[derive(Debug, Default)]
pub(crate) struct Ending(AtomicBool);

// === impl Rest ===

impl Rest {
    /// What was read beyond the work item, and what is still to come.
    pub(crate) fn new(first: Option<Bytes>, body: Incoming) -> Self {
        Self {
            first,
            body: Some(body),
            form: Form::Body,
            ending: Arc::default(),
        }
    }

    /// A request of which nothing is in the work item: its head, and the body behind it.
    pub(crate) fn whole(head: Vec<u8>, body: Incoming) -> Self {
        let ended = body.is_end_stream();
        Self {
            first: Some(head.into()),
            body: Some(body),
            form: Form::Whole,
            ending: Arc::new(Ending(AtomicBool::new(ended))),
        }
    }

    /// All of it is here.
    pub(crate) fn here(bytes: Bytes) -> Self {
        Self {
            first: Some(bytes),
            body: None,
            form: Form::Body,
            ending: Arc::new(Ending(AtomicBool::new(true))),
        }
    }

    pub(super) const fn form(&self) -> Form {
        self.form
    }

    /// Tells later whether it was read to its end.
    pub(crate) fn ending(&self) -> Arc<Ending> {
        Arc::clone(&self.ending)
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        loop {
            let Some(body) = &mut self.body else {
                return Poll::Ready(None);
            };
            return Poll::Ready(match ready!(Pin::new(body).poll_frame(cx)) {
                // NVCF passes no request trailers on.
                Some(Ok(frame)) if frame.is_trailers() => continue,
                Some(Ok(frame)) => Some(Ok(frame)),
                Some(Err(error)) => Some(Err(BodyError::Caller(error))),
                None => {
                    self.ending.0.store(true, Ordering::Release);
                    None
                }
            });
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.body.as_ref().is_none_or(|body| body.is_end_stream())
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let first = u64::try_from(self.first.as_ref().map_or(0, Bytes::len)).unwrap_or(0);
        let body = match &self.body {
            Some(body) => body.size_hint(),
            None => SizeHint::with_exact(0),
        };
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower().saturating_add(first));
        if let Some(upper) = body.upper().and_then(|upper| upper.checked_add(first)) {
            hint.set_upper(upper);
        }
        hint
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        // A connection may stop asking once the announced length is reached.
        if self.is_end_stream() {
            self.ending.0.store(true, Ordering::Release);
        }
    }
}

// === impl Ending ===

impl Ending {
    /// Whether it does not.
    pub(crate) fn is_over(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Answers GET attach.
pub(super) fn fetch(
    desk: &Arc<Desk>,
    token: Uuid,
    request: &Request<Incoming>,
) -> Result<Response<Body>, AttachRefusal> {
    let form = Form::asked(request.headers().get(ACCEPT));
    let rest = desk.take_rest(token, form)?;
    let mut response = Response::new(Body::Rest(rest));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(form.content_type()));
    Ok(response)
}
