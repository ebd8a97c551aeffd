//! The connection to the region's NATS: how it is made, whether it is up, and what is heard on it of cancelled calls.
//!
//! It is tried for ever; work that needs it waits. The server's version is checked once it is there, because older
//! ones lose queued requests when a filtered purge runs.

use std::time::Duration;

use async_nats::{Client, Event};
use bytes::Bytes;
use frontdoor_bus::{Access, AccessError, Told};
use frontdoor_protocol::names::{RequestId, VersionId};
use frontdoor_protocol::subject;
use futures_util::StreamExt;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::running::Running;

/// A server that says nothing for two of these is gone.
const PING: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest pause between two tries to connect.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);
/// Pause before subscribing again, should that ever fail.
const SUBSCRIBE_PAUSE: Duration = Duration::from_millis(500);
/// How long a message to ourselves may take. Without a connection it never comes.
const ROUND_TRIP_TIMEOUT: Duration = Duration::from_secs(2);

/// Whether NATS is connected, and for the how-manieth time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) up: bool,
    pub(crate) generation: u64,
}

/// What it means that there is no connection.
const AWAY: &str =
    "this worker takes no calls from the queue until it is back, and what runs goes on";

/// Why there can be no connection.
#[derive(Debug, thiserror::Error)]
pub enum NatsError {
    /// A file needed to log in cannot be used.
    #[error("cannot log in to NATS: {0}")]
    Access(#[from] AccessError),
    /// The configured address is none.
    #[error("NATS cannot be connected: {0}")]
    Connect(#[from] async_nats::ConnectError),
    /// Too old a server.
    #[error("nats-server {found} is too old: 2.11 or newer is required")]
    TooOld {
        /// What the server says it is.
        found: String,
    },
}

/// Begins to connect, and goes on for ever; `news` says how it stands.
pub(crate) async fn connect(
    settings: &Access,
    region: &str,
    name: String,
    metrics: Metrics,
    news: watch::Sender<Link>,
) -> Result<Client, NatsError> {
    let told = Told::new(&settings.url, Some(region), AWAY);
    let options = settings
        .options()
        .await?
        .name(name)
        .retry_on_initial_connect()
        .ping_interval(PING)
        .connection_timeout(CONNECT_TIMEOUT)
        .reconnect_delay_callback(|attempts| {
            let doublings = u32::try_from(attempts.min(10)).unwrap_or(10);
            RECONNECT_PAUSE.min(Duration::from_millis(10) * 2_u32.pow(doublings))
        })
        .event_callback(move |event| {
            note(&event, &told, &metrics, &news);
            std::future::ready(())
        });
    Ok(options.connect(&settings.url).await?)
}

fn note(event: &Event, told: &Told, metrics: &Metrics, news: &watch::Sender<Link>) {
    let label = match event {
        Event::Connected => "connected",
        Event::Disconnected => "disconnected",
        Event::LameDuckMode => "lame-duck",
        Event::Draining => "draining",
        Event::Closed => "closed",
        Event::SlowConsumer(_) => "slow-consumer",
        Event::ServerError(_) => "server-error",
        Event::ClientError(_) => "client-error",
    };
    metrics.nats_event(label);
    match event {
        Event::Connected => told.back(),
        Event::Disconnected => told.failed(&"the connection was lost"),
        Event::ClientError(error) => told.failed(error),
        Event::Draining => tracing::info!(event = label, "NATS"),
        _ => tracing::warn!(event = label, detail = %event, "NATS"),
    }
    news.send_if_modified(|link| match event {
        Event::Connected => {
            link.up = true;
            link.generation += 1;
            true
        }
        Event::Disconnected | Event::Closed => std::mem::replace(&mut link.up, false),
        _ => false,
    });
    metrics.nats_connected.set(i64::from(news.borrow().up));
}

/// Waits for the first connection and returns only if the server is too old.
pub(crate) async fn refuse_old_server(
    client: &Client,
    mut link: watch::Receiver<Link>,
) -> NatsError {
    let first = link.wait_for(|link| link.up).await.is_ok();
    if !first || client.is_server_compatible(2, 11, 0) {
        return std::future::pending().await;
    }
    let found = client.server_info().version;
    NatsError::TooOld { found }
}

/// Waits until the server has read all that was sent before: it answers in order. (The client's own flush waits for the
/// socket only, and a socket that is closed with unread input can lose its output.)
pub(crate) async fn round_trip(client: &Client) -> bool {
    let trip = async {
        let inbox = client.new_inbox();
        let mut probe = client.subscribe(inbox.clone()).await.ok()?;
        client.publish(inbox, Bytes::new()).await.ok()?;
        probe.next().await
    };
    let trip = tokio::time::timeout(ROUND_TRIP_TIMEOUT, trip).await;
    matches!(trip, Ok(Some(_)))
}

/// Hears which calls are cancelled, until `stop`. The client keeps the subscription over reconnects.
pub(crate) async fn hear_cancels(
    client: Client,
    version: VersionId,
    running: Running,
    metrics: Metrics,
    stop: CancellationToken,
) {
    let hear = async {
        loop {
            match client.subscribe(subject::cancel(version)).await {
                Ok(mut cancels) => {
                    while let Some(message) = cancels.next().await {
                        if request_id(&message.payload).is_some_and(|id| running.cancel(id)) {
                            metrics.cancels.inc();
                        }
                    }
                }
                Err(error) => tracing::warn!(%error, "cannot hear cancellations"),
            }
            tokio::time::sleep(SUBSCRIBE_PAUSE).await;
        }
    };
    stop.run_until_cancelled(hear).await;
}

/// Anything that is no id cancels nothing.
fn request_id(payload: &[u8]) -> Option<RequestId> {
    std::str::from_utf8(payload).ok()?.trim().parse().ok()
}
