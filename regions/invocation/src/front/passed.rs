//! Polls that reach an instance which does not hold the answer: it finds the one that does, asks whether the caller may have
//! it, and passes poll and answer on. And the other side: telling who asks what is held here.
//!
//! The instance that holds the answer keeps the time: it answers 202 when the caller's window is over, so that an answer
//! which comes in that moment is not given to nobody.

use std::sync::Arc;
use std::time::Duration;

use frontdoor_protocol::headers::{POLL_SECONDS, RELAYED, REMAINING_MS, REQUEST_ID};
use frontdoor_protocol::locate::Told;
use frontdoor_protocol::subject;
use futures_util::StreamExt as _;
use http::{HeaderValue, Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::Front;
use crate::attach::body::Body;
use crate::auth::{CallHead, Denied};
use crate::metrics::Passed;
use crate::respond::{Refusal, Stamp};
use crate::siblings::Located;

/// The other instance may take so much longer than the caller's window to say that it is over.
const SLACK: Duration = Duration::from_secs(2);
/// Pause before subscribing again, should that ever fail.
const SUBSCRIBE_PAUSE: Duration = Duration::from_millis(500);

// === impl Front ===

impl Front {
    /// Answers a poll for what is not held here, `window` from now at the latest.
    pub(super) async fn pass_on(
        &self,
        stamp: &Stamp,
        call: &CallHead<'_>,
        request: &Request<Incoming>,
        window: Duration,
    ) -> Result<Response<Body>, Refusal> {
        let deadline = Instant::now() + window;
        if call.authorization.is_none() {
            return Err(Refusal::Denied(Denied::Missing));
        }
        // A stop waits for what has a place; and what costs NATS a question takes one first.
        let place = self.desk.admit().ok_or(Refusal::Crowded { retry: 1 })?;
        let (holder, target) = match self.siblings.locate(&self.dispatch, stamp.id).await {
            Located::At(holder, target) => (holder, target),
            Located::Alone => return Err(Refusal::NotHeld),
            Located::Nowhere => {
                self.books.metrics.passed(Passed::Nowhere);
                return Err(Refusal::NotHeld);
            }
            Located::Unsure => {
                self.books.metrics.passed(Passed::Silent);
                return Err(Refusal::HolderSilent);
            }
        };
        self.caller(call, target, Some(&window)).await?;
        let mut poll = Request::new(Empty::new());
        *poll.uri_mut() = request.uri().path().parse().map_err(|_| Refusal::NotHeld)?;
        let headers = poll.headers_mut();
        let left = deadline.saturating_duration_since(Instant::now());
        let left = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        headers.insert(REMAINING_MS, HeaderValue::from(left));
        headers.insert(RELAYED, holder.ticket.clone());
        if let Ok(id) = HeaderValue::try_from(stamp.id.to_string()) {
            headers.insert(REQUEST_ID, id);
        }
        if let Some(window) = request.headers().get(POLL_SECONDS) {
            headers.insert(POLL_SECONDS, window.clone());
        }
        let answer = timeout_at(deadline + SLACK, self.siblings.send(&holder, poll));
        let answer = tokio::select! {
            answer = answer => answer.ok().flatten(),
            () = self.phases.cutting() => return Err(Refusal::Draining),
        };
        self.books.metrics.passed(match answer {
            Some(_) => Passed::Answered,
            None => Passed::Silent,
        });
        let (head, body) = answer.ok_or(Refusal::HolderSilent)?.into_parts();
        let mut response = Response::new(Body::Passed(Box::new((body, place))));
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        Ok(response)
    }

    /// Tells the others what is held here, until `stop`.
    pub(crate) async fn tell_what_is_held(self: Arc<Self>, stop: CancellationToken) {
        let tell = async {
            let questions = subject::locate(&self.dispatch.region);
            loop {
                if let Ok(mut asked) = self.dispatch.link.hear(questions.clone()).await {
                    while let Some(question) = asked.next().await {
                        self.tell(question).await;
                    }
                }
                tokio::time::sleep(SUBSCRIBE_PAUSE).await;
            }
        };
        stop.run_until_cancelled(tell).await;
    }

    async fn tell(&self, question: async_nats::Message) {
        let id = std::str::from_utf8(&question.payload).ok();
        let id = id.and_then(|text| text.parse().ok());
        if let (Some(reply), Some(id)) = (question.reply, id) {
            let told = Told {
                service: self.standby.service(),
                held: self.held.find(id).map(|parcel| parcel.target),
            };
            self.dispatch
                .link
                .tell(reply.to_string(), told.encode())
                .await;
        }
    }
}
