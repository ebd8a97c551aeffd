//! `frontdoor local …`: the whole system on one machine.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use frontdoor::telemetry::Format;
use frontdoor_ops::local::{self, LogFormat, Tuning, UpOptions};
use frontdoor_protocol::names::RegionName;
use frontdoor_protocol::span::Span;

use super::service::until_signal;

#[derive(Debug, Subcommand)]
pub(super) enum Local {
    /// Start everything and show how it is doing; Ctrl-C stops it all.
    Up(Up),
    /// Stop what `up --detach` started.
    Down(Dir),
    /// Show every part: whether it lives, and if not, why.
    Status {
        #[command(flatten)]
        dir: Dir,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Signal a region, or one part of it: `us-east`, `us-east/worker`, `hub`, `dns`, `edge`.
    Kill {
        /// REGION, REGION/PART, or a part that no region owns.
        target: String,
        /// KILL, TERM, STOP, CONT, INT, …
        #[arg(long, default_value = "KILL")]
        signal: String,
        #[command(flatten)]
        dir: Dir,
    },
    /// Start again what was killed, on the same addresses.
    Start {
        /// REGION, REGION/PART, or a part that no region owns.
        target: String,
        #[command(flatten)]
        dir: Dir,
    },
    /// Replace the edge by a new process of this program, as an upgrade does: no call is refused or cut.
    Upgrade(Dir),
    /// Change the one-way delay between the edge and regions: `wan us-east=40ms eu-west=2ms`.
    Wan {
        /// REGION=DELAY, several by spaces or commas.
        #[arg(required = true, value_delimiter = ',', value_parser = delay)]
        delays: Vec<(RegionName, Duration)>,
        #[command(flatten)]
        dir: Dir,
    },
}

#[derive(Debug, Args)]
pub(super) struct Up {
    /// Names of the regions; as many as you like.
    #[arg(long, value_delimiter = ',', default_value = "us-east,eu-west")]
    regions: Vec<RegionName>,
    /// One-way delays between the edge and regions.
    #[arg(long, value_delimiter = ',', value_name = "REGION=DELAY", value_parser = delay, default_value = "us-east=2ms,eu-west=40ms")]
    wan: Vec<(RegionName, Duration)>,
    /// Port for callers, TLS; 0 takes any free one.
    #[arg(long, default_value_t = 8443)]
    https_port: u16,
    /// Port for callers, without TLS; 0 takes any free one.
    #[arg(long, default_value_t = 8080)]
    http_port: u16,
    /// Port of the edge's own pages; 0 takes any free one.
    #[arg(long, default_value_t = 9901)]
    admin_port: u16,
    /// Return when everything is ready; `local down` stops it.
    #[arg(long)]
    detach: bool,
    /// The nats-server to use; otherwise `.tools/bin/nats-server`, then the one on PATH. 2.11 or newer.
    #[arg(long, value_name = "FILE")]
    nats_server: Option<PathBuf>,
    /// A setting of a part instead of the stack's own: `us-east/worker:slots=4`, `edge:limits.calls=100`.
    #[arg(long, value_name = "PART:KEY=VALUE")]
    set: Vec<Tuning>,
    /// Say only what goes wrong.
    #[arg(long)]
    quiet: bool,
    /// Stop when standard input closes, so that a program that started this cannot leave it behind.
    #[arg(long)]
    stop_on_stdin_eof: bool,
    #[command(flatten)]
    dir: Dir,
}

#[derive(Debug, Args)]
pub(super) struct Dir {
    /// Where the stack keeps its files.
    #[arg(long, value_name = "FOLDER", default_value = ".local")]
    dir: PathBuf,
}

pub(super) fn run(command: Local, log: Format) -> anyhow::Result<ExitCode> {
    match command {
        Local::Up(up) => {
            let options = options(up, log)?;
            until_signal(one_thread()?, |stop| local::up(options, stop))
        }
        Local::Down(dir) => once(local::down(&dir.dir)),
        Local::Status { dir, json } => once(local::status(&dir.dir, json)),
        Local::Kill {
            target,
            signal,
            dir,
        } => once(local::kill(&dir.dir, &target, &signal)),
        Local::Start { target, dir } => once(local::start(&dir.dir, &target)),
        Local::Upgrade(dir) => once(local::upgrade(&dir.dir)),
        Local::Wan { delays, dir } => once(local::wan(&dir.dir, &delays)),
    }
}

pub(super) fn dns(config: &Path) -> anyhow::Result<ExitCode> {
    until_signal(one_thread()?, |stop| local::dns(config, stop))
}

pub(super) fn wan(config: &Path) -> anyhow::Result<ExitCode> {
    until_signal(one_thread()?, |stop| local::delay_line(config, stop))
}

/// What a stack is to be; `log` is how its parts' log lines look, as this process's own do.
fn options(up: Up, log: Format) -> anyhow::Result<UpOptions> {
    // The default delays name the default regions; with other regions they say nothing.
    let wan = up
        .wan
        .into_iter()
        .filter(|(region, _)| up.regions.contains(region))
        .collect();
    Ok(UpOptions {
        dir: up.dir.dir,
        regions: up.regions,
        wan,
        https_port: up.https_port,
        http_port: up.http_port,
        admin_port: up.admin_port,
        detach: up.detach,
        binary: std::env::current_exe().context("cannot tell where this program is")?,
        nats_server: up.nats_server,
        set: up.set,
        log: match log {
            Format::Pretty => LogFormat::Pretty,
            Format::Json => LogFormat::Json,
        },
        quiet: up.quiet,
        stop_on_stdin_eof: up.stop_on_stdin_eof,
    })
}

fn once(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<ExitCode> {
    one_thread()?.block_on(work).map(|()| ExitCode::SUCCESS)
}

/// The supervisor's children die with the thread that started them, so there must be only one, the main thread.
fn one_thread() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime")
}

fn delay(text: &str) -> Result<(RegionName, Duration), String> {
    let (region, delay) = text
        .split_once('=')
        .ok_or("write REGION=DELAY, such as us-east=2ms")?;
    let region = region.trim().parse().map_err(|e| format!("{e}"))?;
    let span: Span = serde_json::from_value(serde_json::Value::String(delay.trim().to_owned()))
        .map_err(|e| e.to_string())?;
    Ok((region, span.0))
}
