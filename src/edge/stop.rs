//! The stop order of the edge, and its deadlines.
//!
//! 1. Not ready, for `stop.notice`: load balancers look elsewhere, calls are still served.
//! 2. Listeners close; HTTP/2 callers get GOAWAY, idle HTTP/1.1 connections are closed.
//! 3. Calls that run may finish, up to `stop.grace`; what is left then is cut, and said so.
//! 4. Background tasks end: probes, names, chatter, keeper, admin, connections to regions.
//!
//! With a successor at the same ports step 1 falls away, the admin port closes with the others, and whoever is connected
//! without a call has time to notice; the rest is the same. It ends early, as soon as nobody is left.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::BACKGROUND;
use crate::admin::Ready;
use crate::config::{Settings, Stop};
use crate::handover::Successor;
use crate::listen::Farewell;
use crate::notify::{self, Word};
use crate::upstream::Pool;

/// Everything that has to stop.
pub(super) struct Parts<'a> {
    pub(super) ready: &'a Ready,
    pub(super) drain: &'a watch::Sender<bool>,
    pub(super) farewell: &'a Farewell,
    pub(super) pool: &'a Pool,
    pub(super) listeners: JoinSet<()>,
    pub(super) calls: TaskTracker,
    pub(super) serving: CancellationToken,
    pub(super) background: CancellationToken,
    pub(super) tasks: JoinSet<()>,
}

/// Stops everything; returns when it has stopped.
pub(super) async fn in_order(settings: Stop, mut parts: Parts<'_>) {
    notify::tell(Word::Stopping);
    parts.ready.stop();
    tracing::info!(notice = ?settings.notice, "stopping: not ready any more, still serving");
    sleep(settings.notice).await;
    close(&mut parts).await;
    finish(settings.grace, sleep(settings.grace), parts).await;
}

/// Leaves the ports to another process; returns when everything has stopped here. A stop that is asked for meanwhile has its own,
/// usual grace.
pub(super) async fn succeeded(
    settings: &Settings,
    successor: &Successor,
    shutdown: &CancellationToken,
    mut parts: Parts<'_>,
) {
    if let Some(pid) = successor.pid {
        notify::tell(Word::Successor(pid));
    }
    tracing::info!(
        pid = successor.pid,
        "a successor serves the ports; this edge finishes its calls"
    );
    parts.farewell.succeeded();
    parts.serving.cancel();
    close(&mut parts).await;
    successor.leave().await;
    let (grace, stop) = (settings.upgrade.grace, settings.stop.grace);
    let stopped = async {
        shutdown.cancelled().await;
        sleep(stop).await;
    };
    let over = async {
        tokio::select! {
            () = sleep(grace) => {}
            () = stopped => {}
        }
    };
    finish(grace, over, parts).await;
}

/// Accepts nothing any more, and tells who is connected.
async fn close(parts: &mut Parts<'_>) {
    parts.drain.send_replace(true);
    while parts.listeners.join_next().await.is_some() {}
    parts.calls.close();
}

async fn finish(grace: Duration, over: impl Future<Output = ()>, mut parts: Parts<'_>) {
    tracing::info!(
        connections = parts.calls.len(),
        ?grace,
        "no more connections here; calls that run may finish"
    );
    tokio::select! {
        biased;
        () = parts.calls.wait() => {}
        () = over => tracing::error!(
            left = parts.calls.len(),
            "the grace period is over; calls are cut"
        ),
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
