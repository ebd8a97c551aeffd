//! A region's own news, sent over chatter once a second and at once after a change. Soft state: the last one wins.
//!
//! Sent by an invocation service about itself, heard by edges. Nothing on a request's path waits for one.

use serde::{Deserialize, Serialize};

use crate::names::{FunctionId, RegionName, VersionId};

/// A report above this many bytes is not read.
pub const SIZE_LIMIT: usize = 1024 * 1024;
/// How often a report is sent when nothing changes.
pub const HEARTBEAT: std::time::Duration = std::time::Duration::from_secs(1);

/// What one invocation service says of its region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Schema version; readers refuse a major version they do not know.
    pub v: u16,
    /// Who speaks.
    pub region: RegionName,
    /// Start of the sender, in Unix milliseconds: a restart begins a new epoch, and `seq` starts again.
    pub epoch: u64,
    /// Grows by one with each report of an epoch.
    pub seq: u64,
    /// The region finishes what it has and wants nothing new.
    pub draining: bool,
    /// Calls accepted and not yet claimed by a worker.
    pub queued: u64,
    /// Calls claimed and not yet answered.
    pub running: u64,
    /// What is deployed here.
    pub functions: Vec<FunctionReport>,
}

/// One deployed version, as its region sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionReport {
    /// The function.
    pub function: FunctionId,
    /// The version.
    pub version: VersionId,
}

/// The only schema version so far.
pub const VERSION: u16 = 1;

/// Why a message is no report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// Above [`SIZE_LIMIT`].
    #[error("report larger than {SIZE_LIMIT} bytes")]
    TooLarge,
    /// Not JSON of this shape.
    #[error("malformed report: {0}")]
    Malformed(String),
    /// A schema we do not know.
    #[error("report of schema version {0}, known is {VERSION}")]
    Version(u16),
}

// === impl Report ===

impl Report {
    /// The message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a message from the network.
    ///
    /// # Errors
    /// If it is not a report that we understand.
    pub fn decode(bytes: &[u8]) -> Result<Self, ReportError> {
        if bytes.len() > SIZE_LIMIT {
            return Err(ReportError::TooLarge);
        }
        let report: Self =
            serde_json::from_slice(bytes).map_err(|e| ReportError::Malformed(e.to_string()))?;
        if report.v == VERSION {
            Ok(report)
        } else {
            Err(ReportError::Version(report.v))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_survive_the_wire_and_hostile_ones_do_not() {
        let report = Report {
            v: VERSION,
            region: "us-east".parse().expect("valid"),
            epoch: 1,
            seq: 2,
            draining: false,
            queued: 3,
            running: 4,
            functions: vec![],
        };
        assert_eq!(Report::decode(&report.encode()), Ok(report.clone()));
        assert_eq!(
            Report::decode(&Report { v: 9, ..report }.encode()),
            Err(ReportError::Version(9))
        );
        assert_eq!(
            Report::decode(&vec![b' '; SIZE_LIMIT + 1]),
            Err(ReportError::TooLarge)
        );
        assert!(matches!(
            Report::decode(b"{}"),
            Err(ReportError::Malformed(_))
        ));
        assert!(matches!(
            Report::decode(b"\xff"),
            Err(ReportError::Malformed(_))
        ));
    }
}
