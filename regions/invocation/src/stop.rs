//! The order in which the service stops, and how long each step may take.
//!
//! 1. `/health` and the report say draining; calls are still taken, so that edges turn away first (`stop.notice`).
//! 2. New calls are refused as not started. The port stays open: workers attach to it for the calls that run.
//! 3. Running calls end by themselves (`stop.grace`); of what is left then, queued calls are refused, running ones cut.
//! 4. No more connections; open ones close in order.
//! 5. Cancellations that wait are sent, what was begun aside of calls ends, NATS is flushed, the admin port closes.

use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::attach::desk::Desk;
use crate::attach::standby::Standby;
use crate::config::Stop;
use crate::dispatch::Link;
use crate::front::Tokens;
use crate::phase::{Phase, Phases};

/// Connections that do not close in order by then are cut: all their requests have ended.
const CLOSE: Duration = Duration::from_secs(2);
/// Background tasks that have not ended by then are left behind, with an error in the log.
const BACKGROUND: Duration = Duration::from_secs(5);

/// All that a stop ends.
pub(crate) struct Stopping<'a> {
    pub(crate) phases: &'a Phases,
    pub(crate) desk: &'a Desk,
    pub(crate) standby: &'a Standby,
    pub(crate) link: &'a Link,
    /// Connections and their streams.
    pub(crate) connections: &'a TaskTracker,
    pub(crate) tokens: &'a Tokens,
    /// Reports, cancellations, what is done aside of calls, the admin port.
    pub(crate) background: &'a TaskTracker,
    pub(crate) background_stop: &'a CancellationToken,
}

// === impl Stopping ===

impl Stopping<'_> {
    /// Stops everything, in order.
    pub(crate) async fn run(self, stop: Stop) {
        tracing::info!(notice = ?stop.notice, "stopping: health says draining");
        self.phases.advance(Phase::Noticing);
        tokio::time::sleep(stop.notice).await;

        tracing::info!(
            queued = self.desk.queued(),
            running = self.desk.running(),
            "stopping: new calls are refused"
        );
        self.phases.advance(Phase::Draining);
        self.standby.close();
        if timeout(stop.grace, self.desk.empty()).await.is_err() {
            tracing::warn!(
                queued = self.desk.queued(),
                running = self.desk.running(),
                "stopping: calls are cut"
            );
        }
        // Before connections close, so that each queued call's answer still goes out on its own.
        self.phases.advance(Phase::Cutting);

        self.tokens.close.cancel();
        self.connections.close();
        if timeout(CLOSE, self.connections.wait()).await.is_err() {
            self.tokens.cut.cancel();
            let _ = timeout(CLOSE, self.connections.wait()).await;
        }

        self.background_stop.cancel();
        self.background.close();
        if timeout(BACKGROUND, self.background.wait()).await.is_err() {
            tracing::error!("stopping: background tasks did not end");
        }
        self.link.flush().await;
        tracing::info!("stopped");
    }
}
