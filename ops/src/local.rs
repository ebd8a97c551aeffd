//! The local stack: a NATS hub, DNS, WAN delay lines, an edge, and per region a NATS leaf, an invocation service, a
//! worker and a sample function, each a process of its own.
//!
//! One supervisor process holds a stack ([`up`]); every other command ([`status`], [`kill`], …) reaches it through the
//! state folder. The two parts that exist only for the stack, [`dns`] and [`delay_line`], run as processes as well.
//! [`up`] must be called on a thread that lives as long as the stack, such as a current-thread runtime's: the kernel
//! ends the parts when the thread that started them ends.

// In dependency order, each may use those before it. The blank lines keep rustfmt from sorting them.

mod plan;

mod parts;

mod block;

mod process;

pub mod http;

mod admin;

mod nats;

mod dns;

mod wan;

mod files;

mod tuning;

pub(crate) mod certificates;

mod folder;

mod specs;

mod endpoints;

mod view;

mod status;

mod supervisor;

mod control;

mod show;

mod detach;

mod up;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use frontdoor_protocol::names::{FunctionId, RegionName};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use certificates::Certificates;
use control::Client;
use folder::Folder;
use show::say;

pub use tuning::Tuning;

/// What a stack is to be.
#[derive(Debug, Clone)]
pub struct UpOptions {
    /// The state folder; made if it is not there.
    pub dir: PathBuf,
    /// The regions, in the order they are shown.
    pub regions: Vec<RegionName>,
    /// One-way delays between the edge and regions; a region not named has none.
    pub wan: Vec<(RegionName, Duration)>,
    /// The edge's HTTPS port; 0 for any, as for the other two.
    pub https_port: u16,
    /// The edge's HTTP port.
    pub http_port: u16,
    /// The edge's admin port.
    pub admin_port: u16,
    /// Return when the stack is ready, and leave it running.
    pub detach: bool,
    /// The `frontdoor` program that the parts are run with.
    pub binary: PathBuf,
    /// The NATS server; looked for if not given.
    pub nats_server: Option<PathBuf>,
    /// Settings laid over those that the stack writes for its parts.
    pub set: Vec<Tuning>,
    /// How the parts' log lines look.
    pub log: LogFormat,
    /// Print nothing but errors.
    pub quiet: bool,
    /// Stop when standard input is closed, as it is when whoever started this process ends.
    pub stop_on_stdin_eof: bool,
}

/// How log lines look: what `--log` of the `frontdoor` program takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// For machines.
    Json,
}

/// Starts a stack and holds it until `shutdown`, `local down` or a closed stdin; detached, only until it is ready.
///
/// # Errors
/// If the folder is in use, something needed is missing, or a part does not become ready; whatever was started is
/// stopped again.
pub async fn up(options: UpOptions, shutdown: CancellationToken) -> anyhow::Result<()> {
    if options.detach {
        detach::up(options, shutdown).await
    } else {
        up::run(options, shutdown).await
    }
}

/// Stops the stack of a folder and returns when all of it is gone.
///
/// # Errors
/// If the stack does not stop.
pub async fn down(dir: &Path) -> anyhow::Result<()> {
    let folder = Folder::new(dir)?;
    if !folder.in_use()? {
        say(&format!("no stack is running in {}", dir.display()));
        return Ok(());
    }
    Client::open(&folder)?.down().await
}

/// Prints the state of a stack.
///
/// # Errors
/// If no stack is running in the folder.
pub async fn status(dir: &Path, json: bool) -> anyhow::Result<()> {
    let folder = Folder::new(dir)?;
    let view = Client::open(&folder)?.status().await?;
    if json {
        say(&serde_json::to_string_pretty(&view)?);
    } else {
        let seen = show::seen(&folder, &mut BTreeMap::new()).await;
        say(status::table(&view, &seen).trim_end());
    }
    Ok(())
}

/// Sends a signal to a part (`us-east/worker`, `hub`) or to every process of a region (`us-east`) at once.
///
/// # Errors
/// If the target or the signal is unknown, or nothing of the target is running.
pub async fn kill(dir: &Path, target: &str, signal: &str) -> anyhow::Result<()> {
    Client::open(&Folder::new(dir)?)?.kill(target, signal).await
}

/// Starts what is not running of a target, and returns when all of it is ready.
///
/// # Errors
/// If the target is unknown or does not become ready.
pub async fn start(dir: &Path, target: &str) -> anyhow::Result<()> {
    Client::open(&Folder::new(dir)?)?.start(target).await
}

/// Replaces the edge by a new process at the same ports, and returns when the new one serves. The old one finishes its calls.
///
/// # Errors
/// If the new one does not become ready; the old one goes on.
pub async fn upgrade(dir: &Path) -> anyhow::Result<()> {
    Client::open(&Folder::new(dir)?)?.upgrade().await
}

/// Certificates such as `up` makes, to be put in place of those that a running stack has.
pub(crate) fn certificates(function: FunctionId) -> anyhow::Result<Certificates> {
    let names = files::certificate_names(function);
    Ok(certificates::make(names, OffsetDateTime::now_utc())?)
}

/// Replaces the edge's certificate and key. The old authority stays trusted: connections of before are still open.
pub(crate) fn replace_certificates(dir: &Path, new: &Certificates) -> anyhow::Result<()> {
    let folder = Folder::new(dir)?;
    let old = std::fs::read_to_string(folder.path(folder::CA))?;
    folder.write(folder::CA, &format!("{old}{}", new.ca))?;
    folder.write_secret("edge.key", &new.key)?;
    folder.write("edge.pem", &new.chain)
}

/// Replaces the edge's configuration.
pub(crate) fn replace_edge_config(dir: &Path, text: &str) -> anyhow::Result<()> {
    Folder::new(dir)?.write("edge.toml", text)
}

/// Changes WAN delays of a running stack.
///
/// # Errors
/// If a region is unknown or a delay out of range.
pub async fn wan(dir: &Path, changes: &[(RegionName, Duration)]) -> anyhow::Result<()> {
    Client::open(&Folder::new(dir)?)?.wan(changes).await
}

/// Runs the stack's DNS server from its configuration file.
///
/// # Errors
/// If the configuration is wrong or a port cannot be opened.
pub async fn dns(config: &Path, shutdown: CancellationToken) -> anyhow::Result<()> {
    dns::run(config, shutdown).await
}

/// Runs the stack's WAN delay lines from their configuration file.
///
/// # Errors
/// If the configuration is wrong or the admin port cannot be opened.
pub async fn delay_line(config: &Path, shutdown: CancellationToken) -> anyhow::Result<()> {
    wan::run(config, shutdown).await
}

// === impl LogFormat ===

impl LogFormat {
    /// Its name on a command line.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Pretty => "pretty",
            Self::Json => "json",
        }
    }
}
