//! The JetStream pull loop: asks for as many messages as slots are free, and starts a call for each that comes.
//!
//! Requests and replies are made by hand on an inbox of our own, so that every reply of the server is counted: what
//! was asked, what arrived, what was given back (`slots.rs` does the sums). When the worker should take nothing (the
//! container is sick or suspect, or the worker stops), it only stops asking: requests are short, and what they still bring goes
//! back at once. Interest in a request is never dropped while it lives, but at a stop, where that loses nothing. Nothing is ever created here: while the stream or consumer is
//! missing, the loop asks again with growing pauses until the invocation service has made them.

mod inbox;
mod reply;
mod withdraw;

use std::collections::VecDeque;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use async_nats::{Client, Message, jetstream};
use frontdoor_protocol::subject;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::attach::Tail;
use crate::config::Settings;
use crate::handle::Handler;
use crate::health::Health;
use crate::nats::Link;
use crate::settle::Outcome;
use crate::slots::{Arrival, QUIET, Slots};
use crate::standby::Standby;

use inbox::Inbox;
use reply::{Pause, Reply};

/// A request for messages lives this long at the server. Short, because the server may serve it to a worker that has
/// died, or that stops and sends the message back.
const EXPIRES: Duration = Duration::from_secs(2);
/// A request this much older is dead even if the server's reply was lost.
const SLACK: Duration = Duration::from_secs(3);
/// The loop looks at its clocks this often when nothing happens.
const TICK: Duration = Duration::from_secs(1);
/// A message waits here so long for a slot before another worker may have it.
const PARK: Duration = Duration::from_millis(100);
/// What was cut at stop gets this long to say so.
const CUT_TIMEOUT: Duration = Duration::from_secs(5);

/// The loop and everything it owns.
pub(crate) struct Puller {
    client: Client,
    jetstream: jetstream::Context,
    stream: String,
    consumer: String,
    /// Where this consumer takes requests for messages.
    ask_subject: String,
    handler: Arc<Handler>,
    /// The server's limit for one request, once it has named one.
    most: usize,
    calls: JoinSet<Option<Tail>>,
    tails: TaskTracker,
    /// The other way by which calls come.
    standby: Option<Arc<Standby>>,
    /// Messages that came when a standing stream had taken the last slot.
    parked: VecDeque<(Instant, jetstream::Message)>,
    /// The last one takes requests.
    inboxes: Vec<Inbox>,
    /// How many inboxes were opened.
    opened: u64,
    /// Whether what arrives may be run.
    taking: bool,
    pause: Pause,
    link: watch::Receiver<Link>,
    health: watch::Receiver<Health>,
    suspect: watch::Receiver<bool>,
}

// === impl Puller ===

impl Puller {
    pub(crate) fn new(
        client: Client,
        settings: &Settings,
        handler: Arc<Handler>,
        (tails, standby): (TaskTracker, Option<Arc<Standby>>),
        (link, health): (watch::Receiver<Link>, watch::Receiver<Health>),
    ) -> Self {
        let stream = subject::work_stream(&settings.region, settings.version);
        let consumer = subject::work_consumer(&settings.region, settings.version);
        Self {
            jetstream: jetstream::new(client.clone()),
            client,
            suspect: handler.suspect.subscribe(),
            ask_subject: format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"),
            stream,
            consumer,
            handler,
            most: settings.slots,
            calls: JoinSet::new(),
            tails,
            standby,
            parked: VecDeque::new(),
            inboxes: Vec::new(),
            opened: 0,
            taking: false,
            pause: Pause::default(),
            link,
            health,
        }
    }

    /// Pulls until `stop`.
    pub(crate) async fn run(&mut self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            self.adjust().await;
            self.step(stop.cancelled()).await;
        }
    }

    /// Takes nothing more, and waits for what runs; what still runs after `grace` is cut.
    pub(crate) async fn finish(&mut self, grace: Duration) {
        self.taking = false;
        self.slots().set_taking(false);
        self.withdraw().await;
        if tokio::time::timeout(grace, self.idle()).await.is_err() {
            tracing::warn!(
                calls = self.calls.len(),
                "calls are cut: the time to stop is over"
            );
            self.handler.cut.cancel();
            let _ = tokio::time::timeout(CUT_TIMEOUT, self.idle()).await;
        }
        self.calls.shutdown().await;
        self.inboxes.clear();
    }

    /// Ends when no call runs and nothing can arrive.
    async fn idle(&mut self) {
        while !(self.calls.is_empty() && self.parked.is_empty() && self.slots().asked() == 0) {
            self.step(std::future::pending()).await;
            self.slots().expire(Instant::now());
        }
    }

    /// Waits for one event, or for `stop`. Each branch only waits; what it found is worked on afterwards, so that
    /// nothing is half done when another branch wins.
    async fn step(&mut self, stop: impl Future<Output = ()>) {
        let tick = match self.slots().is_queued(Instant::now()) {
            true => QUIET,
            false => TICK,
        };
        tokio::select! {
            () = stop => {}
            Some(ended) = self.calls.join_next() => self.call_ended(ended),
            (number, message) = inbox::next(&mut self.inboxes) => self.received(number, message).await,
            Ok(()) = self.link.changed() => {}
            Ok(()) = self.health.changed() => {}
            Ok(()) = self.suspect.changed() => {}
            () = self.handler.load.freed() => {}
            () = tokio::time::sleep(self.pause.left(Instant::now()).min(tick)) => {}
        }
        while let Some(ended) = self.calls.try_join_next() {
            self.call_ended(ended);
        }
        self.serve_parked().await;
        self.show();
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.handler.load.slots()
    }

    /// Gives what waits here its slot, or sends it elsewhere when it has waited long enough.
    async fn serve_parked(&mut self) {
        while let Some((since, message)) = self.parked.pop_front() {
            if self.taking && self.slots().unpark() {
                self.calls.spawn(Arc::clone(&self.handler).handle(message));
            } else if self.taking && since.elapsed() < PARK {
                self.parked.push_front((since, message));
                return;
            } else {
                self.slots().give_up_parked();
                self.handler.settle(&message, Outcome::NoSlot).await;
            }
        }
    }

    fn show(&self) {
        let metrics = &self.handler.metrics;
        let slots = self.slots();
        let (running, asked) = (slots.running(), slots.asked());
        drop(slots);
        self.handler.load.set_running(running);
        metrics.asked.set(gauge(asked));
    }

    /// Asks for what is free as link and container allow, and sees to the inboxes.
    async fn adjust(&mut self) {
        let now = Instant::now();
        let link = *self.link.borrow_and_update();
        self.taking =
            self.health.borrow_and_update().is_well() && !*self.suspect.borrow_and_update();
        {
            let mut slots = self.handler.load.slots();
            slots.set_taking(self.taking && link.up);
            slots.expire(now);
            self.inboxes.retain(|inbox| slots.awaits(inbox.number));
        }
        if self.taking && link.up && self.pause.is_over(now) {
            let generation = self.inboxes.last().map(|inbox| inbox.generation);
            let reconnected = generation != Some(link.generation);
            if reconnected {
                // What the server knew of requests went with the connection.
                self.slots().forget_asked();
            }
            if reconnected || self.slots().round_is_over(now) {
                self.open_inbox(link.generation, now).await;
            }
            self.ask(now).await;
        }
        if let Some(standby) = &self.standby {
            standby.adjust();
        }
        self.show();
    }

    async fn open_inbox(&mut self, generation: u64, now: Instant) {
        self.opened += 1;
        match Inbox::open(&self.client, self.opened, generation).await {
            Ok(inbox) => {
                self.slots().begin(inbox.number, now);
                self.inboxes.push(inbox);
            }
            Err(error) => {
                tracing::warn!(%error, "no inbox");
                self.pause.after_failure(now);
            }
        }
    }

    async fn ask(&mut self, now: Instant) {
        while let Some(Inbox {
            number,
            prefix,
            asked,
            ..
        }) = self.inboxes.last_mut()
        {
            let slots = || self.handler.load.slots();
            let batch = slots().ask(self.most, now, now + EXPIRES + SLACK);
            let Some(batch) = batch else {
                return;
            };
            *asked += 1;
            let reply = reply::subject(prefix, *asked, batch);
            let request = format!(r#"{{"batch":{batch},"expires":{}}}"#, EXPIRES.as_nanos());
            let subject = self.ask_subject.clone();
            let published = self
                .client
                .publish_with_reply(subject, reply, request.into());
            if let Err(error) = published.await {
                tracing::warn!(%error, "cannot ask for messages");
                slots().given_back(*number, batch);
                self.pause.after_failure(now);
                return;
            }
            self.handler.metrics.asked_total.inc_by(batch as u64);
        }
    }

    async fn received(&mut self, number: u64, message: Option<Message>) {
        let Some(message) = message else {
            self.slots().forget_round(number);
            self.inboxes.retain(|inbox| inbox.number != number);
            return;
        };
        if message.status.is_some() {
            self.replied(number, &message);
            return;
        }
        let context = self.jetstream.clone();
        let message = jetstream::Message { message, context };
        self.pause.after_success();
        let resting = !self.taking || *self.suspect.borrow();
        let pending = message.info().map_or(0, |info| info.pending);
        let (arrival, parked) = {
            let mut slots = self.slots();
            slots.heard_of_queue(pending, Instant::now());
            let arrival = slots.arrived(number);
            let parked = arrival == Arrival::NoSlot && !resting && slots.park();
            (arrival, parked)
        };
        match arrival {
            Arrival::Taken if resting => {
                self.slots().finished();
                self.handler.settle(&message, Outcome::Resting).await;
            }
            Arrival::NoSlot if parked => self.parked.push_back((Instant::now(), message)),
            Arrival::Taken => {
                self.calls.spawn(Arc::clone(&self.handler).handle(message));
            }
            Arrival::NoSlot => self.handler.settle(&message, Outcome::NoSlot).await,
        }
    }

    fn replied(&mut self, number: u64, message: &Message) {
        match reply::read(message) {
            Reply::Expired { missing } => {
                self.slots().given_back(number, missing);
                self.pause.after_success();
            }
            Reply::Refused { missing, most } => {
                self.slots().given_back(number, missing);
                self.most = most.unwrap_or(self.most);
                self.handler.metrics.ask_failures.inc();
                let again = self.pause.after_failure(Instant::now());
                let reason = message.description.as_deref().unwrap_or("no such consumer");
                tracing::debug!(reason, ?again, "the server gives no messages");
            }
            Reply::Other => {}
        }
    }

    fn call_ended(&mut self, ended: Result<Option<Tail>, JoinError>) {
        self.slots().finished();
        match ended {
            Ok(Some(tail)) => {
                self.tails.spawn(tail.handed_over());
            }
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "a call's task died; please report this"),
        }
    }
}

fn gauge(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
