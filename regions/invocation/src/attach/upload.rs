//! POST attach: a worker claims a call and brings its answer, or, as NVIDIA's do, brings the answer in one go.
//!
//! The worker's stream itself is handed to the caller's side; this file only says who may, and tells the worker how it
//! ended. With a claim the head of our response goes out at once and its end tells the rest; without one, our response
//! is held back until the caller is served or gone.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use frontdoor_protocol::attach::{CLAIM, CLAIM_GRANTED};
use http::header::HeaderValue;
use http::{Request, Response};
use http_body::Frame;
use hyper::body::Incoming;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::body::{Body, BodyError};
use super::closing::{Close, Closing};
use super::desk::{Arrival, Desk};
use super::standby::Share;
use super::{HeadFault, asks_claim};
use crate::metrics::{Attach, Metrics};
use crate::pending::Event;
use crate::respond::AttachRefusal;

/// The response body of a granted claim: empty but for a call that is handed over, open until the caller is served,
/// broken if the caller left.
pub(crate) struct Granted {
    handed: Option<(Bytes, Arc<Share>)>,
    closed: oneshot::Receiver<Closing>,
}

// === impl Granted ===

impl Granted {
    const fn claimed(closed: oneshot::Receiver<Closing>) -> Self {
        Self {
            handed: None,
            closed,
        }
    }

    /// A standing stream that got a call.
    pub(super) const fn handed(
        frame: Bytes,
        closed: oneshot::Receiver<Closing>,
        share: Arc<Share>,
    ) -> Self {
        Self {
            handed: Some((frame, share)),
            closed,
        }
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some((frame, share)) = self.handed.take() {
            // Before the worker can see it: from here on nobody may say that it did not.
            share.asked.store(true, Ordering::SeqCst);
            return Poll::Ready(Some(Ok(Frame::data(frame))));
        }
        Poll::Ready(match ready!(Pin::new(&mut self.closed).poll(cx)) {
            Ok(Closing::Complete) => None,
            Ok(Closing::Malformed(_)) => Some(Err(BodyError::Malformed)),
            Err(_) => Some(Err(BodyError::CallerLeft)),
        })
    }
}

/// Answers POST attach.
pub(super) async fn bring(
    desk: &Arc<Desk>,
    metrics: &Metrics,
    token: Uuid,
    request: Request<Incoming>,
) -> Result<Response<Body>, AttachRefusal> {
    let claims = asks_claim(&request);
    // NVIDIA's workers know 401 for all of it.
    let over = || match claims {
        true => AttachRefusal::Over,
        false => AttachRefusal::Unknown,
    };
    let found = desk.find_answer(token).ok_or(AttachRefusal::Unknown)?;
    if !claims {
        // It ran the call, also one that is over by now: what is slow would else never be seen to run.
        match &found {
            Ok(entry) => entry.version().saw_late_worker(),
            Err(version) => version.saw_late_worker(),
        }
    }
    let entry = found.map_err(|_| over())?;
    entry.apply(desk, Event::Claim).map_err(|_| over())?;
    let (closing, closed) = oneshot::channel();
    let arrival = Arrival::new(request.into_body(), claims, Close::at_once(closing));
    // The caller left between the two: its side has cancelled the call by then.
    entry.hand_over(arrival).map_err(|_| over())?;
    if claims {
        metrics.attach(Attach::Claimed);
        let mut response = Response::new(Body::Granted(Granted::claimed(closed)));
        response
            .headers_mut()
            .insert(CLAIM, HeaderValue::from_static(CLAIM_GRANTED));
        return Ok(response);
    }
    metrics.attach(Attach::Late);
    match closed.await {
        Ok(Closing::Malformed(HeadFault::Malformed(error))) => Err(AttachRefusal::Malformed(error)),
        Ok(Closing::Malformed(HeadFault::Lost)) => Err(AttachRefusal::Truncated),
        // NVCF says 200 to a worker whose caller left, too: there is nothing it could do about it.
        Ok(Closing::Complete) | Err(_) => Ok(Response::new(Body::empty())),
    }
}
