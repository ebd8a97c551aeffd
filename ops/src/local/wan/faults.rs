//! Faults on the lines, as drills ask for them: resets on the way of calls, silence on the way of news.
//!
//! A fault lasts until it is taken back or the delay lines are started again; unlike a delay it is written down nowhere.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use frontdoor_protocol::names::RegionName;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::{Lines, unknown};

/// What is wrong with a region's lines. What is not said is well.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Faults {
    /// Share of what is said towards the region that ends in a reset of its connection, 0 to 1.
    #[serde(default)]
    reset: f64,
    /// Nothing gets through on the way of calls, and nothing tells of it.
    #[serde(default)]
    silent: bool,
    /// The same between the region's NATS and the hub.
    #[serde(default)]
    leaf_silent: bool,
}

pub(super) async fn show(State(lines): State<Lines>) -> Json<BTreeMap<RegionName, Faults>> {
    let both = lines.fronts.iter().zip(&lines.leaves);
    Json(
        both.map(|(front, leaf)| {
            let faults = Faults {
                reset: f64::from(front.weather.reset()) / 1e6,
                silent: front.weather.silent(),
                leaf_silent: leaf.weather.silent(),
            };
            (front.name.clone(), faults)
        })
        .collect(),
    )
}

/// Sets the faults of the regions given, or of none if one is not right.
pub(super) async fn change(
    State(lines): State<Lines>,
    Json(given): Json<BTreeMap<RegionName, Faults>>,
) -> Response {
    let mut changes = vec![];
    for (name, faults) in given {
        let Some(both) = lines.of(&name) else {
            return unknown(&name);
        };
        let Some(reset) = faults.millionths() else {
            let text = format!("`reset` of `{name}` is a share: 0 to 1\n");
            return (StatusCode::BAD_REQUEST, text).into_response();
        };
        changes.push((both, faults, reset));
    }
    for ((front, leaf), faults, reset) in changes {
        tracing::info!(region = %front.name, ?faults, "faults change");
        front.weather.set_reset(reset);
        front.weather.set_silent(faults.silent);
        leaf.weather.set_silent(faults.leaf_silent);
    }
    show(State(lines.clone())).await.into_response()
}

// === impl Faults ===

impl Faults {
    fn millionths(self) -> Option<u32> {
        // In range, so nothing is cut off or changes its sign.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let millionths = (self.reset * 1e6).round() as u32;
        (0.0..=1.0).contains(&self.reset).then_some(millionths)
    }
}
