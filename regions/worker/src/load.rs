//! How busy the worker is: its slots, as the puller and the standing streams share them, and how long a call takes lately.
//!
//! The sums are those of `slots.rs`; this adds the lock, the clock, and who is told. `presence.rs` reads it for the outside.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus::IntGauge;
use tokio::sync::{Notify, watch};

use crate::slots::Slots;

/// The mean moves by this part of the difference with each call.
const WEIGHT: u64 = 8;

/// The worker's load.
#[derive(Debug)]
pub(crate) struct Load {
    slots: Mutex<Slots>,
    /// The puller has something to do with what became free.
    freed: Notify,
    running: watch::Sender<usize>,
    /// The same for whoever reads metrics.
    gauge: IntGauge,
    /// Mean in microseconds; 0 while there was no call.
    service: AtomicU64,
}

// === impl Load ===

impl Load {
    pub(crate) fn new(slots: Slots, gauge: IntGauge) -> Self {
        Self {
            slots: Mutex::new(slots),
            freed: Notify::new(),
            running: watch::Sender::new(0),
            gauge,
            service: AtomicU64::new(0),
        }
    }

    /// The slots; not to be held for longer than a sum.
    pub(crate) fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many calls other ways than the queue may bring now.
    pub(crate) fn offer(&self) -> usize {
        self.slots().offer(Instant::now())
    }

    /// Takes a slot for a call that did not come by the queue, if one is free.
    pub(crate) fn take(&self) -> bool {
        let mut slots = self.slots();
        let taken = slots.take();
        let running = slots.running();
        drop(slots);
        self.set_running(running);
        taken
    }

    /// Gives such a slot back.
    pub(crate) fn give_back(&self) {
        let mut slots = self.slots();
        slots.finished();
        let (running, wanted) = (slots.running(), slots.is_wanted());
        drop(slots);
        self.set_running(running);
        if wanted {
            self.freed.notify_one();
        }
    }

    /// Says whether calls may come otherwise than by the queue; if not, the puller asks for all that is free.
    pub(crate) fn set_stood(&self, stood: bool) {
        if self.slots().set_stood(stood) {
            self.freed.notify_one();
        }
    }

    /// Ends when a slot was given back that the queue waits for.
    pub(crate) async fn freed(&self) {
        self.freed.notified().await;
    }

    /// Calls in hand, from now on.
    pub(crate) fn set_running(&self, calls: usize) {
        self.gauge.set(i64::try_from(calls).unwrap_or(i64::MAX));
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
        let load = Load::new(
            Slots::new(1, None),
            IntGauge::new("running", "Calls in hand.").expect("valid"),
        );
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
