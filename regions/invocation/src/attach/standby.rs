//! The short way: workers with free slots keep streams standing here, and a call that finds one goes straight to it.
//!
//! Choosing the stream *is* the claim: the call counts as claimed from then on, and is given back to the queue's way only
//! when that worker provably never saw it or says itself that it did not begin. A worker that is lost with a call it
//! may have read has `started`. No NATS is involved; a call that finds no stream is queued as ever.
//!
//! A standing stream is let in by this instance's ticket, which `speak` tells the workers on the region's own NATS.

mod pool;
mod speak;

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use frontdoor_protocol::attach::{CLAIM, CLAIM_GRANTED, STANDBY, WORKER, handover};
use frontdoor_protocol::headers::FUNCTION_VERSION_ID;
use frontdoor_protocol::names::VersionId;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::HeadFault;
use super::body::Body;
use super::closing::{Close, Closing, Closings};
use super::desk::{Arrival, Call};
use super::relay::read_head;
use super::upload::Granted;
use crate::metrics::{Attach, Metrics};
use crate::pending::Event;
use crate::respond::AttachRefusal;
use crate::workers::Workers;

use pool::Pool;

pub(crate) use speak::speak;

/// Versions with standing streams, now or a moment ago; more are queued for as ever.
const VERSIONS: usize = 20_000;
/// A call given back by so many workers in a row takes the queue's way.
const TRIES: usize = 3;
/// A call that finds no stream waits so long for the next, where there was one lately: with short calls a slot is free
/// again long before the queue's way is gone.
const NEXT: Duration = Duration::from_millis(10);
/// What was *lately*.
const LATELY: Duration = Duration::from_secs(1);
/// Calls of one version that wait so.
const WAITING: usize = 1024;

/// All standing streams.
pub(crate) struct Standby {
    /// Which instance this is.
    service: Uuid,
    ticket: Uuid,
    numbers: AtomicU64,
    workers: Arc<Workers>,
    closings: Arc<Closings>,
    /// `None` once this instance takes no calls any more.
    ranks: Mutex<Option<HashMap<VersionId, Rank>>>,
}

/// The standing streams of one version.
#[derive(Default)]
struct Rank {
    pool: Pool<Stream>,
    /// Calls that wait for the next, while the pool is empty.
    waiting: VecDeque<oneshot::Sender<Stream>>,
    /// When a stream came last.
    last: Option<Instant>,
}

/// What a call finds.
enum Found {
    Stream(Stream),
    /// Perhaps soon.
    Next(oneshot::Receiver<Stream>),
    None,
}

/// One standing stream, as the call that takes it gets it.
struct Stream {
    share: Arc<Share>,
    hand: oneshot::Sender<Handed>,
}

/// What a call puts into its stream.
struct Handed {
    frame: Bytes,
    closed: oneshot::Receiver<Closing>,
}

/// What a stream's two sides share.
#[derive(Default)]
pub(super) struct Share {
    /// What the worker sends; taken by the call.
    body: Mutex<Option<Incoming>>,
    /// Whether the connection has asked for what was handed over; until then nobody can have seen it.
    pub(super) asked: AtomicBool,
}

/// Takes a stream out of its pool when it ends unused.
struct Standing<'a> {
    standby: &'a Standby,
    version: VersionId,
    worker: Uuid,
    number: u64,
    /// The worker said that it takes the stream back; otherwise it broke.
    in_order: bool,
}

/// What came of trying the short way.
pub(crate) enum Way {
    /// A worker brought the head of an answer.
    Answered(Arrival),
    /// No worker could be had; the call is as before.
    Queue,
    /// A worker may have begun, and is lost or talks nonsense.
    Failed(Arrival, HeadFault),
}

// === impl Standby ===

impl Standby {
    /// Nobody stands yet.
    pub(crate) fn new(workers: Arc<Workers>) -> Arc<Self> {
        Arc::new(Self {
            service: uuid::Builder::from_random_bytes(rand::random()).into_uuid(),
            ticket: uuid::Builder::from_random_bytes(rand::random()).into_uuid(),
            numbers: AtomicU64::new(0),
            workers,
            closings: Arc::default(),
            ranks: Mutex::new(Some(HashMap::new())),
        })
    }

    /// Which instance this is, to its region.
    pub(crate) const fn service(&self) -> Uuid {
        self.service
    }

    /// The ends of streams that wait to be told.
    pub(crate) const fn closings(&self) -> &Arc<Closings> {
        &self.closings
    }

    /// Whether this is the ticket that was told on the region's own NATS.
    pub(crate) fn opens(&self, ticket: &[u8]) -> bool {
        // It is random and 128 bits long; what a comparison's time tells of it leads nowhere.
        Uuid::try_parse_ascii(ticket).is_ok_and(|ticket| ticket == self.ticket)
    }

    /// Ends all standing streams and takes no more.
    pub(crate) fn close(&self) {
        lock(&self.ranks).take();
    }

    /// Streams that stand.
    pub(crate) fn count(&self) -> usize {
        let ranks = lock(&self.ranks);
        let ranks = ranks.iter().flat_map(HashMap::values);
        ranks.map(|rank| rank.pool.len()).sum()
    }

    /// Forgets versions for which nothing stands any more: over the life of this instance there may be any number of them.
    fn forget(&self) {
        if let Some(ranks) = lock(&self.ranks).as_mut() {
            ranks.retain(|_, rank| !rank.is_over());
        }
    }

    /// Tries to bring a call to a worker at once. `frame` is the call, encoded for a standing stream.
    pub(crate) async fn hand(&self, call: &Call, frame: &Bytes, metrics: &Metrics) -> Way {
        for _ in 0..TRIES {
            let Some(stream) = self.take(call.version().id).await else {
                return Way::Queue;
            };
            // It ended in this instant; the next one may do.
            let Some(body) = lock(&stream.share.body).take() else {
                continue;
            };
            // The caller's own future runs this, so nothing else can have ended the call.
            if call.apply(Event::Claim).is_err() {
                return Way::Queue;
            }
            self.closings.tell();
            let (closing, closed) = oneshot::channel();
            let closing = Close::with(&self.closings, closing);
            let frame = frame.clone();
            let handed = stream.hand.send(Handed { frame, closed }).is_ok();
            let mut arrival = Arrival::new(body, true, closing);
            let read = match handed {
                true => read_head(&mut arrival.stream).await,
                false => Err(HeadFault::Lost),
            };
            match read {
                Ok((head, _)) if handover::is_returned(&head) => {}
                Ok(read) => {
                    metrics.attach(Attach::Handed);
                    arrival.head = Some(Box::new(read));
                    return Way::Answered(arrival);
                }
                Err(HeadFault::Lost) if !stream.share.asked.load(Ordering::SeqCst) => {}
                Err(fault) => return Way::Failed(arrival, fault),
            }
            metrics.attach(Attach::Returned);
            if call.apply(Event::Returned).is_err() {
                return Way::Queue;
            }
        }
        Way::Queue
    }

    /// A stream that stands, or the next that comes very soon.
    async fn take(&self, version: VersionId) -> Option<Stream> {
        let mut next = match self.find(version) {
            Found::Stream(stream) => return Some(stream),
            Found::Next(next) => next,
            Found::None => return None,
        };
        match tokio::time::timeout(NEXT, &mut next).await {
            Ok(stream) => stream.ok(),
            Err(_) => {
                // It may have come in this instant.
                next.close();
                next.try_recv().ok()
            }
        }
    }

    fn find(&self, version: VersionId) -> Found {
        let mut ranks = lock(&self.ranks);
        let Some(rank) = ranks.as_mut().and_then(|ranks| ranks.get_mut(&version)) else {
            return Found::None;
        };
        let may = |worker| self.workers.is_ready(worker);
        if let Some(stream) = rank.pool.take(rand::random(), may) {
            return Found::Stream(stream);
        }
        if !rank.came_lately() || rank.waiting.len() >= WAITING {
            return Found::None;
        }
        let (waiting, next) = oneshot::channel();
        // Whoever gave up is forgotten when the next stream comes, or here.
        while rank.waiting.front().is_some_and(oneshot::Sender::is_closed) {
            rank.waiting.pop_front();
        }
        rank.waiting.push_back(waiting);
        Found::Next(next)
    }

    fn put(
        &self,
        version: VersionId,
        worker: Uuid,
        mut stream: Stream,
    ) -> Result<Standing<'_>, AttachRefusal> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        // Not made before the lock is free: it takes the lock when it is dropped.
        let standing = || Standing {
            standby: self,
            version,
            worker,
            number,
            in_order: false,
        };
        let mut ranks = lock(&self.ranks);
        let ranks = ranks.as_mut().ok_or(AttachRefusal::Over)?;
        if ranks.len() >= VERSIONS && !ranks.contains_key(&version) {
            return Err(AttachRefusal::Over);
        }
        let rank = ranks.entry(version).or_default();
        rank.last = Some(Instant::now());
        if self.workers.is_ready(worker) {
            while let Some(waiting) = rank.waiting.pop_front() {
                match waiting.send(stream) {
                    Ok(()) => return Ok(standing()),
                    Err(unused) => stream = unused,
                }
            }
        }
        match rank.pool.put(worker, number, stream) {
            Ok(()) => Ok(standing()),
            Err(_) => Err(AttachRefusal::Over),
        }
    }
}

// === impl Rank ===

impl Rank {
    /// Whether the next stream may be a moment away.
    fn came_lately(&self) -> bool {
        self.last.is_some_and(|last| last.elapsed() < LATELY)
    }

    /// Whether no stream stands, none is expected, and no call waits for one.
    fn is_over(&self) -> bool {
        let nobody_waits = self.waiting.iter().all(oneshot::Sender::is_closed);
        nobody_waits && self.pool.len() == 0 && !self.came_lately()
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        let mut ranks = lock(&self.standby.ranks);
        if let Some(rank) = ranks.as_mut().and_then(|r| r.get_mut(&self.version)) {
            // Dropped after the lock is free: it holds a stream.
            let ended = rank.pool.remove(self.worker, self.number);
            let last = !rank.pool.holds(self.worker);
            drop(ranks);
            drop(ended);
            if last && !self.in_order {
                self.standby.workers.lost(self.version, self.worker);
            }
        }
    }
}

/// Whether a POST attach is a standing stream.
pub(super) fn is_standing(headers: &HeaderMap) -> bool {
    headers.contains_key(STANDBY)
}

/// Answers a standing stream: when a call is handed to it, or when it is taken back.
pub(super) async fn stand(
    standby: &Standby,
    token: Uuid,
    request: Request<Incoming>,
) -> Result<Response<Body>, AttachRefusal> {
    // Both are random and 128 bits long; what a comparison's time tells of them leads nowhere.
    if token != standby.ticket {
        return Err(AttachRefusal::Unknown);
    }
    let version = named(request.headers(), FUNCTION_VERSION_ID.as_str());
    let worker = named(request.headers(), WORKER);
    let (Some(version), Some(worker)) = (version, worker) else {
        return Err(AttachRefusal::Unknown);
    };
    let share = Arc::new(Share {
        body: Mutex::new(Some(request.into_body())),
        asked: AtomicBool::new(false),
    });
    let (hand, handed) = oneshot::channel();
    let stream = Stream {
        share: Arc::clone(&share),
        hand,
    };
    let mut standing = standby.put(VersionId::from_uuid(version), worker, stream)?;
    let handed = tokio::select! {
        biased;
        handed = handed => match handed {
            Ok(handed) => handed,
            Err(_) => {
                // The call for which it came is over, or this instance is: nothing that the worker did.
                standing.in_order = true;
                return Err(AttachRefusal::Over);
            }
        },
        in_order = share.taken_back() => {
            standing.in_order = in_order;
            return Err(AttachRefusal::Over);
        }
    };
    // Whoever handed it over has taken it out.
    std::mem::forget(standing);
    let granted = Granted::handed(handed.frame, handed.closed, share);
    let mut response = Response::new(Body::Granted(granted));
    response
        .headers_mut()
        .insert(CLAIM, HeaderValue::from_static(CLAIM_GRANTED));
    Ok(response)
}

fn named(headers: &HeaderMap, name: &str) -> Option<Uuid> {
    let text = headers.get(name)?.to_str().ok()?;
    Uuid::try_parse(text).ok()
}

// === impl Share ===

impl Share {
    /// Ends when the worker says anything, ends its side, or is gone, while no call has the stream. Says whether the
    /// worker meant it.
    async fn taken_back(&self) -> bool {
        std::future::poll_fn(|cx: &mut Context<'_>| {
            let mut body = lock(&self.body);
            let Some(incoming) = body.as_mut() else {
                // A call has it and will say so.
                return Poll::Pending;
            };
            let said = Pin::new(incoming).poll_frame(cx);
            if said.is_ready() {
                *body = None;
            }
            said.map(|said| !matches!(said, Some(Err(_))))
        })
        .await
    }
}

/// Nothing panics while it holds one of these locks, so a poisoned one is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
