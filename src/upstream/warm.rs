//! Keeps one connection ready to every endpoint that works, so that the first call after a start or a return of a region does
//! not wait for a dial; closes what has been idle, and forgets endpoints that DNS took away.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Pool;
use crate::region::{Endpoint, Health, RegionIndex};
use crate::table::SnapshotReader;

/// How often it looks.
const LOOK: Duration = Duration::from_millis(250);
/// Looks without a call after which a connection beyond the first is closed: ninety seconds.
const IDLE_LOOKS: u32 = 360;

/// Looks until told to stop.
pub async fn keep_warm(pool: Arc<Pool>, snapshots: SnapshotReader, stop: CancellationToken) {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = looks.tick() => look(&pool, &snapshots),
        }
    }
}

fn look(pool: &Arc<Pool>, snapshots: &SnapshotReader) {
    let snapshot = snapshots.load();
    let known = |endpoint: Endpoint| {
        let region = snapshot.regions.get(endpoint.region.0);
        region.is_some_and(|r| r.endpoints.iter().any(|e| e.address == endpoint.address))
    };
    pool.keep_only(known);
    pool.prune(IDLE_LOOKS);
    for (index, region) in snapshot.regions.iter().enumerate() {
        for endpoint in region.endpoints.iter().filter(|e| e.health >= Health::Ramp) {
            pool.warm(Endpoint {
                region: RegionIndex(index),
                address: endpoint.address,
            });
        }
    }
}
