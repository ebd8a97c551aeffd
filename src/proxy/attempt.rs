//! One attempt in one region, and what follows when it fails: elsewhere, or an end.
//!
//! Where to go is `route::decide`'s, whether to go on is `route::after`'s; here their answers are carried out and told.

use std::time::Duration;

use frontdoor_protocol::headers::Execution;
use h2::RecvStream;
use pingora_core::protocols::http::ServerSession;
use tokio::time::{Instant, sleep, sleep_until};

use super::context::Context;
use super::exchange::{Broken, Exchange};
use super::recall::until_look;
use super::replay::Replay;
use super::{EdgeProxy, answer, failed};
use crate::identity;
use crate::metrics::Outcome;
use crate::region::{Endpoint, RegionIndex};
use crate::response::{self, Passing, Problematic};
use crate::route::{self, Failure, NoRegion, Tried, Why};
use crate::table::{Event, ServedOutcome, Snapshot};
use crate::upstream::{DialError, Lease};

/// Why there is no answer.
pub(super) enum Trouble {
    /// No connection.
    Dial(DialError),
    /// The connection did not take the call: nothing was sent.
    NeverSent,
    /// It broke on the way.
    Broken(Broken),
    /// The request is none that HTTP/2 can carry.
    Unsendable,
}

/// Connections that a call may meet in the moment they close, before its region counts as unable to take it.
const STALE: u8 = 2;

// === impl EdgeProxy ===

impl EdgeProxy {
    /// One attempt; nothing if the call goes on elsewhere.
    pub(super) async fn attempt(
        &self,
        session: &mut ServerSession,
        ctx: &mut Context,
        replay: &mut Replay,
    ) -> Option<Outcome> {
        let (endpoint, movable) = match self.choose(ctx) {
            Ok(chosen) => chosen,
            Err(NoRegion { retry_after }) => {
                let problem = Problematic::NoRegion { retry_after };
                return Some(self.fail(session, ctx, problem).await);
            }
        };
        let (mut exchange, answer) = match self.ask(session, ctx, replay, endpoint, movable).await {
            Ok(asked) => asked,
            Err(trouble) => return self.failed(session, ctx, replay, trouble).await,
        };
        let (head, mut body) = answer.into_parts();
        if self.declines(&head, ctx) && self.moves_on(ctx, replay, Failure::NotStarted) {
            return None;
        }
        ctx.answer_begins();
        replay.release();
        let end = body.is_end_stream();
        if answer::write_head(session, head, ctx.id, end)
            .await
            .is_err()
        {
            return Some(Outcome::Gone);
        }
        if end {
            return Some(ctx.ending);
        }
        match exchange.relay(session, replay, &mut body).await {
            Ok(()) => Some(ctx.ending),
            Err(Broken::Caller(_) | Broken::SlowCaller) => Some(Outcome::Gone),
            Err(Broken::LargeBody) => {
                session.shutdown_with_reason(h2::Reason::CANCEL);
                Some(Outcome::Broken)
            }
            Err(Broken::Region(_) | Broken::Suspect | Broken::Late) => {
                // Never a clean end: the caller must be able to tell that the answer is not whole.
                session.shutdown_with_reason(h2::Reason::INTERNAL_ERROR);
                Some(Outcome::Broken)
            }
        }
    }

    /// Chooses where to go, and begins to count there. Says also whether the call may move if it is declined there.
    fn choose(&self, ctx: &mut Context) -> Result<(Endpoint, bool), NoRegion> {
        let snapshot = self.snapshots.load();
        let decision = match ctx.next.take() {
            Some(decision) => decision,
            None => self.decide(&snapshot, ctx, None)?,
        };
        if let Some(view) = snapshot.regions.get(decision.region.0)
            && ctx.polled().is_none()
        {
            ctx.id = ctx.id.with_tag(view.tag);
        }
        let flight = snapshot.depart(decision.region, decision.address, decision.row);
        ctx.begin(decision, flight);
        let endpoint = Endpoint {
            region: decision.region,
            address: decision.address,
        };
        Ok((endpoint, self.is_movable(&snapshot, ctx, decision.region)))
    }

    /// Sends the call until the head of an answer is there. A connection that was closed a moment ago is no reason to leave
    /// the region: the next one is tried.
    async fn ask(
        &self,
        session: &mut ServerSession,
        ctx: &mut Context,
        replay: &mut Replay,
        endpoint: Endpoint,
        movable: bool,
    ) -> Result<(Exchange, http::Response<RecvStream>), Trouble> {
        let mut stale = 0;
        loop {
            let lease = self.lease(session, ctx, endpoint).await?;
            let reused = lease.reused;
            let request = to_region(session, ctx, movable, self.pool.secures(endpoint))
                .map_err(|_| Trouble::Unsendable)?;
            let again =
                match Exchange::open(lease, request, session, replay, self.admission.limits()) {
                    Err(_) => Trouble::NeverSent,
                    Ok(mut exchange) => {
                        match self.head(&mut exchange, session, ctx, replay).await {
                            Ok(answer) => return Ok((exchange, answer)),
                            Err(Broken::Region(error)) if failed::leaves(&error) => {
                                exchange.lease.retire();
                                Trouble::Broken(Broken::Region(error))
                            }
                            Err(broken) => {
                                self.testify(ctx, &exchange, &broken);
                                return Err(Trouble::Broken(broken));
                            }
                        }
                    }
                };
            if !reused || stale == STALE || replay.chunks().is_none() {
                return Err(again);
            }
            stale += 1;
            self.metrics.upstream.stale.inc();
        }
    }

    /// Waits for the head of an answer. Once the region's side falls silent, a call that may move does.
    async fn head(
        &self,
        exchange: &mut Exchange,
        session: &mut ServerSession,
        ctx: &mut Context,
        replay: &mut Replay,
    ) -> Result<http::Response<RecvStream>, Broken> {
        let began = Instant::now();
        let deadline = began + ctx.time_left() + self.pool.settings().grace;
        let mut deadline = std::pin::pin!(sleep_until(deadline));
        let mut may_move = ctx.identity.is_some_and(|i| i.repeatable);
        loop {
            let head = tokio::select! {
                biased;
                head = exchange.head(session, replay, deadline.as_mut(), may_move) => head,
                () = sleep(until_look(began.elapsed())), if !ctx.recalled && ctx.polled().is_none() => {
                    self.look(exchange, session, ctx, replay);
                    continue;
                }
            };
            match head {
                // With nowhere to go, the region may still come back to life.
                Err(Broken::Suspect) if self.next(ctx, replay, Failure::Lost).is_err() => {
                    may_move = false;
                }
                other => return other,
            }
        }
    }

    /// A place on a connection; a caller who leaves meanwhile is not waited for.
    async fn lease(
        &self,
        session: &mut ServerSession,
        ctx: &Context,
        endpoint: Endpoint,
    ) -> Result<Lease, Trouble> {
        let time_left = ctx.time_left().max(Duration::from_millis(1));
        let lease = self.pool.lease(endpoint, time_left);
        let lease = match session.watch_h2_stream_close() {
            Some(leave) => tokio::select! {
                biased;
                lease = lease => lease,
                left = leave => {
                    let error = left.map_or_else(|e| e, super::exchange::gone);
                    return Err(Trouble::Broken(Broken::Caller(error)));
                }
            },
            None => lease.await,
        };
        lease.map_err(Trouble::Dial)
    }

    /// Whether a region's platform says that the call did not begin, and another region may do better.
    fn declines(&self, head: &http::response::Parts, ctx: &mut Context) -> bool {
        let execution = Execution::read(&head.headers);
        let status = head.status.as_u16();
        ctx.ending = match execution {
            Some(execution) => Outcome::of_platform(status, execution),
            None => Outcome::Answered,
        };
        let declines = execution == Some(Execution::NotStarted) && route::declined(status);
        match status {
            503 if declines => self.tell(ctx, ServedOutcome::Declined),
            502 if declines => self.tell(ctx, ServedOutcome::NoWorker),
            404 if declines => self.tell(ctx, ServedOutcome::NotHere),
            _ => {}
        }
        declines
    }

    /// What follows a failed attempt: nothing if the call goes on elsewhere.
    async fn failed(
        &self,
        session: &mut ServerSession,
        ctx: &mut Context,
        replay: &Replay,
        trouble: Trouble,
    ) -> Option<Outcome> {
        let failure = match &trouble {
            Trouble::Dial(error) => {
                if let Some(seen) = failed::dial(error.cause)
                    && error.first_to_tell()
                {
                    self.tell(ctx, seen);
                }
                failed::undialled(error.cause)
            }
            Trouble::NeverSent => Failure::Refused,
            Trouble::Broken(Broken::Region(error)) => failed::classify(error),
            // The decision for the next attempt is made already.
            Trouble::Broken(Broken::Suspect) => {
                self.count(ctx, Failure::Lost);
                return None;
            }
            Trouble::Broken(Broken::Caller(error)) => {
                // What follows a body that was not read to its end is no request.
                session.set_keepalive(None);
                return match failed::callers_problem(error) {
                    Some(problem) => Some(self.fail(session, ctx, problem).await),
                    None => Some(Outcome::Gone),
                };
            }
            Trouble::Broken(Broken::LargeBody) => {
                session.set_keepalive(None);
                return Some(self.fail(session, ctx, Problematic::LargeBody).await);
            }
            Trouble::Broken(Broken::SlowCaller) => {
                session.set_keepalive(None);
                return Some(self.fail(session, ctx, Problematic::SlowBody).await);
            }
            Trouble::Broken(Broken::Late) => {
                self.count(ctx, Failure::Lost);
                self.stop(ctx, Why::NoTime);
                return Some(self.fail(session, ctx, Problematic::TimedOut).await);
            }
            Trouble::Unsendable => {
                return Some(self.fail(session, ctx, Problematic::BadRequest).await);
            }
        };
        if self.moves_on(ctx, replay, failure) {
            return None;
        }
        let problem = failed::problem(ctx);
        Some(self.fail(session, ctx, problem).await)
    }

    /// Whether there will be another attempt. If so, `ctx.next` says where.
    fn moves_on(&self, ctx: &mut Context, replay: &Replay, failure: Failure) -> bool {
        self.count(ctx, failure);
        match self.next(ctx, replay, failure) {
            Ok(()) => true,
            Err(why) => {
                self.stop(ctx, why);
                false
            }
        }
    }

    /// Decides on the next attempt, or says why there is none.
    fn next(&self, ctx: &mut Context, replay: &Replay, failure: Failure) -> Result<(), Why> {
        let circumstances = route::Circumstances {
            moves: ctx.attempts.saturating_sub(1),
            moves_allowed: self.policy.load().moves,
            repeatable: ctx.identity.is_some_and(|i| i.repeatable),
            body_at_hand: replay.chunks().is_some(),
            answer_begun: ctx.answered.is_some(),
            time_left: ctx.time_left(),
        };
        let snapshot = self.snapshots.load();
        let mut elsewhere = self.decide(&snapshot, ctx, Some(failure));
        if elsewhere.is_err() && failure == Failure::Refused {
            // A region that refuses one stream is there: without another one, it is asked again.
            ctx.tried = Tried::default();
            elsewhere = self.decide(&snapshot, ctx, Some(failure));
        }
        let Ok(decision) = elsewhere else {
            return Err(route::stranded(failure, &circumstances));
        };
        let next = route::after(failure, &circumstances, || {
            // Asking who holds an answer is no work that is done again.
            // And one that was called back has only waited.
            let waited = ctx.recalled && failure == Failure::NotStarted;
            ctx.polled().is_some() || waited || self.budget.withdraw()
        });
        match next.towards(decision.reason) {
            route::Next::Elsewhere => {
                self.metrics.request.moved(failure);
                ctx.next = Some(decision);
                Ok(())
            }
            route::Next::Stop(why) => Err(why),
        }
    }

    /// Notes how an attempt failed, for the access line and `attempts_failed_total`.
    fn count(&self, ctx: &mut Context, failure: Failure) {
        ctx.failure = Some(failure);
        if let Some(endpoint) = ctx.endpoint() {
            self.metrics.request.failed(endpoint.region, failure);
        }
    }

    fn stop(&self, ctx: &mut Context, why: Why) {
        self.metrics.request.stopped(why);
        ctx.stop = Some(why);
    }

    /// Whether a well region would be left for the call if the one it goes to, `here`, declined it.
    fn is_movable(&self, snapshot: &Snapshot, ctx: &Context, here: RegionIndex) -> bool {
        let policy = self.policy.load();
        ctx.attempts <= policy.moves
            && match ctx.polled() {
                Some(_) => self.preview(snapshot, ctx).is_ok(),
                None => route::spare(snapshot, &policy, &ctx.ask(), here),
            }
    }

    /// Tells what became of a call that was sent. Of all calls on a connection that fell silent or broke, the first to leave
    /// tells: what befell one connection is one piece of evidence, however many calls it carried.
    fn testify(&self, ctx: &Context, exchange: &Exchange, broken: &Broken) {
        let outcome = match broken {
            Broken::Suspect => ServedOutcome::Silent,
            Broken::Region(error) if failed::classify(error) == Failure::Lost => {
                if error.is_reset() {
                    // This stream alone.
                    return self.tell(ctx, ServedOutcome::Broke);
                }
                ServedOutcome::Broke
            }
            _ => return,
        };
        if exchange.lease.first_to_tell() {
            self.tell(ctx, outcome);
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

fn to_region(
    session: &ServerSession,
    ctx: &Context,
    movable: bool,
    secure: bool,
) -> Result<http::Request<()>, http::Error> {
    let head = session.req_header();
    let passing = Passing {
        id: ctx.id,
        movable,
        time_left: ctx.time_left(),
        peer: session
            .client_addr()
            .and_then(|a| a.as_inet())
            .map(std::net::SocketAddr::ip),
        tls: session.digest().is_some_and(|d| d.ssl_digest.is_some()),
        authority: identity::authority(head),
        trace: ctx.trace,
        scheme: if secure {
            http::uri::Scheme::HTTPS
        } else {
            http::uri::Scheme::HTTP
        },
    };
    response::to_region(head, passing)
}
