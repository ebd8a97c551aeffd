//! SIGUSR2: start the program that now has this one's name, with this one's arguments, to take over from it.
//!
//! What a package manager or an operator put in its place is what is started. It is a child of this process, under the same
//! user, limits and service manager; when this process ends it goes on without.

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::future::Future;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::process::Stdio;

use anyhow::Context as _;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

/// What the kernel says after the name of a program whose file was replaced.
const REPLACED: &[u8] = b" (deleted)";

/// Waits for the signal, again and again. One successor at a time: the next is started when that one has failed.
pub(super) fn on_signal(possible: bool) -> anyhow::Result<impl Future<Output = Infallible>> {
    let mut asked = signal(SignalKind::user_defined2()).context("SIGUSR2 cannot be heard")?;
    Ok(async move {
        loop {
            if asked.recv().await.is_none() {
                std::future::pending::<()>().await;
            }
            if !possible {
                tracing::error!("no upgrade: [upgrade] socket is not set in the configuration");
                continue;
            }
            match run().await {
                Ok(how) => tracing::error!(how, "the successor has ended"),
                Err(error) => tracing::error!(error = format!("{error:#}"), "no upgrade"),
            }
        }
    })
}

/// Runs the successor; returns if it ends before this process does.
async fn run() -> anyhow::Result<String> {
    let this = std::env::current_exe().context("cannot tell where this program is")?;
    let program = named(this.as_os_str());
    let mut child = Command::new(&program)
        .args(arguments(std::env::args_os().skip(1)))
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("{} cannot be started", program.display()))?;
    tracing::info!(pid = child.id(), program = %program.display(), "a successor is started");
    let status = child.wait().await.context("the successor is lost")?;
    Ok(status.to_string())
}

/// The file's name, whether or not another file has it now.
fn named(program: &OsStr) -> OsString {
    let bytes = program.as_bytes();
    let name = bytes.strip_suffix(REPLACED).unwrap_or(bytes);
    OsString::from_vec(name.to_vec())
}

/// This process's arguments, and that it is an upgrade.
fn arguments(mine: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut all: Vec<OsString> = mine.filter(|argument| argument != "--upgrade").collect();
    all.push("--upgrade".into());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_of_now_is_started_as_this_one_was() {
        for (path, name) in [
            ("/usr/bin/frontdoor", "/usr/bin/frontdoor"),
            ("/usr/bin/frontdoor (deleted)", "/usr/bin/frontdoor"),
            ("/opt/a (deleted)/frontdoor", "/opt/a (deleted)/frontdoor"),
        ] {
            assert_eq!(named(OsStr::new(path)), name);
        }
        let mine = ["--log", "json", "edge", "-c", "x.toml"].map(OsString::from);
        let first = arguments(mine.clone().into_iter());
        assert_eq!(first[..5], mine);
        assert_eq!(first[5], "--upgrade");
        assert_eq!(
            arguments(first.clone().into_iter()),
            first,
            "once is enough"
        );
    }
}
