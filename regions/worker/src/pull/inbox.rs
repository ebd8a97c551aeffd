//! The inbox that requests for messages name as their reply address.
//!
//! Closing it tells the server that nobody listens, so that it drops the requests; what it had already sent still
//! arrives, until the server confirms. Only then is it closed, and a message cannot be lost in between.

use std::time::{Duration, Instant};

use async_nats::{Client, Message, SubscribeError, Subscriber};
use futures_util::StreamExt;

/// How long the server may take to confirm. Without a connection it never does.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Its state.
pub(super) enum Inbox {
    /// There is none.
    Closed,
    /// Messages may be asked for.
    Open {
        subscriber: Subscriber,
        /// Reply addresses start with this.
        prefix: String,
        /// How many requests were made.
        asked: u64,
        /// The connection it was opened on.
        generation: u64,
    },
    /// What is on its way still arrives.
    Closing {
        subscriber: Subscriber,
        until: Instant,
    },
}

// === impl Inbox ===

impl Inbox {
    pub(super) async fn open(client: &Client, generation: u64) -> Result<Self, SubscribeError> {
        let prefix = client.new_inbox();
        Ok(Self::Open {
            subscriber: client.subscribe(format!("{prefix}.>")).await?,
            prefix,
            asked: 0,
            generation,
        })
    }

    /// The next message; `None` when the inbox has closed. Waits for ever on one that is closed.
    pub(super) async fn next(&mut self) -> Option<Message> {
        match self {
            Self::Open { subscriber, .. } | Self::Closing { subscriber, .. } => {
                subscriber.next().await
            }
            Self::Closed => std::future::pending().await,
        }
    }

    /// Begins to close.
    pub(super) async fn close(&mut self, now: Instant) {
        *self = match std::mem::replace(self, Self::Closed) {
            Self::Open { mut subscriber, .. } => {
                let until = now + CLOSE_TIMEOUT;
                let drained = tokio::time::timeout(CLOSE_TIMEOUT, subscriber.drain()).await;
                if matches!(drained, Ok(Ok(()))) {
                    Self::Closing { subscriber, until }
                } else {
                    Self::Closed
                }
            }
            other => other,
        };
    }

    /// Closes for good what was not confirmed in time.
    pub(super) fn give_up_closing(&mut self, now: Instant) {
        if matches!(self, Self::Closing { until, .. } if *until <= now) {
            *self = Self::Closed;
        }
    }

    pub(super) const fn is_closed(&self) -> bool {
        matches!(self, Self::Closed)
    }
}
