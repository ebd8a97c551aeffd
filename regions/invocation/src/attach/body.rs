//! The one body type of all our responses: bytes at hand, a worker's answer, another instance's, a caller's request, or
//! a granted claim.
//!
//! Only tells them apart; each is polled where it lives. Given to hyper by `front.rs`.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

use super::desk::Place;
use super::download::Rest;
use super::relay::Relay;
use super::some;
use super::upload::Granted;

/// A response body.
pub(crate) enum Body {
    /// Bytes at hand.
    Full(Option<Bytes>),
    /// To a caller: a worker's answer.
    Relay(Box<Relay>),
    /// To a caller: what another instance answers, for which a place is taken here.
    Passed(Box<(Incoming, Place)>),
    /// To a worker: the rest of a caller's request.
    Rest(Rest),
    /// To a worker: the open end of a claim.
    Granted(Granted),
}

/// Why a body ended early. hyper turns it into a reset stream or an unfinished chunk; nobody reads its words but logs.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// To a worker.
    #[error("the caller's request body broke off")]
    Caller(#[source] hyper::Error),
    /// To a worker.
    #[error("the caller left")]
    CallerLeft,
    /// To a worker.
    #[error("the stream did not begin with the head of an answer")]
    Malformed,
    /// To a caller.
    #[error("the worker's answer broke off")]
    WorkerLost,
    /// To a caller.
    #[error("the answer of another instance broke off")]
    Passed(#[source] hyper::Error),
}

// === impl Body ===

impl Body {
    /// No bytes.
    pub(crate) const fn empty() -> Self {
        Self::Full(None)
    }

    /// These bytes.
    pub(crate) fn full(bytes: Bytes) -> Self {
        Self::Full(some(bytes))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Relay(relay) => relay.poll_frame(cx),
            Self::Passed(passed) => Pin::new(&mut passed.0)
                .poll_frame(cx)
                .map_err(BodyError::Passed),
            Self::Rest(rest) => rest.poll_frame(cx),
            Self::Granted(granted) => granted.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.is_none(),
            Self::Relay(relay) => relay.is_end_stream(),
            Self::Passed(passed) => passed.0.is_end_stream(),
            Self::Rest(rest) => rest.is_end_stream(),
            Self::Granted(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => {
                let length = bytes.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
            }
            Self::Rest(rest) => rest.size_hint(),
            Self::Passed(passed) => passed.0.size_hint(),
            // Their lengths, where known, are in the container's headers; a claim has none.
            Self::Relay(_) | Self::Granted(_) => SizeHint::default(),
        }
    }
}
