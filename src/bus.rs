//! How every task of the edge that speaks NATS connects: the log-in, inboxes that cross a leaf, and a reconnect that never gives up.
//!
//! Called by `chatter.rs` and `orders/share.rs`, each with a connection of its own.

use std::io;
use std::time::Duration;

use async_nats::ConnectOptions;
use frontdoor_protocol::subject;

use crate::config::Nats;

/// Between attempts to connect, half of it up to one and a half: short, since a hub that returns should be heard soon,
/// and not the same for all edges.
const RECONNECT: Duration = Duration::from_secs(1);
/// For one attempt to connect.
pub const CONNECT: Duration = Duration::from_secs(2);

/// Options for a connection of that name.
///
/// # Errors
/// If the credentials file cannot be read.
pub async fn options(nats: &Nats, name: &str) -> io::Result<ConnectOptions> {
    let mut options = match &nats.credentials_file {
        Some(file) => ConnectOptions::with_credentials_file(file).await?,
        None => ConnectOptions::new(),
    };
    if let Some((user, password)) = &nats.login {
        options = options.user_and_password(user.clone(), password.clone());
    }
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
