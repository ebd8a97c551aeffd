//! Background: the last known good addresses of all regions, in a file, so that a start without DNS and NATS works.
//!
//! Written aside and renamed when they change, read once at start. A file that cannot be read or written is a warning and
//! never more: the edge runs without. What is written is what the table holds, including an address that DNS dropped
//! and that is still well.

mod format;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

pub use self::format::LastGood;
use crate::table::SnapshotReader;

/// How often the table is looked at: a change is on disk within this.
const TICK: Duration = Duration::from_millis(500);
/// For one write; a disk that hangs must not hang the stop.
const WRITE: Duration = Duration::from_secs(5);

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
    let text = match std::fs::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return LastGood::default(),
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
            match tokio::time::timeout(WRITE, write(&self.file, &now.encode())).await {
                Ok(Ok(())) => self.known = now,
                Ok(Err(error)) => self.doubt(&error.to_string()),
                Err(_) => self.doubt("the disk does not answer"),
            }
        }
    }

    fn doubt(&self, error: &str) {
        tracing::warn!(file = %self.file.display(), error, "the last known good addresses cannot be written");
    }
}

/// A reader sees the old or the new file, never half of one, even if the machine stops in between.
async fn write(file: &Path, text: &[u8]) -> io::Result<()> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let aside = file.with_file_name(name);
    let mut out = tokio::fs::File::create(&aside).await?;
    out.write_all(text).await?;
    out.sync_all().await?;
    drop(out);
    tokio::fs::rename(&aside, file).await
}
