//! The immutable view that requests read.
//!
//! Built by the table after a change, published by the keeper through an `ArcSwap`. A request loads it once per attempt,
//! takes no lock and waits for nobody. The only thing in it that changes is the tally of live traffic.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use frontdoor_protocol::names::{RegionName, RegionTag};

use crate::region::{Flight, Health, RegionIndex, Row, Tally};

/// The world as the table saw it at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Grows with each published change; logged with each decision.
    pub epoch: u64,
    /// All configured regions, in the order of the configuration.
    pub regions: Vec<RegionView>,
}

/// One region.
#[derive(Debug, Clone)]
pub struct RegionView {
    /// Its name.
    pub name: RegionName,
    /// Its tag in request ids.
    pub tag: RegionTag,
    /// The best health of its endpoints; `Down` if it has none.
    pub health: Health,
    /// It wants no new calls.
    pub draining: bool,
    /// Operator's weight, above 0.
    pub weight: f64,
    /// The share of its normal traffic that a returning region takes; 1 for any other.
    pub ramp: f64,
    /// Round-trip time of its nearest usable endpoint.
    pub rtt: Option<Duration>,
    /// Its addresses.
    pub endpoints: Vec<EndpointView>,
    /// When a report of it was last heard, and what it said of its load.
    pub heard: Option<HeardView>,
}

/// One address of a region.
#[derive(Debug, Clone)]
pub struct EndpointView {
    /// Where it is.
    pub address: SocketAddr,
    /// How well it is.
    pub health: Health,
    /// Its smoothed round-trip time.
    pub rtt: Option<Duration>,
    /// Counts of live traffic.
    pub tally: Arc<Tally>,
    /// DNS names it no more; it is used until something that DNS names is well.
    pub dropped: bool,
}

/// The last reports of a region, in short.
#[derive(Debug, Clone, Copy)]
pub struct HeardView {
    /// When it arrived.
    pub at: Instant,
    /// Calls that wait for a worker there.
    pub queued: u64,
    /// Calls that run there.
    pub running: u64,
}

/// Reads the newest snapshot; cheap to clone.
#[derive(Debug, Clone)]
pub struct SnapshotReader(Arc<ArcSwap<Snapshot>>);

/// Publishes snapshots; there is one, the keeper's.
#[derive(Debug)]
pub struct SnapshotWriter(Arc<ArcSwap<Snapshot>>);

/// A writer and a reader of one place.
#[must_use]
pub fn place() -> (SnapshotWriter, SnapshotReader) {
    let place = Arc::new(ArcSwap::from_pointee(Snapshot::default()));
    (SnapshotWriter(Arc::clone(&place)), SnapshotReader(place))
}

// === impl Snapshot ===

impl Snapshot {
    /// Counts a call on its way to an endpoint and, if the table knows it, as one of its function.
    #[must_use]
    pub fn depart(&self, region: RegionIndex, address: SocketAddr, _row: Option<Row>) -> Flight {
        let endpoints = self.regions.get(region.0).map(|view| &view.endpoints);
        let endpoint = endpoints.and_then(|all| all.iter().find(|e| e.address == address));
        Flight::begin(endpoint.map(|e| Arc::clone(&e.tally)).unwrap_or_default())
    }
}

// === impl HeardView ===

impl HeardView {
    /// What two services of a region say together.
    pub(super) fn with(self, other: Self) -> Self {
        Self {
            at: self.at.max(other.at),
            queued: self.queued.saturating_add(other.queued),
            running: self.running.saturating_add(other.running),
        }
    }
}

// === impl SnapshotReader ===

impl SnapshotReader {
    /// The newest snapshot.
    #[must_use]
    pub fn load(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.0.load()
    }
}

// === impl SnapshotWriter ===

impl SnapshotWriter {
    /// Replaces the snapshot.
    pub fn publish(&self, snapshot: Snapshot) {
        self.0.store(Arc::new(snapshot));
    }
}
