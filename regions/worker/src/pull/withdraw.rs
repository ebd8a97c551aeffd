//! Takes back, at a stop, the requests for messages that are still out, so that a worker without calls stops at once and
//! not when its last request has run out.
//!
//! JetStream has no word for that: a request ends when nobody listens to its inbox any more. A message must not fall into
//! that gap, where it would lie until its time to be acked is over. It does not if the consumer lives at the very server that
//! this worker is connected to: there, a message goes out before the inbox is forgotten, and is heard, or finds nobody
//! and is delivered elsewhere at once. With a cluster between them this is not so, and the requests run out as ever.

use std::time::Duration;

use async_nats::jetstream::consumer::{Consumer, pull};

use super::Puller;
use crate::nats;

/// How long to wait for news of the consumer; about as long as requests last if there is none.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);

// === impl Puller ===

impl Puller {
    /// Takes back what is asked for, where that is safe.
    pub(super) async fn withdraw(&mut self) {
        if self.slots().asked() == 0 || !self.is_at_our_server().await {
            return;
        }
        for inbox in &mut self.inboxes {
            if !inbox.let_go(&self.client).await {
                return;
            }
        }
        // What comes back to us was sent after all that the inboxes still got.
        if !nats::round_trip(&self.client).await {
            return;
        }
        for at in (0..self.inboxes.len()).rev() {
            let number = self.inboxes[at].number;
            let mut forgotten = true;
            while let Some(message) = self.inboxes[at].here() {
                if self.inboxes[at].is_probe(&message) {
                    forgotten = false;
                } else {
                    self.received(number, Some(message)).await;
                }
            }
            if forgotten {
                self.received(number, None).await;
            }
        }
    }

    /// Whether the server that we are connected to is the one that hands out the messages.
    async fn is_at_our_server(&self) -> bool {
        let asked = self
            .jetstream
            .get_consumer_from_stream(&self.consumer, &self.stream);
        let consumer: Consumer<pull::Config> = match tokio::time::timeout(ASK_TIMEOUT, asked).await
        {
            Ok(Ok(consumer)) => consumer,
            _ => return false,
        };
        let ours = self.client.server_info();
        match &consumer.cached_info().cluster {
            Some(cluster) => cluster.leader.as_ref() == Some(&ours.server_name),
            // A server without a cluster names none.
            None => ours.jetstream && ours.cluster.is_none(),
        }
    }
}
