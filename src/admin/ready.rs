//! Readiness by latches: certificates are loaded before this exists; then the first address, and the first endpoint that
//! answers. A latch is never taken back, except by the stop: a region that is lost later must not take the edge
//! out of its load balancer as well.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::region::Health;
use crate::table::Snapshot;

/// The latches.
#[derive(Debug, Default)]
pub struct Ready {
    resolved: AtomicBool,
    answered: AtomicBool,
    stopping: AtomicBool,
}

// === impl Ready ===

impl Ready {
    /// The edge stops: it is not ready any more, whatever the latches say.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether every region has answered, or none is left that might: what a successor waits for a little, so that the first
    /// calls go where the old edge would have sent them.
    #[must_use]
    pub fn complete(&self, snapshot: &Snapshot) -> bool {
        let answered = |e: &crate::table::EndpointView| e.health >= Health::Ramp;
        self.missing(snapshot).is_empty()
            && snapshot
                .regions
                .iter()
                .all(|r| r.endpoints.iter().any(answered))
    }

    /// What is missing, in words; empty when ready.
    #[must_use]
    pub fn missing(&self, snapshot: &Snapshot) -> Vec<&'static str> {
        let latch = |latch: &AtomicBool, now: bool| latch.fetch_or(now, Ordering::Relaxed) || now;
        let endpoints = || snapshot.regions.iter().flat_map(|r| &r.endpoints);
        let resolved = latch(&self.resolved, endpoints().next().is_some());
        let answered = latch(
            &self.answered,
            endpoints().any(|e| e.health >= Health::Ramp),
        );
        [
            (self.stopping.load(Ordering::Relaxed), "stopping"),
            (!resolved, "no region's name is resolved yet"),
            (!answered, "no region has answered yet"),
        ]
        .into_iter()
        .filter_map(|(missing, words)| missing.then_some(words))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latches_are_not_taken_back_but_a_stop_is_final() {
        let ready = Ready::default();
        let empty = Snapshot::default();
        assert_eq!(ready.missing(&empty).len(), 2);
        ready.resolved.store(true, Ordering::Relaxed);
        ready.answered.store(true, Ordering::Relaxed);
        assert_eq!(ready.missing(&empty).len(), 0);
        ready.stop();
        assert_eq!(ready.missing(&empty), ["stopping"]);
    }
}
