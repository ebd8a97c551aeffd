//! Orders shared between edges: a key-value bucket in the hub's JetStream, one key per region.
//!
//! Connects for ever. At each connection it offers what this edge knows and the bucket does not, then watches. A bucket
//! holds the last thing written, which may be the older one of two orders given in the same moment: whoever knows the newer
//! one writes it again, so all edges end at the same.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::{self, kv};
use async_nats::{Client, ConnectErrorKind, Event};
use frontdoor_bus::Access;
use frontdoor_protocol::names::RegionName;
use futures_util::StreamExt as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Book, Wish};
use crate::bus;

/// How far an order got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The bucket has it.
    AllEdges,
    /// Only this edge has it, which knows no NATS.
    NoNats,
    /// Only this edge has it, until NATS is back.
    NatsAway,
    /// Only this edge has it: NATS is there and does not do what is asked.
    NatsRefuses,
    /// Only this edge has it as far as is known: there was no answer in time.
    Unsure,
}

/// The clerk's side of the sharing task.
pub(super) struct Share {
    tell: Option<mpsc::Sender<Telling>>,
    heard: mpsc::Receiver<(RegionName, Wish)>,
    standing: watch::Receiver<Reach>,
    task: JoinSet<()>,
}

/// The task.
struct Sharer {
    nats: Access,
    known: Book,
    tell: mpsc::Receiver<Telling>,
    heard: mpsc::Sender<(RegionName, Wish)>,
    /// How far an order gets now.
    standing: watch::Sender<Reach>,
}

struct Telling {
    region: RegionName,
    wish: Wish,
    done: oneshot::Sender<Reach>,
}

/// Why orders are not shared now.
struct Trouble {
    standing: Reach,
    cause: String,
}

/// The first complaint of the server on a connection. It does not answer what it forbids, and says so beside it.
type Complaint = Arc<Mutex<Option<String>>>;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Its name in the hub's JetStream.
const BUCKET: &str = "frontdoor-orders";
/// The hub's JetStream domain; edges may be connected to a leaf of it.
const DOMAIN: &str = "hub";
/// A wish is a few hundred bytes.
const VALUE: i32 = 4096;
/// Orders on their way between the two tasks.
const QUEUE: usize = 64;
/// For one question to the bucket.
const LIMIT: Duration = Duration::from_secs(2);
/// For word of what became of an order: the bucket's answer, and a moment.
const WORD: Duration = Duration::from_secs(3);

// === impl Reach ===

impl Reach {
    /// Its name in answers and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AllEdges => "all-edges",
            Self::NoNats => "no-nats",
            Self::NatsAway => "nats-away",
            Self::NatsRefuses => "nats-refuses",
            Self::Unsure => "unsure",
        }
    }

    /// The same for people, to follow what was ordered.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::AllEdges => "all edges know it",
            Self::NoNats => {
                "only this edge knows it: its configuration names no NATS to share it over"
            }
            Self::NatsAway => "only this edge knows it; the others will when NATS is back",
            Self::NatsRefuses => {
                "only this edge knows it so far: NATS takes no orders from it, and this edge's log says why"
            }
            Self::Unsure => {
                "only this edge knows it so far; the others will when orders can be shared: see this edge's log"
            }
        }
    }
}

// === impl Share ===

impl Share {
    /// Starts sharing; without NATS there is nobody to share with.
    pub(super) fn start(nats: Option<Access>, known: Book, stop: CancellationToken) -> Self {
        let (heard_in, heard) = mpsc::channel(QUEUE);
        let begin = nats.as_ref().map_or(Reach::NoNats, |_| Reach::Unsure);
        let (standing_in, standing) = watch::channel(begin);
        let mut task = JoinSet::new();
        let tell = nats.map(|nats| {
            let (tell, tells) = mpsc::channel(QUEUE);
            let sharer = Sharer {
                nats,
                known,
                tell: tells,
                heard: heard_in,
                standing: standing_in,
            };
            task.spawn(sharer.run(stop));
            tell
        });
        Self {
            tell,
            heard,
            standing,
            task,
        }
    }

    /// Offers an order to all edges.
    pub(super) async fn tell(&self, region: &RegionName, wish: &Wish) -> Reach {
        let Some(tell) = &self.tell else {
            return Reach::NoNats;
        };
        let (done, answer) = oneshot::channel();
        let telling = Telling {
            region: region.clone(),
            wish: wish.clone(),
            done,
        };
        if tell.try_send(telling).is_err() {
            return self.without_word();
        }
        match timeout(WORD, answer).await {
            Ok(Ok(reach)) => reach,
            _ => self.without_word(),
        }
    }

    /// What can be said of an order of which the task says nothing.
    fn without_word(&self) -> Reach {
        match *self.standing.borrow() {
            Reach::AllEdges => Reach::Unsure,
            standing => standing,
        }
    }

    /// The next order of another edge; never, if there is nobody to hear.
    pub(super) async fn heard(&mut self) -> Option<(RegionName, Wish)> {
        match self.heard.recv().await {
            Some(heard) => Some(heard),
            None => std::future::pending().await,
        }
    }

    /// Waits for the task, which ends by the token it was started with.
    pub(super) async fn stop(mut self) {
        while self.task.join_next().await.is_some() {}
    }
}

// === impl Sharer ===

impl Sharer {
    async fn run(mut self, stop: CancellationToken) {
        loop {
            let trouble = tokio::select! {
                () = stop.cancelled() => return,
                trouble = self.share() => trouble,
            };
            self.note(&trouble);
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.refuse_for(bus::pause()) => {}
            }
        }
    }

    /// Says once that NATS takes no orders. That it is away is said by `chatter.rs`, for all who need it.
    fn note(&self, trouble: &Trouble) {
        let was = self.standing.send_replace(trouble.standing);
        let cause = &trouble.cause;
        if trouble.standing == Reach::NatsRefuses && was != Reach::NatsRefuses {
            tracing::warn!(
                bucket = BUCKET,
                url = self.nats.url,
                %cause,
                "operators' orders do not reach the other edges. If it is the hub that refuses them: its account needs JetStream in \
                 the domain `hub`, and this edge's user the permissions that deploy/nats/hub.conf gives it"
            );
        } else {
            tracing::debug!(%cause, reach = trouble.standing.as_str(), "orders are not shared now");
        }
    }

    /// One connection, until it breaks; says why it did.
    async fn share(&mut self) -> Trouble {
        let complaint = Complaint::default();
        let client = match connect(&self.nats, &complaint).await {
            Ok(client) => client,
            Err(trouble) => return trouble,
        };
        match self.share_over(&client, &complaint).await {
            Ok(never) => match never {},
            Err(failure) => trouble(&client, &complaint, &failure),
        }
    }

    async fn share_over(
        &mut self,
        client: &Client,
        complaint: &Complaint,
    ) -> Result<Infallible, Failure> {
        let bucket = timeout(LIMIT * 2, bucket(client)).await??;
        for (region, wish) in self.known.iter() {
            let held = timeout(LIMIT, bucket.get(region.as_str())).await??;
            let held = held.and_then(|bytes| Wish::decode(&bytes));
            if held.is_none_or(|held| held.at_ms < wish.at_ms) {
                put(&bucket, region, wish).await?;
            }
        }
        let mut entries = timeout(LIMIT, bucket.watch_with_history(">")).await??;
        if self.standing.send_replace(Reach::AllEdges) != Reach::AllEdges {
            tracing::info!(
                bucket = BUCKET,
                url = self.nats.url,
                "operators' orders are shared with the other edges"
            );
        }
        loop {
            tokio::select! {
                entry = entries.next() => {
                    let entry = entry.ok_or("the watch ended")??;
                    self.entry(&bucket, &entry).await?;
                }
                Some(telling) = self.tell.recv() => {
                    self.known.take(&telling.region, &telling.wish);
                    let put = match client.connection_state() {
                        State::Connected => put(&bucket, &telling.region, &telling.wish).await,
                        // It would wait in the client's queue, and whoever asked with it.
                        _ => Err("there is no connection".into()),
                    };
                    let reach = match &put {
                        Ok(()) => Reach::AllEdges,
                        Err(failure) => trouble(client, complaint, failure).standing,
                    };
                    // Whoever asked may have given up.
                    let _ = telling.done.send(reach);
                    put?;
                }
            }
        }
    }

    async fn entry(&mut self, bucket: &kv::Store, entry: &kv::Entry) -> Result<(), Failure> {
        let (Ok(region), Some(wish)) =
            (entry.key.parse::<RegionName>(), Wish::decode(&entry.value))
        else {
            if entry.operation == kv::Operation::Put {
                tracing::warn!(
                    key = entry.key,
                    "an entry of the bucket of orders makes no sense"
                );
            }
            return Ok(());
        };
        if self.known.take(&region, &wish) {
            self.heard.send((region, wish)).await?;
        } else {
            let ours = self.known.wish(&region);
            if ours != wish {
                put(bucket, &region, &ours).await?;
            }
        }
        Ok(())
    }

    /// Orders that are not shared now stay here; they are offered at the next connection.
    async fn refuse_for(&mut self, pause: Duration) {
        let refuse = async {
            while let Some(telling) = self.tell.recv().await {
                self.known.take(&telling.region, &telling.wish);
                let standing = *self.standing.borrow();
                // Whoever asked may have given up.
                let _ = telling.done.send(standing);
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = refuse => {}
            () = sleep(pause) => {}
        }
    }
}

async fn connect(nats: &Access, complaint: &Complaint) -> Result<Client, Trouble> {
    let trouble = |standing, cause| Trouble { standing, cause };
    let options = bus::options(nats, "frontdoor-edge-orders").await;
    let options = options.map_err(|error| trouble(Reach::NatsRefuses, error.to_string()))?;
    let complaint = Arc::clone(complaint);
    let options = options.event_callback(move |event| {
        if let Event::ServerError(error) = &event {
            let mut first = complaint.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert_with(|| error.to_string());
        }
        std::future::ready(())
    });
    let connected = timeout(LIMIT * 2, options.connect(&nats.url)).await;
    let connected = connected.map_err(|late| trouble(Reach::NatsAway, late.to_string()))?;
    connected.map_err(|error| {
        let standing = match error.kind() {
            ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                Reach::NatsRefuses
            }
            _ => Reach::NatsAway,
        };
        trouble(standing, error.to_string())
    })
}

/// Whose fault it is that something failed on a connection.
fn trouble(client: &Client, complaint: &Complaint, failure: &Failure) -> Trouble {
    let first = complaint.lock().unwrap_or_else(PoisonError::into_inner);
    let standing = match client.connection_state() {
        // A server that is stopped looks like this, until the client finds out.
        State::Connected if first.is_none() && failure.is::<Elapsed>() => Reach::Unsure,
        State::Connected => Reach::NatsRefuses,
        _ => Reach::NatsAway,
    };
    let cause = first.clone().unwrap_or_else(|| failure.to_string());
    Trouble { standing, cause }
}

async fn bucket(client: &Client) -> Result<kv::Store, Failure> {
    let mut context = jetstream::with_domain(client.clone(), DOMAIN);
    context.set_timeout(LIMIT);
    if let Ok(bucket) = context.get_key_value(BUCKET).await {
        return Ok(bucket);
    }
    let config = kv::Config {
        bucket: BUCKET.to_owned(),
        description: "What operators want of frontdoor's regions".to_owned(),
        max_value_size: VALUE,
        history: 1,
        ..kv::Config::default()
    };
    Ok(context.create_key_value(config).await?)
}

async fn put(bucket: &kv::Store, region: &RegionName, wish: &Wish) -> Result<(), Failure> {
    timeout(LIMIT, bucket.put(region.as_str(), wish.encode().into())).await??;
    Ok(())
}
