//! How long each kind of news may be believed.
//!
//! Stale beats empty: an address or a health verdict is kept until something newer replaces it, for ever if need be. Only
//! news that would *take a region away* on somebody else's word expires.

use std::time::Duration;

/// A report is believed for this long; what a region drains is decided by its probes after that.
/// Reports come every second, so this is ten lost ones in a row.
const REPORT: Duration = Duration::from_secs(10);

/// Whether a report still counts.
#[must_use]
pub(super) fn believed(age: Duration) -> bool {
    age <= REPORT
}
