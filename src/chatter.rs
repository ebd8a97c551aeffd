//! Background: news from regions over NATS.
//!
//! Makes decisions better, never possible: without NATS the edge routes on probes and live traffic alone. Reconnects for
//! ever. Hearsay is never repeated: this task only listens.

mod hearsay;

use std::sync::Arc;
use std::time::Duration;

use async_nats::{ConnectOptions, Event as NatsEvent};
use frontdoor_protocol::subject;
use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::config::Nats;
use crate::metrics::Metrics;
use crate::table::Event;

/// What the listener needs.
pub struct Chatter {
    /// Where NATS is.
    pub settings: Nats,
    /// Where news goes.
    pub events: mpsc::Sender<Event>,
    /// Counts.
    pub metrics: Arc<Metrics>,
}

/// A dead link is noticed after two of these.
const PING: Duration = Duration::from_secs(5);
/// Between attempts to connect; short, since a hub that returns should be heard soon.
const RECONNECT: Duration = Duration::from_secs(1);
/// For one attempt to connect.
const CONNECT: Duration = Duration::from_secs(2);

// === impl Chatter ===

impl Chatter {
    /// Listens until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            let listened = tokio::select! {
                () = stop.cancelled() => return,
                listened = self.listen() => listened,
            };
            if let Err(error) = listened {
                tracing::warn!(url = self.settings.url, %error, "no chatter; routing goes on without");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(RECONNECT) => {}
            }
        }
    }

    /// Connects and takes reports until the subscription ends, which a lost connection alone does not.
    async fn listen(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let client = self.options().await?.connect(&self.settings.url).await?;
        let mut reports = client.subscribe(subject::REPORTS).await?;
        while let Some(message) = reports.next().await {
            match hearsay::read(&message.subject, &message.payload) {
                Ok(report) => {
                    self.metrics.background.report("taken");
                    if self.events.send(Event::Heard(report)).await.is_err() {
                        return Ok(());
                    }
                }
                Err(doubt) => {
                    self.metrics.background.report(doubt.as_str());
                    tracing::debug!(subject = %message.subject, %doubt, "a report is not believed");
                }
            }
        }
        Ok(())
    }

    async fn options(&self) -> Result<ConnectOptions, std::io::Error> {
        let metrics = Arc::clone(&self.metrics);
        let mut options = match &self.settings.credentials_file {
            Some(file) => ConnectOptions::with_credentials_file(file).await?,
            None => ConnectOptions::new(),
        };
        if let Some((user, password)) = &self.settings.login {
            options = options.user_and_password(user.clone(), password.clone());
        }
        Ok(options
            .name("frontdoor-edge")
            .retry_on_initial_connect()
            .max_reconnects(None)
            .reconnect_delay_callback(|_| RECONNECT)
            .connection_timeout(CONNECT)
            .ping_interval(PING)
            .custom_inbox_prefix(subject::CHATTER_INBOX)
            .event_callback(move |event| {
                let metrics = Arc::clone(&metrics);
                async move { note(&event, &metrics) }
            }))
    }
}

fn note(event: &NatsEvent, metrics: &Metrics) {
    match event {
        NatsEvent::Connected => {
            metrics.background.nats_connected.set(1);
            tracing::info!("chatter is connected");
        }
        NatsEvent::Disconnected => {
            metrics.background.nats_connected.set(0);
            tracing::warn!("chatter is disconnected; routing goes on without");
        }
        other => tracing::debug!(event = %other, "chatter"),
    }
}
