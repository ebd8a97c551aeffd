//! `/explain/{id}` and `/decisions`: why calls went where they went.
//!
//! Reads the diary, changes nothing. A decision whose inputs were kept is made again here, and the answer says whether
//! it came out the same.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use frontdoor_protocol::names::RequestId;
use frontdoor_protocol::problem::{self, Problem};
use serde::{Deserialize, Serialize};

use super::Admin;
use crate::explain::{Call, Diary, Kept};
use crate::route::{Line, Trace};

/// A call, and what each of its decisions saw.
#[derive(Debug, Serialize)]
struct Explained<'a> {
    call: &'a Call,
    /// One for each decision; null where the inputs were not kept.
    tables: Vec<Option<Table>>,
}

/// The table that a decision saw.
#[derive(Debug, Serialize)]
struct Table {
    /// The same inputs gave the same decision again.
    agrees: bool,
    /// The regions, nearest first.
    regions: Vec<Line>,
}

/// A call in a list.
#[derive(Debug, Serialize)]
pub(super) struct Brief {
    id: RequestId,
    at_ms: u64,
    function: Option<String>,
    kept: Kept,
    outcome: String,
    status: u16,
    total_ms: f64,
    /// The regions that it was sent to, in this order.
    regions: Vec<String>,
    /// Why the last one.
    reason: &'static str,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Count {
    last: Option<usize>,
}

/// What a list shows unless told.
const USUAL: usize = 50;
/// What it shows at most.
const MOST: usize = 1000;

pub(super) async fn explain(State(admin): State<Admin>, Path(id): Path<String>) -> Response {
    let Ok(id) = id.parse::<RequestId>() else {
        let detail = "an id looks like 01234567-89ab-8def-8123-456789abcdef: it is what nvcf-reqid says in the answer";
        return refused(StatusCode::BAD_REQUEST, detail.to_owned());
    };
    match admin.diary.find(id) {
        Some(call) => Json(explained(&call)).into_response(),
        None => refused(StatusCode::NOT_FOUND, unknown(id, &admin.diary)),
    }
}

pub(super) async fn decisions(State(admin): State<Admin>, Query(count): Query<Count>) -> Response {
    let count = count.last.unwrap_or(USUAL).min(MOST);
    let calls = briefs(&admin.diary.last(count));
    Json(serde_json::json!({ "decisions": calls })).into_response()
}

/// Calls in a list.
pub(super) fn briefs(calls: &[Arc<Call>]) -> Vec<Brief> {
    let brief = |call: &Arc<Call>| {
        let taken = call.decisions.iter().filter(|choice| choice.taken);
        Brief {
            id: call.id,
            at_ms: call.at_ms,
            function: call.function.map(|function| function.to_string()),
            kept: call.kept,
            outcome: call.outcome.clone().into_owned(),
            status: call.status,
            total_ms: call.total_ms,
            regions: taken.filter_map(|choice| choice.region.clone()).collect(),
            reason: call.decisions.last().map_or("", |choice| choice.reason()),
        }
    };
    calls.iter().map(brief).collect()
}

fn explained(call: &Call) -> Explained<'_> {
    let table = |(agrees, inputs): (bool, &Trace)| Table {
        agrees,
        regions: inputs.explain().lines,
    };
    let tables = call.decisions.iter().map(|choice| {
        let agrees = choice.agrees()?;
        Some(table((agrees, choice.inputs.as_ref()?)))
    });
    Explained {
        call,
        tables: tables.collect(),
    }
}

/// Why nothing may be known of a call, and what to do.
fn unknown(id: RequestId, diary: &Diary) -> String {
    let settings = diary.settings();
    let chance = if settings.share < 1.0 {
        format!(
            " Or it went well and is not among the {}% of such calls that are kept: [explain] share = 1.0 keeps all from \
             then on.",
            settings.share * 100.0
        )
    } else {
        String::new()
    };
    format!(
        "this edge keeps nothing of {id}. Another edge may have had the call: ask each.{chance} Or it is older than the last \
         {} that are kept ([explain] kept), or from before this edge's start. Its access line in the log has region, \
         reason and epoch",
        settings.kept
    )
}

fn refused(status: StatusCode, detail: String) -> Response {
    let title = status.canonical_reason().unwrap_or("Refused");
    let problem = Problem::new("not-explained", title, status, detail);
    (
        status,
        [(header::CONTENT_TYPE, problem::CONTENT_TYPE)],
        problem.to_json(),
    )
        .into_response()
}
