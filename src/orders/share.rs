//! Orders shared between edges: a key-value bucket in the hub's JetStream, one key per region.
//!
//! Connects for ever. At each connection it offers what this edge knows and the bucket does not, then watches. A bucket
//! holds the last thing written, which may be the older one of two orders given in the same moment: whoever knows the newer
//! one writes it again, so all edges end at the same.

use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::{self, kv};
use frontdoor_bus::Access;
use frontdoor_protocol::names::RegionName;
use futures_util::StreamExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Book, Wish};
use crate::bus;

/// How far an order got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shared {
    /// The bucket has it.
    Everywhere,
    /// Only this edge has it, for now.
    Here,
}

/// The clerk's side of the sharing task.
pub(super) struct Share {
    tell: Option<mpsc::Sender<Telling>>,
    heard: mpsc::Receiver<(RegionName, Wish)>,
    task: JoinSet<()>,
}

/// The task.
struct Sharer {
    nats: Access,
    known: Book,
    tell: mpsc::Receiver<Telling>,
    heard: mpsc::Sender<(RegionName, Wish)>,
}

struct Telling {
    region: RegionName,
    wish: Wish,
    done: oneshot::Sender<Shared>,
}

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

// === impl Share ===

impl Share {
    /// Starts sharing; without NATS there is nobody to share with.
    pub(super) fn start(nats: Option<Access>, known: Book, stop: CancellationToken) -> Self {
        let (heard_in, heard) = mpsc::channel(QUEUE);
        let mut task = JoinSet::new();
        let tell = nats.map(|nats| {
            let (tell, tells) = mpsc::channel(QUEUE);
            let sharer = Sharer {
                nats,
                known,
                tell: tells,
                heard: heard_in,
            };
            task.spawn(sharer.run(stop));
            tell
        });
        Self { tell, heard, task }
    }

    /// Offers an order to all edges.
    pub(super) async fn tell(&self, region: &RegionName, wish: &Wish) -> Shared {
        let Some(tell) = &self.tell else {
            return Shared::Here;
        };
        let (done, answer) = oneshot::channel();
        let telling = Telling {
            region: region.clone(),
            wish: wish.clone(),
            done,
        };
        if tell.try_send(telling).is_err() {
            return Shared::Here;
        }
        match timeout(LIMIT, answer).await {
            Ok(Ok(shared)) => shared,
            _ => Shared::Here,
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
            let shared = tokio::select! {
                () = stop.cancelled() => return,
                shared = self.share() => shared,
            };
            if let Err(error) = shared {
                tracing::debug!(%error, "orders are not shared now");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.refuse_for(bus::pause()) => {}
            }
        }
    }

    /// One connection, until it breaks.
    async fn share(&mut self) -> Result<(), Failure> {
        let options = bus::options(&self.nats, "frontdoor-edge-orders").await?;
        let client = timeout(LIMIT * 2, options.connect(&self.nats.url)).await??;
        let bucket = timeout(LIMIT * 2, bucket(&client)).await??;
        for (region, wish) in self.known.iter() {
            let held = timeout(LIMIT, bucket.get(region.as_str())).await??;
            let held = held.and_then(|bytes| Wish::decode(&bytes));
            if held.is_none_or(|held| held.at_ms < wish.at_ms) {
                put(&bucket, region, wish).await?;
            }
        }
        let mut entries = timeout(LIMIT, bucket.watch_with_history(">")).await??;
        tracing::debug!("orders are shared");
        loop {
            tokio::select! {
                entry = entries.next() => {
                    let entry = entry.ok_or("the watch ended")??;
                    self.entry(&bucket, &entry).await?;
                }
                Some(telling) = self.tell.recv() => {
                    self.known.take(&telling.region, &telling.wish);
                    let put = put(&bucket, &telling.region, &telling.wish).await;
                    let shared = if put.is_ok() { Shared::Everywhere } else { Shared::Here };
                    // Whoever asked may have given up.
                    let _ = telling.done.send(shared);
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

    /// Without a connection orders stay here; they are offered at the next one.
    async fn refuse_for(&mut self, pause: Duration) {
        let refuse = async {
            while let Some(telling) = self.tell.recv().await {
                self.known.take(&telling.region, &telling.wish);
                // Whoever asked may have given up.
                let _ = telling.done.send(Shared::Here);
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = refuse => {}
            () = sleep(pause) => {}
        }
    }
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
