//! All that can happen to the table. Background services and the proxy send these to the keeper; nobody else changes it.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use frontdoor_protocol::report::Report;
use frontdoor_protocol::target::Target;
use frontdoor_protocol::verdict::{Canary, Verdict};

use super::Limits;
use crate::region::{Endpoint, Health, RegionIndex};

/// One piece of news.
#[derive(Debug, Clone)]
pub enum Event {
    /// DNS told a region's addresses. The list is never empty: a failure to resolve is no event.
    Resolved {
        /// Whose name was resolved.
        region: RegionIndex,
        /// All its addresses.
        addresses: Vec<SocketAddr>,
    },
    /// An active check of one endpoint came to an end, or ran out of time.
    Probed {
        /// Which endpoint.
        endpoint: Endpoint,
        /// What it showed.
        outcome: ProbeOutcome,
    },
    /// An active check was answered by the region itself, which says that it is not well: bad, and not gone.
    Unwell {
        /// Which endpoint.
        endpoint: Endpoint,
        /// With which status.
        status: u16,
    },
    /// What live traffic saw of one endpoint.
    Served {
        /// Which endpoint.
        endpoint: Endpoint,
        /// What happened.
        outcome: ServedOutcome,
        /// To a call of which function; none if it does not matter.
        target: Option<Target>,
    },
    /// A region's report, heard over chatter.
    Heard(Report),
    /// An operator's wish.
    Ordered {
        /// For which region.
        region: RegionIndex,
        /// What is wanted.
        order: Order,
    },
    /// The configuration was read again: limits, and each region's own weight, in the order of the regions.
    Configured {
        /// How endpoints are judged.
        limits: Limits,
        /// The weights.
        weights: Vec<f64>,
    },
    /// Another edge's verdict, heard over chatter.
    Verdict(Verdict),
    /// What became of a call of our own through a region's queue and a worker.
    Canary {
        /// Which region.
        region: RegionIndex,
        /// What became of it.
        outcome: Canary,
    },
    /// Whether the link to chatter works.
    Bus(bool),
    /// Time passed: ramps grow, news gets old.
    Tick,
}

/// What an active check showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// Healthy, after this long.
    Good(Duration),
    /// Refused, reset, or an answer of somebody that says "not well": certain at once.
    Bad,
    /// No answer within the time allowed; it may still come, and then counts as good and slow.
    Silent,
}

/// What live traffic saw. Only what the platform did wrong counts as bad: a status made by the customer's container
/// never condemns a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServedOutcome {
    /// So many answers began.
    Answered(u32),
    /// The connection could not be made: refused, or no way there.
    Unreachable,
    /// The connection was not answered.
    Silent,
    /// The connection broke before the first byte of the answer.
    Broke,
    /// The region itself said that it cannot serve now.
    Declined,
    /// The region has nobody who takes calls of this function now: its fault, and not the region's.
    NoWorker,
    /// The region said that this function is not deployed there: nothing is wrong with the region.
    NotHere,
}

/// What an operator may want of a region.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Order {
    /// Its share among peers; 0 is none.
    Weight(f64),
    /// No new calls.
    Drain,
    /// Calls again, along a ramp.
    Undrain,
}

/// How an endpoint failed last, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// A connection was refused, or reset.
    Refused,
    /// Nothing came in time.
    Silent,
    /// A check was answered with this status.
    Status(u16),
    /// A call's connection broke before its answer.
    Broke,
    /// The region did not take a call.
    Declined,
}

/// A change of health, for the log and the metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// Which endpoint.
    pub endpoint: Endpoint,
    /// How it was.
    pub from: Health,
    /// How it is.
    pub to: Health,
    /// What it did last, if that is why it is not well.
    pub why: Option<Trouble>,
}

// === impl Trouble ===

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("refused or reset"),
            Self::Silent => f.write_str("no answer in time"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::Broke => f.write_str("calls break"),
            Self::Declined => f.write_str("calls are declined"),
        }
    }
}
