//! Background: the last known good addresses of all regions, in a file, so that a start without DNS and NATS works.
//!
//! Written aside and renamed when they change, read once at start. A file that cannot be read or written is a warning and
//! never more: the edge runs without. What is written is what the table holds, including an address that DNS dropped
//! and that is still well.

mod format;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

pub use self::format::LastGood;
use crate::aside;
use crate::table::SnapshotReader;

/// How often the table is looked at: a change is on disk within this.
const TICK: Duration = Duration::from_millis(500);

/// What the writer needs.
pub struct Writer {
    /// The file.
    pub file: PathBuf,
    /// What it held at the start.
    pub known: LastGood,
    /// Whose addresses.
    pub snapshots: SnapshotReader,
}

/// Reads the file; empty if there is none, or none that makes sense.
#[must_use]
pub fn read(file: &Path) -> LastGood {
    let text = match aside::read(file) {
        Ok(Some(text)) => text,
        Ok(None) => return LastGood::default(),
        Err(error) => {
            tracing::warn!(file = %file.display(), %error, "the last known good addresses cannot be read");
            return LastGood::default();
        }
    };
    LastGood::decode(&text).unwrap_or_else(|error| {
        tracing::warn!(file = %file.display(), %error, "the last known good addresses make no sense; going on without");
        LastGood::default()
    })
}

// === impl Writer ===

impl Writer {
    /// Keeps the file up to date until told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let now = self.known.updated(&self.snapshots.load());
            if now == self.known {
                continue;
            }
            match aside::write(&self.file, &now.encode()).await {
                Ok(()) => self.known = now,
                Err(error) => self.doubt(&error),
            }
        }
    }

    fn doubt(&self, error: &io::Error) {
        tracing::warn!(file = %self.file.display(), %error, "the last known good addresses cannot be written");
    }
}
