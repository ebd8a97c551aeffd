//! A real edge process under attack: how others are served meanwhile, and what the attack costs it in memory and CPU time.
//!
//! The edge has a process of its own, so what it uses is its alone; well-behaved callers and attackers are tasks of the test, on
//! threads of their own. An attack goes on for as long as callers are measured.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::client::Resumption;
use test_support::client::{Client, Protocol};
use test_support::eventually::eventually;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep};

use super::Witness;
use crate::harness::process::{PROGRAM, Process};
use crate::harness::{QUICK, host, post};

/// An edge, and the region behind it.
pub(super) struct Siege {
    pub(super) witness: Witness,
    pub(super) edge: Process,
}

/// A connection, secured or not.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Io for S {}

/// What well-behaved callers notice, and what the edge needs meanwhile.
#[derive(Debug, Clone, Copy)]
struct Noticed {
    /// The p99 of calls on connections that are open, from the moment they are due.
    open: Duration,
    /// The same of calls whose connection has to be opened first, with a whole handshake.
    new: Duration,
    /// CPU time of the edge.
    cpu: Duration,
}

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
/// Somebody new comes so often …
const NEW_PACE: Duration = Duration::from_millis(20);
/// … so many times, in the same second and a half: too few for any of them not to count.
const NEW: usize = 75;
/// An attack that hurts does so each time; another program on this machine does not.
const ROUNDS: usize = 3;
/// What a scheduler with more to run than cores adds, whoever runs; a new connection waits for it several times, on its way
/// through the handshake.
const NOISE: Duration = Duration::from_millis(15);
const NEW_NOISE: Duration = Duration::from_millis(45);
/// A task that an attack leaves behind and that never rests uses all of a while like this one …
const REST: Duration = Duration::from_millis(300);
/// … and what an edge does by itself, such as looking after its regions, varies by much less than this.
const SPUN: Duration = Duration::from_millis(60);
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
        let more = format!("{more}\n{QUICK}");
        let edge = Process::start(PROGRAM, witness.region.address, listen, &more).await;
        eventually("it serves", PATIENCE, async || {
            let mut client = edge.client(Protocol::H2, true).await;
            let answer = client.call(post("/calm", "x")).await.ok()?;
            (answer.status == 200).then_some(())
        })
        .await;
        Self { witness, edge }
    }

    /// An attacker's connection: bare, or after a proper TLS handshake for this protocol.
    pub(super) async fn connect(&self, alpn: Option<&str>) -> Box<dyn Io> {
        let to = |address: SocketAddr| async move {
            TcpStream::connect(address).await.expect("a connection")
        };
        let Some(alpn) = alpn else {
            return Box::new(to(self.edge.ports.http).await);
        };
        let config = self.edge.authority.client(&[alpn]).expect("trust");
        let name = host().try_into().expect("a name");
        let secured = tokio_rustls::TlsConnector::from(config)
            .connect(name, to(self.edge.ports.https).await)
            .await;
        Box::new(secured.expect("a handshake"))
    }

    /// Lets an attack go on and on while others call.
    ///
    /// In the best of `ROUNDS` rounds the p99 of others is at most twice that of calm and `NOISE` more (`NEW_NOISE` for who comes
    /// with a new connection). Calm is what is measured before the first attack or right after this round's, whichever is slower;
    /// the latter is itself held to the former by the same bound, so that no damage that stays passes for calm. The edge's memory
    /// never grows by more than `growth` MiB; in the end no call and no connection is left, and nothing that uses a core.
    pub(super) async fn bear(&self, growth: usize, attack: impl AsyncFn()) {
        let first = self.callers().await;
        let rest = self.rest().await;
        self.edge.forget_peak();
        let before = self.edge.memory("VmRSS:");
        for round in 1..=ROUNDS {
            let (under, attacks) = self.under(&attack).await;
            let after = self.callers().await;
            let calm = first.or_slower(after);
            let each = under.cpu.saturating_sub(calm.cpu) / attacks;
            println!(
                "calm {first:?}, under {attacks} attacks {under:?}, {each:?} of CPU each, calm again {after:?}"
            );
            if after.is_like(first) && under.is_like(calm) {
                break;
            }
            assert!(
                round < ROUNDS,
                "calm {first:?}, under attack {under:?}, after it {after:?}"
            );
        }
        let grown = self.edge.memory("VmHWM:").saturating_sub(before);
        println!("memory {before} MiB, at most {grown} more");
        assert!(grown <= growth, "{grown} MiB more, from {before}");
        self.forgets().await;
        let busy = self.rest().await;
        println!("CPU in {REST:?} without callers {rest:?} before, {busy:?} after");
        assert!(busy < rest + SPUN, "{busy:?} in {REST:?}, {rest:?} before");
    }

    /// Waits until neither calls nor connections are left, of attackers or others.
    async fn forgets(&self) {
        for gauge in ["frontdoor_edge_in_flight", "frontdoor_edge_connections"] {
            eventually(&format!("no more {gauge}"), PATIENCE, async || {
                (self.edge.value(gauge).await? < 1.0).then_some(())
            })
            .await;
        }
    }

    /// What callers notice while attacks go on, and how many went on; the CPU time is that of all of these.
    async fn under(&self, attack: &impl AsyncFn()) -> (Noticed, u32) {
        let before = self.edge.cpu();
        let over = AtomicBool::new(false);
        let callers = async {
            let noticed = self.callers().await;
            over.store(true, Ordering::Relaxed);
            noticed
        };
        let attacks = async {
            let mut attacks = 0;
            while !over.load(Ordering::Relaxed) {
                attack().await;
                attacks += 1;
            }
            attacks
        };
        let (noticed, attacks) = tokio::join!(callers, attacks);
        let cpu = self.edge.cpu().saturating_sub(before);
        (Noticed { cpu, ..noticed }, attacks)
    }

    /// Has well-behaved callers call for a second and a half.
    async fn callers(&self) -> Noticed {
        let before = self.edge.cpu();
        let (mut open, mut new) = (JoinSet::new(), JoinSet::new());
        for (protocol, tls) in CALLERS {
            open.spawn(regular(self.edge.client(protocol, tls).await));
        }
        let trust = self.edge.authority.client(&["h2"]).expect("trust");
        let mut trust = Arc::unwrap_or_clone(trust);
        // Who has never been here has nothing to resume.
        trust.resumption = Resumption::disabled();
        new.spawn(newcomers(self.edge.ports.https, Arc::new(trust)));
        let (open, new) = tokio::join!(open.join_all(), new.join_all());
        Noticed {
            open: p99(&open),
            new: p99(&new),
            cpu: self.edge.cpu().saturating_sub(before),
        }
    }

    /// The CPU time that the edge needs for a while in which nobody calls.
    async fn rest(&self) -> Duration {
        let before = self.edge.cpu();
        sleep(REST).await;
        self.edge.cpu().saturating_sub(before)
    }
}

// === impl Noticed ===

impl Noticed {
    fn is_like(&self, calm: Self) -> bool {
        self.open <= calm.open * 2 + NOISE && self.new <= calm.new * 2 + NEW_NOISE
    }

    fn or_slower(self, other: Self) -> Self {
        Self {
            open: self.open.max(other.open),
            new: self.new.max(other.new),
            cpu: self.cpu.max(other.cpu),
        }
    }
}

/// Calls on one connection.
async fn regular(mut client: Client) -> Vec<Duration> {
    let mut took = Vec::with_capacity(CALLS);
    let mut due = ticks(PACE);
    for _ in 0..CALLS {
        let due = due.tick().await;
        took.push(called(&mut client, due).await);
    }
    took
}

/// Calls on a connection each.
async fn newcomers(edge: SocketAddr, trust: Arc<ClientConfig>) -> Vec<Duration> {
    let mut took = Vec::with_capacity(NEW);
    let mut due = ticks(NEW_PACE);
    for _ in 0..NEW {
        let due = due.tick().await;
        let client = Client::with(edge, &host(), Arc::clone(&trust), Protocol::H2).await;
        let mut client = client.expect("a new connection");
        took.push(called(&mut client, due).await);
    }
    took
}

/// What a call took, from the moment it was due.
async fn called(client: &mut Client, due: Instant) -> Duration {
    let answer = client.call(post("/calm", "x")).await.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    due.elapsed()
}

/// Whoever is late is so for once: the next one is due when it was.
fn ticks(every: Duration) -> Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    ticks
}

/// What most of them took.
fn p99(took: &[Vec<Duration>]) -> Duration {
    let mut took = took.concat();
    took.sort_unstable();
    took[took.len() * 99 / 100]
}
