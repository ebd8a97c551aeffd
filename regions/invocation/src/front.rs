//! The HTTP front of the region: which request is a call, which a worker's attach, which a health check.
//!
//! Callers and workers share one port. Answers that are not calls are made here; a call is `front/invoke.rs`, start to
//! end. The port itself, connections and protocols are `front/listener.rs`.

mod api;
mod hold;
mod intake;
mod invoke;
mod item;
mod listener;
mod passed;
mod progress;
mod recall;
mod secure;
mod wait;
mod wrap;

use std::sync::Arc;
use std::time::Duration;

use frontdoor_protocol::attach::PATH as ATTACH;
use frontdoor_protocol::cors;
use frontdoor_protocol::errand::{self, Asked, Errand};
use frontdoor_protocol::headers;
use frontdoor_protocol::target::{self, TargetError};
use frontdoor_protocol::verdict::CANARY_PATH;
use http::header::{HOST, HeaderValue, ORIGIN};
use http::{HeaderName, Method, Request, Response};
use hyper::body::Incoming;

use crate::accounts::Accounts;
use crate::attach;
use crate::attach::body::Body;
use crate::attach::desk::Desk;
use crate::attach::standby::Standby;
use crate::auth::Auth;
use crate::canary::Canaries;
use crate::dispatch::Dispatch;
use crate::phase::Phases;
use crate::record::Books;
use crate::respond::{self, Refusal};
use crate::siblings::Siblings;
use crate::tasks::Aside;
use crate::workers::Workers;

pub(crate) use hold::Held;
pub(crate) use listener::{Listener, Tokens};
pub(crate) use recall::Recalls;
pub use secure::SecureError;
pub(crate) use secure::Secured;

/// Where health checks go; a path of that name under a function's host is the function's.
const HEALTH: &str = "/health";

/// What serving a request takes; shared by all connections.
pub(crate) struct Front {
    pub(crate) domain: String,
    pub(crate) attach_url: String,
    pub(crate) region: HeaderValue,
    /// How long a call waits for a NATS that is away.
    pub(crate) outage: Duration,
    pub(crate) auth: Arc<Auth>,
    pub(crate) dispatch: Arc<Dispatch>,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) desk: Arc<Desk>,
    pub(crate) standby: Arc<Standby>,
    pub(crate) held: Held,
    pub(crate) siblings: Arc<Siblings>,
    pub(crate) phases: Arc<Phases>,
    pub(crate) workers: Arc<Workers>,
    pub(crate) canaries: Canaries,
    pub(crate) recalls: Recalls,
    pub(crate) aside: Aside,
    pub(crate) books: Books,
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    /// Whether it is an edge whose word counts.
    pub(crate) trusted: bool,
    /// Whether it is another instance of this region's service, which has asked whether the caller may.
    pub(crate) sibling: bool,
}

// === impl Front ===

impl Front {
    /// Answers one request.
    pub(crate) async fn serve(
        self: &Arc<Self>,
        peer: Peer,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let ticket = request.headers().get(headers::RELAYED);
        let sibling = ticket.is_some_and(|ticket| self.standby.opens(ticket.as_bytes()));
        let peer = Peer {
            sibling,
            trusted: peer.trusted || sibling,
        };
        let host = match sibling {
            true => &self.domain,
            false => authority(&request),
        };
        let path = request.uri().path();
        if path == ATTACH && target::from_host(host, &self.domain).is_none() {
            let mut response =
                attach::serve(&self.desk, &self.standby, &self.books.metrics, request).await;
            let headers = response.headers_mut();
            headers.insert(headers::REGION, self.region.clone());
            return response;
        }
        let header = |name: HeaderName| request.headers().get(name).map(HeaderValue::as_bytes);
        let errand = errand::read(
            &Asked {
                method: request.method(),
                authority: host,
                path,
                function: header(headers::FUNCTION_ID),
                version: header(headers::FUNCTION_VERSION_ID),
            },
            &self.domain,
        );
        // On the heap: a worker's stream is a task of this same type, and would else be as large as a call's.
        match errand {
            Ok(Errand::Call(target)) => Box::pin(self.invoke(peer, request, target)).await,
            Ok(Errand::Invoke(target, wrapping)) => {
                let origin = request.headers().get(ORIGIN).cloned();
                let invoked = self.invoke_by_path(peer, request, target, wrapping);
                shared(origin.as_ref(), Box::pin(invoked).await)
            }
            Ok(Errand::Poll(id, wrapping)) => {
                let polled = Box::pin(self.poll(peer, &request, id, wrapping)).await;
                shared(request.headers().get(ORIGIN), polled)
            }
            // Only the API's hosts have methods that are wrong.
            Err(error @ TargetError::Method { .. }) => {
                match cors::preflight(request.method(), request.headers()) {
                    Some(told) => respond::preflight(&self.region, told).map(Body::full),
                    None => {
                        let stamp = self.stamp(peer, request.headers());
                        let record = self.record(&stamp, None, &request);
                        self.refuse(&record, &stamp, &Refusal::Target(error))
                    }
                }
            }
            Err(TargetError::Unknown { .. })
                if path == HEALTH && request.method() == Method::GET =>
            {
                respond::health(&self.region, self.fault().as_ref()).map(Body::full)
            }
            // What it costs is for edges to spend; anybody else learns nothing.
            Err(TargetError::Unknown { .. })
                if path == CANARY_PATH && peer.trusted && request.method() == Method::GET =>
            {
                let look = self.canaries.look(&self.dispatch, &self.workers);
                let found = Box::pin(look).await;
                respond::canary(&self.region, found).map(Body::full)
            }
            Err(TargetError::Unknown { .. })
                if path == headers::RECALL_PATH
                    && peer.trusted
                    && request.method() == Method::POST =>
            {
                self.recalls.tell(self.stamp(peer, request.headers()).id);
                respond::heard(&self.region).map(Body::full)
            }
            Err(error) => {
                let stamp = self.stamp(peer, request.headers());
                let record = self.record(&stamp, None, &request);
                self.refuse(&record, &stamp, &Refusal::Target(error))
            }
        }
    }

    /// Why this instance should get no calls now, if it should not.
    pub(crate) fn fault(&self) -> Option<Refusal> {
        if self.phases.is_leaving() {
            Some(Refusal::Draining)
        } else if !self.dispatch.link.is_up() {
            Some(Refusal::BusLost(headers::Execution::NotStarted))
        } else {
            None
        }
    }
}

/// Lets the page that called read the answer.
fn shared(origin: Option<&HeaderValue>, mut answer: Response<Body>) -> Response<Body> {
    if let Some(origin) = origin {
        cors::share(origin, answer.headers_mut());
    }
    answer
}

/// Whom the request asks for: `:authority`, the request target's host, or `Host`.
fn authority<B>(request: &Request<B>) -> &str {
    match request.uri().authority() {
        Some(authority) => authority.as_str(),
        None => request
            .headers()
            .get(HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or_default(),
    }
}
