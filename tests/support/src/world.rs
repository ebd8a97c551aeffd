//! The whole local stack, started as a real process the way a person would, on ports of its own.
//!
//! Dropping it closes the supervisor's standard input, on which it stops every part; if the test process itself is
//! killed, the kernel closes it.

use std::io::Read as _;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use http::Request;
use serde_json::Value;

use crate::client::{Answer, Body, Client, Protocol, full};

/// A running stack.
pub struct World {
    /// The program under test.
    pub binary: PathBuf,
    /// Its state folder.
    pub dir: PathBuf,
    /// What `endpoints.json` says.
    pub endpoints: Value,
    /// How long it took to be ready.
    pub took: Duration,
    supervisor: Child,
    folder: tempfile::TempDir,
}

/// A test stack that is not ready by then never will be.
const PATIENCE: Duration = Duration::from_secs(30);

// === impl World ===

impl World {
    /// Starts a stack of two regions without delay, plus `args` for `local up`.
    ///
    /// # Errors
    /// If it does not become ready; the error holds what it said.
    pub fn start(binary: &str, args: &[&str]) -> anyhow::Result<Self> {
        Self::logging(binary, args, None)
    }

    /// The same, with these levels of its logs (`FRONTDOOR_LOG`).
    ///
    /// # Errors
    /// As [`World::start`].
    pub fn logging(binary: &str, args: &[&str], levels: Option<&str>) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let dir = folder.path().join("stack");
        let started = Instant::now();
        let mut supervisor = Command::new(binary)
            .args([
                "local",
                "up",
                "--https-port",
                "0",
                "--http-port",
                "0",
                "--admin-port",
                "0",
                "--quiet",
            ])
            .args(["--stop-on-stdin-eof", "--dir"])
            .arg(&dir)
            .args(args)
            .envs(levels.map(|levels| ("FRONTDOOR_LOG", levels)))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {binary}"))?;
        let file = dir.join("endpoints.json");
        while !file.exists() {
            if let Some(status) = supervisor.try_wait()? {
                let mut said = String::new();
                if let Some(mut stderr) = supervisor.stderr.take() {
                    stderr.read_to_string(&mut said)?;
                }
                bail!("the stack ended with {status}: {said}");
            }
            ensure!(
                started.elapsed() < PATIENCE,
                "the stack is not ready after {PATIENCE:?}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        let took = started.elapsed();
        let endpoints = serde_json::from_slice(&std::fs::read(&file)?)?;
        Ok(Self {
            binary: binary.into(),
            dir,
            endpoints,
            took,
            supervisor,
            folder,
        })
    }

    /// Runs `frontdoor local …` on this stack and returns what it printed.
    ///
    /// # Errors
    /// If the command fails.
    pub fn local(&self, args: &[&str]) -> anyhow::Result<String> {
        let out = Command::new(&self.binary)
            .arg("local")
            .args(args)
            .arg("--dir")
            .arg(&self.dir)
            .output()?;
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        ensure!(
            out.status.success(),
            "local {args:?}: {said}{}",
            String::from_utf8_lossy(&out.stderr)
        );
        Ok(said)
    }

    /// A text of `endpoints.json`, by its path such as `/edge/https`; empty if there is none.
    #[must_use]
    pub fn endpoint(&self, pointer: &str) -> &str {
        self.endpoints
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// The id of the sample function.
    #[must_use]
    pub fn function(&self) -> &str {
        self.endpoint("/functions/0/id")
    }

    /// The host name of the sample function.
    #[must_use]
    pub fn host(&self) -> String {
        format!("{}.{}", self.function(), self.endpoint("/domain"))
    }

    /// The socket address behind a URL of `endpoints.json`.
    ///
    /// # Panics
    /// If there is no such URL.
    #[must_use]
    pub fn address(&self, pointer: &str) -> SocketAddr {
        let url = self.endpoint(pointer);
        let authority = url
            .split("://")
            .nth(1)
            .unwrap_or_default()
            .trim_end_matches('/');
        let found = authority
            .to_socket_addrs()
            .ok()
            .and_then(|mut all| all.find(SocketAddr::is_ipv4));
        found.unwrap_or_else(|| panic!("{pointer} is {url:?}, not a URL"))
    }

    /// A caller with TLS.
    ///
    /// # Errors
    /// If the edge cannot be reached or trusted.
    pub async fn caller(&self, protocol: Protocol) -> anyhow::Result<Client> {
        let ca = std::fs::read(self.dir.join("ca.pem"))?;
        Client::tls(self.address("/edge/https"), &self.host(), &ca, protocol).await
    }

    /// A caller with TLS and HTTP/2 who PINGs; see [`Client::pinging`].
    ///
    /// # Errors
    /// If the edge cannot be reached or trusted.
    pub async fn pinging_caller(&self, every: Duration) -> anyhow::Result<Client> {
        let ca = std::fs::read(self.dir.join("ca.pem"))?;
        Client::pinging(self.address("/edge/https"), &self.host(), &ca, every).await
    }

    /// A request of the sample function with the right key.
    #[must_use]
    pub fn request(&self, method: &str, path: &str) -> http::request::Builder {
        self.request_with_key(method, path, self.endpoint("/api_key"))
    }

    /// A request of the sample function with any key.
    #[must_use]
    pub fn request_with_key(&self, method: &str, path: &str, key: &str) -> http::request::Builder {
        Request::builder()
            .method(method)
            .uri(format!("https://{}{path}", self.host()))
            .header("host", self.host())
            .header("authorization", format!("Bearer {key}"))
    }

    /// One call over HTTP/2 on a connection of its own.
    ///
    /// # Errors
    /// If there is no whole answer.
    pub async fn call(&self, request: Request<Body>) -> anyhow::Result<Answer> {
        self.caller(Protocol::H2).await?.call(request).await
    }

    /// A page of the edge's admin port, as JSON.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn admin(&self, path: &str) -> anyhow::Result<Value> {
        let mut client = Client::plain(self.address("/edge/admin"), Protocol::H1).await?;
        let request = Request::get(path).header("host", "admin").body(full(""))?;
        Ok(client.call(request).await?.json())
    }

    /// How a region is, in the edge's words.
    ///
    /// # Errors
    /// If the edge does not answer.
    pub async fn health(&self, region: &str) -> anyhow::Result<String> {
        let world = self.admin("/regions").await?;
        let found = world["regions"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|r| r["name"] == region);
        Ok(found
            .and_then(|r| r["health"].as_str())
            .unwrap_or("unknown")
            .to_owned())
    }

    /// Every call that began to run, as the sample functions of all regions noted it: request ids, one for each time.
    ///
    /// # Errors
    /// If a journal cannot be read.
    pub fn executed(&self) -> anyhow::Result<Vec<String>> {
        let mut ids = Vec::new();
        for entry in std::fs::read_dir(self.dir.join("journal"))? {
            let text = std::fs::read_to_string(entry?.path())?;
            ids.extend(
                text.lines()
                    .filter_map(|line| line.split(' ').nth(1))
                    .map(str::to_owned),
            );
        }
        Ok(ids)
    }

    /// The process ids of all parts.
    #[must_use]
    pub fn pids(&self) -> Vec<i32> {
        fn collect(value: &Value, pids: &mut Vec<i32>) {
            match value {
                Value::Object(map) => {
                    pids.extend(
                        map.get("pid")
                            .and_then(Value::as_i64)
                            .and_then(|p| i32::try_from(p).ok()),
                    );
                    map.values().for_each(|v| collect(v, pids));
                }
                Value::Array(list) => list.iter().for_each(|v| collect(v, pids)),
                _ => {}
            }
        }
        let mut pids = Vec::new();
        collect(&self.endpoints, &mut pids);
        pids
    }

    /// What a part wrote to its log.
    #[must_use]
    pub fn log(&self, part: &str) -> String {
        std::fs::read_to_string(self.dir.join("logs").join(format!("{part}.log")))
            .unwrap_or_default()
    }

    /// Stops everything as a dropped stack does, and waits for it.
    ///
    /// # Errors
    /// If the supervisor does not end by itself.
    pub fn stop(mut self) -> anyhow::Result<()> {
        drop(self.supervisor.stdin.take());
        let end = Instant::now() + PATIENCE;
        while self.supervisor.try_wait()?.is_none() {
            ensure!(Instant::now() < end, "the supervisor does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// The process id of the supervisor.
    #[must_use]
    pub fn supervisor(&self) -> u32 {
        self.supervisor.id()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.folder.disable_cleanup(true);
            eprintln!("the stack's files are kept: {}", self.dir.display());
        }
        drop(self.supervisor.stdin.take());
        let end = Instant::now() + Duration::from_secs(10);
        while matches!(self.supervisor.try_wait(), Ok(None)) {
            if Instant::now() > end {
                // Its parts die with it.
                let _ = self.supervisor.kill();
                let _ = self.supervisor.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Whether a process is there (a zombie counts as gone).
#[must_use]
pub fn alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.is_ok_and(|text| {
        text.rsplit(") ")
            .next()
            .is_some_and(|rest| !rest.starts_with('Z'))
    })
}
