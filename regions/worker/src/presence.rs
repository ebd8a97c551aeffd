//! Tells the region's invocation services how this worker stands: at start, on change, and every half second.
//!
//! Core NATS, soft state; nothing waits for it, and nothing is sent while NATS is away, because it would come out old.
//! The last word of a worker that stops is that it leaves.

use std::time::Duration;

use async_nats::Client;
use frontdoor_protocol::presence::{Standing, WORKER_EVERY, WorkerPresence};
use frontdoor_protocol::subject;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config::Settings;
use crate::health::Health;
use crate::load::Load;
use crate::nats::Link;

/// Changes within this time are told together.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// How long the client may take to accept a message.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// What is told, and what it is made of.
pub(crate) struct Speaker {
    client: Client,
    subject: String,
    base: WorkerPresence,
    running: watch::Receiver<usize>,
    link: watch::Receiver<Link>,
    health: watch::Receiver<Health>,
    suspect: watch::Receiver<bool>,
}

// === impl Speaker ===

impl Speaker {
    pub(crate) fn new(
        client: Client,
        settings: &Settings,
        worker: Uuid,
        load: &Load,
        link: watch::Receiver<Link>,
        (health, suspect): (watch::Receiver<Health>, watch::Receiver<bool>),
    ) -> Self {
        Self {
            client,
            subject: subject::worker_presence(&settings.region, settings.version),
            base: WorkerPresence {
                worker,
                version: settings.version,
                standing: Standing::Resting,
                slots: u32::try_from(settings.slots).unwrap_or(u32::MAX),
                free: 0,
                service: Duration::ZERO,
            },
            running: load.running(),
            link,
            health,
            suspect,
        }
    }

    /// Speaks until `stop`, and then says good-bye.
    pub(crate) async fn speak(mut self, load: impl AsRef<Load>, stop: CancellationToken) {
        let speak = async {
            loop {
                let said = self.said(load.as_ref());
                self.say(&said).await;
                tokio::time::sleep(DEBOUNCE).await;
                // The running calls alone are waited for here as the others are: whatever changed is read anew.
                let changed = async {
                    tokio::select! {
                        Ok(()) = self.running.changed() => {}
                        Ok(()) = self.link.changed() => {}
                        Ok(()) = self.health.changed() => {}
                        Ok(()) = self.suspect.changed() => {}
                        else => std::future::pending().await,
                    }
                };
                let _ = tokio::time::timeout(WORKER_EVERY - DEBOUNCE, changed).await;
            }
        };
        let Some(()) = stop.run_until_cancelled(speak).await else {
            let leaving = WorkerPresence {
                standing: Standing::Leaving,
                ..self.base
            };
            return self.say(&leaving).await;
        };
    }

    fn said(&mut self, load: &Load) -> WorkerPresence {
        let running = u32::try_from(*self.running.borrow_and_update()).unwrap_or(u32::MAX);
        let well = self.health.borrow_and_update().is_well();
        let suspect = *self.suspect.borrow_and_update();
        WorkerPresence {
            standing: match well && !suspect {
                true => Standing::Ready,
                false => Standing::Resting,
            },
            free: self.base.slots.saturating_sub(running),
            service: load.service(),
            ..self.base
        }
    }

    async fn say(&mut self, said: &WorkerPresence) {
        if !self.link.borrow_and_update().up {
            return;
        }
        let sent = self
            .client
            .publish(self.subject.clone(), said.encode().into());
        // A word that is lost is followed by the next.
        let _ = tokio::time::timeout(SEND_TIMEOUT, sent).await;
    }
}
