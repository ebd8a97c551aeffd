//! What is known of a stack at one moment, as plain data: made by the supervisor, carried by the control port, shown by
//! `status`. (pure)

use frontdoor_protocol::names::RegionName;
use frontdoor_protocol::span::Span;
use serde::{Deserialize, Serialize};

use super::parts::{PartId, RegionPart};

/// The whole stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StackView {
    /// Where it is in its life.
    pub(super) phase: Phase,
    /// The WAN delay of each region, in the order the regions were given.
    pub(super) regions: Vec<RegionView>,
    /// Every part, in the order they are shown.
    pub(super) parts: Vec<PartView>,
}

/// Where a stack is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Phase {
    /// Not everything has been ready yet.
    Starting,
    /// Everything has been ready once.
    Running,
    /// On its way out.
    Stopping,
}

/// A region's line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RegionView {
    pub(super) name: RegionName,
    /// One way.
    pub(super) wan: Span,
}

/// One part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PartView {
    /// As targets name it: `us-east/worker`.
    pub(super) name: String,
    pub(super) state: State,
    /// Of the running process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pid: Option<u32>,
    /// How it ended, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ending: Option<String>,
    /// The ending was asked for (`local kill`).
    pub(super) asked: bool,
    /// The last lines of its log, when it is dead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) log: Vec<String>,
}

/// Whether a part is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// For something it needs.
    Waiting,
    /// Its process runs, it has not been ready yet.
    Starting,
    /// Ready.
    Up,
    /// Its process is held by SIGSTOP.
    Stopped,
    /// Its process has ended.
    Dead,
}

// === impl StackView ===

impl StackView {
    /// One part by its name.
    pub(super) fn part(&self, id: &PartId) -> Option<&PartView> {
        let name = id.to_string();
        self.parts.iter().find(|part| part.name == name)
    }

    /// One part of a region.
    pub(super) fn part_of(&self, region: &RegionName, part: RegionPart) -> Option<&PartView> {
        self.part(&PartId::In(region.clone(), part))
    }
}

// === impl State ===

impl State {
    /// In a word.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Starting => "starting",
            Self::Up => "up",
            Self::Stopped => "stopped",
            Self::Dead => "dead",
        }
    }
}
