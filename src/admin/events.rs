//! `/events`: the status page's picture, each second and at once when a region's state changes.
//!
//! One painter paints for all listeners, and only while there are any; each has the newest picture, so one that reads
//! slowly misses some and holds nothing up. There is room for few listeners: they are people.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::picture::{self, History, Mark};
use super::{Admin, Ready};
use crate::explain::Diary;
use crate::table::SnapshotReader;

/// Where pictures are heard.
#[derive(Debug, Clone)]
pub struct Events {
    pictures: Arc<watch::Sender<Bytes>>,
    places: Arc<Semaphore>,
    stop: CancellationToken,
}

/// Who paints them.
pub struct Painter {
    /// What is painted.
    pub snapshots: SnapshotReader,
    /// Whether calls are welcome.
    pub ready: Arc<Ready>,
    /// The last decisions.
    pub diary: Arc<Diary>,
    /// Whether orders are taken.
    pub orders: bool,
    /// Where pictures go.
    pub events: Events,
}

struct Listener {
    pictures: watch::Receiver<Bytes>,
    stop: CancellationToken,
    _place: OwnedSemaphorePermit,
}

/// How often the painter looks for a change: well below what an eye notices.
const LOOK: Duration = Duration::from_millis(150);
/// How often it paints without one.
const PERIOD: Duration = Duration::from_secs(1);
/// People who look at one edge at once.
const LISTENERS: usize = 32;

// === impl Events ===

impl Events {
    /// Without a picture yet; listeners are sent away at the stop.
    #[must_use]
    pub fn new(stop: CancellationToken) -> Self {
        Self {
            pictures: Arc::new(watch::Sender::new(Bytes::new())),
            places: Arc::new(Semaphore::new(LISTENERS)),
            stop,
        }
    }
}

pub(super) async fn events(State(admin): State<Admin>) -> Response {
    let Events {
        pictures,
        places,
        stop,
    } = admin.events;
    let Ok(place) = places.try_acquire_owned() else {
        let busy = "too many are watching this edge\n";
        let later = [(header::RETRY_AFTER, "10")];
        return (StatusCode::SERVICE_UNAVAILABLE, later, busy).into_response();
    };
    let listener = Listener {
        pictures: pictures.subscribe(),
        stop,
        _place: place,
    };
    let frames = stream::unfold(listener, |mut listener| async move {
        let frame = listener.next().await?;
        Some((Ok::<_, Infallible>(frame), listener))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, Body::from_stream(frames)).into_response()
}

// === impl Listener ===

impl Listener {
    /// The next picture; a painter that lives paints one each second.
    async fn next(&mut self) -> Option<Bytes> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            changed = self.pictures.changed() => {
                changed.ok()?;
                Some(self.pictures.borrow_and_update().clone())
            }
        }
    }
}

// === impl Painter ===

impl Painter {
    /// Paints until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut history = History::default();
        let mut past = (Instant::now(), Mark::new(), 0);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = look.tick() => {}
            }
            past = self.look(&mut history, past);
        }
    }

    /// One look: what was seen, and how many watch.
    fn look(
        &self,
        history: &mut History,
        (then, before, watched): (Instant, Mark, usize),
    ) -> (Instant, Mark, usize) {
        let (now, snapshot) = (Instant::now(), self.snapshots.load());
        let due = now.duration_since(then) >= PERIOD;
        if due {
            history.add(&snapshot, now.duration_since(then));
        }
        let watch = self.events.pictures.receiver_count();
        let mark = picture::mark(&snapshot);
        if watch > 0 && (due || mark != before || watch > watched) {
            let unix = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            let at = u64::try_from(unix.as_millis()).unwrap_or_default();
            let missing = self.ready.missing(&snapshot);
            let picture = picture::paint(
                &snapshot,
                history,
                &self.diary,
                &missing,
                self.orders,
                (now, at),
            );
            match serde_json::to_string(&picture) {
                Ok(text) => {
                    let frame = Bytes::from(format!("data: {text}\n\n"));
                    self.events.pictures.send_replace(frame);
                }
                Err(error) => tracing::warn!(%error, "no picture for the status page"),
            }
        }
        (if due { now } else { then }, mark, watch)
    }
}
