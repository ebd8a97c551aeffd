//! The way to the regions: standing HTTP/2 connections, many calls on each.
//!
//! pingora's connectors dial once for every call that finds no free connection (86 for 300 cold calls), wait a fixed five
//! seconds for a PING's answer, and have one time-out for an answer's head and its body. `pool.rs` and `connection.rs` are
//! ours for these three reasons. Nothing here knows what a call is about.

mod connection;
mod deadline;
mod pool;
mod warm;

use std::time::Duration;

pub use self::connection::Lease;
pub use self::deadline::left;
pub use self::pool::{Cause, DialError, Pool};
pub use self::warm::keep_warm;

/// How to speak with regions; `config` fills it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpstreamSettings {
    /// For a connection to a region; more than any round trip, less than a caller's patience.
    pub connect: Duration,
    /// How often a connection in use is asked whether its peer lives.
    pub ping_interval: Duration,
    /// A peer that sends nothing for so long after the question is suspect: calls that may move go elsewhere.
    pub ping_timeout: Duration,
    /// And after so long its connection is closed, with what is still on it.
    pub dead_after: Duration,
    /// The most calls on one connection, if the region allows so many.
    pub streams: usize,
    /// The most connections to one endpoint.
    pub connections: usize,
    /// What a region may take longer than the caller's patience to say so itself.
    pub grace: Duration,
}

// === impl UpstreamSettings ===

impl Default for UpstreamSettings {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(1),
            ping_interval: Duration::from_millis(500),
            ping_timeout: Duration::from_secs(1),
            dead_after: Duration::from_secs(5),
            streams: 512,
            connections: 64,
            grace: Duration::from_secs(2),
        }
    }
}
