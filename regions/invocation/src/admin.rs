//! The operators' port: `/live`, `/ready` with reasons, `/metrics`. Never on the public network.
//!
//! Reads what others keep; changes nothing. Serves until the very end of a stop, so that the stop can be watched.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use prometheus::{Registry, TextEncoder};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::front::Front;

#[derive(Serialize)]
struct Ready {
    ready: bool,
    reasons: Vec<&'static str>,
}

struct Admin {
    front: Arc<Front>,
    registry: Registry,
}

/// Serves the port until `stop`.
pub(crate) async fn serve(
    listener: TcpListener,
    front: Arc<Front>,
    registry: Registry,
    stop: CancellationToken,
) {
    let router = Router::new()
        .route("/live", get(|| async { "live\n" }))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(Arc::new(Admin { front, registry }));
    let served = axum::serve(listener, router)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the admin port failed");
    }
}

async fn ready(State(admin): State<Arc<Admin>>) -> Response {
    let mut reasons = Vec::new();
    if admin.front.phases.is_leaving() {
        reasons.push("draining");
    }
    if !admin.front.dispatch.link.is_up() {
        reasons.push("nats is not connected, too old, or its streams are not ready");
    }
    let status = match reasons.is_empty() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let ready = reasons.is_empty();
    (status, Json(Ready { ready, reasons })).into_response()
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    let families = &admin.front.books.metrics;
    let count = |calls: u64| i64::try_from(calls).unwrap_or(i64::MAX);
    families.held.set(count(
        u64::try_from(admin.front.held.count()).unwrap_or(u64::MAX),
    ));
    families.queued.set(count(admin.front.desk.queued()));
    families.running.set(count(admin.front.desk.running()));
    let standing = admin.front.standby.count();
    families
        .standing
        .set(i64::try_from(standing).unwrap_or(i64::MAX));
    let siblings = admin.front.siblings.count();
    families
        .siblings
        .set(i64::try_from(siblings).unwrap_or(i64::MAX));
    let workers = admin.front.workers.total();
    families.workers.set(workers.workers.into());
    families.free_slots.set(workers.free.into());
    match TextEncoder::new().encode_to_string(&admin.registry.gather()) {
        Ok(text) => ([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
