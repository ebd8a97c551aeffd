//! Tells the region's workers where this instance is and with which ticket they may stand there.
//!
//! Core NATS, soft state: said twice a second, and at once when this instance begins to leave. At the same beat versions are
//! forgotten whose workers stand here no more.

use std::sync::Arc;

use frontdoor_protocol::presence::{SERVICE_EVERY, ServicePresence};
use frontdoor_protocol::subject;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::Standby;
use crate::dispatch::Dispatch;
use crate::phase::Phases;

/// Speaks until `stop`.
pub(crate) async fn speak(
    standby: Arc<Standby>,
    attach_url: String,
    dispatch: Arc<Dispatch>,
    phases: Arc<Phases>,
    stop: CancellationToken,
) {
    let subject = subject::service_presence(&dispatch.region);
    let mut changes = phases.subscribe();
    let mut states = dispatch.link.states();
    let mut beat = tokio::time::interval(SERVICE_EVERY);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = beat.tick() => standby.forget(),
            changed = changes.changed() => if changed.is_err() { return },
            changed = states.changed() => if changed.is_err() { return },
        }
        if !dispatch.link.is_up() {
            continue;
        }
        let said = ServicePresence {
            service: standby.service,
            attach_url: attach_url.clone(),
            ticket: standby.ticket.to_string(),
            taking: !phases.is_draining(),
        };
        dispatch.link.tell(subject.clone(), said.encode()).await;
    }
}
