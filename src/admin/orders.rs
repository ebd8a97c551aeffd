//! Orders over the admin port: drain, undrain, weight.
//!
//! Whoever changes anything shows the admin token; without one configured, nothing can be changed. The guard of
//! `orders/guard.rs` may refuse a drain, and `force` overrules it. Every order is logged with who gave it, and so is a
//! drain that is refused.

use std::fmt;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use frontdoor_protocol::problem::{self, Problem};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::Admin;
use crate::orders::{self, Author, Change, Reach, Standing};
use crate::region::{Health, Row};
use crate::table::{RegionView, Snapshot};

/// The admin token's SHA-256; the token itself is not kept.
#[derive(Clone)]
pub struct Token([u8; 32]);

/// What may follow the path of an order.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// Do it although the guard says no.
    #[serde(default)]
    force: bool,
    /// Who asks, for the audit line.
    by: Option<String>,
}

/// The body of a weight order.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WeightBody {
    weight: f64,
}

/// Names of people and tools in the audit line are cut here.
const BY: usize = 64;

// === impl Options ===

impl Options {
    fn by(&self) -> Author {
        let name = self.by.as_deref().unwrap_or("admin");
        let name = name.chars().filter(|c| !c.is_control()).take(BY).collect();
        let forced = self.force;
        Author { name, forced }
    }
}

// === impl Token ===

impl Token {
    /// Takes the token in.
    #[must_use]
    pub fn new(token: &str) -> Self {
        Self(digest(token.trim().as_bytes()))
    }

    /// In time that does not depend on where a wrong token differs.
    fn is(&self, shown: &[u8]) -> bool {
        self.0.ct_eq(&digest(shown)).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

pub(super) async fn drain(
    State(admin): State<Admin>,
    Path(region): Path<String>,
    Query(options): Query<Options>,
    headers: HeaderMap,
) -> Response {
    order(&admin, &region, Change::Drain, &options, &headers).await
}

pub(super) async fn undrain(
    State(admin): State<Admin>,
    Path(region): Path<String>,
    Query(options): Query<Options>,
    headers: HeaderMap,
) -> Response {
    order(&admin, &region, Change::Undrain, &options, &headers).await
}

pub(super) async fn weight(
    State(admin): State<Admin>,
    Path(region): Path<String>,
    Query(options): Query<Options>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match serde_json::from_slice::<WeightBody>(&body) {
        Ok(WeightBody { weight }) if (0.0..=orders::MAX_WEIGHT).contains(&weight) => {
            order(&admin, &region, Change::Weight(weight), &options, &headers).await
        }
        Ok(_) => refused(
            StatusCode::BAD_REQUEST,
            format!("weight must be from 0 to {}", orders::MAX_WEIGHT),
        ),
        Err(error) => refused(
            StatusCode::BAD_REQUEST,
            format!("the body must be like {{\"weight\": 0.5}}: {error}"),
        ),
    }
}

async fn order(
    admin: &Admin,
    region: &str,
    change: Change,
    options: &Options,
    headers: &HeaderMap,
) -> Response {
    if let Some(answer) = unauthorised(admin, headers) {
        return answer;
    }
    let regions = standings(&admin.snapshots.load());
    let Some(region) = regions
        .iter()
        .map(|r| &r.name)
        .find(|name| name.as_str() == region)
    else {
        let known: Vec<&str> = regions.iter().map(|r| r.name.as_str()).collect();
        let known = known.join(", ");
        return refused(
            StatusCode::NOT_FOUND,
            format!("there is no region `{region}`; there are {known}"),
        );
    };
    let by = options.by();
    if change == Change::Drain
        && !by.forced
        && let Err(refusal) = orders::may_drain(&regions, region)
    {
        tracing::info!(%region, by = by.name, %refusal, "an operator's drain is refused");
        return refused(
            StatusCode::CONFLICT,
            format!("{region} is not drained: {refusal}. Add force to do it all the same"),
        );
    }
    match admin.orders.ask(region.clone(), change, by).await {
        Some(done) => Json(serde_json::json!({
            "region": region,
            "drain": done.wish.drain,
            "weight": done.wish.weight,
            "shared": done.reach == Reach::AllEdges,
            "reach": done.reach.as_str(),
            "detail": done.reach.words(),
        }))
        .into_response(),
        None => refused(
            StatusCode::SERVICE_UNAVAILABLE,
            "the edge did not take the order in time; ask again".to_owned(),
        ),
    }
}

/// The refusal, unless the admin token is shown.
fn unauthorised(admin: &Admin, headers: &HeaderMap) -> Option<Response> {
    let Some(token) = &admin.token else {
        return Some(refused(
            StatusCode::FORBIDDEN,
            "this edge takes no orders: set [admin] token_file in its configuration".to_owned(),
        ));
    };
    let shown = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    if shown.is_some_and(|shown| token.is(shown)) {
        return None;
    }
    tracing::warn!("an order without the admin token is refused");
    let mut answer = refused(
        StatusCode::UNAUTHORIZED,
        "orders need Authorization: Bearer <admin token>".to_owned(),
    );
    let challenge = header::HeaderValue::from_static("Bearer");
    answer
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, challenge);
    Some(answer)
}

fn standings(snapshot: &Snapshot) -> Vec<Standing> {
    let all = 0..snapshot.regions.len();
    all.map(|index| standing(snapshot, index)).collect()
}

fn standing(snapshot: &Snapshot, index: usize) -> Standing {
    let view = &snapshot.regions[index];
    let functions = || snapshot.catalog.functions();
    let others = || {
        let all = snapshot.regions.iter().enumerate();
        all.filter(|&(other, view)| other != index && serves(view))
    };
    let elsewhere = |row| others().any(|(_, view)| view.trust.is_none() || works(view, row));
    let free = |row| view.facts.get(row).map_or(0, |(fact, _)| fact.free);
    Standing {
        name: view.name.clone(),
        serves: serves(view),
        running: view.heard.map_or(0, |heard| heard.running),
        free: view
            .trust
            .map(|_| functions().map(|(_, row)| u64::from(free(row))).sum()),
        alone: functions()
            .filter(|&(_, row)| works(view, row) && !elsewhere(row))
            .count(),
    }
}

fn serves(view: &RegionView) -> bool {
    view.health >= Health::Ramp && !view.draining
}

/// Whether a function has live workers in a region.
fn works(view: &RegionView, row: Row) -> bool {
    view.facts
        .get(row)
        .is_some_and(|(fact, _)| fact.workers > 0)
}

fn refused(status: StatusCode, detail: String) -> Response {
    let title = status.canonical_reason().unwrap_or("Refused");
    let problem = Problem::new("order-refused", title, status, detail);
    (
        status,
        [(header::CONTENT_TYPE, problem::CONTENT_TYPE)],
        problem.to_json(),
    )
        .into_response()
}
