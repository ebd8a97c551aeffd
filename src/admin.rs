//! The status page and what operators and their tools ask, on a port of its own that callers never reach.
//!
//! Reads snapshots, diary and metrics. What changes something goes through `orders.rs`, and needs the admin token. Every
//! route is described in `openapi.json`.

mod events;
mod explain;
mod orders;
mod page;
mod picture;
mod ready;
mod regions;

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post, put};
use axum::{Json, Router};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use self::events::{Events, Painter};
pub use self::orders::Token;
pub use self::ready::Ready;
use crate::explain::Diary;
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
    /// The last calls.
    pub diary: Arc<Diary>,
    /// The page's pictures.
    pub events: Events,
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
    let routes = routes()
        .into_iter()
        .fold(Router::new(), |router, (_, path, route)| {
            router.route(path, route)
        })
        .with_state(admin);
    axum::serve(listener, routes)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
}

/// Method, path, and who answers.
fn routes() -> [(&'static str, &'static str, MethodRouter<Admin>); 14] {
    [
        ("get", "/", get(page::page)),
        ("get", "/page.css", get(page::style)),
        ("get", "/page.js", get(page::script)),
        ("get", "/openapi.json", get(page::openapi)),
        ("get", "/events", get(events::events)),
        ("get", "/live", get(|| async { "live\n" })),
        ("get", "/ready", get(ready)),
        ("get", "/metrics", get(metrics)),
        ("get", "/regions", get(regions)),
        ("get", "/decisions", get(explain::decisions)),
        ("get", "/explain/{id}", get(explain::explain)),
        ("post", "/regions/{name}/drain", post(orders::drain)),
        ("post", "/regions/{name}/undrain", post(orders::undrain)),
        ("put", "/regions/{name}/weight", put(orders::weight)),
    ]
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_route_is_described_and_every_description_has_a_route() {
        let there: BTreeSet<(String, String)> = routes()
            .into_iter()
            .map(|(method, path, _)| (path.to_owned(), method.to_owned()))
            .collect();
        let api: serde_json::Value = serde_json::from_str(page::OPENAPI).expect("JSON");
        assert_eq!(api["openapi"], "3.1.0");
        assert_eq!(api["info"]["version"], env!("CARGO_PKG_VERSION"));
        let mut described = BTreeSet::new();
        for (path, item) in api["paths"].as_object().expect("paths") {
            for (method, operation) in item.as_object().expect("operations") {
                assert!(operation["summary"].is_string(), "{method} {path}");
                assert!(operation["responses"].is_object(), "{method} {path}");
                let changes = method != "get";
                assert_eq!(operation["security"].is_array(), changes, "{method} {path}");
                described.insert((path.clone(), method.clone()));
            }
        }
        assert_eq!(there, described);
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let api: serde_json::Value = serde_json::from_str(page::OPENAPI).expect("JSON");
        let mut count = 0;
        for part in page::OPENAPI.split("\"$ref\": \"#").skip(1) {
            let pointer = part.split('"').next().expect("an end");
            assert!(api.pointer(pointer).is_some(), "{pointer}");
            count += 1;
        }
        assert!(count > 5);
    }
}
