//! How busy the worker is, for those who look from outside: calls in hand, and how long one takes lately.
//!
//! Written where calls begin and end, read by `presence.rs`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

/// The mean moves by this part of the difference with each call.
const WEIGHT: u64 = 8;

/// The worker's load.
#[derive(Debug)]
pub(crate) struct Load {
    running: watch::Sender<usize>,
    /// Mean in microseconds; 0 while there was no call.
    service: AtomicU64,
}

// === impl Load ===

impl Load {
    pub(crate) fn new() -> Self {
        Self {
            running: watch::Sender::new(0),
            service: AtomicU64::new(0),
        }
    }

    /// Calls in hand, from now on.
    pub(crate) fn set_running(&self, calls: usize) {
        self.running
            .send_if_modified(|running| std::mem::replace(running, calls) != calls);
    }

    /// Calls in hand, as they change.
    pub(crate) fn running(&self) -> watch::Receiver<usize> {
        self.running.subscribe()
    }

    /// A call took so long.
    pub(crate) fn took(&self, time: Duration) {
        let time = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1);
        let mean = |mean: u64| match mean {
            0 => Some(time),
            _ => Some(mean - mean / WEIGHT + time / WEIGHT),
        };
        // Never refused: the function always has a value.
        let _ = self
            .service
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, mean);
    }

    /// How long a call takes in the mean, lately.
    pub(crate) fn service(&self) -> Duration {
        Duration::from_micros(self.service.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_follows_the_calls() {
        let load = Load::new();
        assert_eq!(load.service(), Duration::ZERO);
        load.took(Duration::from_millis(80));
        assert_eq!(load.service(), Duration::from_millis(80));
        load.took(Duration::ZERO);
        assert_eq!(load.service(), Duration::from_millis(70));
        load.took(Duration::MAX);
        for _ in 0..1000 {
            load.took(Duration::from_millis(1));
        }
        assert!(load.service() < Duration::from_secs(1), "one outlier fades");
    }
}
