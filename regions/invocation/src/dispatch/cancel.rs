//! Takes back calls nobody waits for: tells the version's workers, and purges the item from the queue.
//!
//! Off the request path: a bounded queue and one task. A cancellation that is lost does no harm with workers that claim
//! (they are refused); it only saves work.

use std::sync::Arc;
use std::time::Duration;

use frontdoor_protocol::names::RequestId;
use frontdoor_protocol::subject;
use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Dispatch;
use super::catalog::Version;
use crate::metrics::{Cancelled, Metrics};

/// Cancellations that may wait: a wave of callers leaving at once.
const WAITING: usize = 8 * 1024;
/// Cancellations in flight: enough to hide a round trip to NATS, too few to press it.
const AT_ONCE: usize = 32;
/// The longest time one may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// A call nobody waits for.
pub(crate) struct Cancel {
    pub(crate) version: Arc<Version>,
    pub(crate) id: RequestId,
}

/// Where calls that end early go.
#[derive(Clone)]
pub(crate) struct Cancels {
    queue: mpsc::Sender<Cancel>,
    metrics: Arc<Metrics>,
}

// === impl Cancels ===

impl Cancels {
    /// The queue's two ends; [`send_all`] serves the second.
    pub(crate) fn new(metrics: Arc<Metrics>) -> (Self, mpsc::Receiver<Cancel>) {
        let (queue, waiting) = mpsc::channel(WAITING);
        (Self { queue, metrics }, waiting)
    }

    /// Asks for a cancellation; does not wait.
    pub(crate) fn push(&self, cancel: Cancel) {
        if self.queue.try_send(cancel).is_err() {
            self.metrics.cancel(Cancelled::Dropped);
        }
    }
}

/// Sends cancellations until `stop`, then those that wait already.
pub(crate) async fn send_all(
    dispatch: Arc<Dispatch>,
    waiting: mpsc::Receiver<Cancel>,
    stop: CancellationToken,
) {
    let next = async |(mut waiting, stop): (mpsc::Receiver<Cancel>, CancellationToken)| {
        let cancel = tokio::select! {
            biased;
            cancel = waiting.recv() => cancel,
            () = stop.cancelled() => {
                waiting.close();
                waiting.recv().await
            }
        };
        cancel.map(|cancel| (cancel, (waiting, stop)))
    };
    futures_util::stream::unfold((waiting, stop), next)
        .for_each_concurrent(AT_ONCE, |cancel| {
            let dispatch = Arc::clone(&dispatch);
            async move {
                let sent = tokio::time::timeout(PATIENCE, send(&dispatch, &cancel)).await;
                dispatch.metrics.cancel(match sent {
                    Ok(true) => Cancelled::Sent,
                    _ => Cancelled::Failed,
                });
            }
        })
        .await;
}

async fn send(dispatch: &Dispatch, cancel: &Cancel) -> bool {
    let version = &cancel.version;
    let id = cancel.id.to_string().into();
    let told = dispatch.link.client.publish(version.cancel.clone(), id);
    let told = told.await.is_ok();
    let work = subject::work(&dispatch.region, version.id, cancel.id);
    match dispatch
        .link
        .jetstream
        .get_stream_no_info(&version.stream)
        .await
    {
        Ok(stream) => stream.purge().filter(work).await.is_ok() && told,
        Err(_) => false,
    }
}
