//! Background: news of regions and other edges over NATS, and what this edge has to say.
//!
//! Makes decisions better, never possible: without NATS the edge routes on probes and live traffic alone. Reconnects for
//! ever. Hearsay is never repeated: what we say is what we saw. A link that looks connected and carries nothing is
//! found out by our own verdicts, which have to come back.

mod hearsay;
mod peers;
mod speak;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, Event as NatsEvent, Message};
use frontdoor_bus::{Access, AccessError, Told};
use frontdoor_protocol::subject;
use futures_util::StreamExt as _;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

pub use self::peers::Turn;
use self::peers::{ALIVE, Peers};
use self::speak::Voice;
use crate::bus;
use crate::metrics::Metrics;
use crate::table::{Event, SnapshotReader};

/// What the task needs.
pub struct Chatter {
    /// Where NATS is.
    pub settings: Access,
    /// The number by which other edges know us; drawn at the start.
    pub edge: u64,
    /// What we say.
    pub snapshots: SnapshotReader,
    /// Where news goes.
    pub events: mpsc::Sender<Event>,
    /// Where it is told whose turn it is to look into the regions.
    pub turn: watch::Sender<Turn>,
    /// Counts.
    pub metrics: Arc<Metrics>,
}

/// What is known of one connection.
struct Session {
    client: Client,
    peers: Peers,
    voice: Voice,
    begun: Instant,
}

/// Why a connection is given up.
#[derive(Debug, thiserror::Error)]
enum ChatterError {
    /// A file needed to log in cannot be used.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The URL is malformed, or the like.
    #[error(transparent)]
    Connect(#[from] async_nats::ConnectError),
    /// The client has ended.
    #[error(transparent)]
    Subscribe(#[from] async_nats::SubscribeError),
    /// Our own words do not come back.
    #[error("the link looks connected and is dead")]
    Dead,
    /// A subscription ended, which a lost connection alone does not do.
    #[error("the client ended")]
    Ended,
}

/// The client's own check of the link: a server that answers nothing is given up after two of these without an answer.
const PING: Duration = Duration::from_secs(1);
/// How often it is looked whether there is something to say: a change is told within this.
const LOOK: Duration = Duration::from_millis(100);
/// For one message to be taken by the client.
const PUBLISH: Duration = Duration::from_secs(2);

/// What it means that there is no connection.
const AWAY: &str = "no news of regions and other edges, no shared orders; routing goes on without";

// === impl Chatter ===

impl Chatter {
    /// Listens and speaks until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        // Of all connections that are made, one after the other.
        let told = Arc::new(Told::new(&self.settings.url, None, AWAY));
        loop {
            let talked = tokio::select! {
                () = stop.cancelled() => return,
                talked = self.talk(&told) => talked,
            };
            self.bus(false).await;
            match talked {
                Ok(()) => return,
                Err(error) => told.failed(&error),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(bus::pause()) => {}
            }
        }
    }

    /// Connects, listens and speaks until the link is found dead; `Ok` if nobody wants the news any more.
    async fn talk(&self, told: &Arc<Told>) -> Result<(), ChatterError> {
        let options = self.options(Arc::clone(told)).await?;
        let client = options.connect(&self.settings.url).await?;
        let mut reports = client.subscribe(subject::REPORTS).await?;
        let mut verdicts = client.subscribe(subject::VERDICTS).await?;
        let mut session = Session {
            client,
            peers: Peers::new(self.edge),
            voice: Voice::new(self.edge),
            begun: Instant::now(),
        };
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut worked = false;
        loop {
            let event = tokio::select! {
                message = reports.next() => self.report(&message.ok_or(ChatterError::Ended)?),
                message = verdicts.next() => {
                    self.verdict(&message.ok_or(ChatterError::Ended)?, &mut session.peers)
                }
                _ = looks.tick() => {
                    self.speak(&mut session).await;
                    let now = Instant::now();
                    let works = session.works(now);
                    if works != worked {
                        worked = works;
                        self.bus(works).await;
                        if works {
                            let asked = session.client.publish(subject::ASK_REPORTS, "".into());
                            // If it is not taken, the regions tell everything every five seconds.
                            let _ = timeout(PUBLISH, asked).await;
                        }
                    }
                    if session.is_connected() && session.is_dead(now) {
                        self.metrics.background.nats_connected.set(0);
                        return Err(ChatterError::Dead);
                    }
                    self.tell(session.peers.turn(now));
                    None
                }
            };
            if let Some(event) = event
                && self.events.send(event).await.is_err()
            {
                return Ok(());
            }
        }
    }

    fn report(&self, message: &Message) -> Option<Event> {
        let read = hearsay::report(&message.subject, &message.payload);
        self.believed(&message.subject, read.map(Event::Heard))
    }

    fn verdict(&self, message: &Message, peers: &mut Peers) -> Option<Event> {
        let read = hearsay::verdict(&message.subject, &message.payload);
        if let Ok(verdict) = &read {
            peers.hear(verdict.edge, Instant::now());
            // What we said ourselves is no news.
            if verdict.edge == self.edge {
                return None;
            }
        }
        self.believed(&message.subject, read.map(Event::Verdict))
    }

    fn believed(&self, subject: &str, read: Result<Event, hearsay::Doubt>) -> Option<Event> {
        match read {
            Ok(event) => {
                self.metrics.background.report("taken");
                Some(event)
            }
            Err(doubt) => {
                self.metrics.background.report(doubt.as_str());
                tracing::debug!(subject, %doubt, "a message is not believed");
                None
            }
        }
    }

    async fn speak(&self, session: &mut Session) {
        // Without a connection words would pile up in its queue and all come out old.
        if !session.is_connected() {
            return;
        }
        let verdict = session.voice.next(&self.snapshots.load(), Instant::now());
        if let Some(verdict) = verdict {
            let subject = subject::verdict(self.edge);
            let sent = session.client.publish(subject, verdict.encode().into());
            // One that is not taken is followed by the next.
            let _ = timeout(PUBLISH, sent).await;
        }
    }

    async fn bus(&self, works: bool) {
        if !works {
            self.tell(Turn::Alone);
        }
        let _ = self.events.send(Event::Bus(works)).await;
    }

    fn tell(&self, turn: Turn) {
        self.turn.send_if_modified(|now| {
            let before = std::mem::replace(now, turn);
            before != turn
        });
    }

    async fn options(&self, told: Arc<Told>) -> Result<ConnectOptions, AccessError> {
        let metrics = Arc::clone(&self.metrics);
        Ok(bus::options(&self.settings, "frontdoor-edge")
            .await?
            .retry_on_initial_connect()
            .ping_interval(PING)
            .event_callback(move |event| {
                note(&event, &told, &metrics);
                std::future::ready(())
            }))
    }
}

// === impl Session ===

impl Session {
    fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Whether our own voice comes back. Where we may not speak, being connected has to do.
    fn works(&mut self, now: Instant) -> bool {
        if !self.is_connected() {
            // The client connects again by itself; what it was good for has to be seen anew.
            self.begun = now;
            self.peers.forget_echo();
            return false;
        }
        !self.is_dead(now)
    }

    /// Whether it looks connected and what we say does not come back any more.
    fn is_dead(&self, now: Instant) -> bool {
        let old = |at: Instant| now.saturating_duration_since(at) > ALIVE;
        old(self.begun) && self.peers.echo().is_some_and(old)
    }
}

/// What a message says, if it is believed.
#[must_use]
pub fn heard(subject: &str, payload: &[u8]) -> Option<Event> {
    let report = hearsay::report(subject, payload).map(Event::Heard);
    let said = report.or_else(|_| hearsay::verdict(subject, payload).map(Event::Verdict));
    said.ok()
}

fn note(event: &NatsEvent, told: &Told, metrics: &Metrics) {
    match event {
        NatsEvent::Connected => {
            metrics.background.nats_connected.set(1);
            told.back();
        }
        NatsEvent::Disconnected => {
            metrics.background.nats_connected.set(0);
            told.failed(&"the connection was lost");
        }
        NatsEvent::ClientError(error) => told.failed(error),
        other => tracing::debug!(event = %other, "chatter"),
    }
}
