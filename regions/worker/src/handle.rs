//! One message from start to end: decode, claim, call, answer, settle.
//!
//! The order is the promise: nothing reaches the container before the service that holds the caller has granted the
//! claim (services that do not speak of claims are answered late), and the message is settled after the answer is
//! out. However a call ends, it ends here, with exactly one outcome.

mod answer;
mod compat;
mod windows;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::jetstream::{self, AckKind};
use frontdoor_protocol::{envelope, subject};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::attach::{Attach, ClaimError, FetchError, Tail, Upload};
use crate::body::Body;
use crate::call::{self, CallError, Container, Identity};
use crate::item::{Item, ItemError};
use crate::load::Load;
use crate::metrics::Metrics;
use crate::record::{Books, Record};
use crate::running::Running;
use crate::settle::{Outcome, Settlement, given_up, settle};

use answer::{Failure, Reply};

/// The server is told this often that a call still runs; it waits 30 s before it delivers a message again.
const IN_PROGRESS: Duration = Duration::from_secs(10);
/// Services that do not speak of claims wait no longer than an hour for an answer, and cancel nothing.
const LATE_TIMEOUT: Duration = Duration::from_secs(3605);
/// While NATS is away its client takes only so many messages; no call waits longer than this for it.
const NATS_TIMEOUT: Duration = Duration::from_secs(5);

/// Everything that handling a message needs.
#[derive(Debug)]
pub(crate) struct Handler {
    pub(crate) identity: Identity,
    pub(crate) container: Arc<Container>,
    pub(crate) attach: Attach,
    pub(crate) running: Running,
    pub(crate) load: Arc<Load>,
    pub(crate) metrics: Metrics,
    pub(crate) books: Books,
    /// Whether a call could not be started since the container's last good answer. Set here, cleared by `health.rs`.
    pub(crate) suspect: watch::Sender<bool>,
    /// Cuts what still runs when the time to stop is over.
    pub(crate) cut: CancellationToken,
}

/// How a call ended, and the handing over that goes on after it.
type Ended = (Outcome, Option<Tail>);

// === impl Handler ===

impl Handler {
    /// Handles one message. The slot is free when this returns; the tail only waits for the service.
    pub(crate) async fn handle(self: Arc<Self>, message: jetstream::Message) -> Option<Tail> {
        if let Some(id) = header(&message, envelope::CANARY_HEADER) {
            return sing(&message, id).await;
        }
        let (outcome, tail) = match decode(&message) {
            Ok(item) => self.run(item, &message).await,
            Err(error) => {
                tracing::warn!(%error, subject = %message.subject, "message dropped");
                (Outcome::Malformed, None)
            }
        };
        self.settle(&message, outcome).await;
        tail
    }

    /// Tells NATS what becomes of a message, and counts it.
    pub(crate) async fn settle(&self, message: &jetstream::Message, outcome: Outcome) {
        self.metrics.item(outcome);
        let deadline = header(message, envelope::DEADLINE_HEADER).is_some();
        let kind = match settle(outcome, deliveries(message), deadline) {
            Settlement::Ack => AckKind::Ack,
            Settlement::Nak(delay) => AckKind::Nak(Some(delay)),
            Settlement::Term => AckKind::Term,
            Settlement::Leave => return,
        };
        if let Err(reason) = acknowledge(message, kind).await {
            tracing::warn!(reason, outcome = outcome.as_str(), "message not settled");
        }
    }

    async fn run(&self, mut item: Item, message: &jetstream::Message) -> Ended {
        let record = Record::new(&mut item, true, &self.books);
        let ended = self.run_once(item, message, &record).await;
        record.end(ended.0, &self.books);
        ended
    }

    async fn run_once(&self, item: Item, message: &jetstream::Message, record: &Record) -> Ended {
        if item.expired(now_ms()) {
            return (Outcome::Expired, None);
        }
        if !item.claim && given_up(deliveries(message)) {
            return (Outcome::GivenUp, None);
        }
        let Some(entry) = self.running.enter(item.id) else {
            return (Outcome::Duplicate, None);
        };
        let call = async {
            if item.claim {
                self.claimed(item, record).await
            } else if windows::are_kept(&item) {
                self.in_windows(item, message.context.client(), record)
                    .await
            } else {
                let late = tokio::time::timeout(LATE_TIMEOUT, self.late(item, record)).await;
                late.unwrap_or((Outcome::AnswerLost, None))
            }
        };
        // Leaving the call's future drops it, which breaks both the container's connection and the answer's stream.
        let ended = tokio::select! {
            ended = call => ended,
            () = entry.cancelled() => (Outcome::Cancelled, None),
            () = self.cut.cancelled() => (Outcome::CutAtStop, None),
            never = keep_in_progress(message) => match never {},
        };
        if ended.0 == Outcome::Answered {
            self.load.took(record.age());
        }
        ended
    }

    /// Runs a call that a standing stream got: it is claimed, and no message stands for it.
    pub(crate) async fn handed(&self, mut item: Item, upload: Upload) -> Option<Tail> {
        let record = Record::new(&mut item, false, &self.books);
        let (outcome, tail) = match self.running.enter(item.id) {
            None => (Outcome::Duplicate, None),
            Some(entry) => tokio::select! {
                ended = self.granted(item, upload, &record) => ended,
                () = entry.cancelled() => (Outcome::Cancelled, None),
                () = self.cut.cancelled() => (Outcome::CutAtStop, None),
            },
        };
        if outcome == Outcome::Answered {
            self.load.took(record.age());
        }
        self.metrics.item(outcome);
        record.end(outcome, &self.books);
        tail
    }

    /// Claim, then call, then answer: attach before execute.
    async fn claimed(&self, item: Item, record: &Record) -> Ended {
        let timer = self.metrics.claim_seconds.start_timer();
        let claim = self.attach.claim(&item.service).await;
        timer.observe_duration();
        match claim {
            Ok(upload) => self.granted(item, upload, record).await,
            Err(ClaimError::Refused) => (Outcome::Refused, None),
            Err(ClaimError::Unreachable(reason)) => {
                tracing::warn!(id = %item.id, reason, "claim failed");
                (Outcome::ServiceUnreachable, None)
            }
        }
    }

    /// Call, then answer.
    async fn granted(&self, mut item: Item, mut upload: Upload, record: &Record) -> Ended {
        let answer = tokio::select! {
            biased;
            _ = upload.gone() => return (Outcome::CallerGone, None),
            answer = self.call(&mut item, record) => answer,
        };
        self.answer(item, upload, answer).await
    }

    /// Call, then attach with the answer: for services that do not speak of claims.
    async fn late(&self, mut item: Item, record: &Record) -> Ended {
        let answer = self.call(&mut item, record).await;
        self.bring(item, answer).await
    }

    /// Attaches with the answer.
    async fn bring(&self, item: Item, answer: Result<Reply, Failure>) -> Ended {
        let length = answer::stream_length(&item.method, &answer);
        let upload = self.attach.late(&item.service, length);
        let (outcome, tail) = self.answer(item, upload, answer).await;
        // There the end of the response is the only sign of success, so it belongs to the call itself.
        let handed_over = match tail {
            Some(tail) => tail.handed_over().await,
            None => true,
        };
        let outcome = if handed_over {
            outcome
        } else {
            Outcome::AnswerLost
        };
        (outcome, None)
    }

    async fn call(&self, item: &mut Item, record: &Record) -> Result<Reply, Failure> {
        let body = self.request(item, record).await;
        let body = body.map_err(|error| Failure::body(&error))?;
        let headers = call::of_request(item, &self.identity, now_ms());
        let timer = self.metrics.head_seconds.start_timer();
        let called = self
            .container
            .send(item.method.clone(), item.path.clone(), headers, body)
            .await;
        timer.observe_duration();
        if let Ok((response, _)) = &called {
            record.answered(response.status());
        }
        if matches!(called, Err(CallError::NotStarted(_))) {
            self.suspect
                .send_if_modified(|suspect| !std::mem::replace(suspect, true));
        }
        let (response, lease) = called.map_err(|error| Failure::call(&error))?;
        let fitting = answer::checked(response, lease)?;
        if compat::wanted(&item.headers) && compat::translates(&fitting.response) {
            let (head, body) = compat::translate(fitting.response).await;
            // Nothing more is read of it, and a connection with unread bytes is never ready again.
            call::give_back(fitting.lease);
            return Ok(Reply::Made(head, body));
        }
        Ok(Reply::AsItIs(fitting))
    }

    /// The request's body, and all of the request where the item does not say what it is.
    async fn request(&self, item: &mut Item, record: &Record) -> Result<Body, FetchError> {
        let service = &item.service;
        if !item.whole {
            let start = item.inline.clone();
            return self.attach.request_body(service, start, item.claim).await;
        }
        let (head, body) = self.attach.whole_request(service, item.claim).await?;
        item.fill(head);
        record.read(item, &self.books);
        Ok(body)
    }

    async fn answer(&self, item: Item, upload: Upload, answer: Result<Reply, Failure>) -> Ended {
        let result = match answer {
            Ok(Reply::Made(head, body)) => answer::whole(&head, body, upload)
                .await
                .map(|tail| (Outcome::Answered, Some(tail))),
            Ok(Reply::AsItIs(fitting)) => {
                answer::relay(fitting, upload, &self.metrics.answer_bytes)
                    .await
                    .map(|tail| (Outcome::Answered, Some(tail)))
            }
            Err(failure) => {
                tracing::warn!(id = %item.id, reason = failure.detail(), "container failed");
                let outcome = failure.outcome();
                answer::problem(&failure, &item, upload)
                    .await
                    .map(|tail| (outcome, Some(tail)))
            }
        };
        result.unwrap_or_else(|outcome| (outcome, None))
    }
}

fn decode(message: &jetstream::Message) -> Result<Item, ItemError> {
    let claim = header(message, envelope::CLAIM_HEADER).is_some();
    let deadline = header(message, envelope::DEADLINE_HEADER);
    Item::decode(&message.payload, claim, deadline)
}

fn header<'a>(message: &'a jetstream::Message, name: &str) -> Option<&'a str> {
    let value = message.headers.as_ref()?.get(name)?;
    Some(value.as_str())
}

/// Says that a canary came through the queue; it is no call, so nothing else happens.
async fn sing(message: &jetstream::Message, id: &str) -> Option<Tail> {
    if let Ok(id) = id.parse() {
        let client = message.context.client();
        let said = client.publish(subject::canary(id), "".into());
        // Whoever waits for it asks again with the next.
        let _ = tokio::time::timeout(NATS_TIMEOUT, said).await;
    }
    if let Err(reason) = acknowledge(message, AckKind::Ack).await {
        tracing::debug!(reason, "canary not settled");
    }
    None
}

/// The how-manieth delivery this is; the first is 1.
fn deliveries(message: &jetstream::Message) -> u64 {
    let delivered = message.info().map_or(1, |info| info.delivered);
    u64::try_from(delivered).unwrap_or(1)
}

/// Tells the server again and again that the call runs; never ends.
async fn keep_in_progress(message: &jetstream::Message) -> Infallible {
    loop {
        tokio::time::sleep(IN_PROGRESS).await;
        if let Err(reason) = acknowledge(message, AckKind::Progress).await {
            tracing::warn!(reason, "progress not told");
        }
    }
}

async fn acknowledge(message: &jetstream::Message, kind: AckKind) -> Result<(), String> {
    match tokio::time::timeout(NATS_TIMEOUT, message.ack_with(kind)).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("timed out".to_owned()),
    }
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}
