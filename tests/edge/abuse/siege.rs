//! A real edge process under attack: how others are served meanwhile, and what the attack costs it in memory.
//!
//! The edge has a process of its own, so its memory is its alone; well-behaved callers and attackers are tasks of the test, on
//! threads of their own. An attack goes on for as long as callers are measured.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Request;
use test_support::client::{Client, Protocol, full};
use test_support::edge::{Ports, read_ports, write_config};
use test_support::eventually::eventually;
use test_support::tls::Authority;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Witness;
use crate::harness::{QUICK, host, post};

/// An edge, and the region behind it.
pub(super) struct Siege {
    pub(super) witness: Witness,
    pub(super) ports: Ports,
    authority: Authority,
    child: Child,
    _folder: tempfile::TempDir,
}

/// A connection, secured or not.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Io for S {}

/// How others come in while an attack goes on.
const CALLERS: [(Protocol, bool); 4] = [
    (Protocol::H2, true),
    (Protocol::H2, true),
    (Protocol::H1, true),
    (Protocol::H1, false),
];
/// Each of them calls so often …
const PACE: Duration = Duration::from_millis(10);
/// … so many times: 600 calls in a second and a half, of which the six slowest do not count.
const CALLS: usize = 150;
/// An attack that hurts does so each time; another test on this machine does not.
const ROUNDS: usize = 3;
/// What a scheduler with more to run than cores adds, whoever runs.
const NOISE: Duration = Duration::from_millis(15);
const PATIENCE: Duration = Duration::from_secs(20);

// === impl Siege ===

impl Siege {
    /// Starts an edge with `more` in its configuration.
    pub(super) async fn lay(more: &str) -> Self {
        Self::listening("", more).await
    }

    /// The same, with `listen` in its table of that name.
    pub(super) async fn listening(listen: &str, more: &str) -> Self {
        let witness = Witness::start().await;
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::new().expect("an authority");
        let regions = [("us-east", witness.region.address)];
        let more = format!("{more}\n{QUICK}");
        let config = write_config(folder.path(), &authority, &regions, &more).expect("written");
        let text = std::fs::read_to_string(&config).expect("written");
        let text = text.replace("[listen]\n", &format!("[listen]\n{listen}\n"));
        std::fs::write(&config, text).expect("written");
        let ready = folder.path().join("ready.json");
        let child = Command::new(env!("CARGO_BIN_EXE_frontdoor"))
            .args([Path::new("edge"), Path::new("-c"), &config])
            .args([Path::new("--ready-file"), &ready])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("starts");
        let ports = eventually("it listens", PATIENCE, async || read_ports(&ready)).await;
        let siege = Self {
            witness,
            ports,
            authority,
            child,
            _folder: folder,
        };
        eventually("it serves", PATIENCE, async || {
            let mut client = siege.client(Protocol::H2, true).await;
            let answer = client.call(post("/calm", "x")).await.ok()?;
            (answer.status == 200).then_some(())
        })
        .await;
        siege
    }

    /// A well-behaved caller's connection.
    async fn client(&self, protocol: Protocol, tls: bool) -> Client {
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

    /// An attacker's connection: bare, or after a proper TLS handshake for this protocol.
    pub(super) async fn connect(&self, alpn: Option<&str>) -> Box<dyn Io> {
        let to = |address: SocketAddr| async move {
            TcpStream::connect(address).await.expect("a connection")
        };
        let Some(alpn) = alpn else {
            return Box::new(to(self.ports.http).await);
        };
        let config = self.authority.client(&[alpn]).expect("trust");
        let name = host().try_into().expect("a name");
        let secured = tokio_rustls::TlsConnector::from(config)
            .connect(name, to(self.ports.https).await)
            .await;
        Box::new(secured.expect("a handshake"))
    }

    /// Lets an attack go on and on while others call. Their p99 stays within twice what it was, and the edge's memory never grows
    /// by more than `growth` MiB; after it, nothing is left.
    pub(super) async fn bear(&self, growth: usize, attack: impl AsyncFn()) {
        let mut calm = self.p99().await;
        self.forget_peak();
        let before = self.memory("VmRSS:");
        for round in 1..=ROUNDS {
            let (disturbed, attacks) = self.under(&attack).await;
            let as_before = |calm: Duration| disturbed <= calm * 2 + NOISE;
            println!("p99 {calm:?}, under {attacks} attacks {disturbed:?}");
            if as_before(calm) {
                break;
            }
            // The machine may have become busier meanwhile, for everybody.
            calm = self.p99().await;
            if as_before(calm) {
                break;
            }
            assert!(
                round < ROUNDS,
                "p99 {disturbed:?} under attack, {calm:?} else"
            );
        }
        let grown = self.memory("VmHWM:").saturating_sub(before);
        println!("memory {before} MiB, at most {grown} more");
        assert!(grown <= growth, "{grown} MiB more, from {before}");
        eventually("nothing of it is left", PATIENCE, async || {
            (self.gauge("in_flight").await? < 1.0).then_some(())
        })
        .await;
    }

    /// The p99 while attacks go on, and how many went on.
    async fn under(&self, attack: &impl AsyncFn()) -> (Duration, usize) {
        let over = AtomicBool::new(false);
        let callers = async {
            let disturbed = self.p99().await;
            over.store(true, Ordering::Relaxed);
            disturbed
        };
        let attacks = async {
            let mut attacks = 0;
            while !over.load(Ordering::Relaxed) {
                attack().await;
                attacks += 1;
            }
            attacks
        };
        tokio::join!(callers, attacks)
    }

    /// What most calls of well-behaved callers take, from the moment they are due.
    async fn p99(&self) -> Duration {
        let mut callers = JoinSet::new();
        for (protocol, tls) in CALLERS {
            let mut client = self.client(protocol, tls).await;
            callers.spawn(async move {
                let mut took = Vec::with_capacity(CALLS);
                let mut due = interval(PACE);
                due.set_missed_tick_behavior(MissedTickBehavior::Burst);
                for _ in 0..CALLS {
                    let due: Instant = due.tick().await;
                    let answer = client.call(post("/calm", "x")).await.expect("an answer");
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    took.push(due.elapsed());
                }
                took
            });
        }
        let mut took: Vec<Duration> = callers.join_all().await.into_iter().flatten().collect();
        took.sort_unstable();
        took[took.len() * 99 / 100]
    }

    /// The edge's memory in MiB, as the kernel counts it.
    fn memory(&self, what: &str) -> usize {
        let text = std::fs::read_to_string(self.proc("status")).expect("it runs");
        let line = text.lines().find_map(|line| line.strip_prefix(what));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.parse::<usize>().ok())
            .expect("a number")
            / 1024
    }

    /// The peak counts from now on.
    fn forget_peak(&self) {
        std::fs::write(self.proc("clear_refs"), "5").expect("our own process");
    }

    fn proc(&self, file: &str) -> String {
        let pid = self.child.id().expect("it runs");
        format!("/proc/{pid}/{file}")
    }

    async fn gauge(&self, name: &str) -> Option<f64> {
        let mut client = Client::plain(self.ports.admin, Protocol::H1).await.ok()?;
        let request = Request::get("/metrics").header("host", "admin");
        let answer = client.call(request.body(full("")).ok()?).await.ok()?;
        let text = answer.text();
        let mut lines = text.lines();
        let line = lines.find(|line| line.starts_with(&format!("frontdoor_edge_{name} ")))?;
        line.rsplit(' ').next()?.parse().ok()
    }
}
