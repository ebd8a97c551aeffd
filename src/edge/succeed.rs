//! One edge after another at the same ports: what the new one waits for, and what the old one watches for.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::EdgeError;
use crate::admin::Ready;
use crate::config::Upgrade;
use crate::handover::{Door, HandoverError, Offered, Successor, Takeover};
use crate::orders::Desk;
use crate::table::SnapshotReader;

/// How often the new one looks whether it is ready.
const LOOK: Duration = Duration::from_millis(20);
/// Once it could serve: how long it waits for the regions that have not answered yet, so that its first calls go where the
/// others went. One that is down does not hold it up any longer.
const REST: Duration = Duration::from_secs(2);

/// The sockets to begin with: the running edge's, or those of the service manager.
pub(super) async fn sockets(
    upgrade: &Upgrade,
    wanted: bool,
    activated: Offered,
) -> Result<(Option<Takeover>, Offered), HandoverError> {
    if !wanted {
        return Ok((None, activated));
    }
    let path = upgrade.socket.as_ref().ok_or(HandoverError::NoSocket)?;
    let (takeover, offered) = Takeover::begin(path).await?;
    Ok((Some(takeover), offered))
}

/// Waits until a call would find a region; false if told to stop before.
pub(super) async fn ready(
    ready: &Ready,
    snapshots: &SnapshotReader,
    upgrade: &Upgrade,
    shutdown: &CancellationToken,
) -> Result<bool, EdgeError> {
    let begun = Instant::now();
    let mut could = None;
    loop {
        let snapshot = snapshots.load();
        let missing = ready.missing(&snapshot);
        if missing.is_empty() {
            let since = *could.get_or_insert_with(Instant::now);
            if ready.complete(&snapshot) || since.elapsed() > REST {
                return Ok(true);
            }
        } else if begun.elapsed() > upgrade.patience {
            return Err(EdgeError::NotReady {
                patience: upgrade.patience,
                missing,
            });
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(false),
            () = sleep(LOOK) => {}
        }
    }
}

/// Waits for a successor; for ever if there can be none.
pub(super) async fn door(upgrade: &Upgrade, offered: Offered, orders: &Desk) -> Successor {
    let Some(path) = &upgrade.socket else {
        return std::future::pending().await;
    };
    match Door::open(path) {
        Ok(door) => {
            let busy = |busy| orders.close(busy);
            door.successor(&offered, upgrade.patience + REST, busy)
                .await
        }
        Err(error) => {
            tracing::error!(socket = %path.display(), %error, "nobody can take over from this edge");
            std::future::pending().await
        }
    }
}
