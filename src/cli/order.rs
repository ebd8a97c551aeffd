//! `frontdoor edge drain|undrain|weight REGION`: an operator's order, given to one edge, which shares it with the others.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use frontdoor_ops::local::http;
use frontdoor_protocol::names::RegionName;

#[derive(Debug, Subcommand)]
pub(super) enum Order {
    /// Send no new calls to a region; what runs there finishes. Refused if the others have not enough room.
    Drain {
        /// The region, as the edge's configuration names it.
        region: RegionName,
        /// Do it although the edge says that the others have not enough room.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        edge: Edge,
    },
    /// Send calls to a region again, along a ramp.
    Undrain {
        /// The region, as the edge's configuration names it.
        region: RegionName,
        #[command(flatten)]
        edge: Edge,
    },
    /// Give a region another share among those that are about as near: 1 is the ordinary one, 0 none.
    Weight {
        /// The region, as the edge's configuration names it.
        region: RegionName,
        /// From 0 to 1000.
        #[arg(allow_negative_numbers = true)]
        weight: f64,
        #[command(flatten)]
        edge: Edge,
    },
}

/// Which edge is told; any of them will do.
#[derive(Debug, Args)]
pub(super) struct Edge {
    /// Its admin port.
    #[arg(long, value_name = "URL", default_value = "http://localhost:9901")]
    admin: String,
    /// The file that holds its admin token: `[admin] token_file` of its configuration.
    #[arg(long, value_name = "FILE", default_value = ".local/admin_token")]
    token_file: PathBuf,
    /// Who gives the order, for the edge's log.
    #[arg(long, value_name = "NAME", default_value = "operator")]
    by: String,
}

/// For an order, with its way to the other edges.
const LIMIT: Duration = Duration::from_secs(10);

pub(super) fn run(order: &Order) -> anyhow::Result<ExitCode> {
    let (method, region, verb, force, body, edge) = match order {
        Order::Drain {
            region,
            force,
            edge,
        } => ("POST", region, "drain", *force, None, edge),
        Order::Undrain { region, edge } => ("POST", region, "undrain", false, None, edge),
        Order::Weight {
            region,
            weight,
            edge,
        } => {
            let body = serde_json::json!({ "weight": weight });
            ("PUT", region, "weight", false, Some(body), edge)
        }
    };
    let token = std::fs::read_to_string(&edge.token_file).with_context(|| {
        format!(
            "the admin token cannot be read from {}; name its file by --token-file",
            edge.token_file.display()
        )
    })?;
    let by: String = edge
        .by
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "-_.@".contains(*c))
        .collect();
    let url = format!(
        "{}/regions/{region}/{verb}?force={force}&by={by}",
        edge.admin.trim_end_matches('/')
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (status, answer) = runtime.block_on(http::send_within(
        LIMIT,
        method,
        &url,
        Some(token.trim()),
        body.as_ref(),
    ))?;
    let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap_or_default();
    if !status.is_success() {
        bail!(
            "{}",
            answer["detail"].as_str().unwrap_or("the edge refuses")
        );
    }
    let drained = answer["drain"].as_bool() == Some(true);
    let weight = answer["weight"].as_f64();
    let held = if drained { "drains" } else { "takes calls" };
    let weight = weight.map_or(String::new(), |w| format!(", weight {w}"));
    // The edge knows how far it got, and says so.
    let reach = answer["detail"]
        .as_str()
        .unwrap_or("the edge's log says whether the other edges know it");
    println!("{region} {held}{weight}; {reach}");
    Ok(ExitCode::SUCCESS)
}
