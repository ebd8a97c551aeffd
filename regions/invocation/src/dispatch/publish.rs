//! Publishes one work item and waits for the stream's ack, or until the connection is lost.
//!
//! Called together with the wait for a worker, not before it: a worker may well come first. Sends once; a missing
//! stream is made and the item sent again under the same id, which the stream would recognise. Whether to try again is
//! for `keep.rs` to say.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use frontdoor_protocol::envelope::{CLAIM_HEADER, DEADLINE_HEADER, MESSAGE_LIMIT};
use frontdoor_protocol::names::RequestId;
use frontdoor_protocol::subject;
use tokio::time::Instant;

use super::keep::Kept;
use super::link::LinkState;
use super::{Dispatch, stream};

/// The longest wait for the stream's ack. A memory stream answers within a millisecond, one with three replicas within a
/// few; what takes longer was lost with its stream's leader, or NATS hangs.
const ACK: Duration = Duration::from_millis(500);
/// What NATS headers and the protocol may take beside the item.
const ENVELOPE_ROOM: usize = 1024;

/// Why a work item is not known to be queued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The stream holds as much as it may. The item is not in it.
    Full,
    /// The stream knows this id already. Ours is not in it, somebody's is or was.
    Duplicate,
    /// The connection is lost, before or after the item was sent. It may be in the stream.
    LinkLost,
    /// The item is larger than the stream takes. It was not sent.
    TooLarge,
    /// NATS refused, or did not answer in time. The item may be in the stream.
    Unknown(String),
}

// === impl Dispatch ===

impl Dispatch {
    /// Puts a call on its version's queue for the `turn`-th time (from 0); tells the sequence number it got.
    pub(super) async fn publish(&self, call: &Kept<'_>, turn: u32) -> Result<u64, Fault> {
        if call.item.len() + ENVELOPE_ROOM > MESSAGE_LIMIT {
            return Err(Fault::TooLarge);
        }
        let mut states = self.link.states();
        if *states.borrow_and_update() != LinkState::Up {
            // The client would keep it and send it whenever there is a connection again.
            return Err(Fault::LinkLost);
        }
        let began = Instant::now();
        let result = tokio::select! {
            biased;
            sent = tokio::time::timeout(ACK, self.publish_untimed(call, turn)) => {
                sent.unwrap_or_else(|_| Err(Fault::Unknown("no ack in time".to_owned())))
            }
            _ = states.wait_for(|state| *state != LinkState::Up) => Err(Fault::LinkLost),
        };
        // Not by a timer that counts when dropped: a worker may come before the ack.
        if result.is_ok() {
            self.metrics.publish.observe(began.elapsed().as_secs_f64());
        }
        result
    }

    async fn publish_untimed(&self, call: &Kept<'_>, turn: u32) -> Result<u64, Fault> {
        let subject = subject::work(&self.region, call.version.id, call.id);
        match self.send(subject.clone(), message(call, turn)).await {
            Err(error) if error.kind() == PublishErrorKind::StreamNotFound => {
                stream::ensure(&self.link, &self.region, call.version)
                    .await
                    .map_err(|e| Fault::Unknown(e.to_string()))?;
                self.send(subject, message(call, turn)).await
            }
            other => other,
        }
        .map_err(|e| fault(e.kind(), e.to_string()))
        .and_then(|(sequence, duplicate)| match duplicate {
            true => Err(Fault::Duplicate),
            false => Ok(sequence),
        })
    }

    /// Sends and waits for the ack: the sequence number, and whether the id was known.
    async fn send(
        &self,
        subject: String,
        message: PublishMessage,
    ) -> Result<(u64, bool), PublishError> {
        let ack = self.link.jetstream.send_publish(subject, message).await?;
        ack.await.map(|ack| (ack.sequence, ack.duplicate))
    }
}

fn message(call: &Kept<'_>, turn: u32) -> PublishMessage {
    let mut headers = HeaderMap::new();
    headers.insert(CLAIM_HEADER, "1");
    headers.insert(DEADLINE_HEADER, call.deadline_unix_ms.to_string());
    let message = PublishMessage::build()
        .payload(call.item.clone())
        .headers(headers)
        .message_id(message_id(call.id, turn));
    if call.version.takes_ttl() {
        // In whole seconds, and never before the caller's time is over: the claim decides until then.
        let left = call.deadline.saturating_duration_since(Instant::now());
        return message.ttl(left + Duration::from_secs(2));
    }
    message
}

/// What the stream tells repeated publishes by. A call that is queued again has been taken out, and its id would still
/// be known as seen.
fn message_id(id: RequestId, turn: u32) -> String {
    match turn {
        0 => id.to_string(),
        turn => format!("{id}.{turn}"),
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
    fn each_turn_has_an_id_of_its_own() {
        let id = "7f2c1f0e-7f3b-4a55-8a2e-3d1b5f0c9a11"
            .parse()
            .expect("valid");
        assert_eq!(message_id(id, 0), id.to_string(), "as NVCF's");
        assert_ne!(message_id(id, 1), message_id(id, 2));
    }

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
