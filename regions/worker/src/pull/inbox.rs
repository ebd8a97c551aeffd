//! The inboxes that requests for messages name as their reply address.
//!
//! One takes requests; older ones only wait. An inbox is dropped no earlier than nothing can arrive there any more
//! (`slots.rs` knows when), because what the server sends to an inbox without a listener is lost until it is
//! delivered again. `pull.rs` opens and drops them.

use std::task::Poll;

use async_nats::{Client, Message, SubscribeError, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};

/// What an inbox hears of itself as long as the server knows it.
const PROBE: &str = "probe";

/// One subscription.
pub(super) struct Inbox {
    /// The round of requests it belongs to.
    pub(super) number: u64,
    /// Reply addresses start with this.
    pub(super) prefix: String,
    /// How many requests were made.
    pub(super) asked: u64,
    /// The connection it was opened on.
    pub(super) generation: u64,
    subscriber: Subscriber,
}

// === impl Inbox ===

impl Inbox {
    pub(super) async fn open(
        client: &Client,
        number: u64,
        generation: u64,
    ) -> Result<Self, SubscribeError> {
        let prefix = client.new_inbox();
        Ok(Self {
            number,
            subscriber: client.subscribe(format!("{prefix}.>")).await?,
            prefix,
            asked: 0,
            generation,
        })
    }

    /// Asks the server to forget the inbox, while what it sent there before is still heard; `false` if it cannot be told. If
    /// the server has not forgotten it by then, the inbox hears the probe that is sent after.
    ///
    /// The client knows no such request: its own ones stop listening before the server has stopped sending. A count that
    /// is longer than the server reads makes it forget at once; one that reads it goes on, and the probe says so.
    pub(super) async fn let_go(&mut self, client: &Client) -> bool {
        let forgotten = self.subscriber.unsubscribe_after(u64::MAX).await.is_ok();
        let probe = format!("{}.{PROBE}", self.prefix);
        forgotten && client.publish(probe, Bytes::new()).await.is_ok()
    }

    /// Whether a message is the probe of [`Self::let_go`].
    pub(super) fn is_probe(&self, message: &Message) -> bool {
        let rest = message.subject.strip_prefix(&self.prefix);
        rest.and_then(|rest| rest.strip_prefix('.')) == Some(PROBE)
    }

    /// The next message that is here already.
    pub(super) fn here(&mut self) -> Option<Message> {
        self.subscriber.next().now_or_never().flatten()
    }
}

/// The next message of any inbox with the inbox's number; `None` if that inbox has closed. Waits for ever if there is
/// no inbox.
pub(super) async fn next(inboxes: &mut [Inbox]) -> (u64, Option<Message>) {
    std::future::poll_fn(|context| {
        for inbox in &mut *inboxes {
            if let Poll::Ready(message) = inbox.subscriber.poll_next_unpin(context) {
                return Poll::Ready((inbox.number, message));
            }
        }
        Poll::Pending
    })
    .await
}
