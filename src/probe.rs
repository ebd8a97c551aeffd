//! Background: health checks of every endpoint, over the same kind of connection as traffic.
//!
//! Each check is an HTTP/2 request on a standing connection to one address, so it measures one round trip and the
//! service's own answer. A check that takes longer than expected counts as silent at once, and still as good if its
//! answer comes within the longest time-out: slow is not dead.

mod connection;
mod schedule;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use frontdoor_protocol::headers::REGION;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

pub(crate) use self::connection::Slot;
use self::schedule::{Schedule, Target};
use crate::config::Probe;
use crate::metrics::Metrics;
use crate::region::{Endpoint, Health};
use crate::table::{Event, ProbeOutcome, SnapshotReader};
use crate::upstream::Dialer;

/// What the prober needs.
pub struct Prober {
    /// How to check.
    pub settings: Probe,
    /// How to reach them.
    pub dialer: Arc<Dialer>,
    /// Whom to check.
    pub snapshots: SnapshotReader,
    /// Where verdicts go.
    pub events: mpsc::Sender<Event>,
    /// Counts.
    pub metrics: Arc<Metrics>,
}

/// What one check showed.
#[derive(Clone, Copy)]
struct Shown {
    outcome: ProbeOutcome,
    /// The status with which the region itself said that it is not well.
    complaint: Option<u16>,
}

/// How finely time is cut: a check begins at most this late.
const TICK: Duration = Duration::from_millis(10);

// === impl Prober ===

impl Prober {
    /// Checks until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let prober = Arc::new(self);
        let mut schedule = Schedule::new(
            prober.settings.interval,
            prober.settings.interval_suspect,
            rand::random(),
        );
        let mut slots: HashMap<SocketAddr, Arc<Slot>> = HashMap::new();
        let mut checks = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep(TICK) => {}
            }
            while checks.try_join_next().is_some() {}
            let targets = prober.targets();
            slots.retain(|address, _| targets.iter().any(|t| t.endpoint.address == *address));
            for target in schedule.due(&targets, Instant::now()) {
                let slot = Arc::clone(slots.entry(target.endpoint.address).or_default());
                checks.spawn(Arc::clone(&prober).check(target, slot));
            }
        }
        checks.shutdown().await;
    }

    fn targets(&self) -> Vec<Target> {
        let snapshot = self.snapshots.load();
        let endpoints = snapshot
            .regions
            .iter()
            .enumerate()
            .flat_map(|(index, region)| {
                region.endpoints.iter().map(move |endpoint| Target {
                    endpoint: Endpoint {
                        region: crate::region::RegionIndex(index),
                        address: endpoint.address,
                    },
                    // Another edge doubts it: hearsay, but reason to look sooner. So is each call that failed of late.
                    health: match endpoint.health {
                        Health::Up | Health::Ramp
                            if region.condition.accused || endpoint.risk > 0.0 =>
                        {
                            Health::Suspect
                        }
                        health => health,
                    },
                    rtt: endpoint.rtt,
                })
            });
        endpoints.collect()
    }

    /// One check: a verdict in time, and perhaps a late one.
    async fn check(self: Arc<Self>, target: Target, slot: Arc<Slot>) {
        let (endpoint, max) = (target.endpoint, self.settings.timeout_max);
        let allowed = schedule::patience(target.rtt, self.settings.timeout_min, max);
        let late = {
            // Ends with this block: a check that is given up leaves nothing behind.
            let mut ask = std::pin::pin!(self.ask(endpoint, &slot));
            match timeout(allowed, &mut ask).await {
                Ok(shown) => return self.tell(endpoint, shown).await,
                Err(_) => {
                    self.tell(endpoint, Shown::plain(ProbeOutcome::Silent))
                        .await;
                    timeout(max.saturating_sub(allowed), ask).await
                }
            }
        };
        if let Ok(shown) = late
            && matches!(shown.outcome, ProbeOutcome::Good(_))
        {
            self.tell(endpoint, shown).await;
        }
    }

    async fn ask(&self, endpoint: Endpoint, slot: &Slot) -> Shown {
        let address = endpoint.address;
        match slot.head(&self.dialer, endpoint, &self.settings.path).await {
            Ok((head, took)) if head.status.is_success() => Shown::plain(ProbeOutcome::Good(took)),
            Ok((head, _)) => {
                let status = head.status;
                tracing::debug!(%address, %status, "an endpoint says that it is not well");
                // A load balancer in front of a region that is gone answers too, and does not know this header.
                let itself = head.headers.contains_key(REGION);
                Shown {
                    outcome: ProbeOutcome::Bad,
                    complaint: itself.then_some(status.as_u16()),
                }
            }
            Err(error) => {
                tracing::debug!(%address, %error, "an endpoint cannot be checked");
                Shown::plain(match error.is_theirs() {
                    true => ProbeOutcome::Bad,
                    false => ProbeOutcome::Silent,
                })
            }
        }
    }

    async fn tell(&self, endpoint: Endpoint, shown: Shown) {
        let Shown { outcome, complaint } = shown;
        self.metrics.background.probed(endpoint.region, outcome);
        let event = match complaint {
            Some(status) => Event::Unwell { endpoint, status },
            None => Event::Probed { endpoint, outcome },
        };
        // The keeper is gone only when everything stops.
        let _ = self.events.send(event).await;
    }
}

// === impl Shown ===

impl Shown {
    const fn plain(outcome: ProbeOutcome) -> Self {
        Self {
            outcome,
            complaint: None,
        }
    }
}
