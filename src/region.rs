//! The words that the edge uses for what it routes to: regions, their endpoints, and how well they are.
//!
//! Types only, no behaviour beyond reading them; everything else imports this file. Checked names come from the
//! protocol crate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// A region's place in the configuration: stable for the life of a configuration, cheap to copy and compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RegionIndex(pub usize);

/// One address of one region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Whose it is.
    pub region: RegionIndex,
    /// Where it is.
    pub address: SocketAddr,
}

/// A function's place in the table (or that of one of its versions): dense, valid within one snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Row(pub u32);

/// How well an endpoint or a region is; the order is from worst to best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// Gives no answers. Used only when nothing better is left.
    Down,
    /// Misses some answers, or was never asked. Used after everything that is well.
    Suspect,
    /// Came back a short while ago and gets a growing share.
    Ramp,
    /// Answers.
    Up,
}

/// What live traffic counts about an endpoint between two looks of the keeper. Written by requests without a lock.
#[derive(Debug, Default)]
pub struct Tally {
    /// Requests that are on their way.
    pub in_flight: AtomicU32,
    /// Requests whose answer began, since the last [`Tally::take_good`].
    good: AtomicU32,
    /// Requests whose answer began, ever.
    served: AtomicU64,
}

/// What live traffic counts about one function in one region. Written by requests without a lock, never reset.
#[derive(Debug, Default)]
pub struct Live {
    /// Calls that are on their way.
    pub in_flight: AtomicU32,
    /// Calls that ever left, wrapping.
    pub sent: AtomicU32,
}

/// A call on its way: counted where it goes for as long as this lives.
#[derive(Debug)]
pub struct Flight {
    endpoint: Arc<Tally>,
    function: Option<(Arc<[Live]>, usize)>,
}

// === impl Health ===

impl Health {
    /// All of them, worst first.
    pub const ALL: [Self; 4] = [Self::Down, Self::Suspect, Self::Ramp, Self::Up];

    /// Its name in logs, metrics and `/regions`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Suspect => "suspect",
            Self::Ramp => "ramp",
            Self::Up => "up",
        }
    }
}

// === impl Tally ===

impl Tally {
    /// Counts an answer that began.
    pub fn answered(&self) {
        self.good.fetch_add(1, Ordering::Relaxed);
        self.served.fetch_add(1, Ordering::Relaxed);
    }

    /// How many answers ever began.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// How many answers began since the last call.
    pub fn take_good(&self) -> u32 {
        self.good.swap(0, Ordering::Relaxed)
    }
}

// === impl Flight ===

impl Flight {
    /// A call leaves for an endpoint, and counts as one of its function if that has counters.
    #[must_use]
    pub fn begin(endpoint: Arc<Tally>, function: Option<(Arc<[Live]>, usize)>) -> Self {
        endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        let flight = Self { endpoint, function };
        if let Some(live) = flight.live() {
            live.in_flight.fetch_add(1, Ordering::Relaxed);
            live.sent.fetch_add(1, Ordering::Relaxed);
        }
        flight
    }

    /// Its answer began.
    pub fn answered(&self) {
        self.endpoint.answered();
    }

    fn live(&self) -> Option<&Live> {
        let (counters, place) = self.function.as_ref()?;
        counters.get(*place)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.endpoint.in_flight.fetch_sub(1, Ordering::Relaxed);
        if let Some(live) = self.live() {
            live.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
