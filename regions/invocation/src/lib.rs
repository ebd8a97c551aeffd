//! The invocation service: the HTTP front of one region.
//!
//! ```text
//! front (HTTP) ─▶ auth ─▶ dispatch ─▶ JetStream ─▶ worker
//!    ▲                                               │
//!    └── respond ◀── pending ◀── attach ◀────────────┘ (streams both ways)
//! ```
//!
//! A call is accepted, put on the region's work queue and waits at the desk (`attach/desk.rs`). A worker that pulled it
//! comes to the desk over HTTP, claims it, and its stream becomes the caller's answer. Whether a call began is decided
//! at the desk, atomically, so that "not started" is always true. The wire towards workers is NVCF's.
//!
//! Modules stand in the order in which they may know each other.

// The blank lines keep rustfmt from sorting them.

mod phase;

mod tasks;

mod pending;

mod drain;

mod accounts;

pub mod config;

mod auth;

mod respond;

mod metrics;

mod record;

mod dispatch;

mod workers;

mod choice;

mod attach;

mod siblings;

mod canary;

mod front;

mod report;

mod admin;

mod stop;

mod service;

use tokio_util::sync::CancellationToken;

pub use auth::{AuthError, TrustError};
pub use dispatch::{LinkError, StreamError};
pub use front::SecureError;
pub use service::RunError;

/// Runs the service until it has stopped in order after `shutdown` was cancelled.
///
/// # Errors
/// If a port cannot be bound, or NATS answers and cannot be used. A NATS that does not answer is waited for instead.
pub async fn run(settings: config::Settings, shutdown: CancellationToken) -> Result<(), RunError> {
    service::run(settings, shutdown).await
}

/// Every family of metrics in Prometheus' text format, as of a service that has done nothing yet: what the list of metrics
/// for operators is made from.
///
/// # Errors
/// If two families have one name, which a test would have found.
pub fn metric_families() -> Result<String, prometheus::Error> {
    let registry = prometheus::Registry::new();
    let metrics = metrics::Metrics::register(&registry)?;
    metrics.certificates.set("FILE", 0);
    frontdoor_telemetry::process::register(&registry)?;
    prometheus::TextEncoder::new().encode_to_string(&registry.gather())
}
