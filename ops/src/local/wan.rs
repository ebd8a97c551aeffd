//! The WAN between edge, hub and regions: two TCP delay lines per region (calls, and the leaf node's link to the hub),
//! because netem needs rights that a laptop or a container may not give.
//!
//! Runs as a process of its own (`frontdoor local-wan -c FILE`). Delays are one way and are changed at run time over
//! its admin port (`PUT /wan {"us-east": 40}`), as are the faults that drills ask for (`PUT /faults`). It never looks
//! into what it carries.

mod clock;
mod faults;
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
use line::Weather;

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
    /// Where the region's NATS finds the hub.
    pub(super) leaf: SocketAddr,
    /// The hub's own port for leaf nodes.
    pub(super) hub: SocketAddr,
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

/// All lines, in the order of the regions.
#[derive(Debug, Clone)]
struct Lines {
    /// For calls: the edge's way to a region.
    fronts: Vec<Front>,
    /// For news: a region's way to the hub.
    leaves: Vec<Front>,
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
    let (mut fronts, mut leaves) = (vec![], vec![]);
    for r in file.regions {
        let delay = r.delay.0.min(MAX_DELAY);
        let front = |listen, target| {
            let weather = Weather::new(delay);
            Front::new(r.name.clone(), listen, target, weather, clock.clone())
        };
        fronts.push(front(r.listen, r.target));
        leaves.push(front(r.leaf, r.hub));
    }
    let lines = Lines { fronts, leaves };
    let routes = admin::routes()
        .route("/wan", get(show).put(change))
        .route("/faults", get(faults::show).put(faults::change))
        .with_state(lines.clone());

    let stop = shutdown.child_token();
    let mut running = JoinSet::new();
    for front in lines.fronts.into_iter().chain(lines.leaves) {
        running.spawn(front.run(stop.clone()));
    }
    let served = admin::serve(file.admin, routes, shutdown).await;
    stop.cancel();
    running.join_all().await;
    served
}

async fn show(State(lines): State<Lines>) -> Json<BTreeMap<RegionName, Shown>> {
    let shown = |front: &Front| Shown {
        delay: Span(front.weather.delay()),
        open: front.open(),
        connections: front.lines(),
    };
    Json(
        lines
            .fronts
            .iter()
            .map(|front| (front.name.clone(), shown(front)))
            .collect(),
    )
}

/// Changes the delays given, or none of them if one is not right.
async fn change(
    State(lines): State<Lines>,
    Json(given): Json<BTreeMap<RegionName, Given>>,
) -> Response {
    let mut changes = vec![];
    for (name, given) in given {
        let Some(both) = lines.of(&name) else {
            return unknown(&name);
        };
        match given.delay() {
            Some(delay) => changes.push((both, delay)),
            None => {
                let text = format!(
                    "the delay of `{name}` must be from 0 to {} s\n",
                    MAX_DELAY.as_secs()
                );
                return (StatusCode::BAD_REQUEST, text).into_response();
            }
        }
    }
    for ((front, leaf), delay) in changes {
        tracing::info!(region = %front.name, delay = %Span(delay), "delay changes");
        front.weather.set_delay(delay);
        leaf.weather.set_delay(delay);
    }
    show(State(lines.clone())).await.into_response()
}

fn unknown(name: &RegionName) -> Response {
    let text = format!("there is no region `{name}`\n");
    (StatusCode::NOT_FOUND, text).into_response()
}

// === impl Lines ===

impl Lines {
    /// The front and the leaf's line of a region.
    fn of(&self, name: &RegionName) -> Option<(&Front, &Front)> {
        let both = self.fronts.iter().zip(&self.leaves);
        both.into_iter().find(|(front, _)| front.name == *name)
    }
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
