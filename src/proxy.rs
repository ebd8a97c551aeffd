//! The request path: one function for each step of a call, each asks a pure function and decides nothing by itself.
//!
//! ```text
//! process_new_http ─ identity::read ─▶ attempt ─ route::decide ─▶ upstream ─ headers::to_region ─▶ exchange
//!                                        ▲                                                            │
//!                                        └── failed: failover::after ◀── no connection, lost, declined┤
//!                                                                                                     │
//! note ◀─ record::write ◀───────────────────── headers::from_region ◀── answer, streamed ◀────────────┘
//! ```
//!
//! pingora-core reads and writes the caller's side; the rest is ours, because a call must be able to begin again elsewhere
//! with all of its body. No lock is taken, no background task waited for, and one snapshot read per attempt.

mod admission;
mod answer;
mod attempt;
mod context;
mod exchange;
mod failed;
mod recall;
mod replay;
mod story;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use frontdoor_protocol::cors;
use frontdoor_protocol::key::KeyHash;
use frontdoor_protocol::names::RequestId;
use frontdoor_protocol::target::TargetError;
use frontdoor_protocol::trace::{TRACEPARENT, Trace};
use frontdoor_telemetry::export::Spans;
use http::Method;
use pingora_core::ErrorType;
use pingora_core::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream};
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use pingora_http::RequestHeader;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::time::timeout;

pub use self::admission::Admission;
use self::context::Context;
use self::replay::Replay;
pub use self::replay::ReplayBudget;
use crate::explain::Diary;
use crate::identity::steer::Steering;
use crate::identity::{self, Facts, Refusal};
use crate::listen::Farewell;
use crate::listen::certificates::{AskedFor, Certificates};
use crate::metrics::{Metrics, Outcome};
use crate::region::RegionIndex;
use crate::response::{self, Problematic, Record};
use crate::route::{self, Policy, RetryBudget};
use crate::table::{Event, SnapshotReader};
use crate::upstream::Pool;

/// The edge's request path.
pub struct EdgeProxy {
    /// What follows the ids in a function's host name.
    pub domain: String,
    /// The view that routes are chosen from.
    pub snapshots: SnapshotReader,
    /// How routes are chosen.
    pub policy: Arc<ArcSwap<Policy>>,
    /// What callers may say of that.
    pub steering: Steering,
    /// How much may be repeated.
    pub budget: Arc<RetryBudget>,
    /// How many calls may come in.
    pub admission: Arc<Admission>,
    /// How long an idle connection may stay when the edge drains.
    pub farewell: Farewell,
    /// Which certificate is whose.
    pub certificates: Arc<Certificates>,
    /// How much of bodies may be kept for that.
    pub replay: Arc<ReplayBudget>,
    /// Connections to the regions.
    pub pool: Arc<Pool>,
    /// What live traffic has to tell; never waited for.
    pub news: mpsc::Sender<Event>,
    /// The last calls, for whoever asks why.
    pub diary: Arc<Diary>,
    /// Where parts of calls are told.
    pub spans: Spans,
    /// Counts.
    pub metrics: Arc<Metrics>,
}

/// A request's target and headers together, in bytes, and the headers' number.
const HEAD_SIZE: usize = 64 << 10;
const HEADERS: usize = 128;
/// For the rest of a body that nobody wanted, so that its connection can be used again.
const DRAIN: Duration = Duration::from_secs(5);

#[async_trait]
impl HttpServerApp for EdgeProxy {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        if !session.is_http2() && !self.read_head(&mut session, shutdown).await {
            return None;
        }
        if *shutdown.borrow() {
            session.set_keepalive(None);
        }
        session.set_write_timeout(Some(self.admission.limits().write));
        let mut ctx = self.begin(session.req_header());
        let outcome = self.serve(&mut session, &mut ctx).await;
        self.note(&session, &mut ctx, outcome);
        if matches!(outcome, Outcome::Gone | Outcome::Broken) {
            return None;
        }
        let settings = HttpPersistentSettings::for_session(&session);
        let reusable = session.finish().await.ok().flatten()?;
        Some(ReusedHttpStream::from_reusable_stream(reusable, settings))
    }
}

// === impl EdgeProxy ===

impl EdgeProxy {
    fn begin(&self, head: &http::request::Parts) -> Context {
        self.metrics.request.in_flight.inc();
        self.budget.deposit();
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let seed: u64 = rand::random();
        let id = RequestId::untagged(
            u64::try_from(unix.as_millis()).unwrap_or_default(),
            rand::random(),
        );
        let mut told = head.headers.get_all(TRACEPARENT).iter();
        let told = told.next().filter(|_| told.next().is_none());
        let told = told.map(http::HeaderValue::as_bytes);
        let trace = Trace::read(told, rand::random(), rand::random());
        Context::new(Instant::now(), seed, id, self.spans.sampled(trace))
    }

    /// Reads an HTTP/1.1 head within its time; an idle connection may wait for its next one as long as it is kept.
    async fn read_head(&self, session: &mut ServerSession, shutdown: &ShutdownWatch) -> bool {
        let limit = self.admission.limits().head;
        let kept = Duration::from_secs(session.get_keepalive().unwrap_or_default());
        // A caller may send its next request as soon as it has an answer's last byte, and we may see that before the region's end
        // of stream: such bytes are kept for the next request (RFC 9112 §9.3.2), not taken for a leave.
        session.set_pipelining_enabled(true);
        session.set_read_timeout(Some(limit));
        let read = tokio::select! {
            biased;
            read = timeout(limit + kept, session.read_request()) => read,
            () = self.farewell.over(shutdown) => return false,
        };
        // From here on `exchange.rs` keeps the time.
        session.set_read_timeout(None);
        session.set_total_drain_timeout(Some(DRAIN));
        match read {
            Ok(Ok(there)) => there,
            Ok(Err(error)) if *error.etype() == ErrorType::InvalidHTTPHeader => {
                let _ = session.respond_error(400).await;
                session.shutdown().await;
                false
            }
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// One call from its head to its end.
    async fn serve(&self, session: &mut ServerSession, ctx: &mut Context) -> Outcome {
        if let Some(problem) = self.objection(session) {
            return self.fail(session, ctx, problem).await;
        }
        match identity::read(&Facts::of(session.req_header()), &self.domain) {
            Ok(identity) => {
                if let Some(polled) = identity.polled() {
                    ctx.id = polled;
                }
                ctx.identity = Some(identity);
            }
            Err(refusal) => return self.refuse(session, ctx, refusal).await,
        }
        let headers = &session.req_header().headers;
        let key = headers.get(http::header::AUTHORIZATION);
        let key = key.map_or(&[][..], http::HeaderValue::as_bytes);
        // Counted until the call ends.
        let _admitted = match self.admission.admit(key, Instant::now()) {
            Ok(admitted) => admitted,
            Err(limit) => {
                self.metrics.request.limited(limit.as_str());
                return self.fail(session, ctx, Problematic::Limited(limit)).await;
            }
        };
        if let Err(problem) = self.steer(&session.req_header().headers, ctx) {
            return self.fail(session, ctx, problem).await;
        }
        if answer::continue_body(session).await.is_err() {
            return Outcome::Gone;
        }
        let mut replay = Replay::new(&self.replay);
        let outcome = loop {
            if let Some(outcome) = self.attempt(session, ctx, &mut replay).await {
                break outcome;
            }
        };
        ctx.single = replay.was_let_go();
        outcome
    }

    /// Notes what the caller says of where the call goes.
    fn steer(&self, headers: &http::HeaderMap, ctx: &mut Context) -> Result<(), Problematic> {
        ctx.affinity = self.steering.affinity(headers).map(route::affinity);
        let digest = |key: &[u8]| KeyHash(Sha256::digest(key).into());
        let Some(named) = self.steering.region(headers, digest) else {
            return Ok(());
        };
        let snapshot = self.snapshots.load();
        let mut regions = snapshot.regions.iter();
        let place = regions.position(|view| view.name.as_str() == named);
        ctx.named = Some(RegionIndex(place.ok_or(Problematic::UnknownRegion)?));
        Ok(())
    }

    /// What is wrong with a request, whatever it asks for.
    fn objection(&self, session: &ServerSession) -> Option<Problematic> {
        let head = session.req_header();
        let fields = head.headers.iter();
        let fields: usize = fields.map(|(n, v)| n.as_str().len() + v.len() + 4).sum();
        let announced = head.headers.get(http::header::CONTENT_LENGTH);
        let announced = announced.and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        let host = identity::authority(head);
        let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
        let tls = session.digest().and_then(|d| d.ssl_digest.as_ref());
        let asked_for = tls.and_then(|tls| tls.extension.get::<AskedFor>());
        if head.method == Method::CONNECT {
            Some(Problematic::Engine(405))
        } else if head.headers.len() > HEADERS || fields + head.raw_path().len() > HEAD_SIZE {
            Some(Problematic::LargeHead)
        } else if !head.raw_path_is_utf8()
            || !has_target(head)
            || !identity::has_host(head)
            || response::hides_the_call(&head.headers)
        {
            Some(Problematic::BadRequest)
        } else if announced.is_some_and(|length| length > self.admission.limits().body) {
            Some(Problematic::LargeBody)
        } else if asked_for.is_some_and(|AskedFor(name)| !self.certificates.agree(name, host)) {
            Some(Problematic::Misdirected)
        } else {
            None
        }
    }

    /// Refuses what no region need see, but for a browser's question whether a page may call the API: that asks for no
    /// credential, and only there methods are wrong.
    async fn refuse(
        &self,
        session: &mut ServerSession,
        ctx: &mut Context,
        refusal: Refusal,
    ) -> Outcome {
        let head = session.req_header();
        let told = match &refusal {
            Refusal::Target(TargetError::Method { .. }) => {
                cors::preflight(&head.method, &head.headers)
            }
            _ => None,
        };
        let Some(told) = told else {
            return self.fail(session, ctx, Problematic::Refused(refusal)).await;
        };
        match answer::write_preflight(session, &told, ctx.id).await {
            Ok(()) => Outcome::Refused,
            Err(_) => Outcome::Gone,
        }
    }

    /// The edge answers itself.
    async fn fail(
        &self,
        session: &mut ServerSession,
        ctx: &mut Context,
        problem: Problematic,
    ) -> Outcome {
        let outcome = match problem {
            Problematic::Refused(_)
            | Problematic::LargeHead
            | Problematic::LargeBody
            | Problematic::Misdirected
            | Problematic::UnknownRegion
            | Problematic::BadRequest
            | Problematic::SlowBody
            | Problematic::Engine(..500)
            | Problematic::Limited(_) => Outcome::Refused,
            _ => Outcome::Failed,
        };
        match answer::write_problem(session, &problem, ctx.id).await {
            Ok(()) => outcome,
            Err(_) => Outcome::Gone,
        }
    }

    /// The end of a call in the books.
    fn note(&self, session: &ServerSession, ctx: &mut Context, outcome: Outcome) {
        self.metrics.request.in_flight.dec();
        let snapshot = self.snapshots.load();
        let region = ctx.attempt.as_ref().and_then(|a| {
            let view = snapshot.regions.get(a.decision.region.0)?;
            Some((a.decision.region, view.name.as_str()))
        });
        let head = session.req_header();
        let record = Record {
            id: ctx.id,
            trace: ctx.trace,
            target: ctx.identity.and_then(|i| i.target()),
            method: head.method.as_str(),
            path: head.uri.path(),
            protocol: if session.is_http2() { "h2" } else { "http/1" },
            status: session.response_written().map_or(0, |r| r.status.as_u16()),
            outcome,
            region,
            reason: ctx.attempt.as_ref().map(|a| a.decision.reason),
            attempts: ctx.attempts,
            failure: ctx.failure,
            stop: ctx.stop,
            single: ctx.single,
            first_byte: ctx.answered.map(|at| at - ctx.started),
            total: ctx.started.elapsed(),
            received: session.body_bytes_read(),
            sent: session.body_bytes_sent(),
            epoch: ctx
                .attempt
                .as_ref()
                .map_or(snapshot.epoch, |a| a.decision.epoch),
        };
        response::write(&record, &self.metrics);
        if self.spans.wants(&ctx.trace) {
            self.spans.tell(response::span(&record));
        }
        self.keep(ctx, &record);
    }
}

/// Whether there is a path, or a whole URL, or `*` where that is allowed (RFC 9112 §3.2). The engine takes anything else for
/// the root.
fn has_target(head: &RequestHeader) -> bool {
    let target = head.raw_path();
    let begins = |scheme: &[u8]| {
        let beginning = target.get(..scheme.len());
        beginning.is_some_and(|b| b.eq_ignore_ascii_case(scheme))
    };
    begins(b"/")
        || begins(b"http://")
        || begins(b"https://")
        || (target == b"*" && head.method == Method::OPTIONS)
}
