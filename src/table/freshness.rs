//! How long each kind of news may be believed.
//!
//! Stale beats empty: an address or a health verdict is kept until something newer replaces it, for ever if need be. Only
//! news that would *take a region away* on somebody else's word expires. What a report says of load
//! never expires at once: it loses influence with age, towards knowing nothing.

use std::time::Duration;

/// A report is believed for this long; whether a region drains is decided by its probes after that.
/// Reports come every 250 ms, so this is forty lost ones in a row.
const REPORT: Duration = Duration::from_secs(10);
/// After this long a report has e⁻¹ of its influence.
const TAU: f64 = 10.0;

/// Whether a report still counts.
#[must_use]
pub(super) fn believed(age: Duration) -> bool {
    age <= REPORT
}

/// How much what it says of load still counts, from 1 down to 0.
#[must_use]
pub(super) fn trust(age: Duration) -> f64 {
    (-age.as_secs_f64() / TAU).exp()
}
