//! Hears on the region's NATS where invocation services are. What is malformed changes nothing.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use frontdoor_protocol::presence::ServicePresence;
use futures_util::StreamExt;
use http::HeaderValue;
use http::uri::{Authority, Scheme, Uri};
use tokio_util::sync::CancellationToken;

use super::Standby;

/// How often the silent are looked for, and streams that broke are made again.
const TICK: Duration = Duration::from_millis(250);
/// Pause before subscribing again, should that ever fail.
const SUBSCRIBE_PAUSE: Duration = Duration::from_millis(500);

/// Hears until `stop`. The client keeps the subscription over reconnects.
pub(crate) async fn hear(
    standby: Arc<Standby>,
    client: Client,
    subject: String,
    stop: CancellationToken,
) {
    let hear = async {
        loop {
            match client.subscribe(subject.clone()).await {
                Ok(said) => listen(&standby, said).await,
                Err(error) => tracing::warn!(%error, "cannot hear invocation services"),
            }
            tokio::time::sleep(SUBSCRIBE_PAUSE).await;
        }
    };
    stop.run_until_cancelled(hear).await;
}

async fn listen(standby: &Arc<Standby>, mut said: async_nats::Subscriber) {
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            message = said.next() => match message {
                Some(message) => {
                    if let Some((authority, ticket, taking)) = read(&message.payload) {
                        standby.heard(authority, ticket, taking);
                    }
                }
                None => return,
            },
            _ = tick.tick() => standby.expire(),
        }
    }
}

fn read(payload: &[u8]) -> Option<(Authority, HeaderValue, bool)> {
    let said = ServicePresence::decode(payload).ok()?;
    let uri = said.attach_url.parse::<Uri>().ok()?;
    let plain = uri.scheme() == Some(&Scheme::HTTP) && uri.path() == "/";
    let authority = uri.authority().filter(|_| plain)?.clone();
    let mut ticket = HeaderValue::try_from(format!("Bearer {}", said.ticket)).ok()?;
    ticket.set_sensitive(true);
    Some((authority, ticket, said.taking))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn only_plain_addresses_are_stood_at() {
        for (url, good) in [
            ("http://10.0.0.1:8080", true),
            ("http://10.0.0.1:8080/", true),
            ("https://10.0.0.1:8080", false),
            ("http://10.0.0.1:8080/path", false),
            ("10.0.0.1:8080", false),
        ] {
            let said = ServicePresence {
                service: Uuid::from_u128(1),
                attach_url: url.into(),
                ticket: "secret".into(),
                taking: true,
            };
            let read = read(&said.encode());
            assert_eq!(read.is_some(), good, "{url}");
            assert!(!format!("{read:?}").contains("secret"));
        }
        assert!(read(b"\xff").is_none());
    }
}
