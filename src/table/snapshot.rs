//! The immutable view that requests read.
//!
//! Built by the table after a change, published by the keeper through an `ArcSwap`. A request loads it once per attempt,
//! takes no lock and waits for nobody. The only thing in it that changes is the tally of live traffic.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use frontdoor_protocol::names::{FunctionId, RegionName, RegionTag, VersionId};

use super::Condition;
use super::catalog::Catalog;
use super::facts::Column;
use super::site::{Door, Site};
use crate::region::{Flight, Health, RegionIndex, Row, Tally};

/// What to assume of a region whose round-trip time was never measured: worse than any that was.
pub const UNMEASURED: Duration = Duration::from_millis(500);

/// The world as the table saw it at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Grows with each published change; logged with each decision.
    pub epoch: u64,
    /// All configured regions, in the order of the configuration.
    pub regions: Vec<RegionView>,
    /// The same in short, in the same order.
    pub sites: Vec<Site>,
    /// The addresses that take their calls, in the same order.
    pub doors: Vec<Vec<Door>>,
    /// The same by round-trip time, nearest first: a decision reads no further than it must.
    pub order: Vec<RegionIndex>,
    /// Which row of a region's facts is which function's.
    pub catalog: Arc<Catalog>,
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
    /// The share of calls that surely fails at the best of its usable endpoints, by the platform's fault.
    pub risk: f64,
    /// That share is too large to be called well.
    pub grey: bool,
    /// Its addresses.
    pub endpoints: Vec<EndpointView>,
    /// When a report of it was last heard, and what it said of its load.
    pub heard: Option<HeardView>,
    /// What is known of each function there.
    pub facts: Arc<Column>,
    /// How much the facts still count, from 1 down to 0 with their age; none if it never told what is deployed.
    pub trust: Option<f64>,
    /// A number of its name alone, the same at every edge.
    pub key: u64,
    /// What is known beside: what is wrong, what others say, whether its queue and workers work.
    pub condition: Condition,
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
    /// The share of calls that surely fails there by the platform's fault.
    pub risk: f64,
    /// That share is too large to be called well.
    pub grey: bool,
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
    /// A view of these regions.
    #[must_use]
    pub fn new(epoch: u64, regions: Vec<RegionView>, catalog: Arc<Catalog>) -> Self {
        let mut order: Vec<RegionIndex> = (0..regions.len()).map(RegionIndex).collect();
        order.sort_by_key(|region| (regions[region.0].distance(), region.0));
        Self {
            epoch,
            sites: regions.iter().map(Site::from).collect(),
            doors: regions.iter().map(Door::all).collect(),
            regions,
            order,
            catalog,
        }
    }

    /// The row of what a call asks for, if anything is known of it.
    #[must_use]
    pub fn row(&self, function: FunctionId, version: Option<VersionId>) -> Option<Row> {
        self.catalog.find(function, version)
    }

    /// Counts a call on its way to an endpoint and, if anything is known of it, as one of its function.
    #[must_use]
    pub fn depart(&self, region: RegionIndex, address: SocketAddr, row: Option<Row>) -> Flight {
        let view = self.regions.get(region.0);
        let endpoint = view.and_then(|view| view.endpoints.iter().find(|e| e.address == address));
        let live = view.and_then(|view| view.facts.live(row?));
        let tally = endpoint.map(|e| Arc::clone(&e.tally)).unwrap_or_default();
        Flight::begin(tally, live)
    }
}

// === impl RegionView ===

impl RegionView {
    /// Its round-trip time, or what to assume of it.
    #[must_use]
    pub fn distance(&self) -> Duration {
        self.rtt.unwrap_or(UNMEASURED)
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
