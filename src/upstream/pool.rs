//! Connections to every endpoint: the least loaded one for each call, a new one when all are busy, as many as a crowd needs.
//!
//! Finding a connection reads two immutable lists and takes no lock. Only when one is missing, a short lock makes sure that
//! one dial serves all who wait for it; the dial is a task of the pool's own, so a caller who leaves does not spoil it for
//! the others. When a region is lost, its calls move to the next one all at once: they need more connections than one, and
//! one dial opens them side by side. Whoever waits, waits for a limited time.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{Connection, Ended, Lease};
use super::dialer::Dialer;
use super::group::{Dial, Group, Waiting};
use crate::config::UpstreamSettings;
use crate::metrics::Metrics;
use crate::region::Endpoint;

/// Connections to all endpoints.
pub struct Pool {
    settings: UpstreamSettings,
    dialer: Arc<Dialer>,
    /// The regions' names by their index, for logs.
    names: Arc<[String]>,
    metrics: Arc<Metrics>,
    groups: ArcSwap<HashMap<Endpoint, Arc<Group>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Why there is no connection.
#[derive(Debug, Clone)]
pub struct DialError {
    /// In short.
    pub cause: Cause,
    told: Arc<AtomicBool>,
}

/// What kept a dial from success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Refused, reset, unreachable, or not HTTP/2.
    Unreachable,
    /// No answer in good time.
    Silent,
    /// The caller's time ran out before there was any.
    Hurried,
    /// There are connections, and none has a place in good time.
    Full,
    /// The peer closes what is opened.
    Closing,
    /// This side has no file descriptor or port left, or is stopping.
    Ours,
}

/// A connection that has so many calls is busy enough that another one is opened beside it.
const BUSY: usize = 100;
/// A call waits for a place for so many times a dial's patience at most, however many dials succeed: elsewhere there may be one.
const ROUNDS: u32 = 3;
/// ENFILE, EMFILE, EADDRNOTAVAIL: no file descriptor or port is left on this side.
const OUR_OWN: [i32; 3] = [23, 24, 99];

// === impl Pool ===

impl Pool {
    /// An empty pool; `names` are those of all regions, by their index.
    #[must_use]
    pub fn new(
        settings: UpstreamSettings,
        dialer: Arc<Dialer>,
        names: Vec<String>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            settings,
            dialer,
            names: names.into(),
            metrics,
            groups: ArcSwap::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    /// How connections are made and watched.
    #[must_use]
    pub const fn settings(&self) -> &UpstreamSettings {
        &self.settings
    }

    /// Whether a region is spoken to over TLS.
    #[must_use]
    pub fn secures(&self, endpoint: Endpoint) -> bool {
        self.dialer.secures(endpoint)
    }

    /// A place for one call on the least loaded connection to `endpoint`, at once if there is one.
    ///
    /// A crowd waits for more than one connection. As long as dials succeed, having to wait says nothing against the region,
    /// so it is bounded by the caller's `time_left`, and by a dial's patience, three times.
    ///
    /// # Errors
    /// If no dial succeeds, if there are connections enough and all are full, if they close as soon as they are open, or if
    /// there is no place in good time.
    pub async fn lease(
        self: &Arc<Self>,
        endpoint: Endpoint,
        time_left: Duration,
    ) -> Result<Lease, DialError> {
        let group = self.group(endpoint);
        if let Some(lease) = self.place(&group) {
            return Ok(lease);
        }
        let patience = ROUNDS * self.settings.connect;
        let end = Instant::now() + time_left.min(patience);
        let _waiting = Waiting::at(&group);
        // Each connection there may be is news, and so is the end of each dial.
        for _ in 0..=self.settings.connections.saturating_mul(2) {
            let dial = self.dial(&group, group.wanted(self.settings.streams));
            let seen = dial.as_ref().map_or(0, |d| d.borrow().connected);
            // What came meanwhile.
            if let Some(lease) = self.place(&group) {
                return Ok(lease);
            }
            let mut dial = dial.ok_or_else(|| Cause::Full.into_error())?;
            let news = dial.wait_for(|d| d.connected > seen || d.over.is_some());
            match timeout_at(end, news).await {
                Ok(Ok(dial)) => {
                    let over = dial.over.clone();
                    drop(dial);
                    // Whatever became of the dial, another call may have left its place meanwhile.
                    if let Some(lease) = self.place(&group) {
                        return Ok(lease);
                    }
                    if let Some(Err(error)) = over {
                        return Err(error);
                    }
                }
                Ok(Err(_)) => return Err(Cause::Ours.into_error()),
                // What is there is full.
                Err(_) if patience <= time_left || group.open() > 0 => {
                    return Err(Cause::Full.into_error());
                }
                Err(_) => return Err(Cause::Hurried.into_error()),
            }
            if group.open() == 0 {
                return Err(Cause::Closing.into_error());
            }
        }
        Err(Cause::Full.into_error())
    }

    /// A place on a connection that is there.
    fn place(self: &Arc<Self>, group: &Arc<Group>) -> Option<Lease> {
        let (lease, load) = group.pick()?;
        if load >= BUSY {
            // For those who come after.
            self.dial(group, 1);
        }
        Some(lease)
    }

    /// Opens a first connection to an endpoint that has none.
    pub fn warm(self: &Arc<Self>, endpoint: Endpoint) {
        let group = self.group(endpoint);
        if group.open() == 0 {
            self.dial(&group, 1);
        }
    }

    /// Forgets endpoints that are not in use any more; what still runs on their connections ends in peace.
    pub fn keep_only(&self, keep: impl Fn(Endpoint) -> bool) {
        if self.groups.load().keys().any(|&e| !keep(e)) {
            self.groups.rcu(|groups| {
                let mut groups = HashMap::clone(groups);
                groups.retain(|&endpoint, _| keep(endpoint));
                groups
            });
        }
    }

    /// Closes what was idle for so many calls of this in a row, as long as one connection stays for each endpoint.
    pub fn prune(&self, looks: u32) {
        for group in self.groups.load().values() {
            group.prune(looks);
        }
    }

    /// Closes all connections and waits until their tasks have ended.
    pub async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn group(&self, endpoint: Endpoint) -> Arc<Group> {
        if let Some(group) = self.groups.load().get(&endpoint) {
            return Arc::clone(group);
        }
        let new = Arc::new(Group::new(endpoint));
        self.groups.rcu(|groups| {
            let mut groups = HashMap::clone(groups);
            groups.entry(endpoint).or_insert_with(|| Arc::clone(&new));
            groups
        });
        // Somebody else may have been first.
        let groups = self.groups.load();
        groups.get(&endpoint).map_or(new, Arc::clone)
    }

    /// The dial under way, or a new one of so many connections; none if there are connections enough.
    fn dial(self: &Arc<Self>, group: &Arc<Group>, wanted: usize) -> Option<watch::Receiver<Dial>> {
        let mut slot = group.dial.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(dial) = &*slot {
            return Some(dial.clone());
        }
        let room = self.settings.connections.checked_sub(group.open())?;
        let room = NonZeroUsize::new(room)?;
        let wanted = wanted.clamp(1, room.get());
        let (tell, dial) = watch::channel(Dial::default());
        *slot = Some(dial.clone());
        let (pool, group) = (Arc::clone(self), Arc::clone(group));
        self.tasks.spawn(async move {
            let mut dials: FuturesUnordered<_> =
                (0..wanted).map(|_| pool.connect(&group)).collect();
            let mut over = Ok(());
            while let Some(outcome) = dials.next().await {
                count(&pool.metrics, &outcome);
                match outcome {
                    Ok(()) => tell.send_modify(|dial| dial.connected += 1),
                    Err(cause) => over = Err(cause),
                }
            }
            *group.dial.lock().unwrap_or_else(PoisonError::into_inner) = None;
            tell.send_modify(|dial| {
                // One connection is proof of a region that can be reached.
                let over = if dial.connected > 0 { Ok(()) } else { over };
                dial.over = Some(over.map_err(Cause::into_error));
            });
        });
        Some(dial)
    }

    async fn connect(self: &Arc<Self>, group: &Arc<Group>) -> Result<(), Cause> {
        let opened = timeout(self.settings.connect, async {
            let stream = self.dialer.dial(group.endpoint).await;
            let stream = stream.map_err(|e| Cause::of(&e))?;
            Connection::open(stream, self.settings)
                .await
                .map_err(|_| Cause::Unreachable)
        });
        let (connection, driver) = opened.await.map_err(|_| Cause::Silent)??;
        let connection = Arc::new(connection);
        group.add(&connection);
        self.metrics.upstream.connections.inc();
        // Weak: what nobody but its driver knows must be able to end.
        let (endpoint, metrics) = (group.endpoint, Arc::clone(&self.metrics));
        let names = Arc::clone(&self.names);
        let (weak, group) = (Arc::downgrade(&connection), Arc::downgrade(group));
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let ended = tokio::select! {
                ended = driver => ended,
                () = stop.cancelled() => Ended::Closed,
            };
            if ended == Ended::Silent {
                metrics.upstream.silent.inc();
                let region = names.get(endpoint.region.0).map(String::as_str);
                tracing::warn!(region, address = %endpoint.address, "a connection to a region fell silent; it is closed");
            }
            metrics.upstream.connections.dec();
            if let Some(group) = group.upgrade() {
                group.remove(weak.as_ptr());
            }
        });
        Ok(())
    }
}

// === impl Cause ===

impl Cause {
    fn of(error: &std::io::Error) -> Self {
        let ours = error.raw_os_error().is_some_and(|c| OUR_OWN.contains(&c));
        if ours { Self::Ours } else { Self::Unreachable }
    }

    fn into_error(self) -> DialError {
        DialError {
            cause: self,
            told: Arc::default(),
        }
    }

    /// Its name; of those that a dial can end with, also in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Silent => "silent",
            Self::Hurried => "hurried",
            Self::Full => "full",
            Self::Closing => "closing",
            Self::Ours => "ours",
        }
    }
}

// === impl DialError ===

impl DialError {
    /// True for the first of all who waited for the same dial: one failure is one piece of news.
    #[must_use]
    pub fn first_to_tell(&self) -> bool {
        !self.told.swap(true, Ordering::Relaxed)
    }
}

fn count(metrics: &Metrics, outcome: &Result<(), Cause>) {
    let outcome = outcome.err().map_or("connected", Cause::as_str);
    metrics.upstream.dialled(outcome);
}
