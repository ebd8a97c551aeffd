//! An edge in a process of its own, so that what it costs is its alone: for tests of what attacks and what silence cost.
//!
//! The kernel says what memory and CPU time it uses; an edge that is in trouble need not be asked.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use http::Request;
use test_support::client::{Client, Protocol, full};
use test_support::edge::{Ports, read_ports, write_config};
use test_support::eventually::eventually;
use test_support::tls::Authority;
use tokio::process::{Child, Command};

use super::host;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_frontdoor");

const PATIENCE: Duration = Duration::from_secs(60);
/// The kernel counts CPU time for others to read in hundredths of a second (`USER_HZ`).
const TICK_MS: u64 = 10;

/// A running edge; it ends when this is dropped.
pub(crate) struct Process {
    pub(crate) ports: Ports,
    pub(crate) authority: Authority,
    child: Child,
    _folder: tempfile::TempDir,
}

// === impl Process ===

impl Process {
    /// Starts `program` as an edge in front of this region, with `more` in its configuration before the first table, and
    /// `listen` in the table of that name. Its ports are open; whether it knows its region is for the caller to see.
    pub(crate) async fn start(
        program: impl AsRef<OsStr>,
        region: SocketAddr,
        listen: &str,
        more: &str,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::new().expect("an authority");
        let regions = [("us-east", region)];
        let config = write_config(folder.path(), &authority, &regions, more).expect("written");
        let text = std::fs::read_to_string(&config).expect("written");
        let text = text.replace("[listen]\n", &format!("[listen]\n{listen}\n"));
        std::fs::write(&config, text).expect("written");
        let ready = folder.path().join("ready.json");
        let child = Command::new(program)
            .args([Path::new("edge"), Path::new("-c"), &config])
            .args([Path::new("--ready-file"), &ready])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("starts");
        let ports = eventually("it listens", PATIENCE, async || read_ports(&ready)).await;
        Self {
            ports,
            authority,
            child,
            _folder: folder,
        }
    }

    /// A well-behaved caller's connection.
    pub(crate) async fn client(&self, protocol: Protocol, tls: bool) -> Client {
        let client = if tls {
            let alpn = match protocol {
                Protocol::H1 => "http/1.1",
                Protocol::H2 => "h2",
            };
            let config = self.authority.client(&[alpn]).expect("trust");
            Client::with(self.ports.https, &host(), config, protocol).await
        } else {
            Client::plain(self.ports.http, protocol).await
        };
        client.expect("a connection")
    }

    /// A page of its admin port; none while there is no answer.
    pub(crate) async fn page(&self, path: &str) -> Option<String> {
        let mut client = Client::plain(self.ports.admin, Protocol::H1).await.ok()?;
        let request = Request::get(path).header("host", "admin").body(full(""));
        Some(client.call(request.ok()?).await.ok()?.text())
    }

    /// A value of its metrics, by the whole name.
    pub(crate) async fn value(&self, name: &str) -> Option<f64> {
        let page = self.page("/metrics").await?;
        let value = page
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value?.trim().parse().ok()
    }

    /// Its memory in MiB: `VmRSS:` now, `VmHWM:` at its peak.
    pub(crate) fn memory(&self, what: &str) -> usize {
        let text = std::fs::read_to_string(self.proc("status")).expect("it runs");
        let line = text.lines().find_map(|line| line.strip_prefix(what));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.parse::<usize>().ok())
            .expect("a number")
            / 1024
    }

    /// The peak counts from now on.
    pub(crate) fn forget_peak(&self) {
        std::fs::write(self.proc("clear_refs"), "5").expect("our own process");
    }

    /// The CPU time that it has used, its own and the kernel's for it.
    pub(crate) fn cpu(&self) -> Duration {
        let text = std::fs::read_to_string(self.proc("stat")).expect("it runs");
        // The second field is a name in parentheses; `utime` and `stime` are the 14th and 15th (proc_pid_stat(5)).
        let (_, fields) = text.rsplit_once(") ").expect("a name");
        let used = fields.split(' ').skip(11).take(2);
        let ticks: u64 = used
            .map(|field| field.parse::<u64>().expect("a number"))
            .sum();
        Duration::from_millis(ticks * TICK_MS)
    }

    fn proc(&self, file: &str) -> String {
        let pid = self.child.id().expect("it runs");
        format!("/proc/{pid}/{file}")
    }
}
