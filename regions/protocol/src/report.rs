//! A region's own news, sent over chatter: what it can do, in absolute values. Soft state: the last word wins.
//!
//! Sent by an invocation service about itself, heard by edges; nothing on a request's path waits for one. Every
//! [`FULL_EVERY`] a full report lists all that is deployed, deltas between list what changed, and each [`HEARTBEAT`]
//! there is at least an empty one. Protobuf with fixed-width ids: 10,000 functions stay well below NATS' payload limit
//! of 1 MiB, and reading them allocates once.

use std::time::Duration;

use prost::Message as _;
use uuid::Uuid;

use crate::names::{FunctionId, RegionName, VersionId};

/// A report above this many bytes is not read: what NATS takes by default.
pub const SIZE_LIMIT: usize = 1024 * 1024;
/// A report of more versions than this is not believed.
pub const FUNCTIONS_LIMIT: usize = 16_384;
/// How often a report is sent when nothing changes: so often that edges know within a second that a region's have stopped.
pub const HEARTBEAT: Duration = Duration::from_millis(250);
/// How often a report lists everything, so that a lost delta is made good.
pub const FULL_EVERY: Duration = Duration::from_secs(5);
/// A change waits this long for others, so that a burst of them is one report.
pub const DEBOUNCE: Duration = Duration::from_millis(100);

/// What one invocation service says of its region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Schema version; readers refuse one that they do not know.
    pub v: u16,
    /// Who speaks.
    pub region: RegionName,
    /// Start of the sender, in Unix milliseconds: a restart begins a new epoch, and `seq` starts again. Tells several
    /// services of one region apart.
    pub epoch: u64,
    /// Grows by one with each report of an epoch.
    pub seq: u64,
    /// The sender finishes what it has and wants nothing new.
    pub draining: bool,
    /// Calls accepted by the sender and not yet claimed by a worker.
    pub queued: u64,
    /// Calls claimed and not yet answered.
    pub running: u64,
    /// Whether `functions` is everything that is deployed; else only what changed since the report before.
    pub full: bool,
    /// What is deployed here. In a full report, what is missing is not deployed.
    pub functions: Vec<FunctionReport>,
}

/// One version, as its region sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FunctionReport {
    /// The function.
    pub function: FunctionId,
    /// The version.
    pub version: VersionId,
    /// Whether it is here at all; a delta says so when it was removed.
    pub deployed: bool,
    /// Live workers of the whole region.
    pub workers: u32,
    /// Calls that its workers can run at once.
    pub slots: u32,
    /// Of these, how many are free; never more than `slots`.
    pub free: u32,
    /// Calls of it that the sender has queued.
    pub queued: u32,
    /// Mean time that a call takes, in milliseconds; 0 if not known.
    pub service_ms: u32,
    /// Its workers do not tell of themselves (NVIDIA's): that none is known does not say that there is none.
    pub mute: bool,
}

/// The schema version written here. 1 was JSON.
pub const VERSION: u16 = 2;

/// Why a message is no report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// Above [`SIZE_LIMIT`] or [`FUNCTIONS_LIMIT`].
    #[error("report larger than {SIZE_LIMIT} bytes or {FUNCTIONS_LIMIT} versions")]
    TooLarge,
    /// Not protobuf of this shape, or with values that mean nothing.
    #[error("malformed report: {0}")]
    Malformed(String),
    /// A schema we do not know.
    #[error("report of schema version {0}, known is {VERSION}")]
    Version(u32),
}

/// [`Report`] on the wire.
#[derive(Clone, PartialEq, prost::Message)]
struct Wire {
    #[prost(uint32, tag = "1")]
    v: u32,
    #[prost(string, tag = "2")]
    region: String,
    #[prost(uint64, tag = "3")]
    epoch: u64,
    #[prost(uint64, tag = "4")]
    seq: u64,
    #[prost(bool, tag = "5")]
    draining: bool,
    #[prost(uint64, tag = "6")]
    queued: u64,
    #[prost(uint64, tag = "7")]
    running: u64,
    #[prost(bool, tag = "8")]
    full: bool,
    #[prost(message, repeated, tag = "9")]
    functions: Vec<FunctionWire>,
}

/// [`FunctionReport`] on the wire. An id is two halves of fixed width, so that reading one allocates nothing.
#[derive(Clone, Copy, PartialEq, prost::Message)]
struct FunctionWire {
    #[prost(fixed64, tag = "1")]
    function_high: u64,
    #[prost(fixed64, tag = "2")]
    function_low: u64,
    #[prost(fixed64, tag = "3")]
    version_high: u64,
    #[prost(fixed64, tag = "4")]
    version_low: u64,
    /// Written as "removed", so that a delta's many deployed versions cost no byte for it.
    #[prost(bool, tag = "5")]
    removed: bool,
    #[prost(uint32, tag = "6")]
    workers: u32,
    #[prost(uint32, tag = "7")]
    slots: u32,
    #[prost(uint32, tag = "8")]
    free: u32,
    #[prost(uint32, tag = "9")]
    queued: u32,
    #[prost(uint32, tag = "10")]
    service_ms: u32,
    #[prost(bool, tag = "11")]
    mute: bool,
}

// === impl Report ===

impl Report {
    /// The message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        Wire {
            v: u32::from(self.v),
            region: self.region.to_string(),
            epoch: self.epoch,
            seq: self.seq,
            draining: self.draining,
            queued: self.queued,
            running: self.running,
            full: self.full,
            functions: self.functions.iter().map(FunctionReport::wire).collect(),
        }
        .encode_to_vec()
    }

    /// Reads a message from the network.
    ///
    /// # Errors
    /// If it is not a report that we understand.
    pub fn decode(bytes: &[u8]) -> Result<Self, ReportError> {
        if bytes.len() > SIZE_LIMIT {
            return Err(ReportError::TooLarge);
        }
        let wire = Wire::decode(bytes).map_err(|e| ReportError::Malformed(e.to_string()))?;
        let v = u16::try_from(wire.v)
            .ok()
            .filter(|&v| v == VERSION)
            .ok_or(ReportError::Version(wire.v))?;
        if wire.functions.len() > FUNCTIONS_LIMIT {
            return Err(ReportError::TooLarge);
        }
        Ok(Self {
            v,
            region: wire
                .region
                .parse()
                .map_err(|_| ReportError::Malformed("no name of a region".to_owned()))?,
            epoch: wire.epoch,
            seq: wire.seq,
            draining: wire.draining,
            queued: wire.queued,
            running: wire.running,
            full: wire.full,
            functions: wire
                .functions
                .iter()
                .map(FunctionReport::read)
                .collect::<Result<_, _>>()?,
        })
    }
}

// === impl FunctionReport ===

impl FunctionReport {
    /// A version of which nothing more is known than that it is deployed.
    #[must_use]
    pub const fn deployed(function: FunctionId, version: VersionId) -> Self {
        Self {
            function,
            version,
            deployed: true,
            workers: 0,
            slots: 0,
            free: 0,
            queued: 0,
            service_ms: 0,
            mute: false,
        }
    }

    fn wire(&self) -> FunctionWire {
        let (function_high, function_low) = self.function.as_uuid().as_u64_pair();
        let (version_high, version_low) = self.version.as_uuid().as_u64_pair();
        FunctionWire {
            function_high,
            function_low,
            version_high,
            version_low,
            removed: !self.deployed,
            workers: self.workers,
            slots: self.slots,
            free: self.free,
            queued: self.queued,
            service_ms: self.service_ms,
            mute: self.mute,
        }
    }

    fn read(wire: &FunctionWire) -> Result<Self, ReportError> {
        let function = Uuid::from_u64_pair(wire.function_high, wire.function_low);
        let version = Uuid::from_u64_pair(wire.version_high, wire.version_low);
        if function.is_nil() || version.is_nil() {
            return Err(ReportError::Malformed("a version without id".to_owned()));
        }
        Ok(Self {
            function: FunctionId::from_uuid(function),
            version: VersionId::from_uuid(version),
            deployed: !wire.removed,
            workers: wire.workers,
            slots: wire.slots,
            free: wire.free.min(wire.slots),
            queued: wire.queued,
            service_ms: wire.service_ms,
            mute: wire.mute,
        })
    }
}

#[cfg(test)]
mod tests;
