//! One call, start to end: who asks for what, may they, is there room, hand it to a worker, pass the answer on.
//!
//! Reads like the list of these steps; each is a function elsewhere. If the caller leaves, hyper drops the future or the
//! response body, and with it the `Call`, which ends everything in order.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use frontdoor_protocol::attach::ResponseHead;
use frontdoor_protocol::headers::{self, Execution};
use frontdoor_protocol::names::RequestId;
use frontdoor_protocol::target::Target;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, Request, Response};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::item::{self, Facts};
use super::wait::{self, Wait};
use super::{Front, Peer, intake};
use crate::attach::body::Body;
use crate::attach::desk::{Arrival, Call, Place};
use crate::attach::{HeadFault, Relay, read_head};
use crate::auth::{CallHead, Caller, Denied};
use crate::dispatch::{Unknown, Version};
use crate::metrics::Metrics;
use crate::pending::Event;
use crate::respond::{self, Outcome, Refusal, Stamp};

/// A call that may wait here.
struct Accepted {
    /// Who calls.
    caller: Caller,
    /// How long they wait.
    patience: Duration,
    /// How much of that a NATS that is away may take.
    outage: Duration,
    version: Arc<Version>,
    place: Place,
}

/// Counts a caller that left before there was an answer: hyper drops our future then, and this with it.
struct Unanswered<'a>(Option<&'a Metrics>);

// === impl Front ===

impl Front {
    /// Serves one call.
    pub(super) async fn invoke(
        &self,
        peer: Peer,
        request: Request<Incoming>,
        target: Target,
    ) -> Response<Body> {
        let stamp = self.stamp(peer, request.headers());
        let mut unanswered = Unanswered(Some(&self.metrics));
        let answer = self.call(&stamp, peer, request, target).await;
        unanswered.0 = None;
        answer.unwrap_or_else(|refusal| self.refuse(&stamp, &refusal))
    }

    async fn call(
        &self,
        stamp: &Stamp,
        peer: Peer,
        request: Request<Incoming>,
        target: Target,
    ) -> Result<Response<Body>, Refusal> {
        let began = Instant::now();
        let now = unix_now();
        let (request, body) = split(request);
        let Accepted {
            caller,
            patience,
            outage,
            version,
            place,
        } = self.accept(peer, &request, target).await?;
        let deadline = began + patience;
        let mut work = item::work(stamp.id, &caller, &request, &self.dispatch.region, now)?;
        let intake = tokio::time::timeout_at(deadline, intake::take(body))
            .await
            .map_err(|_| Refusal::TooLate {
                waited: patience,
                execution: Execution::NotStarted,
            })?
            .map_err(|_| Refusal::BodyBroken)?;
        let (mut call, arrival) = place.seat(stamp.id, version, intake.rest);
        work.request_body = Some(intake.inline);
        work.stateless_config = Some(item::attach(
            &self.attach_url,
            call.answer_token(),
            call.fetch_token(),
        ));
        let wait = Wait {
            dispatch: &self.dispatch,
            phases: &self.phases,
            call: &mut call,
            arrival,
            deadline,
            patience,
            outage,
        };
        let deadline_unix_ms = item::unix_ms(now + patience);
        let mut arrival = wait.worker(stamp.id, deadline_unix_ms, work).await?;
        let read = read_head(&mut arrival.stream);
        let (head, first) = match tokio::time::timeout_at(deadline, read).await {
            Ok(Ok(read)) => read,
            Ok(Err(fault)) => return Err(worker_failed(&call, arrival, fault)),
            Err(_) => return Err(wait::too_late(&call, patience)),
        };
        let took = began.elapsed().as_secs_f64();
        self.metrics.first_byte.observe(took);
        Ok(self.relay(stamp, &request.head.method, head, first, arrival, call))
    }

    /// Decides whether the call may wait here at all; nothing has been done for it until then.
    async fn accept(
        &self,
        peer: Peer,
        request: &Facts,
        target: Target,
    ) -> Result<Accepted, Refusal> {
        let patience = item::patience(&request.head.headers, peer.trusted);
        let caller = self.caller(request, target, patience.as_ref().ok()).await?;
        let patience = patience.map_err(Refusal::Poll)?;
        let allowed = caller.versions.as_deref();
        let version = (self.dispatch.catalog).pick(&target, allowed, rand::random());
        let version = version.map_err(|unknown| match unknown {
            Unknown::Function => Refusal::UnknownFunction,
            Unknown::Version => Refusal::UnknownVersion,
        })?;
        let place = self.desk.admit().ok_or(Refusal::Crowded)?;
        // After the place is taken, so that a drain which does not see this call is seen by it.
        if self.phases.is_draining() {
            return Err(Refusal::Draining);
        }
        // An edge that has another region for the call loses nothing by trying there.
        let outage = match peer.trusted && request.head.headers.contains_key(headers::MOVABLE) {
            true => Duration::ZERO,
            false => self.outage,
        };
        let link = &self.dispatch.link;
        if !link.is_up() && link.down_for() >= outage {
            return Err(Refusal::BusLost(Execution::NotStarted));
        }
        Ok(Accepted {
            caller,
            patience,
            outage,
            version: Arc::clone(version),
            place,
        })
    }

    /// Who calls. Waits for an authority no longer than the caller waits.
    async fn caller(
        &self,
        request: &Facts,
        target: Target,
        patience: Option<&Duration>,
    ) -> Result<Caller, Refusal> {
        let call = CallHead {
            authorization: request.head.headers.get(AUTHORIZATION),
            method: &request.head.method,
            host: &request.authority,
            path: request.head.uri.path(),
        };
        let judged = self.auth.judge(&call, target);
        let patience = patience.copied().unwrap_or(Duration::MAX);
        tokio::time::timeout(patience, judged)
            .await
            .unwrap_or(Err(Denied::Unsure))
            .map_err(Refusal::Denied)
    }

    fn relay(
        &self,
        stamp: &Stamp,
        method: &Method,
        head: ResponseHead,
        first: Option<bytes::Bytes>,
        arrival: Arrival,
        call: Call,
    ) -> Response<Body> {
        tracing::debug!(id = %stamp.id, status = head.status.as_u16(), "answered");
        // Moot only if the caller left, and then hyper drops us next.
        let _ = call.apply(Event::HeadArrived);
        let claimed = arrival.claimed;
        let metrics = Arc::clone(&self.metrics);
        let relay = Relay::new(method, &head, first, arrival, call, metrics);
        respond::container(stamp, head, claimed).map(|()| Body::Relay(Box::new(relay)))
    }

    /// What every answer to this request carries. Only an edge may have named the call already.
    pub(super) fn stamp(&self, peer: Peer, headers: &HeaderMap) -> Stamp {
        let given = headers
            .get(headers::REQUEST_ID)
            .filter(|_| peer.trusted)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.parse().ok());
        Stamp {
            region: self.region.clone(),
            id: given.unwrap_or_else(|| {
                let random = uuid::Builder::from_random_bytes(rand::random());
                RequestId::from_uuid(random.into_uuid())
            }),
        }
    }

    /// Answers, counts and logs a refusal.
    pub(super) fn refuse(&self, stamp: &Stamp, refusal: &Refusal) -> Response<Body> {
        let outcome = refusal.outcome();
        self.metrics.call(outcome);
        let response = respond::refused(stamp, refusal);
        tracing::info!(
            id = %stamp.id,
            status = response.status().as_u16(),
            outcome = outcome.label(),
            "not answered by a function"
        );
        response.map(Body::full)
    }
}

// === impl Unanswered ===

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(metrics) = self.0 {
            metrics.call(Outcome::CallerLeft);
        }
    }
}

fn split(request: Request<Incoming>) -> (Facts, Incoming) {
    let authority = super::authority(&request).to_owned();
    let (head, body) = request.into_parts();
    (Facts { head, authority }, body)
}

fn worker_failed(call: &Call, arrival: Arrival, fault: HeadFault) -> Refusal {
    let _ = call.apply(Event::WorkerLost);
    let refusal = match &fault {
        HeadFault::Lost => Refusal::WorkerLost,
        HeadFault::Malformed(error) => Refusal::WorkerMalformed(error.clone()),
    };
    arrival.refuse(fault);
    refusal
}

fn unix_now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}
