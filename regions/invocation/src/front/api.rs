//! NVCF's API: calls by path (`pexec`, `exec`), and polls for those that took longer than their callers waited.
//!
//! A call made here runs in a task of its own (`hold.rs`). If its answer begins within the caller's window it is passed on
//! as any other; if not, the caller gets 202 and comes back with the id. What is asked for where it is not held is found at
//! the region's other instances (`passed.rs`), or answered 404 as not started, so that an edge which does not know the
//! region asks the next.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use frontdoor_protocol::errand::Wrapping;
use frontdoor_protocol::headers::{Execution, INPUT_ASSETS, PERCENT_COMPLETE};
use frontdoor_protocol::names::RequestId;
use frontdoor_protocol::poll;
use frontdoor_protocol::target::Target;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::hold::{NotYet, Parcel, Taken};
use super::intake::{self, Intake};
use super::invoke::{Answer, Times, Unanswered, split, take_in, unix_now};
use super::item::{self, Form};
use super::wrap::{self, Unwrapped};
use super::{Front, Peer};
use crate::attach::Rest;
use crate::attach::body::Body;
use crate::auth::CallHead;
use crate::record::Record;
use crate::respond::{self, Refusal, Staff, Stamp};

/// The most that may be wrapped (NVCF: 2 MiB).
const WRAPPED: usize = 2 * 1024 * 1024;
/// The longest answer that is wrapped (NVCF: 5 MiB).
const TO_WRAP: usize = 5 * 1024 * 1024;

// === impl Front ===

impl Front {
    /// Serves a call by path.
    pub(super) async fn invoke_by_path(
        self: &Arc<Self>,
        peer: Peer,
        request: Request<Incoming>,
        target: Target,
        wrapping: Wrapping,
    ) -> Response<Body> {
        let stamp = self.stamp(peer, request.headers());
        let record = self.record(&stamp, Some(target), &request);
        let mut unanswered = Unanswered::new(&record);
        let answer = self
            .windowed(&record, &stamp, peer, request, (target, wrapping))
            .await;
        unanswered.disarm();
        answer.unwrap_or_else(|refusal| self.refuse(&record, &stamp, &refusal))
    }

    /// Serves a poll.
    pub(super) async fn poll(
        &self,
        peer: Peer,
        request: &Request<Incoming>,
        id: RequestId,
        wrapping: Wrapping,
    ) -> Response<Body> {
        let region = self.region.clone();
        let stamp = Stamp { region, id };
        let record = self.record(&stamp, None, request);
        let answer = self.polled(&stamp, peer, request, wrapping).await;
        answer.unwrap_or_else(|refusal| self.refuse(&record, &stamp, &refusal))
    }

    async fn windowed(
        self: &Arc<Self>,
        record: &Arc<Record>,
        stamp: &Stamp,
        peer: Peer,
        request: Request<Incoming>,
        (target, wrapping): (Target, Wrapping),
    ) -> Result<Response<Body>, Refusal> {
        let (began, now) = (Instant::now(), unix_now());
        let (mut request, body) = split(request);
        record.continue_trace(&mut request.head.headers);
        if request.head.headers.contains_key(INPUT_ASSETS) {
            return Err(Refusal::Assets);
        }
        let accept = request.head.headers.get(ACCEPT);
        let default = poll::api_default(accept.map(HeaderValue::as_bytes));
        let accepted = self.accept(peer, &request, target, default).await?;
        let mut window = accepted.patience;
        // Only what is inside of JSON must be read before it can be passed on.
        let inside = match wrapping {
            Wrapping::None => Err(body),
            Wrapping::Json => Ok(unwrap(body, began + window, window).await?),
        };
        if let Ok(inside) = &inside {
            window = inside.window.map_or(window, |asked| asked.min(window));
        }
        let life = window + self.held.keep;
        let called = Target {
            version: Some(accepted.version.id),
            ..target
        };
        let form = Form::Api {
            path: &accepted.version.path,
            life,
            unwrapped: inside.as_ref().ok().map(|inside| inside.body.len()),
        };
        let region = &self.dispatch.region;
        let mut work = item::work(stamp.id, &accepted.caller, &request, region, now, &form)?;
        let intake = match inside {
            Ok(inside) => Intake::of(inside.body),
            Err(body) if item::wants_streamed(&request.head.headers) => {
                intake::leave(item::take_head(&mut work)?, body)
            }
            Err(body) => take_in(body, began + window, window).await?,
        };
        let ended = intake.rest.as_ref().map(Rest::ending);
        let method = request.head.method;
        let times = Times {
            began,
            since_epoch: now,
            life,
        };
        let record = Arc::clone(record);
        let call = self.seat(record, stamp.id, method, accepted, work, (intake, times));
        let parcel = self.held.begin(self, called, call);
        match parcel.ask(began + window).await {
            Ok(taken) => self.hand_out(stamp, called, taken, wrapping).await,
            Err(NotYet::Later) if ended.is_none_or(|ended| ended.is_over()) => {
                self.put_aside(stamp, parcel, wrapping)
            }
            // The rest of the body is still the caller's to send: the call cannot go on without its connection.
            Err(NotYet::Later) => Err(Refusal::TooLate {
                waited: window,
                staff: Staff::Perhaps,
                execution: Execution::Started,
            }),
            Err(NotYet::Crowded | NotYet::Gone) => Err(Refusal::Stopped(Execution::Started)),
        }
    }

    async fn polled(
        &self,
        stamp: &Stamp,
        peer: Peer,
        request: &Request<Incoming>,
        wrapping: Wrapping,
    ) -> Result<Response<Body>, Refusal> {
        let began = Instant::now();
        let given = request.headers();
        let window = item::patience(given, poll::DEFAULT, peer.trusted).map_err(Refusal::Poll)?;
        let call = CallHead {
            authorization: given.get(AUTHORIZATION),
            method: request.method(),
            host: super::authority(request),
            path: request.uri().path(),
        };
        let parcel = match self.held.find(stamp.id) {
            Some(parcel) if peer.sibling => parcel,
            Some(parcel) => {
                self.caller(&call, parcel.target, Some(&window)).await?;
                parcel
            }
            // It was there when the other instance asked.
            None if peer.sibling => return Err(Refusal::NotHeld),
            None => {
                return match self.pass_on(stamp, &call, request, window).await {
                    Err(nowhere @ (Refusal::NotHeld | Refusal::HolderSilent)) => {
                        self.poll_worker(stamp, &call, request, window, wrapping, nowhere)
                            .await
                    }
                    passed => passed,
                };
            }
        };
        let target = parcel.target;
        match parcel.ask(began + window).await {
            Ok(taken) => self.hand_out(stamp, target, taken, wrapping).await,
            Err(NotYet::Later) => Ok(in_progress(stamp, wrapping)),
            Err(NotYet::Crowded) => Err(Refusal::Crowded { retry: 1 }),
            Err(NotYet::Gone) => Err(Refusal::NotHeld),
        }
    }

    fn put_aside(
        &self,
        stamp: &Stamp,
        parcel: Parcel,
        wrapping: Wrapping,
    ) -> Result<Response<Body>, Refusal> {
        if self.held.put(stamp.id, parcel) {
            tracing::debug!(id = %stamp.id, "put aside");
            Ok(in_progress(stamp, wrapping))
        } else {
            Err(Refusal::Duplicate)
        }
    }
}

/// Gives an answer to the caller who came for it.
pub(super) async fn deliver(
    stamp: &Stamp,
    taken: Taken,
    wrapping: Wrapping,
) -> Result<Response<Body>, Refusal> {
    let Answer {
        head,
        relay,
        claimed,
    } = taken?;
    let response = respond::container(stamp, head, claimed);
    let mut relay = Body::Relay(Box::new(relay));
    match wrapping {
        Wrapping::None => Ok(response.map(|()| relay)),
        Wrapping::Json => match wrapped(stamp, &response, &mut relay).await {
            Some(wrapped) => Ok(json(response, wrapped)),
            None => {
                if let Body::Relay(relay) = &mut relay {
                    relay.disown();
                }
                Err(Refusal::NotWrapped)
            }
        },
    }
}

/// An answer and its body in JSON; `None` if that cannot be.
async fn wrapped(stamp: &Stamp, response: &Response<()>, body: &mut Body) -> Option<Vec<u8>> {
    let body = Limited::new(body, TO_WRAP).collect().await.ok()?.to_bytes();
    wrap::wrap(stamp.id, response.status(), percent(response), &body)
}

/// How far a call is, as its container says.
fn percent(response: &Response<()>) -> Option<u8> {
    let said = response.headers().get(PERCENT_COMPLETE)?.to_str().ok()?;
    said.parse().ok().filter(|percent| *percent <= 100)
}

fn in_progress(stamp: &Stamp, wrapping: Wrapping) -> Response<Body> {
    let response = respond::in_progress(stamp);
    match wrapping {
        Wrapping::None => response.map(|()| Body::empty()),
        Wrapping::Json => {
            let body = wrap::wrap(stamp.id, response.status(), None, &[]).unwrap_or_default();
            json(response, body)
        }
    }
}

fn json(response: Response<()>, body: Vec<u8>) -> Response<Body> {
    let mut response = response.map(|()| Body::full(Bytes::from(body)));
    let headers = response.headers_mut();
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Takes in a wrapped body: what was inside, and how long the caller says there that it waits.
async fn unwrap(body: Incoming, deadline: Instant, waited: Duration) -> Result<Unwrapped, Refusal> {
    let collected = Limited::new(body, WRAPPED).collect();
    let collected = tokio::time::timeout_at(deadline, collected)
        .await
        .map_err(|_| Refusal::SlowBody { waited })?
        .map_err(
            |error| match error.is::<http_body_util::LengthLimitError>() {
                true => Refusal::Wrapped(format!("it is longer than {WRAPPED} bytes")),
                false => Refusal::BodyBroken,
            },
        )?;
    let inside = wrap::unwrap(&collected.to_bytes()).map_err(Refusal::Wrapped)?;
    if inside.assets {
        return Err(Refusal::Assets);
    }
    Ok(inside)
}
