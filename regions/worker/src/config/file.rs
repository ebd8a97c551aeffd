//! The worker's TOML as written. Unknown keys are refused; values are checked in `settings.rs`.

use std::net::SocketAddr;

use frontdoor_bus::NatsTable;
use frontdoor_protocol::names::{FunctionId, RegionName, VersionId};
use frontdoor_protocol::span::Span;
use frontdoor_telemetry::table::TelemetryTable;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) region: RegionName,
    pub(super) function: FunctionId,
    pub(super) function_name: String,
    pub(super) version: VersionId,
    pub(super) admin: SocketAddr,
    pub(super) slots: usize,
    pub(super) standby: Option<usize>,
    pub(super) ping: Option<Span>,
    pub(super) threads: Option<usize>,
    pub(super) nats: NatsTable,
    pub(super) container: Container,
    #[serde(default)]
    pub(super) telemetry: TelemetryTable,
    #[serde(default)]
    pub(super) stop: Stop,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Container {
    pub(super) url: String,
    pub(super) health_path: Option<String>,
    pub(super) protocol: Option<Protocol>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Protocol {
    Http1,
    H2c,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stop {
    pub(super) grace: Option<Span>,
}
