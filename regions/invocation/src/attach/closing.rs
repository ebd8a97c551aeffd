//! How a worker learns how its answer ended.
//!
//! Its stream stays open until the caller has everything, and the end of ours tells it. Nobody waits for that end: the
//! worker's slot is free by then. So the ends of standing streams go out with the next call that is handed over, in one
//! write and one waking of the worker where there would be two, or a moment later if there is no next call. That the
//! caller left, or the answer made no sense, is told at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::HeadFault;

/// An end waits so long for a call to go with.
const PATIENCE: Duration = Duration::from_millis(10);

/// How the caller's side is done with a worker's stream.
#[derive(Debug)]
pub(crate) enum Closing {
    /// The caller has everything.
    Complete,
    /// The stream did not begin with the head of an answer.
    Malformed(HeadFault),
}

/// Tells a worker, once; dropped means that the caller left.
pub(crate) struct Close {
    worker: oneshot::Sender<Closing>,
    with: Option<Arc<Closings>>,
}

/// Ends that wait to be told. As many at most as calls end between two that are handed over.
#[derive(Debug, Default)]
pub(crate) struct Closings {
    waiting: Mutex<Vec<oneshot::Sender<Closing>>>,
    some: Notify,
}

// === impl Close ===

impl Close {
    /// Tells at once, however it ends.
    pub(crate) const fn at_once(worker: oneshot::Sender<Closing>) -> Self {
        Self { worker, with: None }
    }

    /// Tells a good end together with others.
    pub(crate) fn with(closings: &Arc<Closings>, worker: oneshot::Sender<Closing>) -> Self {
        Self {
            worker,
            with: Some(Arc::clone(closings)),
        }
    }

    /// The caller has everything.
    pub(crate) fn complete(self) {
        match self.with {
            Some(closings) => closings.add(self.worker),
            // It may be gone; then nobody needs to know. So everywhere here.
            None => _ = self.worker.send(Closing::Complete),
        }
    }

    /// The stream did not begin with the head of an answer.
    pub(crate) fn malformed(self, fault: HeadFault) {
        let _ = self.worker.send(Closing::Malformed(fault));
    }
}

// === impl Closings ===

impl Closings {
    /// Tells all.
    pub(crate) fn tell(&self) {
        let waiting = std::mem::take(&mut *self.waiting());
        for worker in waiting {
            let _ = worker.send(Closing::Complete);
        }
    }

    /// Tells those with which no call went, until `stop`.
    pub(crate) async fn tell_late(self: Arc<Self>, stop: CancellationToken) {
        let tell = async {
            loop {
                self.some.notified().await;
                tokio::time::sleep(PATIENCE).await;
                self.tell();
            }
        };
        let _ = stop.run_until_cancelled(tell).await;
        self.tell();
    }

    fn add(&self, worker: oneshot::Sender<Closing>) {
        let mut waiting = self.waiting();
        waiting.push(worker);
        if waiting.len() == 1 {
            self.some.notify_one();
        }
    }

    /// Nothing panics while it holds this lock, so a poisoned one is as good as any.
    fn waiting(&self) -> MutexGuard<'_, Vec<oneshot::Sender<Closing>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_end_waits_for_the_next_call_but_not_for_long() {
        let closings = Arc::new(Closings::default());
        let stop = CancellationToken::new();
        let late = tokio::spawn(Arc::clone(&closings).tell_late(stop.clone()));
        let end = || {
            let (worker, told) = oneshot::channel();
            Close::with(&closings, worker).complete();
            told
        };
        let (mut one, mut other) = (end(), end());
        tokio::task::yield_now().await;
        assert!(one.try_recv().is_err(), "no call yet");
        closings.tell();
        assert!(matches!(one.try_recv(), Ok(Closing::Complete)));
        assert!(matches!(other.try_recv(), Ok(Closing::Complete)));
        let told = tokio::time::timeout(100 * PATIENCE, end()).await;
        assert!(matches!(told, Ok(Ok(Closing::Complete))), "no call came");
        let mut last = end();
        stop.cancel();
        late.await.expect("no panic");
        assert!(last.try_recv().is_ok(), "nothing is left untold at a stop");
    }

    #[tokio::test]
    async fn what_is_no_good_end_is_told_at_once() {
        let closings = Arc::new(Closings::default());
        let (worker, mut told) = oneshot::channel();
        Close::with(&closings, worker).malformed(HeadFault::Lost);
        assert!(matches!(told.try_recv(), Ok(Closing::Malformed(_))));
        let (worker, mut told) = oneshot::channel();
        drop(Close::with(&closings, worker));
        let left = oneshot::error::TryRecvError::Closed;
        assert_eq!(
            told.try_recv().map_err(|error| error == left).err(),
            Some(true)
        );
        let (worker, mut told) = oneshot::channel();
        Close::at_once(worker).complete();
        assert!(told.try_recv().is_ok());
    }
}
