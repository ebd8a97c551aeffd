//! Tasks that are joined with those of the service: what hyper makes for the connections of our own clients, which end with
//! the service, and what is done aside of a call, which a stop waits for.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Runs tasks until they end or the service does.
#[derive(Clone)]
pub(crate) struct Tasks {
    pub(crate) tracker: TaskTracker,
    pub(crate) stop: CancellationToken,
}

/// What is done for a call that need not wait for it.
pub(crate) struct Aside {
    tracker: TaskTracker,
    room: Arc<Semaphore>,
}

// === impl Tasks ===

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, task: F) {
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            tokio::select! {
                _ = task => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

// === impl Aside ===

impl Aside {
    /// Runs tasks in `tracker`, `most` at once; each must end by itself.
    pub(crate) fn new(tracker: TaskTracker, most: usize) -> Self {
        Self {
            tracker,
            room: Arc::new(Semaphore::new(most)),
        }
    }

    /// Does something aside. Where too much is being done already, whoever comes with more waits for it: nothing is dropped.
    pub(crate) async fn run(&self, work: impl Future<Output = ()> + Send + 'static) {
        match Arc::clone(&self.room).try_acquire_owned() {
            Ok(room) => {
                self.tracker.spawn(async move {
                    work.await;
                    drop(room);
                });
            }
            Err(_) => work.await,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_is_done_aside_is_bounded_and_joined() {
        let tracker = TaskTracker::new();
        let aside = Aside::new(tracker.clone(), 1);
        let (go, told) = oneshot::channel();
        let first = async move {
            let _ = told.await;
        };
        assert!(aside.run(first).now_or_never().is_some(), "aside");
        let second = std::future::pending::<()>();
        assert!(aside.run(second).now_or_never().is_none(), "no room");
        tracker.close();
        assert!(tracker.wait().now_or_never().is_none(), "it is waited for");
        go.send(()).expect("it runs");
        tracker.wait().await;
    }
}
