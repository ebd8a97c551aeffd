//! Finds a nats-server that is new enough. Servers before 2.11 strand queued work when a stream is purged by subject,
//! which looks like lost calls, so an old one is refused rather than tried.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::process::Command;
use tokio::time::timeout;

/// The oldest version the regions run on.
pub(super) const OLDEST: Version = Version(2, 11);
/// Environment variable that names the server to use.
const VARIABLE: &str = "FRONTDOOR_NATS_SERVER";
/// Where `make setup` puts it.
const TOOL: &str = ".tools/bin/nats-server";
/// How long it may take to say its version.
const LIMIT: Duration = Duration::from_secs(5);

/// Major and minor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(u32, u32);

/// Where to look: what was asked for by name, or else everywhere in turn.
enum Candidates {
    /// Named by option or environment; used or refused, never passed over.
    Named(PathBuf),
    /// The first new enough is used.
    Found(Vec<PathBuf>),
}

/// The nats-server to run.
pub(super) async fn find(option: Option<&Path>, binary: &Path) -> anyhow::Result<PathBuf> {
    match candidates(option, binary) {
        Candidates::Named(path) => match version(&path).await? {
            version if version >= OLDEST => Ok(path),
            version => bail!(
                "{} is version {version}, and {OLDEST} or newer is needed: run `make setup`",
                path.display()
            ),
        },
        Candidates::Found(paths) => {
            let mut refused = String::new();
            for path in paths {
                match version(&path).await {
                    Ok(version) if version >= OLDEST => return Ok(path),
                    Ok(version) => refused += &format!("; {} is version {version}", path.display()),
                    Err(error) => refused += &format!("; {error:#}"),
                }
            }
            bail!(
                "no nats-server {OLDEST} or newer found{refused}: run `make setup`, which puts one at {TOOL}"
            )
        }
    }
}

fn candidates(option: Option<&Path>, binary: &Path) -> Candidates {
    if let Some(path) = option {
        return Candidates::Named(path.to_owned());
    }
    if let Some(path) = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
        return Candidates::Named(path.into());
    }
    let here = std::env::current_dir().unwrap_or_default();
    let above = here
        .ancestors()
        .chain(binary.ancestors().skip(1))
        .map(|folder| folder.join(TOOL));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join("nats-server"));
    let mut found: Vec<PathBuf> = above.chain(on_path).filter(|path| path.is_file()).collect();
    found.dedup();
    Candidates::Found(found)
}

async fn version(path: &Path) -> anyhow::Result<Version> {
    let output = Command::new(path)
        .arg("--version")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(LIMIT, output)
        .await
        .with_context(|| format!("{} does not say its version", path.display()))?
        .with_context(|| format!("{} cannot be run", path.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Version::parse(&text).with_context(|| {
        format!(
            "{} says `{}`, which is no version",
            path.display(),
            text.trim()
        )
    })
}

// === impl Version ===

impl Version {
    /// Reads `nats-server: v2.15.1`.
    fn parse(text: &str) -> Option<Self> {
        let number = text
            .trim()
            .rsplit([' ', ':'])
            .next()?
            .trim_start_matches('v');
        let mut parts = number.split(['.', '-']).map(str::parse);
        Some(Self(parts.next()?.ok()?, parts.next()?.ok()?))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// The server that tests use: the tool folder's, or the one on PATH.
#[cfg(test)]
pub(super) async fn for_tests() -> PathBuf {
    let binary = std::env::current_exe().expect("own path");
    find(None, &binary)
        .await
        .unwrap_or_else(|e| panic!("{e:#}"))
}

#[cfg(test)]
mod tests;
