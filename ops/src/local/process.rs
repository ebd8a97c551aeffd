//! One operating system process: started so that it cannot outlive the supervisor, signalled, looked at.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};

/// As much of a log's end as is ever looked at.
const TAIL_BYTES: u64 = 8 << 10;

/// `setpriv`'s arguments.
const UNTIL_PARENT_ENDS: [&str; 3] = ["--pdeathsig", "KILL", "--"];

/// A command line and where its output goes.
#[derive(Debug, Clone)]
pub(super) struct Launch {
    /// The program.
    pub(super) program: PathBuf,
    /// Its arguments.
    pub(super) args: Vec<OsString>,
    /// Standard output and error, appended.
    pub(super) log: PathBuf,
}

/// Ends a process with the thread that started it: `setpriv` of util-linux, if it is there.
///
/// The kernel offers this to a process for itself only, between fork and exec, which safe Rust cannot reach.
#[derive(Debug, Clone)]
pub(super) struct Guard(Option<PathBuf>);

/// A process that can be told from another one with the same number: the number and when it started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// The process.
    pub(super) pid: u32,
    /// In clock ticks since boot.
    started: u64,
}

// === impl Guard ===

impl Guard {
    /// Looks for a `setpriv` that can do it; the one of busybox cannot.
    pub(super) async fn find() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path)
            .map(|folder| folder.join("setpriv"))
            .find(|file| file.is_file());
        let Some(setpriv) = found else {
            return Self(None);
        };
        let mut trial = Command::new(&setpriv);
        trial.args(UNTIL_PARENT_ENDS).arg("true");
        trial
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let works = trial.status().await.is_ok_and(|status| status.success());
        Self(works.then_some(setpriv))
    }

    /// Whether children end with the supervisor even if it is killed.
    pub(super) const fn holds(&self) -> bool {
        self.0.is_some()
    }

    /// Starts a process in a group of its own, so that Ctrl-C reaches the supervisor alone and the order of stopping
    /// stays ours. Must be called on a thread that lives as long as the supervisor.
    pub(super) fn start(&self, launch: &Launch) -> io::Result<Child> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&launch.log)?;
        let mut command = match &self.0 {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(UNTIL_PARENT_ENDS).arg(&launch.program);
                command
            }
            None => Command::new(&launch.program),
        };
        command
            .args(&launch.args)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }
}

// === impl Identity ===

impl Identity {
    /// The process with this number, if there is one.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let started = stat(pid)?.split_whitespace().nth(19)?.parse().ok()?;
        Some(Self { pid, started })
    }

    /// Kills exactly this process; does nothing if it is gone, also when another one has its number now.
    pub(super) fn kill(&self) {
        if Self::of(self.pid).as_ref() == Some(self) {
            // The only failure left is that it ended in between.
            let _ = send(self.pid, Signal::SIGKILL);
        }
    }
}

/// Sends a signal. The caller makes sure that `pid` is a child not yet waited for.
pub(super) fn send(pid: u32, signal: Signal) -> io::Result<()> {
    let pid = i32::try_from(pid).map_err(io::Error::other)?;
    signal::kill(Pid::from_raw(pid), signal).map_err(io::Error::from)
}

/// Whether a process is stopped (SIGSTOP).
pub(super) fn is_stopped(pid: u32) -> bool {
    stat(pid).is_some_and(|stat| stat.starts_with('T'))
}

/// `/proc/PID/stat` from the state on; what stands before it may contain anything.
fn stat(pid: u32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(") ").map(|(_, rest)| rest.to_owned())
}

/// The ending of a process that stopped in order.
pub(super) const WELL: &str = "exited with status 0";

/// How a process ended, in words.
pub(super) fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(number)) => match Signal::try_from(number) {
            Ok(signal) => format!("killed by {signal}"),
            Err(_) => format!("killed by signal {number}"),
        },
        (None, None) => "ended".to_owned(),
    }
}

/// The signal a person means by `KILL`, `SIGKILL`, `kill` or `9`.
pub(super) fn signal(name: &str) -> Option<Signal> {
    if let Ok(number) = name.parse::<i32>() {
        return Signal::try_from(number).ok();
    }
    let name = name.to_ascii_uppercase();
    let full = if name.starts_with("SIG") {
        name
    } else {
        format!("SIG{name}")
    };
    full.parse().ok()
}

/// The last lines of a log.
pub(super) fn tail(log: &Path, lines: usize) -> Vec<String> {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = fs::File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut end = vec![];
        file.take(TAIL_BYTES).read_to_end(&mut end)?;
        Ok(end)
    };
    let text = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..]
        .iter()
        .map(|&line| line.to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_any_name() {
        for (name, wanted) in [
            ("KILL", Some(Signal::SIGKILL)),
            ("sigterm", Some(Signal::SIGTERM)),
            ("Stop", Some(Signal::SIGSTOP)),
            ("9", Some(Signal::SIGKILL)),
            ("", None),
            ("NOPE", None),
            ("0", None),
        ] {
            assert_eq!(signal(name), wanted, "{name}");
        }
    }

    #[test]
    fn endings_in_words() {
        assert_eq!(ending(ExitStatus::from_raw(0)), WELL);
        assert_eq!(ending(ExitStatus::from_raw(3 << 8)), "exited with status 3");
        assert_eq!(ending(ExitStatus::from_raw(9)), "killed by SIGKILL");
    }

    #[test]
    fn the_end_of_a_log() {
        let dir = tempfile::tempdir().expect("folder");
        let log = dir.path().join("x.log");
        assert!(tail(&log, 3).is_empty());
        let text: String = (0..5000).map(|n| format!("line {n}\n")).collect();
        fs::write(&log, text).expect("written");
        assert_eq!(tail(&log, 2), ["line 4998", "line 4999"]);
        fs::write(&log, "one").expect("written");
        assert_eq!(tail(&log, 2), ["one"]);
    }

    #[test]
    fn a_process_is_known_by_its_start() {
        let me = Identity::of(std::process::id()).expect("alive");
        assert_eq!(Identity::of(me.pid), Some(me.clone()));
        // Another process with my number: nothing happens, or this test would not end.
        Identity {
            started: me.started + 1,
            ..me
        }
        .kill();
    }
}
