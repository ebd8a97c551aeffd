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

use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::connection::Connection;
use self::schedule::{Schedule, Target};
use crate::config::Probe;
use crate::metrics::Metrics;
use crate::region::Endpoint;
use crate::table::{Event, ProbeOutcome, SnapshotReader};

/// What the prober needs.
pub struct Prober {
    /// How to check.
    pub settings: Probe,
    /// Whom to check.
    pub snapshots: SnapshotReader,
    /// Where verdicts go.
    pub events: mpsc::Sender<Event>,
    /// Counts.
    pub metrics: Arc<Metrics>,
}

/// A check's standing connection. Locked only by the few checks of one address, never by a request.
type Shared = Arc<Mutex<Connection>>;

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
        let mut connections: HashMap<SocketAddr, Shared> = HashMap::new();
        let mut checks = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep(TICK) => {}
            }
            while checks.try_join_next().is_some() {}
            let targets = prober.targets();
            connections.retain(|address, _| targets.iter().any(|t| t.endpoint.address == *address));
            for target in schedule.due(&targets, Instant::now()) {
                let connection =
                    Arc::clone(connections.entry(target.endpoint.address).or_default());
                checks.spawn(Arc::clone(&prober).check(target, connection));
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
                    health: endpoint.health,
                    rtt: endpoint.rtt,
                })
            });
        endpoints.collect()
    }

    /// One check: a verdict in time, and perhaps a late one.
    async fn check(self: Arc<Self>, target: Target, connection: Shared) {
        let allowed = schedule::patience(
            target.rtt,
            self.settings.timeout_min,
            self.settings.timeout_max,
        );
        let mut ask = std::pin::pin!(self.ask(target.endpoint.address, &connection));
        if let Ok(outcome) = timeout(allowed, &mut ask).await {
            return self.tell(target.endpoint, outcome).await;
        }
        self.tell(target.endpoint, ProbeOutcome::Silent).await;
        let late = self.settings.timeout_max.saturating_sub(allowed);
        if let Ok(outcome @ ProbeOutcome::Good(_)) = timeout(late, ask).await {
            self.tell(target.endpoint, outcome).await;
        } else {
            // An answer that never comes leaves a connection nobody should ask on again.
            connection.lock().await.close();
        }
    }

    async fn ask(&self, address: SocketAddr, connection: &Shared) -> ProbeOutcome {
        let answer = async {
            let mut sender = connection.lock().await.open(address).await?;
            let started = Instant::now();
            let status = connection::get(&mut sender, address, &self.settings.path).await?;
            Ok::<_, connection::ProbeError>((status, started.elapsed()))
        };
        match answer.await {
            Ok((status, took)) if status.is_success() => ProbeOutcome::Good(took),
            Ok((status, _)) => {
                tracing::debug!(%address, %status, "an endpoint says that it is not well");
                ProbeOutcome::Bad
            }
            Err(error) => {
                tracing::debug!(%address, %error, "an endpoint cannot be checked");
                connection.lock().await.close();
                ProbeOutcome::Bad
            }
        }
    }

    async fn tell(&self, endpoint: Endpoint, outcome: ProbeOutcome) {
        self.metrics.background.probed(endpoint.region, outcome);
        // The keeper is gone only when everything stops.
        let _ = self.events.send(Event::Probed { endpoint, outcome }).await;
    }
}
