//! The WAN between edge and regions: a TCP delay line per region, because netem needs rights that a laptop or a
//! container may not give.
//!
//! Runs as a process of its own (`frontdoor local-wan -c FILE`). Delays are one way and are changed at run time over
//! its admin port (`PUT /wan {"us-east": 40}`). It never looks into what it carries.

mod clock;
mod front;
mod line;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use frontdoor_protocol::names::RegionName;
use frontdoor_protocol::span::Span;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::admin;
use clock::Clock;
use front::Front;

/// Longest delay taken; beyond it every timeout on the way would fire, and a mistyped number is likelier.
pub(super) const MAX_DELAY: Duration = Duration::from_secs(10);

/// The configuration file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) admin: SocketAddr,
    pub(super) regions: Vec<Region>,
}

/// One region's line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Region {
    pub(super) name: RegionName,
    /// The front.
    pub(super) listen: SocketAddr,
    /// The region's own host.
    pub(super) target: SocketAddr,
    /// One way.
    pub(super) delay: Span,
}

/// A line as its admin port shows it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Shown {
    pub(super) delay: Span,
    /// Whether the front accepts connections.
    pub(super) open: bool,
    pub(super) connections: usize,
}

/// A delay as people send it: milliseconds as a number, or text with a unit.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Given {
    Milliseconds(f64),
    Text(Span),
}

/// Runs the delay lines until `shutdown`.
///
/// # Errors
/// If the configuration is wrong or the admin port cannot be opened.
pub(super) async fn run(config: &Path, shutdown: CancellationToken) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(config)
        .with_context(|| format!("{} cannot be read", config.display()))?;
    let file: File =
        toml::from_str(&text).with_context(|| format!("{} is not right", config.display()))?;
    let clock = Clock::start().context("the clock cannot be started")?;
    let fronts: Vec<Front> = file
        .regions
        .into_iter()
        .map(|r| {
            Front::new(
                r.name,
                r.listen,
                r.target,
                r.delay.0.min(MAX_DELAY),
                clock.clone(),
            )
        })
        .collect();
    let routes = admin::routes()
        .route("/wan", get(show).put(change))
        .with_state(fronts.clone());

    let stop = shutdown.child_token();
    let mut running = JoinSet::new();
    for front in fronts {
        running.spawn(front.run(stop.clone()));
    }
    let served = admin::serve(file.admin, routes, shutdown).await;
    stop.cancel();
    running.join_all().await;
    served
}

async fn show(State(fronts): State<Vec<Front>>) -> Json<BTreeMap<RegionName, Shown>> {
    Json(
        fronts
            .iter()
            .map(|f| {
                (
                    f.name.clone(),
                    Shown {
                        delay: Span(f.delay.get()),
                        open: f.open(),
                        connections: f.lines(),
                    },
                )
            })
            .collect(),
    )
}

/// Changes the delays given, or none of them if one is not right.
async fn change(
    State(fronts): State<Vec<Front>>,
    Json(given): Json<BTreeMap<RegionName, Given>>,
) -> Response {
    let mut changes = vec![];
    for (name, given) in given {
        let Some(front) = fronts.iter().find(|f| f.name == name) else {
            return (
                StatusCode::NOT_FOUND,
                format!("there is no region `{name}`\n"),
            )
                .into_response();
        };
        match given.delay() {
            Some(delay) => changes.push((front, delay)),
            None => {
                let text = format!(
                    "the delay of `{name}` must be from 0 to {} s\n",
                    MAX_DELAY.as_secs()
                );
                return (StatusCode::BAD_REQUEST, text).into_response();
            }
        }
    }
    for (front, delay) in changes {
        tracing::info!(region = %front.name, delay = %Span(delay), "delay changes");
        front.delay.set(delay);
    }
    show(State(fronts.clone())).await.into_response()
}

// === impl Given ===

impl Given {
    fn delay(self) -> Option<Duration> {
        let delay = match self {
            Self::Milliseconds(ms) => Duration::try_from_secs_f64(ms / 1000.0).ok()?,
            Self::Text(span) => span.0,
        };
        (delay <= MAX_DELAY).then_some(delay)
    }
}

#[cfg(test)]
mod tests;
