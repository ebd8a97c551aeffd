//! A clock that is exact enough for a WAN of two milliseconds. Tokio's timers tick once a millisecond and round up, on
//! each crossing; a thread that waits on a channel is woken by the kernel within some ten microseconds.
//!
//! One thread serves all lines. It ends when the last handle is dropped.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Instant;

use tokio::sync::oneshot;

/// A handle to the clock. Each waits for one thing at a time, so what is pending is bounded by the number of lines.
#[derive(Debug, Clone)]
pub(super) struct Clock(Sender<Alarm>);

#[derive(Debug)]
struct Alarm {
    due: Instant,
    ring: oneshot::Sender<()>,
}

// === impl Clock ===

impl Clock {
    /// Fails if no thread can be started.
    pub(super) fn start() -> io::Result<Self> {
        let (alarms, received) = channel();
        thread::Builder::new()
            .name("wan clock".to_owned())
            .spawn(move || tick(&received))?;
        Ok(Self(alarms))
    }

    /// Returns at `due`, or at once if that is past.
    pub(super) async fn until(&self, due: Instant) {
        if due <= Instant::now() {
            return;
        }
        let (ring, rung) = oneshot::channel();
        // The thread lives as long as this handle; if it could be gone, being early would be the lesser evil.
        if self.0.send(Alarm { due, ring }).is_ok() {
            let _ = rung.await;
        }
    }
}

fn tick(received: &Receiver<Alarm>) {
    let mut pending: BinaryHeap<Reverse<Alarm>> = BinaryHeap::new();
    loop {
        let next = match pending.peek() {
            Some(Reverse(first)) => {
                received.recv_timeout(first.due.saturating_duration_since(Instant::now()))
            }
            None => received.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match next {
            Ok(alarm) => pending.push(Reverse(alarm)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        while pending
            .peek()
            .is_some_and(|Reverse(first)| first.due <= Instant::now())
        {
            if let Some(Reverse(alarm)) = pending.pop() {
                // Whoever waited may have been aborted meanwhile.
                let _ = alarm.ring.send(());
            }
        }
    }
}

// Alarms are ordered by when they are due.

impl PartialEq for Alarm {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}

impl Eq for Alarm {}

impl PartialOrd for Alarm {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Alarm {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.due.cmp(&other.due)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn never_early_and_in_order_of_time() {
        let clock = Clock::start().expect("thread");
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let late = async {
            clock.until(at(30)).await;
            begun.elapsed()
        };
        let soon = async {
            clock.until(at(3)).await;
            begun.elapsed()
        };
        let (late, soon) = tokio::join!(late, soon);
        assert!(late >= Duration::from_millis(30), "{late:?}");
        assert!(soon >= Duration::from_millis(3) && soon < late, "{soon:?}");
        clock.until(begun).await;
    }
}
