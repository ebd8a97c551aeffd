//! What a decision sees of the world, region by region: a snapshot as it is, or a trace of one as it was.
//!
//! Pure. Both give the same two small values, so that a decision can be made again exactly, long after.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use super::Ask;
use super::draw::Draw;
use crate::region::{RegionIndex, Row};
pub use crate::table::Site;
use crate::table::{Door, Fact, Lesson, Snapshot};

/// What is known of the function in a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Known {
    /// No region ever told anything of it.
    Nothing,
    /// This region did not, others did.
    Elsewhere,
    /// What it told, and the calls of this edge in flight there.
    Fact(Fact, u32),
}

/// Regions as a decision reads them.
pub(super) trait World {
    /// All regions, nearest first.
    fn order(&self) -> &[RegionIndex];
    fn site(&self, region: RegionIndex) -> &Site;
    fn known(&self, region: RegionIndex) -> Known;
    fn address(&self, region: RegionIndex, draw: Draw) -> Option<SocketAddr>;
}

/// A snapshot, for one function.
pub(super) struct Now<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) row: Option<Row>,
}

// === impl Known ===

impl Known {
    /// What live traffic taught.
    pub(super) const fn lesson(&self) -> Lesson {
        match self {
            Self::Fact(fact, _) => fact.lesson,
            Self::Nothing | Self::Elsewhere => Lesson::None,
        }
    }
}

// === impl Now ===

impl<'a> Now<'a> {
    /// What a call's decision reads of a snapshot.
    pub(super) fn of(snapshot: &'a Snapshot, ask: &Ask) -> Self {
        let row = |function| snapshot.row(function, ask.version);
        Self {
            snapshot,
            row: ask.function.and_then(row),
        }
    }
}

impl World for Now<'_> {
    fn order(&self) -> &[RegionIndex] {
        &self.snapshot.order
    }

    #[inline]
    fn site(&self, region: RegionIndex) -> &Site {
        &self.snapshot.sites[region.0]
    }

    #[inline]
    fn known(&self, region: RegionIndex) -> Known {
        let Some(row) = self.row else {
            return Known::Nothing;
        };
        match self.snapshot.regions[region.0].facts.get(row) {
            Some((fact, live)) => Known::Fact(*fact, live.in_flight.load(Ordering::Relaxed)),
            None => Known::Elsewhere,
        }
    }

    fn address(&self, region: RegionIndex, draw: Draw) -> Option<SocketAddr> {
        address(&self.snapshot.doors[region.0], draw)
    }
}

/// The less busy of two of a region's doors, drawn: round-trip time by calls on their way.
#[inline]
pub(super) fn address(doors: &[Door], draw: Draw) -> Option<SocketAddr> {
    if let [] | [_] = doors {
        return doors.first().map(|door| door.address);
    }
    let busy = |door: &Door| {
        let in_flight = door.tally.in_flight.load(Ordering::Relaxed);
        door.rtt * (1.0 + f64::from(in_flight))
    };
    let pick = |salt| doors.get(draw.below(doors.len(), salt));
    let (one, two) = (pick(1)?, pick(2)?);
    Some(if busy(two) < busy(one) {
        two.address
    } else {
        one.address
    })
}
