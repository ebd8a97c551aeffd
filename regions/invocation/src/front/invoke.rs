//! One call, start to end: who asks for what, may they, is there room, hand it to a worker, pass the answer on.
//!
//! Reads like the list of these steps; each is a function elsewhere. If the caller leaves, hyper drops the future or the
//! response body, and with it the `Call`, which ends everything in order.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use frontdoor_protocol::attach::ResponseHead;
use frontdoor_protocol::envelope::WorkerInvokeFunctionRequest;
use frontdoor_protocol::headers::{self, Execution};
use frontdoor_protocol::names::{RequestId, VersionId};
use frontdoor_protocol::poll;
use frontdoor_protocol::target::Target;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, Request, Response};
use hyper::body::Incoming;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::intake::Intake;
use super::item::{self, Facts, Form};
use super::wait::{self, Wait};
use super::{Front, Peer, intake};
use crate::attach::body::Body;
use crate::attach::desk::{Arrival, Call, Place};
use crate::attach::{HeadFault, Relay};
use crate::auth::{CallHead, Caller, Denied};
use crate::choice::{self, Candidate};
use crate::dispatch::{Unknown, Version};
use crate::drain::Crew;
use crate::pending::Event;
use crate::record::{Ended, Record};
use crate::respond::{self, Outcome, Refusal, Staff, Stamp};

/// A call that may wait here.
pub(super) struct Accepted {
    /// Who calls.
    pub(super) caller: Caller,
    /// How long they wait.
    pub(super) patience: Duration,
    /// How much of that a NATS that is away may take.
    outage: Duration,
    /// The edge has another region for it.
    movable: bool,
    pub(super) version: Arc<Version>,
    place: Place,
}

/// When a call began, by both clocks, and how long its answer may take to begin.
#[derive(Clone, Copy)]
pub(super) struct Times {
    pub(super) began: Instant,
    pub(super) since_epoch: Duration,
    pub(super) life: Duration,
}

/// A call at the desk, not yet in the queue.
pub(super) struct Seated {
    record: Arc<Record>,
    pub(super) id: RequestId,
    method: Method,
    call: Call,
    arrival: oneshot::Receiver<Arrival>,
    work: WorkerInvokeFunctionRequest,
    times: Times,
    outage: Duration,
    movable: bool,
}

/// The answer of a container, its head read.
pub(super) struct Answer {
    pub(super) head: ResponseHead,
    /// The body.
    pub(super) relay: Relay,
    /// Whether the worker claimed the call before it ran it.
    pub(super) claimed: bool,
}

/// Notes a caller that left before there was an answer: hyper drops our future then, and this with it.
pub(super) struct Unanswered<'a>(Option<&'a Record>);

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
        let record = self.record(&stamp, Some(target), &request);
        let mut unanswered = Unanswered::new(&record);
        let answer = self.call(&stamp, peer, request, target, &record).await;
        unanswered.disarm();
        answer.unwrap_or_else(|refusal| self.refuse(&record, &stamp, &refusal))
    }

    /// Opens the books for a call.
    pub(super) fn record(
        &self,
        stamp: &Stamp,
        target: Option<Target>,
        request: &Request<Incoming>,
    ) -> Arc<Record> {
        Arc::new(Record::new(
            self.books.clone(),
            stamp.id,
            target,
            (request.method(), request.uri()),
            request.headers(),
        ))
    }

    async fn call(
        &self,
        stamp: &Stamp,
        peer: Peer,
        request: Request<Incoming>,
        target: Target,
        record: &Arc<Record>,
    ) -> Result<Response<Body>, Refusal> {
        let (began, now) = (Instant::now(), unix_now());
        let (mut request, body) = split(request);
        record.continue_trace(&mut request.head.headers);
        let accepted = self.accept(peer, &request, target, poll::DEFAULT).await?;
        let patience = accepted.patience;
        let region = &self.dispatch.region;
        let mut work = item::work(
            stamp.id,
            &accepted.caller,
            &request,
            region,
            now,
            &Form::AsItIs,
        )?;
        let intake = match item::wants_streamed(&request.head.headers) {
            true => intake::leave(item::take_head(&mut work)?, body),
            false => take_in(body, began + patience, patience).await?,
        };
        let times = Times {
            began,
            since_epoch: now,
            life: patience,
        };
        let record = Arc::clone(record);
        let method = request.head.method;
        let call = self.seat(record, stamp.id, method, accepted, work, (intake, times));
        let answer = self.answered(call).await?;
        let response = respond::container(stamp, answer.head, answer.claimed);
        Ok(response.map(|()| Body::Relay(Box::new(answer.relay))))
    }

    /// Seats an accepted call: from now on a worker that has its tokens finds it.
    pub(super) fn seat(
        &self,
        record: Arc<Record>,
        id: RequestId,
        method: Method,
        accepted: Accepted,
        mut work: WorkerInvokeFunctionRequest,
        (intake, times): (Intake, Times),
    ) -> Seated {
        let Accepted {
            place,
            version,
            outage,
            movable,
            ..
        } = accepted;
        let (call, arrival) = place.seat(id, version, intake.rest);
        work.request_body = Some(intake.inline);
        work.stateless_config = Some(item::way(
            &self.attach_url,
            call.answer_token(),
            call.fetch_token(),
        ));
        Seated {
            record,
            id,
            method,
            call,
            arrival,
            work,
            times,
            outage,
            movable,
        }
    }

    /// Queues a call and waits for its answer to begin.
    pub(super) async fn answered(&self, seated: Seated) -> Result<Answer, Refusal> {
        let Seated {
            record,
            id,
            method,
            mut call,
            arrival,
            work,
            times,
            outage,
            movable,
        } = seated;
        let (deadline, patience) = (times.began + times.life, times.life);
        let wait = Wait {
            dispatch: &self.dispatch,
            standby: &self.standby,
            phases: &self.phases,
            call: &mut call,
            arrival,
            deadline,
            patience,
            outage,
            movable,
            recalls: &self.recalls,
            workers: &self.workers,
        };
        let deadline_unix_ms = item::unix_ms(times.since_epoch + times.life);
        let arrival = wait.worker(id, deadline_unix_ms, work).await;
        let arrival = arrival.map_err(|refusal| match refusal {
            Refusal::QueueFull { .. } => Refusal::QueueFull {
                retry: self.retry_after(call.version()),
            },
            other => other,
        })?;
        self.begun(record, &method, call, arrival, &times).await
    }

    /// Reads the head of what a worker brings: from then on it is the caller's.
    pub(super) async fn begun(
        &self,
        record: Arc<Record>,
        method: &Method,
        call: Call,
        mut arrival: Arrival,
        times: &Times,
    ) -> Result<Answer, Refusal> {
        let read = arrival.read_head();
        let (head, first) = match tokio::time::timeout_at(times.began + times.life, read).await {
            Ok(Ok(read)) => read,
            Ok(Err(fault)) => return Err(worker_failed(&call, arrival, fault)),
            Err(_) => return Err(wait::too_late(&call, times.life, Staff::Perhaps)),
        };
        self.books
            .metrics
            .first_byte
            .observe(times.began.elapsed().as_secs_f64());
        // Moot only if the caller left, and then hyper drops us next.
        let _ = call.apply(Event::HeadArrived);
        let claimed = arrival.claimed;
        let relay = Relay::new(method, &head, first, arrival, call, record);
        Ok(Answer {
            head,
            relay,
            claimed,
        })
    }

    /// When the queue of a version will have been worked off.
    fn retry_after(&self, version: &Version) -> u64 {
        let crew = self.workers.seen(version.id).map(|seen| Crew {
            slots: seen.slots,
            service: seen.service,
        });
        self.desk.retry_after(version, crew)
    }

    /// Decides whether the call may wait here at all, by `default` so long; nothing has been done for it until then.
    pub(super) async fn accept(
        &self,
        peer: Peer,
        request: &Facts,
        target: Target,
        default: Duration,
    ) -> Result<Accepted, Refusal> {
        let patience = item::patience(&request.head.headers, default, peer.trusted);
        let call = CallHead {
            authorization: request.head.headers.get(AUTHORIZATION),
            method: &request.head.method,
            host: &request.authority,
            path: request.head.uri.path(),
        };
        let caller = self.caller(&call, target, patience.as_ref().ok()).await?;
        let patience = patience.map_err(Refusal::Poll)?;
        let version = self.version(&target, caller.versions.as_deref())?;
        let share = self.accounts.admit(&caller.account);
        let share = share.map_err(|_| Refusal::AccountCrowded {
            retry: self.retry_after(version),
        })?;
        let place = self.desk.admit().ok_or_else(|| Refusal::Crowded {
            retry: self.retry_after(version),
        })?;
        let place = place.with(share);
        // After the place is taken, so that a drain which does not see this call is seen by it.
        if self.phases.is_draining() {
            return Err(Refusal::Draining);
        }
        // An edge that has another region for the call loses nothing by trying there.
        let movable = peer.trusted && request.head.headers.contains_key(headers::MOVABLE);
        let outage = match movable {
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
            movable,
            version: Arc::clone(version),
            place,
        })
    }

    /// The version that a call gets: the one it names, or one whose workers have room.
    pub(super) fn version(
        &self,
        target: &Target,
        allowed: Option<&[VersionId]>,
    ) -> Result<&Arc<Version>, Refusal> {
        let versions = self.dispatch.catalog.candidates(target, allowed);
        let versions = versions.map_err(|unknown| match unknown {
            Unknown::Function => Refusal::UnknownFunction,
            Unknown::Version => Refusal::UnknownVersion,
        })?;
        if let [only] = versions[..] {
            return Ok(only);
        }
        let known = |version: &&Arc<Version>| Candidate {
            standing: self.workers.seen(version.id),
            manners: version.manners(),
        };
        let candidates: Vec<Candidate> = versions.iter().map(known).collect();
        let chosen = choice::choose(&candidates, rand::random());
        versions.get(chosen).copied().ok_or(Refusal::UnknownVersion)
    }

    /// Who calls. Waits for an authority no longer than the caller waits.
    pub(super) async fn caller(
        &self,
        call: &CallHead<'_>,
        target: Target,
        patience: Option<&Duration>,
    ) -> Result<Caller, Refusal> {
        let judged = self.auth.judge(call, target);
        let patience = patience.copied().unwrap_or(Duration::MAX);
        tokio::time::timeout(patience, judged)
            .await
            .unwrap_or(Err(Denied::Unsure))
            .map_err(Refusal::Denied)
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

    /// Answers and notes a refusal.
    pub(super) fn refuse(
        &self,
        record: &Record,
        stamp: &Stamp,
        refusal: &Refusal,
    ) -> Response<Body> {
        let response = respond::refused(stamp, refusal);
        record.end(&Ended {
            status: Some(response.status()),
            ..Ended::unanswered(refusal.outcome())
        });
        response.map(Body::full)
    }
}

// === impl Unanswered ===

impl<'a> Unanswered<'a> {
    pub(super) const fn new(record: &'a Record) -> Self {
        Self(Some(record))
    }

    /// There is an answer.
    pub(super) const fn disarm(&mut self) {
        self.0 = None;
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(record) = self.0 {
            record.end(&Ended::unanswered(Outcome::CallerLeft));
        }
    }
}

pub(super) fn split(request: Request<Incoming>) -> (Facts, Incoming) {
    let authority = super::authority(&request).to_owned();
    let (head, body) = request.into_parts();
    (Facts { head, authority }, body)
}

/// Takes in a body's beginning, as fast as the caller's patience wants it.
pub(super) async fn take_in(
    body: Incoming,
    deadline: Instant,
    waited: Duration,
) -> Result<Intake, Refusal> {
    tokio::time::timeout_at(deadline, intake::take(body))
        .await
        .map_err(|_| Refusal::SlowBody { waited })?
        .map_err(|_| Refusal::BodyBroken)
}

pub(super) fn worker_failed(call: &Call, arrival: Arrival, fault: HeadFault) -> Refusal {
    let _ = call.apply(Event::WorkerLost);
    let refusal = match &fault {
        HeadFault::Lost => Refusal::WorkerLost,
        HeadFault::Malformed(error) => Refusal::WorkerMalformed(error.clone()),
    };
    arrival.refuse(fault);
    refusal
}

pub(super) fn unix_now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}
