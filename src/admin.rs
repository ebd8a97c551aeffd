//! `/live`, `/ready`, `/metrics` and `/regions`, on a port of their own that callers never reach.
//!
//! Reads snapshots and metrics. What changes something goes through `orders.rs`, and needs the admin token.

mod orders;
mod ready;
mod regions;

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use self::orders::Token;
pub use self::ready::Ready;
use crate::metrics::Metrics;
use crate::orders::Desk;
use crate::table::SnapshotReader;

/// What the admin port shows.
#[derive(Clone)]
pub struct Admin {
    /// Whether calls are welcome.
    pub ready: Arc<Ready>,
    /// The picture of the world.
    pub snapshots: SnapshotReader,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Where orders go.
    pub orders: Desk,
    /// Who may give them; nobody without.
    pub token: Option<Token>,
}

/// Serves the admin port until told to stop.
///
/// # Errors
/// If the port breaks.
pub async fn serve(
    listener: TcpListener,
    admin: Admin,
    stop: CancellationToken,
) -> Result<(), std::io::Error> {
    let routes = Router::new()
        .route("/live", get(|| async { "live\n" }))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/regions", get(regions))
        .route("/regions/{name}/drain", post(orders::drain))
        .route("/regions/{name}/undrain", post(orders::undrain))
        .route("/regions/{name}/weight", put(orders::weight))
        .with_state(admin);
    axum::serve(listener, routes)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
}

async fn ready(State(admin): State<Admin>) -> Response {
    let reasons = admin.ready.missing(&admin.snapshots.load());
    let status = if reasons.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        status,
        Json(serde_json::json!({ "ready": reasons.is_empty(), "reasons": reasons })),
    )
        .into_response()
}

async fn metrics(State(admin): State<Admin>) -> Response {
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4")],
        admin.metrics.render(),
    )
        .into_response()
}

async fn regions(State(admin): State<Admin>) -> Response {
    Json(regions::view(
        &admin.snapshots.load(),
        std::time::Instant::now(),
    ))
    .into_response()
}
