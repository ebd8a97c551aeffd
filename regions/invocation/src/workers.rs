//! Which of our workers stand behind each version, as they say themselves on the region's NATS every half second.
//!
//! Soft state: who is not heard for two seconds is gone, and a version nobody spoke for is *unknown*, not *empty*
//! (NVIDIA's workers never speak). Decides nothing; read by whoever chooses a version, reports, or computes a wait.
//! One task hears (`listen`), everybody else reads a finished answer.

mod crowd;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use async_nats::Message;
use frontdoor_protocol::names::VersionId;
use frontdoor_protocol::presence::{self, EXPIRES, WorkerPresence};
use frontdoor_protocol::subject;
use futures_util::StreamExt as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::dispatch::Dispatch;
use crate::metrics::Presence;

use crowd::{Crowd, Heard};

/// How often the silent are looked for.
const EXPIRE_EVERY: Duration = Duration::from_millis(250);
/// Workers speak every half second: who says nothing for so long is late, and perhaps gone.
const SILENT: Duration = Duration::from_millis(850);
/// Versions whose workers are remembered after they are gone.
const REMEMBERED: usize = 20_000;
/// Pause before subscribing again, should that ever fail.
const SUBSCRIBE_PAUSE: Duration = Duration::from_millis(500);

/// What is known of the workers of one version that take calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Standing {
    /// How many.
    pub(crate) workers: u32,
    /// Calls they may have at once.
    pub(crate) slots: u32,
    /// Calls they could take now.
    pub(crate) free: u32,
    /// How long a call takes in the mean; zero if none was made lately.
    pub(crate) service: Duration,
}

/// The workers of all versions.
pub(crate) struct Workers {
    known: RwLock<HashMap<VersionId, Standing>>,
    /// When each worker that takes calls was heard last.
    ready: RwLock<HashMap<Uuid, Instant>>,
    /// When any worker of a version last said that it takes calls, also if it is gone by now.
    spoke: RwLock<HashMap<VersionId, Instant>>,
    changes: watch::Sender<u64>,
}

// === impl Workers ===

impl Workers {
    /// Nothing known yet.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            known: RwLock::default(),
            ready: RwLock::default(),
            spoke: RwLock::default(),
            changes: watch::Sender::new(0),
        })
    }

    /// What is known of a version's workers. `None`: none of ours was heard lately, which says nothing of others.
    /// `workers: 0`: ours are there and take nothing now.
    pub(crate) fn seen(&self, version: VersionId) -> Option<Standing> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&version).copied()
    }

    /// Whether a worker said lately that it takes calls. One that is frozen says nothing.
    pub(crate) fn is_ready(&self, worker: Uuid) -> bool {
        let ready = self.ready.read().unwrap_or_else(PoisonError::into_inner);
        ready.get(&worker).is_some_and(|at| at.elapsed() < EXPIRES)
    }

    /// Waits until all workers of a version that were ever heard are late. For ever, if none was.
    pub(crate) async fn silent(&self, version: VersionId) {
        loop {
            let since = {
                let spoke = self.spoke.read().unwrap_or_else(PoisonError::into_inner);
                spoke.get(&version).map(Instant::elapsed)
            };
            match since {
                Some(since) if since >= SILENT => return,
                since => tokio::time::sleep(SILENT - since.unwrap_or_default()).await,
            }
        }
    }

    /// All versions together, for a gauge.
    pub(crate) fn total(&self) -> Standing {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known
            .values()
            .fold(Standing::default(), |sum, one| Standing {
                workers: sum.workers.saturating_add(one.workers),
                slots: sum.slots.saturating_add(one.slots),
                free: sum.free.saturating_add(one.free),
                service: Duration::ZERO,
            })
    }

    /// Counts up whenever something that [`Self::seen`] says has changed.
    pub(crate) fn changed(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Hears workers until `stop`. The client keeps the subscription over reconnects.
    pub(crate) async fn listen(self: Arc<Self>, dispatch: Arc<Dispatch>, stop: CancellationToken) {
        let listen = async {
            let mut crowd = Crowd::default();
            let everybody = subject::workers_of_region(&dispatch.region);
            loop {
                match dispatch.link.hear(everybody.clone()).await {
                    Ok(subscriber) => self.hear(subscriber, &dispatch, &mut crowd).await,
                    Err(error) => tracing::warn!(%error, "cannot hear workers"),
                }
                tokio::time::sleep(SUBSCRIBE_PAUSE).await;
            }
        };
        stop.run_until_cancelled(listen).await;
    }

    async fn hear(
        &self,
        mut subscriber: async_nats::Subscriber,
        dispatch: &Dispatch,
        crowd: &mut Crowd,
    ) {
        let mut tick = tokio::time::interval(EXPIRE_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = subscriber.next() => match message {
                    Some(message) => self.heard(&message, dispatch, crowd),
                    None => return,
                },
                _ = tick.tick() => {
                    let touched = crowd.expire(Instant::now());
                    if !touched.is_empty() {
                        let mut ready = self.ready.write().unwrap_or_else(PoisonError::into_inner);
                        ready.retain(|_, at| at.elapsed() < EXPIRES);
                    }
                    for version in touched {
                        self.publish(version, crowd);
                    }
                }
            }
        }
    }

    fn heard(&self, message: &Message, dispatch: &Dispatch, crowd: &mut Crowd) {
        let said = WorkerPresence::decode(&message.payload)
            .ok()
            .filter(|said| {
                // Who may speak for one version may not speak for another.
                *message.subject == *subject::worker_presence(&dispatch.region, said.version)
            });
        let outcome = match said {
            None => Presence::Malformed,
            Some(said) => match crowd.hear(&said, Instant::now()) {
                Heard::Full => Presence::Crowded,
                Heard::Taken => {
                    self.note(&said);
                    self.publish(said.version, crowd);
                    Presence::Heard
                }
            },
        };
        dispatch.metrics.presence(outcome);
    }

    /// Keeps whether one worker takes calls. Bounded by the crowd, which has taken it in.
    fn note(&self, said: &WorkerPresence) {
        let mut ready = self.ready.write().unwrap_or_else(PoisonError::into_inner);
        if said.standing == presence::Standing::Ready {
            let mut spoke = self.spoke.write().unwrap_or_else(PoisonError::into_inner);
            if spoke.len() < REMEMBERED || spoke.contains_key(&said.version) {
                spoke.insert(said.version, Instant::now());
            }
        }
        match said.standing {
            presence::Standing::Ready => _ = ready.insert(said.worker, Instant::now()),
            _ => _ = ready.remove(&said.worker),
        }
    }

    /// Tells the readers, if anything is new to them.
    fn publish(&self, version: VersionId, crowd: &Crowd) {
        let now = crowd.standing(version);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let before = match now {
            Some(now) => known.insert(version, now),
            None => known.remove(&version),
        };
        drop(known);
        if before != now {
            self.changes.send_modify(|count| *count += 1);
        }
    }
}

#[cfg(test)]
impl Workers {
    /// Workers of which one was just heard.
    pub(crate) fn hearing(worker: Uuid) -> Arc<Self> {
        let workers = Self::new();
        workers.note(&WorkerPresence {
            worker,
            version: VersionId::from_uuid(worker),
            standing: presence::Standing::Ready,
            slots: 1,
            free: 1,
            service: Duration::ZERO,
        });
        workers
    }
}
