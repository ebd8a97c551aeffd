//! How every task of the edge that speaks NATS connects: the log-in, inboxes that cross a leaf, and a reconnect that never gives up.
//!
//! Called by `chatter.rs` and `orders/share.rs`, each with a connection of its own.

use std::time::Duration;

use async_nats::ConnectOptions;
use frontdoor_bus::{Access, AccessError};
use frontdoor_protocol::subject;

/// Between attempts to connect, half of it up to one and a half: short, since a hub that returns should be heard soon,
/// and not the same for all edges.
const RECONNECT: Duration = Duration::from_secs(1);
/// For one attempt to connect.
pub const CONNECT: Duration = Duration::from_secs(2);

/// Options for a connection of that name.
///
/// # Errors
/// If a file it needs cannot be used.
pub async fn options(nats: &Access, name: &str) -> Result<ConnectOptions, AccessError> {
    let options = nats.options().await?;
    Ok(options
        .name(name)
        .max_reconnects(None)
        .reconnect_delay_callback(|_| pause())
        .connection_timeout(CONNECT)
        .custom_inbox_prefix(subject::CHATTER_INBOX))
}

/// A pause before the next attempt.
pub fn pause() -> Duration {
    RECONNECT.mul_f64(0.5 + rand::random::<f64>())
}
