//! Chatter over a real hub: edges hear each other, a hub that dies or hangs is noticed, and strangers do no harm.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use test_support::eventually::eventually;
use test_support::region::{Region, reply};

use crate::harness::Edge;

/// A hub on a port of its own.
struct Hub {
    child: Child,
    port: u16,
}

fn binary() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/bin/nats-server");
    if own.exists() {
        own
    } else {
        "nats-server".into()
    }
}

// === impl Hub ===

impl Hub {
    fn start(port: u16) -> Self {
        let child = Command::new(binary())
            .args(["-a", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server in .tools/bin or on PATH");
        Self { child, port }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"));
        kill(pid, signal).expect("signalled");
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

async fn edge(port: u16, region: SocketAddr) -> Edge {
    let nats = format!("nats = {{ url = \"nats://127.0.0.1:{port}\" }}");
    Edge::configured(&[("us-east", region)], &nats).await
}

/// Waits until `/regions` says this of the one region.
async fn shows(edge: &Edge, what: &str, time: Duration, fits: impl Fn(&Value) -> bool) -> Duration {
    let begun = Instant::now();
    eventually(what, time, async || {
        let world: Value = edge.admin("/regions").await.json();
        fits(&world["regions"][0]).then_some(())
    })
    .await;
    begun.elapsed()
}

#[tokio::test]
async fn edges_hear_each_other_and_a_lost_or_hanging_hub_is_noticed() {
    let region = Region::start(|_| async { reply(200, &[], "ok") })
        .await
        .expect("a port");
    let hub = Hub::start(free_port());
    let (one, two) = (
        edge(hub.port, region.address).await,
        edge(hub.port, region.address).await,
    );
    let patience = Duration::from_secs(15);
    for edge in [&one, &two] {
        shows(edge, "the other's verdict", patience, |r| {
            r["others"]["well"] == 1
        })
        .await;
        shows(edge, "nothing wrong", patience, |r| r["fault"] == "none").await;
    }
    hub.signal(Signal::SIGSTOP);
    let took = shows(&one, "a dead bus", patience, |r| r["fault"] == "bus-down").await;
    // Three seconds are the promise; the machine that runs this may be busy.
    assert!(took < Duration::from_secs(6), "{took:?}");
    assert_eq!(one.post("/echo", "x").await.status.as_u16(), 200);
    hub.signal(Signal::SIGCONT);
    shows(&one, "the bus again", patience, |r| {
        r["fault"] == "none" && r["others"]["well"] == 1
    })
    .await;
    let port = hub.port;
    drop(hub);
    shows(&two, "a dead bus", patience, |r| r["fault"] == "bus-down").await;
    assert_eq!(two.post("/echo", "x").await.status.as_u16(), 200);
    let _hub = Hub::start(port);
    shows(&two, "the bus again", patience, |r| {
        r["fault"] == "none" && r["others"]["well"] == 1
    })
    .await;
    drop(region);
    shows(&one, "a dead region", patience, |r| {
        r["fault"] == "region-down"
    })
    .await;
    one.stopped().await;
    two.stopped().await;
}

#[tokio::test]
async fn hostile_messages_are_counted_and_change_nothing() {
    let region = Region::start(|_| async { reply(200, &[], "ok") })
        .await
        .expect("a port");
    let hub = Hub::start(free_port());
    let edge = edge(hub.port, region.address).await;
    let patience = Duration::from_secs(15);
    shows(&edge, "it is well", patience, |r| {
        r["health"] == "up" && r["fault"] == "none"
    })
    .await;
    let client = async_nats::connect(format!("nats://127.0.0.1:{}", hub.port))
        .await
        .expect("the hub");
    eventually("all are counted", patience, async || {
        for subject in ["fd.report.us-east", "fd.edge.0000000000000001.verdict"] {
            for payload in [vec![0xff; 64], vec![0; 1_000_000], Vec::new()] {
                client.publish(subject, payload.into()).await.ok()?;
            }
        }
        client.flush().await.ok()?;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let malformed = edge.counter("reports_total", "malformed").await;
        let version = edge.counter("reports_total", "version").await;
        let large = edge.counter("reports_total", "too-large").await;
        (malformed >= 2.0 && version >= 2.0 && large >= 1.0).then_some(())
    })
    .await;
    shows(&edge, "still well", patience, |r| {
        r["health"] == "up" && r["others"]["unwell"] == 0
    })
    .await;
    assert_eq!(edge.post("/echo", "x").await.status.as_u16(), 200);
    edge.stopped().await;
}
