//! A region in short: what every decision reads of it, ready for arithmetic and in one cache line, and its doors.
//!
//! Pure. Made with each snapshot, off the request path, so that no call converts a unit or sorts out addresses.

use std::net::SocketAddr;
use std::sync::Arc;

use super::snapshot::{EndpointView, RegionView};
use crate::region::{Health, Tally};

/// An endpoint that fails so many more calls than the best of its region is left alone while that one is there.
pub const RISKIER: f64 = 0.01;

/// A region, whatever is asked for.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Site {
    /// How well it is.
    pub health: Health,
    /// Calls do not get through it, though it answers.
    pub sick: bool,
    /// It wants no new calls.
    pub draining: bool,
    /// It has no address.
    pub empty: bool,
    /// Operator's weight.
    pub weight: f64,
    /// The share of its normal traffic that it should get.
    pub ramp: f64,
    /// Round-trip time in milliseconds, measured or assumed.
    pub rtt: f64,
    /// The share of calls that surely fails there.
    pub risk: f64,
    /// How much its facts still count; none if it never told what is deployed.
    pub trust: Option<f64>,
    /// A number of its name alone.
    pub key: u64,
}

/// An address that takes a region's calls: it is as well as the region, and hardly fails more.
#[derive(Debug, Clone)]
pub struct Door {
    /// Where it is.
    pub address: SocketAddr,
    /// Round-trip time in milliseconds, measured or assumed.
    pub rtt: f64,
    /// Counts of live traffic.
    pub tally: Arc<Tally>,
}

// === impl Site ===

impl From<&RegionView> for Site {
    fn from(view: &RegionView) -> Self {
        Self {
            health: view.health,
            sick: view.condition.sick,
            draining: view.draining,
            empty: view.endpoints.is_empty(),
            weight: view.weight,
            ramp: view.ramp,
            rtt: view.distance().as_secs_f64() * 1000.0,
            risk: view.risk,
            trust: view.trust,
            key: view.key,
        }
    }
}

// === impl Door ===

impl Door {
    /// Those of one region.
    pub(super) fn all(view: &RegionView) -> Vec<Self> {
        let usable = |e: &&EndpointView| e.health == view.health && e.risk <= view.risk + RISKIER;
        let door = |e: &EndpointView| Self {
            address: e.address,
            rtt: e.rtt.unwrap_or_else(|| view.distance()).as_secs_f64() * 1000.0,
            tally: Arc::clone(&e.tally),
        };
        view.endpoints.iter().filter(usable).map(door).collect()
    }
}
