//! How far the service is on its way from serving to stopped: one value, read by every call, moved by `stop.rs` alone.
//!
//! Never goes back. Reading is one atomic load; who needs to wait for a change subscribes.

use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::watch;

/// Where the service stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    /// As usual.
    Serving,
    /// Says that it will stop, and still takes calls.
    Noticing,
    /// Refuses new calls, finishes running ones.
    Draining,
    /// Gives up what no worker has; what runs is cut next.
    Cutting,
}

/// The phase and those who wait for it.
pub(crate) struct Phases {
    now: AtomicU8,
    changes: watch::Sender<Phase>,
}

// === impl Phases ===

impl Phases {
    /// A service that serves.
    pub(crate) fn new() -> Self {
        Self {
            now: AtomicU8::new(Phase::Serving as u8),
            changes: watch::Sender::new(Phase::Serving),
        }
    }

    /// Whether the outside should go elsewhere.
    pub(crate) fn is_leaving(&self) -> bool {
        // SeqCst, as the desk's count of calls: a call counts itself, then looks here; `stop.rs` moves this, then
        // looks at the count. One of the two sees the other.
        self.now.load(Ordering::SeqCst) > Phase::Serving as u8
    }

    /// Whether new calls are refused.
    pub(crate) fn is_draining(&self) -> bool {
        self.now.load(Ordering::SeqCst) >= Phase::Draining as u8
    }

    /// Moves on; moving back does nothing.
    pub(crate) fn advance(&self, phase: Phase) {
        self.now.fetch_max(phase as u8, Ordering::SeqCst);
        self.changes.send_if_modified(|now| {
            let further = phase > *now;
            *now = phase.max(*now);
            further
        });
    }

    /// Tells of changes.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Phase> {
        self.changes.subscribe()
    }

    /// Waits until the time of what is queued is over.
    pub(crate) async fn cutting(&self) {
        // The sender lives as long as we do.
        let _ = self
            .subscribe()
            .wait_for(|phase| *phase >= Phase::Cutting)
            .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_forwards() {
        let phases = Phases::new();
        assert!(!phases.is_leaving() && !phases.is_draining());
        phases.advance(Phase::Noticing);
        assert!(phases.is_leaving() && !phases.is_draining());
        phases.advance(Phase::Draining);
        phases.advance(Phase::Noticing);
        assert!(phases.is_draining());
        assert_eq!(*phases.subscribe().borrow(), Phase::Draining);
        phases.advance(Phase::Cutting);
        assert!(phases.is_draining());
    }
}
