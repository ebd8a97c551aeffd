//! `edge.toml` as it is written. Shape only: every rule about values is in `settings.rs`, unknown keys are refused here.

use std::net::SocketAddr;
use std::path::PathBuf;

use frontdoor_bus::NatsTable;
use frontdoor_protocol::names::RegionName;
use frontdoor_protocol::span::Span;
use frontdoor_telemetry::table::TelemetryTable;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) domain: String,
    pub(super) state_file: Option<PathBuf>,
    pub(super) listen: ListenFile,
    #[serde(default)]
    pub(super) admin: AdminFile,
    pub(super) tls: TlsFile,
    #[serde(default)]
    pub(super) resolver: ResolverFile,
    pub(super) nats: Option<NatsTable>,
    #[serde(default)]
    pub(super) probe: ProbeFile,
    #[serde(default)]
    pub(super) health: HealthFile,
    #[serde(default)]
    pub(super) route: RouteFile,
    #[serde(default)]
    pub(super) steering: SteeringFile,
    #[serde(default)]
    pub(super) upstream: UpstreamFile,
    #[serde(default)]
    pub(super) replay: ReplayFile,
    #[serde(default)]
    pub(super) explain: ExplainFile,
    #[serde(default)]
    pub(super) telemetry: TelemetryTable,
    #[serde(default)]
    pub(super) limits: LimitsFile,
    #[serde(default)]
    pub(super) stop: StopFile,
    #[serde(default)]
    pub(super) upgrade: UpgradeFile,
    #[serde(default)]
    pub(super) regions: Vec<RegionFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListenFile {
    pub(super) https: SocketAddr,
    pub(super) http: Option<SocketAddr>,
    pub(super) admin: SocketAddr,
    pub(super) connections: Option<usize>,
    pub(super) streams: Option<u32>,
    pub(super) ping: Option<Span>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AdminFile {
    pub(super) token_file: Option<PathBuf>,
    pub(super) orders_file: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsFile {
    pub(super) certificates: Vec<CertificateFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CertificateFile {
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResolverFile {
    #[serde(default)]
    pub(super) servers: Vec<SocketAddr>,
    pub(super) timeout: Option<Span>,
    pub(super) min_ttl: Option<Span>,
    pub(super) max_ttl: Option<Span>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProbeFile {
    pub(super) path: Option<String>,
    pub(super) interval: Option<Span>,
    pub(super) interval_suspect: Option<Span>,
    pub(super) timeout_min: Option<Span>,
    pub(super) timeout_max: Option<Span>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HealthFile {
    pub(super) misses_to_suspect: Option<u32>,
    pub(super) misses_to_down: Option<u32>,
    pub(super) silence_to_down: Option<Span>,
    pub(super) good_to_up: Option<u32>,
    pub(super) good_to_return: Option<u32>,
    pub(super) hold_down: Option<Span>,
    pub(super) hold_down_max: Option<Span>,
    pub(super) ramp: Option<Span>,
    pub(super) bad_to_suspect: Option<f64>,
    pub(super) bad_to_down: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RouteFile {
    pub(super) peer_margin: Option<Span>,
    pub(super) peer_ratio: Option<f64>,
    pub(super) moves: Option<u8>,
    pub(super) service: Option<Span>,
    pub(super) cold: Option<Span>,
    pub(super) failure: Option<Span>,
    pub(super) retry_after: Option<Span>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SteeringFile {
    pub(super) affinity_header: Option<String>,
    pub(super) affinity_cookie: Option<String>,
    #[serde(default)]
    pub(super) override_keys: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UpstreamFile {
    pub(super) connect: Option<Span>,
    pub(super) ping_interval: Option<Span>,
    pub(super) ping_timeout: Option<Span>,
    pub(super) dead_after: Option<Span>,
    pub(super) streams: Option<usize>,
    pub(super) connections: Option<usize>,
    pub(super) grace: Option<Span>,
    pub(super) ca: Option<PathBuf>,
    pub(super) cert: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplayFile {
    pub(super) per_call: Option<usize>,
    pub(super) total: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExplainFile {
    pub(super) share: Option<f64>,
    pub(super) kept: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitsFile {
    pub(super) calls: Option<usize>,
    pub(super) calls_per_key: Option<u32>,
    pub(super) rate_per_key: Option<u32>,
    pub(super) burst_per_key: Option<u32>,
    pub(super) body: Option<u64>,
    pub(super) handshake: Option<Span>,
    pub(super) head: Option<Span>,
    pub(super) body_gap: Option<Span>,
    pub(super) write: Option<Span>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StopFile {
    pub(super) notice: Option<Span>,
    pub(super) grace: Option<Span>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UpgradeFile {
    pub(super) socket: Option<PathBuf>,
    pub(super) patience: Option<Span>,
    pub(super) grace: Option<Span>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RegionFile {
    pub(super) name: RegionName,
    pub(super) endpoint: String,
    pub(super) server_name: Option<String>,
    pub(super) weight: Option<f64>,
}
