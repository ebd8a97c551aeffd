//! The region's own news for the edges: everything every five seconds, what changed soon after it did, and a heartbeat.
//!
//! Soft state over core NATS: nobody waits for it, nothing is repeated, a lost report is made good by the next full one.
//! Looks ten times a second whether anything moved, which costs nothing while nothing does. A service that has just come to
//! its NATS first hears who its workers are: it would report a region without any, and all calls would leave.

mod ledger;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use frontdoor_protocol::presence::WORKER_EVERY;
use frontdoor_protocol::report::{DEBOUNCE, FunctionReport, Report, VERSION};
use frontdoor_protocol::subject;
use futures_util::StreamExt as _;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::attach::desk::Desk;
use crate::dispatch::{Dispatch, Version};
use crate::pending::Manners;
use crate::phase::{Phase, Phases};
use crate::workers::Workers;

use self::ledger::{Ledger, News};

/// Whose news it is.
pub(crate) struct Speaker {
    /// The queues, and the way to NATS.
    pub(crate) dispatch: Arc<Dispatch>,
    /// The calls.
    pub(crate) desk: Arc<Desk>,
    /// Whether it leaves.
    pub(crate) phases: Arc<Phases>,
    /// The workers.
    pub(crate) workers: Arc<Workers>,
}

/// What moved since the last look.
struct Seen {
    phases: watch::Receiver<Phase>,
    workers: watch::Receiver<u64>,
    calls: (u64, u64),
    /// Since when NATS is in reach.
    up: Option<Instant>,
}

/// Every worker has spoken within this time.
const HEARING: Duration = WORKER_EVERY.saturating_add(DEBOUNCE);

// === impl Speaker ===

impl Speaker {
    /// Publishes reports until `stop`.
    pub(crate) async fn publish(self, stop: CancellationToken) {
        let subject = subject::report(&self.dispatch.region);
        let (epoch, mut seq) = (unix_ms(), 0);
        let mut ledger = Ledger::default();
        let mut seen = Seen {
            phases: self.phases.subscribe(),
            workers: self.workers.changed(),
            calls: (0, 0),
            up: None,
        };
        // It fails only when everything ends.
        let mut asks = self
            .dispatch
            .link
            .hear(subject::ASK_REPORTS.to_owned())
            .await
            .ok();
        let mut tick = tokio::time::interval(DEBOUNCE);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = asked(&mut asks) => {
                    ledger.ask();
                    continue;
                }
                _ = tick.tick() => {}
            }
            let Some(news) = self.news(&mut ledger, &mut seen) else {
                continue;
            };
            seq += 1;
            let report = Report {
                v: VERSION,
                region: self.dispatch.region.clone(),
                epoch,
                seq,
                draining: self.phases.is_leaving(),
                queued: self.desk.queued(),
                running: self.desk.running(),
                full: news.full,
                functions: news.functions,
            };
            if self
                .dispatch
                .link
                .tell(subject.clone(), report.encode())
                .await
            {
                self.dispatch.metrics.reports.inc();
            } else {
                // Whoever missed it gets everything with the next.
                ledger.reset();
            }
        }
    }

    fn news(&self, ledger: &mut Ledger, seen: &mut Seen) -> Option<News> {
        // Without a connection reports would pile up in its queue and all come out old.
        if !self.dispatch.link.is_up() {
            seen.up = None;
            return None;
        }
        let now = Instant::now();
        let since = *seen.up.get_or_insert_with(|| {
            ledger.reset();
            now
        });
        if now.saturating_duration_since(since) < HEARING {
            return None;
        }
        let calls = (self.desk.queued(), self.desk.running());
        let urgent = take(&mut seen.phases);
        let moved = take(&mut seen.workers) | (std::mem::replace(&mut seen.calls, calls) != calls);
        if !urgent && !moved && !ledger.due(now) {
            return None;
        }
        let versions = self.dispatch.catalog.versions();
        ledger.next(versions.map(|v| self.function(v)).collect(), urgent, now)
    }

    fn function(&self, version: &Version) -> FunctionReport {
        let seen = self.workers.seen(version.id);
        let known = seen.unwrap_or_default();
        FunctionReport {
            mute: seen.is_none() && version.manners() == Manners::Late,
            workers: known.workers,
            slots: known.slots,
            free: known.free,
            queued: version.queued(),
            service_ms: u32::try_from(known.service.as_millis()).unwrap_or(u32::MAX),
            ..FunctionReport::deployed(version.function, version.id)
        }
    }
}

/// Ends when an edge asks for everything.
async fn asked(asks: &mut Option<async_nats::Subscriber>) {
    if let Some(subscriber) = asks
        && subscriber.next().await.is_some()
    {
        return;
    }
    *asks = None;
    std::future::pending().await
}

/// Whether something changed since the last question.
fn take<T>(changes: &mut watch::Receiver<T>) -> bool {
    let changed = changes.has_changed().unwrap_or(false);
    changes.mark_unchanged();
    changed
}

fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
