//! Background: a call of our own through each region's queue to a worker, to see what a health check cannot.
//!
//! Once a second from one edge, elected over chatter (`chatter/peers.rs`); from any edge that has reason to look. What
//! others found is hearsay, so a region loses its tier only by what our own canaries showed.

mod turns;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use frontdoor_protocol::verdict::{CANARY_PATH, Canary};
use http::StatusCode;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::turns::Turns;
use crate::chatter::Turn;
use crate::probe::Slot;
use crate::region::{Endpoint, Health, RegionIndex};
use crate::table::{Event, RegionView, SnapshotReader};
use crate::upstream::Dialer;

/// What the task needs.
pub struct Canaries {
    /// Whom to ask.
    pub snapshots: SnapshotReader,
    /// Whose turn it is.
    pub turn: watch::Receiver<Turn>,
    /// Opens connections as calls do.
    pub dialer: Arc<Dialer>,
    /// Where verdicts go.
    pub events: mpsc::Sender<Event>,
}

/// How finely time is cut.
const TICK: Duration = Duration::from_millis(50);
/// The region itself gives up after five seconds at most.
const PATIENCE: Duration = Duration::from_secs(6);

// === impl Canaries ===

impl Canaries {
    /// Looks until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let mut turns = Turns::new(rand::random());
        let mut flights = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep(TICK) => {}
                Some(Ok((region, offered))) = flights.join_next() => turns.landed(region, offered, Instant::now()),
            }
            let turn = *self.turn.borrow();
            let snapshot = self.snapshots.load();
            for (index, view) in snapshot.regions.iter().enumerate() {
                let region = RegionIndex(index);
                let Some(address) = nearest(view) else {
                    continue;
                };
                if turns.due(region, turn, &view.condition, Instant::now()) {
                    let endpoint = Endpoint { region, address };
                    flights.spawn(fly(endpoint, Arc::clone(&self.dialer), self.events.clone()));
                }
            }
        }
        flights.shutdown().await;
    }
}

/// Where to ask: a region that does not answer checks needs no canary.
fn nearest(view: &RegionView) -> Option<SocketAddr> {
    let well = view.endpoints.iter().filter(|e| e.health >= Health::Ramp);
    well.min_by_key(|e| e.rtt).map(|e| e.address)
}

/// Asks; whether the region offers canaries at all.
async fn fly(
    endpoint: Endpoint,
    dialer: Arc<Dialer>,
    events: mpsc::Sender<Event>,
) -> (RegionIndex, bool) {
    // A connection of its own: canaries are few, and one that hangs is no matter of the health checks.
    let (slot, region) = (Slot::default(), endpoint.region);
    let outcome = match timeout(PATIENCE, slot.get(&dialer, endpoint, CANARY_PATH)).await {
        Ok(Ok((StatusCode::NO_CONTENT, _))) => Canary::Well,
        Ok(Ok((StatusCode::SERVICE_UNAVAILABLE, _))) => Canary::Queue,
        Ok(Ok((StatusCode::GATEWAY_TIMEOUT, _))) => Canary::Workers,
        // Not ours, or one that does not trust us.
        Ok(Ok(_)) => return (region, false),
        Ok(Err(_)) | Err(_) => Canary::Silent,
    };
    if outcome != Canary::Well {
        tracing::debug!(address = %endpoint.address, outcome = outcome.as_str(), "a canary did not get through");
    }
    // The keeper is gone only when everything stops.
    let _ = events.send(Event::Canary { region, outcome }).await;
    (region, true)
}
