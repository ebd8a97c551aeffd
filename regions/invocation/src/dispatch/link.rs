//! The one connection to the region's NATS: made at start, kept for ever, its state visible to all.
//!
//! Requires nats-server 2.11 or newer: older ones strand queued work when a purge is filtered. Never blocks a call:
//! whoever sends looks at [`Link::is_up`] first and times what it awaits. `dispatch.rs` follows the state.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::jetstream;
use async_nats::{Client, Event, SubscribeError, Subscriber};
use frontdoor_bus::Told;
use frontdoor_protocol::names::RegionName;
use tokio::sync::watch;

use crate::config::Nats;

/// A PING this often: a frozen server is known as lost after at most three of them.
const PING: Duration = Duration::from_secs(3);
/// The longest time one attempt to connect may take.
const CONNECT: Duration = Duration::from_secs(2);
/// The longest pause between two attempts to reconnect; they never end.
const RECONNECT_PAUSE: Duration = Duration::from_secs(2);
/// The longest wait for an answer of the JetStream API.
pub(super) const API: Duration = Duration::from_secs(2);
/// Commands that may wait for the connection's task. Calls are bounded by `limits.waiting`; this only smooths bursts.
const COMMANDS: usize = 16 * 1024;
/// Published work items whose ack is outstanding; more than calls may wait, so it never binds.
const ACKS: usize = 128 * 1024;
/// The oldest server that is good enough.
const OLDEST: (u64, u64) = (2, 11);

/// What the connection is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkState {
    /// There is none.
    Down,
    /// There is one; server and queues are not checked yet.
    Connected,
    /// Calls can be queued.
    Up,
    /// The server is too old.
    TooOld,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// A file needed to log in cannot be used.
    #[error("cannot log in to NATS")]
    Access(#[source] frontdoor_bus::AccessError),
    /// The URL is malformed.
    #[error("cannot connect to NATS")]
    Connect(#[source] async_nats::ConnectError),
    /// The server is too old.
    #[error(
        "nats-server {found} is too old: 2.11 or newer is required, older ones strand queued calls when one is cancelled"
    )]
    TooOld {
        /// Its version.
        found: String,
    },
}

/// The connection.
pub(crate) struct Link {
    pub(super) client: Client,
    pub(super) jetstream: jetstream::Context,
    state: watch::Sender<LinkState>,
    outage: Arc<Outage>,
}

/// What it means that there is no connection.
const AWAY: &str = "new calls from edges are refused so that they go elsewhere, others are held for a moment and then refused, \
                    and what runs goes on";

/// Since when calls cannot be queued.
struct Outage(Mutex<Option<Instant>>);

// === impl Link ===

impl Link {
    /// Starts to connect; does not wait for success. Wait for [`Self::states`] to learn of it.
    ///
    /// # Errors
    /// If the settings cannot work.
    pub(crate) async fn open(nats: &Nats, region: &RegionName) -> Result<Self, LinkError> {
        let state = watch::Sender::new(LinkState::Down);
        let seen = state.clone();
        let outage = Arc::new(Outage(Mutex::new(Some(Instant::now()))));
        let noted = Arc::clone(&outage);
        let told = Told::new(&nats.access.url, Some(region.as_str()), AWAY);
        let options = nats
            .access
            .options()
            .await
            .map_err(LinkError::Access)?
            .name(format!("frontdoor-invocation {region}"))
            .ping_interval(PING)
            .connection_timeout(CONNECT)
            .request_timeout(Some(API))
            .client_capacity(COMMANDS)
            .retry_on_initial_connect()
            .reconnect_delay_callback(reconnect_pause)
            .event_callback(move |event| {
                note(&seen, &noted, &told, &event);
                std::future::ready(())
            });
        let urls: Vec<&str> = nats.access.url.split(',').map(str::trim).collect();
        let client = options
            .connect(&urls[..])
            .await
            .map_err(LinkError::Connect)?;
        let jetstream = jetstream::context::ContextBuilder::new()
            .timeout(API)
            .ack_timeout(API)
            .max_ack_inflight(ACKS)
            .backpressure_on_inflight(false)
            .build(client.clone());
        Ok(Self {
            client,
            jetstream,
            state,
            outage,
        })
    }

    /// Waits until calls can be queued.
    pub(super) async fn up(&self) {
        // The sender lives as long as we do.
        let _ = self
            .states()
            .wait_for(|state| *state == LinkState::Up)
            .await;
    }

    /// Waits until there is no connection for longer than this.
    pub(super) async fn down_longer_than(&self, patience: Duration) {
        let mut states = self.states();
        loop {
            let _ = states.wait_for(|state| *state != LinkState::Up).await;
            if tokio::time::timeout(patience, self.up()).await.is_err() {
                return;
            }
        }
    }

    /// For how long calls could not be queued; nothing if they can be.
    pub(crate) fn down_for(&self) -> Duration {
        self.outage
            .since()
            .map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Whether calls can be queued.
    pub(crate) fn is_up(&self) -> bool {
        *self.state.borrow() == LinkState::Up
    }

    /// Whether there is a server that is not fit for calls yet.
    pub(crate) fn is_connected(&self) -> bool {
        *self.state.borrow() == LinkState::Connected
    }

    /// The state, and its changes.
    pub(crate) fn states(&self) -> watch::Receiver<LinkState> {
        self.state.subscribe()
    }

    /// Looks at the server's version. Too old is remembered in the state.
    pub(crate) fn check_server(&self) -> Result<(), LinkError> {
        let found = self.client.server_info().version;
        if new_enough(&found) {
            return Ok(());
        }
        self.state.send_replace(LinkState::TooOld);
        let error = LinkError::TooOld { found };
        tracing::error!(%error, "no call can be queued");
        Err(error)
    }

    /// Says that calls can be queued, unless the connection was lost meanwhile.
    pub(crate) fn set_up(&self) {
        self.state.send_if_modified(|state| {
            let rises = *state == LinkState::Connected;
            if rises {
                *state = LinkState::Up;
                self.outage.ends();
            }
            rises
        });
    }

    /// The connection itself, for who listens.
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Publishes a message of no importance to any call; gives up soon.
    pub(crate) async fn tell(&self, subject: String, payload: Vec<u8>) -> bool {
        let sent = self.client.publish(subject, payload.into());
        matches!(tokio::time::timeout(API, sent).await, Ok(Ok(())))
    }

    /// Hears what is said on a subject; the client keeps this over reconnects.
    pub(crate) async fn hear(&self, subject: String) -> Result<Subscriber, SubscribeError> {
        self.client.subscribe(subject).await
    }

    /// Sends what is buffered; gives up soon.
    pub(crate) async fn flush(&self) {
        if tokio::time::timeout(API, self.client.flush())
            .await
            .is_err()
        {
            tracing::warn!("NATS could not be flushed in time");
        }
    }
}

// === impl Outage ===

impl Outage {
    fn since(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins, unless it lasts already.
    fn begins(&self) {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        since.get_or_insert_with(Instant::now);
    }

    fn ends(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn note(state: &watch::Sender<LinkState>, outage: &Outage, told: &Told, event: &Event) {
    match event {
        Event::Connected => {
            told.back();
            state.send_replace(LinkState::Connected);
        }
        Event::Disconnected | Event::Closed => {
            told.failed(&"the connection was lost");
            outage.begins();
            state.send_replace(LinkState::Down);
        }
        Event::ClientError(error) => told.failed(error),
        other => tracing::warn!(event = %other, "NATS"),
    }
}

/// 50 ms, 100 ms, 150 ms … 2 s.
fn reconnect_pause(attempts: usize) -> Duration {
    let steps = u32::try_from(attempts).unwrap_or(u32::MAX);
    Duration::from_millis(50)
        .saturating_mul(steps)
        .min(RECONNECT_PAUSE)
}

fn new_enough(version: &str) -> bool {
    let mut parts = version.split(['.', '-']).map(str::parse::<u64>);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= OLDEST,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_servers_are_not_good_enough() {
        for (version, good) in [
            ("2.11.0", true),
            ("2.15.1", true),
            ("3.0.0", true),
            ("2.12.0-beta.1", true),
            ("2.10.29", false),
            ("2.9.10", false),
            ("1.99.0", false),
            ("", false),
            ("nightly", false),
        ] {
            assert_eq!(new_enough(version), good, "{version}");
        }
    }

    #[test]
    fn reconnects_slow_down_to_a_bound() {
        assert_eq!(reconnect_pause(1), Duration::from_millis(50));
        assert_eq!(reconnect_pause(usize::MAX), RECONNECT_PAUSE);
    }
}
