//! Which calls run here, so that a cancellation finds its call and a second delivery of a running call is noticed.
//!
//! A call is entered before it is claimed and leaves when its [`Entry`] is dropped, however its handling ends.

use std::collections::HashMap;
use std::collections::hash_map;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use frontdoor_protocol::names::RequestId;
use tokio_util::sync::CancellationToken;

/// The calls in hand; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Running(Arc<Mutex<HashMap<RequestId, CancellationToken>>>);

/// One call's place in [`Running`].
#[derive(Debug)]
pub(crate) struct Entry {
    running: Running,
    id: RequestId,
    cancelled: CancellationToken,
}

// === impl Running ===

impl Running {
    /// Enters a call, unless it is here already.
    pub(crate) fn enter(&self, id: RequestId) -> Option<Entry> {
        let cancelled = CancellationToken::new();
        match self.lock().entry(id) {
            hash_map::Entry::Occupied(_) => return None,
            hash_map::Entry::Vacant(place) => place.insert(cancelled.clone()),
        };
        Some(Entry {
            running: self.clone(),
            id,
            cancelled,
        })
    }

    /// Cancels a call; says whether it was here.
    pub(crate) fn cancel(&self, id: RequestId) -> bool {
        let found = self.lock().get(&id).cloned();
        found.map(|token| token.cancel()).is_some()
    }

    /// The map is whole between any two statements, so a panic elsewhere cannot have broken it.
    fn lock(&self) -> MutexGuard<'_, HashMap<RequestId, CancellationToken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Entry ===

impl Entry {
    /// Ends when the call is cancelled.
    pub(crate) async fn cancelled(&self) {
        self.cancelled.cancelled().await;
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.running.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_is_here_once_and_can_be_cancelled() {
        let running = Running::default();
        let id = "7f2c1f0e-7f3b-4a55-8a2e-3d1b5f0c9a11".parse().expect("id");
        assert!(!running.cancel(id), "not here yet");
        let entry = running.enter(id).expect("first");
        assert!(running.enter(id).is_none(), "here already");
        assert!(running.cancel(id));
        entry.cancelled().await;
        drop(entry);
        assert!(!running.cancel(id), "gone");
        assert!(running.enter(id).is_some(), "may come back");
    }
}
