//! The stop order of a worker, and its deadlines.
//!
//! 1. `/ready` says no (the token that asked for the stop does that).
//! 2. Nothing more is asked for, standing streams are taken back; what still arrives goes back at once, to other workers.
//! 3. Running calls finish, up to the configured grace; the rest is cut, its callers see a broken end.
//! 4. Services take over the last bytes of answers, up to [`TAILS`].
//! 5. NATS gets what was acked, up to [`FLUSH`].
//! 6. Background tasks end, connections close, up to [`CONNECTIONS`] in all.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::nats;
use crate::pull::Puller;
use crate::standby::Standby;

const TAILS: Duration = Duration::from_secs(10);
const FLUSH: Duration = Duration::from_secs(5);
/// More than the second in which the last spans are sent.
const CONNECTIONS: Duration = Duration::from_secs(2);

/// What is left of a worker once it is asked to stop.
pub(crate) struct Parts {
    pub(crate) puller: Puller,
    pub(crate) standby: Option<Arc<Standby>>,
    pub(crate) tails: TaskTracker,
    pub(crate) client: Client,
    pub(crate) background: JoinSet<()>,
    pub(crate) stop_background: CancellationToken,
    /// hyper's own tasks.
    pub(crate) connections: TaskTracker,
}

/// Stops in order.
pub(crate) async fn in_order(mut parts: Parts, grace: Duration) {
    tracing::info!(?grace, "stopping: running calls finish");
    let handed = async {
        if let Some(standby) = parts.standby.take() {
            standby.finish(grace).await;
        }
    };
    tokio::join!(parts.puller.finish(grace), handed);
    parts.tails.close();
    if tokio::time::timeout(TAILS, parts.tails.wait())
        .await
        .is_err()
    {
        tracing::warn!("some answers were not taken over in time");
    }
    let confirmed = tokio::time::timeout(FLUSH, nats::round_trip(&parts.client)).await;
    if confirmed != Ok(true) {
        tracing::warn!(
            "NATS did not confirm the last acks; unfinished messages may come again and be refused"
        );
    }
    parts.stop_background.cancel();
    let over = Instant::now() + CONNECTIONS;
    let background = async { while parts.background.join_next().await.is_some() {} };
    if timeout_at(over, background).await.is_err() {
        tracing::warn!("some background tasks did not end in time and are cut");
        // They may hold connections.
        parts.background.abort_all();
    }
    // The puller holds the last handles of all connections: without them the connections end.
    drop(parts.puller);
    parts.connections.close();
    let _ = timeout_at(over, parts.connections.wait()).await;
    tracing::info!("stopped");
}
