//! What is wrong with a region, by name: from own checks, other edges' verdicts, heartbeats, live traffic and the calls
//! that go through a region's queue to see whether it works.
//!
//! A name is for people and metrics. Own checks rule own traffic: of all this only a failing canary of *our own* moves
//! calls, and hearsay only makes us look at once. `witness.rs` collects the evidence.

use frontdoor_protocol::names::VersionId;
use frontdoor_protocol::verdict::{Canary, Sight};

use super::RegionView;
use crate::region::Health;

/// What is wrong with a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// It does not answer us, and there is nobody to compare with; or it says that it is not well, and nothing shows why.
    Unsure,
    /// It is gone, and not for us alone: others miss it too, or its reports have stopped.
    RegionDown,
    /// Others reach it and we do not.
    MyPath,
    /// We reach it and most others do not.
    TheirPath,
    /// It answers, and its queue takes no calls.
    QueueDown,
    /// It answers, and no worker takes calls.
    WorkersDown,
    /// It is well and live traffic fails all the same.
    Grey,
    /// A version that had workers has none.
    FunctionDown,
    /// It answers, and its reports do not reach us.
    BusDown,
    /// It answers again, and waits out its hold-down.
    Returning,
}

/// What a name is found from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence {
    /// What our checks show; none if it was never checked.
    pub own: Option<Sight>,
    /// Whether its last check was answered well, whatever its health is by now.
    pub answers: bool,
    /// Other edges that see it well; while our checks fail, only those that said so since.
    pub well: usize,
    /// Other edges that do not.
    pub unwell: usize,
    /// Whether reports of it come; none if none ever came.
    pub heartbeat: Option<bool>,
    /// Whether reports go on while our checks fail, for longer than one can be on its way.
    pub speaks_on: bool,
    /// Whether our link to chatter works; none if there is none.
    pub bus: Option<bool>,
    /// Whether live traffic fails, though it reaches the region.
    pub failing: bool,
    /// What our canaries show, if anything.
    pub canary: Option<Canary>,
    /// Whether it answers our checks itself, by saying that it is not well.
    pub complains: bool,
    /// Versions that had workers and have none.
    pub orphans: usize,
}

/// What is known about one region beside its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Condition {
    /// What is wrong.
    pub fault: Fault,
    /// Some other edge doubts it: time to look.
    pub accused: bool,
    /// Our canaries fail: it should get calls only when nothing better is left.
    pub sick: bool,
    /// What our last canaries showed, if they are not too old.
    pub canary: Option<Canary>,
    /// Other edges that see it well, and that do not.
    pub others: (usize, usize),
    /// A version that had workers and has none; of several always the same.
    pub orphan: Option<VersionId>,
}

/// Names what is wrong.
#[must_use]
pub fn name(evidence: &Evidence) -> Fault {
    let Evidence {
        well,
        unwell,
        heartbeat,
        bus,
        ..
    } = *evidence;
    match evidence.own {
        None => return Fault::None,
        Some(Sight::Unwell) => return absence(evidence),
        Some(Sight::Well | Sight::Doubted) => {}
    }
    match evidence.canary {
        Some(Canary::Queue) => return Fault::QueueDown,
        Some(Canary::Workers) => return Fault::WorkersDown,
        Some(Canary::Silent) => return Fault::Grey,
        Some(Canary::Well) | None => {}
    }
    if evidence.failing {
        Fault::Grey
    } else if unwell > well {
        Fault::TheirPath
    } else if evidence.orphans > 0 && heartbeat == Some(true) {
        Fault::FunctionDown
    } else if bus == Some(false) || (bus.is_some() && heartbeat == Some(false)) {
        Fault::BusDown
    } else {
        Fault::None
    }
}

/// Names what is wrong with a region that gets no calls of ours. Neither the news of before our checks failed nor the lack
/// of news for a moment proves anything: until one of them does, we are not sure, so that a name once given stays.
fn absence(evidence: &Evidence) -> Fault {
    let Evidence { well, unwell, .. } = *evidence;
    if evidence.answers {
        if evidence.failing {
            Fault::Grey
        } else {
            Fault::Returning
        }
    } else if evidence.complains {
        complaint(evidence)
    } else if well > unwell {
        Fault::MyPath
    } else if unwell > 0 {
        Fault::RegionDown
    } else if evidence.speaks_on {
        // It speaks to us by another way.
        Fault::MyPath
    } else {
        match (evidence.heartbeat, evidence.bus) {
            (Some(false), Some(true)) => Fault::RegionDown,
            _ => Fault::Unsure,
        }
    }
}

/// Names what is wrong with a region that answers and says that it is not well. It is not gone, nor is the way to it.
const fn complaint(evidence: &Evidence) -> Fault {
    match (evidence.canary, evidence.heartbeat, evidence.bus) {
        (Some(Canary::Queue), ..) => Fault::QueueDown,
        (Some(Canary::Workers), ..) => Fault::WorkersDown,
        (_, Some(false), _) | (_, _, Some(false)) => Fault::BusDown,
        _ => Fault::Unsure,
    }
}

// === impl Fault ===

impl Fault {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::None,
        Self::Unsure,
        Self::RegionDown,
        Self::MyPath,
        Self::TheirPath,
        Self::QueueDown,
        Self::WorkersDown,
        Self::Grey,
        Self::FunctionDown,
        Self::BusDown,
        Self::Returning,
    ];

    /// Its name in logs, metrics and `/regions`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Unsure => "unsure",
            Self::RegionDown => "region-down",
            Self::MyPath => "my-path-down",
            Self::TheirPath => "their-path-down",
            Self::QueueDown => "queue-down",
            Self::WorkersDown => "workers-down",
            Self::Grey => "grey",
            Self::FunctionDown => "function-down",
            Self::BusDown => "bus-down",
            Self::Returning => "returning",
        }
    }
}

/// How we see a region ourselves, as we tell others; none if we have never reached or checked it.
#[must_use]
pub fn sight(view: &RegionView) -> Option<Sight> {
    if view.endpoints.is_empty() {
        return None;
    }
    match view.health {
        Health::Up | Health::Ramp => Some(Sight::Well),
        Health::Suspect => Some(Sight::Doubted),
        Health::Down => Some(Sight::Unwell),
    }
}

#[cfg(test)]
mod tests;
