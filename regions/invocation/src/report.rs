//! The region's own news for the edges: published every second, and at once when this instance begins to leave.
//!
//! Soft state over core NATS: nobody waits for it, nothing is repeated, a lost report is replaced by the next.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use frontdoor_protocol::report::{HEARTBEAT, Report, VERSION};
use frontdoor_protocol::subject;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::attach::desk::Desk;
use crate::dispatch::Dispatch;
use crate::phase::Phases;

/// Publishes reports until `stop`.
pub(crate) async fn publish(
    dispatch: Arc<Dispatch>,
    desk: Arc<Desk>,
    phases: Arc<Phases>,
    stop: CancellationToken,
) {
    let subject = subject::report(&dispatch.region);
    let epoch = unix_ms();
    let mut changes = phases.subscribe();
    let mut beat = tokio::time::interval(HEARTBEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seq = 0;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = beat.tick() => {}
            changed = changes.changed() => if changed.is_err() { return },
        }
        // Without a connection reports would pile up in its queue and all come out old.
        if !dispatch.link.is_up() {
            continue;
        }
        seq += 1;
        let report = Report {
            v: VERSION,
            region: dispatch.region.clone(),
            epoch,
            seq,
            draining: phases.is_leaving(),
            queued: desk.queued(),
            running: desk.running(),
            full: true,
            functions: dispatch.catalog.reported(),
        };
        if dispatch.link.tell(subject.clone(), report.encode()).await {
            dispatch.metrics.reports.inc();
        }
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
