//! How long each kind of news may be believed.
//!
//! Stale beats empty: an address or a health verdict is kept until something newer replaces it, for ever if need be. Only
//! news that would *take a region away* on somebody else's word expires.

use std::time::Duration;

/// A region that said it drains, and was not heard since, is believed for this long; its probes decide after that.
/// Reports come every second, so this is ten lost ones in a row.
pub(super) const DRAINING: Duration = Duration::from_secs(10);

/// Whether a region's word that it drains still counts.
#[must_use]
pub(super) fn believe_draining(age: Duration) -> bool {
    age <= DRAINING
}
