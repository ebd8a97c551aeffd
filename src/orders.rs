//! Operators' orders: drain a region, take it back, give it another weight.
//!
//! An order is taken over the admin port of any edge, applied there at once, and shared with the other edges through a
//! key-value bucket on NATS (`share.rs`). Every edge keeps what it knows in a file (`store.rs`), so that a drain outlives
//! a restart without NATS. Of two orders for one region the newer one holds (`book.rs`). Nothing on a request's path
//! waits for any of this.

mod book;
mod guard;
mod share;
mod store;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use frontdoor_bus::Access;
use frontdoor_protocol::names::RegionName;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub use self::book::{Book, MAX_WEIGHT, Wish};
pub use self::guard::{Refusal, Standing, may_drain};
pub use self::share::Reach;
use self::share::Share;
use crate::region::RegionIndex;
use crate::table::{Event, Order};

/// What an operator asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change {
    /// No new calls to the region.
    Drain,
    /// Calls again.
    Undrain,
    /// Its share among regions that are about as near; 1 is the ordinary one, 0 none.
    Weight(f64),
}

/// Who asks, for the log and the other edges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// The name they give.
    pub name: String,
    /// They wanted it whatever the guard says.
    pub forced: bool,
}

/// A change on its way to the clerk.
#[derive(Debug)]
pub struct Request {
    /// Which region.
    pub region: RegionName,
    /// What is wanted.
    pub change: Change,
    /// Who asks.
    pub by: Author,
    /// Told when it is done here.
    pub done: oneshot::Sender<Done>,
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq)]
pub struct Done {
    /// What now holds for the region.
    pub wish: Wish,
    /// Whether the other edges have it too, or why not.
    pub reach: Reach,
}

/// The task that owns the book.
pub struct Clerk {
    /// The regions of the configuration, by index.
    pub regions: Vec<RegionName>,
    /// Where the book is kept over a restart.
    pub file: Option<PathBuf>,
    /// Where it is shared.
    pub nats: Option<Access>,
    /// Changes asked for.
    pub requests: mpsc::Receiver<Request>,
    /// Where orders take effect.
    pub events: mpsc::Sender<Event>,
}

/// Asks the clerk; cheap to clone.
#[derive(Debug, Clone)]
pub struct Desk {
    requests: mpsc::Sender<Request>,
    closed: Arc<AtomicBool>,
}

/// Changes that wait; operators are few.
const REQUESTS: usize = 16;
/// For an order to be applied, kept on a slow disk and offered to the others.
const LIMIT: Duration = Duration::from_secs(8);

/// A desk, and where its requests arrive.
#[must_use]
pub fn desk() -> (Desk, mpsc::Receiver<Request>) {
    let (sender, receiver) = mpsc::channel(REQUESTS);
    let desk = Desk {
        requests: sender,
        closed: Arc::default(),
    };
    (desk, receiver)
}

// === impl Desk ===

impl Desk {
    /// Takes no orders while a successor reads them: one that came now might be lost between the two.
    pub fn close(&self, closed: bool) {
        self.closed.store(closed, Ordering::Relaxed);
    }

    /// Has a change made; none if the clerk does not answer in time, or takes none now.
    pub async fn ask(&self, region: RegionName, change: Change, by: Author) -> Option<Done> {
        if self.closed.load(Ordering::Relaxed) {
            return None;
        }
        let (done, answer) = oneshot::channel();
        let request = Request {
            region,
            change,
            by,
            done,
        };
        let asked = async {
            self.requests.send(request).await.ok()?;
            answer.await.ok()
        };
        tokio::time::timeout(LIMIT, asked).await.ok().flatten()
    }
}

// === impl Clerk ===

impl Clerk {
    /// Keeps the book until told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut book = match &self.file {
            Some(file) => store::read(file),
            None => Book::default(),
        };
        for (region, wish) in book.iter() {
            tracing::info!(%region, drain = wish.drain, weight = wish.weight, by = wish.by, "an order from before the start holds");
            self.apply(region, wish).await;
        }
        let mut share = Share::start(self.nats.clone(), book.clone(), stop.clone());
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(request) = self.requests.recv() => self.change(request, &mut book, &share).await,
                Some((region, wish)) = share.heard() => {
                    if book.take(&region, &wish) {
                        tracing::info!(%region, drain = wish.drain, weight = wish.weight, by = wish.by, "an order from another edge");
                        self.apply(&region, &wish).await;
                        self.keep(&book).await;
                    }
                }
            }
        }
        share.stop().await;
    }

    async fn change(&self, request: Request, book: &mut Book, share: &Share) {
        let Author { name, forced } = request.by;
        let wish = book
            .wish(&request.region)
            .changed(request.change, unix_ms(), name);
        book.take(&request.region, &wish);
        self.apply(&request.region, &wish).await;
        self.keep(book).await;
        let reach = share.tell(&request.region, &wish).await;
        // The audit line: who had what changed, and how far it went.
        tracing::info!(
            region = %request.region,
            drain = wish.drain,
            weight = wish.weight,
            by = wish.by,
            forced,
            reach = reach.as_str(),
            "an operator's order"
        );
        // Whoever asked may have gone.
        let _ = request.done.send(Done { wish, reach });
    }

    /// Regions that this edge does not know are kept in the book for those that do.
    async fn apply(&self, region: &RegionName, wish: &Wish) {
        let Some(index) = self.regions.iter().position(|name| name == region) else {
            return;
        };
        let region = RegionIndex(index);
        let drain = if wish.drain {
            Order::Drain
        } else {
            Order::Undrain
        };
        for order in [Some(drain), wish.weight.map(Order::Weight)]
            .into_iter()
            .flatten()
        {
            // The keeper ends only when everything does.
            let _ = self.events.send(Event::Ordered { region, order }).await;
        }
    }

    async fn keep(&self, book: &Book) {
        if let Some(file) = &self.file
            && let Err(error) = store::write(file, book).await
        {
            tracing::warn!(file = %file.display(), %error, "orders are not kept on disk; they hold until a restart");
        }
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
