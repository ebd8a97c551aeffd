//! Settings of the request path: how regions are spoken to, and what is kept of calls.

use std::path::{Path, PathBuf};
use std::time::Duration;

use frontdoor_protocol::config::RuleError;

use super::file::{LimitsFile, ReplayFile, UpstreamFile};
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

/// Files that regions are spoken to with over TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionTls {
    /// The authorities that regions' certificates come from.
    pub ca: PathBuf,
    /// Our own certificate chain and its key, for regions that ask for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

// === impl RegionTls ===

impl RegionTls {
    /// All files.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let identity = self.identity.iter();
        let identity = identity.flat_map(|(cert, key)| [cert.as_path(), key.as_path()]);
        std::iter::once(self.ca.as_path()).chain(identity)
    }
}

/// How much may be kept of request bodies for another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplaySettings {
    /// Of one call's body, in bytes.
    pub per_call: usize,
    /// Of all bodies together, in bytes.
    pub total: usize,
}

/// What callers may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallLimits {
    /// Calls at once, of everybody.
    pub calls: usize,
    /// Calls at once, of one key.
    pub calls_per_key: u32,
    /// Calls a second of one key, on the long run; no bound if there is none.
    pub rate_per_key: Option<u32>,
    /// What a key may call in one go beyond its rate.
    pub burst_per_key: u32,
    /// Bytes of a request's body.
    pub body: u64,
    /// For a TLS handshake, an HTTP/2 preface, or the first bytes of a plain connection.
    pub handshake: Duration,
    /// For an HTTP/1.1 head.
    pub head: Duration,
    /// A body that has begun must go on within this, until an answer begins.
    pub body_gap: Duration,
    /// A caller that takes nothing for so long has its call cut: a stalled reader must not hold memory for ever.
    pub write: Duration,
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

// === impl CallLimits ===

impl Default for CallLimits {
    fn default() -> Self {
        Self {
            calls: 20_000,
            calls_per_key: 10_000,
            rate_per_key: None,
            burst_per_key: 100,
            body: 1 << 30,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(15),
            body_gap: Duration::from_secs(60),
            write: Duration::from_secs(60),
        }
    }
}

pub(super) fn limits(file: &LimitsFile) -> Result<CallLimits, RuleError> {
    let base = CallLimits::default();
    let limits = CallLimits {
        calls: file.calls.unwrap_or(base.calls),
        calls_per_key: file.calls_per_key.unwrap_or(base.calls_per_key),
        rate_per_key: file.rate_per_key,
        burst_per_key: file.burst_per_key.unwrap_or(base.burst_per_key),
        body: file.body.unwrap_or(base.body),
        handshake: some_time(file.handshake, base.handshake, "limits.handshake")?,
        head: some_time(file.head, base.head, "limits.head")?,
        body_gap: some_time(file.body_gap, base.body_gap, "limits.body_gap")?,
        write: some_time(file.write, base.write, "limits.write")?,
    };
    for (holds, key) in [
        (limits.calls > 0, "limits.calls"),
        (limits.calls_per_key > 0, "limits.calls_per_key"),
        (limits.rate_per_key != Some(0), "limits.rate_per_key"),
        (limits.burst_per_key > 0, "limits.burst_per_key"),
    ] {
        require(holds, key, "must be at least 1")?;
    }
    Ok(limits)
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

// === impl RegionTls ===

impl RegionTls {
    /// Makes relative paths relative to `folder`.
    pub(super) fn be_relative_to(&mut self, folder: &Path) {
        self.ca = folder.join(&self.ca);
        if let Some((cert, key)) = &mut self.identity {
            (*cert, *key) = (folder.join(&*cert), folder.join(&*key));
        }
    }
}

pub(super) fn region_tls(file: &UpstreamFile) -> Result<Option<RegionTls>, RuleError> {
    let identity = match (file.cert.clone(), file.key.clone()) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        _ => return Err(RuleError::new("upstream.cert", "cert and key go together")),
    };
    let ca = file.ca.clone();
    require(
        ca.is_some() || identity.is_none(),
        "upstream.ca",
        "must be given with upstream.cert",
    )?;
    Ok(ca.map(|ca| RegionTls { ca, identity }))
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
