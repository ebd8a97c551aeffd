//! `invocation.toml` as people write it: names of keys, types of values, defaults. Unknown keys are refused.
//!
//! Holds no rule about what a value may be; that is `settings.rs`, its only reader.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use frontdoor_bus::TlsTable;
use frontdoor_protocol::moment::Moment;
use frontdoor_protocol::names::{FunctionId, RegionName, VersionId};
use frontdoor_protocol::span::Span;
use frontdoor_telemetry::table::TelemetryTable;
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
/// Verdicts of an authority that are kept: 0.5 KiB each, so some tens of MiB when full.
const CACHE: u64 = 100_000;
/// How long a yes holds: NVCF's. A key that is revoked does not wait for it.
const TTL: Span = Span(Duration::from_secs(60));
/// How long a no holds: somebody who was just let in should not wait for long.
const NEGATIVE_TTL: Span = Span(Duration::from_secs(10));
/// How long a verdict may be used past its time while the authority is down.
const STALE: Span = Span(Duration::from_secs(600));
/// For one connection to an authority.
const AUTHORITY_CONNECT: Span = Span(Duration::from_secs(1));
/// For one whole question. Short: meanwhile the caller's time runs, and another region may know.
const AUTHORITY_TIMEOUT: Span = Span(Duration::from_secs(2));

/// A nats-server that restarts, or a stream that elects a leader, is back within this.
const OUTAGE: Span = Span(Duration::from_secs(2));
/// A worker or an edge that froze ends its calls after twice this.
const PING: Span = Span(Duration::from_secs(10));

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) region: RegionName,
    pub(super) domain: String,
    pub(super) listen: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) attach_url: String,
    #[serde(default = "ping")]
    pub(super) ping: Span,
    pub(super) threads: Option<usize>,
    #[serde(default)]
    pub(super) trusted_edges: Vec<IpNet>,
    pub(super) tls: Option<Tls>,
    pub(super) nats: Nats,
    #[serde(default)]
    pub(super) limits: Limits,
    #[serde(default)]
    pub(super) polling: Polling,
    #[serde(default)]
    pub(super) telemetry: TelemetryTable,
    #[serde(default)]
    pub(super) stop: Stop,
    #[serde(default)]
    pub(super) functions: Vec<Function>,
    #[serde(default)]
    pub(super) auth: Auth,
    #[serde(default)]
    pub(super) keys: Vec<Key>,
}

/// The file that `auth.keys_file` names.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeysFile {
    #[serde(default)]
    pub(super) keys: Vec<Key>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tls {
    pub(super) listen: SocketAddr,
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
    pub(super) client_ca: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nats {
    pub(super) url: String,
    pub(super) credentials_file: Option<PathBuf>,
    pub(super) nkey_file: Option<PathBuf>,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) tls: Option<TlsTable>,
    #[serde(default = "outage")]
    pub(super) patience: Span,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    pub(super) waiting: usize,
    pub(super) account: Option<usize>,
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
    pub(super) expires: Option<Moment>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Auth {
    pub(super) keys_file: Option<PathBuf>,
    pub(super) cache: u64,
    pub(super) ttl: Span,
    pub(super) negative_ttl: Span,
    pub(super) stale: Span,
    pub(super) http: Option<Http>,
    pub(super) grpc: Option<Grpc>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Http {
    pub(super) url: String,
    pub(super) ca: Option<PathBuf>,
    #[serde(default)]
    pub(super) send_path: bool,
    #[serde(default = "authority_connect")]
    pub(super) connect_timeout: Span,
    #[serde(default = "authority_timeout")]
    pub(super) timeout: Span,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Grpc {
    pub(super) url: String,
    pub(super) ca: Option<PathBuf>,
    pub(super) token_file: Option<PathBuf>,
    #[serde(default = "authority_connect")]
    pub(super) connect_timeout: Span,
    #[serde(default = "authority_timeout")]
    pub(super) timeout: Span,
}

const fn authority_connect() -> Span {
    AUTHORITY_CONNECT
}

const fn authority_timeout() -> Span {
    AUTHORITY_TIMEOUT
}

const fn outage() -> Span {
    OUTAGE
}

const fn ping() -> Span {
    PING
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            waiting: WAITING,
            account: None,
        }
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

impl Default for Auth {
    fn default() -> Self {
        Self {
            keys_file: None,
            cache: CACHE,
            ttl: TTL,
            negative_ttl: NEGATIVE_TTL,
            stale: STALE,
            http: None,
            grpc: None,
        }
    }
}

impl Default for Stop {
    fn default() -> Self {
        Self {
            notice: NOTICE,
            grace: GRACE,
        }
    }
}
