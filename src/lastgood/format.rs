//! What the file of last known good addresses says.
//!
//! Pure: bytes and snapshots in, values out. Unknown keys are skipped, so that an older edge reads a newer one's file.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use frontdoor_protocol::names::RegionName;
use serde::{Deserialize, Serialize};

use crate::region::Health;
use crate::table::Snapshot;

/// The only version so far.
const VERSION: u16 = 1;
/// A larger file is not ours.
const SIZE_LIMIT: usize = 1024 * 1024;
/// Addresses of one region that are believed.
const ADDRESSES: usize = 64;

/// Addresses of regions, as last seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LastGood {
    regions: BTreeMap<RegionName, Vec<SocketAddr>>,
}

/// Why a file makes no sense.
#[derive(Debug, thiserror::Error)]
pub(super) enum FormatError {
    /// It is far too large.
    #[error("larger than {SIZE_LIMIT} bytes")]
    TooLarge,
    /// It is no such JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// It was written by a later frontdoor in another way.
    #[error("of version {0}, known is {VERSION}")]
    Version(u16),
}

#[derive(Serialize, Deserialize)]
struct File {
    v: u16,
    regions: BTreeMap<RegionName, Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    addresses: Vec<SocketAddr>,
}

// === impl LastGood ===

impl LastGood {
    /// What is remembered of a region.
    #[must_use]
    pub fn of(&self, region: &RegionName) -> Vec<SocketAddr> {
        self.regions.get(region).cloned().unwrap_or_default()
    }

    /// With what a snapshot shows. A region without addresses, and one whose addresses were never well while older ones
    /// are remembered, keeps what was known: that may be a start with a DNS that names dead addresses.
    pub(super) fn updated(&self, snapshot: &Snapshot) -> Self {
        let mut regions = BTreeMap::new();
        for view in &snapshot.regions {
            let mut addresses: Vec<_> = view.endpoints.iter().map(|e| e.address).collect();
            addresses.sort_unstable();
            let old = self.regions.get(&view.name);
            let proven = view.endpoints.iter().any(|e| e.health >= Health::Ramp);
            match old {
                Some(old) if !proven => regions.insert(view.name.clone(), old.clone()),
                _ if addresses.is_empty() => None,
                _ => regions.insert(view.name.clone(), addresses),
            };
        }
        Self { regions }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let regions = self.regions.iter().map(|(name, addresses)| {
            let addresses = addresses.clone();
            (name.clone(), Entry { addresses })
        });
        let file = File {
            v: VERSION,
            regions: regions.collect(),
        };
        // Names and addresses are always JSON.
        serde_json::to_vec_pretty(&file).unwrap_or_default()
    }

    pub(super) fn decode(text: &[u8]) -> Result<Self, FormatError> {
        if text.len() > SIZE_LIMIT {
            return Err(FormatError::TooLarge);
        }
        let file: File = serde_json::from_slice(text)?;
        if file.v != VERSION {
            return Err(FormatError::Version(file.v));
        }
        let regions = file.regions.into_iter().map(|(name, mut entry)| {
            entry.addresses.truncate(ADDRESSES);
            (name, entry.addresses)
        });
        Ok(Self {
            regions: regions.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::region::{Endpoint, RegionIndex};
    use crate::table::{Event, Limits, ProbeOutcome, Table};

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 80))
    }

    /// A table of one region that was told of one address, which is well or not yet.
    fn snapshot(last: Option<u8>, well: bool) -> Snapshot {
        let now = Instant::now();
        let name = "us-east".parse().expect("valid");
        let mut table = Table::new([(name, 1.0)], Limits::default());
        if let Some(last) = last {
            let region = RegionIndex(0);
            let addresses = vec![address(last)];
            table.apply(Event::Resolved { region, addresses }, now);
            let endpoint = Endpoint {
                region,
                address: address(last),
            };
            let outcome = if well {
                ProbeOutcome::Good(Duration::ZERO)
            } else {
                ProbeOutcome::Bad
            };
            table.apply(Event::Probed { endpoint, outcome }, now);
        }
        table.snapshot(now)
    }

    #[test]
    fn what_was_good_is_kept_until_something_good_replaces_it() {
        let region = "us-east".parse().expect("valid");
        let check = |known: &LastGood, last, well| known.updated(&snapshot(last, well));
        let empty = LastGood::default();
        assert_eq!(check(&empty, None, false), empty);
        let one = check(&empty, Some(1), true);
        assert_eq!(one.of(&region), [address(1)]);
        assert_eq!(check(&one, None, false), one, "no address yet");
        assert_eq!(check(&one, Some(2), false), one, "a dead address");
        assert_eq!(check(&one, Some(2), true).of(&region), [address(2)]);
        assert_eq!(check(&empty, Some(3), false).of(&region), [address(3)]);
    }

    #[test]
    fn files_are_read_back_and_others_refused() {
        let known = LastGood::default().updated(&snapshot(Some(1), true));
        assert_eq!(LastGood::decode(&known.encode()).expect("ours"), known);
        let newer =
            br#"{"v":1,"orders":[],"regions":{"us-east":{"addresses":["10.0.0.1:80"],"x":1}}}"#;
        assert_eq!(LastGood::decode(newer).expect("newer"), known);
        for bad in [
            &b""[..],
            b"{}",
            b"\xff",
            br#"{"v":2,"regions":{}}"#,
            br#"{"v":1,"regions":{"US":{"addresses":[]}}}"#,
            br#"{"v":1,"regions":{"us":{"addresses":["nowhere"]}}}"#,
        ] {
            assert!(LastGood::decode(bad).is_err());
        }
    }
}
