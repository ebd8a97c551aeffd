//! What the log is told of a connection to NATS, the same by every part: that it is away and what that means, that it is back.
//!
//! When, is `absence.rs`'s to say. Shared by the callbacks of a client, which may come from several tasks.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::absence::Absence;

/// One connection, or several that are made one after the other.
#[derive(Debug)]
pub struct Told {
    url: String,
    /// The region whose NATS it is; none for the hub.
    region: Option<String>,
    /// What its absence means.
    meaning: &'static str,
    absence: Mutex<Absence>,
}

// === impl Told ===

impl Told {
    /// Of a connection that is being made for the first time.
    #[must_use]
    pub fn new(url: &str, region: Option<&str>, meaning: &'static str) -> Self {
        Self {
            url: url.to_owned(),
            region: region.map(str::to_owned),
            meaning,
            absence: Mutex::new(Absence::new(Instant::now())),
        }
    }

    /// The connection was lost, or an attempt to make it failed.
    pub fn failed(&self, cause: &dyn fmt::Display) {
        let Some(away) = self.absence().failed(Instant::now()) else {
            return;
        };
        tracing::warn!(
            region = self.region,
            url = self.url,
            %cause,
            away = ?away.lasts,
            untold = away.untold,
            "NATS is away: {}",
            self.meaning
        );
    }

    /// The connection is made.
    pub fn back(&self) {
        let away = self.absence().ended(Instant::now());
        tracing::info!(
            region = self.region,
            url = self.url,
            ?away,
            "connected to NATS"
        );
    }

    fn absence(&self) -> MutexGuard<'_, Absence> {
        self.absence.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
