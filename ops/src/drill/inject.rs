//! Breaks things and mends them: real signals on real processes of a local stack, delay lines and DNS answers, the edge's
//! admin port; or an operator's own commands for a deployed system.

use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use frontdoor_protocol::names::RegionName;
use frontdoor_protocol::span::Span;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::kind::Drill;
use super::target::Target;
use crate::load::trusting;
use crate::local::certificates::Certificates;
use crate::local::{self, http as ask};

/// The slow way of `region-slow`.
const SLOW: Duration = Duration::from_millis(400);
/// The share of `gray-5pct`.
const GRAY: f64 = 0.05;
/// Half a period of `flap`.
const FLAP: Duration = Duration::from_secs(2);
/// How often `edge-upgrade` replaces the edge.
const SWAPS: u32 = 3;
/// How long an operator's command may take.
const COMMAND: Duration = Duration::from_secs(120);
/// How long an edge may take to use a new certificate.
const ROTATION: Duration = Duration::from_secs(5);

/// An operator's own way of breaking and mending a deployed system.
#[derive(Debug, Clone)]
pub struct Hooks {
    /// Run by `sh -c` at the fault; `FRONTDOOR_DRILL` and `FRONTDOOR_REGION` are set.
    pub inject: String,
    /// Run at the heal; without it the fault is expected to end by itself.
    pub heal: Option<String>,
}

/// One drill's fault in one region.
pub(super) struct Fault<'a> {
    pub(super) drill: Drill,
    pub(super) target: &'a Target,
    pub(super) region: &'a RegionName,
    pub(super) hooks: Option<&'a Hooks>,
    /// What `cert-rotate` puts in place.
    pub(super) certificates: Option<&'a Certificates>,
}

/// The drill cannot be done here, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("not supported yet: {0}")]
pub(super) struct Unsupported(String);

// === impl Fault ===

impl Fault<'_> {
    /// Breaks it. Returns when the fault lasts, or for those that do something again and again when it is over.
    pub(super) async fn inject(&self, lasts: Duration) -> anyhow::Result<()> {
        if let Some(hooks) = self.hooks {
            return self.command(&hooks.inject).await;
        }
        match self.drill {
            Drill::Drain => return self.operate("drain").await,
            _ => ensure!(
                self.target.local,
                "{} is no stack of this machine, so nothing of it can be signalled from here: say how to break it with \
                 --inject-command, and how to mend it with --heal-command",
                self.target.dir.display()
            ),
        }
        let dir = &self.target.dir;
        let region = self.region.as_str();
        match self.drill {
            Drill::RegionKill => local::kill(dir, region, "KILL").await,
            Drill::RegionHang => local::kill(dir, region, "STOP").await,
            Drill::RegionSlow => local::wan(dir, &[(self.region.clone(), SLOW)]).await,
            Drill::NatsHubLoss => local::kill(dir, "hub", "KILL").await,
            Drill::RegionNatsLoss => local::kill(dir, &self.part("nats"), "KILL").await,
            Drill::WorkerCrash => local::kill(dir, &self.part("worker"), "KILL").await,
            Drill::InvocationCrash => local::kill(dir, &self.part("invocation"), "KILL").await,
            Drill::DnsDead => local::kill(dir, "dns", "KILL").await,
            Drill::LeafCut => self.line(json!({"leaf_silent": true})).await,
            Drill::Gray => self.line(json!({"reset": GRAY})).await,
            Drill::DnsStale => self.records(&[self.dead_address()?]).await,
            Drill::Flap => self.flap(lasts).await,
            Drill::CertRotate => self.rotate().await,
            Drill::ConfigReload => self.reconfigure(lasts).await,
            Drill::EdgeUpgrade => self.upgrade(lasts).await,
            Drill::Drain => Ok(()),
        }
    }

    /// Mends it; returns when what was broken is ready again.
    pub(super) async fn heal(&self) -> anyhow::Result<()> {
        if let Some(hooks) = self.hooks {
            return match &hooks.heal {
                Some(command) => self.command(command).await,
                None => Ok(()),
            };
        }
        let dir = &self.target.dir;
        match self.drill {
            Drill::Drain => self.operate("undrain").await,
            Drill::RegionSlow => local::wan(dir, &[(self.region.clone(), self.delay()?)]).await,
            Drill::NatsHubLoss => local::start(dir, "hub").await,
            Drill::DnsDead => local::start(dir, "dns").await,
            Drill::LeafCut | Drill::Gray => self.line(json!({})).await,
            Drill::DnsStale => {
                let front = self
                    .endpoint("front")
                    .split(':')
                    .next()
                    .unwrap_or_default()
                    .parse()?;
                self.records(&[front]).await
            }
            Drill::CertRotate | Drill::ConfigReload | Drill::EdgeUpgrade => Ok(()),
            _ => local::start(dir, self.region.as_str()).await,
        }
    }

    fn part(&self, part: &str) -> String {
        format!("{}/{part}", self.region)
    }

    fn endpoint(&self, name: &str) -> &str {
        self.target
            .text(&format!("/regions/{}/{name}", self.region))
    }

    /// The delay that the stack was started with.
    fn delay(&self) -> anyhow::Result<Duration> {
        let span: Span = serde_json::from_value(Value::String(self.endpoint("wan").to_owned()))
            .with_context(|| format!("no delay of {} in the endpoints", self.region))?;
        Ok(span.0)
    }

    /// An address in the stack's own block where nobody listens.
    fn dead_address(&self) -> anyhow::Result<Ipv4Addr> {
        let front = self.endpoint("front").split(':').next().unwrap_or_default();
        let [a, b, c, _] = front
            .parse::<Ipv4Addr>()
            .context("no front in the endpoints")?
            .octets();
        Ok(Ipv4Addr::new(a, b, c, 254))
    }

    async fn line(&self, faults: Value) -> anyhow::Result<()> {
        let url = format!("{}/faults", self.target.text("/wan/admin"));
        let changes = json!({ self.region.as_str(): faults });
        self.put(&url, &changes).await
    }

    async fn records(&self, addresses: &[Ipv4Addr]) -> anyhow::Result<()> {
        let url = format!("{}/records", self.target.text("/dns/admin"));
        let changes = json!({ self.region.as_str(): addresses });
        self.put(&url, &changes).await
    }

    async fn put(&self, url: &str, body: &Value) -> anyhow::Result<()> {
        let (status, answer) = ask::send("PUT", url, None, Some(body)).await?;
        ensure!(
            status.is_success(),
            "{url} answers {status}: {}",
            String::from_utf8_lossy(&answer).trim_end()
        );
        Ok(())
    }

    /// Asks the edge's admin port, as an operator would.
    async fn operate(&self, what: &str) -> anyhow::Result<()> {
        let path = format!("/regions/{}/{what}?by=drill", self.region);
        let (status, answer) = self.target.order(&path).await?;
        match status {
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
                Err(Unsupported(format!("the edge's admin port has no POST {path}")).into())
            }
            status if status.is_success() => Ok(()),
            status => bail!("the edge answers {status} to POST {path}: {answer}"),
        }
    }

    async fn flap(&self, lasts: Duration) -> anyhow::Result<()> {
        let (begun, part) = (Instant::now(), self.part("invocation"));
        while begun.elapsed() < lasts {
            local::kill(&self.target.dir, &part, "KILL").await?;
            sleep(FLAP).await;
            let started = Instant::now();
            local::start(&self.target.dir, &part).await?;
            sleep(FLAP.saturating_sub(started.elapsed())).await;
        }
        Ok(())
    }

    async fn upgrade(&self, lasts: Duration) -> anyhow::Result<()> {
        let begun = Instant::now();
        for swap in 0..SWAPS {
            sleep_until(begun + lasts * swap / SWAPS).await;
            local::upgrade(&self.target.dir).await?;
        }
        Ok(())
    }

    /// Replaces the files as an operator's tool would, and waits until a new connection sees the new certificate.
    async fn rotate(&self) -> anyhow::Result<()> {
        let new = self
            .certificates
            .context("no certificate to put in place")?;
        local::replace_certificates(&self.target.dir, new)?;
        local::kill(&self.target.dir, "edge", "HUP").await?;
        let mut caller = self.target.caller(None, "")?;
        caller.tls = trusting(new.ca.as_bytes(), &["h2"])?;
        let limit = Instant::now() + ROTATION;
        while let Err(error) = caller.connect().await {
            if Instant::now() > limit {
                let text =
                    format!("no new connection sees the new certificate after SIGHUP: {error:#}");
                return Err(Unsupported(text).into());
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Replaces the configuration again and again as an operator's tool would; one in three is wrong and must be refused.
    async fn reconfigure(&self, lasts: Duration) -> anyhow::Result<()> {
        let begun = Instant::now();
        let file = self.target.dir.join("edge.toml");
        let as_it_was = std::fs::read_to_string(&file)
            .with_context(|| format!("{} cannot be read", file.display()))?;
        let other = as_it_was.replace("[health]\n", "[health]\nramp = \"59s\"\n");
        ensure!(other != as_it_was, "{} has no [health]", file.display());
        let wrong = as_it_was.replace("[health]\n", "[health]\nrampp = \"59s\"\n");
        while begun.elapsed() < lasts {
            for (text, outcome) in [
                (&other, "applied"),
                (&wrong, "refused"),
                (&as_it_was, "applied"),
            ] {
                let before = self.reloads(outcome).await?;
                local::replace_edge_config(&self.target.dir, text)?;
                local::kill(&self.target.dir, "edge", "HUP").await?;
                let limit = Instant::now() + ROTATION;
                while self.reloads(outcome).await? <= before {
                    ensure!(
                        Instant::now() < limit,
                        "{ROTATION:?} after SIGHUP no configuration was {outcome}"
                    );
                    sleep(Duration::from_millis(20)).await;
                }
            }
            sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// How often a configuration was read again with this outcome.
    async fn reloads(&self, outcome: &str) -> anyhow::Result<f64> {
        let series = format!("frontdoor_edge_config_reloads_total{{outcome=\"{outcome}\"}}");
        let sum = self.target.sum(&series).await;
        sum.context("the edge shows no metrics")
    }

    async fn command(&self, command: &str) -> anyhow::Result<()> {
        let mut child = Command::new("sh")
            .args(["-c", command])
            .env("FRONTDOOR_DRILL", self.drill.as_str())
            .env("FRONTDOOR_REGION", self.region.as_str())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("there is no sh")?;
        let status = timeout(COMMAND, child.wait())
            .await
            .with_context(|| format!("`{command}` has not ended within {COMMAND:?}"))??;
        ensure!(status.success(), "`{command}` ended with {status}");
        Ok(())
    }
}
