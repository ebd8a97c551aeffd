//! Keeps one call in its queue for as long as its caller waits: publishes it, again if NATS was lost or did not say, and
//! again if the queue lost it or it was delivered to somebody who never claimed it.
//!
//! Harmless to workers that claim: of any number of copies one is granted. Workers that run first would run a copy
//! twice, so a call of theirs is published once. Dropped as soon as a worker has the call; `front/wait.rs` polls it
//! beside everything else that may end the wait.

use std::time::Duration;

use bytes::Bytes;
use frontdoor_protocol::names::RequestId;
use frontdoor_protocol::subject;
use tokio::time::Instant;

use super::catalog::Version;
use super::pulse::{self, Missing, Spot};
use super::{Dispatch, Fault};
use crate::pending::Manners;

/// The pause before the first new attempt; doubled each time, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_millis(400);
/// What the last attempt gets at least, or the first of a call that has no patience.
const LEAST_TRY: Duration = Duration::from_millis(500);

/// A call to be kept in its queue.
pub(crate) struct Kept<'a> {
    pub(crate) version: &'a Version,
    pub(crate) id: RequestId,
    pub(crate) deadline_unix_ms: u64,
    /// When its caller's time is over.
    pub(crate) deadline: Instant,
    pub(crate) item: Bytes,
    /// How long NATS may be away or silent before the call is given up.
    pub(crate) patience: Duration,
}

/// The trouble a call has with NATS, if it has any.
#[derive(Debug, Default)]
struct Trouble {
    since: Option<Instant>,
    pause: Duration,
}

// === impl Dispatch ===

impl Dispatch {
    /// Keeps a call queued; returns only if that cannot be done.
    pub(crate) async fn keep_queued(&self, call: &Kept<'_>) -> Fault {
        let mut turns = 0;
        loop {
            let spot = match self.put(call, turns).await {
                Ok(spot) => spot,
                Err(fault) => return fault,
            };
            let missing = tokio::select! {
                missing = self.missing(call, spot, turns) => missing,
                () = self.link.down_longer_than(call.patience) => return Fault::LinkLost,
            };
            tracing::info!(id = %call.id, ?missing, "the call is queued again");
            if missing == Missing::Unclaimed {
                self.take_back(call).await;
            }
            self.metrics.requeued.inc();
            turns += 1;
        }
    }

    /// Publishes until NATS says that it has the call.
    async fn put(&self, call: &Kept<'_>, turn: u32) -> Result<Spot, Fault> {
        let mut trouble = Trouble::default();
        let mut repeated = false;
        loop {
            let began = Instant::now();
            let published = tokio::time::timeout(
                trouble.left(began, call.patience).max(LEAST_TRY),
                self.publish(call, turn),
            );
            let published = published.await;
            let published = published.unwrap_or_else(|_| Err(Fault::Unknown("no ack".to_owned())));
            let fault = match published {
                Ok(sequence) => return Ok(call.version.watched.spot(sequence)),
                // Our own first copy, whose ack was lost.
                Err(Fault::Duplicate) if repeated => return Ok(call.version.watched.spot(0)),
                Err(fault @ (Fault::LinkLost | Fault::Unknown(_))) => fault,
                Err(fault) => return Err(fault),
            };
            let pause = trouble.pause(Instant::now(), call.patience);
            let (Some(pause), Manners::Claiming) = (pause, call.version.manners()) else {
                return Err(fault);
            };
            repeated = true;
            tokio::time::sleep(pause).await;
            let left = trouble.left(Instant::now(), call.patience);
            let up = tokio::time::timeout(left, self.link.up()).await;
            if up.is_err() {
                return Err(Fault::LinkLost);
            }
        }
    }

    /// Waits until the call has to be queued again, and not before its turn.
    async fn missing(&self, call: &Kept<'_>, spot: Spot, turns: u32) -> Missing {
        let since = Instant::now();
        let missing = call.version.watched.missing(spot).await;
        if missing == Missing::Unclaimed || turns > 0 {
            tokio::time::sleep_until(since + pulse::pause(turns)).await;
        }
        match call.version.manners() {
            Manners::Claiming => missing,
            // Somebody may be running it.
            Manners::Late => std::future::pending().await,
        }
    }

    /// Takes a call's message out of the queue, whoever it was delivered to.
    async fn take_back(&self, call: &Kept<'_>) {
        let work = subject::work(&self.region, call.version.id, call.id);
        let stream = self.link.jetstream.get_stream_no_info(&call.version.stream);
        if let Ok(stream) = stream.await
            && let Err(error) = stream.purge().filter(work).await
        {
            // Then the next publish meets it, and the next turn tries again.
            tracing::debug!(id = %call.id, %error, "not taken back");
        }
    }
}

// === impl Trouble ===

impl Trouble {
    /// The pause before the next attempt, unless it lasts for too long already.
    fn pause(&mut self, now: Instant, patience: Duration) -> Option<Duration> {
        let left = self.left(now, patience);
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        (!left.is_zero()).then(|| self.pause.min(left))
    }

    /// What is left of the patience with it.
    fn left(&mut self, now: Instant, patience: Duration) -> Duration {
        let since = *self.since.get_or_insert(now);
        patience.saturating_sub(now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_borne_for_so_long() {
        let (start, patience) = (Instant::now(), Duration::from_secs(1));
        let at = |ms| start + Duration::from_millis(ms);
        let mut trouble = Trouble::default();
        assert_eq!(trouble.pause(at(0), patience), Some(FIRST_PAUSE));
        assert_eq!(trouble.pause(at(30), patience), Some(FIRST_PAUSE * 2));
        for ms in [100, 200, 300] {
            assert!(trouble.pause(at(ms), patience).is_some());
        }
        assert_eq!(
            trouble.pause(at(700), patience),
            Some(Duration::from_millis(300))
        );
        assert_eq!(trouble.pause(at(1_000), patience), None);
        let mut none = Trouble::default();
        assert_eq!(none.pause(at(0), Duration::ZERO), None, "no patience");
    }
}
