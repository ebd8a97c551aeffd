//! A canary: a work item of our own that goes through a version's real queue to one of our workers, which says that it
//! got it and leaves the container alone.
//!
//! Every wait is timed; a canary that nobody took is purged. `canary.rs` chooses the version.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::HeaderMap;
use async_nats::jetstream::message::PublishMessage;
use frontdoor_protocol::envelope::CANARY_HEADER;
use frontdoor_protocol::names::RequestId;
use frontdoor_protocol::subject;
use frontdoor_protocol::verdict::Canary;
use futures_util::StreamExt as _;
use tokio::time::timeout;

use super::Dispatch;
use super::catalog::Version;
use super::link::API;

/// From the queue's ack to the worker's word. A worker with a free slot has a pull waiting, so this is a round trip.
const WORD: Duration = Duration::from_secs(1);

// === impl Dispatch ===

impl Dispatch {
    /// Sends a canary to a version that is known to have a worker of ours with a free slot.
    pub(crate) async fn send_canary(&self, version: &Version) -> Canary {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(u64::MAX);
        let id = RequestId::untagged(now, rand::random());
        let Ok(mut words) = self.link.client.subscribe(subject::canary(id)).await else {
            return Canary::Queue;
        };
        let mut headers = HeaderMap::new();
        headers.insert(CANARY_HEADER, id.to_string());
        let message = PublishMessage::build()
            .headers(headers)
            .message_id(id.to_string());
        let work = subject::work(&self.region, version.id, id);
        let queued = async {
            let sent = self.link.jetstream.send_publish(work.clone(), message);
            sent.await.ok()?.await.ok()
        };
        if !matches!(timeout(API, queued).await, Ok(Some(_))) {
            return Canary::Queue;
        }
        if let Ok(Some(_)) = timeout(WORD, words.next()).await {
            return Canary::Well;
        }
        let purge = async {
            let jetstream = &self.link.jetstream;
            let stream = jetstream.get_stream_no_info(&version.stream).await.ok()?;
            stream.purge().filter(work).await.ok()
        };
        // One that stays is answered to nobody, once there is a worker.
        let _ = timeout(API, purge).await;
        Canary::Workers
    }

    /// Whether JetStream answers for a version's queue; all that can be seen where no worker would know a canary.
    pub(crate) async fn queue_answers(&self, version: &Version) -> Canary {
        let asked = self.link.jetstream.get_stream(&version.stream);
        match timeout(API, asked).await {
            Ok(Ok(_)) => Canary::Well,
            _ => Canary::Queue,
        }
    }
}
