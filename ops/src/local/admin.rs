//! The admin port of the parts that are ours to run (dns, wan): `GET /live` and `GET /ready`, beside whatever the part
//! itself serves there. A part binds it last, so that answering at all means ready.

use std::net::SocketAddr;

use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The routes every admin port has.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/live", get(async || "live\n")).route(
        "/ready",
        get(async || Json(serde_json::json!({"ready": true, "reasons": []}))),
    )
}

/// Serves until `shutdown`.
pub(super) async fn serve(
    addr: SocketAddr,
    routes: Router,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(addr)
        .await
        .map_err(|e| anyhow::anyhow!("admin port {addr} cannot be opened: {e}"))?;
    axum::serve(listener, routes)
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await?;
    Ok(())
}
