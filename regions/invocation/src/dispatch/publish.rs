//! Publishes one work item and waits for the stream's ack, in at most two seconds altogether.
//!
//! Called together with the wait for a worker, not before it: a worker may well come first. Sends once; a missing
//! stream is made and the item sent again under the same id, which the stream would recognise.

use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;
use frontdoor_protocol::envelope::{CLAIM_HEADER, DEADLINE_HEADER, MESSAGE_LIMIT};
use frontdoor_protocol::names::RequestId;
use frontdoor_protocol::subject;

use super::catalog::Version;
use super::{Dispatch, stream};

/// The longest wait for the stream's ack. A memory stream answers within a millisecond; a region whose bus takes
/// longer than this is no place to wait in.
const ACK: Duration = Duration::from_secs(2);
/// What NATS headers and the protocol may take beside the item.
const ENVELOPE_ROOM: usize = 1024;

/// Why a work item is not known to be queued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The stream holds as much as it may. The item is not in it.
    Full,
    /// The stream knows this id already. Ours is not in it, somebody's is or was.
    Duplicate,
    /// The item is larger than the stream takes. It was not sent.
    TooLarge,
    /// NATS refused, or did not answer in time. The item may be in the stream.
    Unknown(String),
}

// === impl Dispatch ===

impl Dispatch {
    /// Puts an item on its version's queue.
    pub(crate) async fn publish(
        &self,
        version: &Version,
        id: RequestId,
        deadline_unix_ms: u64,
        item: Bytes,
    ) -> Result<(), Fault> {
        if item.len() + ENVELOPE_ROOM > MESSAGE_LIMIT {
            return Err(Fault::TooLarge);
        }
        let began = Instant::now();
        let sent = self.publish_untimed(version, id, deadline_unix_ms, item);
        let result = tokio::time::timeout(ACK, sent)
            .await
            .unwrap_or_else(|_| Err(Fault::Unknown("no ack in time".to_owned())));
        // Not by a timer that counts when dropped: a worker may come before the ack.
        if result.is_ok() {
            self.metrics.publish.observe(began.elapsed().as_secs_f64());
        }
        result
    }

    async fn publish_untimed(
        &self,
        version: &Version,
        id: RequestId,
        deadline_unix_ms: u64,
        item: Bytes,
    ) -> Result<(), Fault> {
        let subject = subject::work(&self.region, version.id, id);
        let mut headers = HeaderMap::new();
        headers.insert(CLAIM_HEADER, "1");
        headers.insert(DEADLINE_HEADER, deadline_unix_ms.to_string());
        let message = || {
            PublishMessage::build()
                .payload(item.clone())
                .headers(headers.clone())
                .message_id(id.to_string())
        };
        match self.send(subject.clone(), message()).await {
            Err(error) if error.kind() == PublishErrorKind::StreamNotFound => {
                stream::ensure(&self.link, &self.region, version)
                    .await
                    .map_err(|e| Fault::Unknown(e.to_string()))?;
                self.send(subject, message()).await
            }
            other => other,
        }
        .map_err(|e| fault(e.kind(), e.to_string()))
        .and_then(|duplicate| match duplicate {
            true => Err(Fault::Duplicate),
            false => Ok(()),
        })
    }

    /// Sends and waits for the ack, which says whether the id was known.
    async fn send(&self, subject: String, message: PublishMessage) -> Result<bool, PublishError> {
        let ack = self.link.jetstream.send_publish(subject, message).await?;
        ack.await.map(|ack| ack.duplicate)
    }
}

fn fault(kind: PublishErrorKind, text: String) -> Fault {
    // The server has one code for all that a store refuses; its words tell which.
    if text.contains("maximum messages per subject") {
        // The id is in the subject, so it is a twin that is there, older than the window in which ids are recognised.
        Fault::Duplicate
    } else if text.contains("maximum messages") || text.contains("maximum bytes") {
        Fault::Full
    } else if kind == PublishErrorKind::MaxPayloadExceeded {
        Fault::TooLarge
    } else {
        Fault::Unknown(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_words_tell_what_a_store_refused() {
        let check = |text: &str| fault(PublishErrorKind::Other, text.to_owned());
        assert_eq!(
            check("maximum messages per subject exceeded"),
            Fault::Duplicate
        );
        assert_eq!(check("maximum messages exceeded"), Fault::Full);
        assert_eq!(check("maximum bytes exceeded"), Fault::Full);
        let other = "no space left";
        assert_eq!(check(other), Fault::Unknown(other.to_owned()));
        assert_eq!(
            fault(PublishErrorKind::MaxPayloadExceeded, String::new()),
            Fault::TooLarge
        );
    }
}
