//! Looks at the edge's `/regions` all the while and notes when a region changes, as an operator at the status page would.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::target::{Seen, Target};

/// How often it is looked: finer than any bar, and no load for the edge.
const LOOK: Duration = Duration::from_millis(25);

/// A region was seen in a state it was not in before.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) at: Duration,
    pub(super) region: String,
    pub(super) health: String,
    /// What is wrong with it, by name.
    pub(super) fault: String,
}

/// A running watch.
pub(super) struct Watch {
    changes: Arc<Mutex<Vec<Change>>>,
    stop: CancellationToken,
    task: JoinSet<()>,
}

// === impl Watch ===

impl Watch {
    pub(super) fn start(target: &Target, started: Instant) -> Self {
        let (changes, stop) = (
            Arc::<Mutex<Vec<Change>>>::default(),
            CancellationToken::new(),
        );
        let (target, found, stopped) = (target.clone(), Arc::clone(&changes), stop.clone());
        let mut task = JoinSet::new();
        task.spawn(async move {
            while stopped
                .run_until_cancelled(look(&target, started, &found))
                .await
                .is_some()
            {}
        });
        Self {
            changes,
            stop,
            task,
        }
    }

    pub(super) async fn end(self) -> Vec<Change> {
        self.stop.cancel();
        self.task.join_all().await;
        std::mem::take(&mut self.changes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn look(target: &Target, started: Instant, found: &Mutex<Vec<Change>>) {
    let seen = target.health().await;
    let at = started.elapsed();
    {
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        // An edge that does not answer says nothing about a region.
        for Seen {
            region,
            health,
            fault,
        } in seen.unwrap_or_default()
        {
            let before = found.iter().rev().find(|c| c.region == region);
            if before.is_none_or(|c| c.health != health || c.fault != fault) {
                found.push(Change {
                    at,
                    region,
                    health,
                    fault,
                });
            }
        }
    }
    sleep(LOOK).await;
}
