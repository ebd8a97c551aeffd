//! What a part of the stack is: its name, what must be ready before it starts, when it stops, and how people point at
//! one or several of them (`us-east/worker`, `us-east`, `hub`).
//!
//! Names only: no addresses (`plan`), no command lines (`specs`), no processes (`supervisor`). (pure)

use std::fmt;
use std::time::Duration;

use frontdoor_protocol::names::RegionName;

/// One process of the stack.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum PartId {
    /// The NATS server in the middle.
    Hub,
    /// The authoritative DNS for the regions' endpoint names.
    Dns,
    /// The delay lines between edge and regions.
    Wan,
    /// A process that belongs to a region.
    In(RegionName, RegionPart),
    /// The front door.
    Edge,
}

/// The processes every region has, in the order they are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum RegionPart {
    /// The region's NATS server, a leaf of the hub.
    Nats,
    /// The invocation service.
    Invocation,
    /// The worker beside the function.
    Worker,
    /// The sample function.
    Function,
}

/// A target that names nothing in this stack.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{target}` is not a part of this stack: say hub, dns, wan, edge, a region ({regions}), or a part of a region ({example}/nats, invocation, worker or function)"
)]
pub(super) struct UnknownTarget {
    target: String,
    regions: String,
    example: String,
}

// === impl RegionPart ===

impl RegionPart {
    /// All of them, in the order they are shown.
    pub(super) const ALL: [Self; 4] = [Self::Nats, Self::Invocation, Self::Worker, Self::Function];

    /// Its name in targets, log files and tables.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Nats => "nats",
            Self::Invocation => "invocation",
            Self::Worker => "worker",
            Self::Function => "function",
        }
    }
}

// === impl PartId ===

impl PartId {
    /// Every part of a stack with these regions, in the order they are shown.
    pub(super) fn all(regions: &[RegionName]) -> Vec<Self> {
        let mut all = vec![Self::Hub, Self::Dns, Self::Wan];
        all.extend(regions.iter().flat_map(Self::region));
        all.push(Self::Edge);
        all
    }

    /// Every part of one region.
    pub(super) fn region(region: &RegionName) -> impl Iterator<Item = Self> + use<'_> {
        RegionPart::ALL
            .map(|part| Self::In(region.clone(), part))
            .into_iter()
    }

    /// The parts a target means.
    pub(super) fn targets(
        target: &str,
        regions: &[RegionName],
    ) -> Result<Vec<Self>, UnknownTarget> {
        let found: Vec<Self> = match target.split_once('/') {
            None => Self::all(regions)
                .into_iter()
                .filter(|id| match id {
                    Self::In(region, _) => region.as_str() == target,
                    other => other.to_string() == target,
                })
                .collect(),
            Some(_) => Self::all(regions)
                .into_iter()
                .filter(|id| id.to_string() == target)
                .collect(),
        };
        if found.is_empty() {
            Err(UnknownTarget {
                target: target.to_owned(),
                regions: regions
                    .iter()
                    .map(RegionName::as_str)
                    .collect::<Vec<_>>()
                    .join(", "),
                example: regions
                    .first()
                    .map_or("REGION", RegionName::as_str)
                    .to_owned(),
            })
        } else {
            Ok(found)
        }
    }

    /// What must be ready before this part is started, when both are started together.
    ///
    /// A leaf that starts before its hub, or before the way there, waits a second to try again, and an edge that starts before the regions would
    /// report them down first; the rest is independent and starts at once.
    pub(super) fn needs(&self, regions: &[RegionName]) -> Vec<Self> {
        let sibling = |region: &RegionName, part| Self::In(region.clone(), part);
        match self {
            Self::Hub | Self::Dns | Self::In(_, RegionPart::Function) => vec![],
            Self::Wan => vec![Self::Hub],
            Self::In(_, RegionPart::Nats) => vec![Self::Hub, Self::Wan],
            Self::In(region, RegionPart::Invocation) => {
                vec![sibling(region, RegionPart::Nats), Self::Wan]
            }
            Self::In(region, RegionPart::Worker) => vec![
                sibling(region, RegionPart::Nats),
                sibling(region, RegionPart::Function),
            ],
            Self::Edge => Self::all(regions)
                .into_iter()
                .filter(|id| *id != Self::Edge)
                .collect(),
        }
    }

    /// Which of the stop steps this part belongs to (the lowest stops first), and how long it may take to stop by
    /// itself.
    pub(super) const fn stop_step(&self) -> (u8, Duration) {
        match self {
            Self::Edge => (0, Duration::from_secs(5)),
            Self::In(_, RegionPart::Invocation) => (1, Duration::from_secs(5)),
            Self::In(_, RegionPart::Worker) => (2, Duration::from_secs(5)),
            Self::In(_, RegionPart::Function) => (3, Duration::from_secs(2)),
            Self::In(_, RegionPart::Nats) => (4, Duration::from_secs(3)),
            Self::Dns => (5, Duration::from_secs(2)),
            Self::Wan => (6, Duration::from_secs(2)),
            Self::Hub => (7, Duration::from_secs(3)),
        }
    }

    /// The part's name as a file name without extension: `us-east-worker`.
    pub(super) fn file_stem(&self) -> String {
        self.to_string().replace('/', "-")
    }
}

impl fmt::Display for PartId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub => f.write_str("hub"),
            Self::Dns => f.write_str("dns"),
            Self::Wan => f.write_str("wan"),
            Self::Edge => f.write_str("edge"),
            Self::In(region, part) => write!(f, "{region}/{}", part.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regions() -> Vec<RegionName> {
        ["us-east", "eu-west"]
            .map(|n| n.parse().expect("valid"))
            .to_vec()
    }

    #[test]
    fn targets_name_one_part_or_a_whole_region() {
        let check = |target: &str| {
            PartId::targets(target, &regions())
                .map(|ids| ids.iter().map(PartId::to_string).collect::<Vec<_>>())
                .map_err(|e| e.to_string())
        };
        assert_eq!(check("hub"), Ok(vec!["hub".to_owned()]));
        assert_eq!(
            check("us-east/worker"),
            Ok(vec!["us-east/worker".to_owned()])
        );
        assert_eq!(
            check("eu-west"),
            Ok(["nats", "invocation", "worker", "function"]
                .map(|p| format!("eu-west/{p}"))
                .to_vec())
        );
        for bad in ["", "us-west", "us-east/", "us-east/nat", "worker", "/hub"] {
            let error = check(bad).expect_err(bad);
            assert!(
                error.contains("us-east, eu-west") && error.contains("us-east/nats"),
                "{error}"
            );
        }
    }

    #[test]
    fn needs_can_always_be_met() {
        let regions = regions();
        let mut up: Vec<PartId> = vec![];
        let mut waiting = PartId::all(&regions);
        while !waiting.is_empty() {
            let (next, later): (Vec<_>, Vec<_>) = waiting
                .into_iter()
                .partition(|id| id.needs(&regions).iter().all(|need| up.contains(need)));
            assert!(!next.is_empty(), "nothing can start before {later:?}");
            up.extend(next);
            waiting = later;
        }
        assert_eq!(up.last(), Some(&PartId::Edge), "the edge is last");
    }

    #[test]
    fn the_edge_stops_first_and_the_hub_last() {
        let mut ids = PartId::all(&regions());
        ids.sort_by_key(|id| id.stop_step().0);
        assert_eq!(ids.first(), Some(&PartId::Edge));
        assert_eq!(ids.last(), Some(&PartId::Hub));
    }
}
