//! A region in short: what every decision reads of it, ready for arithmetic and in one cache line.
//!
//! Pure. Made with each snapshot, off the request path, so that no call converts a unit or walks a list of addresses.

use super::snapshot::RegionView;
use crate::region::Health;

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
