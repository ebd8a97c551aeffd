//! The worker's own port: `/live`, `/ready`, `/metrics`. For operators and probes, never for callers.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use prometheus::{Registry, TextEncoder};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::health::Health;
use crate::nats::Link;

/// What the answers are made of.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) registry: Registry,
    pub(crate) link: watch::Receiver<Link>,
    pub(crate) health: watch::Receiver<Health>,
    /// The stop was asked for.
    pub(crate) stopping: CancellationToken,
}

/// Serves until `stop`.
pub(crate) async fn serve(listener: TcpListener, facts: Arc<Facts>, stop: CancellationToken) {
    let router = Router::new()
        .route("/live", get(async || Json(json!({ "live": true }))))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(facts);
    let serving = axum::serve(listener, router).into_future();
    if let Some(Err(error)) = stop.run_until_cancelled(serving).await {
        tracing::error!(%error, "the admin port is gone");
    }
}

async fn ready(State(facts): State<Arc<Facts>>) -> Response {
    let reasons: Vec<&str> = [
        (facts.stopping.is_cancelled(), "stopping"),
        (!facts.link.borrow().up, "NATS is not connected"),
        (
            !facts.health.borrow().is_well(),
            "the container is not healthy",
        ),
    ]
    .into_iter()
    .filter_map(|(holds, reason)| holds.then_some(reason))
    .collect();
    let ready = reasons.is_empty();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = Json(json!({ "ready": ready, "reasons": reasons }));
    (status, body).into_response()
}

async fn metrics(State(facts): State<Arc<Facts>>) -> Response {
    match TextEncoder::new().encode_to_string(&facts.registry.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
