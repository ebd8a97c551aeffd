//! `up --detach`: the same supervisor in a process of its own, left running when it is ready.

use std::fs::OpenOptions;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::control::Client;
use super::folder::{ENDPOINTS, Folder};
use super::show::say;
use super::view::Phase;
use super::{UpOptions, process, status};

/// Pause between two looks at a stack that is starting.
const PAUSE: Duration = Duration::from_millis(20);
/// Lines of the supervisor's log that a failure shows.
const LOG_LINES: usize = 20;

/// Starts the supervisor in the background and returns when the stack is ready.
pub(super) async fn up(options: UpOptions, shutdown: CancellationToken) -> anyhow::Result<()> {
    let folder = Folder::new(&options.dir)?;
    // Refuses here, where a person reads it. The child takes the folder again; whoever came in between wins.
    drop(folder.take()?);
    let path = folder.path("supervisor.log");
    let log = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .open(&path);
    let log = log.with_context(|| format!("{} cannot be opened", path.display()))?;
    let mut child = command(&options)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .with_context(|| format!("{} cannot be run", options.binary.display()))?;
    let failed = |status: ExitStatus| {
        let log = process::tail(&path, LOG_LINES).join("\n");
        anyhow::anyhow!(
            "the stack did not come up: its supervisor {}\n{log}",
            process::ending(status)
        )
    };
    loop {
        if let Some(status) = child.try_wait()? {
            return Err(failed(status));
        }
        if is_running(&folder).await {
            break;
        }
        tokio::select! {
            () = sleep(PAUSE) => {}
            () = shutdown.cancelled() => {
                give_up(&mut child).await?;
                bail!("stopped before it was ready");
            }
        }
    }
    if !options.quiet {
        let endpoints: Value = folder
            .read(ENDPOINTS)?
            .context("a running stack without endpoints")?;
        let dir = options.dir.display().to_string();
        say(&status::how_to_call(&endpoints, &dir));
        say(&format!(
            "running in the background; `frontdoor local down --dir {}` stops it",
            status::shell_quoted(&dir)
        ));
    }
    Ok(())
}

/// The same command without `--detach`. The server that was found or named travels as the environment does.
fn command(options: &UpOptions) -> Command {
    let names: Vec<_> = options.regions.iter().map(ToString::to_string).collect();
    // Every region's, because leaving one out would mean the command line's default.
    let delay = |name| {
        options
            .wan
            .iter()
            .rev()
            .find(|(n, _)| n == name)
            .map_or(Duration::ZERO, |(_, delay)| *delay)
    };
    let delays: Vec<_> = options
        .regions
        .iter()
        .map(|name| format!("{name}={}us", delay(name).as_micros()))
        .collect();
    let mut command = Command::new(&options.binary);
    command.args(["local", "up", "--dir"]).arg(&options.dir);
    command.args(["--regions", &names.join(",")]);
    command.args(["--wan", &delays.join(",")]);
    for (option, port) in [
        ("--https-port", options.https_port),
        ("--http-port", options.http_port),
        ("--admin-port", options.admin_port),
    ] {
        command.args([option, &port.to_string()]);
    }
    for tuning in &options.set {
        command.args(["--set", &tuning.to_string()]);
    }
    command.args(["--log", options.log.as_str()]);
    if let Some(path) = &options.nats_server {
        command.arg("--nats-server").arg(path);
    }
    command
}

async fn is_running(folder: &Folder) -> bool {
    // Until the control file is there, and while it is being written, there is nothing to ask.
    let Ok(client) = Client::open(folder) else {
        return false;
    };
    client
        .status()
        .await
        .is_ok_and(|view| view.phase == Phase::Running)
}

async fn give_up(child: &mut Child) -> anyhow::Result<()> {
    if let Some(pid) = child.id() {
        process::send(pid, nix::sys::signal::Signal::SIGTERM)?;
    }
    child.wait().await?;
    Ok(())
}
