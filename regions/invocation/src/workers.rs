//! Which of our workers stand behind each version, as they say themselves on the region's NATS every half second.
//!
//! Soft state: who is not heard for two seconds is gone, and a version nobody spoke for is *unknown*, not *empty*
//! (NVIDIA's workers never speak). Decides nothing; read by whoever chooses a version, reports, or computes or explains a wait.
//! One task hears (`listen`), everybody else reads a finished answer; a worker whose standing stream broke is dropped by
//! whoever sees that, so that the region says so at once and not when its word has expired.

mod crowd;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
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
/// Versions whose workers are remembered after they are gone; of more, those whose workers spoke last.
const REMEMBERED: usize = 20_000;
/// So many are forgotten at once, because that takes a look at all.
const FORGOTTEN: usize = REMEMBERED / 8;
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
    /// Never held while anything is waited for.
    crowd: Mutex<Crowd>,
    known: RwLock<HashMap<VersionId, Standing>>,
    /// When each worker that takes calls was heard last.
    ready: RwLock<HashMap<Uuid, Instant>>,
    /// When any worker of a version last said that it takes calls, also if it is gone by now.
    spoke: RwLock<HashMap<VersionId, Instant>>,
    /// Versions of which was logged that their last worker is gone.
    deserted: Mutex<HashSet<VersionId>>,
    changes: watch::Sender<u64>,
}

// === impl Workers ===

impl Workers {
    /// Nothing known yet.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            crowd: Mutex::default(),
            known: RwLock::default(),
            ready: RwLock::default(),
            spoke: RwLock::default(),
            deserted: Mutex::default(),
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

    /// Waits until all workers of a version that were ever heard are late. If none was: not at all if that is `enough`,
    /// otherwise for ever, because this instance may just have begun to hear.
    pub(crate) async fn silent(&self, version: VersionId, enough: bool) {
        loop {
            let since = {
                let spoke = self.spoke.read().unwrap_or_else(PoisonError::into_inner);
                spoke.get(&version).map(Instant::elapsed)
            };
            match since {
                Some(since) if since >= SILENT => return,
                None if enough => return,
                since => tokio::time::sleep(SILENT - since.unwrap_or_default()).await,
            }
        }
    }

    /// Its last standing stream broke: until it speaks again, the worker is not there. Half a second is all that a
    /// connection loses which broke by itself.
    pub(crate) fn lost(&self, version: VersionId, worker: Uuid) {
        let mut crowd = self.crowd.lock().unwrap_or_else(PoisonError::into_inner);
        crowd.lose(version, worker, Instant::now());
        self.publish(version, &crowd);
    }

    /// Nobody of a version takes calls any more, as they said themselves or by what broke: they count as late at once.
    fn fall_silent(&self, version: VersionId) {
        let mut spoke = self.spoke.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = spoke.get_mut(&version)
            && let Some(long_ago) = Instant::now().checked_sub(SILENT)
        {
            *at = long_ago.min(*at);
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
            let everybody = subject::workers_of_region(&dispatch.region);
            loop {
                match dispatch.link.hear(everybody.clone()).await {
                    Ok(subscriber) => self.hear(subscriber, &dispatch).await,
                    Err(error) => tracing::warn!(%error, "cannot hear workers"),
                }
                tokio::time::sleep(SUBSCRIBE_PAUSE).await;
            }
        };
        stop.run_until_cancelled(listen).await;
    }

    async fn hear(&self, mut subscriber: async_nats::Subscriber, dispatch: &Dispatch) {
        let mut tick = tokio::time::interval(EXPIRE_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = subscriber.next() => match message {
                    Some(message) => self.heard(&message, dispatch),
                    None => return,
                },
                _ = tick.tick() => self.expire(dispatch.link.is_up()),
            }
        }
    }

    /// Drops who has been silent for too long. That is news only while there is a NATS over which workers can be heard.
    fn expire(&self, hears: bool) {
        let mut crowd = self.crowd.lock().unwrap_or_else(PoisonError::into_inner);
        let touched = crowd.expire(Instant::now());
        if !touched.is_empty() {
            let mut ready = self.ready.write().unwrap_or_else(PoisonError::into_inner);
            ready.retain(|_, at| at.elapsed() < EXPIRES);
        }
        let gone = touched.into_iter();
        let gone: Vec<VersionId> = gone.filter(|v| self.publish(*v, &crowd)).collect();
        if hears {
            self.desert(&gone);
        }
    }

    fn heard(&self, message: &Message, dispatch: &Dispatch) {
        let said = WorkerPresence::decode(&message.payload)
            .ok()
            .filter(|said| {
                // Who may speak for one version may not speak for another.
                *message.subject == *subject::worker_presence(&dispatch.region, said.version)
            });
        let outcome = match said {
            None => Presence::Malformed,
            Some(said) => match self.take(&said) {
                Heard::Full => Presence::Crowded,
                Heard::Taken | Heard::Belated => Presence::Heard,
            },
        };
        dispatch.metrics.presence(outcome);
    }

    /// Takes in what a worker said.
    fn take(&self, said: &WorkerPresence) -> Heard {
        let mut crowd = self.crowd.lock().unwrap_or_else(PoisonError::into_inner);
        let heard = crowd.hear(said, Instant::now());
        if heard == Heard::Taken {
            self.note(said);
            if self.publish(said.version, &crowd) {
                self.desert(&[said.version]);
            }
        }
        heard
    }

    /// Keeps whether one worker takes calls. Bounded by the crowd, which has taken it in.
    fn note(&self, said: &WorkerPresence) {
        let mut ready = self.ready.write().unwrap_or_else(PoisonError::into_inner);
        if said.standing == presence::Standing::Ready {
            let mut spoke = self.spoke.write().unwrap_or_else(PoisonError::into_inner);
            remember(&mut spoke, said.version, Instant::now());
        }
        match said.standing {
            presence::Standing::Ready => _ = ready.insert(said.worker, Instant::now()),
            _ => _ = ready.remove(&said.worker),
        }
    }

    /// Tells the readers, if anything is new to them; says whether the version has lost its last worker by it.
    fn publish(&self, version: VersionId, crowd: &Crowd) -> bool {
        let now = crowd.standing(version);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let before = match now {
            Some(now) => known.insert(version, now),
            None => known.remove(&version),
        };
        drop(known);
        let staffed = |standing: Option<Standing>| standing.is_some_and(|s| s.workers > 0);
        let (had, has) = (staffed(before), staffed(now));
        if had && !has {
            self.fall_silent(version);
        }
        if has && !had && self.deserted().remove(&version) {
            tracing::info!(%version, "a version has a worker again");
        }
        if before != now {
            self.changes.send_modify(|count| *count += 1);
        }
        had && !has
    }

    /// Logs whose last worker is gone: one line, however many went together.
    fn desert(&self, versions: &[VersionId]) {
        let Some(version) = versions.first() else {
            return;
        };
        tracing::warn!(%version, versions = versions.len(), "the last worker of a version is gone, or takes no calls");
        let mut deserted = self.deserted();
        if deserted.len() + versions.len() > REMEMBERED {
            deserted.clear();
        }
        deserted.extend(versions);
    }

    fn deserted(&self) -> MutexGuard<'_, HashSet<VersionId>> {
        self.deserted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Remembers when a worker of a version spoke. Of too many versions those are forgotten whose workers have been silent longest,
/// which costs little: a call that could go elsewhere then waits for them as if this instance had just begun to hear, and one that
/// its edge calls back is given back.
fn remember(spoke: &mut HashMap<VersionId, Instant>, version: VersionId, now: Instant) {
    if spoke.len() >= REMEMBERED && !spoke.contains_key(&version) {
        let mut times: Vec<Instant> = spoke.values().copied().collect();
        let (_, newest, _) = times.select_nth_unstable(FORGOTTEN - 1);
        let newest = *newest;
        spoke.retain(|_, at| *at > newest);
    }
    spoke.insert(version, now);
}

#[cfg(test)]
impl Workers {
    /// Workers of which one was just heard.
    pub(crate) fn hearing(worker: Uuid) -> Arc<Self> {
        let workers = Self::new();
        workers.take(&tests::said(worker, presence::Standing::Ready));
        workers
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const ONE: Uuid = Uuid::from_u128(1);
    const TWO: Uuid = Uuid::from_u128(2);

    fn version() -> VersionId {
        VersionId::from_uuid(ONE)
    }

    pub(super) fn said(worker: Uuid, standing: presence::Standing) -> WorkerPresence {
        WorkerPresence {
            worker,
            version: version(),
            standing,
            slots: 1,
            free: 1,
            service: Duration::ZERO,
        }
    }

    /// How long the version's workers take to be silent, if they do at all.
    async fn silent(workers: &Workers) -> Option<Duration> {
        let begun = Instant::now();
        let silent = workers.silent(version(), false);
        let waited = tokio::time::timeout(SILENT + Duration::from_millis(100), silent).await;
        waited.ok().map(|()| begun.elapsed())
    }

    #[tokio::test]
    async fn only_workers_that_spoke_can_fall_silent() {
        let workers = Workers::new();
        workers.lost(version(), ONE);
        assert_eq!(silent(&workers).await, None, "nobody ever spoke");
        let at_once = workers.silent(version(), true).now_or_never();
        assert!(at_once.is_some(), "and that may be enough");
        let workers = Workers::hearing(ONE);
        let waited = silent(&workers).await.expect("late");
        let soon = Duration::from_millis(20);
        assert!(waited >= SILENT - soon, "half a second is not silence");
    }

    #[test]
    fn of_too_many_versions_those_are_forgotten_that_were_silent_longest() {
        let id = |n: usize| VersionId::from_uuid(Uuid::from_u128(n as u128));
        let mut spoke = HashMap::new();
        let mut now = Instant::now();
        let last = 2 * REMEMBERED;
        for n in 1..=last {
            for heard in [id(n), id(0)] {
                now += Duration::from_millis(1);
                remember(&mut spoke, heard, now);
            }
            assert!(spoke.len() <= REMEMBERED, "{n}");
        }
        assert!(spoke.contains_key(&id(last)), "new");
        assert!(spoke.contains_key(&id(0)), "heard all the time");
        assert!(!spoke.contains_key(&id(1)), "silent longest");
        assert!(spoke.len() >= REMEMBERED - FORGOTTEN, "no others");
    }

    #[tokio::test]
    async fn who_is_lost_leaves_or_rests_is_not_waited_for() {
        use presence::Standing::{Leaving, Ready, Resting};
        for (what, left) in [
            ("lost", None),
            ("leaves", Some(Leaving)),
            ("rests", Some(Resting)),
        ] {
            let go = |workers: &Workers, worker| match left {
                None => workers.lost(version(), worker),
                Some(standing) => _ = workers.take(&said(worker, standing)),
            };
            let workers = Workers::hearing(ONE);
            workers.take(&said(TWO, Ready));
            let mut changes = workers.changed();
            changes.mark_unchanged();
            go(&workers, ONE);
            let seen = workers.seen(version()).expect("one is left");
            assert_eq!((seen.workers, seen.slots), (1, 1), "{what}");
            assert!(changes.has_changed().expect("open"), "{what}: it is told");
            let waited = silent(&workers).await.expect("late");
            assert!(waited >= SILENT / 2, "{what}: the other speaks");
            workers.take(&said(TWO, Ready));
            go(&workers, TWO);
            assert_eq!(
                workers.seen(version()).map_or(0, |s| s.workers),
                0,
                "{what}"
            );
            let waited = silent(&workers).await.expect("silent");
            assert!(waited < SILENT / 2, "{what}: nobody is left: {waited:?}");
            tokio::time::sleep(Duration::from_millis(110)).await;
            workers.take(&said(ONE, Ready));
            assert_eq!(
                workers.seen(version()).map(|s| s.workers),
                Some(1),
                "{what}: back"
            );
        }
    }
}
