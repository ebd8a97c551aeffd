//! Settings of the request path: how regions are spoken to, and what is kept of calls.

use std::time::Duration;

use frontdoor_protocol::config::RuleError;

use super::file::{ExplainFile, ReplayFile, UpstreamFile};
use super::settings::{require, some_time, span};

/// How to speak with regions.
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

/// How much may be kept of request bodies for another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplaySettings {
    /// Of one call's body, in bytes.
    pub per_call: usize,
    /// Of all bodies together, in bytes.
    pub total: usize,
}

/// What is kept of calls to explain them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExplainSettings {
    /// Of calls that neither moved nor failed, this share; of those that did, all.
    pub share: f64,
    /// The last so many of each of the two kinds.
    pub kept: usize,
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

// === impl ReplaySettings ===

impl Default for ReplaySettings {
    fn default() -> Self {
        Self {
            per_call: 1 << 20,
            total: 256 << 20,
        }
    }
}

// === impl ExplainSettings ===

impl Default for ExplainSettings {
    fn default() -> Self {
        Self {
            share: 0.01,
            kept: 500,
        }
    }
}

pub(super) fn upstream(file: &UpstreamFile) -> Result<UpstreamSettings, RuleError> {
    let base = UpstreamSettings::default();
    let upstream = UpstreamSettings {
        connect: some_time(file.connect, base.connect, "upstream.connect")?,
        ping_interval: some_time(
            file.ping_interval,
            base.ping_interval,
            "upstream.ping_interval",
        )?,
        ping_timeout: some_time(
            file.ping_timeout,
            base.ping_timeout,
            "upstream.ping_timeout",
        )?,
        dead_after: span(file.dead_after, base.dead_after),
        streams: file.streams.unwrap_or(base.streams),
        connections: file.connections.unwrap_or(base.connections),
        grace: span(file.grace, base.grace),
    };
    require(
        upstream.dead_after >= upstream.ping_timeout,
        "upstream.dead_after",
        "must not be below upstream.ping_timeout",
    )?;
    require(
        upstream.streams > 0,
        "upstream.streams",
        "must be at least 1",
    )?;
    require(
        upstream.connections > 0,
        "upstream.connections",
        "must be at least 1",
    )?;
    Ok(upstream)
}

pub(super) fn replay(file: &ReplayFile) -> Result<ReplaySettings, RuleError> {
    let base = ReplaySettings::default();
    let replay = ReplaySettings {
        per_call: file.per_call.unwrap_or(base.per_call),
        total: file.total.unwrap_or(base.total),
    };
    require(
        replay.per_call <= replay.total,
        "replay.per_call",
        "must not be above replay.total",
    )?;
    Ok(replay)
}

pub(super) fn explain(file: &ExplainFile) -> Result<ExplainSettings, RuleError> {
    let base = ExplainSettings::default();
    let explain = ExplainSettings {
        share: file.share.unwrap_or(base.share),
        kept: file.kept.unwrap_or(base.kept),
    };
    require(
        (0.0..=1.0).contains(&explain.share),
        "explain.share",
        "must be from 0 to 1",
    )?;
    require(
        explain.kept <= MOST_KEPT,
        "explain.kept",
        "must be at most 100000: each takes some kilobytes",
    )?;
    Ok(explain)
}

/// With fifty regions a call that moved takes about 20 kB.
const MOST_KEPT: usize = 100_000;
