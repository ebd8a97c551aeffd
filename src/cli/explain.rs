//! `frontdoor explain REQID`: why a call went where it went, from what the edge kept of it, decided again here.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use frontdoor::explain::{Call, Choice};
use frontdoor::route::Reason;
use frontdoor_ops::local::http;
use frontdoor_protocol::names::{RegionName, RequestId};
use serde::Deserialize;

#[derive(Debug, Args)]
pub(super) struct Explain {
    /// The call: what `nvcf-reqid` said in its answer.
    #[arg(value_name = "REQID")]
    id: RequestId,
    /// The admin port of the edge that had the call.
    #[arg(long, value_name = "URL", default_value = "http://localhost:9901")]
    admin: String,
    /// Print what the edge kept, as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Deserialize)]
struct Answer {
    call: Call,
}

const LIMIT: Duration = Duration::from_secs(5);

pub(super) fn run(explain: &Explain) -> anyhow::Result<ExitCode> {
    let url = format!(
        "{}/explain/{}",
        explain.admin.trim_end_matches('/'),
        explain.id
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (status, body) = runtime.block_on(http::send_within(LIMIT, "GET", &url, None, None))?;
    if !status.is_success() {
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        bail!(
            "{}",
            problem["detail"]
                .as_str()
                .unwrap_or("the edge does not explain it")
        );
    }
    if explain.json {
        println!("{}", String::from_utf8_lossy(&body));
        return Ok(ExitCode::SUCCESS);
    }
    let Answer { call } = serde_json::from_slice(&body)
        .context("the edge is of another version than this program")?;
    Ok(show(&call))
}

/// Prints the call; fails if a decision does not come out the same again.
fn show(call: &Call) -> ExitCode {
    println!("call      {}", call.id);
    if let Some(function) = call.function {
        let version = call
            .version
            .map_or_else(String::new, |v| format!(", version {v}"));
        println!("function  {function}{version}");
    }
    let status = match call.status {
        0 => "no status".to_owned(),
        status => format!("status {status}"),
    };
    let first = call
        .first_byte_ms
        .map_or_else(String::new, |ms| format!(", first byte after {ms:.1} ms"));
    println!(
        "end       {}, {status}{first}, {:.1} ms in all, attempts: {}",
        call.outcome, call.total_ms, call.attempts
    );
    if let Some(stop) = &call.stop {
        println!("no more   {stop}");
    }
    let mut agreed = true;
    for (number, choice) in (1..).zip(&call.decisions) {
        agreed &= decision(number, choice, call.id);
    }
    if agreed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn decision(number: usize, choice: &Choice, id: RequestId) -> bool {
    let because = choice.because.as_ref().map_or_else(String::new, |why| {
        format!(", because the attempt before was {why}")
    });
    let held = if choice.taken { "" } else { ", not taken" };
    println!(
        "\ndecision {number} after {:.1} ms{because}: {} ({}){held}",
        choice.after_ms,
        choice.region.as_deref().unwrap_or("no region"),
        choice.reason()
    );
    if let Some(decision) = &choice.decision {
        println!("to {}, epoch {}", decision.address, decision.epoch);
        if let Some(id) = named_there(choice, decision.reason, id) {
            println!("called {id} there");
        }
    }
    let Some(inputs) = &choice.inputs else {
        println!(
            "its inputs were not kept: the call was not one of the share that is ([explain] share)"
        );
        return true;
    };
    print!("{}", inputs.explain());
    let agrees = choice.agrees() == Some(true);
    if agrees {
        println!("decided again from the same inputs: the same");
    } else {
        println!(
            "decided again from the same inputs: ANOTHER decision; edge and this program are of different versions"
        );
    }
    agrees
}

/// What the region calls a call that really went there: its tag is in the id. Whoever holds an earlier answer is asked for it
/// by the id that it has.
fn named_there(choice: &Choice, reason: Reason, id: RequestId) -> Option<RequestId> {
    let region: RegionName = choice.region.as_ref()?.parse().ok()?;
    (choice.taken && reason != Reason::Holder && id.tag().is_some())
        .then(|| id.with_tag(region.tag()))
}
