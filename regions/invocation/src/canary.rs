//! Whether calls get through this region's queue to a worker: asked by trusted edges, about once a second.
//!
//! Edges may ask all at once: one looks, the others get what it found. Only versions with a worker of ours that has a free
//! slot can be tried; a region that is only busy is not sick, and of NVIDIA's workers nothing can be seen.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use frontdoor_protocol::verdict::Canary;
use tokio::sync::Mutex;

use crate::dispatch::{Dispatch, Version};
use crate::workers::Workers;

/// What was found is as good as new for this long.
const FRESH: Duration = Duration::from_millis(500);

/// The canaries of this instance.
#[derive(Default)]
pub(crate) struct Canaries {
    /// Locked while one looks, which is bounded; calls never come here.
    last: Mutex<Option<(Instant, Canary)>>,
    /// Which version is next.
    next: AtomicUsize,
    /// Whether workers of ours were ever seen: then their absence means something.
    staffed: AtomicBool,
}

/// What can be tried.
enum Way {
    /// All the way to a worker.
    Worker,
    /// Only the queue: workers are busy, or not ours.
    Queue,
    /// Workers of ours were here and are gone.
    Deserted,
}

// === impl Canaries ===

impl Canaries {
    /// Looks, or tells what was found a moment ago.
    pub(crate) async fn look(&self, dispatch: &Dispatch, workers: &Workers) -> Canary {
        let mut last = self.last.lock().await;
        if let Some((at, found)) = *last
            && at.elapsed() < FRESH
        {
            return found;
        }
        let found = self.send(dispatch, workers).await;
        *last = Some((Instant::now(), found));
        found
    }

    async fn send(&self, dispatch: &Dispatch, workers: &Workers) -> Canary {
        if !dispatch.link.is_up() {
            return Canary::Queue;
        }
        match self.choose(dispatch, workers) {
            None => Canary::Well,
            Some((version, Way::Worker)) => dispatch.send_canary(&version).await,
            Some((version, Way::Queue)) => dispatch.queue_answers(&version).await,
            Some((version, Way::Deserted)) => match dispatch.queue_answers(&version).await {
                Canary::Well => Canary::Workers,
                worse => worse,
            },
        }
    }

    /// The next version, and what can be tried with it.
    fn choose(&self, dispatch: &Dispatch, workers: &Workers) -> Option<(Arc<Version>, Way)> {
        let mut versions = Vec::new();
        versions.extend(dispatch.catalog.versions().cloned());
        versions.sort_unstable_by_key(|v: &Arc<Version>| v.id);
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let start = turn.checked_rem(versions.len())?;
        versions.rotate_left(start);
        let first = Arc::clone(versions.first()?);
        let mut staffed = false;
        for version in versions {
            let standing = workers.seen(version.id).filter(|s| s.workers > 0);
            staffed |= standing.is_some();
            if standing.is_some_and(|s| s.free > 0) {
                self.staffed.store(true, Ordering::Relaxed);
                return Some((version, Way::Worker));
            }
        }
        if staffed || !self.staffed.load(Ordering::Relaxed) {
            Some((first, Way::Queue))
        } else {
            Some((first, Way::Deserted))
        }
    }
}
