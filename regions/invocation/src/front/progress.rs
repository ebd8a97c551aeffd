//! Polls for calls that a late worker, as NVIDIA's are, answered 202 to: by itself when it thought its caller's time over, or
//! early because its container said how far it is. From then on the worker keeps the call, and is asked for it anew.
//!
//! Ours never do that: the service tells them to take their time, and keeps the call (`hold.rs`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use frontdoor_protocol::errand::Wrapping;
use frontdoor_protocol::target::Target;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use prost::Message as _;
use tokio::time::Instant;

use super::api::deliver;
use super::hold::Taken;
use super::invoke::{Times, unix_now};
use super::item::{self, Facts, Form};
use super::{Front, wait};
use crate::attach::body::Body;
use crate::auth::CallHead;
use crate::respond::{Refusal, Staff, Stamp};

/// The worker answers when the caller's window is over; its word is on the way for so long (NVCF's number).
const SLACK: Duration = Duration::from_secs(2);

// === impl Front ===

impl Front {
    /// Answers a poll for what is held nowhere, which is `otherwise` if no late worker has it.
    pub(super) async fn poll_worker(
        &self,
        stamp: &Stamp,
        call: &CallHead<'_>,
        request: &Request<Incoming>,
        window: Duration,
        wrapping: Wrapping,
        otherwise: Refusal,
    ) -> Result<Response<Body>, Refusal> {
        let (began, now) = (Instant::now(), unix_now());
        // A stop waits for what has a place; and what costs NATS a question takes one first.
        let place = self.desk.admit().ok_or(Refusal::Crowded { retry: 1 })?;
        let Some(target) = self.dispatch.tracked(stamp.id).await else {
            return Err(otherwise);
        };
        let caller = self.caller(call, target, Some(&window)).await?;
        let version = self.version(&target, caller.versions.as_deref())?;
        let share = self.accounts.admit(&caller.account);
        let place = place.with(share.map_err(|_| Refusal::AccountCrowded { retry: 1 })?);
        let (call, arrival) = place.seat(stamp.id, version.clone(), None);
        let form = Form::Api {
            path: &version.path,
            life: window,
            unwrapped: None,
        };
        let facts = facts(request);
        let mut work = item::work(stamp.id, &caller, &facts, &self.dispatch.region, now, &form)?;
        work.stateless_config = Some(item::way(&self.attach_url, call.answer_token(), None));
        let question = Bytes::from(work.encode_to_vec());
        let times = Times {
            began,
            since_epoch: now,
            life: window + SLACK,
        };
        let deadline = began + times.life;
        let asked = self.dispatch.ask_worker(stamp.id, question);
        match tokio::time::timeout_at(deadline, asked).await {
            Ok(true) => {}
            Ok(false) | Err(_) => return Err(Refusal::Unacknowledged),
        }
        let arrived = tokio::select! {
            arrived = tokio::time::timeout_at(deadline, arrival) => arrived,
            () = self.phases.cutting() => return Err(Refusal::Draining),
        };
        let arrival = match arrived {
            Ok(arrived) => arrived.map_err(|_| Refusal::WorkerLost)?,
            Err(_) => return Err(wait::too_late(&call, window, Staff::Perhaps)),
        };
        let record = self.record(stamp, Some(target), request);
        let taken = self.begun(record, &Method::GET, call, arrival, &times);
        let taken = taken.await;
        if let Ok(answer) = &taken
            && answer.head.status != StatusCode::ACCEPTED
        {
            // The caller need not wait for NATS to forget it.
            let (dispatch, id) = (Arc::clone(&self.dispatch), stamp.id);
            let untrack = async move { dispatch.untrack(id).await };
            self.aside.run(untrack).await;
        }
        self.hand_out(stamp, target, taken, wrapping).await
    }

    /// Gives an answer to the caller who came for it. If that is a late worker's 202, its worker goes on: whose it is must
    /// be known to whoever asks next.
    pub(super) async fn hand_out(
        &self,
        stamp: &Stamp,
        target: Target,
        taken: Taken,
        wrapping: Wrapping,
    ) -> Result<Response<Body>, Refusal> {
        if let Ok(answer) = &taken
            && !answer.claimed
            && answer.head.status == StatusCode::ACCEPTED
        {
            self.dispatch.track(stamp.id, target, unix_now()).await;
        }
        deliver(stamp, taken, wrapping).await
    }
}

/// The request, without its body.
fn facts(request: &Request<Incoming>) -> Facts {
    let (mut head, ()) = Request::new(()).into_parts();
    head.headers = request.headers().clone();
    Facts {
        head,
        authority: super::authority(request).to_owned(),
    }
}
