//! `invocation.toml` as people write it: names of keys, types of values, defaults. Unknown keys are refused.
//!
//! Holds no rule about what a value may be; that is `settings.rs`, its only reader.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use frontdoor_protocol::names::{FunctionId, RegionName, VersionId};
use frontdoor_protocol::span::Span;
use ipnet::IpNet;
use serde::Deserialize;

/// Calls accepted and not finished. At some tens of KiB each (a stored body of up to 32 KiB), ten thousand waiting
/// callers cost well under 1 GiB; a region that has more of them does better to send them elsewhere.
const WAITING: usize = 10_000;
/// Time for which `/health` says draining while calls are still taken: four probes of an edge (250 ms apart).
const NOTICE: Span = Span(Duration::from_secs(1));
/// As long as NVCF remembers a call that was put aside.
const KEEP: Span = Span(Duration::from_secs(3600));
/// The longest time a caller may wait for a first byte (`NVCF-POLL-SECONDS` 3600): no accepted call is cut short of it.
const GRACE: Span = Span(Duration::from_secs(3600));

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) region: RegionName,
    pub(super) domain: String,
    pub(super) listen: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) attach_url: String,
    #[serde(default)]
    pub(super) trusted_edges: Vec<IpNet>,
    pub(super) nats: Nats,
    #[serde(default)]
    pub(super) limits: Limits,
    #[serde(default)]
    pub(super) polling: Polling,
    #[serde(default)]
    pub(super) stop: Stop,
    #[serde(default)]
    pub(super) functions: Vec<Function>,
    #[serde(default)]
    pub(super) keys: Vec<Key>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nats {
    pub(super) url: String,
    pub(super) credentials_file: Option<PathBuf>,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    pub(super) waiting: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Polling {
    pub(super) keep: Span,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Stop {
    pub(super) notice: Span,
    pub(super) grace: Span,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Function {
    pub(super) id: FunctionId,
    pub(super) name: String,
    pub(super) versions: Vec<VersionId>,
    #[serde(default)]
    pub(super) workers: Workers,
    #[serde(default = "root")]
    pub(super) invocation_path: String,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Workers {
    #[default]
    Claiming,
    Late,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) sha256: String,
    pub(super) functions: Vec<String>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { waiting: WAITING }
    }
}

impl Default for Polling {
    fn default() -> Self {
        Self { keep: KEEP }
    }
}

/// Where NVCF's API calls a function that does not say otherwise.
fn root() -> String {
    "/".to_owned()
}

impl Default for Stop {
    fn default() -> Self {
        Self {
            notice: NOTICE,
            grace: GRACE,
        }
    }
}
