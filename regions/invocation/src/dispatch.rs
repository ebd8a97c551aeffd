//! Puts calls on the region's work queues (JetStream) and takes them back when they are cancelled.
//!
//! Every wait on NATS here is timed, and nothing on the request path waits for a lock that is held over I/O. Knows
//! nothing of HTTP or of who waits for the answer. `front/invoke.rs` publishes, `attach/desk.rs` cancels, `service.rs`
//! runs the two background tasks.

mod canary;
mod cancel;
mod catalog;
mod keep;
mod link;
mod publish;
mod pulse;
mod stream;
mod track;
mod watch;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use frontdoor_protocol::names::RegionName;
use futures_util::StreamExt as _;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

pub(crate) use cancel::{Cancel, Cancels, send_all as send_cancels};
pub(crate) use catalog::{Catalog, Unknown, Version};
pub(crate) use keep::Kept;
pub use link::LinkError;
pub(crate) use link::{Link, LinkState};
pub(crate) use publish::Fault;
pub use stream::StreamError;
pub(crate) use watch::watch_queues;

/// How many streams are made at once after a (re)connect.
const STREAMS_AT_ONCE: usize = 16;
/// Pause before streams are tried again: long enough not to press a server that just came up.
const STREAMS_AGAIN: Duration = Duration::from_millis(500);
/// How often streams and consumers are made sure of while the connection is up. A publish tells that a stream is gone,
/// but nothing tells of a consumer: calls would pile up until the next reconnect.
const ENSURE_EVERY: Duration = Duration::from_secs(5);

/// The region's queues.
pub(crate) struct Dispatch {
    pub(crate) region: RegionName,
    pub(crate) catalog: Catalog,
    pub(crate) link: Link,
    pub(crate) metrics: Arc<Metrics>,
}

// === impl Dispatch ===

impl Dispatch {
    /// Follows the connection until `stop`: checks each new server, makes sure of all streams, then calls it
    /// up and keeps them there.
    pub(crate) async fn follow_link(self: Arc<Self>, stop: CancellationToken) {
        let mut states = self.link.states();
        let follow = async {
            loop {
                if *states.borrow_and_update() == LinkState::Connected {
                    self.prepare().await;
                }
                let up = self.link.is_up();
                self.metrics.nats_up.set(i64::from(up));
                let changed = tokio::select! {
                    changed = states.changed() => changed,
                    never = self.keep_queues() => match never {},
                };
                if changed.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = follow => {}
            () = stop.cancelled() => {}
        }
    }

    /// Makes a connected server fit for calls. A stream that differs is for people to correct; the other versions go on.
    async fn prepare(&self) {
        if self.link.check_server().is_err() {
            return;
        }
        while self.link.is_connected() {
            match self.ensure_all().await {
                Ok(()) => {}
                Err(error @ StreamError::Differs { .. }) => {
                    tracing::error!(%error, "a work queue cannot be used");
                }
                Err(error) => {
                    tracing::warn!(%error, "work queues are not ready; trying again");
                    tokio::time::sleep(STREAMS_AGAIN).await;
                    continue;
                }
            }
            self.link.set_up();
        }
    }

    /// Makes again what somebody deleted, for as long as it is polled. What is there is left alone.
    async fn keep_queues(&self) -> Infallible {
        loop {
            tokio::time::sleep(ENSURE_EVERY).await;
            if self.link.is_up()
                && let Err(error) = self.ensure_all().await
            {
                tracing::warn!(%error, "a work queue cannot be made sure of");
            }
        }
    }

    /// Makes sure of all versions' streams and consumers; the first failure is told, the others are tried all the same.
    pub(crate) async fn ensure_all(&self) -> Result<(), StreamError> {
        let versions: Vec<Arc<Version>> = self.catalog.versions().map(Arc::clone).collect();
        futures_util::stream::iter(versions)
            .map(|version| async move { stream::ensure(&self.link, &self.region, &version).await })
            .buffer_unordered(STREAMS_AT_ONCE)
            .fold(Ok(()), async |all, one| all.and(one))
            .await
    }
}
