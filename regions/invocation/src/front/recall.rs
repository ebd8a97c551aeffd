//! Calls that wait in a queue, to be found by their ids when their edge has found another region for them.
//!
//! An edge sends a call to where it will wait when nobody else has a worker either. If one comes up elsewhere, the edge says so,
//! and the call's own wait (`wait.rs`) decides whether it may go: only one that nobody has claimed, and where nobody is
//! left to do so. An id that is not here is no error: the call was answered in that moment.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use frontdoor_protocol::names::RequestId;
use tokio::sync::Notify;

/// The calls that wait; as many as the desk lets in.
#[derive(Default)]
pub(crate) struct Recalls(Mutex<HashMap<RequestId, Arc<Notify>>>);

/// One call's place among them, until it is dropped.
pub(super) struct Recall<'a> {
    all: &'a Recalls,
    id: RequestId,
    /// `None` if another call has the id, which then is the one that is found.
    told: Option<Arc<Notify>>,
}

// === impl Recalls ===

impl Recalls {
    /// A call begins to wait.
    pub(super) fn enter(&self, id: RequestId) -> Recall<'_> {
        let told = match self.lock().entry(id) {
            Entry::Occupied(_) => None,
            Entry::Vacant(place) => Some(Arc::clone(place.insert(Arc::default()))),
        };
        Recall {
            all: self,
            id,
            told,
        }
    }

    /// The edge has another region for a call.
    pub(super) fn tell(&self, id: RequestId) {
        if let Some(told) = self.lock().get(&id) {
            told.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RequestId, Arc<Notify>>> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Recall ===

impl Recall<'_> {
    /// Ends when the call's edge has another region for it.
    pub(super) async fn told(&self) {
        match &self.told {
            Some(told) => told.notified().await,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Recall<'_> {
    fn drop(&mut self) {
        if self.told.is_some() {
            self.all.lock().remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_waiting_call_is_found_by_its_id() {
        let id = |n: u128| RequestId::from_uuid(uuid::Uuid::from_u128(n));
        let told = async |recall: &Recall<'_>| {
            tokio::time::timeout(Duration::from_secs(1), recall.told())
                .await
                .is_ok()
        };
        let all = Recalls::default();
        all.tell(id(1));
        let (one, two, twin) = (all.enter(id(1)), all.enter(id(2)), all.enter(id(1)));
        assert!(!told(&one).await, "nobody was told");
        all.tell(id(1));
        assert!(told(&one).await && !told(&two).await && !told(&twin).await);
        drop(twin);
        all.tell(id(1));
        assert!(told(&one).await, "it is still there");
        drop((one, two));
        assert!(all.lock().is_empty());
    }
}
