//! What one edge tells the others: how it sees each region, once a second and at once after a change. Soft state.
//!
//! Hearsay: whoever hears one only looks for itself at once, and compares to name a fault; it never repeats it and never
//! routes by it. Protobuf; an edge is known by a number that it draws at its start.

use std::time::Duration;

use prost::Message as _;

use crate::names::RegionName;

/// A verdict above this many bytes is not read.
pub const SIZE_LIMIT: usize = 64 * 1024;
/// A verdict on more regions than this is not believed.
pub const REGIONS_LIMIT: usize = 1024;
/// How often an edge speaks when nothing changes.
pub const EVERY: Duration = Duration::from_secs(1);
/// Where a region's invocation service tells a trusted edge what became of a canary: 204, or 503 (queue), 504 (workers).
pub const CANARY_PATH: &str = "/v2/frontdoor/canary";
/// The schema version written here.
pub const VERSION: u16 = 1;

/// What one edge sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Schema version; readers refuse one that they do not know.
    pub v: u16,
    /// Who speaks.
    pub edge: u64,
    /// Grows by one with each verdict.
    pub seq: u64,
    /// Its regions; one that it knows nothing of is left out.
    pub regions: Vec<RegionVerdict>,
}

/// How one edge sees one region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionVerdict {
    /// Which region.
    pub region: RegionName,
    /// What its checks show.
    pub sight: Sight,
    /// What became of its last calls through the region's queue, if it made any lately.
    pub canary: Option<Canary>,
}

/// What checks of a region show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Sight {
    /// It answers.
    Well = 1,
    /// It misses some checks.
    Doubted = 2,
    /// It does not answer.
    Unwell = 3,
}

/// What became of a call through a region's queue and one of its workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Canary {
    /// A worker answered.
    Well = 1,
    /// The queue did not take it.
    Queue = 2,
    /// No worker took it.
    Workers = 3,
    /// The region did not answer at all.
    Silent = 4,
}

/// Why a message is no verdict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerdictError {
    /// Above [`SIZE_LIMIT`] or [`REGIONS_LIMIT`].
    #[error("verdict larger than {SIZE_LIMIT} bytes or {REGIONS_LIMIT} regions")]
    TooLarge,
    /// Not protobuf of this shape.
    #[error("malformed verdict: {0}")]
    Malformed(String),
    /// A schema we do not know.
    #[error("verdict of schema version {0}, known is {VERSION}")]
    Version(u32),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Wire {
    #[prost(uint32, tag = "1")]
    v: u32,
    #[prost(fixed64, tag = "2")]
    edge: u64,
    #[prost(uint64, tag = "3")]
    seq: u64,
    #[prost(message, repeated, tag = "4")]
    regions: Vec<RegionWire>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RegionWire {
    #[prost(string, tag = "1")]
    region: String,
    #[prost(int32, tag = "2")]
    sight: i32,
    /// 0 is none, and so is a value that a later version may bring.
    #[prost(int32, tag = "3")]
    canary: i32,
}

// === impl Verdict ===

impl Verdict {
    /// The message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let regions = self.regions.iter().map(|r| RegionWire {
            region: r.region.to_string(),
            sight: r.sight as i32,
            canary: r.canary.map_or(0, |c| c as i32),
        });
        Wire {
            v: u32::from(self.v),
            edge: self.edge,
            seq: self.seq,
            regions: regions.collect(),
        }
        .encode_to_vec()
    }

    /// Reads a message from the network.
    ///
    /// # Errors
    /// If it is not a verdict that we understand.
    pub fn decode(bytes: &[u8]) -> Result<Self, VerdictError> {
        if bytes.len() > SIZE_LIMIT {
            return Err(VerdictError::TooLarge);
        }
        let wire = Wire::decode(bytes).map_err(|e| VerdictError::Malformed(e.to_string()))?;
        if wire.v != u32::from(VERSION) {
            return Err(VerdictError::Version(wire.v));
        }
        if wire.regions.len() > REGIONS_LIMIT {
            return Err(VerdictError::TooLarge);
        }
        let malformed = |what: &str| VerdictError::Malformed(what.to_owned());
        let region = |r: RegionWire| {
            Ok(RegionVerdict {
                region: r.region.parse().map_err(|_| malformed("no region"))?,
                sight: Sight::try_from(r.sight).map_err(|_| malformed("no sight"))?,
                canary: Canary::try_from(r.canary).ok(),
            })
        };
        Ok(Self {
            v: VERSION,
            edge: wire.edge,
            seq: wire.seq,
            regions: wire
                .regions
                .into_iter()
                .map(region)
                .collect::<Result<_, _>>()?,
        })
    }
}

// === impl Canary ===

impl Canary {
    /// Its name in logs, metrics and on admin pages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Queue => "queue",
            Self::Workers => "workers",
            Self::Silent => "silent",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn verdict() -> Verdict {
        Verdict {
            v: VERSION,
            edge: 7,
            seq: 9,
            regions: vec![RegionVerdict {
                region: "us-east".parse().expect("valid"),
                sight: Sight::Doubted,
                canary: Some(Canary::Queue),
            }],
        }
    }

    #[test]
    fn verdicts_survive_the_wire_and_hostile_ones_do_not() {
        assert_eq!(Verdict::decode(&verdict().encode()), Ok(verdict()));
        let check = |wire: Wire| Verdict::decode(&wire.encode_to_vec()).expect_err("hostile");
        let wire = Wire::decode(&*verdict().encode()).expect("ours");
        let with = |change: fn(&mut RegionWire)| {
            let mut wire = wire.clone();
            change(&mut wire.regions[0]);
            wire
        };
        for bad in [
            with(|r| r.sight = 99),
            with(|r| r.sight = 0),
            with(|r| r.region = "fd.>".into()),
        ] {
            assert!(matches!(check(bad), VerdictError::Malformed(_)));
        }
        let newer = with(|r| r.canary = 99).encode_to_vec();
        assert_eq!(
            Verdict::decode(&newer).expect("newer").regions[0].canary,
            None
        );
        let version = Wire {
            v: 2,
            ..wire.clone()
        };
        assert_eq!(check(version), VerdictError::Version(2));
        let many = Wire {
            regions: vec![RegionWire::default(); REGIONS_LIMIT + 1],
            ..wire
        };
        assert_eq!(check(many), VerdictError::TooLarge);
        assert_eq!(
            Verdict::decode(&vec![0; SIZE_LIMIT + 1]),
            Err(VerdictError::TooLarge)
        );
    }

    proptest! {
        #[test]
        fn any_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
            let _ = Verdict::decode(&bytes);
        }
    }
}
