//! The request path: each phase of the engine calls one step of ours and decides nothing.
//!
//! ```text
//! request_filter ─ identity::read ─▶ upstream_peer ─ route::decide ─▶ upstream_request_filter ─ headers::to_region
//!                                       ▲                                      │
//!                                       └── failed: failover::after ◀──────────┤ fail_to_connect, error_while_proxy,
//!                                                                              │ upstream_response_filter (declined)
//! logging ◀─ record::write ◀─ response_filter ─ headers::from_region ◀─────────┘
//! ```
//!
//! It takes no lock, waits for no background task, and reads one snapshot per attempt.

mod context;
mod failed;

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use frontdoor_protocol::headers::{self, Execution};
use frontdoor_protocol::names::RequestId;
use pingora_core::protocols::http::SERVER_NAME;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorSource, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use tokio::sync::mpsc;

pub use self::context::Context;
use crate::identity::{self, Facts};
use crate::metrics::{Metrics, Outcome};
use crate::response::{self, Problematic, Record};
use crate::route::{self, Decision, Failure, NoRegion, Policy, RetryBudget, Tried};
use crate::table::{Event, ServedOutcome, Snapshot, SnapshotReader};
use crate::upstream;

/// The edge's own part of the engine.
pub struct EdgeProxy {
    /// What follows the ids in a function's host name.
    pub domain: String,
    /// The view that routes are chosen from.
    pub snapshots: SnapshotReader,
    /// How routes are chosen.
    pub policy: Policy,
    /// How much may be repeated.
    pub budget: Arc<RetryBudget>,
    /// What live traffic has to tell; never waited for.
    pub news: mpsc::Sender<Event>,
    /// Counts.
    pub metrics: Arc<Metrics>,
}

#[async_trait]
impl ProxyHttp for EdgeProxy {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
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
        Context::new(Instant::now(), seed, id)
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<bool> {
        session.set_write_timeout(Some(WRITE_TIMEOUT));
        match identity::read(&facts(session.req_header()), &self.domain) {
            Ok(identity) => {
                if let Some(polled) = identity.polled() {
                    ctx.id = polled;
                }
                ctx.identity = Some(identity);
                continue_body(session).await?;
                Ok(false)
            }
            Err(refusal) => {
                let problem = Problematic::Refused(refusal);
                write_problem(session, &problem, ctx).await?;
                ctx.problem = Some(problem);
                Ok(true)
            }
        }
    }

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        ctx: &mut Context,
    ) -> Result<Box<HttpPeer>> {
        let snapshot = self.snapshots.load();
        let decision = match ctx.next.take() {
            Some(decision) => decision,
            None => self.decide(&snapshot, ctx).map_err(|NoRegion { .. }| {
                ctx.problem = Some(Problematic::NoRegion);
                Error::new(ErrorType::ConnectNoRoute)
            })?,
        };
        if let Some(view) = snapshot.regions.get(decision.region.0) {
            if ctx.polled().is_none() {
                ctx.id = ctx.id.with_tag(view.tag);
            }
            let flight = snapshot.depart(decision.region, decision.address, decision.row);
            ctx.begin(decision, flight);
        }
        Ok(Box::new(upstream::peer(decision.address, ctx.time_left())))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        let peer = session
            .client_addr()
            .and_then(|a| a.as_inet())
            .map(std::net::SocketAddr::ip);
        let tls = session.digest().is_some_and(|d| d.ssl_digest.is_some());
        response::to_region(request, ctx.id, ctx.time_left(), peer, tls)
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        if response.status.is_informational() {
            return Ok(());
        }
        let execution = Execution::read(&response.headers);
        ctx.declined = execution.is_some();
        let status = response.status.as_u16();
        if execution == Some(Execution::NotStarted) && route::declined(status) {
            match status {
                503 => self.tell(ctx, ServedOutcome::Declined),
                404 => self.tell(ctx, ServedOutcome::NotHere),
                _ => {}
            }
            if self.moves_on(session, ctx, Failure::NotStarted) {
                let mut error =
                    Error::explain(ErrorType::HTTPStatus(status), "region declined").into_up();
                error.set_retry(true);
                return Err(error);
            }
        }
        ctx.answer_begins();
        Ok(())
    }

    async fn response_filter(
        &self,
        _session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        response::from_region(response, ctx.id)
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        peer: &HttpPeer,
        ctx: &mut Context,
        mut error: Box<Error>,
    ) -> Box<Error> {
        if let Some(seen) = failed::dial(&error, peer) {
            self.tell(ctx, seen);
        }
        let moves = self.moves_on(session, ctx, Failure::Unreachable);
        error.set_retry(moves);
        error
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        ctx: &mut Context,
        _reused: bool,
    ) -> Box<Error> {
        let declined = matches!(error.etype(), ErrorType::HTTPStatus(_)) && ctx.next.is_some();
        let moves = declined
            || failed::classify(&error).is_some_and(|failure| {
                if failed::condemns(failure, &error, ctx) {
                    self.tell(ctx, ServedOutcome::Broke);
                }
                self.moves_on(session, ctx, failure)
            });
        error.set_retry(moves);
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut Context,
    ) -> FailToProxy {
        let begun = session.response_written().is_some();
        if begun {
            // Never a clean end: the caller must be able to tell that the answer is not whole.
            session
                .as_downstream_mut()
                .shutdown_with_reason(h2::Reason::INTERNAL_ERROR);
        } else if let Some(problem) = failed::problem(error, ctx) {
            let _ = write_problem(session, &problem, ctx).await;
            ctx.problem = Some(problem);
        }
        let error_code = session.response_written().map_or(0, |r| r.status.as_u16());
        FailToProxy {
            error_code,
            can_reuse_downstream: false,
        }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Context) {
        self.metrics.request.in_flight.dec();
        let snapshot = self.snapshots.load();
        let region = ctx.attempt.as_ref().and_then(|a| {
            let view = snapshot.regions.get(a.decision.region.0)?;
            Some((a.decision.region, view.name.as_str()))
        });
        let head = session.req_header();
        let record = Record {
            id: ctx.id,
            target: ctx.identity.and_then(|i| i.target()),
            method: head.method.as_str(),
            path: head.uri.path(),
            protocol: if session.is_http2() { "h2" } else { "http/1" },
            status: session.response_written().map_or(0, |r| r.status.as_u16()),
            outcome: outcome(error, ctx),
            region,
            reason: ctx.attempt.as_ref().map(|a| a.decision.reason),
            attempts: ctx.attempts,
            failure: ctx.failure,
            stop: ctx.stop,
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
    }

    fn suppress_error_log(&self, _: &Session, _: &Context, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _: &Session,
        _: &Context,
        _: &Error,
        _: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}

/// A caller that reads nothing for so long has its stream reset: a stalled reader must not hold memory for ever.
const WRITE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(60);

// === impl EdgeProxy ===

impl EdgeProxy {
    fn decide(&self, snapshot: &Snapshot, ctx: &Context) -> Result<Decision, NoRegion> {
        if let Some(polled) = ctx.polled() {
            return route::holder(snapshot, polled.tag(), &ctx.tried, ctx.next_seed());
        }
        route::decide(snapshot, &self.policy, &ctx.ask(), ctx.next_seed())
    }

    /// After a failed attempt: whether there will be another one. If so, `ctx.next` says where.
    fn moves_on(&self, session: &Session, ctx: &mut Context, failure: Failure) -> bool {
        ctx.failure = Some(failure);
        let circumstances = route::Circumstances {
            moves: ctx.attempts.saturating_sub(1),
            moves_allowed: self.policy.moves,
            repeatable: ctx.identity.is_some_and(|i| i.repeatable),
            body_at_hand: !session.as_ref().retry_buffer_truncated(),
            answer_begun: session.response_written().is_some(),
            time_left: ctx.time_left(),
        };
        let elsewhere = self
            .decide(&self.snapshots.load(), ctx)
            .or_else(|NoRegion { .. }| {
                // A region that refuses one stream is there: without another one, it is asked again.
                ctx.tried = if failure == Failure::Refused {
                    Tried::default()
                } else {
                    ctx.tried
                };
                self.decide(&self.snapshots.load(), ctx)
            });
        let next = match elsewhere {
            // Asking who holds an answer is no work that is done again.
            Ok(_) => route::after(failure, &circumstances, || {
                ctx.polled().is_some() || self.budget.withdraw()
            }),
            Err(NoRegion { .. }) => route::after(failure, &circumstances, || true).without_region(),
        };
        match (next, elsewhere) {
            (route::Next::Elsewhere, Ok(decision)) => {
                self.metrics.request.moved(failure);
                ctx.next = Some(decision);
                true
            }
            (route::Next::Stop(why), _) => {
                self.metrics.request.stopped(why);
                ctx.stop = Some(why);
                false
            }
            (route::Next::Elsewhere, Err(NoRegion { .. })) => false,
        }
    }

    /// Tells the table what live traffic saw; if its queue is full, the probes will have to find out.
    fn tell(&self, ctx: &Context, outcome: ServedOutcome) {
        if let Some(endpoint) = ctx.endpoint()
            && self
                .news
                .try_send(Event::Served {
                    endpoint,
                    outcome,
                    target: ctx.identity.and_then(|i| i.target()),
                })
                .is_err()
        {
            self.metrics.request.news_lost.inc();
        }
    }
}

fn facts(head: &RequestHeader) -> Facts<'_> {
    let bytes = |name: http::HeaderName| head.headers.get(name).map(http::HeaderValue::as_bytes);
    let authority = head.uri.authority().map(http::uri::Authority::as_str);
    let host = || {
        head.headers
            .get(http::header::HOST)
            .and_then(|v| v.to_str().ok())
    };
    Facts {
        authority: authority.or_else(host).unwrap_or_default(),
        method: &head.method,
        path: head.uri.path(),
        function: bytes(headers::FUNCTION_ID),
        version: bytes(headers::FUNCTION_VERSION_ID),
        authorization: bytes(http::header::AUTHORIZATION),
        poll: bytes(headers::POLL_SECONDS),
        idempotency_key: head.headers.contains_key("idempotency-key"),
    }
}

/// Answers `Expect: 100-continue` (RFC 9110 §10.1.1): an HTTP/2 region never does, and the caller would wait in vain.
async fn continue_body(session: &mut Session) -> Result<()> {
    if session
        .req_header()
        .headers
        .contains_key(http::header::EXPECT)
    {
        if !session.is_http2() {
            session.write_continue_response().await?;
        }
        session
            .req_header_mut()
            .remove_header(&http::header::EXPECT);
    }
    Ok(())
}

async fn write_problem(session: &mut Session, problem: &Problematic, ctx: &Context) -> Result<()> {
    let answer = problem.answer(ctx.id);
    let body = Bytes::from(answer.problem.to_json());
    let mut head = ResponseHeader::build(answer.status, Some(6))?;
    head.insert_header(http::header::SERVER, &SERVER_NAME[..])?;
    head.insert_header(
        http::header::CONTENT_TYPE,
        frontdoor_protocol::problem::CONTENT_TYPE,
    )?;
    head.insert_header(http::header::CONTENT_LENGTH, body.len())?;
    if let Some(after) = answer.retry_after {
        head.insert_header(
            http::header::RETRY_AFTER,
            after.as_secs().max(1).to_string(),
        )?;
    }
    response::from_region(&mut head, ctx.id)?;
    let bodiless = session.req_header().method == http::Method::HEAD;
    session
        .write_response_header(Box::new(head), bodiless)
        .await?;
    if bodiless {
        Ok(())
    } else {
        session.write_response_body(Some(body), true).await
    }
}

fn outcome(error: Option<&Error>, ctx: &Context) -> Outcome {
    match (error, &ctx.problem) {
        (_, Some(Problematic::Refused(_))) => Outcome::Refused,
        (Some(e), _) if *e.esource() == ErrorSource::Downstream => Outcome::Gone,
        (Some(_), _) if ctx.answered.is_some() => Outcome::Broken,
        (Some(_), _) | (None, Some(_)) => Outcome::Failed,
        (None, None) if ctx.declined => Outcome::Declined,
        (None, None) => Outcome::Answered,
    }
}
