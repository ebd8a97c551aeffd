//! The inboxes that requests for messages name as their reply address.
//!
//! One takes requests; older ones only wait. An inbox is dropped no earlier than nothing can arrive there any more
//! (`slots.rs` knows when), because what the server sends to an inbox without a listener is lost until it is
//! delivered again. `pull.rs` opens and drops them.

use std::task::Poll;

use async_nats::{Client, Message, SubscribeError, Subscriber};
use futures_util::StreamExt;

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
