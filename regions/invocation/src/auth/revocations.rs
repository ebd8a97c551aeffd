//! Hears over chatter which keys are revoked, and refuses them from then on.
//!
//! Says so to whoever asked for an answer. A message that came while the connection was lost is never heard: the keys
//! file and the authority remain the truth.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, Message};
use frontdoor_protocol::names::RegionName;
use frontdoor_protocol::revocation::Revocation;
use frontdoor_protocol::subject;
use futures_util::StreamExt as _;
use tokio_util::sync::CancellationToken;

use super::Auth;
use super::counts::Heard;

/// Between attempts to subscribe, which fail only while the client ends.
const AGAIN: Duration = Duration::from_secs(1);
/// The longest wait to hand a confirmation to the connection.
const CONFIRM: Duration = Duration::from_secs(1);

/// Listens until `stop`. The client subscribes again by itself whenever it reconnects.
pub(crate) async fn hear(
    auth: Arc<Auth>,
    client: Client,
    region: RegionName,
    stop: CancellationToken,
) {
    let listen = async {
        loop {
            if let Ok(mut messages) = client.subscribe(subject::REVOKED).await {
                while let Some(message) = messages.next().await {
                    take(&auth, &client, &region, message).await;
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    };
    tokio::select! {
        () = listen => {}
        () = stop.cancelled() => {}
    }
}

async fn take(auth: &Auth, client: &Client, region: &RegionName, message: Message) {
    let Some(revocation) = Revocation::decode(&message.payload) else {
        auth.counts.heard(Heard::Malformed);
        tracing::warn!("a message on {} is no revocation", subject::REVOKED);
        return;
    };
    let hash = revocation.sha256;
    if auth.revoke(hash) {
        auth.counts.heard(Heard::Taken);
        tracing::info!(key = hash.short(), "an API key is revoked");
    } else {
        auth.counts.heard(Heard::Known);
    }
    if let Some(reply) = message.reply {
        let said = client.publish(reply, region.to_string().into());
        // Who asked looks at what comes; an answer that cannot be sent is one that does not.
        let _ = tokio::time::timeout(CONFIRM, said).await;
    }
}
