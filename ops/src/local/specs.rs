//! How each part is started and how one knows that it is ready: command lines and readiness checks, nothing else.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout_at};

use super::folder::Folder;
use super::parts::{PartId, RegionPart};
use super::plan::Plan;
use super::process::Launch;
use super::{LogFormat, files, http};

/// How long a part may take to be ready. Generous: a loaded machine is slow, and one that hangs says so meanwhile.
const READY: Duration = Duration::from_secs(30);
/// How long to wait for a region's front once the region is ready; it looks every 50 ms.
const FRONT: Duration = Duration::from_secs(1);
/// The file in which the edge says where it listens.
const EDGE_READY: &str = "edge.ready.json";

/// What all parts have in common.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    /// `frontdoor` itself.
    pub(super) frontdoor: PathBuf,
    /// The NATS server.
    pub(super) nats_server: PathBuf,
    /// Where files lie.
    pub(super) folder: Folder,
    /// How log lines of `frontdoor` look.
    pub(super) log: LogFormat,
}

/// A readiness check of one part.
#[derive(Debug, Clone)]
pub(super) enum Check {
    /// A URL answers 200.
    Url(String),
    /// The invocation service is ready, and the delay line has noticed.
    Invocation {
        ready: String,
        wan: String,
        region: String,
    },
    /// The edge has written where it serves, and says that it is ready.
    Edge { file: PathBuf },
}

/// Where the edge listens, as it says itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EdgeAddresses {
    pub(super) https: std::net::SocketAddr,
    pub(super) http: std::net::SocketAddr,
    pub(super) admin: std::net::SocketAddr,
}

// === impl Programs ===

impl Programs {
    /// The command line of a part.
    pub(super) fn launch(&self, part: &PartId, plan: &Plan) -> anyhow::Result<Launch> {
        let config = || files::name(part).map(|name| self.folder.path(name).into_os_string());
        let mut args: Vec<OsString> = match part {
            PartId::Hub | PartId::In(_, RegionPart::Nats) => vec![],
            PartId::Dns => vec!["local-dns".into()],
            PartId::Wan => vec!["local-wan".into()],
            PartId::In(_, RegionPart::Invocation) => vec!["invocation".into()],
            PartId::In(_, RegionPart::Worker) => vec!["worker".into()],
            PartId::In(region, RegionPart::Function) => {
                let at = plan
                    .region(region)
                    .context("a region outside of the plan")?;
                let journal = self.folder.path("journal").join(format!("{region}.log"));
                vec![
                    "function".into(),
                    "--listen".into(),
                    at.function.to_string().into(),
                    "--journal".into(),
                    journal.into(),
                ]
            }
            PartId::Edge => vec!["edge".into()],
        };
        if let Some(config) = config() {
            args.extend(["-c".into(), config]);
        }
        if *part == PartId::Edge {
            args.extend(["--ready-file".into(), self.folder.path(EDGE_READY).into()]);
        }
        let program = match part {
            PartId::Hub | PartId::In(_, RegionPart::Nats) => &self.nats_server,
            _ => {
                args.extend(["--log".into(), self.log.as_str().into()]);
                &self.frontdoor
            }
        };
        Ok(Launch {
            program: program.clone(),
            args,
            log: self.folder.log(&part.file_stem()),
        })
    }

    /// How to see that a part is ready. Removes what an earlier process of the part may have left that looks like it.
    pub(super) fn check(&self, part: &PartId, plan: &Plan) -> anyhow::Result<Check> {
        let ready = |admin: std::net::SocketAddrV4| format!("http://{admin}/ready");
        let health = |monitor: std::net::SocketAddrV4| format!("http://{monitor}/healthz");
        Ok(match part {
            PartId::Hub => Check::Url(health(plan.hub_monitor())),
            PartId::Dns => Check::Url(ready(plan.dns_admin())),
            PartId::Wan => Check::Url(ready(plan.wan_admin())),
            PartId::Edge => {
                self.folder.remove(EDGE_READY)?;
                Check::Edge {
                    file: self.folder.path(EDGE_READY),
                }
            }
            PartId::In(region, kind) => {
                let at = plan
                    .region(region)
                    .context("a region outside of the plan")?;
                match kind {
                    RegionPart::Nats => Check::Url(health(at.monitor)),
                    RegionPart::Invocation => Check::Invocation {
                        ready: ready(at.invocation_admin),
                        wan: format!("http://{}/wan", plan.wan_admin()),
                        region: region.to_string(),
                    },
                    RegionPart::Worker => Check::Url(ready(at.worker_admin)),
                    RegionPart::Function => Check::Url(format!("http://{}/health", at.function)),
                }
            }
        })
    }
}

// === impl Check ===

impl Check {
    /// Waits until the part is ready; the edge also says where it listens.
    pub(super) async fn wait(self) -> anyhow::Result<Option<EdgeAddresses>> {
        match self {
            Self::Url(url) => {
                http::until_ok(&url, READY).await?;
                Ok(None)
            }
            Self::Invocation { ready, wan, region } => {
                http::until_ok(&ready, READY).await?;
                // Best effort: a region is ready also while the delay line is dead.
                let _ = timeout_at(Instant::now() + FRONT, until_front_open(&wan, &region)).await;
                Ok(None)
            }
            Self::Edge { file } => {
                let deadline = Instant::now() + READY;
                let written = async {
                    loop {
                        // Half a file does not parse yet and is read again.
                        let text = tokio::fs::read_to_string(&file).await.unwrap_or_default();
                        match serde_json::from_str::<EdgeAddresses>(&text) {
                            Ok(addresses) => return addresses,
                            Err(_) => sleep(Duration::from_millis(10)).await,
                        }
                    }
                };
                let addresses = timeout_at(deadline, written)
                    .await
                    .with_context(|| format!("not serving within {READY:?}"))?;
                http::until_ok(
                    &format!("http://{}/ready", addresses.admin),
                    deadline - Instant::now(),
                )
                .await?;
                Ok(Some(addresses))
            }
        }
    }
}

async fn until_front_open(wan: &str, region: &str) {
    loop {
        if let Ok((_, body)) = http::send("GET", wan, None, None).await
            && let Ok(shown) = serde_json::from_slice::<serde_json::Value>(&body)
            && shown[region]["open"] == true
        {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
}
