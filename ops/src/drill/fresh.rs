//! A stack of the drill's own: started in a folder of its own on free ports, and gone with the drill.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// A stack that is not ready by then never will be.
const READY: Duration = Duration::from_secs(60);
/// How long it may take to stop.
const STOP: Duration = Duration::from_secs(45);

/// How a stack for drills is started.
#[derive(Debug, Clone)]
pub struct Fresh {
    /// The `frontdoor` program.
    pub binary: PathBuf,
    /// `REGION=DELAY`, one for each region, the nearest first.
    pub wan: Vec<String>,
}

/// A running stack.
pub(super) struct Stack {
    supervisor: Child,
    dir: PathBuf,
}

// === impl Stack ===

impl Stack {
    pub(super) async fn start(fresh: &Fresh, slots: u16) -> anyhow::Result<Self> {
        let dir = std::env::temp_dir().join(format!("frontdoor-drill-{}", uuid::Uuid::new_v4()));
        let regions: Vec<&str> = fresh
            .wan
            .iter()
            .filter_map(|w| w.split('=').next())
            .collect();
        let mut supervisor =
            Command::new(&fresh.binary)
                .args(["local", "up", "--quiet", "--stop-on-stdin-eof"])
                .args(["--https-port", "0", "--http-port", "0", "--admin-port", "0"])
                .args(regions.iter().flat_map(|region| {
                    ["--set".to_owned(), format!("{region}/worker:slots={slots}")]
                }))
                .args([
                    "--regions",
                    &regions.join(","),
                    "--wan",
                    &fresh.wan.join(","),
                ])
                .arg("--dir")
                .arg(&dir)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .with_context(|| format!("{} cannot be started", fresh.binary.display()))?;
        let limit = Instant::now() + READY;
        while !dir.join("endpoints.json").exists() {
            if let Some(status) = supervisor.try_wait()? {
                let mut said = String::new();
                if let Some(mut stderr) = supervisor.stderr.take() {
                    stderr.read_to_string(&mut said).await?;
                }
                bail!("the stack ended with {status}: {}", said.trim_end());
            }
            if Instant::now() > limit {
                bail!(
                    "the stack is not ready within {READY:?}; its files are in {}",
                    dir.display()
                );
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(Self { supervisor, dir })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Stops it. Its files are kept if something went wrong with it, for whoever looks why.
    pub(super) async fn stop(mut self, keep: bool) -> anyhow::Result<()> {
        drop(self.supervisor.stdin.take());
        timeout(STOP, self.supervisor.wait())
            .await
            .with_context(|| format!("the stack does not stop within {STOP:?}"))??;
        if !keep {
            std::fs::remove_dir_all(&self.dir)?;
        }
        Ok(())
    }
}
