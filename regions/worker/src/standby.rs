//! The short way: streams that stand ready at the region's invocation services, one for each slot that is free.
//!
//! A service answers one with a call, and that is the claim: no queue, no acknowledgement. Which services there are and
//! what opens them they say themselves on NATS; NVIDIA's do not, and get none. More streams may stand than slots are
//! free (each service gets its own), so a call may meet a full worker: it is given back at once, unrun. Streams are
//! taken back by saying so, never by breaking them: the service must be able to tell that nothing was begun.

mod hear;
mod stream;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use frontdoor_protocol::attach;
use frontdoor_protocol::presence::EXPIRES;
use http::HeaderValue;
use http::uri::{Authority, PathAndQuery};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use crate::attach::Tail;
use crate::handle::Handler;
use crate::item::Service;

pub(crate) use hear::hear;
use stream::Stood;

/// Services at which streams stand. A region has a few.
const SERVICES: usize = 64;
/// Between two words to streams that are to end.
const CLOSE_AGAIN: Duration = Duration::from_millis(50);
/// What was cut at stop gets this long to say so.
const CUT_TIMEOUT: Duration = Duration::from_secs(5);

/// All standing streams.
pub(crate) struct Standby {
    handler: Arc<Handler>,
    /// Streams at one service.
    most: usize,
    /// What every standing stream says of its worker.
    version: HeaderValue,
    worker: HeaderValue,
    services: Mutex<HashMap<Authority, Arc<Place>>>,
    /// Streams and the calls they got.
    tasks: TaskTracker,
    tails: TaskTracker,
}

/// One service.
struct Place {
    service: Service,
    standing: AtomicUsize,
    /// Streams look whether they are too many.
    trim: Notify,
    heard: Mutex<Instant>,
    closed: AtomicBool,
}

// === impl Standby ===

impl Standby {
    /// At most `most` streams at each service; none at all if that is 0.
    pub(crate) fn new(
        handler: Arc<Handler>,
        most: usize,
        (version, worker): (HeaderValue, HeaderValue),
        tails: TaskTracker,
    ) -> Arc<Self> {
        Arc::new(Self {
            handler,
            most,
            version,
            worker,
            services: Mutex::default(),
            tasks: TaskTracker::new(),
            tails,
        })
    }

    /// Makes as many streams stand as should: more, or fewer.
    pub(crate) fn adjust(self: &Arc<Self>) {
        let places: Vec<Arc<Place>> = lock(&self.services).values().cloned().collect();
        for place in places {
            self.adjust_at(&place);
        }
    }

    /// Takes all streams back and waits for the calls they got; what still runs after `grace` is cut.
    pub(crate) async fn finish(self: &Arc<Self>, grace: Duration) {
        let places: Vec<_> = lock(&self.services)
            .drain()
            .map(|(_, place)| place)
            .collect();
        self.tasks.close();
        let ended = async {
            loop {
                // Again and again: a stream that is just being opened does not hear it.
                places.iter().for_each(|place| place.close());
                let ended = tokio::time::timeout(CLOSE_AGAIN, self.tasks.wait()).await;
                if ended.is_ok() {
                    return;
                }
            }
        };
        if tokio::time::timeout(grace, ended).await.is_err() {
            self.handler.cut.cancel();
            let _ = tokio::time::timeout(CUT_TIMEOUT, self.tasks.wait()).await;
        }
    }

    /// A service said where it is.
    fn heard(self: &Arc<Self>, authority: Authority, ticket: HeaderValue, taking: bool) {
        let mut services = lock(&self.services);
        let known = services.get(&authority).cloned();
        let known = known.filter(|place| place.service.answer_token == ticket);
        if !taking {
            let gone = services.remove(&authority);
            self.handler.load.set_stood(!services.is_empty());
            drop(services);
            gone.iter().for_each(|place| place.close());
            return;
        }
        let place = match known {
            Some(place) => {
                *lock(&place.heard) = Instant::now();
                place
            }
            None if services.len() >= SERVICES && !services.contains_key(&authority) => return,
            None => {
                let place = Arc::new(Place::new(authority.clone(), ticket));
                if let Some(before) = services.insert(authority, Arc::clone(&place)) {
                    before.close();
                }
                place
            }
        };
        self.handler.load.set_stood(true);
        drop(services);
        self.adjust_at(&place);
    }

    /// Forgets services that say nothing any more.
    fn expire(&self) {
        let now = Instant::now();
        let mut services = lock(&self.services);
        services.retain(|_, place| {
            let alive = now.saturating_duration_since(*lock(&place.heard)) < EXPIRES;
            if !alive {
                place.close();
            }
            alive
        });
        self.handler.load.set_stood(!services.is_empty());
    }

    fn adjust_at(self: &Arc<Self>, place: &Arc<Place>) {
        let wanted = self.wanted(place);
        while place.enter(wanted) {
            let stand = Arc::clone(self).stand(Arc::clone(place));
            self.tasks.spawn(stand);
        }
        // One word for each that is too many: all of them hearing it would wake many to end one. What a stream does not hear
        // because it is just being opened or got a call is said again at the next look.
        for _ in wanted..place.standing.load(Ordering::SeqCst) {
            place.trim.notify_one();
        }
    }

    /// How many streams should stand at a service.
    fn wanted(&self, place: &Place) -> usize {
        if place.closed.load(Ordering::SeqCst) {
            return 0;
        }
        self.handler.load.offer().min(self.most)
    }

    /// One stream after the other, each with the call it gets, for as long as one more is wanted. It is counted as
    /// standing when this begins.
    async fn stand(self: Arc<Self>, place: Arc<Place>) {
        loop {
            match self.one(&place).await {
                Stood::Handed(call) => {
                    place.leave();
                    if self.handler.load.take() {
                        self.call_taken(&place);
                        let tail = self.handler.handed(call.item, call.upload).await;
                        self.handler.load.give_back();
                        self.keep(tail);
                    } else {
                        call.give_back().await;
                    }
                }
                Stood::TakenBack => return,
                // Made again when the service is heard next.
                Stood::Broken => return place.leave(),
            }
            if !place.enter(self.wanted(&place)) {
                return;
            }
        }
    }

    /// A slot less is free, so streams may be too many now. In place of the one that got the call another stands when the
    /// call ends; only where few are left it is made at once. Short calls thus cost one stream each, and none of it while
    /// they run.
    fn call_taken(self: &Arc<Self>, place: &Arc<Place>) {
        self.relieve(place);
        let services = lock(&self.services);
        if services.len() > 1 {
            let others: Vec<_> = services.values().cloned().collect();
            drop(services);
            others.iter().for_each(|other| self.relieve(other));
        }
    }

    fn relieve(self: &Arc<Self>, place: &Arc<Place>) {
        let (standing, wanted) = (place.standing.load(Ordering::SeqCst), self.wanted(place));
        if standing > wanted || standing < wanted.div_ceil(2) {
            self.adjust_at(place);
        }
    }

    /// The service still hands over what it got; that needs no slot.
    fn keep(&self, tail: Option<Tail>) {
        if let Some(tail) = tail {
            self.tails.spawn(tail.handed_over());
        }
    }
}

// === impl Place ===

impl Place {
    fn new(authority: Authority, ticket: HeaderValue) -> Self {
        Self {
            service: Service {
                authority,
                path: PathAndQuery::from_static(attach::PATH),
                answer_token: ticket,
                body_token: None,
            },
            standing: AtomicUsize::new(0),
            trim: Notify::new(),
            heard: Mutex::new(Instant::now()),
            closed: AtomicBool::new(false),
        }
    }

    /// Counts one more stream, if fewer than `wanted` stand.
    fn enter(&self, wanted: usize) -> bool {
        let more = |standing| (standing < wanted).then_some(standing + 1);
        self.standing
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, more)
            .is_ok()
    }

    /// Counts one stream less, if more than `wanted` stand.
    fn leave_above(&self, wanted: usize) -> bool {
        let fewer = |standing: usize| (standing > wanted).then(|| standing - 1);
        self.standing
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer)
            .is_ok()
    }

    fn leave(&self) {
        self.leave_above(0);
    }

    /// No stream is to stand here any more.
    fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.trim.notify_waiters();
    }
}

/// Nothing panics while it holds one of these locks, so a poisoned one is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
