//! The worker: stands beside one function container and runs its calls.
//!
//! ```text
//! pull: ask JetStream for as many messages as slots are free ─▶ handle: one message, start to end
//!   item    decode and check                    attach  claim the call; fetch its body; bring the answer
//!   running who runs here, for cancel           call    the container, streaming both ways
//!   settle  how it ended → ack, later, never    health  is the container well? else ask for nothing
//! ```
//!
//! A call is claimed at the service that holds the caller *before* the container sees it, so that a call which nobody
//! waits for is never run, and one that was not run can safely move elsewhere. Services that do not speak of claims
//! (NVIDIA's) get the answer by a late attach. The worker creates no stream and no consumer, keeps nothing on disk,
//! and never runs a call twice by its own doing.
//!
//! Modules are listed in dependency order: each may use those before it. The blank lines keep rustfmt from
//! sorting them.

pub mod config;

mod slots;

mod settle;

mod item;

mod metrics;

mod record;

mod running;

mod load;

mod body;

mod h2c;

mod attach;

mod call;

mod handle;

mod standby;

mod health;

mod nats;

mod presence;

mod pull;

mod admin;

mod stop;

mod service;

pub mod offline;

pub use nats::NatsError;
pub use service::{RunError, Worker, run};

/// Every family of metrics in Prometheus' text format, as of a service that has done nothing yet: what the list of metrics
/// for operators is made from.
///
/// # Errors
/// If two families have one name, which a test would have found.
pub fn metric_families() -> Result<String, prometheus::Error> {
    let registry = prometheus::Registry::new();
    metrics::Metrics::register(&registry)?;
    frontdoor_telemetry::process::register(&registry)?;
    prometheus::TextEncoder::new().encode_to_string(&registry.gather())
}
