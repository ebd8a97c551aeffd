//! Where workers stream back: the desk at which callers wait, and the two attach requests of workers.
//!
//! A call is one [`desk::Call`], owned by whoever serves the caller; dropping it at any time ends the call in order. Bytes
//! go from one connection to the other through the bodies in `body.rs`: no task, no queue and no copy in between, so
//! each side feels the other's pace.

pub(crate) mod body;
pub(crate) mod closing;
pub(crate) mod desk;
mod download;
mod relay;
mod shelf;
pub(crate) mod standby;
mod upload;

use std::sync::Arc;

use bytes::Bytes;
use frontdoor_protocol::attach;
use http::header::AUTHORIZATION;
use http::{Method, Request, Response};
use hyper::body::Incoming;
use uuid::Uuid;

use crate::auth::bearer;
use crate::metrics::{Attach, Metrics};
use crate::respond::{self, AttachRefusal};

use body::Body;
use desk::Desk;
pub(crate) use download::Rest;
pub(crate) use relay::{HeadFault, Relay};
pub(crate) use shelf::Shelf;
use standby::Standby;

/// Answers a worker's attach request.
pub(crate) async fn serve(
    desk: &Arc<Desk>,
    standby: &Standby,
    metrics: &Metrics,
    request: Request<Incoming>,
) -> Response<Body> {
    let served = match (token(&request), request.method()) {
        (_, method) if method != Method::GET && method != Method::POST => {
            Err(AttachRefusal::Method)
        }
        (None, _) => Err(AttachRefusal::Unknown),
        (Some(token), &Method::GET) => {
            download::fetch(desk, token, &request).inspect(|_| metrics.attach(Attach::Fetched))
        }
        (Some(token), _) if standby::is_standing(request.headers()) => {
            standby::stand(standby, token, request).await
        }
        (Some(token), _) => upload::bring(desk, metrics, token, request).await,
    };
    served.unwrap_or_else(|refusal| {
        metrics.attach(match refusal {
            AttachRefusal::Over => Attach::Over,
            _ => Attach::Refused,
        });
        respond::attach_refused(&refusal).map(Body::full)
    })
}

fn token(request: &Request<Incoming>) -> Option<Uuid> {
    let value = request.headers().get(AUTHORIZATION)?;
    let text = std::str::from_utf8(bearer(value.as_bytes())?).ok()?;
    Uuid::try_parse(text).ok()
}

fn asks_claim(request: &Request<Incoming>) -> bool {
    request
        .headers()
        .get(attach::CLAIM)
        .is_some_and(|value| value.as_bytes() == attach::CLAIM_ASKED.as_bytes())
}

/// An empty piece of body is no piece.
fn some(bytes: Bytes) -> Option<Bytes> {
    (!bytes.is_empty()).then_some(bytes)
}
