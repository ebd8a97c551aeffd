//! The stop order of the edge, and its deadlines.
//!
//! 1. Not ready, for `stop.notice`: load balancers look elsewhere, calls are still served.
//! 2. Listeners close; HTTP/2 callers get GOAWAY, idle HTTP/1.1 connections are closed.
//! 3. Calls that run may finish, up to `stop.grace`; what is left then is cut, and said so.
//! 4. Background tasks end: probes, names, chatter, keeper, admin, connections to regions.

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::BACKGROUND;
use crate::admin::Ready;
use crate::config::Stop;
use crate::upstream::Pool;

/// Everything that has to stop.
pub(super) struct Parts<'a> {
    pub(super) ready: &'a Ready,
    pub(super) drain: &'a watch::Sender<bool>,
    pub(super) pool: &'a Pool,
    pub(super) listeners: JoinSet<()>,
    pub(super) calls: TaskTracker,
    pub(super) background: CancellationToken,
    pub(super) tasks: JoinSet<()>,
}

/// Stops everything; returns when it has stopped.
pub(super) async fn in_order(settings: Stop, mut parts: Parts<'_>) {
    parts.ready.stop();
    tracing::info!(notice = ?settings.notice, "stopping: not ready any more, still serving");
    sleep(settings.notice).await;

    parts.drain.send_replace(true);
    while parts.listeners.join_next().await.is_some() {}
    parts.calls.close();
    tracing::info!(connections = parts.calls.len(), grace = ?settings.grace, "ports are closed; calls that run may finish");
    if timeout(settings.grace, parts.calls.wait()).await.is_err() {
        tracing::error!(
            left = parts.calls.len(),
            "the grace period is over; calls are cut"
        );
    }

    parts.background.cancel();
    let ended = async {
        while parts.tasks.join_next().await.is_some() {}
        parts.pool.close().await;
    };
    if timeout(BACKGROUND, ended).await.is_err() {
        tracing::error!("background tasks did not end in time; they are aborted");
    }
    parts.tasks.shutdown().await;
    tracing::info!("stopped");
}
