//! Starts a nats-server and the service under test, each on ports of its own, and ends both when dropped.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use frontdoor_invocation::{RunError, config};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::client::{self, Reply};

pub(crate) const DOMAIN: &str = "invocation.localhost";
pub(crate) const REGION: &str = "us-east";
pub(crate) const FUNCTION: &str = "0196f0c2-7e1f-7a55-8a2e-3d1b5f0c9a11";
pub(crate) const VERSION: &str = "7f2c1f0e-7f3b-4a55-8a2e-3d1b5f0c9a11";
pub(crate) const UNKNOWN: &str = "11111111-7f3b-4a55-8a2e-3d1b5f0c9a11";
/// SHA-256 of `open-sesame`, `other-key` in hexadecimal.
pub(crate) const KEY: &str = "open-sesame";
pub(crate) const OTHER_KEY: &str = "other-key";

/// A nats-server with JetStream.
pub(crate) struct Nats {
    child: Child,
    pub(crate) port: u16,
    /// Where other servers join it, if they may.
    leaf: Option<SocketAddr>,
    folder: TempDir,
}

/// The service, and what it stands on.
pub(crate) struct World {
    pub(crate) nats: Nats,
    pub(crate) front: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) shutdown: CancellationToken,
    running: Option<JoinHandle<Result<(), RunError>>>,
    folder: TempDir,
}

/// Another instance of a world's service, on the same NATS.
pub(crate) struct Replica {
    pub(crate) front: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) shutdown: CancellationToken,
    running: JoinHandle<Result<(), RunError>>,
    _folder: TempDir,
}

/// What a test may choose.
pub(crate) struct Choices {
    pub(crate) waiting: usize,
    /// Calls of one account.
    pub(crate) account: Option<usize>,
    pub(crate) notice: &'static str,
    pub(crate) grace: &'static str,
    pub(crate) trusted: &'static str,
    pub(crate) workers: &'static str,
    /// TOML of more tables, mostly `auth`, with their headers.
    pub(crate) auth: String,
    pub(crate) patience: &'static str,
}

impl Default for Choices {
    fn default() -> Self {
        Self {
            waiting: 100,
            account: None,
            notice: "50ms",
            grace: "20s",
            trusted: "",
            workers: "claiming",
            auth: String::new(),
            patience: "2s",
        }
    }
}

// === impl Nats ===

impl Nats {
    pub(crate) async fn start(port: Option<u16>) -> Self {
        let port = port.map_or_else(|| "-1".to_owned(), |p| p.to_string());
        Self::run(&port, "jetstream: {}", None).await
    }

    /// A server that others may join, without JetStream.
    pub(crate) async fn hub() -> Self {
        let leaf = free_address();
        let text = format!("leafnodes {{ listen: \"{leaf}\" }}");
        Self::run("-1", &text, Some(leaf)).await
    }

    /// A region's server, joined to a hub.
    async fn leaf(hub: &Self, region: &str) -> Self {
        let hub = hub.leaf.expect("a hub");
        let text = format!(
            "jetstream {{ domain: {region} }}\n\
             leafnodes {{ reconnect: 1, remotes: [ {{ url: \"nats-leaf://{hub}\" }} ] }}"
        );
        Self::run("-1", &text, None).await
    }

    async fn run(port: &str, text: &str, leaf: Option<SocketAddr>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("nats.conf");
        std::fs::write(&file, text).unwrap();
        let child = Command::new(binary())
            .args(["-a", "127.0.0.1", "-p", port, "-c"])
            .arg(&file)
            .arg("-sd")
            .arg(folder.path())
            .arg("--ports_file_dir")
            .arg(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server in .tools/bin or on PATH");
        let mut nats = Self {
            child,
            port: 0,
            leaf,
            folder,
        };
        nats.port = until("nats-server's ports file", || async {
            ports_file(nats.folder.path())
        })
        .await;
        nats
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Stops it from running, without closing anything.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets it run again.
    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.kill();
    }
}

fn binary() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/bin/nats-server");
    if own.exists() {
        own
    } else {
        "nats-server".into()
    }
}

fn ports_file(folder: &Path) -> Option<u16> {
    let entry = std::fs::read_dir(folder)
        .ok()?
        .filter_map(Result::ok)
        .find(|e| e.path().extension().is_some_and(|x| x == "ports"))?;
    let ports: serde_json::Value =
        serde_json::from_slice(&std::fs::read(entry.path()).ok()?).ok()?;
    let url = ports.get("nats")?.get(0)?.as_str()?;
    url.rsplit_once(':')?.1.parse().ok()
}

// === impl World ===

impl World {
    pub(crate) async fn start() -> Self {
        Self::with(Choices::default()).await
    }

    pub(crate) async fn with(choices: Choices) -> Self {
        Self::on(Nats::start(None).await, REGION, choices).await
    }

    /// A region whose NATS is joined to a hub.
    pub(crate) async fn joined_to(hub: &Nats, region: &str) -> Self {
        Self::on(Nats::leaf(hub, region).await, region, Choices::default()).await
    }

    async fn on(nats: Nats, region: &str, choices: Choices) -> Self {
        let (front, admin) = free_pair();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("invocation.toml");
        std::fs::write(
            &file,
            configuration(&nats, region, (front, admin), &choices),
        )
        .unwrap();
        let settings = config::load(&file).expect("valid");
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(frontdoor_invocation::run(settings, shutdown.clone()));
        let world = Self {
            nats,
            front,
            admin,
            shutdown,
            running: Some(running),
            folder,
        };
        until("a healthy service", || async {
            (world.health().await?.status == 200).then_some(())
        })
        .await;
        world
    }

    /// The configuration it runs with.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("invocation.toml")
    }

    /// Starts another instance of the service.
    pub(crate) async fn replica(&self) -> Replica {
        let (front, admin) = free_pair();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("invocation.toml");
        let choices = Choices::default();
        let text = configuration(&self.nats, REGION, (front, admin), &choices);
        std::fs::write(&file, text).unwrap();
        let settings = config::load(&file).expect("valid");
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(frontdoor_invocation::run(settings, shutdown.clone()));
        until("a healthy replica", || async {
            let reply = client::get(front, "localhost", "/health").await?;
            (reply.status == 200).then_some(())
        })
        .await;
        Replica {
            front,
            admin,
            shutdown,
            running,
            _folder: folder,
        }
    }

    pub(crate) async fn health(&self) -> Option<Reply> {
        client::get(self.front, "localhost", "/health").await
    }

    pub(crate) async fn metric(&self, line: &str) -> bool {
        let reply = client::get(self.admin, "localhost", "/metrics").await;
        reply.is_some_and(|reply| reply.text().lines().any(|l| l == line))
    }

    pub(crate) async fn nats_client(&self) -> async_nats::Client {
        async_nats::connect(self.nats.url()).await.unwrap()
    }

    /// Waits for the service to return.
    pub(crate) async fn stopped(&mut self) -> Result<(), RunError> {
        let running = self.running.take().expect("once");
        tokio::time::timeout(Duration::from_secs(20), running)
            .await
            .expect("in time")
            .expect("no panic")
    }
}

// === impl Replica ===

impl Replica {
    /// Waits for it to return.
    pub(crate) async fn stopped(self) -> Result<(), RunError> {
        let stopped = tokio::time::timeout(Duration::from_secs(20), self.running).await;
        stopped.expect("in time").expect("no panic")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.abort();
        }
    }
}

fn configuration(
    nats: &Nats,
    region: &str,
    (front, admin): (SocketAddr, SocketAddr),
    choices: &Choices,
) -> String {
    let key = |name: &str, key: &str, functions: &str| {
        use sha2::Digest as _;
        let hash = hex::encode(sha2::Sha256::digest(key));
        format!("[[keys]]\nname = {name:?}\nsha256 = {hash:?}\nfunctions = [{functions:?}]\n")
    };
    format!(
        "region = {region:?}\ndomain = {DOMAIN:?}\nlisten = \"{front}\"\nadmin = \"{admin}\"\n\
         attach_url = \"http://{front}\"\ntrusted_edges = [{}]\n[nats]\nurl = {:?}\npatience = {:?}\n\
         [limits]\nwaiting = {}\n{}[stop]\nnotice = {:?}\ngrace = {:?}\n\
         [[functions]]\nid = {FUNCTION:?}\nname = \"echo\"\nversions = [{VERSION:?}]\n\
         workers = {:?}\n{}{}{}",
        choices.trusted,
        nats.url(),
        choices.patience,
        choices.waiting,
        choices
            .account
            .map_or_else(String::new, |n| format!("account = {n}\n")),
        choices.notice,
        choices.grace,
        choices.workers,
        choices.auth,
        key("local", KEY, "*"),
        key("other", OTHER_KEY, UNKNOWN),
    )
}

/// An address that was free a moment ago.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

/// Two of them, which are not the same: each is held until both are known.
fn free_pair() -> (SocketAddr, SocketAddr) {
    let bound = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [one, two] = bound.each_ref().map(|l| l.local_addr().unwrap());
    (one, two)
}

/// Asks until there is an answer; panics with `what` after 10 s.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut ask: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
